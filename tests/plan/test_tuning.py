"""Grids that grow. Oracle: the next values of geometric and linear grids by hand."""

import itertools

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import tuning

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
