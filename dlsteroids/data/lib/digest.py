"""The digest of a data set: its arrays, and the options that shape its examples."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.data.lib import images


def of(arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], *about: Any) -> str:
  """sha256 (hex) of `arrays`, of the shaping options and of `about` (JSON-like).

  Args:
    arrays: as stored, by name.
    config: the section's options; those that only say where the data lie do not count.
    about: what else makes it this data set, such as its name and classes.
  """
  shaping = {key: config[key] for key in config if key not in images.UNSHAPING}
  total = hashlib.sha256(config_lib.digest([shaping, *about]).encode())
  for name, array in arrays.items():
    total.update(f'{name}{array.dtype.str}{array.shape}'.encode())
    total.update(np.ascontiguousarray(array).data)
  return total.hexdigest()
