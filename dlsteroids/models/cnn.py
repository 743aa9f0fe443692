"""Convolutional networks in stages, every piece of which can be ablated."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks

OPTIONS = {
  'widths': Option(
    (32, 64), 'channels of each stage; a stage ends with pooling', 1, width=True
  ),
  'depth': Option(1, 'convolutions per stage', 1),
  'kernel': Option(3, 'side of each kernel', 1),
  'mixer': Option(
    'conv',
    'local: no weight sharing; dense: no locality; pointwise: 1x1',
    choices=('conv', 'local', 'dense', 'pointwise'),
  ),
  'activation': Option('relu', 'after each mixer and hidden layer'),
  'slope': blocks.SLOPE,
  'norm': Option(
    'none',
    'after each mixer; lrn follows the activation',
    choices=('none', 'lrn', 'batch', 'layer', 'group'),
  ),
  'norm_after': Option(False, 'the norm follows the activation, as lrn always does'),
  'pool': Option(
    'max',
    'stride: a strided convolution instead',
    choices=('max', 'average', 'stride', 'none'),
  ),
  'pool_window': Option(2, "3 with stride 2 is AlexNet's overlapping pooling", 1),
  'pool_stride': Option(2, 'of pooling', 1),
  'residual': Option(
    False, 'x + f(x) around every mixer, projected where channels change'
  ),
  'head': Option(
    'dense',
    'dense: flatten; average: global average pooling',
    choices=('dense', 'average'),
  ),
  'hidden': Option(
    (128,), 'units of the dense layers before the output', 1, width=True
  ),
  'dropout': Option(
    0.0, 'after each hidden dense layer, or before the output', 0, 1, traced=True
  ),
  'dropout_conv': Option(0.0, 'after each stage', 0, 1, traced=True),
  'dropout_input': Option(0.0, 'on the input', 0, 1, traced=True),
  'init': Option('he', 'initial weights: he, glorot, lecun, normal, …'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}


class Stage(nn.Module):
  """`depth` times mixer → norm → activation, then pooling; [B, H, W, C] maps.

  A norm after the activation also follows the sum with the residual.
  """

  width: int
  depth: int
  kernel: int
  mixer: str
  activation: Callable
  norm: str
  norm_after: bool
  pool: str
  pool_window: int
  pool_stride: int
  residual: bool
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(self, x: Any, *, train: bool, slope: Any) -> Any:
    for index in range(self.depth):
      last = index == self.depth - 1
      stride = self.pool_stride if self.pool == 'stride' and last else 1
      y = self.mix(x, index, stride)
      if not self.normed_after:
        y = self.normalise(y, index, train)
      if self.residual:
        y += self.shortcut(x, index, stride)
      y = self.activation(y, slope)
      if self.normed_after:
        y = self.normalise(y, index, train)
      self.sow('intermediates', f'conv{index}_out', y)
      x = y
    kind = 'none' if self.pool == 'stride' else self.pool
    return blocks.pool(x, kind, self.pool_window, self.pool_stride)

  @property
  def normed_after(self) -> bool:
    return self.norm == 'lrn' or self.norm_after

  def normalise(self, x: Any, index: int, train: bool) -> Any:
    return blocks.Norm(self.norm, dtype=self.dtype, name=f'norm{index}')(x, train=train)

  def mix(self, x: Any, index: int, stride: int) -> Any:
    common = {
      'strides': (stride, stride),
      'use_bias': self.norm != 'batch' or self.normed_after,
      'kernel_init': self.init_fn,
      'dtype': self.dtype,
    }
    if self.mixer == 'local':
      return blocks.LocalConv(
        self.width, (self.kernel,) * 2, name=f'local{index}', **common
      )(x)
    if self.mixer == 'dense':
      return blocks.DenseMixer(self.width, name=f'dense{index}', **common)(x)
    size = 1 if self.mixer == 'pointwise' else self.kernel
    return blocks.Conv(self.width, (size, size), name=f'conv{index}', **common)(x)

  def shortcut(self, x: Any, index: int, stride: int) -> Any:
    if x.shape[-1] == self.width and stride == 1:
      return x
    return blocks.Conv(
      self.width,
      (1, 1),
      (stride, stride),
      use_bias=False,
      kernel_init=self.init_fn,
      dtype=self.dtype,
      name=f'shortcut{index}',
    )(x)


class CNN(nn.Module):
  """Stages, then a head, [B, H, W, C] -> [B, outputs]."""

  outputs: int
  widths: tuple[int, ...]
  stage: Callable[..., nn.Module]  # (width, name) -> module
  activation: Callable
  head: str
  hidden: tuple[int, ...]
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(self, x: Any, *, train: bool, hyper: Mapping[str, Any]) -> Any:
    def drop(x, name, rate):
      return blocks.Dropout(name=name)(x, hyper[f'model.{rate}'], train=train)

    slope = hyper['model.slope']
    x = drop(x.astype(self.dtype), 'dropout_input', 'dropout_input')
    for index, width in enumerate(self.widths):
      x = self.stage(width=width, name=f'stage{index}')(x, train=train, slope=slope)
      x = drop(x, f'dropout_conv{index}', 'dropout_conv')
    if self.head == 'average':
      x = x.mean((1, 2))  # [B, C]
    x = x.reshape(x.shape[0], -1)
    for index, units in enumerate(self.hidden):
      x = blocks.dense(
        units, f'dense{index}', kernel_init=self.init_fn, dtype=self.dtype
      )(x)
      x = drop(self.activation(x, slope), f'dropout{index}', 'dropout')
    if not self.hidden:
      x = drop(x, 'dropout0', 'dropout')
    x = blocks.dense(
      self.outputs, 'output', kernel_init=self.init_fn, dtype=self.dtype
    )(x)
    return blocks.logits(x)


def build(config: Mapping[str, Any]) -> nn.Module:
  """The module for the options, `outputs` units and images `shape` [H, W, C].

  Raises:
    UserError: if there are no images, or an option is out of range.
  """
  blocks.check_images('cnn', config)
  blocks.check_sizes(
    config, 'widths', 'depth', 'kernel', 'pool_window', 'pool_stride', 'hidden'
  )
  choose = config_lib.choose
  activation = blocks.sloped_activation('model.activation', config['activation'])
  init_fn = blocks.initializer('model.init', config['init'])
  dtype = blocks.dtype(config['dtype'])
  mixers = ('conv', 'local', 'dense', 'pointwise')
  stage = functools.partial(
    Stage,
    depth=config['depth'],
    kernel=config['kernel'],
    mixer=choose('model.mixer', config['mixer'], mixers),
    activation=activation,
    norm=choose('model.norm', config['norm'], blocks.NORMS),
    norm_after=config['norm_after'],
    pool=choose('model.pool', config['pool'], ('max', 'average', 'stride', 'none')),
    pool_window=config['pool_window'],
    pool_stride=config['pool_stride'],
    residual=config['residual'],
    init_fn=init_fn,
    dtype=dtype,
  )
  return CNN(
    outputs=config['outputs'],
    widths=tuple(config['widths']),
    stage=stage,
    activation=activation,
    head=choose('model.head', config['head'], ('dense', 'average')),
    hidden=tuple(config['hidden']),
    init_fn=init_fn,
    dtype=dtype,
  )
