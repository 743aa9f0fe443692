"""Named PRNG streams: fold_in(seed, stream, index); never a split chain.

A stream depends on its name, its seed and its index only, so adding a consumer of
randomness, or removing one by an ablation, moves no other stream.
"""

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


def root(seed: Any) -> Any:
  """The typed threefry key of a run; `seed`: int or int32 tracer, >= 0.

  Threefry by name: rbg keys give other bits under `vmap` than in a loop.
  """
  return jax.random.key(seed, impl='threefry2x32')


def stream(key: Any, name: str, index: Any = 0) -> Any:
  """The key of stream `name` at `index` (a step, an epoch), from a run's root key."""
  return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), index)


class Keys(NamedTuple):
  """The streams of one run at one step: `keys('dropout')` is a key.

  Example:
    >>> keys = Keys(root(0), step=3)
    >>> jax.random.bernoulli(keys('dropout'), shape=(4,)).shape
    (4,)
  """

  root: Any
  step: Any = 0

  def __call__(self, name: str) -> Any:
    return stream(self.root, name, self.step)


def bits(key: Any, shape: tuple[int, ...]) -> Any:
  """Uniform uint32 [shape] from a key, for masks: cheap to run and to compile.

  Counters pass two rounds of lowbias32 (Wellons 2018), each keyed by half of the key,
  which is itself threefry's. Threefry for every bit made dropout the slowest part of a
  small network's step, and its compilation, on a CPU.
  """
  count = math.prod(shape)
  return bits_at(key, jax.lax.iota(jnp.uint32, count)).reshape(shape)


def bits_at(key: Any, index: Any) -> Any:
  """What `bits` has at indices [...]: each its own, wherever it stands."""
  data = jax.random.key_data(key)
  return mix(mix(index.astype(jnp.uint32) ^ data[0]) ^ data[1])


def mix(x: Any) -> Any:
  """lowbias32, a bijection of uint32 without visible bias."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
