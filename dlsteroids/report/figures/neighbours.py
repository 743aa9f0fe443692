"""Made images beside the training images nearest to them: are they copies?"""

from collections.abc import Mapping

import numpy as np

from dlsteroids.analysis import summary
from dlsteroids.report import formats, probes
from dlsteroids.report.figures import canvas, tiles

_LEFT = 84  # pixels for the rows' names
_APART = 10
_MOST = 8
_NEAR = 1.0  # a ratio of distances from which on nothing hints at memorising


def draw_neighbours(source: summary.Source) -> canvas.Drawing | None:
  """The intact arm's first images, the nearest training images, and their distance."""
  arm = summary.intact_arm(source.study)
  arrays = probes.of(source, arm)
  found = _pairs(arrays)
  if found is None:
    return None
  made, real, distances = found
  room = (tiles.WIDTH - _LEFT) // _MOST - _APART
  (upper, zoom), (lower, _) = tiles.fit(made, room), tiles.fit(real, room)
  sheets = [tiles.sheet(rows, _MOST, zoom, _APART) for rows in (upper, lower)]
  high, wide = upper.shape[1] * zoom, upper.shape[2] * zoom
  fig = tiles.make_figure(2 * high + 8 + 30)
  for sheet, top, words in zip(sheets, (0, high + 8), ('made', 'nearest')):
    tiles.put(fig, sheet, _LEFT, top)
    tiles.write(fig, 0, top + high / 2, words, fontsize=8)
  tiles.write(fig, 0, 2 * high + 8 + 18, 'distance', fontsize=8)
  for i, distance in enumerate(distances.tolist()):
    middle = _LEFT + i * (wide + _APART) + wide / 2
    words = formats.number(distance, 3)
    tiles.write(fig, middle, 2 * high + 8 + 18, words, ha='center')
  caption = (
    f'Above the first images made by {arm} (first seed, as configured), below the '
    'training images nearest to them, and how far they are: the root of the summed '
    'squares of differences of pixel values in [−1, 1].'
  )
  caption += _say_memory(source, arm)
  alt = (
    f'Images made by {arm} and the nearest training images, at distances of '
    f'{formats.number(float(np.min(distances)), 3)} to '
    f'{formats.number(float(np.max(distances)), 3)}.'
  )
  return tiles.finish(fig, 'neighbours', 'Learned by heart?', caption, alt)


def _pairs(
  arrays: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
  """Made and real images of one shape and their distances, as many of each, or None."""
  names = ('images', 'nearest', 'distances')
  stored = [arrays.get(f'probe/sample/{name}') for name in names]
  if any(array is None for array in stored):
    return None
  made, real, distances = (np.asarray(array) for array in stored)
  count = min(_MOST, len(made), len(real), len(distances))
  images = tiles.are_images(made) and tiles.are_images(real)
  if not images or made.shape[1:] != real.shape[1:] or not count:
    return None
  return made[:count], real[:count], np.ravel(distances)[:count].astype(float)


def _say_memory(source: summary.Source, intact: str) -> str:
  """What the ratio of distances hints at, of the intact arm and of the others."""
  ratios, told = {}, ''
  for arm, found in probes.by_arm(source, 'probe/sample/memory').items():
    numbers = np.ravel(found).astype(float)
    if numbers.size == 3 and np.isfinite(numbers).all():
      ratios[arm] = float(numbers[2])
      if arm == intact:
        told = _say_ratio(*numbers.tolist())
  near = {arm: ratio for arm, ratio in ratios.items() if ratio < _NEAR}
  others = [arm for arm in ratios if arm != intact]
  if told and others:
    listed = [f'{arm} ({near[arm]:.2f})' for arm in others if arm in near]
    told += f' Below 1 among the other arms: {formats.listing(listed) or "none"}.'
  if told and near:
    told += ' Smooth images, too, lie near others in pixels.'
  return told


def _say_ratio(mine: float, theirs: float, ratio: float) -> str:
  """The median distances and their ratio in words."""
  what = (
    f' Median distance of made images {formats.number(mine, 3)}, of unseen test images '
    f'{formats.number(theirs, 3)}, a ratio of {ratio:.2f}: '
  )
  if ratio < _NEAR:
    return f'{what}made ones lie nearer, which hints at memorising.'
  return f'{what}made ones lie no nearer, no hint of memorising.'
