"""The runs of one contrast, paired by seed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

STATUSES = ('ok', 'diverged', 'failed')


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
    """Whether at least 90 % of the planned pairs are there."""
    return 10 * len(self.seeds) >= 9 * self.planned > 0


def declared(study: Mapping[str, Any]) -> int:
  """The study's declared tuning state: 1 if its learning rates are tuned, else 0."""
  return int(bool(study.get('tune')))


def deciding(study: Mapping[str, Any]) -> str:
  """The deciding metric's column on the test split; ValueError on another split."""
  metric = study['metric']
  if metric['split'] != 'test':
    raise ValueError(f"claims are made on 'test', got split {metric['split']!r}")
  return f'test/{metric["name"]}'


def metric(study: Mapping[str, Any], column: str) -> Mapping[str, Any]:
  """The `better` and `fallback` of a column such as 'final/test/accuracy'."""
  name = column.removeprefix('final/').split('/', 1)[-1]
  known = {study['metric']['name']: study['metric'], **study['metrics']}
  if name not in known:
    raise ValueError(f'no metric {name!r} in the study; it has {sorted(known)}')
  return known[name]


def select(
  study: Mapping[str, Any], runs: pd.DataFrame, tuned: int | None = None
) -> pd.DataFrame:
  """The rows of `runs` that are of the study's arms and seeds.

  Raises:
    ValueError: a run stands there twice, or has an unknown status.
  """
  arms = [arm['name'] for arm in study['arms']]
  mine = runs[runs['arm'].isin(arms) & runs['seed'].isin(study['seeds'])]
  if tuned is not None:
    mine = mine[mine['tuned'] == tuned]
  if mine.duplicated(['arm', 'seed', 'tuned']).any():
    twice = mine[mine.duplicated(['arm', 'seed', 'tuned'])].iloc[0]
    raise ValueError(f'two runs of arm {twice["arm"]!r} with seed {twice["seed"]}')
  unknown = set(mine['status']) - set(STATUSES)
  if unknown:
    raise ValueError(f'status is one of {STATUSES}, got {sorted(unknown)}')
  return mine


def tabulate(
  study: Mapping[str, Any], runs: pd.DataFrame, column: str, tuned: int
) -> Scores:
  """Lays one metric column out by seed and arm.

  A run that diverged scores the metric's fallback; so does one whose value is not
  finite though it ended well. A failed run has no score.
  """
  mine = select(study, runs, tuned)
  if column not in mine:
    raise ValueError(f'no column {column!r} in runs; it has {list(mine.columns)}')
  score = mine[column].to_numpy(np.float64)
  failed = (mine['status'] == 'failed').to_numpy()
  diverged = ~failed & ((mine['status'] == 'diverged') | ~np.isfinite(score)).to_numpy()
  score = np.where(diverged, metric(study, column)['fallback'], score)
  score = np.where(failed, np.nan, score)
  shape = (len(study['seeds']), len(study['arms']))
  arms = [arm['name'] for arm in study['arms']]
  row = {seed: i for i, seed in enumerate(study['seeds'])}
  at = [row[s] for s in mine['seed']], [arms.index(a) for a in mine['arm']]
  value, lost = np.full(shape, np.nan), np.zeros(shape, bool)
  value[at], lost[at] = score, diverged
  return Scores(
    pd.DataFrame(value, study['seeds'], arms),
    pd.DataFrame(lost, study['seeds'], arms),
  )


def cells(contrast: Mapping[str, Any]) -> tuple[list[str], list[str]]:
  """The arms that are averaged on each side: the arm's, then the reference's."""
  return list(contrast['arm_cells']), list(contrast['reference_cells'])


def match(contrast: Mapping[str, Any], scores: Scores) -> Pairs:
  """Pairs the two sides of a contrast by seed, dropping seeds with a missing score."""
  arm_cells, reference_cells = cells(contrast)
  for name in (*arm_cells, *reference_cells):
    if name not in scores.value:
      raise ValueError(f'no arm {name!r}; there are {list(scores.value.columns)}')
  arm = scores.value[arm_cells].to_numpy().mean(1)
  reference = scores.value[reference_cells].to_numpy().mean(1)
  kept = ~np.isnan(arm) & ~np.isnan(reference)
  diverged = [
    int(scores.diverged[sorted(set(side))].to_numpy().sum())
    for side in (arm_cells, reference_cells)
  ]
  seeds = tuple(int(seed) for seed in scores.value.index[kept])
  return Pairs(arm[kept], reference[kept], seeds, len(kept), *diverged)
