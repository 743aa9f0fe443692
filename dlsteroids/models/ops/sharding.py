"""Where a batch may lie on several devices: what models say of their own loops (leaf).

XLA itself splits what is written over a whole batch. What goes through a batch piece
by piece, or adds up over it at every turn of a loop, it could split only by moving all
of it, or by adding up between the devices every turn. `apart` marks such a function.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

# A user context, as `windows` has one: part of the key of JAX's trace caches.
_how = jax.make_user_context(None)


def over(how: Callable[..., Any]) -> contextlib.AbstractContextManager[Any]:
  """Within it `apart` is `how`; what trains sets it."""
  return _how(how)


def apart(
  function: Callable[..., Any], args: Sequence[Any], axes: Sequence[Any], outs: Any
) -> Any:
  """`function(*args)`, on each device of its own share of the batch.

  Args:
    function: of examples that know nothing of one another. Examples of zeros, which
      fill up shares, must add zero to its sums.
    args: trees of arrays.
    axes: of each argument where the examples run, an int or a prefix of its tree; None
      for what they have in common.
    outs: the same of the result; None for sums over the examples.
  """
  how = _how.value
  return function(*args) if how is None else how(function, args, axes, outs)
