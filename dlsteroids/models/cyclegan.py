"""CycleGAN's nets (Zhu et al., ICCV 2017), every part of which can be ablated.

A generator from images to images, c7s1-64, d128, d256, R256 x 6 or 9, u128, u64,
c7s1-3, and a discriminator of patches, C64-C128-C256-C512 of 70x70 pixels (§7.2). As in
the authors' code the convolution after C512 keeps the resolution and norms learn no
scale and bias (`affine`). Where a norm takes a bias off, theirs have one that does
nothing; these have none: 11,372,931 parameters for nine blocks in place of 11,378,179.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import adversarial
from dlsteroids.models.lib import blocks as blocks_lib
from dlsteroids.util import errors

OPTIONS = {
  'width': Option(
    64, "channels of the generator's first map; doubled by each halving", 1, width=True
  ),
  'discriminator_width': Option(
    64,
    "channels of the discriminator's first map; doubled up to 8 times",
    1,
    width=True,
  ),
  'downsamples': Option(2, 'halvings, and doublings, of the generator', 0),
  'blocks': Option(
    0, 'residual blocks of two convolutions; 0: 6 below 256 pixels, else 9', 0
  ),
  'residual': Option(True, 'x + f(x) around each block; False: f(x)'),
  'kernel': Option(
    3, "side of the kernels of the generator's blocks, halvings, doublings", 1
  ),
  'stem_kernel': Option(
    7, "side of the kernels of the generator's first and last layer", 1
  ),
  'padding': Option(
    'reflect', 'of stem, blocks and last layer', choices=('reflect', 'zero')
  ),
  'upsample': Option(
    'transposed',
    'resize: nearest neighbour, then convolution',
    choices=('transposed', 'resize', 'subpixel'),
  ),
  'patch_layers': Option(
    3, 'halvings of the discriminator, 3: 70x70 patches; 2: 34, 1: 16, 0: 1x1', 0
  ),
  'generator_norm': Option(
    'instance',
    'of the generator',
    choices=('none', 'batch', 'layer', 'instance', 'spectral'),
  ),
  'discriminator_norm': Option(
    'instance',
    'not on first and last layer but for spectral',
    choices=('none', 'batch', 'layer', 'instance', 'spectral'),
  ),
  'affine': Option(False, 'norms learn scale and bias'),
  'generator_activation': Option('relu', 'of the generator'),
  'discriminator_activation': Option('leaky_relu', 'of the discriminator'),
  'slope': Option(0.2, 'of leaky_relu below 0, in either player', 0, traced=True),
  'init': Option('dcgan', 'initial weights; dcgan: N(0, .02)'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}

FINE = 256  # pixels from which on there are nine blocks


class Net(nn.Module):
  """Layers that generator and discriminator share."""

  norm: str
  affine: bool
  activation: Callable
  init_fn: Callable
  dtype: Any

  def common(self) -> dict[str, Any]:
    """Options of every layer."""
    return {
      'spectral': self.norm == 'spectral',
      'kernel_init': self.init_fn,
      'dtype': self.dtype,
    }

  def inner(self) -> dict[str, Any]:
    """Options of a layer that a norm follows."""
    return {'use_bias': adversarial.biased(self.norm), **self.common()}

  def normed(self, x: Any, name: str, train: bool) -> Any:
    return adversarial.normalise(
      x, self.norm, name, train=train, affine=self.affine, dtype=self.dtype
    )


class Block(Net):
  """Two convolutions, each normed, the first activated, around them a residual."""

  kernel: int
  reflect: bool
  residual: bool

  @nn.compact
  def __call__(self, x: Any, slope: Any, *, train: bool) -> Any:
    y = x
    for index in range(2):
      y = adversarial.Conv(
        features=x.shape[-1],
        kernel=self.kernel,
        reflect=self.reflect,
        name=f'conv{index}',
        **self.inner(),
      )(y, train=train)
      y = self.normed(y, f'norm{index}', train)
      y = y if index else self.activation(y, slope)
    return x + y if self.residual else y


class Generator(Net):
  """Images [B, H, W, C] to images [B, H, W, outputs] in (-1, 1)."""

  outputs: int
  width: int
  downsamples: int
  blocks: int
  residual: bool
  kernel: int
  stem_kernel: int
  reflect: bool
  upsample: str

  @nn.compact
  def __call__(self, x: Any, *, train: bool, hyper: Mapping[str, Any]) -> Any:
    slope, count = hyper['model.slope'], self.downsamples
    ends: dict[str, Any] = {'kernel': self.stem_kernel, 'reflect': self.reflect}

    def finish(x: Any, name: str) -> Any:
      x = self.activation(self.normed(x, f'norm_{name}', train), slope)
      self.sow('intermediates', f'{name}_out', x)
      return x

    x = adversarial.Conv(features=self.width, name='stem', **ends, **self.inner())(
      x, train=train
    )
    x = finish(x, 'stem')
    for index in range(count):
      x = adversarial.Conv(
        features=self.width * 2 ** (index + 1),
        kernel=self.kernel,
        stride=2,
        name=f'down{index}',
        **self.inner(),
      )(x, train=train)
      x = finish(x, f'down{index}')
    for index in range(self.blocks):
      x = Block(
        norm=self.norm,
        affine=self.affine,
        activation=self.activation,
        init_fn=self.init_fn,
        dtype=self.dtype,
        kernel=self.kernel,
        reflect=self.reflect,
        residual=self.residual,
        name=f'block{index}',
      )(x, slope, train=train)
    for index in range(count):
      x = adversarial.Upsample(
        features=self.width * 2 ** (count - 1 - index),
        kernel=self.kernel,
        kind=self.upsample,
        name=f'up{index}',
        **self.inner(),
      )(x, train=train)
      x = finish(x, f'up{index}')
    x = adversarial.Conv(features=self.outputs, name='output', **ends, **self.common())(
      x, train=train
    )
    return jnp.tanh(blocks_lib.logits(x))


class Discriminator(Net):
  """Images [B, H, W, C] to a map of logits [B, h, w], one for each patch."""

  width: int
  patch_layers: int

  @nn.compact
  def __call__(self, x: Any, *, train: bool, hyper: Mapping[str, Any]) -> Any:
    pixels = not self.patch_layers  # 1x1 convolutions: every pixel by itself
    size = 1 if pixels else 4
    count = 1 if pixels else self.patch_layers
    for index in range(count + 1):
      x = adversarial.Conv(
        features=self.width * min(2**index, 8),
        kernel=size,
        stride=2 if index < count and not pixels else 1,
        name=f'conv{index}',
        **(self.inner() if index else self.common()),
      )(x, train=train)
      if index:
        x = self.normed(x, f'norm{index}', train)
      x = self.activation(x, hyper['model.slope'])
      self.sow('intermediates', f'conv{index}_out', x)
    x = adversarial.Conv(features=1, kernel=size, name='output', **self.common())(
      x, train=train
    )
    return blocks_lib.logits(x)[..., 0]


def check_sizes(config: Mapping[str, Any]) -> None:
  """Raises UserError unless images of `shape` fit a player's halvings and padding."""
  sides = config['shape'][:2]
  sizes = f'these have {sides[0]}x{sides[1]}'
  for option in ('downsamples', 'blocks', 'patch_layers'):
    if config[option] < 0:
      raise errors.UserError(
        f'config.model.{option} must be at least 0, not {config[option]}'
      )
  if config['player'] == 'discriminator':
    layers_, least = config['patch_layers'], 3 * 2 ** config['patch_layers']
    if layers_ and min(sides) < least:
      most = max(n for n in range(layers_) if n == 0 or 3 * 2**n <= min(sides))
      raise errors.UserError(
        f'cyclegan with config.model.patch_layers={layers_} judges images of at least '
        f'{least} pixels; {sizes}: at most {most} fits'
      )
    return
  for option in ('kernel', 'stem_kernel'):
    if config[option] % 2 == 0:
      raise errors.UserError(f'config.model.{option} must be odd, not {config[option]}')
  scale = 2 ** config['downsamples']
  edge = max(config['kernel'] // 2 + 1, 2)  # a reflection needs one pixel more
  least = max(scale * edge, config['stem_kernel'] // 2 + 1)
  if min(sides) < least or any(side % scale for side in sides):
    raise errors.UserError(
      f'cyclegan with config.model.downsamples={config["downsamples"]} translates '
      f'images whose sides are multiples of {scale}, at least {least}; {sizes}'
    )


def build(config: Mapping[str, Any]) -> nn.Module:
  """A player's module for the options.

  Args:
    config: options, and of the task `player` ('generator' or 'discriminator'), `shape`
      (H, W, C) of the images it reads and, for a generator, `outputs`, the channels it
      makes.

  Raises:
    UserError: if the task plays no game, images do not fit, or an option is out of
      range.
  """
  player = adversarial.choose_player('cyclegan', 'cyclegan', config)
  blocks_lib.check_sizes(
    config, 'width', 'discriminator_width', 'kernel', 'stem_kernel'
  )
  check_sizes(config)
  choose = config_lib.choose
  padding = choose('model.padding', config['padding'], ('reflect', 'zero'))
  upsample = choose('model.upsample', config['upsample'], adversarial.UPSAMPLES)
  common: dict[str, dict[str, Any]] = {
    name: {
      'norm': choose(f'model.{name}_norm', config[f'{name}_norm'], adversarial.NORMS),
      'affine': config['affine'],
      'activation': blocks_lib.sloped_activation(
        f'model.{name}_activation', config[f'{name}_activation']
      ),
      'init_fn': blocks_lib.block(
        'model.init', config['init'], adversarial.INITIALIZERS
      ),
      'dtype': blocks_lib.dtype(config['dtype']),
    }
    for name in ('generator', 'discriminator')
  }
  if player == 'discriminator':
    return Discriminator(
      width=config['discriminator_width'],
      patch_layers=config['patch_layers'],
      **common[player],
    )
  return Generator(
    outputs=config['outputs'],
    width=config['width'],
    downsamples=config['downsamples'],
    blocks=config['blocks'] or (6 if min(config['shape'][:2]) < FINE else 9),
    residual=config['residual'],
    kernel=config['kernel'],
    stem_kernel=config['stem_kernel'],
    reflect=padding == 'reflect',
    upsample=upsample,
    **common[player],
  )
