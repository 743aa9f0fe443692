"""Every seed's result as a point, beside the same seed of the intact arm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.results import canvas, formats, pairs, scales, summary

_LEFT = 2.25  # inches for the names
_RIGHT = 0.85  # inches for the means
_PITCH = 0.4


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
  fig = canvas.make_figure(0.12 + _PITCH * len(arms) + 0.5)
  width = canvas.WIDTH - _LEFT - _RIGHT
  ax = canvas.add_axes(fig, _LEFT, 0.12, width, _PITCH * len(arms))
  _prepare(ax, study, scale, flat, len(arms))
  for height, arm in enumerate(arms):
    _draw_arm(ax, scores, arm, intact, height, scale)
    _label(fig, scores.value[arm], metric, height, bold=arm == intact)
  caption = (
    'A point is a seed, the bar their mean (in figures at the right). Thin lines join '
    f'each arm’s seeds to the same seeds of {intact}, in grey above them.'
  )
  if scores.diverged.to_numpy().any():
    caption += ' Crosses: diverged runs, at the fallback score.'
  if scale.note:
    caption += f' Axis: {scale.note}.'
  alt = _describe(metric, scores.value)
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
  ax.set_xlabel(f'{study["metric"]["split"]} {study["metric"]["name"]}', fontsize=8)


def _label(
  fig: figures.Figure, values: pd.Series, metric: str, height: int, *, bold: bool
) -> None:
  top = 0.12 + _PITCH * (height + 0.5)
  look: dict[str, Any] = {'color': canvas.INK, 'fontsize': 8.5}
  look['weight'] = 'bold' if bold else 'normal'
  canvas.write(fig, 0.02, top, formats.clip(str(values.name), 32), **look)
  found = values.dropna()
  words = formats.value(metric, float(found.mean())) if len(found) else 'no runs yet'
  canvas.write(fig, canvas.WIDTH, top, words, ha='right')


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
  mean = scale.place(np.array([values[there].mean()] * 2))
  ax.plot(mean, [middle - 0.2, middle + 0.2], color=canvas.INK, linewidth=1.6)


def _describe(metric: str, values: pd.DataFrame) -> str:
  parts = [
    f'{arm} {formats.value(metric, float(mine.min()))} to '
    f'{formats.value(metric, float(mine.max()))} over {mine.count()} seeds'
    for arm, mine in values.items()
    if mine.count()
  ]
  return f'{metric} of every seed by arm: {"; ".join(parts)}.'
