"""What traces said of programs, kept on this machine: a program is traced once.

An entry is found again only for the same static config, data, code, versions and
device: whatever the fingerprint of a run holds. One that cannot be read counts as
missing, and a folder that cannot be written keeps none.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.config import code as code_lib
from dlsteroids.train import inspect
from dlsteroids.util import environment, files

FOLDER = 'programs'  # in the cache folder
TRACER = 'dlsteroids.train.inspect'  # the code that makes the facts
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
      self._machine = [environment.provenance(), code_lib.read([TRACER]).digest]
    parts = [program, config['engine'], data, task, code, self._machine]
    return config_lib.digest(parts)

  def read(self, key: str) -> inspect.Facts | None:
    """The facts of a key; None if there are none."""
    try:
      tree = json.loads((self.folder / f'{key}.json').read_bytes())
      tree |= {name: frozenset(tree[name]) for name in _SETS}
      return inspect.Facts(**{**tree, 'scalars': tuple(tree['scalars'])})
    except (OSError, *_MALFORMED):
      return None

  def write(self, key: str, facts: inspect.Facts) -> None:
    """Keeps facts for the next launch."""
    tree = facts._asdict() | {name: sorted(getattr(facts, name)) for name in _SETS}
    with contextlib.suppress(OSError):  # such as a home that is read-only
      files.write(self.folder / f'{key}.json', json.dumps(tree))
