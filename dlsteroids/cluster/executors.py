"""Executors: where units are trained, and what each of them offers.

    local  in this process; with --unit_minutes each unit in a process of its own
    slurm  jobs of an array, through submitit
    ray    tasks of a Ray cluster

To add one: a module with a class like `Executor`, a name in `NAMES`, a line in `make`.
"""

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple, Protocol

from dlsteroids.cluster import child
from dlsteroids.util import errors

NAMES = ('local', 'slurm', 'ray')
USERS = {  # the executors that read each flag
  'unit_minutes': NAMES,
  'at_once': ('slurm', 'ray'),
  'cpus': ('slurm', 'ray'),
  'gpus': ('slurm', 'ray'),
  'memory_gb': ('slurm', 'ray'),
  'partition': ('slurm',),
  'sbatch': ('slurm',),
  'address': ('ray',),
}


class Job(Protocol):
  """A submitted unit."""

  name: str  # as users know it, 'slurm 7_1'

  def ended(self) -> bool:
    """Whether it has ended and will not be started again by its cluster."""

  def why(self) -> str:
    """Why it ended before its work was done; '' if its worker exited by itself."""


class Executor(Protocol):
  """Starts the worker of each unit, which does the rest.

  Attributes:
    at_once: most units submitted at a time; 0: any number.
    poll: seconds between two checks of its jobs.
  """

  at_once: int
  poll: float

  def submit(self, programs: Sequence[str]) -> Mapping[str, Job]:
    """Submits units; UserError if they are refused."""

  def adopt(self, programs: Sequence[str]) -> Mapping[str, Job]:
    """The jobs of an earlier launch that have not ended."""

  def leave(self) -> str:
    """Called when the launch ends early; tells the user what becomes of the jobs."""


class Resources(NamedTuple):
  """What a unit may use; 0 and '' leave it to the cluster."""

  cpus: int = 0
  gpus: float = 0
  memory_gb: float = 0
  at_once: int = 0
  partition: str = ''
  sbatch: str = ''
  address: str = ''


def make(name: str, resources: Resources, order: child.Order) -> Executor:
  """The executor of a name.

  Raises:
    UserError: if its package is not installed, or its cluster is not there.
  """
  if name == 'slurm':
    from dlsteroids.cluster import slurm

    return slurm.Slurm(order, resources)
  if name == 'ray':
    from dlsteroids.cluster import ray_tasks

    return ray_tasks.Ray(order, resources)
  return Processes(order)


def need(name: str, extra: str) -> ModuleType:
  """An optional package; UserError with its install command if it is missing."""
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if error.name != name.partition('.')[0]:
      raise
    raise errors.UserError(
      f"--executor={extra} needs {name}: pip install 'dlsteroids[{extra}]'"
    ) from error


class Processes:
  """Units one after another on this machine, each in a process of its own."""

  at_once = 1
  poll = 0.2

  def __init__(self, order: child.Order):
    self.order = order
    self.running: list[ProcessJob] = []

  def submit(self, programs: Sequence[str]) -> dict[str, 'ProcessJob']:
    jobs = {program: ProcessJob(self.order, program) for program in programs}
    self.running = list(jobs.values())
    return jobs

  def adopt(self, programs: Sequence[str]) -> dict[str, 'ProcessJob']:
    return {}

  def leave(self) -> str:
    for job in self.running:
      if not job.ended():
        job.child.stop()
    return ''


class ProcessJob:
  """A worker on this machine."""

  def __init__(self, order: child.Order, program: str):
    self.child = child.Child(order, program, '')
    self.name = f'process {self.child.process.pid}'

  def ended(self) -> bool:
    return self.child.ended()

  def why(self) -> str:
    return self.child.why()
