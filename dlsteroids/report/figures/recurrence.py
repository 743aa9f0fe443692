"""Recurrent networks: how far gradients reach back, and what gates do meanwhile."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import figure

from dlsteroids.analysis import curves as curves_lib
from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks, formats, samples
from dlsteroids.report.figures import canvas, panels, scales, tiles

_DECADES = 8  # of gradient norms; below them it makes no difference
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
_WIDTH = canvas.WIDTH - _LEFT - 0.62  # inches of a strip


def draw_lag(source: summary.Source) -> blocks.Drawing | None:
  """How the gradient of the last step's loss fades with the lag, arm by arm."""
  norms = {
    arm: np.ravel(array).astype(float)
    for arm, array in probes.by_arm(source, 'probe/lag/norms').items()
    if np.size(array) > 1 and np.isfinite(array).all() and np.max(array) > 0
  }
  if not norms:
    return None
  largest = max(float(norm.max()) for norm in norms.values())
  floor = largest * 10.0**-_DECADES
  lowest = min(float(norm[norm > floor].min()) for norm in norms.values())
  cut = any(float(norm.min()) < floor for norm in norms.values())
  curves = {}
  for arm, norm in norms.items():
    level = np.log10(np.maximum(norm, 1e-3 * floor))  # leaves through the frame
    curves[arm] = curves_lib.Curve(np.arange(len(norm)), level, level, level)
  lags = {arm: probes.fading_lag(norm) for arm, norm in norms.items()}
  notes = {
    arm: 'above 1 % to the end' if lag is None else f'below 1 % from lag {lag:,}'
    for arm, lag in lags.items()
  }
  x = scales.count_axis(max(map(len, norms.values())) - 1)
  y = _decade_axis(floor if cut else lowest, largest)
  title = 'gradient norm against lag (steps back from the last)'
  fig = panels.draw(title, curves, {}, x, y, notes)
  intact = next(iter(norms))
  caption = (
    'Norm of the gradient of the last step’s loss by the input that many steps '
    f'earlier, mean over a few test sequences ({probes.name_runs(source)}); '
    'logarithmic scale. In words: up to which lag it reaches 1 % of its largest value'
  )
  caption += f' (in {intact}: {notes[intact]}).' if len(norms) > 1 else '.'
  if cut:
    caption += f' Cut {_DECADES} decades below the largest.'
  parts = '; '.join(f'{arm} {note}' for arm, note in notes.items())
  alt = f'Gradient norm against lag, in shares of its largest: {parts}.'
  return canvas.finish(fig, 'lag', 'How far back the gradient reaches', caption, alt)


def _decade_axis(low: float, high: float) -> scales.Axis:
  """A logarithmic axis with at most six ticks, at powers of ten."""
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  every = max(1, -(-(last - first) // 5))
  ticks = list(range(last, first - 1, -every))[::-1]
  superscripts = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')
  labels = [f'10{str(tick).translate(superscripts)}' for tick in ticks]
  air = 0.04 * (last - first) or 0.5
  return scales.Axis((first - air, last + air), ticks, labels)


class _Strip(NamedTuple):
  """A gate's or state's values over the steps [U, T], as drawn."""

  name: str
  values: np.ndarray
  reach: float
  range: str

  @property
  def height(self) -> float:
    """Inches."""
    return _ROW * len(self.values)


def draw_gates(source: summary.Source) -> blocks.Drawing | None:
  """The intact arm's gates and state over a real test sequence, a strip each."""
  arm, classes = summary.intact_arm(source.study), source.study.data.classes
  arrays = probes.of(source, arm)
  symbols = _symbols(classes, arrays)
  words = bool(symbols) and samples.are_words([str(name) for name in classes])
  strips = _strips(arrays, _WORDS if words else _LETTERS if symbols else _STEPS)
  if not strips:
    return None
  shown = strips[0].values.shape[1]
  total = max(len(arrays[name]) for name in arrays if name.startswith('probe/trace/'))
  below = 0.65 if words else 0.24 if symbols else 0.42
  height = sum(strip.height + _GAP for strip in strips) - _GAP
  fig = canvas.make_figure(0.1 + height + below)
  top = 0.1
  for strip in strips:
    middle = top + strip.height / 2
    canvas.write(fig, 0.02, middle, strip.name, bold=True)
    canvas.write(fig, canvas.WIDTH, middle, strip.range, fontsize=7, ha='right')
    zoom = max(1, round(1000 / shown))  # browsers would blur the cells
    image = tiles.colour_signed(strip.values, strip.reach)
    image = image.repeat(max(1, zoom // 2), 0).repeat(zoom, 1)
    canvas.show_image(fig, image, _LEFT, top, _WIDTH, strip.height)
    top += strip.height + _GAP
  _write_steps(fig, symbols[:shown], shown, top - _GAP, words=words)
  rows = max(len(strip.values) for strip in strips)
  caption = (
    f'{arm} ({probes.name_runs(source)}) over a test sequence: a row is one of the '
    f'{f"first {rows} units" if rows > 1 else "first unit"}, a column a step'
    f'{" and the symbol read there" if symbols else ""}.'
  )
  if shown < total:
    caption += f' Shown are the first {shown} of {total:,} steps.'
  caption += (
    ' Blue: above zero; orange: below; grey: zero. At the right: what full colour '
    'stands for.'
  )
  names = formats.listing([strip.name for strip in strips])
  alt = f'Values of {names} in {arm} over {shown} steps.'
  return canvas.finish(fig, 'gates', 'What the gates do', caption, alt)


def _symbols(classes: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> list[str]:
  """The symbols that were read, each visible; empty where numbers were read."""
  ids = np.ravel(arrays.get('probe/trace/text', np.zeros(0, int))).tolist()
  names = [str(name) for name in classes]
  if not names:
    return []
  return [samples.glyph(names[i]) if 0 <= i < len(names) else '\ufffd' for i in ids]


def _strips(arrays: Mapping[str, np.ndarray], steps: int) -> list[_Strip]:
  """The stored gates and states, cut to a few units and `steps` steps."""
  paths = {name: f'probe/trace/gates/{name}' for name in _GATES}
  paths |= {name: f'probe/trace/{name}' for name in _STATES}
  strips = []
  for name, path in paths.items():
    if path not in arrays or np.ndim(arrays[path]) != 2 or not arrays[path].size:
      continue
    values = np.asarray(arrays[path], float)[:steps, :_UNITS].T  # [U, T]
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    reach, words = 1.0, '0 to 1'
    if name in _SIGNED or values.min() < 0 or values.max() > 1:
      reach = float(np.quantile(np.abs(values), 0.995)) or 1.0
      words = f'±{formats.number(reach, 2)}'
    strips.append(_Strip(name, values, reach, words))
  return strips


def _write_steps(
  fig: figure.Figure, symbols: Sequence[str], shown: int, top: float, *, words: bool
) -> None:
  """Below the strips: every symbol, or the number of some of the steps."""
  cell = _WIDTH / shown
  for i, symbol in enumerate(symbols):
    look: dict[str, Any] = {'ha': 'center', 'color': canvas.INK, 'fontsize': 7}
    if words:
      look |= {'rotation': 90, 'va': 'top', 'fontsize': 6.5}
    place = top + (0.04 if words else 0.11)
    canvas.write(fig, _LEFT + cell * (i + 0.5), place, formats.clip(symbol, 9), **look)
  if not symbols:
    axis = scales.count_axis(shown - 1)
    for tick, label in zip(axis.ticks, axis.labels):
      canvas.write(fig, _LEFT + cell * (tick + 0.5), top + 0.1, label, ha='center')
    canvas.write(fig, _LEFT + _WIDTH / 2, top + 0.28, 'step', ha='center', fontsize=8)
