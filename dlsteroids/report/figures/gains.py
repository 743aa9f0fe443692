"""Compute-equivalent gains against the targets at which they were read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.analysis import gains, looks
from dlsteroids.report import facts, formats, gain_words
from dlsteroids.report.figures import canvas, ladders, panels, scales

_HEAD = 0.26  # above every panel, for its name
_FOOT = 0.34  # below it, for its labels
_ARROW = 10  # points
_COLOURS = {'budget': canvas.BLUE, 'size': canvas.ORANGE, gains.ANYTIME: canvas.VIOLET}
_NAMES = {
  'budget': 'longer runs',
  'size': 'wider models',
  gains.ANYTIME: 'anytime, within runs',
}
_UP = ladders.UP
_DOWN = ladders.DOWN

Row = Mapping[str, Any]

draw_ladders = ladders.draw_ladders


def draw_gains(study: Mapping[str, Any], found: gains.Gains) -> canvas.Drawing | None:
  """Gains against targets with their intervals, a panel a contrast.

  Args:
    study: the content of study.json.
    found: gains of separate runs, anytime ones, or both in one frame.

  Returns:
    None if there are no gains.
  """
  frame = found.frame
  if not len(frame):
    return None
  keys = ['factor', 'level', 'arm', 'reference']
  groups = [group for _, group in frame.groupby(keys, sort=False, dropna=False)]
  kinds = [axis for axis in _COLOURS if (frame['axis'] == axis).any()]
  grid = ladders.make_grid(len(groups))
  top, pitch = (0.56 if len(kinds) > 1 else 0.32), _HEAD + grid.high + _FOOT
  fig = canvas.make_figure(top + pitch * -(-len(groups) // grid.columns))
  _write_key(fig, study, frame, kinds)
  scale, x = _target_axis(study, frame, grid.width)
  y = _gain_axis(frame, grid.high)
  for i, group in enumerate(groups):
    row, column = divmod(i, grid.columns)
    left, above = grid.left(column), top + row * pitch
    rows = [{str(k): v for k, v in row.items()} for row in group.to_dict('records')]
    ladders.write_name(fig, study, rows[0], left, above + 0.14, grid.width)
    ax = canvas.add_axes(fig, left, above + _HEAD, grid.width, grid.high)
    ladders.frame(ax, x, y, named=column == 0)
    ax.axhline(0, color=canvas.GREY, linewidth=1.1)
    for turn, axis in enumerate(kinds):
      aside = (turn - (len(kinds) - 1) / 2) * 0.03 * (x.limits[1] - x.limits[0])
      mine = [row for row in rows if row['axis'] == axis]
      _draw_series(ax, mine, scale, _COLOURS[axis], aside)
  alone = kinds == [gains.ANYTIME]
  title = 'Compute-equivalent gains' + ', anytime' * alone
  words = _caption(study, frame, scale), _alt(study, gain_words.pick(frame))
  return canvas.finish(fig, 'gains_anytime' if alone else 'gains', title, *words)


def _write_key(
  fig: figures.Figure,
  study: Mapping[str, Any],
  frame: pd.DataFrame,
  kinds: Sequence[str],
) -> None:
  what = facts.words(study, str(frame['metric'].iloc[0]))
  if frame['metric'].nunique() > 1:
    what = formats.name(study['metric']['name'])
  text = f'compute of the ablated arm over that of the intact one, by target ({what})'
  canvas.write(fig, 0.02, 0.14, text, fontsize=8)
  if len(kinds) > 1:
    keys = [panels.Entry(_NAMES[axis], _COLOURS[axis]) for axis in kinds]
    panels.write_keys(fig, keys, 0.37)


def _target_axis(
  study: Mapping[str, Any], frame: pd.DataFrame, width: float
) -> tuple[scales.Scale, panels.Axis]:
  """Targets in the metric's unit, harder ones to the right."""
  metric = str(frame['metric'].iloc[0])
  better = study['metric']['better']
  size = int(study['data'].get('sizes', {}).get(metric.split('/')[0], 0))
  targets = frame['target'].to_numpy(float)
  scale = scales.choose(metric, better, targets.tolist(), size)
  limits = scales.limits(scale, targets, 0.12)
  ticks, _ = scale.ticks(float(targets.min()), float(targets.max()))
  ticks = ticks if len(ticks) > 1 else sorted({float(t) for t in targets})
  kept = ladders.part(
    scale.place(np.array(ticks)), (limits[1] - limits[0]) * 0.38 / width
  )
  known = dict(zip(scale.place(np.array(ticks)).tolist(), ticks))
  labels = [ladders.label(metric, float(f'{known[place]:.4g}')) for place in kept]
  ends = limits if better == 'higher' else limits[::-1]
  return scale, panels.Axis(ends, kept, labels)


def _shown(frame: pd.DataFrame) -> np.ndarray:
  """The common logs of all gains and ends that are drawn, and of 1."""
  values = frame[['gain_shown', 'low_shown', 'high_shown']].to_numpy(float).ravel()
  return np.log10(np.append(values[np.isfinite(values) & (values > 0)], 1.0))


def _gain_axis(frame: pd.DataFrame, high: float) -> panels.Axis:
  """Gains by their common logarithm, with room for arrows at both ends."""
  places = _shown(frame)
  low, top = float(places.min()), float(places.max())
  air = max(0.08 * (top - low), 0.02)
  arrow = 1.6 * _ARROW / 72 / high * (top - low + 2 * air)
  untold = frame['censored'].isin(gains.WITHOUT_NUMBER).any()
  limits = (
    low - air - arrow * bool(_opens_down(frame).any() or untold),
    top + air + arrow * bool(_opens_up(frame).any()),
  )
  ticks = ladders.log_ticks(10 ** limits[0], 10 ** limits[1])
  room = (limits[1] - limits[0]) * 0.17 / high
  others = np.log10([tick for tick in ticks if abs(math.log10(tick)) >= room])
  kept = ladders.part(np.sort(np.append(others, 0.0)), room)
  labels = [f'{10**place:.4g}×' for place in kept]
  return panels.Axis(limits, kept, labels)


def _opens_up(frame: pd.DataFrame) -> pd.Series:
  """Whether the gain, or its interval, has no upper bound."""
  return frame['censored'].isin(_UP) | np.isposinf(frame['ci_high'])


def _opens_down(frame: pd.DataFrame) -> pd.Series:
  """Whether the gain, or its interval, has no lower bound above 0."""
  return frame['censored'].isin(_DOWN) | (frame['ci_low'] == 0)


def _draw_series(
  ax: axes.Axes,
  rows: Sequence[Row],
  scale: scales.Scale,
  colour: str,
  aside: float,
) -> None:
  """Gains of one axis: points with whiskers, arrows where they are not bounded."""
  rows = sorted(rows, key=lambda row: row['target'])
  x = scale.place(np.array([row['target'] for row in rows], float)) + aside
  y = np.log10(np.array([row['gain_shown'] for row in rows], float))
  # bounds are on no line: joined to them, gains would seem to fall where runs end
  known = np.array([not row['censored'] for row in rows])
  for i in np.flatnonzero(known[:-1] & known[1:]):
    ax.plot(x[i : i + 2], y[i : i + 2], color=colour, linewidth=0.9, alpha=0.5)
  bottom, top = ax.get_ylim()
  for place, level, row in zip(x.tolist(), y.tolist(), rows):
    if math.isnan(level):
      foot = bottom + 0.04 * (top - bottom)
      ax.plot(place, foot, 'x', color=colour, markersize=5)
      continue
    ends = []
    for key in ('low', 'high'):
      end = row[f'{key}_shown']
      ends.append(math.log10(end) if math.isfinite(end) and end > 0 else level)
    ends = [min(ends[0], level), max(ends[1], level)]
    ax.plot([place, place], ends, color=colour, linewidth=1.5)
    if row['censored'] in _UP or row['ci_high'] == math.inf:
      _draw_arrow(ax, place, ends[1], colour, _ARROW)
    if row['censored'] in _DOWN or row['ci_low'] == 0:
      _draw_arrow(ax, place, ends[0], colour, -_ARROW)
    face = canvas.PAPER if row['censored'] else colour
    ax.plot(place, level, 'o', color=colour, markerfacecolor=face, markersize=5)


def _draw_arrow(ax: axes.Axes, x: float, y: float, colour: str, points: float) -> None:
  look: dict[str, Any] = {'color': colour, 'linewidth': 1.2, 'arrowstyle': '<-'}
  look |= {'shrinkA': 0, 'shrinkB': 0, 'mutation_scale': 8}
  where: dict[str, Any] = {'xytext': (0, points), 'textcoords': 'offset points'}
  ax.annotate('', xy=(x, y), arrowprops=look, **where)


def _caption(study: Mapping[str, Any], frame: pd.DataFrame, scale: scales.Scale) -> str:
  words = [
    'A point is the gain at a target, 1× no difference. Targets get harder to the '
    'right.'
  ]
  if frame['ci_low'].notna().any():
    words.append(f'Whiskers: {100 * (1 - looks.state(study).alpha):.3g} % intervals.')
  if (_opens_up(frame) | _opens_down(frame)).any():
    words.append(
      'An arrow: beyond what the runs tell, a hollow point where the gain itself is.'
    )
  if frame['censored'].isin(gains.WITHOUT_NUMBER).any():
    words.append(
      'Crosses: no gain can be told, since the intact arm does not reach the target '
      'or both arms do at once.'
    )
  return ' '.join(words + ([f'Targets: {scale.note}.'] if scale.note else []))


def _alt(study: Mapping[str, Any], rows: Sequence[Row]) -> str:
  parts = [
    f'{ladders.name_panel(study, row)} {gain_words.describe(row)}' for row in rows
  ]
  return f'Compute-equivalent gains by target: {"; ".join(parts)}.'
