"""The section on regimes: what reads differently between them, what is not equal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dlsteroids.analysis import reach
from dlsteroids.analysis import regimes as regimes_lib
from dlsteroids.report import blocks, facts, formats, sentences, tables
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.study import study as study_lib

WORDS = {'steps': 'equal steps', 'flops': 'equal FLOPs', 'params': 'equal parameters'}
_READINGS = {
  'equivalent': 'makes no difference that matters',
  'inconclusive': 'is inconclusive',
}
_MOST = 3  # deviations from what a regime makes equal
_QUANTITIES = {
  'flops': ('FLOPs a run', formats.flops),
  'params': ('parameters', formats.count),
}


def section(study: study_lib.Study, result: regimes_lib.Regimes) -> blocks.Section:
  """The contrasts side by side; sentences on them lead the report."""
  why = refusal(study, result)
  parts: list[Any] = [blocks.Prose(why)] * bool(why) + [_table(study, result)]
  return blocks.Section('The same under other regimes', parts, 'regimes')


def refusal(study: study_lib.Study, regimes: regimes_lib.Regimes) -> str:
  """Why nothing can be claimed in any regime; '' if something can."""
  design = reach.reach(study, regimes.look.alpha)
  return '' if design.reachable else sentences.describe_reach(design)


def flips(study: study_lib.Study, regimes: regimes_lib.Regimes) -> tuple[str, ...]:
  """A sentence for each contrast that reads differently between regimes."""
  start = 'Exploratory: ' if regimes.look.exploratory else ''
  return tuple(f'{start}{_flip(study, flip)}.' for flip in regimes.flips)


def _flip(study: study_lib.Study, flip: regimes_lib.Flip) -> str:
  first, *others = (
    _phrase(study, rows, named=not i) for i, rows in enumerate(flip.groups)
  )
  text = f'{_subject(study, flip)} {first} but {formats.listing(others)}'
  if flip.change is None:
    return text
  change = flip.change
  numbers = _numbers(study, flip.contrast.subject, *change[2:5])
  text += (
    f'; from {WORDS[change.regime]} to {WORDS[change.other]} the effect changes by '
    f'{numbers}, descriptive'
  )
  return text if change.certain else f'{text}, so it may be the same'


def _subject(study: study_lib.Study, flip: regimes_lib.Flip) -> str:
  """The component at the start of a sentence, with its levels if it has several."""
  contrast = flip.contrast
  levels = {factor.name: len(factor.levels) for factor in study.factors}
  count = levels.get(contrast.factor)
  if count is None and contrast.subject == 'reference':
    return f'What {contrast.arm} lacks'
  name = formats.sentence_case(contrast.factor.replace('_', ' '))
  if count is None or (count == 2 and contrast.kind != 'swap'):
    return name
  sides = facts.levels_of(study, contrast)
  present, absent = sides if contrast.subject == 'arm' else sides[::-1]
  return f'{name} ({present} instead of {absent})'


def _phrase(
  study: study_lib.Study, rows: Sequence[Mapping[str, Any]], *, named: bool = False
) -> str:
  """'hurts at equal FLOPs (−0.40 points [−0.60, −0.20], descriptive)'."""
  places: list[str] = []
  for row in rows:
    ends = row['ci_low'], row['ci_high']
    numbers = _numbers(study, row['component'], row['delta'], *ends)
    if named and not places:
      numbers = f'with it, {facts.words(study, study.metric.column)} {numbers}'
    kind = '' if row['declared'] else ', descriptive'
    places.append(f'at {WORDS[row["regime"]]} ({numbers}{kind})')
  reading = rows[0]['reading']
  return f'{_READINGS.get(reading, reading)} {formats.listing(places)}'


def _numbers(study: study_lib.Study, component: str, delta: float, *ends: float) -> str:
  """The metric with the component minus without it, and its interval."""
  metric = study.metric.column
  sign = 1 if component == 'arm' else -1
  low, high = sorted(sign * end for end in ends)
  points = formats.is_share(metric)  # the name of another metric says its unit
  difference = formats.delta(metric, sign * delta, unit=points)
  return f'{difference} {formats.interval(metric, low, high)}'


def deviations(study: study_lib.Study) -> tuple[str, ...]:
  """What is not equal though its regime is called so, a line each; the first few."""
  lines = [
    f'At {name_condition(deviation.condition)}, {_deviation(deviation)}'
    for deviation in regimes_lib.check_equality(study)
  ]
  more = len(lines) - _MOST
  return (*lines[:_MOST], *([f'{more} more such deviations.'] * (more > 0)))


def name_condition(condition: conditions_lib.Condition) -> str:
  """'equal FLOPs, 0.5× the compute'."""
  text = WORDS[condition.regime]
  if condition.budget != 1:
    text += f', {condition.budget:g}× the compute'
  return text + (f', {condition.size:g}× the widths' if condition.size != 1 else '')


def _deviation(deviation: regimes_lib.Deviation) -> str:
  arm, reference = deviation.arm, deviation.reference
  costs = {arm: deviation.cost, reference: deviation.reference_cost}
  unknown = [name for name, cost in costs.items() if cost is None]
  if unknown:
    return (
      f'the costs of {formats.listing(unknown)} are not known, so nothing shows that '
      'they are equal.'
    )
  words, show = _QUANTITIES[deviation.condition.regime]
  one, two = deviation.amounts
  if not (math.isfinite(one) and two > 0):
    return f'{arm} cannot be held against {reference}: {one:g} and {two:g} {words}.'
  off = one / two - 1
  more = 'more' if off > 0 else 'fewer'
  residuals = [_percent(cost.residual) for cost in costs.values() if cost]
  return (
    f'{arm} has {100 * abs(off):.1f}{formats.THIN}% {more} {words} than {reference} '
    f'({show(one)} against {show(two)}; solving left {" and ".join(residuals)}).'
  )


def _percent(share: float) -> str:
  """'+0.3 %', '−1.2 %', '0.0 %'."""
  text = f'{100 * share:+.1f}'
  text = '0.0' if float(text) == 0 else text.replace('-', formats.MINUS)
  return f'{text}{formats.THIN}%'


def _table(study: study_lib.Study, result: regimes_lib.Regimes) -> blocks.Table:
  """A row a contrast and regime; what the component gains, and what it costs."""
  column = study.metric.column
  rows = []
  for row in result.frame.to_dict('records'):
    sides = ('arm', 'reference') if row['component'] == 'arm' else ('reference', 'arm')
    reading = str(row['reading'] or formats.NOTHING)
    rows.append(
      {
        'Component': f'{row["factor"]} ({row["level"]})',
        'Regime': WORDS[row['regime']],
        'Reading': reading if row['declared'] else f'{reading} (descriptive)',
        'It gains': formats.delta(column, row['gain'], unit=True),
        'Interval': formats.interval(column, row['gain_low'], row['gain_high']),
        'p (Holm)': formats.p_value(row['p_holm']),
        **{
          f'{what} with / without': _ratio(*(row[f'{side}_{name}'] for side in sides))
          for what, name in (('FLOPs', 'flops'), ('Parameters', 'params'))
        },
        'Seeds': formats.count(row['n']),
      }
    )
  return tables.make('Side by side', rows, ('Component', 'Regime', 'Reading'))


def _ratio(one: float, other: float) -> str:
  if not other or formats.missing(one) or formats.missing(other):
    return formats.NOTHING
  return f'{one / other:.2f}×'
