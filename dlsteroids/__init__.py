"""Ablation studies with evidence: which component helps, by how much, at what compute.

Names are loaded when they are first used: importing the package is fast and starts no
JAX. What is not in `__all__` is internal.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from dlsteroids.api import plan, report, run, status
  from dlsteroids.config import base
  from dlsteroids.config.options import Option
  from dlsteroids.external.judge import judge
  from dlsteroids.plan.plugin_check import check
  from dlsteroids.report.answer import Answer
  from dlsteroids.rng import Keys
  from dlsteroids.run.trained import Trained, load
  from dlsteroids.study.claims import claim
  from dlsteroids.study.factors import arm, factor, levels
  from dlsteroids.study.study import Study
  from dlsteroids.types import Dataset, Metric, Pass, Player, Stream, Task, Turn
  from dlsteroids.util.errors import UserError

__version__ = '0.1.0'
__all__ = [
  'Answer',
  'Dataset',
  'Keys',
  'Metric',
  'Option',
  'Pass',
  'Player',
  'Stream',
  'Study',
  'Task',
  'Trained',
  'Turn',
  'UserError',
  'arm',
  'base',
  'check',
  'claim',
  'factor',
  'judge',
  'levels',
  'load',
  'plan',
  'report',
  'run',
  'status',
]

# `run`, `plan` and `report` are also packages, which can be called.
_MODULES = {
  'status': 'api',
  'base': 'config',
  'Option': 'config.options',
  'check': 'plan.plugin_check',
  'judge': 'external.judge',
  'Keys': 'rng',
  'Answer': 'report.answer',
  **dict.fromkeys(('Trained', 'load'), 'run.trained'),
  'claim': 'study.claims',
  **dict.fromkeys(('arm', 'factor', 'levels'), 'study.factors'),
  'Study': 'study.study',
  **dict.fromkeys(
    ('Dataset', 'Metric', 'Pass', 'Player', 'Stream', 'Task', 'Turn'), 'types'
  ),
  'UserError': 'util.errors',
}


def __getattr__(name: str) -> Any:
  if name in ('plan', 'report', 'run'):
    return importlib.import_module(f'dlsteroids.{name}')
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(f'dlsteroids.{_MODULES[name]}'), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
