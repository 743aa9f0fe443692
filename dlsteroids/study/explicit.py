"""The design `arms`: arms that the user spells out, each with its reference."""

from dlsteroids import config as config_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import relations
from dlsteroids.study import space as space_lib
from dlsteroids.study.builder import Builder
from dlsteroids.study.factors import ExplicitArm, Kind, Pairs
from dlsteroids.study.space import Space
from dlsteroids.util import errors


def collect(builder: Builder, arms: tuple[ExplicitArm, ...]) -> None:
  """Adds the intact model and each explicit arm, and compares it with its reference.

  Raises:
    UserError: a name or an arm that comes twice, an unknown factor, level or reference,
      an override of a path that a factor sets, or on which no run depends.
  """
  space = builder.space
  intact = space_lib.intact(space)
  given: dict[str, tuple[dict[str, str], Pairs]] = {'baseline': (intact, ())}
  kept = {'baseline': builder.add(intact, 'baseline')}
  for arm in arms:
    if arm.name in given:
      raise errors.UserError(f'two arms are called {arm.name!r}')
    new = (
      {**intact, **_explicit_levels(space, arm)},
      tuple(sorted(arm.overrides, key=lambda pair: pair[0])),
    )
    same = [name for name, old in given.items() if old == new]
    if same:
      raise errors.UserError(f'arms {same[0]} and {arm.name} are the same')
    given[arm.name] = new
    kept[arm.name] = builder.add(new[0], arm.name, arm.overrides)
  for arm in arms:
    if arm.reference not in kept or arm.reference == arm.name:
      names = [name for name in kept if name != arm.name]
      raise errors.UserError(
        f'arm {arm.name}: unknown reference {arm.reference!r}'
        f'{errors.did_you_mean(arm.reference, names)}; there are {", ".join(names)}'
      )
    if kept[arm.name] == arm.name:  # neither excluded nor merged into another
      levels, extra = given[arm.name]
      before, extra_before = given[arm.reference]
      changed = [pair for pair in levels.items() if pair not in before.items()]
      factor = arm.name
      level = ','.join(
        [f'{name}={its}' for name, its in changed]
        + [
          f'{path}={value}'
          for path, value in extra
          if (path, value) not in extra_before
        ]
      )
      if len(changed) == 1 and extra == extra_before:
        factor, level = changed[0]
      if not kept[arm.reference]:
        builder.notes.append(
          f'{arm.name} has no contrast: its reference {arm.reference} is excluded'
        )
      level = level or arm.name  # the arm lacks what its reference changes
      kind = arm.kind or _kind(space, levels, before, extra == extra_before)
      builder.contrast(factor, level, arm.name, kept[arm.reference], kind, 'reference')


def _kind(
  space: Space, new: dict[str, str], old: dict[str, str], extra_equal: bool
) -> Kind:
  """What the step to an arm is, by the factors whose levels it changes."""
  kinds = {
    factors_lib.change(factor, old[factor.name], new[factor.name])
    for factor in space.factors
    if old[factor.name] != new[factor.name]
  }
  return kinds.pop() if len(kinds) == 1 and extra_equal else 'swap'


def _explicit_levels(space: Space, arm: ExplicitArm) -> dict[str, str]:
  """The levels an explicit arm names, checked."""
  what = f'arm {arm.name}'
  by_name = {factor.name: factor for factor in space.factors}
  for name, level in arm.levels:
    relations.check_level(what, relations.find(what, name, by_name), level)
  for path, _ in arm.overrides:
    owner = space_lib.owner(space, path)
    if owner:
      raise errors.UserError(
        f'{what}: {path} belongs to factor {owner}; choose one of its levels instead'
      )
    if path.partition('.')[0] not in config_lib.TRAINING:
      raise errors.UserError(
        f'{what}: no run depends on {path}; an arm may set paths of '
        f'{", ".join(config_lib.TRAINING)}'
      )
  return dict(arm.levels)
