"""A generator and a discriminator without convolution (Goodfellow et al. 2014).

The fully connected counterparts of `dcgan`, with the same options where they mean the
same.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import adversarial, blocks

OPTIONS = {
  'latent': Option(100, 'numbers of noise', 1),
  'generator_hidden': Option(
    (256, 512), 'units of each hidden layer, from the noise', 1, width=True
  ),
  'discriminator_hidden': Option(
    (512, 256), 'units of each hidden layer, from the image', 1, width=True
  ),
  'generator_norm': Option(
    'batch', 'not on the image', choices=('none', 'batch', 'layer', 'spectral')
  ),
  'discriminator_norm': Option(
    'batch',
    'not on the first layer but for spectral',
    choices=('none', 'batch', 'layer', 'spectral'),
  ),
  'generator_activation': Option('relu', 'of the generator'),
  'discriminator_activation': Option('leaky_relu', 'of the discriminator'),
  'slope': Option(0.2, 'of leaky_relu below 0, in either player', 0, traced=True),
  'conditional': Option(False, 'both players are given the label'),
  'init': Option('he', 'initial weights; dcgan: N(0, .02)'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}

NORMS = ('none', 'batch', 'layer', 'spectral')


class Stack(nn.Module):
  """Hidden layers, each normed and activated, [B, inputs] -> [B, units].

  Attributes:
    first_norm: whether the first layer has a norm.
  """

  hidden: tuple[int, ...]
  norm: str
  first_norm: bool
  activation: Callable
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(self, x: Any, *, train: bool, hyper: Mapping[str, Any]) -> Any:
    for index, units in enumerate(self.hidden):
      norm = self.norm if index or self.first_norm else 'none'
      x = adversarial.Dense(
        features=units,
        use_bias=adversarial.biased(norm),
        spectral=self.norm == 'spectral',
        kernel_init=self.init_fn,
        dtype=self.dtype,
        name=f'dense{index}',
      )(x, train=train)
      x = adversarial.normalise(x, norm, f'norm{index}', train=train, dtype=self.dtype)
      x = self.activation(x, hyper['model.slope'])
      self.sow('intermediates', f'dense{index}_out', x)
    return x


class Generator(nn.Module):
  """Noise [B, Z] to images [B, H, W, C] in (-1, 1); a label as one-hot code beside it.

  Attributes:
    stack: `name -> module`.
  """

  shape: tuple[int, int, int]
  stack: Callable
  spectral: bool
  classes: int
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(
    self, z: Any, *, train: bool, hyper: Mapping[str, Any], label: Any = None
  ) -> Any:
    x = z.astype(self.dtype)
    if self.classes:
      code = adversarial.one_hot(label, self.classes, self.dtype)
      x = jnp.concatenate([x, code], -1)
    x = self.stack(name='stack')(x, train=train, hyper=hyper)
    x = adversarial.Dense(
      features=math.prod(self.shape),
      spectral=self.spectral,
      kernel_init=self.init_fn,
      dtype=self.dtype,
      name='output',
    )(x, train=train)
    return jnp.tanh(blocks.logits(x)).reshape(-1, *self.shape)


class Discriminator(nn.Module):
  """Images [B, H, W, C] to logits [B]; a label by projection (Miyato & Koyama 2018).

  Attributes:
    stack: `name -> module`.
  """

  stack: Callable
  spectral: bool
  classes: int
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(
    self, x: Any, *, train: bool, hyper: Mapping[str, Any], label: Any = None
  ) -> Any:
    common: dict[str, Any] = {
      'spectral': self.spectral,
      'kernel_init': self.init_fn,
      'dtype': self.dtype,
    }
    x = x.reshape(x.shape[0], -1).astype(self.dtype)  # [B, H * W * C]
    x = self.stack(name='stack')(x, train=train, hyper=hyper)
    logit = adversarial.Dense(1, name='output', **common)(x, train=train)
    if self.classes:
      code = adversarial.one_hot(label, self.classes, self.dtype)
      embedding = adversarial.Dense(
        features=x.shape[-1], use_bias=False, name='embedding', **common
      )(code, train=train)
      logit += (embedding * x).sum(-1, keepdims=True)
    return blocks.logits(logit)[:, 0]


def build(config: Mapping[str, Any]) -> nn.Module:
  """A player's module for the options; the task gives what `dcgan` needs.

  Raises:
    UserError: if the task plays no game, or an option is out of range.
  """
  player = adversarial.choose_player('dense_gan', 'gan', config)
  blocks.check_sizes(config, 'latent', 'generator_hidden', 'discriminator_hidden')
  init_fn = blocks.block('model.init', config['init'], adversarial.INITIALIZERS)
  dtype = blocks.dtype(config['dtype'])
  players: dict[str, dict[str, Any]] = {
    name: {
      'stack': functools.partial(
        Stack,
        hidden=tuple(config[f'{name}_hidden']),
        norm=config_lib.choose(f'model.{name}_norm', config[f'{name}_norm'], NORMS),
        first_norm=name == 'generator',
        activation=blocks.sloped_activation(
          f'model.{name}_activation', config[f'{name}_activation']
        ),
        init_fn=init_fn,
        dtype=dtype,
      ),
      'spectral': config[f'{name}_norm'] == 'spectral',
      'classes': adversarial.check_labels(config),
      'init_fn': init_fn,
      'dtype': dtype,
    }
    for name in ('generator', 'discriminator')
  }
  if player == 'discriminator':
    return Discriminator(**players[player])
  return Generator(shape=tuple(config['shape']), **players[player])
