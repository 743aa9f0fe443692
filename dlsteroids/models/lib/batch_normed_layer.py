"""A recurrent layer with batch norm inside its loop (Cooijmans et al. 2017)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlsteroids.models.lib import recurrent_layer

EPSILON, MOMENTUM = 1e-5, 0.9  # as of the batch norm between layers


class Moments(NamedTuple):
  """Mean and variance of what is normalised, each [H], or [T, H] step by step."""

  mean: Any
  variance: Any


class Step(NamedTuple):
  """What a step reads; scanned over time.

  Attributes:
    x: W x(t), [B, G].
    mask: multiplies what is fed back, [B, R]; or None.
    valid: bool [B], false behind the end of a sequence; or None.
    averages: running moments by name, used in evaluation.
  """

  x: Any
  mask: Any
  valid: Any
  averages: dict[str, Moments]


def measure(x: Any, valid: Any) -> Moments:
  """The moments of a step over the examples that have not ended, x [B, H]."""
  weights = jnp.ones(len(x)) if valid is None else valid
  weights = (weights / jnp.maximum(weights.sum(), 1))[:, None]
  mean = (x * weights).sum(0)
  return Moments(mean, ((x - mean) ** 2 * weights).sum(0))


class BatchNormedLayer(recurrent_layer.Layer):
  """A shipped cell over time, [T, B, F] -> [T, B, H], normalised over the batch.

  W x, R y and the LSTM's cell where h sees it are normalised by unit, each step with
  moments of its own (equations 6 to 8): in training of the batch, in evaluation running
  averages, of the last step also for steps behind the training examples' last. A carry
  tells, after the states, how many steps there were before.
  """

  @nn.compact
  def __call__(
    self, sequence: recurrent_layer.Sequence, carry: Any, *, rate: Any, train: bool
  ) -> tuple[Any, Any]:
    """Outputs [T, B, H] and the last carry; `rate` is the recurrent dropout's."""
    x = sequence.x.astype(self.dtype)
    steps, batch, _ = x.shape
    reads, biases = self.input_weights(x.shape[-1])
    scales = self.input_scales()
    feeds, vectors = self.recurrent_weights()
    kernel = recurrent_layer.join(feeds.values()).astype(self.dtype)
    if carry is None:
      carry = (*self.zero_carry(batch), jnp.zeros((batch, 1), jnp.int32))
    *carry, before = carry
    averages = self.averages(steps, vectors)
    last = len(next(iter(averages.values())).mean.value) - 1
    at = jnp.minimum(before[0, 0] + jnp.arange(steps), last)
    states = self.cell.states
    first = (jnp.concatenate([carry[0], *carry[states:]], -1), *carry[1:states])
    mask = self.drop(steps, batch, first[0].shape[-1], rate, train)
    inputs = Step(
      x @ recurrent_layer.join(reads.values()).astype(self.dtype),
      None if mask is None else jnp.broadcast_to(mask, (steps, *mask.shape[1:])),
      sequence.valid,
      {n: Moments(*(part.value[at] for part in v)) for n, v in averages.items()},
    )
    bias = {name: value.astype(self.dtype) for name, value in biases.items()}

    def body(carry, now):
      moments: dict[str, Moments] = {}

      def standardise(name, value):
        wide = value.astype(jnp.promote_types(value.dtype, jnp.float32))
        own = measure(wide, now.valid) if train else now.averages[name]
        moments[name] = own
        scaled = (wide - own.mean) * jax.lax.rsqrt(own.variance + EPSILON)
        return scaled.astype(value.dtype)

      parts = zip(self.cell.gates, jnp.split(now.x, len(self.cell.gates), -1))
      read = recurrent_layer.join(
        standardise(f'{n}_input', part) * scales[n] + bias[n] for n, part in parts
      )
      fed = carry[0] if now.mask is None else carry[0] * now.mask
      new, gates = self.advance(
        vectors, carry, read, fed @ kernel, standardise=standardise
      )
      if now.valid is not None:
        keep = now.valid[:, None]
        new = jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, carry)
      return new, (new, gates, moments)

    end, (outputs, gates, moments) = jax.lax.scan(
      body, first, inputs, reverse=self.reverse
    )
    if train and self.is_mutable_collection('batch_stats'):
      self.follow(averages, moments, sequence.valid)
    y, *fed = jnp.split(end[0], 1 + len(self.cell.fed), -1)
    hidden = outputs[0][..., : self.units]
    if self.is_mutable_collection('intermediates'):
      traces = {f'gates/{name}': value for name, value in gates.items()}
      traces |= {'hidden': hidden}
      traces |= {'cell': outputs[1]} if len(outputs) > 1 else {}
      for name, value in traces.items():
        self.sow('intermediates', name, value)
    return hidden, (y, *end[1:], *fed, before + steps)

  def averages(self, steps: int, vectors: Any) -> dict[str, Moments]:
    """Running moments by name: variables [T, H], T of the examples of `init`."""
    names = [
      f'{gate}_{end}' for gate in self.cell.gates for end in ('input', 'recurrent')
    ]
    names += ['cell'] if 'norm_cell' in vectors else []
    shape = (steps, self.units)

    def make(name, value):
      return self.variable('batch_stats', name, jnp.full, shape, value)

    return {
      n: Moments(make(f'{n}_mean', 0.0), make(f'{n}_variance', 1.0)) for n in names
    }

  def follow(
    self, averages: dict[str, Moments], moments: dict[str, Moments], valid: Any
  ) -> None:
    """Moves the running averages towards a training batch's moments."""
    for name, average in averages.items():
      for old, batch in zip(average, moments[name]):
        new = MOMENTUM * old.value + (1 - MOMENTUM) * batch
        if valid is not None:
          new = jnp.where(valid.any(1)[:, None], new, old.value)
        old.value = new
