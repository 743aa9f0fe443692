"""Studies over data sets. Oracles: sums by hand, statsmodels' Holm, meta_analysis."""

import dataclasses
import math

import numpy as np
import pytest
from statsmodels.stats import multitest

from dlsteroids.analysis import data_sets, effects, meta_analysis
from tests.fixtures import studies

SPREAD = np.linspace(-0.01, 0.01, 10)
TEN = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) / 1000


def make_case(name, deltas, n=10, **changes):
  """A study on a data set of its own: arms are the baseline plus their deltas [n]."""
  draft = studies.make_study(list(deltas), n, **changes)
  scores = {'baseline': 0.9 + SPREAD[:n]}
  for part, delta in deltas.items():
    scores[f'{part}=no'] = scores['baseline'] + np.resize(delta, n)
  draft['data'] = {**draft['data'], 'name': f'{name} data'}
  study = dataclasses.replace(studies.typed(draft), name=name)
  runs = studies.make_runs(draft, scores)
  return data_sets.Case(name, study, runs, effects.measure(study, runs))


@pytest.fixture(scope='module')
def result():
  cases = [
    make_case('one', {'a': -TEN, 'b': TEN - 0.0055, 'c': TEN}),
    make_case('two', {'a': -3 * TEN, 'b': -TEN}),
    make_case('three', {'a': -TEN / 2}),
  ]
  return data_sets.compare(cases)


def test_cells_are_what_two_studies_share(result):
  cells = list(zip(result.cells['arm'], result.cells['study']))
  assert cells == [
    *(('a=no', 'one'), ('a=no', 'two'), ('a=no', 'three')),
    *(('b=no', 'one'), ('b=no', 'two')),
  ]
  assert result.alone == {'one': ('c=no',)}
  assert result.cells['delta'].tolist() == pytest.approx(
    [-0.0055, -0.0165, -0.00275, 0.0, -0.0055], abs=1e-12
  )
  error = TEN.std(ddof=1) / math.sqrt(10)
  assert result.cells['error'].tolist() == pytest.approx(
    [error, 3 * error, error / 2, error, error]
  )


def test_holm_goes_over_all_cells(result):
  adjusted = multitest.multipletests(result.cells['p'], method='holm')[1]
  assert result.cells['p_holm'].tolist() == pytest.approx(adjusted.tolist())
  helps = 'helps'  # the component: without it the arm is worse
  assert result.cells['verdict'].tolist() == [
    helps,
    helps,
    helps,
    'inconclusive',
    helps,
  ]
  assert result.seeds == 8  # 5 * 2^-7 = .039, 5 * 2^-6 = .078


def test_means_over_data_sets(result):
  error = TEN.std(ddof=1) / math.sqrt(10)
  one, two = result.means.to_dict('records')
  expected = meta_analysis.combine(
    [-0.0055, -0.0165, -0.00275], np.array([error, 3 * error, error / 2]) ** 2, 0.05
  )
  names = {'delta': 'value', 'ci_low': 'low', 'ci_high': 'high', 'tau': 'tau', 'p': 'p'}
  for name, own in names.items():
    assert one[name] == pytest.approx(getattr(expected, own))
  assert (one['k'], two['k']) == (3, 2)
  holm = multitest.multipletests([one['p'], two['p']], method='holm')[1]
  assert [one['p_holm'], two['p_holm']] == pytest.approx(holm.tolist())


def test_equal_effects_on_data_sets_are_a_verdict_on_their_mean():
  cases = [make_case(f'study {i}', {'a': -TEN}) for i in range(4)]
  (mean,) = data_sets.compare(cases).means.to_dict('records')
  assert (mean['verdict'], mean['tau'], mean['k']) == ('helps', 0.0, 4)
  assert mean['ci_high'] < 0


def test_the_matrix_has_arms_that_all_studies_have(result):
  assert result.scores.index.tolist() == ['baseline', 'a=no']
  (row,) = result.matrix.to_dict('records')
  assert (row['row'], row['column'], row['k']) == ('baseline', 'a=no', 3)
  assert (row['better'], row['ties'], row['worse']) == (3, 0, 0)
  assert row['delta'] == pytest.approx(-result.means['delta'][0])


def test_entries_of_the_matrix_depend_on_their_two_arms_alone():
  """Adding an arm changes no entry, as ranks would (Ismail-Fawaz et al. 2023)."""
  deltas = [{'a': -TEN, 'b': TEN - 0.004}, {'a': -2 * TEN, 'b': -TEN}]
  with_c = [{**one, 'c': one['a'] * 1.5} for one in deltas]
  few, many = (
    data_sets.compare([make_case(f'study {i}', d) for i, d in enumerate(all_deltas)])
    for all_deltas in (deltas, with_c)
  )
  keys = ['row', 'column']
  entries = many.matrix.set_index(keys).loc[few.matrix.set_index(keys).index]
  assert entries.equals(few.matrix.set_index(keys))


def test_less_is_better_where_the_metric_says_so():
  cases = []
  for i in range(2):
    case = make_case(f'study {i}', {'a': TEN})
    study = dataclasses.replace(case.study, metric=case.study.metrics['loss'])
    runs = case.runs.rename(columns={'test/accuracy': 'test/loss'})
    cases.append(
      case._replace(study=study, runs=runs, effects=effects.measure(study, runs))
    )
  result = data_sets.compare(cases)
  assert result.cells['verdict'].tolist() == ['helps', 'helps']  # without it: more loss
  assert result.scores.index.tolist() == ['baseline', 'a=no']
  assert result.matrix['better'].tolist() == [2]


def test_verdicts_speak_of_the_side_that_the_first_study_s_do():
  cases = [make_case('swap', {'a': -TEN}), make_case('remove', {'a': -TEN})]
  contrasts = tuple(c._replace(kind='swap') for c in cases[0].study.contrasts)
  study = dataclasses.replace(cases[0].study, contrasts=contrasts)
  table = effects.measure(study, cases[0].runs)
  cases[0] = cases[0]._replace(study=study, effects=table)
  result = data_sets.compare(cases)
  assert result.cells['own'].tolist() == ['hurts', 'hurts']
  assert result.cells['verdict'].tolist() == ['hurts', 'hurts']


def test_equivalence_is_adjusted_over_all_cells_with_each_study_s_margin():
  cases = [
    make_case('wide', {'a': TEN - 0.0055}, margin=0.02),
    make_case('narrow', {'a': TEN - 0.0055}, margin=0.0001),
  ]
  verdicts = data_sets.compare(cases).cells['verdict'].tolist()
  assert verdicts == ['equivalent', 'inconclusive']


def test_diverged_arms_and_arms_without_spread_have_no_mean():
  cases = [
    make_case('one', {'a': -TEN, 'b': 0.01}),
    make_case('two', {'a': -TEN, 'b': -TEN}),
  ]
  runs = cases[1].runs.copy()
  runs.loc[runs['arm'] == 'a=no', 'status'] = 'diverged'
  table = effects.measure(cases[1].study, runs)
  cases[1] = cases[1]._replace(runs=runs, effects=table)
  result = data_sets.compare(cases)
  assert result.means['lack'].tolist() == [data_sets.FEW, data_sets.NO_SPREAD]
  assert result.means['verdict'].tolist() == ['', '']
  cells = result.cells.set_index(['arm', 'study'])['verdict']
  assert cells['a=no', 'two'] == ''
  assert result.scores.index.tolist() == ['b=no', 'baseline']


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({}, "two studies are named 'one'"),
    ({'name': 'two'}, "two studies are of the data set 'one data'"),
  ],
)
def test_each_study_and_data_set_once(changes, message):
  case = make_case('one', {'a': -TEN})
  with pytest.raises(ValueError, match=message):
    data_sets.compare([case, case._replace(**changes)])


def test_what_cannot_stand_side_by_side():
  one, other = make_case('one', {'a': -TEN}), make_case('two', {'b': -TEN})
  with pytest.raises(ValueError, match='two studies or more, not 1'):
    data_sets.compare([one])
  with pytest.raises(
    ValueError, match='no two studies compare the same arms: one: a=no; two: b=no'
  ):
    data_sets.compare([one, other])
  two = make_case('two', {'a': -TEN})
  for change, message in (
    ({'alpha': 0.1}, 'study.alpha of two is 0.1, of one 0.05'),
    ({'design': 'permutations'}, 'two samples orders'),
    ({'metric': one.study.metric._replace(name='nats')}, 'of two is test/nats, of one'),
    (
      {'contrasts': (two.study.contrasts[0]._replace(factor='other'),)},
      "a=no: its factor is 'other' in two, 'a' in one",
    ),
  ):
    study = dataclasses.replace(two.study, **change)
    with pytest.raises(ValueError, match=message):
      data_sets.compare([one, two._replace(study=study)])
  with pytest.raises(ValueError, match='the effects of two lack a=no against baseline'):
    data_sets.compare([one, two._replace(effects=two.effects.iloc[:0])])
