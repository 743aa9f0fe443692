"""Tests and intervals of two unpaired samples: runs that share no seeds.

Under the hypothesis that both arms' scores have one distribution but for a shift, every
split of the pooled runs into two groups of the arms' sizes is equally likely (Pitman
1937, Suppl. J. R. Stat. Soc. 4:119). The definitions are those of docs/statistics.md.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from dlsteroids.analysis import statistics

EXACT_SPLITS = 200_000  # up to this many all splits are visited: 10 runs a side
SPLITS = statistics.FLIPS  # sampled splits above that
INVERSION = 'permutation inversion (unpaired)'
_CHUNK = 1 << 22  # random keys at a time


class _Moves(NamedTuple):
  """How splits differ from the observed one: what moves between the groups.

  Attributes:
    sums: float64 [S], the arm's scores that leave minus the reference's that enter.
    sizes: int64 [S], how many runs change sides, each way; 0 for the observed split.
    exact: whether these are all splits, the observed one first.
  """

  sums: np.ndarray
  sizes: np.ndarray
  exact: bool


def smallest_p(n: int, m: int) -> float:
  """The smallest two-sided p of the permutation test of n against m runs."""
  if min(n, m) < 1:
    return 1.0
  splits = math.comb(n + m, n)
  if splits <= EXACT_SPLITS:
    return min(1.0, 2 / splits)
  return max(2 / splits, 2 / (SPLITS + 1))


def two_sided(arm: statistics.Numbers, reference: statistics.Numbers) -> float:
  """Permutation test of equal distributions on the difference of means, both sides.

  Twice the smaller of the two shares of splits with a difference at least, or at most,
  the observed one. All splits up to `EXACT_SPLITS`, above that (b + 1) / (B + 1) over
  `SPLITS` sampled ones.

  Args:
    arm: scores [n], any unit.
    reference: scores [m], in the same unit.

  Returns:
    p in (0, 1]; nan if a side is empty.
  """
  moves = _moves(arm, reference)
  if moves is None:
    return math.nan
  sides = [_share(moves, moves.sums <= 0), _share(moves, moves.sums >= 0)]
  return min(1.0, 2 * min(sides))


def equivalence(
  arm: statistics.Numbers, reference: statistics.Numbers, margin: float
) -> float:
  """Two one-sided permutation tests of |difference| >= margin: the larger p.

  Raises:
    ValueError: a margin that is not above zero.
  """
  if not margin > 0:
    raise ValueError(f'equivalence needs a margin above 0, got {margin!r}')
  moves = _moves(arm, reference)
  if moves is None:
    return math.nan
  # a shift of the arm by ±margin moves each split's sum by as much a run
  tie = statistics.MARGIN_TIE * margin
  above = moves.sums + moves.sizes * (margin - tie) <= 0
  below = moves.sums - moves.sizes * (margin - tie) >= 0
  still = moves.sizes == 0
  return max(_share(moves, above | still), _share(moves, below | still))


def interval(
  arm: statistics.Numbers, reference: statistics.Numbers, alpha: float
) -> statistics.Interval:
  """The shifts between two samples that the two-sided test does not reject.

  Its ends are order statistics of the differences between the means of equally many
  runs of either side. It excludes 0 if and only if `two_sided(...) <= alpha`. Where it
  is unbounded, the result is Welch's t interval, with another `kind`.
  """
  moves = _moves(arm, reference)
  n, m = len(arm), len(reference)
  if moves is None or smallest_p(n, m) > alpha:
    return welch(arm, reference, alpha)
  total = math.comb(n + m, n) if moves.exact else SPLITS + 1
  rank = statistics.largest_count(alpha, total / 2)
  still = moves.sizes == 0
  with np.errstate(invalid='ignore', divide='ignore'):
    means = moves.sums / moves.sizes
  if moves.exact:
    low = high = means[~still]
  else:  # a sampled split in which nothing moves counts against any shift
    low, high = np.where(still, -np.inf, means), np.where(still, np.inf, means)
  return statistics.Interval(
    float(np.partition(low, rank - 1)[rank - 1]),
    float(np.partition(high, len(high) - rank)[len(high) - rank]),
    INVERSION,
  )


def welch(
  arm: statistics.Numbers, reference: statistics.Numbers, alpha: float
) -> statistics.Interval:
  """Welch's t interval of the difference of means, descriptive; nan below two runs."""
  sides = [_scores(arm), _scores(reference)]
  if min(map(len, sides)) < 2:
    return statistics.Interval(math.nan, math.nan, statistics.STUDENT)
  parts = np.array([side.var(ddof=1) / len(side) for side in sides])
  mean, error = float(sides[0].mean() - sides[1].mean()), math.sqrt(parts.sum())
  if not error:
    return statistics.Interval(mean, mean, statistics.STUDENT)
  freedom = parts.sum() ** 2 / sum(
    part**2 / (len(side) - 1) for part, side in zip(parts, sides)
  )
  return statistics.t_interval(mean, error, float(freedom), alpha)


def _scores(values: statistics.Numbers) -> np.ndarray:
  """`values` as float64 [n]; raises ValueError on another shape or on nan."""
  scores = np.asarray(values, np.float64)
  if scores.ndim != 1 or not np.isfinite(scores).all():
    raise ValueError(f'expected finite scores [n], got {values!r}')
  return scores


def _share(moves: _Moves, counted: np.ndarray) -> float:
  """The share of splits that count, the observed one among them."""
  count = int(np.count_nonzero(counted))
  return count / len(counted) if moves.exact else (count + 1) / (len(counted) + 1)


def _moves(arm: statistics.Numbers, reference: statistics.Numbers) -> _Moves | None:
  """What moves in all splits, or in sampled ones; None if a side is empty."""
  first, second = _scores(arm), _scores(reference)
  if not len(first) or not len(second):
    return None
  return _cached_moves(first.tobytes(), second.tobytes())


@functools.lru_cache(maxsize=2)  # the interval reuses what the test computed
def _cached_moves(arm: bytes, reference: bytes) -> _Moves:
  """`_moves` of scores that come as their bytes."""
  first, second = np.frombuffer(arm), np.frombuffer(reference)
  swapped = len(second) < len(first)  # the smaller side is listed
  if swapped:
    first, second = second, first
  pooled = np.concatenate([first, second])
  tie = statistics.TIE * np.abs(pooled).sum()
  pooled = pooled - pooled.mean()  # sums of small numbers round less
  n, total = len(first), len(pooled)
  exact = math.comb(total, n) <= EXACT_SPLITS
  groups = _all_groups(n, total) if exact else _sampled_groups(n, total)
  sums = pooled[:n].sum() - pooled[groups].sum(1)
  sums[np.abs(sums) <= tie] = 0
  sizes = (groups >= n).sum(1)
  return _Moves(-sums if swapped else sums, sizes, exact)


@functools.lru_cache(maxsize=2)
def _all_groups(n: int, total: int) -> np.ndarray:
  """Every choice of n of `total` runs, the first n first: [S, n]."""
  flat = itertools.chain.from_iterable(itertools.combinations(range(total), n))
  return np.fromiter(flat, np.int32).reshape(-1, n)


@functools.lru_cache(maxsize=2)
def _sampled_groups(n: int, total: int) -> np.ndarray:
  """Random choices of n of `total` runs: [SPLITS, n]."""
  # straight from the bit generator, whose stream numpy guarantees
  raw = np.random.PCG64(statistics.KEY)
  parts, left = [], SPLITS
  while left:
    rows = min(left, max(1, _CHUNK // total))
    keys = np.asarray(raw.random_raw(rows * total)).reshape(rows, total)
    parts.append(np.argpartition(keys, n - 1, axis=1)[:, :n].astype(np.int32))
    left -= rows
  return np.concatenate(parts)
