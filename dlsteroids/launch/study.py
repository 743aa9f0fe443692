"""A study from start to report: what the launcher's actions do, and `dlsteroids.run`."""

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.launch import files, local, machine, prepare
from dlsteroids.results import effects, factorial, looks, report, store, tables
from dlsteroids.study import plan


class Asked(NamedTuple):
  """What the user asks: a config file's contents and how it was called."""

  config: Any
  factors: Sequence[Any]
  arms: Sequence[Any] = ()
  overridden: frozenset[str] = frozenset()
  command: str = ''


class Answer(NamedTuple):
  """A study's results as frames, and where they lie."""

  workdir: pathlib.Path
  report: pathlib.Path
  runs: pd.DataFrame
  curves: pd.DataFrame
  effects: pd.DataFrame


def run(
  config: Any,
  workdir: str | pathlib.Path,
  factors: Sequence[Any] | None = None,
  arms: Sequence[Any] = (),
  watch: local.Watch = lambda status: None,
  say: Callable[[str], None] = print,
) -> Answer:
  """Plans, trains what is missing, reports; the same call continues a stopped study.

  Args:
    config: path of a config file (with ':mode' if wanted), or a ConfigDict or dict.
    workdir: folder for everything the study leaves.
    factors: needed unless `config` is a file, which has its own `get_factors`.
    arms: explicit arms for the design 'arms'.
    watch: told about progress.
    say: told about what a user should know at once.

  Raises:
    UserError: for a mistake in any of it, in one line.
  """
  machine.prepare()
  if isinstance(config, str | pathlib.Path):
    asked = files.read(str(config))
  elif factors is None:
    raise config_lib.UserError('run(config, workdir, factors=...) needs the factors')
  else:
    asked = Asked(config, tuple(factors), tuple(arms))
  return train(asked, pathlib.Path(workdir), watch, say)


def train(
  asked: Asked,
  workdir: pathlib.Path,
  watch: local.Watch = lambda status: None,
  say: Callable[[str], None] = print,
  planned: Callable[[prepare.Plan, 'Claim'], None] = lambda made, claim: None,
) -> Answer:
  """The action `run`."""
  made = plan_of(asked, workdir)
  with machine.hold(workdir):
    index = read_store(workdir, say)
    old = check_workdir(made, workdir)
    check_stored(made, prepare.claim_runs(made), index, say)
    write_plan(made, workdir)
    failures: dict[str, str] = {}
    search = prepare.search_runs(made)
    if search:
      failures |= local.execute(made, search, workdir, watch, say)
    claim = make_claim(made, search, store.read(workdir))
    planned(made, claim)
    write_study(made, asked, workdir, claim, old, failures)
    failures |= local.execute(made, claim.runs, workdir, watch, say)
    write_study(made, asked, workdir, claim, old, failures)
    return export(workdir, say)


class Claim(NamedTuple):
  """The runs that the claim rests on, and what tuning chose for each arm."""

  runs: Sequence[plan.Run]
  chosen: Mapping[str, Mapping[str, float]]


def plan_of(asked: Asked, workdir: pathlib.Path) -> prepare.Plan:
  path = workdir / 'plan.json'
  layouts = store.read_json(path)['programs'] if path.exists() else {}
  return prepare.make(
    asked.config, asked.factors, asked.arms, layouts, asked.overridden
  )


def read_store(workdir: pathlib.Path, say: Callable[[str], None]) -> store.Index:
  index = store.read(workdir)
  for line in index.damaged:
    say(f'damaged: {line}')
  return index


def check_workdir(made: prepare.Plan, workdir: pathlib.Path) -> Mapping[str, Any]:
  """The study.json that lies there, {} if none.

  Raises:
    UserError: if it is another study's.
  """
  path = workdir / 'study.json'
  if not path.exists():
    return {}
  try:
    old = store.read_json(path)
    name = old['name']
  except (ValueError, KeyError) as error:
    raise config_lib.UserError(f'{path} is not a study.json: {error}') from error
  if name != made.config['study']['name']:
    raise config_lib.UserError(
      f'workdir {workdir} holds study {name!r}, this is {made.config["study"]["name"]!r}: '
      'use another --workdir'
    )
  return old


def check_stored(
  made: prepare.Plan,
  runs: Sequence[plan.Run],
  index: store.Index,
  say: Callable[[str], None],
) -> None:
  """Names edited modules; raises UserError if stored runs had other provenance."""
  wanted = {run.identity: run.fingerprint for run in runs}
  code: dict[str, str] = {}
  for part in made.code.values():
    code |= part
  for line in store.stale(index, wanted, code):
    say(line)
  mine = [index.records[f] for f in wanted.values() if f in index.records]
  allowed = made.config['study']['allow_mixed']
  lines = store.mixed(mine, machine.provenance(), allowed)
  if lines:
    names = ','.join(sorted({line.split(' have ')[1].split('=')[0] for line in lines}))
    raise config_lib.UserError(
      f'{"; ".join(lines)}: pairs must not mix them; use another --workdir, or allow it '
      f'by --config.study.allow_mixed={names}'
    )


def make_claim(
  made: prepare.Plan, search: Sequence[plan.Run], index: store.Index
) -> Claim:
  """Tuned numbers chosen on validation, per arm, and the claim's runs."""
  metric = made.config['study']['metric']
  better = next(iter(made.members.values())).task.metrics[metric].better
  chosen = {}
  count = made.config['study']['tune_seeds']
  size = len(made.grid) * count
  for i, arm in enumerate(made.arms if search else ()):
    mine = search[i * size : (i + 1) * size]
    found = [index.records.get(run.fingerprint) for run in mine]
    if any(record is None for record in found):
      continue  # a failed search: the arm stays untuned, which the report shows
    scores = [r.run['values'][f'validation/{metric}'] for r in found if r]
    means = [sum(scores[j : j + count]) / count for j in range(0, size, count)]
    chosen[arm] = plan.choose(made.grid, means, better)
  return Claim(prepare.claim_runs(made, chosen), chosen)


def write_plan(made: prepare.Plan, workdir: pathlib.Path) -> None:
  """plan.json: what is compiled and how members lie; its layouts are never changed."""
  path = workdir / 'plan.json'
  old = store.read_json(path)['programs'] if path.exists() else {}
  programs = {
    name: {
      'strategy': layout.strategy,
      'width': layout.width,
      'arms': [a for a, c in made.arms.items() if plan.program_id(c) == name],
      'params': made.facts[name].params,
      'flops_per_step': made.facts[name].flops,
    }
    for name, layout in made.layouts.items()
  }
  seeds = plan.seeds(made.config)
  store.write_json(
    path,
    {
      'format': 1,
      'programs': {**old, **programs},
      'arms': list(made.arms),
      'seeds': seeds,
      'runs': [
        {'arm': run.arm, 'seed': run.seed, 'fingerprint': run.fingerprint}
        for run in prepare.claim_runs(made)
      ],
    },
  )


def describe(
  made: prepare.Plan, asked: Asked, claim: Claim, old: Mapping[str, Any]
) -> dict[str, Any]:
  """study.json: everything the results room needs to know, and how it came about."""
  config = made.config
  metrics = next(iter(made.members.values())).task.metrics
  dataset = made.dataset(config)
  split = dataset.split(config['study']['first_seed'])
  arms = []
  for arm in made.design.arms:
    program = plan.program_id(made.arms[arm.name])
    facts = made.facts[program]
    arms.append(
      {
        **arm._asdict(),
        'assignment': dict(arm.assignment),
        'program': program,
        'params': facts.params,
        'flops_per_step': facts.flops,
        'executed_flops_per_step': facts.executed_flops,
        'steps': made.arms[arm.name]['train']['steps'],
      }
    )
  deciding = metrics[config['study']['metric']]
  tune: dict[str, Any] = {}
  if made.grid:
    tune = {
      'grid': plan.parse_grid(config['study']['tune'], config),
      'seeds': [plan.TUNE_SEED + i for i in range(config['study']['tune_seeds'])],
      'chosen': claim.chosen,
    }
  return {
    'format': 1,
    'name': config['study']['name'],
    'question': config['study']['question'],
    'design': config['study']['design'],
    'config': config,
    'factors': [
      {**f._asdict(), 'levels': [level._asdict() for level in f.levels]}
      for f in made.design.factors
    ],
    'arms': arms,
    'contrasts': [contrast._asdict() for contrast in made.design.contrasts],
    'excluded': made.design.excluded,
    'notes': made.design.notes,
    'seeds': plan.seeds(config),
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
    'regime': 'steps',
    'looks': old.get('looks', []),
    'tune': tune,
    'command': asked.command or old.get('command', ''),
    'provenance': {
      **machine.provenance(),
      'devices': next(iter(made.layouts.values())).devices,
      'strategy': {n: layout.strategy for n, layout in made.layouts.items()},
      'matmul': config['train']['matmul'],
    },
    'git': machine.git_commit(),
    'dlsteroids': dlsteroids.__version__,
    'data': {
      'name': dataset.name,
      'digest': dataset.digest,
      'classes': dataset.classes,
      'official_test': dataset.official_test,
      'sizes': {name: len(indices) for name, indices in split.items()},
    },
  }


def write_study(
  made: prepare.Plan,
  asked: Asked,
  workdir: pathlib.Path,
  claim: Claim,
  old: Mapping[str, Any],
  failures: Mapping[str, str],
) -> None:
  told = describe(made, asked, claim, old)
  told['runs'] = [
    [run.arm, run.seed, run.tuned, run.fingerprint] for run in claim.runs
  ]
  told['failures'] = failures
  store.write_json(workdir / 'study.json', told)


def export(workdir: pathlib.Path, say: Callable[[str], None] = print) -> Answer:
  """The action `report`: tables, effects and report from what is stored.

  Raises:
    UserError: if no run of the study has finished.
  """
  path = workdir / 'study.json'
  if not path.exists():
    raise config_lib.UserError(
      f'nothing to report: {workdir} holds no study; run it first (--action=run)'
    )
  told = store.read_json(path)
  index = read_store(workdir, say)
  planned = [tables.Planned(*row) for row in told['runs']]
  if not any(run.fingerprint in index.records for run in planned):
    raise config_lib.UserError(
      f'nothing to report: no run in {workdir} has finished; run it first (--action=run)'
    )
  runs = tables.runs(told, planned, index, told['failures'])
  told['looks'] = looks.log(told, runs, machine.now())
  store.write_json(path, told)
  curves = tables.curves(planned, index)
  found = effects.measure(told, runs)
  for name, frame in (('runs', runs), ('curves', curves), ('effects', found)):
    tables.write(workdir / f'{name}.csv', frame)
  extra = {'interactions': None, 'anova': None}
  if told['design'] == 'factorial':
    extra = {
      'interactions': factorial.interactions(told, runs),
      'anova': factorial.anova(told, runs),
    }
  made = report.Tables(runs=runs, curves=curves, effects=found, **extra)
  page = report.write(workdir, told, made, tables.arrays_of(planned, index))
  return Answer(workdir, page, runs, curves, found)


def replayed(made: prepare.Plan, arm: str, seed: int) -> plan.Run:
  """The run that `replay` names.

  Raises:
    UserError: if the study has no such arm, or the seed is negative.
  """
  if arm not in made.arms:
    guess = config_lib.did_you_mean(arm, made.arms)
    raise config_lib.UserError(
      f'no arm {arm!r}{guess}; there are {", ".join(made.arms)}'
    )
  if seed < 0:
    raise config_lib.UserError(f'--seed must be at least 0, not {seed}')
  return made.run(arm, seed, plan.UNTUNED, {})


def steps_of(runs: Iterable[plan.Run]) -> int:
  return sum(run.config['train']['steps'] for run in runs)
