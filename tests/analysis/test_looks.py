"""Looks and reach, against the rules of the statistics page."""

import math

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import effects, looks, reach
from dlsteroids.report import sentences
from tests.fixtures import studies


def make(seeds: int, **changes):
  study = studies.make_study(['a', 'b'], seeds, **changes)
  rng = np.random.default_rng(1)
  scores = {arm['name']: rng.normal(0.9, 0.01, 40) for arm in study['arms']}
  return study, studies.make_runs(study, scores)


def enter(study, runs, answers=()):
  return study | {'looks': looks.log(study, runs, '2025-01-01T00:00:00Z', answers)}


def test_a_first_report_claims_and_its_repeat_is_the_same_look():
  study, runs = make(8)
  look = looks.state(study, runs)
  assert (look.number, look.alpha, look.exploratory) == (1, 0.05, False)
  study = enter(study, runs)
  (record,) = study.looks
  assert (record.look, record.seeds, record.complete) == (1, 8, True)
  again = looks.state(study, runs.sample(frac=1, random_state=0).assign(wall_s=3.0))
  assert (again.number, again.exploratory) == (1, False)
  assert enter(study, runs).looks == study.looks


def test_the_digest_survives_a_table_file(tmp_path):
  study, runs = make(8)
  runs.to_csv(tmp_path / 'runs.csv', index=False)
  read = pd.read_csv(tmp_path / 'runs.csv')
  assert looks.digest(study, read) == looks.digest(study, runs)
  other = studies.set_run(runs, 'baseline', 2, **{'test/accuracy': 0.5})
  assert looks.digest(study, other) != looks.digest(study, runs)
  lost = studies.set_run(runs, 'baseline', 2, status='diverged')
  assert looks.digest(study, lost) != looks.digest(study, runs)


def test_adding_seeds_is_exploratory_and_the_first_verdicts_stand():
  study, runs = make(8)
  assert looks.standing(study) is None
  study = enter(study, runs, [('a', 'a=no', 'helps', 'a helps.')])
  more, more_runs = make(12)
  more['looks'] = study['looks']
  look = looks.state(more, more_runs)
  assert (look.number, look.exploratory, look.alpha) == (2, True, 0.05)
  note = sentences.describe_look(more, look)
  assert note.startswith('This is look 2 at the study and 1 look was declared')
  assert note.endswith('those of look 1 stand.')
  more = enter(more, more_runs)
  assert [record.look for record in more.looks] == [1, 2]
  assert looks.state(more).exploratory  # the last one logged
  stands = looks.standing(more)
  assert stands is not None
  assert (stands.look, stands.seeds) == (1, 8)
  assert stands.answers == (('a', 'a=no', 'helps', 'a helps.'),)


@pytest.mark.parametrize(
  'changes',
  [{'margin': 0.02}, {'alpha': 0.1}, {'contrasts': []}, {'regime': 'flops'}],
)
def test_another_question_to_the_same_runs_is_another_look(changes):
  study, runs = make(8)
  study = enter(study, runs)
  look = looks.state(study | changes, runs)
  assert (look.number, look.exploratory) == (2, True)
  other = enter(study | changes, runs)
  assert looks.state(study | {'looks': other['looks']}, runs).number == 1
  assert looks.standing(other).look == 1
  old = [record._asdict() | {'question': ''} for record in study.looks]
  assert looks.state(study | changes | {'looks': old}, runs).number == 1


def test_declared_looks_spend_alpha():
  spent = 0.0
  entries: tuple = ()
  for number, seeds in enumerate((8, 10, 12, 14), 1):
    study, runs = make(seeds, looks_declared=3, looks=entries)
    look = looks.state(study, runs)
    assert look.number == number
    assert look.alpha == pytest.approx(0.05 / (number * (number + 1)))
    assert look.exploratory == (number > 3)
    assert (looks.standing(study) is None) == (number <= 3)
    spent += look.alpha
    entries = looks.log(study, runs, '')
  assert spent < 0.05
  study, runs = make(10, looks_declared=3, looks=entries)
  assert looks.state(study, runs).number == 2  # the second report made again


def test_the_planned_runs_complete_the_look_of_an_unfinished_report():
  study, runs = make(8)
  part = runs[(runs['arm'] != 'b=no') | (runs['seed'] < 7)]
  look = looks.state(study, part)
  assert (look.number, look.complete, look.exploratory) == (1, False, True)
  assert 'Not all planned runs' in sentences.describe_look(study, look)
  study = enter(study, part)
  assert [record.complete for record in study.looks] == [False]
  assert len(enter(study, part).looks) == 1
  assert looks.standing(study) is None
  whole = looks.state(study, runs)
  assert (whole.number, whole.exploratory) == (1, False)
  study = enter(study, runs)
  assert [(r.look, r.complete) for r in study.looks] == [(1, False), (1, True)]
  assert looks.standing(study) == study.looks[1]


def test_stopping_at_the_seeds_of_an_unfinished_report_is_another_look():
  """Planned 20, looked at 8, stopped there: the size was chosen by the results."""
  study, runs = make(8)
  wanted = enter(study | {'seeds': list(range(20))}, runs)
  assert [record.complete for record in wanted.looks] == [False]
  stopped = study | {'looks': wanted['looks']}
  look = looks.state(stopped, runs)
  assert (look.number, look.complete, look.exploratory) == (2, True, True)
  assert 'before this plan was made' in sentences.describe_look(stopped, look)
  # the plan as it was claims at its end
  planned = studies.make_runs(wanted, {a.name: np.arange(40) for a in wanted.arms})
  assert not looks.state(wanted, planned).exploratory
  # and a second peek on the way is no further look
  more = enter(wanted, planned[planned['seed'] < 12])
  assert looks.state(more, planned).number == 1


def test_looks_at_other_data_are_no_earlier_looks():
  data = {'official_test': True, 'digest': 'a', 'name': 'd'}
  study, runs = make(8, data=data, code='c')
  study = enter(study, runs)
  assert (study.looks[0].data, study.looks[0].code) == ('a', 'c')
  corrected = study | {'data': {**data, 'digest': 'b'}}
  assert looks.standing(corrected) is None
  other = studies.set_run(runs, 'baseline', 2, **{'test/accuracy': 0.5})
  assert (looks.state(corrected, other).number, looks.state(study, other).number) == (
    *(1, 2),
  )
  corrected = enter(corrected, other)
  assert [record.look for record in corrected.looks] == [1, 1]
  # other code on the same data: what was seen has been seen
  assert looks.state(study | {'code': 'd'}, other).exploratory


def test_failures_leave_a_report_complete_while_the_pairs_suffice():
  study, runs = make(10)
  one = studies.set_run(runs, 'a=no', 0, status='failed')
  assert looks.complete(study, one)
  assert not looks.complete(study, studies.set_run(one, 'a=no', 1, status='failed'))
  tuned = study | {'tune': {'grid': {'lr': [1]}}}
  assert not looks.complete(tuned, runs)
  assert looks.complete(tuned, runs.assign(tuned=1))


@pytest.mark.parametrize('m', [1, 2, 5, 7, 31])
def test_seeds_needed_as_the_formula_says(m):
  names = [f'f{i}' for i in range(m)]
  needed = math.ceil(1 + math.log2(m / 0.05))
  for seeds in (needed - 1, needed):
    design = reach.reach(studies.make_study(names, seeds))
    assert design.smallest_p == pytest.approx(min(1, m * 2.0 ** (1 - seeds)))
    assert design.reachable == (seeds == needed)
    assert design.seeds_needed == needed
    text = sentences.describe_reach(design)
    assert ('could not have shown anything' in text) == (seeds < needed)
  # the best a study can do: every delta of one sign
  study = studies.make_study(names, needed)
  scores = {'baseline': np.full(needed, 0.9)}
  scores |= {f'{name}=no': 0.9 - np.arange(1, needed + 1) / 1000 for name in names}
  table = effects.measure(study, studies.make_runs(study, scores))
  assert table['p_holm'].min() == m * 2.0 ** (1 - needed)
  assert (table['verdict'] == 'helps').all()


def test_reach_knows_of_the_looks():
  study = studies.make_study(['a'], 6, looks_declared=2)
  assert not reach.reach(study).reachable  # alpha / 2 at the first look
  assert reach.reach(study, 0.05).reachable


def test_noise_floor_of_the_reference_arm():
  study, runs = make(10)
  scores = runs[(runs['arm'] == 'baseline')]['test/accuracy']
  expected = math.sqrt(2) * scores.std()
  assert reach.noise_floor(study, runs, 0) == pytest.approx(expected, rel=1e-12)
  assert math.isnan(reach.noise_floor(study, runs[runs['arm'] != 'baseline'], 0))
  assert math.isnan(reach.noise_floor(study, runs, 1))
  mostly = (runs['arm'] == 'baseline') & (runs['seed'] > 3)
  diverged = runs.assign(status=runs['status'].mask(mostly, 'diverged'))
  assert math.isnan(reach.noise_floor(study, diverged, 0))
