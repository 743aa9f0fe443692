"""Pooling and LRN against flax and torch."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import convolution
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')

# image size, window, strides, padding
POOLS = [
  ((8, 8), (2, 2), (2, 2), 'VALID'),
  ((9, 7), (2, 2), (2, 2), 'VALID'),
  ((9, 7), (3, 3), (2, 2), 'VALID'),
  ((8, 7), (3, 3), (2, 2), 'SAME'),
  ((8, 8), (3, 2), (1, 2), ((1, 1), (0, 1))),
  ((7, 7), (2, 2), (3, 3), 'SAME'),
  ((5, 6), (5, 6), (1, 1), 'VALID'),
]


def _draw(*shapes, dtype=np.float32):
  generator = np.random.default_rng(0)
  return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def _close(found, expected, relative):
  scale = max(np.abs(expected).max(), 1e-300)
  np.testing.assert_allclose(
    np.asarray(found, np.float64), expected, rtol=relative, atol=relative * scale
  )


def _images(size, ties, dtype=np.float64):
  (x,) = _draw((2, *size, 3), dtype=dtype)
  return np.round(np.maximum(x, 0)) if ties else x


@pytest.mark.parametrize('case', POOLS, ids=str)
@pytest.mark.parametrize('ties', [False, True])
def test_max_pool_is_flaxs_in_value_and_gradient(case, ties):
  size, window, strides, padding = case
  with jax.enable_x64(True):
    x = _images(size, ties)
    # flax pads and pools on its own; its gradient at ties is XLA's select-and-scatter.
    ours = lambda x: convolution.max_pool(x, window, strides, padding)
    flax = lambda x: nn.max_pool(x, window, strides, padding)
    np.testing.assert_array_equal(cases.jit(ours)(x), cases.jit(flax)(x))
    (weight,) = _draw(jax.eval_shape(flax, x).shape, dtype=np.float64)
    slope = lambda f: cases.jit(jax.grad(lambda x: (f(x) * weight).sum()))(x)
    _close(slope(ours), np.asarray(slope(flax)), 1e-12)
    with convolution.plain():
      np.testing.assert_array_equal(slope(ours), slope(flax))


def _cubes(x, pool):
  return (pool(x, (2, 2), (2, 2)) ** 3).sum()


@pytest.mark.parametrize('shape', [(16, 6, 8, 8), (16, 6, 4, 24), (2, 4, 6, 64)])
def test_every_form_of_a_tiling_max_pool_is_flaxs(shape):
  """Few channels go by pieces of the batch and by bits, many by comparisons."""
  for dtype in (np.float64, np.float32, jnp.bfloat16):
    with jax.enable_x64(dtype == np.float64):
      x = jnp.asarray(np.round(2 * _draw(shape)[0]), dtype)  # with ties
      results = [
        cases.jit(
          lambda x, pool=pool: (
            _cubes(x, pool),
            jax.grad(_cubes)(x, pool),
            jax.vmap(lambda x: _cubes(x, pool))(x[None]),
          )
        )(x)
        for pool in (convolution.max_pool, nn.max_pool)
      ]
      for a, b in zip(*results):
        np.testing.assert_array_equal(np.asarray(a, float), np.asarray(b, float))
  with jax.enable_x64(True):
    (x,) = _draw(shape, dtype=np.float64)

    def second(pool):
      slope = lambda x: jax.grad(_cubes)(x, pool)
      return cases.jit(jax.grad(lambda x: (slope(x) ** 2).sum()))(x)

    _close(second(convolution.max_pool), np.asarray(second(nn.max_pool)), 1e-12)


@pytest.mark.parametrize('case', POOLS, ids=str)
def test_second_derivatives_of_max_pool_in_a_loop_are_flaxs(case):
  size, window, strides, padding = case

  def penalty(pool, x):
    slope = lambda x: jax.grad(
      lambda x: (pool(x, window, strides, padding) ** 3).sum()
    )(x)
    return lax.map(jax.grad(lambda x: (slope(x) ** 2).sum()), x)

  with jax.enable_x64(True):
    x = _images(size, ties=False)
    x = np.stack([x, x + 1])
    found, expected = (
      cases.jit(functools.partial(penalty, pool))(x)
      for pool in (convolution.max_pool, nn.max_pool)
    )
    _close(found, np.asarray(expected), 1e-9)


def test_the_second_derivative_at_a_tie_is_by_the_pixel_that_took_the_first():
  # Not flax's, whose second derivative takes another of the equal pixels (and is 0).
  x = jnp.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 2, 2, 1)
  slope = jax.grad(lambda x: (convolution.max_pool(x, (2, 2)) ** 3).sum())
  found = jax.grad(lambda x: (slope(x) ** 2).sum())(x)
  np.testing.assert_array_equal(slope(x).ravel(), [0, 3, 0, 0])
  np.testing.assert_array_equal(found.ravel(), [0, 36, 0, 0])  # (3 x²)² = 9 x⁴


@pytest.mark.parametrize('case', POOLS, ids=str)
@pytest.mark.parametrize('counted', [False, True])
def test_avg_pool_is_flaxs_in_value_and_gradient(case, counted):
  size, window, strides, padding = case
  with jax.enable_x64(True):
    x = _images(size, ties=False)
    ours = lambda x: convolution.avg_pool(
      x, window, strides, padding, count_include_pad=counted
    )
    flax = lambda x: nn.avg_pool(x, window, strides, padding, count_include_pad=counted)
    slope = lambda g: cases.jit(jax.grad(lambda x: (g(x) ** 3).sum()))(x)
    for f in (lambda g: cases.jit(lambda x: g(x))(x), slope):
      _close(f(ours), np.asarray(f(flax)), 1e-12)
      with convolution.plain():
        _close(f(ours), np.asarray(f(flax)), 1e-12)


def test_pooling_under_vmap_and_a_window_of_many_taps():
  x = _images((18, 18), ties=True, dtype=np.float32)
  ours = lambda x: convolution.max_pool(x, (17, 17), (1, 1))
  flax = lambda x: nn.max_pool(x, (17, 17), (1, 1))
  slope = lambda f: jax.jit(jax.grad(lambda x: (f(x) ** 2).sum()))
  np.testing.assert_array_equal(slope(ours)(x), slope(flax)(x))
  found = jax.vmap(slope(lambda x: convolution.max_pool(x, (2, 2))))(np.stack([x, -x]))
  np.testing.assert_array_equal(
    found[1], slope(lambda x: convolution.max_pool(x, (2, 2)))(-x)
  )


def test_a_nan_in_a_window_survives_max_pool():
  x = np.zeros((1, 4, 4, 1), np.float32)
  x[0, 1, 1, 0] = np.nan
  found = np.asarray(convolution.max_pool(x, (2, 2)))[0, ..., 0]
  np.testing.assert_array_equal(np.isnan(found), [[True, False], [False, False]])


@pytest.mark.parametrize(('n', 'beta'), [(5, 0.75), (4, 0.75), (3, 0.5), (1, 0.75)])
@pytest.mark.parametrize(('x64', 'relative'), [(True, 1e-9), (False, 1e-4)])
def test_lrn_is_torchs_with_alpha_times_n(n, beta, x64, relative):
  torch = pytest.importorskip('torch')
  with jax.enable_x64(x64):
    (x,) = _draw((2, 3, 3, 7), dtype=np.float64 if x64 else np.float32)
    found = convolution.lrn(x, 2.0, n, 0.1, beta)
    slope = jax.grad(lambda x: jnp.sin(convolution.lrn(x, 2.0, n, 0.1, beta)).sum())(x)
  image = torch.tensor(x, dtype=torch.float64).requires_grad_()
  layer = torch.nn.LocalResponseNorm(n, alpha=0.1 * n, beta=beta, k=2.0)
  out = layer(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
  out.sin().sum().backward()
  _close(found, out.detach().numpy(), relative)
  _close(slope, image.grad.numpy(), relative)


def test_lrn_at_the_papers_constants_by_hand():
  x = np.arange(1.0, 7.0, dtype=np.float32)[None]
  total = [14.0, 30.0, 55.0, 90.0, 86.0, 77.0]  # of squares, two to each side
  expected = x[0] / (2 + 1e-4 * np.array(total)) ** 0.75
  np.testing.assert_allclose(convolution.lrn(x)[0], expected, rtol=1e-6)
