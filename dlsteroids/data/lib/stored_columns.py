"""Columns in an .npz file: arrays and frames that a caller hands over, stored to last.

Columns are called 'split/name'; a column of sequences of unequal length is stored end
to end, with their lengths beside it.
"""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.data.lib import columns, digest, split
from dlsteroids.util import errors, files, npz

LENGTHS = '#lengths'
ACCEPTED = (
  'columns by name ({"x": array, "y": array}), a pandas frame, a pair (x, y), or these '
  'by split ({"train": …, "test": …})'
)


def read(path: pathlib.Path) -> dict[str, columns.Part]:
  """The splits of a file; columns without one belong to 'train'.

  Raises:
    UserError: if it is damaged or holds Python objects.
  """
  try:
    stored = npz.read(path, limit=columns.LIMIT)
  except (ValueError, OSError) as error:
    raise errors.UserError(f'data.path: {str(path)!r}: {error}') from error
  parts: dict[str, dict[str, np.ndarray]] = {}
  for name, array in stored.items():
    key, _, column = name.rpartition('/')
    parts.setdefault(key or 'train', {})[column] = array
  return {key: _part(each) for key, each in parts.items()}


def _part(stored: Mapping[str, np.ndarray]) -> columns.Part:
  def values(name: str) -> Any:
    array, lengths = stored[name], stored.get(name + LENGTHS)
    if lengths is not None:
      return np.split(array, np.cumsum(lengths)[:-1])
    return list(map(str, array)) if array.dtype.kind == 'U' else array

  names = tuple(name for name in stored if not name.endswith(LENGTHS))
  return columns.Part(names, values)


def write(
  data: Any, folder: pathlib.Path, *, in_time: bool = False
) -> tuple[pathlib.Path, bool]:
  """Stores what a caller handed over, under a name of its contents.

  Args:
    data: as `ACCEPTED` says.
    folder: for the file.
    in_time: whether rows are points in time, which a frame's index may tell.

  Returns:
    the file, and whether it is new.

  Raises:
    UserError: something else, columns of unequal length, or missing values.
  """
  arrays: dict[str, np.ndarray] = {}
  for key, part in _by_split(data, in_time).items():
    lengths = {name: len(values) for name, values in part.items()}
    if not any(lengths.values()):
      raise errors.UserError(f'data=…: {key} has no rows')
    if len(set(lengths.values())) != 1:
      raise errors.UserError(f'data=…: columns of {key} differ in length: {lengths}')
    for name, values in part.items():
      arrays |= _stored(f'{key}/{name}', values)
  path = folder / f'{digest.of_bytes((), arrays.items())[:16]}.npz'
  if path.exists():
    return path, False
  buffer = io.BytesIO()
  np.savez(buffer, allow_pickle=False, **arrays)
  folder.mkdir(parents=True, exist_ok=True)
  files.write(path, buffer.getvalue())
  return path, True


def _by_split(data: Any, in_time: bool) -> dict[str, dict[str, Any]]:
  if isinstance(data, Mapping) and data:
    names = {columns.SPLITS.get(str(key), str(key)): part for key, part in data.items()}
    if names.keys() <= set(split.SPLITS):
      return {key: _by_column(part, in_time) for key, part in names.items()}
  return {'train': _by_column(data, in_time)}


def _by_column(data: Any, in_time: bool) -> dict[str, Any]:
  if isinstance(data, pd.DataFrame):
    data = _with_times(data) if in_time else data
    twice = data.columns[data.columns.duplicated()]
    if len(twice):
      raise errors.UserError(f'data=…: the frame has column {str(twice[0])!r} twice')
    return {str(name): data[name] for name in data.columns}
  if isinstance(data, Mapping):
    part = {str(name): values for name, values in data.items()}
  elif isinstance(data, tuple | list) and len(data) == 2:
    part = dict(zip(('x', 'y'), data))
  else:
    raise errors.UserError(f'data=… is a {type(data).__name__}; give {ACCEPTED}')
  for name, values in part.items():
    sized = hasattr(values, '__len__') and getattr(values, 'ndim', 1) > 0
    if isinstance(values, str) or not sized:
      raise errors.UserError(
        f'data=…: column {name!r} is a {type(values).__name__}; give {ACCEPTED}'
      )
  if not part:
    raise errors.UserError(f'data=… is empty; give {ACCEPTED}')
  return part


def _with_times(frame: pd.DataFrame) -> pd.DataFrame:
  """A frame whose index is times has them as its first column."""
  index = frame.index
  if isinstance(index, pd.PeriodIndex):
    index = index.to_timestamp()
  name = index.name or 'date'
  if not isinstance(index, pd.DatetimeIndex) or name in frame.columns:
    return frame
  return frame.set_axis(index.rename(name)).reset_index()


def _stored(name: str, values: Any) -> dict[str, np.ndarray]:
  """A column as arrays of numbers or texts, without objects."""
  column = name.partition('/')[2]
  if '/' in column:
    raise errors.UserError(
      f'data=…: column {column!r} has a slash in its name; rename it'
    )
  if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
    row = np.flatnonzero(np.ma.getmaskarray(values).reshape(len(values), -1).any(1))[0]
    raise errors.UserError(
      f'data=…: row {row} of column {column!r} is missing; fill the gaps or drop the '
      'rows'
    )
  if isinstance(values, pd.Series):
    missing = np.flatnonzero(values.isna().to_numpy())
    if missing.size:
      raise errors.UserError(
        f'data=…: row {missing[0]} of column {column!r} is missing; '
        'fill the gaps or drop the rows'
      )
    if pd.api.types.is_datetime64_any_dtype(values):
      return {name: np.array([time.isoformat() for time in values])}
    numeric = pd.api.types.is_numeric_dtype(values.dtype)
    values = values.to_numpy() if numeric else list(values)
  if isinstance(values, Sequence) and all(isinstance(each, str) for each in values):
    return {name: np.array(values)}
  try:
    array = np.asarray(values)
  except ValueError:  # rows of unequal shapes
    array = np.empty(0, object)
  if array.dtype.kind in 'biufU':
    return {name: array}
  rows = [np.asarray(row) for row in values]
  for number, row in enumerate(rows):
    if row.dtype.kind not in 'biuf' or not row.ndim:
      text = ' '.join(str(values[number]).split())[:40]
      raise errors.UserError(
        f'data=…: row {number} of column {column!r} is neither a number nor a text nor '
        f'a sequence of numbers, but {text!r}'
      )
    if row.shape[1:] != rows[0].shape[1:]:
      raise errors.UserError(
        f'data=…: row {number} of column {column!r} has shape {list(row.shape)}, row 0 '
        f'{list(rows[0].shape)}; only sequences may differ, in their length'
      )
  lengths = np.array([len(row) for row in rows])
  return {name: np.concatenate(rows), name + LENGTHS: lengths}
