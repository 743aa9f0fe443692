"""Power. Oracles: the sign-flip test itself, simulated flip by flip; closed forms."""

import functools
import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.stats.power

from dlsteroids.analysis import power, statistics

DRAWS = {6: 6000, 8: 6000, 10: 4000, 16: 1500, 20: 2000}


def t_power(shift: float, n: int, level: float) -> float:
  """Of the two-sided t test: what `power` would be without its corrections."""
  limit = scipy.stats.t.ppf(1 - level / 2, n - 1)
  return float(scipy.stats.nct.sf(limit, n - 1, shift * math.sqrt(n)))


@functools.cache
def p_values(n: int, shift: float) -> np.ndarray:
  """p of the sign-flip test of many rows of n deltas: every flip as a row of signs."""
  rng = np.random.default_rng([2, n])
  if n <= 16:
    signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
  else:  # enough of them for levels of a few thousandths
    signs = rng.choice([-1, 1], size=(20_000, n))
  rows = rng.normal(shift, 1, size=(DRAWS[n], n)).astype(np.float32)
  signs = signs.astype(np.float32).T
  counts = []
  for few in np.array_split(rows, max(1, len(rows) * signs.shape[1] // 2**22)):
    observed = np.abs(few.sum(1, keepdims=True)) * np.float32(1 - 1e-5)
    counts.append((np.abs(few @ signs) >= observed).mean(1))
  return np.concatenate(counts)


CASES = [
  (n, shift, contrasts)
  for n, shifts, sizes in (
    (6, (0.0, 0.9, 1.3, 1.8), (1,)),
    (8, (0.0, 0.8, 1.2, 1.7), (1, 2, 5)),
    (10, (0.0, 0.7, 1.1, 1.6), (1, 4, 12, 25)),
    (16, (0.5, 0.7, 1.0, 1.2, 1.4), (1, 6, 60, 95, 250)),
    (20, (0.5, 0.7, 0.9), (1, 6, 20)),
  )
  for shift in shifts
  for contrasts in sizes
]


@pytest.mark.parametrize(('n', 'shift', 'contrasts'), CASES)
def test_power_is_that_of_the_simulated_test(n, shift, contrasts):
  found = np.mean(p_values(n, shift) <= 0.05 / contrasts)
  assert power.power(2.0, -2 * shift, n, 0.05, contrasts) == pytest.approx(
    found, abs=0.05
  )


def test_the_oracle_is_the_test():
  rng = np.random.default_rng([2, 8])
  rows = rng.normal(0.8, 1, size=(DRAWS[8], 8)).astype(np.float32)
  p = p_values(8, 0.8)
  assert [statistics.sign_flip(row) for row in rows[:50]] == pytest.approx(p[:50])


def test_students_t_would_not_do():
  """Else the comparison above could not fail: t misses what it must see."""
  missed = [
    abs(t_power(s, n, 0.05 / m) - np.mean(p_values(n, s) <= 0.05 / m)) > 0.05
    for n, s, m in CASES
  ]
  assert sum(missed) >= 8


def test_box_and_andersen_correct_students_t():
  """Where nothing is simulated: 17 of 2^15 flips reject."""
  found = {s: np.mean(p_values(16, s) <= 0.05 / 95) for s in (1.0, 1.2, 1.4)}
  theirs = [t_power(s, 16, 0.05 / 95) - p for s, p in found.items()]
  ours = [power.power(1, s, 16, 0.05, 95) - p for s, p in found.items()]
  assert np.abs(ours).max() < 0.035 < 0.045 < np.max(theirs)


@pytest.mark.parametrize('n', [6, 9, 13])
@pytest.mark.parametrize('shift', [0.6, 1.2, 1.9])
def test_the_smallest_p_needs_all_signs_equal(n, shift):
  closed = scipy.stats.norm.cdf(shift) ** n + scipy.stats.norm.cdf(-shift) ** n
  alpha = 1.5 * statistics.smallest_p(n)
  assert power.power(1, shift, n, alpha) == pytest.approx(closed, abs=0.03)


def test_power_far_from_coarse_flips_is_students():
  for n, shift in ((40, 0.3), (100, 0.25), (200, 0.2)):
    assert power.power(3, 3 * shift, n, 0.05) == pytest.approx(
      t_power(shift, n, 0.05), abs=0.01
    )


@pytest.mark.parametrize(
  ('n', 'contrasts'), [(6, 1), (9, 4), (16, 60), (12, 1), (30, 9)]
)
def test_power_grows_with_the_effect(n, contrasts):
  values = [power.power(1, d, n, 0.05, contrasts) for d in np.linspace(0, 6, 61)]
  assert (np.diff(values) > -1e-3).all()
  assert values[0] <= 0.06 / contrasts + 0.005
  assert values[-1] > 0.999


def test_what_cannot_be_reached_or_asked():
  assert power.power(1, 9, 5, 0.05) == 0
  assert power.power(1, 9, 8, 0.05, 7) == 0
  assert power.power(1, math.inf, 8, 0.05) == 1
  assert power.power(1, 1e9, 40, 0.05) == 1
  assert power.power(0, 1e-9, 8, 0.05) == 1
  assert power.power(0, 0, 8, 0.05) == 0
  assert math.isnan(power.power(math.nan, 1, 8, 0.05))
  assert math.isnan(power.power(1, math.nan, 8, 0.05))
  assert power.seeds_needed(1, 0, 0.05) is None
  assert power.seeds_needed(math.nan, 1, 0.05) is None
  assert power.detectable(1, 5, 0.05) == math.inf
  assert math.isnan(power.detectable(math.nan, 8, 0.05))
  assert power.detectable(0, 8, 0.05) == 0
  for wrong in ((-1, 1, 8, 0.05), (1, 1, 8, 0.0), (1, 1, 8, 0.05, 0)):
    with pytest.raises(ValueError, match='expected'):
      power.power(*wrong)


@pytest.mark.parametrize(
  ('effect', 'contrasts'), [(3.0, 1), (1.2, 1), (1.2, 10), (0.9, 40), (0.3, 3)]
)
def test_seeds_needed_are_the_fewest(effect, contrasts):
  needed = power.seeds_needed(2.0, 2 * effect, 0.05, contrasts)
  assert power.power(2.0, 2 * effect, needed, 0.05, contrasts) >= 0.8
  for fewer in range(2, needed):
    assert power.power(2.0, 2 * effect, fewer, 0.05, contrasts) < 0.8


def test_seeds_needed_have_a_limit():
  assert power.seeds_needed(1, 0.2, 0.05) == pytest.approx(198, abs=3)
  assert power.seeds_needed(1, 0.2, 0.05, most=150) is None
  assert power.seeds_needed(0, 0.1, 0.05, 5) == 8  # 1 + log2(5 / .05) = 7.6
  assert power.seeds_needed(1, 1.0, 0.05, power=0.95) > power.seeds_needed(1, 1.0, 0.05)


@pytest.mark.parametrize(
  ('n', 'contrasts', 'low', 'high'),
  [(6, 1, 1.2, 1.3), (8, 4, 1.2, 1.3), (10, 1, 0.98, 1.03), (25, 6, 0.99, 1.03)],
)
def test_what_is_detectable_inverts_the_power(n, contrasts, low, high):
  levels = (0.5, 0.8, 0.9, 0.95)
  effects = [power.detectable(0.3, n, 0.05, contrasts, level) for level in levels]
  for level, effect in zip(levels, effects):
    assert power.power(0.3, effect, n, 0.05, contrasts) == pytest.approx(
      level, abs=0.002
    )
  assert effects == sorted(effects)
  assert effects[1] == power.detectable(0.3, n, 0.05, contrasts)
  # Beside the t test's answer, which is too optimistic where flips are coarse.
  size = statsmodels.stats.power.TTestPower().solve_power(
    nobs=n, alpha=0.05 / contrasts, power=0.8
  )
  t = 0.3 * size
  assert low < effects[1] / t < high
