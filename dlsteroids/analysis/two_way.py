"""Intervals over seeds and test examples together, from what every example scored."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import pairs, statistics
from dlsteroids.report import facts

Arrays = Callable[..., Mapping[str, np.ndarray] | None]
RESAMPLES = 1_999
DISTINCT = 64  # differences of one example; more are drawn one by one
FEWEST = 10  # blocks of a series; of fewer a bootstrap says little
CHUNK = 64  # replicates at a time, so that memory stays at CHUNK × examples


class TwoWay(NamedTuple):
  """A percentile interval of a metric's delta over seeds × test examples.

  Attributes:
    delta: arm - reference, mean over test examples.
    low, high: the interval's ends.
    seeds: how many seeds it rests on.
    examples: test examples per seed.
    nested: whether each seed has a test split of its own.
  """

  delta: float
  low: float
  high: float
  seeds: int
  examples: int
  nested: bool


def two_way(
  study: Mapping[str, Any],
  runs: pd.DataFrame,
  arrays: Arrays,
  contrast: Mapping[str, Any],
  alpha: float | None = None,
  metric: str = 'test/accuracy',
  tuned: int = 0,
) -> TwoWay | None:
  """Bootstraps a contrast's delta over seeds and test examples.

  Neighbours in a series are alike: where the data set's facts tell a `block`, so many
  consecutive examples are drawn together. With an official test split, seeds and
  examples are crossed: both are resampled, the same examples at every seed. Otherwise
  examples are resampled within each drawn seed.
  Examples are matched by their index in the data set. A diverged run scores the
  fallback on every example; a failed run drops its seed.

  Args:
    runs: the runs table, for the statuses of the runs.
    arrays: `(arm, seed)`, if tuned `(arm, seed, 1)`, -> 'test/index' [N] and either
      the metric's value of every example ('test/nats_rows') or, for accuracy,
      'test/prediction' and 'test/label'; or None.
    alpha: 1 - the coverage; the study's alpha if None.
    metric: 'test/<name>'.
    tuned: of the runs meant.

  Returns:
    The interval, or None if no seed has scores of every cell, or a series has too few
    blocks.

  Raises:
    ValueError: arms of one seed, or seeds of an official split, saw other examples.
  """
  nested = not study['data']['official_test']
  mine = pairs.select(study, runs, tuned)
  if tuned:
    arrays = functools.partial(_tuned, arrays)
  keys = zip(mine['arm'].tolist(), mine['seed'].tolist())
  status: dict[tuple[str, int], str] = dict(zip(keys, mine['status'].tolist()))
  differences, indices = [], []
  for seed in study['seeds']:
    found = _difference(study, status, arrays, contrast, seed, metric)
    if found is not None:
      differences.append(found[1])
      indices.append(found[0])
  if not differences:
    return None
  for index in indices[1:]:
    alike = len(index) == len(indices[0])
    if not (alike and (nested or np.array_equal(index, indices[0]))):
      raise ValueError('seeds differ in their test examples where they should not')
  table = np.stack(differences)  # [n, N]
  block = int(facts.of(study).get('block', 1))
  if block > 1 and table.shape[1] < FEWEST * block:
    return None
  means = _nested(table) if nested else _crossed(table, block)
  level = study['alpha'] if alpha is None else alpha
  low, high = np.quantile(means, [level / 2, 1 - level / 2])
  n, examples = table.shape
  return TwoWay(float(table.mean()), float(low), float(high), n, examples, nested)


def _tuned(arrays: Arrays, arm: str, seed: int) -> Mapping[str, np.ndarray] | None:
  return arrays(arm, seed, 1)


def _difference(
  study: Mapping[str, Any],
  status: Mapping[tuple[str, int], str],
  arrays: Arrays,
  contrast: Mapping[str, Any],
  seed: int,
  metric: str,
) -> tuple[np.ndarray, np.ndarray] | None:
  """Sorted example indices [N] and the contrast's difference in score there."""
  index: np.ndarray | None = None
  means: list[np.ndarray | float] = []
  for side in pairs.cells(contrast):
    total: np.ndarray | float = 0.0
    for arm in side:
      state = status.get((arm, seed), 'failed')
      stored = arrays(arm, seed)
      scores = _scores(stored, metric)
      if state == 'failed' or (state == 'ok' and scores is None):
        return None
      if stored is not None and scores is not None:
        order = np.argsort(stored['test/index'], kind='stable')
        mine = np.asarray(stored['test/index'])[order]
        if index is not None and not np.array_equal(index, mine):
          raise ValueError(f'arm {arm!r} saw other test examples at seed {seed}')
        index = mine
      if state == 'diverged':
        total = total + float(pairs.metric(study, metric).fallback)
      elif scores is not None:
        total = total + scores[order]
    means.append(total / len(side))
  if index is None:
    return None
  return index, np.broadcast_to(np.asarray(means[0] - means[1], float), index.shape)


def _scores(stored: Mapping[str, np.ndarray] | None, metric: str) -> np.ndarray | None:
  """The metric's value of every test example [N]; None if it was not stored."""
  if stored is None or 'test/index' not in stored:
    return None
  if f'{metric}_rows' in stored:
    return np.asarray(stored[f'{metric}_rows'], float)
  if metric == 'test/accuracy' and 'test/prediction' in stored:
    return (stored['test/prediction'] == stored['test/label']).astype(float)
  return None


def _crossed(table: np.ndarray, block: int) -> np.ndarray:
  """Replicates [RESAMPLES] of the mean of `table` [n, N], both axes resampled.

  Columns are drawn in blocks of so many neighbours, the last one shorter.
  """
  rng = statistics.generator()
  n, examples = table.shape
  starts = np.arange(0, examples, block)
  sums = np.add.reduceat(table, starts, axis=1)  # [n, blocks]
  sizes = np.diff([*starts, examples])
  means = []
  for start in range(0, RESAMPLES, CHUNK):
    times = min(CHUNK, RESAMPLES - start)
    rows = statistics.resample(rng, n, times)
    columns = statistics.resample(rng, len(starts), times)
    means.append(((rows @ sums) * columns).sum(1) / (n * (columns @ sizes)))
  return np.concatenate(means)


def _nested(table: np.ndarray) -> np.ndarray:
  """Replicates [RESAMPLES]: rows resampled, then each drawn row's own columns."""
  rng = statistics.generator()
  n, examples = table.shape
  # drawing N examples of a row is drawing N of its few distinct differences
  values = np.unique(table)
  if len(values) > DISTINCT:
    return np.array([_draw_nested(rng, table) for _ in range(RESAMPLES)])
  shares = np.stack([(table == value).mean(1) for value in values], 1)
  drawn = rng.integers(n, size=(RESAMPLES, n))
  counts = rng.multinomial(
    examples, shares[drawn] / shares[drawn].sum(-1, keepdims=True)
  )
  return (counts @ values).sum(1) / (n * examples)


def _draw_nested(rng: np.random.Generator, table: np.ndarray) -> float:
  """One replicate of `_nested`, index by index."""
  rows = rng.integers(len(table), size=len(table))
  columns = rng.integers(table.shape[1], size=table.shape)
  return float(np.take_along_axis(table[rows], columns, 1).mean())
