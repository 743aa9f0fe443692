"""A canary of XLA: small updates inside loops are made in place, whatever the buffer.

jaxlib 0.11.1 on CPUs copies the whole buffer at each update below 256 bytes, so that a
loop which fills it takes a time quadratic in its length (jax#40101); pyproject.toml
excludes it. Measured: 5,900 times as long on the larger buffer there, 1.5 times on
0.11.2, 1.9 times on 0.10.2.
"""

import time

import jax
import jax.numpy as jnp

UPDATES = 2000


def seconds(size):
  """The least of five times of a compiled loop of updates of one number each."""

  def update(i, buffer):
    return buffer.at[i % size].set(buffer[(i - 1) % size] + 1)

  loop = jax.jit(lambda buffer: jax.lax.fori_loop(0, UPDATES, update, buffer))
  buffer = jnp.zeros(size)
  loop(buffer).block_until_ready()
  times = []
  for _ in range(5):
    start = time.perf_counter()
    loop(buffer).block_until_ready()
    times.append(time.perf_counter() - start)
  return min(times)


def test_an_update_in_a_loop_does_not_copy_its_buffer():
  assert seconds(50_000) < 100 * seconds(100)
