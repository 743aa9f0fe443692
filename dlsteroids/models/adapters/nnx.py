"""`flax.nnx` modules: a static graph, and variables by type."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx import variablelib

from dlsteroids import rng, types
from dlsteroids.models.adapters import draws, functional
from dlsteroids.util import errors

KIND = 'an nnx module'


def adapt(construct: Callable[[Any], nnx.Module]) -> functional.Functional:
  """The functions of an nnx module.

  `nnx.Param` is the collection 'params', `nnx.BatchStat` 'batch_stats', and so on by
  nnx's names of types, or by that of a user's class; arrays that are no variables are
  'buffers', which are kept. `train` calls the module's `train()` or `eval()`, and is
  handed to a call that takes it. PRNG streams are keyed anew at every step, each by its
  place in the module, and are part of no variables.

  Args:
    construct: `key -> module`; pure.

  Raises:
    UserError: a linen module within that has no values yet.
  """
  template = nnx.eval_shape(lambda: construct(jax.random.key(0)))
  if _has_arrays(template):  # nnx takes tracers that are no variables for constants
    template = construct(jax.random.key(0))
  _check_wrapped(template)
  graph, state = nnx.split(template)
  state = jax.eval_shape(lambda: state)
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
      {
        name_of(path, v): flat[path].get_value()
        if isinstance(v, nnx.Variable)
        else _read(module, path)
        for path, v in places.items()
      }
    )

  def init(key, x, *, train, hyper, **extra):
    del x, train, hyper, extra
    variables = draws.by_path(lambda key: collect(construct(key)), key)
    functional.check_trained(variables.get('params', {}), KIND)
    return variables

  def rebuild(variables: Mapping[str, Any], key: Any = None) -> nnx.Module:
    key = jax.random.key(0) if key is None else key
    flat: dict[tuple[Any, ...], Any] = {}
    for path, variable in places.items():
      value = functional.lookup(variables, name_of(path, variable))
      is_variable = isinstance(variable, nnx.Variable)
      flat[path] = variable.replace(value) if is_variable else value
    flat |= {path: v.replace(_restart(path, v, key)) for path, v in streams.items()}
    return nnx.merge(graph, nnx.from_flat_state(flat))

  def apply(variables, x, *, train, hyper, rngs=None, mutable=False, **extra):
    key = (rngs or {}).get(functional.STREAM)
    module = rebuild(variables, key)
    module.train() if train else module.eval()
    extra |= {'train': train, 'hyper': hyper}
    if 'rngs' in takes and key is not None:
      extra['rngs'] = nnx.Rngs(key)
    named = functional.by_name(takes, extra)
    sows = mutable is True or 'intermediates' in (mutable or ())
    output, sown = _capture(module, x, named) if sows else (_call(module, x, named), {})
    new = collect(module)
    functional.check_state(new, variables, KIND)
    new['intermediates'] = functional.nest(sown)
    return functional.result(output, new, mutable)

  return functional.Functional(KIND, takes, init, apply, rebuild)


def _call(module: Any, x: Any, extra: Mapping[str, Any]) -> Any:
  """The output; what the call sows is dropped.

  `nnx.capture` is not used where nobody looks: what it adds to an `nnx.List` keeps
  `nnx.scan` from going over it, and a linen module takes it for a variable of its own
  (flax 0.12.8).
  """
  if hasattr(nnx, 'capture'):  # flax 0.12.0 has not
    parts: list[Any] = [part for _, part in nnx.iter_modules(module)]
    for part in parts:
      if not isinstance(part, nnx.List | nnx.bridge.ToNNX):
        part.__captures__ = ()
  return module(x, **extra)


def _capture(module: Any, x: Any, extra: Mapping[str, Any]) -> tuple[Any, Any]:
  """The output, and by path the intermediates that the call sowed.

  Nothing is seen of a module that holds linen modules: see `_call`.
  """
  if any(_wrapped(module)):
    return _call(module, x, extra), {}
  if hasattr(nnx, 'capture'):
    output, sown = nnx.capture(module, nnx.Intermediate)(x, **extra)
  else:
    output = module(x, **extra)
    sown = nnx.pop(module, nnx.Intermediate)
  leaves = {tuple(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(sown)}
  return output, leaves


def _wrapped(module: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
  """The linen modules within an nnx module, by path."""
  for path, part in nnx.iter_modules(module):
    if isinstance(part, nnx.bridge.ToNNX):
      yield '.'.join(map(str, path)) or 'the module itself', part


def _check_wrapped(module: nnx.Module) -> None:
  """Raises UserError for a linen module that has not been shown an example."""
  for path, part in _wrapped(module):
    own = ('to_nnx__', '_pytree__')  # not of the linen module
    if all(name.startswith(own) for name in vars(part)):
      raise errors.UserError(
        f'{KIND} wraps a linen module that has no values yet, {path}: build calls '
        '.lazy_init(x, ...) on what nnx.bridge.ToNNX(...) gives; x is an example'
      )


def _has_arrays(module: nnx.Module) -> bool:
  """Whether any part of a module has an array that is no variable."""
  held = (nnx.Variable, nnx.Pytree)
  return any(
    isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
    for _, part in nnx.iter_modules(module)
    for value in vars(part).values()
    for leaf in jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, held))
  )


def _read(module: nnx.Module, path: tuple[Any, ...]) -> Any:
  """The array, no variable, at a path of a module: a tracer is in no nnx.State."""
  node: Any = module
  for name in path:
    node = node[name] if isinstance(name, int) else getattr(node, name)
  return jnp.asarray(node)


def name_of(path: tuple[Any, ...], variable: Any) -> tuple[str, ...]:
  """The collection and the names under it, such as ('params', 'hidden', 'kernel')."""
  names = tuple(map(str, path))
  if not isinstance(variable, nnx.Variable):
    return ('buffers', *names)
  kind = nnx.Param if isinstance(variable, nnx.Param) else type(variable)
  try:
    return (variablelib.variable_name_from_type(kind), *names)
  except ValueError:  # a user's own type
    return (kind.__name__, *names)


def _restart(path: tuple[Any, ...], variable: nnx.Variable, key: Any) -> Any:
  """A stream's key, by its place, or its count, which is 0."""
  shape = variable.get_value().shape
  if isinstance(variable, nnx.RngKey):
    own = rng.stream(key, '/'.join(map(str, path)))
    return jax.random.split(own, shape) if shape else own
  return jnp.zeros(shape, variable.get_value().dtype)
