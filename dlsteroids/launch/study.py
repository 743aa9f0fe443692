"""A study from start to report: the launcher's actions, and `dlsteroids.run`."""

import contextlib
import pathlib
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids import config as config_lib
from dlsteroids.launch import files, interrupt, local, machine, manifest, prepare
from dlsteroids.results import (
  compute,
  effects,
  factorial,
  looks,
  report,
  store,
  tables,
  tensorboard,
)
from dlsteroids.study import conditions, plan
from dlsteroids.train import checkpoint, flops, processes


class Answer(NamedTuple):
  """A study's results as frames, and where they lie."""

  workdir: pathlib.Path
  report: pathlib.Path
  runs: pd.DataFrame
  curves: pd.DataFrame
  effects: pd.DataFrame
  failed: bool = False  # whether any run of any condition did not end
  follows: bool = False  # whether it lacks its frames: another process has them


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
    KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved; a second one ends the
      process. Handlers of your own are left alone.
  """
  machine.prepare()
  if isinstance(config, str | pathlib.Path):
    asked = files.read(str(config))
  elif factors is None:
    raise config_lib.UserError('run(config, workdir, factors=...) needs the factors')
  else:
    asked = files.Asked(config, tuple(factors), tuple(arms))
  default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
  with interrupt.handled(signal.SIGINT) if default else contextlib.nullcontext():
    return train(asked, pathlib.Path(workdir), watch, say)


def train(
  asked: files.Asked,
  workdir: pathlib.Path,
  watch: local.Watch = lambda status: None,
  say: Callable[[str], None] = print,
) -> Answer:
  """The action `run`; of several processes the first one reports."""
  made = plan_of(asked, workdir)
  check_alike(made)
  if not processes.first():
    return follow(made, workdir)
  with machine.hold(workdir):
    old = dict(manifest.check(workdir, made.config['study']['name']))
    old.setdefault('peak_flops', flops.matmul_rate())
    index = read_store(workdir, say)
    searched = prepare.searches(made)
    search = [run for runs in searched.values() for run in runs]
    wanted = [*search, *prepare.claim_runs(made)]
    for line in stale(made, wanted, index):
      say(line)
    check_mixed(made, wanted, index)
    manifest.write_plan(made, workdir)
    failures: dict[str, str] = {}
    if search:
      failures |= local.execute(made, search, workdir, watch, say)
      index = store.read(workdir)
    claim = make_claim(made, searched, index)
    check_mixed(made, claim.runs, index)
    manifest.write_study(made, asked.command, workdir, claim, old, failures)
    failures |= local.execute(made, claim.runs, workdir, watch, say)
    manifest.write_study(made, asked.command, workdir, claim, old, failures)
    declared = [run for run in claim.runs if run.condition == made.conditions[0]]
    if all(run.fingerprint in failures for run in declared):
      raise config_lib.UserError(f'every run failed: {next(iter(failures.values()))}')
    if not failures:
      batches = (record.batch for record in store.read(workdir).records.values())
      finals = {batch.get('checkpoint', '') for batch in batches}
      checkpoint.sweep(workdir / 'checkpoints', finals)
    answer = export(workdir, say)
    processes.agree(None)  # the others wait for it
    return answer


def follow(made: prepare.Plan, workdir: pathlib.Path) -> Answer:
  """`train` in a process that is not the first: it decides, shows and writes nothing.

  Returns:
    the answer without its frames, which the first one has.
  """
  searched = prepare.searches(made)
  search = [run for runs in searched.values() for run in runs]
  failures: dict[str, str] = {}
  if search:
    failures |= local.execute(made, search, workdir)
  claim = make_claim(made, searched, store.Index({}, {}))
  failures |= local.execute(made, claim.runs, workdir)
  processes.agree(None)
  none = pd.DataFrame()
  page = workdir / 'report.html'
  return Answer(workdir, page, none, none, none, bool(failures), follows=True)


def check_alike(made: prepare.Plan) -> None:
  """Raises UserError if processes differ in what bits depend on."""
  mine, *others = processes.every(machine.provenance())
  allowed = made.config['study']['allow_mixed'].replace(' ', '').split(',')
  for index, other in enumerate(others, 1):
    for name in mine:
      if other[name] != mine[name] and name not in allowed:
        raise config_lib.UserError(
          f'process {index} has {name}={other[name]}, process 0 {mine[name]}: start '
          f'them on equal machines, or allow it by --config.study.allow_mixed={name}'
        )


def plan_of(asked: files.Asked, workdir: pathlib.Path, only: str = '') -> prepare.Plan:
  """The plan of all arms, or of the one called `only`."""
  layouts = processes.agree(manifest.read_plan(workdir)['programs'])
  return prepare.make(
    asked.config,
    asked.factors,
    asked.arms,
    layouts,
    asked.overridden,
    only,
    asked.claims,
  )


def read_store(workdir: pathlib.Path, say: Callable[[str], None]) -> store.Index:
  """The store of a workdir that is held; what is damaged is said and set aside."""
  index = store.read(workdir)
  for line in store.clean(workdir, index):
    say(f'damaged: {line}')
  return index


def stale(
  made: prepare.Plan, runs: Sequence[plan.Run], index: store.Index
) -> list[str]:
  """Lines naming the modules whose edit left stored runs behind."""
  wanted = {run.identity: run.fingerprint for run in runs}
  code: dict[str, str] = {}
  for part in made.code.values():
    code |= part
  return store.stale(index, wanted, code)


def check_mixed(
  made: prepare.Plan, runs: Sequence[plan.Run], index: store.Index
) -> None:
  """Raises UserError if stored runs among `runs` had other provenance."""
  mine = [index.records[f] for f in {r.fingerprint for r in runs} if f in index.records]
  allowed = made.config['study']['allow_mixed']
  lines = store.mixed(mine, machine.provenance(), allowed)
  if lines:
    names = ','.join(sorted({line.split(' have ')[1].split('=')[0] for line in lines}))
    raise config_lib.UserError(
      f'{"; ".join(lines)}: pairs must not mix them; use another --workdir, or allow '
      f'it by --config.study.allow_mixed={names}'
    )


def make_claim(
  made: prepare.Plan,
  searched: Mapping[tuple[str, conditions.Condition], Sequence[plan.Run]],
  index: store.Index,
) -> manifest.Claim:
  """Numbers chosen on validation, per arm and condition, and the claim's runs."""
  metric = made.config['study']['metric']
  better = next(iter(made.members.values())).task.metrics[metric].better
  count = made.config['study']['tune_seeds']
  numbers: list[Any] = []
  for runs in searched.values():
    found = [index.records.get(run.fingerprint) for run in runs]
    if any(record is None for record in found):
      numbers.append(
        None
      )  # a failed search: the arm stays untuned, the report shows it
      continue
    scores = [r.run['values'][f'validation/{metric}'] for r in found if r]
    means = [sum(scores[i : i + count]) / count for i in range(0, len(scores), count)]
    numbers.append(plan.choose(made.grid, means, better))
  chosen = {k: best for k, best in zip(searched, processes.agree(numbers)) if best}
  return manifest.Claim(prepare.claim_runs(made, chosen), chosen)


def export(
  workdir: pathlib.Path, say: Callable[[str], None] = print, events: bool = False
) -> Answer:
  """The action `report`: tables, effects and report from what is stored.

  Args:
    workdir: of the study.
    say: told what a user should know at once.
    events: write TensorBoard files, also if the study did not ask for them.

  Raises:
    UserError: if no run of the study has finished.
  """
  told = manifest.read_study(workdir)
  if not told:
    raise config_lib.UserError(
      f'nothing to report: {workdir} holds no study; run it first (--action=run)'
    )
  index = read_store(workdir, say)
  planned = [tables.Planned(*row) for row in told['runs']]
  declared = [run for run in planned if tables.is_declared(told, run)]
  if not any(run.fingerprint in index.records for run in declared):
    raise config_lib.UserError(
      f'nothing to report: no run in {workdir} has finished '
      f'{"under the declared condition" if len(declared) < len(planned) else "yet"}; '
      'run it first '
      '(--action=run)'
    )
  every = tables.runs(told, planned, index, told['failures'])
  planned = declared
  runs = tables.runs(told, planned, index, told['failures'])
  told['looks'] = looks.log(told, runs, machine.now())
  manifest.write_looks(workdir, told)
  curves = tables.curves(planned, index)
  found = effects.measure(told, runs)
  for name, frame in (('runs', every), ('curves', curves), ('effects', found)):
    tables.write(workdir / f'{name}.csv', frame)
  extra: dict[str, Any] = {'interactions': None, 'anova': None}
  if told['design'] == 'factorial':
    extra = {
      'interactions': factorial.interactions(told, runs),
      'anova': factorial.anova(told, runs),
    }
  analyses = compute.analyse(told, every, runs, curves, found)
  for name, frame in analyses.tables().items():
    tables.write(workdir / f'{name}.csv', frame)
  made = report.Tables(
    runs=runs, curves=curves, effects=found, compute=analyses, every=every, **extra
  )
  page = report.write(workdir, told, made, tables.arrays_of(planned, index))
  if events or told['config']['engine']['tensorboard']:
    tensorboard.write(workdir / 'tensorboard', curves)
  return Answer(workdir, page, runs, curves, found, bool(told['failures']))


def replayed(made: prepare.Plan, arm: str, seed: int) -> plan.Run:
  """The run that `replay`, `sample` and `export` are about.

  Raises:
    UserError: if the study has no such arm, or the seed is negative.
  """
  prepare.pick(made.arms, arm)
  if seed < 0:
    raise config_lib.UserError(f'--seed must be at least 0, not {seed}')
  return made.run(arm, seed, plan.UNTUNED, {})


def steps_of(runs: Iterable[plan.Run]) -> int:
  return sum(run.config['train']['steps'] for run in runs)
