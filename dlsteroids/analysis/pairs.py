"""The runs of one contrast, paired by seed; of runs without pairs, its two samples."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib
from dlsteroids.util import memoise

STATUSES = ('ok', 'diverged', 'failed')
ENOUGH = 0.9  # share of the planned runs that a claim needs


class Scores(NamedTuple):
  """One metric of all arms in one tuning state.

  Attributes:
    value: float64 [seeds, arms] by seed and arm; nan where a run failed, is missing, or
      has no such number.
    diverged: bool [seeds, arms], true where the run diverged: it scores the fallback.
    bounded: bool [seeds, arms], true where a run's own number was worse than the
      fallback and counts as that.
    ended: bool [seeds, arms], true where a run stands in the table, failed or not.
    planned: bool [seeds, arms], false at seeds after which an arm stopped.
  """

  value: pd.DataFrame
  diverged: pd.DataFrame
  bounded: pd.DataFrame
  ended: pd.DataFrame
  planned: pd.DataFrame

  @property
  def mostly_diverged(self) -> tuple[str, ...]:
    """The arms more than half of whose ended runs diverged: they are no evidence."""
    ended, diverged = self.value.notna().sum(), self.diverged.sum()
    return tuple(str(arm) for arm in ended.index if 2 * diverged[arm] > ended[arm])


class Pairs(NamedTuple):
  """The two sides of a contrast over the seeds at which their cells have a score.

  Attributes:
    arm, reference: float64 [n], the mean over the side's cells at each seed; without
      pairs [n] and [m], each side at its own seeds.
    seeds: the n seeds, in the study's order; without pairs the arm's.
    planned: how many pairs the study planned; without pairs, runs of the arm.
    finite: bool [n], at which of the seeds no run of either side diverged; without
      pairs, none of the arm.
    diverged_arm, diverged_reference: diverged runs among the side's cells at all
      planned seeds, those of a dropped pair included.
    bounded_arm, bounded_reference: runs among them that count as the fallback though
      they did not diverge.
    share_diverged_arm, share_diverged_reference: diverged runs among those that ended.
  """

  arm: np.ndarray
  reference: np.ndarray
  seeds: tuple[int, ...]
  planned: int
  finite: np.ndarray
  diverged_arm: int
  diverged_reference: int
  bounded_arm: int
  bounded_reference: int
  share_diverged_arm: float
  share_diverged_reference: float
  unpaired: 'Unpaired | None' = None

  @property
  def delta(self) -> np.ndarray:
    """arm - reference [n], in the metric's unit; of pairs only."""
    return self.arm - self.reference

  @property
  def enough(self) -> bool:
    """Whether at least 90 % of the planned pairs, or runs of each side, have scores."""
    other = self.unpaired is None or are_enough(
      len(self.reference), self.unpaired.planned
    )
    return are_enough(len(self.seeds), self.planned) and other

  @property
  def mostly_diverged(self) -> bool:
    """Whether most runs of a side diverged, so that the pairs are no evidence."""
    return max(self.share_diverged_arm, self.share_diverged_reference) > 0.5


class Unpaired(NamedTuple):
  """The reference's side of a contrast whose runs are not paired.

  Attributes:
    planned: runs of the reference.
    finite: bool [m], which of its runs did not diverge.
  """

  planned: int
  finite: np.ndarray


def are_enough(count: int, planned: int) -> bool:
  """Whether `count` of `planned` runs (or pairs) suffice for a claim."""
  return planned > 0 and 10 * count >= round(10 * ENOUGH) * planned


def metric(study: study_lib.Study, column: str) -> study_lib.Metric:
  """The metric of a column such as 'final/test/accuracy'; ValueError if unknown."""
  plain = column.removeprefix('final/')
  for one in (study.metric, *study.metrics.values()):
    if one.column == plain:
      return one
  name = plain.split('/', 1)[-1]
  by_name = {study.metric.name: study.metric, **study.metrics}
  if name not in by_name:
    raise ValueError(f'no metric {name!r} in the study; it has {sorted(by_name)}')
  return by_name[name]


@memoise.memoised
def select(
  study: study_lib.Study, runs: pd.DataFrame, tuned: int | None = None
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


@memoise.memoised
def tabulate(
  study: study_lib.Study, runs: pd.DataFrame, column: str, tuned: int
) -> Scores:
  """Lays one metric column out by seed and arm.

  A run that diverged scores the metric's fallback. A failed run has no score, nor one
  that ended well without this number. The deciding metric is bounded by its fallback on
  the bad side, so that a finite explosion does not beat a divergence; other metrics
  count as they are, infinities as the fallback.
  """
  rows = select(study, runs, tuned)
  if column not in rows:
    raise ValueError(f'no column {column!r} in runs; it has {list(rows.columns)}')
  score = rows[column].to_numpy(np.float64)
  diverged = (rows['status'] == 'diverged').to_numpy()
  score = np.where((rows['status'] == 'failed').to_numpy(), np.nan, score)
  own = metric(study, column)
  bounded = ~diverged & np.isinf(score)
  if column == study.metric.column:
    bounded |= ~diverged & (own.sign * score < own.sign * own.fallback)
  score = np.where(diverged | bounded, own.fallback, score)
  arms = [arm.name for arm in study.arms]
  index = {seed: i for i, seed in enumerate(study.seeds)}
  at = [index[s] for s in rows['seed']], [arms.index(a) for a in rows['arm']]
  shape = (len(study.seeds), len(arms))
  frames = []
  ended = np.ones(len(rows), bool)
  tables = (score, np.nan), (diverged, False), (bounded, False), (ended, False)
  for values, empty in tables:
    table = np.full(shape, empty)
    table[at] = values
    frames.append(pd.DataFrame(table, study.seeds, arms))
  own_seeds = [set(study.seeds_of(arm)) for arm in arms]
  planned = np.array([[seed in own for own in own_seeds] for seed in study.seeds])
  frames.append(pd.DataFrame(planned.reshape(shape), study.seeds, arms))
  return Scores(*frames)


def cells(contrast: factors_lib.Contrast) -> tuple[list[str], list[str]]:
  """The arms that are averaged on each side: the arm's, then the reference's."""
  return list(contrast.arm_cells), list(contrast.reference_cells)


def match(contrast: factors_lib.Contrast, scores: Scores, paired: bool = True) -> Pairs:
  """Pairs the two sides of a contrast by seed, dropping seeds with a missing score.

  Without pairs each side keeps the seeds at which it has scores.
  """
  sides = cells(contrast)
  columns = {name: place for place, name in enumerate(scores.value.columns)}
  for name in sides[0] + sides[1]:
    if name not in columns:
      raise ValueError(f'no arm {name!r}; there are {list(columns)}')
  whole = [[columns[name] for name in side] for side in sides]
  distinct = [sorted(set(side)) for side in whole]
  arm, reference = (_take(scores.value, side).mean(1) for side in whole)
  own, others = ~np.isnan(arm), ~np.isnan(reference)
  complete = own & others if paired else own
  diverged, bounded = (
    [int(_take(table, side).sum()) for side in distinct]
    for table in (scores.diverged, scores.bounded)
  )
  ended = [int((~np.isnan(_take(scores.value, side))).sum()) for side in distinct]
  shares = [count / max(total, 1) for count, total in zip(diverged, ended)]
  finite = [~np.any(_take(scores.diverged, side), 1) for side in distinct]
  seeds = tuple(int(seed) for seed in scores.value.index[complete])
  planned = int(_take(scores.planned, whole[0] + whole[1]).all(1).sum())
  unpaired = None
  if not paired:
    runs = [int(_take(scores.ended, side).all(1).sum()) for side in distinct]
    planned, unpaired = runs[0], Unpaired(runs[1], finite[1][others])
  return Pairs(
    arm=arm[complete],
    reference=reference[complete if paired else others],
    seeds=seeds,
    planned=planned,
    finite=(finite[0] & finite[1] if paired else finite[0])[complete],
    diverged_arm=diverged[0],
    diverged_reference=diverged[1],
    bounded_arm=bounded[0],
    bounded_reference=bounded[1],
    share_diverged_arm=shares[0],
    share_diverged_reference=shares[1],
    unpaired=unpaired,
  )


def _take(table: pd.DataFrame, columns: list[int]) -> np.ndarray:
  """Columns of a table, by place [rows, columns]; pandas takes 20 times as long."""
  return np.take(table.to_numpy().T, columns, axis=0).T
