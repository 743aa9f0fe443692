"""`--action=plan --pilot=N`: measures the noise before anything is claimed.

The reference arm is trained at the study's first N seeds, so its runs are reused by the
study. No contrast is computed.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids.analysis import power, statistics
from dlsteroids.plan import manifest, study_plan, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.report import formats
from dlsteroids.run import local, sharing
from dlsteroids.store import results
from dlsteroids.util import errors, lock

LEAST = 4  # runs that a standard deviation is estimated from


class Wanted(NamedTuple):
  """The effect that the study should detect.

  Attributes:
    effect: mean difference in the deciding metric's unit; 0 takes the study's margin.
    power: probability of finding it.
  """

  effect: float = 0.0
  power: float = 0.8


def run(
  plan: study_plan.Plan,
  workdir: pathlib.Path,
  count: int,
  wanted: Wanted,
  watch: local.Watch = local.no_watch,
  say: Callable[[str], None] = print,
) -> list[str]:
  """Trains the pilot's runs that the store lacks; returns the lines to print.

  Args:
    plan: the plan of all arms.
    workdir: of the study.
    count: seeds of the pilot.
    wanted: the effect and power to plan for.
    watch: shows progress.
    say: prints a line for the user.

  Raises:
    UserError: too few seeds, or no run of the pilot ended well.
  """
  check(count, wanted)
  first = plan.config['study']['first_seed']
  arm = plan.design.contrasts[0].reference_cells[0]
  runs = [plan.run(arm, first + i, runs_lib.UNTUNED, {}) for i in range(count)]
  with lock.hold(workdir):
    manifest.check(workdir, plan.config['study']['name'])
    plan = study_plan.with_layouts(plan, manifest.read_layouts(workdir))
    manifest.write_plan(plan, workdir)
  failures = sharing.train(plan, units.of_runs(runs), workdir, watch, say)
  records = results.read(workdir).records
  metric = plan.config['study']['metric']
  stored = [records[run.fingerprint] for run in runs if run.fingerprint in records]
  # A diverged run scores the metric's fallback, which is part of the noise.
  scores = [record.run['values'][f'test/{metric}'] for record in stored]
  if len(scores) < LEAST:
    why = next(iter(failures.values()), 'the others failed')
    raise errors.UserError(
      f'the pilot has {len(scores)} scores of {arm}, {LEAST} are needed: {why}'
    )
  diverged = sum(record.run['status'] != 'ok' for record in stored)
  seconds = float(np.mean([record.run['wall_s'] for record in stored]))
  lines = describe(plan, arm, np.asarray(scores), seconds, wanted)
  lines += (
    [f'{diverged} of these runs diverged and score the fallback'] if diverged else []
  )
  if plan.grid:
    lines.append('the pilot trains as configured; tuning may change the noise')
  return lines


def check(count: int, wanted: Wanted) -> None:
  if count < LEAST:
    raise errors.UserError(f'--pilot must be at least {LEAST} seeds, not {count}')
  if wanted.effect < 0:
    raise errors.UserError(f'--effect must not be negative: {wanted.effect}')
  if not 0 < wanted.power < 1:
    raise errors.UserError(f'--power must lie in (0, 1), not {wanted.power}')


def describe(
  plan: study_plan.Plan, arm: str, scores: np.ndarray, seconds: float, wanted: Wanted
) -> list[str]:
  """Lines with the noise, the detectable effect, the seeds needed and their cost."""
  study = plan.config['study']
  column = f'test/{study["metric"]}'
  half = len(scores) // 2
  blocks = scores[:half].mean() - scores[half : 2 * half].mean()
  noise = statistics.noise_floor(scores)
  lines = [
    f'pilot: {len(scores)} runs of {arm}: mean {formats.value(column, scores.mean())}, '
    f'A/A standard deviation {delta(column, noise)}; its first {half} seeds against '
    f'the next {half}: {delta(column, blocks)}'
  ]
  alpha, contrasts = level(study), len(plan.design.contrasts)
  seeds = study['seeds']
  detectable = power.detectable(noise, seeds, alpha, contrasts, wanted.power)
  what = f'with {seeds} seeds and {contrasts} contrasts, {wanted.power:.0%} power'
  if np.isfinite(detectable):
    lines.append(f'detectable {what}: {delta(column, detectable)}')
  else:
    lines.append(f'detectable {what}: nothing, seeds are too few')
  effect = wanted.effect or study['margin']
  if not effect:
    return [*lines, 'seeds needed: set the effect to detect by --effect']
  return [*lines, needed(plan, column, noise, effect, seconds, wanted)]


def level(study: Mapping[str, Any]) -> float:
  """The alpha of the first look."""
  return study['alpha'] / (2 if study['looks'] > 1 else 1)


def needed(
  plan: study_plan.Plan,
  column: str,
  noise: float,
  effect: float,
  seconds: float,
  wanted: Wanted,
) -> str:
  """The seeds needed to detect an effect, and their cost."""
  study = plan.config['study']
  contrasts = len(plan.design.contrasts)
  count = power.seeds_needed(noise, effect, level(study), contrasts, wanted.power)
  start = f'to detect {delta(column, effect)} with {wanted.power:.0%} power:'
  if count is None:
    seeds = power.MAX_SEEDS
    return f'{start} more than {seeds} seeds; the effect is small against the noise'
  runs = count * len(plan.at)
  work = [cost(plan, key) for key in plan.at]
  intact = cost(plan, (plan.design.contrasts[0].reference_cells[0], plan.conditions[0]))
  time = count * sum(work) / intact * seconds
  points = len(next(iter(plan.trials.values()), ()))
  points = points or (plan.config['study']['tune_trials'] if plan.grid else 0)
  tuning = f', {points} tuning points not counted' if points else ''
  return (
    f'{start} {count} seeds, {runs:,} runs, {formats.flops(count * sum(work))}, about '
    f'{formats.seconds(time)} here{tuning}'
  )


def cost(plan: study_plan.Plan, key: tuple) -> float:
  """Nominal FLOPs of a run of an arm under a condition."""
  config = plan.at[key].config
  return plan.facts[runs_lib.program_id(config)].flops * config['train']['steps']


def delta(column: str, value: float) -> str:
  return formats.delta(column, value, unit=True)
