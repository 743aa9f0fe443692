"""Every seed's result as a point, beside the same seed of the intact arm."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.analysis import pairs, summary
from dlsteroids.report import facts, formats
from dlsteroids.report.figures import canvas, scales

MANY = 100  # seeds beyond which points would hide one another, and fill the page
_LEFT = 2.25  # inches for the names
_RIGHT = 0.85  # inches for the means
_PITCH = 0.4
_TOP = 0.12
_LINE = 0.17  # inches for a line of references' names
_AIR = 0.5  # how far references may widen the axis, in widths of the seeds' range


def draw_seeds(source: summary.Source) -> canvas.Drawing | None:
  """A row an arm: its seeds, their mean, and lines to the intact arm's seeds."""
  study, metric = source.study, pairs.deciding(source.study)
  intact = summary.intact_arm(study)
  scores = summary.scores_of(source, pairs.declared(study))
  flat = scores.value.to_numpy()
  flat = flat[np.isfinite(flat)]
  if not flat.size:
    return None
  size = int(study['data']['sizes'].get(study['metric']['split'], 0))
  scale = scales.choose(metric, study['metric']['better'], flat.tolist(), size)
  arms = [str(name) for name in scores.value.columns]
  near, far = _sort_references(facts.scores(study, metric), scale, flat)
  shown = np.r_[flat, list(near.values())]
  width = canvas.WIDTH - _LEFT - _RIGHT
  labels = _place_labels(near, scales.limits(scale, shown, 0.04), scale, width)
  top = _TOP + _LINE * (1 + max((label.line for label in labels), default=-1))
  fig = canvas.make_figure(top + _PITCH * len(arms) + 0.5)
  ax = canvas.add_axes(fig, _LEFT, top, width, _PITCH * len(arms))
  _prepare(ax, study, scale, shown, len(arms))
  for label in labels:
    _draw_reference(fig, ax, label, top)
  for height, arm in enumerate(arms):
    _draw_arm(ax, scores, arm, intact, height, scale)
    middle = top + _PITCH * (height + 0.5)
    _label(fig, scores.value[arm], metric, middle, bold=arm == intact)
  caption = (
    'A point is a seed, the bar their mean (in figures at the right). Thin lines join '
    f'each arm’s seeds to the same seeds of {intact}, in grey above them.'
  )
  if len(scores.value) > MANY:
    caption = (
      f'Of {len(scores.value):,} seeds: the thick bar holds the middle half, the thin '
      'one nine tenths, points are the lowest and the highest; the upright bar is the '
      'mean (in figures at the right).'
    )
  if scores.diverged.to_numpy().any():
    caption += ' Crosses: diverged runs, at the fallback score.'
  if near:
    caption += f' Dashed: {facts.nature(near)}.'
  if far:
    caption += f' Outside the axis{_how(far)}: {_list(metric, far)}.'
  if scale.note:
    caption += f' Axis: {scale.note}.'
  alt = _describe(metric, scores.value)
  if near or far:
    alt += f' Beside them{_how(near | far)}: {_list(metric, near | far)}.'
  return canvas.finish(fig, 'seeds', 'Every seed', caption, alt)


def _prepare(
  ax: axes.Axes,
  study: Mapping[str, Any],
  scale: scales.Scale,
  values: np.ndarray,
  rows: int,
) -> None:
  ax.set_xlim(*scales.limits(scale, values, 0.04))
  ax.set_ylim(rows - 0.5, -0.5)
  ticks, labels = scale.ticks(float(values.min()), float(values.max()))
  ax.set_xticks(scale.place(np.array(ticks)), labels)
  ax.set_yticks([])
  ax.spines['left'].set_visible(False)
  ax.tick_params(length=0)
  ax.grid(axis='x')
  ax.set_axisbelow(True)
  ax.set_xlabel(facts.words(study, pairs.deciding(study)), fontsize=8)


class _Label(NamedTuple):
  """A reference: its name, its place on the axis, and where its name is written."""

  name: str
  place: float
  left: float  # inches from the axis' left end
  line: int  # counted upwards


def _how(names: Mapping[str, float]) -> str:
  return ', without gradient descent' if set(names) - {facts.FLOOR} else ''


def _list(metric: str, values: Mapping[str, float]) -> str:
  return formats.listing([f'{n} {formats.value(metric, v)}' for n, v in values.items()])


def _sort_references(
  scores: Mapping[str, float], scale: scales.Scale, seeds: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
  """The references that lie near the seeds' results, and those too far to draw."""
  low, high = scales.limits(scale, seeds, _AIR)
  near: dict[str, float] = {}
  far: dict[str, float] = {}
  for name, score in scores.items():
    place = float(scale.place(np.array(score)))
    (near if low <= place <= high else far)[name] = score
  return near, far


def _place_labels(
  scores: Mapping[str, float],
  limits: tuple[float, float],
  scale: scales.Scale,
  width: float,
) -> list[_Label]:
  """Writes names above their lines, on a further line where they would meet."""
  ends: list[float] = []  # of each line, in inches
  labels = []
  places = {name: float(scale.place(np.array(v))) for name, v in scores.items()}
  for name in sorted(places, key=places.__getitem__):
    text = formats.clip(name, 32)
    wide = 0.062 * len(text)
    middle = width * (places[name] - limits[0]) / (limits[1] - limits[0])
    left = min(max(0.0, middle - wide / 2), width - wide)
    line = next((i for i, end in enumerate(ends) if end <= left), len(ends))
    ends[line : line + 1] = [left + wide + 0.1]
    labels.append(_Label(text, places[name], left, line))
  return labels


def _draw_reference(
  fig: figures.Figure, ax: axes.Axes, label: _Label, top: float
) -> None:
  look: dict[str, Any] = {'color': canvas.GREY, 'linewidth': 0.9}
  ax.axvline(label.place, linestyle=(0, (4, 2.5)), **look)
  middle = top - 0.09 - _LINE * label.line
  canvas.write(fig, _LEFT + label.left, middle, label.name, fontsize=7)


def _label(
  fig: figures.Figure, values: pd.Series, metric: str, middle: float, *, bold: bool
) -> None:
  look: dict[str, Any] = {'color': canvas.INK, 'fontsize': 8.5}
  look['weight'] = 'bold' if bold else 'normal'
  canvas.write(fig, 0.02, middle, formats.clip(str(values.name), 32), **look)
  found = values.dropna()
  words = formats.value(metric, float(found.mean())) if len(found) else 'no runs yet'
  canvas.write(fig, canvas.WIDTH, middle, words, ha='right')


def _spread(places: np.ndarray) -> np.ndarray:
  """Offsets that part points of the same place, so that each can be counted."""
  seen: dict[float, int] = {}
  offsets = []
  for place in places.round(6).tolist():
    turn = seen.get(place, 0)
    seen[place] = turn + 1
    offsets.append(0.07 * (-1) ** turn * ((turn + 1) // 2))
  return np.array(offsets)


def _draw_arm(
  ax: axes.Axes,
  scores: pairs.Scores,
  arm: str,
  intact: str,
  height: int,
  scale: scales.Scale,
) -> None:
  values = scores.value[arm].to_numpy(float)
  there = np.isfinite(values)
  if not there.any():
    return
  mine, bad = scale.place(values[there]), scores.diverged[arm].to_numpy()[there]
  middle = height + (0.0 if arm == intact else 0.12)
  mean = scale.place(np.array([values[there].mean()] * 2))
  ax.plot(mean, [middle - 0.2, middle + 0.2], color=canvas.INK, linewidth=1.6)
  if len(values) > MANY:
    _draw_many(ax, mine[~bad], middle)
    ax.plot(mine[bad], np.full(bad.sum(), middle), 'x', color=canvas.ORANGE)
    return
  level = middle + _spread(mine)
  if arm != intact:
    theirs = scale.place(scores.value[intact].to_numpy(float)[there])
    above = np.full(len(mine), height - 0.3)
    lines = np.stack([theirs, mine]), np.stack([above, level])
    ax.plot(*lines, color=canvas.GREY, linewidth=0.6, alpha=0.4)
    ax.plot(theirs, above, 'o', color=canvas.GREY, markersize=2, alpha=0.6)
  dot: dict[str, Any] = {'markersize': 4.2, 'alpha': 0.6, 'markeredgewidth': 0}
  ax.plot(mine[~bad], level[~bad], 'o', color=canvas.BLUE, **dot)
  ax.plot(mine[bad], level[bad], 'x', color=canvas.ORANGE, markersize=5)


def _draw_many(ax: axes.Axes, places: np.ndarray, middle: float) -> None:
  """The middle half and nine tenths of very many seeds as bars, the ends as points."""
  if not len(places):
    return
  ends = np.quantile(places, [0, 1])
  for inside, wide in ((0.9, 1.2), (0.5, 5.0)):
    span = np.quantile(places, [(1 - inside) / 2, (1 + inside) / 2])
    look: dict[str, Any] = {'color': canvas.BLUE, 'alpha': 0.6, 'linewidth': wide}
    ax.plot(span, [middle] * 2, solid_capstyle='butt', **look)
  ax.plot(ends, [middle] * 2, 'o', color=canvas.BLUE, markersize=2.5)


def _describe(metric: str, values: pd.DataFrame) -> str:
  parts = [
    f'{arm} {formats.value(metric, float(mine.min()))} to '
    f'{formats.value(metric, float(mine.max()))} over {mine.count()} seeds'
    for arm, mine in values.items()
    if mine.count()
  ]
  return f'{formats.name(metric)} of every seed by arm: {"; ".join(parts)}.'
