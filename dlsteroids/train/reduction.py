"""Metrics of whole splits, reduced on the devices: distances between sets of rows.

An evaluation leaves rows of features; what is measured on all of them (`Metric.reduce`)
is a program of its own, since it calculates in float64, which JAX switches on for whole
traces only. Rows that only such metrics read never reach the host. A device reduces its
members one after another, or as many side by side as fit in `BUDGET`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlsteroids import types
from dlsteroids.train import cost
from dlsteroids.util import errors

BUDGET = 64 << 20  # bytes of members that are reduced side by side
# TPUs calculate in float64 by software, without the factorisations.
WIDE = {'cpu': 'float64', 'gpu': 'float64'}
NARROW = 'float32'


class Reduction(NamedTuple):
  """What is reduced; hashable, so that programs of equal metrics share one.

  Attributes:
    functions: `Metric.reduce` by the name of its first metric.
    rows: whose rows each reads, as `member.evaluate` names them.
    batches: of each split, in the order in which they are evaluated.
    counts: examples of each split.
  """

  functions: tuple[tuple[str, Callable[[Any], Any]], ...]
  rows: tuple[str, ...]
  batches: tuple[tuple[str, int], ...]
  counts: tuple[int, ...]


def names(metrics: Mapping[str, types.Metric]) -> dict[str, str]:
  """By metric that is reduced the first one with the same rows and function.

  Raises:
    UserError: a metric that sums over batches has no rows to reduce.
  """
  first: dict[Any, str] = {}
  by_metric = {}
  for name, metric in metrics.items():
    if metric.reduce is None:
      continue
    if metric.merge != 'concat':
      raise errors.UserError(
        f'metric {name!r}: reduce takes the rows of a whole split, which needs '
        f"merge='concat', not {metric.merge!r}"
      )
    by_metric[name] = first.setdefault((metric.measure, metric.reduce), name)
  return by_metric


def make(
  metrics: Mapping[str, types.Metric],
  sources: Mapping[str, str],
  batches: Mapping[str, int],
  counts: Mapping[str, int],
) -> Reduction | None:
  """The reduction of a task's metrics; None if nothing is reduced on the devices.

  Args:
    metrics: of the task.
    sources: by metric, under which name its rows are measured.
    batches: of each split, in the order in which they are evaluated.
    counts: examples of each split.
  """
  wanted = dict.fromkeys(names(metrics).values())
  if not wanted:
    return None
  functions = [(name, metrics[name].reduce) for name in wanted]
  return Reduction(
    tuple((name, function) for name, function in functions if function),
    tuple(sources[name] for name in wanted),
    tuple(batches.items()),
    tuple(counts[split] for split in batches),
  )


def precision(platform: str) -> str:
  """In what the devices of a platform reduce."""
  return WIDE.get(platform, NARROW)


def apply(reduction: Reduction, parts: Sequence[Mapping[str, Any]], dtype: str) -> Any:
  """Reduces one member's rows, in a trace with 64-bit numbers switched on.

  Args:
    reduction: what is reduced.
    parts: of an evaluation, one after another: rows by name, [batches, B, ...].
    dtype: of the floats.

  Returns:
    by split, and by the name of the first metric, what `Metric.reduce` returns.
  """

  def widen(x: Any) -> Any:
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

  joined = jax.tree.map(lambda *xs: widen(jnp.concatenate(xs)), *parts)
  results: dict[str, Any] = {}
  first = 0
  for (split, batches), count in zip(reduction.batches, reduction.counts):
    own = jax.tree.map(
      lambda x, first=first, batches=batches, count=count: x[
        first : first + batches
      ].reshape(-1, *x.shape[2:])[:count],
      joined,
    )
    results[split] = {
      name: function(own[rows])
      for (name, function), rows in zip(reduction.functions, reduction.rows)
    }
    first += batches
  return results


def trace(reduction: Reduction, parts: Any, platform: str) -> Any:
  """The jaxpr of `apply` for one member whose rows have these shapes."""
  leaves, tree = jax.tree.flatten(parts)
  shapes = tuple((leaf.shape, jnp.dtype(leaf.dtype)) for leaf in leaves)
  return _trace(reduction, tree, shapes, precision(platform))


@functools.lru_cache(32)
def _trace(reduction: Reduction, tree: Any, shapes: Any, dtype: str) -> Any:
  leaves = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in shapes]
  with jax.enable_x64(True):
    return jax.make_jaxpr(lambda parts: apply(reduction, parts, dtype))(
      jax.tree.unflatten(tree, leaves)
    )


def at_once(reduction: Reduction, parts: Any, width: int, platform: str) -> int:
  """How many of `width` members to reduce side by side: a divisor of it.

  Args:
    reduction: what is reduced.
    parts: the rows of one member.
    width: members on a device.
    platform: of the device.
  """
  each = cost.peak(trace(reduction, parts, platform))
  fit = max(1, BUDGET // max(each, 1))
  return next(k for k in range(min(fit, width), 0, -1) if width % k == 0)
