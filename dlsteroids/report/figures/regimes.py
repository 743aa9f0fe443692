"""Each contrast under every regime: does its effect survive equal compute?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines
from matplotlib import figure as figures

from dlsteroids.analysis import pairs
from dlsteroids.analysis import regimes as regimes_lib
from dlsteroids.report import facts, formats
from dlsteroids.report import regimes as regime_words
from dlsteroids.report.figures import canvas, effects, scales

_LEFT = 2.1  # inches for the names
_RIGHT = 2.1  # inches for the numbers of a share
_RIGHT_RAW = 2.45  # and for those in raw units, which are longer
_LETTER = 0.056  # inches of a letter of 7 points, on average
_TOP = 0.8
_TITLE = 0.2  # inches more for the axes' titles, where there are two
_LINE = 0.185  # inches of a regime's line in a row
_AIR = 0.17  # inches between rows
_GAP = 0.22
_MARKS = {'steps': 'o', 'flops': 's', 'params': 'D'}
_SIZES = {'steps': 6.0, 'flops': 5.4, 'params': 5.2}  # the eye sees them alike
_Rows = list[list[dict[str, Any]]]  # by contrast, then by regime


def draw_regimes(
  study: Mapping[str, Any], regimes: regimes_lib.Regimes
) -> canvas.Drawing | None:
  """What each component gains, a mark a regime; None with one regime or no effect.

  Args:
    study: the content of study.json.
    regimes: its `regimes.compare`.
  """
  metric = pairs.deciding(study)
  rows = _rows(regimes)
  known = [row for group in rows for row in group if _ends(row)]
  if not known or max(map(len, rows)) < 2:
    return None
  pitch = _LINE * max(map(len, rows)) + _AIR
  spans = _spans(known, study['margin'])
  top = _TOP + _TITLE * (len(spans) > 1)
  fig = canvas.make_figure(top + pitch * len(rows) + 0.35)
  room = canvas.WIDTH - _LEFT - _right(metric)
  width = (room - _GAP * (len(spans) - 1)) / len(spans)
  titles = ('whole range', 'magnified around zero') if len(spans) > 1 else ('',)
  for i, (span, title) in enumerate(zip(spans, titles)):
    box = _LEFT + i * (width + _GAP), top, width, pitch * len(rows)
    ax = canvas.add_axes(fig, *box)
    _prepare(ax, study, pitch * len(rows), span, title)
    for number, group in enumerate(rows):
      _part(ax, number, pitch)
      for row, middle in zip(group, _middles(number, len(group), pitch)):
        _draw_row(ax, row, middle, span)
  for number, group in enumerate(rows):
    _write_name(fig, study, group[0], top + pitch * (number + 0.5))
    for row, middle in zip(group, _middles(number, len(group), pitch)):
      _write_numbers(fig, metric, row, top + middle)
  _write_heading(fig, study, metric)
  _write_keys(fig, rows[0])
  caption, alt = _caption(study, known), _alt(metric, rows)
  return canvas.finish(fig, 'regimes', 'Idea or compute', caption, alt)


def _rows(regimes: regimes_lib.Regimes) -> _Rows:
  """The frame's rows by contrast, in the frame's order."""
  found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
  for row in regimes.frame.to_dict('records'):
    named = {str(name): value for name, value in row.items()}
    key = tuple(str(row[name]) for name in ('factor', 'level', 'arm', 'reference'))
    found.setdefault(key, []).append(named)
  return list(found.values())


def _right(metric: str) -> float:
  return _RIGHT if formats.is_share(metric) else _RIGHT_RAW


def _middles(number: int, count: int, pitch: float) -> list[float]:
  """Inches from the axes' top to each regime's line in a row."""
  start = pitch * (number + 0.5) - _LINE * (count - 1) / 2
  return [start + _LINE * i for i in range(count)]


def _ends(row: Mapping[str, Any]) -> list[float]:
  """A row's finite numbers: the gain and the ends of its interval."""
  ends = (row[key] for key in ('gain', 'gain_low', 'gain_high'))
  return [end for end in ends if not formats.missing(end) and math.isfinite(end)]


def _span(rows: Sequence[Mapping[str, Any]], margin: float) -> tuple[float, float]:
  """An axis that holds zero, the margin and all `rows`, with some air."""
  ends = [0.0, -1.3 * margin, 1.3 * margin, *(e for row in rows for e in _ends(row))]
  air = 0.08 * (max(ends) - min(ends)) or 1e-3
  return min(ends) - air, max(ends) + air


def _spans(
  rows: Sequence[Mapping[str, Any]], margin: float
) -> list[tuple[float, float]]:
  """One axis, or two where small gains need a closer look than the large allow."""
  sizes = [max(map(abs, _ends(row))) for row in rows]
  typical = 3 * float(np.median(sizes))
  near = [row for row, size in zip(rows, sizes) if size <= typical]
  whole, close = _span(rows, margin), _span(near, margin)
  small = whole[1] - whole[0] > 4 * (close[1] - close[0])
  return [whole, close] if small and len(near) < len(rows) else [whole]


def _prepare(
  ax: axes.Axes,
  study: Mapping[str, Any],
  height: float,
  span: tuple[float, float],
  title: str,
) -> None:
  """Axes whose y is inches from their top."""
  ax.set_xlim(*span)
  ax.set_ylim(height, 0)
  ax.set_yticks([])
  ax.spines['left'].set_visible(False)
  if study['margin']:
    ax.axvspan(-study['margin'], study['margin'], color=canvas.VIOLET, alpha=0.1, lw=0)
  ax.axvline(0, color=canvas.GREY, linewidth=0.8)
  column = pairs.deciding(study)
  ticks, _ = scales.make_linear('').ticks(*span)
  ax.set_xticks(ticks, [_label(column, tick) for tick in ticks])
  ax.grid(axis='x')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  if title:
    ax.set_title(title, fontsize=7.5, color=canvas.SOFT, pad=4)


def _label(column: str, tick: float) -> str:
  """A difference without the zeros that end its decimals."""
  text = formats.delta(column, tick)
  return text.rstrip('0').rstrip('.') if '.' in text and 'e' not in text else text


def _part(ax: axes.Axes, number: int, pitch: float) -> None:
  """A hairline between this row and the one before."""
  if number:
    ax.axhline(pitch * number, color=canvas.GRID, linewidth=0.8, zorder=0.5)


def _draw_row(
  ax: axes.Axes, row: Mapping[str, Any], middle: float, span: tuple[float, float]
) -> None:
  if not _ends(row):
    return
  colour = _colour(row, canvas.GREY)
  gain = row['gain']
  low, high = (
    gain if formats.missing(row[key]) else row[key] for key in ('gain_low', 'gain_high')
  )
  dashes: Any = (0, (2, 2)) if _is_student(row) else 'solid'
  ends = np.clip([low, high], *span)
  if ends[0] < ends[1]:
    ax.plot(ends, [middle, middle], color=colour, linewidth=1.5, linestyle=dashes)
  arrow: dict[str, Any] = {'color': colour, 'markersize': 4, 'clip_on': False}
  if low < span[0]:
    ax.plot(span[0], middle, '<', **arrow)
  if high > span[1]:
    ax.plot(span[1], middle, '>', **arrow)
  if span[0] <= gain <= span[1]:
    ax.plot(gain, middle, **_mark(row, colour))


def _mark(row: Mapping[str, Any], colour: str) -> dict[str, Any]:
  """A regime's mark, filled where the row carries a verdict."""
  claimed = row['declared'] and not formats.missing(row['reading'])
  return {
    'marker': _MARKS[row['regime']],
    'markersize': _SIZES[row['regime']],
    'color': colour,
    'markerfacecolor': colour if claimed else canvas.PAPER,
    'markeredgewidth': 1.2,
    'linestyle': 'none',
  }


def _colour(row: Mapping[str, Any], otherwise: str) -> str:
  return canvas.VERDICTS.get(row['reading'], otherwise)


def _is_student(row: Mapping[str, Any]) -> bool:
  return 'descriptive' in str(row['ci_kind'])


def _write_name(
  fig: figures.Figure, study: Mapping[str, Any], row: Mapping[str, Any], middle: float
) -> None:
  name = formats.clip(str(row['factor'] or row['arm']), 26)
  change = effects.name_change(study, row)
  look = {'color': canvas.INK, 'fontsize': 8.5, 'weight': 'bold'}
  canvas.write(fig, 0.02, middle - 0.075, name, **look)
  canvas.write(fig, 0.02, middle + 0.085, formats.clip(change, 33))


def _write_numbers(
  fig: figures.Figure, metric: str, row: Mapping[str, Any], middle: float
) -> None:
  left = canvas.WIDTH - _right(metric) + 0.14
  if not _ends(row):
    canvas.write(fig, left, middle, 'no pairs of runs yet', fontsize=7)
    return
  numbers = formats.delta(metric, row['gain'])
  numbers += f' {formats.interval(metric, row["gain_low"], row["gain_high"])}'
  reading = '' if formats.missing(row['reading']) else str(row['reading'])
  room = canvas.WIDTH - left - _LETTER * (len(reading) + 1)
  points = min(7, 7 * room / (_LETTER * len(numbers)))
  canvas.write(fig, left, middle, numbers, fontsize=points)
  weight = 'bold' if row['declared'] else 'normal'
  look: dict[str, Any] = {'color': _colour(row, canvas.SOFT), 'weight': weight}
  canvas.write(fig, canvas.WIDTH, middle, reading, ha='right', fontsize=7, **look)


def _write_heading(fig: figures.Figure, study: Mapping[str, Any], metric: str) -> None:
  what = f'gain in {facts.words(study, metric)}'
  if formats.is_share(metric):
    what += f', {formats.unit_of(metric)}'
  canvas.write(fig, _LEFT, 0.4, what, fontsize=8)
  canvas.write(fig, _LEFT, 0.62, '◂ component hurts')
  right = canvas.WIDTH - _right(metric)
  canvas.write(fig, right, 0.62, 'component helps ▸', ha='right')


def _write_keys(fig: figures.Figure, group: Sequence[Mapping[str, Any]]) -> None:
  """Each regime's mark and name, in a line above everything."""
  wide, high = fig.get_size_inches()
  left, top = _LEFT, 0.13
  for row in group:
    words = regime_words.WORDS[row['regime']]
    words += ' (decides)' if row['declared'] else ' (descriptive)'
    mark = lines.Line2D([(left + 0.05) / wide], [1 - top / high])
    mark.set(**_mark(row, canvas.SOFT))
    fig.add_artist(mark)
    canvas.write(fig, left + 0.17, top, words, fontsize=8)
    left += 0.42 + 0.063 * len(words)


def _caption(study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
  words = [
    'Mean paired difference over seeds with its interval, signed so that a component '
    'that helps stands to the right of zero.'
  ]
  if not all(formats.missing(row['reading']) for row in rows):
    words.append(
      'Filled marks carry a verdict; hollow ones are read by the same rule but are '
      'descriptive.'
    )
  if any(map(_is_student, rows)):
    words.append('Dashed intervals are Student-t, descriptive only.')
  if study['margin']:
    words.append('Shaded: the declared margin of equivalence.')
  return ' '.join(words)


def _alt(metric: str, rows: _Rows) -> str:
  parts = []
  for group in rows:
    found = [
      f'{formats.delta(metric, row["gain"], unit=True)} at '
      f'{regime_words.WORDS[row["regime"]]}'
      + ('' if formats.missing(row['reading']) else f' ({row["reading"]})')
      for row in group
    ]
    parts.append(f'{group[0]["arm"]} {", ".join(found)}')
  return f'What components gain in {formats.name(metric)}: {"; ".join(parts)}.'
