"""Tests, intervals and shares of one row of paired differences.

The definitions are those of docs/statistics.md; nothing here refers to studies, arms or
files. Every number is deterministic: samples come from a numpy PCG64 generator with the
constant key `KEY`.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.special

Numbers = np.ndarray | Sequence[float]
Better = Literal['higher', 'lower']

KEY = 1969  # seeds every sampled flip and resample (the year of Hartigan's paper)
EXACT_SEEDS = 16  # up to this n all 2^n flips are visited
FLIPS = 99_999  # sampled flips above that
RESAMPLES = 9_999  # bootstrap replicates
TIE = 1e-12  # relative to the largest value the statistic can take
SKEWED = 0.95  # quantile of |skewness| of normal deltas above which deltas are flagged
SKEW_DRAWS = 20_000  # simulated rows behind that quantile
MARGIN_TIE = 1e-5  # relative to the margin: more than the rounding of float32 scores
INVERSION = 'inversion'
STUDENT = 'student-t (descriptive)'
CROSSED = 'student-t over seeds and orders'


class Interval(NamedTuple):
  """An interval of the mean in the deltas' unit, and how it was made.

  Attributes:
    low, high: its ends; nan where there is none (fewer than two deltas).
    kind: `INVERSION`, `STUDENT` or `CROSSED`, the `ci_kind` of the effects table.
  """

  low: float
  high: float
  kind: str


def _deltas(values: Numbers) -> np.ndarray:
  """`values` as float64 [n]; raises ValueError on another shape or on nan."""
  deltas = np.asarray(values, np.float64)
  if deltas.ndim != 1 or not np.isfinite(deltas).all():
    raise ValueError(f'expected finite deltas [n], got {values!r}')
  return deltas


def _snap(sums: np.ndarray, deltas: np.ndarray) -> np.ndarray:
  """Sets sums that differ from zero by rounding only to zero."""
  # a flipped sum is total - 2 * (sum of the flipped), hence half the tolerance
  sums[np.abs(sums) <= TIE / 2 * np.abs(deltas).sum()] = 0
  return sums


def _all_subsets(deltas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Sums and sizes of all 2^n subsets, the empty one first."""
  sums, sizes = np.zeros(1), np.zeros(1, np.int64)
  for delta in deltas:
    sums = np.concatenate([sums, sums + delta])
    sizes = np.concatenate([sizes, sizes + 1])
  return sums, sizes


@functools.lru_cache(maxsize=8)  # some 100 kB for every 8 deltas
def _flips(n: int) -> tuple[np.ndarray, np.ndarray]:
  """The sampled subsets: [⌈n / 8⌉, FLIPS], a bit for each of 8 deltas, and sizes."""
  # one bit a flip directly from the bit generator, whose stream numpy guarantees
  raw = np.random.PCG64(KEY)
  words = -(-FLIPS // 64)
  codes = np.zeros((-(-n // 8), FLIPS), np.uint8)
  sizes = np.zeros(FLIPS, np.int64)
  for i in range(n):
    drawn = np.asarray(raw.random_raw(words)).astype('<u8').view(np.uint8)
    bits = np.unpackbits(drawn, bitorder='little')[:FLIPS]
    codes[i // 8] |= bits << (i % 8)
    sizes += bits
  return codes, sizes


@functools.lru_cache(maxsize=2)  # the interval reuses what the test computed
def _sampled(text: bytes) -> tuple[np.ndarray, np.ndarray]:
  """Sums and sizes of the sampled subsets of deltas, which come as their bytes."""
  deltas = np.frombuffer(text)
  codes, sizes = _flips(len(deltas))
  sums = np.zeros(FLIPS)
  for code, start in zip(codes, range(0, len(deltas), 8)):
    sums += _all_subsets(deltas[start : start + 8])[0][code]
  _snap(sums, deltas).setflags(write=False)
  return sums, sizes


def _subsets(deltas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Sums and sizes of the subsets to flip: all of them, or a sample."""
  if len(deltas) > EXACT_SEEDS:
    return _sampled(deltas.tobytes())
  sums, sizes = _all_subsets(deltas)
  return _snap(sums, deltas), sizes


def largest_count(alpha: float, total: float) -> int:
  """The largest c with c / total <= alpha, rounded as in `p <= alpha`."""
  count = int(alpha * total) + 1
  while count / total > alpha:
    count -= 1
  return count


def smallest_p(n: int) -> float:
  """The smallest two-sided p that the sign-flip test of `n` deltas can reach."""
  if n < 1:
    return 1.0
  return 2.0 ** (1 - n) if n <= EXACT_SEEDS else max(2.0 ** (1 - n), 1 / (FLIPS + 1))


def sign_flip(values: Numbers) -> float:
  """Two-sided sign-flip test of a zero mean: the share of |flipped| >= |observed|.

  Exact up to `EXACT_SEEDS` deltas, above that (b + 1) / (B + 1) over `FLIPS` flips.

  Args:
    values: paired differences [n], any unit.

  Returns:
    p in (0, 1]; nan without deltas.
  """
  deltas = _deltas(values)
  if not len(deltas):
    return math.nan
  total = float(_snap(deltas.sum(keepdims=True), deltas)[0])
  if total == 0:
    return 1.0
  if len(deltas) <= EXACT_SEEDS:
    # flips <= -observed mirror those >= observed: both sides are twice one side
    return min(1.0, 2 * one_sided(deltas * math.copysign(1, total)))
  return _two_sided(_subsets(deltas)[0], deltas)


def _two_sided(sums: np.ndarray, deltas: np.ndarray) -> float:
  """p of `sign_flip` by the sums of sampled subsets; the deltas' sum is not 0."""
  rest = _snap(deltas.sum() - sums, deltas)
  up = deltas.sum() > 0
  beyond = (sums <= 0) | (rest <= 0) if up else (sums >= 0) | (rest >= 0)
  return (np.count_nonzero(beyond) + 1) / (FLIPS + 1)


def _without_each(
  deltas: np.ndarray, is_low: Callable[[float], bool] = lambda bound: False
) -> Iterator[float]:
  """p of `sign_flip` without each of the deltas in turn.

  Where flips are sampled, those of all deltas serve, so that each p costs one
  subtraction: a delta's sign is taken out of every subset that it is in. Where an upper
  bound of a p `is_low` already, it is yielded in its place.
  """
  if len(deltas) <= EXACT_SEEDS + 1:
    yield from (sign_flip(np.delete(deltas, i)) for i in range(len(deltas)))
    return
  sums, (codes, _) = _subsets(deltas)[0], _flips(len(deltas))
  bounds = _bounds_without_each(deltas, sums)
  for i, delta in enumerate(deltas):
    if is_low(bounds[i]):
      yield bounds[i]
      continue
    rest = np.delete(deltas, i)
    if _snap(rest.sum(keepdims=True), rest)[0] == 0:
      yield 1.0
      continue
    bits = codes[i // 8] >> (i % 8) & 1
    yield _two_sided(_snap(sums - delta * bits, rest), rest)


def _bounds_without_each(deltas: np.ndarray, sums: np.ndarray) -> list[float]:
  """Upper bounds of the p of `_without_each`, from the sums of sampled subsets.

  Without one delta a sum, and the rest of the total, moves by no more than the delta's
  size: flips that lie further from the observed total cannot come to it. A delta that
  could turn the total's sign has the bound 1.
  """
  total = float(deltas.sum())
  ties = TIE * np.abs(deltas).sum()
  near = math.copysign(1, total) * sums
  least = np.sort(np.minimum(near, abs(total) - near))
  reach = np.abs(deltas) + ties
  counts = np.searchsorted(least, reach, side='right')
  bounds = np.where(reach < abs(total), (counts + 1) / (FLIPS + 1), 1.0)
  return np.minimum(bounds, 1.0).tolist()


def one_sided(values: Numbers) -> float:
  """One-sided sign-flip test of a mean <= 0: the share of flipped >= observed."""
  deltas = _deltas(values)
  if not len(deltas):
    return math.nan
  sums, _ = _subsets(deltas)
  # flipping a subset gives total - 2 * (its sum), so >= observed means its sum <= 0
  count = int(np.count_nonzero(sums <= 0))
  if len(deltas) <= EXACT_SEEDS:
    return count / len(sums)
  return (count + 1) / (FLIPS + 1)


def equivalence(values: Numbers, margin: float) -> float:
  """Two one-sided sign-flip tests of |mean| >= margin: the larger p.

  A difference within `MARGIN_TIE` of the margin lies on it: .95 - .90 is not below .05.

  Args:
    values: paired differences [n].
    margin: in the same unit.

  Raises:
    ValueError: a margin that is not above zero.
  """
  if not margin > 0:
    raise ValueError(f'equivalence needs a margin above 0, got {margin!r}')
  deltas = _deltas(values)
  room = np.stack([deltas + margin, margin - deltas])
  room[np.abs(room) <= MARGIN_TIE * margin] = 0
  return max(one_sided(side) for side in room)


def interval(values: Numbers, alpha: float) -> Interval:
  """The means that the two-sided sign-flip test does not reject (Hartigan 1969).

  Its ends are order statistic floor(alpha * 2^n / 2) from each end of the 2^n - 1 means
  of non-empty subsets. It excludes 0 if and only if `sign_flip(values) <= alpha`. Where
  it is unbounded (n <= 5 at alpha = .05), the result is Student's t interval, with
  another `kind`.
  """
  deltas = _deltas(values)
  n = len(deltas)
  if n == 0 or smallest_p(n) > alpha:
    return student_t(deltas, alpha)
  sums, sizes = _subsets(deltas)
  if n <= EXACT_SEEDS:
    rank = largest_count(alpha, 2 ** (n - 1))
    low = high = sums[1:] / sizes[1:]
  else:
    # the sampled test counts a flip against a mean below the observed one if the
    # flipped deltas, or the others, average to no more than that mean
    rank = largest_count(alpha, FLIPS + 1)
    rest = _snap(deltas.sum() - sums, deltas)
    with np.errstate(invalid='ignore', divide='ignore'):
      means = sums / sizes, rest / (n - sizes)
    low, high = np.minimum(*means), np.maximum(*means)
    trivial = (sizes == 0) | (sizes == n)  # these count against any mean
    low[trivial], high[trivial] = -np.inf, np.inf
  return Interval(
    float(np.partition(low, rank - 1)[rank - 1]),
    float(np.partition(high, len(high) - rank)[len(high) - rank]),
    INVERSION,
  )


def student_t(values: Numbers, alpha: float, overlap: float = 0.0) -> Interval:
  """Student's t interval of the mean, descriptive only; nan ends below two deltas.

  Args:
    values: paired differences [n].
    alpha: 1 - the coverage.
    overlap: test examples by training examples, where each difference comes from a
      random split of the same data: Nadeau and Bengio's (2003, Mach. Learn. 52:239)
      correction, for the population that the data were drawn from.
  """
  deltas = _deltas(values)
  if len(deltas) < 2:
    return Interval(math.nan, math.nan, STUDENT)
  error = deltas.std(ddof=1) * math.sqrt(1 / len(deltas) + overlap)
  return t_interval(float(deltas.mean()), error, len(deltas) - 1, alpha)


def t_interval(mean: float, error: float, freedom: float, alpha: float) -> Interval:
  """Student's t interval from a standard error and its degrees of freedom."""
  shares = (1 + np.array([-1, 1]) * (1 - alpha)) / 2
  low, high = mean + error * scipy.special.stdtrit(freedom, shares)
  return Interval(float(low), float(high), STUDENT)


def crossed_error(
  table: np.ndarray, population: float = math.inf
) -> tuple[float, float]:
  """Standard error of the mean of a table whose rows and columns are both sampled.

  With the mean squares of a two-way analysis of variance without interaction, the
  variance of the mean is (MS_rows + max(MS_columns - MS_residual, 0)) / (n m): the
  residual counts once. Its degrees of freedom are Satterthwaite's.

  Args:
    table: [n, m], e.g. seeds × examples; at least two of each.
    population: how many columns there are, m of which were drawn without replacement.

  Returns:
    The error, in the table's unit, and its degrees of freedom.
  """
  n, m = table.shape
  if min(n, m) < 2:
    return math.nan, math.nan
  rows, columns = table.mean(1), table.mean(0)
  residuals = table - rows[:, None] - columns + table.mean()
  squares = np.array([m * rows.var(ddof=1), n * columns.var(ddof=1), 0.0])
  squares[2] = (residuals**2).sum() / ((n - 1) * (m - 1))
  share = max(0.0, 1 - m / population) if squares[1] > squares[2] else 0.0
  parts = squares * [1, share, -share]
  total = parts.sum()
  if not total > 0:
    return 0.0, n - 1.0
  freedom = total**2 / (parts**2 / [n - 1, m - 1, (n - 1) * (m - 1)]).sum()
  return math.sqrt(total / (n * m)), float(max(freedom, min(n, m) - 1))


def crossed(
  table: np.ndarray, alpha: float, population: float = math.inf
) -> tuple[Interval, float]:
  """Student's t interval and p of the mean of a table of few rows and columns.

  The error is that of `crossed_error`; the degrees of freedom are at most those of the
  smaller side, since few columns are seldom normal (Satterthwaite's covered .90).

  Returns:
    The interval, and the two-sided p of a zero mean; all nan below two rows or columns.
  """
  mean, (error, freedom) = float(table.mean()), crossed_error(table, population)
  freedom = min(freedom, min(table.shape) - 1)
  span = t_interval(mean, error, freedom, alpha)._replace(kind=CROSSED)
  if error == 0:
    return span, float(mean == 0)
  return span, float(2 * scipy.special.stdtr(freedom, -abs(mean) / error))


def expanded_tail(n: int, alpha: float) -> float:
  """The share of replicates to leave out at each end of a bootstrap of n values.

  Percentiles expanded for small n (Hesterberg 2015, Am. Stat. 69:371): the normal tail
  beyond Student's t limit times sqrt(n / (n - 1)).
  """
  limit = math.sqrt(n / (n - 1)) * scipy.special.stdtrit(n - 1, 1 - alpha / 2)
  return float(scipy.special.ndtr(-limit))


def skewness(values: Numbers) -> tuple[float, bool]:
  """Skewness of deltas, and whether it is beyond what normal deltas show.

  Returns:
    The adjusted Fisher-Pearson coefficient G1, nan below three deltas or if all are
    equal; and whether |G1| is above its `SKEWED` quantile under normal deltas.
  """
  deltas = _deltas(values)
  if len(deltas) < 3 or not np.ptp(deltas) > TIE * np.abs(deltas).max():
    return math.nan, False
  coefficient = float(_adjusted_skewness(deltas))
  return coefficient, abs(coefficient) > _normal_skewness(len(deltas))


def _adjusted_skewness(values: np.ndarray) -> np.ndarray:
  """The adjusted Fisher-Pearson coefficient G1 of values [..., n]."""
  n = values.shape[-1]
  deviations = values - values.mean(-1, keepdims=True)
  squares = deviations**2
  second, third = squares.mean(-1), (squares * deviations).mean(-1)
  return math.sqrt(n * (n - 1)) / (n - 2) * third / second**1.5


@functools.lru_cache
def _normal_skewness(n: int) -> float:
  """The `SKEWED` quantile of |G1| of n normal deltas, simulated."""
  draws = generator().normal(size=(SKEW_DRAWS, n))
  return float(np.quantile(np.abs(_adjusted_skewness(draws)), SKEWED))


def pivotal(family: Sequence[Numbers], alpha: float) -> list[tuple[int, ...]]:
  """The deltas on each of which alone a contrast's significance hangs.

  Args:
    family: deltas of each contrast; a contrast may lack some.
    alpha: the level of Holm's procedure.

  Returns:
    For each contrast the indices of deltas without which its Holm-adjusted p is above
    `alpha`, the other contrasts unchanged. None for one that is not significant, nor
    where one delta fewer could not reach `alpha` whatever the deltas.
  """
  p = np.array([sign_flip(values) for values in family])
  adjusted = holm(p)
  result = []
  for i, values in enumerate(family):
    deltas = _deltas(values)
    others = p.copy()
    others[i] = smallest_p(len(deltas) - 1)
    hanging: list[int] = []

    def holds(p_without: float, i: int = i, others: np.ndarray = others) -> bool:
      others[i] = p_without
      return bool(holm(others)[i] <= alpha)

    if adjusted[i] <= alpha and holds(others[i]):
      for index, p_without in enumerate(_without_each(deltas, holds)):
        if not holds(p_without):
          hanging.append(index)
    result.append(tuple(hanging))
  return result


def holm(p_values: Numbers) -> np.ndarray:
  """Holm's step-down adjustment [m]; a p that is nan (no pairs) counts as 1."""
  p = np.asarray(p_values, np.float64)
  p = np.where(np.isnan(p), 1.0, p)
  order = np.argsort(p, kind='stable')
  stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
  adjusted = np.empty_like(p)
  adjusted[order] = np.minimum(stepped, 1)
  return adjusted


def _wins(component: Numbers, other: Numbers, better: Better) -> np.ndarray:
  """[n, m]: 1 where component[i] is better than other[j], ½ where they tie."""
  if better not in ('higher', 'lower'):
    raise ValueError(f"better is 'higher' or 'lower', got {better!r}")
  gap = np.subtract.outer(_deltas(component), _deltas(other))
  return (np.sign(gap) * (1 if better == 'higher' else -1) + 1) / 2


def improvement(component: Numbers, other: Numbers, better: Better) -> float:
  """Probability of improvement (Agarwal et al. 2021): the share of all n × m pairs.

  Args:
    component: scores [n] of the side that has the component.
    other: scores [m] of the side that lacks it.
    better: which direction of the metric is better.

  Returns:
    The share in [0, 1] of pairs in which `component` is better, ties ½; nan if empty.
  """
  wins = _wins(component, other, better)
  return float(wins.mean()) if wins.size else math.nan


def improvement_interval(
  component: Numbers, other: Numbers, better: Better, alpha: float
) -> tuple[float, float]:
  """The interval of `improvement` that holds near 0 and 1.

  It inverts a score test: Newcombe's (2006, Stat. Med. 25:559) method 5 for n × m
  pairs, with Hanley and McNeil's variance at the tested value and Student's t of
  n + m - 2 degrees of freedom for the normal quantile. Both sides count as independent
  samples; seeds that correlate positively make it wider than it need be.

  Returns:
    Its ends in [0, 1]; nan below two scores a side.
  """
  wins = _wins(component, other, better)
  n, m = wins.shape
  if min(n, m) < 2:
    return math.nan, math.nan
  share = wins.mean()
  limit = scipy.special.stdtrit(n + m - 2, 1 - alpha / 2)

  def excess(value: float) -> float:
    ties = (1 - value) / (2 - value) + value / (1 + value)
    variance = value * (1 - value) / (n * m) * (1 + ((n + m) / 2 - 1) * ties)
    return abs(share - value) - limit * math.sqrt(variance)

  ends = []
  for outer in (0.0, 1.0):
    inner = share  # the end lies between: rejected beyond, not rejected before
    for _ in range(60):
      middle = (outer + inner) / 2
      outer, inner = (middle, inner) if excess(middle) > 0 else (outer, middle)
    ends.append(float(outer))
  return ends[0], ends[1]


def generator() -> np.random.Generator:
  """A fresh generator with the constant key, so that equal inputs give equal bits."""
  return np.random.Generator(np.random.PCG64(KEY))


def resample(rng: np.random.Generator, n: int, times: int) -> np.ndarray:
  """How often each of n items is drawn in n draws with replacement: [times, n]."""
  drawn = rng.integers(n, size=(times, n)) + n * np.arange(times)[:, None]
  return np.bincount(drawn.ravel(), minlength=times * n).reshape(times, n)


def noise_floor(scores: Numbers) -> float:
  """SD √2·σ of A/A differences, from one arm's scores over seeds; nan below two.

  It bounds the SD of paired differences unless seeds correlate negatively.
  """
  values = _deltas(scores)
  return math.sqrt(2) * float(values.std(ddof=1)) if len(values) > 1 else math.nan
