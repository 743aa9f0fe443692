"""Plug-ins: the model, data set and task modules that a config names."""

import functools
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlsteroids.config import launch_options, options
from dlsteroids.util import errors

PLUGINS = {'model': 'models', 'data': 'data', 'task': 'tasks'}  # section: folder
SECTIONS = {**options.SECTIONS, **launch_options.SECTIONS}  # those of no plug-in


@functools.cache
def available(kind: str) -> tuple[str, ...]:
  """Names of the plug-ins shipped for `kind` ('models', 'data', 'tasks')."""
  folder = pathlib.Path(__file__).parents[1] / kind
  names = (path.stem for path in folder.glob('*.py'))
  return tuple(sorted(name for name in names if not name.startswith('_')))


def find(kind: str, name: str) -> ModuleType:
  """The plug-in module of `kind` called `name`: shipped, or one of the user's.

  Raises:
    UserError: if there is none, if its import fails, or if it declares no options.
  """
  if name in available(kind):
    name = f'dlsteroids.{kind}.{name}'
  elif not isinstance(name, str) or not ('.' in name or _is_users(name)):
    guess = errors.did_you_mean(str(name), available(kind))
    raise errors.UserError(
      f'unknown {kind} module {name!r}{guess}; available: '
      f'{", ".join(available(kind))}, or a module of your own (mylab.nets)'
    )
  try:
    module = importlib.import_module(name)
  except ModuleNotFoundError as error:
    raise errors.UserError(f'cannot import {kind} module {name!r}: {error}') from error
  except Exception as error:
    raise errors.UserError(
      f'{kind} module {name!r} fails at import: {errors.describe(error)}'
    ) from error
  options.of(module)  # raises if it declares none
  return module


def _is_users(name: str) -> bool:
  """Whether an undotted name is a module outside the standard library."""
  if not name.isidentifier() or name in sys.stdlib_module_names:
    return False
  try:
    return importlib.util.find_spec(name) is not None
  except (ImportError, ValueError):
    return name in sys.modules


def table(section: str, name: str = '') -> dict[str, options.Option]:
  """The options of a section; `name`: of its plug-in.

  Raises:
    UserError: if there is no such section or plug-in.
  """
  if section in PLUGINS:
    return options.of(find(PLUGINS[section], name))
  if section not in SECTIONS:
    names = [*PLUGINS, *SECTIONS]
    raise errors.UserError(
      f'unknown config section {section!r}{errors.did_you_mean(section, names)}; there '
      f'are {", ".join(names)}'
    )
  return SECTIONS[section]


def declared(tree: Mapping[str, Any]) -> dict[str, options.Option]:
  """The declaration of every option of a resolved config, by path."""
  return {
    f'{section}.{name}': option
    for section, values in tree.items()
    for name, option in table(section, values.get('name', '')).items()
    if name in values
  }


def rows(tree: Mapping[str, Any]) -> list[options.Row]:
  """Every option of a resolved config, as `--help=config` lists them."""
  return [
    options.row(path, tree[path.partition('.')[0]][path.partition('.')[2]], option)
    for path, option in declared(tree).items()
  ]
