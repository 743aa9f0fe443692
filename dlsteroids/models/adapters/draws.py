"""Initial values that depend on where a parameter stands, not on when it is drawn.

Constructors draw from one key in turn, so taking a layer out would change the initial
values of all that follow, and arms could not be paired by seed. Here the constructor's
trace is evaluated with another key for each draw: it depends on the run's key and on
the path of the first leaf that the draw enters, as linen's keys depend on scopes.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from dlsteroids import rng
from dlsteroids.models.adapters import functional

INLINED = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call')

Evaluate = Callable[[Any, list[Any]], Sequence[Any]]


def by_path(init: Callable[..., Any], key: Any, *args: Any) -> Any:
  """`init(key, *args)`, a tree of arrays, with its draws keyed by path.

  A draw is an operation that reads a key and gives numbers. Splitting and folding keys
  is not one, so how keys reach a draw does not matter. Draws that take their key from
  numbers drawn before keep it.

  Args:
    init: pure.
    key: typed PRNG key.
    *args: arrays.
  """
  jaxpr, shapes = jax.make_jaxpr(init, return_shape=True)(key, *args)
  inputs = jax.tree.leaves((key, *args))
  owners = _owners(jaxpr, len(inputs), shapes)
  number = itertools.count()

  def evaluate(equation, operands):
    if _is_draw(equation):
      own = rng.stream(key, *owners.get(next(number), ('unused', 0)))
      operands = [
        jax.random.split(own, x.aval.shape) if _is_key(x) and x.aval.shape
        else own if _is_key(x) else value
        for x, value in zip(equation.invars, operands)
      ]  # fmt: skip
    results = equation.primitive.bind(*operands, **equation.params)
    return results if equation.primitive.multiple_results else [results]

  leaves = _run(jaxpr.jaxpr, jaxpr.consts, inputs, evaluate)
  return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _owners(jaxpr: Any, inputs: int, shapes: Any) -> dict[int, tuple[str, int]]:
  """By draw, in the order of `_run`: its leaf's path, and its number in that leaf."""
  number = itertools.count()
  nothing: frozenset[int] = frozenset()

  def evaluate(equation, operands):
    sources = [value for value in operands if isinstance(value, frozenset)]
    draws = nothing.union(*sources)
    if _is_draw(equation):
      draws = frozenset({next(number)})
    return [draws] * len(equation.outvars)

  consts = [nothing] * len(jaxpr.consts)
  leaves = _run(jaxpr.jaxpr, consts, [nothing] * inputs, evaluate)
  owners: dict[int, tuple[str, int]] = {}
  for (keys, _), draws in zip(jax.tree_util.tree_leaves_with_path(shapes), leaves):
    new = sorted(draws - owners.keys()) if isinstance(draws, frozenset) else []
    path = '/'.join(functional.path_of(keys))
    owners |= {draw: (path, index) for index, draw in enumerate(new)}
  return owners


def _run(
  jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any], evaluate: Evaluate
) -> list[Any]:
  """The outputs of a jaxpr whose equations `evaluate` computes, calls inlined."""
  values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs)))

  def read(var):
    return var.val if isinstance(var, core.Literal) else values[var]

  for equation in jaxpr.eqns:
    operands = list(map(read, equation.invars))
    results: Sequence[Any]
    if equation.primitive.name in INLINED:
      params = equation.params
      inner = params['jaxpr'] if 'jaxpr' in params else params['call_jaxpr']
      results = _run(inner.jaxpr, inner.consts, operands, evaluate)
    else:
      results = evaluate(equation, operands)
    values.update(zip(equation.outvars, results))
  return list(map(read, jaxpr.outvars))


def _is_draw(equation: Any) -> bool:
  return any(map(_is_key, equation.invars)) and not any(map(_is_key, equation.outvars))


def _is_key(var: Any) -> bool:
  dtype = getattr(var.aval, 'dtype', None)
  return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
