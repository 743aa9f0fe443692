"""Random-effects means. Oracles: statsmodels, scipy's t test, closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats import meta_analysis as oracle

from dlsteroids.analysis import meta_analysis

# Trials of the BCG vaccine (Colditz et al. 1994, JAMA 271:698): cases and healthy of
# the vaccinated, then of the others.
BCG = np.array(
  [
    *([4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619]),
    *([33, 5036, 47, 5761], [180, 1361, 372, 1079], [8, 2537, 10, 619]),
    *([505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600]),
    *([186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825]),
  ],
  float,
)


def log_risks():
  ill, well, ill_other, well_other = BCG.T
  vaccinated, others = ill + well, ill_other + well_other
  effects = np.log(ill / vaccinated) - np.log(ill_other / others)
  return effects, 1 / ill - 1 / vaccinated + 1 / ill_other - 1 / others


def test_the_bcg_trials_as_statsmodels_and_metafor_have_them():
  effects, variances = log_risks()
  mean = meta_analysis.combine(effects, variances, 0.05)
  other = oracle.combine_effects(effects, variances, method_re='iterated', use_t=True)
  assert mean.tau**2 == pytest.approx(other.tau2, rel=1e-4)
  assert mean.value == pytest.approx(other.mean_effect_re, rel=1e-4)
  assert (mean.q, mean.i_squared) == pytest.approx((other.q, other.i2))
  *_, ends = other.conf_int()  # of random effects with Hartung and Knapp's variance
  assert (mean.low, mean.high) == pytest.approx(tuple(ends), rel=1e-3)
  # metafor's documentation of rma(measure='RR', method='PM') on dat.bcg
  assert round(mean.tau**2, 4) == 0.3181
  assert round(mean.value, 4) == -0.7150
  assert round(mean.q, 2) == 152.23


def test_equal_variances_make_student_s_t_test():
  """Then τ² + v is the variance of the effects, whatever v, as long as τ² > 0."""
  effects = [0.1, 0.4, -0.2, 0.9]
  mean = meta_analysis.combine(effects, [1e-3] * 4, 0.05)
  test = scipy.stats.ttest_1samp(effects, 0)
  assert mean.p == pytest.approx(test.pvalue)
  ends = test.confidence_interval(0.95)
  assert (mean.low, mean.high) == pytest.approx((ends.low, ends.high))
  assert mean.tau**2 == pytest.approx(np.var(effects, ddof=1) - 1e-3)


def test_two_data_sets_in_closed_form():
  mean = meta_analysis.combine([1.0, 3.0], [0.5, 0.1], 0.05)
  assert mean.tau**2 == pytest.approx((2.0**2 - 0.6) / 2)  # Q = 4 / (.6 + 2 τ²) = 1
  assert mean.q == pytest.approx(4 / 0.6)
  assert mean.q_p == pytest.approx(scipy.stats.chi2.sf(4 / 0.6, 1))
  assert math.isnan(mean.predicted_low)
  weights = 1 / (mean.tau**2 + np.array([0.5, 0.1]))
  error = 1 / math.sqrt(weights.sum())
  assert mean.high - mean.value == pytest.approx(scipy.stats.t.ppf(0.975, 1) * error)


def test_effects_that_agree_by_chance_claim_no_more_than_their_errors_allow():
  mean = meta_analysis.combine([0.1, 0.1, 0.1], [0.01, 0.04, 0.02], 0.05)
  assert (mean.value, mean.tau, mean.i_squared, mean.q) == pytest.approx((0.1, 0, 0, 0))
  error = 1 / math.sqrt(100 + 25 + 50)
  assert mean.high - 0.1 == pytest.approx(scipy.stats.t.ppf(0.975, 2) * error)


def test_a_further_data_set_by_hand():
  mean = meta_analysis.combine([0.1, 0.4, -0.2, 0.9], [1e-3] * 4, 0.05)
  spread = math.sqrt(mean.tau**2 + (mean.tau**2 + 1e-3) / 4)
  half = scipy.stats.t.ppf(0.975, 2) * spread
  assert mean.predicted_high - mean.value == pytest.approx(half)
  assert mean.value - mean.predicted_low == pytest.approx(half)


def test_units_change_nothing_but_units():
  effects, variances = log_risks()
  one = meta_analysis.combine(effects, variances, 0.05)
  tiny = meta_analysis.combine(1e-6 * effects, 1e-12 * variances, 0.05)
  assert tiny.p == pytest.approx(one.p)
  assert tiny.tau == pytest.approx(1e-6 * one.tau)
  assert tiny.predicted_low == pytest.approx(1e-6 * one.predicted_low)


@pytest.mark.parametrize(
  ('k', 'tau', 'least'), [(3, 0.0, 0.95), (3, 1.0, 0.93), (8, 0.5, 0.93)]
)
def test_the_interval_covers_the_mean_over_data_sets(k, tau, least):
  rng, covered = np.random.default_rng(0), 0
  for _ in range(600):
    variances = rng.uniform(0.1, 1.0, k)
    effects = rng.normal(2.0, np.sqrt(variances + tau**2))
    mean = meta_analysis.combine(effects, variances, 0.05)
    covered += mean.low <= 2.0 <= mean.high
  assert covered / 600 >= least


@pytest.mark.parametrize(
  ('effects', 'variances'),
  [
    ([1.0], [1.0]),
    ([1.0, 2.0], [1.0]),
    ([1.0, math.nan], [1.0, 1.0]),
    ([1.0, 2.0], [1.0, 0.0]),
  ],
)
def test_what_cannot_be_combined(effects, variances):
  with pytest.raises(ValueError, match='effects'):
    meta_analysis.combine(effects, variances, 0.05)
