"""What generators make: samples, a film of training, interpolations, neighbours."""

from collections.abc import Mapping, Sequence

import numpy as np

from dlsteroids.analysis import probes, summary
from dlsteroids.report import formats
from dlsteroids.report.figures import canvas, tiles

MOST = 12  # arms in a figure; further ones are named only
_ROWS = 4  # of a block of samples
_ROOM = 66  # pixels of a picture, at most
_WIDE = 96  # the same where there is room for more
_APART = 36  # pixels between blocks
_FRAMES = 8  # evaluations of a film
_BETWEEN = 14  # pixels between them, at least
_SCENES = 4  # pictures of a frame, two by two
_WAY = 8  # pictures from one noise to another
_NEIGHBOURS = 8  # pairs
_ASIDE = 84  # pixels for the names of rows
_NEAR = 1.0  # a ratio of distances from which on nothing hints at memorising
_STORED = 'first seed, as configured'  # runs whose pictures are stored
_SAME_NOISE = ' At the same place every arm was given the same noise.'


def name_omitted(arms: Sequence[str]) -> str:
  """A sentence that names the arms beyond `MOST`; '' if there are none."""
  omitted = list(arms[MOST:])
  return f' Not shown: {formats.listing(omitted)}.' if omitted else ''


def _read(
  source: summary.Source, name: str, ndim: int
) -> tuple[dict[str, np.ndarray], str]:
  """Images by arm, at most `MOST`, and the sentence that names the others."""
  by_arm = {
    arm: images
    for arm, images in probes.by_arm(source, name).items()
    if tiles.are_images(images, ndim)
  }
  return {arm: by_arm[arm] for arm in list(by_arm)[:MOST]}, name_omitted(list(by_arm))


def draw_samples(source: summary.Source) -> canvas.Drawing | None:
  """A block of images for every arm; None if none were stored."""
  arms, omitted = _read(source, 'probe/sample/images', 4)
  if not arms:
    return None
  count = len(arms)
  columns = 1 if count == 1 else 2 if count <= 4 else 3 if count in (5, 6, 9) else 4
  block = (tiles.WIDTH - _APART * (columns - 1)) // columns
  sheets = {}
  for arm, images in arms.items():
    images, zoom = tiles.fit(images, _WIDE if columns == 1 else _ROOM)
    across = max(1, (block + tiles.GAP) // (images.shape[2] * zoom + tiles.GAP))
    sheets[arm] = tiles.sheet(images[: _ROWS * across], across, zoom)
  high, wide = (max(s.shape[i] for s in sheets.values()) for i in (0, 1))
  pitch = tiles.NAME + high + 18
  fig = tiles.make_figure(pitch * -(-count // columns) - 18)
  for i, (arm, sheet) in enumerate(sheets.items()):
    row, column = divmod(i, columns)
    left = _distribute(column, columns, wide)
    tiles.write_name(fig, arm, left, row * pitch, block)
    tiles.put(fig, sheet, left, row * pitch + tiles.NAME)
  caption = f'Images made after the last step ({_STORED}).{_SAME_NOISE * (count > 1)}'
  alt = f'Images made by {formats.listing(list(arms))}.'
  return tiles.finish(fig, 'samples', 'What they draw', caption + omitted, alt)


def _distribute(column: int, count: int, width: int) -> int:
  """The left end of one of `count` blocks, from edge to edge of the figure."""
  return round(column * (tiles.WIDTH - width) / max(1, count - 1))


def draw_film(source: summary.Source) -> canvas.Drawing | None:
  """A row for every arm: the same noises as training goes on; None without films."""
  films, omitted = _read(source, 'probe/film', 5)
  if not films:
    return None
  rows = {arm: _pick_frames(source, arm, film) for arm, film in films.items()}
  side = ((tiles.WIDTH - _BETWEEN * (_FRAMES - 1)) // _FRAMES - 2) // 2
  sheets: dict[str, list[np.ndarray]] = {arm: [] for arm in rows}
  for arm, frames in rows.items():
    for images in frames.values():
      scenes, zoom = tiles.fit(images[:_SCENES], side)
      sheets[arm].append(tiles.sheet(scenes, 2, zoom, 2))
  high, wide = (max(s.shape[i] for row in sheets.values() for s in row) for i in (0, 1))
  equal = len({tuple(frames) for frames in rows.values()}) == 1  # labelled once
  below = 16 if equal else 36
  pitch = tiles.NAME + high + below
  fig = tiles.make_figure(30 + pitch * len(rows) - below)
  for i, (arm, frames) in enumerate(rows.items()):
    top = 30 + pitch * i
    tiles.write_name(fig, arm, 0, top, tiles.WIDTH)
    for column, (label, sheet) in enumerate(zip(frames, sheets[arm])):
      left = _distribute(column, _FRAMES, wide)
      tiles.put(fig, sheet, left, top + tiles.NAME)
      if i == 0 or not equal:
        tiles.write(fig, left + sheet.shape[1] / 2, top - 20, label, ha='center')
  caption = f'The same noises as training goes on ({_STORED}), the step above them.'
  caption += _SAME_NOISE * (len(rows) > 1)
  alt = f'Images during training by {formats.listing(list(films))}.'
  return tiles.finish(fig, 'film', 'As training goes on', caption + omitted, alt)


def _pick_frames(
  source: summary.Source, arm: str, film: np.ndarray
) -> dict[str, np.ndarray]:
  """A film [E, n, H, W, C] thinned to a few evaluations, by the words for their step.

  Evaluations are numbered where their steps are not known: of runs that all diverged
  the curves end early, but not the film.
  """
  curves = source.tables.curves
  steps = sorted(int(step) for step in curves[curves['arm'] == arm]['step'].unique())
  shown = np.unique(np.linspace(0, len(film) - 1, _FRAMES).round().astype(int)).tolist()
  if len(steps) == len(film):
    labels = [f'{steps[i]:,}' for i in shown]
    labels[0] = f'step {labels[0]}'
  else:
    labels = [f'no. {i + 1}' for i in shown]
    labels[0] = f'evaluation {labels[0]}'
  return {label: film[i] for label, i in zip(labels, shown)}


def draw_interpolation(source: summary.Source) -> canvas.Drawing | None:
  """Ways from one noise to another by the intact arm; None if they were not stored."""
  arm = summary.intact_arm(source.study)
  images = np.asarray(probes.of(source, arm).get('probe/sample/interpolation', ()))
  if not tiles.are_images(images):
    return None
  length = min(_WAY, len(images))
  count = len(images) // length
  columns = min(2, count)
  width = (tiles.WIDTH - _APART * (columns - 1)) // columns
  room = width if columns == 2 else width * 2 // 3
  images, zoom = tiles.fit(images, room // length - 2)
  ways = images[: count * length].reshape(count, length, *images.shape[1:])
  sheets = [tiles.sheet(way, length, zoom, 2) for way in ways]
  high, wide = sheets[0].shape[:2]
  fig = tiles.make_figure((high + 14) * -(-count // columns) - 14)
  for i, sheet in enumerate(sheets):
    row, column = divmod(i, columns)
    tiles.put(fig, sheet, column * (wide + _APART), row * (high + 14))
  what = 'A way' if count == 1 else f'{count} ways'
  caption = (
    f'{what} from one noise to another by {arm} ({_STORED}), in {length} steps along '
    'a quarter circle, on which noise keeps its length. Images that change little by '
    'little, and all look real, were not learned by heart.'
  )
  alt = f'{what} of {length} images by {arm}, each from one noise to another.'
  return tiles.finish(fig, 'interpolation', 'From one to another', caption, alt)


def draw_neighbours(source: summary.Source) -> canvas.Drawing | None:
  """The intact arm's first images, the nearest training images, and their distance."""
  arm = summary.intact_arm(source.study)
  stored = probes.of(source, arm)
  generated, nearest, distances = (
    np.asarray(stored.get(f'probe/sample/{name}', ()))
    for name in ('images', 'nearest', 'distances')
  )
  count = min(_NEIGHBOURS, len(generated), len(nearest), distances.size)
  fit = tiles.are_images(generated) and generated.shape[1:] == nearest.shape[1:]
  if not count or not fit:
    return None
  distances = np.ravel(distances)[:count].astype(float)
  apart = 10
  room = (tiles.WIDTH - _ASIDE) // _NEIGHBOURS - apart
  generated, zoom = tiles.fit(generated[:count], room)
  nearest, _ = tiles.fit(nearest[:count], room)
  high, wide = (zoom * side for side in generated.shape[1:3])
  fig = tiles.make_figure(2 * high + 38)
  for images, top, words in ((generated, 0, 'made'), (nearest, high + 8, 'nearest')):
    tiles.put(fig, tiles.sheet(images, count, zoom, apart), _ASIDE, top)
    tiles.write(fig, 0, top + high / 2, words, fontsize=8)
  below = 2 * high + 26
  tiles.write(fig, 0, below, 'distance', fontsize=8)
  for i, distance in enumerate(distances.tolist()):
    middle = _ASIDE + i * (wide + apart) + wide / 2
    tiles.write(fig, middle, below, formats.number(distance, 3), ha='center')
  caption = (
    f'Above the first images made by {arm} ({_STORED}), below the training images '
    'nearest to them, and how far they are: the root of the summed squares of '
    'differences of pixel values in [−1, 1].'
  )
  caption += _describe_memory(source, arm)
  low, high = (formats.number(float(f(distances)), 3) for f in (np.min, np.max))
  alt = (
    f'Images made by {arm} and the nearest training images, at distances of {low} to '
    f'{high}.'
  )
  return tiles.finish(fig, 'neighbours', 'Learned by heart?', caption, alt)


def _describe_memory(source: summary.Source, intact: str) -> str:
  """What the ratio of distances hints at, for the intact arm and for the others."""
  numbers: Mapping[str, list[float]] = {
    arm: np.ravel(array).astype(float).tolist()
    for arm, array in probes.by_arm(source, 'probe/sample/memory').items()
    if np.size(array) == 3 and np.isfinite(array).all()
  }
  if intact not in numbers:
    return ''
  generated, unseen, ratio = numbers[intact]
  sentences = (
    f' Median distance of made images {formats.number(generated, 3)}, of unseen test '
    f'images {formats.number(unseen, 3)}, a ratio of {ratio:.2f}: '
  )
  if ratio < _NEAR:
    sentences += 'made ones lie nearer, which hints at memorising.'
  else:
    sentences += 'made ones lie no nearer, no hint of memorising.'
  others = {arm: some[2] for arm, some in numbers.items() if arm != intact}
  near = [f'{arm} ({other:.2f})' for arm, other in others.items() if other < _NEAR]
  if others:
    listed = formats.listing(near) or 'none'
    sentences += f' Below 1 among the other arms: {listed}.'
  if near or ratio < _NEAR:
    sentences += ' Smooth images, too, lie near others in pixels.'
  return sentences
