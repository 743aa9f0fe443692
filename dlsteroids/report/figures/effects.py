"""The forest: every effect with its interval and, where there is one, its verdict."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.analysis import pairs, summary
from dlsteroids.report import facts, formats
from dlsteroids.report.figures import canvas, scales

_LEFT = 2.1  # inches for the names
_RIGHT = 2.1  # inches for the numbers of a share
_RIGHT_RAW = 2.45  # and for those in raw units, which are longer
_LETTER = 0.056  # inches of a letter of 7 points, on average
_TOP = 0.75
_MARKS = {0: 'o', 1: 'D'}
_Groups = list[tuple[int, list[dict[str, Any]]]]  # rows by tuning state


def name_change(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  """How the arm's level differs from its reference's: 'relu → tanh'."""
  keys = ('arm', 'factor', 'level', 'reference')
  assigned = {arm['name']: dict(arm['assignment']) for arm in study['arms']}
  for contrast in study['contrasts']:
    if all(str(contrast[key]) == str(row[key]) for key in keys):
      new, old = (
        assigned.get(side[0], {}).get(row['factor']) for side in pairs.cells(contrast)
      )
      if new is not None and old is not None:
        return f'{old} → {new}'
  return f'{row["reference"]} → {row["arm"]}'


def draw_forest(source: summary.Source) -> canvas.Drawing | None:
  """Effects on the deciding metric with their intervals; None if there are none."""
  study, metric = source.study, pairs.deciding(source.study)
  groups = [(s, summary.effects_of(source, metric, s)) for s in summary.states(source)]
  count = max((len(rows) for _, rows in groups), default=0)
  if not count:
    return None
  pitch = 0.46 if len(groups) > 1 else 0.4
  fig = canvas.make_figure(_TOP + pitch * count + 0.35)
  spans = _spans([row for _, rows in groups for row in rows], study['margin'])
  gap = 0.22
  room = canvas.WIDTH - _LEFT - _right(metric)
  width = (room - gap * (len(spans) - 1)) / len(spans)
  names = ('whole range', 'magnified around zero') if len(spans) > 1 else ('',)
  for i, span in enumerate(spans):
    ax = canvas.add_axes(fig, _LEFT + i * (width + gap), _TOP, width, pitch * count)
    _prepare(ax, study, count, span, names[i])
    for state, rows in groups:
      for height, row in enumerate(rows):
        _draw_row(ax, row, height + _shift(groups, state), state, span)
  for height, row in enumerate(groups[-1][1]):
    _write_name(fig, study, row, _TOP + pitch * (height + 0.5))
  for state, rows in groups:
    for height, row in enumerate(rows):
      middle = _TOP + pitch * (height + 0.5 + _shift(groups, state))
      kind = ('untuned', 'tuned')[state] if len(groups) > 1 else ''
      _write_numbers(fig, metric, row, middle, kind)
  _write_heading(fig, study, metric)
  caption, alt = _caption(study, groups), _alt(metric, groups)
  return canvas.finish(fig, 'effects', 'Effects', caption, alt)


def _right(metric: str) -> float:
  return _RIGHT if formats.is_share(metric) else _RIGHT_RAW


def _shift(groups: _Groups, state: int) -> float:
  """Where in its row a tuning state stands, in rows off the middle."""
  if len(groups) < 2:
    return 0.0
  return 0.17 if state else -0.17


def _finite(value: Any) -> bool:
  return not formats.missing(value) and math.isfinite(value)


def _ends(row: Mapping[str, Any]) -> list[float]:
  """A row's finite numbers: the difference and the ends of its interval."""
  return [row[k] for k in ('delta', 'ci_low', 'ci_high') if _finite(row[k])]


def _span(rows: Sequence[Mapping[str, Any]], margin: float) -> tuple[float, float]:
  """An axis that holds zero, the margin and all `rows`, with some air."""
  ends = [end for row in rows for end in _ends(row)]
  low, high = min([0.0, -1.3 * margin, *ends]), max([0.0, 1.3 * margin, *ends])
  air = 0.08 * (high - low) or 1e-3
  return low - air, high + air


def _spans(
  rows: Sequence[Mapping[str, Any]], margin: float
) -> list[tuple[float, float]]:
  """One axis, or two where small effects need a closer look than the large allow."""
  sizes = [max(map(abs, _ends(row)), default=0.0) for row in rows]
  typical = 3 * float(np.median(sizes))
  near = [row for row, size in zip(rows, sizes) if size <= typical]
  whole, close = _span(rows, margin), _span(near, margin)
  small = whole[1] - whole[0] > 4 * (close[1] - close[0])
  return [whole, close] if small and len(near) < len(rows) else [whole]


def _prepare(
  ax: axes.Axes,
  study: Mapping[str, Any],
  rows: int,
  span: tuple[float, float],
  title: str,
) -> None:
  ax.set_xlim(*span)
  ax.set_ylim(rows - 0.5, -0.5)
  ax.set_yticks([])
  ax.spines['left'].set_visible(False)
  if study['margin']:
    ax.axvspan(-study['margin'], study['margin'], color=canvas.VIOLET, alpha=0.1, lw=0)
  ax.axvline(0, color=canvas.GREY, linewidth=0.8)
  column = pairs.deciding(study)
  ticks, _ = scales.make_linear('').ticks(*span)
  labels = [_label(column, t) for t in ticks]
  ax.set_xticks(ticks, labels)
  ax.grid(axis='x')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  if title:
    ax.set_title(title, fontsize=7.5, color=canvas.SOFT, pad=4)


def _label(column: str, tick: float) -> str:
  """A difference without the zeros that end its decimals."""
  text = formats.delta(column, tick)
  return text.rstrip('0').rstrip('.') if '.' in text and 'e' not in text else text


def _draw_row(
  ax: axes.Axes,
  row: Mapping[str, Any],
  height: float,
  state: int,
  span: tuple[float, float],
) -> None:
  if not _finite(row['delta']):
    return
  colour = canvas.VERDICTS.get(row['verdict'], canvas.GREY)
  low, high = (
    row['delta'] if formats.missing(row[k]) else row[k] for k in ('ci_low', 'ci_high')
  )
  dashes: Any = (0, (2, 2)) if _is_descriptive(row) else 'solid'
  ends = np.clip([low, high], *span)
  if ends[0] < ends[1]:
    ax.plot(ends, [height, height], color=colour, linewidth=1.6, linestyle=dashes)
  for end, mark in ((low, '<'), (high, '>')):
    if not span[0] <= end <= span[1]:
      ax.plot(np.clip(end, *span), height, mark, color=colour, markersize=4)
  if span[0] <= row['delta'] <= span[1]:
    face = canvas.PAPER if formats.missing(row['verdict']) else colour
    look: dict[str, Any] = {
      'color': colour,
      'markerfacecolor': face,
      'markersize': 6 - state,
    }
    ax.plot(row['delta'], height, _MARKS[state], **look)


def _is_descriptive(row: Mapping[str, Any]) -> bool:
  return 'descriptive' in str(row['ci_kind'])


def _write_name(
  fig: figures.Figure, study: Mapping[str, Any], row: Mapping[str, Any], middle: float
) -> None:
  name = formats.clip(str(row['factor'] or row['arm']), 26)
  look = {'color': canvas.INK, 'fontsize': 8.5, 'weight': 'bold'}
  canvas.write(fig, 0.02, middle - 0.075, name, **look)
  canvas.write(fig, 0.02, middle + 0.085, formats.clip(name_change(study, row), 33))


def _write_numbers(
  fig: figures.Figure, metric: str, row: Mapping[str, Any], middle: float, kind: str
) -> None:
  numbers = formats.delta(metric, row['delta'])
  if _finite(row['delta']):
    numbers += f' {formats.interval(metric, row["ci_low"], row["ci_high"])}'
  verdict = '' if formats.missing(row['verdict']) else row['verdict']
  look: dict[str, Any] = {
    'color': canvas.VERDICTS.get(verdict, canvas.SOFT),
    'weight': 'bold' if verdict else 'normal',
  }
  words = verdict or kind
  left = canvas.WIDTH - _right(metric) + 0.14
  room = canvas.WIDTH - left - _LETTER * (len(words) + 1)
  points = min(7, 7 * room / (_LETTER * len(numbers)))
  canvas.write(fig, left, middle, numbers, fontsize=points)
  canvas.write(fig, canvas.WIDTH, middle, words, ha='right', fontsize=7, **look)


def _write_heading(fig: figures.Figure, study: Mapping[str, Any], metric: str) -> None:
  what = f'{facts.words(study, metric)}: arm − reference'
  if formats.is_share(metric):
    what += f', {formats.unit_of(metric)}'
  canvas.write(fig, _LEFT, 0.18, what, fontsize=8)
  ends = ('worse', 'better')
  left, right = ends if study['metric']['better'] == 'higher' else ends[::-1]
  canvas.write(fig, _LEFT, 0.4, f'◂ arm {left}')
  canvas.write(fig, canvas.WIDTH - _right(metric), 0.4, f'arm {right} ▸', ha='right')


def _caption(study: Mapping[str, Any], groups: _Groups) -> str:
  words = ['Mean paired difference over seeds with its interval.']
  if len(groups) > 1:
    words.append('Circles: as configured. Diamonds: tuned, an equal grid per arm.')
  words.append('Filled marks carry a verdict; hollow ones are descriptive.')
  if any(_is_descriptive(row) for _, rows in groups for row in rows):
    words.append('Dashed intervals are Student-t, descriptive only.')
  if study['margin']:
    words.append('Shaded: the declared margin of equivalence.')
  return ' '.join(words)


def _alt(metric: str, groups: _Groups) -> str:
  parts = [
    f'{row["arm"]} {formats.delta(metric, row["delta"], unit=True)}'
    + ('' if formats.missing(row['verdict']) else f' ({row["verdict"]})')
    for row in groups[-1][1]
  ]
  return f'Effects on {formats.name(metric)} with intervals: {"; ".join(parts)}.'
