"""What a design can find before it is trained: power, seeds needed, detectable effects.

All of it is about the test that judges a contrast, the two-sided sign-flip test at the
first step of Holm's procedure (alpha / contrasts), under normal deltas.
"""

import functools
import math

import numpy as np
import scipy.optimize
import scipy.stats

from dlsteroids.analysis import statistics

POWERS = (0.5, 0.8, 0.9, 0.95)  # of `table`
MOST = 200  # seeds that anyone would train
COARSE = 16  # so few flips in the rejection region are simulated
DRAWS = 1000  # simulated rows of deltas; both of their ends count
ERROR = 0.05  # by how much the approximation may be too low where flips are coarse
_FAR = 30.0  # sd of the mean; no limit is near it


def power(sd: float, effect: float, n: int, alpha: float, contrasts: int = 1) -> float:
  """The probability that a contrast is found, were it the one with the smallest p.

  Where flips are coarse (fewer than `COARSE` of them reject) the test itself is
  simulated, with a constant key. Elsewhere it is the noncentral t distribution beyond
  the limit that Box and Andersen (1955, J. R. Stat. Soc. B 17:1) give for a permutation
  test. Against simulations with n = 6 to 20 this is right within .05, mostly .02; it
  is too high above `statistics.EXACT_SEEDS` if 2^n * alpha / contrasts is below 64.

  Args:
    sd: standard deviation of the paired deltas, e.g. `statistics.noise_floor`.
    effect: true mean delta in the unit of `sd`; its sign is of no account.
    n: seeds.
    alpha: of the family, in (0, 1).
    contrasts: m, the size of the family.

  Returns:
    A probability, 0 where `n` seeds cannot reach alpha; nan if `sd` or `effect` is.

  Raises:
    ValueError: a negative `sd`, `alpha` outside (0, 1) or no contrasts.
  """
  level = _level(sd, alpha, contrasts)
  if math.isnan(sd) or math.isnan(effect):
    return math.nan
  if statistics.smallest_p(n) > level:
    return 0.0
  if sd == 0:  # every delta is the effect
    return float(effect != 0)
  return _power(abs(effect) / sd, n, level)


def seeds_needed(
  sd: float,
  effect: float,
  alpha: float,
  contrasts: int = 1,
  power: float = 0.8,
  most: int = MOST,
) -> int | None:
  """The fewest seeds that find an effect with probability `power`; see `power`.

  Returns:
    A number of seeds; None if it would be above `most`, or `sd` or `effect` is nan.
  """
  level = _level(sd, alpha, contrasts)
  if math.isnan(sd) or math.isnan(effect) or effect == 0:
    return None
  shift = abs(effect) / sd if sd else math.inf
  for n in range(2, most + 1):
    if statistics.smallest_p(n) > level:
      continue
    # no simulation where even the approximation, never much too low, is far off
    enough = _coarse(n, level) and _approximate(shift, n, level) < power - ERROR
    if not enough and _power(shift, n, level) >= power:
      return n
  return None


def detectable(
  sd: float, n: int, alpha: float, contrasts: int = 1, power: float = 0.8
) -> float:
  """The smallest mean delta that is found with probability `power`; see `power`.

  With n = 6 and one contrast it is a quarter more than by Student's t.

  Returns:
    A delta in the unit of `sd`; inf where `n` seeds cannot reach alpha, nan for a `sd`
    of nan.
  """
  level = _level(sd, alpha, contrasts)
  if math.isnan(sd):
    return math.nan
  if statistics.smallest_p(n) > level:
    return math.inf
  return sd * _shift(power, n, level)


def table(
  sd: float, n: int, alpha: float, contrasts: int = 1
) -> list[tuple[float, float]]:
  """`(power, detectable delta)` for the probabilities of `POWERS`."""
  return [(wanted, detectable(sd, n, alpha, contrasts, wanted)) for wanted in POWERS]


def _level(sd: float, alpha: float, contrasts: int) -> float:
  """The level of Holm's first step, alpha / contrasts."""
  if sd < 0 or not 0 < alpha < 1 or contrasts < 1:
    raise ValueError(
      'expected sd >= 0, alpha in (0, 1) and one contrast or more, got '
      f'sd {sd!r}, alpha {alpha!r}, {contrasts!r} contrasts'
    )
  return alpha / contrasts


def _coarse(n: int, level: float) -> bool:
  """Whether the rejection region has so few flips that it must be simulated."""
  return n <= statistics.EXACT_SEEDS and level * 2 ** (n - 1) < COARSE


def _power(shift: float, n: int, level: float) -> float:
  """The power at a mean of `shift` standard deviations, for a level within reach."""
  if not _coarse(n, level):
    return _approximate(shift, n, level)
  ends = _ends(n, level)
  found = np.searchsorted(ends, [shift, -shift])
  return float(found.sum() / len(ends))


@functools.lru_cache(maxsize=64)
def _ends(n: int, level: float) -> np.ndarray:
  """Ends of intervals of n standard normal deltas, sorted: where they are found.

  A row of deltas is found if its interval excludes 0, and a shift of the deltas shifts
  the interval. So one simulation answers for every shift: the row is found above zero
  if -low < shift, and its mirror image if high < shift.
  """
  rows = statistics.generator().normal(size=(DRAWS, n))
  spans = [statistics.interval(row, level) for row in rows]
  return np.sort([end for span in spans for end in (-span.low, span.high)])


def _approximate(shift: float, n: int, level: float) -> float:
  """The power by the noncentral t distribution, beyond a permutation test's limit.

  Over the flips, W = (sum x)^2 / (n sum x^2) has mean 1/n and a variance that falls
  with the deltas' kurtosis about zero. Box and Andersen give it the beta distribution
  of these two moments: that of normal deltas with both parameters times 1 - (3 - k) /
  n. About zero, normal deltas have k = 3 under no effect; the more they are shifted
  the nearer k comes to 1, and the more than Student's t the flips ask for.
  """
  if n > statistics.EXACT_SEEDS:  # p is a multiple of 1 / (FLIPS + 1)
    count = statistics.FLIPS + 1
    level = math.floor(level * count * (1 + statistics.TIE)) / count
  shift = min(shift, _FAR / math.sqrt(n))
  kurtosis = (shift**4 + 6 * shift**2 + 3) / (1 + shift**2) ** 2
  scale = 1 - (3 - kurtosis) / n
  share = float(scipy.stats.beta.isf(level, scale / 2, scale * (n - 1) / 2))
  if share >= 1:
    return 0.0
  limit = math.sqrt((n - 1) * share / (1 - share))
  mean = shift * math.sqrt(n)
  # scipy's lower tail is nan where it is too small to matter
  lower = np.nan_to_num(scipy.stats.nct.cdf(-limit, n - 1, mean))
  return float(scipy.stats.nct.sf(limit, n - 1, mean) + lower)


def _shift(wanted: float, n: int, level: float) -> float:
  """The mean, in standard deviations, that is found with probability `wanted`."""
  missing = lambda shift: _power(shift, n, level) - wanted
  far = 1 / math.sqrt(n)
  while missing(far) < 0:
    far *= 2
  return float(scipy.optimize.brentq(missing, 0, far))
