"""SLURM through submitit: a job array, a unit per task.

A job runs its worker as a child process. When SLURM announces preemption or the end of
the job's time (SIGUSR2), the worker is asked to save a checkpoint and the job to be
queued again. Jobs outlive the launch that submitted them: another launch adopts them.
submitit keeps its own files, pickles among them, in `slurm/` of the workdir; only the
user's own jobs read them.
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

NOTICE = 90  # seconds before the end of a job's time at which SLURM signals it
HANGS = 1  # times a job is queued again although its worker had to be killed
REQUEUES = 1000  # submitit's limit, which also counts jobs that saved their work
GONE = (
  *('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY'),
  *('BOOT_FAIL', 'DEADLINE', 'PREEMPTED'),
)


class Slurm:
  """Submits units to SLURM, all that are ready as one job array."""

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
        jobs = [self.executor.submit(Work(self.order, name)) for name in programs]
    except Exception as error:  # submitit raises several kinds for errors of sbatch
      lines = [line for line in str(error).splitlines() if 'sbatch: error' in line]
      text = '; '.join(lines) or str(error)
      raise errors.UserError(f'SLURM refuses the jobs: {text}') from error
    for program, job in zip(programs, jobs):
      (self.folder / f'{program}.job').write_text(job.job_id, encoding='utf-8')
      self.jobs[program] = SlurmJob(job.job_id, self.queue, self.folder)
    return {program: self.jobs[program] for program in programs}

  def adopt(self, programs: Sequence[str]) -> dict[str, 'SlurmJob']:
    jobs = {}
    for program in programs:
      with contextlib.suppress(OSError):
        name = (self.folder / f'{program}.job').read_text(encoding='utf-8')
        jobs[program] = SlurmJob(name, self.queue, self.folder)
    jobs = {program: job for program, job in jobs.items() if not job.ended()}
    self.jobs |= jobs
    return jobs

  def leave(self) -> str:
    names = ' '.join(job.id for job in self.jobs.values() if not job.ended())
    if not names:
      return ''
    return (
      f'SLURM jobs {names} continue and the same command follows them; '
      f'to stop them: scancel {names}'
    )


def parameters(order: child.Order, resources: executors.Resources) -> dict[str, Any]:
  """The resources of a unit under submitit's names."""
  more = {}
  for part in filter(None, resources.sbatch.split(',')):
    name, equals, value = part.partition('=')
    if not name or not equals:
      raise errors.UserError(
        "--sbatch expects options such as 'account=me,qos=low', not "
        f'{resources.sbatch!r}'
      )
    more[name.strip().lstrip('-')] = value.strip()
  values = {
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
  return {name: value for name, value in values.items() if value is not None}


class Work:
  """The function of a job: runs the worker of one program as a child process."""

  def __init__(self, order: child.Order, program: str):
    # SLURM limits the job's time.
    self.order, self.program = order._replace(minutes=0.0), program
    self.minutes, self.hangs = order.minutes, 0
    self.child: Any = None

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, 'child': None}

  def __call__(self) -> str:
    array, index = (os.environ.get(f'SLURM_ARRAY_{n}_ID', '') for n in ('JOB', 'TASK'))
    name = f'{array}_{index}' if array else os.environ.get('SLURM_JOB_ID', '?')
    # SLURM signals every process of a job; the child inherits the blocked signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    self.child = child.Child(self.order, self.program, f'slurm {name}', tied=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    while not self.child.ended():
      time.sleep(0.5)
    if self.child.why():
      raise RuntimeError(self.child.why())
    return ''

  def checkpoint(self) -> Any:
    """submitit's hook before a job is queued again: the worker saves and exits."""
    import submitit

    self.hangs = 0 if self.stop() else self.hangs + 1
    if self.hangs > HANGS:
      raise RuntimeError(f'no end within {self.minutes:g} minutes, {self.hangs} times')
    return submitit.helpers.DelayedSubmission(self)

  def stop(self) -> bool:
    """Ends the worker; whether it exited without being killed.

    It runs in a signal handler, which may interrupt `Popen.poll`, so it waits by
    `os.waitid`.
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
  """The states of all jobs by one squeue, called at most every few seconds."""

  def __init__(self) -> None:
    self.names: set[str] = set()
    self.states: dict[str, tuple[str, str]] = {}
    self.updated = -math.inf

  def state(self, name: str) -> tuple[str, str]:
    """A job's state and SLURM's reason; ('', '') if SLURM has forgotten it."""
    fresh = name not in self.names
    self.names.add(name)
    if fresh or time.monotonic() - self.updated > Slurm.poll / 2:
      self.update()
    return self.states.get(name, ('', ''))

  def update(self) -> None:
    ids = ','.join(sorted({name.partition('_')[0] for name in self.names}))
    words = ['squeue', '-h', '-r', '-t', 'all', '-j', ids, '-o', '%F_%K|%A|%T|%r']
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and 'Invalid job id' not in done.stderr:
      return  # the controller does not answer: the states stay
    self.updated = time.monotonic()
    states = {}
    for line in done.stdout.splitlines():
      array, single, state, reason = line.split('|')
      states[single if array.endswith('_N/A') else array] = (state, reason)
    self.states = states


class SlurmJob:
  """A task of a job array, followed by squeue."""

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
      lines = (
        (self.folder / f'{self.id}_0_log.err').read_text(encoding='utf-8').splitlines()
      )
      raised = [line for line in lines if line.startswith('RuntimeError: ')]  # `Work`
      text += ', ' + raised[-1].removeprefix('RuntimeError: ') if raised else ''
    return text
