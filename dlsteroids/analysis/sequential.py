"""Seeds added by looks that are declared beforehand, until verdicts are reached.

Look j tests at alpha / (j (j + 1)); these levels sum to less than alpha over any
number of looks. Within a look Holm's procedure goes over the contrasts that no earlier
look has rejected (group-sequential Holm: Ye et al. 2013, Stat. Med. 32:1112).
A verdict stands once it is reached, and an arm that no other contrast needs gets no
further seeds. Neither does one for which the bound on the cost leaves nothing: at the
looks that it takes no part in, its contrast counts as p = 1.
The family-wise error stays below alpha: as long as no true hypothesis has been
rejected, all t of them are in the family, so the first false rejection at look j needs
one p, of as many seeds as that look has, at or below alpha_j / t; this has probability
alpha_j at most, whatever decides which arms come so far.
Verdicts of equivalence are a family of their own; a contrast that is equivalent stays
in the family of differences with p = 1, and the other way round, which can only cost
power.

Everything follows from the runs, what they cost, and the sizes of the looks: nothing
else is kept.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import effects, looks, power, statistics, summary
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

DECIDED, DIVERGED, BOUND, COST, OPEN = 'decided', 'diverged', 'bound', 'cost', ''


class Decision(NamedTuple):
  """Where a contrast stands after the looks so far.

  Attributes:
    contrast: which.
    verdict: 'helps', 'hurts' or 'equivalent', which stands; else 'inconclusive', or ''
      if most runs of a side diverged.
    look: number of the look that reached it; the present one if it is open.
    seeds: pairs of that look.
    level: of that look.
  """

  contrast: factors_lib.Contrast
  verdict: str
  look: int
  seeds: int
  level: float

  @property
  def is_open(self) -> bool:
    """Whether more seeds may change it."""
    return self.verdict == 'inconclusive'


class Ending(NamedTuple):
  """How many seeds an arm got, and why no more.

  Attributes:
    arm: its name.
    seeds: how many.
    why: `DECIDED`, `DIVERGED`, `BOUND` (of seeds) or `COST`; `OPEN` if it gets more at
      the next look.
  """

  arm: str
  seeds: int
  why: str


def needed(alpha: float, contrasts: int) -> int:
  """The fewest seeds with which one of `contrasts` can be significant at `alpha`.

  Raises:
    UserError: if no number of seeds can.
  """
  for count in range(1, 64):
    if contrasts * statistics.smallest_p(count) <= alpha:
      return count
  raise errors.UserError(
    f'no number of seeds can be significant: {contrasts} contrasts at the level '
    f'{alpha:.2g}; declare fewer looks (--config.study.looks) or test fewer factors'
  )


def sizes(declared: int, most: int, alpha: float, contrasts: int) -> tuple[int, ...]:
  """The seeds at which to look: from the first that can decide, evenly to `most`.

  Args:
    declared: how many looks, 2 or more.
    most: the most seeds an arm may get.
    alpha: level of the whole family over all looks.
    contrasts: m, the size of the family.

  Returns:
    Increasing numbers of seeds; fewer than `declared` where `most` leaves no room.

  Raises:
    UserError: if `declared` is 1, or `most` is too few for the first look.
  """
  if declared < 2:
    raise errors.UserError(
      '--until=decided looks at results more than once: declare how often, as '
      '--config.study.looks=4'
    )
  if contrasts < 1:
    raise errors.UserError('--until=decided: the study compares nothing')
  first = needed(looks.level(alpha, 1), contrasts)
  if most < first:
    raise errors.UserError(
      f'--most={most} is below the first look: {contrasts} contrasts need {first} '
      f'seeds at its level, {looks.level(alpha, 1):.2g}'
    )
  result = [first]
  for look in range(2, declared + 1):
    even = round(first + (most - first) * (look - 1) / (declared - 1))
    least = max(result[-1] + 1, needed(looks.level(alpha, look), contrasts))
    if least <= most:
      result.append(max(even, least))
  return tuple(result)


def decisions(study: study_lib.Study, runs: pd.DataFrame) -> list[Decision]:
  """Where each contrast of the family stands, in the study's order."""
  rows = effects.measure_looks(study, runs)
  return [
    Decision(contrast, row['verdict'], row['look'], row['n'], row['level'])
    for contrast, row in zip(summary.family(study), rows)
  ]


def endings(study: study_lib.Study, decided: Sequence[Decision]) -> list[Ending]:
  """Why each arm of the study stopped, or that it goes on.

  Arms go on together where an analysis needs all of them at every seed: games,
  factorials, several conditions.
  """
  until = study.until
  if until is None:
    raise ValueError('the study has no looks scheduled')
  open_groups = _open_groups(study, decided)
  open_arms = {name for group in open_groups for name in group}
  going = _affordable(study, open_groups)
  diverged = _arms(one for one in decided if not one.verdict)
  reached = _arms(one for one in decided if one.verdict and not one.is_open)
  result = []
  for arm in study.arms:
    why = DECIDED
    if arm.name in going:
      why = OPEN
    elif arm.name in open_arms:
      whole = len(study.seeds_of(arm.name)) == len(study.seeds)
      why = BOUND if whole and not next_size(study) else COST
    elif arm.name in diverged and arm.name not in reached:
      why = DIVERGED
    result.append(Ending(arm.name, len(study.seeds_of(arm.name)), why))
  return result


def stops_by_arm(study: study_lib.Study) -> bool:
  """Whether an arm may stop alone: nothing but its own contrasts needs its runs."""
  single = all(len(c.arm_cells) == len(c.reference_cells) == 1 for c in study.contrasts)
  game = study.cells or study.permutations or study.design == 'factorial'
  return single and not game and len(study.conditions) == 1


def next_size(study: study_lib.Study) -> int:
  """Seeds of the next look; 0 if the bound allows none."""
  until = study.until
  if until is None:
    return 0
  later = [n for n in until.sizes if len(study.seeds) < n <= until.most]
  return min(later, default=0)


def _arms(decided: Iterable[Decision]) -> set[str]:
  """The arms of contrasts."""
  return {
    name
    for one in decided
    for name in (*one.contrast.arm_cells, *one.contrast.reference_cells)
  }


def _open_groups(study: study_lib.Study, decided: Sequence[Decision]) -> list[set[str]]:
  """The arms that open contrasts need, each group of which only goes on as a whole."""
  open_ones = [one for one in decided if one.is_open]
  if open_ones and not stops_by_arm(study):
    return [{arm.name for arm in study.arms}]
  return [_arms([one]) for one in open_ones]


def _affordable(study: study_lib.Study, groups: Iterable[set[str]]) -> set[str]:
  """The arms of `groups` that go on to the next look within the cost bound.

  In the order of the groups: what one of them takes is not left for those after it.
  """
  until, size = study.until, next_size(study)
  if until is None or not size:
    return set()
  going: set[str] = set()
  spent = until.spent
  for group in groups:
    further = spent
    for arm in group - going:
      one = until.per_seed.get(arm, study_lib.Spending())
      seeds = size - len(study.seeds_of(arm))
      further = study_lib.Spending(*(x + seeds * y for x, y in zip(further, one)))
    if all(not most or x <= most for x, most in zip(further, until.bound)):
      going |= group
      spent = further
  return going


def expected_seeds(
  sizes: Sequence[int], sd: float, effect: float, alpha: float, contrasts: int
) -> float:
  """About how many seeds an arm gets whose true difference is `effect`.

  The probability of having decided by a look is taken as the largest power of the looks
  so far at the first step of Holm's procedure, which is too low: an upper estimate.

  Args:
    sizes: seeds at each look.
    sd: of paired differences.
    effect: in the same unit.
    alpha: of the family over all looks.
    contrasts: the size of the family.
  """
  seeds, decided = float(sizes[0]), 0.0
  for look, (size, later) in enumerate(itertools.pairwise(sizes), 1):
    level = looks.level(alpha, look)
    decided = max(decided, power.power(sd, effect, size, level, contrasts))
    seeds += (1 - decided) * (later - size)
  return seeds
