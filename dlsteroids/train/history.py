"""What a batch's evaluations measured, on the host; what a run's record says of it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids import types
from dlsteroids.train import member as member_lib


class History(NamedTuple):
  """Evaluations of S members so far.

  Attributes:
    deciding: column by which the best step is chosen, 'validation/<metric>'.
    sign: +1 if higher is better, else -1.
    metrics: fallback by metric name, of those with a direction.
    steps: evaluated steps.
    columns: 'split/metric' -> one [S] array per evaluated step.
    best: index into `steps` of each member's best evaluation [S].
    arrays: per-example arrays of the test split at the best step, by name [S, N, ...].
    diverged: the step at which a member's loss was no longer finite, or -1 [S].
    film: what the task shows of itself at every evaluation, uint8 [S, E, n, H, W, C];
      None if it shows nothing.
  """

  deciding: str
  sign: float
  metrics: Mapping[str, float]
  steps: tuple[int, ...]
  columns: Mapping[str, list[np.ndarray]]
  best: np.ndarray
  arrays: Mapping[str, np.ndarray]
  diverged: np.ndarray
  film: np.ndarray | None = None

  def mean(self) -> float:
    """Mean over members of the deciding column at the last evaluation."""
    values = self.columns.get(self.deciding)
    return float(np.mean(values[-1])) if values else math.nan


def new(member: member_lib.Member, deciding: str, size: int) -> History:
  metrics = member.task.metrics
  return History(
    deciding=f'validation/{deciding}',
    sign=1.0 if metrics[deciding].better == 'higher' else -1.0,
    metrics={name: m.fallback for name, m in metrics.items() if m.better},
    steps=(),
    columns={},
    best=np.zeros(size, np.int64),
    arrays={},
    diverged=np.full(size, -1, np.int64),
  )


def finish(
  metrics: Mapping[str, types.Metric], values: Mapping[str, Any], count: int
) -> dict[str, Any]:
  """Numbers and arrays of one member on one split, from its per-batch values."""
  found = {}
  sources = member_lib.sources(metrics)
  for name, metric in metrics.items():
    own = values[sources[name]]
    if metric.merge == 'sum':
      merged = jax.tree.map(lambda x: np.sum(np.asarray(x, np.float64), 0), own)
    else:
      merged = jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, *x.shape[2:])[:count], own
      )
    for suffix, value in metric.finish(merged).items():
      found[f'{name}_{suffix}' if suffix else name] = value
  return found


def append(
  past: History,
  member: member_lib.Member,
  counts: Mapping[str, int],
  step: int,
  evaluated: Mapping[str, Any],
) -> History:
  """The history after one more evaluation, as `program.evaluate` returned it."""
  size = len(past.best)
  rows: dict[str, list[Any]] = {}
  arrays: dict[str, list[np.ndarray]] = {}
  edge = member.sizes['validation']
  parts = {'validation': slice(0, edge), 'test': slice(edge, None)}
  for i in range(size):
    for split, part in parts.items():
      values = jax.tree.map(lambda x, i=i, part=part: x[i][part], evaluated['values'])
      for name, value in finish(member.task.metrics, values, counts[split]).items():
        if np.ndim(value) == 0:
          rows.setdefault(f'{split}/{name}', []).append(float(value))
        elif split == 'test':
          arrays.setdefault(f'test/{name}', []).append(np.asarray(value))
  sums = evaluated['sums']
  for name, total in sums.items():
    if name != 'steps':
      with np.errstate(invalid='ignore', divide='ignore'):
        rows[f'train/{name}'] = list(np.asarray(total) / np.asarray(sums['steps']))
  columns = {
    name: [*past.columns.get(name, []), np.asarray(row, np.float64)]
    for name, row in rows.items()
  }
  now = columns[past.deciding][-1]
  seen = np.asarray(evaluated['diverged'], np.int64)
  bad = ~np.isfinite(now) | ~np.asarray(evaluated['finite'])
  diverged = np.where(past.diverged >= 0, past.diverged, seen)
  diverged = np.where((diverged < 0) & bad, step, diverged)
  if past.steps:
    before = np.asarray(columns[past.deciding])[past.best, np.arange(size)]
    better = past.sign * now > past.sign * before
  else:
    better = np.ones(size, bool)
  stacked = {name: np.stack(values) for name, values in arrays.items()}
  kept = {
    name: np.where(
      better.reshape(-1, *(1,) * (value.ndim - 1)), value, past.arrays.get(name, value)
    )
    for name, value in stacked.items()
  }
  film = past.film
  if 'film' in evaluated:
    now_seen = np.asarray(evaluated['film'])[:, None]
    film = now_seen if film is None else np.concatenate([film, now_seen], 1)
  return past._replace(
    steps=(*past.steps, step),
    film=film,
    columns=columns,
    best=np.where(better, len(past.steps), past.best),
    arrays=kept,
    diverged=diverged,
  )


def dump(past: History) -> dict[str, Any]:
  """The history as a tree of arrays, for a checkpoint."""
  columns = {name.replace('/', '|'): np.asarray(v) for name, v in past.columns.items()}
  arrays = {name.replace('/', '|'): value for name, value in past.arrays.items()}
  return {
    'steps': np.asarray([0, *past.steps], np.int64),  # orbax saves no empty array
    'best': past.best,
    'diverged': past.diverged,
    **({} if past.film is None else {'film': past.film}),
    **{f'column:{name}': value for name, value in columns.items()},
    **{f'array:{name}': value for name, value in arrays.items()},
  }


def load(past: History, saved: Mapping[str, np.ndarray]) -> History:
  """The inverse of `dump`."""

  def named(prefix):
    return {
      name.removeprefix(prefix).replace('|', '/'): value
      for name, value in saved.items()
      if name.startswith(prefix)
    }

  return past._replace(
    steps=tuple(int(step) for step in saved['steps'][1:]),
    best=np.asarray(saved['best']),
    diverged=np.asarray(saved['diverged']),
    columns={name: list(value) for name, value in named('column:').items()},
    arrays=named('array:'),
    film=saved.get('film'),
  )


def record(past: History, i: int, steps: int, seconds: float) -> dict[str, Any]:
  """What is stored of member `i`: status, best step, values and curves.

  A diverged member scores every metric's fallback; its curves end where it diverged.
  """
  diverged = int(past.diverged[i])
  end = diverged if diverged >= 0 else steps
  curves = [
    [step, *name.split('/', 1), float(past.columns[name][index][i])]
    for index, step in enumerate(past.steps)
    for name in sorted(past.columns)
    if step <= end and math.isfinite(past.columns[name][index][i])
  ]
  best = int(past.best[i])
  values = {}
  for where, split, index in (
    ('validation', 'validation', best),
    ('test', 'test', best),
    ('final/test', 'test', len(past.steps) - 1),
  ):
    for name in sorted(past.columns):
      if name.startswith(f'{split}/'):
        metric = name.removeprefix(f'{split}/')
        value = float(past.columns[name][index][i])
        if diverged >= 0:
          value = fallback(past, metric)
        values[f'{where}/{metric}'] = value
  return {
    'status': 'diverged' if diverged >= 0 else 'ok',
    'steps': steps,
    'diverged_step': diverged,
    'best_step': diverged if diverged >= 0 else past.steps[best],
    'wall_s': seconds,
    'values': values,
    'curves': curves,
  }


def fallback(past: History, metric: str) -> float:
  """What a diverged run scores; a suffixed number takes its metric's own."""
  if metric in past.metrics:
    return past.metrics[metric]
  return next((v for k, v in past.metrics.items() if metric.startswith(k)), math.nan)


def arrays_of(past: History, i: int) -> dict[str, np.ndarray]:
  """Per-example arrays of member `i` at its best step, unless it diverged; its film."""
  film = {} if past.film is None else {'probe/film': past.film[i]}
  if past.diverged[i] >= 0:
    return film
  return film | {name: value[i] for name, value in past.arrays.items()}
