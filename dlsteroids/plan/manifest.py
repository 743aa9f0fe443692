"""What a launch writes about a study: plan.json before it trains, study.json after."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.plan import runs as runs_lib
from dlsteroids.plan import search, study_plan, tuning
from dlsteroids.store import failures, results
from dlsteroids.study import conditions, factors
from dlsteroids.study import study as study_lib
from dlsteroids.train import cost
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment, errors

MISFITS = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
MAX_WIDTH = 1 << 20  # members per device, or examples of a batch, exclusive


def read_plan(workdir: pathlib.Path) -> dict[str, Any]:
  """The content of plan.json; without that file, what the store implies.

  Raises:
    UserError: if it cannot be read.
  """
  path = workdir / 'plan.json'
  try:
    if not path.exists():
      return {'programs': stored_layouts(workdir), 'looks': [], 'peak_flops': 0.0}
    plan = {'looks': [], 'peak_flops': 0.0, **results.read_json(path)}
    study_lib.looks_from_json(plan['looks'])
    valid = isinstance(plan['looks'], list) and plan['peak_flops'] >= 0
    for entry in plan['programs'].values():
      layout = {'strategy': '', 'width': 1, **entry}  # unknown until it is trained
      valid &= isinstance(layout['strategy'], str)
      widths = [layout['width'], *entry.get('narrow', {}).values()]
      valid &= all(width in range(1, MAX_WIDTH) for width in widths)
      valid &= entry.get('evaluation', 'map') in ('map', 'vmap')
      valid &= entry.get('eval_batch', 0) in range(MAX_WIDTH)
    if not valid:
      raise ValueError('a value of another kind')
    return plan
  except MISFITS as error:
    raise errors.UserError(
      f'{path} is damaged or not a plan of dlsteroids ({error}); move it away, then '
      'the same command continues'
    ) from error


def read_layouts(workdir: pathlib.Path) -> dict[str, Any]:
  """The programs of plan.json by id; as `read_plan`."""
  return read_plan(workdir)['programs']


def stored_layouts(workdir: pathlib.Path) -> dict[str, Any]:
  """By program the layout of its latest batch: bits depend on it."""
  batches = [record.batch for record in results.read(workdir).records.values()]
  return {
    batch['program']: entry_of(program_lib.Layout(**batch['layout']))
    for batch in sorted(batches, key=lambda batch: batch['time'])
  }


def read_study(workdir: pathlib.Path) -> study_lib.Study | None:
  """The study of study.json; None if there is no such file.

  Raises:
    UserError: if it cannot be read.
  """
  path = workdir / 'study.json'
  try:
    return study_lib.from_json(results.read_json(path)) if path.exists() else None
  except MISFITS as error:
    raise errors.UserError(
      f'{path} is damaged or not a study of dlsteroids ({error}); move it away, then '
      '--action=run writes it again'
    ) from error


def check(workdir: pathlib.Path, name: str) -> study_lib.Study | None:
  """`read_study`, of the study called `name`.

  Raises:
    UserError: if it is another study's.
  """
  study = read_study(workdir)
  if study and study.name != name:
    raise errors.UserError(
      f'workdir {workdir} holds study {study.name!r}, this is {name!r}: '
      'use another --workdir'
    )
  return study


def write_looks(workdir: pathlib.Path, study: study_lib.Study) -> None:
  """Writes a study with another look to study.json, and its looks to plan.json."""
  tree = study_lib.to_json(study)
  results.write_json(workdir / 'study.json', tree)
  plan = read_plan(workdir)
  if study_lib.looks_from_json(plan['looks']) != study.looks:
    plan |= {'format': 2, 'looks': tree['looks']}
    results.write_json(workdir / 'plan.json', plan)


def with_written_trials(
  plan: study_plan.Plan, workdir: pathlib.Path
) -> study_plan.Plan:
  """The plan with the points of study.json, where another process adds them."""
  study = read_study(workdir)
  if study is None or study.tuning is None:
    return plan
  return search.with_state(plan, search.state_of_study(study.tuning))


def write_layouts(plan: study_plan.Plan, workdir: pathlib.Path) -> None:
  """Enters how the plan's programs are laid out here, and this machine's speed."""
  path = workdir / 'plan.json'
  written = results.read_json(path)
  if not written.get('peak_flops'):
    written['peak_flops'] = cost.matmul_rate()
  for name, layout in plan.layouts.items():
    written['programs'][name] |= entry_of(layout)
  results.write_json(path, written)


def entry_of(layout: program_lib.Layout) -> dict[str, Any]:
  """What plan.json says of a layout."""
  return {
    'strategy': layout.strategy,
    'width': layout.width,
    'data_devices': layout.data,
    'evaluation': layout.evaluation,
    'eval_batch': layout.eval_batch,
  }


def write_plan(
  plan: study_plan.Plan, workdir: pathlib.Path, elsewhere: bool = False
) -> None:
  """plan.json: what is compiled and how members lie; its layouts are never changed.

  Arms that other launches planned of a program stay: their workers look them up here.

  Args:
    plan: of the study.
    workdir: of the study, held.
    elsewhere: other machines train, so that the first of them chooses the layouts.
  """
  before = read_plan(workdir)
  old, peak = before['programs'], before['peak_flops']
  programs = {
    name: {
      **old.get(name, {}),
      **({} if elsewhere else entry_of(layout)),
      'arms': list(
        dict.fromkeys((*old.get(name, {}).get('arms', ()), *plan.arms_of(name)))
      ),
      'params': plan.facts[name].params,
      'flops_per_step': plan.facts[name].flops,
    }
    for name, layout in plan.layouts.items()
  }
  seeds = runs_lib.seeds(plan.config)
  results.write_json(
    workdir / 'plan.json',
    {
      'format': 2,
      'peak_flops': peak if elsewhere else peak or cost.matmul_rate(),
      'programs': {**old, **programs},
      'looks': before['looks'],  # a second copy: study.json may be lost
      'arms': list(plan.arms),
      'seeds': seeds,
      'runs': [
        {'arm': run.arm, 'seed': run.seed, 'fingerprint': run.fingerprint}
        for run in study_plan.claim_runs(plan)
      ],
    },
  )


def describe(
  plan: study_plan.Plan,
  command: str,
  old: study_lib.Study | None = None,
  looks: Sequence[study_lib.LookRecord] = (),
  peak_flops: float = 0.0,
) -> study_lib.Study:
  """The study that a plan asks for, with the runs of its claims as configured.

  Args:
    plan: of the whole study.
    command: that repeats it; if empty, the one of `old`.
    old: the study as written before.
    looks: at the results so far.
    peak_flops: of this machine; see `Study`.
  """
  config, settings = plan.config, plan.config['study']
  task = next(iter(plan.members.values())).task
  dataset = plan.dataset(config)
  split = dataset.split(settings['first_seed'])
  metrics = {
    name: study_lib.Metric(name, metric.better, metric.fallback)
    for name, metric in task.metrics.items()
    if metric.better
  }
  widths = {f'{layout.strategy} {layout.width}' for layout in plan.layouts.values()}
  return study_lib.Study(
    name=settings['name'],
    question=settings['question'],
    design=settings['design'],
    config=config,
    factors=plan.design.factors,
    arms=tuple(describe_arm(plan, arm) for arm in plan.design.arms),
    contrasts=plan.design.contrasts,
    excluded=plan.design.excluded,
    notes=plan.design.notes,
    cells=tuple((dict(levels), arm) for levels, arm in plan.design.cells),
    permutations=plan.design.permutations,
    aliases=plan.design.aliases,
    seeds=tuple(runs_lib.seeds(config)),
    metric=metrics[settings['metric']],
    metrics=metrics,
    alpha=settings['alpha'],
    margin=settings['margin'],
    looks=tuple(looks),
    looks_declared=settings['looks'],
    conditions=tuple(plan.conditions),
    claims=tuple(plan.claims),
    until=plan.until,
    ratio=settings['ratio'],
    targets=tuple(conditions.numbers(settings['targets'], 'study.targets')),
    runs=tuple(
      study_lib.PlannedRun(
        run.arm, run.seed, run.tuned, run.fingerprint, *run.condition, run.program
      )
      for run in study_plan.claim_runs(plan)
    ),
    tuning=describe_tuning(plan),
    command=command or (old.command if old else ''),
    provenance={
      **environment.provenance(),
      'devices': next(iter(plan.layouts.values())).devices,
      'data_devices': config['engine']['data_devices'],
      'strategy': ', '.join(sorted(widths)),
      'matmul': config['train']['matmul'],
    },
    peak_flops=peak_flops,
    git=environment.git_commit(),
    code=config_lib.digest({arm: code.digest for arm, code in plan.code.items()}),
    dlsteroids=dlsteroids.__version__,
    data=study_lib.Data(
      name=dataset.name,
      digest=dataset.digest,
      classes=tuple(dataset.classes),
      official_test=dataset.official_test,
      facts={**dataset.facts, **task.facts},
      references={**dataset.references, **task.references},
      sizes={name: len(indices) for name, indices in split.items()},
    ),
  )


def describe_arm(plan: study_plan.Plan, arm: factors.Arm) -> study_lib.StudyArm:
  """An arm: its levels, its program, and what it costs."""
  config = plan.arms[arm.name]
  program = runs_lib.program_id(config)
  facts = plan.facts[program]
  return study_lib.StudyArm(
    name=arm.name,
    assignment=dict(arm.assignment),
    overrides=arm.overrides,
    inapplicable=arm.inapplicable,
    program=program,
    params=facts.params,
    flops_per_step=facts.flops,
    executed_flops_per_step=facts.executed_flops,
    steps=config['train']['steps'],
    activation_bytes=facts.activation_bytes,
    state_bytes=facts.state_bytes,
    traffic_bytes_per_step=facts.traffic_bytes,
    unknown_loops=facts.unknown_loops,
    at=tuple(
      arm_cost(plan, arm.name, condition)
      for condition in plan.conditions
      if (arm.name, condition) in plan.at
    ),
  )


def describe_tuning(plan: study_plan.Plan) -> study_lib.Tuning | None:
  """The grid, its seeds, and the runs that may be asked for; None without tuning."""
  settings = plan.config['study']
  if not plan.grid:
    return None
  count = settings['tune_seeds']
  return study_lib.Tuning(
    grid=plan.grid,
    declared=tuning.parse_grid(settings['tune'], plan.config),
    final=plan.final,
    seeds=tuple(runs_lib.TUNE_SEED + i for i in range(count)),
    by=plan.tune_by,
    candidates=tuple(
      describe_search(plan, key, search)
      for key, search in study_plan.searches(plan).items()
      if search
    ),
  )


def describe_search(
  plan: study_plan.Plan, key: study_plan.Key, search: Sequence[Sequence[runs_lib.Run]]
) -> study_lib.Candidate:
  """An arm under a condition, the runs of its search and those that may be asked for.

  Before points are final, none claims whose program may have changed by then.
  """
  (arm, condition), points = key, plan.trials[key]
  seeds = plan.seeds_of(arm)
  fingerprints = lambda runs: tuple(run.fingerprint for run in runs)
  programs = tuple(at_point[0].program for at_point in search)
  structural = len(set(programs)) > 1
  waits = plan.tune_by == 'neighbours' and not plan.final
  return study_lib.Candidate(
    arm,
    *condition,
    program=programs[0],
    search=tuple(map(fingerprints, search)),
    claim=tuple(
      ()
      if waits
      else fingerprints(plan.runs(arm, seeds, runs_lib.TUNED, point, condition))
      for point in points
    ),
    points=() if plan.tune_by == 'grid' else points,
    programs=programs if structural else (),
  )


def arm_cost(
  plan: study_plan.Plan, arm: str, condition: conditions.Condition
) -> study_lib.Cost:
  """What an arm's run costs under a condition, and how nearly its regime is met."""
  config, residual = plan.at[arm, condition]
  facts = plan.facts[runs_lib.program_id(config)]
  steps = config['train']['steps']
  return study_lib.Cost(
    *condition,
    steps=steps,
    params=facts.params,
    flops=facts.flops * steps,
    executed_flops=facts.executed_flops * steps,
    residual=residual,
  )


def write_study(
  plan: study_plan.Plan,
  command: str,
  workdir: pathlib.Path,
  old: study_lib.Study | None,
  index: results.Index,
  elsewhere: bool = False,
) -> study_lib.Study:
  """Writes study.json: what is compared, and the runs that follow from the store.

  Args:
    plan: of the whole study.
    command: that repeats it.
    workdir: of the study, held.
    old: the study as written before.
    index: the store.
    elsewhere: other machines train: theirs is the provenance.
  """
  written = read_plan(workdir)
  looks = old.looks if old else study_lib.looks_from_json(written['looks'])
  peak = written['peak_flops'] or (old.peak_flops if old else 0.0)
  study = tuning.with_choices(describe(plan, command, old, looks, peak), index)
  programs = tuning.programs_by_run(study)
  stored = [index.records[name] for name in programs if name in index.records]
  provenance = study.provenance
  if elsewhere and stored:
    batch, layouts = stored[0].batch, written['programs'].values()
    widths = {f'{x["strategy"]} {x["width"]}' for x in layouts if 'width' in x}
    provenance = {
      **provenance,
      **batch['provenance'],
      'devices': batch['layout']['devices'],
      'strategy': ', '.join(sorted(widths)),
    }
  study = dataclasses.replace(
    study,
    provenance=provenance,
    failures=failures.reasons(workdir, programs, index.records),
  )
  results.write_json(workdir / 'study.json', study_lib.to_json(study))
  return study
