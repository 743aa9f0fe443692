"""Looks inside trained networks, as the first seed's untuned runs stored them."""

from collections.abc import Mapping

import numpy as np

from dlsteroids.analysis import summary


def of(source: summary.Source, arm: str) -> Mapping[str, np.ndarray]:
  """The arrays of the first seed that `arm` has stored any of; empty without."""
  for seed in source.study['seeds']:
    arrays = source.arrays(arm, int(seed))
    if arrays is not None:
      return arrays
  return {}


def by_arm(source: summary.Source, name: str) -> dict[str, np.ndarray]:
  """One array of every arm that stored it: the intact arm first, then as declared."""
  arms = [arm['name'] for arm in source.study['arms']]
  arms.sort(key=lambda arm: arm != summary.intact_arm(source.study))
  found = {arm: of(source, arm).get(name) for arm in arms}
  return {arm: np.asarray(array) for arm, array in found.items() if array is not None}
