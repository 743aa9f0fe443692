"""What the synthetic memory problems share: fixed draws, and splits by position."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlsteroids.util import errors

OPTIONS: dict[str, Any] = {
  'train_size': 10_000,  # sequences
  'validation_size': 500,
  'test_size': 500,
}
SPLITS = ('train', 'validation', 'test')
SEED = 1997  # of the data; a run's seed changes its order and initial values only


def draw(
  config: Mapping[str, Any],
  one: Callable[[np.random.Generator, int], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
  """`one(generator, count)` for each split, joined: training, validation, test.

  Split k is drawn by `np.random.default_rng([1997, k])`, so that the size of one split
  moves no other.

  Raises:
    UserError: an empty split.
  """
  parts = []
  for k, name in enumerate(SPLITS):
    size = config[f'{name}_size']
    if size < 1:
      raise errors.UserError(f'data.{name}_size must be at least 1, not {size}')
    parts.append(one(np.random.default_rng([SEED, k]), size))
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def make_split(config: Mapping[str, Any]) -> Callable[[int], dict[str, np.ndarray]]:
  """The `Dataset.split`, the same for every seed."""
  sizes = [config[f'{name}_size'] for name in SPLITS]
  parts = np.split(np.arange(sum(sizes), dtype=np.int32), np.cumsum(sizes)[:-1])

  def split(seed: int) -> dict[str, np.ndarray]:
    del seed
    return dict(zip(SPLITS, parts, strict=True))

  return split
