"""DCGAN (Radford, Metz & Chintala, ICLR 2016), every part of which can be ablated.

A generator from noise to images through maps that double, and a discriminator from
images to a logit through maps that halve. The paper's figure 1 is width 128 and kernel
5 at 64x64: 100 -> 4x4x1024 -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x3. Norms start
with scale 1 (the authors' code: N(1, .02)).
"""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import adversarial, blocks
from dlsteroids.util import errors

OPTIONS = {
  'latent': Option(100, 'numbers of noise', 1),
  'width': Option(
    64, "channels of the generator's last map; doubled towards the noise", 1, width=True
  ),
  'discriminator_width': Option(
    64, "channels of the discriminator's first map; doubled from there", 1, width=True
  ),
  'depth': Option(0, 'doublings; 0: until the first map has sides of 2 to 7', 0),
  'kernel': Option(4, "side of each kernel; the paper's is 5", 1),
  'upsample': Option(
    'transposed',
    'resize: nearest neighbour, then convolution',
    choices=('transposed', 'resize', 'subpixel'),
  ),
  'generator_norm': Option(
    'batch',
    'not on the image',
    choices=('none', 'batch', 'layer', 'instance', 'spectral'),
  ),
  'discriminator_norm': Option(
    'batch',
    'not on the first layer but for spectral',
    choices=('none', 'batch', 'layer', 'instance', 'spectral'),
  ),
  'generator_activation': Option('relu', 'of the generator'),
  'discriminator_activation': Option('leaky_relu', 'of the discriminator'),
  'slope': Option(0.2, 'of leaky_relu below 0, in either player', 0, traced=True),
  'conditional': Option(False, 'both players are given the label'),
  'init': Option('dcgan', 'initial weights; dcgan: N(0, .02)'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}


class Generator(nn.Module):
  """Noise [B, Z] to images [B, H, W, C] in (-1, 1).

  With `classes` the label's one-hot code is joined to the noise (Mirza & Osindero
  2014).

  Attributes:
    base: height and width of the first map.
    widths: channels of the maps, the first to the last before the image.
  """

  channels: int
  base: tuple[int, int]
  widths: tuple[int, ...]
  kernel: int
  upsample: str
  norm: str
  activation: Callable
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
    common: dict[str, Any] = {
      'spectral': self.norm == 'spectral',
      'kernel_init': self.init_fn,
      'dtype': self.dtype,
    }
    use_bias = adversarial.biased(self.norm)
    x = adversarial.Dense(
      features=(*self.base, self.widths[0]), use_bias=use_bias, name='project', **common
    )(x, train=train)
    x = self.finish(x, 'project', 'norm0', train, hyper)
    options: dict[str, Any] = {'kernel': self.kernel, 'kind': self.upsample, **common}
    for index, width in enumerate(self.widths[1:], 1):
      x = adversarial.Upsample(
        features=width, use_bias=use_bias, name=f'up{index}', **options
      )(x, train=train)
      x = self.finish(x, f'up{index}', f'norm{index}', train, hyper)
    x = adversarial.Upsample(features=self.channels, name='output', **options)(
      x, train=train
    )
    return jnp.tanh(blocks.logits(x))

  def finish(self, x: Any, layer: str, norm: str, train: bool, hyper: Any) -> Any:
    x = adversarial.normalise(x, self.norm, norm, train=train, dtype=self.dtype)
    x = self.activation(x, hyper['model.slope'])
    self.sow('intermediates', f'{layer}_out', x)
    return x


class Discriminator(nn.Module):
  """Images [B, H, W, C] to logits [B], high where they look real.

  With `classes` the label's embedding times the last map, summed over its places, is
  added (projection, Miyato & Koyama 2018).

  Attributes:
    widths: channels of the maps.
  """

  widths: tuple[int, ...]
  kernel: int
  norm: str
  activation: Callable
  classes: int
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(
    self, x: Any, *, train: bool, hyper: Mapping[str, Any], label: Any = None
  ) -> Any:
    common: dict[str, Any] = {
      'spectral': self.norm == 'spectral',
      'kernel_init': self.init_fn,
      'dtype': self.dtype,
    }
    for index, width in enumerate(self.widths, 1):
      norm = self.norm if index > 1 else 'none'
      x = adversarial.Conv(
        features=width,
        kernel=self.kernel,
        stride=2,
        use_bias=adversarial.biased(norm),
        name=f'conv{index}',
        **common,
      )(x, train=train)
      x = adversarial.normalise(x, norm, f'norm{index}', train=train, dtype=self.dtype)
      x = self.activation(x, hyper['model.slope'])
      self.sow('intermediates', f'conv{index}_out', x)
    flat = x.reshape(x.shape[0], -1)  # [B, H * W * C]
    logit = adversarial.Dense(1, name='output', **common)(flat, train=train)
    if self.classes:
      code = adversarial.one_hot(label, self.classes, self.dtype)
      embedding = adversarial.Dense(
        features=x.shape[-1], use_bias=False, name='embedding', **common
      )(code, train=train)
      logit += (embedding * x.sum((1, 2))).sum(-1, keepdims=True)
    return blocks.logits(logit)[:, 0]


def count_doublings(config: Mapping[str, Any]) -> int:
  """How often the first map doubles to the images' size.

  Raises:
    UserError: if it cannot; says which sizes work.
  """
  sides, depth = config['shape'][:2], config['depth']
  if depth < 0:
    raise errors.UserError(f'config.model.depth must be at least 0, not {depth}')
  if depth:
    if any(side % 2**depth or side < 2 * 2**depth for side in sides):
      raise errors.UserError(
        f'dcgan with config.model.depth={depth} makes images whose sides are multiples '
        f'of {2**depth}, at least {2 * 2**depth}; these have {sides[0]}x{sides[1]}'
      )
    return depth
  for number in range(1, 20):
    scale = 2**number
    if all(side % scale == 0 and 2 <= side // scale <= 7 for side in sides):
      return number
  raise errors.UserError(
    f'dcgan makes images whose height and width are 2 to 7 times the same power of two '
    f'(8, 12, 16, 20, 24, 28, 32, 48, 64, 128); these have {sides[0]}x{sides[1]}: '
    f'resize them, or set config.model.depth'
  )


def build(config: Mapping[str, Any]) -> nn.Module:
  """A player's module for the options.

  Args:
    config: options, and of the task `player` ('generator' or 'discriminator'), `shape`
      of the images (H, W, C), `classes` (0 without labels).

  Raises:
    UserError: if the task plays no game, images do not fit, or an option is out of
      range.
  """
  player = adversarial.choose_player('dcgan', 'gan', config)
  blocks.check_sizes(config, 'latent', 'width', 'discriminator_width', 'kernel')
  depth = count_doublings(config)
  height, width, channels = config['shape']
  choose, norms = config_lib.choose, adversarial.NORMS
  upsample = choose('model.upsample', config['upsample'], adversarial.UPSAMPLES)
  shared: dict[str, dict[str, Any]] = {
    name: {
      'kernel': config['kernel'],
      'norm': choose(f'model.{name}_norm', config[f'{name}_norm'], norms),
      'activation': blocks.sloped_activation(
        f'model.{name}_activation', config[f'{name}_activation']
      ),
      'classes': adversarial.check_labels(config),
      'init_fn': blocks.block('model.init', config['init'], adversarial.INITIALIZERS),
      'dtype': blocks.dtype(config['dtype']),
    }
    for name in ('generator', 'discriminator')
  }
  if player == 'discriminator':
    first = config['discriminator_width']
    widths = tuple(first * 2**index for index in range(depth))
    return Discriminator(widths=widths, **shared[player])
  return Generator(
    channels=channels,
    base=(height >> depth, width >> depth),
    widths=tuple(config['width'] * 2**index for index in reversed(range(depth))),
    upsample=upsample,
    **shared[player],
  )
