"""The waterfall: from the bare to the full model, a bar a player."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes
from matplotlib import figure as figures

from dlsteroids.analysis import attribution, coalitions, pairs, shares
from dlsteroids.report import attribution_words, facts, formats
from dlsteroids.report.figures import canvas, scales
from dlsteroids.report.figures import shares as shares_lib

_LEFT = 0.6  # inches for the axis' labels
_TOP = 0.42
_HIGH = 3.0
_HEAD = 0.42  # inches above the highest bar for its numbers
_LETTER = 0.0082  # inches of a letter on average, times points
_LINE = 0.15  # inches between lines of a name
_WIDEST = 0.62  # inches of a bar
draw_shares = shares_lib.draw_shares  # the attribution's other figure


class _Step(NamedTuple):
  """One bar: where it starts and ends and its interval's ends, in the axis' unit."""

  player: str
  start: float
  end: float
  span: tuple[float, float]
  row: Mapping[str, Any]
  words: tuple[str, str]  # its share, else its amount, and the share's interval

  @property
  def told(self) -> bool:
    """Whether the interval excludes 0."""
    return self.row['ci_low'] > 0 or self.row['ci_high'] < 0

  @property
  def colour(self) -> str:
    if self.player == shares.REMAINDER:
      return canvas.GREY
    if self.row['phi'] < 0:
      return canvas.ORANGE
    return canvas.VIOLET if self.player == shares.COMPUTE else canvas.BLUE


class _Axis(NamedTuple):
  """What the axis shows: its name, the metric its numbers read as, and its place."""

  name: str
  metric: str
  log: bool
  upwards: int  # 1 if better is higher on the page, else -1

  def place(self, value: float) -> float:
    return math.log(value) if self.log else value

  def value(self, place: float) -> float:
    return math.exp(place) if self.log else place


def draw_waterfall(
  study: Mapping[str, Any], found: attribution.Attribution
) -> canvas.Drawing | None:
  """A bar a player from the bare model's result to the full one's; None if refused.

  At the headline ratio and scale; on 'log-error' the axis shows the error (of metrics
  that are no shares: the metric) logarithmically.
  """
  if found.refusal:
    return None
  ends = attribution.at_headline(found, found.ends)[0]
  axis = _choose(study, found.scale)
  steps = _climb(study, found, ends['bare'], axis.upwards)
  width = (canvas.WIDTH - _LEFT) / (len(steps) + 2)
  names = [_name_bare(found), *(_name(found, s.player) for s in steps), 'full model']
  points, lines = _wrap(names, width - 0.04)
  fig = canvas.make_figure(_TOP + _HIGH + 0.1 + _LINE * max(map(len, lines)))
  ax = canvas.add_axes(fig, _LEFT, _TOP, canvas.WIDTH - _LEFT, _HIGH)
  half = min(0.36, _WIDEST / width / 2)
  _prepare(ax, axis, steps, ends)
  for x, step in enumerate(steps, 1):
    _draw_step(ax, step, x, half, width)
  levels = [ends['bare'], *(step.end for step in steps)]
  for x, level in enumerate(levels):
    look: dict[str, Any] = {'color': canvas.GREY, 'linewidth': 0.8}
    ax.plot([x + half, x + 1 - half], [level, level], **look)
  for x, level in ((0, ends['bare']), (len(levels), ends['full'])):
    ax.plot([x - half, x + half], [level, level], color=canvas.INK, linewidth=2.2)
    words = formats.value(axis.metric, axis.value(level))
    _write_above(ax, x, level, [words], canvas.INK, width)
  for x, parts in enumerate(lines):
    middle, bold = _LEFT + width * (x + 0.5), x in (0, len(lines) - 1)
    for i, words in enumerate(parts):
      down = _TOP + _HIGH + 0.12 + _LINE * i
      look = {'ha': 'center', 'fontsize': points, 'color': canvas.INK}
      look['weight'] = 'bold' if bold else 'normal'
      canvas.write(fig, middle, down, words, **look)
  _write_heading(fig, axis, steps)
  title = 'From the bare to the full model'
  caption, alt = (
    _caption(axis, steps),
    _describe(found, axis, ends, steps),
  )
  return canvas.finish(fig, 'waterfall', title, caption, alt)


def _choose(study: Mapping[str, Any], scale: str) -> _Axis:
  column = pairs.deciding(study)
  words, better = facts.words(study, column), coalitions.better(study)
  if scale == attribution.RAW:
    return _Axis(words, column, False, better)
  if formats.is_share(column) and better > 0:
    words = words.replace('accuracy', 'error')
  return _Axis(words, column, True, -1)


def _climb(
  study: Mapping[str, Any], found: attribution.Attribution, start: float, upwards: int
) -> list[_Step]:
  """The bars, the largest first, what is left over last."""
  beside = (shares.IDEAS, shares.TOTAL)
  rows = attribution.at_headline(found, found.players)
  rows = [row for row in rows if row['player'] not in beside]
  rows.sort(key=lambda row: (row['player'] == shares.REMAINDER, -row['phi']))
  digits = attribution_words.choose_digits(rows)
  steps = []
  for row in rows:
    end, *ends = (start + upwards * row[name] for name in ('phi', 'ci_low', 'ci_high'))
    share, span = attribution_words.tell_share(row, digits)
    words = (
      share
      or attribution_words.tell_amount(
        study, found.scale, row['phi'], attribution_words.width_of(row)
      ),
      span,
    )
    steps.append(_Step(row['player'], start, end, (min(ends), max(ends)), row, words))
    start = end
  return steps


def _name(found: attribution.Attribution, player: str) -> str:
  """A name below a bar; a line break stays one."""
  words = attribution_words.name_player(found, player)
  return words.replace(' (', '\n').rstrip(')') if player == shares.COMPUTE else words


def _name_bare(found: attribution.Attribution) -> str:
  return 'bare model' + (f'\n1/{found.ratio:g} compute' if found.ratio > 1 else '')


def _wrap(names: Sequence[str], width: float) -> tuple[float, list[list[str]]]:
  """A size at which the longest word fits, if possible, and each name's lines."""
  longest = max(len(word) for name in names for word in name.split())
  points = min(8.0, max(6.0, width / (_LETTER * longest)))
  letters = max(4, int(width / (_LETTER * points)))
  lines = []
  for name in names:
    words = ' '.join(_hyphenate(word, letters) for word in name.split(' '))
    lines.append(
      [part for row in words.split('\n') for part in textwrap.wrap(row, letters)]
    )
  return points, lines


def _hyphenate(word: str, letters: int) -> str:
  """Cuts what would not fit, each piece but the last ending on a hyphen."""
  if len(word) <= letters or '\n' in word:
    return word
  rest = _hyphenate(word[letters - 1 :], letters)
  return f'{word[: letters - 1]}- {rest}'


def _prepare(
  ax: axes.Axes, axis: _Axis, steps: Sequence[_Step], ends: Mapping[str, Any]
) -> None:
  marks = [ends['bare'], ends['full']]
  marks += [mark for s in steps for mark in (s.start, s.end, *s.span)]
  low, high = min(marks), max(marks)
  inch = (high - low or abs(high) * 0.01 or 1.0) / (_HIGH - _HEAD - 0.12)
  bottom, top = low - 0.12 * inch, high + _HEAD * inch
  if not axis.log and formats.is_share(axis.metric) and low >= 0:
    bottom = max(bottom, -0.02 * (top - bottom))
  ax.set_ylim(bottom, top)
  ax.set_xlim(-0.5, len(steps) + 1.5)
  shown = axis.value(bottom), axis.value(top)
  values, labels = scales.make_linear(axis.metric).ticks(*shown)
  if axis.log:
    spaced = scales.make_log(axis.metric).ticks(*shown)
    values, labels = spaced if len(spaced[0]) >= 3 else (values, labels)
  ax.set_yticks([axis.place(v) for v in values], labels)
  ax.set_xticks([])
  ax.grid(axis='y')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  ax.spines['left'].set_visible(False)


def _draw_step(
  ax: axes.Axes,
  step: _Step,
  x: float,
  half: float,
  width: float,
) -> None:
  low, high = sorted((step.start, step.end))
  bar: dict[str, Any] = {'height': high - low, 'width': 2 * half, 'bottom': low}
  ax.bar(x, color=canvas.PAPER, linewidth=0, **bar)
  ax.bar(x, color=step.colour, alpha=0.55 if step.told else 0.22, linewidth=0, **bar)
  ax.plot([x - half, x + half], [step.end] * 2, color=step.colour, linewidth=1.6)
  inches = abs(step.span[1] - step.span[0]) / abs(np.diff(ax.get_ylim())[0]) * _HIGH
  look: dict[str, Any] = {'color': canvas.INK, 'linewidth': 0.9}
  dashes: Any = (0, (2, 2)) if 'descriptive' in step.row['ci_kind'] else 'solid'
  ax.plot([x, x], step.span, linestyle=dashes, **look)
  for end in step.span if inches > 0.08 else ():
    ax.plot([x - 0.05, x + 0.05], [end, end], **look)
  colour = canvas.SOFT if step.colour == canvas.GREY else step.colour
  _write_above(ax, x, max(high, *step.span), step.words, colour, width)


def _write_above(
  ax: axes.Axes,
  x: float,
  level: float,
  words: Sequence[str],
  colour: str,
  width: float,
) -> None:
  """Lines above a mark, the first bold; smaller where a column is too narrow."""
  shown = [text for text in words if text]
  for i, text in enumerate(reversed(shown)):
    first = i == len(shown) - 1
    points = min(8.5 if first else 6.8, (width - 0.04) / (_LETTER * len(text)))
    look: dict[str, Any] = {'ha': 'center', 'va': 'bottom', 'fontsize': points}
    look |= {'color': colour if first else canvas.SOFT}
    look |= {'weight': 'bold' if first else 'normal'}
    look |= {'xytext': (0, 3.5 + 9.5 * i), 'textcoords': 'offset points'}
    behind = {'facecolor': canvas.PAPER, 'linewidth': 0, 'pad': 0.6}
    ax.annotate(text, (x, level), bbox=behind, **look)


def _write_heading(fig: figures.Figure, axis: _Axis, steps: Sequence[_Step]) -> None:
  how = ', logarithmic axis' if axis.log else ''
  words = f'{axis.name}{how}, {"higher" if axis.upwards > 0 else "lower"} is better'
  canvas.write(fig, 0.02, 0.16, words, fontsize=8)
  known = {
    canvas.VIOLET: 'compute',
    canvas.BLUE: 'an idea',
    canvas.ORANGE: 'makes it worse',
    canvas.GREY: 'not told apart',
  }
  right = canvas.WIDTH
  for colour in reversed([c for c in known if any(s.colour == c for s in steps)]):
    ink = canvas.SOFT if colour == canvas.GREY else colour
    look: dict[str, Any] = {'ha': 'right', 'fontsize': 8, 'weight': 'bold'}
    canvas.write(fig, right, 0.16, f'■ {known[colour]}', color=ink, **look)
    right -= 0.2 + 0.078 * (len(known[colour]) + 2)


def _caption(axis: _Axis, steps: Sequence[_Step]) -> str:
  words = [
    'Each bar is what one player adds, averaged over all orders in which they may come '
    '(its Shapley value); the whisker is its interval over seeds.'
  ]
  if any(step.words[1] for step in steps):
    words.append(
      'Numbers: its share of the whole gain, with the interval of the share.'
    )
  else:
    words.append('The whole gain cannot be told from none: there are no shares.')
  if not all(step.told for step in steps):
    words.append('Pale: the interval includes 0.')
  if any('descriptive' in step.row['ci_kind'] for step in steps):
    words.append('Dashed whiskers are Student’s t, descriptive only.')
  if axis.log:
    words.append('Ends are geometric means over seeds.')
  return ' '.join(words)


def _describe(
  found: attribution.Attribution,
  axis: _Axis,
  ends: Mapping[str, Any],
  steps: Sequence[_Step],
) -> str:
  start, stop = (
    formats.value(axis.metric, axis.value(ends[name])) for name in ('bare', 'full')
  )
  bare = _name_bare(found).replace('\n', ', ')
  parts = [
    ' '.join((attribution_words.name_player(found, step.player), *step.words)).strip()
    for step in steps
  ]
  return (
    f'{axis.name} from {start} ({bare}) to {stop} (full model): {"; ".join(parts)}.'
  )
