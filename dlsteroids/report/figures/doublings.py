"""Frontiers of error against compute, and what ideas are worth in doublings."""

import math
from typing import Any

import numpy as np
from matplotlib import axes

from dlsteroids.analysis import doublings as doublings_lib
from dlsteroids.analysis import frontier
from dlsteroids.report import blocks, facts
from dlsteroids.report import doublings as words
from dlsteroids.report.figures import canvas, gains, panels, scales
from dlsteroids.study import study as study_lib

_MOST = 6  # frontiers in one figure
_TOP = 0.62  # inches above the axes
_BAR = 0.24  # inches of a bar


def draw_frontiers(
  study: study_lib.Study, result: doublings_lib.Doublings
) -> blocks.Drawing | None:
  """Test error against training FLOPs, both logarithmic, a frontier for each toolbox.

  Shown are bare and full, and between them the rungs of a ladder, or of a factorial the
  full model without each idea. At the targets the doublings between bare and full.
  """
  frontiers = result.frontiers
  if frontiers is None:
    return None
  shown = _choose(result)
  colours = dict(zip(shown, _colours(len(shown))))
  curves = [frontiers.curves[toolbox] for toolbox in shown]
  fig = canvas.make_figure(_TOP + 3.4 + 0.42)
  ax = canvas.add_axes(fig, 0.66, _TOP, canvas.WIDTH - 0.66 - 0.12, 3.4)
  flops = np.exp(np.concatenate([curve.log_flops for curve in curves]))
  targets = [t.error for t in result.targets if t.together.kind == frontier.MEASURED]
  bands = {toolbox: _band(frontiers.curves[toolbox]) for toolbox in shown}
  errors = np.concatenate([*(np.ravel(b) for b in bands.values()), targets])
  x = gains.flops_axis(flops, canvas.WIDTH - 0.78)
  y = gains.error_axis(frontiers.scale, errors, 3.4)
  scales.apply(ax, x, y)
  ax.grid(axis='both')
  for toolbox in shown:
    _plot(ax, frontiers, toolbox, bands[toolbox], colours[toolbox])
  for target in pick_targets(result):
    _mark(ax, frontiers, target)
  name = gains.name_error(study, frontiers.scale)
  how = ', both logarithmic' if frontiers.scale.logarithmic else ', logarithmic'
  what = f'{name} against training FLOPs a run (nominal){how}'
  canvas.write(fig, 0.02, 0.14, what, fontsize=8)
  keys = [
    panels.Key(name_curve(study, frontiers, toolbox), colours[toolbox])
    for toolbox in shown
  ]
  panels.write_legend(fig, keys, 0.37)
  caption = (
    'Each line: the least error at every budget, with width, batch size and learning '
    'rate chosen there and the best subset of the ideas; bands: intervals over seeds. '
    'Between the lines at a target: doublings of compute that all ideas save.'
  )
  parts = [
    f'{words.describe(t.together)} at {words.name_target(study, result, t)}'
    for t in result.targets
  ]
  alt = f'Frontiers of error against compute; all ideas are worth {"; ".join(parts)}.'
  return canvas.finish(fig, 'frontier', 'Error against compute', caption, alt)


def _choose(result: doublings_lib.Doublings) -> list[int]:
  """The toolboxes to draw: bare first, full last."""
  frontiers = result.frontiers
  assert frontiers is not None
  full, count = frontiers.full, len(frontiers.ideas)
  if result.is_game and count > 1:
    between = [full ^ 1 << i for i in range(count)] if count > 2 else [1, 2]
  else:
    between = [mask for mask in sorted(frontiers.curves) if mask not in (0, full)]
  return [0, *between[: _MOST - 2], full]


def _colours(count: int) -> list[str]:
  between = [canvas.ORANGE, canvas.VIOLET, '#2e7d4f', canvas.INK]
  return [canvas.GREY, *between[: count - 2], canvas.BLUE]


def name_curve(
  study: study_lib.Study, frontiers: frontier.Frontiers, toolbox: int
) -> str:
  """'bare', 'full', 'without convolution', or the ideas it has."""
  full, ideas = frontiers.full, frontiers.ideas
  if toolbox in (0, full):
    return 'full model' if toolbox else 'bare model'
  missing = [idea for i, idea in enumerate(ideas) if not toolbox >> i & 1]
  if len(missing) == 1 and len(ideas) > 2 and study.design == 'factorial':
    return f'without {missing[0].replace("_", " ")}'
  own = [idea for i, idea in enumerate(ideas) if toolbox >> i & 1]
  return ('with ' + ' + '.join(own)).replace('_', ' ')


def _band(curve: frontier.Curve) -> np.ndarray:
  """Errors [3, R]: the estimate, and the middle 95 % of the replicates."""
  low, high = np.quantile(curve.errors[1:], [0.025, 0.975], axis=0)
  return np.stack([curve.errors[0], low, high])


def _plot(
  ax: axes.Axes,
  frontiers: frontier.Frontiers,
  toolbox: int,
  band: np.ndarray,
  colour: str,
) -> None:
  curve = frontiers.curves[toolbox]
  x = curve.log_flops / math.log(10)
  middle, low, high = (frontiers.scale.place(errors) for errors in band)
  ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
  ax.plot(x, middle, color=colour, linewidth=1.5)
  ax.plot(x, middle, 'o', color=colour, markersize=3.4)


def _mark(
  ax: axes.Axes, frontiers: frontier.Frontiers, target: frontier.TargetWorth
) -> None:
  """The doublings between the full and the bare frontier at a target."""
  if target.together.kind != frontier.MEASURED or target.together.value < 0.05:
    return
  y = float(frontiers.scale.place(target.error))
  ends = [cost.value * math.log10(2) for cost in (target.full, target.bare)]
  if not all(map(math.isfinite, ends)):
    return
  look: dict[str, Any] = {'color': canvas.INK, 'linewidth': 0.9, 'zorder': 4}
  ax.plot(ends, [y, y], **look)
  ax.plot(ends, [y, y], '|', color=canvas.INK, markersize=6, zorder=4)
  ax.annotate(
    f'{words.number(target.together.value)} doublings',
    ((ends[0] + ends[1]) / 2, y),
    (0, 3),
    textcoords='offset points',
    ha='center',
    va='bottom',
    fontsize=7,
    color=canvas.INK,
    bbox={'facecolor': canvas.PAPER, 'edgecolor': 'none', 'pad': 0.8, 'alpha': 0.8},
  )


def draw_worth(
  study: study_lib.Study, result: doublings_lib.Doublings
) -> blocks.Drawing | None:
  """Bars of every idea's worth in doublings, with intervals, at up to two targets."""
  frontiers = result.frontiers
  if frontiers is None:
    return None
  picked = pick_targets(result)
  if not picked:
    return None
  ideas = [idea.replace('_', ' ') for idea in frontiers.ideas]
  rows = [*ideas, 'all together']
  height = len(rows) * _BAR * (len(picked) + 0.6)
  fig = canvas.make_figure(_TOP + height + 0.42)
  left = 1.45
  ax = canvas.add_axes(fig, left, _TOP, canvas.WIDTH - left - 0.2, height)
  listed = [
    [(idea.shapley if result.is_game else idea.from_full) for idea in target.ideas]
    + [target.together]
    for target in picked
  ]
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
  ax.grid(axis='x')
  ax.axvline(0, color=canvas.SOFT, linewidth=0.8)
  thick = 0.8 / len(picked)
  for at, (worths, colour) in enumerate(zip(listed, (canvas.BLUE, canvas.ORANGE))):
    for row, worth in enumerate(worths):
      _bar(ax, worth, row - 0.4 + thick * (at + 0.5), 0.8 * thick, colour)
  what = 'Shapley value' if result.is_game else 'loss without it'
  canvas.write(fig, 0.02, 0.14, f'doublings of compute, {what}', fontsize=8)
  keys = [
    panels.Key(f'at {words.name_target(study, result, t)}', colour)
    for t, colour in zip(picked, (canvas.BLUE, canvas.ORANGE))
  ]
  panels.write_legend(fig, keys, 0.37)
  alt = '; '.join(
    f'{row}: {words.cell(worth)}'
    for worths in listed
    for row, worth in zip(rows, worths)
  )
  caption = (
    'What each idea is worth in doublings of compute on the way to a target of '
    f'{facts.words(study, study.metric.column)}, with intervals over seeds; an '
    'arrowhead: at least so much.'
  )
  return canvas.finish(fig, 'worth', 'Worth of each idea', caption, f'Worth: {alt}.')


def pick_targets(result: doublings_lib.Doublings) -> list[frontier.TargetWorth]:
  """The easiest and the hardest target at which something is known."""
  bounded = [t for t in result.targets if t.together.kind != frontier.UNDETERMINED]
  fixed = [t for t in bounded if not t.moving] or bounded
  return fixed if len(fixed) < 2 else [fixed[0], fixed[-1]]


def _extent(worth: frontier.Worth) -> list[float]:
  """The finite numbers of a worth and its interval."""
  numbers = (worth.low, worth.high, worth.ci_low, worth.ci_high)
  return [number for number in numbers if math.isfinite(number)] or [0.0]


def _bar(
  ax: axes.Axes, worth: frontier.Worth, y: float, height: float, colour: str
) -> None:
  """A bar with its interval, an arrowhead at a bound, a word where nothing is known."""
  if worth.kind == frontier.UNDETERMINED:
    ax.text(0, y, '  undetermined', fontsize=6.5, color=canvas.SOFT, va='center')
    return
  at = worth.low if math.isfinite(worth.low) else worth.high
  ax.barh(y, at, height, color=colour, alpha=0.8, linewidth=0)
  if worth.kind == frontier.AT_LEAST:
    ax.plot(at, y, '>', color=colour, markersize=5, clip_on=False)
    return
  if worth.kind == frontier.AT_MOST:
    ax.plot(at, y, '<', color=colour, markersize=5, clip_on=False)
    return
  low, high = ax.get_xlim()
  ends = [
    worth.ci_low if math.isfinite(worth.ci_low) else low,
    worth.ci_high if math.isfinite(worth.ci_high) else high,
  ]
  if not math.isnan(worth.ci_low):
    ax.plot(ends, [y, y], color=canvas.INK, linewidth=1)
