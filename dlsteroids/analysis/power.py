"""Power, seeds needed and detectable effects of a design, before it is trained.

They are those of the two-sided sign-flip test at the first step of Holm's procedure
(alpha / contrasts), under normal deltas; of runs that are not paired, those of the
permutation test with n runs a side.
"""

import functools
import math

import numpy as np
import scipy  # loads `stats` and `optimize`, which take long, when they are first used

from dlsteroids.analysis import permutation, statistics

MAX_SEEDS = 200  # the most that `seeds_needed` searches
COARSE = 16  # with fewer flips in the rejection region, the test is simulated
DRAWS = 1000  # simulated rows of deltas; both ends of their intervals count
ERROR = 0.05  # by which the approximation may be too low where flips are coarse
_FAR = 30.0  # standard errors of the mean, beyond any critical value


def power(
  sd: float,
  effect: float,
  n: int,
  alpha: float,
  contrasts: int = 1,
  paired: bool = True,
) -> float:
  """The probability of detecting a contrast if its p is the smallest of the family.

  Where flips are coarse (fewer than `COARSE` of them reject) the test itself is
  simulated, with a constant key. Elsewhere it is the noncentral t distribution beyond
  the critical value that Box and Andersen (1955, J. R. Stat. Soc. B 17:1) give for a
  permutation test. Against simulations with n = 6 to 20 the error is below .05, mostly
  .02; it is too high above `statistics.EXACT_SEEDS` if 2^n * alpha / contrasts is below
  64.

  Args:
    sd: standard deviation of the paired deltas, e.g. `statistics.noise_floor`.
    effect: true mean delta in the unit of `sd`; its sign does not matter.
    n: seeds.
    alpha: of the family, in (0, 1).
    contrasts: m, the size of the family.
    paired: whether runs of equal seeds are pairs; else `sd` is √2·σ of an arm's runs.

  Returns:
    A probability, 0 where `n` seeds cannot reach alpha; nan if `sd` or `effect` is.

  Raises:
    ValueError: a negative `sd`, `alpha` outside (0, 1) or no contrasts.
  """
  level = _level(sd, alpha, contrasts)
  if math.isnan(sd) or math.isnan(effect):
    return math.nan
  if _smallest_p(n, paired) > level:
    return 0.0
  if sd == 0:  # every delta is the effect
    return float(effect != 0)
  return _power(abs(effect) / sd, n, level, paired)


def seeds_needed(
  sd: float,
  effect: float,
  alpha: float,
  contrasts: int = 1,
  power: float = 0.8,
  most: int = MAX_SEEDS,
  paired: bool = True,
) -> int | None:
  """The fewest seeds that detect an effect with probability `power`; see `power`.

  Returns:
    A number of seeds; None if it would be above `most`, or `sd` or `effect` is nan.
  """
  level = _level(sd, alpha, contrasts)
  if math.isnan(sd) or math.isnan(effect) or effect == 0:
    return None
  shift = abs(effect) / sd if sd else math.inf
  for n in range(2, most + 1):
    if _smallest_p(n, paired) > level:
      continue
    # skip simulating where the approximation, never much too low, is far below
    coarse = _coarse(n, level, paired)
    hopeless = coarse and _approximate(shift, n, level, paired) < power - ERROR
    if not hopeless and _power(shift, n, level, paired) >= power:
      return n
  return None


def detectable(
  sd: float,
  n: int,
  alpha: float,
  contrasts: int = 1,
  power: float = 0.8,
  paired: bool = True,
) -> float:
  """The smallest mean delta that is detected with probability `power`; see `power`.

  With n = 6 and one contrast it is a quarter larger than Student's t gives.

  Returns:
    A delta in the unit of `sd`; inf where `n` seeds cannot reach alpha, nan for a `sd`
    of nan.
  """
  level = _level(sd, alpha, contrasts)
  if math.isnan(sd):
    return math.nan
  if _smallest_p(n, paired) > level:
    return math.inf
  return sd * _shift(power, n, level, paired)


def _level(sd: float, alpha: float, contrasts: int) -> float:
  """The level of Holm's first step, alpha / contrasts."""
  if sd < 0 or not 0 < alpha < 1 or contrasts < 1:
    raise ValueError(
      'expected sd >= 0, alpha in (0, 1) and one contrast or more, got '
      f'sd {sd!r}, alpha {alpha!r}, {contrasts!r} contrasts'
    )
  return alpha / contrasts


def _smallest_p(n: int, paired: bool) -> float:
  return statistics.smallest_p(n) if paired else permutation.smallest_p(n, n)


def _coarse(n: int, level: float, paired: bool) -> bool:
  """Whether the rejection region has so few flips that it must be simulated."""
  if not paired:
    return level * math.comb(2 * n, n) / 2 < COARSE
  return n <= statistics.EXACT_SEEDS and level * 2 ** (n - 1) < COARSE


def _power(shift: float, n: int, level: float, paired: bool) -> float:
  """The power at a mean of `shift` standard deviations, for a level within reach."""
  if not _coarse(n, level, paired):
    return _approximate(shift, n, level, paired)
  ends = _ends(n, level, paired)
  return float(np.searchsorted(ends, [shift, -shift]).sum() / len(ends))


@functools.lru_cache(maxsize=64)
def _ends(n: int, level: float, paired: bool) -> np.ndarray:
  """Sorted shifts at which intervals of n standard normal deltas begin to exclude 0.

  Shifting the deltas shifts their interval, so one simulation serves every shift: the
  interval lies above zero if -low < shift, that of the mirrored deltas if high < shift.
  """
  if paired:
    rows = statistics.generator().normal(size=(DRAWS, n))
    spans = [statistics.interval(row, level) for row in rows]
  else:  # of two arms whose differences have standard deviation 1
    rows = statistics.generator().normal(scale=math.sqrt(0.5), size=(DRAWS, 2 * n))
    spans = [permutation.interval(row[:n], row[n:], level) for row in rows]
  return np.sort([end for span in spans for end in (-span.low, span.high)])


def _approximate(shift: float, n: int, level: float, paired: bool) -> float:
  """The power by the noncentral t distribution beyond the permutation critical value.

  Over the flips, W = (sum x)^2 / (n sum x^2) has mean 1/n and a variance that falls
  with the deltas' kurtosis k about zero. Box and Andersen give it the beta distribution
  of these two moments: that of normal deltas with both parameters times 1 - (3 - k) /
  n. Normal deltas have k = 3 without an effect; the more they are shifted, the closer k
  is to 1 and the more the critical value exceeds Student's. The permutation test of two
  samples has so many splits that Student's critical value serves.
  """
  if not paired:
    freedom, mean = 2 * n - 2, min(shift, _FAR / math.sqrt(n)) * math.sqrt(n)
    critical = float(scipy.stats.t.isf(level / 2, freedom))
    lower = np.nan_to_num(scipy.stats.nct.cdf(-critical, freedom, mean))
    return float(scipy.stats.nct.sf(critical, freedom, mean) + lower)
  if n > statistics.EXACT_SEEDS:  # p is a multiple of 1 / (FLIPS + 1)
    count = statistics.FLIPS + 1
    level = math.floor(level * count * (1 + statistics.TIE)) / count
  shift = min(shift, _FAR / math.sqrt(n))
  kurtosis = (shift**4 + 6 * shift**2 + 3) / (1 + shift**2) ** 2
  scale = 1 - (3 - kurtosis) / n
  share = float(scipy.stats.beta.isf(level, scale / 2, scale * (n - 1) / 2))
  if share >= 1:
    return 0.0
  critical = math.sqrt((n - 1) * share / (1 - share))
  mean = shift * math.sqrt(n)
  # scipy's lower tail is nan where it is too small to matter
  lower = np.nan_to_num(scipy.stats.nct.cdf(-critical, n - 1, mean))
  return float(scipy.stats.nct.sf(critical, n - 1, mean) + lower)


def _shift(power: float, n: int, level: float, paired: bool) -> float:
  """The mean, in standard deviations, that is detected with probability `power`."""
  excess = lambda shift: _power(shift, n, level, paired) - power
  upper = 1 / math.sqrt(n)
  while excess(upper) < 0:
    upper *= 2
  return float(scipy.optimize.brentq(excess, 0, upper))
