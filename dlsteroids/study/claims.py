"""Published claims: what papers say about a component, as plain values beside factors.

A config file exposes them by `get_claims(config) -> tuple[Claim, ...]`; the report
holds the study's own results against them.
"""

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from dlsteroids.study import space as space_lib
from dlsteroids.study.factors import Factor
from dlsteroids.util import errors

DIRECTIONS = ('helps', 'hurts', 'no difference')
QUANTITIES = ('delta', 'gain', 'level', 'ratio')
# Of every run; the last if the study asks for it (`study.reach`).
NUMBERS = ('steps', 'params', 'flops', 'wall_s', 'best_step', 'reach_step')

Direction = Literal['', 'helps', 'hurts', 'no difference']
Quantity = Literal['delta', 'gain', 'level', 'ratio']


class Claim(NamedTuple):
  """One published claim; see `claim`. `_asdict()` is its entry in study.json."""

  paper: str
  claim: str
  factor: str
  level: str = ''
  direction: Direction = ''
  number: float | None = None
  quantity: Quantity = 'delta'
  metric: str = ''
  arm: str = ''
  reference: str = ''
  tolerance: float | None = None
  published_delta: float | None = None
  setting: str = ''
  verified: bool = True


def claim(
  paper: str,
  claim: str,
  factor: str,
  level: Any = '',
  *,
  direction: Direction = '',
  number: float | None = None,
  quantity: Quantity = 'delta',
  metric: str = '',
  arm: str = '',
  reference: str = '',
  tolerance: float | None = None,
  published_delta: float | None = None,
  setting: str = '',
  verified: bool = True,
) -> Claim:
  """A published claim: `claim('AlexNet 2012', 'ReLU is 6× faster', 'activation', …)`.

  Args:
    paper: whose it is, with the place: 'AlexNet 2012, fig. 1'.
    claim: what it says, in one line.
    factor: whose effect it is about (or the explicit arm's name); '' for a level.
    level: as the contrast names it (`factors.Contrast`): for `one_out` the ablated one.
      A factor with two levels needs none; values may stand for names.
    direction: 'helps', 'hurts' or 'no difference', of the component (for a swap, of
      the intact level); '' if none.
    number: what was published, in the unit of `quantity`; None if none. It decides:
      the claim agrees if our interval holds it.
    quantity: what `number` is:
      'delta' - with the component minus without it, in the metric's raw unit;
      'gain' - compute-equivalent gain, compute without / with the component;
      'level' - an arm's own value (`arm`, or the intact one) on the metric, raw unit;
      'ratio' - the metric of `arm` / that of `reference` (or of the contrast's sides);
        also of a numeric column of the runs, as 'best_step'.
    metric: its name, '' for the one that decides. Its 'test' value is meant; a whole
      column, as 'final/test/accuracy', says otherwise.
    arm, reference: names of arms, where the contrast alone does not say which.
    tolerance: half the width within which the published number itself is known.
    published_delta: the published difference where it was measured in another setting
      than ours: with the component minus without it, in the metric's raw unit. Its size
      is compared with that of ours and decides nothing.
    setting: what the published numbers were measured on: 'all of MNIST, perceptron'.
    verified: whether they were read in the source itself, or in its authors'
      repository; False for what others quote and for what is remembered.

  Raises:
    UserError: what `check` says of a claim alone.

  Example:
    >>> claim('AlexNet 2012', 'ReLU helps', 'activation', direction='helps').factor
    'activation'
  """
  level = level if isinstance(level, str) else str(level)
  values = direction, number, quantity, metric, arm, reference, tolerance
  source = published_delta, setting, verified
  result = Claim(paper, claim, factor, level, *values, *source)
  _check_alone(result)
  return result


def published_value(one: Claim) -> float | None:
  """The published number, whether it decides or is only compared; None without one."""
  return one.published_delta if one.number is None else one.number


def check(
  claims: Iterable[Claim],
  factors: Iterable[Factor],
  arms: Iterable[str],
  metrics: Iterable[str],
) -> None:
  """Checks claims, from `claim` or written by hand, against the study.

  Args:
    claims: from the config file's `get_claims`.
    factors: all of the config file; a study may select some of them.
    arms: names of the study's arms; those of a selection or of another design that
      the factors make, as 'dropout=0.0', pass too.
    metrics: names of its metrics, and of further columns of its runs, if any.

  Raises:
    UserError: an unknown factor, level, arm, metric, direction or quantity; a claim
      without a paper or words, or with neither direction nor number; a number that is
      none; a level that is needed or has no place.
  """
  by_name = {factor.name: factor for factor in factors}
  arms, metrics = list(arms), list(metrics)
  for one in claims:
    _check_alone(one)
    what = _what(one)
    _check_factor(what, one, by_name, arms)
    for side, name in (('arm', one.arm), ('reference', one.reference)):
      if name and name not in arms and not _could_be(name, by_name):
        guess = errors.did_you_mean(name, arms)
        raise errors.UserError(
          f'{what}: unknown {side} {name!r}{guess}; there are {", ".join(arms)}'
        )
    _check_metric(what, one, metrics)


def _could_be(arm: str, by_name: dict[str, Factor]) -> bool:
  """Whether another design, or all factors, would have an arm of that name."""
  name, _, level = arm.partition('=')
  levels = [level.name for level in by_name[name].levels] if name in by_name else []
  return arm in ('baseline', 'bare') or level in levels


def _what(one: Claim) -> str:
  return f'claim of {one.paper} ({one.claim})'


def _check_alone(one: Claim) -> None:
  """Raises UserError for what is wrong with a claim whatever the study."""
  for name in ('paper', 'claim'):
    text = getattr(one, name)
    if not isinstance(text, str) or not text.strip() or '\n' in text:
      raise errors.UserError(f'claim: {name} is one line of text, not {text!r}')
  what = _what(one)
  if not isinstance(one.setting, str) or '\n' in one.setting:
    raise errors.UserError(f'{what}: setting is one line of text, not {one.setting!r}')
  if not isinstance(one.verified, bool):
    raise errors.UserError(f'{what}: verified is True or False, not {one.verified!r}')
  for name in ('factor', 'level', 'metric', 'arm', 'reference'):
    if not isinstance(getattr(one, name), str):
      raise errors.UserError(
        f"{what}: {name} is a name or '', not {getattr(one, name)!r}"
      )
  if one.direction != '':
    _check_choice(what, 'direction', one.direction, DIRECTIONS)
  _check_choice(what, 'quantity', one.quantity, QUANTITIES)
  if one.number is None and not one.direction:
    raise errors.UserError(
      f'{what}: it needs a direction ({", ".join(DIRECTIONS)}) or a number'
    )
  _check_numbers(what, one)
  if one.published_delta is not None and one.quantity != 'delta':
    raise errors.UserError(
      f"{what}: a published_delta goes with quantity 'delta', not {one.quantity!r}"
    )
  if one.quantity == 'level' and (one.direction or one.number is None):
    raise errors.UserError(
      f"{what}: quantity 'level' is an arm's own value: a number and no direction"
    )


def _check_choice(what: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
  if value not in choices:
    guess = errors.did_you_mean(str(value), choices)
    raise errors.UserError(
      f'{what}: unknown {name} {value!r}{guess}; use {", ".join(choices)}'
    )


def _check_numbers(what: str, one: Claim) -> None:
  for name in ('number', 'tolerance', 'published_delta'):
    value = getattr(one, name)
    if value is None:
      continue
    if type(value) not in (int, float) or not math.isfinite(value):
      raise errors.UserError(f'{what}: {name} is a finite number, not {value!r}')
  if one.number is not None and one.published_delta is not None:
    raise errors.UserError(
      f'{what}: a number that decides and a published_delta that does not; use one'
    )
  numbers = one.number, one.published_delta
  if one.tolerance is not None and (numbers == (None, None) or one.tolerance < 0):
    raise errors.UserError(
      f'{what}: tolerance={one.tolerance!r} is at least 0 and belongs to a number'
    )
  if one.number is not None and one.quantity in ('gain', 'ratio') and one.number <= 0:
    raise errors.UserError(f'{what}: a {one.quantity} is above 0, not {one.number!r}')


def _check_factor(
  what: str, one: Claim, by_name: dict[str, Factor], arms: list[str]
) -> None:
  """Raises UserError unless the claim names a factor (or arm) and one of its levels."""
  if not one.factor and one.quantity == 'level' and not one.level:
    return
  if one.factor in arms and one.factor not in by_name:
    if one.level:
      raise errors.UserError(
        f'{what}: level {one.level!r} has no place, {one.factor} is an arm'
      )
    return
  factor = space_lib.find(what, one.factor, by_name)
  if one.level:
    space_lib.check_level(what, factor, one.level)
  elif len(factor.levels) > 2 and one.quantity != 'level':
    names = ', '.join(level.name for level in factor.levels)
    raise errors.UserError(
      f'{what}: {factor.name} has more than two levels; name one of {names}'
    )


def _check_metric(what: str, one: Claim, metrics: list[str]) -> None:
  """Raises UserError unless the metric, or column for a ratio, is known."""
  columns = [*metrics, *(NUMBERS if one.quantity == 'ratio' else ())]
  name = one.metric.removeprefix('final/').split('/', 1)[-1]
  if one.metric and one.metric not in columns and name not in metrics:
    guess = errors.did_you_mean(name, columns)
    raise errors.UserError(
      f'{what}: unknown metric {one.metric!r}{guess}; there are {", ".join(columns)}'
    )
