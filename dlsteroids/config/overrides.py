"""Configs made complete, and changed strictly: every path and every type must exist."""

import ast
import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

from dlsteroids.config import launch_options, options, plugins
from dlsteroids.util import errors


def base(model: str, data: str, task: str = 'classify') -> Any:
  """A complete, locked ConfigDict for a model, a data set and a task, by name.

  The metric that decides is the task's `METRIC`, if it declares one.

  Raises:
    UserError: if a name is unknown.

  Example:
    >>> config = base(model='mlp', data='digits')
    >>> config.model.hidden = (32,)
    >>> config.model.hidden
    (32,)
  """
  import ml_collections

  tree = {name: options.defaults(table) for name, table in plugins.SECTIONS.items()}
  for section, name in (('model', model), ('data', data), ('task', task)):
    tree[section] = {'name': name, **options.defaults(plugins.table(section, name))}
  metric = getattr(plugins.find(plugins.PLUGINS['task'], task), 'METRIC', '')
  tree['study']['metric'] = metric or tree['study']['metric']
  return ml_collections.ConfigDict(copy.deepcopy(tree)).lock()


DATA_PATHS = ('data.path', 'data.path_x', 'data.path_y')


def resolve(tree: Any, overridden: Iterable[str] = ()) -> dict[str, Any]:
  """A config as a complete plain dict, every name looked up, every value checked.

  A section whose `name` was switched keeps the values of options that both plug-ins
  have, takes the defaults of the new one for the rest, and drops what the new one lacks
  unless the user set just that.

  Args:
    tree: a ConfigDict or a dict of sections.
    overridden: dotted paths that the user set on top of it.

  Raises:
    UserError: unknown section or option, or a value of the wrong type.
  """
  tree = tree.to_dict() if hasattr(tree, 'to_dict') else copy.deepcopy(dict(tree))
  overridden = set(overridden)
  for section in tree:
    if section not in plugins.PLUGINS:
      plugins.table(section)  # raises if there is none
  for section in (*plugins.PLUGINS, *plugins.SECTIONS):
    values = tree.get(section, {})
    if not isinstance(values, Mapping):
      raise errors.UserError(f'config.{section} must be a section, not {values!r}')
    tree[section] = _complete(section, values, overridden)
  check(tree)
  return tree


def _complete(
  section: str, values: Mapping[str, Any], overridden: set[str]
) -> dict[str, Any]:
  """A section with every option of its own or of its plug-in, and nothing else."""
  is_plugin = section in plugins.PLUGINS
  if is_plugin and not values.get('name'):
    raise errors.UserError(f'config.{section}.name is missing')
  defaults = defaults_of(section, values.get('name', ''))
  switched = is_plugin and f'{section}.name' in overridden
  result = dict(defaults)
  for key, value in values.items():
    path = f'{section}.{key}'
    if key in defaults:
      try:
        result[key] = coerce(path, defaults[key], value)
      except errors.UserError:
        # Under this name the plug-in before may have had another type.
        if not switched or path in overridden:
          raise
    elif path in launch_options.MOVED and not value and path not in overridden:
      pass  # of an old record, where it was off
    elif path in overridden or not is_plugin:
      raise errors.UserError(unknown_path(path, {section: defaults}))
  return result


def defaults_of(section: str, name: str = '') -> dict[str, Any]:
  """The defaults of a section; of plug-in `name` with the name, where it has one."""
  defaults = options.defaults(plugins.table(section, name))
  return {'name': name, **defaults} if section in plugins.PLUGINS else defaults


def check(tree: Mapping[str, Any]) -> None:
  """Raises UserError for a value outside the range or choices of its option."""
  for path, option in plugins.declared(tree).items():
    options.check(path, option, get(tree, path))


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
    if key == 'name' and section in plugins.PLUGINS:
      values = {**result[section], 'name': coerce(path, '', value)}
      result[section] = _complete(section, values, {path})
  for path, value in pairs:
    section, _, key = path.partition('.')
    if section not in result or key not in result[section]:
      raise errors.UserError(unknown_path(path, result))
    like = result[section][key]
    if like == ():  # its items have no type
      like = defaults_of(section, result[section].get('name', ''))[key]
    result[section][key] = coerce(path, like, value)
  check(result)
  return result


def override_text(tree: Any, texts: Mapping[str, str]) -> dict[str, Any]:
  """A resolved config from one of a config file and the overrides of a command line.

  Of a plug-in that a text switches away from, only what differs from its defaults is
  kept, where the new one has it, too.

  Args:
    tree: a ConfigDict or a dict of sections.
    texts: by dotted path, such as {'train.steps': '1e3', 'model.hidden': '(64,)'}.

  Raises:
    UserError: unknown path, or a text that is not a value of the option's type.
  """
  tree = tree.to_dict() if hasattr(tree, 'to_dict') else copy.deepcopy(dict(tree))
  sections = {name: dict(values) for name, values in tree.items()}
  for section in plugins.PLUGINS:
    _drop_defaults(section, sections.get(section, {}), texts.get(f'{section}.name'))
  for path, text in texts.items():
    section, _, key = path.partition('.')
    name = sections.get(section, {}).get('name', '')
    if section not in (*plugins.PLUGINS, *plugins.SECTIONS):
      complete = {**sections, **resolve(sections)}
      raise errors.UserError(unknown_path(path, complete))
    defaults = defaults_of(section, texts.get(f'{section}.name', name))
    if key not in defaults:
      raise errors.UserError(unknown_path(path, {**sections, section: defaults}))
    sections.setdefault(section, {})[key] = parse(path, defaults[key], text)
  if any(path in texts for path in DATA_PATHS):
    for path in (*DATA_PATHS, 'data.label'):  # those of the config file's data
      if path not in texts:
        sections['data'].pop(path.removeprefix('data.'), None)
  return resolve(sections, texts)


def _drop_defaults(section: str, values: dict[str, Any], name: str | None) -> None:
  """Drops what a section left at the defaults of another plug-in than `name`."""
  old = values.get('name', '')
  if not name or name == old:
    return
  for key, default in options.defaults(plugins.table(section, old)).items():
    if key in values and values[key] == default:
      del values[key]


def parse(path: str, like: Any, text: str) -> Any:
  """The value that a text of the command line means, of the type of `like`.

  Raises:
    UserError: if it is not a value of that type.
  """
  if isinstance(like, str):
    return text
  words: dict[str, Any] = {'true': True, 'false': False, 'inf': math.inf}
  try:
    value = words.get(text.lower())
    value = ast.literal_eval(text) if value is None else value
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    value = text
  if isinstance(like, bool) and value in (0, 1):
    value = bool(value)
  elif isinstance(like, int) and isinstance(value, float) and value.is_integer():
    value = int(value)  # such as 1e4
  elif isinstance(like, tuple | list) and not isinstance(value, tuple | list):
    of_texts = like and all(isinstance(item, str) for item in like)
    value = tuple(text.split(',')) if of_texts else (value,)
  try:
    return coerce(path, like, value)
  except errors.UserError as error:
    raise errors.UserError(
      f'config.{path} expects {type(like).__name__} (like {like!r}), not {text!r}'
    ) from error


def coerce(path: str, like: Any, value: Any) -> Any:
  """`value` if it has the type of `like` (an int may become a float); else UserError.

  NumPy's scalars and arrays are taken as Python's numbers and tuples.
  """
  value = plain(value)
  valid = type(like) is type(value)
  if isinstance(like, float) and isinstance(value, int) and type(value) is not bool:
    value, valid = float(value), True
  elif isinstance(like, tuple | list) and isinstance(value, tuple | list):
    head = like[0] if like else None
    if head is None or isinstance(head, tuple | list):
      return tuple(value)
    return tuple(coerce(f'{path}[{i}]', head, item) for i, item in enumerate(value))
  if not valid or value != value:  # not a number
    whole = type(like) is int and isinstance(value, float) and value.is_integer()
    cure = f'; write {int(value)}' if whole else ''
    raise errors.UserError(
      f'config.{path} expects {type(like).__name__} (like {like!r}), not {value!r}'
      f'{cure}'
    )
  return value


def plain(value: Any) -> Any:
  """NumPy's scalars and arrays as Python's numbers and lists; other values as is.

  Numbers of fewer than 64 bits become the shortest that means them: 0.1, not
  0.10000000149011612.
  """
  if not (hasattr(value, 'tolist') and hasattr(value, 'dtype')):
    return value
  if value.dtype.kind == 'f' and value.dtype.itemsize < 8:
    import numpy as np

    value = np.asarray(value).astype(str).astype(float)
  return value.tolist()


def unknown_path(path: str, tree: Mapping[str, Mapping[str, Any]]) -> str:
  """One line about a path that a config lacks, with the nearest that it has."""
  if moved := launch_options.describe_moved(path):
    return moved
  section = path.partition('.')[0]
  if section in tree:
    names = [f'{section}.{key}' for key in tree[section]]
    where = f'config.{section} has {", ".join(tree[section])}'
  else:
    names = [f'{name}.{key}' for name in tree for key in tree[name]]
    where = f'the sections are {", ".join(tree)}'
  return f'unknown config path {path!r}{errors.did_you_mean(path, names)}; {where}'


def get(tree: Mapping[str, Any], path: str) -> Any:
  """The value at a dotted path of a config."""
  section, _, key = path.partition('.')
  return tree[section][key]
