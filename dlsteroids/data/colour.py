"""Colour against grey, without partners, from one set of colour images.

One half of the images is X, in colour; the other half is Y, in grey. No image is in
both, in training or in testing. The truth is known in both directions: to grey it is a
formula; to colour it is the original, one of many colourings that would be right.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data import cifar10, image_folder
from dlsteroids.data.lib import images, source, two_domains
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'source': 'cifar10',  # cifar10, image_folder
  **source.OPTIONS,
  'label': '',  # of image_folder: its name in results, and where it is looked for
  'size': 0,  # of image_folder: square side in pixels; 0: the images' own
  **two_domains.OPTIONS,
}
SOURCES = {'cifar10': cifar10, 'image_folder': image_folder}
OWN = ('label', 'size')  # of image_folder
# .299, .587, .114 of ITU-R BT.601, in 65536ths
LUMA = np.array([19595, 38470, 7471], np.uint32)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Halves of the source as colour [N, H, W, 3] and as grey [N, H, W, 1].

  Its name is the source's with '-colour', so that of `image_folder` with the label
  cifar10-jpeg is `cifar10-jpeg-colour`.

  Raises:
    UserError: files missing or damaged, an option out of range, or only grey images.
  """
  config = images.complete(config, DEFAULTS)
  name = config_lib.choose('data.source', config['source'], SOURCES)
  module = SOURCES[name]
  known = {
    key: config[key] for key in (*source.OPTIONS, *OWN) if key in module.DEFAULTS
  }
  for key in OWN:
    if key not in known and config[key] != DEFAULTS[key]:
      raise errors.UserError(
        f'data.{key} has no effect with data.source = {name}; data.source = '
        'image_folder has it'
      )
  base = module.load({**module.DEFAULTS, **known})
  first, second, sizes = two_domains.halves(base)
  pixels, label = base.arrays['image'], base.arrays['label']
  x = two_domains.Side(
    name='colour',
    images=pixels[first],
    sizes=sizes,
    truth=to_grey(pixels[first]),
    labels=label[first],
  )
  y = two_domains.Side(
    name='grey',
    images=to_grey(pixels[second]),
    sizes=sizes,
    truth=pixels[second],
    labels=label[second],
  )
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
