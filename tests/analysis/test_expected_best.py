"""Expected best of k trials. Oracle: every sequence of draws with replacement."""

import itertools

import numpy as np
import pytest

from dlsteroids.analysis import expected_best
from dlsteroids.plan import manifest, tuning
from dlsteroids.report import tables as report_tables
from dlsteroids.store import tables
from tests.fixtures import searched_studies


@pytest.mark.parametrize('higher', [True, False])
def test_against_every_sequence_of_draws(higher):
  scores = [0.3, 0.9, 0.5, 0.5]
  best = max if higher else min
  for k, value in enumerate(expected_best.curve(scores, higher), 1):
    draws = itertools.product(scores, repeat=k)
    assert value == pytest.approx(np.mean([best(draw) for draw in draws]))


@pytest.mark.parametrize('scores', [[], [0.1, float('nan')]])
def test_scores_that_say_nothing_are_refused(scores):
  with pytest.raises(ValueError, match='one or more finite'):
    expected_best.curve(scores)


def test_a_random_search_has_a_curve_for_every_arm():
  plan = searched_studies.make_plan(tune_by='random', tune_trials=5, budgets_bare='')
  plan, index, _ = searched_studies.finish(plan)
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  frame = expected_best.measure(study, tables.searches(study, index))
  assert list(frame) == list(expected_best.COLUMNS)
  assert set(frame['arm']) == set(plan.arms)
  for _, rows in frame.groupby('arm'):
    assert rows['trials'].tolist() == [1, 2, 3, 4, 5]
    assert rows['expected'].is_monotonic_increasing
  table = report_tables.make_expected_best(study, frame)
  assert table.head == ('Arm', '1', '2', '5')
  assert len(table.rows) == 2
  grid = study.tuning._replace(by='grid')
  other = study.__class__(**{**study.__dict__, 'tuning': grid})
  assert expected_best.measure(other, tables.searches(study, index)) is None
