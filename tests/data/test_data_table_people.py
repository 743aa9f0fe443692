"""Tables as people export them: dates in words and national orders, decimal commas.

Oracle: the same rows with ISO times and decimal points.
"""

import pandas as pd
import pytest

from dlsteroids.data.lib import table
from dlsteroids.util import errors

DAYS = pd.date_range('2021-01-01', periods=40)
HOURS = pd.date_range('2021-01-01', periods=40, freq='h')
MONTHS = pd.date_range('2005-01-01', periods=40, freq='MS')
LOCAL = pd.date_range('2021-03-20', periods=20, tz='Europe/Berlin')


@pytest.fixture
def read(tmp_path):
  def run(times, mark=',', decimal='.', **options):
    rows = [
      f'{time}{mark}{i % 7}{decimal}25{mark}{i}{decimal}5'
      for i, time in enumerate(times)
    ]
    return content([f'date{mark}load{mark}heat', *rows], **options)

  def content(rows, **options):
    path = tmp_path / 'mine.csv'
    path.write_text('\n'.join(rows) + '\n', encoding='utf-8')
    return table.read(path, **options)

  run.content = content
  return run


FORMS = {
  'dots': (DAYS.strftime('%d.%m.%Y'), '1 day'),
  'day first': (DAYS.strftime('%d/%m/%Y'), '1 day'),
  'month first': (DAYS.strftime('%m/%d/%Y'), '1 day'),
  'month first, with hours': (HOURS.strftime('%m/%d/%Y %I:%M %p'), '1 hour'),
  'hours of half a day': (HOURS.strftime('%Y-%m-%d %I:%M %p'), '1 hour'),
  'dots and hours': (HOURS.strftime('%d.%m.%Y %H:%M'), '1 hour'),
  'first days of months': (MONTHS.strftime('%d/%m/%Y'), '1 month'),
  'months in words': (MONTHS.strftime('%b %Y'), '1 month'),
  'months with M': (MONTHS.strftime('%YM%m'), '1 month'),
  'days in words': (DAYS.strftime('%d-%b-%y'), '1 day'),
  'quarters with a blank': ([f'{1990 + i // 4} Q{i % 4 + 1}' for i in range(40)], 3),
  'small quarters': ([f'{1990 + i // 4}q{i % 4 + 1}' for i in range(40)], 3),
  'quarters first': ([f'Q{i % 4 + 1}-{1990 + i // 4}' for i in range(40)], 3),
  'half-years': ([f'{1990 + i // 2}H{i % 2 + 1}' for i in range(40)], 6),
  'days of ISO weeks': ([f'2019-W{i:02}-1' for i in range(1, 41)], '7 days'),
  'days across a change of the clocks': (LOCAL, '1 day'),
}


@pytest.mark.parametrize('form', FORMS)
def test_times_as_people_write_them(read, form):
  times, step = FORMS[form]
  content = read(times)
  assert content.step == (step if isinstance(step, str) else f'{step} months')
  assert content.names == ('load', 'heat')


def test_the_order_of_day_and_month_is_said_or_refused(read):
  assert read(DAYS.strftime('%d/%m/%Y')).treatments[0] == (
    "Times like '09/02/2021' are read as day, month, year."
  )
  assert read(DAYS.strftime('%m/%d/%Y')).treatments[0] == (
    "Times like '02/09/2021' are read as month, day, year."
  )
  with pytest.raises(errors.UserError, match='may be day and month or month and day'):
    read(['01/02/2021', '03/04/2021', '06/05/2021'])


@pytest.mark.parametrize('mark', ['\t', '|', ';'])
def test_a_decimal_comma_is_read_where_it_can_be_nothing_else(read, mark):
  point = read(DAYS.strftime('%Y-%m-%d'))
  comma = read(DAYS.strftime('%Y-%m-%d'), mark, ',')
  assert (comma.values == point.values).all()
  quoted = [f'"{day:%Y-%m-%d}", "{i % 7},25", "{i},5"' for i, day in enumerate(DAYS)]
  content = read.content(['"date", "load", "heat"', *quoted])
  assert content.names == point.names
  assert (content.values == point.values).all()


@pytest.mark.parametrize('cell', ['1,234', '1_234', '$12.5', '12 %', '1\u00a0234'])
def test_what_only_looks_like_a_number_is_refused_with_the_cure(read, cell):
  rows = [f'{day:%Y-%m-%d}\t{cell}' for day in DAYS]
  with pytest.raises(errors.UserError, match=r'row 2.*write numbers like -1234\.5'):
    read.content(['date\tload', *rows])


def test_rows_are_counted_where_the_column_index_is_no_clock(read):
  times = [*DAYS[:5], *DAYS[9:20]]
  for name in ('', 'index'):
    rows = [f'{time:%Y-%m-%d},{i % 7}.5' for i, time in enumerate(times)]
    with pytest.raises(errors.UserError, match=r'data\.date=index counts the rows'):
      read.content([f'{name},load', *rows])
    content = read.content([f'{name},load', *rows], date='index')
    assert (content.times[-1], content.names) == ('15', ('load',))
  rows = [f'{time:%Y-%m-%d},{i % 7}.5' for i, time in enumerate(DAYS)]
  assert read.content(['index,load', *rows], date='index').step == '1 day'


@pytest.mark.parametrize(
  ('rows', 'words'),
  [
    (['date load', '2021-01-01 3', '2021-01-02 4'], 'is separated by blanks'),
    (
      ['day,hour,load', '2021-01-01,00:00,1', '2021-01-01,01:00,2'],
      "join 'hour' to it in one column, or data.date=index",
    ),
    (['PK\x03\x04'], 'is an Excel workbook or a zip file'),
  ],
)
def test_other_files_are_refused_with_the_cure(read, rows, words):
  with pytest.raises(errors.UserError, match=words):
    read.content(rows)
