"""What tasks call: a model as pure functions, whatever library it was written with."""

import inspect
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import traverse_util
from jax import tree_util

from dlsteroids import types
from dlsteroids.util import errors

STREAM = 'dropout'  # the PRNG stream of a forward pass


class Functional(NamedTuple):
  """A model of a user, with the two functions of a linen module.

  Attributes:
    kind: as messages name it, such as 'an Equinox module'.
    takes: parameters of its call, by name.
    init: `(key, x, *, train, hyper, **extra) -> Variables`.
    apply: `(variables, x, *, train, hyper, rngs, mutable, **extra) -> output`, with
      the changed collections beside it unless `mutable` is False; linen's meaning.
    rebuild: `variables -> the user's own module` with these values; None for linen
      modules and pairs, whose values are apart from them anyway.
  """

  kind: str
  takes: Mapping[str, inspect.Parameter]
  init: Callable[..., types.Variables]
  apply: Callable[..., Any]
  rebuild: Callable[[Mapping[str, Any]], Any] | None = None


def takes(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
  """What a call accepts by name, `**kwargs` aside."""
  parameters = inspect.signature(call).parameters.values()
  return {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}


def by_name(names: Container[str], values: Mapping[str, Any]) -> dict[str, Any]:
  """Those of the values that a call accepts."""
  return {name: value for name, value in values.items() if name in names}


def result(output: Any, new: Mapping[str, Any], mutable: Iterable[str] | bool) -> Any:
  """What `apply` returns; `new`: every collection as it is after the call."""
  if isinstance(mutable, bool):
    return (output, dict(new)) if mutable else output
  return output, {name: new[name] for name in mutable if name in new}


def check_trained(params: Any, kind: str) -> None:
  """Raises UserError for a parameter that is not float32."""
  for keys, leaf in tree_util.tree_leaves_with_path(params):
    if leaf.dtype != jnp.float32:
      raise errors.UserError(
        f'{kind} has parameter {"/".join(path_of(keys))!r} of {leaf.dtype}: what is '
        'trained is float32; keep what is not trained as state'
      )


def check_state(new: Mapping[str, Any], old: Mapping[str, Any], kind: str) -> None:
  """Raises UserError if a call changed shapes or types of what it carries on."""

  def describe(tree):
    return {
      '/'.join(path_of(keys)): f'{leaf.dtype}{list(jnp.shape(leaf))}'
      for keys, leaf in tree_util.tree_leaves_with_path(tree)
    }

  after, before = describe(new), describe(old)
  for path in sorted(after.keys() | before.keys()):
    if after.get(path) != before.get(path):
      raise errors.UserError(
        f'{kind} begins with {path!r} as {before.get(path, "nothing")} and leaves it '
        f'as {after.get(path, "nothing")}: a step keeps shapes and types of its state'
      )


def nest(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
  """Nested dicts of leaves by path; a leaf without a path is called 'value'."""
  named = {path or ('value',): leaf for path, leaf in leaves.items()}
  return traverse_util.unflatten_dict(named)


def lookup(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
  """The leaf of nested dicts at a path that `nest` was given."""
  node: Any = tree
  for name in path or ('value',):
    node = node[name]
  return node


def path_of(keys: Iterable[Any]) -> tuple[str, ...]:
  """('layers', '0', 'weight') of the keys that lead to a leaf of a pytree."""
  return tuple(tree_util.keystr((key,), simple=True) for key in keys)
