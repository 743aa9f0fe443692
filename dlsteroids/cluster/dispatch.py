"""The head of a study that workers train: submits units, watches them, reports.

It trains nothing and holds no lease while it waits. What is done is in the store, what
trains in the leases, what failed in `failures/`; so a head that dies is replaced by the
same command, and workers do not notice.
"""

import pathlib
import time
from collections.abc import Callable

from dlsteroids.cluster import child, executors
from dlsteroids.config import files
from dlsteroids.plan import study_plan, tuning, units
from dlsteroids.report import answer as answer_lib
from dlsteroids.run import launch, leases
from dlsteroids.store import failures, results
from dlsteroids.util import errors

RETRIES = 1  # of a unit whose worker died without having stored anything

Follow = Callable[[int, int, str], None]  # (runs done, runs in all, details)


def train(
  request: files.Request,
  workdir: pathlib.Path,
  executor: executors.Executor,
  follow: Follow,
  say: Callable[[str], None],
) -> answer_lib.Answer:
  """The action `run`, with an executor that has other processes train.

  Args:
    request: the study.
    workdir: of the study; the workers must see it, too.
    executor: has the units trained.
    follow: shows how far the study is.
    say: prints a line for the user.

  Raises:
    UserError: for a mistake in any of it, or if every run failed.
  """
  plan = launch.plan_of(request, workdir, elsewhere=True)
  if tuning.is_structural(plan.grid, plan.config):
    raise errors.UserError(
      'config.study.tune changes programs (train.batch_size, size, numbers of the '
      'model), which workers of an executor cannot plan: leave out --executor, and '
      'start the command on every machine that sees the workdir; they share its runs'
    )
  plan = launch.begin(plan, request, workdir, say, elsewhere=True)
  try:
    while True:
      head = Head(plan, workdir, executor, follow, say)
      head.run()
      if plan.final:
        break
      plan = launch.extend_search(
        *(plan, results.read(workdir), head.failed),
        request=request,
        workdir=workdir,
        say=say,
        elsewhere=True,
      )
  except BaseException:
    farewell = executor.leave()
    if farewell:
      say(farewell)
    raise
  return launch.finish(plan, request, workdir, head.failed, say, elsewhere=True)


class Head:
  """Makes sure that some worker trains every unit."""

  def __init__(
    self,
    plan: study_plan.Plan,
    workdir: pathlib.Path,
    executor: executors.Executor,
    follow: Follow,
    say: Callable[[str], None],
  ):
    self.workdir, self.executor, self.follow, self.say = workdir, executor, follow, say
    self.units = units.make(plan)
    self.todo = list(self.units)
    self.lease_seconds = plan.config['engine']['lease_seconds']
    self.index = results.read(workdir)
    self.holders: dict[str, leases.Holder] = {}
    self.jobs: dict[str, executors.Job] = {}
    self.ended: dict[str, float] = {}  # when a job ended that left runs missing
    self.deaths: dict[str, int] = {}
    self.missing_at_submit: dict[str, int] = {}  # runs, by program
    self.failed: dict[str, str] = {}
    self.old_failures = failures.read(workdir)  # of earlier launches: tried again

  def run(self) -> None:
    """Returns when every unit is done or has failed."""
    self.jobs |= self.executor.adopt([unit.program for unit in self.todo])
    while self.update_todo():
      self.submit()
      self.show()
      time.sleep(self.executor.poll)
      self.collect()
    self.show()

  def update_todo(self) -> bool:
    """Drops units that are done or have failed; returns whether any are left."""
    new_failures = failures.read(self.workdir)
    for unit in list(self.todo):
      missing = unit.missing(self.index)
      failure = new_failures.get(unit.program)
      if not missing:
        failures.forget(self.workdir, unit.program)
      elif failure and failure != self.old_failures.get(unit.program):
        programs = {run.fingerprint: run.program for run in missing}
        reasons = failures.reasons(self.workdir, programs, {})
        arms = sorted({run.arm for run in missing if run.fingerprint in reasons})
        self.say(f'failed: {", ".join(arms)}: {"; ".join(sorted({*reasons.values()}))}')
        self.failed |= reasons
      else:
        continue
      self.todo.remove(unit)
      self.jobs.pop(unit.program, None)
    return bool(self.todo)

  def submit(self) -> None:
    """Submits the units that no process holds, as many as the executor takes."""
    self.holders = leases.live(self.workdir, self.lease_seconds)
    busy = {*self.jobs, *self.holders, *self.ended}
    ready = [unit for unit in self.todo if unit.program not in busy]
    adopted = self.executor.adopt([unit.program for unit in ready])
    self.jobs |= adopted  # another head's
    ready = [unit for unit in ready if unit.program not in adopted]
    if self.executor.at_once:
      ready = ready[: max(0, self.executor.at_once - len(self.jobs))]
    for unit in ready:
      failures.forget(self.workdir, unit.program)
      self.old_failures.pop(unit.program, None)
      self.missing_at_submit[unit.program] = len(unit.missing(self.index))
    if ready:
      self.jobs |= self.executor.submit([unit.program for unit in ready])

  def collect(self) -> None:
    """Finds out which jobs have ended, and what they left."""
    over = {name: job for name, job in self.jobs.items() if job.ended()}
    self.index = results.read(self.workdir)
    self.holders = leases.live(self.workdir, self.lease_seconds)
    settled = failures.read(self.workdir)
    for unit in self.todo:
      name = unit.program
      if name in over:
        self.jobs.pop(name)
        self.ended[name] = time.monotonic()
        reason = over[name].why()
      elif name in self.ended:
        reason = ''
      else:
        continue
      missing = len(unit.missing(self.index))
      if not missing or name in settled or name in self.holders:
        del self.ended[name]  # done, failed, or another process trains it
      elif reason or time.monotonic() - self.ended[name] > self.lease_seconds:
        # A shared disk may show results late, so without a reason the head waits.
        del self.ended[name]
        reason = reason or child.last_words(self.workdir, name)
        self.retry_or_fail(unit, missing, reason)

  def retry_or_fail(self, unit: units.Unit, missing: int, reason: str) -> None:
    """After a worker's death: fails a unit that died before without progress."""
    name = unit.program
    progressed = missing < self.missing_at_submit.get(name, missing)
    self.deaths[name] = 1 if progressed else self.deaths.get(name, 0) + 1
    arms = ', '.join(dict.fromkeys(run.arm for run in unit.missing(self.index)))
    if self.deaths[name] > RETRIES:
      times = f'{self.deaths[name]} times: ' if self.deaths[name] > 1 else ''
      failures.write(self.workdir, name, {}, f'{times}{reason}')
    else:
      self.say(f'{arms}: {reason}; trying again')

  def show(self) -> None:
    """Reports how many runs are done, how many programs train and wait."""
    total = sum(len(unit.runs(self.index)) for unit in self.units)
    done = total - sum(len(unit.missing(self.index)) for unit in self.units)
    programs = [unit.program for unit in self.todo]
    training = [name for name in programs if name in self.holders]
    waiting = len([name for name in programs if name in self.jobs]) - len(training)
    parts = [f'{done} of {total} runs done, programs: {len(programs)} to do']
    parts += [f'{len(training)} training'] if training else []
    parts += [f'{waiting} submitted'] if waiting > 0 else []
    self.follow(done, total, ', '.join(parts))
