"""What the launcher prints: the plan, and the findings after a run."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax

from dlsteroids.analysis import forecast, power, reach
from dlsteroids.plan import layouts, manifest, memory, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.plan import search as search_lib
from dlsteroids.report import answer as answer_lib
from dlsteroids.report import answer_json, formats, latex, notes, sentences
from dlsteroids.run import launch
from dlsteroids.run import until as until_lib
from dlsteroids.store import results, tables
from dlsteroids.study import conditions, designs
from dlsteroids.study import study as study_lib
from dlsteroids.train import cost
from dlsteroids.util import environment, files

LIKELY = (0.5, 0.1)  # share of the matmul rate that training reaches
GROWTH = 3  # times its first points a search among neighbours takes: on digits 2.9


class _Work(NamedTuple):
  """What a plan will train.

  Attributes:
    plan: with its grid extended as far as the stored runs ask for.
    store: index of the stored runs.
    search: runs of the tuning.
    claims: runs of the claim.
    runs: both, each once.
    missing: those of them that are not stored.
  """

  plan: study_plan.Plan
  store: results.Index
  search: list[runs_lib.Run]
  claims: list[runs_lib.Run]
  runs: list[runs_lib.Run]
  missing: list[runs_lib.Run]

  @property
  def programs(self) -> list[str]:
    """Ids of the programs to compile."""
    return list(dict.fromkeys(run.program for run in self.missing))

  @property
  def batches(self) -> list[runs_lib.Batch]:
    """What is to train, the search first."""
    done = self.store.records.__contains__
    return [
      *study_plan.batches(self.plan, self.search, done),
      *study_plan.batches(self.plan, _after(self.search, self.claims), done),
    ]

  @property
  def flops(self) -> float:
    """Nominal, of the training that is missing."""
    facts = self.plan.facts
    return sum(
      facts[run.program].flops * run.config['train']['steps'] for run in self.missing
    )


def _gather(plan: study_plan.Plan, workdir: pathlib.Path) -> _Work:
  index = results.read(workdir) if workdir.exists() else results.Index({}, {})
  plan = search_lib.extend(plan, index)
  search = [
    run
    for points in study_plan.searches(plan).values()
    for runs in points
    for run in runs
  ]
  claims = list(study_plan.claim_runs(plan))
  runs = list(runs_lib.unique([*search, *claims]))
  missing = [run for run in runs if run.fingerprint not in index.records]
  return _Work(plan, index, search, claims, runs, missing)


def describe(plan: study_plan.Plan, workdir: pathlib.Path) -> dict[str, Any]:
  """The action `plan` for programs, as docs/answer.schema.json describes it."""
  work = _gather(plan, workdir)
  study, design, resolution = _resolve(work.plan, workdir, work.store)
  return {
    'kind': 'plan',
    'format': answer_json.FORMAT,
    'study': study.name,
    'question': notes.question(study),
    'workdir': str(workdir),
    'metric': {
      'name': study.metric.column,
      'better': study.metric.better,
      'unit': answer_json.unit(study.metric.column),
      'margin': study.margin or None,
      'fallback': answer_json.number(study.metric.fallback),
    },
    'arms': [
      {'arm': arm.name, 'params': arm.params, 'flops': arm.flops_per_step * arm.steps}
      for arm in study.arms
    ],
    'seeds': list(study.seeds),
    'runs': {
      'planned': len(work.runs),
      'stored': len(work.runs) - len(work.missing),
      'missing': len(work.missing),
    },
    'programs': _compilations(work.batches),
    'steps': launch.steps_of(work.missing),
    'flops': work.flops,
    'reach': answer_json.describe_reach(design),
    'noise_floor': {
      'sd': answer_json.number(resolution.noise_floor),
      'detectable': answer_json.number(resolution.detectable),
      'power': forecast.POWER,
    },
    'lines': lines(plan, workdir),
  }


def lines(plan: study_plan.Plan, workdir: pathlib.Path) -> list[str]:
  """The action `plan`, a line each; nothing is compiled or trained."""
  study = plan.config['study']
  work = _gather(plan, workdir)
  plan, index, search, claims, runs, missing = work
  programs, batches = work.programs, work.batches
  return [
    f'study {study["name"]}: {_data(plan)}',
    *designs.explain(plan.design, _costs(plan)),
    *_conditions(plan),
    f'{_runs(plan, claims, search)}; {len(runs) - len(missing)} stored, '
    f'{len(missing)} to train',
    *_whole_search(plan),
    *(f'damaged: {path.name}: {text}' for path, text in index.damaged.items()),
    *launch.changed(plan, manifest.read_study(workdir), runs, index),
    *launch.stale(plan, runs, index),
    f'programs to compile: {_compilations(batches)}' + _layouts(plan, programs),
    *_padded(plan, batches),
    *_idle(plan),
    *_memory(plan, programs),
    *launch.memory_lines(plan, runs, index),
    f'steps: {launch.steps_of(missing):,}; nominal training compute: '
    f'{formats.flops(work.flops)}',
    f'estimated time: {_estimate(plan, missing, index)}',
    *_power(plan, workdir, index),
    *_until(plan, workdir, index),
  ]


def _compilations(batches: Iterable[runs_lib.Batch]) -> int:
  """How often XLA compiles: a program once for every layout of its batches."""
  return len({(batch.program, batch.layout) for batch in batches})


def _runs(
  plan: study_plan.Plan,
  claims: Sequence[runs_lib.Run],
  search: Sequence[runs_lib.Run],
) -> str:
  """How many runs there are, and how they come about."""
  each = len(plan.arms) * plan.config['study']['seeds']
  tuned = len(plan.at) * plan.config['study']['seeds']  # at most: some may be equal
  several = len(claims) // each
  under = f' x {several} conditions' if several > 1 else ''
  seeds = plan.config['study']['seeds']
  parts = [f'{len(claims)} ({len(plan.arms)} arms x {seeds} seeds{under})'] * bool(
    claims
  )
  if search:
    more = {
      'grid': ', more if an end of the grid is the best',
      'neighbours': ' so far',
    }.get(plan.tune_by, '')
    parts.append(
      f'{len(search)} to tune{"" if plan.final else more} and up to {tuned} tuned'
    )
  return f'runs: {", ".join(parts)}'


def _whole_search(plan: study_plan.Plan) -> list[str]:
  """What a search among neighbours takes in all, before it has begun."""
  if plan.tune_by != 'neighbours':
    return []
  settings, rate = plan.config['study'], cost.matmul_rate()
  trials, seeds = settings['tune_trials'], settings['seeds']
  flops = sum(manifest.arm_cost(plan, *key).flops for key in plan.at)
  work = [
    flops * (points * settings['tune_seeds'] + seeds)
    for points in (trials, GROWTH * trials)
  ]
  low, high = (formats.seconds(w / (s * rate)) for w, s in zip(work, LIKELY))
  least = len(plan.at) * trials * settings['tune_seeds']
  return [
    f'search: {trials} points x {settings["tune_seeds"]} seeds for each of '
    f'{len(plan.at)} pairs of arm and budget, to some {GROWTH * trials} as it goes on '
    f'while neighbours of the best are untried, then {seeds} seeds each: {least:,} to '
    f'{GROWTH * least:,} + {len(plan.at) * seeds:,} runs, {formats.flops(work[0])} to '
    f'{formats.flops(work[1])}, {low} to {high} and compilation'
  ]


def _costs(plan: study_plan.Plan) -> dict[str, str]:
  """Parameters and FLOPs of the arms under the declared condition, by name."""
  texts = {}
  for name, config in plan.arms.items():
    facts = plan.facts[runs_lib.program_id(config)]
    texts[name] = f'{facts.params:,} parameters, {formats.flops(facts.flops)} a step'
  return texts


def _memory(plan: study_plan.Plan, programs: Iterable[str]) -> list[str]:
  """The most that a program may take beside its data, before XLA fuses operations.

  What it takes once it is compiled is compared with what is free before it runs.
  """
  eval_batch = plan.config['train']['eval_batch']
  peaks = [
    memory.estimate(plan.layouts[name], plan.facts[name], eval_batch).peak
    for name in programs
  ]
  if not peaks:
    return []
  free = environment.free_memory()
  rest = f'; {formats.size(free)} free' if math.isfinite(free) else ''
  return [f'memory: at most {formats.size(max(peaks))} before fusion{rest}']


def _layouts(plan: study_plan.Plan, programs: Iterable[str]) -> str:
  """How the runs of programs are laid out, if there are programs."""
  layouts = dict.fromkeys(str(plan.layouts[name]) for name in programs)
  return f' ({"; ".join(layouts)})' if layouts else ''


def _after(
  search: Sequence[runs_lib.Run], claims: Sequence[runs_lib.Run]
) -> list[runs_lib.Run]:
  """The runs of claims that no search has trained before them."""
  before = {run.fingerprint for run in search}
  return [run for run in runs_lib.unique(claims) if run.fingerprint not in before]


def _padded(plan: study_plan.Plan, todo: Sequence[runs_lib.Batch]) -> list[str]:
  """The share of the computing that is thrown away, if anything is to train."""
  if not todo:
    return []
  share = layouts.share_padded(todo, lambda program: plan.facts[program].flops)
  width, data = (plan.config['engine'][name] for name in ('width', 'data_devices'))
  why = ''
  if share and width:
    why = f', as config.engine.width={width} fills every batch up; 0 does not'
  elif share and data > 1:
    why = ', as groups of devices wait for each other'
  return [f'padded work: {100 * share:.3g} % of the training{why}']


def _idle(plan: study_plan.Plan) -> list[str]:
  """A line if devices are left over that fill no group."""
  idle = jax.device_count() - next(iter(plan.layouts.values())).devices
  if not idle:
    return []
  return [
    f'idle: {idle} of {jax.device_count()} devices, as groups of '
    f'{plan.config["engine"]["data_devices"]} leave them over'
  ]


def _conditions(plan: study_plan.Plan) -> list[str]:
  """A line for each condition: steps, parameters and compute of its arms."""
  if plan.conditions == (conditions.Condition('steps'),):
    return []
  lines = []
  for number, condition in enumerate(plan.conditions):
    arms = [arm for arm in plan.arms if (arm, condition) in plan.at]
    rows = [manifest.arm_cost(plan, arm, condition) for arm in arms]
    spans = [
      f'{_span(rows, "steps")} steps',
      f'{_span(rows, "params")} parameters',
      f'{_span(rows, "flops", formats.flops)} a run',
    ]
    off = max(abs(row.residual) for row in rows)
    spans += [f'off by up to {off:.1%}'] if off else []
    name = 'condition' if number else 'declared condition'
    only = f' (only {", ".join(arms)})' if len(arms) < len(plan.arms) else ''
    lines.append(f'{name} {condition}{only}: {", ".join(spans)}')
  return lines


def _span(
  rows: Sequence[study_lib.Cost],
  name: str,
  write: Callable[[float], str] = lambda value: f'{value:,}',
) -> str:
  """'100 to 300', or the one number that all rows have."""
  low, high = (write(pick(getattr(row, name) for row in rows)) for pick in (min, max))
  return low if low == high else f'{low} to {high}'


def _data(plan: study_plan.Plan) -> str:
  dataset = plan.dataset(plan.config)
  split = dataset.split(plan.config['study']['first_seed'])
  sizes = ', '.join(f'{len(indices):,} {name}' for name, indices in split.items())
  official = (
    'the same test split for every seed'
    if dataset.official_test
    else 'the seed draws it'
  )
  return f'{dataset.name}, {sizes} ({official})'


def _estimate(
  plan: study_plan.Plan, missing: list[runs_lib.Run], index: results.Index
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
      plan.facts[run.program].flops * run.config['train']['steps'] for run in missing
    )
    low, high = (work / (share * cost.matmul_rate()) for share in LIKELY)
    return (
      f'{formats.seconds(low)} to {formats.seconds(high)} and compilation (no run yet: '
      f'{LIKELY[1]:.0%} to {LIKELY[0]:.0%} of the matrix products measured here)'
    )
  mean = sum(rates.values()) / len(rates)
  seconds = 0.0
  for run in missing:
    work = plan.facts[run.program].flops * run.config['train']['steps']
    seconds += work / rates.get(run.program, mean)
  return f'{formats.seconds(seconds)} and compilation'


def _resolve(
  plan: study_plan.Plan, workdir: pathlib.Path, index: results.Index
) -> tuple[study_lib.Study, reach.Reach, forecast.Resolution]:
  """The study, what its design can reach and, once runs exist, what it resolves."""
  old = manifest.read_study(workdir)
  described = manifest.describe(plan, '', old, old.looks if old else ())
  study = dataclasses.replace(described, tuning=None)
  design = reach.reach(study)
  planned = [
    study_lib.PlannedRun(r.arm, r.seed, r.tuned, r.fingerprint, *r.condition)
    for r in study_plan.claim_runs(plan)
  ]
  planned = [run for run in planned if study.is_declared(run)]
  runs = tables.runs(study, planned, index, {})
  floor = least = math.nan
  if len(runs):
    floor = reach.noise_floor(study, runs, 0)
  if not math.isnan(floor):
    least = power.detectable(floor, design.seeds, design.alpha, design.contrasts)
  return study, design, forecast.Resolution(floor, least)


def _power(
  plan: study_plan.Plan, workdir: pathlib.Path, index: results.Index
) -> list[str]:
  """The smallest reachable p, and the noise floor if runs of the reference exist."""
  study, design, (floor, least) = _resolve(plan, workdir, index)
  words = sentences
  say = words.describe_reach if design.reachable else words.warn_reach
  if math.isnan(floor):
    return [say(design), 'noise floor: unknown before two runs of the reference']
  name = study.metric.name
  return [
    say(design),
    f'noise floor: A/A standard deviation {formats.delta(name, floor, unit=True)}; '
    f'detectable with 80 % power: {formats.delta(name, least, unit=True)}',
  ]


def _until(
  plan: study_plan.Plan, workdir: pathlib.Path, index: results.Index
) -> list[str]:
  """What adding seeds until verdicts are reached costs, if that is planned."""
  if plan.until is None:
    return []
  _, _, (floor, _) = _resolve(plan, workdir, index)
  return until_lib.lines(plan, index, floor)


def write_latex(answer: answer_lib.Answer) -> pathlib.Path:
  """effects.tex beside the report."""
  study = study_lib.from_json(results.read_json(answer.workdir / 'study.json'))
  path = answer.workdir / 'effects.tex'
  files.write(path, latex.table(study, answer.effects))
  return path
