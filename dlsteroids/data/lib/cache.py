"""Arrays that are slow to make, kept in the cache folder and verified when read."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.data.lib import digest
from dlsteroids.util import errors, files, npz

Entry = tuple[Mapping[str, np.ndarray], Any]  # arrays by name, and JSON about them


def remember(
  kind: str, state: Any, make: Callable[[], Entry], required: bool = True
) -> Entry:
  """What `make` returned for `state` before, or returns now.

  Args:
    kind: the folder within the cache, and what errors call the arrays.
    state: JSON-like; all that the arrays depend on.
    make: called if there is no entry, or a damaged one.
    required: whether a cache that cannot be written is an error; else it only costs
      time.

  Raises:
    UserError: as `make`, or a cache that cannot be written.
  """
  file = files.cache_folder() / kind / f'{config_lib.digest(state)}.npz'
  try:
    stored = npz.read(file)
    about, checksum = json.loads(str(stored.pop('about')))
    if _checksum(stored, about) == checksum:
      return stored, about
  except (OSError, ValueError, KeyError, TypeError):
    pass  # missing or damaged
  arrays, about = make()
  text = json.dumps([about, _checksum(arrays, about)])
  try:
    with files.replacing(file) as stream:
      np.savez(stream, **{**arrays, 'about': np.array(text)})  # type: ignore[arg-type]
  except OSError as error:
    if required:
      raise errors.UserError(
        f'cannot cache the {kind} in {str(file.parent)!r}: {error.strerror}; set '
        'DLSTEROIDS_CACHE to a folder with room'
      ) from error
  return arrays, json.loads(text)[0]


def _checksum(arrays: Mapping[str, np.ndarray], about: Any) -> str:
  return digest.of_bytes([config_lib.digest(about)], sorted(arrays.items()))
