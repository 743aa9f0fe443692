"""Multi-layer perceptrons, down to the perceptron with one hidden sigmoid layer."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks

OPTIONS = {
  'hidden': Option(
    (512, 512), 'units of each hidden layer; () is linear', 1, width=True
  ),
  'activation': Option('relu', 'after each hidden layer'),
  'slope': blocks.SLOPE,
  'norm': Option('none', 'of each hidden layer', choices=('none', 'batch', 'layer')),
  'norm_after': Option(False, 'the norm follows the activation'),
  'dropout': Option(0.0, 'after each hidden layer', 0, 1, traced=True),
  'dropout_input': Option(0.0, 'on the input', 0, 1, traced=True),
  'init': Option('he', 'initial weights: he, glorot, lecun, normal, …'),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}


class MLP(nn.Module):
  """Fully connected layers on the flattened input, [B, ...] -> [B, outputs]."""

  outputs: int
  hidden: tuple[int, ...]
  activation: Callable
  norm: str
  norm_after: bool
  init_fn: Callable
  dtype: Any

  @nn.compact
  def __call__(self, x: Any, *, train: bool, hyper: Mapping[str, Any]) -> Any:
    x = x.reshape(x.shape[0], -1).astype(self.dtype)  # [B, H*W*C]
    x = blocks.Dropout(name='dropout_input')(
      x, hyper['model.dropout_input'], train=train
    )
    for index, units in enumerate(self.hidden):
      x = blocks.dense(
        units,
        f'dense{index}',
        use_bias=self.norm != 'batch' or self.norm_after,
        kernel_init=self.init_fn,
        dtype=self.dtype,
      )(x)
      norm = blocks.Norm(self.norm, dtype=self.dtype, name=f'norm{index}')
      if not self.norm_after:
        x = norm(x, train=train)
      x = self.activation(x, hyper['model.slope'])
      if self.norm_after:
        x = norm(x, train=train)
      self.sow('intermediates', f'dense{index}_out', x)
      x = blocks.Dropout(name=f'dropout{index}')(x, hyper['model.dropout'], train=train)
    x = blocks.dense(
      self.outputs, 'output', kernel_init=self.init_fn, dtype=self.dtype
    )(x)
    return blocks.logits(x)


def build(config: Mapping[str, Any]) -> nn.Module:
  """The module for the options and `outputs`, the number of output units."""
  blocks.check_sizes(config, 'hidden')
  return MLP(
    outputs=config['outputs'],
    hidden=tuple(config['hidden']),
    activation=blocks.sloped_activation('model.activation', config['activation']),
    norm=config_lib.choose('model.norm', config['norm'], ('none', 'batch', 'layer')),
    norm_after=config['norm_after'],
    init_fn=blocks.initializer('model.init', config['init']),
    dtype=blocks.dtype(config['dtype']),
  )
