"""Regimes: an arm's config under a condition, by what its program counts."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config import options
from dlsteroids.plan import tuning
from dlsteroids.study import conditions
from dlsteroids.train import step as step_lib
from dlsteroids.util import errors

CLOSE = 0.01  # relative error of parameters above which solved widths are refined
COARSE = 0.1  # relative change of compute that rounding to whole steps may make
NEAR = 2  # units by which refinement changes a width
TRIALS = 150  # neighbours that refinement tries at most
MOST = 64.0  # largest factor of widths that is tried


class Costs(NamedTuple):
  """Of one model: what regimes make equal."""

  params: int
  flops: float  # nominal, a training step


class Adjusted(NamedTuple):
  """An arm's config under a condition.

  Attributes:
    config: resolved.
    residual: what was achieved / what the regime wants - 1; 0 where nothing is solved.
  """

  config: dict[str, Any]
  residual: float


def adjust(
  config: Mapping[str, Any],
  intact: Mapping[str, Any],
  condition: conditions.Condition,
  costs: Callable[[Mapping[str, Any]], Costs],
  params: Callable[[Mapping[str, Any]], int],
) -> Adjusted:
  """The config that trains an arm under a condition.

  Args:
    config: the arm's.
    intact: the study's, which sets what is equal.
    condition: regime, budget and size.
    costs: of a config; traces its training step.
    params: of a config; traces only its initialisation.

  Raises:
    UserError: widths of a model that names none, or that no width makes equal.
  """
  if condition.size != 1:
    config = scale(config, condition.size)
  if condition.regime == 'params':
    wanted = float(params(intact))
    config = solve(config, wanted, params)
    config = with_steps(config, config['train']['steps'] * condition.budget)
    return Adjusted(config, params(config) / wanted - 1)
  if condition.regime == 'steps':
    return Adjusted(
      with_steps(config, config['train']['steps'] * condition.budget), 0.0
    )
  work = costs(intact).flops * intact['train']['steps'] * condition.budget
  each = costs(config).flops
  if each == 0:
    raise errors.UserError(
      'it does no counted work (dots and convolutions), so no number of steps makes it '
      'equal; use regime steps or params'
    )
  config = with_steps(config, work / each)
  return Adjusted(config, each * config['train']['steps'] / work - 1)


def with_steps(config: Mapping[str, Any], steps: float) -> dict[str, Any]:
  """The config with this number of steps, rounded; its schedule stretches with them.

  Raises:
    UserError: if rounding would change the compute by more than a tenth.
  """
  whole = max(1, round(steps))
  if abs(whole / steps - 1) > COARSE:
    raise errors.UserError(
      f'{steps:.3g} steps would be rounded to {whole}, which is not equal compute; use '
      'a larger budget or more config.train.steps'
    )
  return replace(config, {'train.steps': whole})


def scale(config: Mapping[str, Any], factor: float) -> dict[str, Any]:
  """The config with the options that its model declares as widths times `factor`.

  Raises:
    UserError: if it names none, or they are all empty.
  """
  model = config['model']
  module = config_lib.find('models', model['name'])
  names = [name for name, option in options.of(module).items() if option.width]
  units = multiples(model)
  widths = {
    f'model.{name}': wider(model[name], factor, units.get(name, 1)) for name in names
  }
  if not any(np.size(value) for value in widths.values()):
    raise errors.UserError(
      f'model {model["name"]} has no widths to change: none of its options '
      'is an Option(..., width=True); add one, or leave out config.study.sizes and '
      'regime params'
    )
  return replace(config, widths)


def restructure(
  config: Mapping[str, Any], structure: Sequence[tuple[str, float]]
) -> dict[str, Any]:
  """The config with other numbers that change its program.

  Args:
    config: resolved.
    structure: numbers by path; `tuning.SIZE` multiplies the widths.

  Raises:
    UserError: for a value outside the range of its option, or a model without widths.
  """
  plain = {
    path: int(value) if tuning.is_whole(path, config) else value
    for path, value in structure
    if path != tuning.SIZE
  }
  config = replace(config, plain)
  size = dict(structure).get(tuning.SIZE, 1.0)
  return config if size == 1 else scale(config, size)


def replace(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
  """A resolved config with other numbers at paths that it has.

  Raises:
    UserError: for a value outside the range of its option.
  """
  sections = {path.partition('.')[0] for path in values}
  declared = config_lib.declared({name: config[name] for name in sections})
  result = dict(config)
  for path, value in values.items():
    section, _, name = path.partition('.')
    value = config_lib.coerce(path, result[section][name], value)
    options.check(path, declared[path], value)
    result[section] = {**result[section], name: value}
  return result


def multiples(model: Mapping[str, Any]) -> Mapping[str, int]:
  """What widths of a model must be multiples of, by option; 1 where it says nothing."""
  module = config_lib.find('models', model['name'])
  return module.multiples(model) if hasattr(module, 'multiples') else {}


def wider(value: Any, factor: float, unit: int = 1) -> Any:
  """An int (a multiple of `unit`), a float, or a tuple of them, times `factor`."""
  if isinstance(value, tuple | list):
    return tuple(wider(item, factor, unit) for item in value)
  if isinstance(value, float):
    return value * factor
  return unit * max(1, round(value * factor / unit))


def solve(
  config: Mapping[str, Any],
  wanted: float,
  params: Callable[[Mapping[str, Any]], int],
) -> dict[str, Any]:
  """The config whose widths, all scaled alike, come nearest to `wanted` parameters.

  Bisection on the common factor; what rounding leaves is taken up by single widths.

  Raises:
    UserError: if even `MOST` times wider or narrower misses by more than a tenth.
  """
  if params(config) == wanted:
    return dict(config)
  low, high = 1 / MOST, MOST
  best = dict(config)
  for _ in range(24):
    middle = (low * high) ** 0.5
    trial = scale(config, middle)
    count = params(trial)
    best = nearer(best, trial, wanted, params)
    if count == wanted or high / low < 1 + 1e-4:
      break
    low, high = (middle, high) if count < wanted else (low, middle)
  best = refine(best, wanted, params)
  if abs(params(best) / wanted - 1) > 0.1:
    raise errors.UserError(
      f'regime params: no width of model {config["model"]["name"]} comes nearer to '
      f'{wanted:,.0f} parameters than {params(best):,}; leave out regime params'
    )
  return best


def nearer(
  one: dict[str, Any],
  two: dict[str, Any],
  wanted: float,
  params: Callable[[Mapping[str, Any]], int],
) -> dict[str, Any]:
  """The config whose parameters are nearer to `wanted`; the first of equals."""
  return two if abs(params(two) - wanted) < abs(params(one) - wanted) else one


def refine(
  config: dict[str, Any],
  wanted: float,
  params: Callable[[Mapping[str, Any]], int],
) -> dict[str, Any]:
  """Where more than 1 % is off: the most evenly scaled neighbour within it, if any."""
  best = config
  if abs(params(config) / wanted - 1) <= CLOSE:
    return best
  for trial in neighbours(config)[:TRIALS]:
    if abs(params(trial) / wanted - 1) <= CLOSE:
      return trial
    best = nearer(best, trial, wanted, params)
  return best


def neighbours(config: dict[str, Any]) -> list[dict[str, Any]]:
  """Configs whose widths differ by up to `NEAR`, the most evenly scaled first."""
  model = config['model']
  module = config_lib.find('models', model['name'])
  names = [name for name, option in options.of(module).items() if option.width]
  places = [
    (name, at)
    for name in names
    for at in range(np.size(model[name]))
    if not isinstance(model[name], float)
  ]
  old = np.array([np.ravel(model[name])[at] for name, at in places])
  units = np.array([multiples(model).get(name, 1) for name, _ in places])
  neighbours = []
  for steps in itertools.product(range(-NEAR, NEAR + 1), repeat=min(len(places), 4)):
    moves = np.array([*steps, *(0,) * (len(places) - len(steps))], int)
    new = old + units * moves
    if any(steps) and (new >= 1).all():
      logs = np.log(new / old)
      neighbours.append((float(np.ptp(logs)), float(np.abs(logs).sum()), new.tolist()))
  configs = []
  for _, _, new in sorted(neighbours):
    values = {name: list(np.ravel(model[name])) for name in names}
    for (name, at), width in zip(places, new):
      values[name][at] = width
    widths = {
      f'model.{n}': tuple(v) if np.ndim(model[n]) else v[0] for n, v in values.items()
    }
    configs.append(replace(config, widths))
  return configs


def counter(
  datasets: Callable[[Mapping[str, Any]], types.Dataset],
) -> Callable[[Mapping[str, Any]], int]:
  """A function that counts a config's trainable numbers; each is traced once."""
  counts: dict[str, int] = {}

  def params(config: Mapping[str, Any]) -> int:
    key = config_lib.digest(config_lib.static(config))
    if key not in counts:
      counts[key] = count(config, datasets(config))
    return counts[key]

  return params


def count(config: Mapping[str, Any], dataset: types.Dataset) -> int:
  """Trainable numbers of all players; nothing is computed."""
  task = config_lib.find('tasks', config['task']['name']).build(config, dataset)
  keys = rng.Keys(rng.root(0))

  def init(few):
    batch = dataset.transform(few, keys, train=False)
    numbers = {k: np.float32(v) for k, v in config_lib.hyper(config).items()}
    return step_lib.init(task, keys.root, batch, numbers)['variables']

  def take(arrays):
    return dataset.take(arrays, np.arange(2), train=True)

  shapes = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype)
    for name, array in dataset.arrays.items()
  }
  players = jax.eval_shape(init, jax.eval_shape(take, shapes))
  leaves = jax.tree.leaves([player['params'] for player in players.values()])
  return sum(int(np.prod(leaf.shape)) for leaf in leaves)
