"""Intervals over seeds and test examples together, from the score of every example."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import pairs, statistics
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

MIN_BLOCKS = 10  # of a series; fewer say little about its spread


class TwoWay(NamedTuple):
  """An interval of a metric's delta over seeds and the population of examples.

  Attributes:
    delta: arm - reference, mean over test examples.
    low, high: the interval's ends.
    seeds: how many seeds it rests on.
    examples: test examples per seed.
    nested: whether each seed draws its own split of the data.
  """

  delta: float
  low: float
  high: float
  seeds: int
  examples: int
  nested: bool


def two_way(
  study: study_lib.Study,
  runs: pd.DataFrame,
  arrays: study_lib.ArraysOf,
  contrast: factors_lib.Contrast,
  alpha: float | None = None,
  metric: str = 'test/accuracy',
  tuned: int = 0,
) -> TwoWay | None:
  """The interval of a contrast's delta over seeds and test examples.

  With an official test split, seeds and examples are crossed, the same examples at
  every seed, and both are samples: Student's t with the standard error of
  `statistics.crossed_error`. Neighbours in a series are alike: where the facts of the
  data set name a `block`, that many consecutive examples count as one.

  Without an official test split each seed splits the data anew. The splits overlap, so
  the interval for the population that the data were drawn from is `statistics.
  student_t` with Nadeau and Bengio's correction.

  Examples are matched by their index in the data set. A run that diverged, or that
  counts as the fallback because its own number is worse (see `pairs.tabulate`), scores
  the fallback on every example; a failed run drops its seed.

  Args:
    study: the study.
    runs: the runs table, for the runs' statuses and their values of the metric.
    arrays: `(arm, seed)`, if tuned `(arm, seed, 1)`, -> 'test/index' [N] and either
      the metric's value of every example ('test/nats_rows') or, for accuracy,
      'test/prediction' and 'test/label'; or None.
    contrast: of the study.
    alpha: 1 - the coverage; the study's alpha if None.
    metric: 'test/<name>'.
    tuned: the tuning state of the runs.

  Returns:
    The interval; None if fewer than two seeds have scores of every cell, if a series
    has too few blocks, or if the sizes of overlapping splits are unknown.

  Raises:
    ValueError: arms of one seed, or seeds of an official split, saw other examples.
  """
  nested = not study.data.official_test
  table = _differences(study, runs, arrays, contrast, metric, tuned, nested)
  if table is None:
    return None
  n, examples = table.shape
  level = study.alpha if alpha is None else alpha
  mean = float(table.mean())
  if nested:
    sizes = study.data.sizes
    if not sizes.get('train'):
      return None
    overlap = sizes.get('test', examples) / sizes['train']
    span = statistics.student_t(table.mean(1), level, overlap)
  else:
    block = int(study.data.facts.get('block', 1))
    if block > 1 and examples < MIN_BLOCKS * block:
      return None
    error, freedom = statistics.crossed_error(_by_block(table, block))
    span = statistics.t_interval(mean, error, freedom, level)
  if np.isnan(span.low):
    return None
  return TwoWay(mean, span.low, span.high, n, examples, nested)


def _by_block(table: np.ndarray, block: int) -> np.ndarray:
  """What each block of columns adds to the mean of [n, N], about it: [n, blocks].

  The last block may be shorter, so the mean is a ratio of sums to sizes; these are the
  terms of its linear approximation.
  """
  starts = np.arange(0, table.shape[1], block)
  sizes = np.diff([*starts, table.shape[1]])
  sums = np.add.reduceat(table, starts, axis=1)
  return (sums - table.mean() * sizes) / sizes.mean()


def _differences(
  study: study_lib.Study,
  runs: pd.DataFrame,
  arrays: study_lib.ArraysOf,
  contrast: factors_lib.Contrast,
  metric: str,
  tuned: int,
  nested: bool,
) -> np.ndarray | None:
  """The contrast's difference in score [n, N] by seed and example; None without any."""
  table = pairs.tabulate(study, runs, metric, tuned)
  cells = [*dict.fromkeys((*contrast.arm_cells, *contrast.reference_cells))]
  guesses = (table.diverged[cells] | table.bounded[cells]).to_dict()  # by arm and seed
  lacking = table.value[cells].isna().to_dict()
  state = (1,) if tuned else ()
  differences, indices = [], []
  for seed in study.seeds:
    stored = {
      arm: (bool(guesses[arm][seed]), arrays(arm, seed, *state))
      for arm in cells
      if not lacking[arm][seed]
    }
    pair = _difference(study, stored, contrast, seed, metric)
    if pair is not None:
      indices.append(pair[0])
      differences.append(pair[1])
  for index in indices[1:]:
    alike = len(index) == len(indices[0])
    if not (alike and (nested or np.array_equal(index, indices[0]))):
      raise ValueError('seeds differ in their test examples where they should not')
  return np.stack(differences) if differences else None


def _difference(
  study: study_lib.Study,
  stored: Mapping[str, tuple[bool, Mapping[str, np.ndarray] | None]],
  contrast: factors_lib.Contrast,
  seed: int,
  metric: str,
) -> tuple[np.ndarray, np.ndarray] | None:
  """Sorted example indices [N] and the contrast's difference in score there.

  `stored` holds, for every arm with a score at this seed, whether that is the fallback,
  and the run's arrays.
  """
  index: np.ndarray | None = None
  means: list[np.ndarray | float] = []
  for side in (contrast.arm_cells, contrast.reference_cells):
    total: np.ndarray | float = 0.0
    for arm in side:
      if arm not in stored:
        return None
      is_fallback, run = stored[arm]
      scores = _scores(run, metric)
      if scores is None and not is_fallback:
        return None
      if run is not None and scores is not None:
        order = np.argsort(run['test/index'], kind='stable')
        own_index = np.asarray(run['test/index'])[order]
        if index is not None and not np.array_equal(index, own_index):
          raise ValueError(f'arm {arm!r} saw other test examples at seed {seed}')
        index = own_index
      if is_fallback:
        total = total + float(pairs.metric(study, metric).fallback)
      elif scores is not None:
        total = total + scores[order]
    means.append(total / len(side))
  if index is None:
    return None
  return index, np.broadcast_to(np.asarray(means[0] - means[1], float), index.shape)


def _scores(run: Mapping[str, np.ndarray] | None, metric: str) -> np.ndarray | None:
  """The metric's value of every test example [N]; None if it was not stored."""
  if run is None or 'test/index' not in run:
    return None
  if f'{metric}_rows' in run:
    return np.asarray(run[f'{metric}_rows'], float)
  if metric == 'test/accuracy' and 'test/prediction' in run:
    return (run['test/prediction'] == run['test/label']).astype(float)
  return None
