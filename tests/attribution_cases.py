"""Made-up studies of ideas and compute, whose truth the tests choose."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tests import studies

TEST_SIZE = 9_999
BUDGETS = (1.0, 1 / 16, 1 / 4)  # the declared one first
Truth = Callable[[frozenset, float, int], float]  # (ideas, budget, seed) -> metric


def make_study(
  names: Sequence[str],
  seeds: int = 10,
  design: str = 'factorial',
  masks: Sequence[int] | None = None,
  budgets: Sequence[float] = BUDGETS,
  **changes: Any,
) -> dict[str, Any]:
  """A study of two-level factors whose cells are `masks` (all of them if None).

  Bit i of a mask says that idea i is present; every cell is an arm of its own.
  """
  study = studies.make_study((), seeds, design)
  masks = range(2 ** len(names)) if masks is None else masks
  cells = [
    {name: 'yes' if mask >> i & 1 else 'no' for i, name in enumerate(names)}
    for mask in masks
  ]
  title = lambda cell: '+'.join(n for n, level in cell.items() if level == 'yes')
  study |= {
    'factors': [studies.make_factor(name, ('yes', 'no')) for name in names],
    'arms': [{'name': title(cell) or 'bare', 'assignment': cell} for cell in cells],
    'cells': [{'levels': cell, 'arm': title(cell) or 'bare'} for cell in cells],
    'regime': 'flops',
    'conditions': [
      {'regime': 'flops', 'budget': budget, 'size': 1.0} for budget in budgets
    ],
    'ratio': max(budgets) / min(budgets) if len(budgets) > 1 else 0.0,
    'tune': {'grid': {'optimizer.learning_rate': [0.1, 0.3]}},
    'data': {'sizes': {'train': 1, 'validation': 1, 'test': TEST_SIZE}},
  }
  return {**study, **changes}


def make_orders(names: Sequence[str], orders: Sequence[str], **changes: Any) -> dict:
  """A study of sampled orders, each a string of names of one letter."""
  listed = [list(order) for order in orders]
  masks = {
    sum(1 << names.index(name) for name in order[:j])
    for order in listed
    for j in range(len(names) + 1)
  }
  changes = {'permutations': listed, **changes}
  return make_study(names, 10, 'permutations', sorted(masks), **changes)


def make_runs(
  study: dict[str, Any], truth: Truth, metric: str = 'test/accuracy'
) -> pd.DataFrame:
  """Every arm at every condition, tuned; besides them runs that do not belong there."""
  rows = []
  for arm, at in itertools.product(study['arms'], study['conditions']):
    ideas = frozenset(n for n, level in arm['assignment'].items() if level == 'yes')
    for seed in study['seeds']:
      row = {'arm': arm['name'], 'seed': seed, 'status': 'ok', 'tuned': 1, **at}
      rows.append({**row, metric: truth(ideas, at['budget'], seed)})
      stray = {'regime': 'steps', 'budget': at['budget'], 'size': 1.0}
      rows.append({**row, **stray, metric: 0.123})
      rows.append({**row, 'tuned': 0, metric: 0.321})
    rows.append({**rows[-3], 'size': 2.0, metric: 0.456})
  return pd.DataFrame(rows)


def set_run(
  runs: pd.DataFrame, arm: str, seed: int, budget: float, **values: Any
) -> pd.DataFrame:
  """A copy with columns of one tuned run of the declared regime changed."""
  runs = runs.copy()
  mine = (runs['arm'] == arm) & (runs['seed'] == seed) & (runs['budget'] == budget)
  mine &= (runs['regime'] == 'flops') & (runs['size'] == 1) & (runs['tuned'] == 1)
  assert mine.sum() == 1
  for column, value in values.items():
    runs.loc[mine, column] = value
  return runs


def noise(seed: int, *about: object) -> float:
  """A draw of N(0, 1), the same for equal arguments."""
  digits = [*repr(about).encode(), seed]
  return float(np.random.default_rng(digits).normal())


def additive(costs: dict[str, float], compute: float, sd: float = 0.02) -> Truth:
  """Accuracy whose log-error falls by `costs` and by `compute` for a ratio of 16."""

  def truth(ideas: frozenset, budget: float, seed: int) -> float:
    log = np.log(0.02) + sum(cost for idea, cost in costs.items() if idea not in ideas)
    log += -compute * np.log(budget) / np.log(16)
    log += 2 * sd * noise(seed) + sd * noise(seed, sorted(ideas), budget)
    errors = np.exp(log) * (TEST_SIZE + 1) - 0.5
    return 1 - errors / TEST_SIZE

  return truth
