"""Small pictures on a figure, pixel by pixel.

Places are pixels of the PNG, from the figure's upper left corner; a picture's own pixel
becomes a whole number of them, at whole places, so that none is blurred or doubled.
"""

import math
from typing import Any

import numpy as np
from matplotlib import figure

from dlsteroids.report import blocks, formats
from dlsteroids.report.figures import canvas

WIDTH = int(canvas.WIDTH * canvas.DPI)
GAP = 4  # between pictures; at least 2
EDGE = 1  # around a sheet: the outermost hairlines
NAME = 26  # height of a block's name
_LINE = (128, 128, 128, 110)
_SHIFT = tuple(-margin * canvas.DPI % 1 for margin in canvas.MARGIN)  # onto whole ones
_FUZZ = 0.01  # pixels: below what shows, above what floats lose
_SHARP = 'image-rendering:crisp-edges;image-rendering:pixelated'
_PLUS = np.array([0.16, 0.49, 0.80])  # mid-tones: they read on white and on black
_MINUS = np.array([0.87, 0.42, 0.13])
_ZERO = np.array([0.5, 0.5, 0.5])
_FAINT = 0.12  # opacity of zero


def are_images(images: np.ndarray, ndim: int = 4) -> bool:
  """Whether an array is [N, H, W, C], or of another `ndim`, with something in it."""
  return images.ndim == ndim and images.size > 0


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


def opaque(images: np.ndarray) -> np.ndarray:
  """uint8 [..., C] as RGBA; of other than three channels the first, as grey."""
  if images.shape[-1] != 3:
    images = np.repeat(images[..., :1], 3, axis=-1)
  return np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1)


def colour_signed(values: np.ndarray, reach: float) -> np.ndarray:
  """Signed values as RGBA: blue above zero, orange below, opaque at ±reach."""
  share = np.clip(np.abs(values) / (reach or 1), 0, 1)[..., None]
  hue = np.where(values[..., None] >= 0, _PLUS, _MINUS)
  alpha = share + _FAINT * (1 - share)
  colour = (hue * share + _ZERO * _FAINT * (1 - share)) / alpha
  return np.concatenate([colour, alpha], axis=-1)


def sheet(images: np.ndarray, columns: int, zoom: int, gap: int = GAP) -> np.ndarray:
  """Images [N, H, W, C] row by row: RGBA in the PNG's pixels, an `EDGE` all around.

  Gaps are clear but for a hairline around each image, so that white ones end on white
  paper and black ones on black.
  """
  rgba = opaque(images).repeat(zoom, 1).repeat(zoom, 2)
  columns = min(columns, len(rgba))
  return _lay_out(rgba, columns, gap, EDGE)


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
  """RGBA images [N, H, W, 4] of few pixels, enlarged, thin clear gaps between them."""
  zooms = [max(1, round(36 / side)) for side in images.shape[1:3]]
  images = images.repeat(zooms[0], 1).repeat(zooms[1], 2)
  return _lay_out(images, columns, max(1, images.shape[2] // 9), 0)


def _lay_out(rgba: np.ndarray, columns: int, gap: int, edge: int) -> np.ndarray:
  """Images row by row, each with a hairline of `edge` pixels around it."""
  count, high, wide, _ = rgba.shape
  rows = -(-count // columns)
  size = (rows * (high + gap) - gap + 2 * edge, columns * (wide + gap) - gap + 2 * edge)
  pixels = np.zeros((*size, 4), rgba.dtype)
  for i, image in enumerate(rgba):
    top, left = (i // columns) * (high + gap), (i % columns) * (wide + gap)
    pixels[top : top + high + 2 * edge, left : left + wide + 2 * edge] = _LINE
    pixels[top + edge : top + edge + high, left + edge : left + edge + wide] = image
  return pixels


def make_figure(height: int) -> figure.Figure:
  """An empty figure of the usual width, `height` pixels high."""
  margins = 2 * canvas.MARGIN[1] * canvas.DPI
  whole = height + math.ceil(margins + _SHIFT[1]) + _FUZZ  # of the PNG
  return canvas.make_figure((whole - margins) / canvas.DPI)


def put(fig: figure.Figure, pixels: np.ndarray, left: int, top: int) -> None:
  """Draws a `sheet`, its first image's upper left corner at a place."""
  high, wide = pixels.shape[:2]
  x, y = (
    (at + shift) / canvas.DPI for at, shift in zip((left - EDGE, top - EDGE), _SHIFT)
  )
  width, height = ((n - 2 * _FUZZ) / canvas.DPI for n in (wide, high))
  # On the page it is scaled: twice as fine, its pixels' edges stay sharp.
  fine = pixels.repeat(2, 0).repeat(2, 1)
  canvas.show_image(fig, fine, x, y, width, height)


def write(
  fig: figure.Figure, left: float, top: float, words: str, **options: Any
) -> None:
  """Text at a place in the PNG's pixels; otherwise as `canvas.write`."""
  canvas.write(fig, left / canvas.DPI, top / canvas.DPI, words, **options)


def write_name(
  fig: figure.Figure, arm: str, left: float, top: float, width: int
) -> None:
  """An arm's name in the `NAME` pixels above its pictures, cut to `width`."""
  words = formats.clip(arm, max(8, int(width / 10.5)))
  write(fig, left, top + 11, words, bold=True)


def finish(
  fig: figure.Figure, name: str, title: str, caption: str, alt: str
) -> blocks.Drawing:
  """As `canvas.finish`; browsers scale the pictures smoothly, not by dropping rows."""
  drawing = canvas.finish(fig, name, title, caption, alt)
  return drawing._replace(svg=drawing.svg.replace(_SHARP, ''))
