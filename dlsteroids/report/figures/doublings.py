"""Frontiers of error against compute, and what ideas are worth in doublings."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import axes

from dlsteroids.analysis import doublings as doublings_lib
from dlsteroids.analysis import frontier
from dlsteroids.report import blocks, formats
from dlsteroids.report import doublings as words
from dlsteroids.report.figures import canvas, gains, panels, scales
from dlsteroids.study import study as study_lib

_MOST = 8  # frontiers in one figure
_TOP = 0.38  # inches above the axes of frontiers
_HEIGHT = 3.5  # inches of these axes
_WIDTH = canvas.WIDTH - 0.66 - 0.12
_LINE = 0.17  # inches of a line of the legend
_LETTER = 0.066  # inches of a letter of 8 points, on average
_LONGEST = 34  # letters of a name in the legend
_HEAD = 0.62  # inches above bars, for the legend
_BAR = 0.24  # inches of a bar
_APART = 0.42  # inches between marked targets, at least
_NARROW = 0.26  # inches below which a step's number is left out
_BETWEEN = ('#9a6b00', canvas.ORANGE, '#a63d73', canvas.VIOLET, '#2e7d4f', canvas.INK)


def draw_frontiers(
  study: study_lib.Study, result: doublings_lib.Doublings
) -> blocks.Drawing | None:
  """Test error against training FLOPs, both logarithmic, a frontier for each toolbox.

  Shown are bare and full, and between them the rungs of a ladder or of history, or of a
  factorial without years the full model without each idea. At the targets the doublings
  between bare and full, at the hardest those from rung to rung.
  """
  frontiers = result.frontiers
  if frontiers is None:
    return None
  shown = _choose(result)
  colours = dict(zip(shown, _colours(len(shown))))
  curves = [frontiers.curves[toolbox] for toolbox in shown]
  fig = canvas.make_figure(_TOP + _HEIGHT + 0.42)
  ax = canvas.add_axes(fig, 0.66, _TOP, _WIDTH, _HEIGHT)
  flops = np.exp(np.concatenate([curve.log_flops for curve in curves]))
  targets = [t.error for t in result.targets if t.together.kind == frontier.MEASURED]
  bands = {toolbox: _band(frontiers, toolbox) for toolbox in shown}
  errors = np.concatenate([*(np.ravel(b) for b in bands.values()), targets])
  keys = [
    panels.Key(name_curve(study, result, toolbox), colours[toolbox])
    for toolbox in shown
  ]
  x = gains.flops_axis(flops, _WIDTH)
  y = gains.error_axis(frontiers.scale, errors, _HEIGHT)
  scales.apply(ax, x, _make_room(x, y, curves, keys))
  ax.grid(True, axis='both')
  for at, toolbox in enumerate(shown):
    same = sum(_coincide(curves[at], other) for other in curves[at + 1 :])
    _plot(ax, frontiers, toolbox, bands[toolbox], colours[toolbox], same)
  stepped = words.target_of_steps(result)
  for target in _pick_apart(result, stepped, ax):
    _mark(ax, result, target, steps=target is stepped)
  name = gains.name_error(study, frontiers.scale)
  how = ', both logarithmic' if frontiers.scale.logarithmic else ', logarithmic'
  what = f'{name} against training FLOPs a run (nominal){how}'
  canvas.write(fig, 0.02, 0.14, what, fontsize=8)
  _write_legend(ax, keys)
  caption = (
    'Points: mean errors at every budget, with width, batch size and learning rate '
    'chosen there and the best subset of the ideas; lines: their fit that does not '
    'rise; bands: 95 % intervals over seeds.'
  )
  hollow = [toolbox for toolbox in shown if not _all_own(frontiers, toolbox)]
  if hollow:
    caption += ' Hollow points: with an idea left out, as that is better there.'
  if any(words.is_certain(t.together) for t in result.targets):
    caption += (
      ' Between the lines at a target: doublings of compute that all ideas save'
    )
    caption += '; at the hardest, below, those of each.' if result.in_order else '.'
  if result.in_order and len(result.ideas) > 1:
    caption += ' “+”: added to the ideas above.'
  parts = [
    f'{words.describe(t.together)} at {words.name_target(study, result, t)}'
    for t in result.targets
  ]
  alt = f'Frontiers of error against compute; all ideas are worth {"; ".join(parts)}.'
  return canvas.finish(fig, 'frontier', 'Error against compute', caption, alt)


def _pick_apart(
  result: doublings_lib.Doublings,
  first: frontier.TargetWorth | None,
  ax: axes.Axes,
) -> list[frontier.TargetWorth]:
  """The target `first`, if any, and the two of a report that leave it room."""
  assert result.frontiers is not None
  picked = [first] if first is not None else []
  inch = abs(np.diff(ax.get_ylim())[0]) / _HEIGHT
  for target in words.pick_targets(result):
    places = result.frontiers.scale.place([target.error, *(t.error for t in picked)])
    if (np.abs(places[1:] - places[0]) >= _APART * inch).all():
      picked.append(target)
  return picked


def _choose(result: doublings_lib.Doublings) -> list[int]:
  """The toolboxes to draw: bare first, full last."""
  frontiers = result.frontiers
  assert frontiers is not None
  full, count = frontiers.full, len(frontiers.ideas)
  if result.in_order:
    between = [mask for mask in result.rungs[1:-1] if mask in frontiers.curves]
  elif count > 2:
    between = [full ^ 1 << i for i in range(count)]
  else:
    between = [1, 2] * (count > 1)
  return [0, *(m for m in between[: _MOST - 2] if m in frontiers.curves), full]


def _colours(count: int) -> list[str]:
  return [canvas.GREY, *_BETWEEN[: count - 2], canvas.BLUE]


def name_curve(
  study: study_lib.Study, result: doublings_lib.Doublings, toolbox: int
) -> str:
  """'bare model, 1986', '+ ReLU, 2011', 'without convolution', or what it has."""
  ideas = [words.call_idea(idea) for idea in result.ideas]
  full = 2 ** len(ideas) - 1
  if not toolbox:
    return 'bare model' + (f', {result.bare_year}' if result.bare_year else '')
  if result.in_order and len(ideas) > 1:
    idea = result.ideas[toolbox.bit_count() - 1]
    year = f', {idea.year}' if idea.year else ''
    return f'+ {words.call_idea(idea)}{year}'
  if toolbox == full:
    return 'full model'
  missing = [idea for i, idea in enumerate(ideas) if not toolbox >> i & 1]
  if len(missing) == 1 and len(ideas) > 2:
    return f'without {missing[0]}'
  own = [idea for i, idea in enumerate(ideas) if toolbox >> i & 1]
  return f'with {" + ".join(own)}'


def _legend_size(keys: Sequence[panels.Key]) -> tuple[float, float]:
  """Inches of the legend in the upper right corner."""
  letters = min(_LONGEST, max(len(key.name) for key in keys))
  return 0.5 + _LETTER * letters, _LINE * len(keys) + 0.1


def _make_room(
  x: scales.Axis,
  y: scales.Axis,
  curves: Sequence[frontier.Curve],
  keys: Sequence[panels.Key],
) -> scales.Axis:
  """The axis of errors, higher where a line would pass under the legend."""
  width, height = _legend_size(keys)
  left = x.limits[1] - (x.limits[1] - x.limits[0]) * width / _WIDTH
  bottom, top = y.limits
  highest = []
  for curve in curves:
    at = curve.log_flops / math.log(10)
    inside = [left, *at[at > left]] if at[-1] > left else []
    highest += [float(np.interp(place, at, curve.places[0])) for place in inside]
  share = 1 - height / _HEIGHT
  over = [(place - bottom) / (top - bottom) for place in highest]
  if max(over, default=0.0) <= share:
    return y
  return y._replace(limits=(bottom, bottom + (top - bottom) * max(over) / share))


def _write_legend(ax: axes.Axes, keys: Sequence[panels.Key]) -> None:
  """The names of lines in the upper right corner, bare on top."""
  left = 1 - _legend_size(keys)[0] / _WIDTH
  for at, key in enumerate(keys):
    height = 1 - (0.06 + _LINE * (at + 0.5)) / _HEIGHT
    ends = np.array([left, left + 0.28 / _WIDTH])
    look: dict[str, Any] = {'color': key.colour, 'transform': ax.transAxes}
    ax.plot(ends, [height, height], linewidth=1.5, **look)
    ax.plot(ends.mean(), height, 'o', markersize=3.4, **look)
    ax.annotate(
      formats.clip(key.name, _LONGEST),
      (left + 0.36 / _WIDTH, height),
      xycoords='axes fraction',
      ha='left',
      va='center',
      fontsize=8,
      color=canvas.SOFT if key.colour == canvas.GREY else key.colour,
    )


def _band(frontiers: frontier.Frontiers, toolbox: int) -> np.ndarray:
  """Errors [3, R]: the estimate, and the ends of its interval."""
  curve = frontiers.curves[toolbox]
  ends = [
    frontier.error_interval(frontiers, curve, at) for at in range(len(curve.log_flops))
  ]
  return np.array(ends).T


def _plot(
  ax: axes.Axes,
  frontiers: frontier.Frontiers,
  toolbox: int,
  band: np.ndarray,
  colour: str,
  same: int,
) -> None:
  """A frontier, its points hollow where a subset of the toolbox does better.

  The `same` ones drawn later must leave its edges to be seen.
  """
  curve, wider = frontiers.curves[toolbox], 2.4 * same
  x = curve.log_flops / math.log(10)
  middle, low, high = (frontiers.scale.place(errors) for errors in band)
  means = frontiers.scale.place(curve.means[0])
  ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
  ax.plot(x, middle, color=colour, linewidth=1.5 + wider)
  own = np.array([arm == frontiers.cells[toolbox] for arm in curve.arms])
  look: dict[str, Any] = {'color': colour, 'markersize': 3.4 + wider}
  ax.plot(x[own], means[own], 'o', **look)
  ax.plot(x[~own], means[~own], 'o', markerfacecolor=canvas.PAPER, **look)


def _all_own(frontiers: frontier.Frontiers, toolbox: int) -> bool:
  """Whether a toolbox uses all that it has at every budget."""
  return set(frontiers.curves[toolbox].arms) == {frontiers.cells[toolbox]}


def _coincide(one: frontier.Curve, other: frontier.Curve) -> bool:
  """Whether two frontiers are one line, as where an idea is not used."""
  return len(one.log_flops) == len(other.log_flops) and bool(
    np.allclose(one.log_flops, other.log_flops)
    and np.allclose(one.places[0], other.places[0])
  )


def _mark(
  ax: axes.Axes,
  result: doublings_lib.Doublings,
  target: frontier.TargetWorth,
  steps: bool,
) -> None:
  """The doublings between the full and the bare frontier at a target.

  With `steps` those of each rung, too.
  """
  frontiers, whole = result.frontiers, target.together
  assert frontiers is not None
  if whole.kind != frontier.MEASURED or not words.is_certain(whole):
    return
  y = float(frontiers.scale.place(target.error))
  ends = [cost.value * math.log10(2) for cost in (target.full, target.bare)]
  if not all(map(math.isfinite, ends)):
    return
  worths = [idea.in_order.value for idea in target.ideas] if steps else []
  if len(worths) > 1:
    stops = ends[1] - np.cumsum([0.0, *worths]) * math.log10(2)
    _write_steps(ax, y, stops.tolist(), worths)
  ax.plot(ends, [y, y], color=canvas.INK, linewidth=0.9, zorder=4)
  ax.plot(ends, [y, y], '|', color=canvas.INK, markersize=7, zorder=4)
  _write_before(ax, min(ends), y, f'{words.number(whole.value)} doublings')


def _write_before(ax: axes.Axes, x: float, y: float, text: str) -> None:
  """A text below and left of a place: as frontiers fall, none lies there."""
  ax.annotate(
    text,
    (x, y),
    (-2, -4),
    textcoords='offset points',
    ha='right',
    va='top',
    fontsize=7,
    color=canvas.INK,
    zorder=5,
  )


def _write_steps(
  ax: axes.Axes, y: float, stops: Sequence[float], worths: Sequence[float]
) -> None:
  """A mark at every stop of a line, and the worth of every step that has room below."""
  low, high = ax.get_xlim()
  ax.plot(stops, [y] * len(stops), '|', color=canvas.INK, markersize=5, zorder=4)
  for one, two, worth in zip(stops, stops[1:], worths):
    if one - two >= _NARROW * (high - low) / _WIDTH:
      _write_below(ax, (one + two) / 2, y, words.number(worth))


def _write_below(ax: axes.Axes, x: float, y: float, text: str) -> None:
  """A text under a place of a line."""
  ax.annotate(
    text,
    (x, y),
    (0, -3),
    textcoords='offset points',
    ha='center',
    va='top',
    fontsize=7,
    color=canvas.INK,
    bbox={'facecolor': canvas.PAPER, 'edgecolor': 'none', 'pad': 0.8, 'alpha': 0.8},
    zorder=5,
  )


def draw_worth(
  study: study_lib.Study, result: doublings_lib.Doublings
) -> blocks.Drawing | None:
  """Bars of every idea's worth in doublings, with intervals, at up to two targets."""
  frontiers = result.frontiers
  if frontiers is None:
    return None
  picked = pick_measured(result)
  if not picked:
    return None
  rows = [*map(words.name_idea, result.ideas), 'all together']
  height = len(rows) * _BAR * (len(picked) + 0.6)
  fig = canvas.make_figure(_HEAD + height + 0.42)
  left = 1.75
  ax = canvas.add_axes(fig, left, _HEAD, canvas.WIDTH - left - 0.2, height)
  listed = [[*words.single_worths(result, t), t.together] for t in picked]
  ends = [e for worths in listed for w in worths for e in _extent(w)]
  low, high = min(0.0, *ends), max(1.0, *ends)
  pad = 0.06 * (high - low)
  ticks = scales.linear_ticks(low, high)
  labels = [words.number(t) if t % 1 else f'{t:.0f}'.replace('-', '−') for t in ticks]
  scales.apply(
    ax,
    scales.Axis((low - pad, high + 2.5 * pad), ticks, labels),
    scales.Axis((len(rows) - 0.5, -0.5), range(len(rows)), rows),
  )
  ax.grid(True, axis='x')
  ax.grid(False, axis='y')
  ax.axvline(0, color=canvas.SOFT, linewidth=0.8)
  thick = 0.8 / len(picked)
  for at, (worths, colour) in enumerate(zip(listed, (canvas.BLUE, canvas.ORANGE))):
    for row, worth in enumerate(worths):
      _bar(ax, worth, row - 0.4 + thick * (at + 0.5), 0.8 * thick, colour)
  what = 'Shapley value' if result.is_game else 'over the rungs before'
  goal = gains.name_error(study, frontiers.scale)
  title = f'doublings of compute, {what}, on the way to a target of {goal}'
  canvas.write(fig, 0.02, 0.14, title, fontsize=8)
  keys = [
    panels.Key(f'at {words.tell_error(study, result, t.error)}', colour)
    for t, colour in zip(picked, (canvas.BLUE, canvas.ORANGE))
  ]
  panels.write_legend(fig, keys, 0.37)
  alt = '; '.join(
    f'{row}: {words.idea_cell(worth)}'
    for worths in listed
    for row, worth in zip(rows, worths)
  )
  caption = (
    'What each idea is worth in doublings of compute on the way to a target, with 95 % '
    f'intervals over seeds{_explain([w for worths in listed for w in worths])}.'
  )
  return canvas.finish(fig, 'worth', 'Worth of each idea', caption, f'Worth: {alt}.')


def _explain(worths: Sequence[frontier.Worth]) -> str:
  """What marks beside bars and intervals mean, of those that are drawn."""
  kinds = {worth.kind for worth in worths}
  texts = {
    'a coloured arrowhead: at least, or at most, so much': (
      kinds & {frontier.AT_LEAST, frontier.AT_MOST}
    ),
    'pale: between two bounds': frontier.BETWEEN in kinds,
    'a black arrowhead: an interval without an end': any(
      w.kind == frontier.MEASURED and math.isinf(end)
      for w in worths
      for end in (w.ci_low, w.ci_high)
    ),
  }
  return ''.join(f'; {text}' for text in formats.those_that_hold(texts))


def pick_measured(result: doublings_lib.Doublings) -> list[frontier.TargetWorth]:
  """The two of a report, or those within them where every idea was measured."""
  picked = words.pick_targets(result)
  fixed = [target for target in result.targets if not target.moving]
  whole = [
    t
    for t in fixed
    if all(w.kind == frontier.MEASURED for w in words.single_worths(result, t))
  ]
  return picked if len(whole) < 2 else [whole[0], whole[-1]]


def _extent(worth: frontier.Worth) -> list[float]:
  """The finite numbers of a worth and its interval."""
  numbers = (worth.low, worth.high, worth.ci_low, worth.ci_high)
  return [number for number in numbers if math.isfinite(number)] or [0.0]


def _bar(
  ax: axes.Axes, worth: frontier.Worth, y: float, height: float, colour: str
) -> None:
  """A bar with its interval, an arrowhead at a bound, a word where nothing is known."""
  if worth.kind == frontier.UNDETERMINED or words.is_unused(worth):
    text = f'  {words.idea_cell(worth)}'
    ax.text(0, y, text, fontsize=6.5, color=canvas.SOFT, va='center')
    return
  if worth.kind == frontier.BETWEEN:
    span = worth.high - worth.low
    ax.barh(y, span, height, worth.low, color=colour, alpha=0.25, linewidth=0)
    return
  at = worth.low if math.isfinite(worth.low) else worth.high
  ax.barh(y, at, height, color=colour, alpha=0.8, linewidth=0)
  if worth.kind == frontier.AT_LEAST:
    ax.plot(at, y, '>', color=colour, markersize=5, clip_on=False)
    return
  if worth.kind == frontier.AT_MOST:
    ax.plot(at, y, '<', color=colour, markersize=5, clip_on=False)
    return
  if math.isnan(worth.ci_low):
    return
  low, high = ax.get_xlim()
  ends = [max(worth.ci_low, low), min(worth.ci_high, high)]
  ax.plot(ends, [y, y], color=canvas.INK, linewidth=1)
  look: dict[str, Any] = {'color': canvas.INK, 'markersize': 4, 'clip_on': False}
  for end, mark in ((worth.ci_low, '<'), (worth.ci_high, '>')):
    if math.isinf(end):
      ax.plot(low if end < 0 else high, y, mark, **look)
