"""From a table of rows in time to a Dataset of windows: what all series share.

Window i starts at row i: `lookback` rows of every column are seen, and `horizon` rows
of the targets after them are forecast. The splits are stretches of time, training
first. Targets lie inside their split; the rows seen may reach back into the split
before, as in the code of Informer (Zhou et al. 2021).
"""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import types
from dlsteroids.data.lib import digest, references
from dlsteroids.util import errors

OPTIONS: dict[str, Any] = {
  'lookback': 96,  # rows that are seen
  'horizon': 24,  # rows after them that are forecast
  'season': 0,  # rows of a period, for the seasonal naive reference; 0: leave it out
  'stride': 1,  # rows between the starts of training windows; the other splits have 1
  'examples': 0,  # train on this many windows, drawn by the seed; 0: on all
}
SHARES: dict[str, Any] = {
  'validation': 0.1,  # share of the rows, after the training rows
  'test': 0.2,  # share of the rows, the last ones
}
SPLITS = ('train', 'validation', 'test')


class Parts(NamedTuple):
  """A table as published, oldest row first.

  Attributes:
    name: of the data set, as results name it.
    values: float64 [L, F], finite.
    names: of the F columns.
    targets: of the columns to forecast.
    sizes: rows of train, validation and test, from the first row on; further rows are
      not used.
    times: first time, last time and step, in words.
    unit: of the targets; '' if they have none or several.
    treatments: what was done to the values, a sentence each.
  """

  name: str
  values: np.ndarray
  names: tuple[str, ...]
  targets: tuple[str, ...]
  sizes: tuple[int, int, int]
  times: tuple[str, str, str]
  unit: str = ''
  treatments: tuple[str, ...] = ()


def make(parts: Parts, config: Mapping[str, Any]) -> types.Dataset:
  """The Dataset of `parts` under the options of `config`.

  Its array is `series` float32 [L, F], standardised by mean and standard deviation of
  the training rows. Batches are `window` float32 [B, lookback, F] and `target` float32
  [B, horizon, D]. No split depends on the seed but the training part, with `examples`.

  Args:
    parts: the table.
    config: `OPTIONS`, complete.

  Raises:
    UserError: options out of range for these rows, or a constant column.
  """
  starts = windows(parts.sizes, config)
  series, mean, std = standardise(parts)
  columns = np.array([parts.names.index(name) for name in parts.targets])
  problem = references.Problem(
    series=series.astype(np.float64),
    starts=starts,
    lookback=config['lookback'],
    horizon=config['horizon'],
    columns=columns,
    scale=std[columns],
    season=config['season'],
  )
  scores, notes = references.measure(problem)
  facts = {
    'targets': list(parts.targets),
    'inputs': list(parts.names),
    'columns': columns.tolist(),  # of the targets among the inputs
    'mean': mean[columns].tolist(),
    'std': std[columns].tolist(),
    **{key: config[key] for key in ('horizon', 'lookback', 'season')},
    'block': config['lookback'] + config['horizon'],  # windows that share rows
    'unit': parts.unit,
    **dict(zip(('start', 'end', 'step'), parts.times, strict=True)),
    'rows': dict(zip(SPLITS, parts.sizes, strict=True)),
    'treatments': [*parts.treatments, *notes],
  }
  return types.Dataset(
    name=parts.name,
    arrays={'series': series},
    split=make_split(starts, config['examples']),
    transform=unchanged,
    digest=digest.of(
      {'series': series},
      {key: config[key] for key in ('lookback', 'horizon', 'stride', 'examples')},
      *(parts.name, parts.names, parts.targets, parts.sizes),
    ),
    take=make_take(config['lookback'], config['horizon'], columns),
    facts=facts,
    references=scores,
  )


def choose(names: tuple[str, ...], targets: str) -> tuple[str, ...]:
  """The columns that `targets` names, comma-separated; all of them if it is empty.

  Raises:
    UserError: a column that does not exist, or one named twice.
  """
  chosen = [name.strip() for name in targets.split(',')] if targets.strip() else names
  for name in chosen:
    if name not in names:
      raise errors.UserError(
        f'data.targets: no column {name!r}{errors.did_you_mean(name, names)}; '
        f'there are {", ".join(names)}'
      )
  if len(set(chosen)) < len(chosen):
    raise errors.UserError(f'data.targets names a column twice: {targets!r}')
  return tuple(chosen)


def share(rows: int, config: Mapping[str, Any]) -> tuple[int, int, int]:
  """Rows of train, validation and test by the shares in `config`.

  Raises:
    UserError: shares that leave nothing to train on.
  """
  for name in ('validation', 'test'):
    if not 0 < config[name] < 1:
      raise errors.UserError(f'data.{name} must lie in (0, 1), not {config[name]}')
  validation, test = (round(config[name] * rows) for name in ('validation', 'test'))
  if validation + test >= rows:
    raise errors.UserError(
      f'data.validation = {config["validation"]} and data.test = {config["test"]} '
      f'leave none of the {rows:,} rows for training'
    )
  return rows - validation - test, validation, test


def windows(
  sizes: tuple[int, int, int], config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The first rows of all windows of each split, int32.

  Raises:
    UserError: an option out of range, naming the largest that is possible.
  """
  lookback, horizon, stride = (config[key] for key in ('lookback', 'horizon', 'stride'))
  for key in ('lookback', 'horizon', 'stride'):
    if config[key] < 1:
      raise errors.UserError(f'data.{key} must be at least 1, not {config[key]}')
  train, validation, test = sizes
  for name, rows in zip(SPLITS, (train - 1, validation, test), strict=True):
    if horizon > rows:
      raise errors.UserError(
        f'data.horizon = {horizon:,} is too long for the {name} split: at most '
        f'{max(rows, 0):,} rows'
      )
  if lookback + horizon > train:
    raise errors.UserError(
      f'data.lookback = {lookback:,} with data.horizon = {horizon:,} is too long for '
      f'the {train:,} rows of the train split: at most {train - horizon:,}'
    )
  if not 0 <= config['season'] <= train + validation:
    raise errors.UserError(
      f'data.season must lie in 0..{train + validation:,} (the rows before the test '
      f'split), not {config["season"]:,}'
    )
  ends = np.cumsum(sizes)
  found = {'train': np.arange(0, train - lookback - horizon + 1, stride)}
  for name, begin, end in zip(SPLITS[1:], ends[:-1], ends[1:], strict=True):
    found[name] = np.arange(begin - lookback, end - lookback - horizon + 1)
  count = len(found['train'])
  if not 0 <= config['examples'] <= count:
    raise errors.UserError(
      f'data.examples must lie in 0..{count:,} (the training windows), not '
      f'{config["examples"]:,}'
    )
  return {name: rows.astype(np.int32) for name, rows in found.items()}


def standardise(parts: Parts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The used rows, float32 [L, F], with mean and standard deviation [F] of training's.

  Raises:
    UserError: a column that is the same in every training row, or too large.
  """
  values = parts.values[: sum(parts.sizes)]
  known = values[: parts.sizes[0]]
  flat = np.flatnonzero(known.max(0) == known.min(0))
  if flat.size:
    raise errors.UserError(
      f'{parts.name}: column {parts.names[flat[0]]!r} has the one value '
      f'{known[0, flat[0]]:g} in all {len(known):,} training rows; leave it out'
    )
  with np.errstate(over='ignore', invalid='ignore'):
    mean, std = known.mean(0), known.std(0)
    series = ((values - mean) / std).astype(np.float32)
  large = np.flatnonzero(~(np.isfinite(series).all(0) & np.isfinite(std)))
  if large.size:
    raise errors.UserError(
      f'{parts.name}: column {parts.names[large[0]]!r} has values too large for float32'
    )
  return series, mean, std


def make_split(starts: Mapping[str, np.ndarray], examples: int) -> Any:
  """The `Dataset.split`: `examples` of the training windows, nested, or all."""

  def split(seed: int) -> dict[str, np.ndarray]:
    train = starts['train']
    if examples:
      generator = np.random.default_rng([seed, zlib.crc32(b'split')])
      train = np.sort(generator.permutation(train)[:examples])
    return {**starts, 'train': train}

  return split


def make_take(lookback: int, horizon: int, columns: np.ndarray) -> Any:
  """The `Dataset.take`: windows and targets that start at the indices."""
  seen, later = np.arange(lookback), np.arange(lookback, lookback + horizon)

  def take(
    arrays: Mapping[str, types.Array], indices: types.Array, *, train: bool
  ) -> types.Batch:
    del train
    series, first = arrays['series'], indices[:, None]
    return {
      'window': series[first + seen],
      'target': series[(first + later)[..., None], columns],
    }

  return take


def unchanged(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
  """The `Dataset.transform`: windows are stored as they are seen."""
  del keys, train
  return batch
