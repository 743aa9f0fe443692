"""Your own series: a CSV file with a column of times and columns of numbers.

Every column but the times is an input. See `table.read` for the accepted forms.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import series, source, table
from dlsteroids.util import errors

OPTIONS = {
  'path': options.Option('', 'the file'),
  'header': options.Option(True, 'whether the first row names the columns'),
  'date': options.Option(
    '', "column of times; '': the first that holds times; index: count the rows"
  ),
  'targets': options.Option('', "columns to forecast, comma-separated; '': all"),
  'exclude': options.Option('', 'columns to leave out, comma-separated'),
  **series.OPTIONS,
  **series.SHARES,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The file as a series [L, F], split by time and named after the file.

  Raises:
    UserError: no such file, anything in it that is not a regular series of numbers, or
      an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  if not config['path']:
    raise errors.UserError('data.path is empty: give the .csv file')
  path = source.locate('csv_file', config, _find, 'a .csv file')
  exclude = None
  if config['exclude']:
    exclude = functools.partial(
      series.choose, listed=config['exclude'], option='exclude'
    )
  content = table.read(path, config['date'], config['header'], exclude)
  parts = series.Parts(
    name=path.stem,
    values=content.values,
    names=content.names,
    targets=series.choose(content.names, config['targets']),
    sizes=series.share(len(content.values), config),
    times=(content.times[0], content.times[-1], content.step),
    treatments=content.treatments,
  )
  return series.make(parts, config)


def _find(place: pathlib.Path) -> pathlib.Path:
  """`place`, if it is a file."""
  if place.is_dir():
    names = sorted(path.name for path in place.glob('*.csv'))
    raise errors.UserError(
      f'data.path: {str(place)!r} is a folder; give one file '
      f'({", ".join(names[:5]) or "it holds no .csv"})'
    )
  return place
