"""Every seed's result as a point, beside the same seed of the intact arm."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes

from dlsteroids.analysis import curves, pairs, summary
from dlsteroids.report import blocks, facts, formats
from dlsteroids.report.figures import canvas, scales

MANY = 100  # seeds beyond which points would hide one another, and fill the page
_LEFT = 2.25  # inches for the names
_RIGHT = 0.85  # inches for the means
_PITCH = 0.4
_TOP = 0.12
_LINE = 0.17  # inches for a line of references' names
_AIR = 0.5  # how far references may widen the axis, in widths of the seeds' range


def draw_seeds(source: summary.Source) -> blocks.Drawing | None:
  """A row for every arm: its seeds, their mean, and lines to the intact arm's seeds."""
  study, column = source.study, source.study.metric.column
  intact = summary.intact_arm(study)
  scores = summary.scores_of(source, study.tuned)
  values = scores.value.to_numpy()
  values = values[np.isfinite(values)]
  if not values.size:
    return None
  size = int(study.data.sizes.get(study.metric.split, 0))
  scale = scales.choose(column, study.metric.better, values.tolist(), size)
  arms = [str(name) for name in scores.value.columns]
  near, far = _sort_references(facts.scores(study, column), scale, values)
  axis = scale.axis(np.r_[values, list(near.values())], 0.04)
  width = canvas.WIDTH - _LEFT - _RIGHT
  labels = _place_labels(near, axis.limits, scale, width)
  top = _TOP + _LINE * (1 + max((label.line for label in labels), default=-1))
  fig = canvas.make_figure(top + _PITCH * len(arms) + 0.5)
  ax = canvas.add_axes(fig, _LEFT, top, width, _PITCH * len(arms))
  scales.apply(ax, axis)
  ax.set_ylim(len(arms) - 0.5, -0.5)
  ax.grid(axis='x')
  ax.set_xlabel(facts.words(study, column), fontsize=8)
  for label in labels:
    dashes: Any = (0, (4, 2.5))
    ax.axvline(label.place, linestyle=dashes, color=canvas.GREY, linewidth=0.9)
    above = top - 0.09 - _LINE * label.line
    canvas.write(fig, _LEFT + label.left, above, label.name, fontsize=7)
  for height, arm in enumerate(arms):
    middle = top + _PITCH * (height + 0.5)
    weight = 'bold' if arm == intact else 'normal'
    look: dict[str, Any] = {'color': canvas.INK, 'fontsize': 8.5, 'weight': weight}
    canvas.write(fig, 0.02, middle, formats.clip(arm, 32), **look)
    words = 'no runs yet'
    other = intact if study.paired else arm  # whose equal seeds are joined with its own
    diverged, runs = summary.diverged_runs(source, (arm,), study.tuned)
    if summary.is_mostly_diverged(diverged, runs):
      words = f'{diverged} of {runs} diverged'
      _draw_arm(ax, scores, arm, other, height, scale, math.nan)
    elif runs:
      mean = summary.mean_of(source, arm, column, study.tuned)
      words = formats.value(column, mean)
      _draw_arm(ax, scores, arm, other, height, scale, mean)
    canvas.write(fig, canvas.WIDTH, middle, words, ha='right')
  caption = _caption(column, intact if study.paired else '', scores, near, far)
  if scale.note:
    caption += f' Axis: {scale.note}.'
  alt = _describe(column, scores)
  if near or far:
    alt += f' Beside them{_how(near | far)}: {_list(column, near | far)}.'
  return canvas.finish(fig, 'seeds', 'Every seed', caption, alt)


class _Label(NamedTuple):
  """A reference: its name, its place on the axis, and where its name is written."""

  name: str
  place: float
  left: float  # inches from the axis' left end
  line: int  # counted upwards


def _sort_references(
  scores: Mapping[str, float], scale: scales.Scale, values: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
  """The references that lie near the seeds' results, and those too far to draw."""
  low, high = scales.limits(scale, values, _AIR)
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


def _draw_arm(
  ax: axes.Axes,
  scores: pairs.Scores,
  arm: str,
  intact: str,
  height: int,
  scale: scales.Scale,
  mean: float,
) -> None:
  """A row: the arm's seeds below, the intact arm's above, lines between equal seeds.

  A `mean` of NaN is not drawn.
  """
  values = scores.value[arm].to_numpy(float)
  present = np.isfinite(values)
  places = scale.place(values[present])
  diverged = scores.diverged[arm].to_numpy()[present]
  middle = height + (0.0 if arm == intact else 0.12)
  if math.isfinite(mean):
    at = float(scale.place(np.array(mean)))
    ax.plot([at, at], [middle - 0.2, middle + 0.2], color=canvas.INK, linewidth=1.6)
  if len(values) > MANY:
    _draw_many(ax, places[~diverged], middle)
    levels = np.full(len(places), middle)
  else:
    levels = middle + _offsets(places)
    if arm != intact:
      others = scale.place(scores.value[intact].to_numpy(float)[present])
      above = np.full(len(places), height - 0.3)
      joined = np.stack([others, places]), np.stack([above, levels])
      ax.plot(*joined, color=canvas.GREY, linewidth=0.6, alpha=0.4)
      ax.plot(others, above, 'o', color=canvas.GREY, markersize=2, alpha=0.6)
    dot: dict[str, Any] = {'markersize': 4.2, 'alpha': 0.6, 'markeredgewidth': 0}
    ax.plot(places[~diverged], levels[~diverged], 'o', color=canvas.BLUE, **dot)
  ax.plot(places[diverged], levels[diverged], 'x', color=canvas.ORANGE, markersize=5)


def _offsets(places: np.ndarray) -> np.ndarray:
  """Offsets that part points of the same place, so that each can be counted."""
  counts: dict[float, int] = {}
  offsets = []
  for place in places.round(6).tolist():
    turn = counts.get(place, 0)
    counts[place] = turn + 1
    offsets.append(0.07 * (-1) ** turn * ((turn + 1) // 2))
  return np.array(offsets)


def _draw_many(ax: axes.Axes, places: np.ndarray, middle: float) -> None:
  """The middle half and nine tenths of very many seeds as bars, the ends as points."""
  if not len(places):
    return
  look: dict[str, Any] = {'color': canvas.BLUE, 'alpha': 0.6, 'solid_capstyle': 'butt'}
  for shares, wide in (((0.05, 0.95), 1.2), ((0.25, 0.75), 5.0)):
    span = curves.spread(places, shares=shares)
    ax.plot(span, [middle] * 2, linewidth=wide, **look)
  ends = [places.min(), places.max()]
  ax.plot(ends, [middle] * 2, 'o', color=canvas.BLUE, markersize=2.5)


def _caption(
  column: str,
  intact: str,
  scores: pairs.Scores,
  near: Mapping[str, float],
  far: Mapping[str, float],
) -> str:
  what = 'seed' if intact else 'run'
  caption = f'A point is a {what}, the bar their mean (in figures at the right).'
  if intact:
    caption += (
      f' Thin lines join each arm’s seeds to the same seeds of {intact}, in grey above '
      'them.'
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
    caption += f' Outside the axis{_how(far)}: {_list(column, far)}.'
  return caption


def _how(names: Sequence[str] | Mapping[str, float]) -> str:
  return ', without gradient descent' if set(names) - {facts.FLOOR} else ''


def _list(column: str, values: Mapping[str, float]) -> str:
  return formats.listing([f'{n} {formats.value(column, v)}' for n, v in values.items()])


def _describe(column: str, scores: pairs.Scores) -> str:
  parts = [
    f'{arm} {formats.value(column, float(values.min()))} to '
    f'{formats.value(column, float(values.max()))} over {values.count()} seeds'
    for arm, values in scores.value.items()
    if values.count()
  ]
  return f'{formats.name(column)} of every seed by arm: {"; ".join(parts)}.'
