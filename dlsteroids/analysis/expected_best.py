"""What a search would have found with fewer trials: the expected best of k draws.

Dodge et al. 2019, 'Show Your Work' (EMNLP), equation 7: of N random trials with sorted
validation scores v_(1) ≤ … ≤ v_(N), the best of k drawn with replacement is expected to
be Σ v_(i) ((i / N)^k − ((i − 1) / N)^k). Arms that were searched for longer than others
can be compared by it at equal k.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dlsteroids.study import study as study_lib

COLUMNS = ('arm', 'trials', 'metric', 'expected')


def curve(scores: Sequence[float] | np.ndarray, higher: bool = True) -> np.ndarray:
  """The expected best score of 1 to N trials.

  Args:
    scores: [N] of independent trials, finite.
    higher: whether more is better.

  Raises:
    ValueError: no score, or one that is not finite.
  """
  values = np.sort(np.asarray(scores, np.float64))
  if not len(values) or not np.isfinite(values).all():
    raise ValueError('expected one or more finite scores')
  values = values if higher else values[::-1]
  count = len(values)
  rank = np.arange(count + 1) / count
  trials = np.arange(1, count + 1)[:, None]
  return (rank[1:] ** trials - rank[:-1] ** trials) @ values


def measure(study: study_lib.Study, searches: pd.DataFrame) -> pd.DataFrame | None:
  """The expected best validation score of every arm by number of trials.

  Args:
    study: that tunes by random draws.
    searches: its searches' runs, see `store.tables.searches`.

  Returns:
    a frame with exactly `COLUMNS`, of the declared condition and of arms whose search
    has ended; None for other studies.
  """
  tuning, metric = study.tuning, study.metric
  if tuning is None or tuning.by != 'random' or not len(searches):
    return None
  column = f'validation/{metric.name}'
  here = (searches['budget'] == 1) & (searches['size'] == 1)
  declared = searches[here & (searches['regime'] == study.regime)]
  scores = declared[column].where(declared['status'] == 'ok', metric.fallback)
  scores = scores.where(np.isfinite(scores.astype(float)), metric.fallback)
  means = declared.assign(score=scores.astype(float)).groupby(['arm', 'point'])['score']
  table = means.mean().unstack('point')
  planned = {
    one.arm: len(one.search)
    for one in tuning.candidates
    if (one.regime, one.budget, one.size) == (study.regime, 1, 1)
  }
  rows = []
  for arm in (arm.name for arm in study.arms if arm.name in table.index):
    of_arm = table.loc[arm].dropna()
    if len(of_arm) == planned.get(arm):
      expected = curve(of_arm.to_numpy(), metric.sign > 0)
      rows += [(arm, k + 1, column, float(value)) for k, value in enumerate(expected)]
  return pd.DataFrame(rows, columns=list(COLUMNS))
