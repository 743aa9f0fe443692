"""Your own images of two domains, X and Y, without partners.

Two folders or archives of images (`path_x`, `path_y`), or one (`path`) in the layout of
CycleGAN's data sets: `trainA/*.jpg`, `trainB/`, optional `testA/` and `testB/`, `valA/`
and `valB/`, at its top or below one top folder. A is X, B is Y. Decoded once, in
parallel, and cached.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import archive, decode, folder_layout, image_files, two_domains
from dlsteroids.util import errors

OPTIONS = {
  **image_files.OPTIONS,
  'path_x': options.Option('', 'folder or archive of the images of X, instead of path'),
  'path_y': options.Option('', 'folder or archive of the images of Y'),
  **two_domains.OPTIONS,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The images as x [N, size, size, channels] and y.

  With `testA/` and `testB/`, `data.test` has no effect; nor has `data.validation` with
  `valA/` and `valB/`.

  Raises:
    UserError: no images, another layout, unreadable or unequally sized images, too few
      of them, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  form = decode.Form(config['size'], config['channels'])
  if config['path_x'] or config['path_y']:
    places = _locate(config)
    names = [archive.stem(place.resolve()) for place in places]
    name = config['label'] or '-'.join(names)
    pixels = [
      image_files.decoded('unpaired', place, form, folder_layout.arrange_flat)[0]
      for place in places
    ]
    sizes = [(len(part), 0, 0) for part in pixels]
  else:
    place = image_files.locate(
      'unpaired',
      config,
      folder_layout.domain_of,
      'trainA/*.jpg|png',
      hint=', or set data.path_x and data.path_y',
    )
    names, name = ['A', 'B'], image_files.name_of(place, config)
    stored, _, counts = image_files.decoded(
      'unpaired', place, form, folder_layout.arrange_domains
    )
    sides = np.repeat(np.tile([0, 1], len(counts)), np.ravel(counts))
    pixels = [stored[sides == side] for side in (0, 1)]
    sizes = list(zip(*counts, strict=True))
  _compare(pixels, names)
  x, y = (two_domains.Side(*side) for side in zip(names, pixels, sizes, strict=True))
  treatments = _describe_changes(pixels, names, config)
  return two_domains.make(name, x, y, config, treatments=treatments)


def _locate(config: Mapping[str, Any]) -> list[pathlib.Path]:
  """The folders or archives at `path_x` and `path_y`."""
  places = []
  for key, other in (('path_x', 'path_y'), ('path_y', 'path_x')):
    if not config[key]:
      raise errors.UserError(
        f'data.{key} is empty, but data.{other} is set: two domains are needed'
      )
    if config['path']:
      raise errors.UserError(
        f'data.path and data.{key} are both set: give one layout of both domains, or '
        'data.path_x and data.path_y'
      )
    place = pathlib.Path(config[key]).expanduser()
    if not place.exists():
      raise errors.UserError(f'data.{key}: {str(place)!r} does not exist')
    places.append(archive.openable(place))
  if places[0].resolve() == places[1].resolve():
    raise errors.UserError(
      f'data.path_x and data.path_y are both {str(places[0])!r}: two domains are needed'
    )
  return places


def _compare(pixels: Sequence[np.ndarray], names: Sequence[str]) -> None:
  """Raises UserError unless the images of both domains are of one size."""
  sizes = [f'{part.shape[2]}×{part.shape[1]}' for part in pixels]
  if sizes[0] != sizes[1]:
    raise errors.UserError(
      f'images of {names[0]} are {sizes[0]}, but those of {names[1]} {sizes[1]}: set '
      'data.size to bring all images to one size'
    )


def _describe_changes(
  pixels: Sequence[np.ndarray], names: Sequence[str], config: Mapping[str, Any]
) -> tuple[str, ...]:
  """What was done to the images, a sentence each."""
  sentences = []
  if config['channels'] == 1:
    sentences.append('Images are in grey; colour was turned to its ITU-R 601 luma.')
  else:
    for part, name in zip(pixels, names, strict=True):
      grey = sum(bool((image == image[..., :1]).all()) for image in part)
      if grey:
        sentences.append(
          f'{grey:,} of {len(part):,} images of {name} are grey: three equal channels.'
        )
  if config['size']:
    sentences.append(
      f'The middle square of every image was brought to {config["size"]} pixels a side.'
    )
  return tuple(sentences)
