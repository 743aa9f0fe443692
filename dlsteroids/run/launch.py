"""A study from start to report: the actions `run` and `report`."""

import contextlib
import dataclasses
import functools
import pathlib
import signal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from dlsteroids import config as config_lib
from dlsteroids.analysis import reach
from dlsteroids.config import files
from dlsteroids.plan import changes as changes_lib
from dlsteroids.plan import manifest, search, study_plan, tuning, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.report import answer, sentences
from dlsteroids.run import interrupt, leases, local, sharing
from dlsteroids.run import until as until_lib
from dlsteroids.store import failures, results, tables
from dlsteroids.store.trackers import tracker
from dlsteroids.study import study as study_lib
from dlsteroids.train import checkpoint, processes
from dlsteroids.util import environment, errors, lock


def run(
  config: Any,
  workdir: str | pathlib.Path,
  factors: Sequence[Any] | None = None,
  arms: Sequence[Any] = (),
  watch: local.Watch = local.no_watch,
  say: Callable[[str], None] = print,
  bound: until_lib.Bound | None = None,
) -> answer.Answer:
  """Plans a study, trains what is missing, reports; repeated, it continues.

  Args:
    config: path of a config file or name of a shipped study, with ':MODE' if wanted; or
      a ConfigDict or dict.
    workdir: folder for everything the study writes.
    factors: needed unless `config` is a file, which has its own `get_factors`.
    arms: explicit arms for the design 'arms'.
    watch: called with the progress of the training.
    say: prints a line for the user.
    bound: up to which looks add seeds until verdicts are reached; None: as configured.

  Raises:
    UserError: for a mistake in any of it, in one line.
    KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved; a second one ends the
      process. Signal handlers of the caller are left alone.
  """
  environment.prepare()
  request = request_of(config, factors, arms)
  workdir = pathlib.Path(workdir).expanduser()
  default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
  signals = interrupt.handled(signal.SIGINT) if default else contextlib.nullcontext()
  with signals:
    return train(request, workdir, watch, say, bound)


def request_of(
  config: Any, factors: Sequence[Any] | None, arms: Sequence[Any]
) -> files.Request:
  """The arguments of `run` as a request; UserError if factors are missing."""
  if isinstance(config, str | pathlib.Path):
    return files.read(str(config))
  if factors is None:
    raise errors.UserError('a config that is not a file needs factors=…')
  return files.Request(config_lib.resolve(config), tuple(factors), tuple(arms))


def train(
  request: files.Request,
  workdir: pathlib.Path,
  watch: local.Watch = local.no_watch,
  say: Callable[[str], None] = print,
  bound: until_lib.Bound | None = None,
) -> answer.Answer:
  """The action `run` without an executor; of several processes the first reports.

  Args:
    request: the study.
    workdir: of the study.
    watch: shows progress.
    say: prints a line for the user.
    bound: see `run`.
  """
  plan = plan_of(request, workdir)
  check_processes(plan)
  if not bound:
    return train_plan(plan, request, workdir, watch, say)
  if processes.several():
    raise errors.UserError('--until=decided goes with one process, not --distributed')
  following: study_plan.Plan | None = until_lib.begin(plan, workdir, bound)
  while following:
    plan = following
    result = train_plan(plan, request, workdir, watch, say)
    following = until_lib.advance(plan, workdir, result.runs, say)
  return result


def train_plan(
  plan: study_plan.Plan,
  request: files.Request,
  workdir: pathlib.Path,
  watch: local.Watch,
  say: Callable[[str], None],
) -> answer.Answer:
  """Trains what is missing of a plan and reports."""
  if not processes.first():
    return follow(plan, workdir)
  plan = begin(plan, request, workdir, say)
  extend = functools.partial(extend_search, request=request, workdir=workdir, say=say)
  failed = sharing.train(plan, units.make(plan), workdir, watch, say, extend=extend)
  result = finish(plan, request, workdir, failed, say)
  processes.agree(None)  # the other processes wait for it
  return result


def follow(plan: study_plan.Plan, workdir: pathlib.Path) -> answer.Answer:
  """`train` in a process that is not the first, which decides and writes nothing.

  Returns:
    the answer without frames.
  """
  failed = sharing.follow(plan, units.make(plan), workdir)
  processes.agree(None)
  page, empty = workdir / 'report.html', pd.DataFrame()
  return answer.Answer(workdir, page, empty, empty, empty, bool(failed), follows=True)


def begin(
  plan: study_plan.Plan,
  request: files.Request,
  workdir: pathlib.Path,
  say: Callable[[str], None],
  elsewhere: bool = False,
) -> study_plan.Plan:
  """Writes plan.json and study.json before training; the plan with its layouts.

  Args:
    plan: the plan.
    request: what it was plan of.
    workdir: of the study.
    say: prints a line for the user.
    elsewhere: other machines will train.

  Raises:
    UserError: if the workdir holds another study, or runs that must not be mixed.
  """
  if plan.config['engine']['track']:
    tracker.load(plan.config['engine']['track'])  # not only when training begins
  with lock.hold(workdir):
    old = manifest.check(workdir, plan.config['study']['name'])
    if not elsewhere:
      plan = study_plan.with_layouts(plan, manifest.read_layouts(workdir))
    index = read_store(workdir, say, plan.config['engine']['lease_seconds'])
    plan = search.extend(plan, index)
    if not elsewhere:
      plan = study_plan.with_layouts(plan, manifest.read_layouts(workdir))
    runs = [run for unit in units.make(plan) for run in unit.runs(index)]
    for line in (*changed(plan, old, runs, index), *stale(plan, runs, index)):
      say(line)
    if not elsewhere:
      for line in memory_lines(plan, runs, index):
        say(line)
    refuse_mixture(plan, index, None if elsewhere else environment.provenance())
    manifest.write_plan(plan, workdir, elsewhere)
    study = manifest.write_study(plan, request.command, workdir, old, index, elsewhere)
  design = reach.reach(study)
  if not design.reachable:
    say(sentences.warn_reach(design))
  return plan


def extend_search(
  plan: study_plan.Plan,
  index: results.Index,
  failed: Collection[str],
  *,
  request: files.Request,
  workdir: pathlib.Path,
  say: Callable[[str], None],
  elsewhere: bool = False,
) -> study_plan.Plan:
  """The plan with the points that the searches ask for, entered in study.json."""
  extended = search.extend(plan, index, failed)
  for line in search.describe_extension(plan, extended):
    say(line)
  with lock.hold(workdir):
    if extended.layouts.keys() != plan.layouts.keys():
      extended = study_plan.with_layouts(extended, manifest.read_layouts(workdir))
      manifest.write_plan(extended, workdir, elsewhere)
    old = manifest.read_study(workdir)
    manifest.write_study(extended, request.command, workdir, old, index, elsewhere)
  return extended


def finish(
  plan: study_plan.Plan,
  request: files.Request,
  workdir: pathlib.Path,
  failed: Mapping[str, str],
  say: Callable[[str], None],
  elsewhere: bool = False,
) -> answer.Answer:
  """Reports after the training, by this process or `elsewhere`.

  Raises:
    UserError: if no run of the declared condition ended.
  """
  leases.clear(workdir, plan.config['engine']['lease_seconds'])
  with lock.hold(workdir):
    old = manifest.read_study(workdir)
    # In this order: a checkpoint listed first and not leased after is stored or unused.
    folders = list((workdir / 'checkpoints').glob('*'))
    alone = not leases.live(workdir, plan.config['engine']['lease_seconds'])
    index = results.read(workdir)
    plan = search.extend(plan, index, failed)
    if elsewhere:
      refuse_mixture(plan, index)
    study = manifest.write_study(plan, request.command, workdir, old, index, elsewhere)
    declared = [run for run in study.runs if study.is_declared(run)]
    if all(row.fingerprint in failed for row in declared):
      reason = next(iter(failed.values()), 'no search has ended')
      raise errors.UserError(f'every run failed: {reason}')
    if not failed and alone:
      finals = {r.batch.get('checkpoint', '') for r in index.records.values()}
      checkpoint.sweep(folders, finals, index.records)
    return export(workdir, say)


def refuse_mixture(
  plan: study_plan.Plan, index: results.Index, now: Mapping[str, Any] | None = None
) -> None:
  """Raises UserError if stored runs differ in provenance from `now`, or among them."""
  names = (run.fingerprint for unit in units.make(plan) for run in unit.runs(index))
  stored = [index.records[name] for name in names if name in index.records]
  if stored:
    sharing.check_mixed(plan, stored, now or stored[0].batch['provenance'])


def check_processes(plan: study_plan.Plan) -> None:
  """Raises UserError if processes differ in provenance, on which bits depend."""
  first, *others = processes.every(environment.provenance())
  allowed = plan.config['study']['allow_mixed'].replace(' ', '').split(',')
  for index, other in enumerate(others, 1):
    for name in first:
      if other[name] != first[name] and name not in allowed:
        raise errors.UserError(
          f'process {index} has {name}={other[name]}, process 0 {first[name]}: start '
          f'them on equal machines, or allow it by --config.study.allow_mixed={name}'
        )


def plan_of(
  request: files.Request,
  workdir: pathlib.Path,
  only: str = '',
  programs: Mapping[str, Sequence[str]] | None = None,
  elsewhere: bool = False,
) -> study_plan.Plan:
  """The plan of all arms, of the one called `only`, or of some programs.

  Stored layouts bind a process that trains, not one that only plans.
  """
  layouts = processes.agree({} if elsewhere else manifest.read_layouts(workdir))
  return study_plan.make(
    request.config,
    request.factors,
    request.arms,
    layouts,
    only,
    request.claims,
    programs,
  )


def read_store(
  workdir: pathlib.Path, say: Callable[[str], None], seconds: float
) -> results.Index:
  """The store of a workdir that is held; damaged files are reported and set aside."""
  index = results.read(workdir)
  for line in results.clean(workdir, index, not leases.live(workdir, seconds)):
    say(f'damaged: {line}')
  return index


def changed(
  plan: study_plan.Plan,
  old: study_lib.Study | None,
  runs: Sequence[runs_lib.Run],
  index: results.Index,
) -> list[str]:
  """A line on what changed since the stored runs, if runs are trained anew for it."""
  missing = sum(run.fingerprint not in index.records for run in runs)
  if old is None or not missing or not index.records:
    return []
  changes = changes_lib.describe(old, plan.config, plan.dataset(plan.config).digest)
  if not changes:
    return []
  return [
    f'changed since the last run: {changes}; {missing} runs are trained anew, and '
    'looks at the results are counted anew'
  ]


def memory_lines(
  plan: study_plan.Plan, runs: Sequence[runs_lib.Run], index: results.Index
) -> list[str]:
  """Lines that say how free memory narrowed the layouts of what is to train."""
  missing = {run.program for run in runs if run.fingerprint not in index.records}
  arms: dict[str, list[str]] = {}
  for program in (name for name in plan.layouts if name in missing):
    if plan.limits.get(program):
      arms.setdefault(plan.limits[program], []).extend(plan.arms_of(program))
  return [f'memory: {", ".join(names)}: {limit}' for limit, names in arms.items()]


def stale(
  plan: study_plan.Plan, runs: Sequence[runs_lib.Run], index: results.Index
) -> list[str]:
  """Lines naming the modules whose edits made stored runs stale."""
  wanted = {run.identity: run.fingerprint for run in runs}
  code: dict[str, str] = {}
  for part in plan.code.values():
    code |= part.modules
  return results.stale(index, wanted, code)


def export(workdir: pathlib.Path, say: Callable[[str], None] = print) -> answer.Answer:
  """The action `report`: tables, effects and report from what is stored.

  Args:
    workdir: of the study.
    say: prints a line for the user.

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
  study = until_lib.measure_costs(study, index)
  planned = list(study.runs)
  declared = [run for run in planned if study.is_declared(run)]
  if not any(run.fingerprint in index.records for run in declared):
    raise errors.UserError(
      f'nothing to report: no run in {workdir} has finished '
      f'{"under the declared condition" if len(declared) < len(planned) else "yet"}; '
      'run it first (--action=run)'
    )
  every = tables.runs(study, planned, index, study.failures)
  shown = tables.shown_state(study, declared, index)
  return answer.write(
    workdir,
    study,
    answer.Records(
      every,
      every
      if len(declared) == len(planned)
      else tables.runs(study, declared, index, study.failures),
      tables.curves(declared, index, shown),
      tables.arrays_of(declared, index),
      tables.searches(study, index),
      shown,
    ),
    lambda logged: manifest.write_looks(workdir, logged),
  )


def count(records: Iterable[results.Record]) -> dict[str, Any]:
  """The number of runs, and their compute in nominal FLOPs."""
  flops = [record.run['flops'] for record in records]
  return {'runs': len(flops), 'flops': sum(flops)}


def one_run(plan: study_plan.Plan, arm: str, seed: int) -> runs_lib.Run:
  """The run of the actions `replay`, `sample` and `export`.

  Raises:
    UserError: if the study has no such arm, or the seed is negative.
  """
  study_plan.pick(plan.arms, arm)
  if seed < 0:
    raise errors.UserError(f'--seed must be at least 0, not {seed}')
  return plan.run(arm, seed, runs_lib.UNTUNED, {})


def steps_of(runs: Iterable[runs_lib.Run]) -> int:
  """The training steps of all runs."""
  return sum(run.config['train']['steps'] for run in runs)
