"""What an error costs on a ladder of compute, and how many times that on another.

The seeds' mean error is made non-increasing in compute by an isotonic fit; between two
fitted points log FLOPs are interpolated linearly in the log of the error, which is
exact for a power law. Nothing is extrapolated: an error that is reached at the smallest
rung, or not even at the largest, is known to lie on that side and no more.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from dlsteroids.analysis import ladders, statistics

RESAMPLES = 1_999  # bootstrap replicates
NEVER = 'never'  # the ablated arm does not reach the target: the gain is more
INTACT_AT_ONCE = 'intact at once'  # at its smallest rung: at least so much
ABLATED_AT_ONCE = 'ablated at once'  # at most so much
BOTH_AT_ONCE = 'both at once'  # it may be anything
INTACT_NEVER = 'intact never'  # undefined
UNTOLD = {INTACT_NEVER: 'undefined', BOTH_AT_ONCE: 'untold'}
SIGNS = {'': '', NEVER: '> ', INTACT_AT_ONCE: '≥ ', ABLATED_AT_ONCE: '≤ '}


def isotonic(errors: Any) -> np.ndarray:
  """The non-increasing least-squares fit along the last axis, all weights equal.

  By the max-min formula (Barlow et al. 1972), which needs no loop over rows: the fit at
  i is the minimum over a ≤ i of the maximum over b ≥ i of the mean of errors a to b.

  Args:
    errors: [..., R], finite.
  """
  errors = np.asarray(errors, np.float64)
  count = errors.shape[-1]
  fit = np.full(errors.shape, np.inf)
  for start in range(count):
    means = np.cumsum(errors[..., start:], -1) / np.arange(1, count - start + 1)
    most = np.maximum.accumulate(means[..., ::-1], -1)[..., ::-1]
    np.minimum(fit[..., start:], most, out=fit[..., start:])
  return fit


class Cost(NamedTuple):
  """Log FLOPs [...] at which an error is first reached, as far as a ladder tells.

  Where `low` and `high` are equal it is measured. Reached at the smallest rung, it lies
  anywhere up to there (`low` is -inf); never reached, beyond the largest (`high` inf).
  """

  low: np.ndarray
  high: np.ndarray

  @property
  def at_once(self) -> np.ndarray:
    """Whether the smallest rung reaches it already."""
    return np.isneginf(self.low)

  @property
  def never(self) -> np.ndarray:
    """Whether the largest rung does not reach it."""
    return np.isposinf(self.high)

  @property
  def shown(self) -> np.ndarray:
    """The cost, or the rung that bounds it."""
    return np.where(self.at_once, self.high, self.low)


def cost_at(log_flops: Any, places: Any, target: Any) -> Cost:
  """Where fitted ladders first come down to a target.

  Args:
    log_flops: [R], rising, two or more.
    places: [..., R], non-increasing: the yardstick's places of the isotonic fit.
    target: the place to reach, a number or [...].

  Raises:
    ValueError: fewer than two rungs, or FLOPs that do not rise.
  """
  x, y = np.asarray(log_flops, np.float64), np.asarray(places, np.float64)
  if len(x) < 2 or y.shape[-1] != len(x) or not (np.diff(x) > 0).all():
    raise ValueError(f'a ladder has two or more rising rungs, got log FLOPs {x}')
  goal = np.broadcast_to(np.asarray(target, np.float64), y.shape[:-1])
  # means of equal errors may differ by rounding
  slack = statistics.TIE * np.maximum(1, np.abs(goal))
  reached = y <= (goal + slack)[..., None]
  after = np.maximum(np.argmax(reached, -1), 1)
  ends = np.stack([after - 1, after], -1)
  above, below = np.moveaxis(np.take_along_axis(y, ends, -1), -1, 0)
  drop = above - below
  share = np.divide(above - goal, drop, out=np.ones_like(drop), where=drop > 0)
  start, stop = x[after - 1], x[after]
  cost = start + np.clip(share, 0, 1) * (stop - start)
  never, at_once = ~reached[..., -1], reached[..., 0]
  low = np.where(never, x[-1], np.where(at_once, -np.inf, cost))
  high = np.where(never, np.inf, np.where(at_once, x[0], cost))
  return Cost(low, high)


def draw_counts(n: int, times: int = RESAMPLES) -> np.ndarray:
  """How often each of n seeds counts: [1 + times, n]; once each, then resampled.

  One table serves both arms and all their rungs: seeds are resampled jointly.
  """
  drawn = statistics.resample(statistics.generator(), n, times)
  return np.concatenate([np.ones((1, n), drawn.dtype), drawn])


def fit(errors: np.ndarray, yard: ladders.Yardstick, counts: np.ndarray) -> np.ndarray:
  """Places [B, R] of isotonic fits to means of `errors` [n, R] by `counts` [B, n]."""
  means = counts @ errors / counts.sum(1, keepdims=True)
  return yard.place(isotonic(means))


class Gain(NamedTuple):
  """A compute-equivalent gain at one target, as a factor of FLOPs.

  Attributes:
    value: C_ablated / C_intact; inf where the ablated arm never gets there; the bound
      where one arm gets there at once; nan where nothing can be told.
    low, high: the interval's ends, 0 and inf where the ladders do not bound it; nan
      with a single seed, or without a defined replicate.
    shown: the finite numbers that stand for `value`, `low` and `high` in print, behind
      '>', '≥', '≤' or '<' where those are not the numbers themselves; nan if none can.
    censored: '' if measured, else one of `NEVER`, `INTACT_AT_ONCE`, `ABLATED_AT_ONCE`,
      `BOTH_AT_ONCE`, `INTACT_NEVER`.
    share_never: of all replicates, those in which only the intact arm gets there.
    share_undefined: those in which the intact arm does not; the interval is without.
    cost_intact, cost_ablated: FLOPs; inf if never; the smallest rung's if at once.
  """

  value: float
  low: float
  high: float
  shown: tuple[float, float, float]
  censored: str
  share_never: float
  share_undefined: float
  cost_intact: float
  cost_ablated: float


def measure(
  intact: np.ndarray,
  ablated: np.ndarray,
  flops: tuple[np.ndarray, np.ndarray],
  target: Any,
  n: int,
  alpha: float,
) -> Gain:
  """The gain at a target with its joint bootstrap interval.

  Each replicate tells between which ends its gain lies. The interval runs from a low
  order statistic of the lower ends to a high one of the upper ends. Its level is
  expanded (Hesterberg 2015, The American Statistician 69(4)): percentiles of so few
  seeds are too narrow by √((n - 1) / n) and by the normal in place of Student's t.
  Simulated coverage of .95 with lognormal or exponential noise, targets inside the
  ladders and at their ends: .93–.996 at 5 seeds, .95–.99 at 8, .94–.98 at 20 (without
  expansion .84, .89 and .92 at the least); .78–.91 at 3.

  Args:
    intact, ablated: places [1 + B, R] of their fits, the estimate first.
    flops: [R] of the intact and of the ablated ladder.
    target: the place to reach; [1 + B] where it moves with the replicate.
    n: seeds behind the fits.
    alpha: 1 - the coverage.
  """
  ours = cost_at(np.log(flops[0]), intact, target)
  theirs = cost_at(np.log(flops[1]), ablated, target)
  undefined, never = ours.never, theirs.never & ~ours.never
  low, high = theirs.low - ours.high, theirs.high - ours.low
  kept = ~undefined[1:]
  ends = _span(low[1:][kept], high[1:][kept], n, alpha)
  censored = _censored(ours, theirs)
  shown, value = _point(censored, float(low[0]), float(high[0]))
  shares = [
    math.nan if n < 2 else float(lost[1:].mean()) for lost in (never, undefined)
  ]
  costs = [
    math.inf if cost.never[0] else _power(cost.shown[0]) for cost in (ours, theirs)
  ]
  return Gain(
    value,
    ends.low,
    ends.high,
    (shown, ends.low_shown, ends.high_shown),
    censored,
    shares[0],
    shares[1],
    costs[0],
    costs[1],
  )


def _power(log: Any) -> float:
  return float(np.exp(log))


def _censored(ours: Cost, theirs: Cost) -> str:
  """What is known of the estimate, the first of the costs."""
  if ours.never[0]:
    return INTACT_NEVER
  if theirs.never[0]:
    return NEVER
  if ours.at_once[0]:
    return BOTH_AT_ONCE if theirs.at_once[0] else INTACT_AT_ONCE
  return ABLATED_AT_ONCE if theirs.at_once[0] else ''


def _point(censored: str, low: float, high: float) -> tuple[float, float]:
  """The number to print and the estimate itself, from the ends of its log."""
  if censored in (INTACT_NEVER, BOTH_AT_ONCE):
    return math.nan, math.nan
  shown = _power(high if censored == ABLATED_AT_ONCE else low)
  return shown, math.inf if censored == NEVER else shown


def tail(n: int, alpha: float) -> float:
  """The share of replicates to leave out at each end, expanded for n seeds."""
  wide = math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(1 - alpha / 2, n - 1)
  return float(scipy.stats.norm.sf(wide))


class _Span(NamedTuple):
  """An interval of factors, and the finite numbers that stand for its ends."""

  low: float
  high: float
  low_shown: float
  high_shown: float


def _span(low: np.ndarray, high: np.ndarray, n: int, alpha: float) -> _Span:
  """The interval from the ends of every replicate's log.

  An end that is not bounded lies at least beyond the same order statistic of the other
  ends: 'more than 8.3' is known, however much more it is.
  """
  if n < 2 or not len(low):
    return _Span(math.nan, math.nan, math.nan, math.nan)
  rank = max(1, int(tail(n, alpha) * (len(low) + 1)))
  low, high = np.sort(low), np.sort(high)
  ends = low[rank - 1], high[-rank]
  bounds = high[rank - 1], low[-rank]
  shown = [e if np.isfinite(e) else b for e, b in zip(ends, bounds)]
  low_shown, high_shown = (_power(s) if np.isfinite(s) else math.nan for s in shown)
  return _Span(_power(ends[0]), _power(ends[1]), low_shown, high_shown)


def times(factor: float) -> str:
  """A factor of compute without its sign '×': '0.45', '1.04', '3.2', '12'."""
  if factor < 0.0995:
    return f'{factor:.2g}'
  if factor < 1.995:
    return f'{factor:.2f}'
  return f'{factor:.1f}' if factor < 9.95 else f'{factor:,.0f}'


def describe(gain: Gain) -> str:
  """E.g. '3.2× [2.1, > 8.3]'; with one seed no interval."""
  if gain.censored in UNTOLD:
    return UNTOLD[gain.censored]
  value, low, high = gain.shown
  interval = ''
  if not math.isnan(gain.low):
    interval = (
      f' [{_end(gain.low, low, "< ", "0")}, {_end(gain.high, high, "> ", "∞")}]'
    )
  return f'{SIGNS[gain.censored]}{times(value)}×{interval}'


def _end(end: float, shown: float, sign: str, empty: str) -> str:
  if math.isnan(shown):
    return empty
  return times(shown) if 0 < end < math.inf else f'{sign}{times(shown)}'
