"""`--action=plan --pilot=N`: the noise is measured before anything is claimed.

The reference arm is trained at N seeds from the study's first on, so runs that the
study asks for, too, are found in the store. No contrast is looked at.
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

LEAST = 4  # runs that a standard deviation is worth estimating from


class Wanted(NamedTuple):
  """What the user wants to be able to see.

  Attributes:
    effect: mean difference in the deciding metric's unit; 0 takes the study's margin.
    power: probability of finding it.
  """

  effect: float = 0.0
  power: float = 0.8


def run(
  made: study_plan.Plan,
  workdir: pathlib.Path,
  count: int,
  wanted: Wanted,
  watch: local.Watch = lambda status: None,
  say: Callable[[str], None] = print,
) -> list[str]:
  """Trains the pilot's runs that the store lacks; lines that say what they tell.

  Args:
    made: the plan of all arms.
    workdir: of the study.
    count: seeds of the pilot.
    wanted: the effect and power to plan for.
    watch: told about progress.
    say: told what a user should know at once.

  Raises:
    UserError: too few seeds, or no run of the pilot ended well.
  """
  check(count, wanted)
  first = made.config['study']['first_seed']
  arm = made.design.contrasts[0].reference_cells[0]
  runs = [made.run(arm, first + i, runs_lib.UNTUNED, {}) for i in range(count)]
  with lock.hold(workdir):
    manifest.check(workdir, made.config['study']['name'])
    made = manifest.lay_out(made, manifest.read_layouts(workdir))
    manifest.write_plan(made, workdir)
  failures = sharing.train(made, units.of_runs(runs), workdir, watch, say)
  records = results.read(workdir).records
  metric = made.config['study']['metric']
  kept = [records[run.fingerprint] for run in runs if run.fingerprint in records]
  # a run that diverged holds the metric's fallback: it is noise, too
  scores = [record.run['values'][f'test/{metric}'] for record in kept]
  if len(scores) < LEAST:
    why = next(iter(failures.values()), 'the others failed')
    raise errors.UserError(
      f'the pilot has {len(scores)} scores of {arm}, {LEAST} are needed: {why}'
    )
  lost = sum(record.run['status'] != 'ok' for record in kept)
  seconds = float(np.mean([record.run['wall_s'] for record in kept]))
  told = describe(made, arm, np.asarray(scores), seconds, wanted)
  told += [f'{lost} of these runs diverged and score the fallback'] if lost else []
  told += ['the pilot trains as configured; tuning may change the noise'] * bool(
    made.grid
  )
  return told


def check(count: int, wanted: Wanted) -> None:
  if count < LEAST:
    raise errors.UserError(f'--pilot must be at least {LEAST} seeds, not {count}')
  if wanted.effect < 0:
    raise errors.UserError(f'--effect must not be negative: {wanted.effect}')
  if not 0 < wanted.power < 1:
    raise errors.UserError(f'--power must lie in (0, 1), not {wanted.power}')


def describe(
  made: study_plan.Plan, arm: str, scores: np.ndarray, seconds: float, wanted: Wanted
) -> list[str]:
  """What a pilot tells: the noise, what is detectable, what is needed, and its cost."""
  study = made.config['study']
  column = f'test/{study["metric"]}'
  half = len(scores) // 2
  blocks = scores[:half].mean() - scores[half : 2 * half].mean()
  noise = statistics.noise_floor(scores)
  told = [
    f'pilot: {len(scores)} runs of {arm}: mean {formats.value(column, scores.mean())}, '
    f'A/A standard deviation {delta(column, noise)}; its first {half} seeds against '
    f'the next {half}: {delta(column, blocks)}'
  ]
  alpha, contrasts = level(study), len(made.design.contrasts)
  seeds = study['seeds']
  found = power.detectable(noise, seeds, alpha, contrasts, wanted.power)
  what = f'with {seeds} seeds and {contrasts} contrasts, {wanted.power:.0%} power'
  if np.isfinite(found):
    told.append(f'detectable {what}: {delta(column, found)}')
  else:
    told.append(f'detectable {what}: nothing, seeds are too few')
  effect = wanted.effect or study['margin']
  if not effect:
    return [*told, 'seeds needed: name the wanted effect by --effect']
  return [*told, needed(made, column, noise, effect, seconds, wanted)]


def level(study: Mapping[str, Any]) -> float:
  """The alpha of the first look."""
  return study['alpha'] / (2 if study['looks'] > 1 else 1)


def needed(
  made: study_plan.Plan,
  column: str,
  noise: float,
  effect: float,
  seconds: float,
  wanted: Wanted,
) -> str:
  """The seeds that a wanted effect takes, and what they cost."""
  study = made.config['study']
  contrasts = len(made.design.contrasts)
  count = power.seeds_needed(noise, effect, level(study), contrasts, wanted.power)
  start = f'to find {delta(column, effect)} with {wanted.power:.0%} power:'
  if count is None:
    seeds = power.MAX_SEEDS
    return f'{start} more than {seeds} seeds; the effect is small against the noise'
  runs = count * len(made.at)
  work = [cost(made, key) for key in made.at]
  intact = cost(made, (made.design.contrasts[0].reference_cells[0], made.conditions[0]))
  time = count * sum(work) / intact * seconds
  tuning = f', {len(made.grid)} tuning points not counted' if made.grid else ''
  return (
    f'{start} {count} seeds, {runs:,} runs, {formats.flops(count * sum(work))}, about '
    f'{formats.seconds(time)} here{tuning}'
  )


def cost(made: study_plan.Plan, key: tuple) -> float:
  """Nominal FLOPs of a run of an arm under a condition."""
  config = made.at[key].config
  return made.facts[runs_lib.program_id(config)].flops * config['train']['steps']


def delta(column: str, value: float) -> str:
  return formats.delta(column, value, unit=True)
