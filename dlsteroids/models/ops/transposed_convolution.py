"""Transposed convolution whose gradients stay fast inside loops; images NHWC.

A stride of s puts s - 1 zeros between pixels, so every s-th output meets the same taps
of the kernel. Per such phase of the strides that is a small convolution without zeros:
the phases are computed by themselves and interleaved. Values and gradients of every
order are those of `lax.conv_transpose`, which runs inside `plain` and `native`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import convolution, sliding

# With at most this many output channels one matrix product beats the phases, which
# are then too thin. Both gradients in a loop, 4x4 taps, strides 2, batch 64, jax 0.10,
# two cores (ms; native is lax's own form):
#   map, channels     native  phases  product
#   14x14, 64 to 1      21.2     9.7      1.3
#   16x16, 64 to 3     114      14.5      6.8
#   16x16, 64 to 8        -     22.2     23.5
#   8x8, 128 to 64     959      22.9     30.3
_THIN = 4


def conv_transpose(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: Sequence[int],
  padding: sliding.Padding = 'SAME',
) -> jax.Array:
  """Enlarges images by a kernel, as `lax.conv_transpose` and flax's `ConvTranspose`.

  The image, spread by zeros, is correlated with the kernel as it stands (lax's
  `transpose_kernel=False`). torch's ConvTranspose2d and the gradient of a convolution
  have the kernel turned by half a circle: theirs, with `padding` p and `output_padding`
  q, is this one's with the turned kernel and (k - 1 - p, k - 1 - p + q).

  Args:
    x: [B, H, W, Cin].
    kernel: [kh, kw, Cin, Cout], of x's dtype; smaller than the strides if need be.
    strides: of H and W, by how much the image grows.
    padding: 'SAME' (output H * strides), 'VALID' (every pixel that a tap reaches), or
      ((low, high), (low, high)) around the spread image, which may crop.

  Returns:
    [B, Ho, Wo, Cout] in x's dtype.

  Raises:
    ValueError: shapes or padding do not fit each other.
  """
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
    raise ValueError(
      f'conv_transpose takes x [B, H, W, Cin] and kernel [kh, kw, Cin, Cout], '
      f'not {x.shape} and {kernel.shape}'
    )
  steps = sliding.pair('strides', strides)
  size, window = (x.shape[1], x.shape[2]), (kernel.shape[0], kernel.shape[1])
  pads = _pads(window, steps, padding)
  places = [
    (n - 1) * s + 2 + lo + hi - k
    for n, s, (lo, hi), k in zip(size, steps, pads, window)
  ]
  if min(places) < 1:
    raise ValueError(
      f'a kernel of {window[0]}x{window[1]} does not fit an image of '
      f'{size[0]}x{size[1]} spread by {steps} and padded by {pads}'
    )
  if sliding.is_native():
    return lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      pads,
      lhs_dilation=steps,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
  if steps == (1, 1):
    return convolution.conv(x, kernel, padding=pads)
  grid = [
    [_phase(a, s, k, lo, n, out) for a in range(s)]
    for s, k, (lo, _), n, out in zip(steps, window, pads, size, places)
  ]
  compute = _multiply if kernel.shape[3] <= _THIN else _convolve
  with sliding.other_flops():
    phases = compute(x, kernel, grid)  # of each phase [B, Q, P, Cout]
  wide = jnp.stack([jnp.stack(row, 3) for row in phases], 2)  # [B, Q, sh, P, sw, Cout]
  batch, q, a, p, b, channels = wide.shape
  image = wide.reshape(batch, q * a, p * b, channels)
  return image[:, : places[0], : places[1]]


def _pads(
  window: sliding.Pair, strides: sliding.Pair, padding: sliding.Padding
) -> sliding.Pairs:
  """The padding of the spread image; names as `lax.conv_transpose` reads them."""
  if not isinstance(padding, str):
    pairs = [(int(lo), int(hi)) for lo, hi in padding]
    if len(pairs) != 2:
      raise ValueError(f'padding must have a pair for H and one for W, not {padding!r}')
    return pairs[0], pairs[1]
  if padding not in ('SAME', 'VALID'):
    raise ValueError(
      f"padding must be 'SAME', 'VALID' or ((low, high), (low, high)), not {padding!r}"
    )
  pairs = []
  for k, s in zip(window, strides):
    if padding == 'VALID':
      pairs.append((k - 1, k + s - 2 + max(k - s, 0) - (k - 1)))
    else:
      low = k - 1 if s > k - 1 else -(-(k + s - 2) // 2)
      pairs.append((low, k + s - 2 - low))
  return pairs[0], pairs[1]


class _Phase(NamedTuple):
  """Along one axis, the outputs equal to a phase modulo the stride.

  Output q of them is the sum over t of kernel[taps][t] * x[q - low + t].
  """

  taps: slice
  number: int  # of the taps; none where the stride exceeds the kernel
  low: int  # padding before the image, in its pixels; negative crops
  size: int  # of the image
  places: int  # of the outputs, the same for all phases


def _phase(
  phase: int, stride: int, window: int, low: int, size: int, places: int
) -> _Phase:
  first = (low - phase) % stride
  taps = slice(first, None, stride)
  number = len(range(first, window, stride))
  return _Phase(
    taps, number, (low - phase - first) // stride, size, -(-places // stride)
  )


def _around(phase: _Phase, number: int, tap: int = 0) -> tuple[int, int]:
  """Padding that lets `number` taps from `tap` on meet all places of a phase."""
  low = phase.low - tap
  return low, phase.places - phase.size - low + number - 1


def _blank(x: Any, a: _Phase, b: _Phase, units: int) -> Any:
  return jnp.zeros((x.shape[0], a.places, b.places, units), x.dtype)


def _convolve(x: Any, kernel: Any, grid: list[list[_Phase]]) -> list[list[Any]]:
  """A convolution by the taps of each phase."""

  def one(a: _Phase, b: _Phase) -> Any:
    if not a.number or not b.number:
      return _blank(x, a, b, kernel.shape[3])
    padding = (_around(a, a.number), _around(b, b.number))
    return convolution.conv(x, kernel[a.taps, b.taps], padding=padding)

  return [[one(a, b) for b in grid[1]] for a in grid[0]]


def _multiply(x: Any, kernel: Any, grid: list[list[_Phase]]) -> list[list[Any]]:
  """One product of all pixels and all taps, then shifted sums."""
  height, width, inputs, units = kernel.shape
  weights = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)  # [Cin, kh * kw * Cout]
  # Of rows of pixels: the gradients of a product of maps are 8 times slower in a loop.
  products = x.reshape(-1, inputs) @ weights
  products = products.reshape(*x.shape[:3], height, width, units)

  def one(a: _Phase, b: _Phase) -> Any:
    total = _blank(x, a, b, units)
    for i, row in enumerate(range(height)[a.taps]):
      for j, column in enumerate(range(width)[b.taps]):
        padding = (_around(a, 1, i), _around(b, 1, j))
        total += sliding.pad(products[:, :, :, row, column], padding)
    return total

  return [[one(a, b) for b in grid[1]] for a in grid[0]]
