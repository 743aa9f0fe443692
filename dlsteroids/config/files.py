"""Config files: Python that the user runs, with get_config and get_factors."""

import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.util import errors


class Asked(NamedTuple):
  """What the user asks: a config file's contents and how it was called."""

  config: Any
  factors: Sequence[Any]
  arms: Sequence[Any] = ()
  overridden: frozenset[str] = frozenset()
  command: str = ''
  claims: Sequence[Any] = ()


def shipped() -> dict[str, pathlib.Path]:
  """The studies that come with the package, by name."""
  for home in pathlib.Path(__file__).resolve().parents[1:3]:  # a wheel, a checkout
    if (home / 'configs').is_dir():
      return {p.stem: p for p in sorted((home / 'configs').glob('[a-z]*.py'))}
  return {}


def locate(path: str) -> pathlib.Path:
  """The config file of a path, or of the name of a shipped study.

  Raises:
    UserError: if there is none.
  """
  file, studies = pathlib.Path(path).expanduser(), shipped()
  if file.is_file():
    return file
  # From anywhere, configs/digits_cnn.py is the shipped one, too.
  name = file.stem if str(file.parent) in ('.', 'configs') else ''
  if name in studies and (file.suffix == '.py') == (str(file.parent) == 'configs'):
    return studies[name]
  raise errors.UserError(
    f'no config file {path!r}{errors.did_you_mean(path, studies)}; shipped: '
    f'{", ".join(studies) or "none"}'
  )


def load(path: str) -> ModuleType:
  """The module of a config file.

  Raises:
    UserError: if it does not exist, fails, or lacks get_config or get_factors.
  """
  file = locate(path)
  spec = importlib.util.spec_from_file_location(file.stem, file)
  if spec is None or spec.loader is None:
    raise errors.UserError(f'config file {path} is no Python file (*.py)')
  module = importlib.util.module_from_spec(spec)
  for folder in (pathlib.Path.cwd(), file.absolute().parent):
    if str(folder) not in sys.path:  # so that a user's own package there is found
      sys.path.append(str(folder))
  try:
    spec.loader.exec_module(module)
  except errors.UserError:
    raise
  except Exception as error:
    raise errors.UserError(
      f'config file {path}: {type(error).__name__}: {first_line(error)}'
    ) from error
  for name in ('get_config', 'get_factors'):
    if not callable(getattr(module, name, None)):
      raise errors.UserError(f'config file {path} has no function {name}')
  return module


def call(module: ModuleType, name: str, *args: Any) -> Any:
  """A config file's function, its mistakes as one line."""
  try:
    return getattr(module, name)(*args)
  except errors.UserError:
    raise
  except Exception as error:
    raise errors.UserError(
      f'config file {module.__file__}: {name}: {type(error).__name__}: '
      f'{first_line(error)}'
    ) from error


def first_line(error: Exception) -> str:
  return next(iter(str(error).splitlines()), '')


def get_config(module: ModuleType, mode: str) -> Any:
  """`get_config()`, or `get_config(mode)` if a mode was asked for."""
  takes = len(inspect.signature(module.get_config).parameters)
  if mode and not takes:
    raise errors.UserError(f'{module.__name__}.get_config takes no mode: {mode!r}')
  config = call(module, 'get_config', *((mode,) if takes else ()))
  if not hasattr(config, 'to_dict'):
    raise errors.UserError(
      f'config file {module.__file__}: get_config must return a ConfigDict, as '
      f'dlsteroids.config.base makes it, not {type(config).__name__}'
    )
  return config


def load_config(path: str) -> Any:
  """The config of 'file.py' or 'file.py:mode', unchanged by flags."""
  name, _, mode = path.partition(':')
  return get_config(load(name), mode)


def listed(module: ModuleType, name: str, tree: Any) -> tuple[Any, ...]:
  """What a config file's `get_factors`, `get_arms` or `get_claims` lists."""
  found = call(module, name, view(tree))
  if not isinstance(found, tuple | list):
    raise errors.UserError(
      f'config file {module.__file__}: {name} must return a tuple, not '
      f'{type(found).__name__}'
    )
  return tuple(found)


def read(
  path: str, config: Any = None, overridden: Iterable[str] = (), command: str = ''
) -> Asked:
  """What a config file asks; 'file.py:mode' calls `get_config('mode')`.

  Args:
    path: of the file, with its mode.
    config: the config if flags changed it already.
    overridden: the paths that flags set.
    command: how the user called, for the report.
  """
  name, _, mode = path.partition(':')
  module = load(name)
  if config is None:
    config = get_config(module, mode)
  tree = config_lib.resolve(config, overridden)
  factors = listed(module, 'get_factors', tree)
  arms = listed(module, 'get_arms', tree) if hasattr(module, 'get_arms') else ()
  claims = listed(module, 'get_claims', tree) if hasattr(module, 'get_claims') else ()
  return Asked(config, factors, arms, frozenset(overridden), command, claims)


def view(tree: Any) -> Any:
  """A resolved config with attribute access, for `get_factors(config)`."""
  import ml_collections

  return ml_collections.FrozenConfigDict(tree)
