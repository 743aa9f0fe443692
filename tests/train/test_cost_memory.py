"""Bytes of programs; oracle: counted by hand on small jaxprs."""

import jax
import jax.numpy as jnp
import pytest

from dlsteroids.train import cost

X = jax.ShapeDtypeStruct((32, 10), jnp.float32)
W = jax.ShapeDtypeStruct((10, 20), jnp.float32)
V = jax.ShapeDtypeStruct((20, 5), jnp.float32)


def jaxpr(function, *args):
  return jax.make_jaxpr(function)(*args)


def test_a_value_lives_until_its_last_use():
  """exp [32, 10] is dead when its sum is there; two of them live side by side."""
  found = cost.peak(jaxpr(lambda x: jnp.cos(jnp.sin(jnp.exp(x))), X))
  assert found == 2 * 32 * 10 * 4


def test_a_backward_pass_keeps_what_it_needs():
  def loss(w, v, x):
    return (jnp.tanh(x @ w) @ v).sum()

  forward = cost.peak(jaxpr(loss, W, V, X))
  both = cost.peak(jaxpr(jax.grad(loss, (0, 1)), W, V, X))
  assert forward == 2 * 32 * 20 * 4  # before and after tanh
  assert both >= 2 * 32 * 20 * 4 + 10 * 20 * 4  # its output and gradient, and dW


def test_a_loop_counts_one_turn_beside_what_it_stacks():
  def run(x):
    return jax.lax.scan(lambda c, _: (jnp.sin(c), jnp.cos(c)), x, None, length=7)

  assert cost.peak(jaxpr(run, X)) == (7 + 1 + 2) * 32 * 10 * 4


def test_inputs_are_not_counted():
  assert cost.peak(jaxpr(lambda x: x, X)) == 0


@pytest.mark.parametrize('length', [1, 5])
def test_traffic_counts_operands_and_result_of_every_product(length):
  def run(x, w):
    return jax.lax.scan(lambda c, _: (c, (c @ w).sum()), x, None, length=length)

  each = 4 * (32 * 10 + 10 * 20 + 32 * 20)
  assert cost.traffic(jaxpr(run, X, W)) == length * each


def test_traffic_of_a_conditional_is_its_larger_branch():
  def run(x, w):
    return jax.lax.cond(x[0, 0] > 0, lambda: (x @ w).sum(), lambda: x.sum())

  assert cost.traffic(jaxpr(run, X, W)) == 4 * (32 * 10 + 10 * 20 + 32 * 20)


def test_keys_are_two_words():
  assert cost.state({'key': jax.random.key(0), 'x': jnp.zeros((3, 2))}) == 8 + 24
