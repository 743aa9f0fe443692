"""What searches try next, from what they found: a larger grid, further neighbours.

Nothing here is remembered: the points follow from the plan and the store, so that any
launch of a study goes on where another one stopped.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from dlsteroids.plan import equalise, neighbours, study_plan, tuning
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import results
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors


def extend(
  plan: study_plan.Plan, index: results.Index, failed: Collection[str] = ()
) -> study_plan.Plan:
  """The plan with as many points to try as the searches in the store require.

  Args:
    plan: of the whole study.
    index: the store.
    failed: fingerprints of failed runs; an arm that needs one chooses no numbers.

  Returns:
    A plan that is `final` if no search goes on, or one that still has runs to train.
  """
  if plan.final:
    return plan
  if plan.tune_by == 'neighbours':
    return _Neighbours(plan, index, failed).extend()
  declared = tuning.parse_grid(plan.config['study']['tune'], plan.config)
  goal = study_plan.tuning_goal(plan)
  while not plan.final:
    choices = []
    for key, search in study_plan.searches(plan).items():
      names = [[run.fingerprint for run in at_point] for at_point in search]
      numbers = tuning.choose(plan.trials[key], names, index, goal)
      if numbers is not None:
        choices.append(numbers)
      elif not {name for at_point in names for name in at_point} & {*failed}:
        return plan
    grid = dict(plan.grid)
    if plan.tune_by == 'grid':
      grid = tuning.extend(plan.grid, declared, choices, plan.config)
    is_final = grid == plan.grid
    plan = plan._replace(grid=grid, final=is_final)
    if not is_final:
      plan = study_plan.with_trials(plan, study_plan.first_trials(plan))
  return plan


def describe_extension(old: study_plan.Plan, new: study_plan.Plan) -> list[str]:
  """A line on what searches try besides what they tried so far."""
  if old.tune_by != 'neighbours':
    return tuning.describe_extension(old.grid, new.grid)
  lines = []
  for condition in new.conditions:
    added = {
      key[0]: len(points) - len(old.trials.get(key, ()))
      for key, points in new.trials.items()
      if key[1] == condition and len(points) > len(old.trials.get(key, ()))
    }
    if added:
      total, arms = sum(added.values()), len(added)
      lines.append(
        f'tuning: {total} further points at {condition}, for {arms} of '
        f'{sum(key[1] == condition for key in new.trials)} arms'
      )
  return lines


class State(NamedTuple):
  """How far searches have come, for processes that do not read the store.

  Attributes:
    grid: values by config path.
    trials: arm, condition and points of every search.
    final: whether no search goes on.
  """

  grid: Mapping[str, Any]
  trials: tuple[tuple[str, tuple[Any, ...], tuple[tuning.Numbers, ...]], ...]
  final: bool


def state_of(plan: study_plan.Plan) -> State:
  """The state of a plan's searches."""
  trials = tuple((arm, tuple(at), points) for (arm, at), points in plan.trials.items())
  return State(plan.grid, trials, plan.final)


def state_of_study(study: study_lib.Tuning) -> State:
  """The state of searches as study.json has it."""
  trials = tuple(
    (one.arm, (one.regime, one.budget, one.size), tuple(study.points_of(one)))
    for one in study.candidates
  )
  return State(study.grid, trials, study.final)


def with_state(plan: study_plan.Plan, state: State) -> study_plan.Plan:
  """The plan whose searches are as far as another process says."""
  grid, trials, final = state  # a list, if it was read as JSON
  grid = {path: tuple(values) for path, values in grid.items()}
  points = {
    (arm, conditions_lib.Condition(*at)): tuple(map(dict, points))
    for arm, at, points in trials
    if (arm, conditions_lib.Condition(*at)) in plan.at
  }
  plan = plan._replace(grid=grid, final=final)
  return study_plan.with_trials(plan, {**plan.trials, **points})


_Rating = tuple[float, ...]  # more is better; see `tuning.Goal.rate`


class _Neighbours:
  """The searches among neighbours, from the smallest budget to the largest.

  All arms search a budget before any searches the next one. There each begins at what
  it chose at the budget before. Where the best point of any search has an untried
  neighbour after as many points as were asked for, all arms try more of them.
  """

  def __init__(
    self, plan: study_plan.Plan, index: results.Index, failed: Collection[str]
  ):
    self.plan, self.index, self.failed = plan, index, {*failed}
    declared = tuning.parse_grid(plan.config['study']['tune'], plan.config)
    self.axes = neighbours.make_axes(declared, plan.config)
    self.goal = study_plan.tuning_goal(plan)
    self.chosen: dict[str, neighbours.Place] = {}  # at the budget before, by arm
    self.rated: dict[tuple[study_plan.Key, neighbours.Place], _Rating] = {}
    self.configs: dict[tuple[study_plan.Key, neighbours.Place], Mapping[str, Any]] = {}

  def extend(self) -> study_plan.Plan:
    """The plan with the points of the first budget that is not searched to its end.

    What those points need may be stored; then the search goes on at once.
    """
    budgets = sorted({condition.budget for _, condition in self.plan.at})
    for budget in budgets:
      keys = [key for key in self.plan.at if key[1].budget == budget]
      if not self.search(keys):
        return self.plan
    return self.plan._replace(final=True, grid=self.grid())

  def search(self, keys: list[study_plan.Key]) -> bool:
    """Adds points to the searches at one budget; returns whether they have ended."""
    settings = self.plan.config['study']
    count, more = settings['tune_trials'], 2 * len(self.axes)
    most = count + more * settings['tune_extend']
    while count < max(len(self.plan.trials[key]) for key in keys):
      count += more  # where the search stood when it was left
    while True:
      ratings = {key: self.ratings(key) for key in keys}
      if any(rated is None for rated in ratings.values()):
        return False
      rated = {key: one for key, one in ratings.items() if one is not None}
      added = {key: self.propose(key, rated[key], count) for key in keys}
      if any(added.values()):
        self.add(added)
        continue
      is_open = any(
        one and neighbours.is_open(one, functools.partial(self.is_admissible, key))
        for key, one in rated.items()
      )
      if count == most or not is_open:
        break
      count += more
    for key, one in rated.items():
      if one:
        self.chosen[key[0]] = neighbours.best_place(one)
    return True

  def ratings(self, key: study_plan.Key) -> dict[neighbours.Place, _Rating] | None:
    """Mean ratings of what a search tried; None while runs are missing."""
    rated = {}
    for point in self.plan.trials[key]:
      place = neighbours.find(self.axes, point)
      if (key, place) not in self.rated:
        rating = self.rate(key, point)
        if rating is None:
          return None
        self.rated[key, place] = rating
      rated[place] = self.rated[key, place]
    return rated

  def rate(self, key: study_plan.Key, point: tuning.Numbers) -> _Rating | None:
    """The mean rating of a point; None while runs are missing.

    A point whose run failed is no candidate, but counts as tried.
    """
    arm, condition = key
    seeds = range(self.plan.config['study']['tune_seeds'])
    tuning_seeds = [runs_lib.TUNE_SEED + i for i in seeds]
    runs = self.plan.runs(arm, tuning_seeds, runs_lib.SEARCH, point, condition)
    records = [self.index.records.get(run.fingerprint) for run in runs]
    ratings = [self.goal.rate(record.run) for record in records if record]
    if len(ratings) < len(runs):
      if not {run.fingerprint for run in runs} & self.failed:
        return None
      ratings = [(-float('inf'),) * 2]
    return tuple(sum(part) / len(ratings) for part in zip(*ratings))

  def propose(
    self, key: study_plan.Key, rated: Mapping[neighbours.Place, _Rating], count: int
  ) -> list[neighbours.Place]:
    """The places that a search tries next."""
    start = self.chosen.get(key[0])
    if start is None:
      config = self.plan.design.configs[key[0]]
      numbers = {axis.path: _configured(axis, config) for axis in self.axes}
      start = neighbours.nearest(self.axes, numbers)
    admissible = functools.partial(self.is_admissible, key)
    places = neighbours.propose(rated, start, count, admissible)
    if not places and not rated:  # the start cannot be trained at this budget
      places = self.around(key, start, count)
    if not places and not rated:
      raise errors.UserError(
        f'config.study.tune: arm {key[0]}, {key[1]}: no point near its start can be '
        'trained with this compute; use a larger budget, smaller sizes or batches'
      )
    return places

  def around(
    self, key: study_plan.Key, start: neighbours.Place, count: int
  ) -> list[neighbours.Place]:
    """The place nearest to an inadmissible start that can be trained, if any."""
    visited, edge = {start}, [start]
    while edge and len(visited) < 4 ** len(self.axes) * count:
      edge = [n for p in edge for n in neighbours.along(p) if n not in visited]
      edge = list(dict.fromkeys(edge))
      visited |= {*edge}
      for place in edge:
        if self.is_admissible(key, place):
          return [place]
    return []

  def is_admissible(self, key: study_plan.Key, place: neighbours.Place) -> bool:
    """Whether a place can be trained, and is not what another point makes, too."""
    point = neighbours.point(self.axes, place)
    for path, value in point.items():
      if not tuning.is_admissible(path, value, self.plan.config):
        return False
    structure = tuning.structure(point, self.plan.design.configs[key[0]])
    if structure and (key, structure) not in self.plan.structured:
      try:
        adjusted = study_plan.restructure(self.plan, key, structure)
      except errors.UserError:
        return False
      structured = {**self.plan.structured, (key, structure): adjusted}
      self.plan = self.plan._replace(structured=structured)
    others = (neighbours.find(self.axes, p) for p in self.plan.trials[key])
    own = self.config_of(key, place)
    return all(self.config_of(key, other) != own for other in others if other != place)

  def config_of(
    self, key: study_plan.Key, place: neighbours.Place
  ) -> Mapping[str, Any]:
    """An arm's config under a condition with the numbers of a place."""
    if (key, place) not in self.configs:
      point = neighbours.point(self.axes, place)
      config = self.plan.adjusted(key, point).config
      traced = equalise.replace(config, tuning.traced(point, config))
      self.configs[key, place] = traced
    return self.configs[key, place]

  def add(self, places: Mapping[study_plan.Key, list[neighbours.Place]]) -> None:
    """Enters points to try in the plan."""
    trials = dict(self.plan.trials)
    for key, added in places.items():
      points = (neighbours.point(self.axes, place) for place in added)
      trials[key] = (*trials[key], *points)
    # What was only traced to see whether it can be trained is not compiled.
    used = {
      (key, tuning.structure(point, self.plan.design.configs[key[0]]))
      for key, points in trials.items()
      for point in points
    }
    structured = {at: one for at, one in self.plan.structured.items() if at in used}
    plan = self.plan._replace(structured=structured)
    self.plan = study_plan.with_trials(plan, trials)

  def grid(self) -> dict[str, tuple[float, ...]]:
    """The values of every path that some search tried."""
    points = [p for tried in self.plan.trials.values() for p in tried]
    return {
      axis.path: tuple(sorted({point[axis.path] for point in points}))
      for axis in self.axes
    }


def _configured(axis: neighbours.Axis, config: Mapping[str, Any]) -> float:
  """What a config has at an axis; the first declared value where it has no such path.

  A model is 1 of its own size.
  """
  if axis.path == tuning.SIZE:
    return 1.0
  section, _, name = axis.path.partition('.')
  return float(config[section].get(name, axis.declared[0]))
