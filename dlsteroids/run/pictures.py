"""Pictures that a finished run generates, as PNG files."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import PIL.Image

from dlsteroids import rng, types
from dlsteroids.plan import runs
from dlsteroids.util import errors

GAP = 2  # pixels between the pictures of a sheet
WHITE = 255


def paint(
  draw: Callable[..., Any],
  dataset: types.Dataset,
  run: runs.Run,
  options: Any,
  target: pathlib.Path,
  say: Callable[[str], None],
) -> pathlib.Path:
  """Writes every picture and, of each kind, a sheet of all into the folder `target`.

  Raises:
    UserError: a class the model is not told, or a folder that holds something else.
  """
  if target.exists() and not target.is_dir():
    raise errors.UserError(f'--target={target} is a file, not a folder')
  label = number(dataset, run, options.label)
  indices = dataset.split(run.seed)['test']
  few = np.resize(indices, options.count)  # what a translator is given
  raw = dataset.take(dataset.arrays, few, train=False)
  batch = dataset.transform(raw, rng.Keys(rng.root(run.seed)), train=False)
  prompt = {name: jnp.asarray(array) for name, array in batch.items()}
  found = draw(prompt=prompt, options={'count': options.count, 'label': label})
  target.mkdir(parents=True, exist_ok=True)
  for name, images in found.items():
    images = np.asarray(images)
    for index, image in enumerate(images):
      save(image, target / f'{name}-{index:04d}.png')
    save(sheet(images), target / f'{name}.png')
  kinds = ', '.join(f'{name}.png' for name in found)
  say(f'{options.count} pictures each, and {kinds} of all, in {target}')
  return target


def number(dataset: types.Dataset, run: runs.Run, label: str) -> int:
  """The place of a class among the data's; -1 for ''.

  Raises:
    UserError: a class there is none of, or a model that is told no classes.
  """
  if not label:
    return -1
  if not run.config['model'].get('conditional'):
    raise errors.UserError(
      f'--label={label}: the model is told no classes (config.model.conditional is off)'
    )
  if label not in dataset.classes:
    raise errors.UserError(
      f'--label={label}: no class of {dataset.name}; there are '
      f'{", ".join(dataset.classes)}'
    )
  return dataset.classes.index(label)


def sheet(images: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W, C] as one nearly square picture [H', W', C], white between."""
  count, height, width, channels = images.shape
  columns = int(np.ceil(np.sqrt(count)))
  rows = -(-count // columns)
  size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
  whole = np.full(size, WHITE, np.uint8)
  for index, image in enumerate(images):
    top = index // columns * (height + GAP)
    left = index % columns * (width + GAP)
    whole[top : top + height, left : left + width] = image
  return whole


def save(image: np.ndarray, path: pathlib.Path) -> None:
  """uint8 [H, W, 1 or 3] as PNG."""
  shown = image[..., 0] if image.shape[-1] == 1 else image
  PIL.Image.fromarray(shown).save(path)
