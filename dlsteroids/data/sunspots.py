"""Yearly sunspot numbers, 1700 to 2008, as embedded in statsmodels.

309 yearly means, of the National Geophysical Data Center; the cycle takes about 11
years. Too few for any claim about networks, and quick: good for a first look.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import series

OPTIONS = series.defaults(lookback=33, horizon=11, season=11, validation=0.2)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The numbers as a series [309, 1], split by time.

  Raises:
    UserError: an option out of range.
  """
  import statsmodels.api  # slow to import, and needed only here

  config = options.complete(config, OPTIONS, 'data')
  raw = statsmodels.api.datasets.sunspots.load_pandas().data
  years = raw['YEAR'].to_numpy().astype(int)
  parts = series.Parts(
    name='sunspots',
    values=raw[['SUNACTIVITY']].to_numpy(np.float64),
    names=('sunspots',),
    targets=('sunspots',),
    sizes=series.share(len(years), config),
    times=(str(years[0]), str(years[-1]), '1 year'),
    unit='sunspot number',
  )
  return series.make(parts, config)
