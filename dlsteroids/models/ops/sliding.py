"""Sliding windows over images: padding, strided slices and the form switch (leaf)."""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

Pair = tuple[int, int]
Pairs = tuple[Pair, Pair]
Padding = str | Sequence[tuple[int, int]]

# A user context and not a contextvar: it is part of the key of JAX's trace caches, so
# a function that was jitted outside `plain` is traced again inside it. 'rewritten' are
# the forms of this package.
_form = jax.make_user_context('rewritten')


def plain() -> contextlib.AbstractContextManager[Any]:
  """Within it every rewritten form (images and recurrences) traces to JAX's own.

  For counting nominal FLOPs, for forward-mode differentiation (the rewritten forms are
  `custom_vjp`) and as an oracle.
  """
  return _form('plain')


def native() -> contextlib.AbstractContextManager[Any]:
  """Within it convolution and pooling trace to `lax`; recurrences stay rewritten.

  For backends whose libraries know the gradients of native convolutions.
  """
  return _form('native')


# The FLOP walker knows by this scope that the plain form must be traced, too.
OTHER_FLOPS = 'other_flops'


def other_flops(differ: bool = True) -> contextlib.AbstractContextManager[Any]:
  """A scope for what may take other products than the plain form of it.

  Where nothing in a program is so marked, its FLOPs are its nominal FLOPs.

  Args:
    differ: whether the products may differ in this case.
  """
  return jax.named_scope(OTHER_FLOPS) if differ else contextlib.nullcontext()


def is_plain() -> bool:
  """Whether the trace is inside `plain`."""
  return _form.value == 'plain'


def is_native() -> bool:
  """Whether images are to be traced as `lax` knows them: inside `plain` or `native`."""
  return _form.value != 'rewritten'


def pair(name: str, value: Sequence[int]) -> Pair:
  """`value` as two positive ints (height, width), or ValueError naming `name`."""
  sides = tuple(int(item) for item in value)
  if len(sides) != 2 or min(sides) < 1:
    raise ValueError(f'{name} must be two positive ints (H, W), not {value!r}')
  return sides[0], sides[1]


def pads(
  size: Pair, window: Pair, strides: Pair, padding: Padding, dilation: Pair = (1, 1)
) -> Pairs:
  """The (low, high) padding of H and W, in pixels.

  Raises ValueError for an unknown name, for pairs that are not two, and for a window
  that fits nowhere.
  """
  reach = tuple((m - 1) * r + 1 for m, r in zip(window, dilation))
  if isinstance(padding, str):
    if padding not in ('SAME', 'VALID'):
      raise ValueError(
        f"padding must be 'SAME', 'VALID' or ((low, high), (low, high)), "
        f'not {padding!r}'
      )
    pairs = [(int(lo), int(hi)) for lo, hi in _named(size, reach, strides, padding)]
  else:
    pairs = [(int(lo), int(hi)) for lo, hi in padding]
  if len(pairs) != 2:
    raise ValueError(f'padding must have a pair for H and one for W, not {padding!r}')
  for n, (lo, hi), m in zip(size, pairs, reach):
    if n + lo + hi < m:
      raise ValueError(
        f'a window of {reach[0]}x{reach[1]} pixels does not fit an image of '
        f'{size[0]}x{size[1]} padded by {tuple(pairs)}'
      )
  return pairs[0], pairs[1]


def _named(
  size: Sequence[int], reach: Sequence[int], strides: Sequence[int], name: str
) -> Sequence[tuple[int, int]]:
  return lax.padtype_to_pads(size, reach, strides, name)


def outputs(
  size: Pair, window: Pair, strides: Pair, padding: Pairs, dilation: Pair = (1, 1)
) -> Pair:
  """How many windows there are along H and along W."""
  counts = [
    (n + lo + hi - (m - 1) * r - 1) // s + 1
    for n, m, s, (lo, hi), r in zip(size, window, strides, padding, dilation)
  ]
  return counts[0], counts[1]


def pad(x: jax.Array, padding: Pairs, value: float = 0.0) -> jax.Array:
  """Pads (or, where negative, crops) H and W of x [B, H, W, C]."""
  if not any(map(any, padding)):
    return x
  rows = [(0, 0, 0), *[(lo, hi, 0) for lo, hi in padding], (0, 0, 0)]
  return lax.pad(x, lax.full((), value, x.dtype), rows)


def slices(
  x: jax.Array, window: Pair, strides: Pair, count: Pair, dilation: Pair = (1, 1)
) -> list[jax.Array]:
  """Per tap of the window, row by row, what it sees of the padded x [B, H, W, C].

  Each is [B, count[0], count[1], C]. Slices and not `conv_general_dilated_patches`,
  whose gradient is up to a thousand times slower.
  """
  views = []
  for i in range(window[0]):
    for j in range(window[1]):
      low = (i * dilation[0], j * dilation[1])
      high = tuple(a + (o - 1) * s + 1 for a, o, s in zip(low, count, strides))
      views.append(
        lax.slice(x, (0, *low, 0), (x.shape[0], *high, x.shape[3]), (1, *strides, 1))
      )
  return views
