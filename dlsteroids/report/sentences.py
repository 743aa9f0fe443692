"""Verdicts in words: one sentence a contrast, saying no more than the numbers do."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dlsteroids.analysis import looks, pairs, reach
from dlsteroids.report import design_words, facts, formats


def summary(
  study: Mapping[str, Any], table: pd.DataFrame, look: looks.Look | None = None
) -> list[str]:
  """The sentences of the family in the study's order, or the one that says: nothing.

  Args:
    table: the effects table.
    look: the report's `looks.state(study, runs)`; the last one logged if None.
  """
  look = look or looks.state(study)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return [design_words.describe_reach(design)]
  family = table[
    table['verdict'].isin(['helps', 'hurts', 'equivalent', 'inconclusive'])
  ]
  return [sentence(study, row, look) for _, row in family.iterrows()]


def sentence(
  study: Mapping[str, Any],
  row: Mapping[str, Any] | pd.Series,
  look: looks.Look | None = None,
) -> str:
  """One row of the family in words.

  Args:
    study: the content of study.json.
    row: a row of the effects table that has a verdict; otherwise raises ValueError.
    look: the report's `looks.state(study, runs)`; the last one logged if None.

  Returns:
    E.g. 'Dropout helps: removing it (0.0 instead of 0.5) lowers test accuracy by 1.2
    points [0.8, 1.6] (p=.004, 10 seeds).' Accuracies in percentage points, the rest in
    raw units; p is Holm's.
  """
  look = look or looks.state(study)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return design_words.describe_reach(design)
  contrast = _contrast(study, row)
  name = _subject(study, contrast)
  deed = _deed(study, contrast)
  unit = _Unit(study, row)
  notes = _notes(study, row)
  verdict = row['verdict']
  significant = row['p_holm'] <= look.alpha
  if verdict in ('helps', 'hurts'):
    text = f'{name} {verdict}: {deed} {unit.moved()} ({_p(row["p_holm"])}, {notes}).'
  elif verdict == 'equivalent' and significant:
    text = (
      f'{name} makes a real but negligible difference: {deed} {unit.moved()}, within '
      f'the margin of ±{unit.plain(study["margin"])} ({_p(row["p_holm"])}, {notes}).'
    )
  elif verdict == 'equivalent':
    text = (
      f'{name} makes no difference that matters: {deed} {unit.changed()}, within the '
      f'margin of ±{unit.plain(study["margin"])} ({notes}).'
    )
  elif verdict == 'inconclusive':
    text = _open(study, row, f'{name} is inconclusive: ', deed, notes)
  else:
    raise ValueError(f'a row without a verdict has no sentence: {dict(row)}')
  return f'Exploratory: {text}' if look.exploratory else text


def _open(
  study: Mapping[str, Any],
  row: Mapping[str, Any] | pd.Series,
  start: str,
  deed: str,
  notes: str,
) -> str:
  """The sentence of an inconclusive row."""
  planned = len(study['seeds'])
  if 10 * row['n'] < 9 * planned:
    return (
      f'{start}only {row["n"]} of {planned} pairs of runs are there, under 90 % '
      f'({notes}).'
    )
  return f'{start}{deed} {_Unit(study, row).changed()} ({_p(row["p_holm"])}, {notes}).'


def _contrast(
  study: Mapping[str, Any], row: Mapping[str, Any] | pd.Series
) -> Mapping[str, Any]:
  """The contrast a row measures."""
  # the level is not asked for: read back from a table, '0.50' is 0.5 and '' is nan
  keys = ('arm', 'factor', 'reference')
  for contrast in study['contrasts']:
    if all(str(contrast[key]) == str(row[key]) for key in keys):
      return contrast
  raise ValueError(f'no contrast of the study has {[row[key] for key in keys]}')


def _subject(study: Mapping[str, Any], contrast: Mapping[str, Any]) -> str:
  """The component's name at the start of a sentence."""
  known = {factor['name'] for factor in study['factors']}
  name = contrast['factor'].replace('_', ' ')
  if contrast.get('kind') == 'swap' and contrast['factor'] in known:
    name = _swap(study, contrast)
  if contrast['factor'] not in known and contrast['component'] == 'reference':
    return f'What {contrast["arm"]} lacks'
  return name[:1].upper() + name[1:]


def _deed(study: Mapping[str, Any], contrast: Mapping[str, Any]) -> str:
  """What was done to the reference to get the arm."""
  factors = {factor['name']: factor for factor in study['factors']}
  factor = factors.get(contrast['factor'])
  if factor is None:
    return f'{contrast["arm"]} instead of {contrast["reference"]}'
  assigned = {arm['name']: arm['assignment'] for arm in study['arms']}
  new, old = (
    assigned[side[0]].get(contrast['factor']) for side in pairs.cells(contrast)
  )
  if contrast.get('kind') == 'swap':
    return 'it'
  swap = f'{new} instead of {old}'
  if contrast['component'] == 'reference':
    if new != factor['levels'][-1]['name']:
      return f'taking {swap}'
    return f'removing it ({swap})'
  if study['design'] == 'ladder':
    return f'adding it ({swap}) to {contrast["reference"]}'
  if study['design'] == 'factorial':
    return f'adding it ({swap}), averaged over the other factors,'
  return f'adding it ({swap})'


def _swap(study: Mapping[str, Any], contrast: Mapping[str, Any]) -> str:
  """'tanh in place of relu'."""
  assigned = {arm['name']: arm['assignment'] for arm in study['arms']}
  new, old = (
    assigned[side[0]].get(contrast['factor']) for side in pairs.cells(contrast)
  )
  return f'{new} in place of {old}'


def _notes(study: Mapping[str, Any], row: Mapping[str, Any] | pd.Series) -> str:
  """Seeds, and the runs that diverged, for the closing parenthesis."""
  planned = len(study['seeds'])
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


class _Unit:
  """The numbers of a row in the unit a reader expects."""

  def __init__(self, study: Mapping[str, Any], row: Mapping[str, Any] | pd.Series):
    self.what = facts.words(study, row['metric'])
    points = formats.is_share(row['metric'])
    self.scale = 100 if points else 1
    self.suffix = ' points' if points else ''
    self.delta = row['delta'] * self.scale
    self.ends = row['ci_low'] * self.scale, row['ci_high'] * self.scale
    # decimals: one more than the first digit of the interval's width needs, points none
    width = self.ends[1] - self.ends[0]
    size = max(width if math.isfinite(width) else 0, abs(self.delta) / 100)
    digits = -math.floor(math.log10(size)) if size > 0 else 1
    self.digits = min(max(digits + (0 if points else 1), 1), 8)

  def number(self, value: float, sign: str = '') -> str:
    """`value` with the row's decimals and a real minus sign."""
    value = round(value, self.digits)
    if value == 0:
      value, sign = 0.0, ''  # no negative zero, and no positive one
    return f'{value:{sign}.{self.digits}f}'.replace('-', '−')

  def plain(self, value: float) -> str:
    """A given number, such as the margin, in the row's unit."""
    return f'{value * self.scale:g}{self.suffix}'

  def moved(self) -> str:
    """'lowers test accuracy by 1.2 points [0.8, 1.6]'."""
    verb, sign = ('raises', 1) if self.delta > 0 else ('lowers', -1)
    low, high = sorted(sign * end for end in self.ends)
    return (
      f'{verb} {self.what} by {self.number(sign * self.delta)}{self.suffix} '
      f'[{self.number(low)}, {self.number(high)}]'
    )

  def changed(self) -> str:
    """'changes test accuracy by −0.1 points [−0.3, +0.1]'."""
    low, high = self.ends
    return (
      f'changes {self.what} by {self.number(self.delta, "+")}{self.suffix} '
      f'[{self.number(low, "+")}, {self.number(high, "+")}]'
    )
