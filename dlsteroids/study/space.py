"""How factors combine: which levels go together, and the config that they make."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study.factors import Factor, Pairs
from dlsteroids.util import errors

Levels = Mapping[str, str]  # {factor: level}
Override = Callable[[Any, Any], dict[str, Any]]  # (config, pairs) -> config
Requirement = tuple[str, tuple[str, ...]]  # (other factor, its admissible levels)


class Cell(NamedTuple):
  """A combination of levels after requirements have been applied.

  Attributes:
    assignment: `(factor, level)` in the factors' order.
    inapplicable: factors set to their last level because a requirement is unmet.
  """

  assignment: tuple[tuple[str, str], ...]
  inapplicable: tuple[str, ...]


class Space(NamedTuple):
  """The selected factors and their

  Attributes:
    factors: in the order given.
    requires: by factor, `(other selected factor, its admissible levels)`.
    excludes: pairs of `(factor, level)` that cannot be together.
    order: factor names, each after all that it requires.
    unselected: intact level by name of the factors that were not selected.
  """

  factors: tuple[Factor, ...]
  requires: Mapping[str, tuple[Requirement, ...]]
  excludes: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
  order: tuple[str, ...]
  unselected: Levels


def make(factors: tuple[Factor, ...], only: str = '') -> Space:
  """The space of the factors named in `only` (comma-separated; all if empty).

  A requirement on a factor that was not selected counts as met: it stays intact.

  Raises:
    UserError: a malformed factor, a name twice, a path of two factors, relations with
      factors or levels that do not exist, circular requirements, an unknown selection.
  """
  by_name: dict[str, Factor] = {}
  for factor in factors:
    factors_lib.check(factor)
    if factor.name in by_name:
      raise errors.UserError(f'two factors are called {factor.name!r}')
    by_name[factor.name] = factor
  check_paths(factors)
  requires = {
    factor.name: tuple(requirement(factor, text, by_name) for text in factor.requires)
    for factor in factors
  }
  excludes = tuple(
    exclusion(factor, entry, by_name) for factor in factors for entry in factor.excludes
  )
  order = sort(requires)
  chosen = select(only, tuple(by_name))
  selected = [factor for factor in factors if factor.name in chosen]
  return Space(
    tuple(selected),
    {
      factor.name: tuple(pair for pair in requires[factor.name] if pair[0] in chosen)
      for factor in selected
    },
    excludes,
    tuple(name for name in order if name in chosen),
    {name: f.levels[0].name for name, f in by_name.items() if name not in chosen},
  )


def select(only: str, names: tuple[str, ...]) -> tuple[str, ...]:
  """The names in `only` in that order; all of `names` if it is empty.

  Raises:
    UserError: a name that is unknown or comes twice.
  """
  chosen = tuple(name.strip() for name in only.split(',') if name.strip())
  for name in chosen:
    if name not in names:
      raise errors.UserError(
        f'study.only: unknown factor {name!r}{errors.did_you_mean(name, names)}; '
        f'there are {", ".join(names)}'
      )
    if chosen.count(name) > 1:
      raise errors.UserError(f'study.only names {name} twice')
  return chosen or names


def intact(space: Space) -> dict[str, str]:
  """Every factor at its first level."""
  return {factor.name: factor.levels[0].name for factor in space.factors}


def bare(space: Space) -> dict[str, str]:
  """Every factor at its last level."""
  return {factor.name: factor.levels[-1].name for factor in space.factors}


def resolve(space: Space, levels: Levels) -> Cell:
  """The cell of a combination: inapplicable factors go to their last level."""
  resolved = dict(levels)
  last = bare(space)
  inapplicable = set()
  for name in space.order:  # what is required is resolved before what requires it
    if any(
      resolved[other] not in admissible for other, admissible in space.requires[name]
    ):
      resolved[name] = last[name]
      inapplicable.add(name)
  names = [factor.name for factor in space.factors]
  return Cell(
    tuple((name, resolved[name]) for name in names),
    tuple(name for name in names if name in inapplicable),
  )


def meet_requirements(space: Space, levels: Levels, name: str) -> dict[str, str]:
  """`levels` with as many factors made intact as factor `name` needs to apply."""
  levels = dict(levels)
  for other, admissible in space.requires[name]:
    if dict(resolve(space, levels).assignment)[other] not in admissible:
      levels[other] = intact(space)[other]
      levels = meet_requirements(space, levels, other)
  return levels


def violation(space: Space, cell: Cell) -> str:
  """The first exclusion that a cell violates, as text; '' if it is admissible."""
  levels = {**space.unselected, **dict(cell.assignment)}
  for (name, level), (other, its) in space.excludes:
    if levels[name] == level and levels[other] == its:
      return f'{name}={level} excludes {other}={its}'
  return ''


def label(space: Space, levels: Levels, hide: Iterable[str] = ()) -> str:
  """The levels that are not intact, "activation=tanh,dropout=0.0", or 'baseline'."""
  first = intact(space)
  parts = [
    f'{factor.name}={levels[factor.name]}'
    for factor in space.factors
    if levels[factor.name] != first[factor.name] and factor.name not in hide
  ]
  return ','.join(parts) or 'baseline'


def label_added(space: Space, cell: Cell) -> str:
  """The levels that are not the barest: "bare+dropout+activation=tanh"; or 'baseline'.

  A factor at its intact level goes by its name alone.
  """
  levels = dict(cell.assignment)
  if levels == intact(space):
    return 'baseline'
  parts = ['bare']
  for factor in space.factors:
    level = levels[factor.name]
    if level == factor.levels[0].name:
      parts.append(factor.name)
    elif level != factor.levels[-1].name:
      parts.append(f'{factor.name}={level}')
  return '+'.join(parts)


def apply(
  space: Space, cell: Cell, extra: Pairs, tree: Mapping[str, Any], override: Override
) -> tuple[Pairs, dict[str, Any]]:
  """The overrides of a cell (and `extra` ones), and the config they make of `tree`.

  What an inapplicable factor would set is left out where the arm's plug-in has no such
  option: without convolution there is no `model.pooling` to switch off.

  Raises:
    UserError: an unknown path or a value of another type, from `override`.
  """
  levels = dict(cell.assignment)
  applicable: list[tuple[str, Any]] = []
  inapplicable: list[tuple[str, Any]] = []
  for factor in space.factors:
    for level in factor.levels[1:]:
      if level.name == levels[factor.name]:
        (inapplicable if factor.name in cell.inapplicable else applicable).extend(
          level.overrides
        )
  result = override(tree, (*applicable, *extra))
  if not inapplicable:
    return (*applicable, *extra), result
  meaningful = [pair for pair in inapplicable if _has(result, pair[0])]
  pairs = (*applicable, *meaningful, *extra)
  return pairs, override(tree, pairs)


def owner(space: Space, path: str) -> str:
  """The selected factor that sets `path`, or ''."""
  return next((f.name for f in space.factors if path in paths(f)), '')


def _has(tree: Mapping[str, Any], path: str) -> bool:
  section, _, key = path.partition('.')
  return key in tree.get(section, {})


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
    earlier: list[tuple[str, Any]] = []
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
      for other, before in earlier:
        if before == result:
          raise errors.UserError(
            f'factor {factor.name}: levels {other} and {level.name} are equal '
            f'({factors_lib.show(level.overrides)})'
          )
      earlier.append((level.name, result))


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
  """The factor called `name`; a UserError begins with `what` and lists all."""
  if name not in factors:
    raise errors.UserError(
      f'{what}: unknown factor {name!r}{errors.did_you_mean(name, factors)}; '
      f'there are {", ".join(factors) or "none"}'
    )
  return factors[name]


def check_level(what: str, factor: Factor, level: str) -> None:
  """Raises UserError, beginning with `what`, unless `factor` has that level."""
  names = [its.name for its in factor.levels]
  if level not in names:
    raise errors.UserError(
      f'{what}: unknown level {level!r} of {factor.name}'
      f'{errors.did_you_mean(level, names)}; it has {", ".join(names)}'
    )


def requirement(
  factor: Factor, text: str, by_name: Mapping[str, Factor]
) -> Requirement:
  """A factor and its admissible levels, of 'pooling' or 'pooling=max|average'."""
  what = f'factor {factor.name}, requires'
  name, equals, wanted = text.partition('=')
  other = find(what, name, by_name)
  first = other.levels[0].name
  if not equals:
    return name, (first,)
  levels = {level.name for level in other.levels}
  admissible = (wanted,) if wanted in levels else tuple(wanted.split('|'))
  for level in admissible:
    check_level(what, other, level)
  if first not in admissible:
    raise errors.UserError(
      f'{what}: {text}, but the intact level is {name}={first}; the intact model must '
      'meet every requirement'
    )
  return name, admissible


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
  """Names so that each comes after all it requires; else in the order of `requires`."""
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
