"""The smallest p-value a design can reach, and how small an effect it can resolve."""

import collections
from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import looks, pairs, permutation, statistics
from dlsteroids.study import study as study_lib


class Reach(NamedTuple):
  """What a design of m contrasts and n seeds can reach.

  Attributes:
    contrasts: m, the size of the family.
    seeds: n; of runs that are not paired, the most that an arm has.
    alpha: the level in force.
    smallest_p: the smallest reachable p after Holm's adjustment.
    reachable: whether that is at most `alpha`.
    seeds_needed: the fewest seeds that reach alpha, n >= 1 + log2(m / alpha); None if
      even the sampled test cannot (its p is at least 1 / 100,000).
    paired: whether runs of equal seeds are pairs; else n and `seeds_needed` are runs an
      arm, and the smallest p that of the contrast with the most runs.
  """

  contrasts: int
  seeds: int
  alpha: float
  smallest_p: float
  reachable: bool
  seeds_needed: int | None
  paired: bool = True


def reach(study: study_lib.Study, alpha: float | None = None) -> Reach:
  """What the study's design can reach at `alpha`, by default that of its last look."""
  level = looks.state(study).alpha if alpha is None else alpha
  m, n = len(study.contrasts), len(study.seeds)
  if not study.paired:
    return _reach_unpaired(study, level)
  smallest = min(1.0, m * statistics.smallest_p(n))
  needed = next(
    (k for k in range(1, 64) if m * statistics.smallest_p(k) <= level), None
  )
  return Reach(m, n, level, smallest, m > 0 and smallest <= level, needed)


def _reach_unpaired(study: study_lib.Study, level: float) -> Reach:
  """What the runs of a study without pairs can reach."""
  counts = collections.Counter(run.arm for run in study.runs)
  m = len(study.contrasts)
  sizes = [
    tuple(min(counts[arm] for arm in cells) for cells in pairs.cells(contrast))
    for contrast in study.contrasts
  ]
  best = min((permutation.smallest_p(*size) for size in sizes), default=1.0)
  smallest = min(1.0, m * best)
  needed = next(
    (k for k in range(1, 64) if m * permutation.smallest_p(k, k) <= level), None
  )
  most = max(counts.values(), default=0)
  return Reach(m, most, level, smallest, m > 0 and smallest <= level, needed, False)


def noise_floor(study: study_lib.Study, runs: pd.DataFrame, tuned: int) -> float:
  """√2·σ over seeds of the reference arm on the deciding metric; nan if unknown.

  The arm is the first reference cell of the first contrast. Where most of its runs
  diverged they score the fallback, whose scatter says nothing.

  Args:
    study: the study.
    runs: the runs table.
    tuned: the tuning state of the runs to use.
  """
  if not study.contrasts or study.metric.column not in runs:
    return float('nan')
  scores = pairs.tabulate(study, runs, study.metric.column, tuned)
  reference = study.contrasts[0].reference_cells[0]
  if reference in scores.mostly_diverged:
    return float('nan')
  return statistics.noise_floor(scores.value[reference].dropna().to_numpy())
