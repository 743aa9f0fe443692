"""Another day: what a config file gives when time, chance and the process differ.

A study whose config changes between executions never continues, and its workers train
another study than it planned.
"""

import ast
import contextlib
import datetime
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

SHIFT = 400 * 86400 + 3661  # seconds: another year, month, day, hour, minute, second
CHANGING = {
  *('time', 'datetime', 'random', 'secrets', 'uuid', 'tempfile'),
  *('getpid', 'urandom', 'getppid'),
}  # names of modules and functions that may give another value each time


def is_read_by(file: pathlib.Path) -> bool:
  """Whether a Python file names anything that may differ between executions."""
  names: set[str] = set()
  for node in ast.walk(ast.parse(file.read_bytes())):
    if isinstance(node, ast.Name):
      names.add(node.id)
    elif isinstance(node, ast.Attribute):
      names.add(node.attr)
    elif isinstance(node, ast.ImportFrom):
      names |= {node.module or '', *(alias.name for alias in node.names)}
    elif isinstance(node, ast.Import):
      names |= {alias.name.partition('.')[0] for alias in node.names}
  return bool(names & CHANGING)


@contextlib.contextmanager
def another_day() -> Iterator[None]:
  """Within, the clock is `SHIFT` seconds ahead and the process has another id."""
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
    yield
