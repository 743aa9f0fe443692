"""Forest plots: effects with their intervals and verdicts, in rows under each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes, figure

from dlsteroids.analysis import regimes as regimes_lib
from dlsteroids.analysis import summary
from dlsteroids.report import facts, formats
from dlsteroids.report import regimes as regime_words
from dlsteroids.report.figures import canvas, panels, scales
from dlsteroids.study import study as study_lib

_LEFT = 2.1  # inches for the names
_RIGHT = {True: 2.1, False: 2.45}  # inches for the numbers, by whether they are shares
_LETTER = 0.056  # inches of a letter of 7 points, on average
_LINE = 0.175  # inches of an estimate's line in a row
_AIR = 0.17  # inches between rows
_LEAST = 0.4  # inches of a row
_GAP = 0.22  # inches between two axes
_DASHES: Any = (0, (2, 2))
_REGIME_MARKS = {'steps': 'o', 'flops': 's', 'params': 'D'}
_TUNING_MARKS = ('o', 'D')
_SIZES = {'o': 6.0, 's': 5.4, 'D': 5.2}  # they look alike in size
_KINDS = {'remove': 'removed: ', 'add': 'added: '}
_IDENTITY = ('factor', 'level', 'arm', 'reference')  # of a contrast

Rows = Sequence[Mapping[str, Any]]


class Estimate(NamedTuple):
  """An estimate with its interval: one line of a row.

  Attributes:
    value, low, high: in the metric's unit; NaN where missing.
    verdict: 'helps', 'hurts', … or ''.
    claimed: whether the verdict is one of the study's; else it is descriptive.
    descriptive: whether the interval is Student's t, which is descriptive only.
    marker: matplotlib's.
    word: at the right end, if there is no verdict.
    diverged: instead of the numbers, where most runs of a side diverged: no interval
      is drawn then.
  """

  value: float
  low: float
  high: float
  verdict: str
  claimed: bool
  descriptive: bool
  marker: str
  word: str = ''
  diverged: str = ''

  @property
  def ends(self) -> list[float]:
    """The finite ones of value, low and high."""
    return [end for end in (self.value, self.low, self.high) if math.isfinite(end)]

  @property
  def is_measured(self) -> bool:
    return math.isfinite(self.value) and not self.diverged

  @property
  def colour(self) -> str:
    return canvas.VERDICTS.get(self.verdict, canvas.GREY)

  @property
  def face(self) -> str:
    """Fill of its mark."""
    return self.colour if self.claimed and self.verdict else canvas.PAPER

  def describe(self, column: str, where: str = '') -> str:
    """'−0.39 points (helps)', with `where` after the number."""
    if self.diverged:
      return f'{self.diverged}{where}'
    verdict = f' ({self.verdict})' if self.verdict else ''
    return f'{formats.delta(column, self.value, unit=True)}{where}{verdict}'


class Row(NamedTuple):
  """A contrast: its factor, how the levels differ, and its estimates."""

  name: str
  change: str
  estimates: Sequence[Estimate]


class _Texts(NamedTuple):
  """What is written around the rows: the axis' title and what its ends mean."""

  title: str
  left: str
  right: str
  missing: str


def draw_effects(source: summary.Source) -> canvas.Drawing | None:
  """Effects on the deciding metric with their intervals; None if there are none."""
  study, column = source.study, source.study.metric.column
  states = summary.states(source)
  by_state = {state: summary.effects_of(source, column, state) for state in states}
  effects = [effect for state in states for effect in by_state[state]]
  if not effects:
    return None
  named = len(states) > 1
  rows = [
    Row(
      str(group[0]['factor'] or group[0]['arm']),
      _name_change(study, group[0]),
      [
        _estimate(
          study,
          effect,
          ('delta', 'ci_low', 'ci_high', 'verdict'),
          _TUNING_MARKS[effect['tuned']],
          word=('untuned', 'tuned')[effect['tuned']] if named else '',
        )
        for effect in group
      ],
    )
    for group in _group(effects)
  ]
  ends = ('worse', 'better')
  left, right = ends if study.metric.better == 'higher' else ends[::-1]
  title = f'{facts.words(study, column)}: arm − reference'
  texts = _Texts(title, f'arm {left}', f'arm {right}', formats.NOTHING)
  fig = _draw(study, rows, texts)
  caption = ['Mean paired difference over seeds with its interval.']
  if named:
    caption.append('Circles: as configured. Diamonds: tuned, an equal grid per arm.')
  caption.append('Filled marks carry a verdict; hollow ones are descriptive.')
  claims = any(not formats.missing(effect['verdict']) for effect in effects)
  if claims and any(contrast.kind == 'remove' for contrast in study.contrasts):
    caption.append('A removed component helps where the arm is worse without it.')
  alt = '; '.join(
    f'{effect["arm"]} {row.estimates[-1].describe(column)}'
    for effect, row in zip(by_state[states[-1]], rows)
  )
  return canvas.finish(
    fig,
    'effects',
    'Effects',
    ' '.join(caption + _explain(study, rows)),
    f'Effects on {formats.name(column)} with intervals: {alt}.',
  )


def draw_regimes(
  study: study_lib.Study, regimes: regimes_lib.Regimes
) -> canvas.Drawing | None:
  """Each contrast under every regime: does its effect survive equal compute?

  Args:
    study: what was compared.
    regimes: its `regimes.compare`.

  Returns:
    None with one regime or without effects.
  """
  column = study.metric.column
  groups = _group(
    [{str(k): v for k, v in row.items()} for row in regimes.frame.to_dict('records')]
  )
  rows = [
    Row(
      str(group[0]['factor'] or group[0]['arm']),
      _name_change(study, group[0]),
      [
        _estimate(
          study,
          row,
          ('gain', 'gain_low', 'gain_high', 'reading'),
          _REGIME_MARKS[row['regime']],
          claimed=row['declared'],
        )
        for row in group
      ],
    )
    for group in groups
  ]
  measured = [e for row in rows for e in row.estimates if e.is_measured]
  if not measured or max(map(len, groups)) < 2:
    return None
  title = f'gain in {facts.words(study, column)}'
  who = _name_subject(study)
  ends = (f'{who} hurts', f'{who} helps') if who else ('hurts', 'helps')
  texts = _Texts(title, *ends, 'no pairs of runs yet')
  keys = []
  for row, estimate in zip(groups[0], rows[0].estimates):
    kind = 'decides' if row['declared'] else 'descriptive'
    face = canvas.SOFT if estimate.face != canvas.PAPER else canvas.PAPER
    words = f'{regime_words.WORDS[row["regime"]]} ({kind})'
    keys.append(
      panels.Key(words, canvas.SOFT, 'none', _REGIME_MARKS[row['regime']], face)
    )
  fig = _draw(study, rows, texts, keys)
  caption = [
    'Mean paired difference over seeds with its interval, signed so that a '
    f'{who or "component or change"} that helps stands to the right of zero.'
  ]
  if any(estimate.verdict for estimate in measured):
    caption.append(
      'Filled marks carry a verdict; hollow ones are read by the same rule but are '
      'descriptive.'
    )
  alt = '; '.join(
    f'{group[0]["arm"]} '
    + ', '.join(
      estimate.describe(column, f' at {regime_words.WORDS[row["regime"]]}')
      for row, estimate in zip(group, line.estimates)
    )
    for group, line in zip(groups, rows)
  )
  return canvas.finish(
    fig,
    'regimes',
    'Idea or compute',
    ' '.join(caption + _explain(study, rows)),
    f'What {who or "component"}s gain in {formats.name(column)}: {alt}.',
  )


def _name_subject(study: study_lib.Study) -> str:
  """What verdicts speak of: 'component', of swaps 'change'; '' if of either."""
  kinds = {contrast.kind for contrast in study.contrasts}
  if kinds == {'swap'}:
    return 'change'
  return '' if 'swap' in kinds else 'component'


def _group(rows: Rows) -> list[list[Mapping[str, Any]]]:
  """The rows by contrast, in the order of the contrasts' first rows."""
  groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
  for row in rows:
    groups.setdefault(tuple(str(row[key]) for key in _IDENTITY), []).append(row)
  return list(groups.values())


def _name_change(study: study_lib.Study, row: Mapping[str, Any]) -> str:
  """The levels, and of which kind the change from the first to the second is."""
  contrast = facts.find_contrast(study, row)
  kind = _KINDS.get(contrast.kind, '') if contrast else ''
  return kind + facts.name_change(study, row)


def _describe_diverged(study: study_lib.Study, row: Mapping[str, Any]) -> str:
  """'7 of 8 runs diverged', of the side of which most did; else ''."""
  contrast = facts.find_contrast(study, row)
  for side in ('arm', 'reference') if contrast else ():
    cells = set(getattr(contrast, f'{side}_cells'))
    runs, diverged = len(cells) * len(study.seeds), int(row[f'n_diverged_{side}'])
    if summary.is_mostly_diverged(diverged, runs):
      owner = ' of the reference' if side == 'reference' else ''
      return f'{diverged} of {runs} runs{owner} diverged'
  return ''


def _estimate(
  study: study_lib.Study,
  row: Mapping[str, Any],
  columns: tuple[str, str, str, str],
  marker: str,
  *,
  claimed: bool = True,
  word: str = '',
) -> Estimate:
  """A row's estimate; `columns`: of its value, the interval's ends and the verdict."""
  *numbers, verdict = (row[column] for column in columns)
  value, low, high = (math.nan if formats.missing(n) else float(n) for n in numbers)
  verdict = '' if formats.missing(verdict) else str(verdict)
  descriptive = 'descriptive' in str(row['ci_kind'])
  diverged = _describe_diverged(study, row)
  return Estimate(
    value, low, high, verdict, claimed, descriptive, marker, word, diverged
  )


def _draw(
  study: study_lib.Study,
  rows: Sequence[Row],
  texts: _Texts,
  keys: Sequence[panels.Key] = (),
) -> figure.Figure:
  """Names at the left, intervals on one axis or two, numbers at the right."""
  column = study.metric.column
  share = formats.is_share(column)
  estimates = [estimate for row in rows for estimate in row.estimates]
  spans = _choose_spans(estimates, study.margin)
  pitch = max(_LEAST, _LINE * max(len(row.estimates) for row in rows) + _AIR)
  down = 0.24 * bool(keys)  # the legend's line
  top = 0.6 + down + 0.18 * (len(spans) > 1)
  fig = canvas.make_figure(top + pitch * len(rows) + 0.35)
  right = canvas.WIDTH - _RIGHT[share]
  width = (right - _LEFT - _GAP * (len(spans) - 1)) / len(spans)
  titles = ('whole range', 'magnified around zero') if len(spans) > 1 else ('',)
  for i, (span, title) in enumerate(zip(spans, titles)):
    left = _LEFT + i * (width + _GAP)
    ax = canvas.add_axes(fig, left, top, width, pitch * len(rows))
    _prepare(ax, study, pitch * len(rows), span, title)
    for number, row in enumerate(rows):
      if number:
        ax.axhline(pitch * number, color=canvas.GRID, linewidth=0.8, zorder=0.5)
      for estimate, middle in zip(row.estimates, _middles(row, number, pitch)):
        _mark(ax, estimate, middle, span)
  for number, row in enumerate(rows):
    middle = top + pitch * (number + 0.5)
    name = formats.clip(row.name, 26)
    canvas.write(fig, 0.02, middle - 0.075, name, bold=True, fontsize=8.5)
    canvas.write(fig, 0.02, middle + 0.085, formats.clip(row.change, 33))
    for estimate, place in zip(row.estimates, _middles(row, number, pitch)):
      _write_numbers(fig, column, estimate, top + place, right + 0.14, texts.missing)
  title = texts.title + (f', {formats.unit_of(column)}' if share else '')
  canvas.write(fig, _LEFT, 0.18 + down, title, fontsize=8)
  canvas.write(fig, _LEFT, 0.4 + down, f'◂ {texts.left}')
  canvas.write(fig, right, 0.4 + down, f'{texts.right} ▸', ha='right')
  if keys:
    panels.write_legend(fig, keys, 0.13)
  return fig


def _middles(row: Row, number: int, pitch: float) -> list[float]:
  """Inches from the axes' top to each estimate of the row."""
  count = len(row.estimates)
  start = pitch * (number + 0.5) - _LINE * (count - 1) / 2
  return [start + _LINE * i for i in range(count)]


def _choose_spans(
  estimates: Sequence[Estimate], margin: float
) -> list[tuple[float, float]]:
  """One axis, or two where small effects need a closer look than the large allow."""
  ends = [estimate.ends for estimate in estimates if estimate.is_measured]
  sizes = [max(map(abs, some)) for some in ends]
  typical = 3 * float(np.median(sizes)) if sizes else 0.0
  near = [some for some, size in zip(ends, sizes) if size <= typical]
  whole, close = _span(ends, margin), _span(near, margin)
  small = whole[1] - whole[0] > 4 * (close[1] - close[0])
  return [whole, close] if small and len(near) < len(ends) else [whole]


def _span(ends: Sequence[Sequence[float]], margin: float) -> tuple[float, float]:
  """An axis that holds zero, the margin and all `ends`, with some air."""
  values = [0.0, -1.3 * margin, 1.3 * margin, *(end for some in ends for end in some)]
  air = 0.08 * (max(values) - min(values)) or 1e-3
  return min(values) - air, max(values) + air


def _prepare(
  ax: axes.Axes,
  study: study_lib.Study,
  height: float,
  span: tuple[float, float],
  title: str,
) -> None:
  """Axes whose y is inches from their top."""
  ticks = scales.linear_ticks(*span)
  labels = [_tick_label(study.metric.column, tick) for tick in ticks]
  scales.apply(ax, scales.Axis(span, ticks, labels))
  ax.set_ylim(height, 0)
  ax.grid(axis='x')
  if study.margin:
    ax.axvspan(-study.margin, study.margin, color=canvas.VIOLET, alpha=0.1, lw=0)
  ax.axvline(0, color=canvas.GREY, linewidth=0.8)
  if title:
    ax.set_title(title, fontsize=7.5, color=canvas.SOFT, pad=4)


def _tick_label(column: str, tick: float) -> str:
  """A difference without the zeros that end its decimals."""
  text = formats.delta(column, tick)
  return text.rstrip('0').rstrip('.') if '.' in text and 'e' not in text else text


def _mark(
  ax: axes.Axes, estimate: Estimate, middle: float, span: tuple[float, float]
) -> None:
  """The estimate's mark on its interval; arrows where that leaves the axis."""
  if not estimate.is_measured:
    return
  low, high = (
    estimate.value if math.isnan(end) else end for end in (estimate.low, estimate.high)
  )
  colour = estimate.colour
  ends = np.clip([low, high], *span)
  if ends[0] < ends[1]:
    dashes = _DASHES if estimate.descriptive else 'solid'
    ax.plot(ends, [middle, middle], color=colour, linewidth=1.6, linestyle=dashes)
  arrow: dict[str, Any] = {'color': colour, 'markersize': 4, 'clip_on': False}
  if low < span[0]:
    ax.plot(span[0], middle, '<', **arrow)
  if high > span[1]:
    ax.plot(span[1], middle, '>', **arrow)
  if span[0] <= estimate.value <= span[1]:
    ax.plot(
      estimate.value,
      middle,
      estimate.marker,
      color=colour,
      markersize=_SIZES[estimate.marker],
      markerfacecolor=estimate.face,
      markeredgewidth=1.2,
    )


def _write_numbers(
  fig: figure.Figure,
  column: str,
  estimate: Estimate,
  middle: float,
  left: float,
  missing: str,
) -> None:
  """The estimate in figures, smaller where there is no room, and its verdict."""
  if not estimate.is_measured:
    words, colour = estimate.diverged or missing, canvas.SOFT
    if estimate.diverged:
      words, colour = f'× {words}', canvas.ORANGE
    canvas.write(fig, left, middle, words, fontsize=7, color=colour)
    return
  numbers = formats.delta(column, estimate.value)
  numbers += f' {formats.interval(column, estimate.low, estimate.high)}'
  words = estimate.verdict or estimate.word
  room = canvas.WIDTH - left - _LETTER * (len(words) + 1)
  points = min(7, 7 * room / (_LETTER * len(numbers)))
  canvas.write(fig, left, middle, numbers, fontsize=points)
  colour = canvas.VERDICTS.get(estimate.verdict, canvas.SOFT)
  weight = 'bold' if estimate.verdict and estimate.claimed else 'normal'
  options: dict[str, Any] = {'ha': 'right', 'fontsize': 7, 'weight': weight}
  canvas.write(fig, canvas.WIDTH, middle, words, color=colour, **options)


def _explain(study: study_lib.Study, rows: Sequence[Row]) -> list[str]:
  """What dashes and the shaded band mean, where there are any."""
  sentences = []
  if any(e.descriptive and e.is_measured for row in rows for e in row.estimates):
    sentences.append('Dashed intervals are Student-t, descriptive only.')
  if study.margin:
    sentences.append('Shaded: the declared margin of equivalence.')
  return sentences
