"""Recurrent networks: stacks of Elman, LSTM or GRU layers, or of a cell of the user's.

minGRU and minLSTM have no recurrent weights, and compute all steps in parallel. All
read symbols [B, T], features [B, T, F], or images row by row [B, H, W, C], and answer
at every step or after the last.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import (
  batch_normed_layer,
  blocks,
  cells,
  cudnn,
  minimal_layer,
  recurrent_layer,
  sequences,
)
from dlsteroids.util import errors

OPTIONS = {
  'cell': Option(
    'lstm',
    'of each layer; minGRU and minLSTM run all steps in parallel',
    choices=('rnn', 'lstm', 'gru', 'mingru', 'minlstm'),
    dotted=True,
  ),
  'hidden': Option(128, 'units of a layer, of each direction', 1, width=True),
  'layers': Option(1, 'stacked', 1),
  'bidirectional': Option(False, 'a second direction in each layer'),
  'embedding': Option(64, 'numbers per symbol', 1, width=True),
  'tied': sequences.TIED,
  'residual': Option(False, 'from the second layer on, x + layer(x)'),
  'norm': Option(
    'none',
    'of what a cell computes; batch: each step with moments of its own',
    choices=('none', 'layer', 'batch'),
  ),
  'dropout': Option(0.0, 'on the output of every layer', 0, 1, traced=True),
  'recurrent_dropout': Option(0.0, 'on the state that is fed back', 0, 1, traced=True),
  'recurrent_mask': Option(
    'variational',
    'one mask for all steps, or one for each step',
    choices=('variational', 'step'),
  ),
  **cells.SWITCHES['rnn'],
  **cells.SWITCHES['lstm'],
  **cells.SWITCHES['gru'],
  **cells.SWITCHES['mingru'],
  **cells.SWITCHES['minlstm'],
  'init': Option('lecun', 'initial input weights'),
  'recurrent_init': Option(
    'orthogonal', 'initial recurrent weights; identity: of an IRNN (Le et al. 2015)'
  ),
  'kernel': Option(
    'scan',
    "cudnn: NVIDIA's, for one float32 run of a plain LSTM at a time",
    choices=('scan', 'cudnn'),
  ),
  'remat': Option(
    0, 'steps whose inner values the backward pass recomputes; 0: none', 0
  ),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}


# What is done to recurrent weights, or to a loop over steps.
OF_LOOPS = (
  *('norm', 'recurrent_dropout', 'recurrent_mask', 'recurrent_init'),
  *('remat', 'kernel'),
)


def check_minimal(config: Mapping[str, Any]) -> None:
  """Raises UserError if an option is set that a minimal cell has nothing for."""
  for option in OF_LOOPS:
    if config[option] != OPTIONS[option].default:
      raise errors.UserError(
        f'config.model.{option}={config[option]!r} is for cells with recurrent weights '
        f'({", ".join(cells.CELLS)}) and does nothing to {config["cell"]!r}'
      )


def identity(key: Any, shape: tuple[int, int], dtype: Any = jnp.float32) -> Any:
  """The matrix that passes the last state on as it is."""
  del key
  return jnp.eye(*shape, dtype=dtype)


def recurrent_initializer(config: Mapping[str, Any]) -> Callable:
  table = {**blocks.INITIALIZERS, 'identity': identity}
  return blocks.block('model.recurrent_init', config['recurrent_init'], table)


def check_batch_norm(config: Mapping[str, Any]) -> None:
  """Raises UserError if batch norm inside the recurrence does not go with the rest."""
  if config['norm'] != 'batch':
    return
  if config['remat']:
    raise errors.UserError(
      f'config.model.remat={config["remat"]} is for norm=none or layer, not for batch'
    )
  if config.get('history'):
    raise errors.UserError(
      'config.model.norm=batch keeps moments by the step since the beginning, and with '
      'config.task.carry=True only the first window has one: set it to False'
    )


def own_cell(config: Mapping[str, Any]) -> Callable[..., nn.Module]:
  """The user's cell class with those options that its fields take, as flax's cells do.

  Raises:
    UserError: an option that was changed and that the class has no field for.
  """
  make_cell = blocks.block('model.cell', config['cell'], cells.CELLS)
  cells.check_switches(config)
  available = getattr(make_cell, '__dataclass_fields__', {})
  values = {
    'init': ('kernel_init', blocks.initializer('model.init', config['init'])),
    'recurrent_init': (
      'recurrent_kernel_init',
      recurrent_initializer(config),
    ),
    'dtype': ('dtype', blocks.dtype(config['dtype'])),
  }
  fields = {field: value for field, value in values.values() if field in available}
  shipped = ('norm', 'remat', 'kernel', 'recurrent_dropout', 'recurrent_mask')
  for option in (*shipped, *values):
    field, _ = values.get(option, ('', None))
    if config[option] != OPTIONS[option].default and field not in available:
      missing = f': its class has no field {field}' if field else ''
      raise errors.UserError(
        f'config.model.{option}={config[option]!r} is for the shipped cells '
        f'({", ".join(cells.CELLS)}) and does nothing to {config["cell"]!r}{missing}'
      )
  return functools.partial(make_cell, **fields)


def build(config: Mapping[str, Any]) -> nn.Module:
  """The module for the options and what the task adds.

  Args:
    config: options, `outputs` and, from tasks that have them, `symbols` (how many the
      input is one of) and `every` (answer at every step).

  Raises:
    UserError: options out of range, or that contradict each other.
  """
  blocks.check_sizes(config, 'hidden', 'layers', 'embedding')
  sequences.check_tied(config, config['hidden'] * (1 + config['bidirectional']))
  if config['remat'] < 0:
    raise errors.UserError(
      f'config.model.remat must be at least 0, not {config["remat"]}'
    )
  config_lib.choose('model.norm', config['norm'], ('none', 'layer', 'batch'))
  mask = config_lib.choose(
    'model.recurrent_mask', config['recurrent_mask'], ('variational', 'step')
  )
  kernel = config_lib.choose('model.kernel', config['kernel'], ('scan', 'cudnn'))
  if kernel == 'cudnn':
    cudnn.check(config)
  dtype = blocks.dtype(config['dtype'])
  init_fn = blocks.initializer('model.init', config['init'])
  recurrent_init = recurrent_initializer(config)
  if '.' in config['cell']:
    make_cell = own_cell(config)

    def make_layer(name: str, index: int, reverse: bool) -> nn.Module:
      del index
      return recurrent_layer.UserLayer(make_cell, config['hidden'], reverse, name=name)

  elif config['cell'] in minimal_layer.CELLS:
    check_minimal(config)
    minimal = minimal_layer.make(config)

    def make_layer(name: str, index: int, reverse: bool) -> nn.Module:
      del index
      return minimal_layer.MinimalLayer(
        minimal, config['hidden'], reverse, init_fn, dtype, name=name
      )

  else:
    choices = (*cells.CELLS, *minimal_layer.CELLS)
    config_lib.choose('model.cell', config['cell'], choices)
    cell = cells.make(config)
    check_batch_norm(config)
    batch_normed = config['norm'] == 'batch'
    layer: type[recurrent_layer.Layer] = recurrent_layer.Layer
    layer = batch_normed_layer.BatchNormedLayer if batch_normed else layer

    def make_layer(name: str, index: int, reverse: bool) -> nn.Module:
      del index
      return layer(
        cell=cell,
        units=config['hidden'],
        reverse=reverse,
        norm=config['norm'],
        per_step=mask == 'step',
        remat=config['remat'],
        cudnn=kernel == 'cudnn',
        init_fn=init_fn,
        recurrent_init=recurrent_init,
        dtype=dtype,
        name=name,
      )

  return sequences.Stack(
    outputs=config['outputs'],
    every=config.get('every', False),
    symbols=config.get('symbols', 0),
    embedding=config['embedding'],
    tied=config['tied'],
    depth=config['layers'],
    bidirectional=config['bidirectional'],
    residual=config['residual'],
    make_layer=make_layer,
    init_fn=init_fn,
    dtype=dtype,
  )
