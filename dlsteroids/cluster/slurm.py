"""SLURM through submitit: a job array, a unit per task.

A job runs its worker as a child process. When SLURM announces preemption or the end of
the job's time (SIGUSR2), the worker is asked to save a checkpoint and the job to be
queued again. Jobs outlive the launch that submitted them: another one adopts them.
submitit keeps its own files, pickles among them, in `slurm/` of the workdir; nobody but
the user's own jobs reads them.
"""

import contextlib
import math
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from dlsteroids.cluster import child, executors
from dlsteroids.util import errors

NOTICE = 90  # seconds before the end of a job's time at which it is told
HANGS = 1  # times that a job is queued again though its worker had to be killed
REQUEUES = 1000  # submitit's limit, which counts those that saved their work, too
GONE = (
  *('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY'),
  *('BOOT_FAIL', 'DEADLINE', 'PREEMPTED'),
)


class Slurm:
  """Hands units to SLURM, all that are ready as one job array."""

  poll = 5.0

  def __init__(self, order: child.Order, resources: executors.Resources):
    submitit = executors.need('submitit', 'slurm')
    if not shutil.which('sbatch'):
      raise errors.UserError('--executor=slurm: no sbatch here; is this a cluster?')
    self.order, self.at_once = order, resources.at_once
    self.folder = order.workdir / 'slurm'
    self.executor = submitit.AutoExecutor(
      self.folder, cluster='slurm', slurm_max_num_timeout=REQUEUES
    )
    self.executor.update_parameters(**parameters(order, resources))
    self.jobs: dict[str, SlurmJob] = {}
    self.queue = Queue()

  def submit(self, programs: Sequence[str]) -> dict[str, 'SlurmJob']:
    try:
      with self.executor.batch():
        made = [self.executor.submit(Work(self.order, name)) for name in programs]
    except Exception as error:  # submitit raises several kinds for what sbatch says
      lines = [line for line in str(error).splitlines() if 'sbatch: error' in line]
      text = '; '.join(lines) or str(error)
      raise errors.UserError(f'SLURM refuses the jobs: {text}') from error
    for program, job in zip(programs, made):
      (self.folder / f'{program}.job').write_text(job.job_id)
      self.jobs[program] = SlurmJob(job.job_id, self.queue, self.folder)
    return {program: self.jobs[program] for program in programs}

  def adopt(self, programs: Sequence[str]) -> dict[str, 'SlurmJob']:
    found = {}
    for program in programs:
      with contextlib.suppress(OSError):
        name = (self.folder / f'{program}.job').read_text()
        found[program] = SlurmJob(name, self.queue, self.folder)
    found = {program: job for program, job in found.items() if not job.ended()}
    self.jobs |= found
    return found

  def leave(self) -> str:
    left = [job.id for job in self.jobs.values() if not job.ended()]
    if not left:
      return ''
    names = ' '.join(left)
    return (
      f'SLURM jobs {names} go on and the same command follows them; '
      f'to stop them: scancel {names}'
    )


def parameters(order: child.Order, resources: executors.Resources) -> dict[str, Any]:
  """submitit's names for what a unit is given."""
  more = {}
  for part in filter(None, resources.sbatch.split(',')):
    name, equals, value = part.partition('=')
    if not name or not equals:
      raise errors.UserError(
        f"--sbatch expects options as 'account=me,qos=low', not {resources.sbatch!r}"
      )
    more[name.strip().lstrip('-')] = value.strip()
  asked = {
    'name': 'dlsteroids',
    'timeout_min': math.ceil(order.minutes),  # sbatch: 0 requests no limit
    'cpus_per_task': resources.cpus or None,
    'gpus_per_node': math.ceil(resources.gpus) or None,
    'mem_gb': resources.memory_gb or None,
    'slurm_partition': resources.partition or None,
    'slurm_array_parallelism': resources.at_once or None,
    'slurm_signal_delay_s': min(NOTICE, math.ceil(order.minutes * 15) or NOTICE),
    'slurm_additional_parameters': more or None,
  }
  return {name: value for name, value in asked.items() if value is not None}


class Work:
  """What a job calls: the worker of one program, as a child."""

  def __init__(self, order: child.Order, program: str):
    # the job's time is SLURM's affair
    self.order, self.program = order._replace(minutes=0.0), program
    self.minutes, self.hangs = order.minutes, 0
    self.child: Any = None

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, 'child': None}

  def __call__(self) -> str:
    array, index = (os.environ.get(f'SLURM_ARRAY_{n}_ID', '') for n in ('JOB', 'TASK'))
    name = f'{array}_{index}' if array else os.environ.get('SLURM_JOB_ID', '?')
    # SLURM signals every process of a job: blocked here, the child inherits that.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    self.child = child.Child(self.order, self.program, f'slurm {name}', tied=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    while not self.child.ended():
      time.sleep(0.5)
    if self.child.why():
      raise RuntimeError(self.child.why())
    return ''

  def checkpoint(self) -> Any:
    """submitit's hook before a job is queued again: the worker saves and goes."""
    import submitit

    self.hangs = 0 if self.leave() else self.hangs + 1
    if self.hangs > HANGS:
      raise RuntimeError(f'no end within {self.minutes:g} minutes, {self.hangs} times')
    return submitit.helpers.DelayedSubmission(self)

  def leave(self) -> bool:
    """Ends the worker; whether it went by itself.

    It runs in a signal handler, maybe in the midst of `Popen.poll`, so it asks the
    kernel, not `Popen`.
    """
    if self.child is None:
      return True
    pid = self.child.process.pid
    with contextlib.suppress(ProcessLookupError):
      os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + child.GRACE
    while time.monotonic() < end:
      try:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, pid, flags) is not None:
          return True
      except ChildProcessError:
        return True
      time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    return False


class Queue:
  """What squeue says, asked for all jobs at once and at most every few seconds."""

  def __init__(self) -> None:
    self.names: set[str] = set()
    self.states: dict[str, tuple[str, str]] = {}
    self.asked = -math.inf

  def state(self, name: str) -> tuple[str, str]:
    """A job's state and SLURM's reason; ('', '') if it is no longer known."""
    fresh = name not in self.names
    self.names.add(name)
    if fresh or time.monotonic() - self.asked > Slurm.poll / 2:
      self.ask()
    return self.states.get(name, ('', ''))

  def ask(self) -> None:
    ids = ','.join(sorted({name.partition('_')[0] for name in self.names}))
    words = ['squeue', '-h', '-r', '-t', 'all', '-j', ids, '-o', '%F_%K|%A|%T|%r']
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and 'Invalid job id' not in done.stderr:
      return  # the controller is away: as before
    self.asked = time.monotonic()
    found = {}
    for line in done.stdout.splitlines():
      array, single, state, reason = line.split('|')
      found[single if array.endswith('_N/A') else array] = (state, reason)
    self.states = found


class SlurmJob:
  """A task of an array, by what squeue says of it."""

  def __init__(self, name: str, queue: Queue, folder: pathlib.Path):
    self.id, self.queue, self.folder = name, queue, folder
    self.name = f'slurm {name}'

  def ended(self) -> bool:
    state = self.queue.state(self.id)[0]
    return not state or state in GONE

  def why(self) -> str:
    state, _ = self.queue.state(self.id)
    if state in ('', 'COMPLETED'):
      return ''
    text = f'SLURM job {self.id}: {state}'
    with contextlib.suppress(OSError):
      lines = (self.folder / f'{self.id}_0_log.err').read_text().splitlines()
      said = [line for line in lines if line.startswith('RuntimeError: ')]  # of `Work`
      text += ', ' + said[-1].removeprefix('RuntimeError: ') if said else ''
    return text
