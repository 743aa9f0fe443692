"""Small made-up studies, whose scores the tests choose, for the tests of results."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

ACCURACY = {'better': 'higher', 'fallback': 0.1}
LOSS = {'better': 'lower', 'fallback': 2.302585}


def make_study(
  names: Sequence[str], seeds: int, design: str = 'one_out', **changes: Any
) -> dict[str, Any]:
  """A study of two-level factors 'yes' and 'no', each against one reference."""
  out = design == 'one_out'
  root, level, intact = ('baseline', 'no', 'yes') if out else ('bare', 'yes', 'no')
  start = dict.fromkeys(names, intact)
  arms = [{'name': root, 'assignment': start}]
  contrasts = []
  for name in names:
    arm = f'{name}={level}'
    arms.append({'name': arm, 'assignment': {**start, name: level}})
    contrasts.append(make_contrast(name, level, arm, root, out))
  study = {
    'design': design,
    'factors': [make_factor(name, ('yes', 'no')) for name in names],
    'arms': arms,
    'contrasts': contrasts,
    'seeds': list(range(seeds)),
    'metric': {'name': 'accuracy', 'split': 'test', **ACCURACY},
    'metrics': {'accuracy': ACCURACY, 'loss': LOSS},
    'alpha': 0.05,
    'margin': 0.0,
    'looks_declared': 1,
    'regime': 'steps',
    'looks': [],
    'tune': {},
    'data': {'official_test': True},
  }
  return {**study, **changes}


def make_factor(name: str, levels: Sequence[str]) -> dict[str, Any]:
  """A factor without overrides."""
  return {'name': name, 'about': '', 'levels': [{'name': level} for level in levels]}


def make_contrast(
  factor: str, level: str, arm: str, reference: str, out: bool
) -> dict[str, Any]:
  """A contrast of two arms; `out` where the reference has the component."""
  return {
    'factor': factor,
    'level': level,
    'arm': arm,
    'reference': reference,
    'arm_cells': [arm],
    'reference_cells': [reference],
    'component': 'reference' if out else 'arm',
  }


def make_factorial(
  levels: Mapping[str, Sequence[str]], seeds: int, **changes: Any
) -> dict[str, Any]:
  """All cells; each factor's intact level against each of its others, by cell."""
  study = make_study((), seeds, 'factorial')
  cells = [dict(zip(levels, c)) for c in itertools.product(*levels.values())]
  arms = {'+'.join(cell.values()): cell for cell in cells}
  study['arms'] = [{'name': n, 'assignment': cell} for n, cell in arms.items()]
  study['factors'] = [make_factor(name, lv) for name, lv in levels.items()]
  for name, (first, *others) in levels.items():
    present = [cell for cell in cells if cell[name] == first]
    for level in others:
      contrast = make_contrast(name, level, f'{name}={first}', f'{name}={level}', False)
      contrast['arm_cells'] = ['+'.join(c.values()) for c in present]
      absent = [{**c, name: level} for c in present]
      contrast['reference_cells'] = ['+'.join(c.values()) for c in absent]
      study['contrasts'].append(contrast)
  return {**study, **changes}


def make_runs(
  study: Mapping[str, Any],
  scores: Mapping[str, Sequence[float] | np.ndarray],
  metric: str = 'test/accuracy',
  tuned: int = 0,
) -> pd.DataFrame:
  """A runs table with `scores[arm][seed]` as the only metric."""
  frames = [
    pd.DataFrame(
      {
        'arm': arm['name'],
        'seed': study['seeds'],
        'status': 'ok',
        'tuned': tuned,
        metric: np.asarray(scores[arm['name']], np.float64)[: len(study['seeds'])],
      }
    )
    for arm in study['arms']
  ]
  return pd.concat(frames, ignore_index=True)


def set_run(runs: pd.DataFrame, arm: str, seed: int, **values: Any) -> pd.DataFrame:
  """A copy with columns of one run changed."""
  runs = runs.copy()
  for column, value in values.items():
    runs.loc[(runs['arm'] == arm) & (runs['seed'] == seed), column] = value
  return runs
