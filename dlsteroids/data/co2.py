"""Weekly atmospheric CO2 at Mauna Loa, 1958 to 2001, as embedded in statsmodels.

2,284 weekly means in ppmv (Keeling and Whorf 2004). 59 weeks are missing, all before
1986 and so among the training rows at the default shares; they are interpolated
linearly. The trend lifts the test years above all that was seen in training.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.data.lib import images, series

DEFAULTS: dict[str, Any] = {
  **series.OPTIONS,
  'lookback': 104,  # weeks that are seen
  'horizon': 26,  # weeks that are forecast
  'season': 52,  # weeks of a year, about
  'validation': 0.15,  # share of the weeks, after the training weeks
  'test': 0.2,  # share of the weeks, the last ones
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The weeks as a series [2284, 1], gaps interpolated, split by time.

  Raises:
    UserError: an option out of range.
  """
  import statsmodels.api  # slow to import, and needed only here

  config = images.complete(config, DEFAULTS)
  raw = statsmodels.api.datasets.co2.load_pandas().data
  values = raw['co2'].to_numpy(np.float64)
  known, rows = np.flatnonzero(~np.isnan(values)), np.arange(len(values))
  gaps = len(values) - len(known)
  values = np.interp(rows, known, values[known])
  parts = series.Parts(
    name='co2',
    values=values[:, None],
    names=('co2',),
    targets=('co2',),
    sizes=series.share(len(values), config),
    times=(str(raw.index[0])[:10], str(raw.index[-1])[:10], '7 days'),
    unit='ppmv',
    treatments=(
      f'{gaps} of {len(values):,} weeks are missing and were interpolated linearly '
      'between their neighbours.',
    ),
  )
  return series.make(parts, config)
