"""From a config and its factors to arms, programs and runs; nothing is trained here."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dlsteroids import config as config_lib
from dlsteroids import source, types
from dlsteroids.study import designs, plan
from dlsteroids.train import inspect
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib

SHARED = ('dlsteroids.train.loop', 'dlsteroids.train.program')  # code of every run
WIDTHS = {('cpu', 'map'): 8, ('cpu', 'vmap'): 5}  # members per device
WIDTH = 32  # on accelerators


class Plan(NamedTuple):
  """A study made concrete.

  Attributes:
    config: resolved baseline.
    design: arms and contrasts.
    arms: config by arm name.
    datasets: by digest of the config section that made them.
    members: the pure functions by program id.
    facts: what is known of a program without training, by program id.
    layouts: by program id.
    code: digest by module of the code that an arm runs, by arm name.
    grid: tuning points; empty without tuning.
  """

  config: Mapping[str, Any]
  design: designs.Design
  arms: Mapping[str, Mapping[str, Any]]
  datasets: Mapping[str, types.Dataset]
  members: Mapping[str, member_lib.Member]
  facts: Mapping[str, inspect.Facts]
  layouts: Mapping[str, program_lib.Layout]
  code: Mapping[str, Mapping[str, str]]
  grid: Sequence[Mapping[str, float]]

  def dataset(self, config: Mapping[str, Any]) -> types.Dataset:
    return self.datasets[config_lib.digest(config['data'])]

  def run(self, arm: str, seed: int, tuned: int, numbers: Mapping[str, float]) -> Any:
    """The run of an arm at a seed, with `numbers` set on top of the arm's config."""
    config = config_lib.override(self.arms[arm], numbers.items())
    data = self.dataset(config).digest
    code = config_lib.digest(self.code[arm])
    return plan.make_run(arm, seed, tuned, config, data, code)


def make(
  config: Any,
  factors: Sequence[Any],
  arms: Sequence[Any] = (),
  layouts: Mapping[str, Any] | None = None,
  overridden: Iterable[str] = (),
) -> Plan:
  """The plan of a study.

  Args:
    config: of the baseline, as the config file made it.
    factors: from its `get_factors`.
    arms: from its `get_arms`, for the design 'arms'.
    layouts: of programs planned before, from plan.json.
    overridden: paths the user set on the command line.

  Raises:
    UserError: for any mistake in config, factors or data; among them a level that
      changes nothing and two arms that are the same program on the same data.
  """
  config = config_lib.resolve(config, overridden)
  design = designs.expand(
    config['study']['design'],
    config,
    tuple(factors),
    tuple(arms),
    config['study']['only'],
  )
  configs = {
    arm.name: config_lib.override(config, arm.overrides) for arm in design.arms
  }
  grid = plan.points(plan.parse_grid(config['study']['tune'], config))
  check_tuning(design, grid)
  datasets: dict[str, types.Dataset] = {}
  members: dict[str, member_lib.Member] = {}
  facts: dict[str, inspect.Facts] = {}
  signatures: dict[Any, str] = {}
  for name, arm in configs.items():
    key = config_lib.digest(arm['data'])
    if key not in datasets:
      datasets[key] = config_lib.find('data', arm['data']['name']).load(arm['data'])
    program = plan.program_id(arm)
    if program not in members:
      with blame(f'arm {name}'):
        members[program] = member_lib.make(arm, datasets[key])
        check_metric(config, members[program].task)
        facts[program] = inspect.describe(arm, datasets[key], members[program])
    signature = inspect.signature(arm, facts[program], datasets[key])
    twin = signatures.setdefault(signature, name)
    if twin != name:
      raise config_lib.UserError(
        f'arm {name} changes nothing against arm {twin}: same program, same data, and '
        'no number that differs reaches the result'
      )
  chosen = {
    program: layout(config, facts[program], (layouts or {}).get(program))
    for program in members
  }
  named = {name: plugins(arm) for name, arm in configs.items()}
  digests = {names: source.digests([*SHARED, *names]) for names in set(named.values())}
  code = {name: dict(digests[names]) for name, names in named.items()}
  for name, arm in configs.items():
    task = members[plan.program_id(arm)].task
    if task.digest:
      code[name] |= {arm['task']['name']: task.digest}
  return Plan(config, design, configs, datasets, members, facts, chosen, code, grid)


@contextlib.contextmanager
def blame(what: str) -> Any:
  """Turns a shape or type error while tracing a plug-in into one line."""
  try:
    yield
  except config_lib.UserError:
    raise
  except (TypeError, ValueError, KeyError, AttributeError) as error:
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    raise config_lib.UserError(
      f'{what}: its model, data and task do not fit together: '
      f'{type(error).__name__}: {text}'
    ) from error


def plugins(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Modules that a config names: model, data set, task, and dotted blocks."""
  names: dict[str, None] = {}
  for section, kind in config_lib.PLUGINS.items():
    names[config_lib.find(kind, config[section]['name']).__name__] = None
    for value in config[section].values():
      if isinstance(value, str) and '.' in value:
        for part in value.split(','):
          names |= dict.fromkeys(dotted(part.strip()))
  return tuple(names)


def dotted(name: str) -> list[str]:
  """The module that a dotted name is, or whose function it is."""
  if not all(part.isidentifier() for part in name.split('.')):
    return []
  if source.exists(name):
    return [name]
  parent = name.rpartition('.')[0]
  return [parent] if '.' in name and source.exists(parent) else []


def check_metric(config: Mapping[str, Any], task: types.Task) -> None:
  name = config['study']['metric']
  usable = [key for key, metric in task.metrics.items() if metric.better]
  config_lib.choose('study.metric', name, usable)


def check_tuning(design: designs.Design, grid: Sequence[Mapping[str, float]]) -> None:
  """Raises UserError if tuning would undo an arm."""
  tuned = set(grid[0]) if grid else set()
  for factor in design.factors:
    for level in factor.levels:
      for path, _ in level.overrides:
        if path in tuned:
          raise config_lib.UserError(
            f'config.study.tune: {path} belongs to factor {factor.name}; tuning it '
            'would undo that ablation'
          )


def layout(
  config: Mapping[str, Any], facts: inspect.Facts, before: Mapping[str, Any] | None
) -> program_lib.Layout:
  """Strategy and width by rule of model and backend; what plan.json says comes first.

  On a CPU convolutions and recurrences run fastest one member after another, other
  matrix products side by side. On accelerators members run side by side.

  Raises:
    UserError: if engine settings contradict the layout of runs trained before, or would
      hang: jax 0.10's CPU runtime does, on large batched products inside a loop.
  """
  devices = len(jax.local_devices())
  engine = config['engine']
  if engine['width'] < 0:
    raise config_lib.UserError(
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
    raise config_lib.UserError(
      f'config.engine.strategy=vmap: jax {jax.__version__} can hang on recurrences '
      'side by side on a CPU; use map (or auto)'
    )
  width = engine['width'] or WIDTHS.get((platform, strategy), WIDTH)
  if before and (not engine['width'] or before.get('halved_from') == width):
    width = before['width']
  if before and (strategy, width) != (before['strategy'], before['width']):
    raise config_lib.UserError(
      f'this workdir was planned with strategy={before["strategy"]}, '
      f'width={before["width"]}, not {strategy}, {width}; bits depend on them: use '
      'another --workdir'
    )
  return program_lib.Layout(strategy, width, devices)


def search_runs(made: Plan) -> list[plan.Run]:
  """Every arm at every grid point, on seeds that no claim uses."""
  count = made.config['study']['tune_seeds']
  return [
    made.run(arm, plan.TUNE_SEED + i, plan.SEARCH, point)
    for arm in made.arms
    for point in made.grid
    for i in range(count)
  ]


def claim_runs(
  made: Plan, chosen: Mapping[str, Mapping[str, float]] | None = None
) -> list[plan.Run]:
  """Every arm at every seed as configured, then with its tuned numbers."""
  seeds = plan.seeds(made.config)
  runs = [made.run(arm, seed, plan.UNTUNED, {}) for arm in made.arms for seed in seeds]
  for arm, numbers in (chosen or {}).items():
    runs += [made.run(arm, seed, plan.TUNED, numbers) for seed in seeds]
  return runs
