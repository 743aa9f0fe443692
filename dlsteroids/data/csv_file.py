"""Your own series: a CSV file with a column of times and columns of numbers.

Every column but the times is an input. See `table.read` for what is accepted.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.data.lib import images, series, source, table
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'path': '',  # the file
  'date': '',  # the column of times; '': the first one
  'targets': '',  # comma-separated columns to forecast; '': all
  **series.OPTIONS,
  **series.SHARES,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The file as a series [L, F], split by time and called by the file's name.

  Raises:
    UserError: no such file, anything in it that is no regular series of numbers, or an
      option out of range.
  """
  config = images.complete(config, DEFAULTS)
  if not config['path']:
    raise errors.UserError('data.path is empty: give the .csv file')
  path = source.locate('csv_file', config, find, 'a .csv file')
  found = table.read(path, config['date'])
  parts = series.Parts(
    name=path.stem,
    values=found.values,
    names=found.names,
    targets=series.choose(found.names, config['targets']),
    sizes=series.share(len(found.values), config),
    times=(found.times[0], found.times[-1], found.step),
  )
  return series.make(parts, config)


def find(place: pathlib.Path) -> pathlib.Path:
  """`place`, if it is a file.

  Raises:
    UserError: it is a folder.
  """
  if place.is_dir():
    names = sorted(path.name for path in place.glob('*.csv'))
    raise errors.UserError(
      f'data.path: {str(place)!r} is a folder; give one file '
      f'({", ".join(names[:5]) or "it holds no .csv"})'
    )
  return place
