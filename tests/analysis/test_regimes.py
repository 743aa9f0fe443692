"""Contrasts under several regimes. Oracle: differences and subset means by hand."""

import io
import math

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from dlsteroids.analysis import effects, looks, regimes
from dlsteroids.report import regimes as regime_words
from dlsteroids.report.figures import canvas, forest
from tests.fixtures import studies

HALF = np.linspace(-0.001, 0.001, 10)
EIGHT = np.array([1, 2, 3, 4, 5, 6, 7, 8]) / 200  # of mean 4.5 / 200


def make(names='a', seeds=10, kinds=('steps', 'params'), design='one_out', **changes):
  study = studies.make_study(list(names), seeds, design, **changes)
  study['regime'] = kinds[0]
  study['conditions'] = [condition(kind) for kind in kinds]
  for arm in study['arms']:
    arm['at'] = [costs(kind) for kind in kinds]
  return study


def condition(regime, budget=1.0, size=1.0):
  return {'regime': regime, 'budget': budget, 'size': size}


def costs(regime, flops=1000.0, params=100, steps=10, residual=0.0, **where):
  amounts = {'steps': steps, 'params': params, 'flops': flops, 'residual': residual}
  return {**condition(regime, **where), **amounts, 'executed_flops': 1.0}


def run(study, scores, metric='test/accuracy', tuned=0):
  """Runs of every regime: `scores[regime][arm]`."""
  frames = [
    studies.make_runs(study, arms, metric, tuned).assign(**condition(regime))
    for regime, arms in scores.items()
  ]
  return pd.concat(frames, ignore_index=True)


def flips(study, runs):
  return regime_words.flips(study, regimes.compare(study, runs))


def ablate(deltas, base=0.9):
  """Scores of the baseline and, for every name, the baseline plus its deltas."""
  first = np.asarray(next(iter(deltas.values())))
  reference = base + np.linspace(-0.01, 0.01, len(first))
  arms = {f'{name}=no': reference + delta for name, delta in deltas.items()}
  return {'baseline': reference, **arms}


def opposite(seeds=8):
  study = make(seeds=seeds)
  study['arms'][1]['at'][1] |= {'params': 99, 'flops': 700.0, 'residual': -0.01}
  deltas = {'steps': -EIGHT[:seeds], 'params': EIGHT[:seeds] / 10}
  return study, run(study, {r: ablate({'a': d}) for r, d in deltas.items()})


def test_columns_and_numbers_by_hand():
  study, runs = opposite()
  found = regimes.compare(study, runs)
  assert tuple(found.frame.columns) == regimes.COLUMNS
  steps, params = found.frame.to_dict('records')
  assert (steps['regime'], steps['declared'], steps['reading']) == (
    *('steps', True, 'helps'),
  )
  assert (params['regime'], params['declared'], params['reading']) == (
    *('params', False, 'hurts'),
  )
  # test_effects works the sixth of the subset means out: 7 / 3 of the steps of 1 / 200
  assert steps['p_holm'] == 2 / 256
  assert np.isnan(params['p_holm'])  # no member of a family
  near, far = 7 / 3 / 200, (9 - 7 / 3) / 200
  for row, scale in ((steps, 1.0), (params, -0.1)):
    assert row['n'] == 8
    assert row['p'] == 2 / 256
    assert row['ci_kind'] == 'inversion'
    assert row['gain'] == pytest.approx(scale * 4.5 / 200)
    assert row['delta'] == pytest.approx(-scale * 4.5 / 200)
    ends = sorted((scale * near, scale * far))
    assert [row['gain_low'], row['gain_high']] == pytest.approx(ends)
    assert [row['ci_low'], row['ci_high']] == pytest.approx([-e for e in ends[::-1]])
  names = ('flops', 'params', 'steps', 'residual')
  assert [params[f'arm_{n}'] for n in names] == [700, 99, 10, -0.01]
  assert [params[f'reference_{n}'] for n in names] == [1000, 100, 10, 0]


def test_an_effect_that_turns_round_leads():
  study, runs = opposite()
  found = regimes.compare(study, runs)
  assert found.reachable
  (flip,) = regime_words.flips(study, found)
  assert flip.replace('\u202f', ' ') == (
    'A helps at equal steps (with it, test accuracy +2.25 points [+1.17, +3.33]) but '
    'hurts at '
    'equal parameters (−0.22 points [−0.33, −0.12], descriptive).'
  )
  # less is better: the same runs, read the other way
  study['metric'] = {'name': 'loss', 'split': 'test', **studies.LOSS}
  runs = runs.rename(columns={'test/accuracy': 'test/loss'})
  found = regimes.compare(study, runs)
  assert found.frame['reading'].tolist() == ['hurts', 'helps']
  assert found.frame['gain'].tolist() == pytest.approx([-4.5 / 200, 0.45 / 200])
  assert regime_words.flips(study, found)[0].startswith(
    'A hurts at equal steps (with it, test loss +0.0225 ['
  )
  assert (
    'but helps at equal parameters (test' not in regime_words.flips(study, found)[0]
  )


def test_the_declared_readings_are_the_verdicts_and_each_regime_has_its_own_family():
  rng = np.random.default_rng(0)
  study = make('abc', kinds=('flops', 'steps', 'params'))
  scores = {
    kind: ablate({n: rng.normal(m, 0.01, 10) for n, m in zip('abc', means)})
    for kind, means in zip(
      ('flops', 'steps', 'params'), ((-0.05, 0, 0), (0, 0.05, 0), (0, 0, 0))
    )
  }
  runs = run(study, scores)
  frame = regimes.compare(study, runs).frame
  assert frame['regime'].tolist() == ['flops', 'steps', 'params'] * 3
  assert frame['factor'].tolist() == list('aaabbbccc')
  assert frame['declared'].tolist() == [True, False, False] * 3
  for kind in scores:
    alone = effects.measure(study | {'regime': kind}, regimes.select(runs, kind))
    mine = frame[frame['regime'] == kind]
    for column in ('delta', 'ci_low', 'ci_high', 'p', 'n'):
      np.testing.assert_array_equal(mine[column], alone[column])
    assert mine['reading'].tolist() == alone['verdict'].tolist()
  assert frame['reading'].tolist()[0] == 'helps'
  assert frame['reading'].tolist()[4] == 'hurts'


def test_other_budgets_sizes_metrics_and_tuning_states_take_no_part():
  study, runs = opposite()
  expected = regimes.compare(study, runs)
  study['conditions'] += [condition('steps', 0.25), condition('steps', 1.0, 2.0)]
  more = [
    runs.assign(budget=0.25, **{'test/accuracy': 0.1}),
    runs.assign(size=2.0, **{'test/accuracy': 0.1}),
    runs.assign(tuned=1, **{'test/accuracy': 0.1}),
  ]
  both = pd.concat([runs, *more], ignore_index=True)
  both['test/loss'] = both['final/test/accuracy'] = 1.0
  found = regimes.compare(study, both)
  pd.testing.assert_frame_equal(found.frame, expected.frame)
  assert regime_words.flips(study, found) == regime_words.flips(study, expected)
  # where the study tunes, the tuned state decides in every regime
  tuned = pd.concat([runs.assign(tuned=1), runs.assign(**{'test/accuracy': 0.1})])
  found = regimes.compare(study | {'tune': {'grid': {'lr': [1, 2]}}}, tuned)
  pd.testing.assert_frame_equal(found.frame, expected.frame)


def test_a_lost_effect_tells_by_how_much_it_changes():
  study = make('ab', seeds=8)
  scores = {
    'steps': ablate({'a': -EIGHT, 'b': EIGHT}),
    # one seed turns the sign-flip test, and both change by 1.5 points at every seed
    'params': ablate({'a': 0.015 - EIGHT, 'b': EIGHT - 0.015}),
  }
  found = regimes.compare(study, run(study, scores))
  assert found.frame['reading'].tolist() == [
    *('helps', 'inconclusive', 'hurts', 'inconclusive')
  ]
  text = [flip.replace('\u202f', ' ') for flip in regime_words.flips(study, found)]
  assert text[0].startswith(
    'A helps at equal steps (with it, test accuracy +2.25 points [+1.17, +3.33]) but '
    'is '
    'inconclusive at equal parameters (+0.75 points ['
  )
  assert text[0].endswith(
    ', descriptive); from equal steps to equal parameters the effect changes by −1.50 '
    'points [−1.50, −1.50], descriptive.'
  )
  assert text[1].startswith(
    'B hurts at equal steps (with it, test accuracy −2.25 points'
  )
  # an effect that is merely no longer significant need not differ
  noise = np.array([9, -9, 9, -9, 9, -9, 9, -9]) / 200
  scores['params'] = ablate({'a': noise - EIGHT, 'b': EIGHT})
  (flip,) = flips(study, run(study, scores))
  assert 'is inconclusive at equal parameters' in flip
  assert flip.endswith('descriptive, so it may be the same.')


def test_equivalence_ends_an_effect_and_opposites_come_first():
  study = make('abc', kinds=('steps', 'flops', 'params'), margin=0.005)
  few = HALF / 10
  scores = {
    'steps': ablate({'a': HALF - 0.05, 'b': HALF - 0.05, 'c': HALF - 0.05}),
    'flops': ablate({'a': few, 'b': HALF + 0.05, 'c': HALF - 0.04}),
    'params': ablate({'a': HALF - 0.04, 'b': few, 'c': HALF - 0.04}),
  }
  first, second = flips(study, run(study, scores))
  assert first.startswith('B helps at equal steps (with it, test accuracy +5.00')
  assert ') but hurts at equal FLOPs (−5.00' in first
  assert 'and makes no difference that matters at equal parameters (' in first
  assert 'changes' not in first
  assert second.startswith('A helps at equal steps (')
  assert ') and at equal parameters (+4.00' in second
  assert 'but makes no difference that matters at equal FLOPs (' in second


def test_the_verdict_comes_before_descriptive_readings():
  study = make(kinds=('flops', 'steps', 'params'))
  scores = {
    'flops': ablate({'a': HALF}),
    'steps': ablate({'a': HALF - 0.02}),
    'params': ablate({'a': HALF[::-1]}),
  }
  (flip,) = flips(study, run(study, scores))
  assert flip.startswith(
    'A is inconclusive at equal FLOPs (with it, test accuracy 0.00'
  )
  assert ') and at equal parameters (0.00' in flip
  assert ', descriptive) but helps at equal steps (+2.00' in flip
  assert 'from equal FLOPs to equal steps the effect changes by +2.00' in flip
  # and where help and harm are both descriptive, they still turn round
  scores['params'] = ablate({'a': HALF + 0.02})
  (flip,) = flips(study, run(study, scores))
  assert 'but helps at equal steps (' in flip
  assert 'and hurts at equal parameters (−2.00' in flip
  assert 'changes' not in flip


def test_readings_without_help_or_harm_are_no_flip():
  study = make(margin=0.005)
  scores = {
    'steps': ablate({'a': HALF}),
    'params': ablate({'a': np.tile([0.02, -0.02], 5)}),
  }
  found = regimes.compare(study, run(study, scores))
  assert found.frame['reading'].tolist() == ['equivalent', 'inconclusive']
  assert regime_words.flips(study, found) == ()


def test_the_same_runs_read_differently_are_no_flip():
  # p of a is 4/128 in both regimes: Holm leaves it alone beside b's 2/128, and doubles
  # it beside b's larger p
  a = -np.array([-1, 20, 30, 40, 50, 60, 70]) / 1000
  b = -np.array([1, 2, 3, 4, 5, 6, 7]) / 100
  study = make('ab', seeds=7)
  weak = b * [1, -1, 1, -1, 1, -1, 1]
  scores = {'steps': ablate({'a': a, 'b': b}), 'params': ablate({'a': a, 'b': weak})}
  found = regimes.compare(study, run(study, scores))
  assert found.frame['p'].tolist()[:2] == [4 / 128] * 2
  assert found.frame['p_holm'][0] == 4 / 128
  assert found.frame['reading'].tolist() == [
    *('helps', 'inconclusive', 'helps', 'inconclusive')
  ]
  (flip,) = regime_words.flips(study, found)
  assert flip.startswith('B helps')


def test_too_few_seeds_refuse():
  study, runs = opposite(seeds=5)
  found = regimes.compare(study, runs)
  assert regime_words.refusal(study, found).startswith(
    'This design could not have shown anything'
  )
  assert regime_words.flips(study, found) == ()
  assert set(found.frame['reading']) == {''}
  assert found.frame[['p', 'p_holm']].isna().all(axis=None)
  assert found.frame['ci_kind'].str.contains('descriptive').all()


def test_a_regime_without_runs_is_shown_and_flips_nothing():
  study, runs = opposite()
  found = regimes.compare(study, regimes.select(runs, 'steps'))
  steps, params = found.frame.to_dict('records')
  assert (steps['reading'], params['reading']) == ('helps', 'inconclusive')
  assert params['n'] == 0
  assert math.isnan(params['gain'])
  assert math.isnan(params['p'])
  assert regime_words.flips(study, found) == ()
  # nor does one with too few of its pairs, though its test reaches no verdict then
  some = runs.drop(runs[(runs['regime'] == 'params') & (runs['seed'] == 3)].index)
  assert regimes.compare(study, some).frame['n'].tolist() == [8, 7]
  assert flips(study, some) == ()
  # without any run at all nothing is read
  found = regimes.compare(study, runs[:0])
  assert found.frame['n'].tolist() == [0, 0]
  assert regime_words.flips(study, found) == ()


def test_diverged_runs_score_the_fallback_and_failed_runs_drop_their_pair():
  study, runs = opposite()
  there = (runs['regime'] == 'params') & (runs['arm'] == 'a=no') & (runs['seed'] == 2)
  runs.loc[there, 'status'] = 'diverged'
  found = regimes.compare(study, runs)
  scored = np.delete(EIGHT / 10, 2).sum() + 0.1 - (0.9 - 0.01 + 0.02 * 2 / 7)
  assert found.frame['delta'].tolist()[1] == pytest.approx(scored / 8)
  assert found.frame['n'].tolist() == [8, 8]
  runs.loc[there, 'status'] = 'failed'
  found = regimes.compare(study, runs)
  assert found.frame['n'].tolist() == [8, 7]
  mean = np.delete(EIGHT / 10, 2).mean()
  assert found.frame['delta'].tolist()[1] == pytest.approx(mean)


def test_a_regime_in_which_most_runs_diverged_flips_nothing():
  study, runs = opposite()
  for regime in ('steps', 'params'):
    bad = (runs['regime'] == regime) & (runs['arm'] == 'a=no')
    some = runs.assign(status=np.where(bad, 'diverged', runs['status']))
    found = regimes.compare(study, some)
    assert sorted(found.frame['reading'])[0] == ''
    assert regime_words.flips(study, found) == ()


def test_every_regime_is_read_at_the_alpha_of_the_declared_look():
  study, runs = opposite()
  study['looks_declared'] = 2
  first = regimes.select(runs, 'steps').copy()
  first['test/accuracy'] -= 0.01
  study['looks'] = looks.log(study, first, '')
  found = regimes.compare(study, runs)
  look = looks.state(study, regimes.select(runs, 'steps'))
  assert (look.number, look.alpha) == (2, 0.05 / 6)
  declared = effects.measure(study, regimes.select(runs, 'steps')).iloc[0]
  assert found.frame['ci_low'].tolist()[0] == declared['ci_low']
  width = found.frame['ci_high'] - found.frame['ci_low']
  assert width.tolist()[1] == pytest.approx(width.tolist()[0] / 10)


def test_verdicts_of_an_exploratory_look_are_called_so():
  study, runs = opposite()
  study['looks'] = looks.log(study, regimes.select(runs, 'steps'), '')
  assert not flips(study, runs)[0].startswith('Exploratory')
  more = runs.copy()
  more['test/accuracy'] += np.where(more['seed'] == 0, 0.001, 0)
  assert flips(study, more)[0].startswith('Exploratory: A helps')


def test_cells_are_averaged_and_levels_named():
  study = studies.make_factorial({'act': ('relu', 'tanh', 'id'), 'b': ('y', 'n')}, 8)
  study['design'] = 'fraction'  # of a factorial, verdicts are on single cells
  study['conditions'] = [condition('steps'), condition('flops')]
  for i, arm in enumerate(study['arms']):
    arm['at'] = [costs('steps', flops=100.0 * i), costs('flops', residual=-0.01 * i)]
  relu = [a['name'] for a in study['arms'] if a['assignment']['act'] == 'relu']
  scores = {
    kind: {
      arm['name']: 0.5 + sign * EIGHT * (arm['name'] in relu) for arm in study['arms']
    }
    for kind, sign in (('steps', 1), ('flops', -1))
  }
  found = regimes.compare(study, run(study, scores))
  assert sorted(flip.split(' at ')[0] for flip in regime_words.flips(study, found)) == [
    'Act (relu instead of id) helps',
    'Act (relu instead of tanh) helps',
  ]
  row = found.frame.iloc[0]
  assert (row['arm'], row['component']) == ('act=relu', 'arm')
  assert (row['arm_flops'], row['reference_flops']) == (50, 250)  # of 0, 1 and 2, 3
  row = found.frame.iloc[1]
  assert (row['arm_residual'], row['reference_residual']) == (-0.01, -0.03)


def test_explicit_arms_and_unknown_costs():
  study = make((), 8, design='arms')
  study['arms'].append({'name': 'lean', 'assignment': {}})
  study['contrasts'] = [studies.make_contrast('lean', 'x', 'lean', 'bare', True)]
  scores = {
    kind: {'bare': 0.5 + 0 * EIGHT, 'lean': 0.5 + sign * EIGHT}
    for kind, sign in (('steps', -1), ('params', 1))
  }
  found = regimes.compare(study, run(study, scores))
  assert regime_words.flips(study, found)[0].startswith(
    'What lean lacks helps at equal steps ('
  )
  assert found.frame['arm_flops'].isna().all()
  assert (found.frame['reference_flops'] == 1000).all()


@pytest.mark.parametrize(
  ('regime', 'name', 'amount', 'line'),
  [
    ('params', 'params', 101, ''),
    ('params', 'params', 99, ''),
    (
      'params',
      'params',
      103,
      'At equal parameters, a=no has 3.0 % more parameters than baseline (103 against '
      '100; solving left +2.5 % and 0.0 %).',
    ),
    ('params', 'flops', 5000.0, ''),
    ('flops', 'flops', 1010.0, ''),
    (
      'flops',
      'flops',
      985.0,
      'At equal FLOPs, a=no has 1.5 % fewer FLOPs a run than baseline (985 FLOP '
      'against 1.00 kFLOP; solving left +2.5 % and 0.0 %).',
    ),
    ('flops', 'params', 103, ''),
    ('steps', 'flops', 5000.0, ''),
    ('steps', 'steps', 20, ''),
    (
      'flops',
      'flops',
      math.nan,
      'At equal FLOPs, a=no cannot be held against baseline: nan and 1000 FLOPs a run.',
    ),
  ],
)
def test_what_is_not_equal_is_told(regime, name, amount, line):
  study = make(kinds=(regime,))
  study['arms'][1]['at'][0] |= {name: amount, 'residual': 0.025}
  lines = [text.replace('\u202f', ' ') for text in regime_words.deviations(study)]
  assert lines == ([line] if line else [])


def test_equality_is_checked_in_every_condition_and_for_arms_without_a_contrast():
  study = make('ab', kinds=('flops',))
  study['conditions'].append(condition('flops', 0.25))
  for i, arm in enumerate(study['arms']):
    arm['at'].append(costs('flops', flops=250.0 + i, budget=0.25))
  assert not regime_words.deviations(study)
  study['arms'][2]['at'][1]['flops'] = 260.0
  (line,) = regime_words.deviations(study)
  assert line.startswith('At equal FLOPs, 0.25× the compute, b=no has 4.0')
  assert 'than baseline (260 FLOP against 250 FLOP;' in line.replace('\u202f', ' ')
  study['contrasts'].pop()
  assert list(regime_words.deviations(study)) == [line]
  study['arms'][2]['at'].pop()
  (line,) = regime_words.deviations(study)
  assert line == (
    'At equal FLOPs, 0.25× the compute, the costs of b=no are not known, so nothing '
    'shows that they are equal.'
  )


def test_what_is_not_trained_under_a_condition_is_not_compared_there():
  """As at the budgets of the bare model alone."""
  study = make('ab', kinds=('flops',))
  study['conditions'].append(condition('flops', 4.0))
  study['arms'][2]['at'].append(costs('flops', flops=4000.0, budget=4.0))
  planned = lambda arm, budget: [arm, 0, 1, '', 'flops', budget]
  intact, _, bare = (arm['name'] for arm in study['arms'])
  study['runs'] = [planned(arm['name'], 1.0) for arm in study['arms']]
  study['runs'].append(planned(bare, 4.0))
  assert not regime_words.deviations(study)
  study['runs'].append(planned(intact, 4.0))
  (line,) = regime_words.deviations(study)
  assert 'the costs of baseline are not known' in line


def draw(study, found):
  with canvas.style():
    return forest.draw_regimes(study, found)


def test_one_regime_or_no_effect_draws_nothing():
  study, runs = opposite()
  only = study | {'conditions': [condition('steps')]}
  assert draw(only, regimes.compare(only, runs)) is None
  assert draw(study, regimes.compare(study, runs[:0])) is None


def test_a_drawing_shows_every_regime():
  study, runs = opposite()
  drawing = draw(study, regimes.compare(study, runs))
  for words in (
    'equal steps (decides)',
    'equal parameters (descriptive)',
    '+2.25 [+1.17, +3.33]',
    '−0.22 [−0.33, −0.12]',
    'helps',
    'hurts',
    'yes → no',
  ):
    assert words in drawing.svg, words
  # the verdict's mark is filled, the descriptive one hollow
  assert 'fill: var(--blue); stroke: var(--blue)' in drawing.svg
  assert 'fill: var(--paper); stroke: var(--orange)' in drawing.svg
  alt = drawing.alt.replace('\u202f', ' ')
  assert alt == (
    'What components gain in test accuracy: a=no +2.25 points at equal steps (helps), '
    '−0.22 points at equal parameters (hurts).'
  )
  image = np.asarray(PIL.Image.open(io.BytesIO(drawing.png)).convert('L'))
  edges = [image[:3], image[-3:], image[:, :3], image[:, -3:]]
  assert all((edge == 255).all() for edge in edges), 'something is cut off at the edge'
  assert draw(study, regimes.compare(study, runs)) == drawing


def test_a_drawing_of_missing_small_and_descriptive_effects():
  study = make('abcd', seeds=5, kinds=('steps', 'flops', 'params'), margin=0.002)
  many = {n: HALF[:5] * 3 - s for n, s in zip('abcd', (0.4, 0.002, 0.001, 0.003))}
  scores = {kind: ablate(many) for kind in ('steps', 'flops')}
  drawing = draw(study, regimes.compare(study, run(study, scores)))
  assert drawing.svg.count('no pairs of runs yet') == 4
  assert 'magnified around zero' in drawing.svg
  assert 'Dashed intervals are Student-t' in drawing.caption
  assert 'margin of equivalence' in drawing.caption
