"""What the launcher prints: the plan, and the findings after a run."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence

import jax

from dlsteroids.analysis import looks, power, reach
from dlsteroids.plan import manifest, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.report import design_words, formats, latex, notes, sentences
from dlsteroids.run import launch
from dlsteroids.store import results, tables
from dlsteroids.study import conditions, designs
from dlsteroids.study import study as study_lib
from dlsteroids.train import cost
from dlsteroids.util import files

LIKELY = (0.5, 0.1)  # share of the matmul rate that training reaches


def lines(made: study_plan.Plan, workdir: pathlib.Path) -> list[str]:
  """The action `plan`, a line each; nothing is compiled or trained."""
  index = results.read(workdir) if workdir.exists() else results.Index({}, {})
  search = [
    run
    for points in study_plan.searches(made).values()
    for runs in points
    for run in runs
  ]
  claims = study_plan.claim_runs(made)
  each = len(made.arms) * made.config['study']['seeds']
  tuned = each * len(made.conditions) if search else 0  # at most: some may be equal
  wanted = runs_lib.unique([*search, *claims])
  missing = [run for run in wanted if run.fingerprint not in index.records]
  told = [f'study {made.config["study"]["name"]}: {data_line(made)}']
  told += designs.explain(made.design)
  told += condition_lines(made)
  several = len(claims) // each
  under = f' x {several} conditions' if several > 1 else ''
  told.append(
    f'runs: {len(claims)} ({len(made.arms)} arms x '
    f'{made.config["study"]["seeds"]} seeds{under})'
    + (f', {len(search)} to tune and up to {tuned} tuned' if search else '')
    + f'; {len(wanted) - len(missing)} stored, {len(missing)} to train'
  )
  told += [f'damaged: {path.name}: {text}' for path, text in index.damaged.items()]
  told += launch.stale(made, wanted, index)
  programs = dict.fromkeys(run.program for run in missing)
  told.append(f'programs to compile: {len(programs)}')
  for name in programs:
    layout, facts = made.layouts[name], made.facts[name]
    arms = made.arms_of(name)
    told.append(
      f'  {name}: {facts.params:,} parameters, {formats.flops(facts.flops)} a step, '
      f'{layout}: {", ".join(arms)}'
    )
  told += idle_line(made)
  work = sum(
    made.facts[run.program].flops * run.config['train']['steps'] for run in missing
  )
  told.append(
    f'steps: {launch.steps_of(missing):,}; nominal training compute: '
    f'{formats.flops(work)}'
  )
  told.append(f'estimated time: {estimate(made, missing, index)}')
  return told + power_lines(made, workdir, index)


def idle_line(made: study_plan.Plan) -> list[str]:
  """A line if devices are left over that fill no group."""
  idle = jax.device_count() - next(iter(made.layouts.values())).devices
  if not idle:
    return []
  return [
    f'idle: {idle} of {jax.device_count()} devices, as groups of '
    f'{made.config["engine"]["data_devices"]} leave them over'
  ]


def condition_lines(made: study_plan.Plan) -> list[str]:
  """A line for each condition: steps, parameters and compute of its arms."""
  if made.conditions == (conditions.Condition('steps'),):
    return []
  told = []
  for number, condition in enumerate(made.conditions):
    found = [manifest.arm_cost(made, arm, condition) for arm in made.arms]
    spans = [
      f'{span(found, "steps")} steps',
      f'{span(found, "params")} parameters',
      f'{span(found, "flops", formats.flops)} a run',
    ]
    off = max(abs(row.residual) for row in found)
    spans += [f'off by up to {off:.1%}'] if off else []
    name = 'condition' if number else 'declared condition'
    told.append(f'{name} {condition}: {", ".join(spans)}')
  return told


def span(
  rows: Sequence[study_lib.Cost],
  name: str,
  write: Callable[[float], str] = lambda value: f'{value:,}',
) -> str:
  """'100 to 300', or the one number that all rows have."""
  low, high = (write(pick(getattr(row, name) for row in rows)) for pick in (min, max))
  return low if low == high else f'{low} to {high}'


def data_line(made: study_plan.Plan) -> str:
  dataset = made.dataset(made.config)
  split = dataset.split(made.config['study']['first_seed'])
  sizes = ', '.join(f'{len(indices):,} {name}' for name, indices in split.items())
  official = (
    'the same test split for every seed'
    if dataset.official_test
    else 'the seed draws it'
  )
  return f'{dataset.name}, {sizes} ({official})'


def estimate(
  made: study_plan.Plan, missing: list[runs_lib.Run], index: results.Index
) -> str:
  """Time by FLOPs: from stored runs of the program, else of any, else a range."""
  if not missing:
    return 'none, all runs are stored'
  rates: dict[str, float] = {}
  for record in index.records.values():
    if record.run['wall_s'] > 0:
      rates[record.batch['program']] = record.run['flops'] / record.run['wall_s']
  if not rates:
    work = sum(
      made.facts[run.program].flops * run.config['train']['steps'] for run in missing
    )
    low, high = (work / (share * cost.matmul_rate()) for share in LIKELY)
    return (
      f'{formats.seconds(low)} to {formats.seconds(high)} and compilation (no run yet: '
      f'{LIKELY[1]:.0%} to {LIKELY[0]:.0%} of the matrix products measured here)'
    )
  mean = sum(rates.values()) / len(rates)
  seconds = 0.0
  for run in missing:
    work = made.facts[run.program].flops * run.config['train']['steps']
    seconds += work / rates.get(run.program, mean)
  return f'{formats.seconds(seconds)} and compilation'


def power_lines(
  made: study_plan.Plan, workdir: pathlib.Path, index: results.Index
) -> list[str]:
  """The smallest reachable p, and the noise floor if runs of the reference exist."""
  old = manifest.read_study(workdir)
  described = manifest.describe(made, '', old, old.looks if old else ())
  study = dataclasses.replace(described, tuning=None)
  design = reach.reach(study)
  sentence = design_words.describe_reach(design)
  planned = [
    study_lib.PlannedRun(r.arm, r.seed, r.tuned, r.fingerprint, *r.condition)
    for r in study_plan.claim_runs(made)
  ]
  planned = [run for run in planned if study.is_declared(run)]
  runs = tables.runs(study, planned, index, {})
  floor = math.nan
  if len(runs):
    floor = reach.noise_floor(study, runs, 0)
  if math.isnan(floor):
    return [sentence, 'noise floor: unknown before two runs of the reference']
  name = study.metric.name
  least = power.detectable(floor, design.seeds, design.alpha, design.contrasts)
  return [
    sentence,
    f'noise floor: A/A standard deviation {formats.delta(name, floor, unit=True)}; '
    f'detectable with 80 % power: {formats.delta(name, least, unit=True)}',
  ]


def findings(answer: launch.Answer) -> list[str]:
  """The report's sentences, and before them what it lacks."""
  study = study_lib.from_json(results.read_json(answer.workdir / 'study.json'))
  look = looks.state(study, answer.runs)
  partial = notes.partial(study, answer.runs)
  return [*partial, *sentences.summary(study, answer.effects, look)]


def write_latex(answer: launch.Answer) -> pathlib.Path:
  """effects.tex beside the report."""
  study = study_lib.from_json(results.read_json(answer.workdir / 'study.json'))
  path = answer.workdir / 'effects.tex'
  files.write(path, latex.table(study, answer.effects))
  return path
