"""Live progress: a rich display on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, TextIO

from dlsteroids.run import local

EVERY = 10.0  # seconds between plain lines


class Progress:
  """A context whose `watch` follows an execution and whose `say` prints above it."""

  def __init__(self, metric: str = '', stream: TextIO | None = None):
    self.metric = metric
    self.stream = stream or sys.stderr
    self.start: float | None = None
    self.first = self.total = self.last = 0.0
    self.told = ''
    self.bar: Any = None
    self.task: Any = None

  def __enter__(self) -> 'Progress':
    if self.stream.isatty():
      from rich import console, progress

      self.bar = progress.Progress(
        progress.TextColumn('{task.description}'),
        progress.BarColumn(),
        progress.TextColumn('{task.fields[facts]}'),
        console=console.Console(file=self.stream),
        transient=True,
      )
      self.bar.start()
      self.task = self.bar.add_task('compiling', total=None, facts='')
    return self

  def __exit__(self, *error: Any) -> None:
    if self.bar:
      self.bar.stop()

  def say(self, line: str) -> None:
    """Prints a line that stays."""
    if self.bar:
      self.bar.console.print(line, markup=False, highlight=False)
    else:
      print(line, file=self.stream, flush=True)

  def watch(self, status: local.Status) -> None:
    """Shows where the execution stands."""
    now = time.monotonic()
    done = status.done_steps + status.progress.step * status.members
    if self.start is None or status.total_steps != self.total:  # the search is over
      self.start, self.first, self.total = now, done, status.total_steps
    share = (done - self.first) / max(status.total_steps - self.first, 1)
    spent = now - self.start
    eta = spent * (1 - share) / share if share > 0.01 else None
    if self.bar:
      self.bar.update(
        self.task,
        description=self.describe(status),
        completed=done,
        total=status.total_steps,
        facts=self.facts(status, eta),
      )
    elif now - self.last > EVERY:
      self.last = now
      percent = 100 * done / max(status.total_steps, 1)
      print(
        f'{percent:3.0f} %  {self.describe(status)}  {self.facts(status, eta)}',
        file=self.stream,
        flush=True,
      )

  def follow(self, done: int, total: int, facts: str) -> None:
    """Shows how far a study is that other processes train."""
    now = time.monotonic()
    if self.bar:
      self.bar.update(
        self.task, description='runs', completed=done, total=total, facts=facts
      )
    elif now - self.last > EVERY and facts != self.told:
      self.last, self.told = now, facts
      print(
        f'{100 * done / max(total, 1):3.0f} %  {facts}', file=self.stream, flush=True
      )

  def describe(self, status: local.Status) -> str:
    arms = ', '.join(status.arms[:3]) + (' …' if len(status.arms) > 3 else '')
    where = f'batch {status.batch}/{status.batches}  program {status.program[:6]}'
    return f'{where}  {status.members} × {arms}'

  def facts(self, status: local.Status, eta: float | None) -> str:
    progress = status.progress
    parts = [
      f'step {progress.step}/{progress.steps}',
      f'{status.images_per_second:,.0f} examples/s',
    ]
    if progress.value == progress.value:
      parts.append(f'validation {self.metric} {progress.value:.4f}')
    if progress.stalled == progress.stalled:
      parts.append(f'waiting for input {progress.stalled:.0%}')
    if eta == 0.0:
      parts.append('then the report')
    elif eta is not None:
      parts.append(f'{clock(eta)} left')
    return '  '.join(parts)


def clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
