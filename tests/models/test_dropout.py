"""Dropout and the bits of its masks: statistics against binomial and chi-square bounds.

Keys are fixed, so a test passes always or never; bounds are those of about one in ten
thousand under the null, and every defect tried by hand exceeds them by far.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import traverse_util

from dlsteroids import rng
from dlsteroids.models.lib import blocks
from dlsteroids.train import inspect
from tests.fixtures import model_cases as cases

COUNT = 1 << 16
TAIL = 1e-4  # of a two-sided test
Z = scipy.stats.norm.isf(TAIL / 2)


def key(name='dropout', seed=0, step=0):
  return rng.Keys(rng.root(seed), step)(name)


def draw(k, count=COUNT):
  return np.asarray(rng.bits(k, (count,)))


def by_hand(data, index):
  """lowbias32 (Wellons 2018) twice, in Python's integers."""
  value = index
  for half in data:
    value ^= int(half)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
      value ^= value >> shift
      value = value * factor % 2**32
    value ^= value >> 16
  return value


def test_bits_are_the_published_hash_of_a_counter():
  k = key(seed=7)
  data = np.asarray(jax.random.key_data(k))
  found = np.asarray(rng.bits(k, (3, 5)))
  expected = [
    [by_hand(data, row * 5 + column) for column in range(5)] for row in range(3)
  ]
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == np.uint32


def chi_square(values):
  """The p-value that bytes 0..255 are equally likely."""
  return scipy.stats.chisquare(np.bincount(values, minlength=256)).pvalue


@pytest.mark.parametrize('seed', range(4))
def test_bytes_are_uniform_and_bits_balanced(seed):
  values = draw(key(seed=seed))
  for shift in (0, 8, 16, 24):
    assert TAIL < chi_square((values >> shift) & 255) < 1 - TAIL
  ones = ((values[:, None] >> np.arange(32, dtype=np.uint32)) & 1).sum(0)
  assert np.abs(ones - COUNT / 2).max() < Z * np.sqrt(COUNT / 4)


@pytest.mark.parametrize('shift', range(16))
def test_counters_a_bit_apart_are_unrelated(shift):
  """Avalanche: the difference of two outputs has uniform bytes; so for neighbours."""
  values = draw(key())
  index = np.arange(COUNT)
  for other in (index ^ (1 << shift), (index + (1 << shift)) % COUNT):
    pairs = index[index < other]  # each once
    difference = values[pairs] ^ values[other[pairs]]
    for byte in (0, 8, 16, 24):
      assert TAIL < chi_square((difference >> byte) & 255) < 1 - TAIL
    r = np.corrcoef(values[pairs].astype(float), values[other[pairs]].astype(float))[
      0, 1
    ]
    assert abs(r) * np.sqrt(len(pairs)) < Z


def neighbours():
  """Keys of adjacent steps, seeds and layers."""
  steps = [key(step=step) for step in range(3)]
  return [
    *steps,
    *(key(seed=seed) for seed in (1, 2)),
    key('dropout0'),
    key('dropout1'),
  ]


def test_adjacent_keys_are_unrelated():
  streams = [draw(k) for k in neighbours()]
  for i, one in enumerate(streams):
    for other in streams[:i]:
      r = np.corrcoef(one.astype(float), other.astype(float))[0, 1]
      assert abs(r) * np.sqrt(COUNT) < Z
      for byte in (0, 24):
        assert TAIL < chi_square(((one ^ other) >> byte) & 255) < 1 - TAIL


@pytest.mark.parametrize('rate', [0.1, 0.25, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_preserved(rate):
  x = jnp.ones((COUNT,))
  found = np.asarray(blocks.dropout(x, jnp.float32(rate), key()))
  kept = int((found != 0).sum())
  assert scipy.stats.binomtest(kept, COUNT, 1 - rate).pvalue > TAIL
  np.testing.assert_allclose(found[found != 0], 1 / (1 - rate), rtol=1e-6)
  spread = np.sqrt(rate / (1 - rate) / COUNT)  # of the mean
  assert abs(found.mean() - 1) < Z * spread


def test_the_extremes():
  x = np.random.default_rng(0).normal(size=999).astype(np.float32)
  x[:2] = -0.0, np.inf
  for dtype in (jnp.float32, jnp.bfloat16):
    given = jnp.asarray(x, dtype)
    found = blocks.dropout(given, jnp.float32(0), key())
    assert found.dtype == dtype
    assert np.asarray(found).tobytes() == np.asarray(given).tobytes()
  found = blocks.dropout(jnp.asarray(x[3:]), jnp.float32(1 - 2.0**-20), key())
  assert np.isfinite(found).all()
  assert (found != 0).sum() <= 2


def test_evaluation_drops_nothing():
  x = jnp.ones((9, 9))
  found = blocks.Dropout().apply({}, x, jnp.float32(0.9), train=False)
  np.testing.assert_array_equal(found, x)


def masks(model, seed, step, **options):
  """What the network keeps, by place; softplus never vanishes by itself."""
  module = cases.build(model, activation='softplus', **options)
  numbers = dict.fromkeys(cases.hyper(model), jnp.float32(0.5))
  variables = traverse_util.unflatten_dict(cases.init(module, model))
  dropped = lambda layer, _: isinstance(layer, blocks.Dropout)
  _, state = module.apply(
    variables,
    jnp.ones((64, *cases.SHAPES[model])),
    train=True,
    hyper=numbers,
    rngs={'dropout': key(seed=seed, step=step)},
    capture_intermediates=dropped,
    mutable=['intermediates'],
  )
  return {
    name: np.asarray(value['__call__'][0]).reshape(-1) != 0
    for name, value in state['intermediates'].items()
    if name.startswith('dropout')
  }


def test_masks_differ_between_layers_steps_and_seeds():
  """Two fair masks agree in half their places, within binomial bounds."""
  options = {'hidden': (40, 40)}
  base = masks('mlp', 0, 0, **options)
  assert base.keys() == {'dropout_input', 'dropout0', 'dropout1'}
  pairs = [(base['dropout0'], base['dropout1'])]
  for seed, step in ((1, 0), (0, 1)):
    other = masks('mlp', seed, step, **options)
    pairs += [(base[name], other[name]) for name in base]
  for one, other in pairs:
    agreeing = int((one == other).sum())
    assert scipy.stats.binomtest(agreeing, one.size).pvalue > TAIL
  again = masks('mlp', 0, 0, **options)
  assert all((base[name] == again[name]).all() for name in base)


def test_a_layers_mask_is_its_own():
  """Ablating one dropout, or a layer, moves no other mask."""
  base = masks('mlp', 0, 0, hidden=(40, 40))
  deeper = masks('mlp', 0, 0, hidden=(40, 40, 7))
  assert all((base[name] == deeper[name]).all() for name in base)


@pytest.mark.parametrize('model', cases.TINY)
def test_the_rate_is_an_argument_of_the_program(model):
  """One trace serves every rate; each rate is an input that matters."""
  module = cases.build(model)
  variables = jax.eval_shape(lambda: cases.trace_init(module, model))
  x = jnp.zeros((2, *cases.SHAPES[model]))

  def run(numbers, variables, x):
    return cases.forward(module, variables, x, numbers, train=True)[0]

  numbers = cases.hyper(model)
  traced = jax.make_jaxpr(run)(numbers, variables, x)
  live = inspect.alive((traced.jaxpr,), sorted(numbers))
  # Of the numbers only the slope of leaky ReLU does nothing: the nets have others.
  assert live == {*numbers, 'train.steps'} - {'model.slope'}
