"""Building blocks against closed forms, hand loops, and one another."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.models import cnn
from dlsteroids.models.lib import blocks
from tests.fixtures import model_cases as cases

SIZES = [(6, 5), (7, 7), (1, 2)]


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('kernel', [(3, 3), (2, 4)], ids=str)
@pytest.mark.parametrize('strides', [(1, 1), (2, 2)], ids=str)
def test_unshared_weights_that_are_equal_are_a_convolution(size, kernel, strides):
  x = draw(2, *size, 3)
  conv = blocks.Conv(4, kernel, strides)
  local = blocks.LocalConv(4, kernel, strides)
  weights, bias = draw(*kernel, 3, 4, seed=1), draw(4, seed=2)
  expected = cases.jit(conv.apply)({'params': {'kernel': weights, 'bias': bias}}, x)
  places = expected.shape[1:3]
  shapes = jax.eval_shape(local.init, jax.random.key(0), x)['params']
  params = {
    'kernel': np.broadcast_to(weights.reshape(-1, 4), shapes['kernel'].shape),
    'bias': np.broadcast_to(bias, shapes['bias'].shape),
  }
  assert params['kernel'].shape[:2] == params['bias'].shape[:2] == places
  found = cases.jit(local.apply)({'params': params}, x)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', blocks.INITIALIZERS)
def test_each_unshared_position_starts_as_a_convolution(name):
  """Same spread as `Conv`'s kernel, and no two positions alike."""
  kernel_init = blocks.INITIALIZERS[name]
  local = blocks.LocalConv(16, (3, 3), kernel_init=kernel_init)
  x, key = jnp.zeros((1, 8, 8, 8)), jax.random.key(0)
  values = cases.jit(local.init)(key, x)['params']['kernel']
  conv = blocks.Conv(256, (3, 3), kernel_init=kernel_init)
  fan = {
    'he': 2 / 72,
    'lecun': 1 / 72,
    'glorot': 2 / (72 + 144),
    'orthogonal': 1 / 72,
    'normal': 1e-4,
  }[name]
  assert values.shape == (8, 8, 72, 16)
  assert abs(np.var(values) / fan - 1) < 5 * np.sqrt(2 / values.size) + 0.01
  assert np.unique(values.reshape(64, -1), axis=0).shape[0] == 64
  if name not in ('glorot', 'orthogonal'):  # which depend on the number of units
    reference = cases.jit(conv.init)(key, x)['params']['kernel']
    assert abs(np.var(values) / np.var(reference) - 1) < 0.1


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('strides', [(1, 1), (2, 2)], ids=str)
def test_every_mixer_leaves_a_map_of_the_same_size(size, strides):
  x = jnp.zeros((2, *size, 3))
  shapes = {
    jax.eval_shape(functools.partial(output, block), x).shape
    for block in (
      blocks.Conv(4, (3, 3), strides),
      blocks.LocalConv(4, (3, 3), strides),
      blocks.DenseMixer(4, strides),
    )
  }
  assert shapes == {(2, -(-size[0] // strides[0]), -(-size[1] // strides[1]), 4)}


def output(block, x):
  return block.init_with_output(jax.random.key(0), x)[0]


def test_a_dense_mixer_is_a_matrix():
  x = draw(2, 3, 2, 4)
  mixer = blocks.DenseMixer(5)
  params = {'dense': {'kernel': draw(24, 30, seed=1), 'bias': draw(30, seed=2)}}
  found = mixer.apply({'params': params}, x)
  flat = x.reshape(2, 24) @ params['dense']['kernel'] + params['dense']['bias']
  np.testing.assert_allclose(found, flat.reshape(2, 3, 2, 5), rtol=1e-4, atol=1e-4)


def pool_by_hand(x, kind, window, stride):
  """A loop over windows cut to the map; those that stick out are left out."""
  height, width = min(window, x.shape[1]), min(window, x.shape[2])
  rows = range(0, x.shape[1] - height + 1, stride)
  columns = range(0, x.shape[2] - width + 1, stride)
  reduce = np.max if kind == 'max' else np.mean
  found = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
  for (a, i), (b, j) in itertools.product(enumerate(rows), enumerate(columns)):
    found[:, a, b] = reduce(x[:, i : i + height, j : j + width], axis=(1, 2))
  return found


@pytest.mark.parametrize('size', [(1, 1), (1, 3), (5, 4)], ids=str)
@pytest.mark.parametrize('kind', ['max', 'average', 'none'])
@pytest.mark.parametrize(('window', 'stride'), [(2, 2), (3, 2), (3, 1), (1, 2)])
def test_pooling_cuts_windows_to_the_map(size, kind, window, stride):
  x = draw(2, *size, 3)
  run = cases.jit(lambda x: blocks.pool(x, kind, window, stride))
  found = run(x)
  expected = x if kind == 'none' else pool_by_hand(x, kind, window, stride)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def stage(width, **changes):
  """A stage of one convolution that only adds a residual."""
  options = {
    'width': width,
    'depth': 1,
    'kernel': 3,
    'mixer': 'conv',
    'activation': lambda x, slope: jnp.tanh(x),
    'norm': 'none',
    'norm_after': False,
    'pool': 'none',
    'pool_window': 2,
    'pool_stride': 2,
    'residual': True,
    'init_fn': nn.initializers.zeros,
    'dtype': jnp.float32,
  }
  return cnn.Stage(**{**options, **changes})


def test_a_residual_adds_the_input():
  """With a zero kernel x + f(x) is x; the activation comes after the sum."""
  x = draw(2, 5, 4, 3)
  variables = stage(3).init(jax.random.key(0), x, train=False, slope=0.0)
  assert variables['params'].keys() == {'conv0'}
  found = stage(3).apply(variables, x, train=False, slope=0.0)
  np.testing.assert_allclose(found, np.tanh(x), rtol=1e-5, atol=1e-6)
  alone = stage(3, residual=False)
  np.testing.assert_array_equal(
    alone.apply(variables, x, train=False, slope=0.0), 0 * x
  )


def test_a_residual_is_projected_where_channels_or_strides_change():
  x = draw(2, 5, 4, 3)
  for block, stride in ((stage(6), 1), (stage(3, pool='stride'), 2)):
    variables = block.init(jax.random.key(0), x, train=False, slope=0.0)
    assert variables['params']['shortcut0'].keys() == {'kernel'}
    kernel = draw(1, 1, 3, block.width, seed=1)
    params = {**variables['params'], 'shortcut0': {'kernel': kernel}}
    found = block.apply({'params': params}, x, train=False, slope=0.0)
    expected = np.tanh(x[:, ::stride, ::stride] @ kernel[0, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


EPSILON = {'batch': 1e-5, 'layer': 1e-6, 'group': 1e-6}  # flax's


@pytest.mark.parametrize(
  ('kind', 'channels', 'groups'),
  [
    ('batch', 4, 0),
    ('layer', 4, 0),
    ('group', 16, 8),
    ('group', 6, 3),
    ('group', 7, 1),
  ],
)
def test_norms_standardise_what_they_say(kind, channels, groups):
  """Means and variances by numpy; a group holds two channels at least."""
  x = draw(3, 4, 5, channels) * 3 + 1
  variables = blocks.Norm(kind).init(jax.random.key(0), x, train=False)
  found = blocks.Norm(kind).apply(variables, x, train=True, mutable=['batch_stats'])[0]
  view = x.astype(np.float64)
  axes = {'batch': (0, 1, 2), 'layer': (1, 2, 3), 'group': (1, 2, 4)}[kind]
  if kind == 'group':
    view = view.reshape(3, 4, 5, groups, channels // groups)
  centred = view - view.mean(axes, keepdims=True)
  expected = centred / np.sqrt(view.var(axes, keepdims=True) + EPSILON[kind])
  np.testing.assert_allclose(found, expected.reshape(x.shape), rtol=1e-4, atol=1e-4)


def test_batch_norm_evaluates_by_running_averages():
  """Ioffe and Szegedy: averages over batches, here 0.9 old + 0.1 new, from 0 and 1."""
  x = draw(50, 3) * 2 + 5
  norm = blocks.Norm('batch')
  variables = norm.init(jax.random.key(0), x, train=False)
  _, state = norm.apply(variables, x, train=True, mutable=['batch_stats'])
  found = norm.apply({**variables, **state}, x, train=False)
  mean, variance = 0.1 * x.mean(0), 0.9 + 0.1 * x.var(0)
  np.testing.assert_allclose(
    found, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-4
  )


def test_the_whole_cnn_against_its_parts():
  """A cnn's forward pass written out with this room's functions."""
  module = cases.build('cnn', norm='lrn', pool_window=3, hidden=(), widths=(4,))
  variables = cases.init(module, 'cnn')
  x = cases.images('cnn')
  kernel = variables['params', 'stage0', 'conv0', 'kernel']
  y = jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  y = np.maximum(y + variables['params', 'stage0', 'conv0', 'bias'], 0)
  near = np.stack([(y[..., max(0, c - 2) : c + 3] ** 2).sum(-1) for c in range(4)], -1)
  y = pool_by_hand(y / (2 + 1e-4 * near) ** 0.75, 'max', 3, 2).reshape(8, -1)
  expected = y @ variables['params', 'output', 'kernel']
  found = cases.forward(module, variables, x, cases.hyper('cnn'), train=False)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_norm_after_the_activation_follows_the_sum_with_the_residual():
  """A stage written out in numpy, its norm over all of an example."""
  module = cases.build(
    'cnn', widths=(4,), kernel=1, residual=True, norm='layer', norm_after=True,
    pool='none', hidden=(), activation='leaky_relu',
  )  # fmt: skip
  variables = cases.init(module, 'cnn')
  x = cases.images('cnn').astype(np.float64)
  of = lambda *path: np.asarray(variables[('params', *path)], np.float64)
  y = x @ of('stage0', 'conv0', 'kernel')[0, 0]
  y = y + of('stage0', 'conv0', 'bias') + x @ of('stage0', 'shortcut0', 'kernel')[0, 0]
  y = np.where(y >= 0, y, 0.2 * y)
  axes = (1, 2, 3)
  y = (y - y.mean(axes, keepdims=True)) / np.sqrt(y.var(axes, keepdims=True) + 1e-6)
  expected = y.reshape(8, -1) @ of('output', 'kernel')
  numbers = cases.hyper('cnn', slope=0.2)
  found = cases.forward(module, variables, x.astype(np.float32), numbers, train=False)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
