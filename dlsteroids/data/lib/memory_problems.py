"""What the synthetic memory problems share: fixed draws, and splits by position."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlsteroids.config import options
from dlsteroids.data.lib import split as split_lib

OPTIONS = {
  'train_size': options.Option(10_000, 'sequences to train on', 1),
  'validation_size': options.Option(500, 'sequences of the validation split', 1),
  'test_size': options.Option(500, 'sequences of the test split', 1),
}
SEED = 1997  # of the data; a run's seed changes its order and initial values only


def draw(
  config: Mapping[str, Any],
  one: Callable[[np.random.Generator, int], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
  """`one(generator, count)` for each split, joined: training, validation, test.

  Split k is drawn by `np.random.default_rng([1997, k])`, so that the size of one split
  changes no other.
  """
  parts = [
    one(np.random.default_rng([SEED, k]), config[f'{name}_size'])
    for k, name in enumerate(split_lib.SPLITS)
  ]
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def make_split(config: Mapping[str, Any]) -> Callable[[int], dict[str, np.ndarray]]:
  """The `Dataset.split`, the same for every seed."""
  sizes = [config[f'{name}_size'] for name in split_lib.SPLITS]
  parts = np.split(np.arange(sum(sizes), dtype=np.int32), np.cumsum(sizes)[:-1])

  def split(seed: int) -> dict[str, np.ndarray]:
    del seed
    return dict(zip(split_lib.SPLITS, parts, strict=True))

  return split
