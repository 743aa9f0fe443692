"""The feed-forward window; oracle: the equation of its docstring, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.config import options as options_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases

HYPER = {'model.dropout': 0.0}


def made(symbols=7, outputs=4, **options):
  """A module that answers at every step, its variables, and symbols [B, T]."""
  from dlsteroids.models import window

  config = {**options_lib.defaults(window), **cases.TINY['window'], **options}
  net = window.build({**config, 'outputs': outputs, 'symbols': symbols, 'every': True})
  x = jnp.asarray(np.random.default_rng(0).integers(0, symbols, (2, 9)))
  variables = net.init(jax.random.key(0), x, train=False, hyper=HYPER)
  return net, variables, x, config


def by_hand(variables, x, context, dilation=1):
  """The answers [B, T, 4] in float64, layer by layer."""
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables['params'])
  features = params['embedding'][np.asarray(x)]  # [B, T, F]
  layers = sorted(name for name in params if name.startswith('layer'))
  for index, layer in enumerate(layers):
    weights, bias = (params[layer]['window'][part] for part in ('kernel', 'bias'))
    answers = np.zeros((*x.shape, bias.size))
    for b in range(x.shape[0]):
      for t in range(x.shape[1]):
        places = [t - k * dilation**index for k in range(context)]
        zero = np.zeros(features.shape[-1])
        seen = [features[b, at] if at >= 0 else zero for at in places]
        answers[b, t] = np.tanh(np.concatenate(seen) @ weights + bias)
    features = answers
  if 'output' in params:
    return features @ params['output']['kernel'] + params['output']['bias']
  width = features.shape[-1]
  return features @ params['embedding'].T / width**0.5 + params['output_bias']


def test_every_step_is_the_equation():
  net, variables, x, config = made()
  found = net.apply(variables, x, train=False, hyper=HYPER)
  np.testing.assert_allclose(
    found, by_hand(variables, x, config['context']), 1e-5, 1e-6
  )


def test_dilated_layers_see_inputs_that_lie_apart():
  """Two layers of three inputs, one and two steps apart: seven steps are seen."""
  net, variables, x, config = made(layers=2, dilation=2)
  found = net.apply(variables, x, train=False, hyper=HYPER)
  expected = by_hand(variables, x, config['context'], 2)
  np.testing.assert_allclose(found, expected, 1e-5, 1e-6)
  one, two = (
    net.apply(variables, s, train=False, hyper=HYPER) for s in (x, x.at[:, 0].add(1))
  )
  np.testing.assert_array_equal(one[:, 7:], two[:, 7:])
  assert np.abs(one - two)[:, 6].max() > 0


def test_a_tied_output_is_the_embedding_over_the_root_of_its_width():
  net, variables, x, config = made(outputs=7, tied=True, embedding=5)
  assert 'output' not in variables['params']
  untied = made(outputs=7, embedding=5)[1]['params']
  shared = variables['params']
  np.testing.assert_array_equal(shared['embedding'], untied['embedding'])  # paired
  shared['output_bias'] = jnp.arange(7.0)
  found = net.apply(variables, x, train=False, hyper=HYPER)
  expected = by_hand(variables, x, config['context'])
  np.testing.assert_allclose(found, expected, 1e-5, 1e-6)
  with pytest.raises(errors.UserError, match=r'config\.model\.embedding=5, not 4'):
    made(outputs=7, tied=True)


@pytest.mark.parametrize('dilation', [1, 2])
def test_pieces_with_a_carry_are_one_sequence(dilation):
  net, variables, x, _ = made(layers=2, dilation=dilation)
  whole = net.apply(variables, x, train=False, hyper=HYPER)
  carry, parts = (), []
  for piece in (x[:, :1], x[:, 1:3], x[:, 3:]):
    y, carry = net.apply(variables, piece, train=False, hyper=HYPER, carry=carry)
    parts.append(y)
  np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, 1e-5, 1e-6)


@pytest.mark.parametrize('dilation', [1, 2])
def test_what_lies_behind_an_end_reaches_nothing(dilation):
  net, variables, x, _ = made(layers=2, dilation=dilation)
  lengths = jnp.asarray([4, 9])
  y, carry = net.apply(
    variables, x, train=False, hyper=HYPER, carry=(), lengths=lengths
  )
  alone, end = net.apply(variables, x[:1, :4], train=False, hyper=HYPER, carry=())
  np.testing.assert_allclose(y[:1, :4], alone, 1e-5, 1e-6)
  for both, one in zip(carry, end):
    np.testing.assert_allclose(both[:, :1], one, 1e-5, 1e-6)


def test_nothing_older_than_the_context_is_seen():
  net, variables, x, config = made()
  other = x.at[:, 0].add(1)
  one, two = (net.apply(variables, s, train=False, hyper=HYPER) for s in (x, other))
  k = config['context']
  np.testing.assert_array_equal(one[:, k:], two[:, k:])
  assert (np.abs(one - two)[:, :k].max((0, 2)) > 0).all()
