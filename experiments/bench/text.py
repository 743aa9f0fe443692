"""Random symbols for the benchmark: a data module of 64 equally likely characters."""

import string
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import text

SYMBOLS = string.ascii_letters + string.digits + '.,'
LENGTH = 400_000
OPTIONS = {**text.OPTIONS, 'validation': 0.01, 'test': 0.01}


def draw() -> bytes:
  """The text; every framework reads the same."""
  places = np.random.default_rng(0).integers(0, len(SYMBOLS), LENGTH)
  return np.frombuffer(SYMBOLS.encode(), np.uint8)[places].tobytes()


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Windows of the text."""
  return text.make('random symbols', draw(), options.complete(config, OPTIONS, 'data'))
