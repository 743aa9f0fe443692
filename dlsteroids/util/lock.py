"""Locks of files and of workdirs, which end with the process however that ends."""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from dlsteroids.util import environment, errors

PATIENCE = 600.0  # seconds to wait for the process that writes a study's files


@contextlib.contextmanager
def hold(workdir: pathlib.Path, patience: float | None = None) -> Iterator[None]:
  """Locks a workdir for a moment, to write what belongs to all of its programs.

  Programs are trained without it, by leases. Not to be nested.

  Args:
    workdir: of the study; created if it does not exist.
    patience: seconds to wait for another process; `PATIENCE` if None.

  Raises:
    UserError: saying which process holds it, or that it cannot be written.
  """
  import filelock

  lock = filelock.FileLock(workdir / '.lock')
  holder = workdir / '.lock.json'
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock.acquire(timeout=PATIENCE if patience is None else patience)
    me = {'pid': os.getpid(), 'host': socket.gethostname(), 'since': environment.now()}
    holder.write_text(json.dumps(me), encoding='utf-8')
  except filelock.Timeout:
    raise errors.UserError(f'workdir {workdir} is held by {_owner(holder)}') from None
  except OSError as error:
    lock.release()
    raise errors.UserError(
      f'cannot write to workdir {workdir}: {error.strerror}'
    ) from error
  try:
    yield
  finally:
    lock.release()


def _owner(holder: pathlib.Path) -> str:
  """The process that wrote the file of a lock."""
  try:
    owner = json.loads(holder.read_text(encoding='utf-8'))
    return f'process {owner["pid"]} on {owner["host"]} since {owner["since"]}'
  except (OSError, ValueError, KeyError, TypeError):
    return 'another process'
