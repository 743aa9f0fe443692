"""CSV files of numbers in time, read strictly: what is doubtful is refused by its row.

Rows are counted as a spreadsheet shows them: the first row of the file is row 1.
"""

import csv
import datetime
import io
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.data.lib import source
from dlsteroids.util import errors

MISSING = ('', 'na', 'n/a', 'nan', 'nat', 'null', 'none')
LIMIT = 1 << 27  # bytes; rows of text take about ten times that in memory
INDEX = 'index'  # the value of data.date that counts the rows
UNITS = (
  ('day', 86_400_000_000),
  ('hour', 3_600_000_000),
  ('minute', 60_000_000),
  ('second', 1_000_000),
)  # in microseconds
PACKED = {6: '%Y%m', 8: '%Y%m%d', 10: '%Y%m%d%H', 12: '%Y%m%d%H%M', 14: '%Y%m%d%H%M%S'}
# Half-years, quarters, months and ISO weeks, the year first or last.
PERIODS = (
  re.compile(r'(?P<year>\d{4})[- ]?(?P<kind>[HQMW])(?P<count>\d{1,2})(?:-1)?', re.I),
  re.compile(r'(?P<kind>[HQ])(?P<count>\d)[- /]?(?P<year>\d{4})', re.I),
)
MONTHS = {'H': 6, 'Q': 3, 'M': 1}
OFFSET = re.compile(r'[T ]00:00(:00(\.0+)?)?[+-]\d\d:?\d\d$')  # of a local midnight
DATES = (
  *('%d.%m.%Y', '%d/%m/%Y', '%m/%d/%Y', '%d-%m-%Y', '%m-%d-%Y', '%Y-%m-%d'),
  *('%d.%m.%y', '%d/%m/%y', '%m/%d/%y', '%d %b %Y', '%d-%b-%Y', '%d-%b-%y'),
  *('%b %d, %Y', '%B %d, %Y', '%b %Y', '%B %Y', '%b-%Y', '%b-%y', '%Y %b'),
)
CLOCKS = ('', ' %H:%M', ' %H:%M:%S', ' %I:%M %p', ' %I:%M:%S %p')
CLOCK = re.compile(r'\d{1,2}:\d\d(:\d\d)?( ?[ap]m)?', re.I)
COMMA = re.compile(r'\s*[+-]?\d*,(\d+)\s*')  # a number with one comma
POINT = re.compile(r'\s*[+-]?\d*\.\d+\s*')
MAGIC = {
  b'PK': 'an Excel workbook or a zip',
  b'\x1f\x8b': 'a gzip',
  b'\xd0\xcf': 'an Excel',
}  # how files that are no text begin
CLOSED_DAYS = 10  # working days in a row without a row, in a table of trading days
CLOSED_SHARE = 0.1  # of the steps of trading days that may pass over closed days
COUNT_ROWS = f'data.date={INDEX} counts the rows instead'


class Table(NamedTuple):
  """Numbers in time.

  Attributes:
    names: of the F columns of numbers.
    values: float64 [L, F], finite.
    times: as written, one a row.
    step: between rows, in words.
    treatments: what was done to the table, a sentence each.
  """

  names: tuple[str, ...]
  values: np.ndarray
  times: tuple[str, ...]
  step: str
  treatments: tuple[str, ...] = ()


class Cells(NamedTuple):
  """A file's cells before they are read as numbers.

  Attributes:
    place: the file, for errors.
    names: of the columns.
    columns: the cells of each column.
    first: row of the first cells, 1 or, below a header, 2.
    decimal: the decimal mark, '.' or ','.
    treatments: as `Table.treatments`.
  """

  place: str
  names: list[str]
  columns: list[tuple[str, ...]]
  first: int
  decimal: str
  treatments: list[str]

  def row(self, i: int) -> int:
    """The file's row of data row i."""
    return self.first + int(i)


def read(
  path: pathlib.Path, date: str = '', header: bool = True, exclude: Any = None
) -> Table:
  """The numbers in a CSV file, separated by commas, semicolons, tabs or bars.

  Times are ISO 8601 ('2016-07-01 00:00', with or without offset from UTC), packed
  ('20160701', '2016070100'), half-years, quarters and months ('2016Q3'), ISO weeks
  ('2016-W26'), dates as people write them ('31.12.2016', '12/31/2016 11:00 PM', 'Dec
  2016') or numbers (years, row counts, epochs), in equal steps; of hours, days and so
  on, of calendar months, or of trading days. Whether day or month comes first is read
  off the steps, and refused where they do not tell. All other columns hold finite
  numbers; a comma is the decimal mark where semicolons separate, and where no number
  has a point and a comma stands before other than three digits.

  Args:
    path: of the file, in UTF-8, or UTF-16 with a byte order mark.
    date: name of the column of times; 'index': none, rows are counted; '': the first
      that holds times, or else the first.
    header: whether the first row names the columns; else they are 'column 1', ….
    exclude: from the names of the columns to those that are left out.

  Raises:
    UserError: naming row and column of the first cell that does not fit.
  """
  cells = _parse(path, header)
  excluded = exclude(tuple(cells.names)) if exclude else ()
  at = _time_column(cells, date, header, excluded)
  rest = [i for i, name in enumerate(cells.names) if i != at and name not in excluded]
  if at is None:
    clocks = [i for i in rest if _holds_times(cells.columns[i])]
    rest = [i for i in rest if i not in clocks]
    cells.treatments.extend(
      f'The rows are counted; the times in column {cells.names[i]!r} are left out.'
      for i in clocks
    )
  if not rest:
    raise errors.UserError(
      f'{cells.place} has no column of numbers besides that of the times, '
      f'{", ".join(cells.names)[:40]!r}; if it holds the numbers, {COUNT_ROWS}'
    )
  if at is None:
    times = tuple(str(i) for i in range(len(cells.columns[0])))
    step = '1'
  else:
    times = tuple(cell.strip() for cell in cells.columns[at])
    step = _step(cells, at)
    cells.treatments.extend(_describe_form(times))
  values = [_numbers(cells, i) for i in rest]
  for i, steps in zip(rest, map(np.diff, values), strict=True):
    if steps[0] and (steps == steps[0]).all():
      name = cells.names[i]
      cells.treatments.append(
        f'Column {name!r} only counts the rows; data.exclude={name} leaves it out.'
      )
  return Table(
    names=tuple(cells.names[i] for i in rest),
    values=np.stack(values, axis=1),
    times=times,
    step=step,
    treatments=tuple(cells.treatments),
  )


def _parse(path: pathlib.Path, header: bool) -> Cells:
  """Names and cells, all rows of one length, at least two."""
  place = repr(str(path))
  text = _text(path, place)
  if text.startswith('sep=') and text[5:6] in ('\r', '\n'):  # a hint of Excel's
    text = text[5:].lstrip('\r\n')
  mark = _separator(text)
  reader = csv.reader(
    io.StringIO(text, newline=''), delimiter=mark, strict=True, skipinitialspace=True
  )
  rows: list[list[str]] = []
  try:
    rows.extend(reader)
  except csv.Error as error:
    raise errors.UserError(f'{place}, row {len(rows) + 1}: {error}') from error
  while rows and not any(cell.strip() for cell in rows[-1]):
    rows.pop()
  if not rows:
    raise errors.UserError(f'{place} is empty')
  width, first = len(rows[0]), 2 if header else 1
  if not width:
    raise errors.UserError(f'{place}, row 1 is empty; expected names of columns')
  for i, row in enumerate(rows[1:], start=2):
    if len(row) != width:
      state = f'has {len(row)} cells' if row else 'is empty'
      raise errors.UserError(f'{place}, row {i} {state}, but row 1 has {width}')
  names = [cell.strip() for cell in rows[0]]
  if not header:
    names = [f'column {i}' for i in range(1, width + 1)]
  elif len(rows) > 1 and _is_data(names):
    raise errors.UserError(
      f'{place}, row 1 holds numbers ({", ".join(names[1:4] or names)}), not the names '
      'of columns: if the file has no header, set data.header=false'
    )
  if len(rows) - (first - 1) < 2:
    where = 'below its header' if header else 'in all'
    raise errors.UserError(f'{place} has {len(rows) - first + 1} rows {where}')
  columns = [tuple(column) for column in zip(*rows[first - 1 :], strict=True)]
  cells = Cells(place, names, columns, first, _decimal(mark, columns), [])
  if width == 1 and len(names[0].split()) == len(columns[0][0].split()) > 1:
    raise errors.UserError(
      f'{place} is separated by blanks ({text.splitlines()[0][:40]!r}); separate its '
      'columns by commas, semicolons, tabs or bars'
    )
  return _named(cells)


def _decimal(mark: str, columns: Sequence[Sequence[str]]) -> str:
  """The decimal mark: a comma between semicolons, and where numbers must have it.

  '1,234' may be 1234: a comma counts if another number has other than three digits
  behind it, and none has a point.
  """
  if mark == ';':
    return ','
  cells = [cell for column in columns for cell in column]
  commas = {len(match[1]) for match in map(COMMA.fullmatch, cells) if match}
  return ',' if commas - {3} and not any(map(POINT.fullmatch, cells)) else '.'


def _named(cells: Cells) -> Cells:
  """The cells with a name for pandas' index, without a further unnamed column."""
  names, columns = list(cells.names), list(cells.columns)
  if len(names) > 1 and not names[-1] and not any(map(str.strip, columns[-1])):
    del names[-1], columns[-1]  # every row ends with a separator
  if names[0] in ('', 'Unnamed: 0'):
    count = [_number(cell, '.') for cell in columns[0]]
    dates = any(map(_holds_times, columns[1:]))
    if dates and None not in count and (np.diff(np.array(count, float)) == 1).all():
      del names[0], columns[0]
      cells.treatments.append('The unnamed first column only counts the rows.')
    else:
      names[0] = INDEX if INDEX not in names else f'{INDEX} (unnamed)'
  for i, name in enumerate(names, start=1):
    if not name:
      raise errors.UserError(f'{cells.place}, row 1: column {i} has no name')
    if names.index(name) < i - 1:
      raise errors.UserError(f'{cells.place}, row 1: two columns are called {name!r}')
  return cells._replace(names=names, columns=columns)


def _is_data(row: Sequence[str]) -> bool:
  """Whether a first row is one of numbers, its first cell a time or a number.

  0, 1, 2, … are the names that pandas gives to columns without names.
  """
  values = [_number(cell, '.') for cell in row]
  if values in ([*range(len(row))], [*range(1, len(row) + 1)]):
    return False
  first = values[0] is not None or _is_time(row[0])
  return first and None not in values[1:]


def _text(path: pathlib.Path, place: str) -> str:
  data = source.read_bytes(path, LIMIT, place)
  if what := MAGIC.get(data[:2], ''):
    raise errors.UserError(f'{place} is {what} file, not text; save the table as CSV')
  utf16 = data[:2] in (b'\xff\xfe', b'\xfe\xff')
  try:
    text = data.decode('utf-16' if utf16 else 'utf-8-sig')
  except UnicodeDecodeError as error:
    row = data.count(b'\n', 0, error.start) + 1
    raise errors.UserError(
      f'{place}, row {row}: byte 0x{data[error.start]:02x} is not UTF-8; save the file '
      'as CSV in UTF-8'
    ) from error
  if '\0' in text:
    row = text.count('\n', 0, text.index('\0')) + 1
    raise errors.UserError(
      f'{place}, row {row}: a zero byte, so this is not a CSV file in UTF-8'
    )
  return text


def _separator(text: str) -> str:
  """The mark that splits the first rows into equally many cells, more than one."""
  sample = text[: 1 << 14].splitlines()[:20]
  for mark in '\t;|':
    counts = {
      len(row) for row in csv.reader(sample[:-1] or sample, delimiter=mark) if row
    }
    if len(counts) == 1 and counts.pop() > 1:
      return mark
  return ','


def _time_column(
  cells: Cells, date: str, header: bool, excluded: Sequence[str]
) -> int | None:
  """Which column holds the times; None if the rows are counted."""
  if date == INDEX in cells.names:
    try:
      _step(cells._replace(treatments=[]), cells.names.index(INDEX))
    except errors.UserError:  # that column cannot be meant
      return None
  if date and date in cells.names:
    return cells.names.index(date)
  if date == INDEX:
    return None
  if date:
    raise errors.UserError(
      f'data.date: {cells.place} has no column {date!r}'
      f'{errors.did_you_mean(date, cells.names)}; there are {", ".join(cells.names)}, '
      f'and {INDEX} to count the rows'
    )
  columns = [i for i, name in enumerate(cells.names) if name not in excluded]
  for i in columns:
    if _holds_times(cells.columns[i]):
      return i
  first = columns[0] if columns else 0
  values = [_number(cell, cells.decimal) for cell in cells.columns[first]]
  if None in values or not (np.diff(np.array(values, float)) < 0).any():
    return first
  if not header:
    cells.treatments.append('No column holds times: the rows are counted.')
    return None
  i = int(np.argmax(np.diff(np.array(values, float)) < 0)) + 1
  raise errors.UserError(
    f'{cells.place}, row {cells.row(i)}, column {cells.names[first]!r}: '
    f'{cells.columns[first][i]!r} comes before {cells.columns[first][i - 1]!r} of the '
    'row above, so the column holds no times in order; name that of the times by '
    f'data.date, or {COUNT_ROWS}'
  )


def _numbers(cells: Cells, at: int) -> np.ndarray:
  """The cells of a column as float64 [L]."""
  column, name = cells.columns[at], cells.names[at]
  values = [_number(cell, cells.decimal) for cell in column]
  if None not in values and np.isfinite(np.array(values, float)).all():
    return np.array(values, float)
  leave_out = f'leave the column out by data.exclude={name}'
  i = next(i for i, x in enumerate(values) if x is None or not np.isfinite(x))
  why = f'holds {column[i]!r}; expected a finite number'
  if column[i].strip().lower() in MISSING:
    why = f'is missing ({column[i]!r}): fill the gaps, cut the rows off, or {leave_out}'
  elif values[i] is None:
    why = f'holds {column[i][:40]!r}, which is not a number; {leave_out}'
    if any(map(str.isdigit, column[i])):
      why += ', or write numbers like -1234.5, without units or groups of digits'
  raise errors.UserError(f'{cells.place}, row {cells.row(i)}, column {name!r} {why}')


def _number(cell: str, decimal: str) -> float | None:
  if '_' in cell:  # Python's own way to group digits
    return None
  try:
    return float(cell if decimal == '.' else cell.replace(decimal, '.'))
  except ValueError:
    return None


def _step(cells: Cells, at: int) -> str:
  """The equal step between the times in a column, in words.

  Raises:
    UserError: a cell that is not a time, or times unsorted, repeated or irregular.
  """
  times = [cell.strip() for cell in cells.columns[at]]
  clock = _parse_times(times)
  unit = ''
  if clock is not None and not clock.isna().any():
    ticks, unit = _ticks(clock)
    if unit == 'trading day':
      closed = int((np.diff(ticks) > 1).sum())
      if closed:
        cells.treatments.append(
          f'Rows are trading days; {closed:,} times the step passes over days without '
          'a row.'
        )
      return _words(1, unit)
  elif any(_number(cell, cells.decimal) is None for cell in times):
    raise _not_a_time(cells, at, times, clock)
  else:
    ticks = _numbers(cells, at)
  steps = np.diff(ticks)
  usual = np.sort(steps)[len(steps) // 2]
  wrong = steps != usual
  if not unit:
    wrong = np.abs(steps - usual) > 1e-6 * abs(usual)
  wrong |= steps <= 0
  if wrong.any():
    raise _irregular(cells, at, steps, usual, wrong, unit)
  return _words(usual, unit)


def _irregular(
  cells: Cells, at: int, steps: Any, usual: Any, wrong: Any, unit: str
) -> errors.UserError:
  """The error for the first time that does not follow the one above in order."""
  order = np.flatnonzero(steps <= 0)  # first: it makes the usual step meaningless
  i = int(order[0] if order.size else np.argmax(wrong))
  column = cells.columns[at]
  before, time = column[i].strip(), column[i + 1].strip()
  where = f'{cells.place}, row {cells.row(i + 1)}, column {cells.names[at]!r}'
  hour = 0 if unit != 'microsecond' else UNITS[1][1]
  clocks = (
    ' (a change of the clocks? write times in UTC or with their offset)'
    if hour and abs(steps[i] - usual) == hour
    else ''
  )
  if steps[i] == 0:
    hours = [
      name
      for name, cells_ in zip(cells.names, cells.columns, strict=True)
      if all(CLOCK.fullmatch(cell.strip()) for cell in cells_[i : i + 2])
    ]
    join = f'join {hours[0]!r} to it in one column, or ' if hours else ''
    return errors.UserError(
      f'{where}: time {time!r} is also that of row {cells.row(i)}; {join}{COUNT_ROWS}'
    )
  if steps[i] < 0:
    return errors.UserError(
      f'{where}: time {time!r} comes before {before!r} of row {cells.row(i)}{clocks}; '
      f'sort the rows, oldest first ({COUNT_ROWS})'
    )
  return errors.UserError(
    f'{where}: time {time!r} is {_words(steps[i], unit)} after row {cells.row(i)}, '
    f'where the usual step is {_words(usual, unit)}{clocks}; steps must be equal '
    f'({COUNT_ROWS})'
  )


def _not_a_time(
  cells: Cells, at: int, times: Sequence[str], clock: Any
) -> errors.UserError:
  """The error for the first cell that is not a time."""
  bad = clock.isna().to_numpy()
  number = [_number(cell, cells.decimal) is not None for cell in times]
  i = int(np.argmax(bad & ~np.array(number)))
  why = f'{times[i][:40]!r} is not an ISO 8601 time (like 2016-07-01 12:00) or a number'
  if times[i].lower() in MISSING:
    why = f'the time is missing ({times[i]!r})'
  elif len(_read_as_written(pd.Series(times, dtype=object))) > 1:
    why = f'{times[i]!r} may be day and month or month and day, and steps do not tell'
  if bad.all():
    why += f'; rewrite the times, name another column by data.date, or {COUNT_ROWS}'
  return errors.UserError(
    f'{cells.place}, row {cells.row(i)}, column {cells.names[at]!r}: {why}'
  )


def _holds_times(column: Sequence[str]) -> bool:
  """Whether a column holds times, by its first cell, or by all if that is a number."""
  number = _number(column[0], '.') is not None
  return _is_time(column[0]) and (not number or _is_time(*column))


def _is_time(*cells: str) -> bool:
  """Whether cells hold times that are not plain numbers."""
  clock = _parse_times([cell.strip() for cell in cells])
  return clock is not None and not clock.isna().any()


def _parse_times(times: Sequence[str]) -> Any:
  """Times as a pandas Series in UTC, NaT where one is not a time; None for numbers."""
  series = pd.Series(times, dtype=object)
  if all(cell.replace('.', '', 1).lstrip('+-').isdigit() for cell in times):
    lengths = {len(cell) for cell in times}
    form = PACKED.get(lengths.pop()) if len(lengths) == 1 else None
    if form is None or not all(map(str.isdigit, times)):
      return None
    packed = pd.to_datetime(series, format=form, errors='coerce', utc=True)
    return packed if packed.dt.year.between(1600, 2200).all() else None
  if any(pattern.fullmatch(times[0]) for pattern in PERIODS):
    series = series.map(_period)
  if all(map(OFFSET.search, times)):  # whole days where the clocks may change
    series = series.map(lambda cell: OFFSET.sub('', cell))
  clock = pd.to_datetime(series, format='ISO8601', errors='coerce', utc=True)
  if not clock.isna().all():
    return clock
  readings = list(_read_as_written(series).values())
  if len(readings) > 1 and len(times) > 2:
    readings = [reading for reading in readings if _is_regular(reading)]
    return readings[0] if len(readings) == 1 else clock
  return readings[0] if readings else clock


def _read_as_written(series: pd.Series) -> dict[str, pd.Series]:
  """The times that every form of `DATES` and `CLOCKS` reads in all cells, by form."""
  readings: dict[str, pd.Series] = {}
  for form in (f'{date}{clock}' for date in DATES for clock in CLOCKS):
    try:
      datetime.datetime.strptime(series[0], form)
      reading = pd.to_datetime(series, format=form, utc=True)
    except ValueError:
      continue
    if not any(reading.equals(other) for other in readings.values()):
      readings[form] = reading
  return readings


def _is_regular(clock: pd.Series) -> bool:
  steps = np.diff(_ticks(clock)[0])
  return bool((steps == steps[0]).all() and steps[0] > 0)


def _describe_form(times: Sequence[str]) -> list[str]:
  """A sentence if day or month might come first."""
  if not re.match(r'\d{1,2}[/-]\d{1,2}[/-]\d', times[0]):
    return []
  clock = _parse_times(times)
  is_day = bool((clock.dt.day == [int(re.split('[/-]', t)[0]) for t in times]).all())
  order = 'day, month, year' if is_day else 'month, day, year'
  return [f'Times like {times[-1]!r} are read as {order}.']


def _period(cell: str) -> str:
  """The first day of a half-year, quarter, month or ISO week; other cells as is."""
  match = next(filter(None, (each.fullmatch(cell) for each in PERIODS)), None)
  if not match:
    return cell
  year, kind, count = int(match['year']), match['kind'].upper(), int(match['count'])
  try:
    if kind == 'W':
      return str(datetime.date.fromisocalendar(year, count, 1))
    return str(datetime.date(year, MONTHS[kind] * (count - 1) + 1, 1))
  except ValueError:
    return cell


def _ticks(clock: Any) -> tuple[np.ndarray, str]:
  """Times as int64 [L] in a unit: months, trading days, or else microseconds.

  Months, where the times lie whole months apart; trading days, where they are days of
  which some weekdays never occur, nearly all following one another.
  """
  clock = clock.dt.tz_localize(None)
  micros = clock.to_numpy('datetime64[us]').astype(np.int64)
  if len(np.unique(micros % UNITS[0][1])) > 1:
    return micros, 'microsecond'
  months = (clock.dt.year * 12 + clock.dt.month).to_numpy(np.int64)
  steps = np.diff(months)
  same_day = clock.dt.day.nunique() == 1 or bool(clock.dt.is_month_end.all())
  if (steps > 0).all() and (same_day or len(set(steps)) == 1):
    return months, 'month'
  open_days = [day in set(clock.dt.day_of_week) for day in range(7)]
  if 4 <= sum(open_days) < 7 and (np.diff(micros) > 0).all():
    dates = clock.to_numpy('datetime64[D]')
    days = np.busday_count(dates[0], dates, weekmask=open_days)
    steps = np.diff(days)
    if steps.max() <= CLOSED_DAYS and (steps > 1).mean() <= CLOSED_SHARE:
      return days, 'trading day'
  return micros, 'microsecond'


def _words(step: float, unit: str) -> str:
  """A step in a unit of `_ticks`, or of plain numbers, in words ('3 hours')."""
  if unit == '':
    return f'{step:g}'
  if unit == 'month' and step % 12 == 0:
    return _plural(step / 12, 'year')
  if unit != 'microsecond':
    return _plural(step, unit)
  name, size = next((u for u in UNITS if step % u[1] == 0), UNITS[-1])
  return _plural(step / size, name)


def _plural(count: float, unit: str) -> str:
  return f'{count:,.15g} {unit}{"" if count == 1 else "s"}'
