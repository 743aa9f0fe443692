"""Code without a source file, read from memory: `__main__` of a notebook, a script.

Only what a plug-in can reach counts, not the rest of the notebook.
"""

import dis
import functools
import hashlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from dlsteroids.config import hidden_imports
from dlsteroids.util import errors

ENTRIES = ('OPTIONS', 'DEFAULTS', 'TRACED', 'WIDTHS', 'build', 'load', 'make')
GENERATED = {
  *('__module__', '__dict__', '__weakref__', '__doc__', '__firstlineno__'),
  *('__static_attributes__', '__dataclass_params__', '__dataclass_fields__'),
  *('__match_args__', '__hash__', '__abstractmethods__', '_abc_impl'),
}


def read(
  module: types.ModuleType, names: set[str], is_first_party: Callable[[str], bool]
) -> tuple[str, tuple[str, ...]]:
  """Digest of functions of a module and of all that they reach; modules they use.

  Args:
    module: in memory.
    names: of the functions; '' stands for what makes a plug-in, `ENTRIES`.
    is_first_party: whether a module, by name, counts.

  Raises:
    UserError: for a value that has no digest.
  """
  reader = _Reader(module.__name__, is_first_party)
  names = names | set(ENTRIES) if '' in names else names
  own = {
    name: reader.describe(vars(module)[name])
    for name in sorted(names & vars(module).keys())
  }
  return hashlib.sha256(repr(own).encode()).hexdigest()[:32], tuple(reader.used)


class _Reader:
  """Describes values by what they say.

  Attributes:
    used: first-party modules that were met, in order.
  """

  def __init__(self, name: str, is_first_party: Callable[[str], bool]):
    self.name, self.is_first_party = name, is_first_party
    self.used: list[str] = []
    self.numbers: dict[int, int] = {}  # by id, of functions and classes in progress

  def describe(self, value: Any) -> Any:
    """A nested tuple of plain values, equal for equal code."""
    value = inspect.unwrap(value) if callable(value) else value
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
      return repr(value)
    if isinstance(value, dict):
      return ('dict', *sorted((repr(k), self.describe(v)) for k, v in value.items()))
    if isinstance(value, set | frozenset):
      return ('set', *sorted(repr(self.describe(item)) for item in value))
    if isinstance(value, tuple | list):
      return (type(value).__name__, *map(self.describe, value))
    if hasattr(value, 'dtype') and hasattr(value, 'tobytes'):
      return (
        str(value.dtype),
        value.shape,
        hashlib.sha256(value.tobytes()).hexdigest(),
      )
    if isinstance(value, types.ModuleType):
      return self._place(value.__name__)
    if isinstance(value, types.CodeType):
      return self._code(value)
    if isinstance(value, staticmethod | classmethod):
      return (type(value).__name__, self.describe(value.__func__))
    if isinstance(value, property | functools.cached_property):
      return tuple(
        self.describe(getattr(value, part))
        for part in ('fget', 'fset', 'func')
        if hasattr(value, part)
      )
    if isinstance(value, functools.partial):
      return tuple(map(self.describe, (value.func, value.args, value.keywords)))
    home = getattr(value, '__module__', None) or ''
    if isinstance(value, types.FunctionType | type) and home == self.name:
      if id(value) in self.numbers:
        return ('again', self.numbers[id(value)])
      self.numbers[id(value)] = len(self.numbers)
      return self._class(value) if isinstance(value, type) else self._function(value)
    name = getattr(value, '__qualname__', None) or getattr(value, '__name__', None)
    if name:
      return (self._place(home), name)
    if type(value).__module__ != self.name:
      return (type(value).__module__, type(value).__qualname__, self._fields(value))
    return (self.describe(type(value)), self._fields(value))

  def _place(self, module: str) -> str:
    if not module or not self.is_first_party(module):
      return module
    if module not in self.used:
      self.used.append(module)
    return f'§{self.used.index(module)}'

  def _function(self, function: types.FunctionType) -> Any:
    cells = list(map(_contents, function.__closure__ or ()))
    names = sorted(_globals(function.__code__) & function.__globals__.keys())
    return (
      self._code(function.__code__),
      self.describe(function.__defaults__),
      self.describe(function.__kwdefaults__),
      *map(self.describe, cells),
      *((name, self.describe(function.__globals__[name])) for name in names),
    )

  def _class(self, value: type) -> Any:
    fields = getattr(value, '__dataclass_fields__', {})
    own = {name: v for name, v in vars(value).items() if name not in GENERATED}
    return (
      value.__qualname__,
      *map(self.describe, value.__bases__),
      *(repr(getattr(field, 'type', '')) for field in fields.values()),
      *((name, self._attribute(v)) for name, v in sorted(own.items())),
    )

  def _attribute(self, value: Any) -> Any:
    try:
      return self.describe(value)
    except errors.UserError:  # what a metaclass or decorator added
      return type(value).__qualname__

  def _fields(self, value: Any) -> Any:
    """What an object holds."""
    if not hasattr(value, '__dict__'):
      raise errors.UserError(
        f'{type(value).__qualname__} in {self.name} cannot be read, so a change of it '
        'would go unnoticed; move what the study uses into a module (a .py file)'
      )
    return self.describe(vars(value))

  def _code(self, code: types.CodeType) -> Any:
    constants = list(code.co_consts)
    if constants and isinstance(constants[0], str):
      constants[0] = ''  # a docstring
    for module in self._imported(code):
      self._place(module)
    return (
      code.co_code,
      code.co_names,
      code.co_varnames,
      code.co_freevars,
      *map(self.describe, constants),
    )

  def _imported(self, code: types.CodeType) -> Iterator[str]:
    """The first-party modules that a code object imports when it runs."""
    names = [name for name in code.co_names if name in hidden_imports.NAMES]
    unreadable = [name for name in names if name in hidden_imports.UNREADABLE]
    texts = [text for text in code.co_consts if isinstance(text, str)]
    modules = list(filter(self._is_module, texts))
    if unreadable or (not modules and set(names) & {*hidden_imports.IMPORTERS}):
      raise errors.UserError(
        f'{code.co_name} in {self.name} runs code that no import shows '
        f'({(unreadable or names)[0]}), so a change of it would go unnoticed; import '
        'it by its name, as in `import mylab.parts`'
      )
    if names:
      yield from modules
    parent = ''
    for step in dis.get_instructions(code):
      if step.opname == 'IMPORT_NAME':
        parent = step.argval
      elif step.opname != 'IMPORT_FROM':
        continue
      of_parent = f'{parent}.{step.argval}'
      yield from filter(self._is_module, (parent, of_parent))

  def _is_module(self, name: str) -> bool:
    """Whether a dotted name is a first-party module."""
    parts = name.split('.')
    if not all(map(str.isidentifier, parts)) or not self.is_first_party(name):
      return False
    try:
      return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
      return False


def _contents(cell: types.CellType) -> Any:
  try:
    return cell.cell_contents
  except ValueError:  # not bound yet
    return None


def _globals(code: types.CodeType) -> set[str]:
  """The names of global values that a code object and those inside it read."""
  names = {
    step.argval
    for step in dis.get_instructions(code)
    if step.opname in ('LOAD_GLOBAL', 'LOAD_NAME')
  }
  for constant in code.co_consts:
    if isinstance(constant, types.CodeType):
      names |= _globals(constant)
  return names
