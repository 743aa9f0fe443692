"""Workers as child processes, which is how every executor runs a unit.

A process that hangs in compiled code answers no exception; a child process can be asked
to stop, and killed if it does not. Where nothing else ends it, it ends with its parent.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

GRACE = 30.0  # seconds that a worker has to save a checkpoint and exit
PASSED = ('DLSTEROIDS_', 'JAX_', 'XLA_', 'TF_')  # prefixes of variables workers inherit
PARENT = 'DLSTEROIDS_PARENT'  # pid of the process with which a worker ends
JOB = 'DLSTEROIDS_JOB'  # the executor's name for the job


class Order(NamedTuple):
  """How a worker is started, on whatever machine.

  Attributes:
    words: of its command, but for the program.
    folder: working directory.
    environment: variables it needs.
    workdir: of the study.
    minutes: after which it is stopped; 0: never.
  """

  words: tuple[str, ...]
  folder: str
  environment: Mapping[str, str]
  workdir: pathlib.Path
  minutes: float = 0.0


def order(words: Sequence[str], workdir: pathlib.Path, minutes: float) -> Order:
  """An order for the workers of a launch; `words` name its study."""
  root = str(pathlib.Path(__file__).resolve().parents[2])
  paths = [root, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
  environment = {k: v for k, v in os.environ.items() if k.startswith(PASSED)}
  environment['PYTHONPATH'] = os.pathsep.join(dict.fromkeys(paths))
  place = (f'--workdir={workdir.absolute()}', '--action=work')
  return Order(
    (sys.executable, '-m', 'dlsteroids', *words, *place),
    os.getcwd(),
    environment,
    workdir.absolute(),
    minutes,
  )


class Child:
  """One worker, from its start to its end."""

  def __init__(self, order: Order, program: str, job: str, tied: bool = True):
    """Starts the worker.

    Args:
      order: how.
      program: its program.
      job: the executor's name for it, which its lease shows.
      tied: whether it ends with this process.
    """
    self.order, self.program = order, program
    self.log = log_of(order.workdir, program)
    self.log.parent.mkdir(parents=True, exist_ok=True)
    more = {JOB: job, **({PARENT: str(os.getpid())} if tied else {})}
    self.start = time.monotonic()
    self.stopped = ''
    with open(self.log, 'ab') as file:
      self.process = subprocess.Popen(
        [*order.words, f'--programs={program}'],
        cwd=order.folder,
        env={**os.environ, **order.environment, **more},
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=file,
        start_new_session=tied,  # Ctrl-C is for the launcher; a cluster's job tracks it
      )

  def ended(self) -> bool:
    """Whether it has ended; stops it when its time is up."""
    if self.process.poll() is not None:
      return True
    minutes = self.order.minutes
    if minutes and time.monotonic() - self.start > 60 * minutes:
      self.stopped = f'no end within {minutes:g} minutes'
      self.stop()
      return True
    return False

  def stop(self, grace: float = GRACE) -> None:
    """Asks it to exit, and kills it if it does not."""
    self.process.terminate()
    try:
      self.process.wait(grace)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()

  def why(self) -> str:
    """Why it ended before its work was done; '' if it exited by itself."""
    code = self.process.returncode
    if self.stopped:
      return self.stopped
    if code in (0, 1, 2):
      return ''
    how = f'killed by {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
    line = last_line(self.log)
    return f'{how}; its last line: {line}' if line else how


def log_of(workdir: pathlib.Path, program: str) -> pathlib.Path:
  """Where a program's workers write their output."""
  return workdir / 'logs' / f'{program}.log'


def last_words(workdir: pathlib.Path, program: str) -> str:
  """The reason to report for a worker that exited by itself, its work undone."""
  line = last_line(log_of(workdir, program))
  return f'its worker exited; its last line: {line or "none"}'


def last_line(log: pathlib.Path) -> str:
  """The last line of a log; '' if there is none."""
  try:
    with open(log, 'rb') as file:
      file.seek(max(0, log.stat().st_size - 4096))
      lines = file.read().decode(errors='replace').split('\n')
  except OSError:
    return ''
  return next((line.strip() for line in reversed(lines) if line.strip()), '')


def follow_parent() -> None:
  """Ends this process, as SIGTERM does, as soon as the one it is tied to is gone."""
  parent = int(os.environ.get(PARENT, '0'))

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

  if parent:
    threading.Thread(target=watch, daemon=True).start()
