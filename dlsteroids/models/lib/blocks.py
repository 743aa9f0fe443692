"""Building blocks that models share; each can be replaced by a function of the user's.

Every linen submodule gets an explicit name, so that two arms that share a layer start
it from the same values.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.config.options import Option
from dlsteroids.models.ops import convolution
from dlsteroids.models.ops import pooling as pool_lib
from dlsteroids.util import errors

ACTIVATIONS: Mapping[str, Callable] = {
  'relu': jax.nn.relu,
  'leaky_relu': jax.nn.leaky_relu,
  'elu': jax.nn.elu,
  'gelu': jax.nn.gelu,
  'silu': jax.nn.silu,
  'softplus': jax.nn.softplus,
  'tanh': jnp.tanh,
  'sigmoid': jax.nn.sigmoid,
  'identity': lambda x: x,
}

INITIALIZERS: Mapping[str, Callable] = {
  'he': nn.initializers.he_normal(),
  'glorot': nn.initializers.glorot_normal(),
  'lecun': nn.initializers.lecun_normal(),
  'orthogonal': nn.initializers.orthogonal(),  # Saxe et al. 2014
  'normal': nn.initializers.normal(0.01),  # AlexNet's
}


def block(path: str, name: str, table: Mapping[str, Any]) -> Any:
  """The function called `name`: from `table`, or `package.module.function`.

  Raises:
    UserError: naming the config path, the requested name, and what exists.
  """
  if '.' not in name:
    return table[config_lib.choose(path, name, table)]
  module, _, attribute = name.rpartition('.')
  try:
    function = getattr(importlib.import_module(module), attribute)
  except Exception as error:  # whatever the user's module raises at import
    raise errors.UserError(
      f'config.{path}: cannot find {name!r}: {type(error).__name__}: {error}'
    ) from error
  if not callable(function):
    raise errors.UserError(f'config.{path}: {name!r} is not a function: {function!r}')
  return function


def dropout(x: Any, rate: Any, key: Any) -> Any:
  """Inverted dropout whose `rate` in [0, 1) may be traced (Srivastava et al. 2014).

  Rate 0 returns `x` to the bit and draws nothing, so dropout on and off share one
  program. The rate is met to 2**-24.
  """
  return jax.lax.cond(rate > 0, _drop, _keep, x, rate, key)


# Functions of a module, so that JAX traces and differentiates them once a shape.
def _drop(x: Any, rate: Any, key: Any) -> Any:
  uniform = (rng.bits(key, x.shape) >> 8).astype(jnp.float32) * 2.0**-24
  scale = jnp.asarray(1.0 / (1.0 - rate), x.dtype)
  return jnp.where(uniform >= rate, x * scale, jnp.zeros_like(x))


def _keep(x: Any, rate: Any, key: Any) -> Any:
  del rate, key
  return x


class Dropout(nn.Module):
  """Dropout with a traced rate; its mask is drawn from the stream 'dropout'."""

  @nn.compact
  def __call__(self, x: Any, rate: Any, *, train: bool) -> Any:
    return dropout(x, rate, self.make_rng('dropout')) if train else x


class Conv(nn.Module):
  """2-D convolution, [B, H, W, C] -> [B, H', W', features], kernel HWIO.

  Attributes:
    padding: 'SAME', 'VALID' or ((top, bottom), (left, right)).
  """

  features: int
  kernel: tuple[int, int]
  strides: tuple[int, int] = (1, 1)
  padding: Any = 'SAME'
  groups: int = 1
  use_bias: bool = True
  kernel_init: Callable = INITIALIZERS['he']
  bias_init: Callable = nn.initializers.zeros_init()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Any) -> Any:
    shape = (*self.kernel, x.shape[-1] // self.groups, self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    y = convolution.conv(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      strides=self.strides,
      padding=self.padding,
      groups=self.groups,
    )
    if self.use_bias:
      y += self.param('bias', self.bias_init, (self.features,)).astype(self.dtype)
    return y


class LocalConv(nn.Module):
  """Convolution without weight sharing: every position has its own SAME kernel."""

  features: int
  kernel: tuple[int, int]
  strides: tuple[int, int] = (1, 1)
  use_bias: bool = True
  kernel_init: Callable = INITIALIZERS['he']
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Any) -> Any:
    height, width = strided(x, self.strides)
    one = (*self.kernel, x.shape[-1], self.features)

    def init(key, shape):
      # Each position draws for itself: fan-in and fan-out are then a convolution's.
      def draw(index):
        return self.kernel_init(jax.random.fold_in(key, index), one)

      return jax.lax.map(draw, jnp.arange(height * width)).reshape(shape)

    shape = (height, width, math.prod(one[:3]), self.features)  # [H', W', taps, F]
    kernel = self.param('kernel', init, shape)
    y = convolution.local_conv(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      window=self.kernel,
      strides=self.strides,
      padding='SAME',
    )
    if self.use_bias:
      bias = self.param(
        'bias', nn.initializers.zeros_init(), (height, width, self.features)
      )
      y += bias.astype(self.dtype)
    return y


class DenseMixer(nn.Module):
  """A fully connected layer from one feature map to the next: no locality at all."""

  features: int
  strides: tuple[int, int] = (1, 1)
  use_bias: bool = True
  kernel_init: Callable = INITIALIZERS['he']
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Any) -> Any:
    height, width = strided(x, self.strides)
    y = dense(
      height * width * self.features,
      'dense',
      use_bias=self.use_bias,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
    )(x.reshape(x.shape[0], -1))  # [B, H*W*C]
    return y.reshape(x.shape[0], height, width, self.features)


def strided(x: Any, strides: tuple[int, int]) -> tuple[int, int]:
  """Height and width of what a SAME convolution of x [B, H, W, C] leaves."""
  return -(-x.shape[1] // strides[0]), -(-x.shape[2] // strides[1])


def dense(
  features: int,
  name: str,
  *,
  use_bias: bool = True,
  kernel_init: Callable = INITIALIZERS['he'],
  bias_init: Callable = nn.initializers.zeros,
  dtype: Any = jnp.float32,
) -> nn.Dense:
  """`nn.Dense` with this project's initial values."""
  return nn.Dense(
    features,
    use_bias=use_bias,
    kernel_init=kernel_init,
    bias_init=bias_init,
    dtype=dtype,
    name=name,
  )


NORMS = ('none', 'lrn', 'batch', 'layer', 'group')
SLOPE = Option(0.01, 'of leaky_relu below 0', 0, traced=True)


class Norm(nn.Module):
  """Normalisation by name.

  lrn: AlexNet §3.3 (k=2, n=5, alpha=1e-4, beta=.75). batch: Ioffe & Szegedy 2015,
  running averages with momentum `momentum` for evaluation. layer: over channels and
  positions of an example (Ba et al. 2016). group: `groups` of channels (Wu & He 2018),
  or as many as divide them and hold two: of one, the bias before it would be dead.
  instance: over the positions of a channel of an example (Ulyanov et al. 2016), with
  torch's epsilon. `affine`: whether batch, layer and instance learn scale and bias.
  """

  kind: str
  momentum: float = 0.9
  groups: int = 8
  affine: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Any, *, train: bool) -> Any:
    if self.kind == 'lrn':
      return pool_lib.lrn(x)
    learned: dict[str, Any] = {'use_scale': self.affine, 'use_bias': self.affine}
    if self.kind == 'batch':
      return nn.BatchNorm(
        use_running_average=not train,
        momentum=self.momentum,
        dtype=self.dtype,
        name='batch',
        **learned,
      )(x)
    if self.kind == 'layer':
      axes = tuple(range(1, x.ndim))
      return nn.LayerNorm(
        reduction_axes=axes, feature_axes=-1, dtype=self.dtype, name='layer', **learned
      )(x)
    if self.kind == 'instance':
      return nn.InstanceNorm(
        epsilon=1e-5, dtype=self.dtype, name='instance', **learned
      )(x)
    if self.kind == 'group':
      most = max(1, min(self.groups, x.shape[-1] // 2))
      groups = next(g for g in range(most, 0, -1) if x.shape[-1] % g == 0)
      return nn.GroupNorm(groups, dtype=self.dtype, name='group')(x)
    return x


def pool(x: Any, kind: str, window: int, stride: int) -> Any:
  """'max' or 'average' pooling without padding; 'none' returns `x`.

  A window that exceeds a side of `x` is cut to it, so tiny maps pool to one position.
  """
  if kind == 'none':
    return x
  size = tuple(min(window, side) for side in x.shape[1:3])
  function = pool_lib.max_pool if kind == 'max' else pool_lib.avg_pool
  return function(x, size, (stride, stride), 'VALID')


def logits(x: Any) -> Any:
  """`x` in float32 at least: losses are never computed in half precision."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_sizes(config: Mapping[str, Any], *options: str) -> None:
  """Raises UserError unless these options of a model, or all their items, are >= 1."""
  for option in options:
    value = config[option]
    if min(value if isinstance(value, tuple) else (value,), default=1) < 1:
      raise errors.UserError(f'config.model.{option} must be at least 1, not {value}')


def check_images(model: str, config: Mapping[str, Any]) -> None:
  """Raises UserError unless `config['shape']` is that of images, [H, W, C]."""
  shape = config.get('shape')
  if shape is None or len(shape) != 3:
    examples = 'symbols' if shape is None else f'examples of shape {list(shape)}'
    raise errors.UserError(
      f'model {model} needs images [H, W, C]; the data set has {examples}'
    )


def initializer(path: str, name: str) -> Callable:
  return block(path, name, INITIALIZERS)


def activation(name: str) -> Callable:
  return block('model.activation', name, ACTIVATIONS)


def sloped_activation(path: str, name: str) -> Callable[[Any, Any], Any]:
  """`(x, slope) -> x`; 'leaky_relu' has the slope below 0, others have none."""
  function = block(path, name, ACTIVATIONS)
  if name != 'leaky_relu':
    return lambda x, slope: function(x)
  return lambda x, slope: function(x, jnp.asarray(slope, x.dtype))


def dtype(name: str) -> Any:
  """float32, or bfloat16 for compute (parameters and loss stay float32)."""
  return jnp.dtype(config_lib.choose('model.dtype', name, ('float32', 'bfloat16')))
