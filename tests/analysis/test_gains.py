"""Compute-equivalent gains against power laws, scipy, hand-worked ladders, simulation.

Oracles: curves error = a·C^-b whose gain is known; `scipy.optimize` for the isotonic
fit; `numpy.interp` and a plain loop over resamples for costs and intervals; simulated
coverage.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from dlsteroids.analysis import gains, statistics
from dlsteroids.report import gains as gain_words
from tests.fixtures import gain_cases, studies

NATS = gains.Scale('test/nats', False, True, 0.0)
COLUMNS = [
  'factor',
  'level',
  'arm',
  'reference',
  'axis',
  'target',
  'n',
  'gain',
  'ci_low',
  'ci_high',
  'censored',
  'share_never',
  'share_undefined',
  'cost_intact',
  'cost_ablated',
]


class InWords(NamedTuple):
  """Gains as the report words them: the frame with a column `text`, notes, refusal."""

  frame: pd.DataFrame
  notes: list[str]
  refusal: str


def in_words(study, result):
  texts = [gain_words.describe(row) for row in result.frame.to_dict('records')]
  frame = result.frame.assign(text=texts)
  words = gain_words.notes(study, result), gain_words.refusal(study, result)
  return InWords(frame, *words)


def measure_gains(study, runs):
  return in_words(study, gains.gains(study, runs))


def measure_anytime(study, curves):
  return in_words(study, gains.anytime(study, curves))


def simple(intact, ablated, seeds=8, nats=True, costs=None, **changes):
  """The gains of one factor 'norm' from two arms' scores by rung."""
  study = gain_cases.make_study(['norm'], seeds, **changes)
  study = gain_cases.in_nats(study) if nats else study
  scores = {'baseline': intact, 'norm=no': ablated}
  return measure_gains(study, gain_cases.make_runs(study, scores, costs))


def row(intact, ablated, target, **options):
  """The only row of `simple` at one declared target."""
  found = simple(intact, ablated, targets=[target], **options)
  assert len(found.frame) == 1
  return found.frame.iloc[0]


def test_isotonic_fit_equals_scipy():
  rng = np.random.default_rng(0)
  for count in range(1, 10):
    table = rng.normal(-np.arange(count), 2, (40, count)).round(1)  # with ties
    fits = gains.isotonic(table)
    for errors, fit in zip(table, fits):
      theirs = scipy.optimize.isotonic_regression(errors, increasing=False).x
      np.testing.assert_allclose(fit, theirs, atol=1e-12)
    assert (np.diff(fits) <= 0).all()


def test_costs_equal_interpolation_between_the_ends():
  x = np.log([1.0, 2.0, 5.0, 8.0])
  rng = np.random.default_rng(1)
  places = -np.sort(rng.normal(0, 1, (30, 4)))  # falling
  places = -np.sort(-places)
  targets = rng.uniform(places[:, -1], places[:, 0])
  cost = gains.cost_at(x, places, targets)
  by_hand = [np.interp(t, y[::-1], x[::-1]) for t, y in zip(targets, places)]
  np.testing.assert_allclose(cost.low, by_hand, rtol=1e-12)
  np.testing.assert_array_equal(cost.low, cost.high)
  assert not cost.never.any()
  assert not cost.at_once.any()


def test_costs_beyond_the_ends_are_bounds():
  x, places = np.log([1.0, 2.0, 4.0]), np.log([0.4, 0.2, 0.1])
  assert gains.cost_at(x, places, np.log(0.2)).low == pytest.approx(np.log(2))
  # 0.4 / C = 0.3 on the line of slope -1
  assert gains.cost_at(x, places, np.log(0.3)).low == pytest.approx(np.log(0.4 / 0.3))
  assert gains.cost_at(x, places, np.log(0.1)).low == pytest.approx(np.log(4))
  never = gains.cost_at(x, places, np.log(0.0999))
  assert (never.low, never.high) == (np.log(4), np.inf)
  assert never.never
  at_once = gains.cost_at(x, places, np.log(0.5))
  assert (at_once.low, at_once.high) == (-np.inf, 0)
  assert gains.cost_at(x, places, np.log(0.4)).at_once
  with pytest.raises(ValueError, match='two or more'):
    gains.cost_at(x[:1], places[:1], 0.0)
  with pytest.raises(ValueError, match='rising'):
    gains.cost_at(x[::-1], places, 0.0)


@pytest.mark.parametrize('factor', [0.4, 1.0, 3.2])
def test_a_known_gain_is_recovered(factor):
  found = simple(gain_cases.power_law(1), gain_cases.power_law(factor))
  assert found.refusal == ''
  assert set(COLUMNS) <= set(found.frame)
  measured = found.frame[found.frame['censored'] == '']
  assert len(measured) >= 2
  np.testing.assert_allclose(measured['gain'], factor, rtol=1e-9)
  np.testing.assert_allclose(measured['ci_low'], factor, rtol=1e-9)
  np.testing.assert_allclose(measured['ci_high'], factor, rtol=1e-9)
  np.testing.assert_allclose(
    measured['cost_intact'], gain_cases.FLOPS * measured['rung'], rtol=1e-9
  )
  # of the others, only what the ladders bound
  assert set(found.frame['censored']) <= {'', 'never', 'ablated at once'}


def test_flops_count_and_not_budgets():
  # equal errors at equal budgets, but a run of the ablated arm costs 1.7 times as much
  curve = gain_cases.power_law(1)
  found = simple(curve, curve, costs={'norm=no': 1.7})
  np.testing.assert_allclose(found.frame['gain'], 1.7, rtol=1e-9)


def test_a_share_is_interpolated_in_its_log_error_with_half_an_error():
  intact, ablated = {1: 0.90, 4: 0.98}, {1: 0.80, 4: 0.95}
  made = row(intact, ablated, 0.94, nats=False)
  place = lambda accuracy: np.log((1 - accuracy) * gain_cases.EXAMPLES + 0.5)
  share = lambda low, high: (place(low) - place(0.94)) / (place(low) - place(high))
  by_hand = 4 ** (share(0.80, 0.95) - share(0.90, 0.98))
  assert made['gain'] == pytest.approx(by_hand, rel=1e-9)
  # without a single error the last rung is still a finite place
  flawless = row({1: 0.9, 4: 1.0}, {1: 0.8, 4: 1.0}, 1.0, nats=False)
  assert flawless['gain'] == pytest.approx(1.0)


def test_metrics_without_logs_are_interpolated_as_they_are():
  better = {'better': 'higher', 'fallback': 0.0}
  metric = {'name': 'classes', 'split': 'test', **better}
  changes = {'metric': metric, 'metrics': {'classes': better}}
  intact, ablated = {1: 2.0, 4: 6.0}, {1: 2.0, 4: 4.0}
  found = simple(intact, ablated, nats=False, targets=[3.0], **changes)
  assert found.frame.iloc[0]['gain'] == pytest.approx(4 ** (1 / 2 - 1 / 4))
  low = {'better': 'lower', 'fallback': 4.0}
  changes = {'metric': {**metric, **low}, 'metrics': {'classes': low}}
  intact, ablated = {1: 1.0, 4: -3.0}, {1: 1.0, 4: -1.0}
  found = simple(intact, ablated, nats=False, targets=[0.0], **changes)
  assert found.frame.iloc[0]['gain'] == pytest.approx(4 ** (1 / 2 - 1 / 4))


def test_errors_are_less_where_it_is_better():
  yard = lambda column, higher: gains.Scale(column, higher, False, 0.0)
  assert yard('test/accuracy', True).error(0.75) == 0.25
  assert yard('test/error_rate', False).error(0.25) == 0.25
  assert yard('test/psnr', True).error(21.0) == -21
  for known in (yard('test/accuracy', True), yard('test/psnr', True), NATS):
    assert known.value(known.error(0.5)) == 0.5


def test_a_rung_that_is_worse_is_pooled():
  # means .30 .10 .20 .05 pool to .30 .15 .15 .05
  bumpy = {1: 0.30, 2: 0.10, 4: 0.20, 8: 0.05}
  straight = {1: 0.30, 2: 0.15, 4: 0.10, 8: 0.05}
  made = row(straight, bumpy, 0.10)
  share = np.log(0.15 / 0.10) / np.log(0.15 / 0.05)
  assert made['cost_ablated'] == pytest.approx(gain_cases.FLOPS * 4 * 2**share)
  assert made['gain'] == pytest.approx(2**share)
  # at the pooled level the cost is where it is first reached
  level = row(straight, bumpy, 0.15)
  assert level['cost_ablated'] == pytest.approx(2 * gain_cases.FLOPS)


def test_never_is_infinite_and_printed_as_a_bound():
  made = row({1: 0.4, 2: 0.2, 8: 0.1}, {1: 0.4, 8: 0.3}, 0.2)
  assert made['censored'] == 'never'
  assert (made['gain'], made['ci_high']) == (math.inf, math.inf)
  assert made['cost_intact'] == pytest.approx(2 * gain_cases.FLOPS)
  assert made['cost_ablated'] == math.inf
  assert made['share_never'] == 1
  assert made['gain_shown'] == pytest.approx(4)  # C_max / C_intact
  assert made['text'] == '> 4.0× [4.0, > 4.0]'


def test_reached_at_once_is_a_bound_on_the_other_side():
  cheap, dear = {1: 0.2, 4: 0.1, 8: 0.05}, {1: 0.8, 4: 0.4, 8: 0.2}
  made = row(cheap, dear, 0.4)  # the intact arm's cost is at most its smallest rung's
  assert (made['censored'], made['text']) == ('intact at once', '≥ 4.0× [4.0, > 4.0]')
  assert (made['ci_low'], made['ci_high']) == (pytest.approx(4), math.inf)
  made = row(dear, cheap, 0.4)
  assert (made['censored'], made['text']) == (
    'ablated at once',
    '≤ 0.25× [< 0.25, 0.25]',
  )
  assert (made['ci_low'], made['ci_high']) == (0, pytest.approx(0.25))
  made = row(cheap, dear, 0.9)
  assert (made['censored'], made['text']) == ('both at once', 'unknown')
  assert math.isnan(made['gain'])
  assert (made['ci_low'], made['ci_high']) == (0, math.inf)
  made = row(cheap, dear, 0.01)
  assert (made['censored'], made['text']) == ('intact never', 'undefined')
  assert math.isnan(made['gain'])
  assert (made['share_undefined'], made['share_never']) == (1, 0)
  made = row(cheap, {1: 0.8, 4: 0.4}, 0.3)  # at once, and never
  assert (made['censored'], made['text']) == ('never', '> 4.0× [4.0, > 4.0]')


def by_loop(intact, ablated, flops, target, n, alpha):
  """The interval and the shares, replicate by replicate; errors [n, R] of two arms."""
  counts = statistics.resample(statistics.generator(), n, gains.RESAMPLES)
  low, high, never, undefined = [], [], 0, 0
  for count in counts:
    ends = []
    for errors in (intact, ablated):
      means = np.average(errors, axis=0, weights=count)
      fit = np.log(scipy.optimize.isotonic_regression(means, increasing=False).x)
      x = np.log(flops)
      if fit[-1] > target:
        ends.append((x[-1], math.inf))
      elif fit[0] <= target:
        ends.append((-math.inf, x[0]))
      else:
        i = next(i for i in range(len(x)) if fit[i] <= target)
        share = (fit[i - 1] - target) / (fit[i - 1] - fit[i])
        ends.append((x[i - 1] + share * (x[i] - x[i - 1]),) * 2)
    ours, theirs = ends
    if math.isinf(ours[1]):
      undefined += 1
      continue
    never += math.isinf(theirs[1])
    low.append(theirs[0] - ours[1])
    high.append(theirs[1] - ours[0])
  rank = max(1, int(statistics.expanded_tail(n, alpha) * (len(low) + 1)))
  ends = math.exp(sorted(low)[rank - 1]), math.exp(sorted(high)[-rank])
  bounds = math.exp(sorted(high)[rank - 1]), math.exp(sorted(low)[-rank])
  shown = [b if e in (0, math.inf) else e for e, b in zip(ends, bounds)]
  shown = [math.nan if end in (0, math.inf) else end for end in shown]
  return *ends, *shown, never / len(counts), undefined / len(counts)


@pytest.mark.parametrize('target', [0.2, 0.105, 0.08, 0.06, 0.045])
def test_bootstrap_equals_a_loop(target):
  n, rungs = 6, (0.5, 1.0, 2.0, 4.0)
  draw = lambda factor, key: gain_cases.noisy(
    gain_cases.power_law(factor, rungs), n, 0.1, 0.15, key
  )
  intact, ablated = draw(1, 1), draw(1.6, 2)
  made = row(intact, ablated, target, seeds=n)
  tables = [np.stack(list(arm.values()), 1) for arm in (intact, ablated)]
  names = ('ci_low', 'ci_high', 'low_shown', 'high_shown')
  names += ('share_never', 'share_undefined')
  by_hand = by_loop(*tables, np.array(rungs), np.log(target), n, 0.05)
  for name, value in zip(names, by_hand, strict=True):
    assert made[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_percentiles_are_expanded_by_student_s_t():
  # t = 2.3646 of 7 degrees of freedom, times sqrt(8 / 7): 2.5279 of the normal
  assert statistics.expanded_tail(8, 0.05) == pytest.approx(0.005738, rel=1e-3)
  assert statistics.expanded_tail(100_000, 0.05) == pytest.approx(0.025, rel=1e-3)


def test_some_replicates_never_reach_it():
  n = 8
  flat = {rung: np.full(n, error) for rung, error in gain_cases.power_law(1).items()}
  swing = 0.1 + 0.02 * np.linspace(-1, 1, n)
  ablated = {0.25: 0.4 + swing, 0.5: 0.4 + swing, 4.0: swing}
  made = row(flat, ablated, 0.101)
  assert made['censored'] == ''
  assert 0.2 < made['share_never'] < 0.6
  assert made['ci_high'] == math.inf
  assert 'x' not in made['text']
  bound = 4 * (0.101 / 0.1) ** 2  # C_max / C_intact
  assert made['high_shown'] == pytest.approx(bound)
  assert made['text'].endswith(f', > {bound:.1f}]')


def simulate(studies_count, n, factor, target, rungs, shared=0.15, own=0.1):
  """Intervals of as many made-up studies of a known gain."""
  rng = np.random.default_rng(17)
  errors = [gain_cases.power_law(f, rungs) for f in (1, factor)]
  flops = (np.array(rungs), np.array(rungs))
  counts = gains.draw_counts(n)
  drift = (shared**2 + own**2) / 2
  for _ in range(studies_count):
    common = rng.normal(0, shared, (n, 1))
    fits = []
    for arm in errors:
      noise = common + rng.normal(0, own, (n, len(rungs))) - drift
      fits.append(gains.fit(np.array(list(arm.values())) * np.exp(noise), NATS, counts))
    place = fits[0][:, 2] if target is None else np.log(target)
    yield gains.measure(*fits, flops, place, n, 0.05)


@pytest.mark.parametrize(
  ('factor', 'target'),
  [
    (1.5, 0.09),  # inside both ladders
    (1.5, None),  # what the intact arm reaches at its third rung
    (3.6, 0.1),  # near the ablated arm's end: half of the replicates never reach it
    (0.3, 0.1),  # near its start
  ],
)
def test_coverage_is_near_nominal(factor, target):
  found = list(simulate(200, 8, factor, target, gain_cases.RUNGS))
  held = np.mean([gain.low <= factor <= gain.high for gain in found])
  print(f'coverage {held:.3f} of a gain of {factor} at {target}')
  assert 0.88 <= held <= 0.99
  if factor == 3.6:
    assert np.mean([gain.share_never > 0 for gain in found]) > 0.9
    assert any(gain.censored == gains.NEVER for gain in found)


def test_without_expansion_few_seeds_would_be_too_narrow(monkeypatch):
  def cover():
    found = list(simulate(400, 5, 1.5, 0.09, gain_cases.RUNGS))
    return np.mean([gain.low <= 1.5 <= gain.high for gain in found])

  expanded = cover()
  monkeypatch.setattr(statistics, 'expanded_tail', lambda n, alpha: alpha / 2)
  plain = cover()
  print(f'coverage at 5 seeds: {plain:.3f} plain, {expanded:.3f} expanded')
  assert plain < 0.9
  assert expanded > 0.92


def test_noise_that_seeds_share_cancels():
  n = 8
  arms = [
    gain_cases.noisy(gain_cases.power_law(factor), n, 0.3, 0.01, key)
    for key, factor in enumerate((1, 1.5))
  ]
  joint = row(*arms, 0.1)
  shuffled = {rung: np.roll(errors, 3) for rung, errors in arms[1].items()}
  apart = row(arms[0], shuffled, 0.1)
  assert joint['gain'] == pytest.approx(apart['gain'], rel=1e-9)
  width = [np.log(made['ci_high'] / made['ci_low']) for made in (joint, apart)]
  assert width[0] < width[1] / 5


def test_the_same_arm_twice_has_a_gain_of_one():
  errors = gain_cases.noisy(gain_cases.power_law(1), 8, 0.2, 0.2, 1)
  found = simple(errors, errors).frame
  measured = found[found['censored'] == '']
  assert len(measured) >= 3
  np.testing.assert_allclose(measured[['gain', 'ci_low', 'ci_high']].min(), 1)
  np.testing.assert_allclose(measured['gain'], 1, rtol=1e-12)


def test_targets_by_rule_are_the_intact_arm_s_fitted_levels():
  intact = gain_cases.noisy(gain_cases.power_law(1), 8, 0.1, 0.3, 4)
  found = simple(intact, gain_cases.power_law(1.5))
  means = gains.isotonic([float(v.mean()) for v in intact.values()])
  np.testing.assert_allclose(found.frame['target'], means[1:], rtol=1e-12)
  np.testing.assert_allclose(found.frame['rung'], gain_cases.RUNGS[1:])
  # they move with the resampled seeds: the intact arm always reaches its own level
  assert (found.frame['share_undefined'] == 0).all()
  assert any('not declared' in note for note in found.notes)
  declared = simple(intact, gain_cases.power_law(1.5), targets=[float(means[-1])])
  assert declared.frame['share_undefined'].item() > 0.1
  assert declared.frame['rung'].isna().all()
  assert not any('not declared' in note for note in declared.notes)
  assert any('they are counted' in note for note in declared.notes)


def test_direction_is_component_present_against_absent():
  out = gain_cases.make_study(['norm'], 4)
  study = gain_cases.in_nats(
    studies.make_study(['norm'], 4, 'one_in') | {'targets': []}
  )
  study['data'] = out['data']
  scores = {
    'bare': gain_cases.power_law(3),
    'norm=yes': gain_cases.power_law(1),
  }
  found = measure_gains(study, gain_cases.make_runs(study, scores)).frame
  assert (found['intact'] == 'norm=yes').all()
  assert (found['ablated'] == 'bare').all()
  assert (found['arm'] == 'norm=yes').all()
  assert found['gain'].iloc[0] == pytest.approx(3)


def factorial(levels):
  study = gain_cases.in_nats(studies.make_factorial(levels, 4))
  study |= {'targets': [], 'data': gain_cases.make_study(['norm'], 4)['data']}
  factors = {'off': 2.0, 'tanh': 3.0, 'none': 1.5}
  scores = {
    arm['name']: gain_cases.power_law(
      math.prod(factors.get(level, 1.0) for level in arm['assignment'].values())
    )
    for arm in study['arms']
  }
  return study, gain_cases.make_runs(study, scores)


def test_factorials_compare_the_intact_arm_with_the_one_that_lacks_the_factor():
  study, runs = factorial({'act': ('relu', 'tanh'), 'drop': ('on', 'off')})
  found = measure_gains(study, runs).frame.groupby('factor', sort=False).first()
  assert found['intact'].tolist() == ['relu+on'] * 2
  assert found['ablated'].tolist() == ['tanh+on', 'relu+off']
  np.testing.assert_allclose(found['gain'], [3, 2], rtol=1e-9)


def test_cells_say_which_arm_a_merged_combination_is():
  study, runs = factorial({'act': ('relu', 'tanh'), 'drop': ('on', 'off')})
  names = ['act', 'drop']
  arms = {'relu+off': 'tanh+on'}  # as if without drop the arm were another's
  study['cells'] = [
    {'levels': dict(zip(names, cell)), 'arm': arms.get('+'.join(cell), '+'.join(cell))}
    for cell in itertools.product(('relu', 'tanh'), ('on', 'off'))
  ]
  found = measure_gains(study, runs).frame.groupby('factor', sort=False).first()
  assert found['ablated'].tolist() == ['tanh+on', 'tanh+on']
  # a combination that was not run is told, and the others are measured
  study['cells'] = []
  study['arms'] = [arm for arm in study['arms'] if arm['name'] != 'relu+off']
  found = measure_gains(study, runs)
  assert found.frame['factor'].unique().tolist() == ['act']
  assert any('No gain of drop: no arm lacks just it (off)' in n for n in found.notes)


def test_what_requires_made_inapplicable_does_not_count_as_a_difference():
  study, _ = factorial({'pool': ('max', 'none'), 'overlap': ('on', 'off')})
  study['arms'] = [arm for arm in study['arms'] if arm['name'] != 'none+on']
  lacking = next(arm for arm in study['arms'] if arm['name'] == 'none+off')
  sides, notes = gains.list_sides(study)
  assert [side.ablated for side in sides] == ['max+off']
  assert len(notes) == 1
  lacking['inapplicable'] = ['overlap']
  sides, notes = gains.list_sides(study)
  assert [(s.intact, s.ablated) for s in sides] == [
    ('max+on', 'none+off'),
    ('max+on', 'max+off'),
  ]
  assert not notes


def test_sizes_are_a_ladder_of_their_own():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 4))
  arms = {'baseline': 1.0, 'norm=no': 2.0}
  budgets = {arm: gain_cases.power_law(f) for arm, f in arms.items()}
  # at equal steps, 16 times the FLOPs for 4 times the widths
  sizes = {a: gain_cases.power_law(f**2, (0.5, 2.0, 4.0)) for a, f in arms.items()}
  wide = gain_cases.make_runs(study, sizes, axis='size')
  wide['flops'] = gain_cases.FLOPS * wide['size'] ** 2
  other = gain_cases.make_runs(study, budgets, regime='params')
  other['test/nats'] = 0.001  # of no ladder: neither declared nor of equal steps
  runs = pd.concat([gain_cases.make_runs(study, budgets), wide, other])
  found = measure_gains(study, runs).frame
  first = found.groupby('axis').first()['gain']
  assert first['budget'] == pytest.approx(2)
  assert first['size'] == pytest.approx(4**2)
  params = [{'regime': 'params', 'budget': 1.0, 'size': 1.0}]
  only = measure_gains(study | {'conditions': params}, runs)
  assert set(only.frame['axis']) == {'size'} or 'everywhere' in ' '.join(only.notes)


def test_tuned_runs_count_where_a_study_tunes():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 4))
  scores = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(2)}
  tuned = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(3)}
  runs = pd.concat(
    [
      gain_cases.make_runs(study, scores),
      gain_cases.make_runs(study, tuned, tuned=1),
    ]
  )
  assert measure_gains(study, runs).frame['gain'].iloc[0] == pytest.approx(2)
  study['tune'] = {'grid': {'optimizer.learning_rate': [0.1]}}
  assert measure_gains(study, runs).frame['gain'].iloc[0] == pytest.approx(3)


def change(runs, arm, rung, seed, **values):
  mine = (runs['arm'] == arm) & (runs['budget'] == rung) & (runs['seed'] == seed)
  assert mine.sum() == 1
  runs = runs.copy()
  for column, value in values.items():
    runs.loc[mine, column] = value
  return runs


def test_failed_runs_drop_their_seed_and_diverged_ones_score_the_fallback():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 10, targets=[0.1]))
  scores = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(2)}
  runs = gain_cases.make_runs(study, scores)
  lost = change(
    runs, 'norm=no', 2, 3, status='failed', flops=math.nan, **{'test/nats': math.nan}
  )
  made = measure_gains(study, lost).frame.iloc[0]
  assert (made['n'], made['gain']) == (9, pytest.approx(2))
  bad = change(runs, 'norm=no', 2, 3, status='diverged', **{'test/nats': math.nan})
  made = measure_gains(study, bad).frame.iloc[0]
  # the mean at rung 2 is (9 * .1 + 4) / 10 and pools with the rungs before
  assert made['n'] == 10
  assert made['gain'] > 3
  with pytest.raises(ValueError, match='two runs'):
    measure_gains(study, pd.concat([runs, runs.iloc[:1]]))
  with pytest.raises(ValueError, match='no column'):
    measure_gains(study, runs.drop(columns='test/nats'))


def test_a_rung_with_too_few_runs_is_left_out_and_named():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 10, targets=[0.1]))
  scores = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(2)}
  runs = gain_cases.make_runs(study, scores)
  late = (runs['arm'] == 'norm=no') & (runs['budget'] == 2) & (runs['seed'] >= 4)
  found = measure_gains(study, runs[~late])
  assert found.frame['n'].item() == 10
  assert found.frame['gain'].item() == pytest.approx(2)  # a power law needs no rung 2
  assert any('norm=no at budget 2 (4 of 10)' in note for note in found.notes)
  few = runs[(runs['arm'] == 'baseline') | (runs['budget'] == 1)]
  found = measure_gains(study, few)
  assert found.frame.empty
  assert 'two rungs are needed, norm=no has 1' in found.refusal


def test_a_rung_most_of_whose_runs_diverged_is_no_evidence():
  """Oracle: the power law of the other rungs, and the counts of runs set to diverge."""
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 8, targets=[0.1]))
  scores = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(2)}
  runs = gain_cases.make_runs(study, scores)
  of_arm = runs['arm'] == 'norm=no'
  lost = of_arm & (runs['budget'] == 4) & (runs['seed'] < 5)
  result = measure_gains(study, runs.assign(status=np.where(lost, 'diverged', 'ok')))
  assert result.frame['gain'].item() == pytest.approx(2)
  note = 'Left out, as most of their runs diverged: norm=no at budget 4 (5 of 8).'
  assert note in result.notes
  all_lost = runs.assign(status=np.where(of_arm, 'diverged', 'ok'))
  result = measure_gains(study, all_lost)
  assert result.frame.empty
  assert 'norm=no has 0' in result.refusal
  result = measure_gains(study, runs.assign(status='diverged'))
  assert result.frame.empty
  assert result.refusal.startswith('Left out, as most of their runs diverged: base')
  assert 'trains what is missing' not in result.refusal


def test_curves_most_of_which_end_early_are_no_evidence():
  study = gain_cases.make_study(['norm'], 8, targets=[0.85])
  curves = gain_cases.make_curves(study, {'baseline': 1.0, 'norm=no': 2.0})
  for seeds, left_out in ((4, False), (5, True)):
    lost = (curves['arm'] == 'norm=no') & (curves['seed'] < seeds)
    result = measure_anytime(study, curves[~(lost & (curves['step'] > 700))])
    note = f'Left out, as most of their runs diverged: norm=no ({seeds} of 8).'
    assert (note in result.notes) == left_out
    assert result.frame.empty == left_out


def test_without_a_ladder_it_says_how_to_get_one():
  study = gain_cases.make_study(['norm'], 4)
  scores = {'baseline': {1.0: 0.9}, 'norm=no': {1.0: 0.8}}
  runs = gain_cases.make_runs(study, scores)
  plain = study | {'conditions': study['conditions'][:1]}
  found = measure_gains(plain, runs)
  assert found.frame.empty
  assert set(COLUMNS) <= set(found.frame)
  assert 'config.study.budgets=0.25,0.5,1,2' in found.refusal
  assert 'config.study.sizes=' in found.refusal
  assert gain_words.sentences(plain, gains.gains(plain, runs)) == [found.refusal]
  old = measure_gains(plain, runs.drop(columns=['regime', 'budget', 'size']))
  assert old.refusal == found.refusal
  asked = measure_gains(
    study, runs
  )  # the other budgets are asked for, but not there yet
  assert 'no arm has finished two of its rungs 0.25, 0.5, 1, 2, 4' in asked.refusal
  # equal steps at other widths are no second rung of equal FLOPs
  one = {'regime': 'flops', 'budget': 1.0, 'size': 1.0}
  mixed = [one, {'regime': 'steps', 'budget': 1.0, 'size': 2.0}]
  found = measure_gains(study | {'regime': 'flops', 'conditions': mixed}, runs)
  assert 'finished' not in found.refusal
  bare = measure_gains(study | {'contrasts': []}, runs)
  assert 'no contrast' in bare.refusal


def test_a_constant_metric_has_no_gain():
  same = dict.fromkeys(gain_cases.RUNGS, 0.97)
  found = simple(same, same, nats=False)
  assert found.frame.empty
  assert 'test accuracy is 97.00\u202f% everywhere' in found.refusal
  # a flat intact arm alone gives bounds, and is told
  found = simple(
    dict.fromkeys(gain_cases.RUNGS, 0.3), gain_cases.power_law(1, start=0.6)
  )
  assert set(found.frame['censored']) == {'intact at once'}
  assert any('baseline does not get better with compute' in n for n in found.notes)


def test_a_target_that_no_arm_reaches_names_the_best():
  curve = gain_cases.power_law(1)
  found = simple(
    gain_cases.accuracy(curve),
    gain_cases.accuracy(gain_cases.power_law(2)),
    nats=False,
    targets=[0.999, 0.92],
  )
  assert found.frame['censored'].tolist() == ['intact never', '']
  note = next(note for note in found.notes if note.startswith('No arm reaches'))
  assert '99.90\u202f% test accuracy' in note
  assert 'the best is 95.00\u202f% (baseline at 4×)' in note
  assert not any('92.00' in note for note in found.notes)


def test_targets_that_the_metric_cannot_take_are_told():
  found = simple({1: 0.9, 4: 0.98}, {1: 0.8, 4: 0.95}, nats=False, targets=[94.0, 0.94])
  assert found.frame['target'].tolist() == [0.94]
  assert any('--config.study.targets=0.94' in note for note in found.notes)
  found = simple({1: 0.4, 4: 0.1}, {1: 0.5, 4: 0.2}, targets=[-1.0, 0.3])
  assert found.frame['target'].tolist() == [0.3]
  assert any('Target -1 is left out' in note for note in found.notes)


def test_one_seed_has_no_interval():
  found = simple(gain_cases.power_law(1), gain_cases.power_law(2), seeds=1)
  made = found.frame.iloc[0]
  assert made['text'] == '2.0×'
  assert math.isnan(made['ci_low'])
  assert math.isnan(made['share_never'])
  assert any('One seed has no interval' in note for note in found.notes)
  few = simple(gain_cases.power_law(1), gain_cases.power_law(2), seeds=3)
  assert any('With 3 seeds intervals are too narrow' in note for note in few.notes)
  enough = simple(gain_cases.power_law(1), gain_cases.power_law(2), seeds=8)
  assert not any('too narrow' in note for note in enough.notes)


def test_equal_flops_are_one_rung():
  ladder = gains.make_ladder(
    'a', [0.5, 1, 2], [4.0, 2.0, 4.0], np.array([[1.0, 9.0, 3.0]])
  )
  np.testing.assert_array_equal(ladder.flops, [2, 4])
  np.testing.assert_array_equal(ladder.errors, [[9, 2]])
  with pytest.raises(ValueError, match='FLOPs'):
    gains.make_ladder('a', [1.0, 2.0], [0.0, 2.0], np.ones((1, 2)))


def test_anytime_gains_are_read_off_curves_and_say_so():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 6))
  curves = gain_cases.make_curves(study, {'baseline': 1.0, 'norm=no': 2.5})
  found = measure_anytime(study, curves)
  assert set(found.frame['axis']) == {'anytime'}
  assert set(found.frame['metric']) == {'validation/nats'}
  np.testing.assert_allclose(found.frame['rung'], [0.3, 0.5, 1.0])
  by_rung = found.frame.set_index('rung')
  assert by_rung.loc[0.3, 'gain'] == pytest.approx(2.5)
  assert by_rung.loc[1.0, 'text'].startswith('> 1.00×')
  assert any('Anytime gains are read off single' in note for note in found.notes)
  # an untrained model has spent nothing, and is no rung
  start = curves[curves['step'] == 100].assign(step=0, flops=0.0)
  again = measure_anytime(study, pd.concat([start, curves]))
  pd.testing.assert_frame_equal(found.frame, again.frame)
  # of a run that ends early, the rest scores the fallback
  short = curves[
    (curves['arm'] != 'norm=no') | (curves['step'] < 500) | (curves['seed'] > 0)
  ]
  worse = measure_anytime(study, short).frame.set_index('rung')
  assert by_rung.loc[0.3, 'censored'] == ''
  assert worse.loc[0.3, 'censored'] == 'never'
  on_test = gain_cases.make_curves(study, {'baseline': 1.0, 'norm=no': 2.5}, 'test')
  assert set(measure_anytime(study, on_test).frame['metric']) == {'test/nats'}
  both = measure_anytime(study, pd.concat([on_test, curves]))
  pd.testing.assert_frame_equal(found.frame, both.frame)


def test_anytime_refuses_what_it_cannot_read():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 3))
  curves = gain_cases.make_curves(study, {'baseline': 1.0, 'norm=no': 2.5})
  for poor in (curves[:0], curves[curves['step'] == 1000]):
    assert '--config.train.evaluations=10' in measure_anytime(study, poor).refusal
  with pytest.raises(ValueError, match='stands twice'):
    measure_anytime(study, pd.concat([curves, curves]))
  assert 'no contrast' in measure_anytime(study | {'contrasts': []}, curves).refusal


@pytest.mark.parametrize(
  ('factor', 'text'),
  [
    (0.0312, '0.031'),
    (0.454, '0.45'),
    (1.0, '1.00'),
    (1.96, '1.96'),
    (1.996, '2.0'),
    (8.34, '8.3'),
    (9.96, '10'),
    (1234.4, '1,234'),
  ],
)
def test_factors_read_well(factor, text):
  assert gain_words.times(factor) == text


def test_gains_read_as_they_are_known():
  gain = {
    'censored': '',
    **{'ci_low': 2.1, 'ci_high': math.inf},
    **{'gain_shown': 3.2, 'low_shown': 2.1, 'high_shown': 8.3},
  }
  assert gain_words.describe(gain) == '3.2× [2.1, > 8.3]'
  open_low = gain | {'ci_low': 0.0, 'low_shown': 0.25}
  assert gain_words.describe(open_low) == '3.2× [< 0.25, > 8.3]'
  nothing = open_low | {'low_shown': math.nan, 'high_shown': math.nan}
  assert gain_words.describe(nothing) == '3.2× [0, ∞]'


def test_sentences_say_what_the_numbers_do():
  levels = [{'name': 'batch'}, {'name': 'layer'}, {'name': 'none'}]
  study = gain_cases.make_study(['batch_norm'], 8, targets=[0.94])
  study['factors'] = [{'name': 'batch_norm', 'levels': levels, 'about': ''}]
  for arm, level in zip(study['arms'], ('batch', 'none')):
    arm['assignment'] = {'batch_norm': level}

  def say(intact, ablated, **changes):
    scores = {'baseline': intact, 'batch_norm=no': ablated}
    mine = study | changes
    runs = gain_cases.make_runs(
      mine, {arm: gain_cases.accuracy(errors) for arm, errors in scores.items()}
    )
    (text,) = gain_words.sentences(mine, gains.gains(mine, runs))
    return text.replace('\u202f', ' ')

  curve = gain_cases.power_law(1)
  without = 'ithout batch norm (none instead of batch) the model'
  assert say(curve, gain_cases.power_law(1.4)) == (
    f'W{without} needs 1.40× [1.40, 1.40] the compute to reach 94.00 % test accuracy.'
  )
  assert say(curve, curve).endswith(
    'test accuracy (1×, no difference, is in the interval).'
  )
  assert say(curve, gain_cases.power_law(9)) == (
    f'W{without} needs more than 1.44× [1.44, > 1.44] the compute to reach 94.00 % '
    'test accuracy; with the compute tried it does not get there.'
  )
  assert say(gain_cases.power_law(9), curve) == (
    'The intact model does not reach 94.00 % test accuracy with the compute tried; '
    f'what w{without} needs is undefined.'
  )
  assert say({1: 0.05, 2: 0.04}, {1: 0.05, 2: 0.04}) == (
    f'W{without} and the intact model both reach 94.00 % test accuracy at the least '
    'compute tried.'
  )
  assert say(curve, gain_cases.power_law(1.4), targets=[]) == (
    f'W{without} needs 1.40× [1.40, 1.40] the compute to reach 90.00 % test accuracy, '
    'what the intact model reaches at 1× budget.'
  )
  study['arms'][1]['assignment'] = {'batch_norm': 'layer'}
  assert say(curve, gain_cases.power_law(1.4)).startswith(
    'With layer instead of batch the model needs 1.40×'
  )
  study['contrasts'][0]['factor'] = 'something'
  assert say(curve, gain_cases.power_law(1.4)).startswith(
    'The arm batch_norm=no needs 1.40×'
  )


def test_sentences_name_the_axis():
  study = gain_cases.in_nats(gain_cases.make_study(['norm'], 6))
  curves = gain_cases.make_curves(study, {'baseline': 1.0, 'norm=no': 0.8})
  (text,) = gain_words.sentences(study, gains.anytime(study, curves))
  assert text.startswith(
    'Along single runs (anytime), without norm (no instead of yes)'
  )
  assert 'what the intact model reaches at its end' in text
  worse = gain_cases.make_curves(study, {'baseline': 1.0, 'norm=no': 1.3})
  (text,) = gain_words.sentences(study, gains.anytime(study, worse))
  # at its end the ablated arm is not there yet: the last point that was measured tells
  assert 'needs 1.30× [1.30, 1.30] the compute' in text
  assert 'reaches after 50' in text
  sizes = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(0.8)}
  runs = gain_cases.make_runs(study, sizes, axis='size')
  (text,) = gain_words.sentences(study, gains.gains(study, runs))
  assert text.startswith('Growing the widths, without norm')
  assert 'at 1× width' in text


def test_the_headline_is_the_first_target_that_tells():
  def pick(targets):
    curves = gain_cases.power_law(1), gain_cases.power_law(1.4)
    (row,) = gain_words.pick(simple(*curves, targets=targets).frame)
    return row['target']

  assert pick([0.15, 0.1]) == 0.15
  assert pick([0.9, 0.001, 0.1, 0.15]) == 0.1
  assert pick([0.001, 0.9]) == 0.001
  assert pick([]) == pytest.approx(0.1)  # at rung 1


def test_signs_are_explained_where_they_stand():
  signs = ('“>”: ', '“≥”: ', '“≤”: ', '“unknown”: ', '“undefined”: ')
  found = simple({1: 0.2, 4: 0.1, 8: 0.05}, {1: 0.8, 4: 0.4, 8: 0.2}, targets=[0.4])
  text = ' '.join(found.notes)
  assert [sign for sign in signs if sign in text] == ['“≥”: ']
  assert 'is not bounded by the runs' in text
  found = simple({1: 0.8, 4: 0.1}, {1: 0.8, 4: 0.1}, targets=[0.3])
  text = ' '.join(found.notes)
  assert not any(sign in text for sign in signs)
  assert 'is not bounded by the runs' not in text


def test_more_contrasts_than_one_keep_the_study_s_order():
  study, runs = gain_cases.make_case()
  found = measure_gains(study, runs)
  order = [contrast['factor'] for contrast in study['contrasts']]
  assert found.frame['factor'].drop_duplicates().tolist() == order
  head = found.frame[found.frame['rung'] == 1].set_index('factor')
  assert head.loc['batch_norm', 'gain'] == pytest.approx(3.2, rel=0.25)
  assert head.loc['dropout', 'gain'] == pytest.approx(1, rel=0.2)
  assert head.loc['pooling', 'gain'] == pytest.approx(0.5, rel=0.2)
  assert head.loc['conv', 'censored'] == 'never'
  assert head.loc['shift', 'censored'] == 'ablated at once'
  pd.testing.assert_frame_equal(found.frame, measure_gains(study, runs).frame)
