"""Conditions: under which regime, budget and size an arm is trained.

    steps   every arm trains for as many steps
    flops   every arm spends the nominal training FLOPs of the intact model
    params  every arm has the parameters of the intact model: its widths are solved for

A budget multiplies the training compute, a size the widths. The first condition is the
declared one: there verdicts are made, everywhere else numbers are descriptive.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.util import errors

CLOSE = 1e-4  # budgets are written with few digits
REGIMES = ('steps', 'flops', 'params')


class Condition(NamedTuple):
  """How much an arm is trained, and at what size.

  Attributes:
    regime: what it has in common with the intact model: 'steps', 'flops' or 'params'.
    budget: multiple of the training compute.
    size: multiple of the widths of the model.
  """

  regime: str
  budget: float = 1.0
  size: float = 1.0

  def __str__(self) -> str:
    more = f' x {self.budget:g}' if self.budget != 1 else ''
    more += f', widths x {self.size:g}' if self.size != 1 else ''
    return f'equal {self.regime}{more}'


def make(config: Mapping[str, Any]) -> tuple[Condition, ...]:
  """The conditions of a study, the declared one first.

  All regimes at the whole budget; the declared regime at every budget; equal steps at
  every size, the model's own among them.

  Raises:
    UserError: an unknown regime, a number that can't be read or is not above 0, or a
      headline ratio that no budget makes.
  """
  study = config['study']
  regimes = [name.strip() for name in study['regimes'].split(',')]
  for name in regimes:
    config_lib.choose('study.regimes', name, REGIMES)
    if regimes.count(name) > 1:
      raise errors.UserError(f'config.study.regimes names {name} twice')
  budgets = numbers(study['budgets'], 'study.budgets')
  sizes = numbers(study['sizes'], 'study.sizes')
  conditions = [Condition(name) for name in regimes]
  conditions += [Condition(regimes[0], budget) for budget in budgets if budget != 1]
  rungs = [1.0, *(size for size in sizes if size != 1)] if sizes else []
  conditions += [Condition('steps', 1.0, size) for size in rungs]
  check_ratio(study['ratio'], [c.budget for c in conditions if c.regime == regimes[0]])
  return tuple(dict.fromkeys(conditions))


def make_bare(
  config: Mapping[str, Any], others: Sequence[Condition]
) -> tuple[Condition, ...]:
  """Further conditions of the arm without any component, ascending in compute.

  Args:
    config: of the study.
    others: the conditions of all arms.

  Raises:
    UserError: a number that can't be read or is not above 0.
  """
  budgets = numbers(config['study']['budgets_bare'], 'study.budgets_bare')
  regime = others[0].regime
  bare = (Condition(regime, budget) for budget in sorted(budgets))
  return tuple(condition for condition in bare if condition not in others)


def numbers(text: str, path: str) -> list[float]:
  """'0.25, 1, 4' as numbers; UserError unless all are above 0 and different."""
  values = []
  for part in filter(None, map(str.strip, text.split(','))):
    try:
      values.append(float(part))
    except ValueError as error:
      raise errors.UserError(
        f"config.{path}: expected numbers such as '0.25,1,4', not {part!r}"
      ) from error
  if any(not 0 < number < float('inf') for number in values):
    raise errors.UserError(f'config.{path}: every number must be above 0: {text!r}')
  if len(set(values)) < len(values):
    raise errors.UserError(f'config.{path} names a number twice: {text!r}')
  return values


def check_ratio(ratio: float, budgets: list[float]) -> None:
  """Raises UserError unless the largest budget is `ratio` times one of the others."""
  if ratio == 0:
    return
  ratios = sorted(max(budgets) / budget for budget in budgets if budget < max(budgets))
  if not any(abs(ratio / possible - 1) < CLOSE for possible in ratios):
    there = ', '.join(f'{possible:g}' for possible in ratios) or 'only one budget'
    raise errors.UserError(
      f'config.study.ratio={ratio:g}: the budgets make {there}; add '
      f'{max(budgets) / ratio if ratio > 0 else 0:g} to config.study.budgets'
    )
