"""Where a member's raw examples come from, inside the trace: from arrays or chunks.

Either way a member sees the same examples in the same order: a chunk holds what
resident arrays would have been indexed for.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import rng, types
from dlsteroids.train import spread
from dlsteroids.util import errors


class Examples(NamedTuple):
  """Pure functions of one member's slot; `data` are the arrays on the device.

  Attributes:
    order: `slot -> order`, what is carried from step to step to know what comes next.
    sample: `(slot, data) -> raw batch` of two, to take shapes from.
    draw: `(order, slot, data, keys) -> (order, raw batch)` of the draw of `keys`.
    batches: `slot -> (chosen, mask, number)` with leading axes [batches, ...]: the
      batches to evaluate, which of their examples count, and the index of their PRNG
      stream.
    take: `(data, chosen) -> raw batch` of one of these.
  """

  order: Callable
  sample: Callable
  draw: Callable
  batches: Callable
  take: Callable


def batch_count(count: int, size: int) -> int:
  """Batches of `size` that hold `count` examples, the last one padded."""
  return -(-count // size)


def masks(counts: Mapping[str, int], splits: tuple[str, ...], size: int) -> np.ndarray:
  """Which examples of the batches of `splits`, one after another, count: [n, B]."""
  parts = [np.arange(batch_count(counts[n], size) * size) < counts[n] for n in splits]
  return np.concatenate(parts).reshape(-1, size)


def shuffle(root: Any, indices: Any, epoch: Any) -> Any:
  """The order of an epoch: a permutation of `indices` [N] by the run's root key."""
  key = rng.stream(root, 'order', epoch)
  return jax.random.permutation(key, indices, independent=False)


def resident(dataset: types.Dataset, size: int, per_epoch: int, mask: Any) -> Examples:
  """Examples of arrays that lie on the device.

  Args:
    dataset: without a stream.
    size: of a training batch.
    per_epoch: training batches an epoch.
    mask: from `masks`.
  """

  def sample(slot, data):
    return dataset.take(data, slot['train'][:2], train=True)

  def draw(order, slot, data, keys):
    at = keys.step % per_epoch
    if dataset.lanes:
      indices = slot['train'][jnp.arange(size) * per_epoch + at]
    else:
      order = jax.lax.cond(
        at == 0,
        lambda: shuffle(keys.root, slot['train'], keys.step // per_epoch),
        lambda: order,
      )
      order = spread.whole(order)  # else XLA would split the order, too
      indices = spread.whole(jax.lax.dynamic_slice(order, (at * size,), (size,)))
    if dataset.jitter:
      offset = rng.stream(keys.root, 'jitter', keys.step // per_epoch)
      indices += jax.random.randint(offset, (), 0, dataset.jitter)
    return order, dataset.take(data, spread.batch(indices, size), train=True)

  return Examples(
    order=lambda slot: slot['train'],
    sample=sample,
    draw=draw,
    batches=lambda slot: (slot['evaluate'], jnp.asarray(mask), jnp.arange(len(mask))),
    take=lambda data, indices: dataset.take(data, indices, train=False),
  )


def streamed(dataset: types.Dataset) -> Examples:
  """Examples that the slot carries: a chunk, as `train/chunks.py` lays it ready.

  Raises:
    UserError: a stream with lanes or jitter, which only windows of resident data have.
  """
  if dataset.lanes or dataset.jitter:
    raise errors.UserError(
      f'data set {dataset.name!r} streams: it can have neither lanes nor jitter'
    )
  assert dataset.stream is not None
  shapes = dataset.stream.shapes

  def draw(order, slot, data, keys):
    del data
    ahead = len(next(iter(slot['batches'].values())))
    at = keys.step % ahead
    return order, jax.tree.map(
      lambda x: jax.lax.dynamic_index_in_dim(x, at, keepdims=False), slot['batches']
    )

  return Examples(
    order=lambda slot: {},
    sample=lambda slot, data: {
      name: jnp.zeros((2, *shape), dtype) for name, (shape, dtype) in shapes.items()
    },
    draw=draw,
    batches=lambda slot: (slot['batches'], slot['mask'], slot['number']),
    take=lambda data, batch: batch,
  )
