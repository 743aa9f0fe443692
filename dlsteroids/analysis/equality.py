"""Whether what a regime makes equal is equal: FLOPs and parameters of the arms."""

import math
from collections.abc import Mapping
from typing import Any

from dlsteroids.analysis import pairs, regimes, summary
from dlsteroids.report import formats

CLOSE = 0.01  # how far a quantity may be off and still count as equal
_EQUALISED = {'flops': ('flops', 'FLOPs a run'), 'params': ('params', 'parameters')}


def check(study: Mapping[str, Any]) -> list[str]:
  """What is not equal though its regime is called so: a line an arm and condition.

  In every condition with equal FLOPs or parameters, each arm is held against those it
  is compared with (the intact arm if there are none); a deviation above `CLOSE` is
  told with the residual that solving left.
  """
  at = regimes.costs(study)
  conditions = [c for c in study.get('conditions') or () if c['regime'] in _EQUALISED]
  lines = []
  for condition in conditions:
    for arm, reference in _compared(study):
      key = condition['regime'], float(condition['budget']), float(condition['size'])
      line = _deviation(arm, at.get((arm, *key)), reference, at.get((reference, *key)))
      if line:
        lines.append(f'At {condition_words(condition)}, {line}')
  return lines


def _compared(study: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Arms with what they are compared with, each pair once, in the arms' order."""
  found: dict[tuple[str, str], None] = {}
  for contrast in study['contrasts']:
    found |= dict.fromkeys(zip(*pairs.cells(contrast)))
  used = {name for pair in found for name in pair}
  intact = summary.intact_arm(study)
  order = [arm['name'] for arm in study['arms']]
  found |= {(name, intact): None for name in order if name not in used}
  found.pop((intact, intact), None)
  return sorted(found, key=lambda pair: order.index(pair[0]))


def condition_words(condition: Mapping[str, Any]) -> str:
  text = regimes.WORDS[condition['regime']]
  if condition['budget'] != 1:
    text += f', {condition["budget"]:g}× the compute'
  return text + (
    f', {condition["size"]:g}× the widths' if condition['size'] != 1 else ''
  )


def _deviation(
  arm: str,
  mine: Mapping[str, Any] | None,
  reference: str,
  theirs: Mapping[str, Any] | None,
) -> str:
  """How far an arm is off in what its regime equalises; '' if it is near."""
  if mine is None or theirs is None:
    lost = formats.listing(
      [n for n, at in ((arm, mine), (reference, theirs)) if not at]
    )
    return f'the costs of {lost} are not known, so nothing shows that they are equal.'
  name, words = _EQUALISED[mine['regime']]
  show = formats.flops if name == 'flops' else formats.count
  one, two = float(mine[name]), float(theirs[name])
  if not (math.isfinite(one) and two > 0):
    return f'{arm} cannot be held against {reference}: {one:g} and {two:g} {words}.'
  off = one / two - 1
  # what lies on the border does not depend on rounding
  if abs(off) <= CLOSE * (1 + 1e-9):
    return ''
  more = 'more' if off > 0 else 'fewer'
  return (
    f'{arm} has {100 * abs(off):.1f}{formats.THIN}% {more} {words} than {reference} '
    f'({show(one)} against {show(two)}; solving left '
    f'{_percent(mine["residual"])} and {_percent(theirs["residual"])}).'
  )


def _percent(share: float) -> str:
  """'+0.3 %', '−1.2 %', '0.0 %'."""
  text = f'{100 * share:+.1f}'
  text = '0.0' if float(text) == 0 else text.replace('-', formats.MINUS)
  return f'{text}{formats.THIN}%'
