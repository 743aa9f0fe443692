"""The scoreboard's rules, one by one. Oracle: differences and their means by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import claims as claims_lib
from dlsteroids.analysis import effects, looks
from dlsteroids.report import claims as claim_words
from dlsteroids.study import claims
from tests.fixtures import studies

EIGHT = np.array([1, 2, 3, 4, 5, 6, 7, 8]) / 200  # mean 2.25 points, [1.17, 3.33]
TEN = np.linspace(-0.001, 0.001, 10)
GAINS = {
  'factor': 'a',
  'arm': 'a=no',
  'reference': 'baseline',
  'axis': 'budget',
  'metric': 'test/accuracy',
  'target': 0.9,
  'n': 8,
  'gain': 3.0,
  'ci_low': 2.0,
  'ci_high': 4.0,
  **{'gain_shown': 3.0, 'low_shown': 2.0, 'high_shown': 4.0, 'censored': ''},
}


def entry(factor='a', level='', **changes):
  """A claim as study.json has it."""
  if not changes.keys() & {'direction', 'number'}:
    changes['direction'] = 'helps'
  return claims.Claim('Doe 1999', 'it matters', factor, level, **changes)._asdict()


def make(deltas, design='one_out', base=0.9, **changes):
  """A study and its runs: each arm is its reference plus its deltas."""
  n = len(next(iter(deltas.values())))
  study = studies.make_study(list(deltas), n, design, **changes)
  root = study['arms'][0]['name']
  scores = {root: base + np.linspace(-0.01, 0.01, n)}
  for arm, delta in zip(study['arms'][1:], deltas.values()):
    scores[arm['name']] = scores[root] + delta
  return study, studies.make_runs(study, scores)


def score_table(study, table, runs, gains=None):
  results = claims_lib.compare(study, table, runs, gains)
  return claim_words.table(study, results, looks.state(study, runs).alpha)


def score(study, runs, *entries, gains=None):
  study = study | {'claims': list(entries)}
  table = effects.measure(study, runs)
  frame = score_table(study, table, runs, gains)
  assert tuple(frame.columns) == claim_words.COLUMNS + claim_words.NUMBERS
  rows = frame.to_dict('records')
  assert len(rows) == len(entries)
  return [{k: str(v).replace('\u202f', ' ') for k, v in row.items()} for row in rows]


def judge(deltas, one, margin=0.0):
  (row,) = score(*make({'a': deltas}, margin=margin), one)
  return row['outcome'], row['why']


VERDICTS = {
  'helps': (-EIGHT, 0.0),
  'hurts': (EIGHT, 0.0),
  'equivalent': (TEN, 0.01),
  'significant but equivalent': (0.004 + TEN, 0.01),
  'inconclusive': (TEN, 0.0),
}
SAME = ('agrees', 'our verdict is the same')
OPPOSITE = ('differs', 'our verdict is the opposite')
OPEN = ('inconclusive', 'our verdict is inconclusive')
NONE = ('differs', 'there is no difference that matters where one was claimed')
SOME = ('differs', 'there is a difference where none was claimed')


@pytest.mark.parametrize(
  ('verdict', 'helps', 'hurts', 'nothing'),
  [
    ('helps', SAME, OPPOSITE, SOME),
    ('hurts', OPPOSITE, SAME, SOME),
    ('equivalent', NONE, NONE, SAME),
    ('significant but equivalent', NONE, NONE, SAME),
    ('inconclusive', OPEN, OPEN, OPEN),
  ],
)
def test_directions(verdict, helps, hurts, nothing):
  deltas, margin = VERDICTS[verdict]
  assert judge(deltas, entry(direction='helps'), margin) == helps
  assert judge(deltas, entry(direction='hurts'), margin) == hurts
  assert judge(deltas, entry(direction='no difference'), margin) == nothing


@pytest.mark.parametrize('design', ['one_out', 'one_in'])
def test_numbers_are_with_the_component_minus_without(design):
  sign = -1 if design == 'one_out' else 1
  study, runs = make({'a': sign * EIGHT}, design)
  numbers = (0.02, 0.0117, 0.0116, 0.0334, 0.0333, -0.02)
  rows = score(study, runs, *(entry(number=number) for number in numbers))
  assert [row['outcome'] for row in rows] == [
    *('agrees', 'agrees', 'differs', 'differs', 'agrees', 'differs')
  ]
  assert [row['why'].split(' lies ')[1] for row in rows] == [
    *('in our interval', 'in our interval', 'below our interval'),
    *('above our interval', 'in our interval', 'below our interval'),
  ]
  assert rows[0]['published'] == '+2.00 points'
  assert rows[0]['ours'] == '+2.25 points [+1.17, +3.33], 8 seeds'


def test_less_is_better_keeps_the_sign_of_the_metric():
  study, runs = make({'a': EIGHT})
  study['metric'] = {'name': 'loss', 'split': 'test', **studies.LOSS}
  runs = runs.rename(columns={'test/accuracy': 'test/loss'})
  (row,) = score(study, runs, entry(number=-0.02, direction='helps'))
  assert row['outcome'] == 'agrees'
  assert row['published'] == 'helps, −0.02'
  assert row['ours'].startswith('helps: −0.0225 [−0.03')


def test_a_tolerance_widens_the_number():
  study, runs = make({'a': -EIGHT})
  rows = score(
    study,
    runs,
    entry(number=0.010, tolerance=0.001),
    entry(number=0.010, tolerance=0.002),
    entry(number=0.036, tolerance=0.003),
  )
  assert [row['outcome'] for row in rows] == ['differs', 'agrees', 'agrees']
  assert rows[0]['why'] == (
    'the published number with its tolerance lies below our interval'
  )
  assert rows[0]['published'] == '+1.00 points ± 0.10'


def test_a_direction_and_a_number_must_both_agree():
  study, runs = make({'a': -EIGHT, 'b': TEN[:8]})
  rows = score(
    study,
    runs,
    entry(direction='helps', number=0.02),
    entry(direction='helps', number=0.05),
    entry(direction='hurts', number=0.02),
    entry('b', direction='helps', number=0.0),
    entry('b', direction='helps', number=0.9),
  )
  assert [row['outcome'] for row in rows] == [
    *('agrees', 'differs', 'differs', 'inconclusive', 'differs')
  ]
  assert rows[0]['ours'] == (
    'helps: +2.25 points [+1.17, +3.33], 8 seeds; +2.25 points [+1.17, +3.33], 8 seeds'
  )


def test_too_few_seeds_can_tell_nothing():
  study, runs = make({'a': -EIGHT[:5]})
  rows = score(study, runs, entry(), entry(number=0.015))
  assert [row['outcome'] for row in rows] == ['inconclusive'] * 2
  assert rows[0]['why'].startswith('This design could not have shown anything: with 1')
  assert rows[0]['ours'] == rows[1]['ours'] == '–'
  assert rows[1]['published'] == '+1.50 points'


def test_missing_pairs_and_missing_intervals_can_tell_nothing():
  study, runs = make({'a': -EIGHT, 'b': -EIGHT})
  runs = studies.set_run(runs, 'a=no', 3, status='failed')
  direction, number, other = score(
    study, runs, entry(), entry(number=0.02), entry('b', number=0.02)
  )
  assert direction['outcome'] == number['outcome'] == 'inconclusive'
  assert direction['why'] == 'exploratory: our verdict is inconclusive'
  assert number['why'] == 'exploratory: only 7 of 8 pairs of runs are complete'
  assert number['ours'].endswith('7 of 8 seeds')
  assert other['outcome'] == 'agrees'
  # no pair at all
  none = runs[runs['arm'] != 'a=no']
  (row,) = score(study, none, entry(number=0.02))
  assert row['why'] == 'exploratory: only 0 of 8 pairs of runs are complete'
  # an interval that is descriptive only, or nan
  study, runs = make({'a': -EIGHT})
  table = effects.measure(study, runs)
  study['claims'] = [entry(number=0.02)]
  for changes, why in (
    ({'ci_kind': 'student-t (descriptive)'}, '8 seeds are too few for an interval'),
    ({'ci_low': math.nan}, 'there is no interval'),
  ):
    (row,) = score_table(study, table.assign(**changes), runs).to_dict('records')
    assert row['outcome'] == 'inconclusive'
    assert row['why'].startswith(why)


def test_only_the_deciding_metric_has_verdicts_but_every_one_has_intervals():
  study, runs = make({'a': -EIGHT})
  runs['test/loss'] = 1 - runs['test/accuracy']
  rows = score(
    study,
    runs,
    entry(metric='loss'),
    entry(metric='loss', number=-0.02),
    entry(metric='test/accuracy'),
    entry(metric='f1', number=0.1),
    entry(metric='final/test/loss', number=0.1),
  )
  assert [row['outcome'] for row in rows] == [
    *('inconclusive', 'agrees', 'agrees', 'inconclusive', 'inconclusive')
  ]
  assert rows[0]['why'] == 'verdicts are made on test accuracy only'
  assert rows[1]['ours'].startswith('−0.0225 [')
  assert rows[3]['why'] == 'the runs have no column f1'
  runs['final/test/loss'] = math.nan
  (row,) = score(study, runs, entry(metric='final/test/loss', number=0.1))
  assert row['why'] == 'there is no effect on final test loss'


def test_the_tuned_state_decides_where_it_is_declared():
  study, runs = make({'a': -EIGHT})
  both = pd.concat([runs.assign(tuned=1), runs.assign(**{'test/accuracy': 0.5})])
  tuned = study | {'tune': {'grid': {'lr': [1, 2]}}}
  assert score(tuned, both, entry())[0]['outcome'] == 'agrees'
  assert score(study, both, entry())[0]['outcome'] == 'inconclusive'
  # wherever its row stands in the table
  tuned['claims'] = [entry(number=0.02)]
  table = effects.measure(tuned, both)[::-1]
  assert score_table(tuned, table, both)['outcome'].tolist() == ['agrees']


def test_contrasts_are_found_by_factor_and_level():
  study, runs = make({'a': -EIGHT, 'b': EIGHT})
  rows = score(
    study,
    runs,
    entry('b', 'no', direction='hurts'),
    entry('b', 'yes', direction='hurts'),  # the other of two levels: the same contrast
    entry('b=no', direction='hurts'),  # an arm's name
    entry('c'),
    entry('b', arm='a=no'),
  )
  assert [row['outcome'] for row in rows] == [*['agrees'] * 3, *['inconclusive'] * 2]
  assert rows[3]['why'] == 'the study makes no contrasts of c'
  assert rows[4]['why'] == 'the study makes no contrasts of b'
  study = studies.make_factorial({'act': ('relu', 'tanh', 'id')}, 8)
  scores = dict(
    zip(('relu', 'tanh', 'id'), (0.5 + EIGHT, 0.5 + 0 * EIGHT, 0.6 + EIGHT))
  )
  rows = score(
    study,
    studies.make_runs(study, scores),
    entry('act', 'tanh', direction='helps'),
    entry('act', 'id', direction='hurts'),
    entry('act', 'relu'),
    entry('act'),
  )
  assert [row['outcome'] for row in rows] == [*['agrees'] * 2, *['inconclusive'] * 2]
  assert rows[2]['why'] == 'the study makes no contrasts of act=relu'
  assert rows[3]['why'] == 'the study makes 2 contrasts of act'


def test_levels_are_an_arms_mean():
  study, runs = make({'a': -EIGHT})
  runs.loc[runs['arm'] == 'baseline', 'test/accuracy'] = 0.9 + EIGHT
  rows = score(
    study,
    runs,
    entry('', number=0.92, quantity='level'),
    entry('', number=0.91, quantity='level'),
    entry('', number=0.89, quantity='level', arm='a=no'),
    entry('', number=0.89, quantity='level', arm='b=no'),
  )
  assert [row['outcome'] for row in rows] == [
    *('agrees', 'differs', 'differs', 'inconclusive')
  ]
  assert rows[0]['published'] == '92.00 %'
  assert rows[0]['ours'] == '92.25 % [91.17 %, 93.33 %], 8 seeds'
  assert rows[3]['why'] == 'the study has no arm b=no'
  few = runs[(runs['arm'] != 'baseline') | (runs['seed'] > 0)]
  (row,) = score(study, few, entry('', number=0.92, quantity='level'))
  assert row['why'] == 'exploratory: only 7 of 8 runs are complete'


def epochs():
  """A study in which `a=no` takes twice to eight times as long to get there."""
  study, runs = make({'a': -EIGHT})
  runs['best_step'] = np.r_[np.full(8, 10.0), 10 * 2.0 ** np.r_[1:4, 1:4, 2, 2]]
  return study, runs


def test_ratios_are_geometric_means_over_seeds():
  study, runs = epochs()
  ask = {'quantity': 'ratio', 'metric': 'best_step'}
  rows = score(
    study,
    runs,
    entry(number=4.0, **ask),
    entry(number=1.9, **ask),
    entry(number=6.5, **ask),
    entry(number=0.25, arm='baseline', reference='a=no', **ask),
    entry('', number=4.0, arm='a=no', reference='b=no', **ask),
  )
  # logs to base 2 are 1, 2, 3, 1, 2, 3, 2, 2: their mean is 2, and the sixth of the
  # subset means, sorted by hand: 1 (3 subsets of the two ones), then 4/3 ({1, 1, 2},
  # four ways), so 4/3; the upper end mirrors it
  assert rows[0]['ours'] == '4.00× [2.52, 6.35], 8 seeds'
  assert [row['outcome'] for row in rows] == [
    *('agrees', 'differs', 'differs', 'agrees', 'inconclusive')
  ]
  assert rows[0]['published'] == '4×'
  assert rows[4]['why'] == 'the study has no arm b=no'
  # a metric has its ratio too
  (row,) = score(study, runs, entry(number=0.97, quantity='ratio'))
  assert row['outcome'] == 'agrees'
  assert row['ours'].startswith('0.97')


@pytest.mark.parametrize(
  ('values', 'why'),
  [
    ({'best_step': math.nan}, 'in 1 of 8 seeds a run has no best step'),
    ({'status': 'diverged'}, 'in 1 of 8 seeds a run has no best step'),
    ({'best_step': 0.0}, 'a ratio needs numbers above 0'),
    ({'status': 'failed'}, 'exploratory: only 7 of 8 pairs of runs are complete'),
  ],
)
def test_a_ratio_of_what_was_never_reached_cannot_be_told(values, why):
  study, runs = epochs()
  runs = studies.set_run(runs, 'a=no', 2, **values)
  one = entry(number=4.0, quantity='ratio', metric='best_step')
  (row,) = score(study, runs, one)
  assert (row['outcome'], row['why']) == ('inconclusive', why)


def test_whole_numbers_with_holes_are_read():
  study, runs = epochs()
  runs['best_step'] = runs['best_step'].astype('Int64')
  one = entry(number=4.0, quantity='ratio', metric='best_step')
  assert score(study, runs, one)[0]['outcome'] == 'agrees'
  runs.loc[3, 'best_step'] = pd.NA
  assert score(study, runs, one)[0]['why'] == 'in 1 of 8 seeds a run has no best step'


def gains(*rows):
  return pd.DataFrame([{**GAINS, **row} for row in rows])


@pytest.mark.parametrize(
  ('rows', 'outcome', 'why'),
  [
    ([{}], 'agrees', 'the published number lies in our interval'),
    ([{'ci_low': 3.1}], 'differs', 'the published number lies below our interval'),
    ([{}, {'target': 0.95, 'ci_low': 2.4}], 'agrees', ''),
    (
      [{}, {'target': 0.95, 'ci_low': 3.1}],
      'inconclusive',
      'the published number lies in some of our intervals: targets differ',
    ),
    ([{'ci_low': 3.1}, {'ci_high': 2.4}], 'differs', 'outside our interval'),
    ([{'ci_low': 8.3, 'ci_high': math.inf, 'gain': math.inf}], 'differs', 'below'),
    ([{'ci_low': 2.1, 'ci_high': math.inf}], 'agrees', ''),
    ([{'ci_low': 0.0, 'ci_high': math.inf}], 'inconclusive', 'bounded on no side'),
    ([{'gain': math.nan}], 'inconclusive', 'bounded on no side'),
    ([{'ci_low': math.nan, 'ci_high': math.nan}], 'inconclusive', 'no interval'),
    ([{'n': 5}], 'inconclusive', 'only 5 of 8 pairs of runs are complete'),
    ([{'axis': 'anytime'}], 'inconclusive', 'no compute-equivalent gain of it'),
    ([{'factor': 'b'}], 'inconclusive', 'no compute-equivalent gain of it'),
    ([], 'inconclusive', 'no compute-equivalent gain was measured'),
  ],
)
def test_gains(rows, outcome, why):
  study, runs = make({'a': -EIGHT})
  one = entry(number=2.5, quantity='gain')
  (row,) = score(study, runs, one, gains=gains(*rows))
  assert row['outcome'] == outcome
  assert why in row['why']
  assert row['published'] == '2.50× the compute'
  (row,) = score(study, runs, one)
  assert row['why'] == 'no compute-equivalent gain was measured'


def test_a_gain_of_few_seeds_is_descriptive():
  study, runs = make({'a': TEN - 0.02}, alpha=0.003)
  one = entry(number=2.5, quantity='gain')
  (row,) = score(study, runs, one, gains=gains({'n': 10}))
  assert row['outcome'] == 'agrees'  # ten seeds reach .00195
  assert row['ours'] == '3.0× [2.0, 4.0] at 90.00 %, 10 seeds'
  (row,) = score(study, runs, one, gains=gains({'n': 9}))  # and nine .0039
  assert row['outcome'] == 'inconclusive'
  assert row['why'] == '9 seeds are too few for an interval that claims anything'


def test_exploratory_looks_say_so():
  study, runs = make({'a': -EIGHT})
  study['looks'] = looks.log(study, runs, '')
  assert score(study, runs, entry())[0]['why'] == 'our verdict is the same'
  more = studies.set_run(runs, 'a=no', 0, **{'test/accuracy': 0.88})
  assert score(study, more, entry())[0]['why'] == (
    'exploratory: our verdict is the same'
  )


def test_entries_may_leave_fields_out():
  study, runs = make({'a': -EIGHT})
  short = {'paper': 'Doe', 'claim': 'x', 'factor': 'a'}
  rows = score(study, runs, {**short, 'direction': 'helps'}, short)
  assert [row['outcome'] for row in rows] == ['agrees', 'inconclusive']
  assert rows[1]['why'] == 'the claim has neither a direction nor a number'
  table = effects.measure(study, runs)
  assert score_table(study, table, runs).empty
  columns = tuple(score_table(study, table, runs).columns)
  assert columns == claim_words.COLUMNS + claim_words.NUMBERS
  (row,) = score_table(
    study | {'claims': [entry()]}, table.assign(verdict=math.nan), runs
  ).to_dict('records')
  assert row['why'] == 'the study has no verdict on it'


@pytest.mark.parametrize('kind', ['remove', 'swap'])
def test_a_claim_on_a_component_is_held_against_a_verdict_on_a_swap(kind):
  """The arm lacks the component and is worse, so the component helps."""
  study, runs = make({'a': -EIGHT})
  study['contrasts'][0]['kind'] = kind
  (row,) = score(study, runs, entry(direction='helps', number=0.0225))
  assert row['outcome'] == 'agrees'
  assert row['ours'].startswith('helps: +2.25 points')
  verdict = effects.measure(study, runs)['verdict'].tolist()
  assert verdict == ['hurts' if kind == 'swap' else 'helps']


def board(*outcomes):
  claim = 'Doe 1999', 'it matters', 'helps', 'hurts'
  rows = [(*claim, outcome, '', 'because') for outcome in outcomes]
  return pd.DataFrame(rows, columns=list(claim_words.COLUMNS))


@pytest.mark.parametrize(
  ('outcomes', 'text'),
  [
    ('aac', '2 of 3 published claims agree, 1 is inconclusive.'),
    ('aa', '2 of 2 published claims agree.'),
    ('add', '1 of 3 published claims agrees, 2 differ.'),
    ('cdc', '0 of 3 published claims agree, 1 differs, 2 are inconclusive.'),
    ('a', 'The one published claim agrees.'),
    ('d', 'The one published claim differs.'),
    ('c', 'The one published claim is inconclusive.'),
  ],
)
def test_the_sums_in_words(outcomes, text):
  words = {'a': 'agrees', 'd': 'differs', 'c': 'inconclusive'}
  first, *rest = claim_words.sentences(board(*map(words.__getitem__, outcomes)))
  assert first == text
  line = 'Doe 1999, it matters: published helps, here hurts: because.'
  assert rest == [line] * outcomes.count('d')


def test_no_claims_say_nothing():
  assert claim_words.sentences(board()) == []


@pytest.mark.parametrize(
  ('quantity', 'published', 'ends', 'outcome'),
  [
    ('delta', 0.02, (0.01, 0.03), 'as published'),
    ('delta', 0.02, (-0.01, 0.01), 'smaller'),
    ('delta', 0.02, (0.03, math.inf), 'larger'),
    ('delta', 0.02, (-0.03, -0.01), 'opposite'),
    ('delta', -0.02, (-0.03, -0.01), 'as published'),
    ('delta', -0.02, (-0.01, 0.0), 'smaller'),
    ('delta', -0.02, (-0.09, -0.03), 'larger'),
    ('delta', -0.02, (0.01, 0.03), 'opposite'),
    ('delta', 0.0, (-0.01, 0.01), 'as published'),
    ('delta', 0.0, (0.01, 0.02), 'larger'),
    ('ratio', 6.0, (2.0, 3.0), 'smaller'),
    ('ratio', 6.0, (0.4, 0.6), 'opposite'),
    ('ratio', 0.5, (0.1, 0.2), 'larger'),
    ('gain', 2.0, (0.0, 1.5), 'smaller'),
    ('level', 0.1, (0.2, 0.3), 'larger'),
    ('level', -1.0, (-3.0, -2.0), 'smaller'),
  ],
)
def test_sizes_by_hand(quantity, published, ends, outcome):
  assert claims_lib.compare_sizes(quantity, published, ends) == outcome


def test_a_tolerance_widens_a_published_size():
  assert claims_lib.compare_sizes('delta', 0.02, (0.03, 0.04), 0.01) == 'as published'


def test_a_published_difference_of_another_setting_is_compared_and_decides_nothing():
  study, runs = make({'a': -EIGHT})  # with the component 2.25 points more [1.17, 3.33]
  source = {'setting': 'large images', 'verified': False}
  one, none, same = score(
    study, runs,
    entry(direction='helps', published_delta=0.1, **source),
    entry(direction='helps'),
    entry(direction='no difference', published_delta=0.001, **source),
  )  # fmt: skip
  assert one['outcome'] == none['outcome'] == 'agrees'
  assert one['published'] == 'helps, +10.00 points (large images)'
  assert one['paper'] == 'Doe 1999 (unverified)'
  assert one['size'] == 'smaller: 0.23× [0.12, 0.33]'
  assert none['size'] == none['size_outcome'] == ''
  # of what is called no difference, many times as much is none either
  assert same['size'] == same['size_outcome'] == ''
  assert same['published'] == 'no difference, +0.10 points (large images)'
  assert float(one['value']) == pytest.approx(0.0225)
  assert float(one['size_low']) == pytest.approx(float(one['low']) / 0.1)
  numbers = one['n'], one['seeds'], one['published_value'], one['verified']
  assert numbers == ('8', '8', '0.1', 'False')
  assert one['ours_on'] == 'made_up, 1 steps'


def test_sizes_are_a_column_of_the_report_where_there_are_any():
  study, runs = make({'a': -EIGHT})
  table = effects.measure(study, runs)
  heads = []
  for changes in ({'published_delta': 0.1}, {}):
    study['claims'] = [entry(direction='helps', **changes)]
    section = claim_words.section(score_table(study, table, runs))
    heads.append('Size' in section.parts[1].head)
  assert heads == [True, False]


def test_too_few_seeds_leave_the_size_open():
  study, runs = make({'a': -EIGHT[:4]})
  (row,) = score(study, runs, entry(direction='helps', published_delta=0.1))
  assert row['outcome'] == row['size'] == 'inconclusive'


@pytest.mark.parametrize(
  ('levels', 'about', 'kind', 'level', 'name'),
  [
    (('yes', 'no'), '', 'remove', '', 'a part'),
    (('yes', 'no'), '', 'swap', '', 'a part: yes against no'),
    (('yes', 'no'), 'the part', 'swap', '', 'the part'),
    (('relu', 'tanh', 'elu'), 'ReLU', 'swap', 'elu', 'ReLU: relu against elu'),
    (('0.0', '0.2', '0.5'), 'dropout', 'add', '0.5', 'dropout: 0.5'),
    (('batch', 'none'), 'batch norm', 'remove', 'none', 'batch norm'),
  ],
)
def test_components_have_names(levels, about, kind, level, name):
  factor = studies.make_factor('a_part', levels) | {'about': about}
  for one in factor['levels']:
    one['kind'] = kind
  draft = studies.make_study(['a'], 8)
  draft['factors'] = [factor]
  one = claims.Claim('Doe 1999', 'it matters', 'a_part', level, direction='helps')
  assert claim_words.name_component(draft.factors, one) == name
  other = claims.Claim('Doe 1999', 'it matters', 'lean', direction='helps')
  assert claim_words.name_component(draft.factors, other) == 'lean'
