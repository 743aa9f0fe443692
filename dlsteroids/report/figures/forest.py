"""Forest plots: effects with their intervals and verdicts, in rows under each other."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes, figure

from dlsteroids.analysis import data_sets as data_sets_lib
from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import regimes as regimes_lib
from dlsteroids.analysis import summary
from dlsteroids.report import blocks, facts, formats
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
_NARROW = 3.7  # inches of the figure for narrow screens
_NARROW_LINE = 0.34  # inches of an estimate's two lines there
_DASHES: Any = (0, (2, 2))
_BEHIND = {'facecolor': canvas.PAPER, 'linewidth': 0, 'pad': 1}
_REGIME_MARKS = {'steps': 'o', 'flops': 's', 'params': 'D'}
_TUNING_MARKS = ('o', 'D')
_DATA_MARKS = ('o', 's', '^', 'v', 'P', 'X')  # of data sets, in order
_SIZES = {'o': 6.0, 's': 5.4, 'D': 5.2, **dict.fromkeys('^vPX', 6.2)}  # alike in size
_KINDS = {'remove': 'removed: ', 'add': 'added: '}
_IDENTITY = ('factor', 'level', 'arm', 'reference')  # of a contrast
_EFFECT = ('delta', 'ci_low', 'ci_high', 'verdict')
_GAIN = ('gain', 'gain_low', 'gain_high', 'reading')

Record = Mapping[str, Any]  # of the effects' or the regimes' frame


class Estimate(NamedTuple):
  """An estimate with its interval: one line of a row.

  Attributes:
    value, low, high: in the metric's unit; NaN where missing.
    verdict: 'helps', 'hurts', … or ''.
    claimed: whether the verdict is one of the study's; else it is descriptive.
    descriptive: whether the interval is Student's t, which is descriptive only.
    diverged: '7 of 8 runs diverged' where most runs of a side did, else ''; it stands
      in place of the numbers, and no interval is drawn.
    marker: matplotlib's.
    word: at the right end, if there is no verdict.
  """

  value: float
  low: float
  high: float
  verdict: str
  claimed: bool
  descriptive: bool
  diverged: str
  marker: str
  word: str = ''

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
  def is_filled(self) -> bool:
    """Whether its mark is, as of estimates that carry a verdict."""
    return bool(self.claimed and self.verdict)

  def describe(self, column: str, where: str = '') -> str:
    """'−0.39 points (helps)', with `where` after the number."""
    if self.diverged:
      return self.diverged + where
    verdict = f' ({self.verdict})' if self.verdict else ''
    return f'{formats.delta(column, self.value, unit=True)}{where}{verdict}'


class Row(NamedTuple):
  """A contrast: its arm, its factor, how the levels differ, and its estimates."""

  arm: str
  name: str
  change: str
  estimates: Sequence[Estimate]


def draw_effects(source: summary.Source) -> blocks.Drawing | None:
  """Effects on the deciding metric with their intervals; None if there are none."""
  study, column = source.study, source.study.metric.column
  states = summary.states(source)
  groups = _group([e for s in states for e in summary.effects_of(source, column, s)])
  if not groups:
    return None
  words = ('untuned', 'tuned') if len(states) > 1 else ('', '')
  rows = [
    _make_row(
      study,
      group,
      [
        _estimate(study, e, _EFFECT, True, _TUNING_MARKS[e['tuned']], words[e['tuned']])
        for e in group
      ],
    )
    for group in groups
  ]
  left, right = ('arm worse', 'arm better')[:: study.metric.sign]
  title = f'{facts.words(study, column)}: arm − reference'
  paired = 'Mean paired difference over seeds'
  first = paired if study.paired else 'Difference of means of unpaired runs'
  caption = [f'{first} with its interval.']
  if len(states) > 1:
    caption.append('Circles: as configured. Diamonds: tuned, an equal grid per arm.')
  caption.append('Filled marks carry a verdict; hollow ones are descriptive.')
  claims = any(estimate.verdict for row in rows for estimate in row.estimates)
  if claims and any(contrast.kind == 'remove' for contrast in study.contrasts):
    caption.append('A removed component helps where the arm is worse without it.')
  if any(e['effect'] == effects_lib.MAIN for group in groups for e in group):
    caption.append('Main effects are means over the levels of the other factors.')
  alt = f'Effects on {formats.name(column)} with intervals: {_tell(rows, column)}.'
  texts = (title, left, right)
  return _finish(study, rows, texts, (), ('effects', 'Effects', caption, alt))


def draw_regimes(
  study: study_lib.Study, regimes: regimes_lib.Regimes
) -> blocks.Drawing | None:
  """Each contrast under every regime: does its effect survive equal compute?

  Args:
    study: what was compared.
    regimes: its `regimes.compare`.

  Returns:
    None with one regime or without effects.
  """
  column, records = study.metric.column, regimes.frame.to_dict('records')
  groups = _group([{str(k): v for k, v in record.items()} for record in records])
  rows = [
    _make_row(
      study,
      group,
      [
        _estimate(study, r, _GAIN, r['declared'], _REGIME_MARKS[r['regime']])
        for r in group
      ],
    )
    for group in groups
  ]
  measured = [e for row in rows for e in row.estimates if e.is_measured]
  if not measured or max(map(len, groups)) < 2:
    return None
  names = [regime_words.WORDS[record['regime']] for record in groups[0]]
  keys = []
  for record, name, estimate in zip(groups[0], names, rows[0].estimates):
    kind = 'decides' if record['declared'] else 'descriptive'
    face = canvas.SOFT if estimate.is_filled else canvas.PAPER
    keys.append(
      panels.Key(f'{name} ({kind})', canvas.SOFT, 'none', estimate.marker, face)
    )
  kinds = {contrast.kind for contrast in study.contrasts}
  who = 'change' if kinds == {'swap'} else '' if 'swap' in kinds else 'component'
  ends = (f'{who} hurts'.strip(), f'{who} helps'.strip())
  title = f'gain in {facts.words(study, column)}'
  caption = [
    'Mean paired difference over seeds with its interval, signed so that a '
    f'{who or "component or change"} that helps stands to the right of zero.'
  ]
  if any(estimate.verdict for estimate in measured):
    caption.append(
      'Filled marks carry a verdict; hollow ones are read by the same rule but are '
      'descriptive.'
    )
  parts = []
  for row in rows:
    places = [e.describe(column, f' at {n}') for e, n in zip(row.estimates, names)]
    parts.append(f'{row.arm} {", ".join(places)}')
  alt = f'What {who or "component"}s gain in {formats.name(column)}: '
  alt += f'{"; ".join(parts)}.'
  words = ('regimes', 'Idea or compute', caption, alt)
  return _finish(study, rows, (title, *ends), keys, words)


def draw_data_sets(result: data_sets_lib.DataSets) -> blocks.Drawing | None:
  """Each contrast on every data set, its mean over them below; None without a mean.

  With more data sets than there are marks, the means alone.
  """
  study = dataclasses.replace(result.cases[0].study, margin=0.0)  # each has its own
  column = study.metric.column
  shown = result.cases if len(result.cases) <= len(_DATA_MARKS) else ()
  marks = dict(zip([case.name for case in shown], _DATA_MARKS))
  rows = []
  for record in result.means.to_dict('records'):
    mean = {str(name): value for name, value in record.items()}
    if mean['lack']:
      continue
    estimates = [
      _on_data_set(cell, cell['own'], marks[cell['study']])
      for cell in result.cells.to_dict('records')
      if (cell['arm'], cell['reference']) == (mean['arm'], mean['reference'])
      and cell['study'] in marks
    ]
    estimates.append(_on_data_set(mean, mean['verdict'], 'D'))
    name = str(mean['factor'] or mean['arm'])
    case = next(c for c in result.cases if facts.find_contrast(c.study, mean))
    rows.append(Row(mean['arm'], name, facts.name_change(case.study, mean), estimates))
  if not rows:
    return None
  keys = [
    panels.Key(case.study.data.name, canvas.SOFT, 'none', marks[case.name], canvas.SOFT)
    for case in shown
  ] + [panels.Key('mean', canvas.SOFT, 'none', 'D', canvas.SOFT)]
  left, right = ('arm worse', 'arm better')[:: study.metric.sign]
  caption = [
    'Mean paired difference over seeds with its interval on each data set, filled by '
    'the study’s own verdict; diamonds: the random-effects mean over data sets.'
  ]
  means = _tell(rows, column)
  alt = f'Effects on {formats.name(column)} over data sets, means: {means}.'
  texts = (f'{facts.words(study, column)}: arm − reference', left, right)
  words = ('data_sets', 'Effects over data sets', caption, alt)
  return _finish(study, rows, texts, keys, words)


def _on_data_set(row: Mapping[Any, Any], verdict: str, marker: str) -> Estimate:
  """The estimate of a cell or a mean of `data_sets.DataSets`."""
  value, low, high = (float(row[name]) for name in _EFFECT[:3])
  descriptive = 'descriptive' in str(row.get('ci_kind'))
  diverged = '' if verdict else 'most runs diverged'
  return Estimate(value, low, high, verdict, True, descriptive, diverged, marker)


def _group(records: Sequence[Record]) -> list[list[Record]]:
  """The records by contrast, in the order of the contrasts' first ones."""
  groups: dict[tuple[str, ...], list[Record]] = {}
  for record in records:
    key = tuple(str(record[name]) for name in _IDENTITY)
    groups.setdefault(key, []).append(record)
  return list(groups.values())


def _make_row(
  study: study_lib.Study, group: Sequence[Record], estimates: Sequence[Estimate]
) -> Row:
  """A contrast's row; its change says whether a component is removed or added."""
  first = group[0]
  contrast = facts.find_contrast(study, first)
  kind = _KINDS.get(contrast.kind, '') if contrast else ''
  name = str(first['factor'] or first['arm'])
  if first.get('effect') == effects_lib.MAIN:
    name += ' (main effect)'
  return Row(first['arm'], name, kind + facts.name_change(study, first), estimates)


def _tell(rows: Sequence[Row], column: str) -> str:
  """Every row's last estimate, by its arm, or by its factor where arms recur."""
  arms = [row.arm for row in rows]
  recur = len(set(arms)) < len(arms)
  parts = [
    f'{row.name if recur else row.arm} {row.estimates[-1].describe(column)}'
    for row in rows
  ]
  return '; '.join(parts)


def _estimate(
  study: study_lib.Study,
  record: Record,
  columns: tuple[str, str, str, str],
  claimed: bool,
  marker: str,
  word: str = '',
) -> Estimate:
  """A record's estimate; `columns`: of its value, the interval's ends, the verdict."""
  value, low, high = (
    math.nan if formats.missing(record[column]) else float(record[column])
    for column in columns[:3]
  )
  verdict = record[columns[3]]
  verdict = '' if formats.missing(verdict) else str(verdict)
  descriptive = 'descriptive' in str(record['ci_kind'])
  diverged = _describe_diverged(study, record)
  return Estimate(
    value, low, high, verdict, claimed, descriptive, diverged, marker, word
  )


def _describe_diverged(study: study_lib.Study, record: Record) -> str:
  """'7 of 8 runs diverged', of the side of which most did; else ''."""
  contrast = facts.find_contrast(study, record)
  for side in ('arm', 'reference') if contrast else ():
    cells = set(getattr(contrast, f'{side}_cells'))
    runs, diverged = len(cells) * len(study.seeds), int(record[f'n_diverged_{side}'])
    if summary.is_mostly_diverged(diverged, runs):
      owner = ' of the reference' if side == 'reference' else ''
      return f'{diverged} of {runs} runs{owner} diverged'
  return ''


def _finish(
  study: study_lib.Study,
  rows: Sequence[Row],
  texts: tuple[str, str, str],
  keys: Sequence[panels.Key],
  words: tuple[str, str, list[str], str],
) -> blocks.Drawing:
  """The drawing; `words`: its name, its title, its caption's sentences, its alt."""
  name, title, caption, alt = words
  if any(e.descriptive and e.is_measured for row in rows for e in row.estimates):
    caption.append('Dashed intervals are Student-t, descriptive only.')
  if study.margin:
    caption.append('Shaded: the declared margin of equivalence.')
  fig, narrow = (_draw(study, rows, texts, keys, narrow=n) for n in (False, True))
  return canvas.finish(fig, name, title, ' '.join(caption), alt, narrow)


class _Layout(NamedTuple):
  """Where things stand, in inches; in a row from its top.

  Attributes:
    width: of the figure.
    left, right: of the axes.
    pitch: height of a row.
    name: middle of the factor's name.
    change: left or right end and middle of the levels' change, and its alignment.
    mark, numbers: middles of the first estimate's mark and of its numbers.
    line: from one estimate to the next.
    numbers_left: where numbers begin; verdicts end at the figure's right edge.
  """

  width: float
  left: float
  right: float
  pitch: float
  name: float
  change: tuple[float, float, str]
  mark: float
  numbers: float
  line: float
  numbers_left: float


def _lay_out(estimates: int, *, share: bool, narrow: bool) -> _Layout:
  """For rows of `estimates` each: in columns or, where it is narrow, in lines."""
  if narrow:
    change = (_NARROW, 0.13, 'right')
    pitch = 0.28 + _NARROW_LINE * estimates
    place = pitch, 0.13, change, 0.5, 0.33, _NARROW_LINE
    return _Layout(_NARROW, 0.15, _NARROW - 0.15, *place, 0.02)
  pitch = max(_LEAST, _LINE * estimates + _AIR)
  first = (pitch - _LINE * (estimates - 1)) / 2
  change = (0.02, pitch / 2 + 0.085, 'left')
  place = pitch, pitch / 2 - 0.075, change, first, first, _LINE
  right = canvas.WIDTH - _RIGHT[share]
  return _Layout(canvas.WIDTH, _LEFT, right, *place, right + 0.14)


def _draw(
  study: study_lib.Study,
  rows: Sequence[Row],
  texts: tuple[str, str, str],
  keys: Sequence[panels.Key],
  *,
  narrow: bool,
) -> figure.Figure:
  """Names, intervals on one axis or two, and numbers; where narrow, on one axis.

  `texts` are the axis' title and what its left and its right end mean.
  """
  share = formats.is_share(study.metric.column)
  spans = _choose_spans([e for row in rows for e in row.estimates], study.margin)
  titles = ('whole range', 'magnified around zero') if len(spans) > 1 else ('',)
  if narrow:
    spans, titles = spans[-1:], titles[-1:]
  most = max(len(row.estimates) for row in rows)
  layout = _lay_out(most, share=share, narrow=narrow)
  down = 0.22 * (len(keys) if narrow else bool(keys))  # the legend's lines
  top = 0.6 + down + 0.18 * bool(titles[0])
  height = layout.pitch * len(rows)
  fig = canvas.make_figure(top + height + 0.35, layout.width)
  title = texts[0] + (f', {formats.unit_of(study.metric.column)}' if share else '')
  title = formats.clip(title, int((layout.width - layout.left) / 0.066))
  canvas.write(fig, layout.left, 0.18 + down, title, fontsize=8)
  canvas.write(fig, layout.left, 0.4 + down, f'◂ {texts[1]}')
  canvas.write(fig, layout.right, 0.4 + down, f'{texts[2]} ▸', ha='right')
  if narrow:
    for i, key in enumerate(keys):
      panels.write_legend(fig, [key], 0.13 + 0.22 * i, layout.left)
  elif keys:
    panels.write_legend(fig, keys, 0.13)
  width = (layout.right - layout.left - _GAP * (len(spans) - 1)) / len(spans)
  for i, (span, title) in enumerate(zip(spans, titles)):
    left = layout.left + i * (width + _GAP)
    ax = canvas.add_axes(fig, left, top, width, height)
    _prepare(ax, study, height, span, title)
    for number, row in enumerate(rows):
      above = layout.pitch * number
      if number:
        ax.axhline(above, color=canvas.GRID, linewidth=0.8, zorder=0.5)
      for j, estimate in enumerate(row.estimates):
        _mark(ax, estimate, above + layout.mark + layout.line * j, span)
  for number, row in enumerate(rows):
    above = top + layout.pitch * number
    name = formats.clip(row.name, 26)
    look: dict[str, Any] = {'bbox': _BEHIND} if narrow else {}  # over the grid
    canvas.write(fig, 0.02, above + layout.name, name, bold=True, fontsize=8.5, **look)
    left, middle, align = layout.change
    change = formats.clip(row.change, 33 - narrow * max(0, len(name) - 20))
    canvas.write(fig, left, above + middle, change, ha=align, **look)
    for j, estimate in enumerate(row.estimates):
      middle = above + layout.numbers + layout.line * j
      _write_numbers(fig, study.metric.column, estimate, middle, layout, look)
  return fig


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
      markerfacecolor=colour if estimate.is_filled else canvas.PAPER,
      markeredgewidth=1.2,
    )


def _write_numbers(
  fig: figure.Figure,
  column: str,
  estimate: Estimate,
  middle: float,
  layout: _Layout,
  look: Mapping[str, Any],
) -> None:
  """The estimate in figures, smaller where there is no room, and its verdict."""
  left = layout.numbers_left
  if not estimate.is_measured:
    words, colour = 'no pairs of runs yet', canvas.SOFT
    if estimate.diverged:
      words, colour = f'× {estimate.diverged}', canvas.ORANGE
    canvas.write(fig, left, middle, words, fontsize=7, color=colour, **look)
    return
  numbers = formats.delta(column, estimate.value)
  numbers += f' {formats.interval(column, estimate.low, estimate.high)}'
  words = estimate.verdict or estimate.word
  room = layout.width - left - _LETTER * (len(words) + 1)
  points = min(7, 7 * room / (_LETTER * len(numbers)))
  canvas.write(fig, left, middle, numbers, fontsize=points, **look)
  colour = canvas.VERDICTS.get(estimate.verdict, canvas.SOFT)
  weight = 'bold' if estimate.verdict and estimate.claimed else 'normal'
  look = {**look, 'ha': 'right', 'fontsize': 7, 'weight': weight}
  canvas.write(fig, layout.width, middle, words, color=colour, **look)
