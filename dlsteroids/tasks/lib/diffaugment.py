"""Differentiable augmentation of what a discriminator sees (Zhao et al. 2020).

Real and generated images are changed alike, in both turns, so that the generator does
not learn the changes. Pure JAX; images [B, H, W, C] in [-1, 1].
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids import config as config_lib

SHIFT, HOLE = 0.125, 0.5  # as shares of a side, the paper's


def colour(x: Any, key: Any) -> Any:
  """Brightness, then saturation (of several channels), then contrast, per image."""
  bright, saturate, contrast = jax.random.split(key, 3)
  shape = (len(x), 1, 1, 1)
  x = x + jax.random.uniform(bright, shape) - 0.5
  if x.shape[-1] > 1:
    grey = x.mean(-1, keepdims=True)
    x = (x - grey) * (2.0 * jax.random.uniform(saturate, shape)) + grey
  middle = x.mean((1, 2, 3), keepdims=True)
  return (x - middle) * (0.5 + jax.random.uniform(contrast, shape)) + middle


def translation(x: Any, key: Any) -> Any:
  """Moves each image by up to an eighth of its sides; what comes in is 0."""
  height, width = x.shape[1:3]
  reach = jnp.array([round(SHIFT * height), round(SHIFT * width)])
  moves = jax.random.randint(key, (len(x), 2), -reach, reach + 1)

  def shift(axis, size):
    places = jnp.arange(size) + moves[:, axis, None]  # [B, size]
    return jnp.clip(places, 0, size - 1), (places >= 0) & (places < size)

  (rows, seen_rows), (columns, seen_columns) = shift(0, height), shift(1, width)
  moved = x[jnp.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]
  inside = seen_rows[:, :, None] & seen_columns[:, None, :]
  return moved * inside[..., None]


def cutout(x: Any, key: Any) -> Any:
  """A hole of half the sides, anywhere, also partly outside; inside it is 0."""
  height, width = x.shape[1:3]
  size = jnp.array([round(HOLE * height), round(HOLE * width)])
  ends = jnp.array([height, width]) + (1 - size % 2)
  centres = jax.random.randint(key, (len(x), 2), 0, ends)

  def covered(axis, length):
    places = jnp.arange(length)[None]
    first = centres[:, axis, None] - size[axis] // 2
    return (places >= first) & (places < first + size[axis])

  hole = covered(0, height)[:, :, None] & covered(1, width)[:, None, :]
  return jnp.where(hole[..., None], 0.0, x)


POLICIES: Mapping[str, Callable[[Any, Any], Any]] = {
  'colour': colour,
  'translation': translation,
  'cutout': cutout,
}


def make(policy: str) -> Callable[[Any, Any], Any]:
  """`(images, key) -> images` of a comma-separated policy; '' changes nothing.

  Raises:
    UserError: an unknown name.
  """
  names = tuple(filter(None, map(str.strip, policy.split(','))))
  for name in names:
    config_lib.choose('task.augment', name, POLICIES)

  def augment(x, key):
    for index, name in enumerate(names):
      x = POLICIES[name](x, jax.random.fold_in(key, index)).astype(x.dtype)
    return x

  return augment
