"""Optimizers and schedules from optax, with traced numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_schedule(name: str, hyper: Mapping[str, Any]) -> Callable[[Any], Any]:
  """`step -> learning rate` over `train.steps` steps, all of it traced.

  Linear warm-up over a share `optimizer.warmup` of the steps, then the named shape from
  the peak to `optimizer.final` of it. 'hold' is constant for the first half and linear
  after it (CycleGAN's). 'step' ignores `final`: a tenth at 1/2 and 3/4.
  """
  peak = hyper['optimizer.learning_rate']
  steps = hyper['train.steps']
  warm = hyper['optimizer.warmup'] * steps
  final = hyper['optimizer.final']

  def schedule(step):
    step = jnp.asarray(step, jnp.float32)
    share = jnp.clip((step - warm) / jnp.maximum(steps - warm, 1.0), 0.0, 1.0)
    shape = {
      'constant': lambda: jnp.ones_like(share),
      'cosine': lambda: final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * share)),
      'linear': lambda: 1 - (1 - final) * share,
      'hold': lambda: 1 - (1 - final) * jnp.maximum(0.0, 2 * share - 1),
      'step': lambda: jnp.where(share < 0.5, 1.0, jnp.where(share < 0.75, 0.1, 0.01)),
    }[name]()
    return peak * shape * jnp.minimum(1.0, (step + 1) / jnp.maximum(warm, 1.0))

  return schedule


def clip_by_global_norm(largest: Any) -> optax.GradientTransformation:
  """optax's clipping for a traced bound that may be infinite (no clipping)."""

  def update(updates, state, params=None):
    del params
    norm = optax.tree.norm(updates)
    scale = jnp.where(norm > largest, largest / norm, 1.0)
    return jax.tree.map(lambda g: g * scale.astype(g.dtype), updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def is_weight(params: Any) -> Any:
  """Mask of what weight decay applies to: kernels, not biases and norm scales."""

  def decays(path, leaf):  # unshared biases have a value at each position
    return leaf.ndim > 1 and getattr(path[-1], 'key', '') != 'bias'

  return jax.tree_util.tree_map_with_path(decays, params)


def make(
  config: Mapping[str, Any], hyper: Mapping[str, Any]
) -> optax.GradientTransformation:
  """The optimizer of a config section `optimizer`, its numbers taken from `hyper`."""
  numbers = {
    key.removeprefix('optimizer.'): value
    for key, value in hyper.items()
    if key.startswith('optimizer.')
  }
  decay = optax.add_decayed_weights(numbers['weight_decay'], is_weight)
  rate = optax.scale_by_learning_rate(make_schedule(config['schedule'], hyper))
  adam = optax.scale_by_adam(numbers['beta1'], numbers['beta2'], numbers['epsilon'])
  moves = {
    'sgd': (decay, optax.trace(numbers['momentum'], config['nesterov'])),
    'adam': (decay, adam),
    'adamw': (adam, decay),
  }[config['name']]
  return optax.chain(clip_by_global_norm(numbers['clip']), *moves, rate)
