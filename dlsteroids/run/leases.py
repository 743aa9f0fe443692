"""Leases: which process trains a program. One file each in `leases/`, on a shared disk.

Our own, since locks do not work across the nodes of every cluster's file system.
Creating the file with O_EXCL decides, on NFS too. A live holder sends heartbeats: every
few seconds it writes its progress into the file that it opened, never into one opened
by name, so no heartbeat undoes a takeover. The lease of a holder that died on this
machine, or sent no heartbeat for `engine.lease_seconds` on another, is taken over by
the process that creates the mark named after it. Runs are content-addressed: a holder
that was suspended too long stops at its next step, and no result is harmed.
"""

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from dlsteroids.util import environment, errors

FOLDER = 'leases'
CLOCK = '.clock'  # its time stamp tells the disk's time
SIZE = 2048  # bytes a lease is padded to: half a page, so it is written atomically
BEATS = 12  # heartbeats in the time after which a holder counts as lost


class Lost(Exception):
  """Another process has taken the lease over, as this one seemed dead."""


class Holder(NamedTuple):
  """The process that holds a lease, and its progress.

  Attributes:
    program: what it trains.
    token: identifies this lease; '' while it is being written.
    host, pid, space, started: of the process; a pid is unique within a `space`, and
      `started` tells a process from a later one with the same pid.
    since: when it took the lease.
    job: the executor's name for it, such as 'slurm 7_1'; '' if none started it.
    facts: its progress at the last heartbeat.
    age: seconds since the last heartbeat.
  """

  program: str
  token: str = ''
  host: str = '?'
  pid: int = 0
  space: str = ''
  started: str = ''
  since: str = ''
  job: str = ''
  facts: Mapping[str, Any] = {}
  age: float = 0.0

  def __str__(self) -> str:
    job = f' ({self.job})' if self.job else ''
    return f'process {self.pid} on {self.host}{job} since {self.since}'

  def died(self) -> bool:
    """Whether it ran on this machine and has ended; False if that can't be known."""
    local = bool(self.space) and self.space == space()
    return local and start_of(self.pid) != self.started

  def lost(self, seconds: float) -> bool:
    """Whether it died, or sent no heartbeat for `seconds`."""
    return self.age > seconds or self.died()


class Lease:
  """A lease that this process holds, as a context; a thread sends the heartbeats."""

  def __init__(self, path: pathlib.Path, handle: int, holder: Holder, seconds: float):
    self.path, self.handle, self.holder = path, handle, holder
    self.facts: dict[str, Any] = dict(holder.facts)
    self.lost = threading.Event()
    self.released = threading.Event()
    self.every = seconds / BEATS
    self.thread = threading.Thread(target=self._beat, daemon=True)

  def __enter__(self) -> 'Lease':
    self.thread.start()
    return self

  def __exit__(self, *error: Any) -> None:
    self.released.set()
    self.thread.join()
    if self._is_own():
      _sweep(self.path, self.holder.program)
      self.path.unlink(missing_ok=True)
    os.close(self.handle)

  def update(self, **facts: Any) -> None:
    """Sets progress that the next heartbeat publishes."""
    self.facts.update(facts)

  def check(self) -> None:
    """Raises Lost if another process has taken over."""
    if self.lost.is_set():
      raise Lost('another process has taken over what this one trained')

  def _beat(self) -> None:
    while not self.released.wait(self.every):
      with contextlib.suppress(OSError):  # a disk may be unavailable for a while
        if not self._is_own():
          self.lost.set()
          return
        write(self.handle, self.holder._replace(facts=dict(self.facts)))

  def _is_own(self) -> bool:
    holder = read_one(self.path)
    return holder is not None and holder.token == self.holder.token


def take(
  workdir: pathlib.Path,
  program: str,
  seconds: float,
  facts: Mapping[str, Any] | None = None,
) -> Lease | None:
  """The lease on a program, to be entered; None while another process holds it.

  Args:
    workdir: of the study.
    program: its id.
    seconds: without a heartbeat after which a holder on another machine counts as lost.
    facts: its first progress.

  Raises:
    UserError: if leases can't be written.
  """
  path = workdir / FOLDER / f'{program}.json'
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = _create(path, path, program, seconds, facts or {})
    holder = None if lease else read_one(path)
    if holder:
      age = _disk_time(path.parent) - _written(path)
      if holder._replace(age=age).lost(seconds):
        lease = _take_over(path, holder, seconds, facts or {})
    return lease
  except FileNotFoundError:  # released meanwhile
    return None
  except OSError as error:
    raise errors.UserError(
      f'cannot write to workdir {workdir}: {error.strerror}'
    ) from error


def _create(
  path: pathlib.Path,
  final: pathlib.Path,
  program: str,
  seconds: float,
  facts: Mapping[str, Any],
) -> Lease | None:
  """A lease in a new file, renamed to `final` later; None if the file exists."""
  try:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
  except FileExistsError:
    return None
  holder = Holder(
    program=program,
    token=uuid.uuid4().hex[:16],
    host=socket.gethostname(),
    pid=os.getpid(),
    space=space(),
    started=start_of(os.getpid()),
    since=environment.now(),
    job=os.environ.get('DLSTEROIDS_JOB', ''),
    facts=facts,
  )
  try:
    write(handle, holder)
  except OSError:
    os.close(handle)
    path.unlink(missing_ok=True)
    raise
  return Lease(final, handle, holder, seconds)


def _take_over(
  path: pathlib.Path, dead: Holder, seconds: float, facts: Mapping[str, Any]
) -> Lease | None:
  """Takes over the lease of a dead holder, unless another process does.

  Only the process that created the mark with the dead lease's token may replace the
  lease, and only while it still has that token: exactly one process gets it.
  """
  mark = path.with_name(f'.{dead.program}-{dead.token or "new"}.mark')
  try:
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
  except FileExistsError:
    with contextlib.suppress(FileNotFoundError):  # its creator may have died meanwhile
      if _disk_time(path.parent) - _written(mark) > seconds:
        mark.unlink()
    return None
  try:
    holder = read_one(path)
    if holder is None or holder.token != dead.token:
      return None
    fresh = path.with_name(f'.{dead.program}-{uuid.uuid4().hex[:16]}.new')
    lease = _create(fresh, path, dead.program, seconds, facts)
    os.replace(fresh, path)
    return lease
  finally:
    mark.unlink(missing_ok=True)


def read(workdir: pathlib.Path) -> dict[str, Holder]:
  """The holder of every lease in a workdir by program, dead ones too; read-only."""
  holders = {}
  for path in sorted((workdir / FOLDER).glob('[!.]*.json')):
    holder = read_one(path)
    if holder is not None:
      with contextlib.suppress(FileNotFoundError):
        age = max(0.0, time.time() - _written(path))
        holders[path.stem] = holder._replace(age=age)
  return holders


def clear(workdir: pathlib.Path, seconds: float) -> None:
  """Removes the leases of processes that died after their last result."""
  for program, holder in read(workdir).items():
    if holder.lost(seconds):
      with contextlib.suppress(errors.UserError):  # the workdir may be read-only
        if lease := take(workdir, program, seconds):
          with lease:
            pass


def live(workdir: pathlib.Path, seconds: float) -> dict[str, Holder]:
  """The holders of leases that are not lost, by program."""
  return {name: h for name, h in read(workdir).items() if not h.lost(seconds)}


def read_one(path: pathlib.Path) -> Holder | None:
  """The holder in a lease's file, its age unknown; None if there is no such file."""
  for _ in range(3):  # a heartbeat may be half written
    try:
      tree = json.loads(path.read_text(encoding='utf-8'))
      return Holder(**{name: tree[name] for name in Holder._fields if name in tree})
    except FileNotFoundError:
      return None
    except (ValueError, TypeError, KeyError):
      time.sleep(0.002)
  return Holder(path.stem)


def write(handle: int, holder: Holder) -> None:
  text = json.dumps({k: v for k, v in holder._asdict().items() if k != 'age'})
  os.pwrite(handle, text.ljust(SIZE).encode(), 0)


def _written(path: pathlib.Path) -> float:
  return path.stat().st_mtime


def _disk_time(folder: pathlib.Path) -> float:
  """The time by the disk's clock, which stamps the heartbeats of all machines."""
  path = folder / CLOCK
  with path.open('wb') as file:
    file.write(b'x')
    file.flush()
    time_stamp = os.fstat(file.fileno()).st_mtime
  path.unlink(missing_ok=True)  # other processes that use it hold it open
  return time_stamp


def _sweep(path: pathlib.Path, program: str) -> None:
  """Removes the files of processes that died while they took this lease."""
  for left in (path.with_name(CLOCK), *path.parent.glob(f'.{program}-*')):
    with contextlib.suppress(OSError):  # harmless if it stays
      if _written(left) < _written(path):  # a younger file may be of a live process
        left.unlink()


def space() -> str:
  """Where this process' pid is unique: boot and pid namespace; '' if unknown."""
  try:
    boot = (
      pathlib.Path('/proc/sys/kernel/random/boot_id')
      .read_text(encoding='utf-8')
      .strip()
    )
    return f'{boot} {os.readlink("/proc/self/ns/pid")}'
  except OSError:
    return ''


def start_of(pid: int) -> str:
  """When a process of this space started, in the kernel's ticks; '' if it has ended."""
  try:
    fields = (
      pathlib.Path(f'/proc/{pid}/stat')
      .read_text(encoding='utf-8')
      .rpartition(')')[2]
      .split()
    )
  except OSError:
    return ''
  state, threads, start = fields[0], int(fields[17]), fields[19]
  dead = state in 'ZX' and threads < 2  # a zombie without live threads
  return '' if dead else start
