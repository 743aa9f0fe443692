"""NVIDIA's own LSTM (cuDNN), for one float32 run of the plain cell at a time.

It has no batching rule, so members run one after another with it, and no forward mode.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids.config import options
from dlsteroids.models.lib import cells
from dlsteroids.models.ops import sharding
from dlsteroids.util import errors

ORDER = ('input', 'forget', 'candidate', 'output')  # of the gates in its weights


def check(config: Mapping[str, Any]) -> None:
  """Raises UserError unless cuDNN can run this network here."""
  wanted = {
    'cell': 'lstm',
    **options.defaults(cells.SWITCHES['lstm']),
    'bidirectional': False,
    'norm': 'none',
    'recurrent_dropout': 0.0,
    'remat': 0,
    'dtype': 'float32',
  }
  for option, value in wanted.items():
    if config.get(option, value) != value:
      raise errors.UserError(
        f'config.model.kernel=cudnn runs {option}={value!r} only, not '
        f'{config[option]!r}; use kernel=scan'
      )
  if jax.default_backend() != 'gpu':
    raise errors.UserError(
      f'config.model.kernel=cudnn needs an NVIDIA GPU; JAX runs on '
      f'{jax.default_backend()} here: use kernel=scan'
    )


def pack(weights: Mapping[str, tuple[Any, Any, Any]]) -> Any:
  """One flat array as cuDNN wants it.

  Args:
    weights: input weights [F, H], recurrent weights [H, H] and bias [H] by gate.

  Returns:
    all input weights, all recurrent ones, biases, and as many zeros: cuDNN adds a
    second bias.
  """
  reads, feeds, biases = zip(*(weights[name] for name in ORDER))
  flat = [jnp.concatenate([w.T for w in part]).ravel() for part in (reads, feeds)]
  bias = jnp.concatenate(biases)
  return jnp.concatenate([*flat, bias, jnp.zeros_like(bias)])


def run(weights: Any, x: Any, carry: Any, valid: Any) -> tuple[Any, Any]:
  """The layer over time: outputs [T, B, H] and the last (y, c).

  Args:
    weights: as `pack` takes them.
    x: [T, B, F].
    carry: (y, c) before the first step, [B, H] each.
    valid: bool [T, B], or None for whole sequences.
  """
  from jax.experimental import rnn

  steps, batch, features = x.shape
  units = carry[0].shape[-1]
  lengths = jnp.full(batch, steps) if valid is None else valid.sum(0)

  def layer(weights, x, carry, lengths):
    y, h, c = rnn.lstm(
      x.swapaxes(0, 1),
      carry[0][None],
      carry[1][None],
      weights,
      lengths,
      features,
      units,
      1,
      0.0,
      False,
    )
    return y.swapaxes(0, 1), (h[0], c[0])

  # XLA cannot look into it, so it could not split it.
  args = (pack(weights), x, carry, lengths.astype(jnp.int32))
  return sharding.apart(layer, args, (None, 1, 0, 0), (1, 0))
