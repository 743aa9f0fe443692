"""Memory and traffic of a program, read off its jaxpr: upper bounds before fusion."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

from dlsteroids.train import flops

PRODUCTS = ('dot_general', 'conv_general_dilated')


def peak(jaxpr: Any) -> int:
  """Most bytes alive at once between the inputs and the end, inputs not counted.

  Equations run in order and every value lives until its last use: what a backward pass
  keeps is alive in the middle. A compiler that fuses or recomputes needs less. Of a
  conditional the larger branch counts, of a loop one turn beside what it stacks.

  Args:
    jaxpr: a `Jaxpr` or `ClosedJaxpr`.
  """
  if isinstance(jaxpr, core.ClosedJaxpr):
    jaxpr = jaxpr.jaxpr
  end = len(jaxpr.eqns)
  last = {var: end for var in jaxpr.outvars if isinstance(var, core.Var)}
  for number, equation in reversed(list(enumerate(jaxpr.eqns))):
    for var in equation.invars:
      if isinstance(var, core.Var):
        last.setdefault(var, number)
  given = {*jaxpr.invars, *jaxpr.constvars}
  alive: dict[Any, int] = {}
  most = total = 0
  for number, equation in enumerate(jaxpr.eqns):
    for var in equation.outvars:
      if var in last:
        alive[var] = size(var.aval)
        total += alive[var]
    inner = max(map(peak, flops.jaxprs(equation.params)), default=0)
    most = max(most, total + inner)
    for var in dict.fromkeys(v for v in equation.invars if isinstance(v, core.Var)):
      if last[var] == number and var not in given:
        total -= alive.pop(var, 0)
  return most


def traffic(jaxpr: Any) -> float:
  """Bytes that dots and convolutions read and write, each operand and result once.

  A scan counts its length times its body; by nominal FLOPs over these bytes a program's
  arithmetic intensity is known.
  """
  if isinstance(jaxpr, core.ClosedJaxpr):
    jaxpr = jaxpr.jaxpr
  total = 0.0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if name in PRODUCTS:
      total += sum(size(var.aval) for var in (*equation.invars, *equation.outvars))
      continue
    inner = [traffic(part) for part in flops.jaxprs(equation.params)]
    if inner:
      most = max(inner) if name == 'cond' else sum(inner)
      total += most * flops.repeats(name, equation.params)
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
