"""Own series in CSV files: what is read, and that each mistake is one line."""

import datetime

import numpy as np
import pandas as pd
import pytest

from dlsteroids.data import csv_file
from dlsteroids.data.lib import table
from dlsteroids.util import errors

SMALL = {'lookback': 4, 'horizon': 2}


def days(count=60, start='2020-01-01'):
  """Rows of a daily file, the header first."""
  first = datetime.date.fromisoformat(start)
  rows = [
    f'{first + datetime.timedelta(i)},{i % 7}.5,{(i * i) % 11}' for i in range(count)
  ]
  return ['date,load,heat', *rows]


def write(folder, rows, encoding='utf-8'):
  path = folder / 'mine.csv'
  path.write_bytes('\n'.join(rows).encode(encoding))
  return path


def load(path, **options):
  return csv_file.load({'path': str(path), **SMALL, **options})


def test_a_file_becomes_a_series(tmp_path):
  dataset = load(write(tmp_path, days()))
  assert dataset.name == 'mine'
  assert dataset.facts['targets'] == dataset.facts['inputs'] == ['load', 'heat']
  assert dataset.facts['rows'] == {'train': 42, 'validation': 6, 'test': 12}
  assert (dataset.facts['start'], dataset.facts['end']) == ('2020-01-01', '2020-02-29')
  assert dataset.facts['step'] == '1 day'
  own = dataset.arrays['series'][:, 0] * dataset.facts['std'][0]
  np.testing.assert_allclose(
    own + dataset.facts['mean'][0], [i % 7 + 0.5 for i in range(60)], atol=1e-5
  )
  one = load(write(tmp_path, days()), targets=' heat')
  assert one.facts['targets'] == ['heat']
  assert one.take(one.arrays, np.arange(3), train=True)['target'].shape == (3, 2, 1)
  assert 'seasonal naive' not in one.references  # no season was given


def test_the_date_may_be_any_column_and_the_file_may_begin_with_a_mark(tmp_path):
  rows = [','.join(reversed(row.split(','))) for row in days()]
  plain = load(write(tmp_path, rows), date='date')
  assert plain.facts['inputs'] == ['heat', 'load']
  marked = load(write(tmp_path, [*rows, '', ''], 'utf-8-sig'), date='date')
  assert marked.digest == plain.digest
  quoted = ['"' + row.replace(',', '","') + '"\r' for row in rows]
  assert load(write(tmp_path, quoted), date='date').digest == plain.digest


def month_ends(freq, count=40):
  return [
    str(day)[:10] for day in pd.date_range('1999-01-31', periods=count, freq=freq)
  ]


STEPS = {
  '1 hour': [f'2020-01-{1 + i // 24:02}T{i % 24:02}:00' for i in range(40)],
  '15 minutes': [f'2020-01-01 {i // 4:02}:{i % 4 * 15:02}:00' for i in range(40)],
  '1.5 seconds': [f'2020-01-01 00:00:{i * 1.5:06.3f}' for i in range(40)],
  '7 days': [str(day)[:10] for day in pd.date_range('2001', periods=40, freq='7D')],
  '1 month': [f'{1990 + i // 12}-{i % 12 + 1:02}-01' for i in range(40)],
  '3 months': month_ends('QE'),
  '2 months': month_ends('2ME'),
  '1 year': [f'{1960 + i}-06-30' for i in range(40)],
  '1': [str(1700 + i) for i in range(40)],
  '0.1': [f'{i / 10:g}' for i in range(40)],
  '2 days': [f'202001{i * 2 + 1:02}' for i in range(15)],  # compact ISO dates
  # Local times around a change of the clocks, with their offsets.
  '2 hours': [
    '2020-03-29T00:00+01:00',
    '2020-03-29T03:00+02:00',
    '2020-03-29T05:00+02:00',
  ],
}


@pytest.mark.parametrize('step', STEPS)
def test_regular_steps_are_told_in_words(tmp_path, step):
  rows = ['time,x', *(f'{time},{i}' for i, time in enumerate(STEPS[step]))]
  assert table.read(write(tmp_path, rows)).step == step


def numbered(times, name='date'):
  return [
    f'{name},x,y',
    *(f'{time},{i % 5},{i * i % 7}' for i, time in enumerate(times)),
  ]


def stamps(start, count=40, form='%Y-%m-%d %H:%M', **options):
  return [f'{time:{form}}' for time in pd.date_range(start, periods=count, **options)]


WORKDAYS = stamps('2021-01-01', freq='B', form='%Y-%m-%d')
PEOPLES = {
  'trading days': (WORKDAYS, '1 trading day'),
  'holidays': ([*WORKDAYS[:20], *WORKDAYS[22:]], '1 trading day'),
  'first working days of months': (stamps('2005', freq='BMS'), '1 month'),
  'last working days of months': (stamps('2005', freq='BME'), '1 month'),
  'months without days': ([f'{2005 + i // 12}-{i % 12 + 1:02}' for i in range(40)],
                          '1 month'),
  'quarters': ([f'{1990 + i // 4}Q{i % 4 + 1}' for i in range(40)], '3 months'),
  'ISO weeks': ([f'2021-W{i + 1:02}' for i in range(40)], '7 days'),
  'packed months': (stamps('2005', form='%Y%m', freq='MS'), '1 month'),
  'packed hours': (stamps('2021', form='%Y%m%d%H', freq='h'), '1 hour'),
  'packed minutes': (stamps('2021', form='%Y%m%d%H%M', freq='5min'), '5 minutes'),
  'epoch minutes of eight digits': (range(26_824_320, 26_824_360), '1'),
  'epoch minutes that begin as dates': (range(20_160_701, 20_160_741), '1'),
  'epoch seconds': (range(1_609_459_200, 1_609_461_600, 60), '60'),
}  # fmt: skip


@pytest.mark.parametrize('kind', PEOPLES)
def test_times_as_people_write_them(tmp_path, kind):
  times, step = PEOPLES[kind]
  found = table.read(write(tmp_path, numbered(times)))
  assert (found.step, found.names) == (step, ('x', 'y'))
  assert bool(found.treatments) == (kind == 'holidays')


@pytest.mark.parametrize(('start', 'words'), [
  ('2021-03-27 20:00', 'is 75 minutes after row 25, .* .a change of the clocks'),
  ('2021-10-30 20:00', 'comes before .* .a change of the clocks'),
])  # fmt: skip
def test_local_times_at_a_change_of_the_clocks(tmp_path, start, words):
  times = pd.date_range(start, periods=60, freq='15min', tz='Europe/Berlin')
  local = [f'{time:%Y-%m-%d %H:%M}' for time in times]
  path = write(tmp_path, numbered(local))
  with pytest.raises(errors.UserError, match=words):
    table.read(path)
  assert table.read(write(tmp_path, numbered(times))).step == '15 minutes'
  counted = table.read(write(tmp_path, numbered(local)), date='index')
  assert (counted.names, counted.step) == (('x', 'y'), '1')
  assert counted.treatments == (
    "The rows are counted; the times in column 'date' are left out.",
  )


def test_tables_as_pandas_writes_them(tmp_path):
  frame = pd.read_csv(write(tmp_path, days()), parse_dates=['date'])
  expected = load(write(tmp_path, days())).arrays['series']
  for form in (
    frame.set_index('date').rename_axis(None).to_csv(),
    frame.to_csv(),  # with a RangeIndex
    frame.to_csv(sep=';', decimal=',', index=False),
    frame.to_csv(sep='\t', index=False),
    frame.assign(**{'Unnamed: 0': range(60)})[['Unnamed: 0', *frame]].to_csv(
      index=False
    ),
    ',\n'.join(days()) + ',',
    'sep=;\n' + frame.to_csv(sep=';', decimal=',', index=False),
  ):
    dataset = load(write(tmp_path, [form.rstrip('\n')]))
    np.testing.assert_array_equal(dataset.arrays['series'], expected)
    assert dataset.facts['inputs'] == ['load', 'heat']
  for rename in ({'load': 773869, 'heat': 767541}, {'load': 'volume, cars'}):
    text = frame.rename(columns=rename).to_csv(index=False)
    dataset = load(write(tmp_path, [text]), targets=str(rename['load']))
    assert dataset.facts['targets'] == [str(rename['load'])]
    np.testing.assert_array_equal(dataset.arrays['series'], expected)
  utf16 = load(write(tmp_path, ['\ufeff' + days()[0], *days()[1:]], 'utf-16-le'))
  np.testing.assert_array_equal(utf16.arrays['series'], expected)


def test_columns_are_left_out_by_name(tmp_path):
  rows = days()
  rows = [f'{rows[0]},shop,same', *(f'{row},north,3' for row in rows[1:])]
  for exclude, words in (
    ('', r"column 'shop' holds 'north', .* data\.exclude=shop"),
    ('shop', r"'same' has the one value 3 .* data\.exclude=same"),
    ('shp', r"data\.exclude: no column 'shp' \(did you mean 'shop'"),
    ('load,heat,shop,same', 'no column of numbers besides that of the times'),
  ):
    with pytest.raises(errors.UserError, match=words):
      load(write(tmp_path, rows), exclude=exclude)
  plain = load(write(tmp_path, days()))
  assert load(write(tmp_path, rows), exclude='shop, same').digest == plain.digest


def test_numbers_that_look_like_packed_times_stay_numbers(tmp_path):
  rows = ['price,date', *(f'{200_001 + 37 * i % 500},{i}' for i in range(60))]
  assert table.read(write(tmp_path, rows), date='date').names == ('price',)
  assert table.read(write(tmp_path, rows), date='index').names == ('price', 'date')
  dated = [
    'price,day',
    *(f'{200_001 + 37 * i % 500},2020-{i + 1:02}' for i in range(12)),
  ]
  assert table.read(write(tmp_path, dated)).names == ('price',)


def test_a_column_that_counts_the_rows_is_reported(tmp_path):
  rows = ['date,x,row', *(f'2020-01-{i + 1:02},{i % 7},{i}' for i in range(30))]
  [sentence] = table.read(write(tmp_path, rows)).treatments
  assert (
    sentence == "Column 'row' only counts the rows; data.exclude=row leaves it out."
  )


def test_a_file_without_header_or_times(tmp_path):
  generator = np.random.default_rng(0)
  rows = [','.join(f'{x:.3f}' for x in generator.normal(size=2)) for _ in range(60)]
  path = write(tmp_path, rows)
  with pytest.raises(errors.UserError, match=r'row 1 holds numbers .* data\.header='):
    load(path)
  dataset = load(path, header=False)
  assert dataset.facts['inputs'] == ['column 1', 'column 2']
  assert dataset.facts['rows'] == {'train': 42, 'validation': 6, 'test': 12}
  assert dataset.facts['treatments'] == ['No column holds times: the rows are counted.']
  assert load(path, header=False, date='index').digest == dataset.digest
  for names in ('a,b', '0,1'):
    path = write(tmp_path, [names, *rows])
    with pytest.raises(errors.UserError, match=r'no times in order; .* data\.date='):
      load(path)
    assert load(path, date='index').facts['inputs'] == names.split(',')
  dated = load(write(tmp_path, days()[1:]), header=False)
  assert dated.facts['step'] == '1 day'


def spoil(row, text):
  """Rows of which one, counted from 1 with the header, is replaced."""
  rows = days()
  rows[row - 1] = text
  return rows


def drop(row, rows=None):
  rows = rows or days()
  return [*rows[: row - 1], *rows[row:]]


def monthly():
  return ['date,x', *(f'{time},{i}' for i, time in enumerate(STEPS['1 month']))]


MISTAKES = {
  'empty': ([], 'is empty$'),
  'blank': (['', '  '], 'is empty$'),
  'header only': (days(0), 'has 0 rows below its header'),
  'one row': (days(1), 'has 1 rows below its header'),
  'one column': (
    ['x', '1', '2'],
    "no column of numbers besides that of the times, 'x'",
  ),
  'no header': (days()[1:], 'row 1 holds numbers'),
  'unnamed': (spoil(1, 'date,,heat'), 'row 1: column 2 has no name'),
  'same name': (spoil(1, 'date,heat,heat'), "two columns are called 'heat'"),
  'short row': (spoil(9, '2020-01-08,1'), 'row 9 has 2 cells, but row 1 has 3'),
  'long row': (spoil(9, '2020-01-08,1,2,3'), 'row 9 has 4 cells'),
  'blank row': (spoil(9, ''), 'row 9 is empty'),
  'blank header': (spoil(1, ''), 'row 1 is empty; expected names'),
  'open quote': (spoil(9, '2020-01-08,"1,2'), 'row 9: unexpected end of data'),
  'word': (
    spoil(9, '2020-01-08,much,2'),
    "row 9, column 'load' holds 'much', which is",
  ),
  'gap': (spoil(9, '2020-01-08,,2'), r"row 9, column 'load' is missing \(''\): fill"),
  'nan': (spoil(9, '2020-01-08,1,NaN'), r"row 9, column 'heat' is missing \('NaN'\)"),
  'infinite': (spoil(9, '2020-01-08,-inf,2'), "row 9, column 'load' holds '-inf'"),
  'comma': (spoil(9, '2020-01-08,"1,5",2'), "row 9, column 'load' holds '1,5'"),
  'no time': (spoil(9, ',1,2'), r"row 9, column 'date': the time is missing \(''\)"),
  'other time': (
    spoil(9, '08/01/2020,1,2'),
    "row 9, .*'08/01/2020' is not an ISO 8601 time",
  ),
  'number and word': (['t,x', '0,1', '1,3', 'end,4'], "row 4, .*'end' is not an ISO"),
  'impossible': (
    spoil(9, '2020-02-30,1,2'),
    "row 9, .*'2020-02-30' is not an ISO 8601",
  ),
  'repeated': (
    spoil(9, '2020-01-07,1,2'),
    "row 9, .*'2020-01-07' is also that of row 8",
  ),
  'unsorted': (
    spoil(9, '2020-01-02,1,2'),
    "row 9, .*'2020-01-02' comes before '2020-01-07' of row 8; sort",
  ),
  'newest first': ([days()[0], *days()[:0:-1]], 'row 3, .* comes before .* of row 2'),
  'missing day': (
    drop(9),
    "row 9, .*'2020-01-09' is 2 days after row 8, where .* 1 day",
  ),
  'missing month': (
    drop(9, monthly()),
    "row 9, .*'1990-09-01' is 2 months after row 8, where the usual step is 1 month",
  ),
  'uneven count': (['n,x', '1,2', '2,3', '3,4', '5,1'], 'row 5, .* is 2 after row 4'),
  'constant': (
    ['n,x,y', *(f'{i},{i},8' for i in range(60))],
    "column 'y' has the one value 8 in all 42 training rows",
  ),
  'huge': (['n,x', *(f'{i},{i}e300' for i in range(60))], "'x' has values too large"),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_a_mistake_in_the_file_is_one_line(tmp_path, kind):
  rows, message = MISTAKES[kind]
  with pytest.raises(errors.UserError, match=message) as error:
    load(write(tmp_path, rows))
  assert 'mine' in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('encoding', 'cell', 'message'),
  [
    ('latin-1', 'ä', 'row 5: byte 0xe4 is not UTF-8'),
    ('utf-16-le', '', 'row 1: a zero byte'),
  ],
)
def test_other_encodings_are_told(tmp_path, encoding, cell, message):
  rows = days()
  rows[4] += cell
  with pytest.raises(errors.UserError, match=message):
    load(write(tmp_path, rows, encoding))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (
      {'date': 'dat'},
      r"no column 'dat' \(did you mean 'date'\?\); there are date, load",
    ),
    ({'targets': 'cold'}, "no column 'cold'; there are load, heat"),
    ({'targets': 'date'}, "no column 'date'; there are load, heat"),
    ({'targets': 'load,load'}, "names a column twice: 'load,load'"),
    ({'targets': 'load,'}, "no column ''"),
    (
      {'horizon': 7},
      'data.horizon = 7 is too long for the validation split: at most 6',
    ),
    ({'horizon': 50}, 'data.horizon = 50 is too long for the train split: at most 41'),
    ({'lookback': 41}, 'data.lookback = 41 .* the 42 rows of the train .*: at most 40'),
    ({'lookback': 0}, 'data.lookback must be at least 1, not 0'),
    ({'horizon': 0}, 'data.horizon must be at least 1'),
    ({'stride': 0}, 'data.stride must be at least 1'),
    ({'season': 49}, r'data.season must lie in 0\.\.48'),
    ({'season': -1}, 'data.season must be at least 0'),
    ({'examples': 38}, r'data.examples must lie in 0\.\.37'),
    ({'validation': 0.0}, r'data.validation must lie in \(0, 1\), not 0.0'),
    ({'validation': 0.6, 'test': 0.4}, 'leave none of the 60 rows for training'),
    ({'validation': 0.001}, 'too long for the validation split: at most 0 rows'),
    ({'path': ''}, 'data.path is empty'),
    ({'path': '/nowhere/x.csv'}, 'does not exist'),
  ],
)
def test_a_mistake_in_the_options_is_one_line(tmp_path, options, message):
  path = write(tmp_path, days())
  with pytest.raises(errors.UserError, match=message) as error:
    csv_file.load({'path': str(path), **SMALL, **options})
  assert '\n' not in str(error.value)


def test_the_largest_that_fits_does(tmp_path):
  path = write(tmp_path, days())
  assert len(load(path, horizon=6).split(0)['validation']) == 1
  assert len(load(path, lookback=40).split(0)['train']) == 1
  assert len(load(path, examples=37).split(0)['train']) == 37
  load(path, season=48)


def test_a_folder_is_told_what_it_holds(tmp_path):
  write(tmp_path, days())
  with pytest.raises(errors.UserError, match=r'is a folder; give one .*mine\.csv'):
    load(tmp_path)
