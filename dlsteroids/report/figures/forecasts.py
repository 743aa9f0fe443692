"""Forecasts: a few windows with the truth, and errors along the horizon."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes

from dlsteroids.analysis import curves as curves_lib
from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks, facts, formats
from dlsteroids.report.figures import canvas, curves, panels, scales

_WINDOWS = 3
_TARGETS = 3
_OTHERS = 2  # arms beside the intact one
_LEAST_PAST = 24  # steps of the past that are shown at least, where there are as many
_COLOURS = (canvas.BLUE, canvas.ORANGE, canvas.VIOLET)
_DASHES: tuple[Any, ...] = ('solid', (0, (4, 1.6)), (0, (1.2, 1.4)))


class _Windows(NamedTuple):
  """Past [M, L, D], truth [M, H, D], and forecasts [M, H, D] by arm, intact first."""

  past: np.ndarray
  truth: np.ndarray
  forecasts: Mapping[str, np.ndarray]


def draw_forecasts(source: summary.Source) -> blocks.Drawing | None:
  """A few test windows: past, truth, and what the most different arms forecast."""
  windows = _read_windows(source)
  if windows is None:
    return None
  past, truth, forecasts = windows
  count, dims = min(_WINDOWS, len(truth)), truth.shape[2]
  targets = sorted({round(d) for d in np.linspace(0, dims - 1, min(_TARGETS, dims))})
  names = facts.targets(source.study, dims)
  grid = panels.Grid(count * len(targets), count, gap=0.4, height=1.3, pitch=1.72)
  fig = canvas.make_figure(grid.top + grid.pitch * grid.rows + 0.12)
  keys = [panels.Key('past', canvas.GREY), panels.Key('truth', canvas.INK)]
  keys += map(panels.Key, forecasts, _COLOURS, _DASHES)
  panels.write_legend(fig, keys)
  shown = min(past.shape[1], max(_LEAST_PAST, truth.shape[1]))
  unit = str(source.study.data.facts.get('unit') or '')
  for row, target in enumerate(targets):
    words = names[target] + (f', {unit}' if unit else '')
    above = grid.corner(row * count)[1] - 0.18
    canvas.write(fig, 0.02, above, formats.clip(words, 60), bold=True)
    for column in range(count):
      lines = [past[column, -shown:, target], truth[column, :, target]]
      lines += [forecast[column, :, target] for forecast in forecasts.values()]
      ax = grid.add(fig, row * count + column)
      _draw_window(ax, lines, label_x=row == len(targets) - 1)
  what = f'{dims} {"target" if dims == 1 else "targets"}'
  what = f'{len(targets)} of {what}' if len(targets) < dims else what
  caption = (
    f'{what} on the original scale in {count} test window{"s" * (count > 1)} '
    f'({probes.name_runs(source)}); steps from the start of the forecast.'
  )
  if shown < past.shape[1]:
    caption += f' Of the past, the last {shown:,} of {past.shape[1]:,} steps are shown.'
  if len(forecasts) > 1:
    caption += (
      f' Beside {next(iter(forecasts))}: of all arms the most different from it.'
    )
  alt = f'Forecasts of {formats.listing(list(forecasts))} beside the truth.'
  return canvas.finish(fig, 'forecasts', 'Past, truth and forecasts', caption, alt)


def _read_windows(source: summary.Source) -> _Windows | None:
  """The intact arm's windows, its forecasts and those of the most different arms."""
  intact = summary.intact_arm(source.study)
  stored = probes.of(source, intact)
  past, truth = (
    np.asarray(stored.get(f'probe/forecast/{name}', ()), float)
    for name in ('window', 'target')
  )
  forecasts = {
    arm: mean.astype(float)
    for arm, mean in probes.by_arm(source, 'probe/forecast/mean').items()
    if mean.shape == truth.shape and np.isfinite(mean).all()
  }
  shapes_fit = truth.size and past.ndim == truth.ndim == 3
  if intact not in forecasts or not shapes_fit or past.shape[2] != truth.shape[2]:
    return None
  others = probes.most_different(forecasts, intact, truth, _OTHERS)
  return _Windows(past, truth, {arm: forecasts[arm] for arm in (intact, *others)})


def _draw_window(ax: axes.Axes, lines: Sequence[np.ndarray], *, label_x: bool) -> None:
  """Past, truth and forecasts of one target in one window."""
  past, truth, *forecasts = lines
  before = np.arange(1 - len(past), 1)
  after = np.arange(1, len(truth) + 1)
  ax.axvline(0, color=canvas.LINE, linewidth=0.8)
  ax.plot(before, past, color=canvas.GREY, linewidth=1)
  joined = np.r_[past[-1:], truth]
  ax.plot(np.r_[before[-1:], after], joined, color=canvas.INK, linewidth=1)
  for values, colour, dash in zip(forecasts, _COLOURS, _DASHES):
    dot = 'o' if len(values) == 1 else ''
    look: dict[str, Any] = {'marker': dot, 'markersize': 3.5, 'linestyle': dash}
    ax.plot(after, values, color=colour, linewidth=1.4, **look)
  half = max(1, len(truth) // 2)
  every = half * -(-(len(past) + len(truth)) // (5 * half))
  steps = range(-(len(past) // every) * every, len(truth) + 1, every)
  labels = [f'{step:,}'.replace('-', formats.MINUS) for step in steps]
  x = scales.Axis((-len(past), after[-1] + 0.5), list(steps), labels)
  y = scales.make_linear().axis(np.concatenate(lines), 0.06)
  scales.apply(ax, x, y, label_x=label_x)


def draw_horizon(source: summary.Source) -> blocks.Drawing | None:
  """The error at every step of the horizon, over seeds; None for a single step."""
  study = source.study
  for name in dict.fromkeys((study.metric.name, 'mse', 'mae')):
    column = f'test/{name}_by_step'
    arms = curves_lib.horizon(source, column)
    if arms:
      break
  else:
    return None
  references = {}
  for reference, row in study.data.references.items():
    values = np.ravel(np.asarray(row.get(column, ()), float))
    if values.size and np.isfinite(values).all():
      steps = np.arange(1, values.size + 1)
      references[str(reference)] = curves_lib.Curve(steps, values, values, values)
  references = dict(list(references.items())[: len(panels.DASHES)])
  everything = {**arms, **references}
  values = np.concatenate([np.r_[c.low, c.high] for c in everything.values()])
  scale = scales.choose(name, study.metric.better, values.tolist(), 0)
  fig = panels.draw(
    f'test {name} against the step of the horizon',
    {arm: curves.place(curve, scale) for arm, curve in arms.items()},
    {arm: curves.place(curve, scale) for arm, curve in references.items()},
    scales.count_axis(max(float(c.x[-1]) for c in everything.values()), 1.0),
    scale.axis(values),
    {},
  )
  caption = 'Line: mean over seeds; band: 10th to 90th percentile of the seeds.'
  if references:
    listed = formats.listing(list(references))
    caption += f' Dashed: {listed}, without gradient descent.'
  if scale.note:
    caption += f' Vertical axis: {scale.note}.'
  ends = [
    f'{arm} from {formats.value(name, float(c.mean[0]))} to '
    f'{formats.value(name, float(c.mean[-1]))}'
    for arm, c in everything.items()
  ]
  alt = f'Test {name} by step of the horizon: {"; ".join(ends)}.'
  return canvas.finish(fig, 'horizon', 'Error along the horizon', caption, alt)
