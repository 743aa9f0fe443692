"""Weekly atmospheric CO2 at Mauna Loa, 1958 to 2001, as embedded in statsmodels.

2,284 weekly means in ppmv (Keeling and Whorf 2004). 59 weeks are missing, all before
1986 and so among the training rows at the default shares; they are interpolated
linearly. The trend lifts the test years above all values of the training years.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import series

OPTIONS = series.defaults(lookback=104, horizon=26, season=52, validation=0.15)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The weeks as a series [2284, 1], gaps interpolated, split by time.

  Raises:
    UserError: an option out of range.
  """
  import statsmodels.api  # slow to import, and needed only here

  config = options.complete(config, OPTIONS, 'data')
  raw = statsmodels.api.datasets.co2.load_pandas().data
  weekly = raw['co2'].to_numpy(np.float64)
  present = np.flatnonzero(~np.isnan(weekly))
  values = np.interp(np.arange(len(weekly)), present, weekly[present])
  parts = series.Parts(
    name='co2',
    values=values[:, None],
    names=('co2',),
    targets=('co2',),
    sizes=series.share(len(values), config),
    times=(str(raw.index[0])[:10], str(raw.index[-1])[:10], '7 days'),
    unit='ppmv',
    treatments=(
      f'{len(weekly) - len(present)} of {len(values):,} weeks are missing and were '
      'interpolated linearly between their neighbours.',
    ),
  )
  return series.make(parts, config)
