"""Workers as child processes, which is how every executor runs a unit.

A process that hangs in compiled code answers no exception; one of its own can be told
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

GRACE = 30.0  # seconds that a worker has to save a checkpoint and go
PASSED = ('DLSTEROIDS_', 'JAX_', 'XLA_', 'TF_')  # variables that go with a worker
PARENT = 'DLSTEROIDS_PARENT'  # pid of the process with which a worker ends
JOB = 'DLSTEROIDS_JOB'  # what the executor calls it


class Order(NamedTuple):
  """How a worker is called, on whatever machine.

  Attributes:
    words: of the command, without what names the program.
    folder: in which.
    environment: variables it needs.
    workdir: of the study.
    minutes: after which it is stopped; 0: never.
  """

  words: tuple[str, ...]
  folder: str
  environment: Mapping[str, str]
  workdir: pathlib.Path
  minutes: float = 0.0

  def log(self, program: str) -> pathlib.Path:
    """Where a program's workers say what they do."""
    return log_of(self.workdir, program)


def order(words: Sequence[str], workdir: pathlib.Path, minutes: float) -> Order:
  """An order for workers of the launch that was called with `words`."""
  root = str(pathlib.Path(__file__).resolve().parents[2])
  paths = [root, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
  environment = {k: v for k, v in os.environ.items() if k.startswith(PASSED)}
  environment['PYTHONPATH'] = os.pathsep.join(dict.fromkeys(paths))
  where = (f'--workdir={workdir.absolute()}', '--action=work')
  return Order(
    (sys.executable, '-m', 'experiments.launch', *words, *where),
    os.getcwd(),
    environment,
    workdir.absolute(),
    minutes,
  )


class Child:
  """One worker, from its start to its end."""

  def __init__(self, asked: Order, program: str, job: str, tied: bool = True):
    """Starts the worker.

    Args:
      asked: how.
      program: its program.
      job: what the executor calls it; the lease says so.
      tied: whether it ends with this process.
    """
    self.order, self.program = asked, program
    log = asked.log(program)
    log.parent.mkdir(parents=True, exist_ok=True)
    more = {JOB: job, **({PARENT: str(os.getpid())} if tied else {})}
    self.start = time.monotonic()
    self.over = ''
    with open(log, 'ab') as file:
      self.process = subprocess.Popen(
        [*asked.words, f'--programs={program}'],
        cwd=asked.folder,
        env={**os.environ, **asked.environment, **more},
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
      self.over = f'no end within {minutes:g} minutes'
      self.stop()
      return True
    return False

  def stop(self, grace: float = GRACE) -> None:
    """Asks it to go, and kills it if it does not."""
    self.process.terminate()
    try:
      self.process.wait(grace)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()

  def why(self) -> str:
    """Why it ended before its work did; '' if it ended by itself."""
    code = self.process.returncode
    if self.over:
      return self.over
    if code in (0, 1, 2):
      return ''
    how = f'killed by {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
    line = last_line(self.order.log(self.program))
    return f'{how}; last said: {line}' if line else how


def log_of(workdir: pathlib.Path, program: str) -> pathlib.Path:
  return workdir / 'logs' / f'{program}.log'


def parting(workdir: pathlib.Path, program: str) -> str:
  """What is known of a program's worker that ended by itself, its work undone."""
  line = last_line(log_of(workdir, program))
  return f'its worker left; last said: {line}' if line else 'its worker left silently'


def last_line(log: pathlib.Path) -> str:
  """The last thing a log says; '' if nothing."""
  try:
    with open(log, 'rb') as file:
      file.seek(max(0, log.stat().st_size - 4096))
      lines = file.read().decode(errors='replace').split('\n')
  except OSError:
    return ''
  return next((line.strip() for line in reversed(lines) if line.strip()), '')


def follow_parent() -> None:
  """Asks this process to stop as soon as the one it is tied to is gone."""
  parent = int(os.environ.get(PARENT, '0'))

  def look() -> None:
    while os.getppid() == parent:
      time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

  if parent:
    threading.Thread(target=look, daemon=True).start()
