"""Small pictures on a figure, pixel by pixel.

Places are pixels of the PNG, from the figure's upper left corner; a picture's own pixel
becomes a whole number of them, at whole places, so that none is blurred or doubled.
"""

import math
from typing import Any

import numpy as np
from matplotlib import figure as figures

from dlsteroids.report.figures import canvas

WIDTH = int(canvas.WIDTH * canvas.DPI)
GAP = 4  # between pictures; at least 2
EDGE = 1  # around a sheet: the outermost hairlines
_LINE = (128, 128, 128, 110)
_SHIFT = tuple(-margin * canvas.DPI % 1 for margin in canvas.MARGIN)  # onto whole ones
_FUZZ = 0.01  # pixels: below what shows, above what floats lose
_SHARP = 'image-rendering:crisp-edges;image-rendering:pixelated'


def are_images(images: np.ndarray) -> bool:
  """Whether an array is [N, H, W, C] with something in it."""
  return images.ndim == 4 and images.size > 0


def fit(images: np.ndarray, room: int) -> tuple[np.ndarray, int]:
  """Images no longer than `room` pixels a side, and how often each pixel is repeated.

  Larger ones are averaged over squares of 2, 3, … pixels.

  Args:
    images: uint8 [..., H, W, C].
    room: pixels of the PNG.
  """
  side = max(images.shape[-3:-1])
  if side <= room:
    return images, room // side
  by = -(-side // room)
  high, wide = (max(1, n // by) for n in images.shape[-3:-1])
  cut = images[..., : high * by, : wide * by, :]
  parts = cut.reshape(*images.shape[:-3], high, by, wide, by, -1)  # [..., h, by, w, by]
  return np.round(parts.mean((-4, -2))).astype(np.uint8), 1


def shade(images: np.ndarray) -> np.ndarray:
  """uint8 [..., C] as opaque RGBA; of other than three channels the first, as grey."""
  if images.shape[-1] != 3:
    images = np.repeat(images[..., :1], 3, axis=-1)
  return np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1)


def sheet(images: np.ndarray, columns: int, zoom: int, gap: int = GAP) -> np.ndarray:
  """Images [N, H, W, C] row by row: RGBA in the PNG's pixels, an `EDGE` all around.

  Gaps are clear but for a hairline around each image, so that white ones end on white
  paper and black ones on black.
  """
  shown = shade(images).repeat(zoom, 1).repeat(zoom, 2)
  count, high, wide, _ = shown.shape
  columns = min(columns, count)
  rows = -(-count // columns)
  size = rows * (high + gap) - gap + 2 * EDGE, columns * (wide + gap) - gap + 2 * EDGE
  found = np.zeros((*size, 4), np.uint8)
  for i, image in enumerate(shown):
    top, left = (i // columns) * (high + gap), (i % columns) * (wide + gap)
    found[top : top + high + 2 * EDGE, left : left + wide + 2 * EDGE] = _LINE
    found[top + EDGE : top + EDGE + high, left + EDGE : left + EDGE + wide] = image
  return found


def make_figure(height: int) -> figures.Figure:
  """An empty figure of the usual width and of so many pixels."""
  margins = 2 * canvas.MARGIN[1] * canvas.DPI
  whole = height + math.ceil(margins + _SHIFT[1]) + _FUZZ  # of the PNG
  return canvas.make_figure((whole - margins) / canvas.DPI)


def put(fig: figures.Figure, pixels: np.ndarray, left: int, top: int) -> None:
  """Draws a `sheet`, its first image's upper left corner at a place."""
  high, wide = pixels.shape[:2]
  place = [
    (at + shift) / canvas.DPI for at, shift in zip((left - EDGE, top - EDGE), _SHIFT)
  ]
  size = [(n - 2 * _FUZZ) / canvas.DPI for n in (wide, high)]
  ax = canvas.add_axes(fig, *place, *size)
  # On the page it is scaled: twice as fine, its pixels' edges stay sharp.
  ax.imshow(pixels.repeat(2, 0).repeat(2, 1), interpolation='none', aspect='auto')
  canvas.bare(ax)


def write(
  fig: figures.Figure, left: float, top: float, words: str, **options: Any
) -> None:
  """Text at a place in the PNG's pixels; otherwise as `canvas.write`."""
  canvas.write(fig, left / canvas.DPI, top / canvas.DPI, words, **options)


def finish(
  fig: figures.Figure, name: str, title: str, caption: str, alt: str
) -> canvas.Drawing:
  """As `canvas.finish`; browsers scale the pictures smoothly, not by dropping rows."""
  drawing = canvas.finish(fig, name, title, caption, alt)
  return drawing._replace(svg=drawing.svg.replace(_SHARP, ''))
