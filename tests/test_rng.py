"""Streams of keys: golden values, by name and index, whatever the order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import rng

# From jax 0.10.2 and 0.12.0, which agree: threefry2x32 (Salmon et al. 2011) of the
# seed, folded with crc32 of the name, then with the index.
GOLDEN = {
  (0, 'init', 0): (517294207, 118925294),
  (0, 'dropout', 1): (4061365962, 3124102228),
  (123, 'order', 40): (3913720146, 4250389691),
}


def data(key):
  return np.asarray(jax.random.key_data(key)).tolist()


def test_golden_keys():
  found = {
    (seed, name, index): tuple(data(rng.stream(rng.root(seed), name, index)))
    for seed, name, index in GOLDEN
  }
  assert found == GOLDEN


def test_crc32_names_a_stream():
  """The stream's number is crc32 of its name: zlib's check value of '123456789'."""
  folded = jax.random.fold_in(rng.root(3), 0xCBF43926)
  assert data(rng.stream(rng.root(3), '123456789', 5)) == data(
    jax.random.fold_in(folded, 5)
  )


def test_streams_depend_on_name_seed_and_index_only():
  wanted = [
    (seed, name, step)
    for seed in (0, 1)
    for name in ('init', 'order', 'dropout', 'augment')
    for step in (0, 1, 2)
  ]
  ask = lambda seed, name, step: tuple(data(rng.Keys(rng.root(seed), step)(name)))
  there = {one: ask(*one) for one in wanted}
  back = {one: ask(*one) for one in reversed(wanted)}
  assert there == back
  assert len(set(there.values())) == len(wanted)


def test_a_traced_step_and_seed_give_the_same_keys():
  """In a loop, under vmap and outside: the launcher's strategies must agree."""
  ask = lambda seed, step: jax.random.key_data(rng.Keys(rng.root(seed), step)('x'))
  seeds, steps = jnp.arange(3, dtype=jnp.int32), jnp.arange(3, dtype=jnp.int32) * 7
  mapped = jax.lax.map(lambda pair: ask(*pair), (seeds, steps))
  batched = jax.vmap(ask)(seeds, steps)
  alone = [ask(int(seed), int(step)) for seed, step in zip(seeds, steps)]
  np.testing.assert_array_equal(mapped, alone)
  np.testing.assert_array_equal(batched, alone)


def test_the_generator_does_not_follow_the_users_settings():
  before = data(rng.root(5))
  with jax.default_prng_impl('rbg'):
    assert data(rng.root(5)) == before
  assert str(jax.random.key_impl(rng.root(5))) == 'threefry2x32'


@pytest.mark.parametrize('shape', [(), (0,), (7,), (2, 3, 4)])
def test_bits_have_the_shape_asked_for(shape):
  found = rng.bits(rng.root(0), shape)
  assert (found.shape, found.dtype) == (shape, jnp.uint32)
  np.testing.assert_array_equal(
    np.ravel(found), rng.bits(rng.root(0), (int(np.prod(shape)),))
  )
