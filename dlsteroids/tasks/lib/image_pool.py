"""Images made earlier, shown to a discriminator again (Shrivastava et al. 2017).

A pool is {'images': [N, H, W, C], 'filled': int32}, a state of its own. As in the code
of CycleGAN, image by image: until the pool is full each new image is kept and shown;
after that, half of the time an old one is shown and the new one takes its place.
"""

from typing import Any

import jax
import jax.numpy as jnp


def make(size: int, shape: tuple[int, ...], dtype: Any = jnp.float32) -> dict[str, Any]:
  """An empty pool for `size` images of `shape` (H, W, C)."""
  return {'images': jnp.zeros((size, *shape), dtype), 'filled': jnp.int32(0)}


def exchange(pool: dict[str, Any], images: Any, key: Any) -> tuple[Any, dict[str, Any]]:
  """What is shown in place of `images` [B, H, W, C], and the pool after that."""
  size = len(pool['images'])
  swap, place = jax.random.split(key)
  swaps = jax.random.bernoulli(swap, 0.5, (len(images),))
  places = jax.random.randint(place, (len(images),), 0, size)

  def body(state, now):
    stored_images, filled = state
    image, swapped, at = now
    full = filled >= size
    at = jnp.where(full, at, jnp.minimum(filled, size - 1))
    old = jax.lax.dynamic_index_in_dim(stored_images, at, 0, keepdims=False)
    stored = jnp.where(~full | swapped, image, old)
    shown = jnp.where(full & swapped, old, image)
    stored_images = jax.lax.dynamic_update_index_in_dim(stored_images, stored, at, 0)
    return (stored_images, jnp.minimum(filled + 1, size)), shown

  start = (pool['images'], pool['filled'])
  (stored_images, filled), shown = jax.lax.scan(body, start, (images, swaps, places))
  return shown, {'images': stored_images, 'filled': filled}
