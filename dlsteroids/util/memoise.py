"""Results that are computed once while a report is made.

A report asks for the same tables of scores hundreds of times. Within `scope` a function
that is `memoised` computes each answer once; outside it nothing is kept, so that frames
may change between two calls.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec('P')
R = TypeVar('R')
_PLAIN = (str, int, float, bool, type(None))
_scope: dict[Any, tuple[Any, Any]] | None = None


@contextlib.contextmanager
def scope() -> Iterator[None]:
  """Keeps answers until it is left; the arguments must not be changed within it."""
  global _scope
  before, _scope = _scope, {} if _scope is None else _scope
  try:
    yield
  finally:
    _scope = before


def scoped(function: Callable[P, R]) -> Callable[P, R]:
  """The function, run in a `scope`."""

  @functools.wraps(function)
  def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
    with scope():
      return function(*args, **kwargs)

  return wrapper


def memoised(function: Callable[P, R]) -> Callable[P, R]:
  """The function, computed once in a `scope` for the same arguments.

  Plain values are the same if they are equal, anything else if it is the same object.

  Example:
    >>> @memoised
    ... def double(x):
    ...   print('computed')
    ...   return 2 * x
    >>> with scope():
    ...   double(2) + double(2)
    computed
    8
  """

  @functools.wraps(function)
  def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
    values = (function, ' '.join(kwargs), *args, *kwargs.values())
    return once(values, lambda: function(*args, **kwargs))

  return wrapper


def once(values: tuple[Any, ...], compute: Callable[[], R]) -> R:
  """What `compute` returns, computed once in a `scope` for the same values.

  For a function that depends on parts of its arguments only; the first value tells it
  from other functions.
  """
  if _scope is None:
    return compute()
  key = tuple(map(_identify, values))
  if key not in _scope:
    # The values are kept, so that no other object gets their identity.
    _scope[key] = values, compute()
  return _scope[key][1]


def _identify(value: Any) -> Any:
  return (type(value), value) if isinstance(value, _PLAIN) else id(value)
