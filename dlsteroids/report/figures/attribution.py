"""Attribution: the waterfall from bare to full model, and shares against compute."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes

from dlsteroids.analysis import attribution as attribution_lib
from dlsteroids.report import attribution as attribution_words
from dlsteroids.report import blocks, facts, formats
from dlsteroids.report.figures import canvas, panels, scales
from dlsteroids.study import study as study_lib

_LEFT = 0.6  # inches for the axis' labels
_TOP = 0.42  # inches above the waterfall
_HEIGHT = 3.0
_HEAD = 0.42  # inches above the highest bar for its numbers
_LETTER = 0.0082  # inches of a letter on average, times points
_BOLD = 0.0093  # of a bold one
_LINE = 0.15  # inches between lines of a name
_WIDEST = 0.62  # inches of a bar
_SHARE_WIDTH = 2.5  # inches of the panel of compute and all ideas
_DASHED: Any = (0, (4, 2.5))
_NAMES = {
  canvas.VIOLET: 'compute',
  canvas.BLUE: 'an idea',
  canvas.ORANGE: 'makes it worse',
  canvas.GREY: 'not separated',
}


class _Step(NamedTuple):
  """One bar: where it starts and ends and its interval's ends, in the axis' unit."""

  player: str
  start: float
  end: float
  span: tuple[float, float]
  row: Mapping[str, Any]
  words: tuple[str, str]  # its share, else its amount, and the share's interval

  @property
  def excludes_zero(self) -> bool:
    """Whether the interval does."""
    return self.row['ci_low'] > 0 or self.row['ci_high'] < 0

  @property
  def is_descriptive(self) -> bool:
    return 'descriptive' in self.row['ci_kind']

  @property
  def colour(self) -> str:
    if self.player == attribution_lib.REMAINDER:
      return canvas.GREY
    if self.row['phi'] < 0:
      return canvas.ORANGE
    return canvas.VIOLET if self.player == attribution_lib.COMPUTE else canvas.BLUE


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

  def words(self, place: float) -> str:
    """The value at a place, as its metric reads."""
    return formats.value(self.metric, self.value(place))


def draw_waterfall(
  study: study_lib.Study, attribution: attribution_lib.Attribution
) -> blocks.Drawing | None:
  """A bar a player from the bare model's result to the full one's; None if refused.

  At the headline ratio and scale; on 'log-error' the axis shows the error (of metrics
  that are not shares: the metric) logarithmically.
  """
  if attribution.refusal:
    return None
  ends = attribution_lib.at_headline(attribution, attribution.ends)[0]
  bare, full = ends['bare'], ends['full']
  axis = _choose_axis(study, attribution.scale)
  steps = _make_steps(study, attribution, bare, axis.upwards)
  start = 'bare model'
  if attribution.ratio > 1:
    start += f'\n1/{attribution.ratio:g} compute'
  names = [start, *(_name(attribution, s.player) for s in steps), 'full model']
  width = (canvas.WIDTH - _LEFT) / len(names)
  points, lines = _wrap(names, width - 0.04)
  fig = canvas.make_figure(_TOP + _HEIGHT + 0.1 + _LINE * max(map(len, lines)))
  ax = canvas.add_axes(fig, _LEFT, _TOP, canvas.WIDTH - _LEFT, _HEIGHT)
  ax.set_xlim(-0.5, len(names) - 0.5)
  scales.apply(ax, y=_vertical_axis(axis, steps, (bare, full)))
  half = min(0.36, _WIDEST / width / 2)
  for x, step in enumerate(steps, 1):
    _draw_step(ax, step, x, half, width)
  levels = [bare, *(step.end for step in steps)]
  for x, level in enumerate(levels):
    between = [x + half, x + 1 - half]
    ax.plot(between, [level, level], color=canvas.GREY, linewidth=0.8)
  for x, level in ((0, bare), (len(levels), full)):
    ax.plot([x - half, x + half], [level, level], color=canvas.INK, linewidth=2.2)
    _write_above(ax, x, level, [axis.words(level)], canvas.INK, width)
  for x, parts in enumerate(lines):
    weight = 'bold' if x in (0, len(lines) - 1) else 'normal'
    look: dict[str, Any] = {'ha': 'center', 'fontsize': points, 'color': canvas.INK}
    for i, words in enumerate(parts):
      down = _TOP + _HEIGHT + 0.12 + _LINE * i
      middle = _LEFT + width * (x + 0.5)
      canvas.write(fig, middle, down, words, weight=weight, **look)
  how = ', logarithmic axis' if axis.log else ''
  better = 'higher' if axis.upwards > 0 else 'lower'
  canvas.write(fig, 0.02, 0.16, f'{axis.name}{how}, {better} is better', fontsize=8)
  colours = {step.colour for step in steps}
  keys = [
    panels.Key(name, colour, 'none', 's')
    for colour, name in _NAMES.items()
    if colour in colours
  ]
  panels.write_legend(fig, keys)
  players = [
    ' '.join((attribution_words.name_player(attribution, s.player), *s.words)).strip()
    for s in steps
  ]
  bare_words = f'{axis.words(bare)} ({start})'.replace('\n', ', ')
  return canvas.finish(
    fig,
    'waterfall',
    'From the bare to the full model',
    _explain_waterfall(axis, steps, attribution_lib.why_no_shares(attribution)),
    f'{axis.name} from {bare_words} to {axis.words(full)} (full model): '
    f'{"; ".join(players)}.',
  )


def _choose_axis(study: study_lib.Study, scale: str) -> _Axis:
  column = study.metric.column
  words = facts.words(study, column)
  if scale == attribution_lib.RAW:
    return _Axis(words, column, False, study.metric.sign)
  if formats.is_share(column) and study.metric.sign > 0:
    words = words.replace('accuracy', 'error')
  return _Axis(words, column, True, -1)


def _make_steps(
  study: study_lib.Study,
  attribution: attribution_lib.Attribution,
  start: float,
  upwards: int,
) -> list[_Step]:
  """The bars, the largest first, what is left over last."""
  sums = (attribution_lib.IDEAS, attribution_lib.TOTAL)
  rows = attribution_lib.at_headline(attribution, attribution.players)
  rows = [row for row in rows if row['player'] not in sums]
  rows.sort(key=lambda row: (row['player'] == attribution_lib.REMAINDER, -row['phi']))
  digits = attribution_words.choose_digits(rows)
  steps = []
  for row in rows:
    end, *ends = (start + upwards * row[name] for name in ('phi', 'ci_low', 'ci_high'))
    share, interval = attribution_words.tell_share(row, digits)
    amount = attribution_words.tell_amount(
      study, attribution.scale, row['phi'], attribution_words.width_of(row)
    )
    words = share or amount, interval
    steps.append(_Step(row['player'], start, end, (min(ends), max(ends)), row, words))
    start = end
  return steps


def _name(attribution: attribution_lib.Attribution, player: str) -> str:
  """A name below a bar; a line break stays one."""
  words = attribution_words.name_player(attribution, player)
  return (
    words.replace(' (', '\n').rstrip(')')
    if player == attribution_lib.COMPUTE
    else words
  )


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


def _vertical_axis(
  axis: _Axis, steps: Sequence[_Step], ends: tuple[float, float]
) -> scales.Axis:
  """An axis that holds all bars and intervals, with room for numbers above them."""
  marks = [*ends, *(mark for s in steps for mark in (s.start, s.end, *s.span))]
  low, high = min(marks), max(marks)
  inch = (high - low or abs(high) * 0.01 or 1.0) / (_HEIGHT - _HEAD - 0.12)
  bottom, top = low - 0.12 * inch, high + _HEAD * inch
  if not axis.log and formats.is_share(axis.metric) and low >= 0:
    bottom = max(bottom, -0.02 * (top - bottom))
  make_ticks = scales.log_ticks if axis.log else scales.linear_ticks
  ticks = make_ticks(axis.value(bottom), axis.value(top))
  labels = [scales.label(axis.metric, tick) for tick in ticks]
  return scales.Axis((bottom, top), [axis.place(tick) for tick in ticks], labels)


def _draw_step(ax: axes.Axes, step: _Step, x: float, half: float, width: float) -> None:
  """A bar, the line it ends at, its interval, and its numbers."""
  low, high = sorted((step.start, step.end))
  bar: dict[str, Any] = {'height': high - low, 'width': 2 * half, 'bottom': low}
  ax.bar(x, color=canvas.PAPER, linewidth=0, **bar)
  alpha = 0.55 if step.excludes_zero else 0.22
  ax.bar(x, color=step.colour, alpha=alpha, linewidth=0, **bar)
  ax.plot([x - half, x + half], [step.end] * 2, color=step.colour, linewidth=1.6)
  look: dict[str, Any] = {'color': canvas.INK, 'linewidth': 0.9}
  dashes: Any = (0, (2, 2)) if step.is_descriptive else 'solid'
  ax.plot([x, x], step.span, linestyle=dashes, **look)
  inches = abs(step.span[1] - step.span[0]) / abs(np.diff(ax.get_ylim())[0]) * _HEIGHT
  for end in step.span if inches > 0.08 else ():
    ax.plot([x - 0.05, x + 0.05], [end, end], **look)
  colour = canvas.SOFT if step.colour == canvas.GREY else step.colour
  _write_above(ax, x, max(high, *step.span), step.words, colour, width)


def _write_above(
  ax: axes.Axes, x: float, level: float, words: Sequence[str], colour: str, width: float
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


def _explain_waterfall(axis: _Axis, steps: Sequence[_Step], why: str) -> str:
  """What the bars are; `why` there are no shares, '' if there are."""
  words = [
    'Each bar is what one player adds, averaged over all orders of adding them '
    '(its Shapley value); the whisker is its interval over seeds.'
  ]
  if why:
    words.append(f'There are no shares: {attribution_words.NO_SHARES[why]}.')
  else:
    words.append(
      'Numbers: its share of the whole gain, with the interval of the share.'
    )
  if not all(step.excludes_zero for step in steps):
    words.append('Pale: the interval includes 0.')
  if any(step.is_descriptive for step in steps):
    words.append('Dashed whiskers are Student’s t, descriptive only.')
  if axis.log:
    words.append('Ends are geometric means over seeds.')
  return ' '.join(words)


def draw_shares(
  study: study_lib.Study, attribution: attribution_lib.Attribution
) -> blocks.Drawing | None:
  """Each player's share of the gain against C_high / C_low; None with one ratio."""
  frame = attribution.players
  frame = frame[frame['scale'] == attribution.scale].dropna(subset='share')
  if frame['ratio'].nunique() < 2:
    return None
  order = attribution_lib.at_headline(attribution, attribution.players)
  order.sort(key=lambda row: -row['phi'])
  ideas = [r['player'] for r in order if r['player'] not in attribution_lib.RESERVED]
  ideas = ideas if len(ideas) > 1 else []  # one idea is all ideas
  wide = _SHARE_WIDTH if ideas else 2 * _SHARE_WIDTH
  grid = panels.Grid(len(ideas), 3, _LEFT + wide + 0.65, 0.2, 0.62, 1.3, 1.85)
  rows = max(1, grid.rows)
  fig = canvas.make_figure(grid.top + grid.pitch * rows - 0.26)
  what = attribution_words.name_scale(study, attribution.scale)
  words = f'share of the gain in {what}, against how many times the compute grows'
  canvas.write(fig, 0.02, 0.16, words, fontsize=8)
  tall = grid.height + grid.pitch * (min(rows, 2) - 1)
  ax = canvas.add_axes(fig, _LEFT, grid.top, wide, tall)
  sums = frame[frame['player'].isin((attribution_lib.COMPUTE, attribution_lib.IDEAS))]
  _draw_share_panel(ax, sums, sums, attribution.ratio, label_y=True)
  above, right = grid.top - 0.12, _LEFT + wide
  canvas.write(fig, _LEFT, above, 'compute', bold=True, color=canvas.VIOLET)
  canvas.write(fig, right, above, 'all ideas', bold=True, color=canvas.BLUE, ha='right')
  single = frame[frame['player'].isin(ideas)]
  for i, idea in enumerate(ideas):
    own = single[single['player'] == idea]
    first = grid.is_first(i)
    _draw_share_panel(grid.add(fig, i), own, single, attribution.ratio, label_y=first)
    words = formats.clip(idea.replace('_', ' '), int(grid.width / (6 * _BOLD)))
    points = min(8, grid.width / (_BOLD * len(words)))
    left, top = grid.corner(i)
    canvas.write(fig, left, top - 0.12, words, bold=True, fontsize=points)
  caption = (
    'Shares of the gain from the bare model at a smaller budget to the full model at '
    'the largest; bands: their intervals, from resampled seeds. Dashed: the headline '
    f'ratio, {attribution.ratio:g}×.'
  )
  if ideas:
    caption += ' Single ideas have an axis of their own.'
  alt = _describe_shares(
    frame, [attribution_lib.COMPUTE, attribution_lib.IDEAS, *ideas]
  )
  return canvas.finish(fig, 'shares', 'Shares against compute', caption, alt)


def _draw_share_panel(
  ax: axes.Axes,
  own: pd.DataFrame,
  shown: pd.DataFrame,
  headline: float,
  *,
  label_y: bool,
) -> None:
  """Lines of the players in `own`, on axes that hold all of `shown`."""
  ends = shown[['share', 'share_low', 'share_high']].to_numpy(float)
  low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
  air = 0.06 * (high - low)
  ticks = scales.linear_ticks(low - air, high + air)
  labels = [scales.label('accuracy', tick) for tick in ticks]
  ratios = sorted(shown['ratio'].unique())
  reach = (ratios[-1] / ratios[0]) ** 0.1
  some = ratios[:: -max(1, len(ratios) // 3)]
  x = scales.Axis(
    (ratios[0] / reach, ratios[-1] * reach), some, [f'{ratio:.3g}×' for ratio in some]
  )
  ax.set_xscale('log')
  scales.apply(
    ax, x, scales.Axis((low - air, high + air), ticks, labels), label_y=label_y
  )
  ax.minorticks_off()
  ax.spines['bottom'].set_visible(False)
  ax.axvline(headline, color=canvas.LINE, linewidth=0.9, linestyle=_DASHED)
  ax.axhline(0, color=canvas.LINE, linewidth=0.8)
  for player, rows in own.groupby('player'):
    columns = ['ratio', 'share', 'share_low', 'share_high']
    ratio, share, below, upper = rows.sort_values('ratio')[columns].to_numpy(float).T
    colour = canvas.VIOLET if player == attribution_lib.COMPUTE else canvas.BLUE
    ax.fill_between(ratio, below, upper, color=colour, alpha=0.2, linewidth=0)
    ax.plot(ratio, share, color=colour, linewidth=1.6)
    face = [colour if r == headline else canvas.PAPER for r in ratio]
    ax.scatter(
      ratio, share, s=16, color=face, edgecolors=colour, linewidths=1.1, zorder=3
    )


def _describe_shares(frame: pd.DataFrame, names: Sequence[str]) -> str:
  digits = attribution_words.choose_digits(attribution_lib.rows_of(frame))
  parts = []
  for name in names:
    own = frame[frame['player'] == name].sort_values('ratio')
    words = [
      f'{" ".join(attribution_words.tell_share(row, digits))} at {row["ratio"]:.3g}×'
      for row in attribution_lib.rows_of(own)
    ]
    parts.append(f'{name.replace("_", " ")} {", ".join(words)}')
  return f'Shares of the gain by ratio of compute: {"; ".join(parts)}.'
