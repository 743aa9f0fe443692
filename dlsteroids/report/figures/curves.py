"""Learning curves: a panel per contrast, against steps and against FLOPs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.analysis import summary
from dlsteroids.report import formats
from dlsteroids.report.figures import canvas, scales

_COLUMNS = 4
_LEFT = 0.55
_GAP = 0.22


class Curve(NamedTuple):
  """One side of a panel: x [E], the seeds' mean and 10th, 90th percentile [E]."""

  x: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


class Panel(NamedTuple):
  """What is drawn in one panel: a title, the arm and (unless alone) its reference."""

  title: str
  arm: Curve | None
  reference: Curve | None


def split_of(source: summary.Source) -> str:
  """The split whose curves are drawn: validation where it was measured."""
  curves = source.tables.curves
  mine = curves[curves['metric'] == source.study['metric']['name']]
  splits = set(mine['split'].unique())
  return next((s for s in ('validation', 'train', 'test') if s in splits), '')


def _gather(frame: pd.DataFrame, cells: Sequence[str], x: str) -> Curve | None:
  """Averages cells within a seed, evaluation by evaluation, then spans the seeds."""
  mine = frame[frame['arm'].isin(list(cells))]
  if not len(mine):
    return None
  # Arms of equal FLOPs differ in steps: their evaluations are matched by number.
  by_seed = mine.groupby(['turn', 'seed'])['value'].mean().unstack('seed')
  values = by_seed.to_numpy(float)
  seen = np.isfinite(values).any(axis=1)
  if not seen.any():
    return None
  place = mine.groupby('turn')[x].mean().to_numpy(float)[seen]
  values = values[seen]
  low, high = np.nanquantile(values, [0.1, 0.9], axis=1)
  return Curve(place, np.nanmean(values, axis=1), low, high)


def _panels(source: summary.Source, x: str) -> list[Panel]:
  study, curves = source.study, source.tables.curves
  mine = (curves['metric'] == study['metric']['name']) & (
    curves['split'] == split_of(source)
  )
  frame = curves[mine].sort_values(['arm', 'seed', 'step'])
  frame = frame.assign(turn=frame.groupby(['arm', 'seed']).cumcount())
  contrasts = study['contrasts']
  if not contrasts:
    arms = [arm['name'] for arm in study['arms']]
    return [Panel(arm, _gather(frame, [arm], x), None) for arm in arms]
  sides = {
    cells: _gather(frame, cells, x)
    for contrast in contrasts
    for cells in (tuple(contrast['arm_cells']), tuple(contrast['reference_cells']))
  }
  return [
    Panel(c['arm'], sides[tuple(c['arm_cells'])], sides[tuple(c['reference_cells'])])
    for c in contrasts
  ]


def plot(
  ax: axes.Axes, curve: Curve | None, scale: scales.Scale, colour: str, wide: float
) -> None:
  """A line and its band; nothing for None."""
  if curve is None:
    return
  edges = scale.place(curve.low), scale.place(curve.high)
  ax.fill_between(curve.x, *edges, color=colour, alpha=0.2, linewidth=0)
  ax.plot(curve.x, scale.place(curve.mean), color=colour, linewidth=wide)


def frame_x(ax: axes.Axes, low: float, high: float, x: str) -> None:
  """Limits and a few ticks; logarithmic where FLOPs span more than tenfold."""
  if x == 'flops' and low > 0 and high / low > 10:
    ax.set_xscale('log')
    ticks, _ = scales.make_log('').ticks(low, high)
    kept: list[float] = []
    for tick in ticks:  # where labels have room beside each other
      if not kept or np.log(tick / kept[-1]) > 0.25 * np.log(high / low):
        kept.append(tick)
    ticks = kept
    ax.set_xlim(low * 0.9, high * 1.1)
  else:
    ticks = [t for t in np.linspace(0, _round(high), 3) if t <= high]
    ax.set_xlim(0 if low >= 0 else low, high * 1.02)
  ax.set_xticks(ticks, [formats.tick(t) for t in ticks])
  ax.minorticks_off()
  # Labels at a panel's edge would run into the next panel's.
  for tick, label in zip(ticks, ax.get_xticklabels()):
    share = (ax.transData.transform((tick, 0))[0] - ax.bbox.x0) / ax.bbox.width
    side: Any = 'left' if share < 0.08 else 'right' if share > 0.92 else 'center'
    label.set_horizontalalignment(side)


def _round(high: float) -> float:
  """The largest 1, 2, 2.5, 4, 5, 6 or 8 times a power of ten up to `high`."""
  if high <= 0:
    return 1.0
  decade = 10.0 ** np.floor(np.log10(high))
  return float(decade * max(f for f in (1, 2, 2.5, 4, 5, 6, 8) if f * decade <= high))


def _arrange(
  panels: Sequence[Panel], source: summary.Source, x: str
) -> tuple[figures.Figure, scales.Scale]:
  study = source.study
  sides = [c for p in panels for c in (p.arm, p.reference) if c is not None]
  values = np.concatenate([np.r_[c.low, c.high] for c in sides])
  metric, split = study['metric']['name'], split_of(source)
  size = int(study['data']['sizes'].get(split, 0))
  scale = scales.choose(metric, study['metric']['better'], values.tolist(), size)
  xs = np.concatenate([c.x for c in sides])
  positive = xs[xs > 0]
  low = float(positive.min()) if x == 'flops' and positive.size else 0.0
  columns = min(_COLUMNS, len(panels))
  rows = -(-len(panels) // columns)
  width = (canvas.WIDTH - _LEFT - _GAP * (columns - 1) - 0.08) / columns
  high, pitch = 1.35, 1.78
  fig = canvas.make_figure(0.45 + pitch * rows + 0.12)
  limits = scales.limits(scale, values)
  ticks, labels = scale.ticks(float(np.nanmin(values)), float(np.nanmax(values)))
  for i, panel in enumerate(panels):
    row, column = divmod(i, columns)
    left = _LEFT + column * (width + _GAP)
    ax = canvas.add_axes(fig, left, 0.62 + pitch * row, width, high)
    plot(ax, panel.reference, scale, canvas.GREY, 1.2)
    plot(ax, panel.arm, scale, canvas.BLUE, 1.6)
    ax.set_ylim(*limits)
    ax.set_yticks(scale.place(np.array(ticks)), labels if column == 0 else [])
    frame_x(ax, low, float(xs.max()), x)
    ax.grid(axis='y')
    ax.set_axisbelow(True)
    ax.tick_params(length=0)
    ax.spines['left'].set_visible(False)
    clipped = formats.clip(panel.title, max(16, int(width * 14)))
    ax.set_title(clipped, loc='left', fontsize=8, color=canvas.INK, weight='bold')
    if panel.arm is None:
      look: dict[str, Any] = {'color': canvas.SOFT, 'ha': 'right', 'fontsize': 7.5}
      ax.text(0.97, 0.07, 'no runs yet', transform=ax.transAxes, **look)
  return fig, scale


def _legend(fig: figures.Figure, panels: Sequence[Panel], source: Any, x: str) -> None:
  metric = f'{split_of(source)} {formats.name(source.study["metric"]["name"])}'
  against = 'training FLOPs (nominal)' if x == 'flops' else 'steps'
  canvas.write(fig, 0.02, 0.16, f'{metric} against {against}', fontsize=8)
  if any(panel.reference is not None for panel in panels):
    names = {c['reference'] for c in source.study['contrasts']}
    reference = names.pop() if len(names) == 1 else 'its reference'
    reference = formats.clip(reference, 24)
    options: dict[str, Any] = {'ha': 'right', 'fontsize': 8, 'weight': 'bold'}
    right = canvas.WIDTH - 0.02
    canvas.write(fig, right, 0.16, f'— {reference}', color=canvas.SOFT, **options)
    right -= 0.25 + 0.078 * (len(reference) + 2)
    canvas.write(fig, right, 0.16, '— the arm', color=canvas.BLUE, **options)


def draw_curves(source: summary.Source, x: str) -> canvas.Drawing | None:
  """Curves of the deciding metric over seeds; None if none were stored.

  Args:
    source: the study; untuned runs are drawn.
    x: 'step' or 'flops' (nominal training FLOPs so far).
  """
  panels = _panels(source, x)
  if not any(panel.arm or panel.reference for panel in panels):
    return None
  fig, scale = _arrange(panels, source, x)
  _legend(fig, panels, source, x)
  title = 'Learning against compute' if x == 'flops' else 'Learning against steps'
  caption = 'Line: mean over seeds; band: 10th to 90th percentile of the seeds.'
  if scale.note:
    caption += f' Vertical axis: {scale.note}.'
  name = f'curves_{"flops" if x == "flops" else "steps"}'
  return canvas.finish(fig, name, title, caption, _alt(source, panels, x))


def _alt(source: summary.Source, panels: Sequence[Panel], x: str) -> str:
  metric: Mapping[str, Any] = source.study['metric']
  ends = [
    f'{p.title} ends at {formats.value(metric["name"], float(p.arm.mean[-1]))}'
    for p in panels
    if p.arm is not None
  ]
  against = 'FLOPs' if x == 'flops' else 'steps'
  what = f'{split_of(source)} {formats.name(metric["name"])}'
  return f'Learning curves of {what} against {against}: {"; ".join(ends)}.'
