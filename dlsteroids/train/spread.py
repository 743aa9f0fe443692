"""One member's batch over the devices of the mesh's axis 'data'.

The members' axis is manual, this one is XLA's: a program means the same as on one
device (batch norm, losses and penalties see the whole batch), and where its batch lies
tells XLA how to split it. A batch that does not divide is filled up and masked by XLA.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids.models.ops import sharding

P = jax.sharding.PartitionSpec
AXIS = 'data'


def size() -> int:
  """Over how many devices the batch lies in the present trace."""
  return jax.sharding.get_abstract_mesh().shape.get(AXIS, 1)


def over(data: int) -> contextlib.AbstractContextManager[Any]:
  """For the trace of a program whose members' batches lie on `data` devices."""
  return sharding.over(apart) if data > 1 else contextlib.nullcontext()


def batch(tree: Any, examples: int) -> Any:
  """The same arrays, those with `examples` rows (first axis) spread over devices."""

  def place(x: Any) -> Any:
    lies = jnp.ndim(x) and x.shape[0] == examples
    return jax.lax.with_sharding_constraint(x, P(AXIS)) if lies else x

  return tree if size() == 1 else jax.tree.map(place, tree)


def alike(tree: Any, like: Any) -> Any:
  """The same arrays, spread as a batch whose examples they belong to."""
  lengths = {x.shape[0] for x in jax.tree.leaves(like) if jnp.ndim(x)}
  return batch(tree, lengths.pop()) if len(lengths) == 1 else tree


def whole(tree: Any) -> Any:
  """The same arrays, each on every device."""
  if size() == 1:
    return tree
  return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, P()), tree)


def apart(
  function: Callable[..., Any], args: Sequence[Any], axes: Sequence[Any], outs: Any
) -> Any:
  """`models.ops.sharding.apart` on the devices of the axis 'data'."""
  devices = size()
  where = [_broadcast(axis, arg) for axis, arg in zip(axes, args)]
  counts = {
    x.shape[axis]
    for arg, axes_ in zip(args, where)
    for x, axis in zip(jax.tree.leaves(arg), axes_)
    if axis is not None
  }
  (examples,) = counts  # all arguments hold the same examples
  fill = -examples % devices

  def enlarge(x: Any, axis: int | None) -> Any:
    if axis is None or not fill:
      return x
    return jnp.pad(x, [(0, fill if at == axis else 0) for at in range(x.ndim)])

  def shrink(x: Any, axis: int | None) -> Any:
    if axis is None or not fill:
      return x
    return jax.lax.slice_in_dim(x, 0, examples, axis=axis)

  def run_part(*parts: Any) -> Any:
    results = function(*parts)
    add = lambda x, axis: jax.lax.psum(x, AXIS) if axis is None else x
    return _map(add, results, outs)

  run = jax.shard_map(
    run_part,
    in_specs=tuple(_map(_spec, arg, axis) for arg, axis in zip(args, axes)),
    out_specs=jax.tree.map(_spec_of, outs, is_leaf=_is_axis),
    axis_names={AXIS},
    check_vma=False,
  )
  results = run(*(_map(enlarge, arg, axis) for arg, axis in zip(args, axes)))
  return _map(shrink, results, outs)


def _is_axis(x: Any) -> bool:
  return x is None or isinstance(x, int)


def _spec_of(axis: int | None) -> Any:
  return P() if axis is None else P(*(None,) * axis, AXIS)


def _spec(x: Any, axis: int | None) -> Any:
  del x
  return _spec_of(axis)


def _broadcast(axes: Any, tree: Any) -> list[int | None]:
  """The axis of every leaf of a tree."""
  leaf_axes: list[int | None] = []
  jax.tree.map(
    lambda axis, part: leaf_axes.extend([axis] * len(jax.tree.leaves(part))),
    axes,
    tree,
    is_leaf=_is_axis,
  )
  return leaf_axes


def _map(function: Callable[..., Any], tree: Any, axes: Any) -> Any:
  """`function(leaf, axis)` of every leaf, as a tree."""
  leaves, shape = jax.tree.flatten(tree)
  results = map(function, leaves, _broadcast(axes, tree))
  return jax.tree.unflatten(shape, results)
