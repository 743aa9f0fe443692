"""Designs: which arms a study has, and which contrasts it makes between them.

    one_out       baseline, and every non-intact level alone: what is lost without it
    one_in        bare, and every factor added alone: what it brings by itself
    ladder        from bare to baseline, one factor more per rung, or one level more
    factorial     all combinations; effects averaged over the other factors
    fraction      2^(k-p) of the combinations of k factors' first and last levels
    permutations  what sampled orders of the factors pass through from bare to baseline
    arms          the arms that the user spells out

An arm is trained once per seed; a contrast is a claim about arms, paired by seed.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import shapley_designs
from dlsteroids.study import space as space_lib
from dlsteroids.study.builder import Builder
from dlsteroids.study.factors import Arm, Contrast, ExplicitArm, Factor, Kind, Pairs
from dlsteroids.study.space import Override, Space
from dlsteroids.util import errors

DESIGNS = config_lib.DESIGNS
MAX_ARMS = 256
_MAX_COMBINATIONS = 4096  # beyond, a factorial is not even enumerated


class Design(NamedTuple):
  """What is compared.

  Attributes:
    arms: to train; names are unique, no two arms make the same config.
    contrasts: to test.
    excluded: one text per pair of levels that cannot be together: what was dropped.
    notes: what `requires` made inapplicable or merged, and what a design left out.
    factors: the selected ones, in the order cells.
    kind: the design's name.
    cells: for a game (factorial, fraction, permutations), every combination of first
      and last levels that it needs, as `(factor, level)` before requirements are
      applied, with the name of the arm that it is; () if an exclusion leaves one out.
    permutations: for 'permutations', the orders in which the factors are added.
    aliases: for 'fraction', which effects cannot be separated, a text each.
    configs: resolved config by arm name.
  """

  arms: tuple[Arm, ...]
  contrasts: tuple[Contrast, ...]
  excluded: tuple[str, ...]
  notes: tuple[str, ...]
  factors: tuple[Factor, ...]
  kind: str
  cells: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = ()
  permutations: tuple[tuple[str, ...], ...] = ()
  aliases: tuple[str, ...] = ()
  configs: Mapping[str, dict[str, Any]] = {}


def expand(
  design: str,
  config: Mapping[str, Any],
  factors: tuple[Factor, ...],
  arms: tuple[ExplicitArm, ...] = (),
  only: str = '',
  override: Override = config_lib.override,
  permutations: int = 8,
) -> Design:
  """The arms and contrasts of a study.

  Args:
    design: one of `DESIGNS`.
    config: the resolved baseline config, nested; equal to every intact level.
    factors: the components under test.
    arms: for the design 'arms'.
    only: comma-separated names of the factors to select (all if empty); the others
      stay intact. The order is that of `factors`, for a ladder that of `only`, where
      'factor=level' is a rung of a level in between.
    override: `(config, pairs) -> config`, strict; `config.override` but for tests.
    permutations: how many orders the design 'permutations' takes, an even number.

  Raises:
    UserError: an unknown design or selection, anything wrong with a factor or with an
      arm, two arms that are the same model, more than `MAX_ARMS` arms, or none to
      compare.
  """
  if design not in DESIGNS:
    guess = errors.did_you_mean(design, DESIGNS)
    raise errors.UserError(
      f'study.design: unknown {design!r}{guess}; use {", ".join(DESIGNS)}'
    )
  if not (arms if design == 'arms' else factors):
    what = 'arms (get_arms)' if design == 'arms' else 'factors (get_factors)'
    raise errors.UserError(f'design {design}: the config file gives no {what}')
  if design == 'arms' and only:
    raise errors.UserError(
      'study.only selects factors; the design arms has its own list of arms'
    )
  named = _named_rungs(only) if design == 'ladder' else []
  chosen = ','.join(dict.fromkeys(name for name, _ in named)) or only
  space = space_lib.make(factors, chosen)
  space_lib.check_values(space.factors, config, override)
  start = space_lib.resolve(space, space_lib.intact(space))
  if text := space_lib.violation(space, start):
    raise errors.UserError(f'the intact model itself is excluded: {text}')
  if design in shapley_designs.GAMES:
    shapley_designs.check(design, space)
  builder = Builder(space, config, override)
  game = shapley_designs.Game()
  match design:
    case 'one_out':
      _one_out(builder)
    case 'one_in':
      _one_in(builder)
    case 'ladder':
      _ladder(builder, _rungs(named, space))
    case 'factorial':
      game = _factorial(builder, permutations)
    case 'fraction':
      game = shapley_designs.fraction(builder)
    case 'permutations':
      game = _permutations(builder, permutations)
    case 'arms':
      _arms(builder, arms)
  if arms and design != 'arms':
    builder.notes.append(f'{len(arms)} explicit arms are no part of design {design}')
  return _finish(design, builder, game)


def explain(design: Design, details: Mapping[str, str] | None = None) -> list[str]:
  """Lines for `plan`: arms with their overrides, contrasts, exclusions, notes.

  A contrast of two arms stands in the line of its first arm, unless it is with the
  first arm of all.

  Args:
    design: the design.
    details: what to append to the line of an arm, by its name.
  """
  contrasts = f'{len(design.contrasts)} contrast' + 's' * (len(design.contrasts) != 1)
  lines = [f'design {design.kind}: {len(design.arms)} arms, {contrasts}']
  pairs = [c for c in design.contrasts if len(c.arm_cells) == 1]
  for arm in design.arms:
    text = factors_lib.show(arm.overrides) or 'the config as it is'
    if arm.inapplicable:
      text += f' [inapplicable: {", ".join(arm.inapplicable)}]'
    references = [c.reference for c in pairs if c.arm_cells == (arm.name,)]
    for reference in references:
      if reference != design.arms[0].name:
        text += f'; against {reference}'
    detail = (details or {}).get(arm.name, '')
    lines.append(f'  {arm.name}: {text}' + (f' ({detail})' if detail else ''))
  lines += [
    f'contrast {c.factor}: {c.arm} - {c.reference}'
    for c in design.contrasts
    if c not in pairs
  ]
  if design.permutations:
    lines.append(f'orders: {len(design.permutations)}, each with its reverse')
  lines += [f'alias: {text}' for text in design.aliases]
  lines += [f'excluded: {text}' for text in design.excluded]
  return lines + [f'note: {text}' for text in design.notes]


def _one_out(builder: Builder) -> None:
  space = builder.space
  intact = space_lib.intact(space)
  baseline = builder.add(intact, 'baseline')
  for factor in space.factors:
    for level in factor.levels[1:]:
      levels = {**intact, factor.name: level.name}
      arm = builder.add(levels, f'{factor.name}={level.name}')
      builder.contrast(factor.name, level.name, arm, baseline, level.kind, 'reference')


def _one_in(builder: Builder) -> None:
  """A factor is added to the bare model, or to that and what the factor requires."""
  space = builder.space
  name = lambda cell: space_lib.label_added(space, cell)
  bare = space_lib.bare(space)
  _check_bare(builder, bare)
  builder.add(bare, name)
  for factor in space.factors:
    start = space_lib.meet_requirements(space, bare, factor.name)
    reference = builder.add(start, name)
    if start != bare:
      builder.notes.append(
        f'{factor.name} is added to {reference or "an excluded combination"}: it '
        f'requires {", ".join(factor.requires)}'
      )
    for level in factor.levels[:-1]:
      arm = builder.add({**start, factor.name: level.name}, name)
      kind = factors_lib.change(factor, factor.levels[-1].name, level.name)
      builder.contrast(factor.name, level.name, arm, reference, kind, 'arm')
  builder.add(space_lib.intact(space), 'baseline')


def _named_rungs(only: str) -> list[tuple[str, str]]:
  """The factors and levels of 'pooling=max, overlap'; level '' is the intact one."""
  entries = [entry.strip().partition('=') for entry in only.split(',') if entry.strip()]
  return [(name.strip(), level.strip()) for name, _, level in entries]


def _rungs(
  named: Sequence[tuple[str, str]], space: Space
) -> tuple[tuple[str, str], ...]:
  """The `(factor, level)` that each rung of a ladder puts in.

  Args:
    named: what `study.only` names; empty for all factors in their order.
    space: of the selected factors.

  Raises:
    UserError: an unknown level, levels that don't rise from the last to the intact one.
  """
  by_name = {factor.name: factor for factor in space.factors}
  reached = {name: len(factor.levels) - 1 for name, factor in by_name.items()}
  rungs = []
  for name, level in named or [(name, '') for name in by_name]:
    levels = [its.name for its in by_name[name].levels]
    level = level or levels[0]
    space_lib.check_level('study.only', by_name[name], level)
    if not reached[name]:
      raise errors.UserError(f'study.only names {name} twice')
    if levels.index(level) >= reached[name]:
      raise errors.UserError(
        f'study.only: a ladder climbs {name} from {" to ".join(levels[::-1])}; '
        f'{name}={level} is no step up from {levels[reached[name]]}'
      )
    reached[name] = levels.index(level)
    rungs.append((name, level))
  for name, at in reached.items():
    if at:
      raise errors.UserError(
        f'study.only: a ladder ends at the intact model, so that a rung {name} must '
        f'follow {name}={by_name[name].levels[at].name}'
      )
  return tuple(rungs)


def _ladder(builder: Builder, rungs: tuple[tuple[str, str], ...]) -> None:
  """Each rung puts a level in place of the one below it, its first or one between."""
  space = builder.space
  levels, intact = space_lib.bare(space), space_lib.intact(space)
  order = ', '.join(dict.fromkeys(name for name, _ in rungs))
  _check_bare(builder, levels)
  by_name = {factor.name: factor for factor in space.factors}
  reference = builder.add(levels, 'bare')
  for rung, (name, level) in enumerate(rungs, 1):
    below, levels[name] = levels[name], level
    cell = space_lib.resolve(space, levels)
    if name in cell.inapplicable:
      raise errors.UserError(
        f'design ladder: {name} requires {", ".join(by_name[name].requires)}, which '
        f'comes later in {order}; set study.only={",".join(space.order)}'
      )
    last = rung == len(rungs)
    put = name if level == intact[name] else f'{name}={level}'
    arm = builder.add(levels, 'baseline' if last else f'rung{rung}+{put}')
    if not arm:
      raise errors.UserError(
        f'design ladder: rung {rung}, adding {put}, is excluded '
        f'({space_lib.violation(space, cell)}); give another order by study.only'
      )
    kind = factors_lib.change(by_name[name], below, level)
    builder.contrast(name, level, arm, reference, kind, 'arm')
    reference = arm
  for name, factor in by_name.items():
    between = [its.name for its in factor.levels[1:-1] if (name, its.name) not in rungs]
    if between:
      builder.notes.append(f'the ladder skips {name}={", ".join(between)}')


def _factorial(builder: Builder, permutations: int) -> shapley_designs.Game:
  """Pairs cells that differ in one factor (and in what it makes inapplicable)."""
  space = builder.space
  count = math.prod(len(factor.levels) for factor in space.factors)
  combinations: list[dict[str, str]] = []
  if count <= _MAX_COMBINATIONS:
    combinations = [dict(levels) for levels in _product(space.factors)]
    cells = {space_lib.resolve(space, levels) for levels in combinations}
    count = sum(not space_lib.violation(space, cell) for cell in cells)
  if count > MAX_ARMS:
    raise errors.UserError(
      _too_many('factorial', count, space, _smaller(space, permutations))
    )
  name = lambda cell: space_lib.label(space, dict(cell.assignment), cell.inapplicable)
  names = {
    frozenset(levels.items()): builder.add(levels, name) for levels in combinations
  }
  for factor in space.factors:
    first = factor.levels[0].name
    others = [other for other in space.factors if other.name != factor.name]
    for level in factor.levels[1:]:
      pairs = []
      for rest in _product(others):
        arm = names[frozenset((*rest, (factor.name, first)))]
        reference = names[frozenset((*rest, (factor.name, level.name)))]
        if arm and reference and arm != reference:
          pairs.append((arm, reference))
      # an arm that stands for several combinations makes one pair several times
      builder.contrast_means(factor, level.name, dict.fromkeys(pairs))
  return shapley_designs.factorial(builder, names)


def _permutations(builder: Builder, permutations: int) -> shapley_designs.Game:
  space = builder.space
  orders = shapley_designs.orders(
    [factor.name for factor in space.factors], permutations
  )
  count = shapley_designs.arms(space, orders)
  if count > MAX_ARMS:
    fewer = f'take fewer orders than study.permutations={permutations}'
    raise errors.UserError(_too_many('permutations', count, space, fewer))
  return shapley_designs.permutations(builder, orders)


def _arms(builder: Builder, arms: tuple[ExplicitArm, ...]) -> None:
  """Adds the intact model and each explicit arm, and compares it with its reference.

  Raises:
    UserError: a name or an arm that comes twice, an unknown factor, level or reference,
      an override of a path that a factor sets, or on which no run depends.
  """
  space = builder.space
  intact = space_lib.intact(space)
  cells: dict[str, tuple[dict[str, str], Pairs]] = {'baseline': (intact, ())}
  names = {'baseline': builder.add(intact, 'baseline')}
  for arm in arms:
    if arm.name in cells:
      raise errors.UserError(f'two arms are called {arm.name!r}')
    new = (
      {**intact, **_explicit_levels(space, arm)},
      tuple(sorted(arm.overrides, key=lambda pair: pair[0])),
    )
    same = [name for name, old in cells.items() if old == new]
    if same:
      raise errors.UserError(f'arms {same[0]} and {arm.name} are the same')
    cells[arm.name] = new
    names[arm.name] = builder.add(new[0], arm.name, arm.overrides)
  for arm in arms:
    if arm.reference not in names or arm.reference == arm.name:
      others = [name for name in names if name != arm.name]
      raise errors.UserError(
        f'arm {arm.name}: unknown reference {arm.reference!r}'
        f'{errors.did_you_mean(arm.reference, others)}; there are {", ".join(others)}'
      )
    if names[arm.name] == arm.name:  # neither excluded nor merged into another
      levels, extra = cells[arm.name]
      before, extra_before = cells[arm.reference]
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
      if not names[arm.reference]:
        builder.notes.append(
          f'{arm.name} has no contrast: its reference {arm.reference} is excluded'
        )
      level = level or arm.name  # the arm lacks what its reference changes
      kind = arm.kind or _arm_kind(space, levels, before, extra == extra_before)
      builder.contrast(factor, level, arm.name, names[arm.reference], kind, 'reference')


def _arm_kind(
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
    space_lib.check_level(what, space_lib.find(what, name, by_name), level)
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


def _check_bare(builder: Builder, bare: dict[str, str]) -> None:
  """Raises UserError if the factors' last levels cannot be together."""
  text = space_lib.violation(builder.space, space_lib.resolve(builder.space, bare))
  if text:
    raise errors.UserError(
      f'the bare model, every factor at its last level, is excluded ({text}); use '
      'design one_out, factorial or arms, or select other factors by study.only'
    )


def _product(factors: Iterable[Factor]) -> Iterator[tuple[tuple[str, str], ...]]:
  """All combinations as `(factor, level)` pairs, the last factor fastest."""
  return itertools.product(
    *([(factor.name, level.name) for level in factor.levels] for factor in factors)
  )


def _too_many(design: str, count: int, space: Space, instead: str = '') -> str:
  """What to say of a design with too many arms; `instead` is what helps it alone."""
  text = f'design {design}: {count} arms, more than {MAX_ARMS}'
  if design == 'arms':
    return text
  names = [factor.name for factor in space.factors]
  plural = 's' if len(names) > 1 else ''
  ways = [f'select factors (study.only={",".join(names[:2])})']
  if design not in ('fraction', 'permutations'):
    ways.append('give them fewer levels')
  if instead:
    ways.append(f'or {instead}')
  return f'{text} ({len(names)} factor{plural}); {", ".join(ways)}'


def _smaller(space: Space, permutations: int) -> str:
  """The designs that need fewer arms than a factorial, as advice; '' without any."""
  counts = {
    'one_out': 1 + sum(len(factor.levels) - 1 for factor in space.factors),
    'ladder': len(space.factors) + 1,
  }
  if not shapley_designs.refusal('fraction', space):
    counts['fraction'] = shapley_designs.runs(len(space.factors))
  if not shapley_designs.refusal('permutations', space):
    orders = shapley_designs.orders(
      [factor.name for factor in space.factors], permutations
    )
    counts['permutations'] = shapley_designs.arms(space, orders)
  texts = [f'{name} ({n} arms)' for name, n in counts.items() if n <= MAX_ARMS]
  return f'use design {" or ".join(texts)}' if texts else ''


def _finish(design: str, builder: Builder, game: shapley_designs.Game) -> Design:
  """The design; raises UserError if it compares nothing or has too many arms."""
  space = builder.space
  if not builder.contrasts:
    raise errors.UserError(
      f'design {design} leaves nothing to compare: '
      f'{"; ".join(builder.excluded) or "all its arms are one"}'
    )
  if len(builder.arms) > MAX_ARMS:
    raise errors.UserError(_too_many(design, len(builder.arms), space))
  excluded, notes = builder.describe()
  tested = {(c.factor, c.level) for c in builder.contrasts}
  if design in ('one_out', 'factorial'):
    notes += [
      f'{factor.name}={level.name} has no contrast: its arms are excluded'
      for factor in space.factors
      for level in factor.levels[1:]
      if (factor.name, level.name) not in tested
    ]
  return Design(
    arms=tuple(builder.arms.values()),
    contrasts=tuple(builder.contrasts),
    excluded=tuple(excluded),
    notes=tuple(notes),
    factors=space.factors,
    kind=design,
    cells=game.cells,
    permutations=game.permutations,
    aliases=game.aliases,
    configs=builder.configs,
  )
