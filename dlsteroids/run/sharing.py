"""Trains units in this process, and shares them with others at the same workdir.

The process that holds a unit's lease trains it; a launch takes the units that are free,
then waits for the others. Results of other processes are read from the store, their
failures from `failures/`: nothing is trained twice.
"""

import pathlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dlsteroids.plan import manifest, search, study_plan, tuning, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import leases, local
from dlsteroids.store import failures, results
from dlsteroids.train import processes
from dlsteroids.util import environment, errors

# (plan, index, failed fingerprints) -> plan
Extend = Callable[[study_plan.Plan, results.Index, Collection[str]], study_plan.Plan]
POLL = 1.0  # seconds between two checks of the leases of others


def train(
  plan: study_plan.Plan,
  todo: Sequence[units.Unit],
  workdir: pathlib.Path,
  watch: local.Watch = local.no_watch,
  say: Callable[[str], None] = lambda line: None,
  patience: float = float('inf'),
  extend: Extend | None = None,
) -> dict[str, str]:
  """Trains what the store lacks of `todo`; returns why runs failed, by fingerprint.

  Args:
    plan: the plan.
    todo: its units.
    workdir: of the study.
    watch: shows progress.
    say: prints a line for the user.
    patience: seconds to wait for units that other processes hold.
    extend: returns the plan with more points for its searches, or with the final ones;
      None if another process decides on them.

  Raises:
    UserError: if results can't be written, or stored ones must not be mixed with those
      of this machine.
  """
  with Worker(plan, todo, workdir, watch, say) as worker:
    since = time.monotonic()
    while worker.update_todo() or worker.extend_search(extend):
      if worker.take_one():
        since = time.monotonic()
      elif time.monotonic() - since > patience:
        break
      else:
        worker.wait()
    processes.agree('')  # tells `follow` that nothing is left
  return worker.failed


def follow(
  plan: study_plan.Plan, todo: Sequence[units.Unit], workdir: pathlib.Path
) -> dict[str, str]:
  """`train` in the other processes of a launch: they train what the first one takes."""
  empty = results.Index({}, {})
  failed: dict[str, str] = {}
  with compiler_lib.Compiler(plan) as compiler:
    while program := processes.agree(''):
      state = processes.agree(search.state_of(plan))
      extended = search.with_state(plan, state)
      if search.state_of(extended) != search.state_of(plan):
        plan, compiler.plan = extended, extended
        todo = units.make(plan)
      unit = next(unit for unit in todo if unit.program == program)
      for _ in ('search', 'claim'):
        plan, runs = _agree(plan, (), unit, workdir)
        failed |= local.execute(plan, runs, workdir, empty, compiler)
  return failed


def _agree(
  plan: study_plan.Plan,
  runs: Sequence[runs_lib.Run],
  unit: units.Unit,
  workdir: pathlib.Path,
) -> tuple[study_plan.Plan, Sequence[runs_lib.Run]]:
  """The plan with the current layouts, and runs, as the first process has them."""
  layouts = manifest.read_layouts(workdir) if processes.first() else {}
  plan = study_plan.with_layouts(plan, processes.agree(layouts))
  names = processes.agree([run.fingerprint for run in runs])
  if processes.first():
    return plan, runs_lib.unique(runs)
  # `unique` keeps the same one of equal runs as the first process did.
  candidates = runs_lib.unique([*unit.search, *unit.possible()])
  by_name = {run.fingerprint: run for run in candidates}
  return plan, [by_name[name] for name in dict.fromkeys(names)]


class Worker:
  """Trains the units that are free; a context, in which programs compile ahead."""

  def __init__(
    self,
    plan: study_plan.Plan,
    todo: Sequence[units.Unit],
    workdir: pathlib.Path,
    watch: local.Watch,
    say: Callable[[str], None],
  ):
    self.plan, self.todo, self.workdir, self._say = plan, list(todo), workdir, say
    self.lease_seconds = plan.config['engine']['lease_seconds']
    self.index = results.read(workdir)
    self.old_failures = failures.read(workdir)  # of earlier launches: tried again
    self.failed: dict[str, str] = {}
    self.tally = Tally(watch)
    self.compiler = compiler_lib.Compiler(plan, self.is_free)
    self.lines: set[str] = set()  # printed so far

  def __enter__(self) -> 'Worker':
    self.compiler.__enter__()
    self.compile_ahead()
    return self

  def __exit__(self, *error: Any) -> None:
    self.compiler.__exit__(*error)

  def compile_ahead(self) -> None:
    """Queues the compilation of what each unit trains first."""
    done = self.index.records
    for unit in self.todo:
      search = [run for run in unit.search if run.fingerprint not in done]
      self.compiler.start(self.batches(search or unit.missing(self.index)))

  def extend_search(self, extend: Extend | None) -> bool:
    """Has searches try more, or ends them; False if they ended, or without `extend`."""
    if extend is None or self.plan.final:
      return False
    self.index = results.read(self.workdir)
    self.plan = extend(self.plan, self.index, self.failed)
    self.compiler.plan = self.plan
    self.old_failures = failures.read(self.workdir)
    self.failed = {}  # those runs are tried again, with their program's others
    self.todo = units.make(self.plan)
    self.compile_ahead()
    return True

  def say(self, line: str) -> None:
    """Prints a line, once."""
    if line not in self.lines:
      self.lines.add(line)
      self._say(line)

  def is_free(self, program: str) -> bool:
    """Whether no other process trains a program; else compiling it is not worth it."""
    holder = leases.live(self.workdir, self.lease_seconds).get(program)
    return holder is None or holder.token == self.tally.token

  def batches(self, runs: Sequence[runs_lib.Run]) -> list[runs_lib.Batch]:
    return study_plan.batches(self.plan, runs, self.index.records.__contains__)

  def update_todo(self) -> bool:
    """Drops units that are done or failed elsewhere; returns whether any are left."""
    new_failures = failures.read(self.workdir)
    for unit in list(self.todo):
      failure = new_failures.get(unit.program)
      missing = unit.missing(self.index)
      if not missing:
        failures.forget(self.workdir, unit.program)
        self.todo.remove(unit)
      elif failure and failure != self.old_failures.get(unit.program):
        programs = {run.fingerprint: run.program for run in missing}
        self.failed |= failures.reasons(self.workdir, programs, {})
        self.todo.remove(unit)  # another process has just tried it
    return bool(self.todo)

  def take_one(self) -> bool:
    """Trains the first unit that is free; returns whether there was one."""
    for unit in self.todo:
      facts = {'provenance': environment.provenance()}
      lease = leases.take(self.workdir, unit.program, self.lease_seconds, facts)
      if lease is None:
        continue
      with lease:
        self.index = results.read(self.workdir)
        _check_lease(self.plan, self.workdir, self.index, lease)
        try:
          self.train(unit, lease)
          self.todo.remove(unit)
        except leases.Lost as error:
          if processes.several():  # the others are still training the unit
            raise errors.UserError(str(error)) from error
          self.say(str(error))
      return True
    return False

  def train(self, unit: units.Unit, lease: leases.Lease) -> None:
    """Trains the runs that a unit lacks: those of the search, then those that claim."""
    failures.forget(self.workdir, unit.program)
    processes.agree(unit.program)  # `follow` receives these two
    processes.agree(search.state_of(self.plan))
    failed: dict[str, str] = {}
    for runs_of in (lambda: unit.search, lambda: unit.claim(self.index)):
      self.plan, runs = _agree(self.plan, runs_of(), unit, self.workdir)
      batches = self.batches([r for u in self.todo for r in u.missing(self.index)])
      self.tally.begin(batches, lease)
      failed |= local.execute(
        *(self.plan, runs, self.workdir, self.index, self.compiler),
        watch=self.tally.watch,
        say=self.say,
      )
      self.tally.end()
      self.index = results.read(self.workdir)
    if failed:
      failures.write(self.workdir, unit.program, failed)
    self.failed |= failed

  def wait(self) -> None:
    """Says which processes it waits for, once, and waits a moment."""
    holders = leases.live(self.workdir, self.lease_seconds)
    for unit in self.todo:
      if unit.program in holders:
        arms = ', '.join(self.plan.arms_of(unit.program))
        self.say(f'waiting for {arms}: trained by {holders[unit.program]}')
    time.sleep(POLL)
    self.index = results.read(self.workdir)


class Tally:
  """Counts the steps of all units, done and to do; reports progress to the lease."""

  def __init__(self, watch: local.Watch):
    self.show = watch
    self.lease: leases.Lease | None = None
    self.done_steps = self.total_steps = 0.0
    self.last: local.Status | None = None

  @property
  def token(self) -> str:
    return self.lease.holder.token if self.lease else ''

  def begin(self, batches: Sequence[runs_lib.Batch], lease: leases.Lease) -> None:
    """Begins a unit's search or claim; `batches` are those still to do in all units."""
    self.lease, self.last = lease, None
    work = sum(batch.steps * len(batch.runs) for batch in batches)
    self.total_steps = self.done_steps + work

  def end(self) -> None:
    """Ends what `begin` began."""
    if self.last:
      self.done_steps += self.last.total_steps

  def watch(self, status: local.Status | compiler_lib.Compiling) -> None:
    """Shows the progress over all units, and notes the batch's on the lease."""
    if self.lease:
      self.lease.check()
    if isinstance(status, compiler_lib.Compiling):
      self.show(status)
      return
    self.last = status
    if self.lease:
      progress = status.progress
      self.lease.update(
        members=status.members,
        step=progress.step,
        steps=progress.steps,
        rate=progress.steps_per_second,
      )
    self.show(
      status._replace(
        done_steps=self.done_steps + status.done_steps, total_steps=self.total_steps
      )
    )


def _check_lease(
  plan: study_plan.Plan,
  workdir: pathlib.Path,
  index: results.Index,
  lease: leases.Lease,
) -> None:
  """Raises UserError if runs of this machine must not be paired with the study's.

  Of two machines that begin at once both have written their lease before they read the
  other's, so at least one sees the other; the later one stops.
  """
  study = manifest.read_study(workdir)
  names = tuning.programs_by_run(tuning.with_choices(study, index)) if study else {}
  stored = [index.records[name] for name in names if name in index.records]
  check_mixed(plan, stored, environment.provenance())
  own = lease.holder
  for holder in leases.live(workdir, plan.config['engine']['lease_seconds']).values():
    provenance = holder.facts.get('provenance')
    if provenance and (holder.since, holder.token) < (own.since, own.token):
      record = results.Record({}, {'provenance': provenance}, workdir)
      source = f'the runs of {holder}'
      check_mixed(plan, [record], environment.provenance(), source)


def check_mixed(
  plan: study_plan.Plan,
  records: Sequence[results.Record],
  provenance: Mapping[str, Any],
  source: str = '',
) -> None:
  """Raises UserError if records have another provenance than `provenance`.

  Args:
    plan: its config may allow fields to differ.
    records: of stored runs.
    provenance: to compare with.
    source: names the records in the message; '' counts them as stored runs.
  """
  differences = results.mixed(records, provenance, plan.config['study']['allow_mixed'])
  if differences:
    text = '; '.join(
      f'{source or f"{count} stored runs"} have {name}={old}, here it is '
      f'{provenance[name]}'
      for (name, old), count in differences.items()
    )
    names = ','.join(sorted({name for name, _ in differences}))
    raise errors.UserError(
      f'{text}: paired runs must not mix them; use another --workdir, or allow it by '
      f'--config.study.allow_mixed={names}'
    )
