"""Learning curves kept by column, a fifth of the memory of rows; where they arrive."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlsteroids.study import study as study_lib


class Curves(Sequence):
  """Rows [step, split, metric, value], kept by column.

  Attributes:
    step: int64 [R].
    names: (split, metric) of every row; one tuple for all runs that have the same.
    value: float64 [R].
  """

  __slots__ = ('names', 'step', 'value')

  def __init__(self, rows: Sequence[Sequence[Any]]):
    self.step = np.array([row[0] for row in rows], np.int64)
    names = tuple((str(row[1]), str(row[2])) for row in rows)
    self.names = _SHARED.setdefault(names, names)
    self.value = np.array([row[3] for row in rows], np.float64)

  def __len__(self) -> int:
    return len(self.step)

  def __getitem__(self, at: Any) -> Any:
    if isinstance(at, slice):
      return [self[i] for i in range(*at.indices(len(self)))]
    return [int(self.step[at]), *self.names[at], float(self.value[at])]


_SHARED: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}


def shrink(run: dict[str, Any]) -> None:
  """Converts the curves of a run's record, if it has any, to columns in place."""
  if 'curves' in run:
    run['curves'] = Curves(run['curves'])


def reach_step(
  curve: Sequence[Sequence[Any]], goal: str, metrics: Mapping[str, study_lib.Metric]
) -> float:
  """The step at which a run's curve first gets to a value, nan if it never does.

  Between two evaluations it is interpolated linearly. A training curve's value at a
  step is the mean since the evaluation before.

  Args:
    curve: rows (step, split, metric, value).
    goal: 'split/metric=value'.
    metrics: by name, with the direction that is `better`; others, as losses, fall.
  """
  place, _, value = goal.partition('=')
  split, _, name = place.partition('/')
  target = float(value)
  sign = metrics[name].sign if name in metrics else -1
  points = sorted((row[0], row[3]) for row in curve if list(row[1:3]) == [split, name])
  before = None
  for step, reached in points:
    if sign * (reached - target) >= 0:
      if before is None:
        return float(step)
      share = (target - before[1]) / (reached - before[1])
      return before[0] + share * (step - before[0])
    before = (step, reached)
  return math.nan
