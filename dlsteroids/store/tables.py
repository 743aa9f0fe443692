"""The tables of a study: exports of the store, joined with the study's arms."""

import collections
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.store import curves as curves_lib
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import files

_WHOLE = ('seed', 'tuned', 'point', 'steps', 'params', 'best_step', 'step')
_STATE = ('tuned', 'regime', 'budget', 'size')
QUOTE = '"'
MEMORY = 1 << 30  # bytes of runs' arrays that are cached
_ROWS = 100_000  # of a table that are formatted at a time
_CURVES = ['arm', 'seed', 'step', 'flops', 'split', 'metric', 'value']


def runs(
  study: study_lib.Study,
  planned: Sequence[study_lib.PlannedRun],
  index: results.Index,
  failures: Mapping[str, str],
) -> pd.DataFrame:
  """One row per finished or failed run, in the order of the plan."""
  levels = {arm.name: arm.assignment for arm in study.arms}
  factors = [factor.name for factor in study.factors]
  goal = study.config.get('study', {}).get('reach', '')
  rows = []
  for run in planned:
    record = index.records.get(run.fingerprint)
    if record is None and run.fingerprint not in failures:
      continue
    row: dict[str, Any] = {'arm': run.arm, 'seed': run.seed}
    row |= {name: levels[run.arm].get(name, '') for name in factors}
    state = {name: getattr(run, name) for name in _STATE}
    if record is None:
      rows.append(row | {'status': 'failed', **state})
      continue
    facts = record.run
    row |= {'status': facts['status'], **state}
    row |= {
      name: facts[name] for name in ('steps', 'params', 'flops', 'wall_s', 'best_step')
    }
    if 'stall_s' in facts:  # of a data set that streams
      row['stall_s'] = facts['stall_s']
    if goal:
      row['reach_step'] = curves_lib.reach_step(facts['curves'], goal, study.metrics)
    rows.append(row | facts['values'])
  fixed = ['arm', 'seed', *factors, 'status', *_STATE]
  fixed += ['steps', 'params', 'flops', 'wall_s', 'best_step']
  frame = pd.DataFrame(rows)
  fixed += ['stall_s'] if 'stall_s' in frame else []
  fixed += ['reach_step'] if goal else []
  return frame.reindex(columns=fixed + [c for c in frame if c not in fixed])


def searches(study: study_lib.Study, index: results.Index) -> pd.DataFrame:
  """One row per finished run of the searches: its point and numbers, its scores."""
  rows = []
  tuning = study.tuning
  for candidate in tuning.candidates if tuning else ():
    points = tuning.points_of(candidate) if tuning else []
    for number, (point, names) in enumerate(zip(points, candidate.search)):
      for seed, name in zip(tuning.seeds if tuning else (), names):
        record = index.records.get(name)
        if record is None:
          continue
        facts = record.run
        row: dict[str, Any] = dict(zip(('arm', *_STATE[1:]), candidate.where))
        row |= {'seed': seed, 'point': number, 'status': facts['status']}
        row |= {f'point/{path}': value for path, value in point.items()}
        row |= {key: facts[key] for key in ('steps', 'flops', 'wall_s')}
        rows.append(row | facts['values'])
  return pd.DataFrame(rows)


def shown_state(
  study: study_lib.Study,
  planned: Sequence[study_lib.PlannedRun],
  index: results.Index,
) -> int:
  """Which runs curves show, 1 for tuned: those that decide, once all arms have some."""
  ended = {run.arm for run in planned if run.tuned and run.fingerprint in index.records}
  return study.tuned if all(arm.name in ended for arm in study.arms) else 0


def curves(
  planned: Sequence[study_lib.PlannedRun], index: results.Index, tuned: int = 0
) -> pd.DataFrame:
  """Learning curves in one tuning state: one row per evaluation and metric."""
  rows = [
    (run, index.records[run.fingerprint].run)
    for run in planned
    if run.tuned == tuned and run.fingerprint in index.records
  ]
  rows = [(run, facts) for run, facts in rows if 'curves' in facts]
  if not rows:
    kinds = {'seed': int, 'step': int, 'flops': float, 'value': float}
    return pd.DataFrame(columns=_CURVES).astype(kinds)
  parts = [facts['curves'] for _, facts in rows]
  counts = [len(part) for part in parts]
  rates = [facts['flops'] / max(facts['steps'], 1) for _, facts in rows]
  step = np.concatenate([part.step for part in parts])
  names = np.array([pair for part in parts for pair in part.names], object)
  split, metric = names.reshape(-1, 2).T
  columns = {
    'arm': np.repeat(np.array([run.arm for run, _ in rows], object), counts),
    'seed': np.repeat([run.seed for run, _ in rows], counts),
    'step': step,
    'flops': step * np.repeat(rates, counts),
    'split': split,
    'metric': metric,
    'value': np.concatenate([part.value for part in parts]),
  }
  return pd.DataFrame(columns, columns=_CURVES)


def write(path: pathlib.Path, frame: pd.DataFrame) -> None:
  """A CSV whose numbers read back to the bit; appears atomically.

  Counts stay whole numbers where a failed run has none.
  """
  whole = {name: 'Int64' for name in _WHOLE if name in frame}
  frame = frame.astype(whole)
  starts = range(0, len(frame), _ROWS)
  parts = (_lines(frame[start : start + _ROWS]) for start in starts)
  files.write(
    path, itertools.chain([f'{",".join(map(_quote, frame.columns))}\n'], parts)
  )


def _lines(frame: pd.DataFrame) -> str:
  """The lines of a table, as `to_csv` writes them: every distinct value once.

  Learning curves have millions of rows and few values in all columns but one.
  """
  cells = [_texts(frame[name]) for name in frame]
  return ''.join(f'{line}\n' for line in map(','.join, zip(*cells)))


def _texts(column: pd.Series) -> list[str]:
  """The cells of a column; a float as the shortest decimal that reads back to it."""
  if column.dtype.kind == 'f':
    bits = column.to_numpy(np.float64).view(np.int64)  # 0 and -0 are two values
    codes, distinct = pd.factorize(bits)
    floats = distinct.view(np.float64).tolist()
    texts = ['' if math.isnan(value) else repr(value) for value in floats]
  elif column.dtype.kind == 'O' and not isinstance(column.dtype, pd.StringDtype):
    return ['' if pd.isna(value) else _quote(value) for value in column]
  else:
    codes, values = pd.factorize(column)  # a missing one has the code -1
    texts = [*map(_quote, values.tolist()), '']
  return np.array(texts, object)[codes].tolist()


def _quote(value: Any) -> str:
  """A value as a cell, in quotation marks where CSV asks for them."""
  text = repr(float(value)) if isinstance(value, float) else str(value)
  quotes = any(mark in text for mark in ',"\r\n')
  return f'"{text.replace(QUOTE, 2 * QUOTE)}"' if quotes else text


def arrays_of(
  planned: Sequence[study_lib.PlannedRun], index: results.Index
) -> study_lib.ArraysOf:
  """`(arm, seed, tuned=0) -> {name: array} or None`; cached."""
  names = {(run.arm, run.seed, run.tuned): run.fingerprint for run in planned}

  def arrays(arm: str, seed: int, tuned: int = 0) -> Mapping[str, np.ndarray] | None:
    record = index.records.get(names.get((arm, seed, tuned), ''))
    return results.read_arrays(record) if record else None

  return cached(arrays)


def cached(arrays: study_lib.ArraysOf, room: int = MEMORY) -> study_lib.ArraysOf:
  """Reads a run's arrays once, as long as the latest fit into `room` bytes."""
  cache: collections.OrderedDict[Any, Mapping[str, np.ndarray] | None]
  cache = collections.OrderedDict()
  size = 0

  def read(arm: str, seed: int, tuned: int = 0) -> Mapping[str, np.ndarray] | None:
    nonlocal size
    run = arm, seed, tuned
    if run in cache:
      cache.move_to_end(run)
      return cache[run]
    cache[run] = arrays(*run)
    size += _size(cache[run])
    while size > room and len(cache) > 1:
      size -= _size(cache.popitem(last=False)[1])
    return cache[run]

  return read


def _size(stored: Mapping[str, np.ndarray] | None) -> int:
  return sum(value.nbytes for value in (stored or {}).values())
