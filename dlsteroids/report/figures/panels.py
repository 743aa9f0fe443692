"""Lines of all arms in small panels, an arm in each beside the intact one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes, lines
from matplotlib import figure as figures

from dlsteroids.report import formats
from dlsteroids.report.figures import canvas, scales
from dlsteroids.report.figures import curves as curves_lib

_COLUMNS = 4
_LEFT = 0.6
_GAP = 0.22
_HIGH = 1.35
_PITCH = 1.78
_TOP = 0.62
_NAME = 26  # letters of a line's name
_LETTER = 0.068  # inches of a letter of 8 points, on average
DASHES: tuple[Any, ...] = ((0, (4, 2)), (0, (1, 1.6)), (0, (6, 2, 1, 2)))


class Axis(NamedTuple):
  """Where an axis begins and ends, and its labelled ticks."""

  limits: tuple[float, float]
  ticks: Sequence[float]
  labels: Sequence[str]


class Entry(NamedTuple):
  """A line's key: its name, colour and dashes."""

  name: str
  colour: str
  dashes: Any = 'solid'


def count_axis(high: float, low: float = 0.0) -> Axis:
  """An axis of whole numbers, such as steps."""
  ticks, _ = scales.make_linear('').ticks(low, high)
  ticks = [tick for tick in ticks if float(tick).is_integer()]
  labels = [f'{int(tick):,}'.replace('-', formats.MINUS) for tick in ticks]
  air = 0.02 * (high - low) or 0.5
  return Axis((low - air, high + air), ticks, labels)


def draw(
  title: str,
  curves: Mapping[str, curves_lib.Curve],
  beside: Mapping[str, curves_lib.Curve],
  x: Axis,
  y: Axis,
  notes: Mapping[str, str],
) -> figures.Figure:
  """A panel for every arm but the first, which stands behind each of them.

  Args:
    title: what the axes are, written on top.
    curves: by arm, the intact one first; y as positions on `y`.
    beside: further lines, the same in every panel; at most as many as `DASHES`.
    x, y: shared by the panels.
    notes: a few words for an arm's panel.
  """
  intact, *others = curves
  arms = others or [intact]
  columns = min(_COLUMNS, len(arms))
  rows = -(-len(arms) // columns)
  keys = [Entry(name, canvas.SOFT, dash) for name, dash in zip(beside, DASHES)]
  keys.append(Entry(intact, canvas.GREY if others else canvas.BLUE))
  keys += [Entry('the arm', canvas.BLUE)] if others else []
  down = 0.0 if _wide(keys) + _LETTER * len(title) < canvas.WIDTH - 0.4 else 0.22
  top = _TOP + down
  top += 0.16 * bool(notes)
  pitch = _PITCH + 0.16 * bool(notes)
  fig = canvas.make_figure(top + pitch * rows - 0.14)
  width = (canvas.WIDTH - _LEFT - _GAP * (columns - 1) - 0.08) / columns
  canvas.write(fig, 0.02, 0.16, title, fontsize=8)
  write_keys(fig, keys, 0.16 + down)
  for i, arm in enumerate(arms):
    row, column = divmod(i, columns)
    box = _LEFT + column * (width + _GAP), top + pitch * row, width, _HIGH
    ax = canvas.add_axes(fig, *box)
    _frame(ax, x, y, named=column == 0)
    for curve, dash in zip(beside.values(), DASHES):
      ax.plot(curve.x, curve.mean, color=canvas.SOFT, linewidth=0.9, linestyle=dash)
    if others:
      ax.plot(curves[intact].x, curves[intact].mean, color=canvas.GREY, linewidth=1.2)
    curves_lib.plot(ax, curves[arm], scales.make_linear(''), canvas.BLUE, 1.6)
    clipped = formats.clip(arm, max(16, int(width * 14)))
    look: dict[str, Any] = {'color': canvas.INK, 'weight': 'bold', 'fontsize': 8}
    ax.set_title(clipped, loc='left', pad=18 if notes else 6, **look)
    canvas.write(fig, box[0], box[1] - 0.12, notes.get(arm, ''), fontsize=7)
  return fig


def _frame(ax: axes.Axes, x: Axis, y: Axis, *, named: bool) -> None:
  ax.set_xlim(*x.limits)
  ax.set_ylim(*y.limits)
  ax.set_xticks(x.ticks, x.labels)
  ax.set_yticks(y.ticks, y.labels if named else [])
  ax.grid(axis='y')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  ax.spines['left'].set_visible(False)


def _wide(keys: Sequence[Entry], letters: int = _NAME) -> float:
  """Inches that `write_keys` takes for names of at most so many letters."""
  return sum(0.6 + _LETTER * min(letters, len(key.name)) for key in keys)


def write_keys(fig: figures.Figure, keys: Sequence[Entry], top: float) -> None:
  """A line's name beside a piece of it, up to the right edge; long names are cut."""
  wide, high = fig.get_size_inches()
  fits = [n for n in range(4, _NAME + 1) if _wide(keys, n) <= canvas.WIDTH]
  letters = max(fits, default=4)
  left = canvas.WIDTH - _wide(keys, letters) + 0.2
  for key in keys:
    name = formats.clip(key.name, letters)
    ends = np.array([left, left + 0.28]) / wide
    line = lines.Line2D(ends, [1 - top / high] * 2, color=key.colour, linewidth=1.4)
    line.set_linestyle(key.dashes)
    fig.add_artist(line)
    ink = canvas.SOFT if key.colour == canvas.GREY else key.colour
    canvas.write(fig, left + 0.34, top, name, fontsize=8, color=ink)
    left += 0.6 + _LETTER * len(name)
