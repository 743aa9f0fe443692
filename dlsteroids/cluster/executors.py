"""Executors: where units are trained. Their flags, and what each of them offers.

    local  in this process; with --unit_minutes each unit in one of its own
    slurm  jobs of an array, through submitit
    ray    tasks of a Ray cluster

To add one: a module with a class like `Executor`, a name in `NAMES`, a line in `make`.
"""

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from absl import flags

from dlsteroids.cluster import child
from dlsteroids.util import errors

NAMES = ('local', 'slurm', 'ray')
USED = {  # by whom each flag is
  'unit_minutes': NAMES,
  'at_once': ('slurm', 'ray'),
  'cpus': ('slurm', 'ray'),
  'gpus': ('slurm', 'ray'),
  'memory_gb': ('slurm', 'ray'),
  'partition': ('slurm',),
  'sbatch': ('slurm',),
  'address': ('ray',),
}
OWN = ('executor', *USED)


class Job(Protocol):
  """A unit that was handed over."""

  name: str  # as users know it, 'slurm 7_1'

  def ended(self) -> bool:
    """Whether it runs no more and will not by itself."""

  def why(self) -> str:
    """Why it ended before its work did; '' if its worker went by itself."""


class Executor(Protocol):
  """Runs units: each the command of its worker, which does the rest.

  Attributes:
    at_once: units in its hands at a time; 0: any number.
    poll: seconds between two looks at its jobs.
  """

  at_once: int
  poll: float

  def submit(self, programs: Sequence[str]) -> Mapping[str, Job]:
    """Hands units over; UserError if they are refused."""

  def adopt(self, programs: Sequence[str]) -> Mapping[str, Job]:
    """The jobs of an earlier launch that are still there."""

  def leave(self) -> str:
    """The launch ends early: what becomes of the jobs, for the user."""


class Resources(NamedTuple):
  """What a unit is given; 0 and '' leave it to the cluster."""

  cpus: int = 0
  gpus: float = 0
  memory_gb: float = 0
  at_once: int = 0
  partition: str = ''
  sbatch: str = ''
  address: str = ''


def define(values: flags.FlagValues) -> None:
  """Defines the flags that say where units are trained."""
  flags.DEFINE_enum(
    'executor', 'local', NAMES, 'where programs are trained', flag_values=values
  )
  flags.DEFINE_float(
    'unit_minutes', 0.0, 'time limit of a program; 0: none', 0.0, flag_values=values
  )
  for name, text in (
    ('cpus', 'cores of a unit; 0: as the cluster says; ray: a whole node'),
    ('at_once', 'units handed over at a time; 0: all'),
  ):
    flags.DEFINE_integer(name, 0, text, 0, flag_values=values)
  for name, text in (
    ('gpus', 'GPUs of a unit'),
    ('memory_gb', 'memory of a unit; 0: as the cluster says'),
  ):
    flags.DEFINE_float(name, 0.0, text, 0.0, flag_values=values)
  for name, text in (
    ('partition', 'for slurm'),
    ('sbatch', "for slurm: more options of sbatch, as 'account=me,qos=low'"),
    ('address', 'for ray: of the cluster; default: the one of this machine'),
  ):
    flags.DEFINE_string(name, '', text, flag_values=values)


def check(values: flags.FlagValues) -> None:
  """Raises UserError for a flag of executors where it does nothing."""
  for name in OWN:
    if values[name].present and values.action != 'run':
      raise errors.UserError(f'--{name} goes with --action=run')
  if values.distributed and (values.executor != 'local' or values.unit_minutes):
    raise errors.UserError('--distributed goes with neither executors nor limits')
  for name, users in USED.items():
    if values[name].present and values.executor not in users:
      names = ' or '.join(f'--executor={user}' for user in users)
      raise errors.UserError(f'--{name} goes with {names}')


def make(values: flags.FlagValues, order: child.Order) -> Executor:
  """The executor that flags ask for.

  Raises:
    UserError: if its package is not installed, or its cluster not there.
  """
  options: dict[str, Any] = {name: values[name].value for name in Resources._fields}
  resources = Resources(**options)
  if values.executor == 'slurm':
    from dlsteroids.cluster import slurm

    return slurm.Slurm(order, resources)
  if values.executor == 'ray':
    from dlsteroids.cluster import ray_tasks

    return ray_tasks.Ray(order, resources)
  return Processes(order)


def need(name: str, extra: str) -> ModuleType:
  """An optional package; UserError saying how to install it if it is not there."""
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
