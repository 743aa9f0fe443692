"""Failures: why a program's runs did not end, a file each in `failures/`.

The process that holds a program's lease writes its file, any process reads it, and it
is removed as soon as the program is tried again.
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
  """Why runs of one program did not end.

  Attributes:
    runs: reasons by fingerprint.
    whole: why none of its other runs ended; '' if they did.
    host, time: where and when.
  """

  runs: Mapping[str, str]
  whole: str
  host: str
  time: str


def write(
  workdir: pathlib.Path, program: str, runs: Mapping[str, str], whole: str = ''
) -> None:
  """Records why runs of a program, or all of them, failed."""
  failure = Failure(dict(runs), whole, socket.gethostname(), environment.now())
  results.write_json(workdir / FOLDER / f'{program}.json', failure._asdict())


def forget(workdir: pathlib.Path, program: str) -> None:
  """Removes a program's record: it is tried again, or done."""
  (workdir / FOLDER / f'{program}.json').unlink(missing_ok=True)


def read(workdir: pathlib.Path) -> dict[str, Failure]:
  """Failures by program."""
  by_program = {}
  for path in sorted((workdir / FOLDER).glob('[!.]*.json')):
    # Another process may remove it meanwhile.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
      record = results.read_json(path)
      failure = Failure(**{name: record[name] for name in Failure._fields})
      by_program[path.stem] = failure
  return by_program


def reasons(
  workdir: pathlib.Path, planned: Mapping[str, str], done: Mapping[str, Any]
) -> dict[str, str]:
  """Reasons by fingerprint, of planned runs (their programs) that have not ended."""
  by_program = read(workdir)
  by_run = {}
  for run, program in planned.items():
    if program in by_program and run not in done:
      failure = by_program[program]
      reason = failure.runs.get(run) or failure.whole
      if reason:
        by_run[run] = reason
  return by_run
