"""Trains units in this process, and shares them with others at the same workdir.

A unit is trained by who holds its lease; a launch takes those that are free, then waits
for the others. What another process trains is found in the store, what failed there in
`failures/`: nothing is trained twice.
"""

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from dlsteroids.plan import manifest, study_plan, tuning, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import leases, local
from dlsteroids.store import failures, results
from dlsteroids.train import processes
from dlsteroids.util import environment, errors

POLL = 1.0  # seconds between two looks at what others hold


def train(
  made: study_plan.Plan,
  todo: Sequence[units.Unit],
  workdir: pathlib.Path,
  watch: local.Watch = lambda status: None,
  say: Callable[[str], None] = lambda line: None,
  patience: float = float('inf'),
) -> dict[str, str]:
  """Trains what the store lacks of `todo`; returns reasons by failed fingerprint.

  Args:
    made: the plan.
    todo: its units.
    workdir: of the study.
    watch: told about progress.
    say: told what a user should know at once.
    patience: seconds to wait for units that other processes hold.

  Raises:
    UserError: if results can't be written, or stored ones must not be mixed with those
      of this machine.
  """
  with Shift(made, todo, workdir, watch, say) as shift:
    since = time.monotonic()
    while shift.open():
      if shift.take_one():
        since = time.monotonic()
      elif time.monotonic() - since > patience:
        break
      else:
        shift.wait()
    processes.agree('')  # there is no more
  return shift.failed


def follow(
  made: study_plan.Plan, todo: Sequence[units.Unit], workdir: pathlib.Path
) -> dict[str, str]:
  """`train` in the other processes of a launch: they train what the first one takes."""
  known = {unit.program: unit for unit in todo}
  none = results.Index({}, {})
  failed: dict[str, str] = {}
  with local.Compiler(made) as compiler:
    while program := processes.agree(''):
      for _ in ('search', 'claim'):
        made, runs = agree(made, (), known[program], workdir)
        failed |= local.execute(made, runs, workdir, none, compiler)
  return failed


def agree(
  made: study_plan.Plan,
  runs: Sequence[runs_lib.Run],
  unit: units.Unit,
  workdir: pathlib.Path,
) -> tuple[study_plan.Plan, Sequence[runs_lib.Run]]:
  """What the first process trains next of a unit, and how it is laid out by now."""
  old = manifest.read_layouts(workdir) if processes.first() else {}
  made = manifest.lay_out(made, processes.agree(old))
  names = processes.agree([run.fingerprint for run in runs])
  if processes.first():
    return made, runs_lib.unique(runs)
  every = runs_lib.unique(
    [*unit.search, *unit.possible()]
  )  # the first's choice of twins
  known = {run.fingerprint: run for run in every}
  return made, [known[name] for name in dict.fromkeys(names)]


class Shift:
  """One process' part in training units, as a context."""

  def __init__(
    self,
    made: study_plan.Plan,
    todo: Sequence[units.Unit],
    workdir: pathlib.Path,
    watch: local.Watch,
    say: Callable[[str], None],
  ):
    self.made, self.todo, self.workdir = made, list(todo), workdir
    self.say = local.once(say)
    self.seconds = made.config['engine']['lease_seconds']
    self.index = results.read(workdir)
    self.before = failures.read(workdir)  # of earlier launches: tried again
    self.failed: dict[str, str] = {}
    self.tally = Tally(watch)
    self.compiler = local.Compiler(made, self.is_free)
    self.told: set[str] = set()

  def __enter__(self) -> 'Shift':
    self.compiler.__enter__()
    for unit in self.todo:
      batches = self.batches(unit.missing(self.index))
      self.compiler.start(batches[:1], self.made.layouts)
    return self

  def __exit__(self, *error: Any) -> None:
    self.compiler.__exit__(*error)

  def is_free(self, program: str) -> bool:
    """Whether no other process trains a program: not worth compiling then."""
    held = leases.live(self.workdir, self.seconds).get(program)
    return held is None or held.token == self.tally.token

  def batches(self, runs: Sequence[runs_lib.Run]) -> list[runs_lib.Batch]:
    sizes = lambda name: self.made.layouts[name].members
    return runs_lib.batches(runs, lambda name: name in self.index.records, sizes)

  def open(self) -> bool:
    """Whether any unit lacks runs that have not failed meanwhile."""
    now = failures.read(self.workdir)
    for unit in list(self.todo):
      failure = now.get(unit.program)
      missing = unit.missing(self.index)
      if not missing:
        failures.forget(self.workdir, unit.program)
        self.todo.remove(unit)
      elif failure and failure != self.before.get(unit.program):
        programs = {run.fingerprint: run.program for run in missing}
        self.failed |= failures.reasons(self.workdir, programs, {})
        self.todo.remove(unit)  # another process tried
    return bool(self.todo)

  def take_one(self) -> bool:
    """Trains the first unit that is free; whether there was one."""
    for unit in self.todo:
      facts = {'provenance': environment.provenance()}
      lease = leases.take(self.workdir, unit.program, self.seconds, facts)
      if lease is None:
        continue
      with lease:
        self.index = results.read(self.workdir)
        refuse_mixed(self.made, self.workdir, self.index, lease)
        try:
          self.train(unit, lease)
          self.todo.remove(unit)
        except leases.Lost as error:
          if processes.several():  # the others are in the midst of it
            raise errors.UserError(str(error)) from error
          self.say(str(error))
      return True
    return False

  def train(self, unit: units.Unit, lease: leases.Lease) -> None:
    """The runs that a unit lacks: those of the search, then those that follow."""
    failures.forget(self.workdir, unit.program)
    processes.agree(unit.program)  # they `follow`
    failed: dict[str, str] = {}
    for stage in (lambda: unit.search, lambda: unit.claim(self.index)):
      self.made, runs = agree(self.made, stage(), unit, self.workdir)
      left = self.batches([r for u in self.todo for r in u.missing(self.index)])
      self.tally.begin(left, lease)
      failed |= local.execute(
        *(self.made, runs, self.workdir, self.index, self.compiler),
        watch=self.tally.watch,
        say=self.say,
      )
      self.tally.end()
      self.index = results.read(self.workdir)
    if failed:
      failures.write(self.workdir, unit.program, failed)
    self.failed |= failed

  def wait(self) -> None:
    """Says once for whom, and lets them go on."""
    held = leases.live(self.workdir, self.seconds)
    for unit in self.todo:
      if unit.program in held:
        line = f'waiting for program {unit.program}: {held[unit.program]}'
        if line not in self.told:
          self.say(line)
        self.told.add(line)
    time.sleep(POLL)
    self.index = results.read(self.workdir)


class Tally:
  """Counts what this process has done and has to do, for its display and its lease."""

  def __init__(self, watch: local.Watch):
    self.show = watch
    self.lease: leases.Lease | None = None
    self.batches = self.all_batches = 0
    self.steps = self.all_steps = 0.0
    self.last: local.Status | None = None

  @property
  def token(self) -> str:
    return self.lease.holder.token if self.lease else ''

  def begin(self, left: Sequence[runs_lib.Batch], lease: leases.Lease) -> None:
    """A stage begins, with these batches still to do in all units."""
    self.lease, self.last = lease, None
    self.all_batches = self.batches + len(left)
    work = sum(batch.steps * len(batch.runs) for batch in left)
    self.all_steps = self.steps + work

  def end(self) -> None:
    """The stage has ended."""
    if self.last:
      self.batches += self.last.batches
      self.steps += self.last.total_steps

  def watch(self, status: local.Status) -> None:
    """Shows a stage's status as one of all, and tells it to who reads the lease."""
    if self.lease:
      self.lease.check()
    self.last = status
    whole = status._replace(
      batch=self.batches + status.batch,
      batches=self.all_batches,
      done_steps=self.steps + status.done_steps,
      total_steps=self.all_steps,
    )
    if self.lease:
      now = status.progress
      self.lease.tell(
        batch=status.batch,
        batches=status.batches,
        members=status.members,
        step=now.step,
        steps=now.steps,
        rate=now.steps_per_second,
      )
    self.show(whole)


def refuse_mixed(
  made: study_plan.Plan,
  workdir: pathlib.Path,
  index: results.Index,
  lease: leases.Lease,
) -> None:
  """Raises UserError if runs of this machine must not be paired with the study's.

  Of two machines that begin at once both have written their lease before they look, so
  at least one sees the other; the later one gives way.
  """
  study = manifest.read_study(workdir)
  study = study and tuning.with_choices(study, index)
  programs = tuning.programs_by_run(study) if study else {}
  mine = [index.records[name] for name in programs if name in index.records]
  check_mixed(made, mine, environment.provenance())
  me = lease.holder
  for holder in leases.live(workdir, made.config['engine']['lease_seconds']).values():
    theirs = holder.facts.get('provenance')
    if theirs and (holder.since, holder.token) < (me.since, me.token):
      running = results.Record({}, {'provenance': theirs}, workdir)
      who = f'the runs of {holder} have'
      check_mixed(made, [running], environment.provenance(), who)


def check_mixed(
  made: study_plan.Plan, records: Sequence[results.Record], now: Any, who: str = ''
) -> None:
  """Raises UserError if records had other provenance than `now`."""
  lines = results.mixed(records, now, made.config['study']['allow_mixed'])
  if lines:
    names = ','.join(sorted({line.split(' have ')[1].split('=')[0] for line in lines}))
    text = '; '.join(lines)
    text = text.replace('1 stored runs have', who) if who else text
    raise errors.UserError(
      f'{text}: pairs must not mix them; use another --workdir, or allow '
      f'it by --config.study.allow_mixed={names}'
    )
