"""Feed-forward windows: every answer sees the last few inputs and nothing before.

The model of sequences before recurrence (Bengio et al. 2003, a neural probabilistic
language model): y(t) = a(W [x(t), x(t-1), ..., x(t-k+1)] + b) with k = `context`. With
`dilation` d, layer l sees x(t), x(t-d^l), ..., x(t-(k-1)d^l) (van den Oord et al. 2016:
k = d = 2), so that what the last layer sees grows exponentially with the layers. Before
a beginning stand zeros. What one window hands to the next is its last (k - 1) d^l
inputs, so a long sequence in pieces is the sequence in one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks, recurrent_layer, sequences

OPTIONS = {
  'context': Option(8, 'inputs that a layer sees, the present one among them', 1),
  'dilation': Option(
    1, 'inputs that layer l (from 0) sees lie dilation**l steps apart', 1
  ),
  'hidden': Option(128, 'units of a layer', 1, width=True),
  'layers': Option(1, 'a second one sees windows of windows', 1),
  'embedding': Option(64, 'numbers per symbol', 1, width=True),
  'activation': Option('tanh', 'of each layer'),
  'tied': sequences.TIED,
  'residual': Option(False, 'from the second layer on, x + layer(x)'),
  'dropout': Option(0.0, 'on the output of every layer', 0, 1, traced=True),
  'init': Option('lecun', 'initial weights'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}


class WindowLayer(nn.Module):
  """One layer over all steps, [T, B, F] -> [T, B, H], in one product.

  Attributes:
    context: k, inputs it sees.
    step: how far they lie apart.
    units: H.
    activate: a.
  """

  context: int
  step: int
  units: int
  activate: Callable
  init_fn: Callable
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, sequence: recurrent_layer.Sequence, carry: Any, *, rate: Any, train: bool
  ) -> tuple[Any, Any]:
    """Outputs, and the last real inputs [(k - 1) step, B, F]; no use for `rate`."""
    del rate, train
    x = sequence.x.astype(self.dtype)
    steps, batch, features = x.shape
    if carry is None:
      carry = jnp.zeros((self.reach, batch, features), self.dtype)
    x = jnp.concatenate([carry, x])  # [(k - 1) step + T, B, F]
    # the present input first, as the docstring counts them
    lags = [x[self.reach - k * self.step :][:steps] for k in range(self.context)]
    y = blocks.dense(self.units, 'window', kernel_init=self.init_fn, dtype=self.dtype)(
      jnp.concatenate(lags, -1)
    )
    return self.activate(y), self.last(x, sequence.valid)

  @property
  def reach(self) -> int:
    """How far back the oldest input lies."""
    return (self.context - 1) * self.step

  def last(self, x: Any, valid: Any) -> Any:
    """What the next window begins with."""
    if valid is None:
      return x[x.shape[0] - self.reach :]
    at = valid.sum(0)[None, :] + jnp.arange(self.reach)[:, None]  # [(k - 1) step, B]
    return x[at, jnp.arange(x.shape[1])[None, :]]


def build(config: Mapping[str, Any]) -> nn.Module:
  """The module for the options and what the task adds, as `recurrent.build`.

  Raises:
    UserError: options out of range.
  """
  blocks.check_sizes(config, 'context', 'dilation', 'hidden', 'layers', 'embedding')
  sequences.check_tied(config, config['hidden'])
  activation = blocks.activation(config['activation'])
  dtype = blocks.dtype(config['dtype'])
  init_fn = blocks.initializer('model.init', config['init'])

  def make_layer(name: str, index: int, reverse: bool) -> nn.Module:
    del reverse
    step = config['dilation'] ** index
    return WindowLayer(
      config['context'], step, config['hidden'], activation, init_fn, dtype, name=name
    )

  return sequences.Stack(
    outputs=config['outputs'],
    every=config.get('every', False),
    symbols=config.get('symbols', 0),
    embedding=config['embedding'],
    tied=config['tied'],
    depth=config['layers'],
    bidirectional=False,
    residual=config['residual'],
    make_layer=make_layer,
    init_fn=init_fn,
    dtype=dtype,
  )
