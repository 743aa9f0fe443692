"""Pooling and local response normalisation with fast gradients; images NHWC."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import sharding, sliding


def max_pool(
  x: jax.Array,
  window: Sequence[int],
  strides: Sequence[int] | None = None,
  padding: sliding.Padding = 'VALID',
) -> jax.Array:
  """The greatest value of each window, in value and gradient as flax's `nn.max_pool`.

  Of equal values the first, row by row, takes the gradient; NaN stays.

  Args:
    x: floating, [B, H, W, C].
    window: height and width.
    strides: of H and W; the window's if None.
    padding: 'SAME', 'VALID' or ((low, high), (low, high)); filled with -inf.

  Returns:
    [B, Ho, Wo, C].

  Raises:
    ValueError: the window fits nowhere, or window, strides or padding are no pairs.
  """
  grid = _grid(x, window, strides, padding)
  if sliding.is_native():
    return lax.reduce_window(
      x, -jnp.inf, lax.max, (1, *grid.window, 1), (1, *grid.strides, 1), _rows(grid)
    )
  return _max_pool(x, grid)


def avg_pool(
  x: jax.Array,
  window: Sequence[int],
  strides: Sequence[int] | None = None,
  padding: sliding.Padding = 'VALID',
  *,
  count_include_pad: bool = True,
) -> jax.Array:
  """The mean of each window, as flax's `nn.avg_pool`.

  Args:
    x: floating, [B, H, W, C].
    window: height and width.
    strides: of H and W; the window's if None.
    padding: 'SAME', 'VALID' or ((low, high), (low, high)); filled with zeros.
    count_include_pad: whether padding counts in the mean's divisor (flax's default).

  Returns:
    [B, Ho, Wo, C].

  Raises:
    ValueError: the window fits nowhere, or window, strides or padding are no pairs.
  """
  grid = _grid(x, window, strides, padding)
  if sliding.is_native():
    total = lax.reduce_window(
      x, 0.0, lax.add, (1, *grid.window, 1), (1, *grid.strides, 1), _rows(grid)
    )
  else:
    total = functools.reduce(jnp.add, _slices(x, grid, 0.0))
  if count_include_pad:
    return total / (grid.window[0] * grid.window[1])
  inside = [
    [sum(0 <= o * s + i - lo < n for i in range(m)) for o in range(out)]
    for n, m, s, (lo, _), out in zip(
      grid.size, grid.window, grid.strides, grid.padding, grid.places
    )
  ]
  counts = np.multiply.outer(inside[0], inside[1])  # [Ho, Wo]
  return total / jnp.asarray(counts[..., None], x.dtype)


def lrn(
  x: jax.Array, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
  """Divides by (k + alpha * sum of squares of the n nearest channels) ** beta.

  Krizhevsky et al. 2012, §3.3, with its constants. As there, alpha is not divided by
  n; torch's LocalResponseNorm and Caffe divide it, so their alpha is n times this.
  An even n reaches one channel further down than up, as torch's. Half precision is
  computed in float32: k + alpha * sum would round to k.

  Args:
    x: floating, [..., C].
    k: added to the sum.
    n: how many channels are neighbours, itself included; positive.
    alpha: factor of the sum.
    beta: power.

  Returns:
    x's shape and dtype.

  Raises:
    ValueError: n is not positive.
  """
  if n < 1:
    raise ValueError(f'lrn takes n >= 1 neighbouring channels, not {n}')
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  ones = (1,) * (x.ndim - 1)
  rows = [(0, 0)] * (x.ndim - 1) + [(n // 2, (n - 1) // 2)]
  # Twice as fast as shifted slices, inside loops too.
  total = lax.reduce_window(wide * wide, 0.0, lax.add, (*ones, n), (*ones, 1), rows)
  scale = k + alpha * total
  if beta == 0.75:
    root = lax.rsqrt(scale)  # a power costs twice as much
    factor = root * jnp.sqrt(root)
  else:
    factor = scale**-beta
  return (wide * factor).astype(x.dtype)


class _Grid(NamedTuple):
  """What is static of a pooling; (H, W) each."""

  size: sliding.Pair
  window: sliding.Pair
  strides: sliding.Pair
  padding: sliding.Pairs
  places: sliding.Pair


def _grid(
  x: jax.Array,
  window: Sequence[int],
  strides: Sequence[int] | None,
  padding: sliding.Padding,
) -> _Grid:
  if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'pooling takes floating [B, H, W, C], not {x.dtype}{x.shape}')
  reach = sliding.pair('window', window)
  steps = reach if strides is None else sliding.pair('strides', strides)
  size = (x.shape[1], x.shape[2])
  pads = sliding.pads(size, reach, steps, padding)
  return _Grid(size, reach, steps, pads, sliding.outputs(size, reach, steps, pads))


def _rows(grid: _Grid) -> list[tuple[int, int]]:
  return [(0, 0), *grid.padding, (0, 0)]


def _slices(x: Any, grid: _Grid, fill: float) -> list[Any]:
  padded = sliding.pad(x, grid.padding, fill)
  return sliding.slices(padded, grid.window, grid.strides, grid.places)


# Below so many channels XLA:CPU unrolls the loop over them and then fails to vectorise
# comparisons and selections, not arithmetic on bits (2x2, batch 128, 32x32x32, one
# core: 12.0 against 3.1 ms; at 16 channels 0.5 against 0.1). At 64 it vectorises both.
_VECTORS = 64
# Below so many channels XLA:CPU does not vectorise the search for the best tap either,
# and repeats it for every pixel of the gradient, unless a loop over pieces of the batch
# stores its result. A step of a CNN with 8 channels at 28x28, batch 64, one core: 13.6
# ms without such a loop, 7.3 with it.
_LANES = 16
_PIECE = 8  # images

# The gradient goes through the index of the tap that won. Autodiff's gradient of a
# `where` chain writes the image once per tap; going by the phases of the strides writes
# it once: 3x3 strides 2 in a scan, 10 to 20 ms against 43 (nn.max_pool: 42 to 50).


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Any, grid: _Grid) -> Any:
  return _max_pool_forward(x, grid)[0]


def _max_pool_forward(x: Any, grid: _Grid) -> Any:
  if x.shape[3] >= _LANES:
    return _best(x, grid)
  search = functools.partial(_best_by_pieces, grid=grid)
  return sharding.apart(search, (x,), (0,), (0, 0))


def _best_by_pieces(x: Any, grid: _Grid) -> Any:
  """`_best` of a few images at a time, where they divide the batch."""
  if x.shape[0] % _PIECE or x.shape[0] == _PIECE:
    return _best(x, grid)
  pieces = x.reshape(-1, _PIECE, *x.shape[1:])
  best, index = lax.map(lambda piece: _best(piece, grid), pieces)
  return best.reshape(-1, *best.shape[2:]), index.reshape(-1, *index.shape[2:])


def _best(x: Any, grid: _Grid) -> Any:
  """Of each window the greatest value, and the number of its first tap."""
  first, *others = _slices(x, grid, -np.inf)
  kind = jnp.uint8 if len(others) < 256 else jnp.int32
  best, index = first, jnp.zeros(first.shape, kind)
  for tap, value in enumerate(others, 1):
    wins = (value > best) | (value != value)  # NaN wins, lest a diverged run hides
    best = jnp.where(wins, value, best)
    index = jnp.where(wins, jnp.asarray(tap, kind), index)
  return best, index


def _max_pool_backward(grid: _Grid, index: Any, dy: Any) -> Any:
  return (_scatter(dy, index, grid),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _scatter(dy: Any, index: Any, grid: _Grid) -> Any:
  """Adds each window's dy [B, Ho, Wo, C] to the pixel its tap `index` saw."""
  if _tiles(grid) and dy.shape[3] < _VECTORS:
    return _scatter_tiles(dy, index, grid)
  # Pixels whose place in the padded image is `phase` modulo the strides, [B, Q, P, C],
  # are seen by the taps equal to phase modulo the strides, a window further each.
  spans = [
    -(-(n + lo + hi) // s)
    for n, (lo, hi), s in zip(grid.size, grid.padding, grid.strides)
  ]
  reach = [-(-m // s) for m, s in zip(grid.window, grid.strides)]
  margin = [(r - 1, q - o) for r, q, o in zip(reach, spans, grid.places)]
  dy = sliding.pad(dy, (margin[0], margin[1]))
  index = lax.pad(
    index,
    jnp.zeros((), index.dtype),
    [(0, 0, 0), *[(lo, hi, 0) for lo, hi in margin], (0, 0, 0)],
  )
  rows = []
  for a in range(grid.strides[0]):
    columns = [_phase(dy, index, (a, b), spans, grid) for b in range(grid.strides[1])]
    rows.append(jnp.stack(columns, axis=3))
  image = jnp.stack(rows, axis=2)  # [B, Q, strides[0], P, strides[1], C]
  batch, q, a, p, b, channels = image.shape
  image = image.reshape(batch, q * a, p * b, channels)
  crop = [
    (-lo, n + lo - s) for n, (lo, _), s in zip(grid.size, grid.padding, (q * a, p * b))
  ]
  return sliding.pad(image, (crop[0], crop[1]))


def _tiles(grid: _Grid) -> bool:
  """Whether each pixel lies in exactly one window."""
  whole = tuple(n * m for n, m in zip(grid.places, grid.window))
  return grid.window == grid.strides and whole == grid.size


def _scatter_tiles(dy: Any, index: Any, grid: _Grid) -> Any:
  """`_scatter` where windows tile the image, by masks of bits."""
  batch, _, _, channels = dy.shape
  integer = np.dtype(f'int{8 * dy.dtype.itemsize}')
  tiles = (batch, grid.places[0], grid.window[0], grid.places[1], grid.window[1], 1)
  row, column = (lax.broadcasted_iota(integer, tiles, axis) for axis in (2, 4))
  tap = row * integer.type(grid.window[1]) + column
  other = index.astype(integer)[:, :, None, :, None] ^ tap  # 0 at the tap that won
  sign = integer.type(8 * integer.itemsize - 1)
  mask = lax.shift_right_arithmetic(other - integer.type(1), sign)
  bits = lax.bitcast_convert_type(dy, integer)[:, :, None, :, None]
  image = lax.bitcast_convert_type(mask & bits, dy.dtype)
  return image.reshape(batch, *grid.size, channels)


def _phase(
  dy: Any, index: Any, phase: tuple[int, int], spans: Sequence[int], grid: _Grid
) -> Any:
  batch, *_, channels = dy.shape
  zero = jnp.zeros((), dy.dtype)
  total = jnp.zeros((batch, *spans, channels), dy.dtype)
  low = [-(-m // s) - 1 for m, s in zip(grid.window, grid.strides)]
  for i in range(phase[0], grid.window[0], grid.strides[0]):
    for j in range(phase[1], grid.window[1], grid.strides[1]):
      at = [lo - tap // s for lo, tap, s in zip(low, (i, j), grid.strides)]
      rows, columns = (slice(a, a + span) for a, span in zip(at, spans))
      wins = index[:, rows, columns] == i * grid.window[1] + j
      total += jnp.where(wins, dy[:, rows, columns], zero)
  return total


def _scatter_forward(dy: Any, index: Any, grid: _Grid) -> Any:
  return _scatter(dy, index, grid), index


def _scatter_backward(grid: _Grid, index: Any, dx: Any) -> Any:
  return _gather(dx, index, grid), None


_scatter.defvjp(_scatter_forward, _scatter_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gather(x: Any, index: Any, grid: _Grid) -> Any:
  """Of each window the value its tap `index` sees; the transpose of `_scatter`."""
  first, *others = _slices(x, grid, 0.0)
  values = first
  for tap, value in enumerate(others, 1):
    values = jnp.where(index == tap, value, values)
  return values


def _gather_forward(x: Any, index: Any, grid: _Grid) -> Any:
  return _gather(x, index, grid), index


def _gather_backward(grid: _Grid, index: Any, dy: Any) -> Any:
  return _scatter(dy, index, grid), None


_gather.defvjp(_gather_forward, _gather_backward)
