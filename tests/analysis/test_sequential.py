"""Looks that add seeds: their sizes, what stands, and how often that errs."""

import dataclasses
import math

import numpy as np
import pytest

import dlsteroids
from dlsteroids.analysis import effects, looks, sequential, statistics
from dlsteroids.report import notes, sentences
from dlsteroids.study import study as study_lib
from tests.fixtures import studies

SIZES = (8, 12, 15)


def make(scores, size, stopped=(), names=('a', 'b'), **changes):
  """A study at the look of `size` seeds, and its runs: an arm's scores by name."""
  draft = studies.make_study(names, size, looks_declared=len(SIZES), **changes)
  until = study_lib.Until(SIZES, SIZES[-1], dict(stopped))
  study = dataclasses.replace(studies.typed(draft), until=until)
  runs = studies.make_runs(draft, {arm: np.array(s) for arm, s in scores.items()})
  own = [seed in study.seeds_of(arm) for arm, seed in zip(runs['arm'], runs['seed'])]
  return study, runs[own].reset_index(drop=True)


def with_cost(study, flops, **per_seed):
  """The study with so many FLOPs left; `per_seed` of an arm by its first letter."""
  costs = {arm.name: study_lib.Spending(per_seed[arm.name[0]]) for arm in study.arms}
  bound, spent = study_lib.Spending(1000 + flops), study_lib.Spending(1000)
  until = study.until._replace(bound=bound, spent=spent, per_seed=costs)
  return dataclasses.replace(study, until=until)


def differences(*arms, seed=0):
  """Scores of 15 seeds whose differences to the baseline have the means `arms`."""
  rng = np.random.default_rng(seed)
  base = rng.normal(0.8, 0.01, 15)
  names = ('a=no', 'b=no', 'c=no')
  rows = {n: base + m + rng.normal(0, 0.01, 15) for n, m in zip(names, arms)}
  return {'baseline': base, **rows}


@pytest.mark.parametrize(('declared', 'contrasts'), [(2, 1), (4, 1), (4, 5), (6, 3)])
def test_looks_begin_at_the_first_number_that_decides(declared, contrasts):
  """Oracle: n >= 1 + log2(m / level)."""
  sizes = sequential.sizes(declared, 40, 0.05, contrasts)
  assert (len(sizes), sizes[-1]) == (declared, 40)
  assert sizes[0] == math.ceil(1 + math.log2(contrasts * 2 / 0.05))
  for look, size in enumerate(sizes, 1):
    assert contrasts * statistics.smallest_p(size) <= 0.05 / (look * (look + 1))
  steps = np.diff(sizes)
  assert steps.max() - steps.min() <= 1


def test_a_bound_with_little_room_leaves_fewer_looks():
  assert sequential.sizes(4, 9, 0.05, 1) == (7, 8, 9)
  assert sequential.sizes(4, 7, 0.05, 1) == (7,)
  with pytest.raises(dlsteroids.UserError, match='--most=6 is below the first look'):
    sequential.sizes(4, 6, 0.05, 1)
  with pytest.raises(dlsteroids.UserError, match=r'study\.looks=4'):
    sequential.sizes(1, 40, 0.05, 1)


def test_an_arm_stops_where_its_verdict_stands():
  scores = differences(-0.1, 0.0)
  study, runs = make(scores, 8, margin=0.0, names=('a', 'b'))
  decided = sequential.decisions(study, runs)
  assert [one.verdict for one in decided] == ['helps', 'inconclusive']
  why = {e.arm: e.why for e in sequential.endings(study, decided)}
  assert why == {'baseline': '', 'a=no': 'decided', 'b=no': ''}
  assert sequential.next_size(study) == 12
  study, runs = make(scores, 15, {'a=no': 8})
  assert looks.complete(study, runs)
  first, second = sequential.decisions(study, runs)
  assert (first.verdict, first.seeds, first.look) == ('helps', 8, 1)
  assert (second.verdict, second.seeds) == ('inconclusive', 15)
  why = {e.arm: (e.seeds, e.why) for e in sequential.endings(study, [first, second])}
  assert why == {
    'baseline': (15, 'bound'),
    'a=no': (8, 'decided'),
    'b=no': (15, 'bound'),
  }
  (note,) = notes.describe_until(study, runs)
  assert 'a=no 8 (decided), b=no 15 (the bound on seeds is met)' in note


def test_later_looks_leave_an_earlier_verdict_and_its_numbers():
  """Oracle: the report of the first look; Holm at the second has one contrast left."""
  scores = differences(-0.1, -0.002)
  study, runs = make(scores, 8)
  table = effects.measure(study, runs)
  later, more = make(scores, 15, {'a=no': 8})
  later = dataclasses.replace(
    later, looks=looks.log(study, runs, '2025-01-01T00:00:00Z')
  )
  rows = effects.measure(later, more)
  assert rows.iloc[0].drop('exploratory').equals(table.iloc[0].drop('exploratory'))
  delta = scores['b=no'] - scores['baseline']
  assert rows.iloc[1]['p_holm'] == statistics.sign_flip(delta)
  assert table.iloc[1]['p_holm'] == statistics.sign_flip(delta[:8])


def test_equivalent_contrasts_stay_in_the_family_of_differences():
  scores = differences(0.0, -0.004, seed=2)
  scores['a=no'] = scores['baseline'] + 1e-5 * np.arange(-7, 8)
  study, runs = make(scores, 15, {'a=no': 8}, margin=0.002)
  first, _ = sequential.decisions(study, runs)
  assert (first.verdict, first.look) == ('equivalent', 1)
  p = statistics.sign_flip(scores['b=no'] - scores['baseline'])
  assert 0.004 < p < 0.5
  assert effects.measure_family(study, runs, 0.004).iloc[1]['p_holm'] == 2 * p


@pytest.mark.parametrize(
  ('left', 'going'),
  [
    (11, []),  # 4 seeds of the reference and of the cheapest arm cost 12
    (12, ['baseline', 'c=no']),
    (24, ['baseline', 'b=no']),  # in the study's order: a does not fit, b does
    (44, ['baseline', 'a=no']),
    (52, ['baseline', 'a=no', 'c=no']),
    (64, ['baseline', 'a=no', 'b=no']),
    (72, ['baseline', 'a=no', 'b=no', 'c=no']),
  ],
)
def test_a_bound_on_the_cost_stops_arm_by_arm(left, going):
  """Oracle: costs by hand; a seed of the reference costs 1, of the arms 10, 5 and 2."""
  study, runs = make(differences(0, 0, 0), 8, names=('a', 'b', 'c'))
  study = with_cost(study, left, b=1, a=10, c=2)
  costs = {**study.until.per_seed, 'b=no': study_lib.Spending(5)}
  study = dataclasses.replace(study, until=study.until._replace(per_seed=costs))
  endings = sequential.endings(study, sequential.decisions(study, runs))
  assert [one.arm for one in endings if one.why == sequential.OPEN] == going
  assert {one.why for one in endings} <= {sequential.OPEN, sequential.COST}


def test_an_arm_that_the_cost_stopped_keeps_its_last_look_and_its_place_in_holm():
  """Oracle: p of the two looks by hand; the family of the second still has two."""
  scores = differences(-0.004, -0.004, seed=3)
  study, runs = make(scores, 12, {'a=no': 8})
  study = with_cost(study, 0, b=1, a=1)
  first, second = effects.measure_looks(study, runs)
  deltas = [scores[name] - scores['baseline'] for name in ('a=no', 'b=no')]
  assert (first['n'], first['look'], second['n'], second['look']) == (8, 1, 12, 2)
  assert first['p'] == statistics.sign_flip(deltas[0][:8])
  assert second['p_holm'] == min(1, 2 * statistics.sign_flip(deltas[1][:12]))
  decided = sequential.decisions(study, runs)
  assert [one.verdict for one in decided] == ['inconclusive'] * 2
  why = {one.arm: (one.seeds, one.why) for one in sequential.endings(study, decided)}
  assert why['a=no'] == (8, 'cost')
  table = effects.measure(study, runs)
  state = looks.state(study, runs)
  text = sentences.sentence(study, table.iloc[0], state)
  assert 'complete' not in text  # 8 of 8: nothing is missing
  (note,) = notes.describe_until(study, runs)
  assert 'a=no 8 (the bound on the cost is met)' in note
  assert 'took 1.00\u202fkFLOP of at most 1.00\u202fkFLOP.' in note


def test_factorials_go_on_together():
  draft = studies.make_factorial({'a': ('x', 'y'), 'b': ('x', 'y')}, 8)
  study = studies.typed(draft)
  assert not sequential.stops_by_arm(study)
  assert sequential.stops_by_arm(studies.typed(studies.make_study(['a', 'b'], 8)))


@pytest.mark.slow
def test_the_family_errs_less_than_alpha():
  """Three contrasts with one reference and no effect, looked at three times.

  Oracle: the union bound, .0375. Claiming at .05 at every look errs in about .1.
  """
  names, wrong, times = ('a', 'b', 'c'), 0, 400
  for seed in range(times):
    scores, stopped = differences(0, 0, 0, seed=seed), {}
    for size in SIZES:
      study, runs = make(scores, size, stopped, names)
      decided = sequential.decisions(study, runs)
      for one in sequential.endings(study, decided):
        if one.why == 'decided':
          stopped.setdefault(one.arm, size)
    wrong += any(not one.is_open for one in decided)
  assert wrong / times < 0.0375 + 3 * math.sqrt(0.0375 * 0.9625 / times)


@pytest.mark.slow
def test_a_verdict_that_is_right_does_not_loosen_the_rest():
  """One true effect that is decided first and two contrasts without any."""
  names, wrong, times = ('a', 'b', 'c'), 0, 400
  for seed in range(times):
    scores = differences(-0.1, 0, 0, seed=seed)
    study, runs = make(scores, SIZES[-1], {'a=no': 8}, names)
    decided = sequential.decisions(study, runs)
    wrong += any(not one.is_open for one in decided[1:])
  assert wrong / times < 0.0375 + 3 * math.sqrt(0.0375 * 0.9625 / times)
