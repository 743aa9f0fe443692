"""Factors: the components under test, as plain values.

A factor is data: levels of `(config path, value)` pairs, the intact level first, the
barest last. This module defines them and checks single factors; `space` combines
factors, `designs` chooses the arms to compare.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from dlsteroids.config import overrides as overrides_lib
from dlsteroids.util import errors

# Of runs.csv beside the factors and the metrics, whose names have a '/'.
COLUMNS = (
  *('arm', 'seed', 'status', 'tuned', 'regime', 'budget', 'size'),
  *('steps', 'params', 'flops', 'wall_s', 'stall_s', 'best_step'),
)

Pairs = tuple[tuple[str, Any], ...]  # (config path, value)
Kind = Literal['remove', 'add', 'swap']
Side = Literal['arm', 'reference']
OPPOSITE: Mapping[Kind, Kind] = {'remove': 'add', 'add': 'remove', 'swap': 'swap'}


class Level(NamedTuple):
  """One state of a factor.

  Attributes:
    name: unique within the factor; what tables and arm names show.
    overrides: `(path, value)` pairs that bring the config into this state.
    kind: what the change from the intact level to this one is: 'remove' takes the
      component away, 'add' brings in what the intact model lacks, 'swap' puts this
      level in place of the intact one. Of no meaning for the intact level.
    year: in which it was published; 0 where that is not declared.
  """

  name: str
  overrides: Pairs
  kind: Kind = 'swap'
  year: int = 0


class Factor(NamedTuple):
  """One named component under test.

  Attributes:
    name: unique within the study.
    levels: the first is intact (equal to the config), the last the barest.
    requires: factors without which this one has no meaning: `'pooling'` (at its intact
      level) or `'pooling=max|average'` (at one of these). Unmet, this factor is
      inapplicable: it is set to its last level, and arms that become equal are one arm.
    excludes: `(own level, other factor, its level)`: combinations that cannot be.
    about: one line for the report.
  """

  name: str
  levels: tuple[Level, ...]
  requires: tuple[str, ...] = ()
  excludes: tuple[tuple[str, str, str], ...] = ()
  about: str = ''


class Arm(NamedTuple):
  """One assignment of levels; every seed of it is a run.

  Attributes:
    name: unique within the design.
    assignment: `(factor, level)` of every selected factor, in the factors' order.
    overrides: what to apply to the config; empty for the baseline.
    inapplicable: factors whose requirement this arm does not meet.
  """

  name: str
  assignment: tuple[tuple[str, str], ...]
  overrides: Pairs
  inapplicable: tuple[str, ...]


class Contrast(NamedTuple):
  """A claim to test: per seed, the mean over i of arm_cells[i] - reference_cells[i].

  Attributes:
    factor: whose effect it is; for an explicit arm of several changes, the arm's name.
    level: `one_out` and games (factorial, fraction, permutations): the ablated level;
      `one_in`, `ladder`: the level put in; explicit: the ablated level, or the list of
      changes.
    arm: label of the one side; an arm's name if it has one cell.
    reference: label of the other.
    arm_cells: names of arms; a name may come twice (it then counts twice).
    reference_cells: as many names, paired with `arm_cells` by position.
    component: the side with the component; of a swap, the side with the intact level.
    kind: what the step from the reference to the arm is: 'remove' (the reference has
      the component), 'add' (the arm has it) or 'swap' (the arm's level in place of the
      reference's). The design `ladder` steps from the barest level to the intact one,
      so there a factor of kind 'remove' gives a contrast of kind 'add'.
  """

  factor: str
  level: str
  arm: str
  reference: str
  arm_cells: tuple[str, ...]
  reference_cells: tuple[str, ...]
  component: Side
  kind: Kind = 'swap'

  @property
  def subject(self) -> Side:
    """The side a verdict speaks of: that with the component; of a swap, 'arm'."""
    return 'arm' if self.kind == 'swap' else self.component


class ExplicitArm(NamedTuple):
  """An arm that the user spells out, for the design `arms`; see `arm`."""

  name: str
  levels: tuple[tuple[str, str], ...] = ()
  overrides: Pairs = ()
  reference: str = 'baseline'
  kind: Kind | Literal[''] = ''


def factor(
  name: str,
  path: str,
  intact: Any,
  *others: Any,
  requires: tuple[str, ...] = (),
  excludes: tuple[tuple[Any, str, Any], ...] = (),
  about: str = '',
  kind: Kind | Mapping[Any, Kind] = 'swap',
  years: tuple[int, ...] = (),
) -> Factor:
  """A factor of one config path: `factor('dropout', 'model.dropout', 0.5, 0.0)`.

  Args:
    name: of the factor.
    path: config path, such as `'model.dropout'`.
    intact: the value the config has there.
    *others: the values to compare it with, the barest last. Bools, ints, floats,
      strings, or tuples of them; `str(value)` names the level.
    requires: see `Factor`.
    excludes: see `Factor`; values may stand for the names of levels.
    about: one line for the report.
    kind: what a change away from the intact value is, one for all other values or one
      by value: 'remove' (a verdict then speaks of the component that is taken away),
      'add' (of the component that is added) or 'swap' (of the change itself: "tanh in
      place of relu").
    years: in which each value was published, in their order, 0 where that is unknown;
      the worth in doublings then goes by history.

  Raises:
    UserError: no other value, equal values, a malformed name, path, value, kind or
      year.

  Example:
    >>> factor('dropout', 'model.dropout', 0.5, 0.0).levels[1].name
    '0.0'
  """
  choices = tuple(
    Level(str(_freeze(name, value)), ((path, _freeze(name, value)),))
    for value in (intact, *others)
  )
  return _make(name, choices, requires, excludes, about, kind, years)


def levels(
  name: str,
  choices: Mapping[str, Mapping[str, Any]],
  *,
  requires: tuple[str, ...] = (),
  excludes: tuple[tuple[Any, str, Any], ...] = (),
  about: str = '',
  kind: Kind | Mapping[Any, Kind] = 'swap',
  years: tuple[int, ...] = (),
) -> Factor:
  """A factor whose levels set several paths, or have names of their own.

  Args:
    name: of the factor.
    choices: `{level name: {config path: value}}`, the intact level first, the barest
      last. A level may set paths that the intact one does not name.
    requires: see `Factor`.
    excludes: see `Factor`.
    about: one line for the report.
    kind: see `factor`; one for all other levels, or one by level name.
    years: see `factor`; one for each level.

  Raises:
    UserError: fewer than two levels, a malformed name, path, value, kind or year.

  Example:
    >>> dense = {'model.name': 'mlp', 'model.hidden': (64,)}
    >>> chosen = levels('layers', {'3x3': {'model.name': 'cnn'}, 'dense': dense})
    >>> [level.name for level in chosen.levels]
    ['3x3', 'dense']
  """
  if not isinstance(choices, Mapping):
    raise errors.UserError(
      f'factor {name}: levels are a dict {{name: {{path: value}}}}, not {choices!r}'
    )
  chosen = []
  for level, overrides in choices.items():
    if not isinstance(overrides, Mapping):
      raise errors.UserError(
        f'factor {name}, level {level}: expected {{path: value}}, not {overrides!r}'
      )
    pairs = tuple((path, _freeze(name, value)) for path, value in overrides.items())
    chosen.append(Level(str(level), pairs))
  return _make(name, tuple(chosen), requires, excludes, about, kind, years)


def arm(
  name: str,
  levels: Mapping[str, Any] | None = None,
  overrides: Mapping[str, Any] | None = None,
  *,
  reference: str = 'baseline',
  kind: Kind | Literal[''] = '',
) -> ExplicitArm:
  """An arm of the design `arms`: `arm('lean', {'dropout': '0.0'}, {'model.width': 8})`.

  Args:
    name: unique; 'baseline' is the intact model, which is always there.
    levels: `{factor: level}`; factors not named stay intact.
    overrides: `{config path: value}`, paths that no factor owns.
    reference: the arm it is compared with.
    component: the side with the component; of a swap, the side with the intact level.
    kind: what the step from the reference to this arm is: 'remove', 'add' or 'swap';
      '' follows the factors whose levels differ, and is a swap if they disagree or a
      path of no factor differs. The verdict (helps, hurts) speaks of what is removed
      or added, or of the swap.

  Raises:
    UserError: a malformed name or value, or an unknown kind.

  Example:
    >>> arm('lean', {'dropout': '0.0'}, {'model.hidden': (8,)}).levels
    (('dropout', '0.0'),)
  """
  _check_name('arm', name)
  if kind != '':
    _check_kind(f'arm {name}', kind)
  return ExplicitArm(
    name,
    tuple((key, str(value)) for key, value in (levels or {}).items()),
    tuple((path, _freeze(name, v)) for path, v in (overrides or {}).items()),
    reference,
    kind,
  )


def change(factor: Factor, old: str, new: str) -> Kind:
  """What the step from a factor's level `old` to its level `new` is."""
  kinds = {level.name: level.kind for level in factor.levels}
  first, last = factor.levels[0].name, factor.levels[-1].name
  if old == first:
    return kinds[new]
  if new == first or (old == last and kinds[old] == 'remove'):
    return OPPOSITE[kinds[old]]
  if kinds[old] != kinds[new]:
    return kinds[new] if kinds[new] != 'swap' else OPPOSITE[kinds[old]]
  return 'swap'


def show(pairs: Pairs) -> str:
  """Overrides as text: "model.dropout=0.0, model.kernel=(3, 3)"."""
  return ', '.join(f'{path}={value}' for path, value in pairs)


def check(factor: Factor) -> None:
  """Checks a factor by itself, from `factor`, `levels` or written by hand.

  Raises:
    UserError: fewer than two levels, repeated levels or paths, malformed names, paths,
      values, `requires` or `excludes`.
  """
  _check_name('factor', factor.name)
  for mark in ',=+|':
    if mark in factor.name:
      raise errors.UserError(
        f'factor {factor.name!r}: a name must not contain {mark!r}'
      )
  if factor.name in COLUMNS:
    raise errors.UserError(
      f'factor {factor.name!r}: runs.csv has a column of that name; take another'
    )
  names = [level.name for level in factor.levels]
  if len(names) < 2:
    raise errors.UserError(
      f'factor {factor.name} has {len(names)} level: it needs the intact one and at '
      'least one to compare it with'
    )
  for level in factor.levels:
    _check_name(f'factor {factor.name}: level', level.name)
    _check_kind(f'factor {factor.name}, level {level.name}', level.kind)
    if type(level.year) is not int or not 0 <= level.year <= 9999:
      raise errors.UserError(
        f'factor {factor.name}, level {level.name}: a year is a whole number such as '
        f'1989, or 0 for none, not {level.year!r}'
      )
    if names.count(level.name) > 1:
      raise errors.UserError(
        f'factor {factor.name}: two levels are called {level.name!r}'
      )
    paths = [path for path, _ in level.overrides]
    for path, value in level.overrides:
      _freeze(factor.name, value)
      if not isinstance(path, str) or '.' not in path:
        raise errors.UserError(
          f"factor {factor.name}: {path!r} is not a config path such as 'model.dropout'"
        )
      if paths.count(path) > 1:
        raise errors.UserError(
          f'factor {factor.name}, level {level.name}: it sets {path} twice'
        )
  _check_relations(factor, names)


def _check_relations(factor: Factor, names: list[str]) -> None:
  """Raises UserError unless `requires` and `excludes` have their form."""
  if isinstance(factor.requires, str) or not all(
    isinstance(entry, str) for entry in factor.requires
  ):
    raise errors.UserError(
      f"factor {factor.name}: requires is a tuple of names such as ('pooling',), not "
      f'{factor.requires!r}'
    )
  for entry in factor.excludes:
    if not isinstance(entry, tuple) or len(entry) != 3:
      raise errors.UserError(
        f'factor {factor.name}: excludes holds (own level, other factor, its level), '
        f'not {entry!r}'
      )
    if entry[0] not in names:
      guess = errors.did_you_mean(entry[0], names)
      raise errors.UserError(
        f'factor {factor.name}: excludes names its level {entry[0]!r}{guess}; it has '
        f'{", ".join(names)}'
      )


def _make(
  name: str,
  levels: tuple[Level, ...],
  requires: Any,
  excludes: Any,
  about: str,
  kind: Any,
  years: Any,
) -> Factor:
  """A checked factor; lists become tuples, values in `excludes` the levels' names."""
  if years:
    levels = tuple(_dated(name, levels, years))
  if isinstance(kind, Mapping):
    kinds = {str(_freeze(name, value)): its for value, its in kind.items()}
    others = [level.name for level in levels[1:]]
    for level in kinds:
      if level not in others:
        raise errors.UserError(
          f'factor {name}: kind names level {level!r}'
          f'{errors.did_you_mean(level, others)}; besides the intact level there are '
          f'{", ".join(others)}'
        )
    levels = tuple(
      level._replace(kind=kinds.get(level.name, 'swap')) for level in levels
    )
  else:
    levels = (*levels[:1], *(level._replace(kind=kind) for level in levels[1:]))
  if isinstance(requires, list):
    requires = tuple(requires)
  excludes = tuple(
    (str(entry[0]), str(entry[1]), str(entry[2]))
    if isinstance(entry, tuple | list) and len(entry) == 3
    else entry
    for entry in excludes
  )
  result = Factor(name, levels, requires, excludes, about)
  check(result)
  return result


def _dated(name: str, levels: tuple[Level, ...], years: Any) -> Iterable[Level]:
  """The levels with their years; UserError unless there is one for each."""
  if not isinstance(years, tuple | list) or len(years) != len(levels):
    raise errors.UserError(
      f'factor {name}: years has one for each of {", ".join(v.name for v in levels)}, '
      f'0 where there is none, not {years!r}'
    )
  return (level._replace(year=year) for level, year in zip(levels, years))


def _check_kind(what: str, kind: Any) -> None:
  if kind not in OPPOSITE:
    raise errors.UserError(
      f'{what}: kind is {", ".join(map(repr, OPPOSITE))}, not {kind!r}'
    )


def _check_name(what: str, name: Any) -> None:
  if not isinstance(name, str) or not name or name != name.strip() or '\n' in name:
    raise errors.UserError(
      f'{what} {name!r}: a name is one line of text without blanks around it'
    )


def _freeze(owner: str, value: Any) -> Any:
  """`value` with lists as tuples; UserError unless it is a bool, number, str, tuple."""
  value = overrides_lib.plain(value)
  if isinstance(value, tuple | list):
    return tuple(_freeze(owner, item) for item in value)
  if type(value) not in (bool, int, float, str) or (
    isinstance(value, float) and math.isnan(value)
  ):
    raise errors.UserError(
      f'{owner}: {value!r} ({type(value).__name__}) is not a level value; use a bool, '
      'int, float, str or a tuple of them'
    )
  return value
