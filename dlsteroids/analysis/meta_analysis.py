"""The mean effect over data sets, each with its own true effect: random effects.

    y_i ~ N(μ_i, v_i),  μ_i ~ N(μ, τ²)

τ² is Paule and Mandel's (1982, J. Res. NBS 87:377): with the weights w_i = 1/(v_i + τ²)
and the weighted mean m, Σ w_i (y_i − m)² = k − 1, or τ² = 0 if the sum is less even
there. The interval is Hartung and Knapp's (2001, Stat. Med. 20:3875), Student's t of
k − 1 degrees of freedom with the variance

    max(1, Σ w_i (y_i − m)² / (k − 1)) / Σ w_i

whose factor is held at 1 from below (Jackson et al. 2017, Stat. Med. 36:3923): few
studies that happen to agree would else claim too much.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special

from dlsteroids.analysis import statistics


class Mean(NamedTuple):
  """The mean of effects that differ between studies.

  Attributes:
    value, low, high: the mean and its interval, in the effects' unit.
    p: two-sided, of a mean of 0.
    k: studies.
    tau: standard deviation of the true effects between studies, in their unit.
    q, q_p: Cochran's Q and the p of equal true effects.
    i_squared: share of the scatter that is of the true effects, (Q − k + 1) / Q, ≥ 0.
    predicted_low, predicted_high: interval of the true effect in a further study
      (Higgins et al. 2009, J. R. Stat. Soc. A 172:137), t of k − 2 degrees of freedom;
      nan with two studies.
  """

  value: float
  low: float
  high: float
  p: float
  k: int
  tau: float
  q: float
  q_p: float
  i_squared: float
  predicted_low: float
  predicted_high: float


def combine(effects: Sequence[float], variances: Sequence[float], alpha: float) -> Mean:
  """The random-effects mean of independent effects.

  Args:
    effects: [k] estimates, in one unit.
    variances: [k] of their errors, in its square.
    alpha: 1 - the coverage of the intervals.

  Raises:
    ValueError: fewer than two effects, one that is not finite, or a variance that is
      not above 0.
  """
  y, v = np.asarray(effects, np.float64), np.asarray(variances, np.float64)
  if y.shape != v.shape or y.ndim != 1 or len(y) < 2:
    raise ValueError(f'two or more effects and variances, not {y.shape} and {v.shape}')
  if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
    raise ValueError('effects are finite and variances above 0')
  k = len(y)
  unit = math.sqrt(float(v.mean()))  # shares of points and perplexities alike
  y, v = y / unit, v / unit**2
  tau_squared = _paule_mandel(y, v)
  weights = 1 / (v + tau_squared)
  mean = float(weights @ y / weights.sum())
  factor = max(1.0, float(weights @ (y - mean) ** 2) / (k - 1))
  error = math.sqrt(factor / weights.sum())
  span = statistics.t_interval(mean, error, k - 1, alpha)
  p = float(2 * scipy.special.stdtr(k - 1, -abs(mean) / error))
  q = _scatter(y, v, 0.0)
  predicted = math.nan, math.nan
  if k > 2:
    further = statistics.t_interval(
      mean, math.hypot(error, math.sqrt(tau_squared)), k - 2, alpha
    )
    predicted = further.low * unit, further.high * unit
  return Mean(
    value=mean * unit,
    low=span.low * unit,
    high=span.high * unit,
    p=p,
    k=k,
    tau=math.sqrt(tau_squared) * unit,
    q=q,
    q_p=float(scipy.special.chdtrc(k - 1, q)),
    i_squared=max(0.0, (q - k + 1) / q) if q > 0 else 0.0,
    predicted_low=predicted[0],
    predicted_high=predicted[1],
  )


def _scatter(y: np.ndarray, v: np.ndarray, tau_squared: float) -> float:
  """Σ w (y − m)², which falls as τ² grows."""
  weights = 1 / (v + tau_squared)
  mean = weights @ y / weights.sum()
  return float(weights @ (y - mean) ** 2)


def _paule_mandel(y: np.ndarray, v: np.ndarray) -> float:
  """τ² at which the scatter is k − 1; 0 if it is less without any."""
  freedom = len(y) - 1
  if _scatter(y, v, 0.0) <= freedom:
    return 0.0
  # With v = 0 the sum would be Σ (y − ȳ)² / τ²; with v > 0 it is less.
  most = float(((y - y.mean()) ** 2).sum()) / freedom
  return float(
    scipy.optimize.brentq(
      lambda tau_squared: _scatter(y, v, tau_squared) - freedom, 0.0, most
    )
  )
