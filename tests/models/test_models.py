"""Every model: parameters against closed forms, and what every option must satisfy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import options as options_lib
from dlsteroids.util import errors
from tests.fixtures import game_cases
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')


@pytest.mark.parametrize('norm', cases.CHOICES['mlp']['norm'])
@pytest.mark.parametrize('hidden', cases.CHOICES['mlp']['hidden'])
def test_mlp_parameters_are_the_closed_form(norm, hidden):
  found = cases.sizes(cases.build('mlp', norm=norm, hidden=hidden), 'mlp')
  inputs, expected = int(np.prod(cases.SHAPES['mlp'])), 0
  for units in hidden:
    expected += inputs * units + {'none': 1, 'batch': 2, 'layer': 3}[norm] * units
    inputs = units
  assert sum(found.values()) == expected + inputs * cases.OUTPUTS + cases.OUTPUTS


def count_cnn(widths, depth, mixer, norm, pool, residual, head, hidden):
  """Parameters of the tiny cnn with 3 x 3 kernels, by hand."""
  (height, width, channels), total = cases.SHAPES['cnn'], 0
  for units in widths:
    for index in range(depth):
      stride = 2 if pool == 'stride' and index == depth - 1 else 1
      into = height * width * channels
      height, width = -(-height // stride), -(-width // stride)
      positions = height * width
      weights = {
        'conv': 9 * channels * units,
        'local': positions * 9 * channels * units,
        'dense': into * positions * units,
        'pointwise': channels * units,
      }[mixer]
      biases = units * (positions if mixer in ('local', 'dense') else 1)
      total += weights + (0 if norm == 'batch' else biases)
      total += 2 * units if norm in ('batch', 'layer', 'group') else 0
      if residual and (channels != units or stride > 1):
        total += channels * units
      channels = units
    if pool in ('max', 'average'):
      height, width = height // 2, width // 2
  inputs = channels * (1 if head == 'average' else height * width)
  for units in (*hidden, cases.OUTPUTS):
    total += inputs * units + units
    inputs = units
  return total


COUNTED = {
  'mixer': ('conv', 'local', 'dense', 'pointwise'),
  'norm': ('none', 'batch', 'group'),
  'pool': ('max', 'stride', 'none'),
  'residual': (False, True),
}


@pytest.mark.parametrize('mixer', COUNTED['mixer'])
def test_cnn_parameters_are_the_closed_form(mixer):
  rest = itertools.product(*(COUNTED[key] for key in ('norm', 'pool', 'residual')))
  variants = itertools.cycle([('dense', ()), ('average', (5,)), ('dense', (7, 5))])
  for (norm, pool, residual), (head, hidden), depth in zip(
    rest, variants, itertools.cycle((1, 2))
  ):
    options = {
      'widths': (4, 4),
      'depth': depth,
      'mixer': mixer,
      'norm': norm,
      'pool': pool,
      'residual': residual,
      'head': head,
      'hidden': hidden,
    }
    found = sum(cases.sizes(cases.build('cnn', **options), 'cnn').values())
    assert found == count_cnn(**options), options


def test_the_cases_cover_every_option():
  every = {**cases.CHOICES, **game_cases.CHOICES}
  for model in config_lib.available('models'):
    assert (
      every[model].keys()
      == options_lib.defaults(config_lib.find('models', model)).keys()
    )


def test_the_cases_cover_every_value():
  for model, options in cases.CHOICES.items():
    seen = cases.mixtures(model)
    for option, values in options.items():
      assert {mixture[option] for mixture in seen} == set(values)


def learn(module, model, noise, x, numbers):
  """Initial variables; logits of evaluation and training; states; gradients."""
  variables = cases.trace_init(module, model)
  moved = {
    path: leaf + noise[path] for path, leaf in variables.items() if path in noise
  }

  def loss(params):
    logits, state = cases.forward(
      module, {**variables, **params}, x, numbers, train=True
    )
    labels = jnp.arange(len(x)) % cases.OUTPUTS
    chosen = jax.nn.log_softmax(logits)[jnp.arange(len(x)), labels]
    return -chosen.mean(), (logits, state)

  grads, (logits, state) = jax.grad(loss, has_aux=True)(moved)
  evaluated = cases.forward(module, variables, x, numbers, train=False)
  return variables, evaluated, logits, state, grads


@pytest.mark.parametrize(
  ('model', 'options'),
  [(model, mixture) for model in cases.CHOICES for mixture in cases.mixtures(model)],
  ids=lambda value: value if isinstance(value, str) else '',
)
def test_every_option_value_learns(model, options):
  """Shapes, dtypes, finite values, and a gradient in every parameter."""
  module = cases.build(model, **options)
  generator = np.random.default_rng(0)
  noise = {  # so that no gradient vanishes by symmetry
    ('params', *path): generator.normal(0, 0.3, shape).astype(np.float32)
    for path, shape in cases.shapes(module, model).items()
  }
  traced = options_lib.traced(config_lib.find('models', model))
  numbers = cases.hyper(model, **{name: options[name] for name in traced})
  run = cases.jit(functools.partial(learn, module, model))
  variables, evaluated, trained, state, grads = run(noise, cases.images(model), numbers)
  for logits in (evaluated, trained):
    assert (logits.shape, logits.dtype) == ((8, cases.OUTPUTS), jnp.float32)
    assert np.isfinite(logits).all()
  for leaf in [*variables.values(), *jax.tree.leaves(state)]:
    assert leaf.dtype == jnp.float32
  assert grads.keys() == noise.keys()
  for path, leaf in grads.items():
    assert leaf.dtype == jnp.float32
    assert np.isfinite(leaf).all(), path
    assert np.abs(leaf).max() > 1e-7, path  # no parameter is counted that cannot learn


@pytest.mark.parametrize('model', cases.TINY)
def test_bfloat16_computes_every_product_in_it(model):
  module = cases.build(model, dtype='bfloat16')
  plain = cases.build(model)
  variables = cases.init(plain, model)
  x, hyper = cases.images(model), cases.hyper(model)
  run = functools.partial(cases.forward, train=False)
  half, full = (
    cases.jit(functools.partial(run, each))(variables, x, hyper)
    for each in (module, plain)
  )
  error = np.abs(half - full).max() / np.abs(full).max()
  assert 0 < error < 0.05  # bfloat16 has 8 bits
  text = str(jax.make_jaxpr(functools.partial(run, module))(variables, x, hyper))
  products = [
    line for line in text.splitlines() if '= dot_general' in line or '= conv_g' in line
  ]
  assert products
  assert all(':bf16[' in line.split('=')[0] for line in products)


@pytest.mark.parametrize('model', [m for m in cases.TINY if 'norm' in cases.CHOICES[m]])
def test_no_bias_directly_before_a_batch_norm(model):
  """STYLE 11: such a bias has no gradient; it returns when the norm is ablated."""
  normed = {  # by layer: whether a norm of kind batch follows
    'mlp': {'dense0': True, 'dense1': True, 'output': False},
    'cnn': {'stage0': True, 'stage1': True, 'dense0': False, 'output': False},
    'alexnet': {
      **dict.fromkeys(('conv1', 'conv2'), True),
      **dict.fromkeys(('conv3', 'conv4', 'conv5', 'dense0', 'dense1', 'output'), False),
    },
    'recurrent': {'output': False},
    'attention': {'embedding': False, 'layer0': False, 'output': False},
  }[model]
  for norm in cases.CHOICES[model]['norm']:
    found = cases.sizes(cases.build(model, norm=norm), model)
    biased = {
      path[0]
      for path in found
      if path[-1] == 'bias' and not any('norm' in part for part in path)
    }
    expected = {name for name, is_ in normed.items() if not (is_ and norm == 'batch')}
    assert biased == expected, norm


def test_a_norm_after_the_activation_leaves_the_bias_before_it():
  for model, layer in (('mlp', ('dense0',)), ('cnn', ('stage0', 'conv0'))):
    sizes = cases.sizes(cases.build(model, norm='batch', norm_after=True), model)
    assert (*layer, 'bias') in sizes


@pytest.mark.parametrize(
  ('model', 'options', 'expected'),
  [
    ('cnn', {'mixer': 'convv'}, "config.model.mixer: unknown 'convv' (did you mean"),
    ('cnn', {'norm': 'instance'}, 'use none, lrn, batch, layer, group'),
    ('cnn', {'pool': 'min'}, 'use max, average, stride, none'),
    ('cnn', {'head': 'flat'}, 'use dense, average'),
    ('cnn', {'widths': (4, 0)}, 'config.model.widths must be at least 1, not (4, 0)'),
    ('cnn', {'depth': 0}, 'config.model.depth must be at least 1, not 0'),
    ('mlp', {'norm': 'lrn'}, 'use none, batch, layer'),
    ('mlp', {'hidden': (-3,)}, 'config.model.hidden must be at least 1'),
    ('mlp', {'activation': 'rleu'}, "(did you mean 'relu'?)"),
    ('mlp', {'activation': 'jax.numpy.none'}, "cannot find 'jax.numpy.none'"),
    ('mlp', {'activation': 'no.such.thing'}, "cannot find 'no.such.thing'"),
    ('mlp', {'activation': '.x'}, "cannot find '.x'"),
    ('mlp', {'activation': 'jax.numpy.pi'}, "'jax.numpy.pi' is not a function"),
    ('mlp', {'init': 'zeros'}, 'use he, glorot, lecun, orthogonal'),
    ('mlp', {'dtype': 'float16'}, 'use float32, bfloat16'),
    ('alexnet', {'groups': 0}, 'config.model.groups must be at least 1'),
    ('alexnet', {'width': -1.0}, 'config.model.width must be positive'),
    ('alexnet', {'norm': 'layer'}, 'use lrn, none, batch'),
    ('recurrent', {'hidden': 0}, 'config.model.hidden must be at least 1, not 0'),
    ('recurrent', {'layers': 0}, 'config.model.layers must be at least 1, not 0'),
    ('recurrent', {'embedding': 0}, 'config.model.embedding must be at least 1'),
    ('recurrent', {'remat': -1}, 'config.model.remat must be at least 0, not -1'),
    ('recurrent', {'cell': 'lsmt'}, "unknown 'lsmt' (did you mean 'lstm'?); use rnn,"),
    ('recurrent', {'cell': 'flax.linen.NoCell'}, "cannot find 'flax.linen.NoCell'"),
    ('recurrent', {'cell': 'jax.numpy.pi'}, "'jax.numpy.pi' is not a function"),
    ('recurrent', {'norm': 'group'}, 'use none, layer, batch'),
    ('recurrent', {'norm': 'batch', 'remat': 2}, 'remat=2 is for norm=none or layer'),
    ('recurrent', {'tied': True}, 'tied shares the embedding of symbols, which only'),
    ('window', {'tied': True}, 'tied shares the embedding of symbols, which only'),
    ('window', {'dilation': 0}, 'config.model.dilation must be at least 1, not 0'),
    ('recurrent', {'recurrent_mask': 'always'}, 'use variational, step'),
    ('recurrent', {'recurrent_init': 'zeros'}, 'use he, glorot, lecun, orthogonal'),
    ('recurrent', {'kernel': 'cuda'}, 'use scan, cudnn'),
    ('recurrent', {'input_activation': 'tahn'}, "(did you mean 'tanh'?)"),
    ('recurrent', {'output_activation': 'no.such'}, "cannot find 'no.such'"),
    ('recurrent', {'coupled': True, 'input_gate': False}, 'needs both input_gate and'),
    ('recurrent', {'coupled': True, 'forget_gate': False}, 'needs both input_gate and'),
    ('recurrent', {'activation': 'relu'}, "belongs to cell 'rnn' and does nothing to"),
    ('recurrent', {'reset_gate': False}, "reset_gate=False belongs to cell 'gru'"),
    ('recurrent', {'cell': 'gru', 'peepholes': True}, "belongs to cell 'lstm'"),
    ('recurrent', {'cell': 'rnn', 'activation': 'rleu'}, "(did you mean 'relu'?)"),
    ('recurrent', {'dtype': 'float64'}, 'use float32, bfloat16'),
    ('window', {'context': 0}, 'config.model.context must be at least 1, not 0'),
    ('window', {'activation': 'tahn'}, "(did you mean 'tanh'?)"),
    ('attention', {'heads': 3}, 'heads=3 does not divide config.model.width=8; 1, 2,'),
    ('attention', {'heads': 8}, 'rotary turns pairs of units: a head has 1'),
    ('attention', {'patch': 3}, 'patch=3 does not divide images of 4x6; 1, 2 would'),
    ('attention', {'span': 5}, 'span=5 is more than there is to see: 4 positions; use'),
    ('attention', {'memory': 5}, 'memory=5 is carried where every step is answered'),
    ('attention', {'mixer': 'atention'}, "(did you mean 'attention'?); use attention,"),
    ('attention', {'positions': 'rope'}, 'use none, learned, sinusoidal, rotary'),
    ('attention', {'norm': 'batch'}, 'use none, layer, rms'),
    ('attention', {'mlp': 'swiglu'}, 'use dense, gated, none'),
    (
      'attention',
      {'mlp_ratio': 0.0},
      'config.model.mlp_ratio must be above 0, not 0.0',
    ),
    ('attention', {'chunk': 0}, 'config.model.chunk must be at least 1, not 0'),
    ('attention', {'tied': True}, 'tied shares the embedding of symbols'),
    ('attention', {'readout': 'token', 'mixer': 'none'}, 'mixer=none hides them'),
    ('attention', {'readout': 'token', 'span': 2}, 'span=2 hides them; use mean or'),
    ('attention', {'attention_kernel': 'cudnn'}, "cudnn runs dtype='bfloat16' only"),
    (
      'attention',
      {'attention_kernel': 'cudnn', 'dtype': 'bfloat16'},
      'needs an NVIDIA GPU; JAX runs on cpu here: use attention_kernel=xla',
    ),
  ],
  ids=str,
)
def test_mistakes_in_options_are_one_line(model, options, expected):
  with pytest.raises(errors.UserError) as caught:
    cases.build(model, **options)
  assert expected in str(caught.value)
  assert '\n' not in str(caught.value)
