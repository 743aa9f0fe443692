"""The feed-forward window; oracle: the equation of its docstring, step by step."""

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids.config import options as options_lib
from tests.fixtures import model_cases as cases

HYPER = {'model.dropout': 0.0}


def made(symbols=7, **options):
  """A module that answers at every step, its variables, and symbols [B, T]."""
  from dlsteroids.models import window

  config = {**options_lib.defaults(window), **cases.TINY['window'], **options}
  net = window.build({**config, 'outputs': 4, 'symbols': symbols, 'every': True})
  x = jnp.asarray(np.random.default_rng(0).integers(0, symbols, (2, 9)))
  variables = net.init(jax.random.key(0), x, train=False, hyper=HYPER)
  return net, variables, x, config


def by_hand(variables, x, context):
  """The answers [B, T, 4] of one layer in float64."""
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables['params'])
  features = params['embedding'][np.asarray(x)]  # [B, T, F]
  weights = params['layer0']['window']['kernel']
  bias = params['layer0']['window']['bias']
  answers = np.zeros((*x.shape, 4))
  for b in range(x.shape[0]):
    for t in range(x.shape[1]):
      seen = [
        features[b, t - k] if t >= k else np.zeros(features.shape[-1])
        for k in range(context)
      ]
      y = np.tanh(np.concatenate(seen) @ weights + bias)
      answers[b, t] = y @ params['output']['kernel'] + params['output']['bias']
  return answers


def test_every_step_is_the_equation():
  net, variables, x, config = made()
  found = net.apply(variables, x, train=False, hyper=HYPER)
  np.testing.assert_allclose(
    found, by_hand(variables, x, config['context']), 1e-5, 1e-6
  )


def test_pieces_with_a_carry_are_one_sequence():
  net, variables, x, _ = made(layers=2)
  whole = net.apply(variables, x, train=False, hyper=HYPER)
  carry, parts = (), []
  for piece in (x[:, :1], x[:, 1:3], x[:, 3:]):
    y, carry = net.apply(variables, piece, train=False, hyper=HYPER, carry=carry)
    parts.append(y)
  np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, 1e-5, 1e-6)


def test_what_lies_behind_an_end_reaches_nothing():
  net, variables, x, _ = made(layers=2)
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
