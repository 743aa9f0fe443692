"""The plan of a study: arms, conditions, programs, layouts and runs; trains nothing."""

import collections
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.config import code as code_lib
from dlsteroids.plan import equalise, memory, parallel_tracing, tuning
from dlsteroids.plan import layouts as layouts_lib
from dlsteroids.plan import programs as programs_lib
from dlsteroids.plan import runs as runs_lib
from dlsteroids.study import claims as claims_lib
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.study import designs, metrics
from dlsteroids.study import study as study_lib
from dlsteroids.train import inspect
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import errors

Key = tuple[str, conditions_lib.Condition]  # an arm's name and a condition
Structure = tuple[tuple[str, float], ...]  # numbers that change the program, by path


class Plan(NamedTuple):
  """A study with its programs.

  Attributes:
    config: resolved baseline.
    design: arms and contrasts.
    conditions: under which each arm is trained; the first is the declared one.
    arms: config under the declared condition by arm name.
    at: config, and how far it misses what its regime equalises, by arm name and
      condition.
    datasets: by digest of the config section that made them.
    members: the pure functions by program id.
    facts: what is known of a program without training, by program id.
    layouts: of a whole batch, by program id.
    code: what an arm runs, by arm name.
    grid: values that are searched by config path; {} without tuning.
    trials: the points that each search tries; {} without tuning.
    structured: as `at`, for every structure of the points, too.
    final: whether no search tries further points, so that the runs that claim can be
      planned.
    programs: what configs compile to, to plan further points.
    claims: published claims to compare the results with.
    narrow: by fingerprint the widths, other than their layout's, at which runs that
      fill no batch were planned before.
    limits: by program id, how free memory narrowed the layout; '' if it did not.
    until: the looks by which seeds are added; None if their number is fixed.
  """

  config: Mapping[str, Any]
  design: designs.Design
  conditions: Sequence[conditions_lib.Condition]
  arms: Mapping[str, Mapping[str, Any]]
  at: Mapping[Key, equalise.Adjusted]
  datasets: Mapping[str, types.Dataset]
  members: Mapping[str, member_lib.Member]
  facts: Mapping[str, inspect.Facts]
  layouts: Mapping[str, program_lib.Layout]
  code: Mapping[str, code_lib.Code]
  grid: Mapping[str, tuple[float, ...]]
  final: bool
  claims: Sequence[claims_lib.Claim]
  programs: programs_lib.Programs
  trials: Mapping[Key, tuple[tuning.Numbers, ...]] = {}
  structured: Mapping[tuple[Key, Structure], equalise.Adjusted] = {}
  narrow: Mapping[str, int] = {}
  limits: Mapping[str, str] = {}
  until: study_lib.Until | None = None

  @property
  def tune_by(self) -> str:
    """Which points a search tries."""
    return self.config['study']['tune_by']

  def adjusted(self, key: Key, point: tuning.Numbers) -> equalise.Adjusted:
    """An arm's config under a condition with the structure of a point."""
    structure = tuning.structure(point, self.design.configs[key[0]])
    return self.structured[key, structure] if structure else self.at[key]

  def dataset(self, config: Mapping[str, Any]) -> types.Dataset:
    """The data set of a config of the plan."""
    return self.datasets[config_lib.digest(config['data'])]

  def seeds_of(self, arm: str) -> list[int]:
    """The seeds of an arm's claim."""
    seeds = runs_lib.seeds(self.config)
    return list(seeds[: self.until.stopped.get(arm)] if self.until else seeds)

  def run(
    self,
    arm: str,
    seed: int,
    tuned: int,
    numbers: tuning.Numbers,
    condition: conditions_lib.Condition | None = None,
  ) -> runs_lib.Run:
    """The run of an arm at a seed, with `numbers` in place of the config's."""
    return self.runs(arm, [seed], tuned, numbers, condition)[0]

  def runs(
    self,
    arm: str,
    seeds: Sequence[int],
    tuned: int,
    numbers: tuning.Numbers,
    condition: conditions_lib.Condition | None = None,
  ) -> list[runs_lib.Run]:
    """The runs of an arm at several seeds, as `run`."""
    condition = condition or self.conditions[0]
    config = self.adjusted((arm, condition), numbers).config
    config = equalise.replace(config, tuning.traced(numbers, config))
    data = self.dataset(config).digest
    code = self.code[arm].digest
    return runs_lib.make_runs(arm, seeds, tuned, config, data, code, condition)

  def arms_of(self, program: str) -> list[str]:
    """Names of the arms that a program trains, under any condition."""
    every = [*self.at.items(), *((k, a) for (k, _), a in self.structured.items())]
    names = (
      arm
      for (arm, _), adjusted in every
      if runs_lib.program_id(adjusted.config) == program
    )
    return list(dict.fromkeys(names))


def make(
  config: Mapping[str, Any],
  factors: Sequence[Any],
  arms: Sequence[Any] = (),
  layouts: Mapping[str, Any] | None = None,
  only: str = '',
  published: Sequence[Any] = (),
  programs: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
  """The plan of a study, of one of its arms, or of some of its programs.

  Args:
    config: of the baseline, resolved.
    factors: from its `get_factors`.
    arms: from its `get_arms`, for the design 'arms'.
    layouts: of programs planned before, from plan.json.
    only: name of the only arm to plan, under the declared condition, for actions on one
      run; '' plans all.
    published: claims, from its `get_claims`.
    programs: the only programs to plan: names of the arms that each trains, by id.
      Checks of the whole study are left to the process that planned it.

  Raises:
    UserError: for any mistake in config, factors or data; among them a level that
      changes nothing and two arms that are the same program on the same data.
  """
  settings = config['study']
  design = designs.expand(
    settings['design'],
    config,
    tuple(factors),
    tuple(arms),
    settings['only'],
    permutations=settings['permutations'],
  )
  configs, conditions = design.configs, conditions_lib.make(config)
  if only:
    configs, conditions = {only: pick(configs, only)}, conditions[:1]
  if programs:
    names = {name for arms_of in programs.values() for name in arms_of}
    configs = {name: arm for name, arm in configs.items() if name in names}
  check_targets(settings)
  grid = tuning.parse_grid(settings['tune'], config)
  tuning.check_goal(settings)
  check_tuning(design, grid)
  traced = programs_lib.Programs(settings['metric'])
  with parallel_tracing.run(list(configs.values()), traced):
    programs_lib.check_different(configs, traced)
  bare = conditions_lib.make_bare(config, conditions)
  at = adjust(config, configs, conditions, traced)
  if bare and not only:
    bare_configs = pick_bare(design, configs)
    at |= adjust(config, bare_configs, bare, traced)
    conditions = (*conditions, *bare)
  check_erased(design, conditions[0], at)
  if not programs:
    names_of_metrics = {n for m in traced.members.values() for n in m.task.metrics}
    check_reach(settings['reach'], {*names_of_metrics, *scalars(traced)})
    claims_lib.check(
      published, factors, [arm.name for arm in design.arms], sorted(names_of_metrics)
    )
  declared = {name: at[name, conditions[0]].config for name in configs}
  if programs:
    at = {k: a for k, a in at.items() if runs_lib.program_id(a.config) in programs}
  used = dict.fromkeys(runs_lib.program_id(adjusted.config) for adjusted in at.values())
  plan = Plan(
    config=config,
    design=design,
    conditions=conditions,
    arms=declared,
    at=at,
    datasets=traced.datasets,
    members={program: traced.members[program] for program in used},
    facts=traced.facts,
    layouts={},
    code=programs_lib.digest_code(configs, traced),
    grid=grid,
    final=not grid or is_final(config, grid),
    claims=tuple(published),
    programs=traced,
  )
  plan = with_trials(plan, first_trials(plan), layouts)
  return plan if plan.layouts else with_layouts(plan, layouts or {})


def is_final(config: Mapping[str, Any], grid: Collection[str]) -> bool:
  """Whether searches try only what is planned at first, and end within a program."""
  settings = config['study']
  grows = settings['tune_extend'] and settings['tune_by'] == 'grid'
  depends = settings['tune_by'] == 'neighbours'
  return not grows and not depends and not tuning.is_structural(grid, config)


def first_trials(plan: Plan) -> dict[Key, tuple[tuning.Numbers, ...]]:
  """The points that every search tries at first, whatever it finds."""
  if plan.tune_by == 'neighbours' or not plan.grid:
    return dict.fromkeys(plan.at if plan.grid else (), ())
  if plan.tune_by == 'random':
    trials = plan.config['study']['tune_trials']
    points = tuning.draw(plan.grid, trials, plan.config)
  else:
    points = study_lib.combinations(plan.grid)
  return dict.fromkeys(plan.at, tuple(points))


def with_trials(
  plan: Plan,
  trials: Mapping[Key, Sequence[tuning.Numbers]],
  layouts: Mapping[str, Any] | None = None,
) -> Plan:
  """The plan with these points to try, their programs traced and laid out.

  Args:
    plan: of the study.
    trials: points of every search.
    layouts: of programs planned before, from plan.json.

  Raises:
    UserError: for a point that an arm's regime cannot train; names the arm.
  """
  structured = dict(plan.structured)
  for key, points in trials.items():
    for point in points:
      structure = tuning.structure(point, plan.design.configs[key[0]])
      if structure and (key, structure) not in structured:
        where = ', '.join(f'{path}={value:g}' for path, value in structure)
        with programs_lib.blame(f'arm {key[0]}, {key[1]}, {where}', every=True):
          structured[key, structure] = restructure(plan, key, structure)
  plan = plan._replace(
    trials={key: tuple(points) for key, points in trials.items()},
    structured=structured,
  )
  used = [runs_lib.program_id(adjusted.config) for adjusted in structured.values()]
  traced = plan.programs.members
  members = {**plan.members, **{name: traced[name] for name in dict.fromkeys(used)}}
  if members.keys() == plan.layouts.keys():
    return plan
  return with_layouts(plan._replace(members=members), layouts or {})


def restructure(plan: Plan, key: Key, structure: Structure) -> equalise.Adjusted:
  """An arm's config under a condition, changed in structure before it is adjusted.

  Raises:
    UserError: if the regime cannot train it.
  """
  arm, condition = key
  config = equalise.restructure(plan.design.configs[arm], structure)
  costs, params = plan.programs.costs, plan.programs.params
  adjusted = equalise.adjust(config, plan.config, condition, costs, params)
  plan.programs.add(adjusted.config)
  return adjusted


def pick_bare(
  design: designs.Design, configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
  """The config of the arm without any component, by its name.

  Raises:
    UserError: if the design has none.
  """
  intact = {factor.name: factor.levels[0].name for factor in design.factors}
  for arm in design.arms:
    present = (
      level == intact[factor] and factor not in arm.inapplicable
      for factor, level in arm.assignment
    )
    if not any(present):
      return {arm.name: configs[arm.name]} if arm.name in configs else {}
  raise errors.UserError(
    f'config.study.budgets_bare: the design {design.kind} has no arm without any '
    'component; factorial and ladder have one'
  )


def adjust(
  config: Mapping[str, Any],
  configs: Mapping[str, Mapping[str, Any]],
  conditions: Sequence[conditions_lib.Condition],
  programs: programs_lib.Programs,
) -> dict[Key, equalise.Adjusted]:
  """Every arm's config under every condition; a UserError names the two."""
  at: dict[Key, equalise.Adjusted] = {}
  for condition in conditions:
    for name, arm in configs.items():
      where = f'arm {name}, {condition}'
      with programs_lib.blame(where, every=True):
        at[name, condition] = equalise.adjust(
          arm, config, condition, programs.costs, programs.params
        )
      with programs_lib.blame(where):
        programs.add(at[name, condition].config)
  return at


def check_erased(
  design: designs.Design,
  declared: conditions_lib.Condition,
  at: Mapping[Key, equalise.Adjusted],
) -> None:
  """Raises UserError if the declared regime makes two arms of a contrast the same."""
  for contrast in design.contrasts:
    for pair in zip(contrast.arm_cells, contrast.reference_cells):
      one, two = (at.get((name, declared)) for name in pair)
      if one and two and one.config == two.config:
        raise errors.UserError(
          f'regime {declared.regime} makes arm {pair[0]} the same as {pair[1]}: what '
          f'{contrast.factor} changes is what the regime equalises; name another '
          'regime first, as config.study.regimes=steps'
          + ('' if declared.regime == 'steps' else f',{declared.regime}')
        )


def pick(arms: Mapping[str, Any], name: str) -> Any:
  """What belongs to the arm called `name`; UserError if the study has no such arm."""
  if name not in arms:
    guess = errors.did_you_mean(name, arms)
    raise errors.UserError(f'no arm {name!r}{guess}; there are {", ".join(arms)}')
  return arms[name]


def check_targets(study: Mapping[str, Any]) -> None:
  """Raises UserError if the deciding metric can't reach a target."""
  targets = conditions_lib.numbers(study['targets'], 'study.targets')
  if metrics.is_share(study['metric']) and max(targets, default=0) >= 1:
    raise errors.UserError(
      f'config.study.targets: {study["metric"]} is a share below 1, such as 0.95, not '
      f'{max(targets):g}'
    )


def scalars(programs: programs_lib.Programs) -> set[str]:
  """Names of the scalars that training curves show besides the task's metrics."""
  return {name for facts in programs.facts.values() for name in facts.scalars}


def check_reach(text: str, names: Collection[str]) -> None:
  """Raises UserError unless a text is empty or like 'train/accuracy=0.75'."""
  place, _, value = text.partition('=')
  split, _, name = place.partition('/')
  try:
    valid = (
      bool(name) and split in ('train', 'validation', 'test') and float(value) >= 0
    )
  except ValueError:
    valid = False
  if text and not valid:
    raise errors.UserError(
      f"config.study.reach: expected 'train/accuracy=0.75', a split, a metric and a "
      f'value, not {text!r}'
    )
  if text and name not in names:
    guess = errors.did_you_mean(name, names)
    raise errors.UserError(
      f'config.study.reach: no curve of {name!r}{guess}; there are '
      f'{", ".join(sorted(names))}'
    )


def check_tuning(design: designs.Design, grid: Collection[str]) -> None:
  """Raises UserError if tuning would undo an arm."""
  for factor in design.factors:
    for level in factor.levels:
      for path, _ in level.overrides:
        if path in grid:  # `size` multiplies whatever widths an arm has
          raise errors.UserError(
            f'config.study.tune: {path} belongs to factor {factor.name}; tuning it '
            'would undo that ablation'
          )


def with_layouts(plan: Plan, written: Mapping[str, Any]) -> Plan:
  """The plan with its programs laid out as plan.json says, else by rule.

  Programs that the plan has laid out before stay so unless plan.json has them.

  Args:
    plan: of a study, or of a part of it.
    written: the programs of plan.json by id.

  Raises:
    UserError: see `layouts.choose`.
  """
  counts, free = series(plan), memory.room(plan.datasets.values())
  every = (*plan.at.values(), *plan.structured.values())
  configs = {runs_lib.program_id(each.config): each.config for each in every}
  chosen, limits = {}, {}
  narrow = dict(plan.narrow) if not written else {}
  for name in plan.members:
    if name in plan.layouts and name not in written:
      chosen[name], limits[name] = plan.layouts[name], plan.limits.get(name, '')
      continue
    facts, entry = plan.facts[name], written.get(name, {})
    words = (configs[name], facts, counts[name], entry)
    wanted, layout = (layouts_lib.choose(*words, free=f) for f in (math.inf, free))
    eval_batch = configs[name]['train']['eval_batch']
    chosen[name] = layout
    limits[name] = memory.describe(wanted, layout, facts, eval_batch, free)
    narrow |= entry.get('narrow', {})
  return plan._replace(layouts=chosen, limits=limits, narrow=narrow)


def series(plan: Plan) -> dict[str, list[int]]:
  """By program, how many runs train one after another for equal steps.

  Searches train before the runs that claim; of these a study that tunes has the
  untuned ones, and for each arm and condition those at the chosen point.
  """
  seeds, tune_seeds = plan.config['study']['seeds'], plan.config['study']['tune_seeds']
  counts: dict[str, collections.Counter[tuple[str, int]]] = {
    program: collections.Counter() for program in plan.members
  }
  tried: dict[str, tuple[dict[str, Any], set[str]]] = {}  # points by config
  untuned: dict[str, dict[str, Any]] = {}
  for key, adjusted in plan.at.items():
    digest = config_lib.digest(adjusted.config)
    if not plan.grid or (key[1] == plan.conditions[0] and trains_untuned(plan)):
      untuned[digest] = adjusted.config
    for point in plan.trials.get(key, ()):
      config = plan.adjusted(key, point).config
      digest = config_lib.digest(config)
      values = config_lib.digest(tuning.traced(point, config))
      tried.setdefault(digest, (config, set()))[1].add(values)
  for config in untuned.values():
    own, steps = counts[runs_lib.program_id(config)], config['train']['steps']
    own['claim', steps] += seeds
  for config, points in tried.values():
    own, steps = counts[runs_lib.program_id(config)], config['train']['steps']
    own['search', steps] += tune_seeds * len(points)
    own['claim', steps] += seeds
  return {program: list(own.values()) for program, own in counts.items()}


def batches(
  plan: Plan, runs: Sequence[runs_lib.Run], done: Callable[[str], bool]
) -> list[runs_lib.Batch]:
  """What is still to train of `runs`: see `layouts.batches`."""
  fixed = bool(plan.config['engine']['width'])
  layout_of = plan.layouts.__getitem__
  return layouts_lib.batches(runs, done, layout_of, plan.narrow, fixed)


def searches(plan: Plan) -> dict[Key, list[list[runs_lib.Run]]]:
  """Tuning runs of each point, by arm and condition, on seeds no claim uses."""
  count = plan.config['study']['tune_seeds']
  seeds = [runs_lib.TUNE_SEED + i for i in range(count)]
  return {
    (arm, condition): [
      plan.runs(arm, seeds, runs_lib.SEARCH, point, condition) for point in points
    ]
    for (arm, condition), points in plan.trials.items()
  }


def tuning_goal(plan: Plan) -> tuning.Goal:
  """What the study's tuning chooses by."""
  task = next(iter(plan.members.values())).task
  metrics_by_name = {
    name: study_lib.Metric(name, metric.better, metric.fallback)
    for name, metric in task.metrics.items()
  }
  return tuning.make_goal(plan.config['study'], metrics_by_name)


def trains_untuned(plan: Plan) -> bool:
  """Whether arms are also trained as configured.

  A search among neighbours chooses the structure, too: what is configured is where it
  begins, and no model of interest.
  """
  return not plan.grid or plan.tune_by != 'neighbours'


def claim_runs(plan: Plan) -> list[runs_lib.Run]:
  """The untuned runs: every arm at every seed, under every condition.

  A study that tunes has them under the declared condition only, or not at all.
  """
  if not trains_untuned(plan):
    return []
  conditions = plan.conditions[:1] if plan.grid else plan.conditions
  return [
    run
    for arm, condition in plan.at
    if condition in conditions
    for run in plan.runs(arm, plan.seeds_of(arm), runs_lib.UNTUNED, {}, condition)
  ]
