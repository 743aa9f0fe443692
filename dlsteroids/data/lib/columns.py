"""From columns of any table to a Dataset: what data handed over by others shares.

A row is an example with a class (`form='examples'`: images, tables, sequences), a point
in time (`series`, for task forecast), or a piece of one text (`text`, for task
language).
"""

import csv
import functools
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dlsteroids import types
from dlsteroids.config.options import Option
from dlsteroids.data.lib import decode, digest, images, series, split, table, text
from dlsteroids.util import errors

OPTIONS = {
  'label': Option('', "name in results; '': that of the data"),
  'form': Option(
    'examples',
    'examples: a row has a class; series: rows are in time; text: rows are joined',
    choices=('examples', 'series', 'text'),
  ),
  'input': Option(
    '',
    "columns that the model sees, comma-separated; '': the one with a usual name, or "
    'all but the target, where each is of single numbers',
  ),
  'target': Option(
    '', "column of classes, or columns of a series to forecast; '': the usual name, all"
  ),
  'date': Option(
    '', "of a series: column of times; '': the first that holds times; index: none"
  ),
  'size': Option(
    0, 'square side of images in pixels; 0: their own', 0, 4096, closed='both'
  ),
  'channels': Option(0, '3: colour, 1: grey, 0: those of the first', choices=(0, 1, 3)),
  **text.OPTIONS,
  **series.OPTIONS,
  **split.TEST,
  **images.OPTIONS,
}
INPUTS = ('image', 'img', 'x', 'input', 'inputs', 'features', 'pixel_values')
TARGETS = ('label', 'labels', 'class', 'target', 'y')
TEXTS = ('text', 'content', 'sentence')
SPLITS = {'valid': 'validation', 'val': 'validation', 'dev': 'validation'}
SPLITS |= {'training': 'train', 'testing': 'test'}
LIMIT = 1 << 36  # bytes of all columns


class Part(NamedTuple):
  """One split.

  Attributes:
    names: of its columns.
    read: `name -> values`: an array [N, ...], or a list of N strings or arrays.
    classes: `name -> their names` for a column of class numbers; () for others.
  """

  names: tuple[str, ...]
  read: Callable[[str], Any]
  classes: Callable[[str], tuple[str, ...]] = lambda name: ()


def make(
  name: str, parts: Mapping[str, Part], config: Mapping[str, Any]
) -> types.Dataset:
  """The Dataset of the parts under the options of `config`.

  A text and a series are those of the part 'train', split by position.

  Args:
    name: of the data set, in results and errors.
    parts: by split; 'valid', 'val' and 'dev' are names of 'validation'.
    config: `OPTIONS`, complete, and those of the source.

  Raises:
    UserError: no part to train on, a column that is missing or holds something else.
  """
  parts = {
    SPLITS.get(key, key): part._replace(read=functools.cache(part.read))
    for key, part in parts.items()
  }
  if 'train' not in parts:
    raise errors.UserError(
      f'{name} has no split called train; there are {", ".join(parts) or "none"}'
    )
  if config['form'] == 'text':
    return _make_text(name, parts['train'], config)
  if config['form'] == 'series':
    return _make_series(name, parts['train'], config)
  return _make_examples(name, parts, config)


def _make_text(name: str, part: Part, config: Mapping[str, Any]) -> types.Dataset:
  column = _one(part.names, config['input'], TEXTS, 'input', name)
  rows = list(part.read(column))
  for number, row in enumerate(rows):
    if not isinstance(row, str):
      raise errors.UserError(
        f'{name}, row {number}, column {column!r}: {str(row)[:40]!r} is not a text'
      )
  return text.make(name, '\n'.join(rows).encode(), config)


def _make_series(name: str, part: Part, config: Mapping[str, Any]) -> types.Dataset:
  """By way of a CSV file, whose reader refuses what is no regular series."""
  chosen = series.choose(part.names, config['input'], 'input')
  wanted = dict.fromkeys((*([config['date']] if config['date'] else []), *chosen))
  names = [column for column in part.names if column in wanted]
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / f'{name.replace("/", "_")}.csv'
    with path.open('w', newline='', encoding='utf-8') as file:
      writer = csv.writer(file)
      writer.writerow(names)
      columns = [list(part.read(column)) for column in names]
      writer.writerows(zip(*columns, strict=True))
    try:
      content = table.read(path, config['date'])
    except errors.UserError as error:  # of the columns, not of a file that is gone
      raise errors.UserError(str(error).replace(repr(str(path)), name)) from error
  parts = series.Parts(
    name=name,
    values=content.values,
    names=content.names,
    targets=series.choose(content.names, config['target'], 'target'),
    sizes=series.share(len(content.values), config),
    times=(content.times[0], content.times[-1], content.step),
    treatments=content.treatments,
  )
  return series.make(parts, config)


def _make_examples(
  name: str, parts: Mapping[str, Part], config: Mapping[str, Any]
) -> types.Dataset:
  used = {key: parts[key] for key in split.SPLITS if key in parts}
  first = used['train']
  target = _one(first.names, config['target'], TARGETS, 'target', name)
  columns = _inputs(first, config['input'], target)
  if target in columns:
    raise errors.UserError(
      f'{name}: column {target!r} is the target, so it cannot be an input: '
      'leave it out of data.input, or name another data.target'
    )
  for key, part in used.items():
    for column in (*columns, target):
      if column not in part.names:
        raise errors.UserError(f'{name}: split {key} has no column {column!r}')
  lengths = {key: len(part.read(target)) for key, part in used.items()}
  empty = [key for key, length in lengths.items() if not length]
  if empty:
    raise errors.UserError(f'{name}: split {empty[0]} has no rows')
  labels, classes = _labels(name, used, target)
  rows = {key: _rows(name, part, columns, config) for key, part in used.items()}
  inputs = [value for part in rows.values() for value in part]
  train, validation, test = (lengths.get(key, 0) for key in split.SPLITS)
  sizes = (train, validation, test)
  if len(inputs) != sum(sizes):
    raise errors.UserError(
      f'{name}: {len(inputs):,} inputs ({", ".join(columns)}) for {sum(sizes):,} '
      f'values of {target!r}'
    )
  _check_kinds(name, rows)
  _check_channels(name, inputs)
  pixels = _pixels(name, inputs, config)
  if pixels is not None:
    return images.make(images.Parts(name, pixels, labels, sizes, classes), config)
  return _make_numbers(name, inputs, labels, sizes, classes, config)


def _make_numbers(
  name: str,
  inputs: list[np.ndarray],
  labels: np.ndarray,
  sizes: tuple[int, int, int],
  classes: tuple[str, ...],
  config: Mapping[str, Any],
) -> types.Dataset:
  """Tables [N, F], sequences [N, T, F] and further arrays, standardised by feature.

  Sequences of unequal length are padded with zeros, and their lengths kept.
  """
  for option in ('flip', 'crop', 'colour'):
    if config[option]:
      raise errors.UserError(
        f'data.{option} changes images of bytes; {name} holds numbers of shape '
        f'{list(np.shape(inputs[0]))}'
      )
  stacked, lengths = _stacked(name, inputs)
  train = stacked[: sizes[0]].astype(np.float64)
  if lengths is None:
    rows = train.reshape(-1, train.shape[-1])
  else:
    rows = train[np.arange(train.shape[1]) < lengths[: sizes[0], None]]
  std = rows.std(0)
  mean = rows.mean(0).astype(np.float32)
  scale = (1 / np.where(std > 0, std, 1)).astype(np.float32)
  arrays = {'image': stacked, 'label': labels}
  if lengths is not None:
    arrays['length'] = lengths

  def transform(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
    del keys, train
    x = (batch['image'] - mean) * scale
    if 'length' in batch:
      real = jnp.arange(x.shape[1]) < batch['length'][:, None]
      x = jnp.where(real[..., None], x, 0)
    return {**batch, 'image': x}

  return types.Dataset(
    name=name,
    arrays=arrays,
    split=split.make(labels, sizes, config),
    transform=transform,
    digest=digest.of(arrays, config, name, sizes, classes),
    classes=classes,
    official_test=sizes[2] > 0,
  )


def _stacked(
  name: str, inputs: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
  """Inputs as float32 [N, ...], and their lengths int32 [N] if they are unequal."""
  arrays = [np.asarray(row) for row in inputs]
  largest = np.finfo(np.float32).max
  for number, row in enumerate(arrays):
    finite = row.dtype.kind in 'biuf' and np.isfinite(row).all()
    if finite and row.dtype.kind == 'f' and (np.abs(row) > largest).any():
      raise errors.UserError(
        f'{name}, row {number}: {np.abs(row).max():.3g} is beyond the numbers of '
        f'float32, which end at {largest:.3g}; scale the inputs'
      )
    if not finite:
      raise errors.UserError(
        f'{name}, row {number}: {str(row.ravel()[:4].tolist())[:60]} are not all '
        'finite numbers'
      )
  shapes = {row.shape for row in arrays}
  if len(shapes) == 1:
    stacked = np.stack(arrays).astype(np.float32)
    return (stacked[:, None] if stacked.ndim == 1 else stacked), None
  arrays = [row[:, None] if row.ndim == 1 else row for row in arrays]  # [T] -> [T, 1]
  if {row.ndim for row in arrays} != {2} or len({row.shape[1] for row in arrays}) > 1:
    first, second = sorted(shapes)[:2]
    raise errors.UserError(
      f'{name}: examples of unequal shapes, such as {list(first)} and {list(second)}; '
      'only sequences may differ in length'
    )
  lengths = np.array([len(row) for row in arrays], np.int32)
  if not lengths.all():
    raise errors.UserError(f'{name}, row {lengths.argmin()}: an empty sequence')
  padded = np.zeros((len(arrays), lengths.max(), arrays[0].shape[1]), np.float32)
  for number, row in enumerate(arrays):
    padded[number, : len(row)] = row
  return padded, lengths


def _one(
  names: Sequence[str], listed: str, usual: Sequence[str], option: str, name: str
) -> str:
  """The column that an option names, or the one with a usual name."""
  if listed:
    (column, *more) = series.choose(tuple(names), listed, option)
    if not more:
      return column
    raise errors.UserError(f'data.{option} must name one column, not {listed!r}')
  column = next((each for each in usual if each in names), '')
  if not column:
    raise errors.UserError(
      f'{name} has no column called {", ".join(usual[:-1])} or {usual[-1]}: name it by '
      f'data.{option}; there are {", ".join(names)}'
    )
  return column


def _inputs(part: Part, listed: str, target: str) -> tuple[str, ...]:
  """The columns that the model sees.

  A column with a usual name is all of them, unless it is one of several of numbers, as
  the coordinates x and y of a table with labels.
  """
  if listed:
    return series.choose(tuple(part.names), listed, 'input')
  rest = tuple(name for name in part.names if name != target)
  usual = next((name for name in INPUTS if name in rest), '')
  if not usual:
    return rest
  plain = [name for name in rest if np.ndim(part.read(name)[0]) == 0]
  return rest if usual in plain and len(plain) == len(rest) else (usual,)


def _rows(
  name: str, part: Part, columns: tuple[str, ...], config: Mapping[str, Any]
) -> Sequence[Any]:
  """The inputs of a split: one column, or columns of numbers side by side."""
  values = [part.read(column) for column in columns]
  if not values:
    raise errors.UserError(f'{name} has no column of inputs')
  if len(values) == 1:
    return values[0]
  for column, value in zip(columns, values):
    value = np.asarray(value) if not isinstance(value, list) else np.array(value[:1])
    if value.ndim != 1 or value.dtype.kind not in 'biuf':
      raise errors.UserError(
        f'{name}: column {column!r} does not hold a number a row; choose the inputs by '
        f'data.input; there are {", ".join(part.names)}'
      )
  return list(np.stack([np.asarray(value, np.float64) for value in values], -1))


def _check_kinds(name: str, rows: Mapping[str, Sequence[Any]]) -> None:
  """Raises UserError for bytes in one split and numbers in another: 255 is not 1.0."""
  kinds = {key: getattr(part[0], 'dtype', None) for key, part in rows.items()}
  first, *others = kinds
  for key in others:
    if (kinds[key] == np.uint8) != (kinds[first] == np.uint8) and np.ndim(rows[key][0]):
      raise errors.UserError(
        f'{name}: inputs are {kinds[first]} in split {first}, {kinds[key]} in {key}; '
        'bring both to one kind'
      )


def _check_channels(name: str, inputs: list[Any]) -> None:
  """Raises UserError for images whose channels come first, as torch keeps them."""
  shape = np.shape(inputs[0])
  channels = (1, 3, 4)
  if len(shape) != 3 or shape[0] not in channels or shape[2] in channels:
    return
  if shape[1] == shape[2] or getattr(inputs[0], 'dtype', None) == np.uint8:
    height, width = shape[1:]
    raise errors.UserError(
      f'{name}: images of shape {list(shape)} have their channels first; expected '
      f'[{height}, {width}, {shape[0]}]: np.moveaxis(images, 1, -1) brings them there'
    )


def _pixels(
  name: str, inputs: list[Any], config: Mapping[str, Any]
) -> np.ndarray | None:
  """Images as uint8 [N, H, W, C] in the wanted form; None if the inputs are others."""
  for row in inputs:
    shape = np.shape(row)
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if getattr(row, 'dtype', None) != np.uint8 or not flat:
      return None
  grey = inputs[0].ndim == 2 or inputs[0].shape[2] == 1
  form = decode.Form(config['size'], config['channels'] or (1 if grey else 3))
  pixels = [decode.of_array(row, form) for row in inputs]
  for number, row in enumerate(pixels):
    if row.shape != pixels[0].shape:
      raise errors.UserError(
        f'{name}: image {number} is {row.shape[1]}×{row.shape[0]}, the first '
        f'{pixels[0].shape[1]}×{pixels[0].shape[0]}: set data.size to bring all images '
        'to one size'
      )
  return np.stack(pixels)


def _is_missing(value: Any) -> bool:
  return value is None or (isinstance(value, float | np.floating) and value != value)


def _labels(
  name: str, parts: Mapping[str, Part], target: str
) -> tuple[np.ndarray, tuple[str, ...]]:
  """int32 [N] of all splits in order, and the names of the classes."""
  for key, part in parts.items():
    missing = [row for row, each in enumerate(part.read(target)) if _is_missing(each)]
    if missing:
      raise errors.UserError(
        f'{name}: row {missing[0]} of column {target!r} is missing in split {key}; '
        'fill the gaps or drop the rows'
      )
  values = np.concatenate([np.asarray(part.read(target)) for part in parts.values()])
  classes = parts['train'].classes(target)
  whole = values.dtype.kind in 'biu' or (
    values.dtype.kind == 'f' and bool((values == np.round(values)).all())
  )
  if values.ndim != 1 or not (whole or values.dtype.kind in 'UT'):
    held = str(values[:1].tolist())[1:-1][:40]
    cure = 'for rows in time set data.form=series'
    if values.ndim > 1:
      cure = 'expected one number or word a row; np.argmax(y, 1) of one-hot rows is it'
    raise errors.UserError(
      f'{name}: column {target!r} holds {held}, which is not a class; {cure}'
    )
  if classes:
    wrong = np.flatnonzero((values < 0) | (values >= len(classes)))
    if wrong.size:
      raise errors.UserError(
        f'{name}, row {wrong[0]}: class {values[wrong[0]]} of column {target!r} is not '
        f'one of 0..{len(classes) - 1}'
      )
    return values.astype(np.int32), classes
  unique, labels = np.unique(values, return_inverse=True)
  if len(unique) < 2:
    raise errors.UserError(f'{name}: column {target!r} has one class only')
  if values.dtype.kind == 'f':
    unique = unique.astype(np.int64)
  return labels.astype(np.int32), tuple(map(str, unique.tolist()))
