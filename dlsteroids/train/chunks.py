"""Chunks: the raw batches of a streamed data set that are laid ready at a time.

A slot of a member that streams carries `batches`: of training, the draws of as many
steps as fit [K, B, ...], draw n in row n % K, so that a chunk says nothing of when it
begins; of evaluation some batches [E, B, ...] with their `mask` [E, B] and `number`
[E]. Over members these have a leading axis S. A data axis of a mesh cuts axis 2, B.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import types

STEPS = 16  # of a chunk, at most: what is decoded before the first step
KINDS = ('train', 'evaluate')
HOST = {'train', 'evaluate'}  # indices of a slot that a stream's host reads by


class Chunks(NamedTuple):
  """How much a chunk holds.

  Attributes:
    stream: of the data set.
    draws: batches that a training step takes.
    sizes: examples of a batch in training and in evaluation.
    per_epoch: training batches an epoch.
    mask: which examples of the batches of validation, then test, count: bool [n, B].
    budget: bytes of a chunk over all members, kept unless one step needs more.
  """

  stream: types.Stream
  draws: int
  sizes: Mapping[str, int]
  per_epoch: int
  mask: np.ndarray
  budget: int

  def length(self, kind: str, members: int) -> int:
    """Batches in a chunk of a kind: whole steps, within the budget, at least one."""
    example = sum(
      math.prod(shape) * np.dtype(dtype).itemsize
      for shape, dtype in self.stream.shapes.values()
    )
    unit = self.draws if kind == 'train' else 1
    fit = self.budget // max(1, members * unit * self.sizes[kind] * example)
    most = STEPS if kind == 'train' else len(self.mask)
    return unit * int(np.clip(fit, 1, most))

  def blank(self, kind: str, members: int) -> dict[str, Any]:
    """What a chunk adds to the slots of `members` members, all zeros."""
    return self.zeros(kind, (members, self.length(kind, members)))

  def one(self, kind: str) -> dict[str, Any]:
    """The same of one member, without an axis of members, and of the least length."""
    return self.zeros(kind, (self.draws if kind == 'train' else 1,))

  def zeros(self, kind: str, lead: tuple[int, ...]) -> dict[str, Any]:
    every = (*lead, self.sizes[kind])
    batches = {
      name: np.zeros((*every, *shape), dtype)
      for name, (shape, dtype) in self.stream.shapes.items()
    }
    if kind == 'train':
      return {'batches': batches}
    number = np.zeros(lead, np.int32)
    return {'batches': batches, 'mask': np.zeros(every, bool), 'number': number}
