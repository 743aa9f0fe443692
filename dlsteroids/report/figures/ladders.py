"""Ladders of compute: error against FLOPs, the intact arm beside the ablated one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.analysis import gains
from dlsteroids.report import facts, formats, gain_words
from dlsteroids.report.figures import canvas, scales
from dlsteroids.report.figures import panels as panels_lib

_COLUMNS = 3
_LEFT = 0.62  # inches before a row's first panel, for its labels
_GAP = 0.26
_HIGH = (2.3, 1.9, 1.5)  # of a panel, by how many stand in a row
_TOP = 0.55  # above the first panels
_HEAD = 0.4  # above every panel, for its name and its gain
_FOOT = 0.34  # below it, for its labels
_PARTS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
_TITLE = 0.34  # above an axis' panels, where there are two axes
UP = (gains.NEVER, gains.INTACT_AT_ONCE)  # the gain is more than shown
DOWN = (gains.ABLATED_AT_ONCE,)  # it is less

Row = Mapping[str, Any]


class Panel(NamedTuple):
  """A contrast's two ladders, and the gain that is marked between them."""

  intact: gains.Ladder
  ablated: gains.Ladder
  row: Row


class Grid(NamedTuple):
  """How many panels stand in a row, and their size in inches."""

  columns: int
  width: float
  high: float

  def left(self, column: int) -> float:
    """Inches from the figure's edge to a column."""
    return _LEFT + column * (self.width + _GAP)


def make_grid(count: int) -> Grid:
  """The grid of so many panels."""
  columns = min(_COLUMNS, count)
  width = (canvas.WIDTH - _LEFT - _GAP * (columns - 1) - 0.08) / columns
  return Grid(columns, width, _HIGH[columns - 1])


def name_panel(study: Mapping[str, Any], row: Row) -> str:
  """What is ablated: 'norm=none', or the arm's name if that is no factor's level."""
  known = {factor['name'] for factor in study['factors']}
  arm = next(arm for arm in study['arms'] if arm['name'] == row['ablated'])
  level = dict(arm['assignment']).get(row['factor'])
  return f'{row["factor"]}={level}' if row['factor'] in known and level else arm['name']


def draw_ladders(
  study: Mapping[str, Any], all_runs: pd.DataFrame | None, found: gains.Gains
) -> canvas.Drawing | None:
  """Error against training FLOPs of the intact and the ablated arm, by contrast.

  Args:
    study: the content of study.json.
    all_runs: the runs of every condition.
    found: their gains, of separate runs.

  Returns:
    None if there are no gains of separate runs.
  """
  if all_runs is None:
    return None
  groups: dict[str, list[Panel]] = {}
  for axis in gains.AXES:
    picked = gain_words.pick(found.frame[found.frame['axis'] == axis])
    if picked:
      known, _ = gains.collect_ladders(study, all_runs, axis)
      groups[axis] = [
        Panel(known[row['intact']], known[row['ablated']], row) for row in picked
      ]
  if not groups:
    return None
  yard = gains.deciding_scale(study, all_runs)
  grid = make_grid(max(map(len, groups.values())))
  titled = _TITLE * (len(groups) > 1)
  pitch = _HEAD + grid.high + _FOOT
  rows = {axis: -(-len(panels) // grid.columns) for axis, panels in groups.items()}
  fig = canvas.make_figure(
    _TOP + sum(titled + pitch * count for count in rows.values())
  )
  _write_heading(fig, study, yard)
  top = _TOP
  for axis, panels in groups.items():
    if titled:
      look: dict[str, Any] = {'fontsize': 8.5, 'color': canvas.INK}
      canvas.write(fig, 0.02, top + 0.16, _title(study, axis), **look)
    _draw_group(fig, study, panels, yard, top + titled, grid)
    top += titled + pitch * rows[axis]
  told = [panel.row for panels in groups.values() for panel in panels]
  caption, alt = _caption(yard, told), _alt(study, told)
  return canvas.finish(fig, 'ladders', 'Error against compute', caption, alt)


def _title(study: Mapping[str, Any], axis: str) -> str:
  regime = {'steps': 'steps', 'flops': 'FLOPs', 'params': 'parameters'}
  what = 'Longer runs' if axis == 'budget' else 'Wider models'
  return f'{what}, equal {regime[study["regime"] if axis == "budget" else "steps"]}'


def _write_heading(
  fig: figures.Figure, study: Mapping[str, Any], yard: gains.Scale
) -> None:
  how = ', both logarithmic' if yard.logarithmic else ', logarithmic'
  what = f'{_error_words(study, yard)} against training FLOPs (nominal){how}'
  canvas.write(fig, 0.02, 0.14, what, fontsize=8)
  keys = [
    panels_lib.Entry('intact', canvas.GREY),
    panels_lib.Entry('ablated', canvas.BLUE),
    panels_lib.Entry('the gain at a target', canvas.ORANGE),
  ]
  panels_lib.write_keys(fig, keys, 0.37)


def _error_words(study: Mapping[str, Any], yard: gains.Scale) -> str:
  """What the axis shows: 'test error' for accuracies, else the metric."""
  if formats.is_share(yard.column) and yard.higher:
    return f'{yard.column.split("/")[0]} error'
  return facts.words(study, yard.column)


def _spread(ladder: gains.Ladder) -> tuple[np.ndarray, np.ndarray]:
  """10th and 90th percentile of the seeds' errors, by rung."""
  low, high = np.nanquantile(ladder.errors, [0.1, 0.9], axis=0)
  return low, high


def _draw_group(
  fig: figures.Figure,
  study: Mapping[str, Any],
  panels: Sequence[Panel],
  yard: gains.Scale,
  top: float,
  grid: Grid,
) -> None:
  """The panels of one axis, on the same scales."""
  arms = [ladder for panel in panels for ladder in (panel.intact, panel.ablated)]
  wanted = [float(yard.error(panel.row['target'])) for panel in panels]
  ends = [errors for ladder in arms for errors in (*_spread(ladder), ladder.means)]
  x = _log_axis(np.concatenate([ladder.flops for ladder in arms]), grid.width)
  y = _error_axis(yard, np.concatenate([*ends, wanted]), grid.high)
  for i, panel in enumerate(panels):
    row, column = divmod(i, grid.columns)
    left, above = grid.left(column), top + row * (_HEAD + grid.high + _FOOT)
    write_name(fig, study, panel.row, left, above + 0.12, grid.width)
    words = f'{gain_words.describe(panel.row)} at {_name_target(yard, panel.row)}'
    canvas.write(fig, left, above + 0.29, words, fontsize=8)
    ax = canvas.add_axes(fig, left, above + _HEAD, grid.width, grid.high)
    frame(ax, x, y, named=column == 0)
    _draw_arm(ax, panel.intact, yard, canvas.GREY, -0.006)
    _draw_arm(ax, panel.ablated, yard, canvas.BLUE, 0.006)
    _draw_gain(ax, panel, yard)


def _name_target(yard: gains.Scale, row: Row) -> str:
  """The target as the axis shows it: '5.00 % error', '1.4021'."""
  target = float(row['target'])
  if yard.higher and formats.is_share(yard.column):
    return f'{formats.value(yard.column, float(yard.error(target)))} error'
  return formats.value(yard.column, target)


def write_name(
  fig: figures.Figure,
  study: Mapping[str, Any],
  row: Row,
  left: float,
  top: float,
  width: float,
) -> None:
  """A panel's name above it, cut to its width."""
  name = formats.clip(name_panel(study, row), max(16, int(width * 13)))
  look: dict[str, Any] = {'color': canvas.INK, 'weight': 'bold', 'fontsize': 8.5}
  canvas.write(fig, left, top, name, **look)


def frame(
  ax: axes.Axes, x: panels_lib.Axis, y: panels_lib.Axis, *, named: bool
) -> None:
  """Limits, ticks and a grid; labels at the left only where named."""
  ax.set_xlim(*x.limits)
  ax.set_ylim(*y.limits)
  ax.set_xticks(x.ticks, x.labels)
  ax.set_yticks(y.ticks, y.labels if named else [])
  ax.grid(axis='both')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  ax.spines['left'].set_visible(False)


def _log_axis(flops: np.ndarray, width: float) -> panels_lib.Axis:
  """FLOPs by their common logarithm, with as many labels as have room."""
  low, high = float(flops.min()), float(flops.max())
  ticks = log_ticks(low, high)
  places = np.log10([low, high])
  air = 0.06 * np.ptp(places) or 0.1
  kept = part(np.log10(ticks), (np.ptp(places) + 2 * air) * 0.42 / width)
  labels = [formats.tick(10**place) for place in kept]
  return panels_lib.Axis((places[0] - air, places[1] + air), kept, labels)


def log_ticks(low: float, high: float) -> list[float]:
  """Three or more round numbers on a log axis; evenly spaced where it spans little."""
  decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for parts in _PARTS:
    ticks = [part * 10.0**decade for decade in decades for part in parts]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) >= 3:
      return ticks
  return scales.make_linear('').ticks(low, high)[0]


def part(places: Any, room: float) -> list[float]:
  """The places, rising, that stand at least `room` from the last one kept."""
  kept: list[float] = []
  for place in np.asarray(places, float).tolist():
    if not kept or place - kept[-1] >= room:
      kept.append(place)
  return kept


def _error_axis(yard: gains.Scale, errors: np.ndarray, high: float) -> panels_lib.Axis:
  """Errors by their places; of other metrics the values, better ones upwards."""
  places = yard.place(errors)
  air = 0.06 * float(np.ptp(places)) or 0.1
  limits = float(places.min()) - air, float(places.max()) + air
  share = formats.is_share(yard.column)
  metric = 'error_rate' if share else yard.column
  if yard.logarithmic:
    ends = np.exp(limits) - yard.shift
    least = max(float(ends[0]), yard.shift or float(errors.min()))
    ticks = log_ticks(least, max(float(ends[1]), 1.5 * least))
    ticks = [tick for tick in ticks if not share or tick <= 1]
  else:
    values = errors if share else yard.value(errors)
    ticks, _ = scales.make_linear(metric).ticks(
      float(values.min()), float(values.max())
    )
  turn = yard.higher and not share
  known = {float(yard.place(-tick if turn else tick)): tick for tick in ticks}
  kept = part(sorted(known), (limits[1] - limits[0]) * 0.17 / high)
  labels = [label(metric, known[place]) for place in kept]
  return panels_lib.Axis(limits[::-1] if turn else limits, kept, labels)


def label(metric: str, tick: float) -> str:
  """A tick of a metric: '5 %', '0.2'."""
  if formats.is_share(metric):
    return f'{100 * tick:.6g}{formats.THIN}%'
  return f'{tick:.6g}'.replace('-', formats.MINUS)


def _draw_arm(
  ax: axes.Axes,
  ladder: gains.Ladder,
  yard: gains.Scale,
  colour: str,
  aside: float,
) -> None:
  """The fit as a line, means as dots, the spread of seeds as bars a little aside."""
  x = np.log10(ladder.flops)
  low, high = ax.get_xlim()
  beside = x + aside * (high - low)
  ends = np.stack([yard.place(end) for end in _spread(ladder)])
  ax.plot(np.stack([beside, beside]), ends, color=colour, linewidth=3, alpha=0.25)
  # the first arm's dots look out behind the second's where both are alike
  size = 5 if aside < 0 else 3.6
  ax.plot(x, yard.place(ladder.means), 'o', color=colour, markersize=size)
  fit = yard.place(gains.isotonic(ladder.means))
  ax.plot(x, fit, color=colour, linewidth=1.4)


def _draw_gain(ax: axes.Axes, panel: Panel, yard: gains.Scale) -> None:
  """From the intact arm's cost at the target to the ablated one's."""
  row = panel.row
  y = float(yard.place(yard.error(row['target'])))
  thin: dict[str, Any] = {'color': canvas.ORANGE, 'linewidth': 0.8}
  ax.axhline(y, linestyle=(0, (1, 2.5)), **thin)
  if row['censored'] in gains.WITHOUT_NUMBER:
    return
  never = row['censored'] == gains.NEVER
  last = float(panel.ablated.flops[-1])
  ends = np.log10([row['cost_intact'], last if never else row['cost_ablated']])
  ax.plot(ends, [y, y], color=canvas.ORANGE, linewidth=1.8, zorder=3)
  marks = ['|', '>' if never else '|']
  if row['censored'] == gains.INTACT_AT_ONCE:
    marks[0] = '<'
  if row['censored'] == gains.ABLATED_AT_ONCE:
    marks[1] = '<'
  for end, mark in zip(ends, marks):
    look: dict[str, Any] = {'markersize': 7 if mark == '|' else 5, 'zorder': 3}
    ax.plot(end, y, mark, color=canvas.ORANGE, markeredgewidth=1.4, **look)


def _caption(yard: gains.Scale, rows: Sequence[Row]) -> str:
  better = 'upwards' if yard.higher and not formats.is_share(yard.column) else 'lower'
  words = [
    'Dots: means over seeds, each run with its full schedule; bars: 10th to 90th '
    'percentile of the seeds; lines: the isotonic fit from which gains are read. '
    'Orange: from the compute of the intact arm to that of the ablated one at the '
    f'target named above the panel. Better is {better}.'
  ]
  if any(row['censored'] in UP or row['censored'] in DOWN for row in rows):
    words.append('An arrowhead: beyond the runs that were made.')
  if any(row['censored'] in gains.WITHOUT_NUMBER for row in rows):
    words.append('Dotted alone: no gain can be told there.')
  return ' '.join(words)


def _alt(study: Mapping[str, Any], rows: Sequence[Row]) -> str:
  parts = [
    f'{name_panel(study, row)} {gain_words.describe(row)} at '
    f'{formats.value(str(row["metric"]), float(row["target"]))}'
    for row in rows
  ]
  return f'Error against training FLOPs; compute-equivalent gains: {"; ".join(parts)}.'
