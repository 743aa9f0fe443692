"""Small multiples: where panels stand, their names, and the legend above them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes, figure, lines

from dlsteroids.analysis import curves as curves_lib
from dlsteroids.report import formats
from dlsteroids.report.figures import canvas, scales

DASHES: tuple[Any, ...] = ((0, (4, 2)), (0, (1, 1.6)), (0, (6, 2, 1, 2)))
_EDGE = 0.08  # inches at the right of the last panel
_LETTER = 0.068  # inches of a letter of 8 points, on average
_LONGEST = 30  # letters of a name in the legend


class Grid(NamedTuple):
  """Equal panels row by row; all lengths in inches.

  Attributes:
    panels: how many there are.
    columns: at most, in a row.
    left: before a row's first panel, for its tick labels.
    gap: between panels side by side.
    top: above the first row.
    height: of a panel.
    pitch: from one row to the next.
    widest: a panel may be.
  """

  panels: int
  columns: int = 4
  left: float = 0.6
  gap: float = 0.22
  top: float = 0.62
  height: float = 1.35
  pitch: float = 1.78
  widest: float = canvas.WIDTH

  @property
  def rows(self) -> int:
    return -(-self.panels // self.columns)

  @property
  def width(self) -> float:
    """Of a panel."""
    columns = min(self.columns, self.panels)
    room = canvas.WIDTH - self.left - self.gap * (columns - 1) - _EDGE
    return min(self.widest, room / columns)

  def corner(self, panel: int) -> tuple[float, float]:
    """Left and top of a panel."""
    row, column = divmod(panel, self.columns)
    return self.left + column * (self.width + self.gap), self.top + row * self.pitch

  def is_first(self, panel: int) -> bool:
    """Whether a panel begins its row."""
    return panel % self.columns == 0

  def add(self, fig: figure.Figure, panel: int) -> axes.Axes:
    """The axes of a panel."""
    return canvas.add_axes(fig, *self.corner(panel), self.width, self.height)

  def name(
    self, fig: figure.Figure, panel: int, words: str, note: str = '', above: float = 0.1
  ) -> None:
    """A panel's name above it, cut to its width, and a note below the name."""
    left, top = self.corner(panel)
    if note:
      canvas.write(fig, left, top - above, note)
      above += 0.17
    words = formats.clip(words, max(14, int(self.width * 14)))
    canvas.write(fig, left, top - above, words, bold=True)


class Key(NamedTuple):
  """An entry of a legend; without `marker` it is a line."""

  name: str
  colour: str
  dashes: Any = 'solid'
  marker: str = ''
  face: str = ''


def write_legend(
  fig: figure.Figure,
  keys: Sequence[Key],
  top: float = 0.16,
  left: float | None = None,
) -> None:
  """Keys side by side, `top` inches down; long names are cut.

  They begin `left` inches from the edge; if None, they end at the right edge.
  """
  wide, high = fig.get_size_inches()
  fits = [n for n in range(4, _LONGEST + 1) if legend_width(keys, n) <= wide]
  letters = max(fits, default=4)
  left = wide - legend_width(keys, letters) + 0.2 if left is None else left
  for key in keys:
    name = formats.clip(key.name, letters)
    ends = [left + 0.2] if key.marker else [left, left + 0.28]
    line = lines.Line2D(np.array(ends) / wide, [1 - top / high] * len(ends))
    line.set(color=key.colour, linewidth=1.4, linestyle=key.dashes)
    line.set(marker=key.marker, markersize=6, markerfacecolor=key.face or key.colour)
    fig.add_artist(line)
    ink = canvas.SOFT if key.colour == canvas.GREY else key.colour
    canvas.write(fig, left + 0.34, top, name, fontsize=8, color=ink)
    left += 0.6 + _LETTER * len(name)


def legend_width(keys: Sequence[Key], letters: int = _LONGEST) -> float:
  """Inches of a legend whose names have at most `letters` letters."""
  return sum(0.6 + _LETTER * min(letters, len(key.name)) for key in keys)


def plot(
  ax: axes.Axes,
  curve: curves_lib.Curve,
  colour: str,
  width: float,
  dashes: Any = 'solid',
) -> None:
  """A line with its band, whose y are positions; a dashed line has no band."""
  ax.plot(curve.x, curve.mean, color=colour, linewidth=width, linestyle=dashes)
  if dashes == 'solid':
    band: dict[str, Any] = {'color': colour, 'alpha': 0.2, 'linewidth': 0}
    ax.fill_between(curve.x, curve.low, curve.high, **band)


def draw(
  title: str,
  curves: Mapping[str, curves_lib.Curve],
  references: Mapping[str, curves_lib.Curve],
  x: scales.Axis,
  y: scales.Axis,
  notes: Mapping[str, str],
) -> figure.Figure:
  """A panel for every arm but the first, which is drawn in grey in each of them.

  Args:
    title: what the axes are.
    curves: by arm, the intact one first; y as positions on `y`.
    references: further lines, equal in all panels; at most as many as `DASHES`.
    x, y: shared by the panels.
    notes: a few words for an arm's panel.
  """
  intact, *others = curves
  keys = [Key(name, canvas.SOFT, dash) for name, dash in zip(references, DASHES)]
  keys.append(Key(intact, canvas.GREY if others else canvas.BLUE))
  keys += [Key('the arm', canvas.BLUE)] if others else []
  beside = legend_width(keys) + _LETTER * len(title) < canvas.WIDTH - 0.4
  down = 0.0 if beside else 0.22  # the legend in a line of its own
  extra = 0.16 * bool(notes)
  grid = Grid(len(others) or 1, top=0.62 + down + extra, pitch=1.78 + extra)
  fig = canvas.make_figure(grid.top + grid.pitch * grid.rows - 0.14)
  canvas.write(fig, 0.02, 0.16, title, fontsize=8)
  write_legend(fig, keys, 0.16 + down)
  for i, arm in enumerate(others or [intact]):
    ax = grid.add(fig, i)
    scales.apply(ax, x, y, label_y=grid.is_first(i))
    for curve, dash in zip(references.values(), DASHES):
      plot(ax, curve, canvas.SOFT, 0.9, dash)
    if others:
      ax.plot(curves[intact].x, curves[intact].mean, color=canvas.GREY, linewidth=1.2)
    plot(ax, curves[arm], canvas.BLUE, 1.6)
    grid.name(fig, i, arm, notes.get(arm, ''))
  return fig
