"""What every tracker is given: runs, and their numbers as soon as they are measured.

`LEDGER` notes how far each run has been pushed, so that a run that continues from an
older checkpoint, and so measures an evaluation again, is not pushed twice.
"""

import importlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from dlsteroids.util import errors, files

NAMES = ('wandb', 'trackio', 'mlflow', 'tensorboard')
PACKAGES = {name: name for name in NAMES} | {'tensorboard': 'tensorboardX'}
LEDGER = 'tracked'  # folder in the workdir

Columns = Mapping[str, Sequence[Any]]  # [step][run] by 'split/metric'


class Run(NamedTuple):
  """A run as trackers know it.

  Attributes:
    id: its fingerprint: the same run has the same one in every launch.
    name: for people, 'tanh-seed3'.
    study: name of the study, which groups runs.
    config: its options by path, with arm, seed and condition.
    workdir: of the study.
  """

  id: str
  name: str
  study: str
  config: Mapping[str, Any]
  workdir: pathlib.Path


class Handle(Protocol):
  """One run that is open in a tracker."""

  def push(self, step: int, values: Mapping[str, float]) -> None:
    """Shows values, by 'split/metric', at a step."""

  def close(self) -> None:
    """Ends the run, or this part of it."""


def load(name: str) -> ModuleType:
  """The package of a tracker; UserError if it is not installed."""
  try:
    return importlib.import_module(PACKAGES[name])
  except ImportError as error:
    raise errors.UserError(
      f'config.engine.track={name} needs {PACKAGES[name]}: pip install '
      f"'dlsteroids[{name}]'"
    ) from error


class Tracking:
  """Pushes a batch's evaluations; whatever a tracker raises, training continues.

  Args:
    name: of the tracker; '' pushes nothing.
    runs: of the batch.
    say: prints the warning after which nothing more is pushed.
  """

  def __init__(self, name: str, runs: Sequence[Run], say: Callable[[str], None]):
    self.name, self.runs, self.say = name, runs, say
    self.handles: dict[str, Handle] = {}
    self.active = bool(name)

  def __enter__(self) -> 'Tracking':
    return self

  def __exit__(self, *error: Any) -> None:
    for handle in self.handles.values():
      self._try(handle.close)

  def push(self, steps: Sequence[int], columns: Columns) -> None:
    """Pushes what has been evaluated since the last call, of every run.

    Args:
      steps: all evaluated so far.
      columns: values by name [step][run]; of names that came later, the last steps.
    """
    if self.active:
      self._try(lambda: self._push(steps, columns))

  def _push(self, steps: Sequence[int], columns: Columns) -> None:
    for at, run in enumerate(self.runs):
      last = read_step(run, self.name)
      for index in range(len(steps)):
        if steps[index] <= last:
          continue
        from_end = index - len(steps)
        values = {
          name: float(rows[from_end][at])
          for name, rows in columns.items()
          if len(rows) >= -from_end
        }
        self._handle(run).push(steps[index], values)
        write_step(run, self.name, steps[index])

  def _handle(self, run: Run) -> Handle:
    if run.id not in self.handles:
      module = importlib.import_module(f'dlsteroids.store.trackers.{self.name}')
      self.handles[run.id] = module.begin(load(self.name), run)
    return self.handles[run.id]

  def _try(self, action: Callable[[], None]) -> None:
    """Does what a tracker may fail at; says so, once, and stops tracking."""
    try:
      action()
    except Exception as error:
      if self.active:
        text = ' '.join(str(error).split()) or type(error).__name__
        self.say(f'tracking with {self.name} failed, training continues: {text}')
      self.active = False


def read_step(run: Run, name: str) -> int:
  """The last step of a run that was pushed; -1 if none was."""
  path = run.workdir / LEDGER / f'{run.id}.json'
  try:
    return int(json.loads(path.read_text(encoding='utf-8')).get(name, -1))
  except (OSError, ValueError, AttributeError):
    return -1


def write_step(run: Run, name: str, step: int) -> None:
  """Notes that a run was pushed up to a step."""
  path = run.workdir / LEDGER / f'{run.id}.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    steps = dict(json.loads(path.read_text(encoding='utf-8')))
  except (OSError, ValueError, TypeError):
    steps = {}
  files.write(path, json.dumps({**steps, name: step}))
