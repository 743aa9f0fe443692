"""Looks and reach, against the rules of the statistics page."""

import math

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import effects, looks, reach
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
  assert (look.number, look.alpha, look.exploratory, look.new) == (1, 0.05, False, True)
  study = enter(study, runs)
  assert [e['look'] for e in study['looks']] == [1]
  assert study['looks'][0]['seeds'] == 8
  again = looks.state(study, runs.sample(frac=1, random_state=0).assign(wall_s=3.0))
  assert (again.number, again.exploratory, again.new) == (1, False, False)
  assert enter(study, runs)['looks'] == study['looks']


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
  assert 'look 2' in look.note
  more = enter(more, more_runs)
  assert [e['look'] for e in more['looks']] == [1, 2]
  assert looks.state(more).exploratory  # the last one logged
  stands = looks.standing(more)
  assert stands is not None
  assert (stands['look'], stands['seeds']) == (1, 8)
  assert stands['answers'] == [['a', 'a=no', 'helps', 'a helps.']]


@pytest.mark.parametrize(
  'changes',
  [{'margin': 0.02}, {'alpha': 0.1}, {'contrasts': []}, {'regime': 'flops'}],
)
def test_another_question_to_the_same_runs_is_another_look(changes):
  study, runs = make(8)
  study = enter(study, runs)
  other = study | changes
  look = looks.state(other, runs)
  assert (look.number, look.exploratory, look.new) == (2, True, True)
  other = enter(other, runs)
  assert looks.state(study | {'looks': other['looks']}, runs).number == 1
  assert looks.standing(other)['look'] == 1
  study['looks'][0].pop('question')  # as logged by versions before
  assert looks.state(study | changes, runs).number == 1


def test_declared_looks_spend_alpha():
  spent = 0.0
  entries: list = []
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


def test_an_unfinished_report_uses_up_no_look():
  study, runs = make(8)
  part = runs[(runs['arm'] != 'b=no') | (runs['seed'] < 7)]
  look = looks.state(study, part)
  assert (look.number, look.complete, look.exploratory) == (1, False, True)
  study = enter(study, part)
  assert [e['complete'] for e in study['looks']] == [False]
  assert len(enter(study, part)['looks']) == 1
  whole = looks.state(study, runs)
  assert (whole.number, whole.exploratory) == (1, False)
  study = enter(study, runs)
  assert [(e['look'], e['complete']) for e in study['looks']] == [(1, False), (1, True)]


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
    found = reach.reach(studies.make_study(names, seeds))
    assert found.smallest_p == pytest.approx(min(1, m * 2.0 ** (1 - seeds)))
    assert found.reachable == (seeds == needed)
    assert found.seeds_needed == needed
    assert ('could not have shown anything' in found.sentence) == (seeds < needed)
  # the best a study can do: every delta of one sign
  study = studies.make_study(names, needed)
  scores = {'baseline': np.zeros(needed)}
  scores |= {f'{name}=no': -np.arange(1, needed + 1) for name in names}
  table = effects.measure(study, studies.make_runs(study, scores))
  assert table['p_holm'].min() == m * 2.0 ** (1 - needed)
  assert (table['verdict'] == 'helps').all()


def test_reach_knows_of_the_looks():
  study = studies.make_study(['a'], 6, looks_declared=2)
  assert not reach.reach(study).reachable  # alpha / 2 at the first look
  assert reach.reach(study, 0.05).reachable


def test_noise_floor_of_the_reference_arm():
  study, runs = make(10)
  mine = runs[(runs['arm'] == 'baseline')]['test/accuracy']
  expected = math.sqrt(2) * mine.std()
  assert reach.noise_floor(study, runs) == pytest.approx(expected, rel=1e-12)
  assert math.isnan(reach.noise_floor(study, runs[runs['arm'] != 'baseline']))


def test_fewer_seeds_can_complete_a_logged_unfinished_report():
  study, runs = make(8)
  wanted = study | {'seeds': list(range(12))}
  wanted = enter(wanted, runs)
  assert [e['complete'] for e in wanted['looks']] == [False]
  study = enter(study | {'looks': wanted['looks']}, runs)
  assert [e['complete'] for e in study['looks']] == [False, True]
  assert study['looks'][0]['runs_digest'] == study['looks'][1]['runs_digest']
