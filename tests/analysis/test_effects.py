"""The effects table against hand-worked studies, and against A/A simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import effects, statistics
from tests.fixtures import studies

HALF = np.linspace(-0.001, 0.001, 10)


def noisy(seed: int, mean: float, sd: float = 0.004, n: int = 10) -> np.ndarray:
  return np.random.default_rng(seed).normal(mean, sd, n)


def two_arms(arm, reference, **changes):
  study = studies.make_study(['dropout'], len(arm), **changes)
  runs = studies.make_runs(study, {'baseline': reference, 'dropout=no': arm})
  return study, runs


def test_columns_and_numbers_by_hand():
  arm = np.array([0.90, 0.91, 0.88, 0.90, 0.89, 0.90, 0.92, 0.87])
  reference = arm + np.array([1, 2, 3, 4, 5, 6, 7, 8]) / 200
  study, runs = two_arms(arm, reference)
  table = effects.measure(study, runs)
  assert tuple(table.columns) == effects.COLUMNS
  row = table.iloc[0]
  assert len(table) == 1
  assert row['metric'] == 'test/accuracy'
  assert (row['arm'], row['factor'], row['level']) == ('dropout=no', 'dropout', 'no')
  assert (row['reference'], row['regime'], row['tuned'], row['n']) == (
    'baseline',
    'steps',
    0,
    8,
  )
  assert row['delta'] == pytest.approx(-4.5 / 200)
  assert row['arm_mean'] == pytest.approx(arm.mean())
  assert row['reference_mean'] == pytest.approx(reference.mean())
  assert row['p'] == row['p_holm'] == 2 / 256
  # floor(.05 * 256 / 2) = 6th of the subset means, in steps of 1/200:
  # 1; {1,2} 1.5; 2; {1,3} 2; {1,2,3} 2; then 2.33 = {1,2,4}
  assert row['ci_high'] == pytest.approx(-7 / 3 / 200)
  assert row['ci_low'] == pytest.approx(-(9 - 7 / 3) / 200)
  assert row['ci_kind'] == 'inversion'
  wins = np.greater.outer(reference, arm) + 0.5 * np.equal.outer(reference, arm)
  assert row['prob_improvement'] == pytest.approx(wins.mean())
  assert (row['improvement_low'], row['improvement_high']) == (
    statistics.improvement_interval(reference, arm, 'higher', 0.05)
  )
  assert 0 <= row['improvement_low'] <= wins.mean() <= row['improvement_high'] <= 1
  assert table['improvement_low'].notna().sum() == len(study['contrasts'])
  assert row['verdict'] == 'helps'


@pytest.mark.parametrize('design', ['one_out', 'one_in'])
@pytest.mark.parametrize('metric', ['accuracy', 'loss'])
@pytest.mark.parametrize('rises', [True, False])
def test_the_verdict_speaks_of_the_component(design, metric, rises):
  study = studies.make_study(['norm'], 10, design)
  study['metric'] = {'name': metric, 'split': 'test', **study['metrics'][metric]}
  root, arm = [a['name'] for a in study['arms']]
  scores = {root: 0.5 + HALF, arm: 0.5 + 2 * HALF + (0.1 if rises else -0.1)}
  row = effects.measure(study, studies.make_runs(study, scores, f'test/{metric}')).iloc[
    0
  ]
  arm_is_better = rises == (metric == 'accuracy')
  component_is_better = arm_is_better == (design == 'one_in')
  assert row['delta'] == pytest.approx(0.1 if rises else -0.1)
  assert row['verdict'] == ('helps' if component_is_better else 'hurts')
  assert row['prob_improvement'] == float(component_is_better)


def test_holm_and_only_over_the_family():
  names = ['a', 'b', 'c']
  study = studies.make_study(names, 10)
  base = noisy(0, 0.9)
  scores = {'baseline': base}
  for i, (name, shift) in enumerate(zip(names, (-0.05, -0.002, -0.004))):
    scores[f'{name}=no'] = base + noisy(i + 1, shift)
  runs = studies.make_runs(study, scores)
  runs['test/loss'] = 1 - runs['test/accuracy']
  runs['final/test/accuracy'] = runs['test/accuracy'] - 0.001
  runs['final/test/loss'] = 1 - runs['final/test/accuracy']
  runs['validation/accuracy'] = runs['test/accuracy']
  table = effects.measure(study, runs)
  assert table['metric'].drop_duplicates().tolist() == [
    'test/accuracy',
    'test/loss',
    'final/test/accuracy',
    'final/test/loss',
  ]
  assert table['factor'].tolist() == names * 4
  family, rest = table[:3], table[3:]
  np.testing.assert_array_equal(family['p_holm'], statistics.holm(family['p']))
  assert (family['verdict'] != '').all()
  assert rest['p_holm'].isna().all()
  assert (rest['verdict'] == '').all()
  assert rest['p'].notna().all()
  # adding descriptive metrics and other rows changes no claim
  alone = effects.measure(study, runs.drop(columns=['test/loss', 'final/test/loss']))
  pd.testing.assert_frame_equal(alone[:3], family)
  shuffled = runs.sample(frac=1, random_state=3)
  pd.testing.assert_frame_equal(effects.measure(study, shuffled), table)


def test_the_tuned_state_decides_where_tuning_is_declared():
  study, runs = two_arms(0.8 + HALF, 0.9 + 2 * HALF)
  equal = {'baseline': 0.9 + HALF, 'dropout=no': 0.9 + HALF}
  both = pd.concat([runs, studies.make_runs(study, equal, tuned=1)])
  for tune, states in (({}, [0, 1]), ({'grid': {'lr': [1, 2]}}, [1, 0])):
    table = effects.measure(study | {'tune': tune}, both)
    assert table['tuned'].tolist() == states
    assert table['verdict'].tolist()[1] == ''
    assert math.isnan(table['p_holm'].tolist()[1])
    expected = 'helps' if not tune else 'inconclusive'
    assert table['verdict'].tolist()[0] == expected
  assert effects.measure(study, runs)['tuned'].tolist() == [0]


def test_diverged_runs_count_and_score_the_fallback():
  study, runs = two_arms(0.9 + HALF, 0.9 + 2 * HALF)
  runs = studies.set_run(
    runs, 'dropout=no', 3, status='diverged', **{'test/accuracy': 0.1}
  )
  row = effects.measure(study, runs).iloc[0]
  assert (row['n'], row['n_diverged_arm'], row['n_diverged_reference']) == (10, 1, 0)
  assert row['arm_mean'] == pytest.approx(
    np.append(np.delete(0.9 + HALF, 3), 0.1).mean()
  )
  # a value that is not finite is no better than a divergence
  lost = studies.set_run(runs, 'baseline', 5, **{'test/accuracy': math.nan})
  row = effects.measure(study, lost).iloc[0]
  assert (row['n'], row['n_diverged_arm'], row['n_diverged_reference']) == (10, 1, 1)


@pytest.mark.parametrize('missing', [False, True])
@pytest.mark.parametrize(('lost', 'verdict'), [(1, 'helps'), (2, 'inconclusive')])
def test_failed_runs_drop_their_pair(missing, lost, verdict):
  study, runs = two_arms(0.8 + HALF, 0.9 + 2 * HALF)
  for seed in range(lost):
    runs = studies.set_run(runs, 'dropout=no', seed, status='failed')
  if missing:
    runs = runs[runs['status'] != 'failed']
  row = effects.measure(study, runs).iloc[0]
  assert row['n'] == 10 - lost
  assert row['n_diverged_arm'] == 0
  assert row['reference_mean'] == pytest.approx((0.9 + 2 * HALF)[lost:].mean())
  assert row['p_holm'] == 2.0 ** (1 - 10 + lost)  # significant, and still no claim
  assert row['verdict'] == verdict


def test_no_pair_at_all():
  study, runs = two_arms(0.8 + HALF, 0.9 + HALF)
  row = effects.measure(study, runs[runs['arm'] == 'baseline']).iloc[0]
  assert row['n'] == 0
  assert math.isnan(row['p'])
  assert row['p_holm'] == 1
  assert row['verdict'] == 'inconclusive'


def test_equivalence_needs_a_margin_and_comes_first():
  arm, reference = 0.899 + HALF / 2, 0.9 + HALF
  expected = {0.0: 'helps', 0.0005: 'helps', 0.005: 'equivalent'}
  for margin, verdict in expected.items():
    study, runs = two_arms(arm, reference, margin=margin)
    row = effects.measure(study, runs).iloc[0]
    assert row['verdict'] == verdict
    assert row['p_holm'] <= 0.05  # significant but negligible under the widest margin
  study, runs = two_arms(0.9 + HALF, 0.9 + HALF, margin=0.005)
  row = effects.measure(study, runs).iloc[0]
  assert (row['p'], row['verdict']) == (1, 'equivalent')
  study['margin'] = 0.0
  assert effects.measure(study, runs).iloc[0]['verdict'] == 'inconclusive'


def test_equivalence_is_corrected_over_the_family():
  names = [f'f{i}' for i in range(5)]
  study = studies.make_study(names, 9, margin=0.01)
  base = noisy(0, 0.9, n=9)
  delta = np.array([4, 4, 4, 4, 4, 4, 4, 4, -30]) / 1000  # only just within the margin
  alone = statistics.equivalence(delta, 0.01)
  scores = {'baseline': base, **{f'{n}=no': base + 0.5 for n in names}}
  scores['f2=no'] = base + delta
  table = effects.measure(study, studies.make_runs(study, scores))
  assert alone <= 0.05 < 5 * alone
  assert table['verdict'].tolist() == [
    'hurts',
    'hurts',
    'inconclusive',
    'hurts',
    'hurts',
  ]


@pytest.mark.parametrize(('n', 'names'), [(1, 'a'), (5, 'a'), (7, 'abcd')])
def test_too_few_seeds_claim_nothing(n, names):
  study = studies.make_study(names, n, margin=1.0)
  scores = {'baseline': HALF} | {f'{name}=no': HALF - 0.5 for name in names}
  table = effects.measure(study, studies.make_runs(study, scores))
  assert (table['verdict'] == 'inconclusive').all()


def test_more_than_sixteen_seeds_repeat_to_the_bit():
  study, runs = two_arms(noisy(1, 0.89, n=20), noisy(2, 0.9, n=20))
  first, second = effects.measure(study, runs), effects.measure(study, runs.copy())
  pd.testing.assert_frame_equal(first, second, check_exact=True)
  assert first['ci_kind'].item() == 'inversion'


def test_declared_looks_narrow_alpha():
  arm, reference = noisy(3, 0.9), noisy(3, 0.9) + noisy(4, 0.01)
  study, runs = two_arms(arm, reference)
  row = effects.measure(study | {'looks_declared': 3}, runs).iloc[0]
  low, high, _ = statistics.interval(
    arm - reference, 0.05 / 2
  )  # look 1: alpha / (1 * 2)
  assert (row['ci_low'], row['ci_high']) == (low, high)


def test_bad_tables_raise():
  study, runs = two_arms(0.8 + HALF, 0.9 + HALF)
  with pytest.raises(ValueError, match='two runs of arm'):
    effects.measure(study, pd.concat([runs, runs]))
  with pytest.raises(ValueError, match="no column 'test/accuracy'"):
    effects.measure(study, runs.rename(columns={'test/accuracy': 'x'}))
  with pytest.raises(ValueError, match='status is one of'):
    effects.measure(study, runs.assign(status='odd'))
  study['contrasts'][0]['arm_cells'] = ['nowhere']
  with pytest.raises(ValueError, match="no arm 'nowhere'"):
    effects.measure(study, runs)


def test_aa_studies_claim_at_most_at_the_nominal_rate():
  names = [f'f{i}' for i in range(5)]
  study = studies.make_study(names, 10)
  rng = np.random.default_rng(11)
  arms = [arm['name'] for arm in study['arms']]
  false = 0
  times = 300
  for _ in range(times):
    scores = dict(zip(arms, rng.normal(0.9, 0.01, (len(arms), 10))))
    table = effects.measure(study, studies.make_runs(study, scores))
    false += bool(table['verdict'].isin(['helps', 'hurts']).any())
  nominal = study['alpha']
  assert false / times <= nominal + 3 * math.sqrt(nominal * (1 - nominal) / times)


def test_true_effects_are_found():
  # the other side of the simulation above: with the same noise, 3 sd are not missed
  study = studies.make_study(['a', 'b'], 10)
  rng = np.random.default_rng(12)
  found = 0
  for _ in range(40):
    scores = rng.normal(0.9, 0.01, (3, 10)) - np.array([[0], [0.03], [0]])
    runs = studies.make_runs(study, dict(zip(['baseline', 'a=no', 'b=no'], scores)))
    found += effects.measure(study, runs)['verdict'].tolist()[0] == 'helps'
  assert found >= 36
