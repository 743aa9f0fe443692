"""A study from start to report: the launcher's actions, and `dlsteroids.run`."""

import contextlib
import dataclasses
import pathlib
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids import config as config_lib
from dlsteroids.analysis import compute, effects, factorial, looks, summary
from dlsteroids.config import files
from dlsteroids.plan import manifest, study_plan, tuning, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.report import claims, report, sentences
from dlsteroids.run import interrupt, leases, local, sharing
from dlsteroids.store import failures, results, tables, tensorboard
from dlsteroids.train import checkpoint, processes
from dlsteroids.util import environment, errors, lock


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
  environment.prepare()
  if isinstance(config, str | pathlib.Path):
    asked = files.read(str(config))
  elif factors is None:
    raise errors.UserError('run(config, workdir, factors=...) needs the factors')
  else:
    asked = files.Request(config_lib.resolve(config), tuple(factors), tuple(arms))
  default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
  with interrupt.handled(signal.SIGINT) if default else contextlib.nullcontext():
    return train(asked, pathlib.Path(workdir), watch, say)


def train(
  asked: files.Request,
  workdir: pathlib.Path,
  watch: local.Watch = lambda status: None,
  say: Callable[[str], None] = print,
) -> Answer:
  """The action `run` without an executor; of several processes the first reports."""
  made = plan_of(asked, workdir)
  check_alike(made)
  if not processes.first():
    return follow(made, workdir)
  made = begin(made, asked, workdir, say)
  failed = sharing.train(made, units.make(made), workdir, watch, say)
  answer = finish(made, asked, workdir, failed, say)
  processes.agree(None)  # the others wait for it
  return answer


def follow(made: study_plan.Plan, workdir: pathlib.Path) -> Answer:
  """`train` in a process that is not the first: it decides, shows and writes nothing.

  Returns:
    the answer without its frames, which the first one has.
  """
  failed = sharing.follow(made, units.make(made), workdir)
  processes.agree(None)
  none = pd.DataFrame()
  page = workdir / 'report.html'
  return Answer(workdir, page, none, none, none, bool(failed), follows=True)


def begin(
  made: study_plan.Plan,
  asked: files.Request,
  workdir: pathlib.Path,
  say: Callable[[str], None],
  elsewhere: bool = False,
) -> study_plan.Plan:
  """Writes what is planned, before anything trains; the plan as it is laid out.

  Args:
    made: the plan.
    asked: what it was made of.
    workdir: of the study.
    say: told what a user should know at once.
    elsewhere: other machines will train.

  Raises:
    UserError: if the workdir holds another study, or runs that must not be mixed.
  """
  with lock.hold(workdir):
    old = manifest.check(workdir, made.config['study']['name'])
    if not elsewhere:
      made = manifest.lay_out(made, manifest.read_layouts(workdir))
    index = read_store(workdir, say, made.config['engine']['lease_seconds'])
    wanted = [run for unit in units.make(made) for run in unit.runs(index)]
    for line in stale(made, wanted, index):
      say(line)
    refuse_mixture(made, index, None if elsewhere else environment.provenance())
    manifest.write_plan(made, workdir, elsewhere)
    manifest.write_study(made, asked.command, workdir, old, index, elsewhere)
  return made


def finish(
  made: study_plan.Plan,
  asked: files.Request,
  workdir: pathlib.Path,
  failed: Mapping[str, str],
  say: Callable[[str], None],
  elsewhere: bool = False,
) -> Answer:
  """Reports when all has been trained, by this process or `elsewhere`.

  Raises:
    UserError: if no run of the declared condition ended.
  """
  leases.clear(workdir, made.config['engine']['lease_seconds'])
  with lock.hold(workdir):
    old = manifest.read_study(workdir)
    # In this order: what is listed and not leased then is stored by now, or litter.
    left = list((workdir / 'checkpoints').glob('*'))
    lone = not leases.live(workdir, made.config['engine']['lease_seconds'])
    index = results.read(workdir)
    if elsewhere:
      refuse_mixture(made, index)
    study = manifest.write_study(made, asked.command, workdir, old, index, elsewhere)
    declared = [run for run in study.runs if study.is_declared(run)]
    if all(row.fingerprint in failed for row in declared):
      raise errors.UserError(f'every run failed: {next(iter(failed.values()))}')
    if not failed and lone:
      finals = {r.batch.get('checkpoint', '') for r in index.records.values()}
      checkpoint.sweep(left, finals, index.records)
    return export(workdir, say)


def refuse_mixture(
  made: study_plan.Plan, index: results.Index, now: Mapping[str, Any] | None = None
) -> None:
  """Raises UserError if stored runs differ in provenance from `now`, or among them."""
  names = (run.fingerprint for unit in units.make(made) for run in unit.runs(index))
  stored = [index.records[name] for name in names if name in index.records]
  if stored:
    sharing.check_mixed(made, stored, now or stored[0].batch['provenance'])


def check_alike(made: study_plan.Plan) -> None:
  """Raises UserError if processes differ in what bits depend on."""
  mine, *others = processes.every(environment.provenance())
  allowed = made.config['study']['allow_mixed'].replace(' ', '').split(',')
  for index, other in enumerate(others, 1):
    for name in mine:
      if other[name] != mine[name] and name not in allowed:
        raise errors.UserError(
          f'process {index} has {name}={other[name]}, process 0 {mine[name]}: start '
          f'them on equal machines, or allow it by --config.study.allow_mixed={name}'
        )


def plan_of(
  asked: files.Request,
  workdir: pathlib.Path,
  only: str = '',
  programs: Mapping[str, Sequence[str]] | None = None,
  elsewhere: bool = False,
) -> study_plan.Plan:
  """The plan of all arms, of the one called `only`, or of some programs.

  How programs were laid out binds who trains them, not a machine that only plans.
  """
  layouts = processes.agree({} if elsewhere else manifest.read_layouts(workdir))
  return study_plan.make(
    asked.config,
    asked.factors,
    asked.arms,
    layouts,
    only,
    asked.claims,
    programs,
  )


def read_store(
  workdir: pathlib.Path, say: Callable[[str], None], seconds: float
) -> results.Index:
  """The store of a workdir that is held; what is damaged is said and set aside."""
  index = results.read(workdir)
  for line in results.clean(workdir, index, not leases.live(workdir, seconds)):
    say(f'damaged: {line}')
  return index


def stale(
  made: study_plan.Plan, runs: Sequence[runs_lib.Run], index: results.Index
) -> list[str]:
  """Lines naming the modules whose edit left stored runs behind."""
  wanted = {run.identity: run.fingerprint for run in runs}
  code: dict[str, str] = {}
  for part in made.code.values():
    code |= part.modules
  return results.stale(index, wanted, code)


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
  study = manifest.read_study(workdir)
  if study is None:
    raise errors.UserError(
      f'nothing to report: {workdir} holds no study; run it first (--action=run)'
    )
  engine = config_lib.DEFAULTS['engine'] | study.config['engine']
  index = read_store(workdir, say, engine['lease_seconds'])
  study = tuning.with_choices(study, index)
  programs = tuning.programs_by_run(study)
  study = dataclasses.replace(
    study,
    failures=failures.reasons(workdir, programs, index.records),
    trained=count(r for name, r in index.records.items() if name in programs),
  )
  planned = list(study.runs)
  declared = [run for run in planned if study.is_declared(run)]
  if not any(run.fingerprint in index.records for run in declared):
    raise errors.UserError(
      f'nothing to report: no run in {workdir} has finished '
      f'{"under the declared condition" if len(declared) < len(planned) else "yet"}; '
      'run it first '
      '(--action=run)'
    )
  every = tables.runs(study, planned, index, study.failures)
  planned = declared
  runs = tables.runs(study, planned, index, study.failures)
  curves = tables.curves(planned, index)
  found = effects.measure(study, runs)
  arrays = tables.arrays_of(planned, index)
  source = summary.Source(study, summary.Tables(runs, curves, found), arrays)
  said = sentences.gather(source).answers
  entries = looks.log(study, runs, environment.now(), said)
  study = dataclasses.replace(study, looks=tuple(entries))
  manifest.write_looks(workdir, study)
  for name, frame in (('runs', every), ('curves', curves), ('effects', found)):
    tables.write(workdir / f'{name}.csv', frame)
  extra: dict[str, Any] = {'interactions': None, 'anova': None}
  if study.design == 'factorial':
    extra = {
      'interactions': factorial.interactions(study, runs),
      'anova': factorial.anova(study, runs),
    }
  analyses = compute.analyse(study, every, runs, curves, found)
  frames = analyses.tables()
  if analyses.claims is not None:
    alpha = looks.state(study, runs).alpha
    frames['claims'] = claims.table(study, analyses.claims, alpha)
  for name, frame in frames.items():
    tables.write(workdir / f'{name}.csv', frame)
  made = report.Tables(
    runs=runs, curves=curves, effects=found, compute=analyses, every=every, **extra
  )
  page = report.write(workdir, study, made, arrays)
  if events or engine['tensorboard']:
    tensorboard.write(workdir / 'tensorboard', curves)
  return Answer(workdir, page, runs, curves, found, bool(study.failures))


def count(records: Iterable[results.Record]) -> dict[str, Any]:
  """How many runs there are, and their compute, in nominal FLOPs."""
  flops = [record.run['flops'] for record in records]
  return {'runs': len(flops), 'flops': sum(flops)}


def one_run(made: study_plan.Plan, arm: str, seed: int) -> runs_lib.Run:
  """The run that `replay`, `sample` and `export` are about.

  Raises:
    UserError: if the study has no such arm, or the seed is negative.
  """
  study_plan.pick(made.arms, arm)
  if seed < 0:
    raise errors.UserError(f'--seed must be at least 0, not {seed}')
  return made.run(arm, seed, runs_lib.UNTUNED, {})


def steps_of(runs: Iterable[runs_lib.Run]) -> int:
  return sum(run.config['train']['steps'] for run in runs)
