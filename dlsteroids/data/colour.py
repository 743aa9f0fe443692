"""Colour against grey, without partners, from one set of colour images.

One half of the images is X, in colour; the other half is Y, in grey. No image is in
both, in training or in testing. The truth is known in both directions: to grey it is a
formula; to colour it is the original, one of many colourings that would be right.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data import cifar10, image_folder
from dlsteroids.data.lib import image_files, source, two_domains
from dlsteroids.util import errors

SOURCES = {'cifar10': cifar10, 'image_folder': image_folder}
OWN = ('label', 'size')  # of image_folder only
OPTIONS = {
  'source': options.Option('cifar10', 'data set of the images', choices=tuple(SOURCES)),
  **source.OPTIONS,
  **{key: image_files.OPTIONS[key] for key in OWN},
  **two_domains.OPTIONS,
}
# .299, .587, .114 of ITU-R BT.601, in 65536ths
LUMA = np.array([19595, 38470, 7471], np.uint32)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Halves of the source as colour [N, H, W, 3] and as grey [N, H, W, 1].

  Its name is that of the source's data set with '-colour'.

  Raises:
    UserError: files missing or damaged, an option out of range, or only grey images.
  """
  config = options.complete(config, OPTIONS, 'data')
  name = config['source']
  for key in OWN:
    if name != 'image_folder' and config[key] != OPTIONS[key].default:
      raise errors.UserError(
        f'data.{key} has no effect with data.source = {name}; data.source = '
        'image_folder has it'
      )
  base = two_domains.load_source(SOURCES[name], config, (*source.OPTIONS, *OWN))
  pixels = base.arrays['image']
  x, y = two_domains.halves(base, ('colour', 'grey'), pixels, to_grey(pixels))
  if (x.images == x.truth).all():
    raise errors.UserError(
      f'{base.name} has no image in colour: there is nothing to translate'
    )
  return two_domains.make(f'{base.name}-colour', x, y, config, base.classes)


def to_grey(pixels: np.ndarray) -> np.ndarray:
  """The luma of uint8 [N, H, W, 3] as uint8 [N, H, W, 1], rounded as Pillow does."""
  grey = np.empty((*pixels.shape[:-1], 1), np.uint8)
  for image, result in zip(pixels, grey):
    result[..., 0] = (image.astype(np.uint32) @ LUMA + (1 << 15)) >> 16
  return grey
