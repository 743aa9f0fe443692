"""Searches that change programs. Oracle: a store whose scores are a known function."""

import hashlib
import math

import pytest

from dlsteroids.plan import manifest, search, tuning, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors
from tests.fixtures import searched_studies
from tests.fixtures.searched_studies import BATCH, RATE, finish, make_plan


@pytest.fixture(scope='module')
def finished():
  return finish(make_plan())


def test_searches_reach_the_best_point_and_go_on_from_budget_to_budget(finished):
  plan, index, rounds = finished
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  best = {RATE: 0.16, BATCH: 8.0, 'size': 0.5}
  assert {c.budget for c in study.tuning.choices} == {0.25, 1.0, 4.0}
  assert [dict(c.numbers) for c in study.tuning.choices] == [best] * 5
  for (_, condition), points in plan.trials.items():
    # The next budget begins where the one before ended: at the best point.
    assert condition.budget == 0.25 or dict(points[0]) == best
  assert rounds > 5


def test_every_arm_tries_as_many_points_at_a_budget(finished):
  plan, _, _ = finished
  counts = {}
  for (_, condition), points in plan.trials.items():
    counts.setdefault(condition.budget, set()).add(len(points))
  assert all(len(sizes) == 1 for sizes in counts.values()), counts
  assert min(counts[0.25]) > 7  # the best point was open after 7
  assert counts[1.0] == counts[4.0] == {7}


def test_every_point_spends_the_compute_of_its_budget(finished):
  plan, _, _ = finished
  config = plan.config
  work = plan.programs.costs(config).flops * config['train']['steps']
  for key, points in plan.trials.items():
    for point in points:
      adjusted = plan.adjusted(key, point).config
      flops = plan.programs.costs(adjusted).flops * adjusted['train']['steps']
      assert flops == pytest.approx(work * key[1].budget, rel=0.1)
      assert adjusted['train']['batch_size'] == point[BATCH]
      assert adjusted['model']['hidden'] == (round(8 * point['size']),)


def test_only_the_bare_arm_has_the_further_budgets(finished):
  plan, _, _ = finished
  bare = [arm for arm, condition in plan.at if condition.budget == 4]
  assert bare == ['activation=sigmoid']
  study = manifest.describe(plan, '')
  assert [len(arm.at) for arm in study.arms] == [2, 3]


def test_the_claim_is_trained_at_the_chosen_point_and_nothing_untuned(finished):
  plan, index, _ = finished
  claims = [r for unit in units.make(plan) for r in unit.claim(index)]
  assert len(claims) == len({r.fingerprint for r in claims}) == 5 * 2
  for run in claims:
    assert run.tuned == runs_lib.TUNED
    assert run.config['optimizer']['learning_rate'] == 0.16
    assert run.config['train']['batch_size'] == 8
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  assert {r.fingerprint for r in study.runs} == {r.fingerprint for r in claims}
  programs = {r.fingerprint: r.program for r in claims}
  assert {r.fingerprint: r.program for r in study.runs} == programs
  assert tuning.programs_by_run(study).keys() >= programs.keys()
  for unit in units.make(plan):
    possible = {run.fingerprint for run in unit.possible()}
    assert {run.fingerprint for run in unit.claim(index)} <= possible
    assert {run.program for run in unit.runs(index)} <= {unit.program}


def test_another_launch_goes_on_where_the_store_is(finished):
  plan, index, _ = finished
  again = search.extend(make_plan(), index)
  assert again.final
  assert again.trials == plan.trials
  longer = search.extend(make_plan(budgets='0.25,2'), index)  # a longer frontier
  for key, points in plan.trials.items():
    assert longer.trials[key] == (points if key[1].budget <= 1 else ())
  assert not longer.final


@pytest.mark.parametrize('landscape', range(6))
def test_searches_left_anywhere_end_like_searches_never_left(landscape, monkeypatch):
  # on rough ground one arm goes on long after the others have nothing left to try
  def rate(run):
    words = (landscape, run.config['model'], run.config['train']['batch_size'])
    words = (*words, run.config['optimizer']['learning_rate'], run.condition.budget)
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:4]) / 2**33

  monkeypatch.setattr(searched_studies, 'rate_point', rate)
  start = make_plan()
  plan, index, _ = finish(start)
  again = search.extend(start, index)
  assert again.final
  assert again.trials == plan.trials


def test_a_study_written_and_read_has_the_same_searches(finished):
  plan, index, _ = finished
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  read = study_lib.from_json(study_lib.to_json(study))
  assert read.tuning.choices == study.tuning.choices
  assert read.tuning.points_of(read.tuning.candidates[0]) == [
    dict(p) for p in plan.trials[next(iter(plan.trials))]
  ]
  state = search.state_of_study(read.tuning)
  other = search.with_state(make_plan(), state)
  assert other.final
  assert other.trials == plan.trials
  assert other.members.keys() == plan.members.keys()


def test_a_failed_point_is_not_chosen_and_ends_nothing():
  failing = lambda run: run.config['train']['batch_size'] == 8
  plan, index, _ = finish(make_plan(), failing)
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  assert study.tuning.choices == ()  # a search with a failed run claims nothing


def test_a_structural_grid_claims_in_the_program_it_chose():
  plan = make_plan(tune_by='grid', tune=f'{BATCH}=8,16', tune_extend=0, budgets='')
  assert not plan.final  # a claim depends on searches of other programs
  plan, index, _ = finish(plan)
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  tuned = [run for run in study.runs if run.tuned]
  assert {c.numbers[BATCH] for c in study.tuning.choices} == {8.0}
  assert len(tuned) == 3 * 2
  assert {run.program for run in tuned} < set(plan.members)
  assert len(study.runs) == len(tuned) + 2 * 2  # as configured, at the first budget


def test_random_points_are_the_same_for_every_arm_and_a_prefix_of_more():
  few, more = (
    make_plan(tune_by='random', tune_trials=n, tune=f'{RATE}=0.001,1;{BATCH}=4,64',
              budgets_bare='') for n in (3, 6)
  )  # fmt: skip
  trials = list(more.trials.values())
  assert all(points == trials[0] for points in trials)
  assert next(iter(few.trials.values())) == trials[0][:3]
  for point in trials[0]:
    assert 0.001 <= point[RATE] <= 1
    assert point[BATCH] in range(4, 65)
  plan, index, _ = finish(few)
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  best = max(trials[0][:3], key=lambda p: -abs(math.log(p[RATE] / 0.16, 4))
             - abs(math.log2(p[BATCH] / 8)))  # fmt: skip
  assert {tuple(c.numbers.items()) for c in study.tuning.choices} == {
    tuple(best.items())
  }


def test_log_uniform_draws_spread_evenly_over_decades():
  config = make_plan(tune=f'{RATE}=0.1,1', tune_by='random').config
  points = tuning.draw({RATE: (1e-4, 1.0)}, 4000, config)
  logs = sorted(math.log10(point[RATE]) for point in points)
  for share in (0.25, 0.5, 0.75):
    assert logs[int(share * 4000)] == pytest.approx(-4 + 4 * share, abs=0.08)


@pytest.mark.parametrize(
  ('study', 'want'),
  [
    ({'tune': f'{BATCH}=8,16.5'}, 'train.batch_size is a whole number, not 16.5'),
    ({'tune': 'size=0,1'}, 'size must be above 0'),
    ({'tune': 'model.hidden=8,16'}, 'no number that can be tuned'),
    ({'design': 'one_out'}, 'has no arm without any component'),
    ({'budgets_bare': 'x'}, 'study.budgets_bare: expected numbers'),
    ({'tune_by': 'random', 'tune': f'{RATE}=0,1'}, 'must be above 0, not 0'),
    ({'tune_by': 'random', 'tune': f'{RATE}=1,inf'}, 'two finite numbers, not up to i'),
    ({'tune': f'{RATE}=1,nan'}, 'learning_rate has a value that is no number'),
    ({'tune': 'optimizer.momentum=0.5,1.5'}, r'must lie in \[0, 1\), not 1.5'),
    ({'tune_by': 'random', 'tune_trials': 10**6}, r'must lie in \[2, 10000'),
    ({'tune_by': 'walk'}, "tune_by"),
  ],
)  # fmt: skip
def test_mistakes_are_one_line(study, want):
  with pytest.raises(errors.UserError, match=want) as error:
    make_plan(**{'budgets_bare': '4', **study})
  assert '\n' not in str(error.value)
