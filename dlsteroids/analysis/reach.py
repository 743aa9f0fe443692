"""Whether a design can show anything at all, and how small an effect it can see."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.analysis import looks, pairs, statistics


class Reach(NamedTuple):
  """What a design of m contrasts and n seeds can reach.

  Attributes:
    contrasts: m, the size of the family.
    seeds: n.
    alpha: the level in force.
    smallest_p: the smallest reachable p after Holm's adjustment.
    reachable: whether that is at most `alpha`.
    seeds_needed: the fewest seeds that reach alpha, n >= 1 + log2(m / alpha); None if
      even the sampled test cannot (its p is at least 1 / 100,000).
    sentence: the same in words.
  """

  contrasts: int
  seeds: int
  alpha: float
  smallest_p: float
  reachable: bool
  seeds_needed: int | None
  sentence: str


def reach(study: Mapping[str, Any], alpha: float | None = None) -> Reach:
  """What the study's design can reach at `alpha`, by default that of the last look."""
  level = looks.state(study).alpha if alpha is None else alpha
  m, n = len(study['contrasts']), len(study['seeds'])
  smallest = min(1.0, m * statistics.smallest_p(n))
  reachable = m > 0 and smallest <= level
  needed = next(
    (k for k in range(1, 64) if m * statistics.smallest_p(k) <= level), None
  )
  what = f'{_count(m, "contrast")} over {_count(n, "seed")}'
  if reachable:
    text = f'{what}: the smallest reachable p is {smallest:.2g}, alpha is {level:.2g}.'
  else:
    more = f'at least {needed} seeds are needed' if needed else 'use fewer contrasts'
    text = (
      f'This design could not have shown anything: with {what} the smallest reachable '
      f'p is {smallest:.2g}, above alpha = {level:.2g}; {more}.'
    )
  return Reach(m, n, level, smallest, reachable, needed, text)


def noise_floor(study: Mapping[str, Any], runs: pd.DataFrame) -> float:
  """√2·σ over seeds of the reference arm on the deciding metric; nan if unknown.

  The arm is the first reference cell of the first contrast, in the declared tuning.
  """
  if not study['contrasts'] or pairs.deciding(study) not in runs:
    return float('nan')
  scores = pairs.tabulate(study, runs, pairs.deciding(study), pairs.declared(study))
  _, reference = pairs.cells(study['contrasts'][0])
  return statistics.noise_floor(scores.value[reference[0]].dropna().to_numpy())


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}' if number == 1 else f'{number} {noun}s'
