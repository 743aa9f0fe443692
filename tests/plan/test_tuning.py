"""Grids that grow. Oracle: the next values of geometric and linear grids by hand."""

import itertools
import pathlib

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import tuning
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

RATE, DROPOUT = 'optimizer.learning_rate', 'model.dropout'


def config(**study):
  tree = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  return config_lib.override(tree, [(f'study.{k}', v) for k, v in study.items()])


def extend(path, values, *chosen, **study):
  choices = [{path: value} for value in chosen]
  return tuning.extend({path: values}, {path: values}, choices, config(**study))[path]


@pytest.mark.parametrize(
  ('values', 'chosen', 'added'),
  [
    ((0.01, 0.1, 1.0), (0.1,), ()),  # inside
    ((0.01, 0.1, 1.0), (1.0, 0.1), (10.0,)),  # one arm's choice is enough
    ((1.0, 0.1, 0.01), (0.01,), (0.001,)),  # whatever the order
    ((0.01, 0.1, 1.0), (0.01, 1.0), (0.001, 10.0)),  # both ends
    ((0.01, 0.03), (0.03,), (0.09,)),
    ((0.01, 0.1), (), ()),  # no search has ended well
  ],
)
def test_a_grid_grows_by_its_own_factor_where_an_end_is_chosen(values, chosen, added):
  assert extend(RATE, values, *chosen) == (*values, *added)


def test_a_range_bounds_a_grid():
  assert extend(DROPOUT, (0.0, 0.25, 0.5), 0.0) == (0.0, 0.25, 0.5)  # not below 0
  assert extend(DROPOUT, (0.25, 0.5), 0.5) == (0.25, 0.5)  # 1 is not in [0, 1)
  assert extend(DROPOUT, (0.1, 0.2), 0.2) == (0.1, 0.2, 0.4)


@pytest.mark.parametrize('limit', [0, 1, 3])
def test_the_study_bounds_a_grid(limit):
  declared = {RATE: (0.01, 0.1)}
  grid = dict(declared)
  for _ in itertools.repeat(None, 5):
    choices = [{RATE: max(grid[RATE])}]
    grid = tuning.extend(grid, declared, choices, config(tune_extend=limit))
  assert len(grid[RATE]) == 2 + limit


CURVES = {  # training accuracy at steps 10, 20, 30; validation accuracy at the end
  'late': ('ok', (0.2, 0.5, 0.8), 0.9),
  'early': ('ok', (0.7, 0.8, 0.8), 0.6),
  'never': ('ok', (0.6, 0.7, 0.7), 0.7),
  'diverged': ('diverged', (0.8,), 0.1),
}


def choose(rates, search, tune_for):
  """The chosen one of rates, whose search runs are those of `CURVES` by name."""
  runs = {
    name: {
      'status': status,
      'steps': 30,
      'values': {'validation/accuracy': score},
      'curves': [
        (10 * i, 'train', 'accuracy', value) for i, value in enumerate(train, 1)
      ],
    }
    for name, (status, train, score) in CURVES.items()
  }
  index = results.Index(
    {name: results.Record(run, {}, pathlib.Path()) for name, run in runs.items()}, {}
  )
  settings = {
    'metric': 'accuracy',
    'reach': 'train/accuracy=0.75',
    'tune_for': tune_for,
  }
  metrics = {'accuracy': study_lib.Metric('accuracy', 'higher', 0.1)}
  goal = tuning.make_goal(settings, metrics)
  return tuning.choose([{RATE: rate} for rate in rates], search, index, goal)[RATE]


@pytest.mark.parametrize(
  ('search', 'by_score', 'by_speed'),
  [
    ([['late'], ['early']], 0, 1),
    ([['early'], ['diverged']], 0, 0),  # it got there, and diverged
    ([['diverged'], ['never']], 1, 1),  # neither arrives: the score decides
    ([['never', 'early'], ['late', 'late']], 1, 1),  # mean steps 37.5 against 28.3
    ([['early'], ['early']], 0, 0),  # the first of equals
  ],
)
def test_numbers_are_chosen_by_score_or_by_speed(search, by_score, by_speed):
  rates = [0.1, 0.2]
  assert choose(rates, search, 'score') == rates[by_score]
  assert choose(rates, search, 'speed') == rates[by_speed]


def test_speed_needs_a_place_to_arrive_at():
  with pytest.raises(errors.UserError, match=r'speed needs config\.study\.reach'):
    tuning.check_goal(config(tune_for='speed')['study'])
