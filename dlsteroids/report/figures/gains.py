"""Compute-equivalent gains: the ladders they are read from, and gains by target."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes, figure

from dlsteroids.analysis import curves as curves_lib
from dlsteroids.analysis import gains as gains_lib
from dlsteroids.analysis import looks
from dlsteroids.report import blocks, facts, formats, regimes
from dlsteroids.report import gains as gain_words
from dlsteroids.report.figures import canvas, panels, scales
from dlsteroids.study import study as study_lib

_HEIGHTS = (2.3, 1.9, 1.5)  # inches of a panel, by how many stand in a row
_NAME = 0.26  # inches above a panel for its name
_NOTE = 0.14  # and for a line below that
_FOOT = 0.34  # inches below a panel for its labels
_TITLE = 0.34  # inches above a group of panels for its title
_ARROW = 10  # points
_UPWARDS = (gains_lib.NEVER, gains_lib.INTACT_AT_ONCE)  # the gain is more than shown
_DOWNWARDS = (gains_lib.ABLATED_AT_ONCE,)  # it is less
_AXES = {
  'budget': ('longer runs', canvas.BLUE),
  'size': ('wider models', canvas.ORANGE),
  gains_lib.ANYTIME: ('anytime, within runs', canvas.VIOLET),
}

Row = Mapping[str, Any]


class _Panel(NamedTuple):
  """A contrast's two ladders, and the gain that is marked between them."""

  intact: gains_lib.Ladder
  ablated: gains_lib.Ladder
  row: Row


def _make_grid(count: int, top: float, above: float, columns: int = 3) -> panels.Grid:
  """A grid of `count` panels in at most three columns, fewer ones higher."""
  columns = min(columns, count)
  height = _HEIGHTS[columns - 1]
  pitch = above + height + _FOOT
  return panels.Grid(count, columns, 0.62, 0.26, top + above, height, pitch)


def name_panel(study: study_lib.Study, row: Row) -> str:
  """What is ablated: 'norm=none', or the arm's name if that is not a factor's level."""
  level = dict(study.arm(row['ablated']).assignment).get(row['factor'])
  is_factor = any(factor.name == row['factor'] for factor in study.factors)
  return f'{row["factor"]}={level}' if is_factor and level else row['ablated']


def draw_ladders(
  study: study_lib.Study, runs: pd.DataFrame | None, gains: gains_lib.Gains
) -> blocks.Drawing | None:
  """Error against training FLOPs of the intact and the ablated arm, by contrast.

  Args:
    study: what was compared.
    runs: of every condition.
    gains: of separate runs.

  Returns:
    None if there are no gains of separate runs.
  """
  if runs is None:
    return None
  groups: dict[str, list[_Panel]] = {}
  for axis in gains_lib.AXES:
    rows = gain_words.pick(gains.frame[gains.frame['axis'] == axis])
    if rows:
      by_arm, _ = gains_lib.collect_ladders(study, runs, axis)
      groups[axis] = [
        _Panel(by_arm[row['intact']], by_arm[row['ablated']], row) for row in rows
      ]
  if not groups:
    return None
  error_scale = gains_lib.deciding_scale(study, runs)
  columns = min(3, max(map(len, groups.values())))
  titled = _TITLE * (len(groups) > 1)
  grids, top = [], 0.55
  for items in groups.values():
    above = _NAME + _NOTE
    grid = _make_grid(len(items), top + titled, above, columns)
    grids.append(grid)
    top += titled + grid.pitch * grid.rows
  fig = canvas.make_figure(top)
  how = ', both logarithmic' if error_scale.logarithmic else ', logarithmic'
  what = f'{name_error(study, error_scale)} against training FLOPs (nominal){how}'
  canvas.write(fig, 0.02, 0.14, what, fontsize=8)
  keys = [
    *map(panels.Key, _name_sides(study), (canvas.GREY, canvas.BLUE)),
    panels.Key('the gain at a target', canvas.ORANGE),
  ]
  panels.write_legend(fig, keys, 0.37)
  for (axis, items), grid in zip(groups.items(), grids):
    if titled:
      what = 'Longer runs' if axis == 'budget' else 'Wider models'
      equal = regimes.WORDS[study.regime if axis == 'budget' else 'steps']
      place = grid.top - _NAME - _NOTE - titled + 0.16
      look: dict[str, Any] = {'fontsize': 8.5, 'color': canvas.INK}
      canvas.write(fig, 0.02, place, f'{what}, {equal}', **look)
    _draw_ladder_panels(fig, study, items, error_scale, grid)
  panel_rows = [panel.row for items in groups.values() for panel in items]
  parts = [
    f'{name_panel(study, row)} {gain_words.describe(row)} at '
    f'{formats.value(str(row["metric"]), float(row["target"]))}'
    for row in panel_rows
  ]
  alt = f'Error against training FLOPs; compute-equivalent gains: {"; ".join(parts)}.'
  caption = _explain_ladders(study, error_scale, panel_rows)
  return canvas.finish(fig, 'ladders', 'Error against compute', caption, alt)


def _name_sides(study: study_lib.Study) -> tuple[str, str]:
  """What the arms of a contrast are called: the one with the component, the other."""
  kinds = {contrast.kind for contrast in study.contrasts}
  if 'add' in kinds:
    return 'arm with the component', 'arm without it'
  return 'intact arm', 'changed arm' if kinds == {'swap'} else 'ablated arm'


def name_error(study: study_lib.Study, error_scale: gains_lib.Scale) -> str:
  """What the axis shows: 'test error' for accuracies, else the metric."""
  if formats.is_share(error_scale.column) and error_scale.higher:
    return f'{error_scale.column.split("/")[0]} error'
  return facts.words(study, error_scale.column)


def _draw_ladder_panels(
  fig: figure.Figure,
  study: study_lib.Study,
  items: Sequence[_Panel],
  error_scale: gains_lib.Scale,
  grid: panels.Grid,
) -> None:
  """The panels over budgets or over widths, on the same scales."""
  arms = [ladder for panel in items for ladder in (panel.intact, panel.ablated)]
  targets = [float(error_scale.error(panel.row['target'])) for panel in items]
  ends = [
    errors
    for ladder in arms
    for errors in (*curves_lib.spread(ladder.errors), ladder.means)
  ]
  x = flops_axis(np.concatenate([ladder.flops for ladder in arms]), grid.width)
  y = error_axis(error_scale, np.concatenate([*ends, targets]), grid.height)
  for i, panel in enumerate(items):
    target = float(panel.row['target'])
    goal = formats.value(error_scale.column, target)
    if error_scale.higher and formats.is_share(error_scale.column):
      error = float(error_scale.error(target))
      goal = f'{formats.value(error_scale.column, error)} error'
    note = f'{gain_words.describe(panel.row)} at {goal}'
    grid.name(fig, i, name_panel(study, panel.row), note)
    ax = grid.add(fig, i)
    scales.apply(ax, x, y, label_y=grid.is_first(i))
    ax.grid(axis='both')
    _plot_ladder(ax, panel.intact, error_scale, canvas.GREY, -0.006)
    _plot_ladder(ax, panel.ablated, error_scale, canvas.BLUE, 0.006)
    _mark_gain(ax, panel, error_scale)


def flops_axis(flops: np.ndarray, width: float) -> scales.Axis:
  """FLOPs by their common logarithm, with as many labels as have room."""
  low, high = float(flops.min()), float(flops.max())
  places = np.log10([low, high])
  air = 0.06 * np.ptp(places) or 0.1
  room = (np.ptp(places) + 2 * air) * 0.42 / width
  ticks = scales.thin_out(np.log10(scales.log_ticks(low, high)), room)
  labels = [formats.tick(10**tick) for tick in ticks]
  return scales.Axis((places[0] - air, places[1] + air), ticks, labels)


def error_axis(
  error_scale: gains_lib.Scale, errors: np.ndarray, height: float
) -> scales.Axis:
  """Errors by their places; of other metrics the values, better ones upwards."""
  places = error_scale.place(errors)
  air = 0.06 * float(np.ptp(places)) or 0.1
  limits = float(places.min()) - air, float(places.max()) + air
  share = formats.is_share(error_scale.column)
  if error_scale.logarithmic:
    ends = np.exp(limits) - error_scale.shift
    least = max(float(ends[0]), error_scale.shift or float(errors.min()))
    ticks = scales.log_ticks(least, max(float(ends[1]), 1.5 * least))
    ticks = [tick for tick in ticks if not share or tick <= 1]
  else:
    values = errors if share else error_scale.value(errors)
    ticks = scales.linear_ticks(float(values.min()), float(values.max()))
  turned = error_scale.higher and not share
  by_place = {float(error_scale.place(-t if turned else t)): t for t in ticks}
  room = (limits[1] - limits[0]) * 0.17 / height
  shown = scales.thin_out(sorted(by_place), room)
  metric = 'error_rate' if share else error_scale.column
  labels = [scales.label(metric, by_place[place]) for place in shown]
  return scales.Axis(limits[::-1] if turned else limits, shown, labels)


def _plot_ladder(
  ax: axes.Axes,
  ladder: gains_lib.Ladder,
  error_scale: gains_lib.Scale,
  colour: str,
  aside: float,
) -> None:
  """The fit as a line, means as dots, the spread of seeds as bars a little aside."""
  x = np.log10(ladder.flops)
  low, high = ax.get_xlim()
  beside = x + aside * (high - low)
  ends = np.stack([error_scale.place(end) for end in curves_lib.spread(ladder.errors)])
  ax.plot(np.stack([beside, beside]), ends, color=colour, linewidth=3, alpha=0.25)
  # The first arm's dots show behind the second's where both are alike.
  size = 5 if aside < 0 else 3.6
  ax.plot(x, error_scale.place(ladder.means), 'o', color=colour, markersize=size)
  fit = error_scale.place(gains_lib.isotonic(ladder.means))
  ax.plot(x, fit, color=colour, linewidth=1.4)


def _mark_gain(ax: axes.Axes, panel: _Panel, error_scale: gains_lib.Scale) -> None:
  """From the intact arm's cost at the target to the ablated one's."""
  row, censored = panel.row, panel.row['censored']
  y = float(error_scale.place(error_scale.error(row['target'])))
  dots: Any = (0, (1, 2.5))
  ax.axhline(y, linestyle=dots, color=canvas.ORANGE, linewidth=0.8)
  if censored in gains_lib.WITHOUT_NUMBER:
    return
  never = censored == gains_lib.NEVER
  last = float(panel.ablated.flops[-1])
  ends = np.log10([row['cost_intact'], last if never else row['cost_ablated']])
  ax.plot(ends, [y, y], color=canvas.ORANGE, linewidth=1.8, zorder=3)
  marks = (
    '<' if censored == gains_lib.INTACT_AT_ONCE else '|',
    '>' if never else '<' if censored == gains_lib.ABLATED_AT_ONCE else '|',
  )
  for end, mark in zip(ends, marks):
    look: dict[str, Any] = {'markersize': 7 if mark == '|' else 5, 'zorder': 3}
    ax.plot(end, y, mark, color=canvas.ORANGE, markeredgewidth=1.4, **look)


def _explain_ladders(
  study: study_lib.Study, error_scale: gains_lib.Scale, rows: Sequence[Row]
) -> str:
  intact, ablated = _name_sides(study)
  share = formats.is_share(error_scale.column)
  better = 'upwards' if error_scale.higher and not share else 'lower'
  words = [
    'Dots: means over seeds, each run with its full schedule; bars: 10th to 90th '
    'percentile of the seeds; lines: the isotonic fit from which gains are read. '
    f'Orange: from the compute of the {intact} to that of the {ablated} at the '
    f'target named above the panel. Better is {better}.'
  ]
  censored = {row['censored'] for row in rows}
  if censored & {*_UPWARDS, *_DOWNWARDS}:
    words.append('An arrowhead: beyond the compute that was tried.')
  if censored & set(gains_lib.WITHOUT_NUMBER):
    words.append('Dotted alone: the gain is undefined there.')
  return ' '.join(words)


def draw_gains(study: study_lib.Study, gains: gains_lib.Gains) -> blocks.Drawing | None:
  """Gains against targets with their intervals, a panel for every contrast.

  Args:
    study: what was compared.
    gains: of separate runs, anytime ones, or both in one frame.

  Returns:
    None if there are no gains.
  """
  frame = gains.frame
  if not len(frame):
    return None
  identity = ['factor', 'level', 'arm', 'reference']
  groups = [rows for _, rows in frame.groupby(identity, sort=False, dropna=False)]
  kinds = [axis for axis in _AXES if (frame['axis'] == axis).any()]
  grid = _make_grid(len(groups), 0.56 if len(kinds) > 1 else 0.32, _NAME)
  fig = canvas.make_figure(grid.top - _NAME + grid.pitch * grid.rows)
  what = facts.words(study, str(frame['metric'].iloc[0]))
  if frame['metric'].nunique() > 1:
    what = formats.name(study.metric.name)
  intact, ablated = _name_sides(study)
  text = f'compute of the {ablated} over that of the {intact}, by target ({what})'
  canvas.write(fig, 0.02, 0.14, text, fontsize=8)
  if len(kinds) > 1:
    panels.write_legend(fig, [panels.Key(*_AXES[axis]) for axis in kinds], 0.37)
  scale, x = _target_axis(study, frame, grid.width)
  y = _gain_axis(frame, grid.height)
  for i, group in enumerate(groups):
    rows = [{str(k): v for k, v in row.items()} for row in group.to_dict('records')]
    grid.name(fig, i, name_panel(study, rows[0]), above=0.12)
    ax = grid.add(fig, i)
    scales.apply(ax, x, y, label_y=grid.is_first(i))
    ax.grid(axis='both')
    ax.axhline(0, color=canvas.GREY, linewidth=1.1)
    for turn, axis in enumerate(kinds):
      aside = (turn - (len(kinds) - 1) / 2) * 0.03 * (x.limits[1] - x.limits[0])
      series = [row for row in rows if row['axis'] == axis]
      _plot_gains(ax, series, scale, _AXES[axis][1], aside)
  alone = kinds == [gains_lib.ANYTIME]
  parts = [
    f'{name_panel(study, row)} {gain_words.describe(row)}'
    for row in gain_words.pick(frame)
  ]
  return canvas.finish(
    fig,
    'gains_anytime' if alone else 'gains',
    'Compute-equivalent gains' + ', anytime' * alone,
    _explain_gains(study, frame, scale),
    f'Compute-equivalent gains by target: {"; ".join(parts)}.',
  )


def _target_axis(
  study: study_lib.Study, frame: pd.DataFrame, width: float
) -> tuple[scales.Scale, scales.Axis]:
  """Targets in the metric's unit, harder ones to the right."""
  metric, better = str(frame['metric'].iloc[0]), study.metric.better
  size = int(study.data.sizes.get(metric.split('/')[0], 0))
  targets = frame['target'].to_numpy(float)
  scale = scales.choose(metric, better, targets.tolist(), size)
  limits = scales.limits(scale, targets, 0.12)
  ticks = scale.ticks(float(targets.min()), float(targets.max()))
  ticks = ticks if len(ticks) > 1 else sorted({float(target) for target in targets})
  by_place = dict(zip(scale.place(np.array(ticks)).tolist(), ticks))
  shown = scales.thin_out(list(by_place), (limits[1] - limits[0]) * 0.38 / width)
  labels = [scales.label(metric, float(f'{by_place[place]:.4g}')) for place in shown]
  ends = limits if better == 'higher' else limits[::-1]
  return scale, scales.Axis(ends, shown, labels)


def _gain_axis(frame: pd.DataFrame, height: float) -> scales.Axis:
  """Gains by their common logarithm, with room for arrows at both ends."""
  values = frame[['gain_shown', 'low_shown', 'high_shown']].to_numpy(float).ravel()
  places = np.log10(np.append(values[np.isfinite(values) & (values > 0)], 1.0))
  low, top = float(places.min()), float(places.max())
  air = max(0.08 * (top - low), 0.02)
  arrow = 1.6 * _ARROW / 72 / height * (top - low + 2 * air)
  undefined = frame['censored'].isin(gains_lib.WITHOUT_NUMBER).any()
  limits = (
    low - air - arrow * bool(_opens_down(frame).any() or undefined),
    top + air + arrow * bool(_opens_up(frame).any()),
  )
  ticks = scales.log_ticks(10 ** limits[0], 10 ** limits[1])
  room = (limits[1] - limits[0]) * 0.17 / height
  others = np.log10([tick for tick in ticks if abs(math.log10(tick)) >= room])
  shown = scales.thin_out(np.sort(np.append(others, 0.0)), room)
  return scales.Axis(limits, shown, [f'{10**place:.4g}×' for place in shown])


def _opens_up(frame: pd.DataFrame) -> pd.Series:
  """Whether the gain, or its interval, has no upper bound."""
  return frame['censored'].isin(_UPWARDS) | np.isposinf(frame['ci_high'])


def _opens_down(frame: pd.DataFrame) -> pd.Series:
  """Whether the gain, or its interval, has no lower bound above 0."""
  return frame['censored'].isin(_DOWNWARDS) | (frame['ci_low'] == 0)


def _plot_gains(
  ax: axes.Axes,
  rows: Sequence[Row],
  scale: scales.Scale,
  colour: str,
  aside: float,
) -> None:
  """Points with whiskers, and arrows where gains or intervals are not bounded."""
  if not rows:
    return
  frame = pd.DataFrame(rows).sort_values('target')
  x = scale.place(frame['target'].to_numpy(float)) + aside
  y = np.log10(frame['gain_shown'].to_numpy(float))
  # Bounds are on no line: joined to them, gains would seem to fall where runs end.
  exact = (frame['censored'] == '').to_numpy()
  for i in np.flatnonzero(exact[:-1] & exact[1:]).tolist():
    ax.plot(x[i : i + 2], y[i : i + 2], color=colour, linewidth=0.9, alpha=0.5)
  up, down = _opens_up(frame).to_numpy(), _opens_down(frame).to_numpy()
  bottom, top = ax.get_ylim()
  spans = frame[['low_shown', 'high_shown']].to_numpy(float)
  for i, (place, level) in enumerate(zip(x.tolist(), y.tolist())):
    if math.isnan(level):
      foot = bottom + 0.04 * (top - bottom)
      ax.plot(place, foot, 'x', color=colour, markersize=5)
      continue
    bounded = [math.log10(e) for e in spans[i] if math.isfinite(e) and e > 0]
    ends = min([level, *bounded]), max([level, *bounded])
    ax.plot([place, place], ends, color=colour, linewidth=1.5)
    if up[i]:
      _draw_arrow(ax, place, ends[1], colour, _ARROW)
    if down[i]:
      _draw_arrow(ax, place, ends[0], colour, -_ARROW)
    face = colour if exact[i] else canvas.PAPER
    ax.plot(place, level, 'o', color=colour, markerfacecolor=face, markersize=5)


def _draw_arrow(ax: axes.Axes, x: float, y: float, colour: str, points: float) -> None:
  look: dict[str, Any] = {'color': colour, 'linewidth': 1.2, 'arrowstyle': '<-'}
  look |= {'shrinkA': 0, 'shrinkB': 0, 'mutation_scale': 8}
  where: dict[str, Any] = {'xytext': (0, points), 'textcoords': 'offset points'}
  ax.annotate('', xy=(x, y), arrowprops=look, **where)


def _explain_gains(
  study: study_lib.Study, frame: pd.DataFrame, scale: scales.Scale
) -> str:
  words = [
    'A point is the gain at a target, 1× no difference. Targets get harder to the '
    'right.'
  ]
  if frame['ci_low'].notna().any():
    words.append(f'Whiskers: {100 * (1 - looks.state(study).alpha):.3g} % intervals.')
  if (_opens_up(frame) | _opens_down(frame)).any():
    words.append(
      'An arrow: unbounded by the runs; a hollow point: so is the gain itself.'
    )
  if frame['censored'].isin(gains_lib.WITHOUT_NUMBER).any():
    words.append(
      f'Crosses: the gain is undefined, since the {_name_sides(study)[0]} does not '
      'reach the target or both arms do at the least compute.'
    )
  return ' '.join(words + ([f'Targets: {scale.note}.'] if scale.note else []))
