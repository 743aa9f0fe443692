"""Digits of two kinds without partners: upright strokes, and inverted, turned ones.

One half of the scans shows X, as published; the other half shows Y, inverted (light for
dark) and turned. No scan is in both, in training or in testing, yet how each would look
in the other domain is known, so translations are measured.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data import digits, mnist
from dlsteroids.data.lib import source, two_domains
from dlsteroids.util import errors

SOURCES = {'digits': digits, 'mnist': mnist}
LIGHTEST = {'digits': 16 * digits.SCALE, 'mnist': 255}
OPTIONS = {
  'source': options.Option(
    'digits', 'data set of the scans; digits is embedded', choices=tuple(SOURCES)
  ),
  'invert': options.Option(True, 'whether Y is light for dark'),
  'rotate': options.Option(
    90, 'degrees by which Y is turned to the left', choices=(0, 90, 180, 270)
  ),
  **source.OPTIONS,
  **two_domains.OPTIONS,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Halves of the source as X and as Y; with neither change both are alike, a control.

  Raises:
    UserError: files missing or damaged, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  name, invert, angle = config['source'], config['invert'], config['rotate']
  if name == 'digits' and config['path']:
    raise errors.UserError(
      'data.path has no effect with data.source = digits, which are embedded; '
      'data.source = mnist reads files'
    )
  base = two_domains.load_source(SOURCES[name], config, source.OPTIONS)
  upright = base.arrays['image']
  height, width = upright.shape[1:3]
  if height != width and angle % 180:
    raise errors.UserError(
      f'data.rotate = {angle} needs square images; {base.name} has {height}×{width}'
    )
  turned = _turn(upright, invert, angle, LIGHTEST[name])
  domains = ('upright', _describe(invert, angle))
  x, y = two_domains.halves(base, domains, upright, turned)
  return two_domains.make(f'{base.name}-unpaired', x, y, config, base.classes)


def _turn(pixels: np.ndarray, invert: bool, angle: int, lightest: int) -> np.ndarray:
  """What domain Y shows of uint8 [N, H, W, C]; `angle` is to the left."""
  pixels = np.rot90(pixels, angle // 90, axes=(1, 2))
  return np.ascontiguousarray(lightest - pixels if invert else pixels)


def _describe(invert: bool, angle: int) -> str:
  """The name of domain Y."""
  changes = ['inverted'] * invert + [f'turned by {angle}°'] * bool(angle)
  return ', '.join(changes) or 'upright too'
