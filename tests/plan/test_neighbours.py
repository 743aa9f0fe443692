"""Search among neighbours. Oracle: a bowl whose minimum is known, lattices by hand."""

import math

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import neighbours

RATE, BATCH, SIZE = 'optimizer.learning_rate', 'train.batch_size', 'size'


def config(**study):
  tree = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  return config_lib.override(tree, [(f'study.{k}', v) for k, v in study.items()])


def axes(**grid):
  names = {'rate': RATE, 'batch': BATCH, 'size': SIZE}
  grid = {names[name]: values for name, values in grid.items()}
  return neighbours.make_axes(grid, config(tune_extend=2))


def run_search(rate, start, count, is_admissible=lambda place: True):
  """Tries what is proposed until nothing is; ratings by place, in order."""
  ratings = {}
  while places := neighbours.propose(ratings, start, count, is_admissible):
    ratings |= {place: (rate(place),) for place in places}
  return ratings


def test_the_lattice_goes_on_by_the_factor_of_its_ends():
  axis, batch = axes(rate=(0.004, 0.001), batch=(16, 32, 64))
  assert [axis.value(i) for i in (-2, -1, 0, 1, 2, 3)] == [
    pytest.approx(0.004 * 4.0 ** (i - 1)) for i in (-2, -1, 0, 1, 2, 3)
  ]
  assert batch.value(-1) == 8
  assert math.isnan(axis.value(4))
  assert math.isnan(axis.value(-3))
  assert neighbours.find((axis, batch), {RATE: 0.016, BATCH: 8.0}) == (2, -1)
  assert neighbours.nearest((axis, batch), {RATE: 0.0015, BATCH: 50.0}) == (0, 2)


@pytest.mark.parametrize('best', [(2, 2), (0, 0), (3, -1), (-2, 1)])
def test_a_search_walks_to_the_best_point_and_surrounds_it(best):
  bowl = lambda place: -sum((i - b) ** 2 for i, b in zip(place, best))
  ratings = run_search(bowl, (1, 1), 40)
  assert neighbours.best_place(ratings) == best
  assert not neighbours.is_open(ratings, lambda place: True)
  assert set(neighbours.along(best)) <= set(ratings)


def test_every_search_tries_as_many_points():
  for best in ((1, 1), (4, 0)):
    bowl = lambda place, best=best: -sum((i - b) ** 2 for i, b in zip(place, best))
    assert len(run_search(bowl, (1, 1), 9)) == 9
  assert neighbours.is_open(ratings_of((4, 0), 4), lambda place: True)


def ratings_of(best, count):
  return run_search(
    lambda place: -sum((i - b) ** 2 for i, b in zip(place, best)), (0, 0), count
  )


def test_a_search_tries_nothing_that_cannot_be_trained():
  inside = lambda place: min(place) >= 0 and max(place) <= 1
  ratings = run_search(lambda place: sum(place), (0, 0), 9, inside)
  assert set(ratings) == {(0, 0), (0, 1), (1, 0), (1, 1)}
  assert not neighbours.is_open(ratings, inside)


def test_the_first_of_equals_is_the_best():
  assert neighbours.best_place({(1,): (1.0,), (0,): (1.0,)}) == (1,)
