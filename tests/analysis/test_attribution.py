"""Attribution against known truths: who gained what, with what interval, or why not."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from dlsteroids.analysis import attribution, effects, pairs, shapley, statistics
from dlsteroids.report import attribution as attribution_words
from tests.fixtures import attribution_cases as cases
from tests.fixtures import studies

COSTS = {'a': 0.9, 'b': 0.5, 'c': 0.2, 'd': 0.1}
FEW = {'a': 0.9, 'b': 0.5}
HALF = [m for m in range(16) if not m.bit_count() % 2]  # I = abcd


def notes_of(found):
  return tuple(map(attribution_words.describe, found.notes))


def refusal_of(found):
  return attribution_words.describe(found.refusal)


def row_of(found, player, ratio=16, scale='log-error'):
  frame = found.players
  mine = frame[
    (frame['player'] == player) & (frame['ratio'] == ratio) & (frame['scale'] == scale)
  ]
  assert len(mine) == 1
  return mine.iloc[0]


def make(costs=COSTS, compute=1.0, **changes):
  study = cases.make_study(list(costs), **changes)
  return study, cases.make_runs(study, cases.additive(costs, compute))


@pytest.fixture(scope='module')
def known():
  study, runs = make()
  return study, runs, attribution.attribute(study, runs)


def test_an_additive_truth_is_found(known):
  _, _, found = known
  assert found.refusal is None
  assert (found.ratio, found.scale) == (16, 'log-error')
  assert tuple(found.players.columns) == attribution.PLAYERS
  truth = {**COSTS, 'compute': 1.0, 'ideas': 1.7, 'total': 2.7}
  for ratio, compute in ((16, 1.0), (4, 0.5)):
    truth |= {'compute': compute, 'total': 1.7 + compute}
    for player, phi in truth.items():
      row = row_of(found, player, ratio)
      assert row['phi'] == pytest.approx(phi, abs=0.02)
      assert row['ci_low'] - 0.01 < phi < row['ci_high'] + 0.01
      assert row['ci_high'] - row['ci_low'] < 0.06
      assert (row['n'], row['ci_kind'], row['p']) == (10, 'inversion', 2 / 1024)
      assert row['share'] == pytest.approx(phi / truth['total'], abs=0.01)
      assert row['share_low'] <= row['share'] <= row['share_high']
  # an additive truth on the logarithm has no interactions there
  on_log = found.interactions[found.interactions['scale'] == 'log-error']
  assert len(on_log) == math.comb(5, 2)
  assert on_log['index'].abs().max() < 0.03
  assert set(found.interactions['ratio']) == {16}
  # and on accuracy ideas and compute replace each other
  raw = found.interactions[found.interactions['scale'] == 'raw'].set_index(
    ['player', 'with']
  )
  assert raw.loc[('a', 'compute'), 'ci_high'] < 0


def test_intervals_cover_the_truth_at_the_nominal_rate():
  # of 40 studies 38 are to be expected; fewer than 34 come with a chance of .003
  covered = 0
  for repeat in range(40):
    study = cases.make_study(['a'], 8)
    rng = np.random.default_rng(repeat)
    draws = {}

    def truth(ideas, budget, seed, rng=rng, draws=draws):
      key = tuple(ideas), budget, seed
      draws.setdefault(key, 0.5 + 0.1 * len(ideas) + 0.02 * rng.normal())
      return draws[key]

    row = row_of(
      attribution.attribute(study, cases.make_runs(study, truth)), 'a', scale='raw'
    )
    covered += row['ci_low'] <= 0.1 <= row['ci_high']
  assert covered >= 34


def test_numbers_are_those_of_each_seeds_game(known):
  _, runs, found = known
  mine = runs[(runs['regime'] == 'flops') & (runs['size'] == 1) & (runs['tuned'] == 1)]
  value = mine.set_index(['arm', 'budget', 'seed'])['test/accuracy']
  names = list(COSTS)
  v = np.empty((10, 32))
  for seed, mask in itertools.product(range(10), range(32)):
    arm = '+'.join(n for i, n in enumerate(names) if mask >> i & 1) or 'bare'
    v[seed, mask] = value[arm, 1.0 if mask & 16 else 1 / 16, seed]
  n = cases.TEST_SIZE
  for scale, w in (('raw', v), ('log-error', -np.log((n * (1 - v) + 0.5) / (n + 1)))):
    phi, total = shapley.shapley(w), w[:, -1] - w[:, 0]
    for i, player in enumerate([*names, 'compute']):
      row = row_of(found, player, scale=scale)
      low, high, _ = statistics.interval(phi[:, i], 0.05)
      np.testing.assert_allclose(
        row[['phi', 'ci_low', 'ci_high']].astype(float), [phi[:, i].mean(), low, high]
      )
      if scale == 'log-error':  # on accuracy the orders disagree
        assert row['share'] == pytest.approx(phi[:, i].mean() / total.mean())
    ideas = row_of(found, 'ideas', scale=scale)
    assert ideas['phi'] == pytest.approx(phi[:, :4].sum(1).mean())
    assert row_of(found, 'total', scale=scale)['phi'] == pytest.approx(total.mean())
    ends = found.ends[(found.ends['ratio'] == 16) & (found.ends['scale'] == scale)]
    sign = 1 if scale == 'raw' else -1
    assert ends['bare'].item() == pytest.approx(sign * w[:, 0].mean())
    assert ends['full'].item() == pytest.approx(sign * w[:, -1].mean())
    first = found.orders[
      (found.orders['ratio'] == 16) & (found.orders['scale'] == scale)
    ].set_index(['order', 'player'])['phi']
    assert first['compute first', 'compute'] == pytest.approx(
      (w[:, 16] - w[:, 0]).mean()
    )
    assert first['compute first', 'ideas'] == pytest.approx(
      (w[:, 31] - w[:, 16]).mean()
    )
    assert first['ideas first', 'ideas'] == pytest.approx((w[:, 15] - w[:, 0]).mean())
    assert first['ideas first', 'compute'] == pytest.approx(
      (w[:, 31] - w[:, 15]).mean()
    )
    index = shapley.interactions(w)[:, 1, 4].mean()
    mine = found.interactions.set_index(['player', 'with', 'scale'])
    assert mine.loc[('b', 'compute', scale), 'index'] == pytest.approx(index)


def test_shares_resample_phi_and_total_jointly():
  study = cases.make_study(['a'], 10)
  # seeds differ tenfold in the gain, yet in each the idea has a quarter of it
  size = np.linspace(0.02, 0.2, 10)
  truth = lambda ideas, budget, seed: (
    0.5 + size[seed] * (0.25 * len(ideas) + 0.75 * (budget == 1))
  )
  found = attribution.attribute(study, cases.make_runs(study, truth))
  row = row_of(found, 'a', scale='raw')
  assert row['ci_high'] > 1.5 * row['ci_low']
  np.testing.assert_allclose(
    row[['share', 'share_low', 'share_high']].astype(float), 0.25, rtol=1e-9
  )
  again = attribution.attribute(study, cases.make_runs(study, truth))
  pd.testing.assert_frame_equal(found.players, again.players, check_exact=True)


def test_merged_cells_share_an_arm():
  # b requires a: without it, b is inapplicable and its arm is the one without b
  study = cases.make_study(['a', 'b'])
  for cell in study['cells']:
    if cell['arm'] == 'b':
      cell['arm'] = 'bare'
  study['arms'] = [arm for arm in study['arms'] if arm['name'] != 'b']
  truth = cases.additive({'a': 0.6, 'b': 0.4}, 1.0, sd=0)
  found = attribution.attribute(study, cases.make_runs(study, truth))
  # bare lacks both: from there a adds .6 and, where b waits, .4 besides
  assert row_of(found, 'a')['phi'] == pytest.approx(0.6 + 0.4 / 2)
  assert row_of(found, 'b')['phi'] == pytest.approx(0.4 / 2)
  assert row_of(found, 'compute')['phi'] == pytest.approx(1.0)


def test_diverged_runs_score_the_fallback():
  study, runs = make(FEW)
  lost = cases.set_run(
    runs, 'bare', 3, 1 / 16, status='diverged', **{'test/accuracy': math.nan}
  )
  found = attribution.attribute(study, lost)
  set_by_hand = cases.set_run(runs, 'bare', 3, 1 / 16, **{'test/accuracy': 0.1})
  by_hand = attribution.attribute(study, set_by_hand)
  pd.testing.assert_frame_equal(found.players, by_hand.players)
  assert row_of(found, 'total')['n'] == 10
  assert '1 run diverged and count' not in ' '.join(notes_of(by_hand))
  assert '1 run diverged' in ' '.join(notes_of(found))


def test_an_arm_most_of_whose_runs_diverged_is_no_evidence():
  study, runs = make(FEW)
  for seed in range(6):
    runs = cases.set_run(runs, 'a', seed, 1 / 4, status='diverged')
  result = attribution.attribute(study, runs)
  (note,) = [n for n in notes_of(result) if n.startswith('The ratio 4 is left out')]
  assert 'most runs diverged of a at budget 0.25' in note
  assert set(result.players['ratio']) == {16}
  for seed in range(6):
    runs = cases.set_run(runs, 'bare', seed, 1 / 16, status='diverged')
  result = attribution.attribute(study, runs)
  assert refusal_of(result) == (
    'No attribution: most runs diverged of bare at budget 0.0625, so their scores are '
    'no evidence.'
  )
  assert result.players.empty


def test_seeds_without_a_run_are_dropped():
  study, runs = make(FEW)
  failed = cases.set_run(runs, 'a', 3, 1 / 16, status='failed')
  found = attribution.attribute(study, failed)
  assert row_of(found, 'a')['n'] == 9
  assert row_of(found, 'a', 4)['n'] == 10  # that budget is no part of this ratio
  assert any(note.startswith('9 of 10 seeds') for note in notes_of(found))
  gone = runs[~((runs['arm'] == 'a') & (runs['seed'] == 3))]
  assert row_of(attribution.attribute(study, gone), 'a', 4)['n'] == 9
  kept = study | {'seeds': [s for s in study['seeds'] if s != 3]}
  alone = attribution.attribute(kept, runs[runs['seed'] != 3])
  for column in ('phi', 'ci_low', 'p', 'ci_high'):
    assert row_of(found, 'a')[column] == row_of(alone, 'a')[column]


def test_few_seeds_are_descriptive():
  found = attribution.attribute(*make(FEW, seeds=5))
  assert row_of(found, 'a')['ci_kind'] == statistics.STUDENT
  assert 'With 5 seeds the intervals are Student’s t' in ' '.join(notes_of(found))
  assert 'from 6 seeds on' in ' '.join(notes_of(found))
  assert 'Student' not in ' '.join(notes_of(attribution.attribute(*make(FEW, seeds=6))))


def test_looks_narrow_alpha():
  study, runs = make(FEW)
  wide = attribution.attribute(study | {'looks_declared': 3}, runs)
  narrow = attribution.attribute(study, runs)
  for ends in (('ci_low', 'ci_high'), ('share_low', 'share_high')):
    width = [
      row_of(case, 'a')[ends[1]] - row_of(case, 'a')[ends[0]] for case in (wide, narrow)
    ]
    assert width[0] > width[1]


def test_no_gain_has_no_shares():
  study = cases.make_study(['a'])
  truth = lambda ideas, budget, seed: 0.5 + 0.01 * cases.noise(seed, *ideas, budget)
  found = attribution.attribute(study, cases.make_runs(study, truth))
  assert found.players[['share', 'share_low', 'share_high']].isna().all(axis=None)
  assert found.players['phi'].notna().all()
  assert any('no shares (raw)' in note for note in notes_of(found))
  assert attribution.why_no_shares(found, 'raw') == attribution.NO_GAIN
  said = attribution_words.sentences(study, found)
  assert 'is not divided: the interval of the whole gain includes 0.' in said[1]
  assert 'accounts for' not in ' '.join(said)


def as_loss(runs, value):
  losses = value(runs['test/accuracy'])
  return runs.drop(columns='test/accuracy').assign(**{'test/loss': losses})


def test_a_loss_is_better_when_lower():
  study, runs = make(FEW)
  study['metric'] = {'name': 'loss', 'split': 'test', **studies.LOSS}
  found = attribution.attribute(study, as_loss(runs, lambda v: 1 - v))
  assert row_of(found, 'a', scale='raw')['phi'] > 0
  assert row_of(found, 'a')['phi'] == pytest.approx(0.9, abs=0.02)
  ends = found.ends[found.ends['scale'] == 'raw']
  assert (ends['bare'] > ends['full']).all()
  assert (ends['full'] > 0).all()
  log = found.ends[found.ends['scale'] == 'log-error']['full']
  np.testing.assert_allclose(np.exp(log), ends['full'], rtol=0.01)
  said = attribution_words.sentences(study, found)
  assert 'test loss falls from' in said[0]
  assert 'gain in the logarithm of test loss' in said[1]


def test_an_error_rate_is_one_less_the_accuracy():
  study, runs = make(FEW)
  expected = attribution.attribute(study, runs)
  rates = as_loss(runs, lambda v: 1 - v).rename(
    columns={'test/loss': 'test/error_rate'}
  )
  study['metric'] = {'name': 'error_rate', 'split': 'test', **studies.LOSS}
  found = attribution.attribute(study, rates)
  pd.testing.assert_frame_equal(found.players, expected.players)
  log = found.ends['scale'] == 'log-error'
  pd.testing.assert_frame_equal(found.ends[log], expected.ends[log])
  np.testing.assert_allclose(found.ends['full'][~log], 1 - expected.ends['full'][~log])


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda v: v - 0.9, 'loss is not always above zero'),
    (lambda v: 0 * v + 0.5, 'all runs score the same'),
  ],
)
def test_what_has_no_logarithm_is_raw_only(change, words):
  study, runs = make(FEW)
  study['metric'] = {'name': 'loss', 'split': 'test', **studies.LOSS}
  found = attribution.attribute(study, as_loss(runs, change))
  assert set(found.players['scale']) == {'raw'} == {found.scale}
  assert any(words in note for note in notes_of(found))


def test_a_score_that_is_no_error_is_raw_only():
  study, runs = make(FEW)
  study['metric'] = {'name': 'psnr', 'split': 'test', 'better': 'higher', 'fallback': 0}
  runs = runs.rename(columns={'test/accuracy': 'test/psnr'})
  found = attribution.attribute(study, runs)
  assert found.scale == 'raw'
  assert any('PSNR is no error' in note for note in notes_of(found))
  study, runs = make(FEW)
  study['data']['sizes'] = {}
  found = attribution.attribute(study, runs)
  assert any('number of test examples is unknown' in note for note in notes_of(found))


def test_one_budget_leaves_ideas_only():
  study, runs = make(budgets=(1.0,))
  found = attribution.attribute(study, runs)
  assert set(found.players['player']) == {*COSTS, 'total'}
  assert (found.ratio, set(found.players['ratio'])) == (1, {1.0})
  assert row_of(found, 'b', 1)['phi'] == pytest.approx(0.5, abs=0.02)
  assert any('study.budgets=' in note for note in notes_of(found))
  said = ' '.join(attribution_words.sentences(study, found))
  assert 'ompute' not in said
  assert said.startswith('From the bare model to the full one, test accuracy rises')


def test_notes_follow_from_what_was_declared():
  study, runs = make(FEW)
  beside = lambda **changes: ' '.join(
    notes_of(attribution.attribute(study | changes, runs))
  )
  assert 'study.ratio' not in beside()
  assert 'the widest is shown' in beside(ratio=0.0)
  assert 'not tuned' not in beside()
  untuned = attribution.attribute(study | {'tune': {}}, runs)
  assert any('not tuned (study.tune)' in note for note in notes_of(untuned))
  assert set(untuned.players['phi']) == {0.0}  # the runs beside, all of .321
  steps = study | {'regime': 'steps'}
  steps['conditions'] = [{**c, 'regime': 'steps'} for c in study['conditions']]
  found = attribution.attribute(steps, runs)
  assert any('equal steps, not equal FLOPs' in note for note in notes_of(found))
  assert not any(
    'equal FLOPs' in note for note in notes_of(attribution.attribute(study, runs))
  )


def test_without_a_declared_ratio_the_widest_is_the_headline():
  study, runs = make(FEW, ratio=0.0)
  assert attribution.attribute(study, runs).ratio == 16
  # conditions of other sizes or regimes are no budgets of this game
  study['conditions'] += [
    {'regime': 'flops', 'budget': 1 / 64, 'size': 2.0},
    {'regime': 'params', 'budget': 1 / 64, 'size': 1.0},
  ]
  assert attribution.attribute(study, runs).ratio == 16


def test_the_declared_ratio_is_the_headline():
  study, runs = make(FEW, ratio=4.0)
  found = attribution.attribute(study, runs)
  assert found.ratio == 4
  assert set(found.players['ratio']) == {4, 16}
  assert set(found.interactions['ratio']) == {4}
  assert 'Compute (4×) accounts for' in attribution_words.sentences(study, found)[1]


def test_levels_in_between_play_no_part():
  study, _ = make(FEW)
  study['factors'][0] = studies.make_factor('a', ('yes', 'half', 'no'))
  between = {'a': 'half', 'b': 'yes'}
  study['arms'].append({'name': 'half', 'assignment': between})
  study['cells'] += [{'levels': between, 'arm': 'half'}]
  truth = cases.additive(FEW, 1.0, sd=0)
  runs = cases.make_runs(study, truth)
  runs.loc[runs['arm'] == 'half', 'test/accuracy'] = 0.01
  found = attribution.attribute(study, runs)
  assert row_of(found, 'a')['phi'] == pytest.approx(0.9)
  assert any('first level is present' in note for note in notes_of(found))


def test_orders_estimate():
  study = cases.make_orders('abcd', ['abcd', 'dcba', 'bdac', 'cadb'])
  runs = cases.make_runs(study, cases.additive(COSTS, 1.0))
  assert len(study['cells']) < 16
  found = attribution.attribute(study, runs)
  for player, phi in {**COSTS, 'compute': 1.0}.items():
    assert row_of(found, player)['phi'] == pytest.approx(phi, abs=0.04)
  players = [*COSTS, 'compute']
  summed = sum(row_of(found, player)['phi'] for player in players)
  assert summed == pytest.approx(row_of(found, 'total')['phi'], rel=1e-12)
  pairs = found.interactions[['player', 'with']].drop_duplicates()
  assert pairs.to_numpy().tolist() == [[name, 'compute'] for name in COSTS]
  said = ' '.join(notes_of(found))
  assert '4 of 24 orders' in said
  assert 'adds a standard error of up to' in said
  twice = study | {'permutations': [list('abca')]}
  with pytest.raises(ValueError, match='every factor once'):
    attribution.attribute(twice, runs)


def error_of(found):
  note = next(note for note in notes_of(found) if note.endswith('of the gain (raw).'))
  return float(note.split('up to ')[1].split(' %')[0])


def test_what_the_drawn_orders_add_to_the_error():
  # b adds .2 where a is there: after it in one order, before it in its reverse
  truth = lambda ideas, budget, seed: 0.3 + 0.2 * ({'a', 'b'} <= ideas)
  whole = {'budgets': (1.0,)}
  paired = cases.make_orders('abc', ['abc', 'cba', 'bca', 'acb'], **whole)
  found = attribution.attribute(paired, cases.make_runs(paired, truth))
  assert row_of(found, 'b', 1, 'raw')['phi'] == pytest.approx(0.1)
  assert error_of(found) == 0  # each pair says .1
  alone = cases.make_orders('abc', ['abc', 'bca', 'cba', 'acb'], **whole)
  found = attribution.attribute(alone, cases.make_runs(alone, truth))
  # .2, 0, 0, .2 of a gain of .2: sd 57.7 %, over the root of four
  assert error_of(found) == 29
  two = cases.make_orders('abc', ['abc', 'cba'], **whole)
  notes = notes_of(attribution.attribute(two, cases.make_runs(two, truth)))
  assert 'standard error' not in ' '.join(notes)


def test_sampled_orders_widen_intervals_and_tests():
  orders = ['abcd', 'dcba', 'bdac', 'cadb', 'dabc', 'cbad']
  study = cases.make_orders('abcd', orders, budgets=(1.0,))
  # b adds .2 where a is there, whatever the seed
  truth = lambda ideas, budget, seed: (
    0.3 + 0.2 * ({'a', 'b'} <= ideas) + 0.1 * ('c' in ideas) + 0.001 * cases.noise(seed)
  )
  runs = cases.make_runs(study, truth)
  row = row_of(attribution.attribute(study, runs), 'b', 1, 'raw')
  # by draws of an order and its reverse: b comes after a in .1 of each
  assert (row['phi'], row['ci_kind']) == (pytest.approx(0.1), statistics.CROSSED)
  alone = cases.make_orders('abcd', ['abcd', 'bacd', 'cbad', 'cabd'], budgets=(1.0,))
  runs = cases.make_runs(alone, truth)
  row = row_of(attribution.attribute(alone, runs), 'b', 1, 'raw')
  # .2, 0, 0, .2 of 24 orders, equal at all seeds; Student's t of three degrees
  error = 0.2 / math.sqrt(3) / 2 * math.sqrt(1 - 4 / 24)
  half = scipy.stats.t.ppf(0.975, 3) * error
  assert row['ci_high'] - row['phi'] == pytest.approx(half, rel=1e-3)
  assert row['p'] == pytest.approx(2 * scipy.stats.t.sf(0.1 / error, 3), rel=1e-3)
  # the share's interval has no less: the total does not depend on orders
  assert row['share_high'] - row['share'] == pytest.approx(half / 0.3, rel=1e-3)
  total = row_of(attribution.attribute(alone, runs), 'total', 1, 'raw')
  assert total['ci_kind'] == statistics.INVERSION


def test_effects_of_sampled_orders_are_over_seeds_and_orders():
  study = cases.make_orders('abc', ['abc', 'bac', 'cba', 'cab'], budgets=(1.0,))
  runs = cases.make_runs(study, cases.additive({'a': 0.9, 'b': 0.5, 'c': 0.2}, 0))
  steps = [('a', ''), ('a+b', 'b'), ('a+b+c', 'b+c'), ('a+c', 'c')]
  contrast = studies.make_contrast('a', 'no', 'a', 'bare', False)
  contrast['arm_cells'] = [after for after, _ in steps]
  contrast['reference_cells'] = [before or 'bare' for _, before in steps]
  study['contrasts'] = [contrast]
  declared = runs[(runs['regime'] == 'flops') & (runs['size'] == 1)]
  row = effects.measure(study, declared).iloc[0]
  table = pairs.tabulate(study, declared, 'test/accuracy', 1)
  added, draws = attribution.added_by_draw(study, 'a', table.value)
  assert (added.shape, draws) == ((10, 4), 6)
  assert row['delta'] == pytest.approx(added.mean())
  span, p = statistics.crossed(added, 0.05, 6)
  assert (row['ci_low'], row['ci_high'], row['p']) == (span.low, span.high, p)
  assert (row['ci_kind'], row['verdict']) == (statistics.CROSSED, 'helps')
  assert row['pivotal_seeds'] == ''
  whole = study | {'permutations': [list(o) for o in itertools.permutations('abc')]}
  assert attribution.added_by_draw(whole, 'a', table.value) is None


def test_all_orders_are_exact():
  orders = [''.join(order) for order in itertools.permutations('ab')]
  study = cases.make_orders('ab', orders)
  runs = cases.make_runs(study, cases.additive(FEW, 1.0))
  exact = attribution.attribute(
    study | {'design': 'factorial', 'permutations': []}, runs
  )
  found = attribution.attribute(study, runs)
  pd.testing.assert_frame_equal(found.players, exact.players, rtol=1e-9)
  assert not any('orders of the ideas' in note for note in notes_of(found))


def test_a_fraction_estimates():
  study = cases.make_study(list(COSTS), 10, 'fraction', HALF)
  found = attribution.attribute(study, cases.make_runs(study, cases.additive(COSTS, 1)))
  for player, phi in {**COSTS, 'compute': 1.0, 'total': 2.7}.items():
    assert row_of(found, player)['phi'] == pytest.approx(phi, abs=0.04)
  assert row_of(found, 'remainder')['phi'] == pytest.approx(0, abs=0.04)
  assert any('8 of 16 combinations' in note for note in notes_of(found))
  pairs = found.interactions[['player', 'with']].drop_duplicates()
  assert pairs.to_numpy().tolist() == [[name, 'compute'] for name in COSTS]


def test_what_main_effects_do_not_explain_remains():
  study = cases.make_study(list('abcd'), 10, 'fraction', HALF)
  # all three of a, b, c at once: of order three, hence partly seen as d
  truth = lambda ideas, budget, seed: (
    0.5 + 0.1 * ({'a', 'b', 'c'} <= ideas) + 0.01 * cases.noise(seed)
  )
  found = attribution.attribute(study, cases.make_runs(study, truth))
  parts = {p: row_of(found, p, scale='raw')['phi'] for p in [*'abcd', 'remainder']}
  # (1 + xa)(1 + xb)(1 + xc) / 8 and xd = xa xb xc: every main effect is 2 / 8 of it
  assert parts == pytest.approx({**dict.fromkeys('abcd', 0.025), 'remainder': 0.0})
  # of order four, where nothing else is left, the half sees only a constant
  truth = lambda ideas, budget, seed: 0.5 + 0.1 * (len(ideas) == 4)
  found = attribution.attribute(study, cases.make_runs(study, truth))
  # one cell of eight: each main effect is 2 * .1 / 8, the rest is not separated
  assert row_of(found, 'd', scale='raw')['phi'] == pytest.approx(0.025)
  assert row_of(found, 'total', scale='raw')['phi'] == pytest.approx(0.1)


def test_a_fraction_without_its_ends_estimates_them():
  masks = [m for m in range(16) if m.bit_count() % 2]  # I = -abcd
  study = cases.make_study(list(COSTS), 10, 'fraction', masks)
  runs = cases.make_runs(study, cases.additive(COSTS, 1.0))
  found = attribution.attribute(study, runs)
  assert 'remainder' not in set(found.players['player'])
  ends = found.ends[(found.ends['ratio'] == 16) & (found.ends['scale'] == 'log-error')]
  assert ends['full'].item() == pytest.approx(np.log(0.02), abs=0.05)
  assert ends['bare'].item() == pytest.approx(np.log(0.02) + 2.7, abs=0.05)
  assert any('the gain is an estimate' in note for note in notes_of(found))
  # where they were run beside it, they tell the gain, and what is left of it
  both = cases.make_study(list(COSTS), 10, 'fraction', [0, *masks, 15])
  beside = attribution.attribute(both, cases.make_runs(both, cases.additive(COSTS, 1)))
  assert row_of(beside, 'a')['phi'] == row_of(found, 'a')['phi']
  assert row_of(beside, 'total')['phi'] == pytest.approx(2.7, abs=0.05)
  rest = row_of(beside, 'total')['phi'] - row_of(found, 'total')['phi']
  assert row_of(beside, 'remainder')['phi'] == pytest.approx(rest)


REFUSALS = {
  'one_out': ({'design': 'one_out'}, 'study.design=factorial'),
  'ladder': ({'design': 'ladder'}, r'2\^2 combinations of 2 factors'),
  'arms': ({'design': 'arms', 'factors': []}, 'needs combinations'),
  'ratio': ({'ratio': 8.0}, 'the headline ratio 8 .* budgets \\(4, 16\\)'),
  'one budget': (
    {'ratio': 16.0, 'conditions': [{'regime': 'flops', 'budget': 1.0, 'size': 1.0}]},
    'there is only one budget',
  ),
  'one seed': ({'seeds': [0]}, 'there is one seed; it takes 2 .* and 6 .*study.seeds'),
  'no cells': (
    {'cells': []},
    r'4 of 4 combinations have no arm \(a=no b=no; .* 1 more',
  ),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_refusals_name_what_is_missing(name):
  study, runs = make(FEW)
  changes, words = REFUSALS[name]
  found = attribution.attribute(study | changes, runs)
  assert pd.Series([refusal_of(found)]).str.contains(words).item(), refusal_of(found)
  assert '\n' not in refusal_of(found)
  assert len(found.players) == len(found.interactions) == len(found.ends) == 0
  assert tuple(found.players.columns) == attribution.PLAYERS
  assert attribution_words.sentences(study, found) == [refusal_of(found)]


def test_a_missing_cell_is_named():
  study, runs = make(FEW)
  study['cells'] = [cell for cell in study['cells'] if cell['arm'] != 'a']
  refusal = refusal_of(attribution.attribute(study, runs))
  assert '1 of 4 combinations have no arm (a=yes b=no)' in refusal
  study['factors'][0]['excludes'] = [['yes', 'b', 'no']]
  refusal = refusal_of(attribution.attribute(study, runs))
  assert 'a=yes with b=no cannot be' in refusal
  assert 'study.only' in refusal


def test_missing_runs_are_named():
  study, runs = make(FEW)
  at = lambda budget: (runs['arm'] == 'a') & np.isclose(runs['budget'], budget)
  found = attribution.attribute(study, runs[~at(1 / 16)])
  assert 'no run has ended of a at budget 0.0625; run the study again' in refusal_of(
    found
  )
  # elsewhere than at the headline it costs that ratio only
  found = attribution.attribute(study, runs[~at(1 / 4)])
  assert set(found.players['ratio']) == {16}
  assert any('The ratio 4 is left out.' in note for note in notes_of(found))
  runs = runs[~at(1 / 16) | (runs['seed'] == 2)]
  assert '1 of 10 seeds has every run' in refusal_of(attribution.attribute(study, runs))


def test_a_fraction_that_confounds_pairs_is_refused():
  masks = [m for m in range(8) if m.bit_count() % 2]  # c = ab
  study = cases.make_study(['a', 'b', 'c'], 10, 'fraction', masks)
  runs = cases.make_runs(study, cases.additive({'a': 1.0}, 1.0))
  assert 'no fraction of resolution IV' in refusal_of(
    attribution.attribute(study, runs)
  )


@pytest.mark.parametrize('name', attribution.RESERVED)
def test_a_factor_with_the_name_of_a_row_is_refused(name):
  study, runs = make({name: 0.5, 'b': 0.1})
  assert f'rename the factor {name!r}' in refusal_of(attribution.attribute(study, runs))


def test_phi_that_does_not_sum_to_the_gain_raises(known, monkeypatch):
  study, runs, _ = known
  exact = shapley.shapley
  monkeypatch.setattr(shapley, 'shapley', lambda v: exact(v) * (1 + 1e-6))
  with pytest.raises(ValueError, match='phi must sum to the gain'):
    attribution.attribute(study, runs)


def test_a_study_read_back_says_the_same(known, tmp_path):
  study, runs, found = known
  runs.to_csv(tmp_path / 'runs.csv', index=False)
  again = attribution.attribute(
    studies.Draft(json.loads(json.dumps(study))), pd.read_csv(tmp_path / 'runs.csv')
  )
  pd.testing.assert_frame_equal(again.players, found.players)
  shuffled = attribution.attribute(study, runs.sample(frac=1, random_state=1))
  pd.testing.assert_frame_equal(shuffled.players, found.players)


def test_sentences_by_hand():
  study = cases.make_study(['max_pool', 'gate'])
  # of .4: compute .1, max_pool .24, gate .1, the last two overlapping by .04
  rise = {'max_pool': 0.24, 'gate': 0.1}
  jitter = 1e-4 * (np.arange(10) - 4.5)

  def truth(ideas, budget, seed):
    both = 0.04 * (len(ideas) == 2)
    gain = sum(rise[idea] for idea in ideas) + 0.1 * (budget == 1) - both
    return 0.5 + gain * (1 + jitter[seed])

  found = attribution.attribute(study, cases.make_runs(study, truth))
  said = attribution_words.sentences(study, found)
  assert said[0] == (
    'From the bare model at 1/16 of the compute to the full one, test accuracy rises '
    'from 50.00\u202f% to 90.00\u202f% (10 seeds).'
  )
  assert said[2] == (
    'Compute (16×) accounts for 25.0\u202f% [25.0, 25.0] of the gain in test accuracy '
    'from bare to full model; max pool 55.0\u202f% [55.0, 55.0]; gate 20.0\u202f% '
    '[20.0, 20.0]; ideas together 75.0\u202f% [75.0, 75.0].'
  )
  # log-error falls by .22 for compute first, of 1.61, and by .69 for compute last
  assert said[1] == (
    'No shares of the gain in log-error are printed, as compute first and ideas first '
    'disagree by more than their interval.'
  )
  assert said[3].replace('\u202f', ' ').replace('\xa0', ' ') == (
    'Compute alone, given to the bare model, improves test accuracy by +10.00 points '
    '[+10.00, +10.00], the ideas then by +30.00 points [+29.99, +30.01]. The ideas '
    'alone, without more compute, improve it by +30.00 points [+29.99, +30.01], '
    'compute then by +10.00 points [+10.00, +10.00].'
  )
  assert said[4].startswith('More together than apart, in log-error: ')


def test_shares_outside_the_unit_interval_are_not_printed():
  # by hand, of accuracy: compute .24 with the idea and without it; the idea -.04
  study = cases.make_study(['a'])
  jitter = 1e-3 * (np.arange(10) - 4.5)
  truth = lambda ideas, budget, seed: (
    0.5 + (1 + jitter[seed]) * (0.24 * (budget == 1) - 0.04 * len(ideas))
  )
  result = attribution.attribute(study, cases.make_runs(study, truth))
  assert attribution.why_no_shares(result, 'raw') == attribution.OUTSIDE
  assert result.players[['share', 'share_low', 'share_high']].isna().all(axis=None)
  assert result.orders['share'].isna().all()
  texts = attribution_words.sentences(study, result)
  assert texts[2].replace('\u202f', ' ') == (
    'No shares of the gain in test accuracy are printed, as a share lies outside 0 to '
    '100 %. Improvements: compute (16×) +24.00 points [+23.95, +24.05], a −4.00 '
    'points [−4.01, −3.99], total +20.00 points [+19.96, +20.04].'
  )
  assert '120' not in ' '.join(texts)  # compute's share would be


def test_orders_that_agree_have_shares_whatever_seeds_do():
  study = cases.make_study(['a', 'b'])
  noise = 0.01 * (np.arange(10) - 4.5)
  truth = lambda ideas, budget, seed: (
    0.5 + noise[seed] + 0.1 * len(ideas) + 0.2 * (budget == 1)
  )
  result = attribution.attribute(study, cases.make_runs(study, truth))
  assert attribution.why_no_shares(result, 'raw') == ''
  assert row_of(result, 'ideas', scale='raw')['share'] == pytest.approx(0.5)
  assert attribution.why_no_shares(result, 'log-error') == attribution.DISAGREE
  row = row_of(result, 'ideas')  # of log-error: nothing but its contribution
  assert np.isnan(row['share'])
  assert row['phi'] > 0


def test_a_loss_of_performance_is_called_one():
  study = cases.make_study(['a'])
  truth = lambda ideas, budget, seed: 0.8 - 0.2 * len(ideas) - 0.1 * (budget == 1)
  found = attribution.attribute(study, cases.make_runs(study, truth))
  said = attribution_words.sentences(study, found)
  assert 'test accuracy falls from 80.00\u202f% to 50.00\u202f%' in said[0]
  assert 'of the loss in test accuracy' in said[2]
  assert 'a 66.7\u202f%' in said[2]


def test_interactions_are_said_after_correction_only():
  study, runs = make()
  found = attribution.attribute(study, runs)
  frame = found.interactions.assign(p=1.0, ci_low=0.1, ci_high=0.2, index=0.15)
  frame.loc[(frame['player'] == 'a') & (frame['with'] == 'b'), 'p'] = 0.004
  said = attribution_words.sentences(study, found._replace(interactions=frame))
  assert said[-1] == 'More together than apart, in log-error: a and b (+0.15).'
  frame['p'] = frame['p'].replace(0.004, 0.006)  # ten pairs: .06 after Holm
  said = attribution_words.sentences(study, found._replace(interactions=frame))
  assert 'together than apart' not in ' '.join(said)
