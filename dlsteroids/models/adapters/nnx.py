"""`flax.nnx` modules: a static graph, and variables by type."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import variablelib

from dlsteroids import rng, types
from dlsteroids.models.adapters import draws, functional

KIND = 'an nnx module'


def adapt(construct: Callable[[Any], nnx.Module]) -> functional.Functional:
  """The functions of an nnx module.

  `nnx.Param` is the collection 'params', `nnx.BatchStat` 'batch_stats', and so on by
  nnx's names of types. `train` calls the module's `train()` or `eval()`, and is handed
  to a call that takes it. PRNG streams are keyed anew at every step, each by its place
  in the module, and are part of no variables.

  Args:
    construct: `key -> module`; pure.
  """
  template = nnx.eval_shape(lambda: construct(jax.random.key(0)))
  graph, state = nnx.split(template)
  places = {
    path: variable
    for path, variable in nnx.to_flat_state(state)
    if not isinstance(variable, nnx.RngState)
  }
  streams = {p: v for p, v in nnx.to_flat_state(state) if p not in places}
  takes = functional.takes(type(template).__call__)

  def collect(module: nnx.Module) -> types.Variables:
    flat = dict(nnx.to_flat_state(nnx.state(module)))
    return functional.nest(
      {name_of(path, v): flat[path].get_value() for path, v in places.items()}
    )

  def init(key, x, *, train, hyper, **extra):
    del x, train, hyper, extra
    return draws.by_path(lambda key: collect(construct(key)), key)

  def rebuild(variables: Mapping[str, Any], key: Any = None) -> nnx.Module:
    key = jax.random.key(0) if key is None else key
    flat = {
      path: v.replace(functional.lookup(variables, name_of(path, v)))
      for path, v in places.items()
    }
    flat |= {path: v.replace(_restart(path, v, key)) for path, v in streams.items()}
    return nnx.merge(graph, nnx.from_flat_state(flat))

  def apply(variables, x, *, train, hyper, rngs=None, mutable=False, **extra):
    key = (rngs or {}).get(functional.STREAM)
    module = rebuild(variables, key)
    module.train() if train else module.eval()
    extra |= {'train': train, 'hyper': hyper}
    if 'rngs' in takes and key is not None:
      extra['rngs'] = nnx.Rngs(key)
    output, sown = _call(module, x, functional.by_name(takes, extra))
    new = collect(module)
    leaves = {tuple(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(sown)}
    new['intermediates'] = functional.nest(leaves)
    return functional.result(output, new, mutable)

  return functional.Functional(KIND, takes, init, apply, rebuild)


def _call(module: Any, x: Any, extra: Mapping[str, Any]) -> tuple[Any, nnx.State]:
  """The output, and the intermediates that the call sowed."""
  if hasattr(nnx, 'capture'):  # flax 0.12.0 has not
    return nnx.capture(module, nnx.Intermediate)(x, **extra)
  output = module(x, **extra)
  return output, nnx.pop(module, nnx.Intermediate)


def name_of(path: tuple[Any, ...], variable: nnx.Variable) -> tuple[str, ...]:
  """The collection and the names under it, such as ('params', 'hidden', 'kernel')."""
  parameter = isinstance(variable, nnx.Param)
  kind = nnx.Param if parameter else type(variable)
  return (variablelib.variable_name_from_type(kind), *map(str, path))


def _restart(path: tuple[Any, ...], variable: nnx.Variable, key: Any) -> Any:
  """A stream's key, by its place, or its count, which is 0."""
  shape = variable.get_value().shape
  if isinstance(variable, nnx.RngKey):
    own = rng.stream(key, '/'.join(map(str, path)))
    return jax.random.split(own, shape) if shape else own
  return jnp.zeros(shape, variable.get_value().dtype)
