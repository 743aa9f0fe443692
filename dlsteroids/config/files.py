"""Config files: Python modules with get_config and get_factors, executed once."""

import ast
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from dlsteroids.config import launch_options, overrides, volatile
from dlsteroids.util import errors


class Request(NamedTuple):
  """A study as its config file states it.

  Attributes:
    config: resolved: complete, checked, overrides of the command line applied.
    factors: the components under test.
    arms: explicit arms, for the design 'arms'.
    command: how the user called, for the report.
    claims: published statements to hold the results against.
  """

  config: dict[str, Any]
  factors: tuple[Any, ...]
  arms: tuple[Any, ...] = ()
  command: str = ''
  claims: tuple[Any, ...] = ()


def read(
  path: str, options: Mapping[str, str] | None = None, command: str = ''
) -> Request:
  """Executes a config file and resolves its config, both once.

  Args:
    path: of the file, or the name of a shipped study; `:mode` at its end is passed to
      `get_config`.
    options: overrides of the command line, text by dotted path.
    command: how the user called.

  Raises:
    UserError: for any mistake in the file or in the overrides; also if the file gives
      another config when it is executed again.
  """
  file, mode = split(path)
  module = _execute(file)
  config = _get_config(module, mode, options or {})
  lists = {name: _listed(module, name, config) for name in LISTS}
  if volatile.is_read_by(file):
    _check_same(file, mode, options or {}, (config, lists))
  return Request(
    config, lists['get_factors'], lists['get_arms'], command, lists['get_claims']
  )


LISTS = ('get_factors', 'get_arms', 'get_claims')


def read_config(path: str, options: Mapping[str, str] | None = None) -> dict[str, Any]:
  """The resolved config of a file alone, without its factors; arguments as `read`."""
  file, mode = split(path)
  return _get_config(_execute(file), mode, options or {})


def shipped() -> dict[str, pathlib.Path]:
  """The config files of the studies that come with the package, by name."""
  for home in pathlib.Path(__file__).resolve().parents[1:3]:  # a wheel, a checkout
    if (home / 'configs').is_dir():
      return {p.stem: p for p in sorted((home / 'configs').glob('[a-z]*.py'))}
  return {}


def split(path: str) -> tuple[pathlib.Path, str]:
  """The file and the mode of 'file.py', 'file.py:mode', 'study' or 'study:mode'.

  Raises:
    UserError: if there is no such file or shipped study.
  """
  name, mode = str(path), ''
  if ':' in name and not pathlib.Path(name).expanduser().is_file():
    name, _, mode = name.rpartition(':')
  file, studies = pathlib.Path(name).expanduser(), shipped()
  if file.is_file():
    return file.absolute(), mode
  # configs/digits_cnn.py is the shipped study from any folder that has no such file.
  folder = str(file.parent)
  names_it = (file.suffix == '.py') == (folder == 'configs')
  if folder in ('.', 'configs') and names_it and file.stem in studies:
    return studies[file.stem], mode
  guess = errors.did_you_mean(name, studies)
  for near in (file.with_suffix('.py'), pathlib.Path(name.replace('.', '/') + '.py')):
    if near.name != '.py' and near.is_file():
      guess = f' (did you mean {str(near)!r}?)'
  raise errors.UserError(
    f'no config file {name!r}{guess}; shipped: {", ".join(studies) or "none"}'
  )


def _execute(file: pathlib.Path, names: Mapping[str, Any] | None = None) -> ModuleType:
  """The module of a config file; UserError if it fails or lacks a function.

  Args:
    file: of the config.
    names: further names that the module has from the start.
  """
  # Dataclasses and pickles look their module up; under the bare stem it could hide one.
  name = f'config_file_{file.stem}'
  spec = importlib.util.spec_from_file_location(name, file)
  if spec is None or spec.loader is None:
    raise errors.UserError(f'config file {file} is not a Python file (*.py)')
  module = importlib.util.module_from_spec(spec)
  vars(module).update(names or {})
  for folder in (pathlib.Path.cwd(), file.parent):
    if str(folder) not in sys.path:  # for modules of the user beside the file
      sys.path.append(str(folder))
  sys.modules[name] = module
  try:
    spec.loader.exec_module(module)
  except errors.UserError:
    raise
  except (Exception, SystemExit) as error:
    raise errors.UserError(_blame(file, error)) from error
  for name in ('get_config', 'get_factors'):
    if not callable(getattr(module, name, None)):
      raise errors.UserError(f'config file {file} has no function {name}')
  return module


def _call(module: ModuleType, name: str, *args: Any) -> Any:
  """Calls a config file's function; its mistakes in one line."""
  try:
    return getattr(module, name)(*args)
  except errors.UserError:
    raise
  except (Exception, SystemExit) as error:
    raise errors.UserError(
      _blame(pathlib.Path(str(module.__file__)), error, f'{name}: ')
    ) from error


def _get_config(
  module: ModuleType, mode: str, options: Mapping[str, str]
) -> dict[str, Any]:
  """The resolved result of `get_config(mode)`, or of `get_config()` without a mode."""
  parameters = list(inspect.signature(module.get_config).parameters.values())
  needs = [p for p in parameters if p.default is p.empty and p.kind not in (2, 4)]
  required = [p.name for p in needs]
  if mode and not parameters:
    raise errors.UserError(
      f'config file {module.__file__}: get_config takes no mode: {mode!r}'
    )
  by_position = [p.name for p in needs if p.kind < 2]
  if len(required) > bool(mode) or required != by_position:
    cure = 'a default, or --config=FILE.py:VALUE'
    if required != by_position:
      cure = f'{", ".join(p.name for p in needs if p.kind > 2)} a default'
    elif mode:
      cure = 'the others defaults'
    raise errors.UserError(
      f'config file {module.__file__}: get_config needs {", ".join(required)}: give '
      f'{cure}'
    )
  config = _call(module, 'get_config', *((mode,) if mode else ()))
  if not isinstance(config, Mapping) and not hasattr(config, 'to_dict'):
    raise errors.UserError(
      f'config file {module.__file__}: get_config must return a ConfigDict, such as '
      f'dlsteroids.config.base makes, not {type(config).__name__}'
    )
  return overrides.override_text(config, options)


def _listed(module: ModuleType, name: str, config: Mapping[str, Any]) -> tuple:
  """What the file's `get_factors`, `get_arms` or `get_claims` lists; () without it.

  A single factor, arm or claim, as in `return (factor(…))`, is a list of one.
  """
  if not hasattr(module, name):
    return ()
  import ml_collections

  values = _call(module, name, ml_collections.FrozenConfigDict(config))
  if not isinstance(values, tuple | list):
    raise errors.UserError(
      f'config file {module.__file__}: {name} must return a tuple, not '
      f'{type(values).__name__}'
    )
  listed = (values,) if hasattr(values, '_fields') else tuple(values)
  for value in listed:
    if not hasattr(value, '_fields'):
      raise errors.UserError(
        f'config file {module.__file__}: {name} lists {value!r}; expected what '
        f'dlsteroids.{name[4:-1]}(…) returns'
      )
  return listed


def _check_same(
  file: pathlib.Path, mode: str, options: Mapping[str, str], first: tuple
) -> None:
  """Raises UserError if the file gives another config on another day."""
  with volatile.another_day(file):
    module = _execute(file, volatile.BUILTINS)
    config = _get_config(module, mode, options)
    again = config, {name: _listed(module, name, config) for name in LISTS}
  address = re.compile(r' at 0x\w+')  # of functions
  if address.sub('', repr(again)) == address.sub('', repr(first)):
    return
  paths = [
    f'config.{section}.{key}'
    for section, values in config.items()
    for key in values
    if values[key] != first[0][section].get(key)
  ]
  raise errors.UserError(
    f'config file {file} is not the same when executed twice '
    f'({paths[0] if paths else "its factors"}): a stopped study could not continue; '
    'name it and set its values without the time, chance or the process'
  )


def _blame(file: pathlib.Path, error: Exception | SystemExit, where: str = '') -> str:
  """One line about an error in a config file, with the line that raised it."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == str(file)]
  if isinstance(error, SyntaxError) and error.filename == str(file):
    lines.append(error.lineno)
  line = f', line {lines[-1]}' if lines else ''
  return f'config file {file}{line}: {where}{_explain(error)}'


def _explain(error: Exception | SystemExit) -> str:
  """What an error says; those of a locked ConfigDict in the words of this package."""
  cause: Any = error  # ConfigDict's AttributeErrors hold KeyErrors
  while isinstance(cause, Exception):
    cause = cause.args[0] if cause.args else ''
  text = str(cause)
  kind = re.search(
    r"field '(\w+)'.*?\) ?\.? ?(.+) is of original type <class '([\w.]+)'> and cannot "
    r"be casted to type <class '(\w+)'>",
    text,
    re.DOTALL,
  )
  if kind:
    name, value, other, expected = kind.groups()
    value = ' '.join(value.split())[:60]
    cure = f'; {expected}(…) makes it one' if '.' in other else ''
    whole = expected == 'int' and re.fullmatch(r'-?\d+\.0', value)
    cure = f'; write {value[:-2]}' if whole else cure
    return f'option {name!r} expects {expected}, not {value} ({other}){cure}'
  key = re.match(r'(?:Key )?["\'](\w+)["\'](?: does not exist|\n)', text)
  if key and isinstance(error, AttributeError | KeyError):
    if moved := launch_options.describe_moved(key[1]):
      return moved
    near = re.search(r'Did you mean "(\w+)"', text)
    fields = re.search(r'Other fields present: "(\{.*\})"', text, re.DOTALL)
    try:
      names = ', '.join(ast.literal_eval(fields[1])) if fields else ''
    except (ValueError, SyntaxError):  # an infinity
      names = ''
    guess = f' (did you mean {near[1]!r}?)' if near else ''
    return f'unknown option {key[1]!r}{guess}' + (
      f'; there are {names}' if names else ''
    )
  if isinstance(error, AttributeError) and (bare := re.fullmatch(r"'(\w+)'", text)):
    return f'unknown option {bare[1]!r}: what this config names has none of that name'
  return errors.describe(error)
