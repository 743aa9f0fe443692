"""Unpaired permutation tests; oracles: scipy.stats.permutation_test, loops, shifts."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from dlsteroids.analysis import permutation, statistics


def draw(seed, n, m, shift=0.0):
  rng = np.random.default_rng([seed, n, m])
  return rng.normal(shift, 1, n), rng.normal(0, 1, m)


@pytest.mark.parametrize(
  ('n', 'm', 'shift'), [(3, 4, 0.0), (6, 6, 1.0), (9, 3, 2.0), (2, 12, 1.5)]
)
def test_the_p_equals_scipy(n, m, shift):
  arm, reference = draw(0, n, m, shift)
  wanted = scipy.stats.permutation_test(
    (arm, reference),
    lambda a, b, axis: a.mean(axis) - b.mean(axis),
    vectorized=True,
    n_resamples=np.inf,
    alternative='two-sided',
  )
  assert permutation.two_sided(arm, reference) == pytest.approx(wanted.pvalue)
  assert permutation.two_sided(reference, arm) == pytest.approx(wanted.pvalue)


def test_ties_of_accuracies_count():
  """By a loop over splits in whole numbers, where equal sums are equal."""
  counts = [[351, 352, 352, 354, 350], [350, 351, 352, 350]]
  pooled = [*counts[0], *counts[1]]
  observed = sum(counts[0])
  sums = [sum(group) for group in itertools.combinations(pooled, 5)]
  above = np.mean([total >= observed for total in sums])
  below = np.mean([total <= observed for total in sums])
  scores = [np.array(side) / 360 for side in counts]
  wanted = min(1, 2 * min(above, below))
  assert permutation.two_sided(*scores) == pytest.approx(wanted)
  raised = [side + 1e4 for side in scores]
  assert permutation.two_sided(*raised) == permutation.two_sided(*scores)


@pytest.mark.parametrize(('n', 'm'), [(5, 5), (4, 7), (14, 13)])
@pytest.mark.parametrize('alpha', [0.05, 0.0125])
def test_the_interval_ends_where_the_test_rejects(n, m, alpha):
  arm, reference = draw(1, n, m, 0.4)
  span = permutation.interval(arm, reference, alpha)
  if permutation.smallest_p(n, m) > alpha:
    assert span.kind == statistics.STUDENT
    return
  assert span.kind == permutation.INVERSION
  for end, outward in ((span.low, -1), (span.high, 1)):
    inside, outside = (arm - end - outward * step for step in (-1e-7, 1e-7))
    assert permutation.two_sided(inside, reference) > alpha
    assert permutation.two_sided(outside, reference) <= alpha


def test_sampled_splits_estimate_the_exact_p(monkeypatch):
  arm, reference = draw(2, 8, 9, 0.8)
  exact = permutation.two_sided(arm, reference)
  span = permutation.interval(arm, reference, 0.05)
  monkeypatch.setattr(permutation, 'EXACT_SPLITS', 0)
  permutation._cached_moves.cache_clear()
  sampled = permutation.two_sided(arm, reference)
  permutation_ends = permutation.interval(arm, reference, 0.05)
  permutation._cached_moves.cache_clear()
  error = math.sqrt(exact * (1 - exact) / permutation.SPLITS)
  assert sampled != exact
  assert abs(sampled - exact) < 8 * error
  np.testing.assert_allclose(permutation_ends[:2], span[:2], atol=0.05)


@pytest.mark.parametrize(('n', 'm'), [(3, 3), (3, 5), (4, 4), (30, 40)])
def test_the_smallest_p_is_reached(n, m):
  arm, reference = np.arange(n) + 100.0, np.arange(m) + 0.0
  assert permutation.two_sided(arm, reference) == permutation.smallest_p(n, m)


def test_equivalence_is_the_larger_of_two_shifted_one_sided_tests():
  arm, reference = draw(3, 6, 7)
  one_sided = lambda shift, alternative: (
    scipy.stats.permutation_test(
      (arm + shift, reference),
      lambda a, b, axis: a.mean(axis) - b.mean(axis),
      vectorized=True,
      n_resamples=np.inf,
      alternative=alternative,
    ).pvalue
  )
  for margin in (0.5, 1.5, 4.0):
    wanted = max(one_sided(margin, 'greater'), one_sided(-margin, 'less'))
    assert permutation.equivalence(arm, reference, margin) == pytest.approx(wanted)
  on_it = np.full(6, 0.95), np.full(6, 0.90)
  assert permutation.equivalence(*on_it, 0.95 - 0.90) == 1
  with pytest.raises(ValueError, match='above 0'):
    permutation.equivalence(arm, reference, 0.0)


def test_welch_equals_scipy_and_few_runs_have_no_interval():
  arm, reference = draw(4, 3, 5, 1.0)
  wanted = scipy.stats.ttest_ind(arm, reference, equal_var=False).confidence_interval()
  span = permutation.welch(arm, reference, 0.05)
  np.testing.assert_allclose(span[:2], wanted)
  assert permutation.interval(arm[:2], reference[:2], 0.05).kind == statistics.STUDENT
  assert math.isnan(permutation.interval(arm[:1], reference, 0.05).low)
  assert math.isnan(permutation.two_sided([], reference))
  with pytest.raises(ValueError, match='finite'):
    permutation.two_sided([math.nan], reference)


def test_coverage_of_unequal_groups():
  """Normal scores of equal spread: .95 within three standard errors."""
  rng = np.random.default_rng(5)
  hits = []
  for _ in range(1500):
    span = permutation.interval(rng.normal(1, 1, 5), rng.normal(0, 1, 7), 0.05)
    hits.append(span.low <= 1 <= span.high)
  assert abs(np.mean(hits) - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 1500)
