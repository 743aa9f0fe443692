"""Arrays that probes stored of trained networks, of the first seed's runs."""

from collections.abc import Mapping, Sequence

import numpy as np

from dlsteroids.analysis import summary

SMALL = 0.01  # share of the largest gradient norm below which memory has faded


def state(source: summary.Source) -> int:
  """The tuning state of the runs that are looked into: the deciding one if it can be.

  Older versions stored nothing of what probes see in tuned runs.
  """
  arrays = _of(source, summary.intact_arm(source.study), source.tables.shown)
  probed = any(name.startswith('probe/') for name in arrays)
  return source.tables.shown if probed else 0


def of(source: summary.Source, arm: str) -> Mapping[str, np.ndarray]:
  """The arrays of the first seed that `arm` has stored any of; empty without."""
  return _of(source, arm, state(source))


def name_runs(source: summary.Source) -> str:
  """'first seed, tuned' or 'first seed, as configured': whose arrays `of` gives."""
  return f'first seed, {"tuned" if state(source) else "as configured"}'


def _of(source: summary.Source, arm: str, tuned: int) -> Mapping[str, np.ndarray]:
  stored = (source.arrays(arm, int(seed), tuned) for seed in source.study.seeds)
  return next((arrays for arrays in stored if arrays is not None), {})


def by_arm(source: summary.Source, name: str) -> dict[str, np.ndarray]:
  """One array of every arm that stored it: the intact arm first, then as declared."""
  arrays = {
    arm: of(source, arm).get(name) for arm in summary.arms_intact_first(source.study)
  }
  return {arm: np.asarray(array) for arm, array in arrays.items() if array is not None}


def fading_lag(norms: np.ndarray) -> int | None:
  """The lag from which on gradient norms [L] stay below `SMALL` of their largest.

  Returns:
    steps back from the last; None if they never do.
  """
  last = int(np.flatnonzero(norms >= SMALL * norms.max())[-1])
  return last + 1 if last + 1 < len(norms) else None


def most_different(
  forecasts: Mapping[str, np.ndarray], intact: str, truth: np.ndarray, count: int
) -> list[str]:
  """The `count` arms whose forecasts differ most from the intact arm's, most first.

  Args:
    forecasts: by arm, [M, H, D].
    intact: name of the intact arm.
    truth: [M, H, D]; a target's differences are counted in its standard deviations, so
      that none outweighs another.
    count: of the arms.
  """
  scale = np.std(truth, axis=(0, 1))
  scale = np.where(scale > 0, scale, 1)
  distance = {
    arm: float(np.mean(((forecast - forecasts[intact]) / scale) ** 2))
    for arm, forecast in forecasts.items()
    if arm != intact
  }
  return sorted(distance, key=lambda arm: -distance[arm])[:count]


def mistakes(counts: np.ndarray, most: int) -> Sequence[tuple[int, int, float]]:
  """Confusions, the largest share first: (true class, predicted, share of the class).

  Args:
    counts: confusion matrix [true, predicted].
    most: how many at most.
  """
  wrong = counts * ~np.eye(len(counts), dtype=bool)
  shares = wrong / np.maximum(1, counts.sum(axis=1, keepdims=True))
  order = np.argsort(-shares, axis=None, kind='stable')[:most]
  cells = [divmod(int(flat), len(counts)) for flat in order]
  return [(i, j, float(shares[i, j])) for i, j in cells if wrong[i, j]]
