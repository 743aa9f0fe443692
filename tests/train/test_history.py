"""What evaluations become: best steps, divergence, fallbacks; oracle: cases by hand."""

import numpy as np
import pytest

from dlsteroids import types
from dlsteroids.train import history, loop
from dlsteroids.train import member as member_lib

NAN = float('nan')


def make_member(better='higher'):
  """A member with two metrics over one batch a split, and rows per test example."""
  take = lambda merged: {'': merged}
  ratio = lambda merged: {'': merged[0] / merged[1]}
  ends = lambda merged: {'low': merged, 'high': merged + 1}
  metrics = {
    'score': types.Metric(lambda out: out, take, better, -1.0),
    'pair': types.Metric(lambda out: out, ends, 'lower', 7.0),
    'rows': types.Metric(lambda out: out, take, '', merge='concat'),
    'ratio': types.Metric(lambda out: out, ratio, 'higher', 0.0),  # of a tuple of sums
  }
  task = types.Task({}, (), None, metrics)
  none = lambda *args: None
  sizes = {'validation': 1, 'test': 1}
  return member_lib.Member(*[none] * 6, task, sizes, [])


def evaluated(validation, test, diverged=None, finite=None):
  """What a program returns for two members: one number a split and member."""
  values = np.asarray([validation, test], np.float32).T  # [S, splits]
  size = len(validation)
  rows = np.stack([values, values * 10], -1)  # [S, splits, 2], one of padding
  return {
    'values': {
      'score': values,
      'pair': values,
      'rows': rows,
      'ratio': (values, np.full_like(values, 2.0)),
    },
    'reduced': {},
    'sums': {'loss': np.full(size, 6.0), 'steps': np.full(size, 3.0)},
    'diverged': np.asarray(diverged or [-1] * size),
    'finite': np.asarray(finite or [True] * size),
  }


def follow(member, *looks):
  past = history.new(member, 'score', 2)
  for i, look in enumerate(looks):
    past = history.append(past, member, {'validation': 2, 'test': 1}, 10 * i + 10, look)
  return past


def test_best_step_by_validation_decides_what_test_claims():
  past = follow(
    make_member(),
    evaluated([0.5, 0.7], [0.1, 0.2]),
    evaluated([0.9, 0.7], [0.3, 0.4]),  # a tie keeps the earlier step
    evaluated([0.8, 0.6], [0.5, 0.6]),
  )
  one, two = (history.record(past, i, 30, 1.5) for i in (0, 1))
  assert (one['best_step'], two['best_step']) == (20, 10)
  assert one['values']['validation/score'] == pytest.approx(0.9)
  assert one['values']['test/score'] == pytest.approx(0.3)
  assert one['values']['final/test/score'] == pytest.approx(0.5)
  assert two['values']['test/score'] == pytest.approx(0.2)
  assert one['values']['test/pair_high'] == pytest.approx(1.3)
  assert one['values']['test/ratio'] == pytest.approx(0.15)
  assert two['values']['test/ratio'] == pytest.approx(0.1)
  assert history.arrays_of(past, 0)['test/rows'] == pytest.approx([0.3])
  assert history.arrays_of(past, 1)['test/rows'] == pytest.approx([0.2])
  assert [20, 'train', 'loss', 2.0] in one['curves']


def test_lower_is_better_for_a_loss():
  looks = [evaluated([v, v], [v, v]) for v in (3.0, 1.0, 2.0)]
  assert (
    history.record(follow(make_member('lower'), *looks), 0, 30, 1)['best_step'] == 20
  )


def test_a_diverged_member_scores_fallbacks_and_its_curve_ends():
  past = follow(
    make_member(),
    evaluated([0.5, 0.7], [0.1, 0.2]),
    evaluated([0.9, 0.8], [0.3, 0.4], diverged=[14, -1]),
    evaluated([0.9, 0.6], [0.3, 0.6], diverged=[14, -1]),
  )
  record = history.record(past, 0, 30, 1)
  assert (record['status'], record['diverged_step'], record['best_step']) == (
    'diverged', 14, 14,
  )  # fmt: skip
  assert {row[0] for row in record['curves']} == {10}
  assert record['values']['test/score'] == -1.0
  assert record['values']['final/test/pair_low'] == 7.0
  assert history.arrays_of(past, 0) == {}
  assert history.record(past, 1, 30, 1)['status'] == 'ok'


def test_parameters_that_are_not_finite_mark_the_member():
  past = follow(
    make_member(),
    evaluated([0.5, 0.7], [0.1, 0.2]),
    evaluated([0.9, 0.8], [0.3, 0.4], finite=[False, True]),
  )
  assert list(past.diverged) == [20, -1]


@pytest.mark.parametrize('undefined', [NAN, np.inf, -np.inf])
@pytest.mark.parametrize('at', [0, 1, 2])
def test_a_metric_undefined_at_one_evaluation_is_missing_there(undefined, at):
  scores = [0.5, 0.9, 0.7]
  defined = [score for i, score in enumerate(scores) if i != at]
  scores[at] = undefined
  past = follow(
    make_member(), *(evaluated([score, 0.8], [0.1 * score, 0.4]) for score in scores)
  )
  record = history.record(past, 0, 30, 1)
  assert record['status'] == 'ok'
  assert record['values']['validation/score'] == pytest.approx(max(defined))
  curve = [row[3] for row in record['curves'] if row[1:3] == ['validation', 'score']]
  assert curve == pytest.approx(defined)


def test_a_suffixed_number_has_the_fallback_of_its_own_metric():
  take = lambda merged: {'': merged, 'total': merged}
  metrics = {  # 'los' is a prefix of the other's name
    'los': types.Metric(lambda out: out, take, 'lower', 1.0),
    'loss': types.Metric(lambda out: out, take, 'lower', 2.0),
  }
  member = make_member()
  member = member._replace(task=member.task._replace(metrics=metrics))
  values = {name: np.ones((2, 2), np.float32) for name in metrics}
  past = history.new(member, 'loss', 2)
  past = history.append(
    past,
    member,
    {'validation': 2, 'test': 1},
    10,
    {**evaluated([1, 1], [1, 1], diverged=[3, -1]), 'values': values},
  )
  scores = history.record(past, 0, 10, 1)['values']
  assert (scores['test/los'], scores['test/los_total']) == (1.0, 1.0)
  assert (scores['test/loss'], scores['test/loss_total']) == (2.0, 2.0)


def test_dump_and_load_are_inverse():
  member = make_member()
  past = follow(member, evaluated([0.5, 0.7], [0.1, 0.2]), evaluated([0.9, 0], [1, 2]))
  saved = history.dump(past)
  again = history.load(history.new(member, 'score', 2), saved)
  for i in (0, 1):
    assert history.record(again, i, 20, 1) == history.record(past, i, 20, 1)
    found = history.arrays_of(again, i)['test/rows']
    assert np.array_equal(found, history.arrays_of(past, i)['test/rows'])


@pytest.mark.parametrize(
  ('steps', 'evaluations', 'want'),
  [(10, 2, [5, 10]), (10, 3, [3, 7, 10]), (2, 10, [1, 2]), (7, 1, [7])],
)
def test_evaluations_are_evenly_spaced_and_the_last_is_at_the_end(
  steps, evaluations, want
):
  assert loop.boundaries(steps, evaluations) == want
