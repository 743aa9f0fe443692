"""Tuning: the grid, what a search chose, and the runs that follow from the store.

study.json lists, for every arm and condition, the runs of the search and, for each
point of the grid, the runs that would claim with it. Once a search has ended, its point
follows from the store, so no plan is needed to know a study's runs.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.config import options
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import curves, results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

Numbers = Mapping[str, float]  # a point of the grid: value by config path


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
    UserError: if it cannot be read, or names a path that is not a traced number.
  """
  grid: dict[str, tuple[float, ...]] = {}
  traced = [p for p in config_lib.traced_paths(config) if p != 'train.steps']
  for part in filter(None, text.split(';')):
    path, _, values = part.partition('=')
    path = path.strip()
    try:
      numbers = tuple(float(value) for value in values.split(','))
    except ValueError as error:
      raise errors.UserError(
        f"config.study.tune: expected 'path=number,number;…', not {part!r}"
      ) from error
    if path not in traced:
      guess = errors.did_you_mean(path, traced)
      raise errors.UserError(
        f'config.study.tune: {path!r} is not a traced number{guess}; use '
        f'{", ".join(traced)}'
      )
    if len(set(numbers)) < 2 or path in grid:
      raise errors.UserError(
        f'config.study.tune: {path} needs two or more different values, once'
      )
    grid[path] = numbers
  return grid


def points(grid: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
  """Every combination of a grid's values; none for an empty grid."""
  if not grid:
    return []
  return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


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
  options_by_path = config_lib.declared(config)
  extended = {}
  for path, values in grid.items():
    chosen = {numbers[path] for numbers in choices}
    for upwards in (False, True):
      inner, end = sorted(values, reverse=not upwards)[-2:]
      last = max(declared[path]) if upwards else min(declared[path])
      added = sum(value > last if upwards else value < last for value in values)
      value = _beyond(inner, end)
      inside = math.isfinite(value) and options.inside(options_by_path[path], value)
      if end in chosen and added < limit and inside:
        values = (*values, value)
    extended[path] = tuple(values)
  return extended


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
  """Notes on paths whose grid grew, and on choices at an end of the final grid."""
  notes = []
  for path, values in tuning.grid.items():
    declared = tuning.declared.get(path, values)
    added = sorted(set(values) - set(declared))
    if added:
      notes.append(
        f'tuning: {path}={_join(declared)} was extended by {_join(added)} for every '
        'arm, because an arm chose an end'
      )
    at_end = [
      choice.arm
      for choice in tuning.choices
      if choice.numbers[path] in (min(values), max(values))
    ]
    if at_end and tuning.final:
      arms = ', '.join(dict.fromkeys(at_end))
      notes.append(
        f'tuning: {path} was chosen at an end of {_join(sorted(values))} by {arms}; a '
        'better value may lie beyond'
      )
  return notes


def _join(values: Sequence[float]) -> str:
  return ','.join(f'{value:g}' for value in values)


def _beyond(inner: float, end: float) -> float:
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
  grid = points(tuning.grid)
  metrics = {**study.metrics, study.metric.name: study.metric}
  goal = make_goal(study.config['study'], metrics)
  runs = [run for run in study.runs if run.tuned != runs_lib.TUNED]
  choices = []
  for candidate in tuning.candidates:
    numbers = choose(grid, candidate.search, index, goal)
    if numbers is None:
      continue
    where = candidate.regime, candidate.budget, candidate.size
    choices.append(study_lib.Choice(candidate.arm, *where, numbers))
    claim = candidate.claim[grid.index(dict(numbers))]
    runs += [
      study_lib.PlannedRun(
        candidate.arm, seed, runs_lib.TUNED, fingerprint, *where, candidate.program
      )
      for seed, fingerprint in zip(study.seeds, claim)
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
    fingerprint: candidate.program
    for candidate in candidates
    for fingerprints in candidate.search
    for fingerprint in fingerprints
  }
  return programs | {run.fingerprint: run.program for run in study.runs if run.program}
