"""Pictures of memory: how far gradients reach back, and what the gates do meanwhile."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import figure as figures

from dlsteroids.analysis import summary
from dlsteroids.report import formats, probes, samples
from dlsteroids.report.figures import canvas, images, panels
from dlsteroids.report.figures import curves as curves_lib

_DECADES = 8  # of gradient norms; below them it makes no difference
_SMALL = 0.01  # the share of the largest norm whose lag is told
_GATES = ('input', 'forget', 'update', 'reset', 'output', 'candidate')
_STATES = ('cell', 'hidden')
_SIGNED = ('candidate', *_STATES)
_UNITS = 10  # rows of a strip
_LETTERS = 80  # steps of a strip over letters
_WORDS = 40  # steps of a strip over words
_STEPS = 256  # steps of a strip over numbers
_ROW = 0.07  # inches
_GAP = 0.12
_LEFT = 0.85
_RIGHT = 0.62


def draw_lag(source: summary.Source) -> canvas.Drawing | None:
  """How the gradient of the last step's loss fades with the lag, arm by arm."""
  norms = {
    arm: np.ravel(found).astype(float)
    for arm, found in probes.by_arm(source, 'probe/lag/norms').items()
    if np.size(found) > 1 and np.isfinite(found).all() and np.max(found) > 0
  }
  if not norms:
    return None
  largest = max(float(found.max()) for found in norms.values())
  floor = largest * 10.0**-_DECADES
  lowest = min(float(found[found > floor].min()) for found in norms.values())
  cut = any(float(found.min()) < floor for found in norms.values())
  curves = {}
  for arm, found in norms.items():
    level = np.log10(np.maximum(found, 1e-3 * floor))  # leaves through the frame
    curves[arm] = curves_lib.Curve(np.arange(len(found)), level, level, level)
  x = panels.count_axis(max(len(found) for found in norms.values()) - 1)
  y = _decade_axis(floor if cut else lowest, largest)
  fade = {arm: _fade(found) for arm, found in norms.items()}
  told = {arm: _words(found, fade[arm]) for arm, found in norms.items()}
  title = 'gradient norm against lag (steps back from the last)'
  fig = panels.draw(title, curves, {}, x, y, told)
  intact = next(iter(norms))
  caption = (
    'Norm of the gradient of the last step’s loss by the input so many steps earlier, '
    'mean over a few test sequences of the first seed; logarithmic scale. In words: '
    'up to which lag it reaches 1 % of its largest value'
  )
  caption += f' (in {intact}: {told[intact]}).' if len(norms) > 1 else '.'
  if cut:
    caption += f' Cut {_DECADES} decades below the largest.'
  parts = [f'{arm} {told[arm]}' for arm in norms]
  alt = f'Gradient norm against lag, in shares of its largest: {"; ".join(parts)}.'
  return canvas.finish(fig, 'lag', 'How far back the gradient reaches', caption, alt)


def _fade(norms: np.ndarray) -> int | None:
  """The lag from which on the norm stays below `_SMALL` of its largest, or None."""
  above = np.flatnonzero(norms >= _SMALL * norms.max())
  return int(above[-1]) + 1 if above[-1] + 1 < len(norms) else None


def _words(norms: np.ndarray, lag: int | None) -> str:
  if lag is None:
    return 'above 1 % to the end'
  return f'below 1 % from lag {lag:,}'


def _decade_axis(low: float, high: float) -> panels.Axis:
  """A logarithmic axis with at most six ticks, at powers of ten."""
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  every = max(1, -(-(last - first) // 5))
  ticks = list(range(last, first - 1, -every))[::-1]
  superscripts = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')
  labels = [f'10{str(tick).translate(superscripts)}' for tick in ticks]
  air = 0.04 * (last - first) or 0.5
  return panels.Axis((first - air, last + air), ticks, labels)


class _Strip(NamedTuple):
  """A gate's or state's values over the steps [U, T], as drawn."""

  name: str
  values: np.ndarray
  reach: float
  range: str


def draw_gates(source: summary.Source) -> canvas.Drawing | None:
  """The intact arm's gates and state over a real test sequence, a strip each."""
  arm = summary.intact_arm(source.study)
  arrays = probes.of(source, arm)
  symbols = _symbols(source.study['data']['classes'], arrays)
  long = bool(symbols) and samples.are_words(source.study['data']['classes'])
  steps = _WORDS if long else _LETTERS if symbols else _STEPS
  strips = _strips(arrays, steps)
  if not strips:
    return None
  shown = strips[0].values.shape[1]
  whole = max(len(arrays[name]) for name in arrays if name.startswith('probe/trace/'))
  rows = max(len(strip.values) for strip in strips)
  below = 0.65 if long else 0.24 if symbols else 0.42
  high = sum(_ROW * len(strip.values) + _GAP for strip in strips)
  fig = canvas.make_figure(0.1 + high - _GAP + below)
  width = canvas.WIDTH - _LEFT - _RIGHT
  top = 0.1
  for strip in strips:
    tall = _ROW * len(strip.values)
    _draw_strip(fig, strip, top, width, tall)
    top += tall + _GAP
  _write_steps(fig, symbols[:shown], long, shown, top - _GAP, width)
  caption = _caption(arm, strips, rows, shown, whole, bool(symbols))
  names = [strip.name for strip in strips]
  alt = f'Values of {formats.listing(names)} in {arm} over {shown} steps.'
  return canvas.finish(fig, 'gates', 'What the gates do', caption, alt)


def _symbols(classes: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> list[str]:
  """The symbols that were read, each visible; empty where numbers were read."""
  ids = np.ravel(arrays.get('probe/trace/text', np.zeros(0, int))).tolist()
  known = [str(name) for name in classes]
  if not known:
    return []
  return [samples.glyph(known[i]) if 0 <= i < len(known) else '\ufffd' for i in ids]


def _strips(arrays: Mapping[str, np.ndarray], steps: int) -> list[_Strip]:
  paths = {name: f'probe/trace/gates/{name}' for name in _GATES}
  paths |= {name: f'probe/trace/{name}' for name in _STATES}
  strips = []
  for name, path in paths.items():
    if path not in arrays or np.ndim(arrays[path]) != 2 or not arrays[path].size:
      continue
    values = np.asarray(arrays[path], float)[:steps, :_UNITS].T  # [U, T]
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    if name not in _SIGNED and values.min() >= 0 and values.max() <= 1:
      strips.append(_Strip(name, values, 1.0, '0 to 1'))
      continue
    reach = float(np.quantile(np.abs(values), 0.995)) or 1.0
    words = f'±{formats.number(reach, 2)}'
    strips.append(_Strip(name, values, reach, words))
  return strips


def _draw_strip(
  fig: figures.Figure, strip: _Strip, top: float, width: float, tall: float
) -> None:
  middle = top + tall / 2
  canvas.write(
    fig, 0.02, middle, strip.name, fontsize=8, weight='bold', color=canvas.INK
  )
  canvas.write(fig, canvas.WIDTH, middle, strip.range, fontsize=7, ha='right')
  ax = canvas.add_axes(fig, _LEFT, top, width, tall)
  zoom = max(1, round(1000 / strip.values.shape[1]))  # browsers would blur the cells
  picture = images.ink(strip.values, strip.reach)
  picture = picture.repeat(max(1, zoom // 2), 0).repeat(zoom, 1)
  ax.imshow(picture, interpolation='none', aspect='auto')
  canvas.bare(ax)


def _write_steps(
  fig: figures.Figure,
  symbols: Sequence[str],
  long: bool,
  shown: int,
  top: float,
  width: float,
) -> None:
  """Below the strips: every symbol, or the number of every so many steps."""
  cell = width / shown
  if symbols:
    look: dict[str, Any] = {'ha': 'center', 'color': canvas.INK, 'fontsize': 7}
    if long:
      look |= {'rotation': 90, 'va': 'top', 'fontsize': 6.5}
    for i, symbol in enumerate(symbols):
      words = formats.clip(symbol, 9)
      place = top + (0.04 if long else 0.11)
      canvas.write(fig, _LEFT + cell * (i + 0.5), place, words, **look)
    return
  axis = panels.count_axis(shown - 1)
  for tick, label in zip(axis.ticks, axis.labels):
    canvas.write(fig, _LEFT + cell * (tick + 0.5), top + 0.1, label, ha='center')
  canvas.write(fig, _LEFT + width / 2, top + 0.28, 'step', ha='center', fontsize=8)


def _caption(
  arm: str, strips: Sequence[_Strip], rows: int, shown: int, whole: int, text: bool
) -> str:
  units = f'first {rows} units' if rows > 1 else 'first unit'
  caption = f'{arm} (first seed) over a test sequence: a row is one of the {units}'
  caption += ', a column a step'
  caption += ' and the symbol read there.' if text else '.'
  if shown < whole:
    caption += f' Shown are the first {shown} of {whole:,} steps.'
  caption += ' Blue: above zero; orange: below; grey: zero. At the right: what full '
  caption += 'colour stands for.'
  return caption
