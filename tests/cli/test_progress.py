"""What a terminal, a notebook and a log show while a study trains."""

import io
import sys
import types

import pytest

from dlsteroids.cli import progress
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import local
from dlsteroids.train import loop


def status(step, steps=100, done=0.0, total=1600.0, value=0.9421, arms=('baseline',)):
  now = loop.Progress(step, steps, 8.0, value)
  return local.Status(arms, 16, now, 123456.7, done, total)


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def columns(monkeypatch):
  def set_columns(number):
    monkeypatch.setenv('COLUMNS', str(number))
    monkeypatch.setenv('TERM', 'xterm')

  return set_columns


@pytest.mark.parametrize('width', [60, 80, 120])
def test_the_score_and_the_time_left_are_never_cut(columns, width):
  columns(width)
  stream = Terminal()
  arms = ('baseline', 'activation=sigmoid', 'normalisation=none', 'pooling=stride')
  with progress.Progress('accuracy', stream) as shown:
    shown.watch(status(10, arms=arms))
    shown.screen.bar.refresh()
  text = stream.getvalue()
  assert 'accuracy 0.9421' in text
  assert '0:11 left' in text  # 1440 member-steps at 128 a second, from the start
  assert 'training 16' in text


def test_a_terminal_shows_what_is_compiled_and_since_when(columns, monkeypatch):
  columns(80)
  stream = Terminal()
  with progress.Progress('accuracy', stream) as shown:
    shown.watch(compiler_lib.Compiling(3, 11))
    now = progress.time.monotonic()
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now + 12)
    shown.screen.bar.refresh()
  text = stream.getvalue()
  assert 'compiling 3/11' in text
  assert '12 s' in text


def test_the_time_left_follows_the_pace_so_far(monkeypatch):
  stream = io.StringIO()
  shown = progress.Progress('accuracy', stream)
  clock = [0.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: clock[0])
  shown.watch(status(0))
  clock[0] = 30.0
  shown.watch(status(25))
  assert '1:30 left' in stream.getvalue().splitlines()[-1]  # a quarter took 30 s
  clock[0] = 60.0
  shown.watch(status(100))
  assert 'then the report' in stream.getvalue().splitlines()[-1]


def test_lines_name_arms_and_no_hashes():
  stream = io.StringIO()
  with progress.Progress('accuracy', stream) as shown:
    shown.watch(compiler_lib.Compiling(1, 2))
    shown.say('a line')
    shown.screen.last = -100.0
    shown.watch(status(50, value=float('nan')))
  first, line, last = stream.getvalue().splitlines()
  assert first.strip() == 'compiling 1/2'
  assert line == 'a line'
  assert last.startswith(' 50 %  training 16 runs: baseline  ')
  assert 'nan' not in last
  assert 'batch' not in last


def test_a_notebook_shows_a_bar(monkeypatch, capsys):
  shown = []

  class Handle:
    def update(self, page):
      shown.append(page)

  class ZMQInteractiveShell:
    pass

  display = types.ModuleType('IPython.display')
  display.HTML = str
  display.display = lambda page, display_id: Handle()
  ipython = types.ModuleType('IPython')
  ipython.get_ipython = ZMQInteractiveShell
  ipython.display = display
  monkeypatch.setitem(sys.modules, 'IPython', ipython)
  monkeypatch.setitem(sys.modules, 'IPython.display', display)
  with progress.Progress('accuracy') as bar:
    bar.watch(status(25, arms=('a<b',)))
    bar.say('a line')
  assert any('<progress value="0.2500">' in page and 'a&lt;b' in page for page in shown)
  assert shown[-1] == ''
  assert capsys.readouterr().out == 'a line\n'
