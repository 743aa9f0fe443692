"""Configs: one home for every value, strict overrides, traced numbers, digests.

A config is a nested dict with the sections below. What belongs to a plug-in (model,
data, task) has its home in that module's `DEFAULTS`; the rest has it here.
"""

import copy
import functools
import hashlib
import importlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from dlsteroids.config import options
from dlsteroids.util import errors

PLUGINS = {'model': 'models', 'data': 'data', 'task': 'tasks'}

DEFAULTS: dict[str, dict[str, Any]] = {
  'optimizer': {
    'name': 'sgd',  # sgd, adam, adamw
    'learning_rate': 0.1,  # peak, after warm-up
    'momentum': 0.9,  # sgd
    'nesterov': False,  # sgd
    'beta1': 0.9,  # adam, adamw
    'beta2': 0.999,  # adam, adamw
    'epsilon': 1e-8,  # adam, adamw
    'weight_decay': 0.0,  # on weights, not on biases and norms; adamw decouples it
    'clip': math.inf,  # largest global gradient norm
    'schedule': 'cosine',  # constant, cosine, linear, hold, step: tasks/optimizer.py
    'warmup': 0.0,  # share of the steps
    'final': 0.0,  # learning rate at the end, as a share of the peak
  },
  'train': {
    'steps': 1000,
    'batch_size': 64,
    'evaluations': 10,  # on validation and test, evenly spaced, the last at the end
    'eval_batch': 500,
    'matmul': 'default',  # default, high, highest: jax_default_matmul_precision
  },
  'study': {
    'name': 'study',
    'question': '',  # one line for the report's head
    'design': 'one_out',  # or one_in, ladder, factorial, fraction, permutations, arms
    'seeds': 10,
    'first_seed': 0,
    'only': '',  # factors to keep, comma-separated; all if empty
    'permutations': 8,  # orders of the factors, for the design permutations
    'regimes': 'steps',  # steps, flops, params: what is equal; the first one decides
    'budgets': '',  # multiples of the compute to train with besides 1, '0.0625,0.25'
    'sizes': '',  # multiples of the widths to train with besides 1
    'ratio': 0.0,  # of the budgets between which gains are attributed; 0: the widest
    'reach': '',  # 'train/accuracy=0.75': the step at which a run's curve gets there
    'targets': '',  # of compute-equivalent gains, in the metric's unit; by rule if ''
    'metric': 'accuracy',  # decides, on the test split
    'alpha': 0.05,
    'margin': 0.0,  # of equivalence, in the metric's unit; 0: none declared
    'looks': 1,  # declared beforehand
    'tune': '',  # 'optimizer.learning_rate=0.01,0.03;…': an equal grid for every arm
    'tune_seeds': 3,  # disjoint from the claim's
    'allow_mixed': '',  # provenance fields that may differ within this study
  },
  'engine': {  # how it runs: changes no result (beyond rounding), enters no fingerprint
    'strategy': 'auto',  # auto, map, vmap
    'width': 0,  # members per device in one program; 0: by rule
    'data_devices': 1,  # over which one run's batch is spread, each with its share
    'checkpoint_seconds': 120.0,
    'lease_seconds': 60.0,  # without a sign of life, until a program is taken over
    'keep': 'last',  # last, none: the final variables of every run
    'tensorboard': False,
    'stream_threads': 0,  # that read and decode a data set that streams; 0: one a core
    'stream_workers': 0,  # processes that do so instead, each with those threads
    'stream_mb': 256,  # of batches laid ready at a time; three times that is held
  },
}

# Numbers that enter a program as arguments: changing them compiles nothing. Each with
# its range, low <= number < high (an infinite high is itself allowed). A plug-in adds
# its own by a module-level TRACED = {'option': (low, high)}, or just ('option', ...).
TRACED = {
  'optimizer.learning_rate': (0.0, math.inf),
  'optimizer.momentum': (0.0, 1.0),
  'optimizer.beta1': (0.0, 1.0),
  'optimizer.beta2': (0.0, 1.0),
  'optimizer.epsilon': (0.0, math.inf),
  'optimizer.weight_decay': (0.0, math.inf),
  'optimizer.clip': (0.0, math.inf),
  'optimizer.warmup': (0.0, 1.0),
  'optimizer.final': (0.0, math.inf),
  'train.steps': (1.0, math.inf),
}

DESIGNS = (
  'one_out',
  'one_in',
  'ladder',
  'factorial',
  'fraction',
  'permutations',
  'arms',
)

TRAINING = ('model', 'data', 'task', 'optimizer', 'train')  # what a run depends on
PLACES = (  # the digest of the bytes counts
  'data.path',
  'data.path_x',
  'data.path_y',
  'data.download',
  'data.label',
)


@functools.cache
def available(kind: str) -> tuple[str, ...]:
  """Names of the plug-ins shipped for `kind` ('models', 'data', 'tasks')."""
  folder = pathlib.Path(__file__).parents[1] / kind
  names = (path.stem for path in folder.glob('*.py'))
  return tuple(sorted(name for name in names if not name.startswith('_')))


def find(kind: str, name: str) -> ModuleType:
  """The plug-in module of `kind` called `name`: shipped, or dotted from anywhere.

  Raises:
    UserError: if there is none, if its import fails, or if it has no `DEFAULTS`.
  """
  if not isinstance(name, str) or '.' not in name:
    if name not in available(kind):
      guess = errors.did_you_mean(str(name), available(kind))
      raise errors.UserError(
        f'unknown {kind} module {name!r}{guess}; available: '
        f'{", ".join(available(kind))}, or a dotted module of your own'
      )
    name = f'dlsteroids.{kind}.{name}'
  try:
    module = importlib.import_module(name)
  except ModuleNotFoundError as error:
    raise errors.UserError(f'cannot import {kind} module {name!r}: {error}') from error
  except Exception as error:
    raise errors.UserError(
      f'{kind} module {name!r} fails at import: {type(error).__name__}: {error}'
    ) from error
  if not options.declared(module):
    raise errors.UserError(
      f'{name!r} has no DEFAULTS dict, so it cannot be a {kind} module'
    )
  return module


def base(model: str, data: str, task: str = 'classify') -> Any:
  """A complete, locked ConfigDict for a model, a data set and a task, by name.

  Raises:
    UserError: if a name is unknown.
  """
  import ml_collections

  tree = copy.deepcopy(DEFAULTS)
  for section, name in (('model', model), ('data', data), ('task', task)):
    defaults = options.defaults(find(PLUGINS[section], name))
    tree[section] = {'name': name, **copy.deepcopy(defaults)}
  return ml_collections.ConfigDict(tree).lock()


def resolve(tree: Any, overridden: Iterable[str] = ()) -> dict[str, Any]:
  """A config as a complete plain dict, every name looked up, every value checked.

  A section whose `name` was switched keeps the values of options both plug-ins have,
  takes the new one's defaults for the rest, and drops what the new one lacks, unless
  the user set just that (`overridden`, dotted paths).

  Raises:
    UserError: unknown section or option, or a value of the wrong type.
  """
  tree = tree.to_dict() if hasattr(tree, 'to_dict') else copy.deepcopy(dict(tree))
  known = [*PLUGINS, *DEFAULTS]
  for section in tree:
    if section not in known:
      guess = errors.did_you_mean(section, known)
      raise errors.UserError(
        f'unknown config section {section!r}{guess}; there are {", ".join(known)}'
      )
  overridden = set(overridden)
  for section in known:
    given = tree.get(section, {})
    if not isinstance(given, Mapping):
      raise errors.UserError(f'config.{section} must be a section, not {given!r}')
    given = dict(given)
    if section in PLUGINS and not given.get('name'):
      raise errors.UserError(f'config.{section}.name is missing')
    defaults = defaults_of(section, given)
    if f'{section}.name' in overridden and section in PLUGINS:
      given = fitting(section, given, defaults, overridden)
    for key in [key for key in given if key not in defaults]:
      if f'{section}.{key}' in overridden or section not in PLUGINS:
        raise errors.UserError(unknown_path(f'{section}.{key}', {section: defaults}))
      del given[key]
    tree[section] = {
      key: coerce(f'{section}.{key}', value, given.get(key, value))
      for key, value in defaults.items()
    }
  check(tree)
  return tree


def defaults_of(section: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
  """Every option of a section with its default; the plug-in's that `given` names."""
  if section not in PLUGINS:
    return DEFAULTS[section]
  name = given['name']
  return {'name': name, **options.defaults(find(PLUGINS[section], name))}


def fitting(
  section: str,
  given: Mapping[str, Any],
  defaults: Mapping[str, Any],
  overridden: Iterable[str],
) -> dict[str, Any]:
  """Without values that another plug-in left under a name that means something else."""
  kept = {}
  for key, value in given.items():
    try:
      coerce(key, defaults.get(key, value), value)
    except errors.UserError:
      if f'{section}.{key}' not in overridden:
        continue
    kept[key] = value
  return kept


def check(tree: Mapping[str, Any]) -> None:
  """Raises UserError for values that no study can run with."""
  study = tree['study']
  for path, (low, high) in traced_paths(tree).items():
    value = get(tree, path)
    if not (low <= value < high or value == high == math.inf):
      raise errors.UserError(
        f'config.{path} must lie in [{low:g}, {high:g}), not {value}'
      )
  paths = [f'train.{key}' for key in ('batch_size', 'evaluations', 'eval_batch')]
  paths += ['engine.data_devices']
  counts = ('seeds', 'tune_seeds', 'looks', 'permutations')
  for path in [*paths, *(f'study.{key}' for key in counts)]:
    if get(tree, path) < 1:
      raise errors.UserError(f'config.{path} must be at least 1, not {get(tree, path)}')
  for key in ('stream_threads', 'stream_workers', 'stream_mb'):
    if tree['engine'][key] < (key == 'stream_mb'):
      raise errors.UserError(f'config.engine.{key} is too small: {tree["engine"][key]}')
  if study['first_seed'] < 0:
    raise errors.UserError('config.study.first_seed must be at least 0')
  if not 0 < study['alpha'] < 1:
    raise errors.UserError(
      f'config.study.alpha must lie in (0, 1), not {study["alpha"]}'
    )
  if study['margin'] < 0:
    raise errors.UserError(
      f'config.study.margin must not be negative: {study["margin"]}'
    )
  if tree['engine']['lease_seconds'] <= 0:
    raise errors.UserError(
      'config.engine.lease_seconds must be above 0, not '
      f'{tree["engine"]["lease_seconds"]}'
    )
  choices = {
    'optimizer.name': ('sgd', 'adam', 'adamw'),
    'optimizer.schedule': ('constant', 'cosine', 'linear', 'hold', 'step'),
    'train.matmul': ('default', 'high', 'highest'),
    'study.design': DESIGNS,
    'engine.strategy': ('auto', 'map', 'vmap'),
    'engine.keep': ('last', 'none'),
  }
  for path, names in choices.items():
    section, key = path.split('.')
    choose(path, tree[section][key], names)


def choose(path: str, value: str, names: Iterable[str]) -> str:
  """`value` if it is among `names`; else a UserError that lists them."""
  names = tuple(names)
  if value not in names:
    guess = errors.did_you_mean(str(value), names)
    words = ', '.join(str(name) or "''" for name in names)
    raise errors.UserError(f'config.{path}: unknown {value!r}{guess}; use {words}')
  return value


def override(
  tree: Mapping[str, Any], pairs: Iterable[tuple[str, Any]]
) -> dict[str, Any]:
  """A copy of a resolved config with `(path, value)` pairs applied, strictly.

  A changed `model.name`, `data.name` or `task.name` is applied first, so the other
  pairs may set options of the plug-in it switches to.

  Raises:
    UserError: unknown path, or a value of another type.
  """
  pairs = list(pairs)
  result = copy.deepcopy(dict(tree))
  for path, value in pairs:
    section, _, key = path.partition('.')
    if key == 'name' and section in PLUGINS:
      result[section]['name'] = coerce(path, '', value)
      result = resolve(result, [path])
  for path, value in pairs:
    section, _, key = path.partition('.')
    if section not in result or key not in result[section]:
      raise errors.UserError(unknown_path(path, result))
    like = result[section][key]
    if like == ():  # tells no type
      like = defaults_of(section, result[section])[key]
    result[section][key] = coerce(path, like, value)
  check(result)
  return result


def unknown_path(path: str, tree: Mapping[str, Mapping[str, Any]]) -> str:
  section = path.partition('.')[0]
  if section in tree:
    names = [f'{section}.{key}' for key in tree[section]]
    where = f'config.{section} has {", ".join(tree[section])}'
  else:
    names = [f'{name}.{key}' for name in tree for key in tree[name]]
    where = f'the sections are {", ".join(tree)}'
  return f'unknown config path {path!r}{errors.did_you_mean(path, names)}; {where}'


def coerce(path: str, old: Any, new: Any) -> Any:
  """`new` if it has the type of `old` (an int may become a float); else UserError."""
  if isinstance(old, bool) or isinstance(new, bool):
    good = isinstance(old, bool) and isinstance(new, bool)
  elif isinstance(old, float) and isinstance(new, int):
    return float(new)
  elif isinstance(old, tuple | list):
    if isinstance(new, tuple | list):
      head = old[0] if old else None
      if head is None or isinstance(head, tuple | list):
        return tuple(new)
      return tuple(coerce(f'{path}[{i}]', head, item) for i, item in enumerate(new))
    good = False
  else:
    good = type(old) is type(new)
  if not good or new != new:  # not a number
    raise errors.UserError(
      f'config.{path} expects {type(old).__name__} (like {old!r}), not {new!r}'
    )
  return new


def get(tree: Mapping[str, Any], path: str) -> Any:
  section, _, key = path.partition('.')
  return tree[section][key]


def traced_paths(tree: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
  """The config paths whose values enter a program as arguments, sorted; their ranges.

  Raises:
    UserError: if a plug-in's TRACED names no number of its DEFAULTS.
  """
  ranges = dict(TRACED)
  for section, kind in PLUGINS.items():
    module = find(kind, tree[section]['name'])
    table = options.of(module)
    for name in getattr(module, 'TRACED', ()):
      if name not in table or not isinstance(table[name].default, int | float):
        raise errors.UserError(
          f'{module.__name__}.TRACED names {name!r}, no number in its DEFAULTS'
        )
    ranges |= {
      f'{section}.{name}': (option.low, option.high)
      for name, option in table.items()
      if option.traced
    }
  known = (path for path in ranges if path.split('.')[1] in tree[path.split('.')[0]])
  return {path: ranges[path] for path in sorted(known)}


def hyper(tree: Mapping[str, Any]) -> dict[str, float]:
  """The traced numbers of a config by path."""
  return {path: float(get(tree, path)) for path in traced_paths(tree)}


def static(tree: Mapping[str, Any]) -> dict[str, Any]:
  """What remains for the compiler: the training sections without traced numbers."""
  result = training(tree)
  for path in traced_paths(tree):
    section, _, key = path.partition('.')
    del result[section][key]
  return result


def training(tree: Mapping[str, Any]) -> dict[str, Any]:
  """The sections a run's result depends on."""
  return {
    section: {k: v for k, v in tree[section].items() if f'{section}.{k}' not in PLACES}
    for section in TRAINING
  }


def places(tree: Mapping[str, Any]) -> list[str]:
  """The paths of `PLACES` that a config has."""
  return [path for path in PLACES if path.partition('.')[2] in tree.get('data', {})]


def digest(value: Any) -> str:
  """sha256 (32 hex digits) of a JSON-like value, independent of dict order."""
  return digest_text(text(value))


def text(value: Any) -> str:
  """What `digest` takes of a value: JSON, keys sorted."""
  return json.dumps(value, sort_keys=True, separators=(',', ':'), default=list)


def digest_text(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:32]
