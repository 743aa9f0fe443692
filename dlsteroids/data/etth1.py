"""ETTh1: hourly load and oil temperature of a transformer (Zhou et al. 2021).

Two years, of which the usual split takes 12, 4 and 4 months of 30 days for training,
validation and test, and leaves the rest.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.data.lib import images, series, source, table
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  **source.OPTIONS,
  'targets': 'OT',  # comma-separated; '': all seven columns
  **series.OPTIONS,
  'season': 24,  # hours of a day
}
FILE = 'ETTh1.csv'
ADDRESS = (
  'https://raw.githubusercontent.com/zhouhaoyi/ETDataset/'
  '1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv'
)
# No digest is published: this is of the file at the commit in the address.
SHA256 = 'f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066'
MONTH = 30 * 24  # rows
SIZES = (12 * MONTH, 4 * MONTH, 4 * MONTH)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """ETTh1 as a series [14400, 7], or an own file in its format.

  Unless its bytes are the published ones, it is called `ETTh1-unverified`.

  Raises:
    UserError: the file missing or damaged, or an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  item = source.Item(FILE, ADDRESS, f'sha256:{SHA256}')
  path = source.locate('ett', config, find, FILE, [item])
  verified = source.checksum(path) == SHA256
  found = table.read(path)
  used = sum(SIZES)
  if len(found.values) < used:
    raise errors.UserError(
      f'{str(path)!r} has {len(found.values):,} rows; the usual split needs {used:,}'
    )
  targets = series.choose(found.names, config['targets'])
  parts = series.Parts(
    name='ETTh1' if verified else 'ETTh1-unverified',
    values=found.values,
    names=found.names,
    targets=targets,
    sizes=SIZES,
    times=(found.times[0], found.times[used - 1], found.step),
    unit='°C' if targets == ('OT',) else '',
  )
  return series.make(parts, config)


def find(place: pathlib.Path) -> pathlib.Path | None:
  """The file at or in `place`; None if there is none."""
  path = place / FILE if place.is_dir() else place
  return path if path.is_file() else None
