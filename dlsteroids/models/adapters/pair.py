"""A pair of functions: `init(key, x) -> params` and `apply(params, x) -> output`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids import types
from dlsteroids.models.adapters import draws, functional
from dlsteroids.util import errors

KIND = 'a pair (init, apply)'


def adapt(
  init_user: Callable[..., Any], apply_user: Callable[..., Any]
) -> functional.Functional:
  """The functions of a pair; parameters are any tree of arrays.

  `apply` is handed by name what it takes of `train`, `hyper`, `key` and the inputs of
  the task. If it takes `state`, `init` returns `(params, state)` and `apply` returns
  `(output, state)`; the state is the collection 'state'.
  """
  takes = functional.takes(apply_user)
  stateful = 'state' in takes
  kinds = ('params', 'state') if stateful else ('params',)
  structures: list[Any] = []  # of the user's trees, once they are known

  def construct(key, x, hyper, extra):
    named = functional.by_name(functional.takes(init_user), {**extra, 'hyper': hyper})
    trees = init_user(key, x, **named)
    if stateful and not (isinstance(trees, tuple) and len(trees) == 2):
      raise errors.UserError(
        f'{KIND} whose apply takes state has an init that returns (params, state), not '
        f'{type(trees).__name__}'
      )
    # numbers of Python become arrays
    trees = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), trees)
    trees = trees if stateful else (trees,)
    structures[:] = [jax.tree.structure(trees)]
    variables = nest(trees)
    functional.check_trained(variables['params'], KIND)
    return variables

  def nest(trees: tuple[Any, ...]) -> types.Variables:
    return {
      kind: functional.nest(
        {
          functional.path_of(keys): leaf
          for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
      )
      for kind, tree in zip(kinds, trees)
    }

  def init(key, x, *, train, hyper, **extra):
    del train
    return draws.by_path(construct, key, x, hyper, extra)

  def restore(variables, x, hyper, extra):
    if not structures:  # variables that were read back
      jax.eval_shape(construct, jax.random.key(0), x, hyper, extra)
    (structure,) = structures
    places = jax.tree.unflatten(structure, range(structure.num_leaves))
    return tuple(
      jax.tree_util.tree_map_with_path(
        lambda keys, _, kind=kind: functional.lookup(
          variables[kind], functional.path_of(keys)
        ),
        tree,
      )
      for kind, tree in zip(kinds, places)
    )

  def apply(variables, x, *, train, hyper, rngs=None, mutable=False, **extra):
    trees = restore(variables, x, hyper, extra)
    key = (rngs or {}).get(functional.STREAM)
    named = functional.by_name(
      takes, {**extra, 'train': train, 'hyper': hyper, 'key': key}
    )
    if not stateful:
      return functional.result(apply_user(*trees, x, **named), variables, mutable)
    params, state = trees
    result = apply_user(params, x, state=state, **named)
    if not (isinstance(result, tuple) and len(result) == 2):
      raise errors.UserError(
        f'{KIND} whose apply takes state must return (output, state), not '
        f'{type(result).__name__}'
      )
    output, state = result
    state = jax.tree.map(jnp.asarray, state)
    new = nest((params, state))
    functional.check_state(new['state'], variables['state'], KIND)
    return functional.result(output, new, mutable)

  return functional.Functional(KIND, takes, init, apply)
