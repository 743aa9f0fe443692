"""Another day: what a config file gives when time, chance and the process differ.

A study whose config changes between executions never continues, and its workers train
another study than it planned.
"""

import ast
import contextlib
import datetime
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

SHIFT = 400 * 86400 + 3661  # seconds: another year, month, day, hour, minute, second
CHANGING = {
  *('time', 'datetime', 'random', 'secrets', 'uuid', 'tempfile', 'subprocess'),
  *('getpid', 'urandom', 'getppid', 'popen', 'now', 'today', 'hash', 'id'),
}  # names of modules and functions that may give another value each time


def is_read_by(file: pathlib.Path) -> bool:
  """Whether a config file, or a module of the user's that it imports, may change."""
  return bool(_names(file) & CHANGING or modules(file))


def modules(file: pathlib.Path) -> tuple[str, ...]:
  """The user's modules that an executed file imports and that may change."""
  from dlsteroids.config import code  # which most commands do without

  changing: dict[str, bool] = {}
  todo = [file]
  while todo:
    for name in _names(todo.pop()):
      module = sys.modules.get(name)
      path = getattr(module, '__file__', None) or ''
      users = (
        path.endswith('.py') and name not in changing and code.is_first_party(name)
      )
      if users and not name.startswith('dlsteroids'):
        todo.append(pathlib.Path(path))
        changing[name] = bool(_names(todo[-1]) & CHANGING)
  return tuple(name for name, changes in changing.items() if changes)


def _names(file: pathlib.Path) -> set[str]:
  """All names in a Python file: of modules, with and without their parents, and all."""
  names: set[str] = set()
  for node in ast.walk(ast.parse(file.read_bytes())):
    if isinstance(node, ast.Name):
      names.add(node.id)
    elif isinstance(node, ast.Attribute):
      names.add(node.attr)
    elif isinstance(node, ast.ImportFrom):
      parent = node.module or ''
      names |= {parent, *(alias.name for alias in node.names)}
      names |= {f'{parent}.{alias.name}' for alias in node.names}
    elif isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
      names |= {alias.name.partition('.')[0] for alias in node.names}
  return names


def another_hash(value: Any) -> int:
  """What `hash` gives in another process: texts have another one each time."""
  if isinstance(value, tuple | frozenset):
    return hash(tuple(map(another_hash, value)))
  return hash(value) + (not isinstance(value, int | float | complex))


BUILTINS = {'hash': another_hash, 'id': lambda value: id(value) + 1}


@contextlib.contextmanager
def another_day(file: pathlib.Path) -> Iterator[None]:
  """Within, the clock is `SHIFT` seconds ahead and the process has another id.

  The user's modules that `file` imports and that may change are executed again.
  """
  from unittest import mock  # with asyncio, which is slow to import

  now, local, utc, form = time.time, time.localtime, time.gmtime, time.strftime
  pid = os.getpid()

  class Day(datetime.date):
    @classmethod
    def today(cls) -> Any:
      return datetime.date.fromtimestamp(now() + SHIFT)

  class Moment(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
      return real.fromtimestamp(now() + SHIFT, tz)

    @classmethod
    def utcnow(cls) -> Any:
      return real.fromtimestamp(now() + SHIFT, datetime.UTC).replace(tzinfo=None)

    today = now

  real = datetime.datetime
  later: dict[str, Any] = {
    'time': lambda: now() + SHIFT,
    'time_ns': lambda: int((now() + SHIFT) * 1e9),
    'localtime': lambda seconds=None: local(
      now() + SHIFT if seconds is None else seconds
    ),
    'gmtime': lambda seconds=None: utc(now() + SHIFT if seconds is None else seconds),
    'strftime': lambda text, at=None: form(text, at or local(now() + SHIFT)),
    'ctime': lambda seconds=None: time.asctime(local(seconds or now() + SHIFT)),
  }
  with contextlib.ExitStack() as stack:
    for name, function in later.items():
      stack.enter_context(mock.patch.object(time, name, function))
    stack.enter_context(mock.patch.object(datetime, 'datetime', Moment))
    stack.enter_context(mock.patch.object(datetime, 'date', Day))
    stack.enter_context(mock.patch.object(os, 'getpid', return_value=pid + 1))
    stack.enter_context(mock.patch.dict(sys.modules))
    for name in modules(file):
      del sys.modules[name]
    yield
