"""Every contrast under every regime: the idea, or only the compute it came with?

What the declared regime shows are the study's verdicts. The other regimes are read by
the same rule, each with a Holm family of its own, but no claim rests on them: their
readings are descriptive.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import effects, looks, pairs, reach, statistics
from dlsteroids.report import facts, formats

WORDS = {'steps': 'equal steps', 'flops': 'equal FLOPs', 'params': 'equal parameters'}
COLUMNS = (
  'factor',
  'level',
  'arm',
  'reference',
  'component',
  'regime',
  'declared',
  'n',
  'delta',
  'ci_low',
  'ci_high',
  'gain',
  'gain_low',
  'gain_high',
  'ci_kind',
  'p',
  'p_holm',
  'reading',
  'arm_flops',
  'reference_flops',
  'arm_params',
  'reference_params',
  'arm_steps',
  'reference_steps',
  'arm_residual',
  'reference_residual',
)
_READINGS = {
  'helps': 'helps',
  'hurts': 'hurts',
  'equivalent': 'makes no difference that matters',
  'inconclusive': 'is inconclusive',
}


class Regimes(NamedTuple):
  """The study's contrasts side by side under its regimes.

  Attributes:
    frame: a row a contrast and regime, exactly `COLUMNS`. `delta` is arm - reference
      with interval `ci_low`, `ci_high`; `gain` the same signed so that above zero the
      component helps, both in the metric's unit. `declared` tells verdicts from
      descriptive readings. FLOPs (nominal) and steps are of a whole run; those of
      several cells are their mean, residuals the largest.
    flips: a sentence for each contrast that reads differently between regimes, those
      that turn round first.
    refusal: why nothing can be said; '' if something can. With one, `frame` has
      neither tests nor readings.
  """

  frame: pd.DataFrame
  flips: tuple[str, ...]
  refusal: str


class _Seen(NamedTuple):
  """One contrast in one regime: its row of the frame, and the pairs behind it."""

  row: dict[str, Any]
  pair: pairs.Pairs


def compare(study: Mapping[str, Any], all_runs: pd.DataFrame) -> Regimes:
  """Measures every contrast on the deciding metric under every regime of the study.

  Regimes are those of its conditions with budget 1 and size 1, in that order, in the
  declared tuning state. A regime without runs has rows with n = 0.

  Args:
    study: the content of study.json.
    all_runs: the runs of all conditions.

  Raises:
    ValueError: as `effects.measure`.
  """
  look = looks.state(study, select(all_runs, study['regime']))
  design = reach.reach(study, look.alpha)
  by_regime = [_measure(study, all_runs, name, look.alpha) for name in names(study)]
  seen = [list(regimes) for regimes in zip(*by_regime)]
  rows = [one.row for regimes in seen for one in regimes]
  frame = pd.DataFrame(rows, columns=list(COLUMNS))
  if not design.reachable:
    silent = frame.assign(reading='', p=math.nan, p_holm=math.nan)
    return Regimes(silent, (), design.sentence)
  found = [_flip(study, regimes, look.alpha) for regimes in seen]
  flips = sorted((flip for flip in found if flip), key=lambda flip: flip[0])
  # outside the declared regime a reading is no verdict, so its p is none of a family
  frame['p_holm'] = frame['p_holm'].where(frame['declared'].astype(bool))
  start = 'Exploratory: ' if look.exploratory else ''
  return Regimes(frame, tuple(f'{start}{text}' for _, text in flips), '')


def names(study: Mapping[str, Any]) -> list[str]:
  """The regimes at budget 1 and size 1, the declared one first."""
  found = [
    condition['regime']
    for condition in study.get('conditions') or ()
    if condition['budget'] == condition['size'] == 1
  ]
  return list(dict.fromkeys([study['regime'], *found]))


def select(runs: pd.DataFrame, regime: str) -> pd.DataFrame:
  """The runs under `regime` at budget 1 and size 1."""
  whole = (runs['budget'] == 1) & (runs['size'] == 1)
  return runs[whole & (runs['regime'] == regime)]


def _measure(
  study: Mapping[str, Any], all_runs: pd.DataFrame, regime: str, alpha: float
) -> list[_Seen]:
  """Every contrast in one regime, judged as `effects` judges the declared one."""
  tuned, column = pairs.declared(study), pairs.deciding(study)
  runs = select(all_runs, regime)
  runs = runs[runs['tuned'] == tuned]
  columns = map(str, runs)
  others = [c for c in columns if c.startswith(('test/', 'final/')) and c != column]
  # All regimes are read at the declared look's alpha; a log knows only that one's runs.
  asked = {**study, 'regime': regime, 'alpha': alpha, 'looks': [], 'looks_declared': 1}
  table = effects.measure(asked, runs.drop(columns=others))
  scores = pairs.tabulate(study, runs, column, tuned)
  at = costs(study)
  seen = []
  for contrast, row in zip(study['contrasts'], table.to_dict('records')):
    sign = effects.gain(study, contrast, column)
    low, high = sorted((sign * row['ci_low'], sign * row['ci_high']))
    made = {
      **{name: row[name] for name in COLUMNS if name in row},
      'component': effects.subject(contrast),
      'declared': regime == study['regime'],
      'gain': sign * row['delta'],
      'gain_low': low,
      'gain_high': high,
      'reading': row['verdict'],
      **_costs(contrast, regime, at),
    }
    seen.append(_Seen(made, pairs.match(contrast, scores)))
  return seen


def costs(
  study: Mapping[str, Any],
) -> dict[tuple[str, str, float, float], Mapping[str, Any]]:
  """What a run costs, by arm, regime, budget and size."""
  return {
    (arm['name'], one['regime'], float(one['budget']), float(one['size'])): one
    for arm in study['arms']
    for one in arm.get('at') or ()
  }


def _costs(
  contrast: Mapping[str, Any],
  regime: str,
  at: Mapping[tuple[str, str, float, float], Mapping[str, Any]],
) -> dict[str, float]:
  """The compute columns of a contrast; nan where a cell's costs are not known."""
  found = {}
  for side, cells in zip(('arm', 'reference'), pairs.cells(contrast)):
    there = [at.get((cell, regime, 1.0, 1.0)) for cell in cells]
    known = [one for one in there if one is not None]
    whole = 0 < len(known) == len(cells)
    for name in ('flops', 'params', 'steps'):
      amounts = [float(one[name]) for one in known]
      found[f'{side}_{name}'] = float(np.mean(amounts)) if whole else math.nan
    residuals = [float(one['residual']) for one in known]
    found[f'{side}_residual'] = max(residuals, key=abs) if whole else math.nan
  return found


def _flip(
  study: Mapping[str, Any], regimes: Sequence[_Seen], alpha: float
) -> tuple[int, str] | None:
  """Where a contrast reads differently: 0 turns round, 1 help or 2 harm is lost.

  Regimes with under 90 % of their pairs take no part, nor does one with the very same
  differences: another reading of those comes from the other contrasts in its family.
  """
  able = [one for one in regimes if one.pair.enough]
  if not able:
    return None
  first, reading = able[0], able[0].row['reading']
  others = [one for one in able if one.row['reading'] != reading]
  others = [one for one in others if not _same(one.pair, first.pair)]
  # help and harm before the rest, so that a change is told to where there is some
  groups = [[one for one in others if one.row['reading'] == r] for r in _READINGS]
  groups = [group for group in groups if group]
  readings = {reading, *(group[0].row['reading'] for group in groups)}
  if not groups or not readings & {'helps', 'hurts'}:
    return None
  agreeing = [one for one in able if one.row['reading'] == reading]
  phrases = [_phrase(study, group) for group in groups]
  text = f'{_subject(study, first.row)} {_phrase(study, agreeing, named=True)}'
  text += f' but {formats.listing(phrases)}'
  if readings >= {'helps', 'hurts'}:
    return 0, f'{text}.'
  change = _change(study, first, groups[0][0], alpha)
  return (1 if 'helps' in readings else 2), f'{text}; {change}.'


def _same(one: pairs.Pairs, two: pairs.Pairs) -> bool:
  return one.seeds == two.seeds and np.array_equal(one.delta, two.delta)


def _subject(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  """The component at the start of a sentence, with its levels if it has several."""
  factor = str(row['factor'])
  levels = {f['name']: len(f['levels']) for f in study['factors']}
  if factor not in levels and row['component'] == 'reference':
    return f'What {row["arm"]} lacks'
  name = factor.replace('_', ' ')
  name = name[:1].upper() + name[1:]
  assigned = {arm['name']: dict(arm['assignment']) for arm in study['arms']}
  contrast = next(
    c
    for c in study['contrasts']
    if all(c[key] == row[key] for key in ('factor', 'level', 'arm', 'reference'))
  )
  sides = [assigned[cells[0]].get(factor) for cells in pairs.cells(contrast)]
  if levels.get(factor, 2) == 2 and contrast.get('kind') != 'swap':
    return name
  present, absent = sides if row['component'] == 'arm' else sides[::-1]
  return f'{name} ({present} instead of {absent})'


def _phrase(
  study: Mapping[str, Any], group: Sequence[_Seen], *, named: bool = False
) -> str:
  """'hurts at equal FLOPs (−0.40 points [−0.60, −0.20], descriptive)'."""
  places: list[str] = []
  for one in group:
    numbers = _numbers(study, one.row['component'], one.row)
    if named and not places:
      numbers = f'{facts.words(study, pairs.deciding(study))} {numbers}'
    kind = '' if one.row['declared'] else ', descriptive'
    places.append(f'at {WORDS[one.row["regime"]]} ({numbers}{kind})')
  return f'{_READINGS[group[0].row["reading"]]} {formats.listing(places)}'


def _numbers(study: Mapping[str, Any], component: str, row: Mapping[str, Any]) -> str:
  """The metric with the component minus without it, and its interval."""
  metric = pairs.deciding(study)
  sign = 1 if component == 'arm' else -1
  low, high = sorted((sign * row['ci_low'], sign * row['ci_high']))
  points = formats.is_share(metric)  # the name of another metric says its unit
  difference = formats.delta(metric, sign * row['delta'], unit=points)
  return f'{difference} {formats.interval(metric, low, high)}'


def _change(study: Mapping[str, Any], first: _Seen, other: _Seen, alpha: float) -> str:
  """By how much an effect differs between two regimes, paired by seed.

  That one is significant and the other not is no evidence that they differ.
  """
  one, two = (dict(zip(seen.pair.seeds, seen.pair.delta)) for seen in (first, other))
  delta = np.array([two[seed] - one[seed] for seed in one if seed in two])
  span = statistics.interval(delta, alpha)
  mean = float(delta.mean()) if len(delta) else math.nan
  row = {'delta': mean, 'ci_low': span.low, 'ci_high': span.high}
  text = (
    f'from {WORDS[first.row["regime"]]} to {WORDS[other.row["regime"]]} the effect '
    f'changes by {_numbers(study, first.row["component"], row)}, descriptive'
  )
  certain = span.kind == statistics.INVERSION and span.low * span.high > 0
  return text if certain else f'{text}, so it may be the same'
