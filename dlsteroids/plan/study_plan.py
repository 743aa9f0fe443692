"""From a config and its factors to arms, programs and runs; nothing is trained here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.plan import equalise
from dlsteroids.plan import programs as programs_lib
from dlsteroids.plan import runs as runs_lib
from dlsteroids.report import formats
from dlsteroids.study import claims, designs
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.train import inspect
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import errors

WIDTHS = {('cpu', 'map'): 8, ('cpu', 'vmap'): 5}  # members per device
WIDTH = 32  # on accelerators
# Bytes of members' states per device that a width may take. One after another gains
# nothing by width but fewer batches, and moves a member's state in and out every call:
# 0.35 s of 2 s for the 260 MB of a CycleGAN.
STATES = {'map': 2**28, 'vmap': 2**30}


class Plan(NamedTuple):
  """A study made concrete.

  Attributes:
    config: resolved baseline.
    design: arms and contrasts.
    conditions: under which each arm is trained; the first is the declared one.
    arms: config under the declared condition by arm name.
    at: config and residual by arm name and condition.
    datasets: by digest of the config section that made them.
    members: the pure functions by program id.
    facts: what is known of a program without training, by program id.
    layouts: by program id.
    code: digest by module of the code that an arm runs, by arm name.
    grid: tuning points; empty without tuning.
    published: claims to hold the results against.
  """

  config: Mapping[str, Any]
  design: designs.Design
  conditions: Sequence[conditions_lib.Condition]
  arms: Mapping[str, Mapping[str, Any]]
  at: Mapping[tuple[str, conditions_lib.Condition], equalise.Adjusted]
  datasets: Mapping[str, types.Dataset]
  members: Mapping[str, member_lib.Member]
  facts: Mapping[str, inspect.Facts]
  layouts: Mapping[str, program_lib.Layout]
  code: Mapping[str, Mapping[str, str]]
  grid: Sequence[Mapping[str, float]]
  published: Sequence[claims.Claim]

  def dataset(self, config: Mapping[str, Any]) -> types.Dataset:
    return self.datasets[config_lib.digest(config['data'])]

  def run(
    self,
    arm: str,
    seed: int,
    tuned: int,
    numbers: Mapping[str, float],
    condition: conditions_lib.Condition | None = None,
  ) -> runs_lib.Run:
    """The run of an arm at a seed, with `numbers` set on top of the arm's config."""
    return self.runs(arm, [seed], tuned, numbers, condition)[0]

  def runs(
    self,
    arm: str,
    seeds: Sequence[int],
    tuned: int,
    numbers: Mapping[str, float],
    condition: conditions_lib.Condition | None = None,
  ) -> list[runs_lib.Run]:
    """The runs of an arm at several seeds, as `run`."""
    condition = condition or self.conditions[0]
    config = self.at[arm, condition].config
    config = config_lib.override(config, numbers.items())
    data = self.dataset(config).digest
    code = config_lib.digest(self.code[arm])
    return runs_lib.make_runs(arm, seeds, tuned, config, data, code, condition)

  def arms_of(self, program: str) -> list[str]:
    """Names of the arms that a program trains, under whatever condition."""
    found = (
      a for (a, _), x in self.at.items() if runs_lib.program_id(x.config) == program
    )
    return list(dict.fromkeys(found))


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
    only: name of the one arm to plan, under the declared condition, for what one run
      is enough for; '' plans all.
    published: claims, from its `get_claims`.
    programs: names of the arms that each trains, by id: nothing else is planned, and
      what takes the whole study is left to who planned it.

  Raises:
    UserError: for any mistake in config, factors or data; among them a level that
      changes nothing and two arms that are the same program on the same data.
  """
  study = config['study']
  design = designs.expand(
    study['design'],
    config,
    tuple(factors),
    tuple(arms),
    study['only'],
    permutations=study['permutations'],
  )
  configs = {
    arm.name: config_lib.override(config, arm.overrides) for arm in design.arms
  }
  under = conditions_lib.make(config)
  if only:
    configs, under = {only: pick(configs, only)}, under[:1]
  if programs:
    names = {name for arms_of in programs.values() for name in arms_of}
    configs = {name: arm for name, arm in configs.items() if name in names}
  check_targets(study)
  grid = runs_lib.points(runs_lib.parse_grid(study['tune'], config))
  check_tuning(design, grid)
  known = programs_lib.Programs(study['metric'])
  programs_lib.check_different(configs, known)
  at = adjust(config, configs, under, known)
  check_erased(design, under[0], at)
  if not programs:
    metrics = {n for m in known.members.values() for n in m.task.metrics}
    check_reach(study['reach'], {*metrics, *scalars(known)})
    claims.check(published, factors, [arm.name for arm in design.arms], sorted(metrics))
  first = {name: at[name, under[0]].config for name in configs}
  if programs:
    at = {k: a for k, a in at.items() if runs_lib.program_id(a.config) in programs}
  used = dict.fromkeys(runs_lib.program_id(found.config) for found in at.values())
  return Plan(
    config,
    design,
    under,
    first,
    at,
    known.datasets,
    {program: known.members[program] for program in used},
    known.facts,
    {
      program: layout(config, known.facts[program], (layouts or {}).get(program))
      for program in used
    },
    programs_lib.digest_code(configs, known),
    grid,
    tuple(published),
  )


def adjust(
  config: Mapping[str, Any],
  configs: Mapping[str, Mapping[str, Any]],
  under: Sequence[conditions_lib.Condition],
  programs: programs_lib.Programs,
) -> dict[tuple[str, conditions_lib.Condition], equalise.Adjusted]:
  """Every arm's config under every condition; UserErrors name both."""
  at: dict[tuple[str, conditions_lib.Condition], equalise.Adjusted] = {}
  for condition in under:
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
  at: Mapping[tuple[str, conditions_lib.Condition], equalise.Adjusted],
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
  """Raises UserError for a target of gains that no metric of its kind can take."""
  targets = conditions_lib.numbers(study['targets'], 'study.targets')
  if formats.is_share(f'test/{study["metric"]}') and max(targets, default=0) >= 1:
    raise errors.UserError(
      f'config.study.targets: {study["metric"]} is a share below 1, as 0.95, not '
      f'{max(targets):g}'
    )


def scalars(programs: programs_lib.Programs) -> set[str]:
  """Names of what training curves show, besides the task's metrics."""
  return {name for facts in programs.facts.values() for name in facts.scalars}


def check_reach(text: str, names: Collection[str]) -> None:
  """Raises UserError unless a text is empty or as 'train/accuracy=0.75'."""
  place, _, value = text.partition('=')
  split, _, name = place.partition('/')
  try:
    good = bool(name) and split in ('train', 'validation', 'test') and float(value) >= 0
  except ValueError:
    good = False
  if text and not good:
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


def check_tuning(design: designs.Design, grid: Sequence[Mapping[str, float]]) -> None:
  """Raises UserError if tuning would undo an arm."""
  tuned = set(grid[0]) if grid else set()
  for factor in design.factors:
    for level in factor.levels:
      for path, _ in level.overrides:
        if path in tuned:
          raise errors.UserError(
            f'config.study.tune: {path} belongs to factor {factor.name}; tuning it '
            'would undo that ablation'
          )


def layout(
  config: Mapping[str, Any], facts: inspect.Facts, before: Mapping[str, Any] | None
) -> program_lib.Layout:
  """Strategy and width by rule of model and backend; what plan.json says comes first.

  On a CPU convolutions and recurrences run fastest one member after another, other
  matrix products side by side. On accelerators members run side by side. As many as
  have room: padding takes memory, too.

  Raises:
    UserError: if engine settings contradict the layout of runs trained before, or would
      hang: jax 0.10's CPU runtime does, on large batched products inside a loop.
  """
  engine = config['engine']
  before = before if before and 'width' in before else None  # planned, not laid out yet
  if engine['width'] < 0:
    raise errors.UserError(
      f'config.engine.width must be at least 0 (by rule), not {engine["width"]}'
    )
  platform = jax.default_backend()
  strategy = engine['strategy']
  if strategy == 'auto':
    serial = facts.convolves or facts.recurs
    alone = 'rnn_fwd' in facts.primitives or (platform == 'cpu' and serial)  # cuDNN's
    strategy = 'map' if alone else 'vmap'
    strategy = before['strategy'] if before else strategy
  old = jax.__version_info__ < (0, 12)
  if strategy == 'vmap' and platform == 'cpu' and facts.recurs and old:
    raise errors.UserError(
      f'config.engine.strategy=vmap: jax {jax.__version__} can hang on recurrences '
      'side by side on a CPU; use map (or auto)'
    )
  room = max(1, STATES[strategy] // max(facts.state_bytes, 1))
  width = engine['width'] or min(WIDTHS.get((platform, strategy), WIDTH), room)
  if before and (not engine['width'] or before.get('halved_from') == width):
    width = before['width']
  data = engine['data_devices']
  asked = {'strategy': strategy, 'width': width, 'data_devices': data}
  planned = {'data_devices': 1, **(before or asked)}
  if any(planned[name] != value for name, value in asked.items()):
    words = [', '.join(f'{n}={x[n]}' for n in asked) for x in (planned, asked)]
    raise errors.UserError(
      f'this workdir was planned with {words[0]}, not {words[1]}; bits depend on them: '
      'use another --workdir'
    )
  groups = jax.device_count() // data
  if not groups:
    raise errors.UserError(
      f'config.engine.data_devices={data}, but there are {jax.device_count()} devices'
    )
  return program_lib.Layout(strategy, width, groups * data, data)


def searches(
  made: Plan,
) -> dict[tuple[str, conditions_lib.Condition], list[runs_lib.Run]]:
  """By arm and condition: every grid point, on seeds that no claim uses."""
  seeds = [runs_lib.TUNE_SEED + i for i in range(made.config['study']['tune_seeds'])]
  return {
    (arm, condition): [
      run
      for point in made.grid
      for run in made.runs(arm, seeds, runs_lib.SEARCH, point, condition)
    ]
    for arm, condition in made.at
    if made.grid
  }


def claim_runs(
  made: Plan,
  chosen: Mapping[tuple[str, conditions_lib.Condition], Mapping[str, float]]
  | None = None,
) -> list[runs_lib.Run]:
  """Every arm at every seed as configured, then with its tuned numbers.

  Under conditions other than the declared one a study that tunes has only the latter.
  """
  seeds = runs_lib.seeds(made.config)
  under = made.conditions[:1] if made.grid else made.conditions
  runs = [
    run
    for arm, condition in made.at
    if condition in under
    for run in made.runs(arm, seeds, runs_lib.UNTUNED, {}, condition)
  ]
  for (arm, condition), numbers in (chosen or {}).items():
    runs += made.runs(arm, seeds, runs_lib.TUNED, numbers, condition)
  return runs
