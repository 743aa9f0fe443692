"""Transformers (Vaswani et al. 2017), every piece of which can be ablated.

A decoder where every step is answered: each position sees those before it, and with
`memory` keys and values of the windows before (Dai et al. 2019). Else an encoder, in
which all positions see one another: of images by patches (Dosovitskiy et al. 2021) or
row by row, of sequences step by step.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from dlsteroids.config import options
from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks, minimal_layer, transformer
from dlsteroids.models.ops import attention
from dlsteroids.util import errors

OPTIONS = {
  'layers': Option(2, 'stacked', 1),
  'width': Option(64, 'numbers of a position', 1, width=True),
  'heads': Option(4, 'of attention; they divide the width', 1),
  'mixer': Option(
    'attention',
    'average: all that is seen with equal weight; mingru, minlstm: recurrent layers in '
    "attention's place (Feng et al. 2024); none: each position by itself",
    choices=('attention', 'average', 'mingru', 'minlstm', 'none'),
  ),
  'span': Option(0, 'a position sees those less than this far away; 0: all', 0),
  'memory': Option(
    0, 'positions before a window whose keys and values are carried into it', 0
  ),
  'positions': Option(
    'rotary',
    'how attention knows them',
    choices=('none', 'learned', 'sinusoidal', 'rotary'),
  ),
  'qk_norm': Option(False, 'queries and keys are normalised, head by head'),
  'norm': Option('layer', 'of every position', choices=('none', 'layer', 'rms')),
  'norm_place': Option(
    'pre',
    'pre: before attention and MLP; post: after the sum with the residual',
    choices=('pre', 'post'),
  ),
  'residual': Option(True, 'x + f(x) around attention and MLP'),
  'mlp': Option(
    'dense',
    'after attention; gated with silu is SwiGLU',
    choices=('dense', 'gated', 'none'),
  ),
  'mlp_ratio': Option(4.0, 'hidden units of the MLP / width', 0, closed='neither'),
  'activation': Option('gelu', "of the MLP's hidden units, or of their gate"),
  'dropout': Option(0.0, 'on what attention and MLP add', 0, 1, traced=True),
  'dropout_input': Option(0.0, 'on the embedded input', 0, 1, traced=True),
  'dropout_attention': Option(0.0, "on attention's weights", 0, 1, traced=True),
  'dropout_mlp': Option(0.0, "on the MLP's hidden units", 0, 1, traced=True),
  'tied': Option(False, "the output layer's kernel is the embedding of symbols"),
  'readout': Option(
    'mean',
    'one answer for all positions: their mean, the last, or a token put before them',
    choices=('mean', 'last', 'token'),
  ),
  'patch': Option(4, 'side of the patches of an image; 0: every row is a step', 0),
  'depth_scale': Option(
    True, 'kernels that write to the residual start 1 / sqrt(2 layers) as large'
  ),
  'init': Option('lecun', 'initial weights'),
  'chunk': Option(
    256, 'queries at a time, where there are more; computed again backward', 1
  ),
  'attention_kernel': Option(
    'xla',
    "cudnn: NVIDIA's fused attention, for bfloat16 without dropout_attention",
    choices=('xla', 'cudnn'),
  ),
  'dtype': Option('float32', 'of activations', choices=('float32', 'bfloat16')),
}


def multiples(config: Mapping[str, Any]) -> dict[str, int]:
  """What widths must be multiples of, when they are scaled."""
  return {'width': config['heads'] * (2 if config['positions'] == 'rotary' else 1)}


def build(config: Mapping[str, Any]) -> nn.Module:
  """The module for the options and what the task adds.

  Args:
    config: options, `outputs`, and `shape` of images [H, W, C] or sequences [T, F], or
      `symbols`, with `every`, `length` and `history` of task language.

  Raises:
    UserError: options out of range, or that do not fit each other or the examples.
  """
  for name, option in OPTIONS.items():
    options.check(f'model.{name}', option, config[name])
  every, symbols = config.get('every', False), config.get('symbols', 0)
  patched = bool(config['patch'] and not symbols and len(config['shape']) == 3)
  length = config.get('length', 0) if symbols else count_positions(config, patched)
  check_heads(config)
  check_minimal(config)
  check_window(config, length, every)
  check_answer(config, symbols, every)
  if config['attention_kernel'] == 'cudnn':
    check_cudnn(config)
  return make(config, every, symbols, length, patched)


def make(
  config: Mapping[str, Any], every: bool, symbols: int, length: int, patched: bool
) -> nn.Module:
  """The module for options that are in order; `length` of a training example or 0."""
  most = config['memory'] + length if length and every else 0
  # What is evaluated may be longer than what was trained on: no position then sees
  # farther than it has learned to.
  spans = [span for span in (config['span'], most) if span]
  init_fn = blocks.initializer('model.init', config['init'])
  scale = (2 * config['layers']) ** -0.5 if config['depth_scale'] else 1.0
  design = transformer.Design(
    width=config['width'],
    heads=config['heads'],
    mixer=config['mixer'],
    form=attention.Form(
      every, min(spans, default=0), config['chunk'], config['attention_kernel']
    ),
    rotary=config['positions'] == 'rotary',
    qk_norm=config['qk_norm'],
    norm=config['norm'],
    post=config['norm_place'] == 'post',
    residual=config['residual'],
    mlp=config['mlp'],
    hidden=max(1, round(config['mlp_ratio'] * config['width'])),
    activation=blocks.activation(config['activation']),
    memory=config['memory'],
    init_fn=init_fn,
    last_init=transformer.scaled(init_fn, scale),
    dtype=blocks.dtype(config['dtype']),
  )
  kinds = (
    transformer.RecurrentDecoder,
    transformer.PatchEncoder,
    transformer.Encoder,
  )
  kind = kinds[0 if config['memory'] else 1 if patched else 2]
  return kind(
    outputs=config['outputs'],
    every=every,
    symbols=symbols,
    layers=config['layers'],
    design=design,
    positions=config['positions'],
    length=length,
    patch=config['patch'] if patched else 0,
    readout=config['readout'],
    tied=config['tied'],
  )


def count_positions(config: Mapping[str, Any], patched: bool) -> int:
  """How many positions an image or a sequence has.

  Raises:
    UserError: a patch that does not divide the image.
  """
  steps, *rest = config['shape']
  if not patched:
    return steps
  side = config['patch']
  if steps % side or rest[0] % side:
    sides = [
      n for n in range(1, min(steps, rest[0]) + 1) if not steps % n | rest[0] % n
    ]
    raise errors.UserError(
      f'config.model.patch={side} does not divide images of {steps}x{rest[0]}; '
      f'{_listed(sides)} would, and 0 reads them row by row'
    )
  return (steps // side) * (rest[0] // side)


def check_heads(config: Mapping[str, Any]) -> None:
  """Raises UserError unless the heads divide the width, into pairs if they turn."""
  width, heads = config['width'], config['heads']
  if width % heads:
    counts = [n for n in range(1, width + 1) if width % n == 0]
    raise errors.UserError(
      f'config.model.heads={heads} does not divide config.model.width={width}; '
      f'{_listed(counts)} would'
    )
  if config['positions'] == 'rotary' and width // heads % 2:
    raise errors.UserError(
      'config.model.positions=rotary turns pairs of units: a head has '
      f'{width // heads} (config.model.width={width} / heads={heads}), and needs an '
      'even number'
    )


def check_minimal(config: Mapping[str, Any]) -> None:
  """Raises UserError for what is attention's alone, with a recurrent layer instead."""
  if config['mixer'] not in minimal_layer.CELLS:
    return
  for name in ('memory', 'span', 'qk_norm'):
    if config[name]:
      raise errors.UserError(
        f'config.model.{name}={config[name]} is for mixer=attention or average and '
        f'does nothing to {config["mixer"]}; use {OPTIONS[name].default}'
      )


def check_window(config: Mapping[str, Any], length: int, every: bool) -> None:
  """Raises UserError for a span or a memory that nothing could fill."""
  memory, span, history = config['memory'], config['span'], config.get('history')
  if memory and not every:
    raise errors.UserError(
      f'config.model.memory={memory} is carried where every step is answered (task '
      'language); here each example is read by itself: use 0'
    )
  if memory and config['mixer'] == 'none':
    raise errors.UserError(
      f'config.model.memory={memory}: with mixer=none nothing is remembered; use 0'
    )
  if memory and config['positions'] in ('learned', 'sinusoidal'):
    raise errors.UserError(
      f'config.model.positions={config["positions"]} counts from the beginning of a '
      f'window, which memory={memory} does away with; use rotary or none, or memory=0'
    )
  if memory and history is not None and memory > history:
    cause = (
      f'is longer than the {history:,} symbols of the text'
      if history
      else 'needs a state that is carried: task.carry and data.order=lanes'
    )
    raise errors.UserError(f'config.model.memory={memory} {cause}')
  if length and span > memory + length:
    more = f' and a memory of {memory}' if memory else ''
    raise errors.UserError(
      f'config.model.span={span} is more than there is to see: {length} positions'
      f'{more}; use 0 for all'
    )


def check_answer(config: Mapping[str, Any], symbols: int, every: bool) -> None:
  """Raises UserError for an output layer or a readout that cannot be."""
  if config['tied'] and not symbols:
    raise errors.UserError(
      'config.model.tied shares the embedding of symbols with the output layer; the '
      'data set has no symbols'
    )
  if config['tied'] and symbols != config['outputs']:
    raise errors.UserError(
      f'config.model.tied needs as many outputs as symbols; there are '
      f'{config["outputs"]} and {symbols}'
    )
  if every or config['readout'] != 'token':
    return
  hides = [('mixer', name) for name in ('none', *minimal_layer.CELLS)]
  for name, value in (*hides, ('span', config['span'])):
    if config[name] == value and value:
      raise errors.UserError(
        f'config.model.readout=token must see all positions, and {name}={value} hides '
        'them; use mean or last'
      )


def check_cudnn(config: Mapping[str, Any]) -> None:
  """Raises UserError unless NVIDIA's fused attention can run this network here."""
  import jax

  wanted = {
    'mixer': 'attention',
    'dropout_attention': 0.0,
    'memory': 0,
    'dtype': 'bfloat16',
  }
  for name, value in wanted.items():
    if config[name] != value:
      raise errors.UserError(
        f'config.model.attention_kernel=cudnn runs {name}={value!r} only, not '
        f'{config[name]!r}; use attention_kernel=xla'
      )
  if jax.default_backend() != 'gpu':
    raise errors.UserError(
      'config.model.attention_kernel=cudnn needs an NVIDIA GPU; JAX runs on '
      f'{jax.default_backend()} here: use attention_kernel=xla'
    )


def _listed(numbers: list[int]) -> str:
  return ', '.join(map(str, numbers))
