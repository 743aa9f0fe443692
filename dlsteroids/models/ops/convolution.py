"""Convolution in a form whose gradients stay fast inside loops; images NHWC.

XLA:CPU runs the gradients that autodiff writes for a convolution 8 to 68 times slower
inside `scan`, `map` and `while` than outside (jax#12868: convolutions in loops keep
layouts that are slow). Here dX and dW are written as NHWC convolutions themselves, and
the rules of convolution and weight gradient call one another, so derivatives of every
order keep that form. Values and gradients are those of
`lax.conv_general_dilated`, which computes them inside `plain` and `native`.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import pooling, sharding, sliding

plain = sliding.plain
native = sliding.native
max_pool = pooling.max_pool
avg_pool = pooling.avg_pool
lrn = pooling.lrn

# The FLOP walker knows by this scope that a convolution is a weight gradient.
KERNEL_GRADIENT = 'kernel_gradient'
_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_MENDED_GROUPS = 4
_CHUNK = 8  # images per piece of a kernel's gradient
_MANY = 16  # input channels from which on pieces are faster
# Numbers of images and slopes together from which on they are faster with fewer
# channels, too: 8 MB (3x3, 3 to 32 on 32x32: 60 against 24 GFLOP/s at once).
_LARGE = 1 << 21
# From jax 0.12 on, a product of 3x3 patches of some 1,024 places beats the convolution
# (one core: 122 against 88 GFLOP/s at 32 channels); on 0.10 it is the other way round.
_PATCHES = jax.__version_info__ >= (0, 12)
_ROWS = 1024
# XLA:CPU convolves a few channels into few at 2 GFLOP/s; up to so many multiplications
# per output pixel, one product of patches is 2 to 5 times as fast (batch 64, 3x3, one
# core: 1 to 8 channels at 28x28 1.0 against 3.2 ms, 3 to 16 at 32x32 2.6 against 5.3).
# A sum over taps would be faster still, but XLA recomputes it in every loop that reads
# it.
_FEW_PRODUCTS = 512


def conv(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: Sequence[int] = (1, 1),
  padding: sliding.Padding = 'SAME',
  groups: int = 1,
  dilation: Sequence[int] = (1, 1),
) -> jax.Array:
  """Correlates images with a kernel.

  Up to four groups run as one rewritten convolution each; more (depthwise) have no
  rewritten form, as each would have few channels, and are differentiated by JAX.

  Args:
    x: [B, H, W, Cin].
    kernel: [kh, kw, Cin / groups, Cout], of x's dtype.
    strides: of H and W.
    padding: 'SAME', 'VALID' or ((low, high), (low, high)) in pixels.
    groups: divides Cin and Cout; group g sees the g-th part of each.
    dilation: distance between the kernel's taps.

  Returns:
    [B, Ho, Wo, Cout] in x's dtype.

  Raises:
    ValueError: shapes, groups or padding do not fit each other.
  """
  if x.ndim != 4 or kernel.ndim != 4:
    raise ValueError(
      f'conv takes x [B, H, W, Cin] and kernel [kh, kw, Cin / groups, Cout], '
      f'not {x.shape} and {kernel.shape}'
    )
  if groups < 1 or x.shape[3] != kernel.shape[2] * groups or kernel.shape[3] % groups:
    raise ValueError(
      f'{x.shape[3]} input channels in {groups} groups do not fit a kernel of shape '
      f'{kernel.shape}: groups must divide both channel numbers'
    )
  strides, dilation = (
    sliding.pair('strides', strides),
    sliding.pair('dilation', dilation),
  )
  size, window = (x.shape[1], x.shape[2]), (kernel.shape[0], kernel.shape[1])
  pads = sliding.pads(size, window, strides, padding, dilation)
  if sliding.is_native() or groups > _MENDED_GROUPS:
    return lax.conv_general_dilated(
      x,
      kernel,
      strides,
      pads,
      rhs_dilation=dilation,
      dimension_numbers=_LAYOUT,
      feature_group_count=groups,
    )
  geometry = Geometry(size, window, strides, pads, (1, 1), dilation)
  if groups == 1:
    return _conv(x, kernel, geometry)
  parts = zip(jnp.split(x, groups, axis=3), jnp.split(kernel, groups, axis=3))
  return jnp.concatenate([_conv(a, k, geometry) for a, k in parts], axis=3)


def local_conv(
  x: jax.Array,
  kernel: jax.Array,
  window: Sequence[int],
  *,
  strides: Sequence[int] = (1, 1),
  padding: sliding.Padding = 'VALID',
) -> jax.Array:
  """Correlates images with a kernel of its own at each place (unshared weights).

  Args:
    x: [B, H, W, Cin].
    kernel: [Ho, Wo, kh * kw * Cin, Cout]; its third axis runs as a kernel
      [kh, kw, Cin, Cout] reshaped.
    window: kh, kw.
    strides: of H and W.
    padding: as `conv`'s.

  Returns:
    [B, Ho, Wo, Cout].

  Raises:
    ValueError: the kernel's shape is not the one that x and the window ask for.
  """
  if x.ndim != 4:
    raise ValueError(f'local_conv takes x [B, H, W, Cin], not {x.shape}')
  window, strides = sliding.pair('window', window), sliding.pair('strides', strides)
  size = (x.shape[1], x.shape[2])
  pads = sliding.pads(size, window, strides, padding)
  count = sliding.outputs(size, window, strides, pads)
  expected = (*count, window[0] * window[1] * x.shape[3])
  if kernel.shape[:-1] != expected:
    raise ValueError(
      f'local_conv on {x.shape} with window {window}, strides {strides} and padding '
      f'{padding!r} takes a kernel of shape {(*expected, "Cout")}, not {kernel.shape}'
    )
  parts = sliding.slices(sliding.pad(x, pads), window, strides, count)
  patches = jnp.concatenate(parts, axis=3)  # [B, Ho, Wo, kh * kw * Cin]
  return jnp.einsum('bhwk,hwkf->bhwf', patches, kernel)


class Geometry(NamedTuple):
  """What is static of a convolution; (H, W) each."""

  size: sliding.Pair  # of the image
  window: sliding.Pair  # of the kernel
  strides: sliding.Pair
  padding: sliding.Pairs
  spread: sliding.Pair  # dilation of the image
  dilation: sliding.Pair  # of the kernel


# Of images, and a kernel or slopes: what a form of a convolution or gradient computes.
Form = Callable[[Any, Any, Geometry], Any]


def _spans(geometry: Geometry) -> Any:
  """Per axis: extents of dilated image and kernel, outputs, their dilated extent."""
  for n, m, s, (lo, hi), spread, dilation in zip(*geometry):
    image, kernel = (n - 1) * spread + 1, (m - 1) * dilation + 1
    out = (image + lo + hi - kernel) // s + 1
    yield image, kernel, out, (out - 1) * s + 1, lo


def _adjoint(geometry: Geometry) -> Geometry:
  """The convolution, with the turned kernel, that is the gradient by the image."""
  size, padding = [], []
  for image, kernel, out, extent, lo in _spans(geometry):
    low = kernel - 1 - lo
    size.append(out)
    # What the strides never reached stays zero: the high side makes up for it.
    padding.append((low, image - 1 + kernel - extent - low))
  return geometry._replace(
    size=(size[0], size[1]),
    strides=geometry.spread,
    padding=(padding[0], padding[1]),
    spread=geometry.strides,
  )


def _enlarges(geometry: Geometry) -> bool:
  """Whether there are more outputs than pixels along an axis.

  A convolution is then counted by its pixels, a product of patches by its outputs.
  """
  return any(out > n for n, (_, _, out, _, _) in zip(geometry.size, _spans(geometry)))


def _turn(kernel: jax.Array) -> jax.Array:
  """Turned by half a circle, input and output channels swapped."""
  return lax.rev(kernel, (0, 1)).swapaxes(2, 3)


def _is_zero(tangent: Any) -> bool:
  return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


# In both rules a residual is None when the gradient that needs it is not requested:
# a first layer computes no gradient of the images.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Any, kernel: Any, geometry: Geometry) -> Any:
  return FORMS[choose_form(kernel.shape, geometry)](x, kernel, geometry)


def choose_form(kernel: Sequence[int], geometry: Geometry) -> str:
  """The form, of `FORMS`, of a convolution with a kernel of this shape."""
  most = _FEW_PRODUCTS
  if not _PATCHES and kernel[2] <= 3 and geometry.window == (3, 3):
    most *= 2  # colours to 32 channels: 36 against 27 GFLOP/s, 36 against 44 on 0.12
  few = (
    geometry.strides == geometry.spread == (1, 1)
    and kernel[3] >= 8  # fewer do not fill a vector
    and math.prod(kernel) <= most
  )
  return 'patches' if few else 'convolution'


def _convolve(x: Any, kernel: Any, geometry: Geometry) -> Any:
  """`_conv` as JAX's own convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    geometry.strides,
    geometry.padding,
    geometry.spread,
    geometry.dilation,
    _LAYOUT,
  )


def _multiply_patches(x: Any, kernel: Any, geometry: Geometry) -> Any:
  """`_conv` as one matrix product of patches, plane by plane, and the kernel."""
  size = [out for _, _, out, _, _ in _spans(geometry)]
  padded = sliding.pad(x, geometry.padding)
  parts = sliding.slices(
    padded, geometry.window, (1, 1), (size[0], size[1]), geometry.dilation
  )
  planes = jnp.concatenate([jnp.moveaxis(part, 3, 0) for part in parts])
  # planes: [kh * kw * Cin, B, Ho, Wo]
  rows = kernel.reshape(-1, kernel.shape[3])
  with sliding.other_flops(_enlarges(geometry)):
    return lax.dot_general(planes, rows, (((0,), (0,)), ((), ())))


def _conv_forward(x: Any, kernel: Any, geometry: Geometry) -> Any:
  residuals = (
    x.value if kernel.perturbed else None,
    kernel.value if x.perturbed else None,
  )
  return _conv(x.value, kernel.value, geometry), residuals


def _conv_backward(geometry: Geometry, residuals: Any, dy: Any) -> Any:
  x, kernel = residuals
  if _is_zero(dy):
    return None, None
  dx = None if kernel is None else _conv(dy, _turn(kernel), _adjoint(geometry))
  return dx, None if x is None else _weigh(x, dy, geometry)


_conv.defvjp(_conv_forward, _conv_backward, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _weigh(x: Any, dy: Any, geometry: Geometry) -> Any:
  """The gradient of `_conv` by its kernel, [kh, kw, Cin, Cout]."""
  weigh = functools.partial(_weigh_share, geometry=geometry)
  return sharding.apart(weigh, (x, dy), (0, 0), None)


def _weigh_share(x: Any, dy: Any, geometry: Geometry) -> Any:
  form = choose_kernel_gradient(x.shape, dy.shape, geometry)
  return KERNEL_GRADIENTS[form](x, dy, geometry)


def choose_kernel_gradient(
  x: Sequence[int], dy: Sequence[int], geometry: Geometry
) -> str:
  """The form, of `KERNEL_GRADIENTS`, for images and slopes of these shapes."""
  inputs, units = x[3], dy[3]
  taps = geometry.window[0] * geometry.window[1]
  direct = geometry.spread == (1, 1)
  by_patches = _PATCHES and direct and taps <= 9 and inputs >= _MANY
  count = _piece_of_patches(dy) if by_patches else _CHUNK
  is_large = inputs >= _MANY or math.prod(x) + math.prod(dy) > _LARGE
  if is_large and x[0] > count and x[0] % count == 0:
    return 'patches in pieces' if by_patches else 'convolution in pieces'
  if direct and inputs == 1 and units >= 8:
    # One channel: the patches are planes, and one matrix product beats the
    # convolution, whose batch is the channels (3x3, 1 to 16 on 8x8, jax 0.12: 49
    # against 39 GFLOP/s).
    return 'planes'
  return 'convolution'


def _piece_of_patches(dy: Sequence[int]) -> int:
  """Images of a piece: as many as divide the batch and have `_ROWS` places at most."""
  most = max(1, _ROWS // (dy[1] * dy[2]))
  return next(n for n in range(min(most, dy[0]), 0, -1) if dy[0] % n == 0)


def _weigh_planes(x: Any, dy: Any, geometry: Geometry) -> Any:
  """`_weigh` of one channel as one matrix product of planes."""
  planes = jnp.stack([part[..., 0] for part in _parts(x, dy, geometry)])
  with sliding.other_flops(_enlarges(geometry)):
    gradient = lax.dot_general(planes, dy, (((1, 2, 3), (0, 1, 2)), ((), ())))
  return gradient.reshape(*geometry.window, 1, dy.shape[3])


def _in_pieces(weigh: Form, x: Any, dy: Any, geometry: Geometry, count: int) -> Any:
  """`_weigh` over pieces of `count` images, added up.

  Pieces stay in the cache with their transposed copies: 1.4 to 2 times as fast as the
  whole batch at once.
  """
  pieces = jax.tree.map(lambda a: a.reshape(-1, count, *a.shape[1:]), (x, dy))
  exact = jnp.promote_types(x.dtype, jnp.float32)

  def add(total: Any, piece: tuple[Any, Any]) -> tuple[Any, None]:
    images, slopes = piece
    return total + weigh(images, slopes, geometry).astype(exact), None

  start = jnp.zeros((*geometry.window, x.shape[3], dy.shape[3]), exact)
  return lax.scan(add, start, pieces)[0].astype(x.dtype)


def _correlate_pieces(x: Any, dy: Any, geometry: Geometry) -> Any:
  return _in_pieces(_correlate, x, dy, geometry, _CHUNK)


def _multiply_pieces(x: Any, dy: Any, geometry: Geometry) -> Any:
  return _in_pieces(_multiply, x, dy, geometry, _piece_of_patches(dy.shape))


def _multiply(x: Any, dy: Any, geometry: Geometry) -> Any:
  """`_weigh` as one matrix product of slopes and patches."""
  inputs, units = x.shape[3], dy.shape[3]
  patches = jnp.concatenate(_parts(x, dy, geometry), 3)  # [B, Ho, Wo, kh * kw * Cin]
  with sliding.other_flops(_enlarges(geometry)):
    gradient = lax.dot_general(dy, patches, (((0, 1, 2), (0, 1, 2)), ((), ())))
  return gradient.reshape(units, *geometry.window, inputs).transpose(1, 2, 3, 0)


def _correlate(x: Any, dy: Any, geometry: Geometry) -> Any:
  """`_weigh` as one convolution whose batch is the channels."""
  padding = []
  for image, kernel, _, extent, lo in _spans(geometry):
    padding.append((lo, kernel - 1 + extent - image - lo))
  with jax.named_scope(KERNEL_GRADIENT):
    gradient = lax.conv_general_dilated(
      x.transpose(3, 1, 2, 0),  # [Cin, H, W, B]
      dy.transpose(1, 2, 0, 3),  # [Ho, Wo, B, Cout]
      geometry.dilation,
      padding,
      geometry.spread,
      geometry.strides,
      _LAYOUT,
    )
  return gradient.transpose(1, 2, 0, 3)  # [kh, kw, Cin, Cout]


def _parts(x: Any, dy: Any, geometry: Geometry) -> list[Any]:
  padded = sliding.pad(x, geometry.padding)
  count = (dy.shape[1], dy.shape[2])
  return sliding.slices(
    padded, geometry.window, geometry.strides, count, geometry.dilation
  )


def _weigh_forward(x: Any, dy: Any, geometry: Geometry) -> Any:
  residuals = (x.value if dy.perturbed else None, dy.value if x.perturbed else None)
  return _weigh(x.value, dy.value, geometry), residuals


def _weigh_backward(geometry: Geometry, residuals: Any, dkernel: Any) -> Any:
  x, dy = residuals
  if _is_zero(dkernel):
    return None, None
  dx = None if dy is None else _conv(dy, _turn(dkernel), _adjoint(geometry))
  return dx, None if x is None else _conv(x, dkernel, geometry)


_weigh.defvjp(_weigh_forward, _weigh_backward, symbolic_zeros=True)

# What `conv` computes and its kernel's gradient, in every form that it may take; which
# one, `choose_form` and `choose_kernel_gradient` say. They differ by rounding alone.
FORMS: Mapping[str, Form] = {'convolution': _convolve, 'patches': _multiply_patches}
KERNEL_GRADIENTS: Mapping[str, Form] = {
  'convolution': _correlate,
  'convolution in pieces': _correlate_pieces,
  'patches': _multiply,
  'patches in pieces': _multiply_pieces,
  'planes': _weigh_planes,
}
