"""What models of sequences share: layers over time, then a linear layer."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks, recurrent_layer
from dlsteroids.models.ops import sharding
from dlsteroids.util import errors

TIED = Option(
  False, "the output layer's kernel is the embedding of symbols (Press & Wolf 2017)"
)


def check_tied(config: Mapping[str, Any], width: int) -> None:
  """Raises UserError if output and embedding should share what they cannot share.

  Args:
    config: a model's options and what the task adds.
    width: of what the output layer reads.
  """
  if not config['tied']:
    return
  if not config.get('symbols') or not config.get('every', False):
    raise errors.UserError(
      'config.model.tied shares the embedding of symbols, which only task language has'
    )
  if width != config['embedding']:
    raise errors.UserError(
      f'config.model.tied needs an embedding as wide as what the output layer reads: '
      f'config.model.embedding={width}, not {config["embedding"]}'
    )


class Stack(nn.Module):
  """Layers over time, then a linear layer.

  Attributes:
    outputs: units of the linear layer.
    every: answer at every step [B, T, outputs], or after the last [B, outputs].
    symbols: how many there are if the input is one of them [B, T], else 0.
    tied: whether the output layer's kernel is the embedding, over the root of its
      width: that of the table is drawn with variance 1, a kernel's with 1 / width.
    make_layer: `(name, index, reverse) -> module`.
  """

  outputs: int
  every: bool
  symbols: int
  embedding: int
  tied: bool
  depth: int
  bidirectional: bool
  residual: bool
  make_layer: Callable
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(
    self,
    x: Any,
    *,
    train: bool,
    hyper: Mapping[str, Any],
    carry: Any = None,
    lengths: Any = None,
    nudge: Any = None,
  ) -> Any:
    """The answer; with a `carry` also the next one.

    Args:
      x: symbols int [B, T], features [B, T, F] or images [B, H, W, C].
      train: whether dropout is on.
      hyper: traced numbers.
      carry: state before the first step, one entry per layer and direction; () for
        that of a beginning, zeros.
      lengths: how many steps of each sequence are real, int [B]; what lies behind them
        reaches neither the state nor the answer after the last step.
      nudge: added to the features that the first layer reads, [T, B, F]: the gradient
        by it tells how far back the answer depends on the input.
    """
    table = self.table()
    x = self.read(x, table)
    self.sow('intermediates', 'read', x)
    x = x if nudge is None else x + nudge
    valid = None
    if lengths is not None:
      valid = jnp.arange(len(x))[:, None] < lengths[None, :]
    last: list[Any] = []
    for index in range(self.depth):
      rate = hyper.get('model.recurrent_dropout')
      sides = []
      for reverse in (False, True) if self.bidirectional else (False,):
        name = f'layer{index}' + ('_back' if reverse else '')
        before = carry[len(last)] if carry else None
        y, end = self.make_layer(name, index, reverse)(
          recurrent_layer.Sequence(x, valid), before, rate=rate, train=train
        )
        last.append(end)
        sides.append(y)
      y = jnp.concatenate(sides, -1)
      x = x + y if self.residual and index else y
      if index == self.depth - 1 and not self.every:
        x = self.final(x, lengths)
      drop = blocks.Dropout(name=f'dropout{index}')
      x = drop(x, hyper['model.dropout'], train=train)
    outputs = x.swapaxes(0, 1) if self.every else x  # [B, T, H] or [B, H]
    outputs = blocks.logits(self.head(outputs, table))
    return outputs if carry is None else (outputs, tuple(last))

  def table(self) -> Any:
    """The embedding of symbols [V, F]; None if there are none."""
    if not self.symbols:
      return None
    shape = (self.symbols, self.embedding)
    table = self.param('embedding', nn.initializers.normal(1.0), shape)
    return jnp.asarray(table, self.dtype)

  def head(self, x: Any, table: Any) -> Any:
    """The linear layer, whose kernel may be the table's."""
    if not self.tied:
      return blocks.dense(
        self.outputs, 'output', kernel_init=self.init_fn, dtype=self.dtype
      )(x)
    bias = self.param('output_bias', nn.initializers.zeros, (self.outputs,))
    return x @ (table.T * self.embedding**-0.5) + bias.astype(self.dtype)

  def read(self, x: Any, table: Any) -> Any:
    """The input as features, time first [T, B, F]."""
    if self.symbols:
      # XLA would gather all gradients before it adds them up by symbol.
      return sharding.apart(
        lambda rows, at: rows[at], (table, x.swapaxes(0, 1)), (None, 1), 1
      )
    x = x.reshape(*x.shape[:2], -1)  # [B, T, F]
    return x.swapaxes(0, 1).astype(self.dtype)

  def final(self, y: Any, lengths: Any) -> Any:
    """The output after the last real step, of the backward half after the first."""
    last = y[-1]
    if lengths is not None:
      last = y[jnp.maximum(lengths, 1) - 1, jnp.arange(y.shape[1])]
    if not self.bidirectional:
      return last
    half = y.shape[-1] // 2
    return jnp.concatenate([last[:, :half], y[0, :, half:]], -1)
