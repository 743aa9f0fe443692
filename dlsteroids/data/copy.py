"""The copy problem: repeat a sequence after a lag.

After Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio (2016,
section 4.1): `length` random symbols, lag - 1 blanks, a delimiter, then `length` blanks
while the symbols must be output. Deviation: only those last positions are scored, not
the blanks before them, which any network soon predicts.
"""

import math
import string
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import digest, memory_problems

NAMES = string.ascii_letters + string.digits
OPTIONS = {
  'lag': options.Option(
    50, 'steps from the last symbol to the delimiter', 1, 10_000, closed='both'
  ),
  'alphabet': options.Option(8, 'different symbols', 2, len(NAMES), closed='both'),
  'length': options.Option(10, 'symbols to remember', 1, 10_000, closed='both'),
  **memory_problems.OPTIONS,
}
BLANK, DELIMITER = '_', '|'


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Sequences uint8 [N, lag + 2 length], inputs and targets.

  Raises:
    UserError: an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  lag, alphabet, length = (config[key] for key in ('lag', 'alphabet', 'length'))

  def one(generator: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    symbols = generator.integers(0, alphabet, (count, length), dtype=np.uint8)
    inputs = np.full((count, lag + 2 * length), alphabet, np.uint8)
    targets = inputs.copy()
    inputs[:, :length] = symbols
    inputs[:, length + lag - 1] = alphabet + 1
    targets[:, -length:] = symbols
    return {'input': inputs, 'target': targets}

  arrays = memory_problems.draw(config, one)
  classes = (*NAMES[:alphabet], BLANK, DELIMITER)

  def transform(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
    del keys, train
    shape = batch['target'].shape
    weight = np.float32(np.arange(shape[1]) >= shape[1] - length)
    return {
      'input': batch['input'].astype(np.int32),
      'target': batch['target'].astype(np.int32),
      'weight': jnp.broadcast_to(weight, shape),
    }

  return types.Dataset(
    name='copy',
    arrays=arrays,
    split=memory_problems.make_split(config),
    transform=transform,
    digest=digest.of(arrays, config, 'copy', classes),
    classes=classes,
    facts={
      'window': lag + 2 * length,
      'symbols': arrays['input'].size,
      'vocabulary': len(classes),
    },
    references={
      'uniform': {  # the best without memory
        'test/nats': math.log(alphabet),
        'test/bits': math.log2(alphabet),
        'test/accuracy': 1 / alphabet,
      }
    },
  )
