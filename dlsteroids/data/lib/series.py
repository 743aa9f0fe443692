"""From a table of rows in time to a Dataset of windows: what all series share.

Window i starts at row i: the model sees `lookback` rows of every column and forecasts
`horizon` rows of the targets after them. The splits are stretches of time, training
first. Targets lie inside their split; windows may reach back into the split before, as
in the code of Informer (Zhou et al. 2021).
"""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import digest, references, split
from dlsteroids.util import errors

OPTIONS = {
  'lookback': options.Option(96, 'rows of a window that the model sees', 1),
  'horizon': options.Option(24, 'rows after them that it forecasts', 1),
  'season': options.Option(
    0, 'rows of a period, for the seasonal naive reference; 0: leave it out', 0
  ),
  'stride': options.Option(1, 'rows between the starts of training windows', 1),
  'examples': options.Option(
    0, 'windows to train on, drawn by the seed; 0: all of them', 0
  ),
}
SHARES = {
  'validation': split.share(0.1, 'share of the rows, after the training rows'),
  'test': split.share(0.2, 'share of the rows, the last ones'),
}


def defaults(**values: Any) -> dict[str, options.Option]:
  """`OPTIONS` and `SHARES` with other defaults."""
  table = {**OPTIONS, **SHARES}
  changed = {name: table[name]._replace(default=v) for name, v in values.items()}
  return {**table, **changed}


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
  starts = _windows(parts.sizes, config)
  series, mean, std = _standardise(parts, 'exclude' in config)
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
    'rows': dict(zip(split.SPLITS, parts.sizes, strict=True)),
    'treatments': [*parts.treatments, *notes],
  }
  return types.Dataset(
    name=parts.name,
    arrays={'series': series},
    split=_make_split(starts, config['examples']),
    transform=_unchanged,
    digest=digest.of(
      {'series': series},
      {key: config[key] for key in ('lookback', 'horizon', 'stride', 'examples')},
      *(parts.name, parts.names, parts.targets, parts.sizes),
    ),
    take=_make_take(config['lookback'], config['horizon'], columns),
    facts=facts,
    references=scores,
  )


def choose(
  names: tuple[str, ...], listed: str, option: str = 'targets'
) -> tuple[str, ...]:
  """The columns in a comma-separated list, or all; names may hold commas themselves.

  Args:
    names: of all columns.
    listed: the list.
    option: its name, for errors.

  Raises:
    UserError: a column that does not exist, or one named twice.
  """
  if not listed.strip():
    return names
  parts, chosen = listed.split(','), []
  while parts:
    for count in range(len(parts), 0, -1):
      name = ','.join(parts[:count]).strip()
      if name in names or (name := name.strip('\'"')) in names:
        break
    else:
      name = parts[0].strip()
      raise errors.UserError(
        f'data.{option}: no column {name!r}{errors.did_you_mean(name, names)}; '
        f'there are {", ".join(names)}'
      )
    chosen.append(name)
    del parts[:count]
  if len(set(chosen)) < len(chosen):
    raise errors.UserError(f'data.{option} names a column twice: {listed!r}')
  return tuple(chosen)


def share(rows: int, config: Mapping[str, Any]) -> tuple[int, int, int]:
  """Rows of train, validation and test by the shares in `config`.

  Raises:
    UserError: shares that leave nothing to train on.
  """
  validation, test = (round(config[name] * rows) for name in ('validation', 'test'))
  if validation + test >= rows:
    raise errors.UserError(
      f'data.validation = {config["validation"]} and data.test = {config["test"]} '
      f'leave none of the {rows:,} rows for training'
    )
  return rows - validation - test, validation, test


def _windows(
  sizes: tuple[int, int, int], config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The first rows of all windows of each split, int32."""
  lookback, horizon, stride = (config[key] for key in ('lookback', 'horizon', 'stride'))
  train, validation, test = sizes
  for name, rows in zip(split.SPLITS, (train - 1, validation, test), strict=True):
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
  if config['season'] > train + validation:
    raise errors.UserError(
      f'data.season must lie in 0..{train + validation:,} (the rows before the test '
      f'split), not {config["season"]:,}'
    )
  ends = np.cumsum(sizes)
  starts = {'train': np.arange(0, train - lookback - horizon + 1, stride)}
  for name, begin, end in zip(split.SPLITS[1:], ends[:-1], ends[1:], strict=True):
    starts[name] = np.arange(begin - lookback, end - lookback - horizon + 1)
  split.check_examples(len(starts['train']), config, 'the training windows')
  return {name: rows.astype(np.int32) for name, rows in starts.items()}


def _standardise(
  parts: Parts, excludable: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The used rows, float32 [L, F]; mean and standard deviation [F] of training rows.

  Args:
    parts: the table.
    excludable: whether the data set has the option to leave a column out.
  """
  values = parts.values[: sum(parts.sizes)]
  train = values[: parts.sizes[0]]
  flat = np.flatnonzero(train.max(0) == train.min(0))
  if flat.size:
    name = parts.names[flat[0]]
    cure = f': data.exclude={name}' if excludable else ''
    raise errors.UserError(
      f'{parts.name}: column {name!r} has the one value {train[0, flat[0]]:g} in all '
      f'{len(train):,} training rows; leave it out{cure}'
    )
  with np.errstate(over='ignore', invalid='ignore'):
    mean, std = train.mean(0), train.std(0)
    series = ((values - mean) / std).astype(np.float32)
  large = np.flatnonzero(~(np.isfinite(series).all(0) & np.isfinite(std)))
  if large.size:
    raise errors.UserError(
      f'{parts.name}: column {parts.names[large[0]]!r} has values too large for float32'
    )
  return series, mean, std


def _make_split(starts: Mapping[str, np.ndarray], examples: int) -> Any:
  """The `Dataset.split`: `examples` of the training windows, nested, or all."""

  def draw(seed: int) -> dict[str, np.ndarray]:
    train = starts['train']
    if examples:
      generator = np.random.default_rng([seed, zlib.crc32(b'split')])
      train = np.sort(generator.permutation(train)[:examples])
    return {**starts, 'train': train}

  return draw


def _make_take(lookback: int, horizon: int, columns: np.ndarray) -> Any:
  """The `Dataset.take`: windows and targets that start at the indices."""
  window, target = np.arange(lookback), np.arange(lookback, lookback + horizon)

  def take(
    arrays: Mapping[str, types.Array], indices: types.Array, *, train: bool
  ) -> types.Batch:
    del train
    series, first = arrays['series'], indices[:, None]
    return {
      'window': series[first + window],
      'target': series[(first + target)[..., None], columns],
    }

  return take


def _unchanged(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
  """The `Dataset.transform`: windows are stored as the model sees them."""
  del keys, train
  return batch
