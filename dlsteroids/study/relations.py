"""What must hold between factors, and between factors and the config."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study.factors import Factor
from dlsteroids.util import errors

Override = Callable[[Any, Any], dict[str, Any]]  # (config, pairs) -> config
Requirement = tuple[str, tuple[str, ...]]  # (other factor, its admissible levels)


def check_values(
  factors: tuple[Factor, ...], tree: Mapping[str, Any], override: Override
) -> None:
  """Holds every level of the (selected) factors against the config.

  Raises:
    UserError: an intact level that is not what the config says; an unknown path, or a
      value of another type; a path on which no run depends; a level that changes
      nothing, or what another level of the factor changes.
  """
  base = override(tree, ())
  for factor in factors:
    made: list[tuple[str, Any]] = []
    for position, level in enumerate(factor.levels):
      where = f'factor {factor.name}, level {level.name}'
      try:
        result = override(tree, level.overrides)
      except errors.UserError as error:
        raise errors.UserError(f'{where}: {error}') from error
      for path, _ in level.overrides:
        if path.partition('.')[0] not in config_lib.TRAINING:
          raise errors.UserError(
            f'{where}: no run depends on {path}; a level may set paths of '
            f'{", ".join(config_lib.TRAINING)}'
          )
        if position == 0 and config_lib.get(result, path) != config_lib.get(base, path):
          raise errors.UserError(
            f'factor {factor.name}: its intact level says '
            f'{path}={config_lib.get(result, path)}, the config says '
            f'{config_lib.get(base, path)}'
          )
      if position and result == base:
        raise errors.UserError(
          f'{where}: it changes nothing, the config says '
          f'{factors_lib.show(level.overrides) or "nothing else"} already'
        )
      for other, before in made:
        if before == result:
          raise errors.UserError(
            f'factor {factor.name}: levels {other} and {level.name} are equal '
            f'({factors_lib.show(level.overrides)})'
          )
      made.append((level.name, result))


def check_paths(factors: tuple[Factor, ...]) -> None:
  """Raises UserError if two factors set one path."""
  for one, two in itertools.combinations(factors, 2):
    shared = paths(one) & paths(two)
    if shared:
      raise errors.UserError(
        f'factors {one.name} and {two.name} both set {", ".join(sorted(shared))}; a '
        'path belongs to one factor'
      )


def paths(factor: Factor) -> set[str]:
  """The config paths that any level of a factor sets."""
  return {path for level in factor.levels for path, _ in level.overrides}


def find(what: str, name: str, factors: Mapping[str, Factor]) -> Factor:
  """The factor called `name`; UserError, beginning with `what`, lists those known."""
  if name not in factors:
    raise errors.UserError(
      f'{what}: unknown factor {name!r}{errors.did_you_mean(name, factors)}; '
      f'there are {", ".join(factors) or "none"}'
    )
  return factors[name]


def check_level(what: str, factor: Factor, level: str) -> None:
  """Raises UserError, beginning with `what`, unless `factor` has that level."""
  names = [known.name for known in factor.levels]
  if level not in names:
    raise errors.UserError(
      f'{what}: unknown level {level!r} of {factor.name}'
      f'{errors.did_you_mean(level, names)}; it has {", ".join(names)}'
    )


def requirement(
  factor: Factor, text: str, by_name: Mapping[str, Factor]
) -> Requirement:
  """'pooling' or 'pooling=max|average' as the factor's name and its good levels."""
  what = f'factor {factor.name}, requires'
  name, equals, wanted = text.partition('=')
  other = find(what, name, by_name)
  first = other.levels[0].name
  if not equals:
    return name, (first,)
  known = {level.name for level in other.levels}
  good = (wanted,) if wanted in known else tuple(wanted.split('|'))
  for level in good:
    check_level(what, other, level)
  if first not in good:
    raise errors.UserError(
      f'{what}: {text}, but the intact level is {name}={first}; the intact model must '
      'meet every requirement'
    )
  return name, good


def exclusion(
  factor: Factor, entry: tuple[str, str, str], by_name: Mapping[str, Factor]
) -> tuple[tuple[str, str], tuple[str, str]]:
  """An entry of `excludes` as the two `(factor, level)` that cannot be together."""
  level, name, its = entry
  what = f'factor {factor.name}, excludes'
  if name == factor.name:
    raise errors.UserError(f'{what}: {name} is the factor itself')
  check_level(what, find(what, name, by_name), its)
  return (factor.name, level), (name, its)


def sort(requires: Mapping[str, tuple[Requirement, ...]]) -> list[str]:
  """Names so that each comes after all it requires; else as given."""
  order: list[str] = []

  def visit(name: str, trail: tuple[str, ...]) -> None:
    if name in trail:
      circle = (*trail[trail.index(name) :], name)
      raise errors.UserError(f'requires goes in a circle: {" requires ".join(circle)}')
    if name not in order:
      for other, _ in requires[name]:
        visit(other, (*trail, name))
      order.append(name)

  for name in requires:
    visit(name, ())
  return order
