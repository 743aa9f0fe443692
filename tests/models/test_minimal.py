"""minGRU and minLSTM against loops written from the paper's equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.config import options as options_lib
from dlsteroids.models import recurrent
from dlsteroids.models.lib import blocks
from dlsteroids.models.ops import convolution, linear_recurrence
from dlsteroids.train import cost
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')

B, T, F, H, K = 2, 7, 3, 4, 2


@pytest.fixture
def double(monkeypatch):
  """Computes in float64, which no config can ask for."""
  monkeypatch.setattr(blocks, 'dtype', lambda name: jnp.dtype('float64'))
  with jax.enable_x64(True):
    yield


def make(every=True, **options):
  task = {'outputs': K, 'shape': (T, F), 'every': every}
  sizes = {'hidden': H}
  return recurrent.build(
    {**options_lib.defaults(recurrent), **sizes, **options, **task}
  )


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def parameters(module, seed=1):
  numbers = cases.hyper('recurrent')
  init = lambda: module.init(
    jax.random.key(0), jnp.zeros((B, T, F)), train=False, hyper=numbers
  )
  leaves, tree = jax.tree.flatten(jax.eval_shape(init)['params'])
  generator = np.random.default_rng(seed)
  return jax.tree.unflatten(tree, [generator.normal(size=x.shape) for x in leaves])


@functools.cache
def compiled(module):
  def run(params, x, inputs):
    numbers = cases.hyper('recurrent')
    return module.apply({'params': params}, x, train=False, hyper=numbers, **inputs)

  return jax.jit(run)  # may be nested, so without options of its own


def answer(module, params, x, **inputs):
  return compiled(module)(params, x, inputs)


def close(one, other, tolerance=1e-9):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
    one,
    other,
  )


def sigma(x):
  return 1 / (1 + jnp.exp(-x))


def by_hand(o, p, x, reverse=False):
  """States [T, H] of one sequence [T, F], step by step."""
  gate = lambda name, x: x @ p[f'{name}_input']['kernel'] + p[f'{name}_bias']
  g = {
    'identity': lambda x: x,
    'positive': lambda x: jnp.where(x >= 0, x + 0.5, sigma(x)),
  }[o.get('candidate_activation', 'identity')]
  h, states = jnp.zeros(H), []
  for now in x[::-1] if reverse else x:
    candidate = g(gate('candidate', now))
    if o['cell'] == 'mingru':
      z = sigma(gate('update', now)) if o.get('update_gate', True) else 1.0
      h = (1 - z) * h + z * candidate
    else:
      f, i = sigma(gate('forget', now)), sigma(gate('input', now))
      total = f + i if o.get('normalised_gates', True) else 1.0
      h = (f * h + i * candidate) / total
    states.append(h)
  return jnp.stack(states[::-1] if reverse else states)


VARIANTS = [
  {'cell': 'mingru'},
  {'cell': 'mingru', 'update_gate': False},
  {'cell': 'minlstm', 'candidate_activation': 'positive', 'bidirectional': True},
  {'cell': 'minlstm', 'normalised_gates': False},
]


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_cells_are_the_loop(double, options):
  module, x = make(**options), draw(B, T, F)
  params = parameters(module)

  def loss(params, x):
    y = answer(module, params, x)
    return jnp.sin(y).sum(), y

  def expect(params, x):
    sides = [('layer0', False), ('layer0_back', True)]
    rows = [
      jnp.concatenate(
        [by_hand(options, params[name], row, back) for name, back in sides
         if name in params], -1,
      )
      for row in x
    ]  # fmt: skip
    y = jnp.stack(rows) @ params['output']['kernel'] + params['output']['bias']
    return jnp.sin(y).sum(), y

  derive = lambda f: cases.jit(jax.value_and_grad(f, (0, 1), has_aux=True))
  close(derive(loss)(params, x), derive(expect)(params, x))


@pytest.mark.parametrize('reverse', [False, True])
def test_all_steps_at_once_are_the_loop(double, reverse):
  """Values, and the gradient by decays, updates and the first state."""
  decay, update = sigma(draw(T, B, H)), draw(T, B, H, seed=1)
  first, slope = draw(B, H, seed=2), draw(T, B, H, seed=3)

  def derive(run):
    loss = lambda *args: ((run(*args, reverse) ** 2) * slope).sum()
    return cases.jit(jax.value_and_grad(loss, (0, 1, 2)))(decay, update, first)

  expected = derive(linear_recurrence.loop)
  close(derive(linear_recurrence.run), expected)
  with convolution.plain():
    close(derive(linear_recurrence.run), expected)


@pytest.mark.parametrize('cell', ['mingru', 'minlstm'])
def test_windows_with_a_carried_state_are_one_sequence(double, cell):
  module, x = make(cell=cell, layers=2), draw(B, T, F)
  params = parameters(module)
  carry, parts = (), []
  for piece in (x[:, :3], x[:, 3:6], x[:, 6:]):
    part, carry = answer(module, params, piece, carry=carry)
    parts.append(part)
  close(jnp.concatenate(parts, 1), answer(module, params, x))


def test_padding_changes_nothing(double):
  module, x = make(every=False, cell='mingru', bidirectional=True), draw(B, T, F)
  params = parameters(module)
  found = answer(module, params, x, lengths=jnp.asarray([4, T]))
  close(found[0], answer(module, params, x[:1, :4])[0])
  close(found[1], answer(module, params, x[1:])[0])


def test_long_sequences_neither_vanish_nor_overflow():
  """Oracle: float64; decays near 0 and near 1 over 4,000 steps."""
  generator = np.random.default_rng(0)
  decay = generator.choice([1e-6, 0.5, 1 - 1e-6], (4000, 1, 3)).astype(np.float32)
  update = generator.normal(size=decay.shape).astype(np.float32)
  found = cases.jit(linear_recurrence.run)(decay, update, np.zeros((1, 3), np.float32))
  state, expected = np.zeros((1, 3)), []
  for a, b in zip(decay.astype(np.float64), update):
    state = a * state + b
    expected.append(state)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_flops_are_those_of_the_input_alone():
  module, x = make(cell='minlstm'), jnp.asarray(draw(B, T, F), jnp.float32)
  params = parameters(module)
  forward = lambda params: answer(module, params, x)
  expected = 2 * B * T * (F * 3 * H + H * K)
  assert cost.nominal(forward, params) == (expected, False)
  assert cost.executed(forward, params) == (expected, False)


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'recurrent_dropout': 0.1}, 'recurrent_dropout=0.1 is for cells with recurrent'),
    ({'norm': 'layer'}, "(rnn, lstm, gru) and does nothing to 'mingru'"),
    ({'remat': 4}, 'remat=4 is for cells with recurrent weights'),
    ({'normalised_gates': False}, "belongs to cell 'minlstm' and does nothing to"),
    ({'candidate_activation': 'postive'}, "(did you mean 'positive'?)"),
    ({'cell': 'mingur'}, "(did you mean 'mingru'?); use rnn, lstm, gru, mingru"),
    ({'cell': 'lstm', 'candidate_activation': 'positive'}, "belongs to cell 'mingru'"),
  ],
  ids=str,
)
def test_options_that_do_nothing_are_one_line(options, words):
  with pytest.raises(errors.UserError) as caught:
    make(**{'cell': 'mingru', **options})
  assert words in str(caught.value)
  assert '\n' not in str(caught.value)
