"""Tiny instances of every shipped model, and every value of every option of theirs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.models import cells, layers

OUTPUTS = 4
SHAPES = {
  'mlp': (5, 4, 1),
  'cnn': (6, 5, 2),
  'alexnet': (17, 18, 3),
  'recurrent': (6, 3),
  'window': (6, 3),
}
TINY = {
  'mlp': {'hidden': (6, 5)},
  'cnn': {'widths': (4, 6), 'hidden': (5,)},
  'alexnet': {'width': 0.03, 'stem_kernel': 3, 'stem_stride': 1, 'init': 'he'},
  'recurrent': {'hidden': 5, 'embedding': 4},
  'window': {'context': 3, 'hidden': 5, 'embedding': 4},
}
# One of each kind, and the user's own; test_activations traces the others.
ACTIVATIONS = ['relu', 'tanh', 'gelu', 'identity', 'jax.numpy.sin']
INITS = [*layers.INITIALIZERS, 'jax.nn.initializers.ones']
DTYPES = ['float32', 'bfloat16']
CHOICES = {
  'mlp': {
    'hidden': [(), (7,), (6, 5, 4)],
    'activation': ACTIVATIONS,
    'norm': ['none', 'batch', 'layer'],
    'dropout': [0.0, 0.5],
    'dropout_input': [0.0, 0.5],
    'init': INITS,
    'dtype': DTYPES,
  },
  'cnn': {
    'widths': [(), (3,), (3, 4, 5)],
    'depth': [1, 2],
    'kernel': [1, 2, 5],
    'mixer': ['conv', 'local', 'dense', 'pointwise'],
    'activation': ACTIVATIONS,
    'norm': ['none', 'lrn', 'batch', 'layer', 'group'],
    'pool': ['max', 'average', 'stride', 'none'],
    'pool_window': [1, 2, 3, 9],
    'pool_stride': [1, 2, 3],
    'residual': [False, True],
    'head': ['dense', 'average'],
    'hidden': [(), (7,), (6, 5)],
    'dropout': [0.0, 0.5],
    'dropout_conv': [0.0, 0.5],
    'dropout_input': [0.0, 0.5],
    'init': ['he', 'normal'],  # the others: mlp
    'dtype': DTYPES,
  },
  'alexnet': {
    'groups': [1, 2, 4],
    'activation': ['relu', 'tanh', 'jax.numpy.sin'],  # few: slow to compile
    'norm': ['lrn', 'none', 'batch'],
    'pool_window': [1, 2, 3],
    'stem_kernel': [2, 3],
    'stem_stride': [1],
    'width': [0.03, 0.05],
    'dropout': [0.0, 0.5],
    'init': ['normal', 'he', 'glorot'],
    'bias': [0.0, 1.0],
    'dtype': DTYPES,
  },
  'recurrent': {
    'cell': ['lstm', 'gru', 'rnn', 'flax.linen.OptimizedLSTMCell'],
    'hidden': [3, 5],
    'layers': [1, 2, 3],
    'bidirectional': [False, True],
    'embedding': [4],  # of symbols: test_recurrent
    'residual': [False, True],
    'norm': ['none', 'layer'],
    'dropout': [0.0, 0.5],
    'recurrent_dropout': [0.0, 0.5],
    'recurrent_mask': ['variational', 'step'],
    'activation': ['tanh', 'relu', 'jax.numpy.sin'],
    'input_gate': [True, False],
    'forget_gate': [True, False],
    'output_gate': [True, False],
    'input_activation': ['tanh', 'identity', 'jax.numpy.sin'],
    'output_activation': ['tanh', 'identity', 'jax.numpy.sin'],
    'peepholes': [False, True],
    'coupled': [False, True],
    'full_gate_recurrence': [False, True],
    'forget_bias': [1.0, 0.0],
    'reset_gate': [True, False],
    'update_gate': [True, False],
    'init': ['he', 'normal'],  # the others: mlp
    'recurrent_init': ['orthogonal', 'glorot', 'jax.nn.initializers.ones'],
    'kernel': ['scan'],  # cudnn needs a GPU
    'remat': [0, 2, 3],
    'dtype': DTYPES,
  },
  'window': {
    'context': [1, 3, 9],
    'hidden': [3, 5],
    'layers': [1, 2, 3],
    'embedding': [4],  # of symbols: test_window
    'activation': ACTIVATIONS[:3],
    'residual': [False, True],
    'dropout': [0.0, 0.5],
    'init': ['he', 'normal'],
    'dtype': DTYPES,
  },
}


def mix(options):
  """A few dicts of `options` in which every value of every option occurs."""
  columns, count = {}, max(map(len, options.values()))
  for seed, (option, values) in enumerate(options.items()):
    picks = [index % len(values) for index in range(count)]
    order = np.random.default_rng(seed).permutation(picks)
    columns[option] = [values[index] for index in order]
  return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _mix_cell(cell):
  """Mixtures for one recurrent cell: no switch of another, none that contradict."""
  own, options = cells.SWITCHES.get(cell, {}), dict(CHOICES['recurrent'], cell=[cell])
  for option, usual in [p for s in cells.SWITCHES.values() for p in s.items()]:
    if option not in own:
      options[option] = [usual]
  if '.' in cell:
    options |= {
      'norm': ['none'],
      'remat': [0],
      'recurrent_dropout': [0.0],
      'recurrent_mask': ['variational'],
      'recurrent_init': ['orthogonal'],
    }
  if cell != 'lstm':  # which sees every value of the rest
    options = {key: list(values[:3]) for key, values in options.items()}
  rows = mix(options)
  for row in rows:
    if row['coupled']:
      row |= {'input_gate': True, 'forget_gate': True}
    if row['coupled'] or not row['forget_gate']:
      row['forget_bias'] = 1.0
  return rows


def mixtures(model):
  """A few dicts of options in which every value of every option occurs."""
  if model != 'recurrent':
    return mix(CHOICES[model])
  return [row for cell in CHOICES[model]['cell'] for row in _mix_cell(cell)]


def mark(key, shape, dtype=jnp.float32):
  """An initializer that only tells which key it was given; compiles in no time."""
  return jnp.full(shape, jax.random.key_data(key)[1], dtype)


def build(model, shape=None, outputs=OUTPUTS, **options):
  """The module for its defaults, the tiny sizes and `options`, in that order."""
  defaults = config_lib.find('models', model).DEFAULTS
  assert options.keys() <= defaults.keys()
  section = {**defaults, **TINY[model], **options}
  shape = shape or SHAPES[model]
  return config_lib.find('models', model).build(
    {**section, 'outputs': outputs, 'shape': shape}
  )


def hyper(model, **numbers):
  """The traced numbers of a model, 0 but for those given."""
  names = config_lib.find('models', model).TRACED
  assert numbers.keys() <= set(names)
  return {f'model.{name}': jnp.float32(numbers.get(name, 0.0)) for name in names}


def images(model, batch=8, seed=0):
  shape = (batch, *SHAPES[model])
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def fast():
  """The options that XLA compiles fastest with, as far as this version knows them."""
  options = {'xla_backend_optimization_level': 0}
  more = {**options, 'xla_cpu_use_fusion_emitters': False}
  try:
    jax.jit(lambda x: x, compiler_options=more).lower(0.0).compile()
  except Exception:  # whatever an unknown option raises
    return options
  return more


def jit(function):
  """Compiled fast, to run once."""
  return jax.jit(function, compiler_options=fast())


def init(module, model, seed=0):
  """Initial variables by flat path ('params', 'dense0', 'kernel')."""
  return jit(lambda: trace_init(module, model, seed))()


def trace_init(module, model, seed=0, shape=None):
  """The same inside a trace."""
  x = jnp.zeros((2, *(shape or SHAPES[model])))
  key = rng.Keys(rng.root(seed))('init')
  variables = module.init(key, x, train=False, hyper=hyper(model))
  return traverse_util.flatten_dict(dict(variables))


def shapes(module, model, shape=None):
  """Shapes of the parameters by flat path, computing nothing."""
  found = jax.eval_shape(lambda: trace_init(module, model, shape=shape))
  return {path[1:]: leaf.shape for path, leaf in found.items() if path[0] == 'params'}


def sizes(module, model, shape=None):
  """Number of parameters by flat path, computing nothing."""
  found = shapes(module, model, shape).items()
  return {path: int(np.prod(extents)) for path, extents in found}


def forward(module, variables, x, numbers, *, train, seed=0, step=0):
  """Logits, and the changed collections if training; variables by flat path."""
  nested = traverse_util.unflatten_dict(variables)
  states = [name for name in nested if name != 'params']
  keys = rng.Keys(rng.root(seed), step)
  return module.apply(
    nested,
    x,
    train=train,
    hyper=numbers,
    rngs={'dropout': keys('dropout')},
    mutable=states if train else False,
  )
