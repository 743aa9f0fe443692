"""How factors go together: which combinations of levels exist, and as what config."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dlsteroids.study import factors as factors_lib
from dlsteroids.study import relations
from dlsteroids.study.factors import Factor, Pairs
from dlsteroids.study.relations import Override, Requirement
from dlsteroids.util import errors

Levels = Mapping[str, str]  # {factor: level}


class Cell(NamedTuple):
  """A combination of levels after requirements have been applied.

  Attributes:
    assignment: `(factor, level)` in the factors' order.
    inapplicable: factors set to their last level because a requirement is unmet.
  """

  assignment: tuple[tuple[str, str], ...]
  inapplicable: tuple[str, ...]


class Space(NamedTuple):
  """The selected factors and their relations.

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
  relations.check_paths(factors)
  requires = {
    factor.name: tuple(
      relations.requirement(factor, text, by_name) for text in factor.requires
    )
    for factor in factors
  }
  excludes = tuple(
    relations.exclusion(factor, entry, by_name)
    for factor in factors
    for entry in factor.excludes
  )
  order = relations.sort(requires)
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
  """The names in `only` as given there; all of `names` if it is empty.

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


def settle(space: Space, levels: Levels) -> Cell:
  """The cell of a combination: inapplicable factors go to their last level."""
  settled = dict(levels)
  last = bare(space)
  inapplicable = set()
  for name in space.order:  # what is required is settled before what requires it
    if any(settled[other] not in good for other, good in space.requires[name]):
      settled[name] = last[name]
      inapplicable.add(name)
  names = [factor.name for factor in space.factors]
  return Cell(
    tuple((name, settled[name]) for name in names),
    tuple(name for name in names if name in inapplicable),
  )


def admit(space: Space, levels: Levels, name: str) -> dict[str, str]:
  """`levels` with as many factors made intact as factor `name` needs to apply."""
  levels = dict(levels)
  for other, good in space.requires[name]:
    if dict(settle(space, levels).assignment)[other] not in good:
      levels[other] = intact(space)[other]
      levels = admit(space, levels, other)
  return levels


def clash(space: Space, cell: Cell) -> str:
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
  firm: list[tuple[str, Any]] = []
  loose: list[tuple[str, Any]] = []
  for factor in space.factors:
    for level in factor.levels[1:]:
      if level.name == levels[factor.name]:
        (loose if factor.name in cell.inapplicable else firm).extend(level.overrides)
  result = override(tree, (*firm, *extra))
  if not loose:
    return (*firm, *extra), result
  kept = [pair for pair in loose if _has(result, pair[0])]
  pairs = (*firm, *kept, *extra)
  return pairs, override(tree, pairs)


def owner(space: Space, path: str) -> str:
  """The selected factor that sets `path`, or ''."""
  return next((f.name for f in space.factors if path in relations.paths(f)), '')


def _has(tree: Mapping[str, Any], path: str) -> bool:
  section, _, key = path.partition('.')
  return key in tree.get(section, {})
