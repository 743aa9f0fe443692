"""Optimizers and schedules from optax, with traced numbers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib


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


# Layers that Muon leaves to Adam, as its author does: what reads symbols or patches,
# what answers, and tables of vectors.
OUTER = ('embedding', 'output', 'positions', 'token')
RMS = 0.2  # of an orthogonalised update, as large as Adam's usual one


def is_hidden_matrix(path: Any, leaf: Any) -> bool:
  """Whether a parameter is a kernel between hidden layers."""
  names = [getattr(key, 'key', '') for key in path]
  return leaf.ndim > 1 and names[-1] == 'kernel' and not set(OUTER) & set(names)


def matrix_axes(params: Any) -> Any:
  """Which axes of each kernel are a matrix's inputs and outputs.

  A convolution's kernel HWIO is one matrix [H W I, O]; of unshared weights every
  position [taps, F] is one.
  """

  def axes(path, leaf):
    unshared = any(getattr(key, 'key', '').startswith('local') for key in path)
    first = leaf.ndim - 2 if unshared else 0
    inputs = tuple(range(first, leaf.ndim - 1))
    return optax.contrib.MuonDimensionNumbers(inputs, (leaf.ndim - 1,))

  return jax.tree_util.tree_map_with_path(axes, params)


def muon(momentum: Any, adam: optax.GradientTransformation) -> Any:
  """Muon for the kernels between hidden layers, `adam` for all other parameters.

  Jordan et al. 2024: the direction is the momentum's (Nesterov's), made nearly
  orthogonal by five Newton-Schulz steps. It is as large as Adam's, 0.2 sqrt(max(inputs,
  outputs)) (Liu et al. 2025, eq. 4), so both have one learning rate. Deviation: as
  optax has it, the momentum's bias towards its start is taken off.
  """

  def label(params):
    return jax.tree_util.tree_map_with_path(
      lambda path, leaf: 'muon' if is_hidden_matrix(path, leaf) else 'adam', params
    )

  def enlarge(updates, params):
    del params

    def scale(leaf, axes):
      inputs = math.prod(leaf.shape[axis] for axis in axes.reduction_axis)
      return leaf * (RMS * math.sqrt(max(inputs, leaf.shape[-1])))

    return jax.tree.map(scale, updates, matrix_axes(updates))

  orthogonal = optax.chain(
    optax.contrib.scale_by_muon(beta=momentum, weight_dimension_numbers=matrix_axes),
    optax.stateless(enlarge),
  )
  return optax.partition({'muon': orthogonal, 'adam': adam}, label)


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
    # Tieleman & Hinton 2012, without momentum; epsilon outside of the root, as in torch
    'rmsprop': (
      decay,
      optax.scale_by_rms(numbers['beta2'], numbers['epsilon'], eps_in_sqrt=False),
    ),
    # Chen et al. 2023
    'lion': (optax.scale_by_lion(numbers['beta1'], numbers['beta2']), decay),
    'muon': (muon(numbers['momentum'], adam), decay),
  }[config['name']]
  return optax.chain(clip_by_global_norm(numbers['clip']), *moves, rate)
