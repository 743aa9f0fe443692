"""Evaluations of a batch of members, kept on the host, and the records of its runs."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids import types
from dlsteroids.train import member as member_lib
from dlsteroids.train import reduction


class History(NamedTuple):
  """Evaluations of S members so far.

  Attributes:
    deciding: column by which the best step is chosen, 'validation/<metric>'.
    sign: +1 if higher is better, else -1.
    fallbacks: what a diverged run scores, by the name of every number measured so far;
      a metric's further numbers ('distance_real') have the fallback of their metric.
    steps: evaluated steps.
    columns: 'split/metric' -> one [S] array per evaluated step.
    best: index into `steps` of each member's best evaluation [S].
    arrays: per-example arrays of the test split at the best step, by name [S, N, ...].
    diverged: the step from which a member's loss or parameters were not finite, or
      -1 [S].
    film: images that the task draws at every evaluation, uint8 [S, E, n, H, W, C];
      None if it draws none.
  """

  deciding: str
  sign: float
  fallbacks: Mapping[str, float]
  steps: tuple[int, ...]
  columns: Mapping[str, list[np.ndarray]]
  best: np.ndarray
  arrays: Mapping[str, np.ndarray]
  diverged: np.ndarray
  film: np.ndarray | None = None

  def mean(self) -> float:
    """Mean over members of the deciding column at the last evaluation; nan before."""
    values = self.columns.get(self.deciding)
    return float(np.mean(values[-1])) if values else math.nan


def new(member: member_lib.Member, deciding: str, size: int) -> History:
  """The history of `size` members before their first evaluation."""
  metrics = member.task.metrics
  return History(
    deciding=f'validation/{deciding}',
    sign=1.0 if metrics[deciding].better == 'higher' else -1.0,
    fallbacks={name: m.fallback for name, m in metrics.items() if m.better},
    steps=(),
    columns={},
    best=np.zeros(size, np.int64),
    arrays={},
    diverged=np.full(size, -1, np.int64),
  )


def finish(
  metrics: Mapping[str, types.Metric],
  values: Mapping[str, Any],
  count: int,
  reduced: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
  """By metric the numbers and arrays of one member on one split, by their names.

  Args:
    metrics: of the task.
    values: what `member.evaluate` returned for the split, a row per batch.
    count: examples of the split.
    reduced: what the devices made of the rows (`reduction.apply`).
  """
  finished = {}
  sources, reductions = member_lib.sources(metrics), reduction.names(metrics)
  for name, metric in metrics.items():
    if name in reductions:
      merged = jax.tree.map(np.asarray, reduced[reductions[name]])
    elif metric.merge == 'sum':
      merged = jax.tree.map(
        lambda x: np.sum(np.asarray(x, np.float64), 0), values[sources[name]]
      )
    else:
      merged = jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, *x.shape[2:])[:count],
        values[sources[name]],
      )
    finished[name] = {
      f'{name}_{suffix}' if suffix else name: value
      for suffix, value in metric.finish(merged).items()
    }
  return finished


def append(
  past: History,
  member: member_lib.Member,
  counts: Mapping[str, int],
  step: int,
  evaluated: Mapping[str, Any],
) -> History:
  """The history after one more evaluation, as `feed.evaluate` returned it.

  A run diverges when its loss or its parameters are not finite. A metric that is not
  finite at one evaluation is missing there, and nothing else follows from it.
  """
  numbers, arrays, fallbacks = _measure(past, member, counts, evaluated)
  sums = evaluated['sums']
  for name, total in sums.items():
    if name != 'steps':
      with np.errstate(invalid='ignore', divide='ignore'):
        numbers[f'train/{name}'] = np.asarray(total) / np.asarray(sums['steps'])
  columns = {
    name: [*past.columns.get(name, []), np.asarray(row, np.float64)]
    for name, row in numbers.items()
  }
  improved = _improved(past, columns[past.deciding])
  diverged = np.where(
    past.diverged >= 0, past.diverged, np.asarray(evaluated['diverged'], np.int64)
  )
  diverged = np.where((diverged < 0) & ~np.asarray(evaluated['finite']), step, diverged)
  best_arrays = {
    name: np.where(
      improved.reshape(-1, *(1,) * (value.ndim - 1)),
      value,
      past.arrays.get(name, value),
    )
    for name, value in arrays.items()
  }
  film = past.film
  if 'film' in evaluated:
    frame = np.asarray(evaluated['film'])[:, None]
    film = frame if film is None else np.concatenate([film, frame], 1)
  return past._replace(
    fallbacks=fallbacks,
    steps=(*past.steps, step),
    film=film,
    columns=columns,
    best=np.where(improved, len(past.steps), past.best),
    arrays=best_arrays,
    diverged=diverged,
  )


def _measure(
  past: History,
  member: member_lib.Member,
  counts: Mapping[str, int],
  evaluated: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, float]]:
  """Numbers [S] by column, test arrays [S, ...] by name, fallbacks by metric name."""
  numbers: dict[str, Any] = {}
  arrays: dict[str, list[np.ndarray]] = {}
  fallbacks = dict(past.fallbacks)
  edge = member.sizes['validation']
  parts = {'validation': slice(0, edge), 'test': slice(edge, None)}
  for i in range(len(past.best)):
    for split, part in parts.items():
      own = jax.tree.map(lambda x, i=i, part=part: x[i][part], evaluated['values'])
      reduced = jax.tree.map(lambda x, i=i: x[i], evaluated['reduced'].get(split, {}))
      finished = finish(member.task.metrics, own, counts[split], reduced)
      for metric, results in finished.items():
        for name, value in results.items():
          if np.ndim(value) == 0:
            numbers.setdefault(f'{split}/{name}', []).append(float(value))
            fallbacks.setdefault(name, fallbacks.get(metric, math.nan))
          elif split == 'test':
            arrays.setdefault(f'test/{name}', []).append(np.asarray(value))
  return numbers, {name: np.stack(rows) for name, rows in arrays.items()}, fallbacks


def _improved(past: History, deciding: list[np.ndarray]) -> np.ndarray:
  """Whether the last evaluation of each member is its best so far, bool [S]."""
  now = deciding[-1]
  if not past.steps:
    return np.ones(len(now), bool)
  before = np.asarray(deciding)[past.best, np.arange(len(now))]
  with np.errstate(invalid='ignore'):
    higher = past.sign * now > past.sign * before
  defined = np.isfinite(now)
  return defined & (higher | ~np.isfinite(before))


def dump(past: History) -> dict[str, Any]:
  """The history as a tree of arrays, for a checkpoint."""
  columns = {name.replace('/', '|'): np.asarray(v) for name, v in past.columns.items()}
  arrays = {name.replace('/', '|'): value for name, value in past.arrays.items()}
  return {
    'steps': np.asarray([0, *past.steps], np.int64),  # orbax saves no empty array
    'best': past.best,
    'diverged': past.diverged,
    **{f'fallback:{k}': np.float64(v) for k, v in past.fallbacks.items()},
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
    fallbacks={k: float(v) for k, v in named('fallback:').items()},
    columns={name: list(value) for name, value in named('column:').items()},
    arrays=named('array:'),
    film=saved.get('film'),
  )


def record(past: History, i: int, steps: int, seconds: float) -> dict[str, Any]:
  """What is stored of member `i`: status, best step, values and curves.

  A diverged run scores every metric's fallback; its curves end where it diverged.
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
          value = past.fallbacks[metric]
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


def arrays_of(past: History, i: int) -> dict[str, np.ndarray]:
  """Member `i`'s film, and unless it diverged its test arrays at its best step."""
  film = {} if past.film is None else {'probe/film': past.film[i]}
  if past.diverged[i] >= 0:
    return film
  return film | {name: value[i] for name, value in past.arrays.items()}
