"""Transformers: layers of attention and perceptron over positions, all ablatable."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlsteroids.config import options
from dlsteroids.models.lib import blocks, cells, minimal_layer, recurrent_layer
from dlsteroids.models.ops import attention, sharding
from dlsteroids.util import errors

EPSILON = 1e-5  # of norms, as torch has it


class Design(NamedTuple):
  """What every layer is built from.

  Attributes:
    width: numbers of a position, W.
    heads: of attention, each of W / heads units.
    mixer: 'attention', 'average' (equal weights), 'mingru', 'minlstm' or 'none'.
    form: what attention sees, and how it is computed.
    rotary: whether queries and keys are turned by their positions.
    qk_norm: whether queries and keys are normalised, head by head.
    norm: 'layer', 'rms' or 'none'.
    post: whether it stands behind the sum with the residual, not before the layer.
    residual: x + f(x), not f(x).
    mlp: 'dense', 'gated' or 'none'.
    hidden: units of the perceptron.
    activation: of its hidden units, or of their gate.
    memory: positions before a window whose keys and values are carried into it.
    init_fn: initial kernels.
    last_init: those of the kernels whose results the residual adds up.
    dtype: of activations.
  """

  width: int
  heads: int
  mixer: str
  form: attention.Form
  rotary: bool
  qk_norm: bool
  norm: str
  post: bool
  residual: bool
  mlp: str
  hidden: int
  activation: Callable
  memory: int
  init_fn: Callable
  last_init: Callable
  dtype: Any


class Memory(NamedTuple):
  """Keys and values of the last positions of a layer; zeros before a beginning.

  Attributes:
    key: [B, M, H, D], not yet turned by their positions; None of an average.
    value: [B, M, H, D].
    valid: 1.0 where there was a position, [B, M].
  """

  key: Any
  value: Any
  valid: Any


def scaled(init_fn: Callable, factor: float) -> Callable:
  """An initializer whose values are `factor` times as large."""
  return lambda key, shape, dtype=jnp.float32: init_fn(key, shape, dtype) * factor


def normalise(design: Design, x: Any, name: str) -> Any:
  """The norm of a design over the units of each position; a layer of the caller's."""
  kinds = {'layer': nn.LayerNorm, 'rms': nn.RMSNorm}
  if design.norm == 'none':
    return x
  return kinds[design.norm](epsilon=EPSILON, dtype=design.dtype, name=name)(x)


class SelfAttention(nn.Module):
  """Self-attention with several heads, [B, T, W] -> [B, T, W].

  Queries, keys and values have no bias: the key's has no gradient, the value's is the
  output's.
  """

  design: Design

  @nn.compact
  def __call__(
    self, x: Any, before: Memory | None, valid: Any, *, rate: Any, train: bool
  ) -> tuple[Any, Memory | None]:
    """Outputs, and the memory for the next window; `rate` is the weights' dropout."""
    design = self.design
    batch, steps, width = x.shape
    names = ('value',) if design.mixer == 'average' else ('query', 'key', 'value')
    kernels = [
      recurrent_layer.Weight(design.init_fn, (width, design.width), name=name)()
      for name in names
    ]
    product = x @ jnp.concatenate(kernels, -1).astype(design.dtype)
    parts = [
      part.reshape(batch, steps, design.heads, -1)  # [B, T, H, D]
      for part in jnp.split(product, len(names), -1)
    ]
    query: Any = None
    key: Any = None
    if design.mixer != 'average':
      query, key = parts[:2]
    value = parts[-1]
    if design.qk_norm and query is not None:
      norm = functools.partial(nn.RMSNorm, epsilon=EPSILON, dtype=design.dtype)
      query, key = norm(name='query_norm')(query), norm(name='key_norm')(key)
    after = None
    if before is not None:
      now = Memory(key, value, jnp.ones((batch, steps), before.valid.dtype))
      both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), before, now)
      after = jax.tree.map(lambda a: a[:, -design.memory :], both)
      key, value, valid = both.key, both.value, both.valid > 0
    if design.rotary and query is not None:
      query = attention.rotate(query, 0)
      key = attention.rotate(key, steps - key.shape[1])
    drop = None
    if train:
      stream = self.make_rng('dropout')
      drop = lambda weights, index: blocks.dropout(
        weights, rate, jax.random.fold_in(stream, index)
      )
      drop = None if design.form.kernel == 'cudnn' else drop
    inputs = attention.Inputs(query, key, value, valid)
    y = attention.attend(design.form, inputs, steps, drop).reshape(batch, steps, -1)
    y = blocks.dense(
      design.width, 'output', kernel_init=design.last_init, dtype=design.dtype
    )(y)
    return y, after


class MinimalMixer(nn.Module):
  """minGRU or minLSTM in the place of attention, [B, T, W] -> [B, T, W].

  Forward over the positions, with the candidate's g of Feng et al. 2024; see
  `minimal_layer`. As attention's, its results pass a linear layer.
  """

  design: Design

  @nn.compact
  def __call__(self, x: Any, valid: Any) -> Any:
    design = self.design
    switches = options.defaults(cells.SWITCHES[design.mixer])
    cell = minimal_layer.CELLS[design.mixer](
      {**switches, 'candidate_activation': 'positive'}
    )
    layer = minimal_layer.MinimalLayer(
      cell, design.width, init_fn=design.init_fn, dtype=design.dtype, name='cell'
    )
    sequence = recurrent_layer.Sequence(
      x.swapaxes(0, 1), None if valid is None else valid.T
    )
    y, _ = layer(sequence, None, rate=0.0, train=False)  # [T, B, W]
    return blocks.dense(
      design.width, 'output', kernel_init=design.last_init, dtype=design.dtype
    )(y.swapaxes(0, 1))


class Perceptron(nn.Module):
  """Each position by itself, [B, T, W] -> [B, T, W].

  dense: W2 a(W1 x). gated: W2 (a(V x) * W1 x), with a = silu SwiGLU (Shazeer 2020).
  """

  design: Design

  @nn.compact
  def __call__(self, x: Any, *, rate: Any, train: bool) -> Any:
    design = self.design
    dense = functools.partial(blocks.dense, dtype=design.dtype)
    y = dense(design.hidden, 'up', kernel_init=design.init_fn)(x)
    if design.mlp == 'gated':
      gate = dense(design.hidden, 'gate', kernel_init=design.init_fn)(x)
      y = design.activation(gate) * y
    else:
      y = design.activation(y)
    y = blocks.Dropout(name='dropout')(y, rate, train=train)
    return dense(design.width, 'down', kernel_init=design.last_init)(y)


class Layer(nn.Module):
  """Attention, then the perceptron, each with its norm, dropout and residual."""

  design: Design

  @nn.compact
  def __call__(
    self,
    x: Any,
    before: Memory | None,
    valid: Any,
    *,
    train: bool,
    hyper: Mapping[str, Any],
  ) -> tuple[Any, Memory | None]:
    after = None
    design = self.design

    def around(x, name, function):
      y = x if design.post else normalise(design, x, f'{name}_norm')
      y = function(y)
      drop = blocks.Dropout(name=f'{name}_dropout')
      y = drop(y, hyper['model.dropout'], train=train)
      y = x + y if design.residual else y
      return normalise(design, y, f'{name}_norm') if design.post else y

    def attend(x):
      nonlocal after
      if design.mixer in minimal_layer.CELLS:
        return MinimalMixer(design, name=design.mixer)(x, valid)
      rate = hyper['model.dropout_attention']
      mix = SelfAttention(design, name='attention')
      y, after = mix(x, before, valid, rate=rate, train=train)
      return y

    def apply_mlp(x):
      rate = hyper['model.dropout_mlp']
      return Perceptron(design, name='mlp')(x, rate=rate, train=train)

    if design.mixer != 'none':
      x = around(x, 'attention', attend)
    if design.mlp != 'none':
      x = around(x, 'mlp', apply_mlp)
    return x, after


def sinusoids(steps: int, width: int) -> np.ndarray:
  """Positions as sines and cosines, [T, W] (Vaswani et al. 2017, §3.5)."""
  pairs = np.arange((width + 1) // 2)
  angles = np.arange(steps)[:, None] * 10_000.0 ** (-2 * pairs / width)
  table = np.stack([np.sin(angles), np.cos(angles)], -1)  # [T, W/2, 2]
  return table.reshape(steps, -1)[:, :width]


class Transformer(nn.Module):
  """Embedding, layers, a linear layer.

  Symbols and positions are embedded with a variance of 1 (as in Vaswani et al. 2017,
  tables start at 1 / sqrt(W) and are read times sqrt(W)), so that a tied output layer
  starts with logits of that size, too.

  Attributes:
    outputs: units of the linear layer.
    every: answer at every step [B, T, outputs], or once [B, outputs].
    symbols: how many there are if the input is one of them [B, T], else 0.
    layers: how many.
    design: of each.
    positions: 'none', 'learned', 'sinusoidal' or 'rotary'.
    length: positions of a training example; 0 if unknown.
    patch: side of the squares that images are cut into; 0: rows are steps.
    readout: 'mean', 'last' or 'token' (a learned one before all others).
    tied: whether the output layer's kernel is the embedding's transpose.
  """

  outputs: int
  every: bool
  symbols: int
  layers: int
  design: Design
  positions: str
  length: int
  patch: int
  readout: str
  tied: bool

  @nn.compact
  def run(
    self,
    x: Any,
    *,
    train: bool,
    hyper: Mapping[str, Any],
    carry: Any = None,
    lengths: Any = None,
    nudge: Any = None,
  ) -> Any:
    """Outputs; with a `carry` also the next one. Arguments as `sequences.Stack`."""
    design = self.design
    table = self.embedding() if self.symbols else None
    x, valid = self.read(x, table, lengths)
    self.sow('intermediates', 'read', x.swapaxes(0, 1))
    x = x if nudge is None else x + nudge.swapaxes(0, 1)
    x = self.place(x)
    if self.readout == 'token' and not self.every:
      x, valid = self.prepend_token(x, valid)
    x = blocks.Dropout(name='dropout_input')(
      x, hyper['model.dropout_input'], train=train
    )
    last = []
    for index in range(self.layers):
      before = None if carry is None else self.memory_of(carry, index, len(x))
      layer = Layer(design, name=f'layer{index}')
      x, after = layer(x, before, valid, train=train, hyper=hyper)
      last.append(after)
    if not design.post:
      x = normalise(design, x, 'final_norm')
    x = x if self.every else self.pool(x, valid)
    outputs = blocks.logits(self.head(x, table))
    return outputs if carry is None else (outputs, tuple(last))

  def read(self, x: Any, table: Any, lengths: Any) -> tuple[Any, Any]:
    """The input as positions [B, T, W], and which of them are real [B, T] or None."""
    design = self.design
    if table is not None:
      x = sharding.apart(
        lambda rows, at: rows[at], (jnp.asarray(table), x), (None, 0), 0
      )
      x = (x * design.width**0.5).astype(design.dtype)
      valid = None if lengths is None else before_end(lengths, x.shape[1])
      return x, valid
    if lengths is not None:  # what lies behind the end may be anything
      real = before_end(lengths, x.shape[1])
      x = jnp.where(real.reshape(*real.shape, *(1,) * (x.ndim - 2)), x, 0)
    if self.patch and x.ndim == 4:
      x, columns = cut(x, self.patch)
      if lengths is not None:
        rows = before_end(-(-lengths // self.patch), x.shape[1] // columns)
        lengths, real = rows.sum(1) * columns, jnp.repeat(rows, columns, 1)
    x = x.reshape(*x.shape[:2], -1).astype(design.dtype)  # [B, T, F]
    x = blocks.dense(
      design.width, 'embedding', kernel_init=design.init_fn, dtype=design.dtype
    )(x)
    return x, None if lengths is None else real

  def embedding(self) -> Any:
    """The embedding of symbols, [V, W]."""
    width = self.design.width
    init = nn.initializers.normal(width**-0.5)
    return recurrent_layer.Weight(init, (self.symbols, width), name='embedding')()

  def place(self, x: Any) -> Any:
    """Adds positions where they are added.

    Raises:
      UserError: more positions than a training example has.
    """
    if self.positions not in ('learned', 'sinusoidal'):
      return x
    _, steps, width = x.shape
    length = self.length or steps
    if steps > length:
      raise errors.UserError(
        f'config.model.positions={self.positions} numbers the {length} positions of a '
        f'training window, and an evaluation reads {steps} (data.context + '
        'data.eval_window): make them no more, or use rotary or none'
      )
    if self.positions == 'sinusoidal':
      return x + jnp.asarray(sinusoids(steps, width), x.dtype)
    init = nn.initializers.normal(width**-0.5)
    table = recurrent_layer.Weight(init, (length, width), name='positions')()
    return x + (table[:steps] * width**0.5).astype(x.dtype)

  def prepend_token(self, x: Any, valid: Any) -> tuple[Any, Any]:
    """With a learned position before all others."""
    batch, _, width = x.shape
    init = nn.initializers.normal(width**-0.5)
    token = recurrent_layer.Weight(init, (1, width), name='token')() * width**0.5
    token = jnp.broadcast_to(token.astype(x.dtype), (batch, 1, width))
    if valid is not None:
      valid = jnp.concatenate([jnp.ones((batch, 1), bool), valid], 1)
    return jnp.concatenate([token, x], 1), valid

  def memory_of(self, carry: Any, index: int, batch: int) -> Memory:
    """A layer's memory; at a beginning, an empty one."""
    if carry:
      return carry[index]
    design = self.design
    shape = (batch, design.memory, design.heads, design.width // design.heads)
    zeros = jnp.zeros(shape, design.dtype)
    key = None if design.mixer == 'average' else zeros
    return Memory(key, zeros, jnp.zeros(shape[:2], design.dtype))

  def pool(self, x: Any, valid: Any) -> Any:
    """One vector of all positions, [B, T, W] -> [B, W]."""
    if self.readout == 'token':
      return x[:, 0]
    if self.readout == 'last':
      at = -1 if valid is None else jnp.maximum(valid.sum(1), 1) - 1
      return x[jnp.arange(len(x)), at]
    if valid is None:
      return x.mean(1)
    share = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
    return (x * share[..., None].astype(x.dtype)).sum(1)

  def head(self, x: Any, table: Any) -> Any:
    """The linear layer, whose kernel may be the table's."""
    dtype = self.design.dtype
    if not self.tied:
      return blocks.dense(
        self.outputs, 'output', kernel_init=self.design.init_fn, dtype=dtype
      )(x)
    bias = self.param('output_bias', nn.initializers.zeros, (self.outputs,))
    return x @ table.T.astype(dtype) + bias.astype(dtype)


class Encoder(Transformer):
  """Each sequence, or window, by itself."""

  def __call__(
    self,
    x: Any,
    *,
    train: bool,
    hyper: Mapping[str, Any],
    lengths: Any = None,
    nudge: Any = None,
  ) -> Any:
    return self.run(x, train=train, hyper=hyper, lengths=lengths, nudge=nudge)


class PatchEncoder(Transformer):
  """Images as patches, whose order is not time."""

  def __call__(
    self, x: Any, *, train: bool, hyper: Mapping[str, Any], lengths: Any = None
  ) -> Any:
    return self.run(x, train=train, hyper=hyper, lengths=lengths)


class RecurrentDecoder(Transformer):
  """Carries keys and values from window to window (Dai et al. 2019)."""

  def __call__(
    self,
    x: Any,
    *,
    train: bool,
    hyper: Mapping[str, Any],
    carry: Any = None,
    nudge: Any = None,
  ) -> Any:
    return self.run(x, train=train, hyper=hyper, carry=carry, nudge=nudge)


def before_end(lengths: Any, steps: int) -> Any:
  """Which of `steps` steps lie before each sequence's end, bool [B, T]."""
  return jnp.arange(steps)[None] < lengths[:, None]


def cut(x: Any, side: int) -> tuple[Any, int]:
  """Square patches of images, row by row, [B, H, W, C] -> [B, N, side, side, C].

  Returns:
    the patches, and how many stand side by side.
  """
  batch, height, width, channels = x.shape
  rows, columns = height // side, width // side
  x = x.reshape(batch, rows, side, columns, side, channels).swapaxes(2, 3)
  return x.reshape(batch, rows * columns, side, side, channels), columns
