"""What generators draw: samples, a film of their training, ways between two images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import figure as figures

from dlsteroids.analysis import summary
from dlsteroids.report import formats, probes
from dlsteroids.report.figures import canvas, tiles

MOST = 12  # arms in a figure; further ones are named only
_ROWS = 4  # of a block of samples
_ROOM = 66  # pixels of a picture, at most
_WIDE = 96  # the same where there is room for more
_APART = 36  # pixels between blocks
HEAD = 26  # pixels for a block's name
_FRAMES = 8  # evaluations of a film
_BETWEEN = 14  # pixels between them, at least
_SCENES = 4  # pictures of a frame, two by two
_WAY = 8  # pictures from one noise to another
_NAME: dict[str, Any] = {'color': canvas.INK, 'weight': 'bold', 'fontsize': 8}
_WRITTEN = 'first seed, as configured'  # runs whose pictures are kept


def gather(
  source: summary.Source, name: str, axes: int = 4
) -> tuple[dict[str, np.ndarray], str]:
  """A probe's images of at most `MOST` arms, the intact one first.

  Args:
    source: the study.
    name: of the array, uint8 [..., H, W, C].
    axes: that it must have.

  Returns:
    images by arm, and a sentence that names the arms left out, or ''.
  """
  found = {
    arm: images
    for arm, images in probes.by_arm(source, name).items()
    if images.ndim == axes and images.size
  }
  return {arm: found[arm] for arm in list(found)[:MOST]}, name_cut(list(found))


def name_cut(arms: Sequence[str]) -> str:
  """A sentence that names the arms beyond `MOST`; '' if there are none."""
  cut = list(arms[MOST:])
  return f' Not shown: {formats.listing(cut)}.' if cut else ''


def draw_samples(source: summary.Source) -> canvas.Drawing | None:
  """A block of images for every arm; None if none were stored."""
  arms, left = gather(source, 'probe/sample/images')
  if not arms:
    return None
  count = len(arms)
  beside = 1 if count == 1 else 2 if count <= 4 else 3 if count in (5, 6, 9) else 4
  block = (tiles.WIDTH - _APART * (beside - 1)) // beside
  sheets = {}
  for arm, images in arms.items():
    shown, zoom = tiles.fit(images, _WIDE if beside == 1 else _ROOM)
    columns = max(1, (block + tiles.GAP) // (shown.shape[2] * zoom + tiles.GAP))
    sheets[arm] = tiles.sheet(shown[: _ROWS * columns], columns, zoom)
  high, wide = (max(s.shape[i] for s in sheets.values()) for i in (0, 1))
  pitch = HEAD + high + 18
  fig = tiles.make_figure(pitch * -(-count // beside) - 18)
  for i, (arm, sheet) in enumerate(sheets.items()):
    row, column = divmod(i, beside)
    place = spread(column, beside, wide), row * pitch
    name_block(fig, arm, *place, block)
    tiles.put(fig, sheet, place[0], place[1] + HEAD)
  caption = f'Images made after the last step ({_WRITTEN}).'
  if count > 1:
    caption += ' At the same place every arm was given the same noise.'
  alt = f'Images made by {formats.listing(list(arms))}.'
  return tiles.finish(fig, 'samples', 'What they draw', caption + left, alt)


def spread(column: int, count: int, width: int) -> int:
  """The left end of one of `count` blocks, from edge to edge of the figure."""
  return round(column * (tiles.WIDTH - width) / max(1, count - 1))


def name_block(
  fig: figures.Figure, arm: str, left: float, top: float, width: int
) -> None:
  """An arm's name above its pictures, cut to `width` pixels."""
  words = formats.clip(arm, max(8, int(width / 10.5)))
  tiles.write(fig, left, top + 11, words, **_NAME)


def draw_film(source: summary.Source) -> canvas.Drawing | None:
  """A row for every arm: the same noises as training goes on; None without films."""
  films, left = gather(source, 'probe/film', axes=5)
  if not films:
    return None
  rows = {arm: _frames(film, _steps(source, arm)) for arm, film in films.items()}
  room = (tiles.WIDTH - _BETWEEN * (_FRAMES - 1)) // _FRAMES
  one = len({tuple(frames) for frames in rows.values()}) == 1
  sheets = {
    arm: [_scene(images, (room - 2) // 2) for images in frames.values()]
    for arm, frames in rows.items()
  }
  high, wide = (max(s.shape[i] for row in sheets.values() for s in row) for i in (0, 1))
  pitch = HEAD + high + (16 if one else 36)
  fig = tiles.make_figure(30 + pitch * len(rows) - (16 if one else 36))
  for i, (arm, frames) in enumerate(rows.items()):
    top = 30 + pitch * i
    name_block(fig, arm, 0, top, tiles.WIDTH)
    for column, (label, sheet) in enumerate(zip(frames, sheets[arm])):
      place = spread(column, _FRAMES, wide)
      tiles.put(fig, sheet, place, top + HEAD)
      if i == 0 or not one:
        middle = place + sheet.shape[1] / 2
        tiles.write(fig, middle, top - 20, label, ha='center')
  caption = f'The same noises as training goes on ({_WRITTEN}), the step above them.'
  if len(rows) > 1:
    caption += ' At the same place every arm was given the same noise.'
  alt = f'Images during training by {formats.listing(list(films))}.'
  return tiles.finish(fig, 'film', 'As training goes on', caption + left, alt)


def _steps(source: summary.Source, arm: str) -> list[int]:
  """The steps at which an arm's runs were evaluated."""
  curves = source.tables.curves
  return sorted(int(step) for step in curves[curves['arm'] == arm]['step'].unique())


def _frames(film: np.ndarray, steps: Sequence[int]) -> dict[str, np.ndarray]:
  """A film [E, n, H, W, C] thinned to a few evaluations, by their step.

  Evaluations are numbered where the steps are of others: of runs that all diverged the
  curves end early, but not the film.
  """
  kept = np.unique(np.linspace(0, len(film) - 1, _FRAMES).round().astype(int))
  known = len(steps) == len(film)
  labels = [f'{steps[i]:,}' if known else f'no. {i + 1}' for i in kept.tolist()]
  labels[0] = f'step {labels[0]}' if known else f'evaluation {labels[0]}'
  return {label: film[i] for label, i in zip(labels, kept)}


def _scene(images: np.ndarray, room: int) -> np.ndarray:
  """A few images, two by two, none longer than `room`."""
  shown, zoom = tiles.fit(images[:_SCENES], room)
  return tiles.sheet(shown, 2, zoom, 2)


def draw_interpolation(source: summary.Source) -> canvas.Drawing | None:
  """Ways from one noise to another by the intact arm; None if they were not stored."""
  arm = summary.intact_arm(source.study)
  images = probes.of(source, arm).get('probe/sample/interpolation')
  if images is None or not tiles.are_images(np.asarray(images)):
    return None
  images = np.asarray(images)
  length = min(_WAY, len(images))
  count = len(images) // length
  beside = min(2, count)
  width = (tiles.WIDTH - _APART * (beside - 1)) // beside
  shown, zoom = tiles.fit(
    images, (width if beside == 2 else width * 2 // 3) // length - 2
  )
  ways = shown[: count * length].reshape(count, length, *shown.shape[1:])
  sheets = [tiles.sheet(way, length, zoom, 2) for way in ways]
  pitch = len(sheets[0]) + 14
  fig = tiles.make_figure(pitch * -(-count // beside) - 14)
  for i, sheet in enumerate(sheets):
    row, column = divmod(i, beside)
    tiles.put(fig, sheet, column * (sheet.shape[1] + _APART), row * pitch)
  what = 'A way' if count == 1 else f'{count} ways'
  caption = (
    f'{what} from one noise to another by {arm} ({_WRITTEN}), in {length} steps along '
    'a quarter circle, on which noise keeps its length. Images that change little by '
    'little, and all look real, were not learned by heart.'
  )
  alt = f'{what} of {length} images by {arm}, each from one noise to another.'
  return tiles.finish(fig, 'interpolation', 'From one to another', caption, alt)
