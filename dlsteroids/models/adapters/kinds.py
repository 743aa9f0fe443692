"""Which kind of model a plug-in's `build` returned, and the functions of that kind."""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen

from dlsteroids.models.adapters import functional, pair
from dlsteroids.util import errors

LINEN = 'a linen module'
KINDS = (
  'a linen module, an nnx module, an Equinox module (alone or beside its '
  'eqx.nn.State), or a pair (init, apply)'
)


def adapt(
  build: Callable[..., Any], config: Mapping[str, Any], name: str
) -> tuple[functional.Functional, Any]:
  """Builds a model; its functions, and what users call: their linen module, or these.

  Args:
    build: `config -> model`; takes `key` or `rngs` besides if it draws initial values.
    config: what `build` gets.
    name: of the plug-in, for messages.

  Raises:
    UserError: a model of no known kind, or one whose initial values have no key.
  """
  keyed = frozenset({'key', 'rngs'} & functional.takes(build).keys())
  model = _look(build, config, keyed) if keyed else build(config)
  if isinstance(model, linen.Module):
    if keyed:  # what was looked at holds tracers
      model = _construct(build, config, keyed, jax.random.key(0))
    takes = functional.takes(type(model).__call__)
    return functional.Functional(LINEN, takes, model.init, model.apply), model
  adapter = _module_adapter(model)
  if adapter is not None:
    if not keyed:
      raise errors.UserError(
        f'model {name}: build returned {adapter.KIND} whose initial values have no '
        'key, so all seeds would begin alike; write build(config, *, '
        f'{"rngs" if adapter.__name__.endswith("nnx") else "key"})'
      )
    functions = adapter.adapt(functools.partial(_construct, build, config, keyed))
  elif isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
    if keyed:
      model = _construct(build, config, keyed, jax.random.key(0))
    functions = pair.adapt(*model)
  else:
    raise errors.UserError(
      f'model {name}: build returned {_describe(model)}; it must return {KINDS}'
    )
  return functions, functions


def _module_adapter(model: Any) -> Any:
  """The adapter of a module that holds its own values; None if it is none.

  A library that nobody imported made no module.
  """
  nnx = sys.modules.get('flax.nnx')
  if nnx and isinstance(model, nnx.Module):
    return importlib.import_module('dlsteroids.models.adapters.nnx')
  eqx = sys.modules.get('equinox')
  if eqx and isinstance(model, tuple) and len(model) == 2:
    model = model[0] if isinstance(model[1], eqx.nn.State) else None
  if eqx and isinstance(model, eqx.Module):
    return importlib.import_module('dlsteroids.models.adapters.equinox')
  return None


def _construct(
  build: Callable[..., Any], config: Mapping[str, Any], keyed: frozenset[str], key: Any
) -> Any:
  """The model with initial values from a key."""
  named: dict[str, Any] = {'key': key} if 'key' in keyed else {}
  if 'rngs' in keyed:
    nnx = importlib.import_module('flax.nnx')
    named['rngs'] = nnx.Rngs(key, params=key, dropout=key)
  return build(config, **named)


def _look(
  build: Callable[..., Any], config: Mapping[str, Any], keyed: frozenset[str]
) -> Any:
  """What `build` returns, by type only: nothing is drawn."""
  models = []

  def capture(key):
    models.append(_construct(build, config, keyed, key))

  jax.eval_shape(capture, jax.random.key(0))
  return models[0]


def _describe(model: Any) -> str:
  if isinstance(model, tuple):
    return f'a tuple of {", ".join(map(_describe, model)) or "nothing"}'
  if model is None:
    return 'None'
  if inspect.isclass(model):
    return f'the class {model.__name__}, not an instance of it'
  return f'{type(model).__module__}.{type(model).__name__}'.removeprefix('builtins.')
