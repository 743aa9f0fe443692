"""Digests of jaxprs: what is the same program, and what is not."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from dlsteroids.train import jaxpr_digest

X = jax.ShapeDtypeStruct((3, 3), np.float32)


def digest(function, *args):
  return jaxpr_digest.compute(jax.make_jaxpr(function)(*(args or (X, X))))


def branch(x):
  return jnp.where(x > 0, x * 2.0, jnp.tanh(x))


def step(x, y):
  drawn = jax.random.bernoulli(jax.random.key(3), 0.5, x.shape)
  total, _ = jax.lax.scan(lambda c, row: (c + row, None), y[0], x * drawn)
  return jax.lax.cond(total.sum() > 0, branch, lambda x: x, x) + branch(y)


def test_a_program_has_one_digest_whatever_caches_hold():
  """Two equations share a traced function, or each has its own."""
  first = digest(jax.grad(lambda *args: step(*args).sum()))
  assert digest(jax.grad(lambda *args: step(*args).sum())) == first
  bare = lambda function: lambda x, y: function(x) + function(y)
  apart = lambda x, y: jax.jit(lambda x: branch(x))(x) + jax.jit(lambda x: branch(x))(y)
  one = jax.jit(lambda x: branch(x))
  assert digest(bare(one)) == digest(apart)


@pytest.mark.parametrize(
  'other',
  [
    lambda x, y: step(y, x),
    lambda x, y: step(x, y) + 0.0,
    lambda x, y: (step(x, y), x),
    lambda x, y: jax.lax.cond(x[0, 0] > 0, branch, lambda x: x, x) + branch(y),
  ],
)
def test_other_programs_have_others(other):
  assert digest(other) != digest(step)


def test_numbers_constants_shapes_and_parameters_count():
  scaled = lambda factor: lambda x, y: x * factor + y
  table = lambda values: lambda x, y: x + jnp.asarray(values)[:, None] + y
  inner = lambda factor: lambda x, y: jax.jit(lambda x: x * factor)(x) + y
  summed = lambda axis: lambda x, y: x.sum(axis) + y
  wide = jax.ShapeDtypeStruct((3, 4), np.float32)
  half = jax.ShapeDtypeStruct((3, 3), np.float16)
  digests = [
    *(digest(scaled(factor)) for factor in (2.0, np.nextafter(np.float32(2), 3))),
    *(digest(table(np.arange(3) + shift)) for shift in (0, 1)),
    *(digest(inner(factor)) for factor in (2.0, 3.0)),
    *(digest(summed(axis)) for axis in (0, 1)),
    *(digest(scaled(2.0), shape, shape) for shape in (wide, half)),
    digest(lambda x, y: x * 2.0 + x),
    digest(lambda x, y: y * 2.0 + x),
  ]
  assert len(set(digests)) == len(digests)
