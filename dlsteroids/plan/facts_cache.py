"""Facts of programs, kept on this machine: a program is traced once.

An entry holds for the same static config, data, code, libraries, settings and device.
A damaged one counts as missing, and a folder that cannot be written keeps none.
"""

import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from dlsteroids import config as config_lib
from dlsteroids.plan import code_cache
from dlsteroids.store import results
from dlsteroids.train import inspect
from dlsteroids.util import environment, files

FOLDER = 'programs'  # in the cache folder
TRACER = 'dlsteroids.train.inspect'  # the code that makes the facts
START = time.time()  # of this process, or soon after
# Settings of JAX that change no trace, by their beginning.
COMPILATION = (
  *('jax_compilation_cache', 'jax_persistent_cache', 'jax_disable_most_optimizations'),
  *('jax_num_cpu_devices', 'jax_log'),
)
_SETS = ('live', 'primitives')  # facts that JSON holds as lists
_MALFORMED = (ValueError, TypeError, KeyError, RecursionError)


class Cache:
  """Facts by key; `key` says what they depend on."""

  def __init__(self) -> None:
    self.folder = files.cache_folder() / FOLDER
    self._machine: Any = None

  def key(
    self, program: str, config: Mapping[str, Any], data: str, task: str, code: str
  ) -> str:
    """The key of a program's facts.

    Args:
      program: its id.
      config: one that it trains; `engine` says how much a stream holds in memory.
      data, task, code: digests of the data set, of the task's own data, of the code.
    """
    if self._machine is None:
      tracer = code_cache.read([TRACER]).digest
      self._machine = [environment.provenance(), installed(), settings(), tracer]
    parts = [program, config['engine'], data, task, code, self._machine]
    return config_lib.digest(parts)

  def read(self, key: str) -> inspect.Facts | None:
    """The facts of a key; None if there are none."""
    try:
      tree = results.read_json(self.folder / f'{key}.json')
      tree |= {name: frozenset(tree[name]) for name in _SETS}
      return inspect.Facts(**{**tree, 'scalars': tuple(tree['scalars'])})
    except (OSError, *_MALFORMED):
      return None

  def write(self, key: str, facts: inspect.Facts) -> None:
    """Keeps facts for the next launch."""
    tree = facts._asdict() | {name: sorted(getattr(facts, name)) for name in _SETS}
    with contextlib.suppress(OSError):  # such as a home that is read-only
      results.write_json(self.folder / f'{key}.json', tree)


def installed() -> list[str]:
  """Names and versions of the installed packages, any of which a plug-in may use."""
  folders = [pathlib.Path(folder) for folder in sys.path]
  return sorted({path.name for each in folders for path in each.glob('*.*-info')})


def settings() -> dict[str, str]:
  """Settings of JAX: a jaxpr depends on many, such as the precision of products."""
  return {
    name: repr(value)
    for name, value in jax.config.values.items()
    if not name.startswith(COMPILATION)
  }


def edited(modules: Iterable[str]) -> bool:
  """Whether a module's file has changed since the process began.

  It may then run as it was before, while its digest is of the file.
  """
  for name in modules:
    path = getattr(sys.modules.get(name), '__file__', None)
    with contextlib.suppress(OSError):
      status = os.stat(path) if path else None
      if status and max(status.st_mtime, status.st_ctime) > START:
        return True
  return False
