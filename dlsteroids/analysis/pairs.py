"""The runs of one contrast, paired by seed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.study import study as study_lib

STATUSES = ('ok', 'diverged', 'failed')
ENOUGH = 0.9  # share of the planned runs that a claim needs


class Scores(NamedTuple):
  """One metric of all arms in one tuning state.

  Attributes:
    value: float64 [seeds, arms] by seed and arm; nan where a run failed or is missing.
    diverged: bool [seeds, arms], true where the metric's fallback was scored.
  """

  value: pd.DataFrame
  diverged: pd.DataFrame


class Pairs(NamedTuple):
  """The two sides of a contrast over the seeds at which every cell has a score.

  Attributes:
    arm, reference: float64 [n], the mean over the side's cells at each seed.
    seeds: the n seeds, in the study's order.
    planned: how many pairs the study planned.
    diverged_arm, diverged_reference: diverged runs among the side's cells at all
      planned seeds, those of a dropped pair included.
  """

  arm: np.ndarray
  reference: np.ndarray
  seeds: tuple[int, ...]
  planned: int
  diverged_arm: int
  diverged_reference: int

  @property
  def delta(self) -> np.ndarray:
    """arm - reference [n], in the metric's unit."""
    return self.arm - self.reference

  @property
  def enough(self) -> bool:
    """Whether at least 90 % of the planned pairs have scores."""
    return are_enough(len(self.seeds), self.planned)


def are_enough(count: int, planned: int) -> bool:
  """Whether `count` of `planned` runs (or pairs) suffice for a claim."""
  return planned > 0 and 10 * count >= round(10 * ENOUGH) * planned


def declared(study: study_lib.AnyStudy) -> int:
  """The study's declared tuning state: 1 if its numbers are tuned, else 0."""
  return study.tuned


def deciding(study: study_lib.AnyStudy) -> str:
  """The deciding metric's column on the test split; ValueError on another split."""
  if study.metric.split != 'test':
    raise ValueError(f"claims are made on 'test', got split {study.metric.split!r}")
  return study.metric.column


def metric(study: study_lib.AnyStudy, column: str) -> study_lib.Metric:
  """The metric of a column such as 'final/test/accuracy'; ValueError if unknown."""
  name = column.removeprefix('final/').split('/', 1)[-1]
  by_name = {study.metric.name: study.metric, **study.metrics}
  if name not in by_name:
    raise ValueError(f'no metric {name!r} in the study; it has {sorted(by_name)}')
  return by_name[name]


def select(
  study: study_lib.AnyStudy, runs: pd.DataFrame, tuned: int | None = None
) -> pd.DataFrame:
  """The rows of `runs` that are of the study's arms and seeds, in one tuning state.

  Raises:
    ValueError: a run stands there twice, or has an unknown status.
  """
  arms = [arm.name for arm in study.arms]
  rows = runs[runs['arm'].isin(arms) & runs['seed'].isin(study.seeds)]
  if tuned is not None:
    rows = rows[rows['tuned'] == tuned]
  repeated = rows[rows.duplicated(['arm', 'seed', 'tuned'])]
  if len(repeated):
    first = repeated.iloc[0]
    raise ValueError(f'two runs of arm {first["arm"]!r} with seed {first["seed"]}')
  unknown = set(rows['status']) - set(STATUSES)
  if unknown:
    raise ValueError(f'status is one of {STATUSES}, got {sorted(unknown)}')
  return rows


def tabulate(
  study: study_lib.AnyStudy, runs: pd.DataFrame, column: str, tuned: int
) -> Scores:
  """Lays one metric column out by seed and arm.

  A run that diverged scores the metric's fallback; so does one whose value is not
  finite though it ended well. A failed run has no score.
  """
  rows = select(study, runs, tuned)
  if column not in rows:
    raise ValueError(f'no column {column!r} in runs; it has {list(rows.columns)}')
  score = rows[column].to_numpy(np.float64)
  failed = (rows['status'] == 'failed').to_numpy()
  diverged = ~failed & ((rows['status'] == 'diverged') | ~np.isfinite(score)).to_numpy()
  score = np.where(diverged, metric(study, column).fallback, score)
  score = np.where(failed, np.nan, score)
  arms = [arm.name for arm in study.arms]
  index = {seed: i for i, seed in enumerate(study.seeds)}
  at = [index[s] for s in rows['seed']], [arms.index(a) for a in rows['arm']]
  shape = (len(study.seeds), len(arms))
  value, is_diverged = np.full(shape, np.nan), np.zeros(shape, bool)
  value[at], is_diverged[at] = score, diverged
  return Scores(
    pd.DataFrame(value, study.seeds, arms), pd.DataFrame(is_diverged, study.seeds, arms)
  )


def cells(contrast: Any) -> tuple[list[str], list[str]]:
  """The arms that are averaged on each side: the arm's, then the reference's."""
  if isinstance(contrast, Mapping):  # until every room reads typed contrasts
    return list(contrast['arm_cells']), list(contrast['reference_cells'])
  return list(contrast.arm_cells), list(contrast.reference_cells)


def match(contrast: Any, scores: Scores) -> Pairs:
  """Pairs the two sides of a contrast by seed, dropping seeds with a missing score."""
  sides = cells(contrast)
  for name in sides[0] + sides[1]:
    if name not in scores.value:
      raise ValueError(f'no arm {name!r}; there are {list(scores.value.columns)}')
  arm, reference = (scores.value[side].to_numpy().mean(1) for side in sides)
  complete = ~np.isnan(arm) & ~np.isnan(reference)
  diverged = [
    int(scores.diverged[sorted(set(side))].to_numpy().sum()) for side in sides
  ]
  seeds = tuple(int(seed) for seed in scores.value.index[complete])
  return Pairs(arm[complete], reference[complete], seeds, len(complete), *diverged)
