"""Verdicts in words: one sentence a contrast, saying no more than the numbers do."""

import math
from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import looks, reach
from dlsteroids.analysis import summary as summary_lib
from dlsteroids.report import design_words, facts, formats
from dlsteroids.study import factors
from dlsteroids.study import study as study_lib

MARKS = {'helps': '▲', 'hurts': '▼', 'equivalent': '=', 'inconclusive': '?'}
Row = facts.Row
_KINDS = {'reference': 'remove', 'arm': 'add'}


class Answer(NamedTuple):
  """A contrast's verdict and its sentence."""

  factor: str
  arm: str
  verdict: str
  sentence: str


class Answers(NamedTuple):
  """Everything a report claims.

  Attributes:
    refusal: why nothing can be claimed; '' if something can.
    answers: in the study's order; empty with a refusal.
    standing: the verdicts that stand, where those of this look are exploratory.
    look: the number of the look at which they were made.
  """

  refusal: str
  answers: tuple[Answer, ...]
  standing: tuple[Answer, ...] = ()
  look: int = 0


class Change(NamedTuple):
  """What a contrast compares, in words.

  Attributes:
    subject: starts a sentence: 'Dropout'.
    deed: the step from the reference to the arm, whose effect is told: 'removing it
      (0.0 instead of 0.5)'.
    swap: whether the verdict speaks of the deed itself, not of a component.
  """

  subject: str
  deed: str
  swap: bool = False


def gather(source: summary_lib.Source) -> Answers:
  """The verdicts of this look and, if they are exploratory, those that stand."""
  study, runs = source.study, source.tables.runs
  look = looks.state(study, runs)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return Answers(design_words.describe_reach(design), ())
  rows = summary_lib.effects_of(source, study.metric.column, study.tuned)
  answers = tuple(
    Answer(
      str(row['factor'] or row['arm']),
      str(row['arm']),
      str(row['verdict']),
      sentence(study, row, look),
    )
    for row in rows
    if not formats.missing(row['verdict'])
  )
  late = look.number > max(study.looks_declared, 1)
  record = looks.standing(study) if late else None
  if record is None:
    return Answers('', answers)
  standing = tuple(Answer(*answer) for answer in record.answers)
  return Answers('', answers, standing, record.look)


def bottom_line(answers: Answers) -> str:
  """How many parts matter, and which: '1 of 5 parts matters: pooling.'; or ''."""
  parts: dict[str, set[str]] = {}
  for answer in answers.standing or answers.answers:
    parts.setdefault(answer.factor, set()).add(answer.verdict)
  if answers.refusal or not parts:
    return ''
  matter = [
    name.replace('_', ' ')
    for name, verdicts in parts.items()
    if verdicts & {'helps', 'hurts'}
  ]
  if not matter:
    if len(parts) == 1:
      return f'{formats.sentence_case(next(iter(parts)))} was not shown to matter.'
    return f'None of the {len(parts)} parts was shown to matter.'
  if len(parts) == 1:
    return f'{formats.sentence_case(matter[0])} matters.'
  verb = 'matters' if len(matter) == 1 else 'matter'
  return f'{len(matter)} of {len(parts)} parts {verb}: {formats.listing(matter)}.'


def summary(
  study: study_lib.Study, table: pd.DataFrame, look: looks.Look | None = None
) -> list[str]:
  """The sentences of the family in the study's order, or why there are none.

  Args:
    study: the study.
    table: the effects table.
    look: the report's `looks.state(study, runs)`; the last one logged if None.
  """
  look = look or looks.state(study)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return [design_words.describe_reach(design)]
  family = table[table['verdict'].isin(MARKS)]
  return [sentence(study, row, look) for _, row in family.iterrows()]


def sentence(study: study_lib.Study, row: Row, look: looks.Look | None = None) -> str:
  """One row of the family in words.

  Args:
    study: the study.
    row: a row of the effects table that has a verdict.
    look: the report's `looks.state(study, runs)`; the last one logged if None.

  Returns:
    E.g. 'Dropout helps: removing it (0.0 instead of 0.5) lowers test accuracy by 1.2
    points [0.8, 1.6] (p=.004, 10 seeds).' Accuracies in percentage points, the rest in
    raw units; p is Holm's.

  Raises:
    ValueError: the row has no verdict.
  """
  look = look or looks.state(study)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return design_words.describe_reach(design)
  contrast = facts.find_contrast(study, row)
  if contrast is None or row['verdict'] not in MARKS:
    raise ValueError(f'a row without a verdict has no sentence: {dict(row)}')
  change = describe(study, contrast)
  effect = Effect(study, row)
  text = _body(study, row, change, effect, row['p_holm'] <= look.alpha)
  return f'Exploratory: {text}' if look.exploratory else text


def _body(
  study: study_lib.Study, row: Row, change: Change, effect: 'Effect', significant: bool
) -> str:
  """The sentence, without what the look adds."""
  name, verdict = change.subject, row['verdict']
  moved = f'{change.deed} {effect.moved()}'
  p, notes = _p(row['p_holm']), _notes(study, row)
  margin = f'the margin of ±{effect.plain(study.margin)}'
  if verdict in ('helps', 'hurts') and change.swap:
    return f'{name}: {moved} ({verdict}; {p}, {notes}).'
  if verdict in ('helps', 'hurts'):
    return f'{name} {verdict}: {moved} ({p}, {notes}).'
  if verdict == 'equivalent' and significant:
    return (
      f'{name} makes a real but negligible difference: {moved}, significantly more '
      f'than nothing but within {margin} ({p}, {notes}).'
    )
  if verdict == 'equivalent':
    return (
      f'{name} makes no difference that matters: {moved}, not distinguishable from '
      f'nothing and within {margin} ({notes}).'
    )
  planned = len(study.seeds)
  if 10 * row['n'] < 9 * planned:
    return (
      f'{name} is inconclusive: only {row["n"]} of {planned} pairs of runs are there, '
      f'under 90 % ({notes}).'
    )
  return f'{name} is inconclusive: {moved} ({p}, {notes}).'


def describe(study: study_lib.Study, contrast: factors.Contrast) -> Change:
  """What a contrast compares, oriented as its verdict is."""
  factor = {one.name: one for one in study.factors}.get(contrast.factor)
  new, old = facts.levels_of(study, contrast)
  has_levels = factor is not None and new is not None and old is not None
  kind = getattr(contrast, 'kind', _KINDS[contrast.component])
  subject = formats.sentence_case(contrast.factor.replace('_', ' '))
  where = ''
  if len(set(contrast.arm_cells)) > 1:
    where = ', averaged over the other factors,'
  elif study.design == 'factorial':
    where = ' in the intact model'
  if kind == 'swap' or not has_levels:
    if not has_levels:
      new, old = contrast.arm, contrast.reference
      if kind == 'remove':
        subject = f'What {new} lacks'
    is_swap = kind == 'swap'
    return Change(subject, f'{new} in place of {old}{where}', is_swap)
  if kind == 'add':
    if study.design == 'ladder':
      where = f' to {contrast.reference}'
    return Change(subject, f'adding it ({new} instead of {old}){where}')
  return Change(subject, f'removing it ({new} instead of {old}){where}')


def _notes(study: study_lib.Study, row: Row) -> str:
  """Seeds, and the runs that diverged, for the closing parenthesis."""
  planned = len(study.seeds)
  seeds = f'{row["n"]} of {planned}' if row['n'] != planned else f'{planned}'
  text = f'{seeds} seed{"s" if planned != 1 else ""}'
  for side in ('arm', 'reference'):
    count = int(row[f'n_diverged_{side}'])
    if count:
      text += f'; {count} run{"s" if count > 1 else ""} of {row[side]} diverged'
  return text


def _p(value: float) -> str:
  """'p=.004', as papers print it."""
  if value < 0.001:
    return 'p<.001'
  return f'p={value:.3f}'.replace('0.', '.') if value < 0.9995 else 'p=1'


class Effect:
  """The numbers of a row in the unit a reader expects."""

  def __init__(self, study: study_lib.Study, row: Row):
    """Reads `metric`, `delta`, `ci_low` and `ci_high`."""
    self.what = facts.words(study, row['metric'])
    points = formats.is_share(row['metric'])
    self.scale = 100 if points else 1
    self.suffix = ' points' if points else ''
    self.delta = row['delta'] * self.scale
    self.ends = [row[end] * self.scale for end in ('ci_low', 'ci_high')]
    # decimals: one more than the first digit of the interval's width needs, points none
    width = self.ends[1] - self.ends[0]
    size = max(width if math.isfinite(width) else 0, abs(self.delta) / 100)
    digits = -math.floor(math.log10(size)) if size > 0 else 1
    self.digits = min(max(digits + (0 if points else 1), 1), 8)

  def number(self, value: float) -> str:
    """`value` with the row's decimals and a real minus sign."""
    value = round(value, self.digits) or 0.0  # no negative zero
    return f'{value:.{self.digits}f}'.replace('-', formats.MINUS)

  def plain(self, value: float) -> str:
    """A declared number, such as the margin, in the row's unit."""
    return f'{value * self.scale:g}{self.suffix}'

  def moved(self, what: str = '') -> str:
    """'lowers test accuracy by 1.2 points [0.8, 1.6]', of `what` if it is named."""
    verb, sign = ('lowers', -1) if self.delta < 0 else ('raises', 1)
    if not round(self.delta, self.digits):
      verb, sign = 'changes', 1
    low, high = (
      f'{self.number(end)}'.replace('inf', '∞')
      for end in sorted(sign * end for end in self.ends)
    )
    amount = f'{self.number(sign * self.delta)}{self.suffix}'
    return f'{verb} {what or self.what} by {amount} [{low}, {high}]'


def silence(frame: pd.DataFrame) -> pd.DataFrame:
  """The effects without test or claim, for a design that could not have shown any."""
  return frame.assign(verdict='', p=float('nan'), p_holm=float('nan'))
