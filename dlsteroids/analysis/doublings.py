"""What a study's ideas are worth in doublings of compute, from its stored runs.

A study has frontiers if it searches among neighbours at several budgets of equal FLOPs
and its arms are sets of ideas: a factorial has all of them, a ladder one after another.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import attribution, frontier, gains, looks, pairs, summary
from dlsteroids.study import study as study_lib

DESIGNS = ('factorial', 'ladder')
FRONTIER = ('toolbox', 'arm', 'budget', 'flops', 'best_arm', 'value', 'low', 'high')
WORTH = (
  'target', 'idea', 'what', 'kind', 'doublings', 'bound_low', 'bound_high', 'low',
  'high', 'share_measured',
)  # fmt: skip
TOGETHER = 'all ideas'


class Idea(NamedTuple):
  """One idea of a study: a factor, or a rung of its ladder.

  Attributes:
    name: the factor's, or the level's where a factor has several rungs.
    year: in which its level was published; 0 where that is not declared.
    about: what the factor says of itself, where it is one idea; else ''.
  """

  name: str
  year: int
  about: str = ''


class Doublings(NamedTuple):
  """Frontiers of a study's toolboxes, and what its ideas are worth.

  Attributes:
    ideas: in the order of their bits: of history where every one has a year, of the
      rungs of a ladder, else of the factors.
    bare_year: the latest year of what the bare model has; 0 where none is declared.
    frontiers: of every toolbox that the study has; None if there is a `refusal`.
    targets: what ideas are worth at each target, the easiest first.
    growth: how the worth of all ideas grows.
    ends: from the bare model at the least compute to the full one at the most.
    is_game: whether the study plans every set of ideas, so that Shapley values exist.
    left_out: arm and budget of what has no scores on 90 % of its seeds.
    refusal: why there are no frontiers yet: 'search', 'budgets'; else ''.
    frame: exactly `FRONTIER`: a row a toolbox and budget; `value` in the metric's unit.
    worths: exactly `WORTH`: `doublings` where they were measured, else two bounds.
  """

  ideas: tuple[Idea, ...]
  bare_year: int
  frontiers: frontier.Frontiers | None
  targets: tuple[frontier.TargetWorth, ...]
  growth: frontier.Growth | None
  ends: frontier.Ends | None
  is_game: bool
  left_out: tuple[tuple[str, float], ...]
  refusal: str
  frame: pd.DataFrame
  worths: pd.DataFrame

  @property
  def in_order(self) -> bool:
    """Whether the ideas come one after another: in a ladder, or in history."""
    return not self.is_game or all(idea.year for idea in self.ideas)

  @property
  def rungs(self) -> list[int]:
    """The toolboxes from bare to full, with one idea more each."""
    return [(1 << count) - 1 for count in range(len(self.ideas) + 1)]


def applies(study: study_lib.Study) -> bool:
  """Whether a study is planned so that it has frontiers."""
  tuning = study.tuning
  return (
    tuning is not None
    and tuning.by == 'neighbours'
    and study.regime == 'flops'
    and study.design in DESIGNS
    and len(study.factors) > 0
  )


def measure(
  study: study_lib.Study, all_runs: pd.DataFrame, searches: pd.DataFrame
) -> Doublings:
  """The frontiers, and what ideas are worth at the study's targets.

  Args:
    study: for which `applies` holds.
    all_runs: the runs of every condition.
    searches: the runs of the searches, as `store.tables.searches` has them.
  """
  empty = pd.DataFrame(columns=list(FRONTIER)), pd.DataFrame(columns=list(WORTH))
  ideas, cells = ideas_of(study), arms_of_toolboxes(study)
  is_game = study.design == 'factorial'
  about = ideas, year_of(study, cells[0]) if 0 in cells else 0
  nothing = Doublings(*about, None, (), None, None, is_game, (), 'search', *empty)
  if not len(searches) or not len(all_runs):
    return nothing
  scale = gains.deciding_scale(study, all_runs)
  rungs, left_out = collect(study, all_runs, searches, scale)
  nothing = nothing._replace(left_out=tuple(left_out))
  cells = {toolbox: arm for toolbox, arm in cells.items() if rungs.get(arm)}
  full = 2 ** len(ideas) - 1
  if not {0, full} <= set(cells):
    return nothing
  if min(len(rungs[cells[end]]) for end in (0, full)) < 2:
    return nothing._replace(refusal='budgets')
  names = tuple(idea.name for idea in ideas)
  own = {arm: rungs[arm] for arm in cells.values()}
  frontiers = frontier.trace(frontier.Evidence(names, cells, own), scale)
  alpha = looks.state(study, at_declared(study, all_runs)).alpha
  errors = [float(scale.error(target)) for target in study.targets]
  targets = [
    frontier.worth_at(frontiers, error, alpha)
    for error in errors or frontier.default_targets(frontiers)
  ]
  small = max(own[cells[end]][0].budget for end in (0, full))
  large = min(own[cells[end]][-1].budget for end in (0, full))
  result = Doublings(
    *about,
    frontiers,
    tuple(targets),
    frontier.growth(frontiers, alpha=alpha),
    frontier.compare_ends(frontiers, small, large, alpha) if small < large else None,
    is_game,
    tuple(left_out),
    '',
    *empty,
  )
  return result._replace(
    frame=_tabulate_frontiers(study, result, alpha), worths=_tabulate_worths(result)
  )


def at_declared(study: study_lib.Study, all_runs: pd.DataFrame) -> pd.DataFrame:
  """The runs of the declared condition."""
  whole = (all_runs['budget'] == 1) & (all_runs['size'] == 1)
  return all_runs[whole & (all_runs['regime'] == study.regime)]


def ideas_of(study: study_lib.Study) -> tuple[Idea, ...]:
  """The ideas of a study for which `applies` holds, in the order of their bits."""
  year = {
    (factor.name, level.name): level.year
    for factor in study.factors
    for level in factor.levels
  }
  if study.design == 'ladder':
    steps = [(contrast.factor, contrast.level) for contrast in study.contrasts]
    rungs = [factor for factor, _ in steps]
    about = {factor.name: factor.about for factor in study.factors}
    return tuple(
      Idea(factor, year[factor, level], about[factor])
      if rungs.count(factor) == 1
      else Idea(level, year[factor, level])
      for factor, level in steps
    )
  ideas = [Idea(f.name, f.levels[0].year, f.about) for f in study.factors]
  if all(idea.year for idea in ideas):
    ideas.sort(key=lambda idea: idea.year)
  return tuple(ideas)


def year_of(study: study_lib.Study, arm: str) -> int:
  """The latest year of the levels of an arm; 0 where none is declared."""
  assignment = study.arm(arm).assignment
  return max(
    level.year
    for factor in study.factors
    for level in factor.levels
    if level.name == assignment.get(factor.name)
  )


def arms_of_toolboxes(study: study_lib.Study) -> dict[int, str]:
  """The arm of every set of ideas that the study has; idea i is bit i."""
  if study.design == 'ladder':
    steps = study.contrasts
    rungs = [steps[0].reference, *(contrast.arm for contrast in steps)]
    return {(1 << count) - 1: arm for count, arm in enumerate(rungs)}
  bits = {idea.name: 1 << i for i, idea in enumerate(ideas_of(study))}
  places = [bits[factor.name] for factor in study.factors]
  return {
    sum(bit for i, bit in enumerate(places) if mask >> i & 1): arm
    for mask, arm in attribution.arms_of_coalitions(study).items()
  }


def collect(
  study: study_lib.Study,
  all_runs: pd.DataFrame,
  searches: pd.DataFrame,
  scale: gains.Scale,
) -> tuple[dict[str, list[frontier.Rung]], list[tuple[str, float]]]:
  """What every arm did at its budgets, and the arms and budgets that are left out."""
  assert study.tuning is not None
  intact = study.arm(summary.intact_arm(study))
  work = next(c.flops for c in intact.at if (c.budget, c.size) == (1, 1))
  chosen = {choice[:4]: choice.numbers for choice in study.tuning.choices}
  names = {split: f'{split}/{study.metric.name}' for split in ('validation', 'test')}
  claims = {}
  tuned = all_runs[all_runs['tuned'] == 1]
  for budget in tuned['budget'].unique():
    runs = tuned[tuned['budget'] == budget]
    by_split = (pairs.tabulate(study, runs, name, 1).value for name in names.values())
    claims[float(budget)] = tuple(by_split)
  rungs: dict[str, list[frontier.Rung]] = {arm.name: [] for arm in study.arms}
  left_out = []
  by_search = dict(iter(searches.groupby(['arm', 'budget'])))
  for candidate in sorted(study.tuning.candidates, key=lambda one: one.budget):
    numbers = chosen.get(candidate.where)
    if numbers is None or candidate.budget not in claims:
      continue
    claim = [table[candidate.arm].to_numpy() for table in claims[candidate.budget]]
    if not pairs.are_enough(int(np.isfinite(claim[1]).sum()), len(claim[1])):
      left_out.append((candidate.arm, candidate.budget))
      continue
    rows = by_search[candidate.arm, candidate.budget]
    validation, test = (
      scale.error(_search_table(study, candidate, rows, name))
      for name in names.values()
    )
    point = study.tuning.points_of(candidate).index(dict(numbers))
    errors = [scale.error(values) for values in claim]
    rungs[candidate.arm].append(
      frontier.Rung(work * candidate.budget, validation, test, point, *errors)
    )
  return rungs, left_out


def _search_table(
  study: study_lib.Study, candidate: study_lib.Candidate, rows: pd.DataFrame, name: str
) -> np.ndarray:
  """Scores of a search [points, seeds]; a diverged run's is the fallback."""
  metric, tuning = study.metric, study.tuning
  assert tuning is not None
  values = rows[name].where(rows['status'] == 'ok', metric.fallback)
  values = values.where(np.isfinite(values.astype(float)), metric.fallback).astype(
    float
  )
  worse = values < metric.fallback if metric.sign > 0 else values > metric.fallback
  table = rows.assign(score=values.where(~worse, metric.fallback))
  wide = table.pivot(index='point', columns='seed', values='score')
  points = range(len(tuning.points_of(candidate)))
  return wide.reindex(index=points, columns=list(tuning.seeds)).to_numpy(float)


def name_toolbox(ideas: Sequence[str], toolbox: int) -> str:
  """'bare', 'full', or the ideas joined by '+'."""
  if toolbox in (0, 2 ** len(ideas) - 1):
    return 'full' if toolbox else 'bare'
  return '+'.join(idea for i, idea in enumerate(ideas) if toolbox >> i & 1)


def _tabulate_frontiers(
  study: study_lib.Study, result: Doublings, alpha: float
) -> pd.DataFrame:
  """A row a toolbox and budget."""
  frontiers = result.frontiers
  assert frontiers is not None
  intact = study.arm(summary.intact_arm(study))
  work = next(c.flops for c in intact.at if (c.budget, c.size) == (1, 1))
  rows: list[dict[str, Any]] = []
  for toolbox, curve in sorted(frontiers.curves.items()):
    for at, log in enumerate(curve.log_flops):
      value, low, high = frontier.error_interval(frontiers, curve, at, alpha)
      ends = [float(frontiers.scale.value(error)) for error in (value, low, high)]
      rows.append(
        {
          'toolbox': name_toolbox(frontiers.ideas, toolbox),
          'arm': frontiers.cells[toolbox],
          'budget': float(f'{math.exp(log) / work:.6g}'),
          'flops': float(f'{math.exp(log):.10g}'),
          'best_arm': curve.arms[at],
          'value': ends[0],
          'low': min(ends[1:]),
          'high': max(ends[1:]),
        }
      )
  return pd.DataFrame(rows, columns=list(FRONTIER))


def _tabulate_worths(result: Doublings) -> pd.DataFrame:
  """A row a target and quantity."""
  assert result.frontiers is not None
  rows: list[dict[str, Any]] = []
  for target in result.targets:
    value = float(result.frontiers.scale.value(target.error))
    listed = [
      (TOGETHER, 'together', target.together),
      (TOGETHER, 'mandatory', target.mandatory),
    ]
    for idea in target.ideas:
      listed += [(idea.idea, 'in order', idea.in_order)] * result.in_order
      if result.is_game:
        listed += [
          (idea.idea, 'shapley', idea.shapley),
          (idea.idea, 'taken from full', idea.from_full),
          (idea.idea, 'given to bare', idea.to_bare),
        ]
    for name, what, worth in listed:
      rows.append(
        {
          'target': value,
          'idea': name,
          'what': what,
          'kind': worth.kind,
          'doublings': worth.value,
          'bound_low': worth.low,
          'bound_high': worth.high,
          'low': worth.ci_low,
          'high': worth.ci_high,
          'share_measured': worth.share_measured,
        }
      )
  return pd.DataFrame(rows, columns=list(WORTH))
