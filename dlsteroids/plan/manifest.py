"""What a launch writes about a study: plan.json before it trains, study.json after."""

import pathlib
from collections.abc import Mapping
from typing import Any

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.plan import choices, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import failures, results
from dlsteroids.study import conditions, factors
from dlsteroids.study import study as study_lib
from dlsteroids.train import cost
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment, errors

MISFITS = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
MOST = 1 << 20  # members of a program per device, and one
STUDY = {'name': str, 'runs': list, 'looks': list}  # what it must tell, and its kind


def read_plan(workdir: pathlib.Path) -> dict[str, Any]:
  """What plan.json says; if there is none, what the store and study.json tell of it.

  Raises:
    UserError: if it can't be read.
  """
  path = workdir / 'plan.json'
  try:
    if not path.exists():
      return {'programs': stored_layouts(workdir), 'looks': [], 'peak_flops': 0.0}
    told = {'looks': [], 'peak_flops': 0.0, **results.read_json(path)}
    good = isinstance(told['looks'], list) and told['peak_flops'] >= 0
    for entry in told['programs'].values():
      laid = {'strategy': '', 'width': 1, **entry}  # not before someone trains it
      good &= isinstance(laid['strategy'], str) and laid['width'] in range(1, MOST)
    if not good:
      raise ValueError('a fact of another kind')
    return told
  except MISFITS as error:
    raise errors.UserError(
      f'{path} is damaged or no plan of dlsteroids ({error}); move it away, then the '
      'same command continues'
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


def read_study(workdir: pathlib.Path) -> dict[str, Any]:
  """What study.json says; {} if there is none.

  Raises:
    UserError: if it can't be read.
  """
  path = workdir / 'study.json'
  try:
    if not path.exists():
      return {}
    told = results.read_json(path)
    for name, kind in STUDY.items():
      if not isinstance(told[name], kind):
        raise ValueError(f'{name} is of another kind')
    for row in told['runs']:
      study_lib.PlannedRun(*row)
    return told
  except MISFITS as error:
    raise errors.UserError(
      f'{path} is damaged or no study of dlsteroids ({error}); move it away, then '
      '--action=run writes it again'
    ) from error


def check(workdir: pathlib.Path, name: str) -> dict[str, Any]:
  """`read_study`, of the study called `name`; the looks of plan.json if it is lost.

  Raises:
    UserError: if it is another study's.
  """
  told = read_study(workdir)
  if told and told['name'] != name:
    raise errors.UserError(
      f'workdir {workdir} holds study {told["name"]!r}, this is {name!r}: '
      'use another --workdir'
    )
  return told or {'looks': read_plan(workdir)['looks']}


def write_looks(workdir: pathlib.Path, told: Mapping[str, Any]) -> None:
  """Writes a study with a look more to study.json, and its looks to plan.json."""
  results.write_json(workdir / 'study.json', told)
  made = read_plan(workdir)
  if made['looks'] != told['looks']:
    made |= {'format': 2, 'looks': told['looks']}
    results.write_json(workdir / 'plan.json', made)


def lay_out(made: study_plan.Plan, programs: Mapping[str, Any]) -> study_plan.Plan:
  """The plan with its programs laid out as plan.json says by now.

  Raises:
    UserError: if that contradicts the engine's settings.
  """
  layouts = {
    name: study_plan.layout(made.config, made.facts[name], programs.get(name))
    for name in made.layouts
  }
  return made._replace(layouts=layouts)


def write_layouts(made: study_plan.Plan, workdir: pathlib.Path) -> None:
  """Enters how the plan's programs are laid out here, and this machine's speed."""
  path = workdir / 'plan.json'
  written = results.read_json(path)
  if not written.get('peak_flops'):
    written['peak_flops'] = cost.matmul_rate()
  for name, layout in made.layouts.items():
    written['programs'][name] |= entry_of(layout)
  results.write_json(path, written)


def entry_of(layout: program_lib.Layout) -> dict[str, Any]:
  """What plan.json says of a layout."""
  return {
    'strategy': layout.strategy,
    'width': layout.width,
    'data_devices': layout.data,
  }


def write_plan(
  made: study_plan.Plan, workdir: pathlib.Path, elsewhere: bool = False
) -> None:
  """plan.json: what is compiled and how members lie; its layouts are never changed.

  Arms that other launches planned of a program stay: their workers look them up here.

  Args:
    made: the plan.
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
        dict.fromkeys((*old.get(name, {}).get('arms', ()), *made.arms_of(name)))
      ),
      'params': made.facts[name].params,
      'flops_per_step': made.facts[name].flops,
    }
    for name, layout in made.layouts.items()
  }
  seeds = runs_lib.seeds(made.config)
  results.write_json(
    workdir / 'plan.json',
    {
      'format': 2,
      'peak_flops': peak if elsewhere else peak or cost.matmul_rate(),
      'programs': {**old, **programs},
      'looks': before['looks'],  # a second copy: study.json may be lost
      'arms': list(made.arms),
      'seeds': seeds,
      'runs': [
        {'arm': run.arm, 'seed': run.seed, 'fingerprint': run.fingerprint}
        for run in study_plan.claim_runs(made)
      ],
    },
  )


def describe(
  made: study_plan.Plan, command: str, old: Mapping[str, Any], peak: float = 0.0
) -> dict[str, Any]:
  """study.json: everything the results room needs to know, and how it came about."""
  config = made.config
  task = next(iter(made.members.values())).task
  metrics = task.metrics
  dataset = made.dataset(config)
  split = dataset.split(config['study']['first_seed'])
  deciding = metrics[config['study']['metric']]
  return {
    'format': 2,
    'name': config['study']['name'],
    'question': config['study']['question'],
    'design': config['study']['design'],
    'config': config,
    'factors': [
      {**f._asdict(), 'levels': [level._asdict() for level in f.levels]}
      for f in made.design.factors
    ],
    'arms': [describe_arm(made, arm) for arm in made.design.arms],
    'contrasts': [
      {**contrast._asdict(), 'subject': contrast.subject}
      for contrast in made.design.contrasts
    ],
    'excluded': made.design.excluded,
    'notes': made.design.notes,
    'seeds': runs_lib.seeds(config),
    'metric': {
      'name': config['study']['metric'],
      'split': 'test',
      'better': deciding.better,
      'fallback': deciding.fallback,
    },
    'metrics': {
      name: {'better': m.better, 'fallback': m.fallback}
      for name, m in metrics.items()
      if m.better
    },
    'alpha': config['study']['alpha'],
    'margin': config['study']['margin'],
    'looks_declared': config['study']['looks'],
    'regime': made.conditions[0].regime,
    'conditions': [condition._asdict() for condition in made.conditions],
    'cells': [{'levels': dict(c), 'arm': arm} for c, arm in made.design.cells],
    'permutations': made.design.permutations,
    'aliases': made.design.aliases,
    'claims': [claim._asdict() for claim in made.published],
    'ratio': config['study']['ratio'],
    'targets': conditions.numbers(config['study']['targets'], 'study.targets'),
    'looks': old.get('looks', []),
    'tune': describe_tuning(made),
    'command': command or old.get('command', ''),
    'provenance': {
      **environment.provenance(),
      'devices': next(iter(made.layouts.values())).devices,
      'data_devices': config['engine']['data_devices'],
      'strategy': ', '.join(
        sorted({f'{lay.strategy} {lay.width}' for lay in made.layouts.values()})
      ),
      'matmul': config['train']['matmul'],
    },
    'peak_flops': peak,
    'git': environment.git_commit(),
    'code': config_lib.digest(made.code),
    'dlsteroids': dlsteroids.__version__,
    'data': {
      'name': dataset.name,
      'digest': dataset.digest,
      'classes': dataset.classes,
      'official_test': dataset.official_test,
      'facts': {**dataset.facts, **task.facts},
      'references': {**dataset.references, **task.references},
      'sizes': {name: len(indices) for name, indices in split.items()},
    },
  }


def describe_arm(made: study_plan.Plan, arm: factors.Arm) -> dict[str, Any]:
  """An arm: its levels, its program, and what it costs."""
  program = runs_lib.program_id(made.arms[arm.name])
  facts = made.facts[program]
  return {
    **arm._asdict(),
    'assignment': dict(arm.assignment),
    'program': program,
    'params': facts.params,
    'flops_per_step': facts.flops,
    'executed_flops_per_step': facts.executed_flops,
    'activation_bytes': facts.activation_bytes,
    'state_bytes': facts.state_bytes,
    'traffic_bytes_per_step': facts.traffic_bytes,
    'unknown_loops': facts.unknown_loops,
    'steps': made.arms[arm.name]['train']['steps'],
    'at': [costs(made, arm.name, condition) for condition in made.conditions],
  }


def describe_tuning(made: study_plan.Plan) -> dict[str, Any]:
  """The grid, its seeds, and the runs that may be asked for; {} without tuning."""
  config = made.config
  if not made.grid:
    return {}
  count, seeds = config['study']['tune_seeds'], runs_lib.seeds(config)
  return {
    'grid': runs_lib.parse_grid(config['study']['tune'], config),
    'seeds': [runs_lib.TUNE_SEED + i for i in range(count)],
    'candidates': [
      {
        'arm': arm,
        **condition._asdict(),
        'program': runs[0].program,
        'search': [
          [run.fingerprint for run in runs[i : i + count]]
          for i in range(0, len(runs), count)
        ],
        'claim': [
          [
            run.fingerprint
            for run in made.runs(arm, seeds, runs_lib.TUNED, point, condition)
          ]
          for point in made.grid
        ],
      }
      for (arm, condition), runs in study_plan.searches(made).items()
    ],
  }


def costs(
  made: study_plan.Plan, arm: str, condition: conditions.Condition
) -> dict[str, Any]:
  """What an arm's run costs under a condition, and how nearly its regime is met."""
  config, residual = made.at[arm, condition]
  facts = made.facts[runs_lib.program_id(config)]
  steps = config['train']['steps']
  return {
    **condition._asdict(),
    'steps': steps,
    'params': facts.params,
    'flops': facts.flops * steps,
    'executed_flops': facts.executed_flops * steps,
    'residual': residual,
  }


def write_study(
  made: study_plan.Plan,
  command: str,
  workdir: pathlib.Path,
  old: Mapping[str, Any],
  index: results.Index,
  elsewhere: bool = False,
) -> dict[str, Any]:
  """study.json: what is asked, and the runs that follow from what is stored.

  Args:
    made: the plan.
    command: that repeats the study.
    workdir: of the study, held.
    old: what study.json said before.
    index: the store.
    elsewhere: other machines train: theirs is the provenance.
  """
  peak = read_plan(workdir)['peak_flops'] or old.get('peak_flops', 0.0)
  told = describe(made, command, old, peak)
  told['runs'] = [
    [run.arm, run.seed, run.tuned, run.fingerprint, *run.condition, run.program]
    for run in study_plan.claim_runs(made)
  ]
  told = choices.settle(told, index)
  wanted = choices.wanted(told)
  told['failures'] = failures.reasons(workdir, wanted, index.records)
  stored = [index.records[name] for name in wanted if name in index.records]
  if elsewhere and stored:
    batch, laid_out = stored[0].batch, read_layouts(workdir).values()
    ways = {
      f'{each["strategy"]} {each["width"]}' for each in laid_out if 'width' in each
    }
    told['provenance'] |= batch['provenance']
    told['provenance'] |= {
      'devices': batch['layout']['devices'],
      'strategy': ', '.join(sorted(ways)),
    }
  results.write_json(workdir / 'study.json', told)
  return told
