"""Configs: one home for every value, strict overrides, traced numbers, digests.

A config is a nested dict with the sections below. What belongs to a plug-in (model,
data, task) has its home in that module's `DEFAULTS`; the rest has it here.
"""

import copy
import functools
import hashlib
import importlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from dlsteroids.config import options
from dlsteroids.util import errors

PLUGINS = {'model': 'models', 'data': 'data', 'task': 'tasks'}

DEFAULTS = {name: options.defaults(table) for name, table in options.SECTIONS.items()}
DESIGNS = options.DESIGNS

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
    UserError: if there is none, if its import fails, or if it declares no options.
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
  options.of(module)  # raises if it declares none
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


def declared(tree: Mapping[str, Any]) -> dict[str, options.Option]:
  """The declaration of every option of a resolved config, by path."""
  paths: dict[str, options.Option] = {}
  for section in tree:
    if section in PLUGINS:
      table = options.of(find(PLUGINS[section], tree[section]['name']))
    else:
      table = options.SECTIONS[section]
    paths |= {
      f'{section}.{name}': option
      for name, option in table.items()
      if name in tree[section]
    }
  return paths


def rows(tree: Mapping[str, Any]) -> list[options.Row]:
  """Every option of a resolved config, as `--help=config` lists them."""
  return [
    options.row(path, get(tree, path), option)
    for path, option in declared(tree).items()
  ]


def check(tree: Mapping[str, Any]) -> None:
  """Raises UserError for a value outside the range or choices of its option."""
  for path, option in declared(tree).items():
    options.check(path, option, get(tree, path))


choose = options.choose


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


def traced_paths(tree: Mapping[str, Any]) -> list[str]:
  """The config paths whose values enter a program as arguments, sorted."""
  return sorted(path for path, option in declared(tree).items() if option.traced)


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
