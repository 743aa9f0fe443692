"""What the nets of two-player games share: layers that can be spectrally normalised.

A layer keeps its name and its kernel whichever norm surrounds it and however it
enlarges, so that arms that share it start equal.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.lib import blocks
from dlsteroids.models.ops import convolution, transposed_convolution
from dlsteroids.util import errors

INITIALIZERS: Mapping[str, Callable] = {
  **blocks.INITIALIZERS,
  'dcgan': nn.initializers.normal(0.02),  # Radford et al. 2016, §3
}
NORMS = ('none', 'batch', 'layer', 'instance', 'spectral')
UPSAMPLES = ('transposed', 'resize', 'subpixel')


def choose_player(model: str, task: str, config: Mapping[str, Any]) -> str:
  """'generator' or 'discriminator': which net of a game the task asks for.

  Raises:
    UserError: if the task plays no game, or has no images.
  """
  player = config.get('player')
  if player not in ('generator', 'discriminator'):
    raise errors.UserError(f'model {model} is two players; use task {task}')
  blocks.check_images(model, config)
  return player


def check_labels(config: Mapping[str, Any]) -> int:
  """How many classes the nets are conditioned on, 0 if on none.

  Raises:
    UserError: if they should be and the data set has no labels.
  """
  if not config['conditional']:
    return 0
  if config.get('classes', 0) < 1:
    raise errors.UserError(
      'config.model.conditional=True needs labels; the data set has none'
    )
  return config['classes']


def one_hot(label: Any, classes: int, dtype: Any) -> Any:
  """`label` int [B] as [B, K]; raises ValueError if it is missing."""
  if label is None:
    raise ValueError('a conditional net is called with label=, int [B]')
  return jax.nn.one_hot(label, classes, dtype=dtype)


def normalise(x: Any, kind: str, name: str, *, train: bool, **options: Any) -> Any:
  """`x` after the norm `kind` called `name`; 'spectral' is one of the weights."""
  kind = 'none' if kind == 'spectral' else kind
  return blocks.Norm(kind, name=name, **options)(x, train=train)


def biased(norm: str) -> bool:
  """Whether a layer has a bias before this norm: one that takes it off has none."""
  return norm not in ('batch', 'instance')


class Weights(nn.Module, kw_only=True):
  """A layer's kernel and bias, the kernel spectrally normalised if `spectral`.

  Miyato et al. 2018, algorithm 1: the kernel as a matrix [inputs, outputs] over its
  largest singular value, which one power iteration per pass in training follows. The
  vector u [outputs] is the collection 'spectral', kept where the caller lets it change
  ('mutable'); in evaluation it stands still. Both singular vectors are constants to the
  gradient. As there, a kernel of a convolution is the matrix [kh * kw * Cin, Cout].
  """

  use_bias: bool = True
  spectral: bool = False
  kernel_init: Callable = INITIALIZERS['dcgan']
  dtype: Any = jnp.float32

  def weigh(self, shape: tuple[int, ...], units: int, train: bool) -> tuple[Any, Any]:
    """Kernel of a shape, and bias of `units` (0 if there is none), in `dtype`."""
    kernel = self.param('kernel', self.kernel_init, shape)
    bias: Any = 0
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (units,))
      bias = bias.astype(self.dtype)
    if self.spectral:
      kernel = kernel / self.measure(kernel.reshape(-1, shape[-1]), train)
    return kernel.astype(self.dtype), bias

  def measure(self, matrix: Any, train: bool) -> Any:
    """The estimate of the largest singular value of `matrix` [inputs, outputs]."""

    def start() -> Any:
      return unit(jax.random.normal(self.make_rng('params'), matrix.shape[1:]))

    state = self.variable('spectral', 'u', start)
    u, fixed = state.value.astype(matrix.dtype), lax.stop_gradient(matrix)
    v = unit(fixed @ u)
    if train:
      u = unit(v @ fixed)
      if self.is_mutable_collection('spectral') and not self.is_initializing():
        state.value = u
    return v @ matrix @ u


def unit(x: Any) -> Any:
  """A vector over its length."""
  return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


class Dense(Weights):
  """A fully connected layer, [B, inputs] -> [B, *features].

  Attributes:
    features: units, or the map (height, width, channels) that they make up; its bias
      is one per channel.
  """

  features: int | tuple[int, ...]

  @nn.compact
  def __call__(self, x: Any, *, train: bool) -> Any:
    whole = self.features if isinstance(self.features, tuple) else (self.features,)
    shape = (x.shape[-1], math.prod(whole))
    kernel, bias = self.weigh(shape, whole[-1], train)
    y = x.astype(self.dtype) @ kernel
    return y.reshape(x.shape[0], *whole) + bias  # [B, H, W, C] or [B, features]


class Conv(Weights):
  """A square convolution padded as torch's `padding=(kernel - 1) // 2`.

  An odd kernel then leaves ceil(H / stride), an even one floor(H / stride) and one
  less without a stride.

  Attributes:
    reflect: pad by reflection in place of zeros.
  """

  features: int
  kernel: int
  stride: int = 1
  reflect: bool = False

  @nn.compact
  def __call__(self, x: Any, *, train: bool) -> Any:
    shape = (self.kernel, self.kernel, x.shape[-1], self.features)
    kernel, bias = self.weigh(shape, self.features, train)
    edge = (self.kernel - 1) // 2
    x = x.astype(self.dtype)
    padding = ((edge, edge), (edge, edge))
    if self.reflect:
      x = jnp.pad(x, ((0, 0), *padding, (0, 0)), 'reflect')
      padding = ((0, 0), (0, 0))
    strides = (self.stride, self.stride)
    return convolution.conv(x, kernel, strides=strides, padding=padding) + bias


class Upsample(Weights):
  """Doubles height and width, [B, H, W, C] -> [B, 2 H, 2 W, features].

  transposed: a transposed convolution of stride 2, torch's with `padding=(kernel - 1)
  // 2` and the `output_padding` that doubles, its kernel turned. resize: nearest
  neighbours, then a convolution (Odena et al. 2016). subpixel: a convolution to four
  times the features, which are laid out in space (Shi et al. 2016). Kernels are
  [k, k, C, features], of subpixel [k, k, C, 4 features].
  """

  features: int
  kernel: int
  kind: str

  @nn.compact
  def __call__(self, x: Any, *, train: bool) -> Any:
    size, x = self.kernel, x.astype(self.dtype)
    many = 4 if self.kind == 'subpixel' else 1
    shape = (size, size, x.shape[-1], many * self.features)
    kernel, bias = self.weigh(shape, self.features, train)
    if self.kind == 'transposed':
      edges = (size // 2, (size + 1) // 2)
      return (
        transposed_convolution.conv_transpose(
          x, kernel, strides=(2, 2), padding=(edges, edges)
        )
        + bias
      )
    if self.kind == 'resize':
      return convolution.conv(enlarge(x), kernel, padding='SAME') + bias
    y = convolution.conv(x, kernel, padding='SAME')
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, 2, 2, self.features)
    y = y.transpose(0, 1, 3, 2, 4, 5)  # [B, H, 2, W, 2, features]
    return y.reshape(batch, 2 * height, 2 * width, self.features) + bias


def enlarge(x: Any) -> Any:
  """Twice as high and wide by nearest neighbours, [B, H, W, C] -> [B, 2 H, 2 W, C]."""
  batch, height, width, channels = x.shape
  wide = jnp.broadcast_to(
    x[:, :, None, :, None], (batch, height, 2, width, 2, channels)
  )
  return wide.reshape(batch, 2 * height, 2 * width, channels)
