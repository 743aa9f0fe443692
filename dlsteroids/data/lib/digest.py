"""The digest of a data set: its arrays, and the options that shape its examples."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib

# Where the bytes lie and what results call them: these options shape no example.
UNSHAPING = ('name', 'path', 'path_x', 'path_y', 'download', 'label')
# Options that came after digests were published, and shape nothing while they are off.
OFF = {'cutout': 0, 'random_labels': 0.0}


def shaping(config: Mapping[str, Any]) -> dict[str, Any]:
  """The options of a data section that shape its examples."""
  return {
    key: value
    for key, value in config.items()
    if key not in UNSHAPING and (key not in OFF or value != OFF[key])
  }


def of(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], *about: Any) -> str:
  """sha256 (hex) of `arrays`, of the shaping options and of `about` (JSON-like).

  Args:
    arrays: as stored, by name.
    config: the data section.
    about: what else identifies the data set, such as its name and classes.
  """
  return of_bytes([config_lib.digest([shaping(config), *about])], arrays.items())


def of_bytes(texts: Iterable[str], arrays: Iterable[tuple[str, np.ndarray]]) -> str:
  """sha256 (hex) of texts, then of the name, type, shape and bytes of each array."""
  total = hashlib.sha256(''.join(texts).encode())
  for name, array in arrays:
    total.update(f'{name}{array.dtype.str}{array.shape}'.encode())
    total.update(np.ascontiguousarray(array).data)
  return total.hexdigest()
