"""Inside trained networks: first-layer filters, and activation maps layer by layer."""

import re
from collections.abc import Mapping

import numpy as np

from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks, formats
from dlsteroids.report.figures import canvas, tiles

_ABLATES = re.compile(r'activation|conv', re.I)
_FILTERS = 32  # units of the first layer
_IMAGES = 4  # test images
_CHANNELS = 10  # maps of a layer
_GAP = 0.3  # inches between arms
_PHOTO = 0.4  # inches of a test image

Arrays = Mapping[str, np.ndarray]


def probed_arms(source: summary.Source) -> dict[str, Arrays]:
  """Probes of the intact arm, and of up to two that ablate activation or convolution.

  Returns:
    arrays by arm, of its lowest seed; empty if nothing was stored.
  """
  intact = summary.intact_arm(source.study)
  by_kind: dict[str, str] = {}
  for arm in source.study.arms:
    if len(arm.overrides) == 1:
      kind = _ABLATES.search(str(arm.overrides[0][0]))
      if kind:
        by_kind.setdefault(kind[0].lower(), arm.name)
  probed = {}
  for name in (intact, *by_kind.values()):
    arrays = probes.of(source, name)
    if _filters(arrays) is not None:
      probed[name] = arrays
  return probed if intact in probed else {}


def _filters(arrays: Arrays) -> np.ndarray | None:
  """First-layer weights as RGBA [units, H, W, 4]; colour where they see colour."""
  name = next((n for n in ('probe/filters', 'probe/weights') if n in arrays), '')
  if not name:
    return None
  weights = np.moveaxis(arrays[name].astype(float), -1, 0)[:_FILTERS]
  weights = np.nan_to_num(weights)
  if weights.shape[-1] == 3:
    reach = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    colour = 0.5 + 0.5 * weights / np.where(reach == 0, 1, reach)
    return np.concatenate([colour, np.ones_like(colour[..., :1])], axis=-1)
  mean = weights.mean(axis=-1)
  return tiles.colour_signed(mean, float(np.abs(mean).max(initial=0)))


def draw_filters(source: summary.Source) -> blocks.Drawing | None:
  """First-layer filters, the intact arm's and beside it the ablated ones'."""
  filters = {arm: _filters(arrays) for arm, arrays in probed_arms(source).items()}
  sheets = {arm: tiles.mosaic(f, 8) for arm, f in filters.items() if f is not None}
  if not sheets:
    return None
  count = max(2, len(sheets))
  width = min(2.9, (canvas.WIDTH - _GAP * (len(sheets) - 1)) / count)
  heights = {arm: width * s.shape[0] / s.shape[1] for arm, s in sheets.items()}
  fig = canvas.make_figure(0.45 + max(heights.values()))
  for i, (arm, sheet) in enumerate(sheets.items()):
    left = i * (width + _GAP)
    canvas.write(fig, left, 0.15, formats.clip(arm, 30), bold=True)
    canvas.show_image(fig, sheet, left, 0.35, width, heights[arm])
  caption = (
    'Each square is one unit’s weights after training (lowest seed). '
    'Blue: excites; orange: inhibits; coloured where the input has colour.'
  )
  alt = f'First-layer weights of {formats.listing(list(sheets))}.'
  return canvas.finish(fig, 'filters', 'What the first layer looks for', caption, alt)


def _layers(arrays: Arrays) -> list[str]:
  names = [name for name in arrays if name.startswith('probe/activation/')]
  return [name for name in names if np.ndim(arrays[name]) == 4]


def draw_activations(source: summary.Source) -> blocks.Drawing | None:
  """Activation maps of a few test images, layer by layer, of at most two arms."""
  arms = {arm: a for arm, a in probed_arms(source).items() if _layers(a)}
  if not arms or any('probe/images' not in arrays for arrays in arms.values()):
    return None
  arms = dict(list(arms.items())[:2])
  wide = canvas.WIDTH if len(arms) == 1 else (canvas.WIDTH - _GAP) / 2
  aside = _PHOTO + 0.12
  size = (min(wide, 6.5) - aside) / _CHANNELS  # every map is as large as any other
  strip = size * _IMAGES
  deepest = max(len(_layers(arrays)) for arrays in arms.values())
  fig = canvas.make_figure(0.35 + deepest * (strip + 0.32))
  for i, (arm, arrays) in enumerate(arms.items()):
    left = i * (wide + _GAP)
    canvas.write(fig, left, 0.13, formats.clip(arm, 40), bold=True)
    photos = tiles.mosaic(tiles.opaque(arrays['probe/images'][:_IMAGES]), 1)
    for j, name in enumerate(_layers(arrays)):
      top = 0.55 + j * (strip + 0.32)
      shape = arrays[name].shape
      label = f'{name.rsplit("/", 1)[-1]}: {shape[3]} maps of {shape[1]}×{shape[2]}'
      canvas.write(fig, left + aside, top - 0.11, label)
      canvas.show_image(fig, photos, left, top, _PHOTO, strip)
      maps = np.nan_to_num(arrays[name][:_IMAGES, ..., :_CHANNELS].astype(float))
      reach = float(np.quantile(np.abs(maps), 0.995))
      cells = tiles.colour_signed(np.moveaxis(maps, -1, 1), reach)  # [M, C, H, W, 4]
      sheet = tiles.mosaic(cells.reshape(-1, *cells.shape[2:]), maps.shape[-1])
      canvas.show_image(fig, sheet, left + aside, top, size * maps.shape[-1], strip)
  caption = (
    f'Left the test image, then how the first {_CHANNELS} channels of each layer '
    'answer (lowest seed). Blue: above zero; orange: below; grey: silent.'
  )
  alt = f'Activation maps of test images in {formats.listing(list(arms))}.'
  return canvas.finish(fig, 'activations', 'How it sees', caption, alt)
