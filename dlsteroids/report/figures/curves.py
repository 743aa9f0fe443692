"""Learning curves: a panel for every contrast, against steps or FLOPs."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes

from dlsteroids.analysis import curves as curves_lib
from dlsteroids.analysis import summary
from dlsteroids.report import blocks, formats
from dlsteroids.report.figures import canvas, panels, scales

MOST = 32  # panels; more are not read, and take a second each to draw


class _Panel(NamedTuple):
  """A panel's title, its arm's curve and (unless alone) its reference's, and a note."""

  title: str
  arm: curves_lib.Curve | None
  reference: curves_lib.Curve | None
  note: str


def draw_curves(source: summary.Source, x: str) -> blocks.Drawing | None:
  """Curves of the deciding metric over seeds; None if none has two evaluations.

  Args:
    source: the study; its curves are of one tuning state.
    x: 'step' or 'flops' (nominal training FLOPs so far).
  """
  study, split = source.study, curves_lib.shown_split(source)
  contrasted = _make_panels(source, x)
  items = _pick(contrasted)
  curves = [c for p in items for c in (p.arm, p.reference) if c is not None]
  if all(len(curve.x) < 2 for curve in curves):
    return None
  grid = panels.Grid(len(items), left=0.55)
  fig = canvas.make_figure(0.57 + grid.pitch * grid.rows)
  values = np.concatenate([np.r_[c.low, c.high] for c in curves])
  size = int(study.data.sizes.get(split, 0))
  scale = scales.choose(study.metric.name, study.metric.better, values.tolist(), size)
  y = scale.axis(values)
  xs = np.concatenate([c.x for c in curves])
  low = float(min(xs[xs > 0], default=0.0)) if x == 'flops' else 0.0
  for i, panel in enumerate(items):
    ax = grid.add(fig, i)
    scales.apply(ax, y=y, label_y=grid.is_first(i))
    if panel.reference:
      panels.plot(ax, place(panel.reference, scale), canvas.GREY, 1.2)
    if panel.arm:
      panels.plot(ax, place(panel.arm, scale), canvas.BLUE, 1.6)
    look: dict[str, Any] = {'color': canvas.SOFT, 'ha': 'right', 'fontsize': 7.5}
    ax.text(0.97, 0.07, panel.note, transform=ax.transAxes, **look)
    frame_x(ax, low, float(xs.max()), x)
    grid.name(fig, i, panel.title)
  what = f'{split} {formats.name(study.metric.name)}'
  against = 'training FLOPs (nominal)' if x == 'flops' else 'steps'
  canvas.write(fig, 0.02, 0.16, f'{what} against {against}', fontsize=8)
  if any(panel.reference for panel in items):
    names = {contrast.reference for contrast in study.contrasts}
    reference = names.pop() if len(names) == 1 else 'its reference'
    keys = [panels.Key('the arm', canvas.BLUE), panels.Key(reference, canvas.GREY)]
    panels.write_legend(fig, keys)
  whose = f' of the {summary.RUNS[source.tables.shown]}' if study.tuned else ''
  caption = f'Line: mean over seeds{whose}; band: 10th to 90th percentile of the seeds.'
  if any(panel.note.endswith('diverged') for panel in items):
    caption += (
      ' Diverged runs end where they diverged; an arm most of whose runs diverged has '
      'no curve.'
    )
  if scale.note:
    caption += f' Vertical axis: {scale.note}.'
  if len(items) < len(contrasted):
    caption += (
      f' Shown are {len(items)} of {len(contrasted)}, those that end farthest from '
      'their references; curves.csv has all.'
    )
  ends = [
    f'{p.title} ends at {formats.value(study.metric.name, float(p.arm.mean[-1]))}'
    for p in items
    if p.arm is not None
  ]
  short = 'FLOPs' if x == 'flops' else 'steps'
  return canvas.finish(
    fig,
    f'curves_{short.lower()}',
    'Learning against compute' if x == 'flops' else 'Learning against steps',
    caption,
    f'Learning curves of {what} against {short}: {"; ".join(ends)}.',
  )


def _make_panels(source: summary.Source, x: str) -> list[_Panel]:
  """A panel for every contrast; without contrasts one for every arm."""
  study = source.study
  sides = [
    (c.arm, tuple(c.arm_cells), tuple(c.reference_cells)) for c in study.contrasts
  ]
  sides = sides or [(arm.name, (arm.name,), ()) for arm in study.arms]
  cells = {side for _, *pair in sides for side in pair}
  tuned = source.tables.shown
  counts = {side: summary.diverged_runs(source, side, tuned) for side in cells}
  silent = {side for side in cells if summary.is_mostly_diverged(*counts[side])}
  curves = curves_lib.learning(source, cells - silent, x)
  items = []
  for title, arm, reference in sides:
    diverged, runs = counts[arm]
    note = f'{diverged} of {runs} runs diverged' if diverged else ''
    note = note or ('' if arm in curves else 'no runs yet')
    items.append(_Panel(title, curves.get(arm), curves.get(reference), note))
  return items


def _pick(items: Sequence[_Panel]) -> list[_Panel]:
  """At most `MOST` panels: those whose curves end farthest from their references'."""

  def distance(panel: _Panel) -> float:
    if panel.arm is None or panel.reference is None:
      return 0.0
    gap = abs(float(panel.arm.mean[-1] - panel.reference.mean[-1]))
    return gap if math.isfinite(gap) else 0.0

  chosen = sorted(range(len(items)), key=lambda i: -distance(items[i]))[:MOST]
  return [items[i] for i in sorted(chosen)]


def place(curve: curves_lib.Curve, scale: scales.Scale) -> curves_lib.Curve:
  """The curve with y as positions on `scale`."""
  return curves_lib.Curve(curve.x, *map(scale.place, curve[1:]))


def frame_x(ax: axes.Axes, low: float, high: float, x: str) -> None:
  """Limits and a few ticks; logarithmic where FLOPs span more than tenfold."""
  ticks: Sequence[float]
  if x == 'flops' and low > 0 and high / low > 10:
    ax.set_xscale('log')
    by_place = {math.log(tick): tick for tick in scales.log_ticks(low, high)}
    places = scales.thin_out(list(by_place), 0.25 * math.log(high / low))
    ticks = [by_place[place] for place in places]
    ax.set_xlim(low * 0.9, high * 1.1)
  else:
    ticks = [t for t in np.linspace(0, _round_down(high), 3).tolist() if t <= high]
    ax.set_xlim(min(0.0, low), high * 1.02)
  ax.set_xticks(ticks, [formats.tick(tick) for tick in ticks])
  ax.minorticks_off()
  # Labels at a panel's edge would run into the next panel's.
  for tick, label in zip(ticks, ax.get_xticklabels()):
    share = (ax.transData.transform((tick, 0))[0] - ax.bbox.x0) / ax.bbox.width
    side: Any = 'left' if share < 0.08 else 'right' if share > 0.92 else 'center'
    label.set_horizontalalignment(side)


def _round_down(high: float) -> float:
  """The largest 1, 2, 2.5, 4, 5, 6 or 8 times a power of ten up to `high`."""
  if high <= 0:
    return 1.0
  decade = 10.0 ** np.floor(np.log10(high))
  return float(decade * max(f for f in (1, 2, 2.5, 4, 5, 6, 8) if f * decade <= high))
