"""Equinox modules: pytrees of arrays, written for one example.

Imported only for a model that is one, so that Equinox need not be installed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dlsteroids import types
from dlsteroids.models.adapters import draws, functional
from dlsteroids.util import errors

KIND = 'an Equinox module'
AXIS = 'batch'  # of the examples, as `eqx.nn.BatchNorm` is told


def adapt(construct: Callable[[Any], Any]) -> functional.Functional:
  """The functions of an Equinox module, or of one beside its `eqx.nn.State`.

  Floating-point arrays are the collection 'params', other arrays 'buffers', the state
  'state'. The module sees one example; the batch is its `eqx.filter_vmap` over the axis
  'batch', the state shared by all. `train` sets `eqx.nn.inference_mode`, and is handed
  to a call that takes it; every example has a PRNG key of its own.

  Args:
    construct: `key -> module` or `(module, state)`; pure.

  Raises:
    UserError: a state that the module's call does not take.
  """

  def pair_of(key):
    module = construct(key)
    return module if isinstance(module, tuple) else (module, None)

  template = eqx.filter_eval_shape(pair_of, jax.random.key(0))
  takes = functional.takes(type(template[0]).__call__)
  stateful = template[1] is not None
  if stateful and 'state' not in takes:
    raise errors.UserError(
      f'build returned {KIND} and its state, but the call of '
      f'{type(template[0]).__name__} does not take state; it takes '
      f'{", ".join(takes)}'
    )

  def collect(module: Any) -> types.Variables:
    leaves = jax.tree_util.tree_leaves_with_path(module)
    arrays = [(keys, leaf) for keys, leaf in leaves if _is_array(leaf)]
    collections = functional.nest(
      {name_of(keys, leaf): jnp.asarray(leaf, leaf.dtype) for keys, leaf in arrays}
    )
    return {'params': {}, **collections}

  def init(key, x, *, train, hyper, **extra):
    del x, train, hyper, extra
    variables = draws.by_path(lambda key: collect(pair_of(key)), key)
    functional.check_trained(variables['params'], KIND)
    return variables

  def rebuild(variables: Mapping[str, Any]) -> Any:
    def value(keys, leaf):
      if not _is_array(leaf):
        return leaf
      return functional.lookup(variables, name_of(keys, leaf))

    module, state = jax.tree_util.tree_map_with_path(value, template)
    return (module, state) if stateful else module

  def apply(variables, x, *, train, hyper, rngs=None, mutable=False, **extra):
    module = rebuild(variables)
    module, state = module if stateful else (module, None)
    module = eqx.nn.inference_mode(module, not train)
    shared = functional.by_name(takes, {'train': train, 'hyper': hyper})
    rows = functional.by_name(takes, extra)
    if 'key' in takes and rngs:
      rows['key'] = jax.random.split(rngs[functional.STREAM], len(x))

    def one(x, rows, state):
      if stateful:
        return module(x, state=state, **rows, **shared)
      return module(x, **rows, **shared), None

    call = eqx.filter_vmap(
      one, in_axes=(0, 0, None), out_axes=(0, None), axis_name=AXIS
    )
    output, state = call(x, rows, state)
    new = {**variables, **collect((module, state))} if stateful else variables
    return functional.result(output, new, mutable)

  return functional.Functional(KIND, takes, init, apply, rebuild)


def name_of(keys: tuple[Any, ...], leaf: Any) -> tuple[str, ...]:
  """The collection and the names under it, such as ('params', 'hidden', 'weight')."""
  first, *rest = keys  # of the tuple of module and state
  if first.idx:
    return ('state', *functional.path_of(rest))
  trained = jnp.issubdtype(leaf.dtype, jnp.inexact)
  return ('params' if trained else 'buffers', *functional.path_of(rest))


def _is_array(leaf: Any) -> bool:
  return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
