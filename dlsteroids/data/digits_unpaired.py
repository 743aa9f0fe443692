"""Digits of two kinds without partners: upright strokes, and inverted, turned ones.

One half of the scans shows X, as published; the other half shows Y, inverted (light for
dark) and turned. No scan is in both, in training or in testing, yet how any would look
in the other domain is known: so a translation is measured, not only looked at.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data import digits, mnist
from dlsteroids.data.lib import images, source, two_domains
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'source': 'digits',  # digits (embedded), mnist
  'invert': True,  # Y is light for dark
  'rotate': 90,  # degrees by which Y is turned to the left: 0, 90, 180, 270
  **source.OPTIONS,  # of mnist
  **two_domains.OPTIONS,
}
SOURCES = {'digits': digits, 'mnist': mnist}
LIGHTEST = {'digits': 16 * digits.SCALE, 'mnist': 255}
TURNS = (0, 90, 180, 270)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Halves of the source as X and as Y; with neither change both are alike, a control.

  Raises:
    UserError: files missing or damaged, or an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  name = config_lib.choose('data.source', config['source'], SOURCES)
  invert, angle = config['invert'], config['rotate']
  if angle not in TURNS:
    raise errors.UserError(
      f'data.rotate must be {", ".join(map(str, TURNS))} degrees, not {angle}'
    )
  if name == 'digits' and config['path']:
    raise errors.UserError(
      'data.path has no effect with data.source = digits, which are embedded; '
      'data.source = mnist reads files'
    )
  module = SOURCES[name]
  known = {key: config[key] for key in source.OPTIONS if key in module.DEFAULTS}
  base = module.load({**module.DEFAULTS, **known})
  height, width = base.arrays['image'].shape[1:3]
  if height != width and angle % 180:
    raise errors.UserError(
      f'data.rotate = {angle} needs square images; {base.name} has {height}×{width}'
    )
  first, second, sizes = two_domains.halves(base)
  upright, label = base.arrays['image'], base.arrays['label']
  lightest = LIGHTEST[name]
  x = two_domains.Side(
    name='upright',
    images=upright[first],
    sizes=sizes,
    truth=turn(upright[first], invert, angle, lightest),
    labels=label[first],
  )
  y = two_domains.Side(
    name=describe(invert, angle),
    images=turn(upright[second], invert, angle, lightest),
    sizes=sizes,
    truth=upright[second],
    labels=label[second],
  )
  return two_domains.make(f'{base.name}-unpaired', x, y, config, base.classes)


def turn(pixels: np.ndarray, invert: bool, angle: int, lightest: int) -> np.ndarray:
  """What domain Y shows of uint8 [N, H, W, C]; `angle` is to the left."""
  pixels = np.rot90(pixels, angle // 90, axes=(1, 2))
  return np.ascontiguousarray(lightest - pixels if invert else pixels)


def describe(invert: bool, angle: int) -> str:
  """The name of domain Y."""
  changes = ['inverted'] * invert + [f'turned by {angle}°'] * bool(angle)
  return ', '.join(changes) or 'upright too'
