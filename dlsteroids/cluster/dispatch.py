"""The head of a study that workers train: hands units over, watches, reports.

It trains nothing and holds nothing while it waits. What is done is in the store, what
runs in the leases, what failed in `failures/`; so a head that dies is replaced by the
same command, and workers do not notice.
"""

import pathlib
import time

from dlsteroids.cluster import child, executors
from dlsteroids.config import files
from dlsteroids.plan import study_plan, units
from dlsteroids.run import launch, leases, progress
from dlsteroids.store import failures, results

RETRIES = 1  # of a unit whose worker died without having stored anything


def train(
  asked: files.Asked,
  workdir: pathlib.Path,
  executor: executors.Executor,
  shown: progress.Progress,
) -> launch.Answer:
  """The action `run`, with an executor that has other processes train.

  Args:
    asked: what the user asks.
    workdir: of the study; the workers must see it, too.
    executor: has the units trained.
    shown: the user's display.

  Raises:
    UserError: for a mistake in any of it, or if every run failed.
  """
  made = launch.plan_of(asked, workdir, elsewhere=True)
  made = launch.begin(made, asked, workdir, shown.say, elsewhere=True)
  head = Head(made, workdir, executor, shown)
  try:
    head.run()
  except BaseException:
    parting = executor.leave()
    if parting:
      shown.say(parting)
    raise
  return launch.finish(made, asked, workdir, head.failed, shown.say, elsewhere=True)


class Head:
  """Sees to it that every unit is trained by someone."""

  def __init__(
    self,
    made: study_plan.Plan,
    workdir: pathlib.Path,
    executor: executors.Executor,
    shown: progress.Progress,
  ):
    self.workdir, self.executor, self.shown = workdir, executor, shown
    self.units = units.make(made)
    self.todo = list(self.units)
    self.seconds = made.config['engine']['lease_seconds']
    self.index = results.read(workdir)
    self.held: dict[str, leases.Holder] = {}
    self.jobs: dict[str, executors.Job] = {}
    self.ended: dict[str, float] = {}  # when a job ended that left runs missing
    self.deaths: dict[str, int] = {}
    self.stored: dict[str, int] = {}  # missing runs when a unit was handed over
    self.failed: dict[str, str] = {}
    self.known = failures.read(workdir)  # of earlier launches: tried again

  def run(self) -> None:
    """Returns when every unit is done or has failed."""
    self.jobs |= self.executor.adopt([unit.program for unit in self.todo])
    while self.open():
      self.hand_over()
      self.show()
      time.sleep(self.executor.poll)
      self.look()
    self.show()

  def open(self) -> bool:
    """Whether any unit lacks runs that have not failed meanwhile."""
    now = failures.read(self.workdir)
    for unit in list(self.todo):
      missing = unit.missing(self.index)
      failure = now.get(unit.program)
      if not missing:
        failures.forget(self.workdir, unit.program)
      elif failure and failure != self.known.get(unit.program):
        programs = {run.fingerprint: run.program for run in missing}
        why = failures.reasons(self.workdir, programs, {})
        arms = sorted({run.arm for run in missing if run.fingerprint in why})
        text = '; '.join(sorted(set(why.values())))
        self.shown.say(f'failed: {", ".join(arms)}: {text}')
        self.failed |= why
      else:
        continue
      self.todo.remove(unit)
      self.jobs.pop(unit.program, None)
    return bool(self.todo)

  def hand_over(self) -> None:
    """Submits the units that nobody has, as many as the executor takes."""
    self.held = leases.live(self.workdir, self.seconds)
    waiting = lambda name: name in self.jobs or name in self.held or name in self.ended
    ready = [unit for unit in self.todo if not waiting(unit.program)]
    adopted = self.executor.adopt([unit.program for unit in ready])
    self.jobs |= adopted  # another head's
    ready = [unit for unit in ready if unit.program not in adopted]
    if self.executor.at_once:
      ready = ready[: max(0, self.executor.at_once - len(self.jobs))]
    for unit in ready:
      failures.forget(self.workdir, unit.program)
      self.known.pop(unit.program, None)
      self.stored[unit.program] = len(unit.missing(self.index))
    if ready:
      self.jobs |= self.executor.submit([unit.program for unit in ready])

  def look(self) -> None:
    """Finds out which jobs have ended, and what they left."""
    over = {name: job for name, job in self.jobs.items() if job.ended()}
    self.index = results.read(self.workdir)
    self.held = leases.live(self.workdir, self.seconds)
    settled = failures.read(self.workdir)
    for unit in self.todo:
      name = unit.program
      if name in over:
        self.jobs.pop(name)
        self.ended[name] = time.monotonic()
        why = over[name].why()
      elif name in self.ended:
        why = ''
      else:
        continue
      left = len(unit.missing(self.index))
      if not left or name in settled or name in self.held:
        del self.ended[name]  # done, failed, or another process has it
      elif why or time.monotonic() - self.ended[name] > self.seconds:
        # a shared disk may show results late; nothing shows those of the dead
        del self.ended[name]
        self.judge(unit, left, why or child.parting(self.workdir, name))

  def judge(self, unit: units.Unit, left: int, why: str) -> None:
    """A worker died: again, unless that happened before and nothing was gained."""
    name = unit.program
    gained = left < self.stored.get(name, left)
    self.deaths[name] = 1 if gained else self.deaths.get(name, 0) + 1
    arms = ', '.join(dict.fromkeys(run.arm for run in unit.missing(self.index)))
    if self.deaths[name] > RETRIES:
      times = f'{self.deaths[name]} times: ' if self.deaths[name] > 1 else ''
      failures.write(self.workdir, name, {}, f'{times}{why}')
    else:
      self.shown.say(f'{arms}: {why}; trying again')

  def show(self) -> None:
    """What is done, runs and waits."""
    every = sum(len(unit.runs(self.index)) for unit in self.units)
    left = sum(len(unit.missing(self.index)) for unit in self.units)
    mine = [unit.program for unit in self.todo]
    running = [name for name in mine if name in self.held]
    waiting = len([name for name in mine if name in self.jobs]) - len(running)
    parts = [f'{every - left} of {every} runs done, programs: {len(mine)} to do']
    parts += [f'{len(running)} at work'] if running else []
    parts += [f'{waiting} handed over'] if waiting > 0 else []
    self.shown.follow(every - left, every, ', '.join(parts))
