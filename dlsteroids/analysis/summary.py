"""What the tables say in numbers, before anything is drawn or written.

Only descriptive figures are computed here; tests, intervals and verdicts come ready in
the effects.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import pairs
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

RUNS = ('runs as configured', 'tuned runs')  # by tuning state


class Tables(NamedTuple):
  """A study's frames, of the declared condition but for the last.

  Attributes:
    runs: one row a run.
    curves: one row an evaluation and metric, of runs in the tuning state `shown`.
    effects: one row a contrast and metric.
    interactions, anova: for factorial designs only.
    compute: what was measured over all conditions, `compute.Analyses`.
    every: the runs of all conditions.
    shown: 1 if curves and predictions are those of tuned runs, else 0.
  """

  runs: pd.DataFrame
  curves: pd.DataFrame
  effects: pd.DataFrame
  interactions: pd.DataFrame | None = None
  anova: pd.DataFrame | None = None
  compute: Any = None
  every: pd.DataFrame | None = None
  shown: int = 0


class Source(NamedTuple):
  """Everything a report is made from: a study, its tables, its per-run arrays."""

  study: study_lib.Study
  tables: Tables
  arrays: study_lib.ArraysOf


def intact_arm(study: study_lib.Study) -> str:
  """The arm with every factor at its first level, else the first arm."""
  intact = {factor.name: factor.levels[0].name for factor in study.factors}
  for arm in study.arms:
    if all(arm.assignment.get(name, level) == level for name, level in intact.items()):
      return arm.name
  return study.arms[0].name


def arms_intact_first(study: study_lib.Study) -> list[str]:
  """Names of the arms: the intact one, then the others as declared."""
  intact = intact_arm(study)
  return sorted((arm.name for arm in study.arms), key=lambda name: name != intact)


def family(study: study_lib.Study) -> tuple[factors_lib.Contrast, ...]:
  """The contrasts that verdicts are made on, in the study's order.

  Those of the design; of a factorial its simple effects in the intact model, where the
  cells that such an effect needs exist.
  """
  if study.design != 'factorial':
    return tuple(study.contrasts)
  intact = intact_arm(study)
  simple = []
  for contrast in study.contrasts:
    cells = list(zip(contrast.arm_cells, contrast.reference_cells))
    arm, reference = next((pair for pair in cells if intact in pair), ('', ''))
    if arm:
      simple.append(
        contrast._replace(
          arm=arm,
          reference=reference,
          arm_cells=(arm,),
          reference_cells=(reference,),
        )
      )
  return tuple(simple)


def effects_of(source: Source, metric: str, tuned: int) -> list[dict[str, Any]]:
  """The effects on `metric` in one tuning state, in the study's order of contrasts."""
  effects = source.tables.effects
  if not len(effects):
    return []
  selected = effects[(effects['metric'] == metric) & (effects['tuned'] == tuned)]
  keys = ('factor', 'level', 'arm', 'reference')
  order = {
    tuple(str(getattr(contrast, key)) for key in keys): i
    for i, contrast in enumerate((*family(source.study), *source.study.contrasts))
  }
  rows = [{str(k): v for k, v in row.items()} for row in selected.to_dict('records')]
  place = lambda row: order.get(tuple(str(row[key]) for key in keys), len(order))
  return sorted(rows, key=place)


def states(source: Source) -> list[int]:
  """The tuning states that have effects on the deciding metric, untuned first."""
  effects = source.tables.effects
  if not len(effects):
    return []
  deciding = effects[effects['metric'] == source.study.metric.column]
  return sorted(int(tuned) for tuned in deciding['tuned'].unique())


def scores_of(source: Source, tuned: int) -> pairs.Scores:
  """The deciding metric of every arm and seed in one tuning state."""
  study = source.study
  return pairs.tabulate(study, source.tables.runs, study.metric.column, tuned)


def diverged_runs(source: Source, cells: Sequence[str], tuned: int) -> tuple[int, int]:
  """How many runs of the arms `cells` diverged in one tuning state, and of how many.

  A run whose deciding metric is not finite counts as diverged.
  """
  scores = scores_of(source, tuned)
  names = sorted(set(cells))
  scored = int(scores.value[names].notna().to_numpy().sum())
  return int(scores.diverged[names].to_numpy().sum()), scored


def is_mostly_diverged(diverged: int, runs: int) -> bool:
  """Whether so many of an arm's runs diverged that the others say nothing about it."""
  return 2 * diverged > runs


def mean_of(source: Source, arm: str, column: str, tuned: int) -> float:
  """The mean over seeds of one arm's `column`; NaN where it was not measured."""
  study, runs = source.study, source.tables.runs
  names = {study.metric.name, *study.metrics}
  if column not in runs or column.rpartition('/')[2] not in names:
    return float('nan')
  return float(pairs.tabulate(study, runs, column, tuned).value[arm].mean())


class Count(NamedTuple):
  """How far a study has come: runs planned and stored, and by arm the missing seeds."""

  planned: int
  stored: int
  missing: tuple[tuple[str, tuple[int, ...]], ...]


def count_runs(study: study_lib.Study, runs: pd.DataFrame, tuned: int) -> Count:
  """Compares the runs in one tuning state with those the study plans."""
  rows = pairs.select(study, runs, tuned)
  stored = set(zip(rows['arm'], rows['seed'].astype(int)))
  own = {(run.arm, run.seed) for run in study.runs}
  planned, missing = 0, []
  for arm in study.arms:
    seeds = [
      s for s in study.seeds_of(arm.name) if study.paired or (arm.name, s) in own
    ]
    absent = tuple(seed for seed in seeds if (arm.name, seed) not in stored)
    planned += len(seeds)
    if absent:
      missing.append((arm.name, absent))
  absences = sum(len(absent) for _, absent in missing)
  return Count(planned, planned - absences, tuple(missing))


def list_problems(source: Source) -> list[dict[str, Any]]:
  """Diverged and failed runs, by arm: `arm, tuned, status, seeds`."""
  runs = source.tables.runs
  problems = runs[runs['status'] != 'ok']
  rows = []
  for _, group in problems.groupby(['arm', 'tuned', 'status'], sort=True):
    first = group.iloc[0]
    seeds = sorted(int(seed) for seed in group['seed'])
    names = {'arm': str(first['arm']), 'status': str(first['status'])}
    rows.append({**names, 'tuned': int(first['tuned']), 'seeds': seeds})
  return rows


def compute_of(source: Source, tuned: int) -> list[dict[str, Any]]:
  """An arm's size and cost, one row an arm.

  Where tuning chose another width or batch than the config's, of what it chose; what
  the compiler says of a program is then not known.

  Returns:
    rows of `arm, params, steps, nominal, executed` (FLOPs a step), `run` (nominal FLOPs
    a run), `all` (of all its runs, both tuning states), `wall` (median seconds a run),
    `stall` (median seconds of it spent waiting for input; NaN if data do not stream),
    `ratio` (FLOPs a run against the intact arm's), `share` (nominal FLOP/s of the
    machine's measured matrix products), `activations` and `state` (bytes a member);
    NaN where it is not known.
  """
  runs = source.tables.runs
  intact = intact_arm(source.study)
  peak = source.study.peak_flops or float('nan')
  rows: list[dict[str, Any]] = []
  for arm in source.study.arms:
    of_arm = runs[runs['arm'] == arm.name]
    in_state = of_arm[of_arm['tuned'] == tuned]
    median = lambda name, rows=in_state: (
      float(rows[name].median()) if name in rows and len(rows) else float('nan')
    )
    row: dict[str, Any] = {
      'arm': arm.name,
      'params': arm.params,
      'steps': arm.steps,
      'nominal': arm.flops_per_step,
      'executed': arm.executed_flops_per_step,
      'run': arm.flops_per_step * arm.steps,
      'all': float(of_arm['flops'].sum()) if len(of_arm) else float('nan'),
      'wall': median('wall_s'),
      'stall': median('stall_s'),
      'activations': arm.activation_bytes,
      'state': arm.state_bytes,
    }
    chosen = {'params': median('params'), 'steps': median('steps')}
    if any(v != row[name] for name, v in chosen.items() if not math.isnan(v)):
      run = median('flops')
      row |= {**chosen, 'run': run, 'nominal': run / chosen['steps']}
      row |= dict.fromkeys(('executed', 'activations', 'state'), float('nan'))
    rows.append(row)
  base = next((row['run'] for row in rows if row['arm'] == intact), float('nan'))
  for row in rows:
    row['ratio'] = row['run'] / base if base else float('nan')
    row['share'] = row['run'] / row['wall'] / peak if row['wall'] else float('nan')
  return rows


def confusion_of(source: Source) -> tuple[np.ndarray, int] | None:
  """The intact arm's confusion matrix [true, predicted], summed over its seeds.

  Returns:
    the int64 matrix [K, K] and the number of seeds in it; None without stored runs.
  """
  arm = intact_arm(source.study)
  size = len(source.study.data.classes)
  labels = []
  for seed in source.study.seeds:
    arrays = source.arrays(arm, seed, source.tables.shown)
    if arrays is None or 'test/prediction' not in arrays:
      continue
    pair = np.stack([arrays['test/label'], arrays['test/prediction']]).astype(np.int64)
    size = max(size, int(pair.max(initial=-1)) + 1)
    labels.append(pair)
  if not labels:
    return None
  truth, predicted = np.concatenate(labels, axis=1)
  cells = np.bincount(truth * size + predicted, minlength=size * size)
  return cells.reshape(size, size), len(labels)
