"""Leases: who trains a program. A file each in `leases/`, on a disk that all share.

Creating the file with O_EXCL decides, on NFS too. While a holder lives it beats: every
few seconds it writes where it stands into the file that it opened, never into one found
by name, so no beat undoes a takeover. A lease without a holder, which died on this
machine or has not beaten for `engine.lease_seconds` on any other, is taken over by who
creates the mark named after it. Runs are content-addressed: a holder that sleeps too
long and wakes beside its successor stops at the next step, and no number is harmed.
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
CLOCK = '.clock'  # written to see what time the disk has
SIZE = 2048  # bytes a lease is padded to: half a page, which is written at once
BEATS = 12  # in the time after which a holder is taken for lost


class Lost(Exception):
  """Another process took the lease over: this one seemed dead."""


class Holder(NamedTuple):
  """Who holds a lease, and how far it is.

  Attributes:
    program: what it trains.
    token: names this lease; '' while it is being written.
    host, pid, space, started: of the process; pids count within a `space`, and
      `started` tells a process from a later one of the same number.
    since: when it took the lease.
    job: what an executor calls it, as 'slurm 7_1'; '' if none started it.
    facts: what the holder told last.
    age: seconds since the last beat.
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
    """Whether it ran on this machine and is no more; False if that can't be known."""
    mine = bool(self.space) and self.space == space()
    return mine and start_of(self.pid) != self.started

  def lost(self, seconds: float) -> bool:
    """Whether it died, or gave no sign of life for so long."""
    return self.age > seconds or self.died()


class Lease:
  """A lease that this process holds, as a context; a thread beats for it."""

  def __init__(self, path: pathlib.Path, handle: int, holder: Holder, seconds: float):
    self.path, self.handle, self.holder = path, handle, holder
    self.facts: dict[str, Any] = dict(holder.facts)
    self.taken = threading.Event()
    self.over = threading.Event()
    self.every = seconds / BEATS
    self.thread = threading.Thread(target=self.live, daemon=True)

  def __enter__(self) -> 'Lease':
    self.thread.start()
    return self

  def __exit__(self, *error: Any) -> None:
    self.over.set()
    self.thread.join()
    if self.mine():
      sweep(self.path, self.holder.program)
      self.path.unlink(missing_ok=True)
    os.close(self.handle)

  def tell(self, **facts: Any) -> None:
    """What others read with the next beat."""
    self.facts.update(facts)

  def check(self) -> None:
    """Raises Lost if another process has taken over."""
    if self.taken.is_set():
      raise Lost(f'program {self.holder.program}: another process has taken over')

  def live(self) -> None:
    while not self.over.wait(self.every):
      with contextlib.suppress(OSError):  # a disk may be away for a while
        if not self.mine():
          self.taken.set()
          return
        write(self.handle, self.holder._replace(facts=dict(self.facts)))

  def mine(self) -> bool:
    found = read_one(self.path)
    return found is not None and found.token == self.holder.token


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
    seconds: without a beat after which a holder on another machine is taken for lost.
    facts: what the lease says first.

  Raises:
    UserError: if leases can't be written.
  """
  path = workdir / FOLDER / f'{program}.json'
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = create(path, path, program, seconds, facts or {})
    held = None if lease else read_one(path)
    if held and held._replace(age=now(path.parent) - written(path)).lost(seconds):
      lease = inherit(path, held, seconds, facts or {})
    return lease
  except FileNotFoundError:  # given back while it was looked at
    return None
  except OSError as error:
    raise errors.UserError(
      f'cannot write to workdir {workdir}: {error.strerror}'
    ) from error


def create(
  path: pathlib.Path,
  final: pathlib.Path,
  program: str,
  seconds: float,
  facts: Mapping[str, Any],
) -> Lease | None:
  """A lease written to a new file, None if there is one; `final` is its name later."""
  try:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
  except FileExistsError:
    return None
  me = Holder(
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
    write(handle, me)
  except OSError:
    os.close(handle)
    path.unlink(missing_ok=True)
    raise
  return Lease(final, handle, me, seconds)


def inherit(
  path: pathlib.Path, dead: Holder, seconds: float, facts: Mapping[str, Any]
) -> Lease | None:
  """Takes over the lease of a dead holder, unless another process does.

  Only who made the mark that bears the dead lease's token may replace it, and only
  while it is still there: of all that saw it dead, one gets it.
  """
  mark = path.with_name(f'.{dead.program}-{dead.token or "new"}.mark')
  try:
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
  except FileExistsError:
    with contextlib.suppress(FileNotFoundError):  # its maker may have died over it
      if now(path.parent) - written(mark) > seconds:
        mark.unlink()
    return None
  try:
    found = read_one(path)
    if found is None or found.token != dead.token:
      return None
    fresh = path.with_name(f'.{dead.program}-{uuid.uuid4().hex[:16]}.new')
    lease = create(fresh, path, dead.program, seconds, facts)
    os.replace(fresh, path)
    return lease
  finally:
    mark.unlink(missing_ok=True)


def read(workdir: pathlib.Path) -> dict[str, Holder]:
  """Every lease in a workdir by program, dead ones too; changes nothing there."""
  found = {}
  for path in sorted((workdir / FOLDER).glob('[!.]*.json')):
    holder = read_one(path)
    if holder is not None:
      with contextlib.suppress(FileNotFoundError):
        age = max(0.0, time.time() - written(path))
        found[path.stem] = holder._replace(age=age)
  return found


def clear(workdir: pathlib.Path, seconds: float) -> None:
  """Gives back what processes held that died after the last of their results."""
  for program, holder in read(workdir).items():
    if holder.lost(seconds):
      with contextlib.suppress(errors.UserError):  # a workdir that is only read
        if lease := take(workdir, program, seconds):
          with lease:
            pass


def live(workdir: pathlib.Path, seconds: float) -> dict[str, Holder]:
  """The leases that are held."""
  return {name: h for name, h in read(workdir).items() if not h.lost(seconds)}


def read_one(path: pathlib.Path) -> Holder | None:
  """Who holds a lease, of unknown age; None if there is no such file."""
  for _ in range(3):  # a beat may be half written
    try:
      told = json.loads(path.read_text(encoding='utf-8'))
      return Holder(**{name: told[name] for name in Holder._fields if name in told})
    except FileNotFoundError:
      return None
    except (ValueError, TypeError, KeyError):
      time.sleep(0.002)
  return Holder(path.stem)


def write(handle: int, holder: Holder) -> None:
  text = json.dumps({k: v for k, v in holder._asdict().items() if k != 'age'})
  os.pwrite(handle, text.ljust(SIZE).encode(), 0)


def written(path: pathlib.Path) -> float:
  return path.stat().st_mtime


def now(folder: pathlib.Path) -> float:
  """The time by the clock of the disk, which stamps the beats of all machines."""
  path = folder / CLOCK
  with path.open('wb') as file:
    file.write(b'x')
    file.flush()
    found = os.fstat(file.fileno()).st_mtime
  path.unlink(missing_ok=True)  # if others are reading it, they hold it open
  return found


def sweep(path: pathlib.Path, program: str) -> None:
  """Removes what processes left that died while they took this lease, or at a clock."""
  for left in (path.with_name(CLOCK), *path.parent.glob(f'.{program}-*')):
    with contextlib.suppress(OSError):  # it harms nobody
      if written(left) < written(path):  # what is younger may be of the living
        left.unlink()


def space() -> str:
  """Names where this process' pids count: boot and pid namespace; '' if unknown."""
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
  """When a process of this space started, in the kernel's ticks; '' if it is gone."""
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
  dead = state in 'ZX' and threads < 2  # not yet waited for, but nothing of it acts
  return '' if dead else start
