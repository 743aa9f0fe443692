"""The cost of a program, read off its jaxpr: FLOPs, memory, traffic.

FLOPs are two per multiply-accumulate of dots and convolutions; elementwise work,
reductions, sorts, FFTs and factorisations are excluded. Padding counts and dilation
zeros do not: the convention of torch's `FlopCounterMode`, backward included (but for
grouped convolutions, whose backward torch multiplies by the groups). XLA's
`cost_analysis` counts the body of a loop once and leaves padding out, so it can't be
used. Memory and traffic are upper bounds before fusion.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp
from jax.extend import core

from dlsteroids.models.ops import convolution, sliding

PRODUCTS = ('dot_general', 'conv_general_dilated')
CALLBACKS = ('pure_callback', 'io_callback', 'ffi_call')  # no jaxpr shows their work


class Flops(NamedTuple):
  """A count of floating-point operations.

  Attributes:
    flops: 2 x multiply-accumulates.
    unknown_loops: whether a `while` of unknown length does counted work (its body is
      counted once), or a kernel could not be looked into: then `flops` is too low.
  """

  flops: float
  unknown_loops: bool


def nominal(fn: Callable[..., Any], *args: Any) -> Flops:
  """The FLOPs of fn(*args) in its plain formulation, whatever form really runs.

  Args:
    fn: what to trace; nothing is computed.
    *args: arrays or `jax.ShapeDtypeStruct`s.
  """
  with convolution.plain():
    return count(jax.make_jaxpr(fn)(*args))


def executed(fn: Callable[..., Any], *args: Any) -> Flops:
  """The FLOPs of fn(*args) in the form that runs, by the same convention."""
  return count(jax.make_jaxpr(fn)(*args))


def runs_plainly(jaxpr: Any) -> bool:
  """Whether the FLOPs of a jaxpr are its nominal FLOPs.

  No form that runs in place of a plain one takes other products than that.
  """
  scopes = {equation.source_info.name_stack for equation, _ in walk(jaxpr)}
  return not any(sliding.OTHER_FLOPS in str(scope) for scope in scopes)


def count(jaxpr: Any) -> Flops:
  """The FLOPs of a `jax.extend.core.Jaxpr` or `ClosedJaxpr`.

  A scan counts its length times its body, a conditional its costliest branch, a
  `shard_map` its body on every shard. Dead code counts.
  """
  parts = [_equation_flops(equation) for equation in _open(jaxpr).eqns]
  return _total(parts)


def _open(jaxpr: Any) -> Any:
  return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def _total(parts: Sequence[Flops]) -> Flops:
  unknown = any(part.unknown_loops for part in parts)
  return Flops(float(sum(part.flops for part in parts)), unknown)


def _equation_flops(equation: Any) -> Flops:
  name = equation.primitive.name
  if name == 'dot_general':
    return Flops(_dot_flops(equation), False)
  if name == 'conv_general_dilated':
    return Flops(_conv_flops(equation), False)
  if name == 'ragged_dot_general':
    return Flops(_ragged_flops(equation), False)
  if name in CALLBACKS:
    return Flops(0.0, True)
  bodies = [count(jaxpr) for jaxpr in inner_jaxprs(equation)]
  if not bodies:
    return Flops(0.0, False)
  total = _total(bodies)
  if name == 'cond':
    return total._replace(flops=max(body.flops for body in bodies))
  if name in ('while', 'pallas_call'):
    return Flops(total.flops, total.unknown_loops or total.flops > 0)
  return total._replace(flops=total.flops * _trips(equation))


def inner_jaxprs(equation: Any) -> Iterator[Any]:
  """The jaxprs that an equation runs: its parameters, directly or in tuples.

  Of a linear solve (`jnp.linalg.solve`) only the solve itself, not its transpose.
  """
  if equation.primitive.name == 'custom_linear_solve':
    yield equation.params['jaxprs'].solve
    return
  for value in equation.params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, core.ClosedJaxpr | core.Jaxpr):
        yield item


def _trips(equation: Any) -> int:
  """How often the body of an equation runs."""
  name, params = equation.primitive.name, equation.params
  if name == 'scan':
    return int(params['length'])
  if name == 'shard_map':
    sizes = params['mesh'].shape
    return math.prod(sizes[axis] for axis in params.get('manual_axes', sizes))
  return 1


def walk(jaxpr: Any, in_loop: bool = False) -> Iterator[tuple[Any, bool]]:
  """Every equation of a jaxpr at any depth, and whether it stands inside a loop."""
  for equation in _open(jaxpr).eqns:
    yield equation, in_loop
    loops = in_loop or equation.primitive.name in ('scan', 'while')
    for body in inner_jaxprs(equation):
      yield from walk(body, loops)


def _dot_flops(equation: Any) -> float:
  (contracted, _), _ = equation.params['dimension_numbers']
  shape = equation.invars[0].aval.shape
  out = math.prod(equation.outvars[0].aval.shape)
  return 2.0 * out * math.prod(shape[axis] for axis in contracted)


def _ragged_flops(equation: Any) -> float:
  """Every row meets one group's matrix only, be its axis kept or contracted."""
  rows, _, groups = (var.aval.shape for var in equation.invars[:3])
  numbers = equation.params['ragged_dot_dimension_numbers']
  (contracted, _), _ = numbers.dot_dimension_numbers
  out = math.prod(equation.outvars[0].aval.shape)
  if set(numbers.lhs_ragged_dimensions) & set(contracted):
    out //= groups[-1]  # a matrix per group, from its own rows alone
  return 2.0 * out * math.prod(rows[axis] for axis in contracted)


def _conv_flops(equation: Any) -> float:
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
  # Every layout in use has the batch before the features, except that autodiff's kernel
  # gradient exchanges them; the rewritten one is marked by its scope.
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


@functools.cache
def matmul_rate(side: int = 1536) -> float:
  """FLOP/s of float32 matrix products on all devices, the best of three trials.

  Measured once, on the devices of this process; others are assumed to be as fast.
  """
  devices = jax.local_devices()
  work = jax.jit(lambda x: x @ x)
  operands = [jax.device_put(jnp.ones((side, side)), d) for d in devices]
  best = float('inf')
  for _ in range(4):  # the first compiles
    start = time.perf_counter()
    jax.block_until_ready([work(x) for x in operands])
    best = min(best, time.perf_counter() - start)
  return 2.0 * side**3 * jax.device_count() / best


def peak(jaxpr: Any) -> int:
  """Most bytes alive at once between the inputs and the end, inputs not counted.

  Equations run in order and every value lives until its last use: what a backward pass
  keeps is alive in the middle. A compiler that fuses or recomputes needs less. Of a
  conditional the larger branch counts, of a loop one turn beside what it stacks.

  Args:
    jaxpr: a `Jaxpr` or `ClosedJaxpr`.
  """
  jaxpr = _open(jaxpr)
  end = len(jaxpr.eqns)
  last = {var: end for var in jaxpr.outvars if isinstance(var, core.Var)}
  for number, equation in reversed(list(enumerate(jaxpr.eqns))):
    for var in equation.invars:
      if isinstance(var, core.Var):
        last.setdefault(var, number)
  inputs = {*jaxpr.invars, *jaxpr.constvars}
  alive: dict[Any, int] = {}
  most = total = 0
  for number, equation in enumerate(jaxpr.eqns):
    for var in equation.outvars:
      if var in last:
        alive[var] = size(var.aval)
        total += alive[var]
    inner = max(map(peak, inner_jaxprs(equation)), default=0)
    most = max(most, total + inner)
    for var in dict.fromkeys(v for v in equation.invars if isinstance(v, core.Var)):
      if last[var] == number and var not in inputs:
        total -= alive.pop(var, 0)
  return most


def traffic(jaxpr: Any) -> float:
  """Bytes that dots and convolutions read and write, each operand and result once.

  A scan counts its length times its body; by nominal FLOPs over these bytes a program's
  arithmetic intensity is known.
  """
  total = 0.0
  for equation in _open(jaxpr).eqns:
    name = equation.primitive.name
    if name in PRODUCTS:
      total += sum(size(var.aval) for var in (*equation.invars, *equation.outvars))
      continue
    inner = [traffic(body) for body in inner_jaxprs(equation)]
    if inner:
      most = max(inner) if name == 'cond' else sum(inner)
      total += most * _trips(equation)
  return total


def size(aval: Any) -> int:
  """Bytes of an array of that shape and dtype; a key counts as two words."""
  shape: Sequence[int] = getattr(aval, 'shape', ())
  dtype = getattr(aval, 'dtype', None)
  if dtype is None:
    return 0
  if jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
    return 8 * math.prod(shape)
  return math.prod(shape) * dtype.itemsize


def state(variables: Mapping[str, Any]) -> int:
  """Bytes of a pytree of shapes: parameters, moments, other collections."""
  return sum(size(leaf) for leaf in jax.tree.leaves(variables))
