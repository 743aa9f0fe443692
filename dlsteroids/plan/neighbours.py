"""Search among neighbours: a pattern search on a lattice of values.

The lattice holds the declared values of every path and goes on beyond them by their own
factor. A search tries the neighbours of its best point along every axis, then those
across several axes, until it has tried as many points as it may.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids.plan import tuning

Place = tuple[int, ...]  # of a point on the lattice, an index by axis


class Axis(NamedTuple):
  """The values of one path.

  Attributes:
    path: in the config.
    declared: values, ascending, numbers 0, 1, …; further values go on at either end.
    most: how many further values there are at either end.
  """

  path: str
  declared: tuple[float, ...]
  most: int

  def value(self, index: int) -> float:
    """The value at an index, which may lie beyond the declared ones; nan if too far."""
    values = list(self.declared)
    last = len(values) - 1
    if not -self.most <= index <= last + self.most:
      return math.nan
    while index < 0:
      values.insert(0, tuning.beyond(values[1], values[0]))
      index += 1
    while index >= len(values):
      values.append(tuning.beyond(values[-2], values[-1]))
    return values[index]


def make_axes(
  grid: Mapping[str, Sequence[float]], config: Mapping[str, Any]
) -> tuple[Axis, ...]:
  """The axes of the declared values; `study.tune_extend` bounds them."""
  most = config['study']['tune_extend']
  return tuple(Axis(path, tuple(sorted(v)), most) for path, v in grid.items())


def point(axes: Sequence[Axis], place: Place) -> dict[str, float]:
  """The numbers at a place, by path; nan where the lattice ends."""
  return {axis.path: axis.value(index) for axis, index in zip(axes, place)}


def nearest(axes: Sequence[Axis], numbers: Mapping[str, float]) -> Place:
  """The declared place nearest to numbers, by the ratio of values where it has one."""

  def distance(value: float, number: float) -> float:
    both = value > 0 and number > 0
    return abs(math.log(value / number)) if both else abs(value - number)

  return tuple(
    min(
      range(len(axis.declared)),
      key=lambda i: distance(axis.declared[i], numbers[axis.path]),
    )
    for axis in axes
  )


def find(axes: Sequence[Axis], numbers: Mapping[str, float]) -> Place:
  """The place of a point that lies on the lattice; ValueError if it does not."""
  place = []
  for axis in axes:
    indices = range(-axis.most, len(axis.declared) + axis.most)
    values = [axis.value(index) for index in indices]
    place.append(indices[values.index(numbers[axis.path])])
  return tuple(place)


def along(place: Place) -> list[Place]:
  """The neighbours along every axis."""
  return [
    (*place[:at], place[at] + step, *place[at + 1 :])
    for at in range(len(place))
    for step in (1, -1)
  ]


def across(place: Place) -> list[Place]:
  """The neighbours that differ by one along two or more axes, few of them first."""
  steps = itertools.product((0, 1, -1), repeat=len(place))
  several = [step for step in steps if sum(map(bool, step)) > 1]
  several.sort(key=lambda step: sum(map(bool, step)))
  return [tuple(i + s for i, s in zip(place, step)) for step in several]


def propose(
  ratings: Mapping[Place, tuple[float, ...]],
  start: Place,
  count: int,
  is_admissible: Callable[[Place], bool],
) -> list[Place]:
  """Places to try next; none once `count` are tried or nothing is left around the best.

  Args:
    ratings: of the places tried, more being better.
    start: where a search without ratings begins.
    count: how many places a search tries.
    is_admissible: whether a place can be trained, and differs from those tried.
  """
  best = best_place(ratings) if ratings else start
  first = along(best) if ratings else [best, *along(best)]
  for places in (first, across(best)):
    new = [p for p in places if p not in ratings and is_admissible(p)]
    if new:
      return new[: max(count - len(ratings), 0)]
  return []


def best_place(ratings: Mapping[Place, tuple[float, ...]]) -> Place:
  """The best place; the first of equals."""
  return max(ratings, key=lambda place: ratings[place])


def is_open(
  ratings: Mapping[Place, tuple[float, ...]], is_admissible: Callable[[Place], bool]
) -> bool:
  """Whether a place beside the best one, along some axis, was not tried."""
  best = best_place(ratings)
  return any(p not in ratings and is_admissible(p) for p in along(best))
