"""Yearly sunspot numbers, 1700 to 2008, as embedded in statsmodels.

309 means of the years, of the National Geophysical Data Center; the cycle takes about
11 years. Too few for any claim about networks, and quick: good for a first look.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.data.lib import images, series

DEFAULTS: dict[str, Any] = {
  **series.OPTIONS,
  'lookback': 33,  # years that are seen
  'horizon': 11,  # years that are forecast
  'season': 11,  # years of a cycle, about
  'validation': 0.2,  # share of the years, after the training years
  'test': 0.2,  # share of the years, the last ones
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The numbers as a series [309, 1], split by time.

  Raises:
    UserError: an option out of range.
  """
  import statsmodels.api  # slow to import, and needed only here

  config = images.complete(config, DEFAULTS)
  raw = statsmodels.api.datasets.sunspots.load_pandas().data
  years = raw['YEAR'].to_numpy().astype(int)
  values = raw[['SUNACTIVITY']].to_numpy(np.float64)
  parts = series.Parts(
    name='sunspots',
    values=values,
    names=('sunspots',),
    targets=('sunspots',),
    sizes=series.share(len(values), config),
    times=(str(years[0]), str(years[-1]), '1 year'),
    unit='sunspot number',
  )
  return series.make(parts, config)
