"""Packages that can be called: `dlsteroids.run` is a room and the function `run`."""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any


class _Package(types.ModuleType):
  """A package that calls the function of the public API with its name."""

  def _function(self) -> Callable[..., Any]:
    api = importlib.import_module('dlsteroids.api')
    return getattr(api, self.__name__.rpartition('.')[2])

  def __call__(self, *args: Any, **options: Any) -> Any:
    return self._function()(*args, **options)

  @property
  def __doc__(self) -> str | None:  # type: ignore[override]
    return self._function().__doc__

  @property
  def __signature__(self) -> inspect.Signature:
    return inspect.signature(self._function())


def make(name: str) -> None:
  """Lets the package `name` be called; its `__init__` calls this."""
  sys.modules[name].__class__ = _Package
