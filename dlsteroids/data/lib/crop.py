"""Which part of an image becomes an example: windows in the image's own coordinates."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TRIES = 10  # random windows that do not fit, before the middle is taken


class Window(NamedTuple):
  """Edges in pixels, from the left and from above; may lie between pixels."""

  left: float
  upper: float
  right: float
  lower: float

  @property
  def width(self) -> float:
    return self.right - self.left

  @property
  def height(self) -> float:
    return self.lower - self.upper


Choose = Callable[[int, int], Window]  # (width, height) of an image -> its window


def middle(width: int, height: int, share: float = 1.0) -> Window:
  """The square in the middle whose side is `share` of the image's shorter side."""
  side = share * min(width, height)
  left, upper = (width - side) / 2, (height - side) / 2
  return Window(left, upper, left + side, upper + side)


def anywhere(
  width: int, height: int, share: float, generator: np.random.Generator
) -> Window:
  """The same square at a random place (Krizhevsky et al. 2012, section 4.1)."""
  side = share * min(width, height)
  left = generator.random() * (width - side)
  upper = generator.random() * (height - side)
  return Window(left, upper, left + side, upper + side)


def resized(
  width: int, height: int, area: float, aspect: float, generator: np.random.Generator
) -> Window:
  """A window of random area and shape at a random place (Szegedy et al. 2015).

  As torchvision's RandomResizedCrop: the area uniform, the logarithm of width over
  height uniform, whole pixels; after `TRIES` windows that do not fit, the largest
  window in the middle that keeps to the shapes.

  Args:
    width: of the image in pixels.
    height: of the image in pixels.
    area: least share of the image's area; the largest is 1.
    aspect: largest width over height; the least is its inverse.
    generator: of the draws.
  """
  bound = math.log(aspect)
  for _ in range(TRIES):
    wanted = width * height * generator.uniform(area, 1.0)
    shape = math.exp(generator.uniform(-bound, bound))
    w, h = round(math.sqrt(wanted * shape)), round(math.sqrt(wanted / shape))
    if 0 < w <= width and 0 < h <= height:
      left = int(generator.integers(0, width - w + 1))
      upper = int(generator.integers(0, height - h + 1))
      return Window(left, upper, left + w, upper + h)
  w = min(width, round(height * aspect))
  h = min(height, round(width * aspect))
  left, upper = (width - w) // 2, (height - h) // 2
  return Window(left, upper, left + w, upper + h)
