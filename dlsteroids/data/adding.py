"""The adding problem: the sum of the two marked numbers of a sequence.

Hochreiter and Schmidhuber (1997, experiment 4), in the form of Arjovsky, Shah and
Bengio (2016, section 4.2): numbers uniform in [0, 1), one of each half marked, of a
fixed length. Deviation from the first: there, numbers lie in [-1, 1], the sum is scaled
into [0, 1], both marks lie in the first half, and lengths vary.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import digest, memory_problems

OPTIONS = {
  'length': options.Option(100, 'numbers in a sequence', 2, 10_000, closed='both'),
  **memory_problems.OPTIONS,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Windows [N, length, 2] of numbers and marks; targets [N, 1, 1], their sum.

  Raises:
    UserError: an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  length = config['length']

  def one(generator: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    half = length // 2
    marks = generator.integers([0, half], [half, length], (count, 2), dtype=np.int32)
    return {'value': generator.random((count, length), np.float32), 'mark': marks}

  arrays = memory_problems.draw(config, one)
  split = memory_problems.make_split(config)
  return types.Dataset(
    name='adding',
    arrays=arrays,
    split=split,
    transform=transform,
    digest=digest.of(arrays, config, 'adding'),
    facts={
      'targets': ['sum'],
      'mean': [0.0],
      'std': [1.0],
      'horizon': 1,
      'lookback': length,
      'unit': '',
    },
    references={'mean': _measure(arrays, split(0)['test'])},
  )


def transform(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
  """Numbers [B, T] and the positions of two marks [B, 2] as a forecast's batch."""
  del keys, train
  value, mark = batch['value'], batch['mark']
  places = np.arange(value.shape[1])
  marked = (places == mark[:, :1]) | (places == mark[:, 1:])
  marked = marked.astype(np.float32)
  total = (value * marked).sum(1)
  return {
    'window': jnp.stack([value, marked], -1),
    'target': total[:, None, None],  # [B] -> [B, 1, 1]
  }


def _measure(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, float]:
  """Scores of the constant 1, the mean of the sum; in expectation 1/6 and 1/3."""
  value = np.take_along_axis(arrays['value'][rows], arrays['mark'][rows], 1)
  error = value.astype(np.float64).sum(1) - 1
  return {
    'test/mse': float(np.mean(error**2)),
    'test/mae': float(np.mean(np.abs(error))),
  }
