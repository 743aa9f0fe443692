"""Verdicts in words: a sentence per contrast that says no more than its numbers."""

import math
from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import looks, reach
from dlsteroids.analysis import summary as summary_lib
from dlsteroids.report import facts, formats, tables
from dlsteroids.study import factors
from dlsteroids.study import study as study_lib

MARKS = {'helps': '▲', 'hurts': '▼', 'equivalent': '=', 'inconclusive': '?'}
_POPULATION = 'For the population that the data were drawn from'
Row = facts.Row


class Finding(NamedTuple):
  """A contrast's verdict and its sentence."""

  factor: str
  arm: str
  verdict: str
  sentence: str


class Findings(NamedTuple):
  """Everything a report claims; with a refusal, nothing."""

  refusal: str
  findings: tuple[Finding, ...]  # in the study's order
  unanswered: tuple[str, ...] = ()  # factors most of whose runs diverged
  standing: tuple[Finding, ...] = ()  # what stands where this look is exploratory
  look: int = 0  # that made the verdicts that stand


class Change(NamedTuple):
  """What a contrast compares, in words."""

  subject: str  # starts a sentence: 'Dropout'
  action: str  # from reference to arm: 'removing it (0.0 instead of 0.5)'
  swap: bool = False  # whether the verdict is on the action, not on a component


def describe_reach(design: reach.Reach) -> str:
  """The smallest reachable p against alpha, or what the design lacks to reach it."""
  size = f'{formats.plural(design.contrasts, "contrast")} over '
  size += formats.plural(design.seeds, 'seed')
  units = 'seeds'
  if not design.paired:
    size = size.replace('seed', 'run') + ' an arm'
    units = 'runs an arm'
  smallest, alpha = f'{design.smallest_p:.2g}', f'{design.alpha:.2g}'
  if design.reachable:
    return f'{size}: the smallest reachable p is {smallest}, alpha is {alpha}.'
  needed = design.seeds_needed
  cure = f'at least {needed} {units} are needed' if needed else 'use fewer contrasts'
  return (
    f'This design could not have shown anything: with {size} the smallest reachable p '
    f'is {smallest}, above alpha = {alpha}; {cure}.'
  )


def warn_reach(design: reach.Reach) -> str:
  """Before training: that a design cannot reach alpha, and the option to change."""
  needed = design.seeds_needed
  cure = f'--config.study.seeds={needed}' if needed else 'fewer contrasts'
  return (
    f'too few seeds to show anything: the smallest reachable p is '
    f'{design.smallest_p:.2g}, above alpha = {design.alpha:.2g}; use {cure}'
  )


def describe_look(study: study_lib.Study, look: looks.Look) -> str:
  """Why a look's verdicts are exploratory, a sentence; '' if they are claims."""
  if not look.exploratory:
    return ''
  if look.number <= look.declared and study.table:
    return (
      'Too many runs are missing: the verdicts are exploratory until the table has '
      'them, or has no arm that lacks them.'
    )
  if look.number <= look.declared:
    return 'Not all planned runs have ended: the verdicts are exploratory.'
  looks_were = 'looks were' if look.declared > 1 else 'look was'
  why = ': results were shown before this plan was made'
  if looks.standing(study):
    why = f'; those of look {look.declared} stand'
  return (
    f'This is look {look.number} at the study and {look.declared} {looks_were} '
    f'declared: its verdicts are exploratory{why}.'
  )


def gather(source: summary_lib.Source) -> Findings:
  """The verdicts of this look and, if they are exploratory, those that stand."""
  study, runs = source.study, source.tables.runs
  look = looks.state(study, runs)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return Findings(describe_reach(design), ())
  rows = summary_lib.effects_of(source, study.metric.column, study.tuned)
  main = {_change_key(row): row for row in rows if row['effect'] == effects_lib.MAIN}
  spans = tables.intervals_with_examples(source, study.metric.column, study.tuned)
  findings, unanswered = [], []
  for row in rows:
    if formats.missing(row['verdict']):
      if row['effect'] != effects_lib.MAIN and effects_lib.is_mostly_diverged(row):
        unanswered.append(str(row['factor']))
      continue
    texts = [sentence(study, row, look)]
    if _change_key(row) in main and row['effect'] == effects_lib.SIMPLE:
      texts.append(_main_effect(study, main[_change_key(row)]))
    low, high = spans.get(tables.key_of(row), (1.0, 1.0))
    if row['verdict'] in ('helps', 'hurts') and low <= 0 <= high:
      interval = Effect(study, row).interval(low, high)
      over = 'Over seeds and test examples together'
      where = over if study.data.official_test else _POPULATION
      texts.append(
        f'{where} the interval, {interval}, contains 0: on other examples there may be '
        'no difference.'
      )
    name = str(row['factor'] or row['arm'])
    findings.append(
      Finding(name, str(row['arm']), str(row['verdict']), ' '.join(texts))
    )
  late = look.number > max(study.looks_declared, 1)
  record = looks.standing(study) if late else None
  if record is None:
    return Findings('', tuple(findings), tuple(unanswered))
  standing = tuple(Finding(*answer) for answer in record.answers)
  return Findings('', tuple(findings), tuple(unanswered), standing, record.look)


def _change_key(row: Row) -> tuple[str, str]:
  return str(row['factor']), str(row['level'])


def _main_effect(study: study_lib.Study, row: Row) -> str:
  """A sentence on a factorial's main effect, to follow that on the simple effect."""
  contrast = facts.find_contrast(study, row)
  if contrast is None:
    return ''
  action = describe(study, contrast).action.split(', averaged')[0]
  return f'Averaged over the other factors, {action} {Effect(study, row).moved()}.'


def contradictions(study: study_lib.Study, effects: pd.DataFrame) -> list[str]:
  """Where a factorial's intact model shows the opposite of the average over cells."""
  texts = []
  for simple, main in effects_lib.contradictions(study, effects):
    contrast = facts.find_contrast(study, simple)
    if contrast is None:
      continue
    change, moved = describe(study, contrast), Effect(study, simple).moved()
    texts.append(
      f'{change.subject} has opposite effects: {change.action} {moved}, but averaged '
      f'over the other factors it {Effect(study, main).moved()}. What it does '
      'depends on the other parts; the verdict is on the intact model.'
    )
  return texts


def bottom_line(findings: Findings, noun: str = 'part') -> str:
  """How many parts matter, and which: '1 of 5 parts matters: pooling.'; or ''."""
  is_arm = noun == 'arm'  # whose names are quoted as they are
  plain = lambda name: name if is_arm else name.replace('_', ' ')
  verb, verbs = ('differ', 'differs') if is_arm else ('matter', 'matters')
  verdicts: dict[str, set[str]] = {}
  for answer in findings.standing or findings.findings:
    verdicts.setdefault(plain(answer.factor), set()).add(answer.verdict)
  unanswered = dict.fromkeys(map(plain, findings.unanswered))
  lost = [name for name in unanswered if name not in verdicts]
  if findings.refusal or not (verdicts or lost):
    return ''
  matter = [name for name, one in verdicts.items() if one & {'helps', 'hurts'}]
  count = len(verdicts) + len(lost)
  is_settled = all(kinds == {'equivalent'} for kinds in verdicts.values())
  of_one, of_none = f'was not shown to {verb}', f'was shown to {verb}'
  if is_settled:
    of_one = 'makes no difference that matters'
    of_none = 'makes a difference that matters'
  texts = []
  if verdicts and count == 1:
    texts.append(f'{next(iter(verdicts))} {verbs if matter else of_one}')
  elif matter:
    does = verbs if len(matter) == 1 else verb
    texts.append(f'{len(matter)} of {count} {noun}s {does}: {formats.listing(matter)}')
  elif verdicts:
    texts.append(f'None of the {count} {noun}s {of_none}')
  if lost:
    texts.append(f'no verdict on {formats.listing(lost)}, as most runs diverged')
  line = f'{"; ".join(texts)}.'
  return line if is_arm else formats.sentence_case(line)


def summary(
  study: study_lib.Study, table: pd.DataFrame, look: looks.Look | None = None
) -> list[str]:
  """The sentences of the family in the study's order, or why there are none.

  `table` holds the effects; without a `look` it is the last one logged.
  """
  look = look or looks.state(study)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return [describe_reach(design)]
  deciding = table['metric'] == study.metric.column
  family = table[deciding & (table['tuned'] == study.tuned)]
  family = family[family['effect'] != effects_lib.MAIN]
  return [sentence(study, row, look) for _, row in family.iterrows()]


def sentence(study: study_lib.Study, row: Row, look: looks.Look | None = None) -> str:
  """One row of the family in words; without a `look` it is the last one logged.

  E.g. 'Dropout helps: removing it (0.0 instead of 0.5) lowers test accuracy by 1.2
  points [0.8, 1.6] (p=.004, 10 seeds).' Accuracies in percentage points, the rest in
  raw units; p is Holm's.

  Raises:
    ValueError: the row is not of the family.
  """
  look = look or looks.state(study)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return describe_reach(design)
  contrast = facts.find_contrast(study, row)
  if contrast is not None and effects_lib.is_mostly_diverged(row):
    name = contrast.factor.replace('_', ' ')
    return f'{_diverged(row)}So there is no verdict on {name}.'
  if contrast is None or row['verdict'] not in MARKS:
    raise ValueError(f'a row without a verdict has no sentence: {dict(row)}')
  change = describe(study, contrast)
  effect = Effect(study, row)
  text = _body(study, row, change, effect, row['p_holm'] <= look.alpha)
  stands = study.until is not None and str(row['exploratory']) == 'False'
  return f'Exploratory: {text}' if look.exploratory and not stands else text


def _body(
  study: study_lib.Study, row: Row, change: Change, effect: 'Effect', significant: bool
) -> str:
  """The sentence, without what the look adds."""
  name, verdict = f'{_diverged(row)}{change.subject}', row['verdict']
  moved = f'{change.action} {effect.moved()}'
  if _diverged(row) and not formats.missing(row['delta_finite']):
    moved += f', by {effect.amount(row["delta_finite"])} where no run diverged'
  p, notes = _p(row['p_holm']), _notes(study, row, effect)
  margin = f'the margin of ±{effect.plain(study.margin)}'
  if verdict in ('helps', 'hurts') and change.swap:
    return f'{name}: {moved} ({verdict}{_skew(row)}; {p}, {notes}).'
  if verdict in ('helps', 'hurts'):
    return f'{name} {verdict}{_skew(row)}: {moved} ({p}, {notes}).'
  if verdict == 'equivalent':
    kind = 'makes no difference that matters'
    rest = f'not distinguishable from nothing and within {margin} ({notes})'
    if significant:
      kind = 'makes a real but negligible difference'
      rest = f'significantly more than nothing but within {margin} ({p}, {notes})'
    return f'{name} {kind}: {moved}, {rest}.'
  if lacking := _lacking(study, row):
    return f'{name} is inconclusive: {lacking} ({notes}).'
  planned = _planned(study, row)
  if study.paired and 10 * row['n'] < 9 * planned:
    return (
      f'{name} is inconclusive: only {row["n"]} of {planned} pairs of runs are '
      f'complete, under 90 % ({notes}).'
    )
  return f'{name} is inconclusive: {moved} ({p}, {notes}).'


def _planned(study: study_lib.Study, row: Row) -> int:
  """The pairs of a row's look: of all seeds, unless an earlier look decided."""
  sizes = study.until.sizes if study.until else ()
  return min((n for n in sizes if n >= row['n']), default=len(study.seeds))


def _lacking(study: study_lib.Study, row: Row) -> str:
  """Why unpaired runs are too few for a verdict: scores are missing; or ''."""
  if study.paired:
    return ''
  for arm, count in ((row['arm'], row['n']), (row['reference'], row['n_reference'])):
    planned = sum(run.arm == arm for run in study.runs)
    if 10 * count < 9 * planned:
      return f'only {count} of {planned} runs of {arm} have a score, under 90 %'
  return ''


def describe(study: study_lib.Study, contrast: factors.Contrast) -> Change:
  """What a contrast compares, in the words that its verdict uses."""
  factor = {one.name: one for one in study.factors}.get(contrast.factor)
  new, old = facts.levels_of(study, contrast)
  has_levels = factor is not None and new is not None and old is not None
  subject = formats.sentence_case(contrast.factor.replace('_', ' '))
  kind = contrast.kind
  where = ''
  if len(set(contrast.arm_cells)) > 1:
    over = 'orders of adding them' if study.permutations else 'the other factors'
    where = f', averaged over {over},'
  elif study.design == 'factorial':
    where = ' in the intact model'
  elif study.design == 'ladder' and kind != 'remove':
    where = f' {"to" if kind == "add" else "in"} {contrast.reference}'
  if kind == 'swap' or not has_levels:
    if study.table:
      return Change(
        contrast.arm, f'in place of {contrast.reference} it', kind == 'swap'
      )
    if not has_levels:
      new, old, where = contrast.arm, contrast.reference, ''
      subject = f'What {new} lacks' if kind == 'remove' else subject
    return Change(subject, f'{new} in place of {old}{where}', kind == 'swap')
  verb = 'adding' if kind == 'add' else 'removing'
  return Change(subject, f'{verb} it ({new} instead of {old}){where}')


def _diverged(row: Row) -> str:
  """'3 of 10 runs of dropout=0.0 diverged. ', which leads the sentence; or ''."""
  texts = []
  for side in ('arm', 'reference'):
    count = int(row[f'n_diverged_{side}'])
    if count:
      ended = round(count / row[f'share_diverged_{side}'])
      texts.append(f'{count} of {formats.plural(ended, "run")} of {row[side]} diverged')
  return f'{formats.listing(texts)}. ' if texts else ''


def _skew(row: Row) -> str:
  return ', with a skewed difference' if str(row['skewed']) == 'True' else ''


def _notes(study: study_lib.Study, row: Row, effect: 'Effect') -> str:
  """For the closing parenthesis: seeds, and what the verdict depends on."""
  planned = _planned(study, row)
  of = f'{row["n"]} of ' if row['n'] != planned else ''
  texts = [f'{of}{formats.plural(planned, "seed")}']
  if not study.paired:
    texts = [f'{row["n"]} and {row["n_reference"]} runs, not paired']
  if _skew(row):
    texts.append(f'median {effect.amount(row["delta_median"])}')
  for side in ('arm', 'reference'):
    if count := int(row[f'n_bounded_{side}']):
      runs = formats.plural(count, 'run')
      texts.append(f'{runs} of {row[side]} worse than the fallback, counted as it')
  seeds = row['pivotal_seeds']
  pivotal = [] if formats.missing(seeds) else str(seeds).split()
  if pivotal and row['verdict'] in ('helps', 'hurts'):
    several = f'any one of seeds {formats.listing(pivotal)}'
    seed = several if len(pivotal) > 1 else f'seed {pivotal[0]}'
    texts.append(f'without {seed} this is inconclusive')
  return '; '.join(texts)


def _p(value: float) -> str:
  """'p=.004', as papers print it."""
  if value < 0.001:
    return 'p<.001'
  return f'p={value:.3f}'.replace('0.', '.') if value < 0.9995 else 'p=1'


class Effect:
  """The numbers of a row of the effects in the unit a reader expects."""

  def __init__(self, study: study_lib.Study, row: Row):
    self.what = facts.words(study, row['metric'])
    points = formats.is_share(row['metric'])
    self.scale, self.suffix = (100, ' points') if points else (1, '')
    self.delta = row['delta'] * self.scale
    self.raw_ends = row['ci_low'], row['ci_high']
    # Decimals show the first digit of the interval's width; one more but for points.
    width = (self.raw_ends[1] - self.raw_ends[0]) * self.scale
    size = max(width if math.isfinite(width) else 0, abs(self.delta) / 100)
    digits = -math.floor(math.log10(size)) if size > 0 else 1
    self.digits = max(digits + (0 if points else 1), 1)
    # What has more digits than a reader counts: losses of 1e-9, returns of 1e9.
    self.by_powers = self.digits > 8 or size >= 1e6

  def number(self, value: float) -> str:
    """`value` with the row's decimals and a real minus sign."""
    value = round(value, self.digits) or 0.0  # no negative zero
    if self.by_powers and math.isfinite(value):
      text = f'{value:.2e}' if value else '0'
    else:
      text = f'{value:.{self.digits}f}'
    return text.replace('-', formats.MINUS)

  def amount(self, delta: float) -> str:
    """A difference as `moved` counts it: positive in the direction of the mean."""
    sign = -1 if self.delta < 0 else 1
    return f'{self.number(sign * delta * self.scale)}{self.suffix}'

  def plain(self, value: float) -> str:
    """A declared number, such as the margin, in the row's unit."""
    return f'{value * self.scale:g}{self.suffix}'

  def moved(self) -> str:
    """'lowers test accuracy by 1.2 points [0.8, 1.6]'."""
    verb, sign = ('lowers', -1) if self.delta < 0 else ('raises', 1)
    if not round(self.delta, self.digits):
      verb, sign = 'changes', 1
    amount = f'{self.number(sign * self.delta)}{self.suffix}'
    return f'{verb} {self.what} by {amount} {self.interval(*self.raw_ends)}'

  def interval(self, low: float, high: float) -> str:
    """An interval of differences, positive in the direction of the mean."""
    sign = -self.scale if self.delta < 0 else self.scale
    ends = (self.number(end) for end in sorted((sign * low, sign * high)))
    return f'[{", ".join(ends)}]'.replace('inf', '∞')


def silence(frame: pd.DataFrame) -> pd.DataFrame:
  """The effects without p and verdict, for a design too small to reach significance."""
  return frame.assign(verdict='', p=float('nan'), p_holm=float('nan'))
