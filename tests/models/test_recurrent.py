"""Recurrent networks against loops in numpy, torch, finite differences and autodiff."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config import options as options_lib
from dlsteroids.models import recurrent
from dlsteroids.models.lib import blocks, recurrent_layer
from dlsteroids.models.ops import convolution, recurrence
from dlsteroids.train import cost
from dlsteroids.train import step as step_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import recurrent_oracle as oracle

pytestmark = pytest.mark.usefixtures('quick')

B, T, F, H, K = 3, 6, 4, 5, 2
VANILLA = {'peepholes': True}
# The eight departures of Greff et al. 2017 from it, and some together.
DEPARTURES = {
  'V': {},
  'NIG': {'input_gate': False},
  'NFG': {'forget_gate': False},
  'NOG': {'output_gate': False},
  'NIAF': {'input_activation': 'identity'},
  'NOAF': {'output_activation': 'identity'},
  'NP': {'peepholes': False},
  'CIFG': {'coupled': True},
  'FGR': {'full_gate_recurrence': True},
  'FGR+CIFG': {'full_gate_recurrence': True, 'coupled': True},
  'FGR+NOG+NP': {
    'full_gate_recurrence': True,
    'output_gate': False,
    'peepholes': False,
  },
  'NIG+NFG+NOG': {'input_gate': False, 'forget_gate': False, 'output_gate': False},
  'CIFG+NOAF+NP': {
    'coupled': True,
    'output_activation': 'identity',
    'peepholes': False,
  },
}
VARIANTS = {
  **{name: {**VANILLA, **options} for name, options in DEPARTURES.items()},
  'rnn': {'cell': 'rnn'},
  'rnn-relu': {'cell': 'rnn', 'activation': 'relu'},
  'gru': {'cell': 'gru'},
  'gru-reset': {'cell': 'gru', 'reset_gate': False},
  'gru-update': {'cell': 'gru', 'update_gate': False},
  'gru-both': {'cell': 'gru', 'reset_gate': False, 'update_gate': False},
}
CELLS = {name: VARIANTS[name] for name in ('V', 'FGR', 'gru', 'rnn')}


class Leaky(nn.RNNCellBase):
  """A user's cell: a leaky average of a tanh of both."""

  features: int
  num_feature_axes = 1  # for flax's own loop

  @nn.compact
  def __call__(self, carry, x):
    seen = jnp.concatenate([x, carry], -1)
    new = jnp.tanh(nn.Dense(self.features, name='mix')(seen))
    carry = 0.7 * carry + 0.3 * new
    return carry, carry

  def initialize_carry(self, key, shape):
    return jnp.zeros((*shape[:-1], self.features))


@pytest.fixture
def double(monkeypatch):
  """Computes in float64, which no config can ask for."""
  monkeypatch.setattr(blocks, 'dtype', lambda name: jnp.dtype('float64'))
  with jax.enable_x64(True):
    yield


def complete(**options):
  sizes = {'hidden': H, 'embedding': F}
  return {**options_lib.defaults(recurrent), **sizes, **options}


def make(every=True, symbols=0, **options):
  """The module of `K` outputs."""
  task = {'outputs': K, 'shape': (T, F), 'every': every, 'symbols': symbols}
  return recurrent.build({**complete(**options), **task})


def draw(*shapes, seed=0):
  generator = np.random.default_rng(seed)
  return [generator.normal(size=shape) for shape in shapes]


def parameters(module, x=None, seed=1):
  """Random parameters, that no symmetry hides a mistake."""
  x = np.zeros((B, T, F)) if x is None else x
  numbers = cases.hyper('recurrent')
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), x, train=False, hyper=numbers)
  )['params']
  leaves, tree = jax.tree.flatten(shapes)
  values = draw(*(leaf.shape for leaf in leaves), seed=seed)
  return jax.tree.unflatten(tree, [0.5 * value for value in values])


def answer(module, params, x, train=False, key=0, rate=0.0, **inputs):
  """What the module says; `rate` is that of both dropouts."""
  return module.apply(
    {'params': params},
    x,
    train=train,
    hyper={'model.dropout': rate, 'model.recurrent_dropout': rate},
    rngs={'dropout': jax.random.key(key)},
    **inputs,
  )


def close(found, expected, tolerance=1e-9):
  """Trees of arrays, relative to each array's largest entry."""
  leaves = jax.tree.leaves(expected)
  assert len(leaves) == len(jax.tree.leaves(found))
  for a, b in zip(jax.tree.leaves(found), leaves):
    b = np.asarray(b, np.float64)
    scale = np.nanmax(np.abs(b), initial=1e-300)
    np.testing.assert_allclose(
      np.asarray(a, np.float64), b, rtol=tolerance, atol=tolerance * scale
    )


def inner(one, other):
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other))
  return sum(float(np.sum(np.asarray(a) * b)) for a, b in pairs)


# Values and gradients against the loop


def check(options, every=True, lengths=None, carried=False, masks=None, train=False):
  """Values and directional derivatives of a whole network are the loop's."""
  o, module = complete(**options), make(every, **options)
  (x,), params = draw((B, T, F)), parameters(make(every, **options))
  names = oracle.states(o)
  sides = o['layers'] * (1 + o['bidirectional'])
  carry = tuple(tuple(draw(*[(B, H)] * len(names), seed=7 + i)) for i in range(sides))
  carry = carry if carried else ()
  given = {} if lengths is None else {'lengths': jnp.asarray(lengths)}
  drawn = masks if masks is not None else []
  real = np.arange(T) < np.array([T] * B if lengths is None else lengths)[:, None]
  shape = (B, T, K) if every else (B, K)
  slopes, ends = draw(shape, seed=3)[0], [draw(*[(B, H)] * len(names), seed=4)] * sides
  slopes = slopes * real[..., None] if every else slopes

  def value(params, x, carry):
    found, last = answer(module, params, x, train, 0, 0.4 if train else 0.0,
                         carry=carry, **given)  # fmt: skip
    total = (jnp.where(slopes == 0, 0, found) * slopes).sum()
    parts = zip(jax.tree.leaves(last), jax.tree.leaves(ends))
    return total + sum((a * b).sum() for a, b in parts), (found, last)

  run = cases.jit(jax.value_and_grad(value, (0, 1, 2), has_aux=True))
  (total, (found, last)), grads = run(params, x, carry)

  def expect(params, x, carry):
    found, last = oracle.run(
      o, params, x, every=every, lengths=lengths, carry=carry, masks=drawn
    )
    return inner(np.nan_to_num(found), slopes) + inner(last, ends), found, last

  expected, rows, states = expect(params, x, carry)
  assert float(total) == pytest.approx(expected, rel=1e-9)
  if every:
    found = np.where(real[..., None], found, np.nan)
  close((found, last), (rows, states))
  for seed in range(2):  # random directions, by central differences
    leaves, tree = jax.tree.flatten((params, x, carry))
    way = draw(*(leaf.shape for leaf in leaves), seed=20 + seed)
    at = lambda step, leaves=leaves, tree=tree, way=way: jax.tree.unflatten(
      tree, [leaf + step * part for leaf, part in zip(leaves, way)]
    )
    step = 1e-5
    apart = lambda step, at=at: expect(*at(step))[0] - expect(*at(-step))[0]
    slope = (8 * apart(step) - apart(2 * step)) / (12 * step)
    size = sum(inner(np.abs(g), np.abs(d)) for g, d in zip(jax.tree.leaves(grads), way))
    assert abs(inner(grads, jax.tree.unflatten(tree, way)) - slope) < 1e-7 * size


@pytest.mark.parametrize(
  ('name', 'norm'),
  [
    *((name, 'none') for name in VARIANTS),
    *((name, 'layer') for name in CELLS),
    *(
      pytest.param(name, 'layer', marks=pytest.mark.slow)
      for name in VARIANTS
      if name not in CELLS
    ),
  ],
)
def test_every_cell_is_the_loop(double, name, norm):
  check({**VARIANTS[name], 'norm': norm}, carried=True)


@pytest.mark.parametrize(
  ('options', 'every'),
  [
    ({'layers': 2}, True),
    ({'layers': 3, 'residual': True}, False),
    ({'layers': 2, 'bidirectional': True}, True),
    ({'layers': 2, 'bidirectional': True, 'residual': True, 'cell': 'gru'}, False),
    ({'layers': 3, 'norm': 'layer', 'residual': True, **DEPARTURES['FGR']}, True),
    ({'bidirectional': True, 'cell': 'rnn'}, False),
    ({'layers': 2, 'residual': True, 'hidden': F, 'cell': 'rnn'}, False),
  ],
  ids=str,
)
@pytest.mark.parametrize('lengths', [None, (4, 6, 1)], ids=str)
def test_stacks_directions_and_lengths_are_the_loop(
  double, monkeypatch, options, every, lengths
):
  # A width equal to the input's: the first layer adds nothing to it even then.
  monkeypatch.setitem(globals(), 'H', options.get('hidden', H))
  check(options, every, lengths)


@pytest.mark.parametrize('mask', ['variational', 'step'])
@pytest.mark.parametrize(
  ('options', 'every', 'lengths'),
  [
    ({'cell': 'gru'}, True, None),
    ({**VANILLA, 'full_gate_recurrence': True}, True, (2, 6, 5)),
    ({'layers': 2, 'bidirectional': True, 'cell': 'rnn'}, False, (2, 6, 5)),
    ({'layers': 2, 'remat': 3}, False, None),
  ],
  ids=str,
)
def test_dropout_is_the_loop_with_the_same_masks(
  double, monkeypatch, options, every, lengths, mask
):
  masks = []

  def drop(x, rate, key):
    generator = np.random.default_rng(len(masks))
    masks.append((generator.random(x.shape) > 0.4) / 0.6)
    return x * masks[-1]

  monkeypatch.setattr(blocks, 'dropout', drop)
  options = {**options, 'recurrent_mask': mask}
  check(options, every, lengths, masks=masks, train=True)
  steps = {shape[0] for shape in (m.shape for m in masks) if len(shape) == 3}
  assert steps <= {1, T}
  assert (1 in steps) == (mask == 'variational')


@pytest.mark.parametrize('mask', ['variational', 'step'])
def test_recurrent_dropout_draws_for_every_layer_example_and_unit(mask, monkeypatch):
  found, plain = [], recurrent_layer.Layer.drop
  module = make(layers=2, recurrent_mask=mask, hidden=40)
  params = parameters(module)

  def drop(self, *args):
    found.append(plain(self, *args))
    return found[-1]

  monkeypatch.setattr(recurrent_layer.Layer, 'drop', drop)
  x = np.zeros((B, T, F), np.float32)
  for key in (0, 0, 1):
    answer(module, params, x, train=True, rate=0.25, key=key)
  assert {m.shape for m in found} == {(T if mask == 'step' else 1, B, 40)}
  first, second, again, _, other, *_ = (np.asarray(m) for m in found)
  assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
  np.testing.assert_array_equal(first, again)
  for one, two in [(first, second), (first, other), (first[:, 0], first[:, 1])]:
    assert 0.1 < (one != two).mean() < 0.65  # 3 / 8 if unrelated
  if mask == 'step':
    assert 0.1 < (first[0] != first[1]).mean() < 0.65
  assert answer(module, params, x).shape == (B, T, K)
  assert len(found) == 8
  assert found[-2:] == [None, None]  # evaluation draws none


@pytest.mark.parametrize(
  ('options', 'reverse'),
  [
    ({'cell': 'rnn'}, oracle.reverse_rnn),
    (VANILLA, oracle.reverse_lstm),
    ({'cell': 'gru'}, oracle.reverse_gru),
  ],
)
def test_gradients_are_those_by_hand(double, options, reverse):
  module = make(**options)
  (x,), params = draw((B, T, F)), parameters(module)

  def loss(params, x):
    return jnp.sin(answer(module, params, x)).sum()

  grads, by_x = cases.jit(jax.grad(loss, (0, 1)))(params, x)
  kernel = params['output']['kernel']
  answers, _ = oracle.run(complete(**options), params, x, every=True)
  slopes = np.cos(answers) @ kernel.T
  expected = [reverse(params['layer0'], x[b], slopes[b]) for b in range(B)]
  close(by_x, np.stack([d.pop('x') for d in expected]))
  total = jax.tree.map(lambda *parts: sum(parts), *expected)
  close(oracle.flatten(grads['layer0']), total)


def test_symbols_are_rows_of_the_table(double):
  module = make(symbols=7)
  x = np.random.default_rng(0).integers(0, 7, (B, T))
  params = parameters(module, x)
  assert params['embedding'].shape == (7, F)
  expected, _ = oracle.run(complete(), params, params['embedding'][x], every=True)
  close(answer(module, params, x), expected)


def test_images_are_read_row_by_row(double):
  module = make(every=False)
  (x,) = draw((B, T, 2, F // 2))
  params = parameters(module)
  flat = x.reshape(B, T, F)
  expected, _ = oracle.run(complete(), params, flat, every=False)
  close(answer(module, params, x), expected)


def test_initial_values():
  """Biases 0 but the forget gate's; orthogonal R; peepholes 0, gains 1."""
  options = {**VANILLA, 'norm': 'layer', 'forget_bias': 1.5}
  module = make(**options)
  found = module.init(
    jax.random.key(0), np.zeros((B, T, F)), train=False, hyper=cases.hyper('recurrent')
  )['params']['layer0']
  found = oracle.flatten(found)
  constants = {
    'forget_bias': 1.5,
    **{f'{gate}_bias': 0.0 for gate in ('candidate', 'input', 'output')},
    **{f'peephole_{gate}': 0.0 for gate in ('input', 'forget', 'output')},
    **{name: 1.0 for name in found if name.endswith('norm')},
    **{'norm_cell': 1.0, 'shift_cell': 0.0},
  }
  for name, value in found.items():
    if name in constants:
      np.testing.assert_array_equal(value, np.full(H, constants[name], np.float32))
    elif name.endswith('_recurrent'):
      np.testing.assert_allclose(value @ value.T, np.eye(H), atol=1e-5)
    else:
      assert value.shape == (F, H)
  assert found.keys() > constants.keys()


def test_an_identity_start_passes_the_state_on():
  """Le et al. 2015: with R = 1, W = 0 and ReLU the state stays as it is."""
  module = make(cell='rnn', activation='relu', recurrent_init='identity')
  numbers = cases.hyper('recurrent')
  x = np.zeros((B, T, F), np.float32)
  params = module.init(jax.random.key(0), x, train=False, hyper=numbers)['params']
  kernel = params['layer0']['candidate_recurrent']['kernel']
  np.testing.assert_array_equal(kernel, np.eye(H))
  start = jnp.asarray(np.random.default_rng(0).random((B, H)), jnp.float32)
  _, ((end,),) = answer(module, params, x, carry=((start,),))
  np.testing.assert_array_equal(end, start)


def test_a_tied_output_is_the_embedding():
  module = make(symbols=K, tied=True, hidden=F)
  x = np.random.default_rng(0).integers(0, K, (B, T))
  params = parameters(module, x)
  table = params['embedding']
  with_output = {
    **params, 'output': {'kernel': table.T / F**0.5, 'bias': params['output_bias']}
  }  # fmt: skip
  o = complete(hidden=F)
  expected, _ = oracle.run(o, with_output, table[x], every=True)
  close(answer(module, params, x), expected, 1e-5)
  with pytest.raises(errors.UserError, match=r'model\.embedding=10, not 4'):
    make(symbols=K, tied=True, bidirectional=True)


# Batch norm inside the recurrence, step by step over the whole batch


def normalised_loop(o, p, x, lengths, averages=None):
  """One layer over a batch: outputs [B, T, H], and moments by name and step.

  Cooijmans et al. 2017, equations 6 to 8, in numpy; `averages`: moments to use instead
  of the batch's.
  """
  p, used = oracle.flatten(p), {}
  batch, steps, _ = x.shape
  y, c = np.zeros((2, batch, H))
  outputs = np.zeros((batch, steps, H))
  for t in range(steps):
    real = t < np.asarray(lengths)

    def norm(name, value, t=t, real=real):
      mean, variance = value[real].mean(0), value[real].var(0)
      if averages is not None:
        mean, variance = (
          averages[f'{name}_{part}'][t] for part in ('mean', 'variance')
        )
      used[name, t] = mean, variance
      return (value - mean) / np.sqrt(variance + 1e-5)

    def net(gate, t=t, norm=norm, y=y):
      read = norm(f'{gate}_input', x[:, t] @ p[f'{gate}_input'])
      fed = norm(f'{gate}_recurrent', y @ p[f'{gate}_recurrent'])
      scales = p[f'{gate}_input_norm'], p[f'{gate}_recurrent_norm']
      return read * scales[0] + p[f'{gate}_bias'], fed * scales[1]

    if o['cell'] == 'rnn':
      new = np.tanh(sum(net('candidate'))), c
    elif o['cell'] == 'gru':
      r, u = (oracle.sigma(sum(net(gate))) for gate in ('reset', 'update'))
      read, fed = net('candidate')
      n = np.tanh(read + r * (fed + p['recurrent_bias']))
      new = (1 - u) * n + u * y, c
    else:
      i, f, out = (oracle.sigma(sum(net(g))) for g in ('input', 'forget', 'output'))
      cell = np.tanh(sum(net('candidate'))) * i + c * f
      shown = norm('cell', cell) * p['norm_cell'] + p['shift_cell']
      new = np.tanh(shown) * out, cell
    y, c = (np.where(real[:, None], a, b) for a, b in zip(new, (y, c)))
    outputs[:, t] = y
  return outputs, used


@pytest.mark.parametrize('cell', ['lstm', 'gru', 'rnn'])
@pytest.mark.parametrize('lengths', [(T, T, T), (4, 6, 2)], ids=str)
def test_recurrent_batch_norm_is_the_loop(double, cell, lengths):
  """In training, and in evaluation by averages; gradients by differences."""
  o = complete(cell=cell, norm='batch')
  module = make(cell=cell, norm='batch')
  (x,), params = draw((B, T, F)), parameters(module)
  real = np.arange(T) < np.array(lengths)[:, None]
  numbers = cases.hyper('recurrent')
  init = lambda: module.init(jax.random.key(0), x, train=False, hyper=numbers)
  start = cases.jit(init)()['batch_stats']

  def run(params, train, stats):
    given = {'lengths': jnp.asarray(lengths), 'train': train, 'hyper': numbers}
    given |= {'rngs': {'dropout': jax.random.key(0)}, 'mutable': ['batch_stats']}
    return module.apply({'params': params, 'batch_stats': stats}, x, **given)

  def expect(params, averages=None):
    h, used = normalised_loop(o, params['layer0'], x, lengths, averages)
    return h @ params['output']['kernel'] + params['output']['bias'], used

  found, new = cases.jit(functools.partial(run, train=True, stats=start))(params)
  expected, used = expect(params)
  close(found * real[..., None], expected * real[..., None])
  stats = new['batch_stats']['layer0']
  for (name, t), moments in used.items():
    for part, value, first in zip(('mean', 'variance'), moments, (0.0, 1.0)):
      close(stats[f'{name}_{part}'][t], 0.9 * first + 0.1 * value)
  evaluated, _ = cases.jit(
    functools.partial(run, train=False, stats=new['batch_stats'])
  )(params)
  expected, _ = expect(params, stats)
  close(evaluated * real[..., None], expected * real[..., None])

  slopes = draw((B, T, K), seed=3)[0] * real[..., None]
  loss = lambda params: (run(params, True, start)[0] * slopes).sum()
  grads = cases.jit(jax.grad(loss))(params)
  leaves, tree = jax.tree.flatten(params)
  way = jax.tree.unflatten(tree, draw(*(leaf.shape for leaf in leaves), seed=9))
  move = lambda step: jax.tree.map(lambda a, b: a + step * b, params, way)
  apart = lambda step: inner(expect(move(step))[0] - expect(move(-step))[0], slopes)
  slope = (8 * apart(1e-5) - apart(2e-5)) / 12e-5
  assert inner(grads, way) == pytest.approx(slope, rel=1e-6)


def test_recurrent_batch_norm_starts_small_and_counts_steps_from_the_beginning():
  """Gains of 0.1; pieces with a carry are the whole, and late steps use the last."""
  module, numbers = make(norm='batch'), cases.hyper('recurrent')
  (x,) = draw((B, T, F))
  variables = module.init(
    jax.random.key(0), jnp.zeros((B, T, F)), train=False, hyper=numbers
  )
  layer = variables['params']['layer0']
  assert {float(v) for n in layer if 'norm' in n for v in layer[n]} == {np.float32(0.1)}
  stats = jax.tree.map(
    lambda a: jnp.asarray(np.random.default_rng(1).random(a.shape) + 0.5),
    variables['batch_stats'],
  )
  ask = lambda x, **more: module.apply(
    {**variables, 'batch_stats': stats}, x, train=False, hyper=numbers, **more
  )
  first, carry = ask(x[:, :2], carry=())
  rest, _ = ask(x[:, 2:], carry=carry)
  whole = ask(x)
  np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, 1e-5, 1e-6)
  last = jax.tree.map(lambda a: jnp.concatenate([a, a[-1:]]), stats)
  longer = np.concatenate([x, x[:, :1]], 1)
  expected = module.apply(
    {**variables, 'batch_stats': last}, longer, train=False, hyper=numbers
  )
  np.testing.assert_allclose(ask(longer), expected, 1e-5, 1e-6)


def test_recurrent_batch_norm_and_a_carried_state_are_refused():
  task = {'outputs': K, 'symbols': K, 'every': True, 'history': 50}
  with pytest.raises(errors.UserError, match=r'config\.task\.carry=True') as caught:
    recurrent.build({**complete(norm='batch'), **task})
  assert '\n' not in str(caught.value)


# The rewritten recurrence against autodiff of the scan


def agree(derive, *args, tolerance=1e-9):
  """`derive` and its plain formulation give the same."""
  found = cases.jit(derive)(*args)
  with convolution.plain():
    expected = cases.jit(derive)(*args)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected))
  close(found, expected, tolerance)


MENDED = [
  {},
  {**VANILLA, **DEPARTURES['FGR']},
  {'cell': 'gru', 'norm': 'layer'},
  {'cell': 'rnn', 'bidirectional': True, 'layers': 2},
  {'remat': 3},
]


def penalised(module, lengths, rate, params, x):
  """A loss of a gradient, over a scan."""

  def loss(params, x):
    y = answer(module, params, x, train=True, rate=rate, lengths=lengths)
    return jnp.sin(y).sum()

  def step(total, x):
    slope, by_x = jax.grad(loss, (0, 1))(params, x)
    return total + sum((s**2).sum() for s in jax.tree.leaves([slope, by_x])), None

  return lax.scan(step, 0.0, x)[0]


@pytest.mark.parametrize(
  ('options', 'mask'),
  list(zip(MENDED, itertools.cycle(['variational', 'step']))),
  ids=str,
)
def test_rewritten_gradients_are_autodiffs(double, options, mask):
  """With dropout and lengths, alone and as members under vmap."""
  module = make(every=False, recurrent_mask=mask, **options)
  (x,), params = draw((2, B, T, F)), parameters(module)
  lengths = jnp.array([4, 6, 1])

  def loss(params, x):
    y = answer(module, params, x, train=True, rate=0.3, lengths=lengths)
    return jnp.sin(y).sum()

  first = jax.value_and_grad(loss, (0, 1))
  agree(first, params, x[0])
  members = jax.tree.map(lambda p: jnp.stack([p, 0.7 * p]), params)
  agree(jax.vmap(first), members, x)


@pytest.mark.parametrize(
  ('options', 'mask'),
  [
    (MENDED[4], 'step'),
    pytest.param(MENDED[1], 'step', marks=pytest.mark.slow),
    pytest.param(MENDED[2], 'variational', marks=pytest.mark.slow),
  ],
  ids=str,
)
def test_second_derivatives_in_a_scan_under_vmap_are_autodiffs(double, options, mask):
  module = make(every=False, recurrent_mask=mask, **options)
  (x,), params = draw((2, 2, B, T, F)), parameters(module)
  members = jax.tree.map(lambda p: jnp.stack([p, 0.7 * p]), params)
  loss = functools.partial(penalised, module, jnp.array([4, 6, 1]), 0.3)
  agree(jax.vmap(jax.grad(loss, (0, 1))), members, x, tolerance=1e-8)


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('additive', [False, True])
def test_recur_by_itself(double, reverse, shared, additive):
  """By every argument, over a step that uses all it is given."""
  units = 3

  def step(params, carry, *parts):
    x, u = parts if len(parts) == 2 else (parts[0], parts[0])
    y = jnp.tanh(params['gain'] * x + jnp.sin(u) + carry[1])
    return y, 0.5 * carry[1] + y * params['gain']

  x, mask, kernel, y, c, gain, slope = draw(
    (T, B, units), (1 if shared else T, B, units), (units, units), (B, units),
    (B, units), (units,), (T, B, units),
  )  # fmt: skip
  valid = np.random.default_rng(0).random((T, B)) > 0.3
  form = recurrence.Form(step, additive, reverse)

  def loss(gain, kernel, x, y, c):
    inputs = recurrence.Inputs(x, mask, valid)
    outputs, last = recurrence.recur(form, {'gain': gain}, kernel, inputs, (y, c))
    return (outputs * slope).sum() + jnp.sin(last[1]).sum(), outputs

  derive = jax.value_and_grad(loss, (0, 1, 2, 3, 4), has_aux=True)
  agree(derive, gain, kernel, x, y, c)
  # And the loop itself.
  state, expected = (y, c), [None] * T
  for t in reversed(range(T)) if reverse else range(T):
    u = (state[0] * mask[0 if shared else t]) @ kernel
    a, b = (x[t] + u, x[t] + u) if additive else (x[t], u)
    new_y = np.tanh(gain * a + np.sin(b) + state[1])
    new = new_y, 0.5 * state[1] + new_y * gain
    state = tuple(np.where(valid[t, :, None], p, q) for p, q in zip(new, state))
    expected[t] = state[0]
  close(loss(gain, kernel, x, y, c)[1], np.array(expected))


@pytest.mark.parametrize(
  ('name', 'size'),
  [*(('FGR', size) for size in (1, 4, 6, 9)), ('V', 3), ('gru', 5), ('rnn', 2)],
)
def test_remat_changes_nothing(double, name, size):
  both = {'bidirectional': True} if name == 'gru' else {}
  (x,), params = draw((B, T, F)), parameters(make(**CELLS[name], **both))
  found = []
  for remat in (0, size):
    module = make(remat=remat, recurrent_mask='step', **CELLS[name], **both)
    loss = lambda params, x, module=module: jnp.sin(
      answer(module, params, x, train=True, rate=0.3)
    ).sum()
    found.append(cases.jit(jax.value_and_grad(loss, (0, 1)))(params, x))
  close(found[1], found[0])


def test_remat_keeps_less(double):
  """Else it would be no use. Oracle: residuals by name of shape."""
  module, saved = make(), make(remat=2)
  (x,), params = draw((B, T, F)), parameters(module)
  kept = []
  for each in (module, saved):
    _, pull = jax.vjp(lambda p, each=each: answer(each, p, x, train=True), params)
    kept.append(sum(leaf.size for leaf in jax.tree.leaves(pull)))
  assert kept[1] < kept[0]


# Torch


def to_torch(torch, kind, params, depth, bidirectional):
  """A torch.nn network of our layers' parameters."""
  order = {
    'lstm': ('input', 'forget', 'candidate', 'output'),
    'gru': ('reset', 'update', 'candidate'),
    'rnn': ('candidate',),
  }[kind]
  state = {}
  tensor = lambda arrays: torch.tensor(np.concatenate(arrays))
  for index, back in itertools.product(range(depth), range(1 + bidirectional)):
    p = oracle.flatten(params[f'layer{index}' + ('_back' if back else '')])
    end = f'l{index}' + ('_reverse' if back else '')
    state[f'weight_ih_{end}'] = tensor([p[f'{gate}_input'].T for gate in order])
    state[f'weight_hh_{end}'] = tensor([p[f'{gate}_recurrent'].T for gate in order])
    state[f'bias_ih_{end}'] = tensor([p[f'{gate}_bias'] for gate in order])
    extra = [p.get('recurrent_bias', np.zeros(H)) if g == 'candidate' else np.zeros(H)
             for g in order]  # fmt: skip
    state[f'bias_hh_{end}'] = tensor(extra)
  network = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU, 'rnn': torch.nn.RNN}[kind](
    F, H, depth, batch_first=True, bidirectional=bidirectional, dtype=torch.float64
  )
  network.load_state_dict(state)
  return network, order


@pytest.mark.parametrize('bidirectional', [False, True])
@pytest.mark.parametrize(('depth', 'lengths'), [(1, None), (2, None), (2, (4, 6, 1))])
@pytest.mark.parametrize('kind', ['lstm', 'gru', 'rnn'])
def test_networks_are_torchs(double, kind, depth, bidirectional, lengths):
  torch = pytest.importorskip('torch')
  module = make(cell=kind, layers=depth, bidirectional=bidirectional, every=False)
  (x,), params = draw((B, T, F)), parameters(module)

  def loss(params, x):
    given = {} if lengths is None else {'lengths': jnp.asarray(lengths)}
    y = answer(module, params, x, **given)
    return jnp.sin(y).sum(), y

  (_, y), (grads, by_x) = cases.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
    params, x
  )
  network, order = to_torch(torch, kind, params, depth, bidirectional)
  inputs = torch.tensor(x).requires_grad_()
  packed = torch.nn.utils.rnn.pack_padded_sequence(
    inputs, lengths or [T] * B, batch_first=True, enforce_sorted=False
  )
  _, last = network(packed)
  last = last[0] if kind == 'lstm' else last  # [layers * directions, B, H]
  ends = torch.cat(tuple(last[-1 - bidirectional :]), 1)
  kernel, bias = (torch.tensor(params['output'][k]) for k in ('kernel', 'bias'))
  out = ends @ kernel + bias
  out.sin().sum().backward()
  close(y, out.detach().numpy())
  close(by_x, inputs.grad.numpy())
  for index, back in itertools.product(range(depth), range(1 + bidirectional)):
    ours = oracle.flatten(grads[f'layer{index}' + ('_back' if back else '')])
    end = f'l{index}' + ('_reverse' if back else '')
    for name, part in (('weight_ih', 'input'), ('weight_hh', 'recurrent')):
      theirs = getattr(network, f'{name}_{end}').grad.numpy()
      close(np.concatenate([ours[f'{gate}_{part}'].T for gate in order]), theirs)
    theirs = getattr(network, f'bias_ih_{end}').grad.numpy()
    close(np.concatenate([ours[f'{gate}_bias'] for gate in order]), theirs)
    if kind == 'gru':
      theirs = getattr(network, f'bias_hh_{end}').grad.numpy()[-H:]
      close(ours['recurrent_bias'], theirs)


# Lengths and carried states


@pytest.mark.parametrize(
  'options',
  [
    {'layers': 2, 'bidirectional': True, 'residual': True},
    {'layers': 2, 'bidirectional': True, 'remat': 3},
    {'cell': 'gru', 'norm': 'layer'},
    {'cell': 'tests.models.test_recurrent.Leaky', 'layers': 2},
  ],
  ids=str,
)
def test_padding_changes_nothing(double, options):
  """Oracle: the sequences alone, one by one, without padding."""
  module = make(every=False, **options)
  alone = make(every=False, **{**options, 'remat': 0})
  lengths, params = (4, 6, 1), parameters(make(**options))
  (x,) = draw((B, T, F))
  (slope,) = draw((B, K), seed=5)

  def batch(params, x):
    y = answer(module, params, x, lengths=jnp.asarray(lengths))
    return (y * slope).sum(), y

  def single(params, x, slope):
    y = answer(alone, params, x[None])[0]
    return (y * slope).sum(), y

  one = cases.jit(jax.value_and_grad(single, (0, 1), has_aux=True))
  expected = [one(params, x[b, :n], slope[b]) for b, n in enumerate(lengths)]
  run = cases.jit(jax.value_and_grad(batch, (0, 1), has_aux=True))
  padding = np.arange(T) >= np.array(lengths)[:, None]
  for garbage in (0.0, 1.0, 1e30):
    fouled = np.where(padding[..., None], garbage, x)
    (_, y), (grads, by_x) = run(params, fouled)
    close(y, np.stack([e[0][1] for e in expected]))
    close(grads, jax.tree.map(lambda *parts: sum(parts), *(e[1][0] for e in expected)))
    assert not np.asarray(by_x)[padding].any()
    for b, n in enumerate(lengths):
      close(by_x[b, :n], expected[b][1][1])


@pytest.mark.parametrize(
  'options',
  [
    *CELLS.values(),
    {'layers': 2, 'residual': True, 'norm': 'layer', **VARIANTS['FGR+CIFG']},
    {'cell': 'tests.models.test_recurrent.Leaky', 'layers': 2},
  ],
  ids=str,
)
def test_windows_with_a_carried_state_are_one_long_sequence(double, options):
  module = make(**options)
  (x,), params = draw((B, 2 * T, F)), parameters(module)
  whole = answer(module, params, x)
  run = cases.jit(lambda x, carry: answer(module, params, x, carry=carry))
  carry, parts = (), []
  for start in range(0, 2 * T, 4):
    part, carry = run(x[:, start : start + 4], carry)
    parts.append(part)
  close(np.concatenate(parts, 1), np.asarray(whole))
  _, last = run(x, ())
  close(carry, last)


# A user's own cell


@pytest.mark.parametrize(
  ('cell', 'name'),
  [
    (nn.GRUCell, 'flax.linen.GRUCell'),
    (nn.OptimizedLSTMCell, 'flax.linen.OptimizedLSTMCell'),
    (Leaky, 'tests.models.test_recurrent.Leaky'),
  ],
)
def test_a_users_cell_runs_as_flax_runs_it(cell, name):
  module = make(cell=name, bidirectional=True)
  (x,), params = draw((B, T, F)), parameters(module)
  lengths = jnp.array([4, 6, 1])
  found = answer(module, params, x, lengths=lengths)
  sides = [
    nn.RNN(cell(H, name='cell'), reverse=back, keep_order=True).apply(
      {'params': params['layer0' + ('_back' if back else '')]}, x, seq_lengths=lengths
    )
    for back in (False, True)
  ]
  y = np.concatenate(sides, -1) @ params['output']['kernel'] + params['output']['bias']
  for b, n in enumerate(lengths):
    close(found[b, :n], y[b, :n], 1e-5)  # flax's cells carry float32


def test_a_users_cell_takes_no_switch_of_the_shipped_ones():
  for options, words in [
    ({'peepholes': True}, "peepholes=True belongs to cell 'lstm' and does nothing to"),
    ({'norm': 'layer'}, "norm='layer' is for the shipped cells"),
    ({'remat': 2}, 'remat=2 is for the shipped cells'),
    ({'init': 'he'}, "Leaky': its class has no field kernel_init"),
  ]:
    name = (
      'tests.models.test_recurrent.Leaky' if 'init' in options else 'flax.linen.GRUCell'
    )
    with pytest.raises(errors.UserError, match=words):
      make(cell=name, **options)


def test_a_users_cell_is_given_the_options_it_has_fields_for():
  options = {'dtype': 'bfloat16', 'init': 'normal', 'recurrent_init': 'he'}
  made = recurrent.own_cell(
    {**options_lib.defaults(recurrent), **options, 'cell': 'flax.linen.GRUCell'}
  )
  cell = made(features=3)
  assert (cell.dtype, cell.kernel_init, cell.recurrent_kernel_init) == (
    jnp.bfloat16, blocks.INITIALIZERS['normal'], blocks.INITIALIZERS['he'],
  )  # fmt: skip


# Pairing


@functools.cache
def start(options):
  """Initial values by layer and name at one seed."""
  module, x = make(**dict(options)), np.zeros((B, T, F))
  hyper = cases.hyper('recurrent')
  init = lambda: module.init(jax.random.key(3), x, train=False, hyper=hyper)['params']
  found = jax.device_get(cases.jit(init)())
  return {part: oracle.flatten(found[part]) for part in found}


def compare(one, other, parts):
  """Parameters that both have are equal to the bit; returns those that one lacks."""
  one, other = (start(tuple(sorted(options.items()))) for options in (one, other))
  for part in parts:
    for key in one[part].keys() & other[part].keys():
      assert one[part][key].tobytes() == other[part][key].tobytes(), (part, key)
  return set(one['layer0']) - set(other['layer0'])


MARK = (
  'tests.fixtures.model_cases.mark'  # tells the key that a parameter was drawn with
)
KEYS = {'init': MARK, 'recurrent_init': MARK, 'layers': 2}
LOST = {  # words in the names of what each lacks
  'NIG': {'input'},
  'NFG': {'forget'},
  'NOG': {'output'},
  'NP': {'peephole'},
  'CIFG': {'forget'},
  'FGR+CIFG': {'forget'},
  'FGR+NOG+NP': {'output', 'peephole'},
  'NIG+NFG+NOG': {'input', 'forget', 'output'},
  'CIFG+NOAF+NP': {'forget', 'peephole'},
  'gru-reset': {'reset'},
  'gru-update': {'update'},
  'gru-both': {'reset', 'update'},
}


@pytest.mark.parametrize('name', VARIANTS)
def test_a_switch_leaves_every_other_parameter_as_it_was(name):
  kind = VARIANTS[name].get('cell', 'lstm')
  intact = {'cell': kind, **(VANILLA if kind == 'lstm' else {}), **KEYS}
  lost = compare(intact, {**intact, **VARIANTS[name]}, ('layer0', 'layer1', 'output'))
  words = {word for key in lost for word in key.removesuffix('_input').split('_')}
  assert bool(lost) == (name in LOST)
  assert LOST.get(name, set()) <= words
  for key in lost:
    assert LOST[name] & set(key.split('_'))
  kept = set(start(tuple(sorted({**intact, **VARIANTS[name]}.items())))['layer0'])
  assert {'candidate_input', 'candidate_recurrent', 'candidate_bias'} <= kept


def test_values_are_equal_where_keys_are():
  compare(VANILLA, {**VANILLA, **VARIANTS['FGR+NOG+NP']}, ('layer0', 'output'))


@pytest.mark.parametrize(
  ('options', 'parts'),
  [
    ({'norm': 'layer'}, ('layer0', 'layer1', 'output')),
    ({'residual': True}, ('layer0', 'layer1', 'output')),
    ({'layers': 3}, ('layer0', 'layer1', 'output')),
    ({'bidirectional': True}, ('layer0',)),  # later layers read twice as much
    ({'recurrent_dropout': 0.5}, ('layer0', 'layer1', 'output')),
    ({'remat': 3}, ('layer0', 'layer1', 'output')),
  ],
  ids=str,
)
def test_layers_keep_their_values(options, parts):
  assert not compare(KEYS, {**KEYS, **options}, parts)


def test_no_two_matrices_are_equal():
  found = start(
    tuple(sorted({**KEYS, 'bidirectional': True, **VARIANTS['FGR']}.items()))
  )
  drawn = [
    float(leaf[0, 0])
    for part in found.values()
    for leaf in part.values()
    if leaf.ndim > 1
  ]
  assert len(drawn) == len(set(drawn)) == 4 * (4 + 4 + 9) + 1


# Speed and precision


def dots(jaxpr, inside=False):
  """(shape of the result, whether inside a scan) of every product."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      yield equation.outvars[0].aval.shape, inside
    leaves = jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, 'eqns')
    )
    for leaf in leaves:
      if hasattr(leaf, 'eqns'):
        within = inside or equation.primitive.name == 'scan'
        yield from dots(getattr(leaf, 'jaxpr', leaf), within)


@pytest.mark.parametrize('options', [*CELLS.values(), {'norm': 'layer'}], ids=str)
def test_the_recurrent_kernels_gradient_is_one_product_behind_the_loop(options):
  module = make(every=False, **options)
  (x,), params = draw((B, T, F)), parameters(module)
  gates = [name for name in params['layer0'] if name.endswith('_recurrent')]
  sources = len(oracle.states(complete(**options))) - (options == CELLS['FGR'])
  if options in (CELLS['V'], {'norm': 'layer'}):
    sources = 1
  shape = (H * sources, H * len(gates))
  loss = lambda params: answer(module, params, x).sum()
  trace = lambda: list(dots(jax.make_jaxpr(jax.grad(loss))(params).jaxpr))
  kernels = [inside for found, inside in trace() if found in (shape, shape[::-1])]
  assert kernels == [False]
  assert sum(inside for _, inside in trace()) == 2  # forward, and by the state
  with convolution.plain():
    kernels = [inside for found, inside in trace() if found in (shape, shape[::-1])]
  assert kernels == [True]  # so the test can tell


@pytest.mark.parametrize('name', CELLS)
def test_bfloat16_computes_in_it_and_keeps_float32_parameters(name):
  (x,) = draw((B, T, F))
  module, plain = make(dtype='bfloat16', **CELLS[name]), make(**CELLS[name])
  params = jax.tree.map(np.float32, parameters(module))
  run = lambda module: cases.jit(
    jax.value_and_grad(lambda p: jnp.tanh(answer(module, p, x)).sum())
  )
  (half, slopes), (full, exact) = run(module)(params), run(plain)(params)
  assert half.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(slopes)} == {jnp.dtype('float32')}
  assert 0 < abs(half - full) < 0.05 * B * T * K
  for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(exact)):
    assert np.abs(a - b).max() < 0.2 * np.abs(b).max()
  hyper = cases.hyper('recurrent')
  start = lambda: module.init(jax.random.key(0), x, train=False, hyper=hyper)
  found = jax.tree.leaves(jax.eval_shape(start))
  assert {leaf.dtype for leaf in found} == {jnp.dtype('float32')}


def task_of(shape):
  """The shipped classification of noise by an LSTM, read row by row."""
  dataset = types.Dataset(
    'noise',
    {'image': np.zeros((20, *shape, 1), np.uint8), 'label': np.zeros(20, np.int32)},
    split=lambda seed: {},
    transform=lambda batch, keys, *, train: batch,
    digest='',
    classes=tuple('abc'),
  )
  config = config_lib.resolve(config_lib.base('recurrent', 'digits'))
  pairs = {'model.hidden': H, 'model.dropout': 0.1, 'model.recurrent_dropout': 0.1}
  config = config_lib.override(config, pairs.items())
  return config, config_lib.find('tasks', 'classify').build(config, dataset)


def test_flops_are_the_closed_form():
  config, task = task_of((T, F))
  hyper = {path: jnp.float32(v) for path, v in config_lib.hyper(config).items()}
  key, batch = rng.root(0), {'image': jnp.zeros((B, T, F, 1)), 'mask': jnp.ones(B)}
  batch['label'] = jnp.zeros(B, jnp.int32)
  state = jax.eval_shape(lambda: step_lib.init(task, key, batch, hyper))
  inputs, past, output = 2 * B * T * F * 4 * H, 2 * B * T * H * 4 * H, 2 * B * H * 3

  def forward(state):
    return task.outputs(state['variables'], batch, rng.Keys(key), hyper)

  def step(state):
    return step_lib.make(task)(state, batch, rng.Keys(key), hyper)[:2]

  for count in (cost.nominal, cost.executed):
    assert count(forward, state) == (inputs + past + output, False)
    # No gradient by the images: of the inputs' product only the one by the weights.
    assert count(step, state) == (2 * inputs + 3 * past + 3 * output, False)


def test_look_sows_what_happens(double):
  """The traces of the report: gates and states of every step, as the loop has them."""
  options = {**VANILLA, 'layers': 2, 'bidirectional': True}
  module = make(**options)
  (x,), params = draw((B, T, F)), parameters(module)
  _, state = answer(module, params, x, mutable=['intermediates'])
  seen = state['intermediates']
  names = {f'gates/{g}' for g in ('candidate', 'input', 'forget', 'output')}
  assert seen['layer0'].keys() == seen['layer1_back'].keys() == names | {
    'hidden', 'cell',
  }  # fmt: skip
  o = complete(**options)
  for b, (name, reverse) in itertools.product(
    range(B), [('layer0', False), ('layer0_back', True)]
  ):
    rows, (_, cell) = oracle.run_layer(o, params[name], x[b], reverse=reverse)
    found = {key: np.asarray(value[0])[:, b] for key, value in seen[name].items()}
    close(found['hidden'], rows)
    close(found['cell'][0 if reverse else -1], cell)
    out, c = found['gates/output'], found['cell']
    close(out * np.tanh(c), rows)
    before = np.roll(c, -1 if reverse else 1, 0)
    before[-1 if reverse else 0] = 0
    kept = found['gates/forget'] * before
    close(kept + found['gates/input'] * found['gates/candidate'], c)


def test_a_nudge_is_added_to_what_the_first_layer_reads(double):
  module = make()
  x, nudge = draw((B, T, F), (T, B, F))
  params = parameters(module)
  expected = answer(module, params, x + nudge.swapaxes(0, 1))
  close(answer(module, params, x, nudge=nudge), np.asarray(expected))
