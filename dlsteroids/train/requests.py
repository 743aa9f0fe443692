"""Requests to a stream, in order: sequences that are never materialised.

They can be pickled, for worker processes.
"""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import rng, types
from dlsteroids.train import chunks as chunks_lib
from dlsteroids.train import examples as examples_lib

CACHED_EPOCHS = 2  # of each seed


class Chosen:
  """Requests of examples as evaluation sees them."""

  def __init__(self, indices: np.ndarray):
    self.indices = indices

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, place: int) -> types.Request:
    return types.Request(int(self.indices[place]))


class Training:
  """Requests of training: by draw, by seed, by row, the rows of a share of each batch.

  Orders are those of resident data, drawn when they are needed.
  """

  def __init__(
    self,
    chunks: chunks_lib.Chunks,
    train: Mapping[int, np.ndarray],
    rows: slice,
    steps: tuple[int, int],
  ):
    """For the steps from the first of `steps` up to the second, without that.

    Args:
      chunks: of the member.
      train: indices of the training examples by seed.
      rows: of each batch.
      steps: of training.
    """
    self.size, self.per_epoch = chunks.sizes['train'], chunks.per_epoch
    self.train, self.rows = dict(train), rows
    self.start, self.stop = (step * chunks.draws for step in steps)
    self.orders: dict[tuple[int, int], np.ndarray] = {}
    self.lock = threading.Lock()

  def __len__(self) -> int:
    height = self.rows.stop - self.rows.start
    return (self.stop - self.start) * len(self.train) * height

  def __getitem__(self, place: int) -> types.Request:
    place, row = divmod(place, self.rows.stop - self.rows.start)
    draw, which = divmod(place, len(self.train))
    epoch, batch = divmod(self.start + draw, self.per_epoch)
    seed = list(self.train)[which]
    at = batch * self.size + self.rows.start + row
    return types.Request(int(self.order(seed, epoch)[at]), seed, epoch)

  def order(self, seed: int, epoch: int) -> np.ndarray:
    """The training examples as the epoch of a seed sees them [N]."""
    with self.lock:
      if (seed, epoch) not in self.orders:
        order = examples_lib.shuffle(rng.root(seed), self.train[seed], epoch)
        self.orders[seed, epoch] = np.asarray(order)
        self.orders.pop((seed, epoch - CACHED_EPOCHS), None)
      return self.orders[seed, epoch]

  def __getstate__(self) -> dict[str, Any]:
    return {k: v for k, v in vars(self).items() if k != 'lock'} | {'orders': {}}

  def __setstate__(self, state: Mapping[str, Any]) -> None:
    vars(self).update(state)
    self.lock = threading.Lock()
