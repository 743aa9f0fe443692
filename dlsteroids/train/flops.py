"""Floating-point operations of a program, counted on its jaxpr.

Two per multiply-accumulate of dots and convolutions; elementwise work, reductions,
sorts and factorisations are excluded. Padding counts and dilation zeros do not: torch's
`FlopCounterMode` convention, backward included. XLA's `cost_analysis` counts a loop's
body once and leaves padding out.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp
from jax.extend import core

from dlsteroids.models.ops import convolution


class Flops(NamedTuple):
  """What was counted.

  Attributes:
    flops: 2 x multiply-accumulates.
    unknown_loops: whether a `while` of unknown length does counted work (its body is
      counted once), or a kernel could not be looked into: then flops is too low.
  """

  flops: float
  unknown_loops: bool


def nominal(fn: Callable[..., Any], *args: Any) -> Flops:
  """Counts fn(*args) in its plain formulation, whatever form really runs.

  Args:
    fn: what to trace; nothing is computed.
    *args: arrays or `jax.ShapeDtypeStruct`s.
  """
  with convolution.plain():
    return count(jax.make_jaxpr(fn)(*args))


def executed(fn: Callable[..., Any], *args: Any) -> Flops:
  """Counts fn(*args) in the formulation that runs, by the same convention."""
  return count(jax.make_jaxpr(fn)(*args))


def count(jaxpr: Any) -> Flops:
  """Counts a `jax.extend.core.Jaxpr` or `ClosedJaxpr`.

  A scan counts its length times its body, a conditional its costliest branch, a
  `shard_map` its body on every shard. Dead code counts.
  """
  if isinstance(jaxpr, core.ClosedJaxpr):
    jaxpr = jaxpr.jaxpr
  found = [_count_equation(equation) for equation in jaxpr.eqns]
  return _add(found)


def _add(parts: Sequence[Flops]) -> Flops:
  return Flops(
    float(sum(part.flops for part in parts)),
    any(part.unknown_loops for part in parts),
  )


def _count_equation(equation: Any) -> Flops:
  name = equation.primitive.name
  if name == 'dot_general':
    return Flops(_count_dot(equation), False)
  if name == 'conv_general_dilated':
    return Flops(_count_conv(equation), False)
  inner = [count(jaxpr) for jaxpr in jaxprs(equation.params)]
  if not inner:
    return Flops(0.0, False)
  if name == 'cond':
    return Flops(
      max(part.flops for part in inner), any(part.unknown_loops for part in inner)
    )
  total = _add(inner)
  if name in ('while', 'pallas_call'):
    return Flops(total.flops, total.unknown_loops or total.flops > 0)
  return Flops(total.flops * repeats(name, equation.params), total.unknown_loops)


def repeats(name: str, params: dict[str, Any]) -> int:
  """How often the body of an equation runs."""
  if name == 'scan':
    return int(params['length'])
  if name == 'shard_map':
    sizes = params['mesh'].shape
    return math.prod(sizes[axis] for axis in params.get('manual_axes', sizes))
  return 1


def jaxprs(params: dict[str, Any]) -> Iterator[Any]:
  """The jaxprs among an equation's parameters, directly or in tuples."""
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, core.ClosedJaxpr | core.Jaxpr):
        yield item


def _count_dot(equation: Any) -> float:
  (contracted, _), _ = equation.params['dimension_numbers']
  shape = equation.invars[0].aval.shape
  out = math.prod(equation.outvars[0].aval.shape)
  return 2.0 * out * math.prod(shape[axis] for axis in contracted)


def _count_conv(equation: Any) -> float:
  """Output x kernel positions, or the other two of three that torch takes.

  An output and a tap together see one pixel of the image, so any two of image, kernel
  and output positions say how many products there are; counting by the third would add
  dilation zeros. torch takes image x taps for a transposed convolution, so also for a
  convolution's dX. Along an axis with neither strides nor dilation dX cannot be told
  from a convolution; the smaller of image and output is right for all but the rare one
  padded until the output exceeds the image, which counts as a transposed one.
  """
  image, kernel = (var.aval.shape for var in equation.invars)
  out = equation.outvars[0].aval.shape
  numbers = equation.params['dimension_numbers']
  batch, features, *axes = numbers.lhs_spec
  # Each layout in use has the batch before the features, except that autodiff's weight
  # gradient exchanges them; the mended one says so by its scope.
  scopes = str(equation.source_info.name_stack)
  gradient = batch > features or convolution.KERNEL_GRADIENT in scopes
  total = 2.0 * out[numbers.out_spec[0]] * out[numbers.out_spec[1]]
  total *= kernel[numbers.rhs_spec[1]]
  for axis, tap, place, stride, spread in zip(
    axes,
    numbers.rhs_spec[2:],
    numbers.out_spec[2:],
    equation.params['window_strides'],
    equation.params['lhs_dilation'],
  ):
    n, m, o = image[axis], kernel[tap], out[place]
    if gradient:
      total *= o * (n if spread > 1 else min(n, m))
    elif spread > 1:
      total *= n * m
    else:
      total *= m * (o if stride > 1 else min(n, o))
  return total


def matmul_rate(side: int = 1536) -> float:
  """FLOP/s of float32 matrix products on all devices, the best of a few.

  Measured on those of this process; others are taken to be as fast.
  """
  device = jax.local_devices()
  work = jax.jit(lambda x: x @ x)
  operands = [jax.device_put(jnp.ones((side, side)), d) for d in device]
  best = float('inf')
  for _ in range(4):  # the first compiles
    start = time.perf_counter()
    jax.block_until_ready([work(x) for x in operands])
    best = min(best, time.perf_counter() - start)
  return 2.0 * side**3 * jax.device_count() / best
