"""Factors: the components under test as plain values, and what is made of them.

A factor is data: levels of `(config path, value)` pairs, the intact level first, the
barest last. This module knows the words and what a single factor must satisfy;
`space` knows how factors go together, `designs` which arms are compared.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from dlsteroids.util import errors

# Of runs.csv beside the factors and the metrics, whose names have a '/'.
COLUMNS = (
  *('arm', 'seed', 'status', 'tuned', 'regime', 'budget', 'size'),
  *('steps', 'params', 'flops', 'wall_s', 'stall_s', 'best_step'),
)

Pairs = tuple[tuple[str, Any], ...]  # (config path, value)


class Level(NamedTuple):
  """One state of a factor.

  Attributes:
    name: unique within the factor; what tables and arm names show.
    overrides: `(path, value)` pairs that bring the config into this state.
  """

  name: str
  overrides: Pairs


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
    component: which side has the component, 'arm' or 'reference'.
  """

  factor: str
  level: str
  arm: str
  reference: str
  arm_cells: tuple[str, ...]
  reference_cells: tuple[str, ...]
  component: Literal['arm', 'reference']


class ExplicitArm(NamedTuple):
  """An arm that the user spells out, for the design `arms`; see `arm`."""

  name: str
  levels: tuple[tuple[str, str], ...] = ()
  overrides: Pairs = ()
  reference: str = 'baseline'
  component: Literal['arm', 'reference'] = 'reference'


def factor(
  name: str,
  path: str,
  intact: Any,
  *others: Any,
  requires: tuple[str, ...] = (),
  excludes: tuple[tuple[Any, str, Any], ...] = (),
  about: str = '',
) -> Factor:
  """A factor of one config path: `factor('dropout', 'model.dropout', 0.5, 0.0)`.

  Args:
    name: of the factor.
    path: config path, as `'model.dropout'`.
    intact: the value the config has there.
    *others: the values to compare it with, the barest last. Bools, ints, floats,
      strings, or tuples of them; `str(value)` names the level.
    requires: see `Factor`.
    excludes: see `Factor`; values may stand for the names of levels.
    about: one line for the report.

  Raises:
    UserError: no other value, equal values, a malformed name, path or value.
  """
  choices = tuple(
    Level(str(_freeze(name, value)), ((path, _freeze(name, value)),))
    for value in (intact, *others)
  )
  return _make(name, choices, requires, excludes, about)


def levels(
  name: str,
  choices: Mapping[str, Mapping[str, Any]],
  *,
  requires: tuple[str, ...] = (),
  excludes: tuple[tuple[Any, str, Any], ...] = (),
  about: str = '',
) -> Factor:
  """A factor whose levels set several paths, or have names of their own.

      levels('convolution', {'3x3': {'model.name': 'cnn'},
                             'dense': {'model.name': 'mlp', 'model.widths': (64,)}})

  Args:
    name: of the factor.
    choices: `{level name: {config path: value}}`, the intact level first, the barest
      last. A level may set paths that the intact one does not name.
    requires: see `Factor`.
    excludes: see `Factor`.
    about: one line for the report.

  Raises:
    UserError: fewer than two levels, a malformed name, path or value.
  """
  if not isinstance(choices, Mapping):
    raise errors.UserError(
      f'factor {name}: levels are a dict {{name: {{path: value}}}}, not {choices!r}'
    )
  made = []
  for level, overrides in choices.items():
    if not isinstance(overrides, Mapping):
      raise errors.UserError(
        f'factor {name}, level {level}: expected {{path: value}}, not {overrides!r}'
      )
    pairs = tuple((path, _freeze(name, value)) for path, value in overrides.items())
    made.append(Level(str(level), pairs))
  return _make(name, tuple(made), requires, excludes, about)


def arm(
  name: str,
  levels: Mapping[str, Any] | None = None,
  overrides: Mapping[str, Any] | None = None,
  *,
  reference: str = 'baseline',
  component: Literal['arm', 'reference'] = 'reference',
) -> ExplicitArm:
  """An arm of the design `arms`: `arm('lean', {'dropout': '0.0'}, {'model.width': 8})`.

  Args:
    name: unique; 'baseline' is the intact model, which is always there.
    levels: `{factor: level}`; factors not named stay intact.
    overrides: `{config path: value}`, paths that no factor owns.
    reference: the arm it is compared with.
    component: which side has what is tested; 'reference' for an ablation, 'arm' for an
      addition. The verdict (helps, hurts) speaks of that side.

  Raises:
    UserError: a malformed name or value, or an unknown `component`.
  """
  _check_name('arm', name)
  if component not in ('arm', 'reference'):
    raise errors.UserError(
      f"arm {name}: component is 'arm' or 'reference', not {component!r}"
    )
  return ExplicitArm(
    name,
    tuple((key, str(value)) for key, value in (levels or {}).items()),
    tuple((path, _freeze(name, v)) for path, v in (overrides or {}).items()),
    reference,
    component,
  )


def show(pairs: Pairs) -> str:
  """Overrides as a person reads them: "model.dropout=0.0, model.kernel=(3, 3)"."""
  return ', '.join(f'{path}={value}' for path, value in pairs)


def check(factor: Factor) -> None:
  """Holds a factor, however it was made, to what can be said of it alone.

  Raises:
    UserError: fewer than two levels, repeated levels or paths, malformed names, paths,
      values, `requires` or `excludes`.
  """
  _check_name('factor', factor.name)
  for mark in ',=+|':
    if mark in factor.name:
      raise errors.UserError(f'factor {factor.name!r}: a name has no {mark!r}')
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
    if names.count(level.name) > 1:
      raise errors.UserError(
        f'factor {factor.name}: two levels are called {level.name!r}'
      )
    paths = [path for path, _ in level.overrides]
    for path, value in level.overrides:
      _freeze(factor.name, value)
      if not isinstance(path, str) or '.' not in path:
        raise errors.UserError(
          f"factor {factor.name}: {path!r} is no config path like 'model.dropout'"
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
      f"factor {factor.name}: requires is a tuple of names, as ('pooling',), not "
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
  name: str, levels: tuple[Level, ...], requires: Any, excludes: Any, about: str
) -> Factor:
  """A checked factor; lists become tuples, values in `excludes` the levels' names."""
  if isinstance(requires, list):
    requires = tuple(requires)
  excludes = tuple(
    (str(entry[0]), str(entry[1]), str(entry[2]))
    if isinstance(entry, tuple | list) and len(entry) == 3
    else entry
    for entry in excludes
  )
  made = Factor(name, levels, requires, excludes, about)
  check(made)
  return made


def _check_name(what: str, name: Any) -> None:
  if not isinstance(name, str) or not name or name != name.strip() or '\n' in name:
    raise errors.UserError(
      f'{what} {name!r}: a name is one line of text without blanks around it'
    )


def _freeze(owner: str, value: Any) -> Any:
  """`value` with lists as tuples; UserError unless it is a bool, number, str, tuple."""
  if isinstance(value, tuple | list):
    return tuple(_freeze(owner, item) for item in value)
  if type(value) not in (bool, int, float, str) or (
    isinstance(value, float) and math.isnan(value)
  ):
    raise errors.UserError(
      f'{owner}: {value!r} ({type(value).__name__}) is no level value; use a bool, '
      'int, float, str or a tuple of them'
    )
  return value
