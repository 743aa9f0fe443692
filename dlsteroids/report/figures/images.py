"""Pictures of what was learned: confusion, first-layer filters, activation maps."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, patches

from dlsteroids.analysis import summary
from dlsteroids.report import formats
from dlsteroids.report.figures import canvas

_PLUS = np.array([0.16, 0.49, 0.80])  # mid-tones: they read on white and on black
_MINUS = np.array([0.87, 0.42, 0.13])
_REST = np.array([0.5, 0.5, 0.5, 0.12])
_NAME = 18  # characters of a class's name
_ABLATES = re.compile(r'activation|conv', re.I)


def draw_confusion(source: summary.Source) -> canvas.Drawing | None:
  """The intact arm's confusion matrix over its seeds; None without stored runs."""
  found = summary.confusion_of(source)
  if found is None:
    return None
  counts, seeds = found
  size = len(counts)
  names = [str(name) for name in source.study['data']['classes']]
  names += [str(i) for i in range(len(names), size)]
  longest = min(_NAME, max(len(name) for name in names))
  left = 0.5 + 0.07 * longest
  beside = 0.9 + 0.1 * min(15, longest)  # inches for the words at the right
  side = min(4.8, max(2.2, 0.44 * size), canvas.WIDTH - left - beside - 0.3)
  turned = longest > 3
  fig = canvas.make_figure(0.3 + side + 0.35 + (0.055 * longest if turned else 0.1))
  middle = left + (canvas.WIDTH - left - side - beside - 0.3) / 2
  ax = canvas.add_axes(fig, middle, 0.15, side, side)
  _draw_cells(ax, counts)
  every = -(-size // 25)
  ticks = list(range(0, size, every))
  labels = [formats.clip(names[i], _NAME) for i in ticks]
  angle, side_of = (45, 'right') if turned else (0, 'center')
  ax.set_xticks(ticks, labels, rotation=angle, ha=side_of)
  ax.set_yticks(ticks, labels)
  ax.set_xlabel('predicted')
  ax.set_ylabel('true')
  ax.tick_params(length=0)
  for spine in ax.spines.values():
    spine.set_visible(False)
  _write_confusions(fig, counts, names, middle + side + 0.3)
  arm = summary.intact_arm(source.study)
  plural = 'seeds' if seeds > 1 else 'seed'
  caption = (
    f'Test examples of {arm}, summed over {seeds} {plural}. Blue: right, by share of '
    'the row; orange: wrong, by share of the most frequent confusion.'
  )
  right = np.trace(counts) / max(1, counts.sum())
  alt = (
    f'Confusion matrix of {arm}: {formats.value("accuracy", float(right))} of '
    f'{formats.count(counts.sum())} predictions lie on the diagonal.'
  )
  return canvas.finish(fig, 'confusion', 'Confusion', caption, alt)


def _draw_cells(ax: axes.Axes, counts: np.ndarray) -> None:
  size = len(counts)
  share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
  wrong = np.where(np.eye(size, dtype=bool), 0, share)
  # Shades stay light enough for the numbers on them, in either scheme.
  shade = np.where(
    np.eye(size, dtype=bool), share * 0.4, 0.5 * wrong / (wrong.max() or 1)
  )
  if size <= 25:
    longest = max(2, len(formats.count(counts.max())))
    points = min(8.5, 80 / size, 26 / longest)  # one size for all
    for i, j in zip(*np.nonzero(counts)):
      colour = canvas.BLUE if i == j else canvas.ORANGE
      box = patches.Rectangle(
        (j - 0.47, i - 0.47), 0.94, 0.94, color=colour, alpha=shade[i, j], lw=0
      )
      ax.add_patch(box)
      text = formats.count(counts[i, j])
      ax.text(j, i, text, ha='center', va='center', fontsize=points, color=canvas.INK)
  else:
    image = np.zeros((size, size, 4))
    image[..., :3] = np.where(np.eye(size, dtype=bool)[..., None], _PLUS, _MINUS)
    image[..., 3] = np.minimum(1, 2 * shade)
    ax.imshow(image, interpolation='none', aspect='auto')
  ax.set_xlim(-0.5, size - 0.5)
  ax.set_ylim(size - 0.5, -0.5)


def _write_confusions(
  fig: Any, counts: np.ndarray, names: Sequence[str], left: float
) -> None:
  """Beside the matrix, in words: which classes are taken for which most often."""
  wrong = counts * ~np.eye(len(counts), dtype=bool)
  order = np.argsort(-wrong, axis=None, kind='stable')[:6]
  canvas.write(fig, left, 0.3, 'Most often mistaken', weight='bold', fontsize=8)
  for line, flat in enumerate(order):
    i, j = np.unravel_index(flat, counts.shape)
    if not wrong[i, j]:
      break
    share = 100 * wrong[i, j] / counts[i].sum()
    words = f'{formats.clip(names[i], 15)} for {formats.clip(names[j], 15)}'
    words += f': {share:.1f}{formats.THIN}%'
    canvas.write(fig, left, 0.55 + 0.2 * line, words, fontsize=7)


def ink(values: np.ndarray, reach: float) -> np.ndarray:
  """Signed values as RGBA: blue above zero, orange below, opaque at ±reach."""
  share = np.clip(np.abs(values) / (reach or 1), 0, 1)[..., None]
  hue = np.where(values[..., None] >= 0, _PLUS, _MINUS)
  alpha = share + _REST[3] * (1 - share)
  colour = (hue * share + _REST[:3] * _REST[3] * (1 - share)) / alpha
  return np.concatenate([colour, alpha], axis=-1)


def _zoom(pixels: int) -> int:
  """How often a pixel is repeated so that a few of them leave room for thin gaps."""
  return max(1, round(36 / pixels))


def _tile(images: np.ndarray, columns: int) -> np.ndarray:
  """RGBA images [N, H, W, 4] as one sheet, thin transparent gaps between them."""
  images = images.repeat(_zoom(images.shape[1]), 1).repeat(_zoom(images.shape[2]), 2)
  count, high, wide, _ = images.shape
  gap = max(1, wide // 9)
  rows = -(-count // columns)
  sheet = np.zeros((rows * (high + gap) - gap, columns * (wide + gap) - gap, 4))
  for i, image in enumerate(images):
    top, left = (i // columns) * (high + gap), (i % columns) * (wide + gap)
    sheet[top : top + high, left : left + wide] = image
  return sheet


def _filters(probes: Mapping[str, np.ndarray]) -> np.ndarray | None:
  """First-layer weights as RGBA [units, H, W, 4]; colour where they see colour."""
  for name in ('probe/filters', 'probe/weights'):
    if name not in probes:
      continue
    weights = np.nan_to_num(np.moveaxis(probes[name].astype(float), -1, 0)[:32])
    if weights.shape[-1] == 3:
      reach = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
      colour = 0.5 + 0.5 * weights / np.where(reach == 0, 1, reach)
      return np.concatenate([colour, np.ones_like(colour[..., :1])], axis=-1)
    shown = weights.mean(axis=-1) if weights.shape[-1] > 1 else weights[..., 0]
    return ink(shown, float(np.abs(shown).max(initial=0)))
  return None


def probed_arms(source: summary.Source) -> dict[str, Mapping[str, np.ndarray]]:
  """Probes of the intact arm, and of up to two that ablate activation or convolution.

  Returns:
    arrays by arm, of its lowest seed; empty if nothing was stored.
  """
  intact = summary.intact_arm(source.study)
  arms, seen = [intact], set()
  for arm in source.study['arms']:
    if len(arm['overrides']) != 1:
      continue
    kind = _ABLATES.search(str(arm['overrides'][0][0]))
    if kind and kind[0].lower() not in seen:
      seen.add(kind[0].lower())
      arms.append(arm['name'])
  found = {}
  for arm in arms:
    for seed in sorted(int(s) for s in source.study['seeds']):
      arrays = source.arrays(arm, seed)
      if arrays is not None:
        if _filters(arrays) is not None:
          found[arm] = arrays
        break
  return found if intact in found else {}


def draw_filters(source: summary.Source) -> canvas.Drawing | None:
  """First-layer filters, the intact arm's and beside it the ablated ones'."""
  probes = probed_arms(source)
  if not probes:
    return None
  sheets = {}
  for arm, arrays in probes.items():
    tiles = _filters(arrays)
    assert tiles is not None
    sheets[arm] = _tile(tiles, 8)
  gap, width = 0.3, (canvas.WIDTH - 0.3 * (len(probes) - 1)) / max(2, len(probes))
  width = min(width, 2.9)
  high = max(s.shape[0] / s.shape[1] for s in sheets.values()) * width
  fig = canvas.make_figure(0.45 + high)
  for i, (arm, sheet) in enumerate(sheets.items()):
    left = i * (width + gap)
    label = formats.clip(arm, 30)
    canvas.write(fig, left, 0.15, label, weight='bold', fontsize=8.5, color=canvas.INK)
    ax = canvas.add_axes(
      fig, left, 0.35, width, width * sheet.shape[0] / sheet.shape[1]
    )
    ax.imshow(sheet, interpolation='none', aspect='auto')
    canvas.bare(ax)
  caption = (
    'Each square is one unit’s weights after training (lowest seed). '
    'Blue: excites; orange: inhibits; coloured where the input has colour.'
  )
  alt = f'First-layer weights of {formats.listing(list(sheets))}.'
  return canvas.finish(fig, 'filters', 'What the first layer looks for', caption, alt)


def _layers(arrays: Mapping[str, np.ndarray]) -> list[str]:
  names = [name for name in arrays if name.startswith('probe/activation/')]
  return [name for name in names if np.ndim(arrays[name]) == 4]


def draw_activations(source: summary.Source) -> canvas.Drawing | None:
  """Activation maps of a few test images, layer by layer, per probed arm."""
  probes = {arm: a for arm, a in probed_arms(source).items() if _layers(a)}
  if not probes or any('probe/images' not in a for a in probes.values()):
    return None
  show, channels = 4, 10
  gap, first = 0.3, 0.4
  wide = canvas.WIDTH if len(probes) == 1 else (canvas.WIDTH - gap) / 2
  probes = dict(list(probes.items())[:2])
  width = min(wide, 6.5) - first - 0.12
  strip = width / channels * show  # every map is drawn as large as any other
  deep = max(len(_layers(a)) for a in probes.values())
  fig = canvas.make_figure(0.35 + deep * (strip + 0.32))
  for i, (arm, arrays) in enumerate(probes.items()):
    left = i * (wide + gap)
    images = _photograph(arrays['probe/images'][:show])
    canvas.write(
      fig,
      left,
      0.13,
      formats.clip(arm, 40),
      weight='bold',
      fontsize=8.5,
      color=canvas.INK,
    )
    for j, name in enumerate(_layers(arrays)):
      top = 0.55 + j * (strip + 0.32)
      size = arrays[name].shape
      label = f'{name.rsplit("/", 1)[-1]}: {size[3]} maps of {size[1]}×{size[2]}'
      canvas.write(fig, left + first + 0.12, top - 0.11, label, fontsize=7.5)
      ax = canvas.add_axes(fig, left, top, first, strip)
      ax.imshow(_tile(images, 1), interpolation='none', aspect='auto')
      canvas.bare(ax)
      maps = np.nan_to_num(arrays[name][:show, ..., :channels].astype(float))
      reach = float(np.quantile(np.abs(maps), 0.995))
      tiles = ink(np.moveaxis(maps, -1, 1), reach)  # [M, C, H, W, 4]
      sheet = _tile(tiles.reshape(-1, *tiles.shape[2:]), maps.shape[-1])
      share = maps.shape[-1] / channels
      ax = canvas.add_axes(fig, left + first + 0.12, top, width * share, strip)
      ax.imshow(sheet, interpolation='none', aspect='auto')
      canvas.bare(ax)
  caption = (
    f'Left the test image, then how the first {channels} channels of each layer answer '
    '(lowest seed). Blue: above zero; orange: below; grey: silent.'
  )
  alt = f'Activation maps of test images in {formats.listing(list(probes))}.'
  return canvas.finish(fig, 'activations', 'How it sees', caption, alt)


def _photograph(images: np.ndarray) -> np.ndarray:
  """uint8 [M, H, W, 1 or 3 or more] as RGBA floats."""
  shown = images.astype(float) / 255
  if shown.shape[-1] != 3:
    shown = np.repeat(shown[..., :1], 3, axis=-1)
  return np.concatenate([shown, np.ones_like(shown[..., :1])], axis=-1)
