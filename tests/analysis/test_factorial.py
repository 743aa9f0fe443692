"""Factorial effects against hand-built scores, statsmodels and sums of squares."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as formulas
from statsmodels.stats import anova as anova_lib

from dlsteroids.analysis import effects, factorial, statistics
from tests.fixtures import studies

LEVELS = {
  'act': ('relu', 'tanh'),
  'drop': ('on', 'off'),
  'pool': ('max', 'avg', 'none'),
}


def scores_of(study, seed=0, noise=0.002):
  """Additive effects, an act × drop interaction of .04, seed shifts and noise."""
  rng = np.random.default_rng(seed)
  seeds = rng.normal(0, 0.02, len(study['seeds']))
  value = {}
  for arm in study['arms']:
    a = arm['assignment']
    mean = 0.5 + 0.1 * (a['act'] == 'relu') - 0.03 * (a['drop'] == 'on')
    mean += {'max': 0.02, 'avg': 0.0, 'none': -0.05}[a.get('pool', 'max')]
    mean += 0.04 * (a['act'] == 'relu' and a['drop'] == 'on')
    value[arm['name']] = mean + seeds + rng.normal(0, noise, len(seeds))
  return value


def test_main_effects_average_over_the_other_factors():
  study = studies.make_factorial(LEVELS, 10)
  scores = scores_of(study)
  rows = effects.measure(study, studies.make_runs(study, scores))
  table = rows[rows['effect'] == effects.MAIN].set_index(['factor', 'level'])
  by_hand = np.mean(
    [scores[a['name']] for a in study['arms'] if a['assignment']['drop'] == 'on'], 0
  ) - np.mean(
    [scores[a['name']] for a in study['arms'] if a['assignment']['drop'] == 'off'], 0
  )
  assert table.loc[('drop', 'off'), 'delta'] == pytest.approx(by_hand.mean(), rel=1e-12)
  # act: .1 + half of the interaction; drop: -.03 + half; pool: the levels' differences
  expected = {
    ('act', 'tanh'): 0.12,
    ('drop', 'off'): -0.01,
    ('pool', 'avg'): 0.02,
    ('pool', 'none'): 0.07,
  }
  for key, delta in expected.items():
    assert table.loc[key, 'delta'] == pytest.approx(delta, abs=0.003)
    assert table.loc[key, 'verdict'] == ''
    assert np.isnan(table.loc[key, 'p_holm'])


def test_verdicts_are_on_the_simple_effects_in_the_intact_model():
  """Dropout adds .01 to the intact model and takes .01 from the average cell."""
  study = studies.make_factorial(LEVELS, 10)
  scores = scores_of(study)
  rows = effects.measure(study, studies.make_runs(study, scores))
  assert rows['effect'].tolist() == [effects.SIMPLE] * 4 + [effects.MAIN] * 4
  family = rows[:4].set_index(['factor', 'level'])
  row = family.loc[('drop', 'off')]
  assert (row['arm'], row['reference']) == ('relu+on+max', 'relu+off+max')
  by_hand = scores['relu+on+max'] - scores['relu+off+max']
  assert row['delta'] == pytest.approx(by_hand.mean(), rel=1e-12)
  assert family['verdict'].tolist() == ['helps', 'helps', 'helps', 'helps']
  np.testing.assert_array_equal(family['p_holm'], statistics.holm(family['p']))
  (opposite,) = effects.contradictions(study, rows)
  assert opposite.simple['factor'] == opposite.main['factor'] == 'drop'
  assert opposite.main['delta'] < 0 < opposite.simple['delta']
  assert (opposite.simple['verdict'], opposite.main['verdict']) == ('helps', '')


def test_a_simple_effect_whose_cell_is_excluded_has_no_verdict():
  study = studies.make_factorial(LEVELS, 10)
  runs = studies.make_runs(study, scores_of(study))
  contrast = study['contrasts'][1]
  place = contrast['arm_cells'].index('relu+on+max')
  for side in ('arm_cells', 'reference_cells'):
    del contrast[side][place]
  rows = effects.measure(study, runs)
  simple = rows[rows['effect'] == effects.SIMPLE]
  assert simple['factor'].tolist() == ['act', 'pool', 'pool']
  main = rows[(rows['effect'] == effects.MAIN) & (rows['factor'] == 'drop')]
  assert main['verdict'].tolist() == ['']


def test_divergences_count_runs_of_all_cells():
  study = studies.make_factorial(LEVELS, 10)
  runs = studies.make_runs(study, scores_of(study))
  for name, seed in (('relu+on+max', 1), ('relu+off+avg', 1), ('tanh+on+none', 4)):
    runs = studies.set_run(runs, name, seed, status='diverged')
  rows = effects.measure(study, runs)
  row = rows[rows['effect'] == effects.MAIN].iloc[0]
  assert (row['n'], row['n_diverged_arm'], row['n_diverged_reference']) == (10, 2, 1)
  failed = studies.set_run(runs, 'relu+on+avg', 7, status='failed')
  rows = effects.measure(study, failed)
  assert rows[rows['effect'] == effects.MAIN].iloc[0]['n'] == 9


def test_interactions_by_hand():
  study = studies.make_factorial(LEVELS, 10)
  scores = scores_of(study)
  table = factorial.interactions(study, studies.make_runs(study, scores))
  assert tuple(table.columns) == factorial.INTERACTIONS
  keys = list(zip(table['factor'], table['level'], table['with'], table['with_level']))
  assert keys == [
    ('act', 'tanh', 'drop', 'off'),
    ('act', 'tanh', 'pool', 'avg'),
    ('act', 'tanh', 'pool', 'none'),
    ('drop', 'off', 'pool', 'avg'),
    ('drop', 'off', 'pool', 'none'),
  ]
  deltas = [
    (scores[f'relu+on+{pool}'] - scores[f'tanh+on+{pool}'])
    - (scores[f'relu+off+{pool}'] - scores[f'tanh+off+{pool}'])
    for pool in LEVELS['pool']
  ]
  first = table.iloc[0]
  assert first['delta'] == pytest.approx(np.mean(deltas), rel=1e-9)
  assert first['delta'] == pytest.approx(0.04, abs=0.003)
  assert first['p'] == 2 / 2**10
  assert first['ci_low'] > 0
  assert (table['delta'][1:].abs() < 0.005).all()
  assert table['n'].tolist() == [10] * 5


def test_interactions_leave_out_what_was_not_run():
  levels = {'act': ('relu', 'tanh'), 'drop': ('on', 'off'), 'pool': ('max', 'avg')}
  study = studies.make_factorial(levels, 6)
  study['arms'] = [a for a in study['arms'] if not a['name'].startswith('tanh+on')]
  study['contrasts'] = study['contrasts'][:0]
  table = factorial.interactions(study, studies.make_runs(study, scores_of(study)))
  assert list(zip(table['factor'], table['with'])) == [
    ('act', 'pool'),  # from the cells without dropout alone
    ('drop', 'pool'),
  ]
  rows = factorial.anova(study, studies.make_runs(study, scores_of(study)))
  assert rows['source'].tolist() == [
    'seed',
    'act',
    'drop',
    'pool',
    'act:pool',
    'drop:pool',
    'residual',
  ]


def test_anova_by_sums_of_squares():
  levels = {'act': ('relu', 'tanh'), 'drop': ('on', 'off')}
  study = studies.make_factorial(levels, 5)
  scores = scores_of(study, noise=0.02)
  table = factorial.anova(study, studies.make_runs(study, scores)).set_index('source')
  y = np.array(
    [
      [[scores[f'{a}+{d}'][s] for s in range(5)] for d in ('on', 'off')]
      for a in levels['act']
    ]
  )  # [act, drop, seed]
  centre = y.mean()
  seed = 4 * ((y.mean((0, 1)) - centre) ** 2).sum()
  act = 10 * ((y.mean((1, 2)) - centre) ** 2).sum()
  drop = 10 * ((y.mean((0, 2)) - centre) ** 2).sum()
  both = 5 * ((y.mean(2) - centre) ** 2).sum() - act - drop
  rest = ((y - centre) ** 2).sum() - seed - act - drop - both
  expected = {
    'seed': seed,
    'act': act,
    'drop': drop,
    'act:drop': both,
    'residual': rest,
  }
  assert table['sum_sq'].to_dict() == pytest.approx(expected, rel=1e-8)
  assert table['df'].tolist() == [4, 1, 1, 1, 12]
  assert table.loc['act', 'F'] == pytest.approx(act / (rest / 12), rel=1e-8)
  assert table.loc['act', 'mean_sq'] == pytest.approx(act, rel=1e-8)


def test_anova_with_a_failed_run_equals_statsmodels():
  study = studies.make_factorial(LEVELS, 4)
  runs = studies.make_runs(study, scores_of(study, noise=0.02))
  runs = studies.set_run(runs, 'tanh+on+avg', 2, status='failed')
  ours = factorial.anova(study, runs).set_index('source')
  table = runs[runs['status'] == 'ok'].rename(columns={'test/accuracy': 'y'})
  parts = table['arm'].str.split('+', expand=True)
  table = pd.concat([table, parts.set_axis(list('adp'), axis=1)], axis=1)
  fit = formulas.ols('y ~ C(seed) + (a + d + p) ** 2', table).fit()
  theirs = anova_lib.anova_lm(fit, typ=2)
  for name, term in (('act', 'a'), ('drop:pool', 'd:p'), ('seed', 'C(seed)')):
    assert ours.loc[name, 'F'] == pytest.approx(theirs.loc[term, 'F'], rel=1e-8)
    assert ours.loc[name, 'p'] == pytest.approx(theirs.loc[term, 'PR(>F)'], rel=1e-7)


def test_other_designs_have_no_such_tables():
  study = studies.make_study(['a', 'b'], 6)
  runs = studies.make_runs(study, {a['name']: np.arange(6) for a in study['arms']})
  assert factorial.interactions(study, runs).empty
  assert factorial.anova(study, runs).empty
  one = studies.make_factorial({'act': ('relu', 'tanh')}, 1)
  scores = {'relu': [0.5], 'tanh': [0.4]}
  assert factorial.anova(one, studies.make_runs(one, scores)).empty
