"""Failures: why a program's runs did not end, a file each in `failures/`.

They are written by who holds the program's lease, read by anyone, and gone as soon as
the program is tried again.
"""

import contextlib
import pathlib
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from dlsteroids.store import results
from dlsteroids.util import environment

FOLDER = 'failures'


class Failure(NamedTuple):
  """What failed of one program.

  Attributes:
    runs: reasons by fingerprint.
    whole: why all its other runs did not end; '' if they did.
    host, time: where and when.
  """

  runs: Mapping[str, str]
  whole: str
  host: str
  time: str


def write(
  workdir: pathlib.Path, program: str, runs: Mapping[str, str], whole: str = ''
) -> None:
  """Says why runs, or all of a program, failed."""
  told = Failure(dict(runs), whole, socket.gethostname(), environment.now())
  results.write_json(workdir / FOLDER / f'{program}.json', told._asdict())


def forget(workdir: pathlib.Path, program: str) -> None:
  """Drops what was said: the program is tried again, or done."""
  (workdir / FOLDER / f'{program}.json').unlink(missing_ok=True)


def read(workdir: pathlib.Path) -> dict[str, Failure]:
  """By program."""
  found = {}
  for path in sorted((workdir / FOLDER).glob('[!.]*.json')):
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # just dropped
      told = results.read_json(path)
      found[path.stem] = Failure(**{name: told[name] for name in Failure._fields})
  return found


def reasons(
  workdir: pathlib.Path, planned: Mapping[str, str], done: Mapping[str, Any]
) -> dict[str, str]:
  """Reasons by fingerprint, of planned runs (their programs) that have not ended."""
  known = read(workdir)
  found = {}
  for run, program in planned.items():
    if program in known and run not in done:
      why = known[program].runs.get(run) or known[program].whole
      if why:
        found[run] = why
  return found
