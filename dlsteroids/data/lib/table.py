"""CSV files of numbers in time, read strictly: what is doubtful is refused by its row.

Rows are counted as a spreadsheet shows them: the header is row 1.
"""

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.data.lib import source
from dlsteroids.util import errors

MISSING = ('', 'na', 'n/a', 'nan', 'nat', 'null', 'none')
LIMIT = 1 << 27  # bytes; rows of text take some ten times as much
UNITS = (
  ('day', 86_400_000_000),
  ('hour', 3_600_000_000),
  ('minute', 60_000_000),
  ('second', 1_000_000),
)  # in microseconds


class Table(NamedTuple):
  """Numbers in time.

  Attributes:
    names: of the F columns of numbers.
    values: float64 [L, F], finite.
    times: as written, one a row.
    step: between rows, in words.
  """

  names: tuple[str, ...]
  values: np.ndarray
  times: tuple[str, ...]
  step: str


def read(path: pathlib.Path, date: str = '') -> Table:
  """The numbers in a comma-separated UTF-8 file whose first row names the columns.

  Times are ISO 8601 ('2016-07-01 00:00', with or without offset from UTC) or numbers
  (years, row counts), in equal steps; or ISO times in equal steps of calendar months,
  on one day of the month or on its last. All other columns hold finite numbers.

  Args:
    path: of the file.
    date: name of the column of times; '': the first.

  Raises:
    UserError: naming row and column of the first cell that does not fit.
  """
  place = repr(str(path))
  header, rows = _parse(path, place)
  if date and date not in header:
    raise errors.UserError(
      f'data.date: {place} has no column {date!r}'
      f'{errors.did_you_mean(date, header)}; there are {", ".join(header)}'
    )
  at = header.index(date) if date else 0
  columns = list(zip(*rows, strict=True))
  times = tuple(cell.strip() for cell in columns[at])
  step = pace(times, header[at], place)
  rest = [i for i in range(len(header)) if i != at]
  values = [numbers(columns[i], header[i], place) for i in rest]
  return Table(tuple(header[i] for i in rest), np.stack(values, axis=1), times, step)


def _parse(path: pathlib.Path, place: str) -> tuple[list[str], list[list[str]]]:
  """Header and rows, all of one length, at least two."""
  reader = csv.reader(io.StringIO(_text(path, place), newline=''), strict=True)
  rows: list[list[str]] = []
  try:
    rows.extend(reader)
  except csv.Error as error:
    raise errors.UserError(f'{place}, row {len(rows) + 1}: {error}') from error
  while rows and not any(cell.strip() for cell in rows[-1]):
    rows.pop()
  if not rows:
    raise errors.UserError(f'{place} is empty')
  header = _header(rows[0], place)
  for i, row in enumerate(rows[1:], start=2):
    if len(row) != len(header):
      state = f'has {len(row)} cells' if row else 'is empty'
      raise errors.UserError(
        f'{place}, row {i} {state}, but the header names {len(header)} columns'
      )
  if len(rows) < 3:
    raise errors.UserError(f'{place} has {len(rows) - 1} rows below its header')
  return header, rows[1:]


def _text(path: pathlib.Path, place: str) -> str:
  data = source.read_bytes(path, LIMIT, place)
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    row = data.count(b'\n', 0, error.start) + 1
    raise errors.UserError(
      f'{place}, row {row}: byte 0x{data[error.start]:02x} is not UTF-8; save the file '
      'as CSV in UTF-8'
    ) from error
  if '\0' in text:
    row = text.count('\n', 0, text.index('\0')) + 1
    raise errors.UserError(
      f'{place}, row {row}: a zero byte, so this is no CSV in UTF-8'
    )
  return text


def _header(row: list[str], place: str) -> list[str]:
  header = [cell.strip() for cell in row]
  if not header:
    raise errors.UserError(f'{place}, row 1 is empty; expected names of columns')
  if len(header) < 2:
    marks = {';': 'semicolons', '\t': 'tabs', '|': 'bars'}
    hint = [name for mark, name in marks.items() if mark in header[0]]
    raise errors.UserError(
      f'{place} has one column, {header[0][:40]!r}'
      f'{f" (separated by {hint[0]}?)" if hint else ""}; expected one of times and at '
      'least one of numbers, separated by commas'
    )
  for i, name in enumerate(header, start=1):
    if not name:
      raise errors.UserError(f'{place}, row 1: column {i} has no name')
    if header.index(name) < i - 1:
      raise errors.UserError(f'{place}, row 1: two columns are called {name!r}')
  if all(_number(name) is not None for name in header[1:]):
    raise errors.UserError(
      f'{place}, row 1 holds numbers ({header[1]!r}); expected the names of the columns'
    )
  return header


def numbers(cells: Sequence[str], name: str, place: str) -> np.ndarray:
  """The cells of column `name` as float64 [L].

  Raises:
    UserError: a cell that is missing, no number, or not finite.
  """
  try:
    values = np.array(cells, np.float64)
    if np.isfinite(values).all():
      return values
  except ValueError:
    pass
  for i, cell in enumerate(cells, start=2):
    if cell.strip().lower() in MISSING:
      why = f'is missing ({cell!r}): fill the gaps, or cut the rows off'
    elif _number(cell) is None:
      why = f'holds {cell[:40]!r}, which is no number'
    elif not np.isfinite(float(cell)):
      why = f'holds {cell!r}; expected a finite number'
    else:
      continue
    raise errors.UserError(f'{place}, row {i}, column {name!r} {why}')
  return np.array([float(cell) for cell in cells])


def _number(cell: str) -> float | None:
  try:
    return float(cell)
  except ValueError:
    return None


def pace(cells: Sequence[str], name: str, place: str) -> str:
  """The equal step between the times in column `name`, in words.

  Raises:
    UserError: a cell that is no time, or times unsorted, repeated or irregular.
  """
  counts = [_number(cell) for cell in cells]
  compact = all(len(cell) == 8 and cell.isdigit() for cell in cells)  # 20160701
  if None not in counts and not compact:
    ticks, unit = numbers(cells, name, place), ''
  else:
    ticks, unit = _ticks(cells, name, place)
  steps = np.diff(ticks)
  usual = np.sort(steps)[len(steps) // 2]
  wrong = steps != usual
  if not unit:
    wrong = np.abs(steps - usual) > 1e-6 * abs(usual)
  wrong |= steps <= 0
  if not wrong.any():
    return words(usual, unit)
  order = np.flatnonzero(steps <= 0)  # said first: it makes the usual step meaningless
  i = int(order[0] if order.size else np.argmax(wrong))
  where = f'{place}, row {i + 3}, column {name!r}'
  if steps[i] == 0:
    raise errors.UserError(
      f'{where}: time {cells[i + 1]!r} is also that of row {i + 2}'
    )
  if steps[i] < 0:
    raise errors.UserError(
      f'{where}: time {cells[i + 1]!r} comes before {cells[i]!r} of row {i + 2}; '
      'sort the rows, oldest first'
    )
  raise errors.UserError(
    f'{where}: time {cells[i + 1]!r} is {words(steps[i], unit)} after row {i + 2}, '
    f'where the usual step is {words(usual, unit)}; steps must be equal (or let '
    'data.date name a column that counts the rows)'
  )


def _ticks(cells: Sequence[str], name: str, place: str) -> tuple[np.ndarray, str]:
  """Months, if the times lie whole months apart, or microseconds; int64 [L], unit."""
  parsed: Any = pd.to_datetime(
    pd.Series(cells, dtype=object), format='ISO8601', errors='coerce', utc=True
  )
  bad = np.flatnonzero(parsed.isna().to_numpy())
  if bad.size:
    cell = cells[bad[0]]
    why = f'{cell[:40]!r} is no ISO 8601 time (like 2016-07-01 12:00) and no number'
    if cell.lower() in MISSING:
      why = f'the time is missing ({cell!r})'
    raise errors.UserError(f'{place}, row {bad[0] + 2}, column {name!r}: {why}')
  clock = parsed.dt.tz_localize(None)
  micros = clock.to_numpy('datetime64[us]').astype(np.int64)
  months = (clock.dt.year * 12 + clock.dt.month).to_numpy(np.int64)
  same_time = len(np.unique(micros % UNITS[0][1])) == 1
  same_day = clock.dt.day.nunique() == 1 or bool(clock.dt.is_month_end.all())
  if same_time and same_day and (np.diff(months) != 0).all():
    return months, 'month'
  return micros, 'microsecond'


def words(step: float, unit: str) -> str:
  """A step of months, microseconds or plain numbers in words ('3 hours')."""
  if unit == '':
    return f'{step:g}'
  if unit == 'month':
    count, unit = (step / 12, 'year') if step % 12 == 0 else (step, 'month')
    return _plural(count, unit)
  for name, size in UNITS:
    if step % size == 0:
      return _plural(step / size, name)
  return _plural(step / UNITS[-1][1], UNITS[-1][0])


def _plural(count: float, unit: str) -> str:
  return f'{count:,.15g} {unit}{"" if count == 1 else "s"}'
