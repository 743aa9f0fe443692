"""The one network of a supervised task, as functions of its variables."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.models.adapters import kinds
from dlsteroids.tasks.lib import optimizer
from dlsteroids.util import errors


class Network(NamedTuple):
  """A built model.

  Attributes:
    player: it and its optimizer.
    apply: `(variables, x, keys, hyper, *, train, mutable, **extra) -> output`, with
      the changed collections beside it if `mutable`.
    takes: names of the optional inputs that the model accepts ('carry', 'lengths').
  """

  player: types.Player
  apply: Callable[..., Any]
  takes: frozenset[str]


def make(
  config: Mapping[str, Any],
  read: Callable[[types.Batch], tuple[Any, Mapping[str, Any]]],
  *,
  stream: str = 'init',
  **options: Any,
) -> Network:
  """Builds the model of a config.

  Args:
    config: resolved.
    read: `batch -> (x, optional inputs)`, what the model is called with.
    stream: the PRNG stream of its initial values; two networks have one each.
    **options: what the task adds to the model's own: `outputs`, `shape` …
  """
  section = {**config['model'], **options}
  name = config['model']['name']
  model, module = kinds.adapt(config_lib.find('models', name).build, section, name)

  def optional(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if name in model.takes}

  def apply(variables, x, keys, hyper, *, train, mutable=False, **extra):
    return model.apply(
      variables,
      x,
      train=train,
      hyper=hyper,
      rngs={'dropout': keys('dropout')},
      mutable=mutable,
      **optional(extra),
    )

  def init(keys, batch):
    hyper = dict.fromkeys(config_lib.traced_paths(config), jnp.float32(0))
    x, extra = read(batch)
    return dict(
      model.init(keys(stream), x, train=False, hyper=hyper, **optional(extra))
    )

  player = types.Player(init, lambda h: optimizer.make(config['optimizer'], h), module)
  sows = model.kind == kinds.LINEN  # what `look` reads
  takes = frozenset(model.takes) - (set() if sows else {'nudge'})
  return Network(player, apply, takes)


def states(variables: Mapping[str, Any]) -> list[str]:
  """The collections that a training step may change besides the parameters."""
  return [name for name in variables if name not in ('params', 'carry')]


def name_leaf(path: Any) -> str:
  """'stage0' of a sown value's path, ('stage0_out', 0)."""
  words = [str(k.key) for k in path if hasattr(k, 'key')]
  return '.'.join(words).removesuffix('_out')


def sown(state: Mapping[str, Any]) -> dict[str, Any]:
  """The intermediates that a forward pass sowed, by name."""
  leaves = jax.tree_util.tree_leaves_with_path(state.get('intermediates', {}))
  return {name_leaf(path): leaf for path, leaf in leaves}


TRACED_UNITS = 48


def look(
  net: Network,
  variables: Mapping[str, Any],
  x: Any,
  keys: Any,
  hyper: types.Hyper,
  final: Callable[[Any], Any],
  **extra: Any,
) -> dict[str, Any]:
  """Gates, states and gradients of a recurrent network on a few sequences.

  Args:
    net: the network; if it takes no `nudge` the result is empty.
    variables: its own.
    x: a batch's input.
    keys: of the streams.
    hyper: traced numbers.
    final: `output -> scalar`, a loss of the answers after the last real steps.
    **extra: optional inputs.

  Returns:
    'trace/cell', 'trace/hidden', 'trace/gates/forget' …: the first example's steps
    in the first layer's first units, [T, U]; and 'lag/norms' [T], the gradient of
    `final` with respect to the input t steps before the last real one: the mean norm
    over the examples that are long enough.
  """
  if 'nudge' not in net.takes:
    return {}
  _, state = net.apply(
    variables, x, keys, hyper, train=False, mutable=['intermediates'], **extra
  )
  intermediates = sown(state)
  read = intermediates['read']  # [T, B, F]

  def loss(nudge):
    return final(
      net.apply(variables, x, keys, hyper, train=False, nudge=nudge, **extra)
    )

  norms = jnp.linalg.norm(jax.grad(loss)(jnp.zeros_like(read)), axis=-1)  # [T, B]
  steps, batch = norms.shape
  lengths = extra.get('lengths', jnp.full(batch, steps))
  places = lengths[None, :] - 1 - jnp.arange(steps)[:, None]  # [lag, B]
  there = places >= 0
  shifted = jnp.take_along_axis(norms, jnp.maximum(places, 0), 0)
  lag = (shifted * there).sum(1) / jnp.maximum(there.sum(1), 1)
  traces = {
    f'trace/{name.removeprefix("layer0.")}': value[:, 0, :TRACED_UNITS]
    for name, value in intermediates.items()
    if name.startswith('layer0.') and value.ndim == 3
  }
  return {**traces, 'lag/norms': lag}


def extra_metrics(
  config: Mapping[str, Any], own: Mapping[str, types.Metric]
) -> dict[str, types.Metric]:
  """`own` and those of the modules of `task.metrics`, each `make(config) -> mapping`.

  Raises:
    UserError: if a module fails, or a metric's name is taken.
  """
  metrics = dict(own)
  for name in filter(None, map(str.strip, config['task']['metrics'].split(','))):
    try:
      added = dict(importlib.import_module(name).make(config))
    except Exception as error:  # whatever the user's module raises
      raise errors.UserError(
        f'config.task.metrics: {name!r} must be a module with make(config): '
        f'{type(error).__name__}: {error}'
      ) from error
    taken = sorted(added.keys() & metrics.keys())
    if taken:
      raise errors.UserError(
        f'config.task.metrics: {name} makes {taken[0]!r}, which exists already'
      )
    metrics |= added
  return metrics


def mean_metric(
  measure: Callable[[types.Outputs], tuple[Any, Any]],
  better: Literal['higher', 'lower', ''],
  fallback: float,
  finish: Callable[[Any], Any] = lambda mean: mean,
) -> types.Metric:
  """The weighted mean of what `measure` gives, `(values, weights)` of equal shape."""

  def sums(out):
    values, weights = measure(out)
    return {'sum': (values * weights).sum(), 'count': weights.sum()}

  return types.Metric(
    sums, lambda m: {'': finish(m['sum'] / m['count'])}, better, fallback
  )
