"""Tuning: the points to try, what a search chose, and the runs that follow from it.

study.json lists, for every arm and condition, the runs of the search and, for each
point of it, the runs that would claim with it. Once a search has ended, its point
follows from the store, so no plan is needed to know a study's runs.
"""

import dataclasses
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.config import options
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import curves, results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

Numbers = Mapping[str, float]  # a point of the search: value by config path
SIZE = 'size'  # multiplies the widths of a model, as a condition's size does
BATCH = 'train.batch_size'


class Goal(NamedTuple):
  """What numbers are chosen by.

  Attributes:
    metric: the deciding one; its validation score decides, or breaks ties in speed.
    metrics: by name.
    reach: 'split/metric=value' where speed decides, the fewest steps to that; else ''.
  """

  metric: study_lib.Metric
  metrics: Mapping[str, study_lib.Metric]
  reach: str

  def rate(self, run: Mapping[str, Any]) -> tuple[float, float]:
    """How good a run of the search is: its speed and its score, more being better.

    A run that never arrives, or diverged, counts twice its steps.
    """
    score = run['values'][f'validation/{self.metric.name}']
    # A run without this number is no candidate for the best.
    score = score if math.isfinite(score) else self.metric.fallback
    if not self.reach:
      return 0.0, self.metric.sign * score
    step = curves.reach_step(run['curves'], self.reach, self.metrics)
    if run['status'] != 'ok' or math.isnan(step):
      step = 2.0 * run['steps']
    return -step, self.metric.sign * score


def make_goal(
  settings: Mapping[str, Any], metrics: Mapping[str, study_lib.Metric]
) -> Goal:
  """The goal of a study's tuning.

  Args:
    settings: its config's section `study`.
    metrics: by name, the deciding one among them.
  """
  is_speed = settings.get('tune_for') == 'speed'
  reach = settings['reach'] if is_speed else ''
  return Goal(metrics[settings['metric']], metrics, reach)


def check_goal(settings: Mapping[str, Any]) -> None:
  """Raises UserError if speed is to decide and nothing says when it arrives."""
  if settings['tune_for'] == 'speed' and not settings['reach']:
    raise errors.UserError(
      'config.study.tune_for=speed needs config.study.reach, where training has to '
      'arrive, such as train/accuracy=0.75'
    )


def parse_grid(text: str, config: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
  """'optimizer.learning_rate=0.01,0.03;…' as values by config path.

  Raises:
    UserError: if it cannot be read, or names a path that cannot be tuned.
  """
  grid: dict[str, tuple[float, ...]] = {}
  tunable = tunable_paths(config)
  for part in filter(None, text.split(';')):
    path, _, values = part.partition('=')
    path = path.strip()
    try:
      numbers = tuple(float(value) for value in values.split(','))
    except ValueError as error:
      raise errors.UserError(
        f"config.study.tune: expected 'path=number,number;…', not {part!r}"
      ) from error
    if path not in tunable:
      guess = errors.did_you_mean(path, tunable)
      raise errors.UserError(
        f'config.study.tune: {path!r} is no number that can be tuned{guess}; use '
        f'{", ".join(tunable)}'
      )
    if len(set(numbers)) < 2 or path in grid:
      raise errors.UserError(
        f'config.study.tune: {path} needs two or more different values, once'
      )
    for number in numbers:
      _check_value(path, number, config)
    grid[path] = numbers
  return grid


def _check_value(path: str, number: float, config: Mapping[str, Any]) -> None:
  """Raises UserError for a size not above 0, part of a whole number, or a value that
  its option does not take.
  """
  if math.isnan(number):
    raise errors.UserError(f'config.study.tune: {path} has a value that is no number')
  if path == SIZE and not 0 < number < math.inf:
    raise errors.UserError(f'config.study.tune: size must be above 0, not {number:g}')
  if is_whole(path, config) and not number.is_integer():
    raise errors.UserError(
      f'config.study.tune: {path} is a whole number, not {number:g}'
    )
  declared = config_lib.declared(config)
  if path in declared and not options.inside(declared[path], number):
    raise errors.UserError(
      f'config.study.tune: {path} must lie in {options.interval(declared[path])}, not '
      f'{number:g}'
    )


def tunable_paths(config: Mapping[str, Any]) -> list[str]:
  """The paths that may be tuned: traced numbers, then those that change the program."""
  traced = [path for path in config_lib.traced_paths(config) if path != 'train.steps']
  structural = [
    path
    for path, option in config_lib.declared(config).items()
    if not option.traced
    and (path.startswith('model.') or path == BATCH)
    and type(option.default) in (int, float)
  ]
  return [*traced, *structural, SIZE]


def structure(
  point: Mapping[str, float], config: Mapping[str, Any]
) -> tuple[tuple[str, float], ...]:
  """What of a point changes the program of a config, sorted by path.

  Paths that the config lacks, such as another model's, are left out.
  """
  options_by_path = config_lib.declared(config)
  return tuple(
    (path, value)
    for path, value in sorted(point.items())
    if path == SIZE or (path in options_by_path and not options_by_path[path].traced)
  )


def traced(point: Mapping[str, float], config: Mapping[str, Any]) -> dict[str, float]:
  """What of a point enters a config's program as arguments, of what the config has."""
  options_by_path = config_lib.declared(config)
  return {
    path: value
    for path, value in point.items()
    if path in options_by_path and options_by_path[path].traced
  }


def is_structural(grid: Collection[str], config: Mapping[str, Any]) -> bool:
  """Whether points of a grid may differ in their programs."""
  return bool(structure(dict.fromkeys(grid, 1.0), config))


def is_whole(path: str, config: Mapping[str, Any]) -> bool:
  """Whether a path holds whole numbers."""
  options_by_path = config_lib.declared(config)
  return path in options_by_path and type(options_by_path[path].default) is int


def draw(
  grid: Mapping[str, Sequence[float]], count: int, config: Mapping[str, Any]
) -> list[dict[str, float]]:
  """Log-uniform draws between the smallest and the largest value of every path.

  The same for every arm and every launch; of a larger count the first ones are those of
  a smaller one, and each path has its own stream.

  Args:
    grid: two or more values by config path.
    count: how many points.
    config: of the study; whole numbers are rounded.

  Raises:
    UserError: for a number that has no logarithm.
  """
  columns = {}
  for path, values in grid.items():
    low, high = min(values), max(values)
    if low <= 0:
      raise errors.UserError(
        f'config.study.tune: draws of {path} are log-uniform, so its numbers must be '
        f'above 0, not {low:g}; or use config.study.tune_by=grid'
      )
    if math.isinf(high):
      raise errors.UserError(
        f'config.study.tune: {path} is drawn between two finite numbers, not up to '
        f'{high:g}; or use config.study.tune_by=grid'
      )
    stream = np.random.default_rng(zlib.crc32(path.encode()))
    drawn = np.exp(stream.uniform(math.log(low), math.log(high), count))
    numbers = [float(f'{number:.6g}') for number in drawn]
    whole = is_whole(path, config)
    columns[path] = [float(round(n)) if whole else n for n in numbers]
  return [dict(zip(columns, values)) for values in zip(*columns.values())]


def extend(
  grid: Mapping[str, Sequence[float]],
  declared: Mapping[str, Sequence[float]],
  choices: Sequence[Numbers],
  config: Mapping[str, Any],
) -> dict[str, tuple[float, ...]]:
  """The grid with another value beyond every end that some arm chose.

  A value follows by the factor between the two last ones, or by their difference where
  one is not above 0. All arms search the same grid.

  Args:
    grid: values by config path, as searched so far.
    declared: values by config path, as configured.
    choices: of every arm and condition.
    config: of the study; `study.tune_extend` bounds the values beyond either end, and
      the range of a path's option bounds them, too.
  """
  limit = config['study']['tune_extend']
  extended = {}
  for path, values in grid.items():
    chosen = {numbers[path] for numbers in choices}
    for upwards in (False, True):
      inner, end = sorted(values, reverse=not upwards)[-2:]
      last = max(declared[path]) if upwards else min(declared[path])
      added = sum(value > last if upwards else value < last for value in values)
      value = beyond(inner, end)
      if end in chosen and added < limit and is_admissible(path, value, config):
        values = (*values, value)
    extended[path] = tuple(values)
  return extended


def is_admissible(path: str, value: float, config: Mapping[str, Any]) -> bool:
  """Whether a value lies in the range of its option, and is whole where it must be."""
  if not math.isfinite(value):
    return False
  if path == SIZE:
    return value > 0
  whole = value.is_integer() or not is_whole(path, config)
  return whole and options.inside(config_lib.declared(config)[path], value)


def describe_extension(
  old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]
) -> list[str]:
  """A line for each path whose grid grew."""
  return [
    f'tuning: an arm chose an end of {path}={_join(sorted(old[path]))}; every arm also '
    f'tries {_join([value for value in values if value not in old[path]])}'
    for path, values in new.items()
    if values != old[path]
  ]


def describe_ends(tuning: study_lib.Tuning) -> list[str]:
  """Notes on paths whose grid grew, and on choices at an end of what was tried."""
  notes = []
  for path, values in tuning.grid.items() if tuning.by == 'grid' else ():
    declared = tuning.declared.get(path, values)
    added = sorted(set(values) - set(declared))
    if added:
      notes.append(
        f'tuning: {path}={_join(declared)} was extended by {_join(added)} for every '
        'arm, because an arm chose an end'
      )
  for path in tuning.grid if tuning.final else ():
    arms = dict.fromkeys(
      choice.arm for choice in tuning.choices if tuning.is_end(choice, path)
    )
    if arms:
      tried = {value for c in tuning.choices for value in tuning.tried(c, path)}
      notes.append(
        f'tuning: {path} was chosen at an end of {_join(sorted(tried))} by '
        f'{", ".join(arms)}; a better value may lie beyond'
      )
  return notes


def _join(values: Sequence[float]) -> str:
  return ','.join(f'{value:g}' for value in values)


def beyond(inner: float, end: float) -> float:
  """The value after `inner` and `end`, rounded to six digits."""
  value = end * end / inner if min(inner, end) > 0 else 2 * end - inner
  return float(f'{value:.6g}')


def choose(
  points: Sequence[Numbers],
  search: Sequence[Sequence[str]],
  index: results.Index,
  goal: Goal,
) -> Numbers | None:
  """The point that is best by the goal, on average over its runs; the first of equals.

  Args:
    points: of the grid.
    search: fingerprints of the search's runs, by point.
    index: the store.
    goal: of the search.

  Returns:
    None before the search has ended.
  """
  means = []
  for fingerprints in search:
    records = [index.records.get(fingerprint) for fingerprint in fingerprints]
    ratings = [goal.rate(record.run) for record in records if record]
    if len(ratings) < len(fingerprints):
      return None
    means.append(tuple(sum(part) / len(ratings) for part in zip(*ratings)))
  return points[max(range(len(points)), key=lambda i: (means[i], -i))]


def with_choices(study: study_lib.Study, index: results.Index) -> study_lib.Study:
  """The study with the tuned numbers and runs that follow from the store.

  An arm whose search has not ended, or failed, has no tuned runs; no arm has any while
  the grid may still be extended.
  """
  tuning = study.tuning
  if tuning is None or not tuning.candidates:
    return study
  if not tuning.final:
    untuned = tuple(run for run in study.runs if run.tuned != runs_lib.TUNED)
    return dataclasses.replace(study, runs=untuned, tuning=tuning._replace(choices=()))
  metrics = {**study.metrics, study.metric.name: study.metric}
  goal = make_goal(study.config['study'], metrics)
  runs = [run for run in study.runs if run.tuned != runs_lib.TUNED]
  choices = []
  for candidate in tuning.candidates:
    tried = tuning.points_of(candidate)
    numbers = choose(tried, candidate.search, index, goal)
    if numbers is None:
      continue
    where = candidate.regime, candidate.budget, candidate.size
    choices.append(study_lib.Choice(candidate.arm, *where, numbers))
    at = tried.index(dict(numbers))
    program = candidate.programs[at] if candidate.programs else candidate.program
    runs += [
      study_lib.PlannedRun(
        candidate.arm, seed, runs_lib.TUNED, fingerprint, *where, program
      )
      for seed, fingerprint in zip(study.seeds, candidate.claim[at])
    ]
  tuning = tuning._replace(choices=tuple(choices))
  others = (note for note in study.notes if not note.startswith('tuning: '))
  notes = (*others, *describe_ends(tuning))
  return dataclasses.replace(study, runs=tuple(runs), tuning=tuning, notes=notes)


def programs_by_run(study: study_lib.Study) -> dict[str, str]:
  """The program of every run that a study asks for, by fingerprint.

  Args:
    study: `with_choices`.
  """
  candidates = study.tuning.candidates if study.tuning else ()
  programs = {
    fingerprint: program
    for candidate in candidates
    for program, fingerprints in zip(
      candidate.programs or [candidate.program] * len(candidate.search),
      candidate.search,
    )
    for fingerprint in fingerprints
  }
  return programs | {run.fingerprint: run.program for run in study.runs if run.program}
