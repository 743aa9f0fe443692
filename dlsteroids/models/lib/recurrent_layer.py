"""One recurrent layer over a whole sequence, of a shipped cell or of the user's."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlsteroids.models.lib import blocks, cells, cudnn
from dlsteroids.models.ops import recurrence, sliding


def join(parts: Iterable[Any]) -> Any:
  """Arrays of all gates side by side."""
  return jnp.concatenate(list(parts), -1)


class Sequence(NamedTuple):
  """What a layer reads.

  Attributes:
    x: [T, B, F].
    valid: bool [T, B], false behind the end of a sequence, or None.
  """

  x: Any
  valid: Any = None


class Weight(nn.Module):
  """One matrix, drawn in a scope of its own.

  Linen's draws depend on how many a module made before: one gate less would move the
  initial values of all that follow.
  """

  init_fn: Callable
  shape: tuple[int, int]

  @nn.compact
  def __call__(self) -> Any:
    return self.param('kernel', self.init_fn, self.shape)


class Layer(nn.Module):
  """A shipped cell over time, [T, B, F] -> [T, B, H], every gate's weights its own.

  Gates have parameters of their own so that removing one leaves the others' initial
  values alone; they are joined to one product for all.

  Attributes:
    cell: what one step does.
    units: H.
    reverse: from the last step to the first.
    norm: 'none', or of W x and of R y, gate by gate, before they are added: 'layer'
      (Ba et al. 2016, there over all gates at once, which would couple them); 'batch'
      is another layer's.
    per_step: draws a recurrent dropout mask for every step, not one for all
      (variational, Gal & Ghahramani 2016).
    remat: steps per piece whose inner values are computed again in the backward pass;
      0 keeps all of them.
    cudnn: NVIDIA's kernel in place of the loop, in one direction.
  """

  cell: cells.Cell
  units: int
  reverse: bool = False
  norm: str = 'none'
  per_step: bool = False
  remat: int = 0
  cudnn: bool = False
  init_fn: Callable = blocks.INITIALIZERS['lecun']
  recurrent_init: Callable = blocks.INITIALIZERS['orthogonal']
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, sequence: Sequence, carry: Any, *, rate: Any, train: bool
  ) -> tuple[Any, Any]:
    """Outputs [T, B, H] and the last carry; `rate` is the recurrent dropout's."""
    x = sequence.x.astype(self.dtype)
    batch = x.shape[1]
    reads, biases = self.input_weights(x.shape[-1])
    feeds, vectors = self.recurrent_weights()
    if carry is None:
      carry = self.zero_carry(batch)
    if self.cudnn and not sliding.is_plain():
      joined = {n: (reads[n], feeds[n], biases[n]) for n in self.cell.gates}
      with sliding.other_flops():
        return cudnn.run(joined, x, carry, sequence.valid)
    x = self.read(x, reads, biases)  # [T, B, G]
    kernel = join(feeds.values()).astype(self.dtype)
    # Gates that are fed back stand beside y in what the recurrence multiplies.
    states = self.cell.states
    first = (jnp.concatenate([carry[0], *carry[states:]], -1), *carry[1:states])
    mask = self.drop(x.shape[0], batch, first[0].shape[-1], rate, train)
    inputs = recurrence.Inputs(x, mask, sequence.valid)
    additive = self.cell.additive and not self.normed
    form = recurrence.Form(self.step, additive, self.reverse)
    if self.is_mutable_collection('intermediates'):
      self.sow_traces(form, vectors, kernel, inputs, first)
    steps = self.remat if train and x.shape[0] > self.remat else 0
    run = recurrence.recur if not steps else functools.partial(pieces, size=steps)
    outputs, last = run(form, vectors, kernel, inputs, first)
    y, *fed = jnp.split(last[0], 1 + len(self.cell.fed), -1)
    return outputs[..., : self.units], (y, *last[1:], *fed)

  def zero_carry(self, batch: int) -> Any:
    count = self.cell.states + len(self.cell.fed)
    return tuple(jnp.zeros((batch, self.units), self.dtype) for _ in range(count))

  def input_weights(self, features: int) -> tuple[Any, Any]:
    """W [F, H] and b [H] by gate."""
    names, units, initial = self.cell.gates, self.units, self.cell.biases
    shape = (features, units)
    reads = {n: Weight(self.init_fn, shape, name=f'{n}_input')() for n in names}
    constants = {n: nn.initializers.constant(initial.get(n, 0.0)) for n in names}
    return reads, {n: self.param(f'{n}_bias', constants[n], (units,)) for n in names}

  @property
  def normed(self) -> bool:
    return self.norm != 'none'

  def input_scales(self) -> dict[str, Any]:
    """Gains of the normalised W x by gate, [H]."""
    start = nn.initializers.constant(cells.GAINS[self.norm])
    return {
      name: self.param(f'{name}_input_norm', start, (self.units,)).astype(self.dtype)
      for name in self.cell.gates
    }

  def read(self, x: Any, reads: Any, biases: Any) -> Any:
    """W x + b of all gates and steps: one product."""
    product = x @ join(reads.values()).astype(self.dtype)
    if self.normed:
      scales = self.input_scales().values()
      parts = jnp.split(product, len(scales), -1)
      product = join(cells.normalise(p) * s for p, s in zip(parts, scales))
    return product + join(biases.values()).astype(self.dtype)

  def recurrent_weights(self) -> tuple[Any, Any]:
    """R [R, H] by gate, and the step's own vectors."""
    cell, units = self.cell, self.units
    shape, feeds = (units, units), {}

    def weight(name):
      return Weight(self.recurrent_init, shape, name=name)()

    for name in cell.gates:
      parts = [weight(f'{name}_recurrent')]
      for other in cell.fed:  # the block input sees no gates
        fed_back = name in cell.fed
        parts.append(weight(f'{name}_from_{other}') if fed_back else jnp.zeros(shape))
      feeds[name] = jnp.concatenate(parts)
    initial = dict(cell.vectors)
    if self.normed:
      gain = cells.GAINS[self.norm]
      initial |= {f'{name}_recurrent_norm': gain for name in cell.gates}
    vectors = {
      name: self.param(name, nn.initializers.constant(value), (units,)).astype(
        self.dtype
      )
      for name, value in initial.items()
    }
    return feeds, vectors

  def step(self, vectors: Any, carry: Any, *parts: Any) -> Any:
    return self.advance(vectors, carry, *parts)[0]

  def advance(
    self,
    vectors: Any,
    carry: Any,
    *parts: Any,
    standardise: Callable[[str, Any], Any] = lambda name, x: cells.normalise(x),
  ) -> tuple[Any, cells.Gates]:
    """A step of the recurrence: splits into gates, and joins what is fed back.

    `standardise`: a norm without its gain, `(name of what it normalises, x) -> x`.
    """
    names, cell = self.cell.gates, self.cell
    x, u = parts if len(parts) == 2 else (parts[0], None)
    if u is not None:
      u = dict(zip(names, jnp.split(u, len(names), -1)))
    if self.normed and u is not None:
      u = {
        n: standardise(f'{n}_recurrent', u[n]) * vectors[f'{n}_recurrent_norm']
        for n in names
      }
      if cell.additive:
        x, u = x + join(u.values()), None
    x = cells.activate(cell.activations, names, x)
    own = (carry[0][..., : self.units], *carry[1:])
    normalise = functools.partial(standardise, 'cell')
    new, gates = cell.step(vectors, own, x, u, normalise)
    states, fed = new[: cell.states], new[cell.states :]
    return (jnp.concatenate([states[0], *fed], -1), *states[1:]), gates

  def drop(self, steps: int, batch: int, width: int, rate: Any, train: bool) -> Any:
    """The recurrent dropout's mask, [T or 1, B, R]; None if there is none."""
    if not train or rate is None:
      return None
    shape = (steps if self.per_step else 1, batch, width)
    ones = jnp.ones(shape, self.dtype)
    return blocks.dropout(ones, rate, self.make_rng('dropout'))

  def sow_traces(
    self, form: Any, vectors: Any, kernel: Any, inputs: Any, carry: Any
  ) -> None:
    """Sows gates and states of every step, [T, B, H] each, for the report."""

    def body(carry, now):
      u = carry[0] @ kernel
      parts = (now.x + u,) if form.additive else (now.x, u)
      new, gates = self.advance(vectors, carry, *parts)
      traces = {f'gates/{name}': value for name, value in gates.items()}
      traces['hidden'] = new[0][..., : self.units]
      if len(new) > 1:
        traces['cell'] = new[1]
      return new, traces

    undropped = inputs._replace(mask=None)
    _, traces = jax.lax.scan(body, carry, undropped, reverse=self.reverse)
    for name, value in traces.items():
      self.sow('intermediates', name, value)


def pieces(
  form: recurrence.Form,
  vectors: Any,
  kernel: Any,
  inputs: recurrence.Inputs,
  carry: Any,
  size: int,
) -> Any:
  """`recurrence.recur` that keeps only every `size`-th carry for the backward pass.

  Steps that fill no whole piece are one of their own, the last in the order of the run.
  """
  steps = inputs.x.shape[0]
  whole = steps - steps % size
  if whole < steps:
    cut = steps - whole if form.reverse else whole
    parts = [
      inputs._replace(
        x=inputs.x[a:b],
        mask=_part(inputs.mask, a, b),
        valid=None if inputs.valid is None else inputs.valid[a:b],
      )
      for a, b in ((0, cut), (cut, steps))
    ]
    parts = parts[::-1] if form.reverse else parts
    first, carry = pieces(form, vectors, kernel, parts[0], carry, size)
    rest, carry = pieces(form, vectors, kernel, parts[1], carry, steps - whole)
    both = [rest, first] if form.reverse else [first, rest]
    return jnp.concatenate(both), carry
  shared = inputs.mask if inputs.mask is not None and len(inputs.mask) == 1 else None
  scanned = inputs if shared is None else inputs._replace(mask=None)
  scanned = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), scanned)

  @jax.checkpoint
  def run(carry, piece):
    piece = piece if shared is None else piece._replace(mask=shared)
    outputs, carry = recurrence.recur(form, vectors, kernel, piece, carry)
    return carry, outputs

  carry, outputs = jax.lax.scan(run, carry, scanned, reverse=form.reverse)
  return outputs.reshape(steps, *outputs.shape[2:]), carry


def _part(mask: Any, start: int, stop: int) -> Any:
  """Some steps of a mask; of one that all steps share, itself."""
  return mask if mask is None or len(mask) == 1 else mask[start:stop]


class UserLayer(nn.Module):
  """A user's cell over time: a linen module `(carry, x) -> (carry, y)`.

  As flax's own cells, its class takes `features` and has `initialize_carry(key, shape)`
  for inputs of `shape` [B, F].
  """

  make_cell: Callable
  units: int
  reverse: bool = False

  @nn.compact
  def __call__(
    self, sequence: Sequence, carry: Any, *, rate: Any, train: bool
  ) -> tuple[Any, Any]:
    del rate, train
    cell = self.make_cell(features=self.units, name='cell')
    shape = sequence.x.shape[1:]
    if carry is None:
      carry = cell.initialize_carry(jax.random.key(0), shape)

    def body(cell, carry, now):
      new, y = cell(carry, now.x)
      if now.valid is not None:
        keep = lambda a, b: jnp.where(now.valid.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
        new = jax.tree.map(keep, new, carry)
      return new, y

    scan = nn.scan(
      body,
      variable_broadcast='params',
      split_rngs={'params': False, 'dropout': True},
      reverse=self.reverse,
    )
    carry, outputs = scan(cell, carry, sequence)
    return outputs, carry
