"""Tuning: the grid, what a search chose, and the runs that follow from the store.

study.json lists, for every arm and condition, the runs of the search and, for each
point of the grid, the runs that would claim with it. Once a search has ended, its point
follows from the store, so no plan is needed to know a study's runs.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

Numbers = Mapping[str, float]  # a point of the grid: value by config path


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


def choose(
  points: Sequence[Numbers],
  search: Sequence[Sequence[str]],
  index: results.Index,
  metric: study_lib.Metric,
) -> Numbers | None:
  """The point with the best mean validation score, the first of equals.

  Args:
    points: of the grid.
    search: fingerprints of the search's runs, by point.
    index: the store.
    metric: the one that decides.

  Returns:
    None before the search has ended.
  """
  means = []
  for fingerprints in search:
    records = [index.records.get(fingerprint) for fingerprint in fingerprints]
    scores = [
      record.run['values'][f'validation/{metric.name}'] for record in records if record
    ]
    if len(scores) < len(fingerprints):
      return None
    means.append(metric.sign * sum(scores) / len(scores))
  return points[max(range(len(points)), key=lambda i: (means[i], -i))]


def with_choices(study: study_lib.Study, index: results.Index) -> study_lib.Study:
  """The study with the tuned numbers and runs that follow from the store.

  An arm whose search has not ended, or failed, has no tuned runs.
  """
  tuning = study.tuning
  if tuning is None or not tuning.candidates:
    return study
  grid = points(tuning.grid)
  runs = [run for run in study.runs if run.tuned != runs_lib.TUNED]
  choices = []
  for candidate in tuning.candidates:
    numbers = choose(grid, candidate.search, index, study.metric)
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
  return dataclasses.replace(study, runs=tuple(runs), tuning=tuning)


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
