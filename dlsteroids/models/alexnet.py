"""AlexNet as of 2012 (Krizhevsky, Sutskever & Hinton, NeurIPS 2012), piece by piece.

60,965,224 parameters for 1,000 classes with the two-GPU grouping, 62,378,344 without.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks
from dlsteroids.util import errors

OPTIONS = {
  'groups': Option(2, "of conv2, conv4 and conv5; 1: one GPU's net", 1),
  'activation': Option('relu', 'after each layer'),
  'slope': blocks.SLOPE,
  'norm': Option('lrn', 'after conv1 and conv2', choices=('lrn', 'none', 'batch')),
  'pool_window': Option(3, 'of max pooling with stride 2; 2: not overlapping', 1),
  'stem_kernel': Option(11, 'side of the first kernel', 1),
  'stem_stride': Option(4, 'of the first convolution', 1),
  'width': Option(
    1.0, 'factor on all channels and hidden units', 0, closed='neither', width=True
  ),
  'dropout': Option(0.5, 'after the two hidden dense layers', 0, 1, traced=True),
  'init': Option('normal', "initial weights; normal: N(0, .01), as the paper's §5"),
  'bias': Option(1.0, 'initial biases of conv2, conv4, conv5 and the dense layers'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}

# name, channels, kernel, grouped, starts with bias, normalised, pooled
CONVS = (
  ('conv1', 96, None, False, False, True, True),
  ('conv2', 256, 5, True, True, True, True),
  ('conv3', 384, 3, False, False, False, False),
  ('conv4', 384, 3, True, True, False, False),
  ('conv5', 256, 3, True, True, False, True),
)


class AlexNet(nn.Module):
  """Five convolutions and three dense layers, [B, H, W, 3] -> [B, outputs]."""

  outputs: int
  groups: int
  activation: Callable
  norm: str
  pool_window: int
  stem_kernel: int
  stem_stride: int
  width: float
  init_fn: Callable
  bias: float
  dtype: Any

  @nn.compact
  def __call__(self, x: Any, *, train: bool, hyper: Mapping[str, Any]) -> Any:
    x = x.astype(self.dtype)
    for spec in CONVS:
      x = self.convolution(x, spec, train, hyper['model.slope'])
    x = x.reshape(x.shape[0], -1)
    for index in range(2):
      x = blocks.dense(
        self.scaled(4096),
        f'dense{index}',
        kernel_init=self.init_fn,
        bias_init=nn.initializers.constant(self.bias),
        dtype=self.dtype,
      )(x)
      x = self.activation(x, hyper['model.slope'])
      x = blocks.Dropout(name=f'dropout{index}')(x, hyper['model.dropout'], train=train)
    x = blocks.dense(
      self.outputs, 'output', kernel_init=self.init_fn, dtype=self.dtype
    )(x)
    return blocks.logits(x)

  def scaled(self, channels: int) -> int:
    """Channels times `width`, rounded to a multiple of the groups."""
    return max(1, round(channels * self.width / self.groups)) * self.groups

  def convolution(self, x: Any, spec: tuple, train: bool, slope: Any) -> Any:
    name, channels, size, grouped, biased, normalised, pooled = spec
    stem = size is None
    bias = self.bias if biased else 0.0
    normalise = normalised and self.norm != 'none'
    x = blocks.Conv(
      self.scaled(channels),
      (self.stem_kernel,) * 2 if stem else (size, size),
      (self.stem_stride,) * 2 if stem else (1, 1),
      'VALID' if stem else ((size // 2,) * 2,) * 2,
      self.groups if grouped else 1,
      use_bias=not (normalise and self.norm == 'batch'),
      kernel_init=self.init_fn,
      bias_init=nn.initializers.constant(bias),
      dtype=self.dtype,
      name=name,
    )(x)
    norm = blocks.Norm(self.norm, dtype=self.dtype, name=f'norm_{name}')
    if normalise and self.norm == 'batch':
      x = norm(x, train=train)
    x = self.activation(x, slope)
    self.sow('intermediates', f'{name}_out', x)
    if normalise and self.norm == 'lrn':
      x = norm(x, train=train)
    if pooled:
      x = blocks.pool(x, 'max', self.pool_window, 2)
    return x


def smallest(config: Mapping[str, Any]) -> int:
  """The smallest image side that leaves one position after the last pooling."""
  side = 1
  for _ in range(3):
    side = (side - 1) * 2 + config['pool_window']
  return (side - 1) * config['stem_stride'] + config['stem_kernel']


def build(config: Mapping[str, Any]) -> nn.Module:
  """The module for the options, `outputs` units and images `shape` [H, W, C].

  Raises:
    UserError: if there are no images, or they are too small for the strides.
  """
  blocks.check_images('alexnet', config)
  blocks.check_sizes(config, 'groups', 'pool_window', 'stem_kernel', 'stem_stride')
  if not 0 < config['width'] < math.inf:
    raise errors.UserError(
      f'config.model.width must be positive, not {config["width"]}'
    )
  side = min(config['shape'][:2])
  if side < smallest(config):
    raise errors.UserError(
      f'alexnet needs images of at least {smallest(config)} pixels with '
      f'stem_kernel={config["stem_kernel"]} and stem_stride={config["stem_stride"]}; '
      f'these have {side}: enlarge them (data.size) or shrink the stem'
    )
  return AlexNet(
    outputs=config['outputs'],
    groups=config['groups'],
    activation=blocks.sloped_activation('model.activation', config['activation']),
    norm=config_lib.choose('model.norm', config['norm'], ('lrn', 'none', 'batch')),
    pool_window=config['pool_window'],
    stem_kernel=config['stem_kernel'],
    stem_stride=config['stem_stride'],
    width=config['width'],
    init_fn=blocks.initializer('model.init', config['init']),
    bias=config['bias'],
    dtype=blocks.dtype(config['dtype']),
  )
