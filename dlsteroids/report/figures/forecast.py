"""Pictures of forecasts: a few windows with what came, and errors along the horizon."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes

from dlsteroids.analysis import summary
from dlsteroids.report import facts, formats, probes
from dlsteroids.report.figures import canvas, panels, scales
from dlsteroids.report.figures import curves as curves_lib

_WINDOWS = 3
_TARGETS = 3
_OTHERS = 2  # arms beside the intact one
_LEAST = 24  # steps of the past that are shown at least, where there are as many
_LEFT = 0.6
_GAP = 0.4
_HIGH = 1.3
_PITCH = 1.72
_COLOURS = (canvas.BLUE, canvas.ORANGE, canvas.VIOLET)
_DASHES: tuple[Any, ...] = ('solid', (0, (4, 1.6)), (0, (1.2, 1.4)))


class _Windows(NamedTuple):
  """Past [M, L, D], truth [M, H, D], and forecasts [M, H, D] by arm, intact first."""

  past: np.ndarray
  truth: np.ndarray
  forecasts: Mapping[str, np.ndarray]


def draw_forecasts(source: summary.Source) -> canvas.Drawing | None:
  """A few test windows: past, truth, and what the most different arms forecast."""
  found = _gather(source)
  if found is None:
    return None
  past, truth, forecasts = found
  shown = min(_WINDOWS, len(truth))
  dims = truth.shape[2]
  picked = sorted({round(d) for d in np.linspace(0, dims - 1, min(_TARGETS, dims))})
  names = facts.targets(source.study, dims)
  keys = [panels.Entry('past', canvas.GREY)]
  keys.append(panels.Entry('truth', canvas.INK))
  keys += map(panels.Entry, forecasts, _COLOURS, _DASHES)
  fig = canvas.make_figure(0.62 + _PITCH * len(picked) + 0.12)
  width = (canvas.WIDTH - _LEFT - _GAP * (shown - 1) - 0.08) / shown
  panels.write_keys(fig, keys, 0.16)
  back = min(past.shape[1], max(_LEAST, truth.shape[1]))
  unit = str(facts.of(source.study).get('unit') or '')
  for row, dim in enumerate(picked):
    top = 0.62 + _PITCH * row
    words = formats.clip(names[dim] + (f', {unit}' if unit else ''), 60)
    look = {'weight': 'bold', 'fontsize': 8, 'color': canvas.INK}
    canvas.write(fig, 0.02, top - 0.18, words, **look)
    for column in range(shown):
      box = _LEFT + column * (width + _GAP), top, width, _HIGH
      ax = canvas.add_axes(fig, *box)
      lines = [past[column, -back:, dim], truth[column, :, dim]]
      lines += [forecast[column, :, dim] for forecast in forecasts.values()]
      _draw_window(ax, lines, named=row == len(picked) - 1)
  what = 'target' if dims == 1 else 'targets'
  several = (
    f'{len(picked)} of {dims} {what}' if len(picked) < dims else f'{dims} {what}'
  )
  caption = (
    f'{several} on the original scale in {shown} test window{"s" * (shown > 1)} of the '
    'first seed; steps from the start of the forecast.'
  )
  if back < past.shape[1]:
    caption += f' Of the past, the last {back:,} of {past.shape[1]:,} steps are shown.'
  if len(forecasts) > 1:
    caption += (
      f' Beside {next(iter(forecasts))}: of all arms the most different from it.'
    )
  alt = f'Forecasts of {formats.listing(list(forecasts))} beside what came.'
  return canvas.finish(fig, 'forecasts', 'Past, truth and forecasts', caption, alt)


def _gather(source: summary.Source) -> _Windows | None:
  """The intact arm's windows, its forecasts and those of the most different arms."""
  intact = summary.intact_arm(source.study)
  arrays = probes.of(source, intact)
  parts = [arrays.get(f'probe/forecast/{name}') for name in ('window', 'target')]
  means = probes.by_arm(source, 'probe/forecast/mean')
  past, truth = (np.asarray([] if p is None else p, float) for p in parts)
  if intact not in means or not truth.size or past.ndim != 3 or truth.ndim != 3:
    return None
  if past.shape[2] != truth.shape[2]:
    return None
  means = {
    arm: mean.astype(float)
    for arm, mean in means.items()
    if mean.shape == truth.shape and np.isfinite(mean).all()
  }
  if intact not in means:
    return None
  mine = means.pop(intact)
  spread = np.std(truth, axis=(0, 1))
  spread = np.where(spread > 0, spread, 1)  # so that no target outweighs another
  apart = {
    arm: float(np.mean(((mean - mine) / spread) ** 2)) for arm, mean in means.items()
  }
  others = sorted(means, key=lambda arm: -apart[arm])[:_OTHERS]
  forecasts = {intact: mine} | {arm: means[arm] for arm in others}
  return _Windows(past, truth, forecasts)


def _draw_window(ax: axes.Axes, lines: Sequence[np.ndarray], *, named: bool) -> None:
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
  everything = np.concatenate(lines)
  scale = scales.make_linear('')
  low, high = scales.limits(scale, everything, 0.06)
  ax.set_ylim(low, high)
  ax.set_yticks(*scale.ticks(low, high))
  half = max(1, len(truth) // 2)
  every = half * -(-(len(past) + len(truth)) // (5 * half))
  steps = range(-(len(past) // every) * every, len(truth) + 1, every)
  labels = [f'{step:,}'.replace('-', formats.MINUS) for step in steps]
  ax.set_xticks(steps, labels if named else [])
  ax.set_xlim(-len(past), after[-1] + 0.5)
  ax.tick_params(length=0)
  ax.grid(axis='y')
  ax.set_axisbelow(True)
  ax.spines['left'].set_visible(False)


def draw_horizon(source: summary.Source) -> canvas.Drawing | None:
  """The error at every step of the horizon, over seeds; None for a single step."""
  study = source.study
  own = study['metric']['name']
  for name in dict.fromkeys((own, 'mse', 'mae')):
    column = f'test/{name}_by_step'
    curves = _by_step(source, column)
    if curves:
      break
  else:
    return None
  beside = {}
  for reference, row in facts.references(study).items():
    values = np.ravel(np.asarray(row.get(column, ()), float))
    if values.size and np.isfinite(values).all():
      steps = np.arange(1, values.size + 1)
      beside[str(reference)] = curves_lib.Curve(steps, values, values, values)
  beside = dict(list(beside.items())[: len(panels.DASHES)])
  lines = [*curves.values(), *beside.values()]
  flat = np.concatenate([np.r_[c.low, c.high] for c in lines])
  scale = scales.choose(name, study['metric']['better'], flat.tolist(), 0)
  low, high = scales.limits(scale, flat)
  ticks, labels = scale.ticks(float(flat.min()), float(flat.max()))
  y = panels.Axis((low, high), scale.place(np.array(ticks)).tolist(), labels)
  x = panels.count_axis(max(float(c.x[-1]) for c in lines), 1.0)
  placed = {arm: _place(curve, scale) for arm, curve in curves.items()}
  others = {arm: _place(curve, scale) for arm, curve in beside.items()}
  title = f'test {name} against the step of the horizon'
  fig = panels.draw(title, placed, others, x, y, {})
  caption = 'Line: mean over seeds; band: 10th to 90th percentile of the seeds.'
  if beside:
    caption += f' Dashed: {formats.listing(list(beside))}, without gradient descent.'
  if scale.note:
    caption += f' Vertical axis: {scale.note}.'
  ends = [
    f'{arm} from {formats.value(name, float(c.mean[0]))} to '
    f'{formats.value(name, float(c.mean[-1]))}'
    for arm, c in (curves | beside).items()
  ]
  alt = f'Test {name} by step of the horizon: {"; ".join(ends)}.'
  return canvas.finish(fig, 'horizon', 'Error along the horizon', caption, alt)


def _place(curve: curves_lib.Curve, scale: scales.Scale) -> curves_lib.Curve:
  return curves_lib.Curve(curve.x, *map(scale.place, curve[1:]))


def _by_step(source: summary.Source, column: str) -> dict[str, curves_lib.Curve]:
  """By arm, the intact one first: mean and percentiles over seeds at every step."""
  intact = summary.intact_arm(source.study)
  arms = [arm['name'] for arm in source.study['arms']]
  curves = {}
  for arm in sorted(arms, key=lambda arm: arm != intact):
    rows = []
    for seed in source.study['seeds']:
      arrays = source.arrays(arm, int(seed)) or {}
      if column in arrays and np.isfinite(arrays[column]).all():
        rows.append(np.ravel(arrays[column]).astype(float))
    if rows and rows[0].size > 1:
      values = np.stack(rows)  # [S, H]
      low, high = np.quantile(values, [0.1, 0.9], axis=0)
      steps = np.arange(1, values.shape[1] + 1)
      curves[arm] = curves_lib.Curve(steps, values.mean(axis=0), low, high)
  return curves if intact in curves else {}
