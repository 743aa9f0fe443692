"""The effects table against hand-worked studies, and against A/A simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import effects, statistics
from dlsteroids.study import factors
from tests.fixtures import studies, study_cases

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
  assert (row['share_diverged_arm'], row['share_diverged_reference']) == (0.1, 0)
  finite = np.delete(0.9 + HALF, 3).mean() - np.delete(0.9 + 2 * HALF, 3).mean()
  assert row['delta_finite'] == pytest.approx(finite)
  (arm,) = effects.diverged_arms(study, runs.assign(best_step=70))
  assert arm == effects.DivergedArm('dropout=no', (3,), (70,), 10, False)


def test_a_metric_that_is_undefined_is_no_divergence():
  study, runs = two_arms(0.8 + HALF, 0.9 + 2 * HALF)
  runs = studies.set_run(runs, 'baseline', 5, **{'test/accuracy': math.nan})
  row = effects.measure(study, runs).iloc[0]
  assert (row['n'], row['n_diverged_arm'], row['n_diverged_reference']) == (9, 0, 0)
  assert row['reference_mean'] == pytest.approx(np.delete(0.9 + 2 * HALF, 5).mean())


@pytest.mark.parametrize('side', ['dropout=no', 'baseline'])
@pytest.mark.parametrize(('count', 'verdict'), [(5, 'helps'), (6, ''), (10, '')])
def test_an_arm_that_mostly_diverged_has_no_verdict(side, count, verdict):
  study, runs = two_arms(0.8 + HALF, 0.9 + 2 * HALF)
  if side == 'baseline':  # both ways the finite runs of the other side are better
    runs['test/accuracy'] = 1.7 - runs['test/accuracy']
    verdict = verdict.replace('helps', 'hurts')
  for seed in range(count):
    steps = {'status': 'diverged', 'best_step': 100 - 10 * seed}
    runs = studies.set_run(runs, side, seed, **steps, **{'test/accuracy': 0.1})
  row = effects.measure(study, runs).iloc[0]
  assert row['verdict'] == verdict
  numbers = row[['p', 'p_holm', 'prob_improvement', 'improvement_low']].to_numpy(float)
  assert np.isnan(numbers).all() == (verdict == '')
  assert not row['exploratory']
  (arm,) = effects.diverged_arms(study, runs.fillna({'best_step': 0}))
  assert (arm.arm, arm.most) == (side, verdict == '')
  assert (arm.seeds[0], arm.steps[0]) == (count - 1, 110 - 10 * count)  # the first


def test_an_arm_that_mostly_diverged_takes_no_part_in_the_family():
  study = studies.make_study(['a', 'b'], 8)
  base = 0.9 + np.arange(8) / 1000
  scores = {'baseline': base, 'a=no': base - 0.01, 'b=no': base}
  runs = studies.make_runs(study, scores)
  runs.loc[runs['arm'] == 'b=no', 'status'] = 'diverged'
  table = effects.measure(study, runs)
  assert table['verdict'].tolist() == ['helps', '']
  assert table['p_holm'].tolist()[0] == 2 * 2 / 2**8  # it still counts as a contrast


@pytest.mark.parametrize('worst', [3.0, 18.3, math.inf])
@pytest.mark.parametrize('side', ['dropout=no', 'baseline'])
def test_a_finite_explosion_is_no_better_or_worse_than_a_divergence(worst, side):
  """The deciding loss is bounded by its fallback, 2.302585; accuracy from below."""
  study = studies.make_study(['dropout'], 10)
  study['metric'] = {'name': 'loss', 'split': 'test', **studies.LOSS}
  scores = {'baseline': 0.5 + HALF, 'dropout=no': 0.6 + HALF}
  runs = studies.make_runs(study, scores, 'test/loss')
  exploded = studies.set_run(runs, side, 3, **{'test/loss': worst})
  diverged = studies.set_run(runs, side, 3, status='diverged')
  one, two = (effects.measure(study, table).iloc[0] for table in (exploded, diverged))
  for name in ('delta', 'arm_mean', 'reference_mean', 'p', 'ci_low', 'ci_high'):
    assert one[name] == two[name]
  short = 'arm' if side == 'dropout=no' else 'reference'
  assert (one[f'n_bounded_{short}'], one[f'n_diverged_{short}']) == (1, 0)
  assert (two[f'n_bounded_{short}'], two[f'n_diverged_{short}']) == (0, 1)
  assert exploded['test/loss'].max() == worst  # the raw number stays


def test_accuracy_is_bounded_from_below_and_other_metrics_are_not_bounded():
  study, runs = two_arms(np.full(10, 0.05), 0.9 + HALF)
  runs['test/loss'] = 18.3
  table = effects.measure(study, runs).set_index('metric')
  assert table.loc['test/accuracy', 'arm_mean'] == pytest.approx(0.1)
  assert table.loc['test/accuracy', 'n_bounded_arm'] == 10
  assert table.loc['test/loss', 'arm_mean'] == pytest.approx(18.3)
  assert table.loc['test/loss', 'n_bounded_arm'] == 0


def test_skewed_differences_and_pivotal_seeds_are_named():
  arm = 0.9 + np.array([1, 2, 3, 4, 5, 6, 7, -1]) / 1000
  study, runs = two_arms(arm, np.full(8, 0.9))
  row = effects.measure(study, runs).iloc[0]
  assert row['delta_median'] == pytest.approx(0.0035)
  assert not row['skewed']
  skewed = 0.9 + np.array([1, 1, 1, 1, 1, 1, 1, 80]) / 1000
  row = effects.measure(
    study, studies.make_runs(study, {'baseline': np.full(8, 0.9), 'dropout=no': skewed})
  ).iloc[0]
  assert row['skewed']
  assert row['skewness'] == pytest.approx(8**0.5, rel=0.01)
  assert row['delta_median'] == pytest.approx(0.001)
  study = studies.make_study(['a', 'b'], 8)
  base = np.full(8, 0.9)
  deltas = np.array([5, 6, 7, 8, 9, 10, 11, -4]) / 1000
  runs = studies.make_runs(
    study, {'baseline': base, 'a=no': base - deltas, 'b=no': base}
  )
  rows = effects.measure(study, runs)
  family = [deltas, np.zeros(8)]
  expected = statistics.pivotal([-values for values in family], 0.05)
  names = [' '.join(map(str, seeds)) for seeds in expected]
  assert rows['pivotal_seeds'].tolist()[:2] == names


def test_exploratory_verdicts_are_marked_in_a_column():
  study, runs = two_arms(0.8 + HALF, 0.9 + 2 * HALF)
  runs['final/test/accuracy'] = runs['test/accuracy']
  assert effects.measure(study, runs)['exploratory'].tolist() == [False, '']
  partial = runs[runs['seed'] != 4]
  assert effects.measure(study, partial)['exploratory'].tolist() == [True, '']


DESIGNS = ('one_out', 'one_in', 'ladder', 'factorial', 'arms')


@pytest.mark.parametrize('design', DESIGNS)
@pytest.mark.parametrize('kind', ['remove', 'add', 'swap'])
@pytest.mark.parametrize('metric', ['accuracy', 'loss'])
@pytest.mark.parametrize('intact_scores_more', [True, False])
def test_orientation_of_every_design_and_kind(design, kind, metric, intact_scores_more):
  """Oracle: the level that has the component is the better one, or the change is."""
  factor = factors.factor('dropout', 'model.dropout', 0.5, 0.0, kind=kind)
  other = factors.factor('pooling', 'model.pooling', 'max', 'none', kind=kind)
  chosen = [factor, other] if design == 'factorial' else [factor]
  arms = [factors.arm('lean', {'dropout': '0.0'})] if design == 'arms' else []
  expanded = study_cases.expand(design, *chosen, arms=arms)
  study = studies.make_study([], 10) | {
    'design': design,
    'factors': [
      studies.make_factor(one.name, [level.name for level in one.levels])
      for one in chosen
    ],
    'arms': [
      {'name': arm.name, 'assignment': dict(arm.assignment)} for arm in expanded.arms
    ],
    'contrasts': [contrast._asdict() for contrast in expanded.contrasts],
    'seeds': list(range(10)),
  }
  study['metric'] = {'name': metric, 'split': 'test', **study['metrics'][metric]}
  more = {'0.5': 0.1 * intact_scores_more, '0.0': 0.1 * (not intact_scores_more)}
  scores = {
    arm['name']: 0.5 + more[arm['assignment']['dropout']] + HALF * (1 + i)
    for i, arm in enumerate(study['arms'])
  }
  table = effects.measure(study, studies.make_runs(study, scores, f'test/{metric}'))
  row = table[table['factor'].isin(['dropout', 'lean'])].iloc[0]
  better = '0.5' if intact_scores_more == (metric == 'accuracy') else '0.0'
  level = {arm['name']: arm['assignment']['dropout'] for arm in study['arms']}
  if kind == 'swap':
    helps = level[row['arm']] == better
  else:
    helps = ('0.5' if kind == 'remove' else '0.0') == better
  assert row['verdict'] == ('helps' if helps else 'hurts')
  assert row['prob_improvement'] == float(helps)
  assert row['delta'] == pytest.approx(
    scores[row['arm']].mean() - scores[row['reference']].mean()
  )


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
  times = 100
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
