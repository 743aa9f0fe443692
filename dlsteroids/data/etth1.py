"""ETTh1: hourly load and oil temperature of a transformer (Zhou et al. 2021).

Two years, of which the usual split takes 12, 4 and 4 months of 30 days for training,
validation and test; the rest is not used.
"""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import series, source, table
from dlsteroids.util import errors

OPTIONS = {
  **source.OPTIONS,
  'targets': options.Option('OT', "columns to forecast, comma-separated; '': all"),
  **series.OPTIONS,
  'season': series.OPTIONS['season']._replace(default=24),
}
# No digest is published: this is of the file at the commit in the address.
PUBLISHED = source.Item(
  'ETTh1.csv',
  'https://raw.githubusercontent.com/zhouhaoyi/ETDataset/'
  '1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv',
  'sha256:f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066',
)
MONTH = 30 * 24  # rows
SIZES = (12 * MONTH, 4 * MONTH, 4 * MONTH)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """ETTh1 as a series [14400, 7], or an own file in its format.

  Unless its bytes are the published ones, it is called `ETTh1-unverified`.

  Raises:
    UserError: the file missing or damaged, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  path = source.locate_file('ett', config, PUBLISHED)
  content = table.read(path)
  used = sum(SIZES)
  if len(content.values) < used:
    raise errors.UserError(
      f'{str(path)!r} has {len(content.values):,} rows; the usual split needs {used:,}'
    )
  targets = series.choose(content.names, config['targets'])
  parts = series.Parts(
    name=source.verified_name('ETTh1', path, PUBLISHED),
    values=content.values,
    names=content.names,
    targets=targets,
    sizes=SIZES,
    times=(content.times[0], content.times[used - 1], content.step),
    unit='°C' if targets == ('OT',) else '',
  )
  return series.make(parts, config)
