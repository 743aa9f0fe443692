"""Live progress: a bar on a terminal or in a notebook, plain lines elsewhere."""

import html
import sys
import time
from typing import Any, Protocol, TextIO

from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import local

EVERY = 10.0  # seconds between plain lines
PLANNED = 0.05  # share of the steps from which the time left follows the pace so far


class Screen(Protocol):
  """Where progress is shown."""

  def show(self, title: str, done: float, total: float | None, facts: str) -> None:
    """Shows `done` of `total`, None if it is not known how much there is."""

  def say(self, line: str) -> None:
    """Prints a line that stays."""

  def close(self) -> None:
    """Removes what does not stay."""


class Progress:
  """A context whose `watch` shows the training and whose `say` prints above it."""

  def __init__(self, metric: str = '', stream: TextIO | None = None):
    self.metric = metric
    self.stream = stream or sys.stderr
    self.start = self.first = self.total = 0.0
    self.screen: Screen = Lines(self.stream)

  def __enter__(self) -> 'Progress':
    if _in_notebook():
      self.screen = Notebook()
    elif self.stream.isatty():
      self.screen = Terminal(self.stream)
    self.screen.show('planning', 0, None, '')
    return self

  def __exit__(self, *error: Any) -> None:
    self.screen.close()

  def say(self, line: str) -> None:
    """Prints a line that stays."""
    self.screen.say(line)

  def watch(self, status: local.Status | compiler_lib.Compiling) -> None:
    """Shows how far the training is, or which program is being compiled."""
    if isinstance(status, compiler_lib.Compiling):
      self.screen.show(f'compiling {status.number}/{status.total}', 0, None, '')
      return
    now = time.monotonic()
    done = status.done_steps + status.progress.step * status.members
    if status.total_steps != self.total:  # the first status, or the search has ended
      self.start, self.first, self.total = now, done, status.total_steps
    self.screen.show(
      describe(status),
      done,
      status.total_steps,
      self._facts(status, self._time_left(status, done, now)),
    )

  def follow(self, done: int, total: int, facts: str) -> None:
    """Shows how far a study is that other processes train."""
    self.screen.show('study', done, total, facts)

  def _time_left(self, status: local.Status, done: float, now: float) -> float | None:
    """Seconds: by the pace so far, at first by the rate of the batch."""
    share = (done - self.first) / max(status.total_steps - self.first, 1)
    if share >= PLANNED:
      return (now - self.start) * (1 - share) / share
    rate = status.progress.steps_per_second * status.members
    return (status.total_steps - done) / rate if rate > 0 else None

  def _facts(self, status: local.Status, time_left: float | None) -> str:
    """What follows the bar, the most important first."""
    progress, parts = status.progress, []
    if progress.value == progress.value:
      parts.append(f'{self.metric} {progress.value:.4g}')
    if time_left is not None:
      parts.append(f'{clock(time_left)} left' if time_left else 'then the report')
    parts.append(f'step {progress.step}/{progress.steps}')
    if progress.stalled == progress.stalled and progress.stalled >= 0.01:
      parts.append(f'input-bound {progress.stalled:.0%}')
    parts.append(f'{status.examples_per_second:,.0f} examples/s')
    return '  '.join(parts)


def describe(status: local.Status) -> str:
  """'training 16 runs: baseline, dropout=0.0'."""
  arms = ', '.join(status.arms[:3]) + (' …' if len(status.arms) > 3 else '')
  runs = 'run' if status.members == 1 else 'runs'
  return f'training {status.members} {runs}: {arms}'


def clock(seconds: float) -> str:
  """'1:02:03', without hours '2:03'."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


class Lines:
  """Plain lines, one every few seconds and for each new title."""

  def __init__(self, stream: TextIO):
    self.stream = stream
    self.last = 0.0
    self.title = self.line = ''

  def show(self, title: str, done: float, total: float | None, facts: str) -> None:
    now = time.monotonic()
    share = '      ' if total is None else f'{100 * done / max(total, 1):3.0f} % '
    line = f'{share} {title}  {facts}'.rstrip()
    due = now - self.last > EVERY or (total is None and title != self.title)
    if due and line != self.line and title != 'planning':
      self.last, self.title, self.line = now, title, line
      self.say(line)

  def say(self, line: str) -> None:
    print(line, file=self.stream, flush=True)

  def close(self) -> None:
    """Nothing to remove."""


class Terminal:
  """A bar by rich, with the seconds since its title changed where no end is known."""

  def __init__(self, stream: TextIO):
    from rich import console, markup, progress, table, text

    class Facts(progress.ProgressColumn):
      max_refresh = None

      def render(self, task: Any) -> Any:
        since = time.monotonic() - task.fields['since']
        elapsed = f'{since:.0f} s' if task.total is None else ''
        return text.Text(task.fields['facts'] or elapsed)

    one_line: dict[str, Any] = {'no_wrap': True, 'overflow': 'ellipsis'}
    self.bar = progress.Progress(
      progress.TextColumn(
        '{task.description}', table_column=table.Column(ratio=1, **one_line)
      ),
      progress.BarColumn(bar_width=10),
      Facts(table_column=table.Column(ratio=2, **one_line)),
      console=console.Console(file=stream),
      transient=True,
      expand=True,
    )
    self.escape = markup.escape
    self.bar.start()
    self.title = ''
    self.task = self.bar.add_task('', total=None, facts='', since=time.monotonic())

  def show(self, title: str, done: float, total: float | None, facts: str) -> None:
    changes: dict[str, Any] = {'completed': done, 'total': total, 'facts': facts}
    if title != self.title:
      self.title = title
      changes |= {'description': self.escape(title), 'since': time.monotonic()}
    if total is None:  # `update` leaves a total of None as it was
      self.bar.reset(self.task, total=None)
    self.bar.update(self.task, **changes)

  def say(self, line: str) -> None:
    self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

  def close(self) -> None:
    self.bar.stop()


class Notebook:
  """A bar in the cell's output."""

  def __init__(self) -> None:
    from IPython import display

    self.html = display.HTML
    self.handle = display.display(self.html(''), display_id=True)

  def show(self, title: str, done: float, total: float | None, facts: str) -> None:
    value = '' if total is None else f' value="{done / max(total, 1):.4f}"'
    text = html.escape(f'{title}  {facts}')
    self.handle.update(self.html(f'<progress{value}></progress> {text}'))

  def say(self, line: str) -> None:
    print(line)

  def close(self) -> None:
    self.handle.update(self.html(''))


def _in_notebook() -> bool:
  """Whether this process is the kernel of a notebook."""
  ipython = sys.modules.get('IPython')
  shell = ipython.get_ipython() if ipython else None
  return type(shell).__name__ in ('ZMQInteractiveShell', 'Shell')  # Jupyter, Colab
