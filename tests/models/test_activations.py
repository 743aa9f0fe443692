"""No activation hides anywhere: an ablated one leaves no trace, stem and head included.

Oracle: the primitives a model and an activation trace to, and superposition, which
holds only for a network that is affine everywhere.
"""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.models.lib import blocks
from dlsteroids.train import cost
from tests.fixtures import model_cases as cases

# How often a tiny model applies its activation: hidden layers, or convolutions and
# hidden layers (cnn: 2 stages of depth 2; alexnet: figure 2 of the paper), or once a
# layer in the loop over time.
PLACES = {'mlp': 2, 'cnn': 2 * 2 + 1, 'alexnet': 5 + 2, 'recurrent': 2, 'attention': 2}
OPTIONS = {
  'mlp': {},
  'cnn': {'depth': 2, 'norm': 'lrn'},
  'alexnet': {},
  'recurrent': {'cell': 'rnn', 'layers': 2},
  'attention': {'layers': 2, 'norm': 'none', 'mixer': 'none'},
}
# What marks an activation in a jaxpr (jax.nn's definitions); relu: max(x, 0).
MARKS = {
  'relu': 'max',
  'leaky_relu': 'ge',
  'elu': 'expm1',
  'gelu': 'tanh',
  'silu': 'logistic',
  'softplus': 'log1p',
  'tanh': 'tanh',
  'sigmoid': 'logistic',
  'jax.numpy.sin': 'sin',
}


def count(jaxpr, found=None):
  """How often each primitive, and each named function, occurs in a jaxpr."""
  found = collections.Counter() if found is None else found
  for equation in jaxpr.eqns:
    found[equation.primitive.name] += 1
    if 'name' in equation.params:
      found[f'call {equation.params["name"]}'] += 1
    leaves = jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, 'eqns')
    )
    for leaf in leaves:
      if hasattr(leaf, 'eqns'):
        count(getattr(leaf, 'jaxpr', leaf), found)
  return found


def trace(model, **options):
  """Primitives of a forward pass in training."""
  module = cases.build(model, **OPTIONS[model], **options)
  x = jnp.zeros((2, *cases.SHAPES[model]))

  def run(x):
    variables = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape),
      jax.eval_shape(lambda: cases.trace_init(module, model)),
    )
    return cases.forward(module, variables, x, cases.hyper(model), train=True)

  return count(jax.make_jaxpr(run)(x).jaxpr)


@pytest.fixture(scope='module')
def bare():
  """Every model's primitives without any activation."""
  return {model: trace(model, activation='identity') for model in PLACES}


def test_every_shipped_activation_has_its_mark():
  assert MARKS.keys() == {*blocks.ACTIVATIONS, 'jax.numpy.sin'} - {'identity'}


EVERYWHERE = [  # every activation in one model, and every model with three of them
  (model, activation)
  for model in PLACES
  for activation in MARKS
  if model == 'mlp' or activation in ('gelu', 'leaky_relu', 'jax.numpy.sin')
]


@pytest.mark.parametrize(('model', 'activation'), EVERYWHERE)
def test_an_activation_is_everywhere_and_alone(model, activation, bare):
  found = trace(model, activation=activation)
  function = blocks.activation(activation)
  own = count(jax.make_jaxpr(function)(jnp.zeros((2, 3), jnp.float32)).jaxpr)
  mark = MARKS[activation]
  assert own[mark] == 1
  assert found[mark] - bare[model][mark] == PLACES[model]
  # And nothing else: what the model does without, plus the activation at each place.
  added = {key: found[key] - bare[model][key] for key in found | bare[model]}
  assert {key for key, number in added.items() if number} == own.keys()
  if activation != 'relu':
    assert found['call relu'] == 0


@pytest.mark.parametrize('model', PLACES)
def test_relu_is_seen_where_it_is(model, bare):
  assert bare[model]['call relu'] == 0
  assert trace(model, activation='relu')['call relu'] == PLACES[model]


@pytest.mark.parametrize(
  ('model', 'options'),
  [
    ('mlp', {}),
    ('cnn', {'pool': 'average', 'residual': True}),
    ('cnn', {'pool': 'stride', 'mixer': 'local', 'head': 'average'}),
    ('alexnet', {'pool_window': 1, 'norm': 'none'}),
    ('recurrent', {'cell': 'rnn', 'layers': 2, 'residual': True}),
  ],
  ids=str,
)
def test_without_activation_and_norm_the_model_is_affine(model, options):
  module = cases.build(model, activation='identity', **options)
  variables = cases.init(module, model)
  run = cases.jit(
    lambda x: cases.forward(module, variables, x, cases.hyper(model), train=True)[0]
  )
  a, b = cases.images(model, seed=1), cases.images(model, seed=2)
  found, zero = run(a + b) + run(0 * a), run(a) + run(b)
  np.testing.assert_allclose(found, zero, rtol=1e-4, atol=1e-4 * np.abs(zero).max())
  bent = cases.build(model, **{**options, 'activation': 'tanh'})
  run = cases.jit(
    lambda x: cases.forward(bent, variables, x, cases.hyper(model), train=True)[0]
  )
  assert np.abs(run(a + b) + run(0 * a) - run(a) - run(b)).max() > 1e-3


@pytest.mark.parametrize('model', PLACES)
def test_inspection_sees_the_same_primitives(model):
  """The launcher's walker against this file's, over a model's forward pass."""
  module = cases.build(model, **OPTIONS[model], activation='gelu')
  variables = jax.eval_shape(lambda: cases.trace_init(module, model))
  x = jnp.zeros((2, *cases.SHAPES[model]))
  jaxpr = jax.make_jaxpr(
    lambda v, x: cases.forward(module, v, x, cases.hyper(model), train=True)
  )(variables, x)
  names = {name for name in count(jaxpr.jaxpr) if not name.startswith('call ')}
  assert {e.primitive.name for e, _ in cost.walk(jaxpr)} == names
