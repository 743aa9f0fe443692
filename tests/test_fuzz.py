"""Readers of strangers' files: one clear line or a correct result, never anything else.

Never a crash, a hang, or memory beyond a few times the file's. `-m slow` throws sixty
times as much.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
import tracemalloc

import hypothesis
import pytest
from hypothesis import strategies as st

from dlsteroids.cli import command
from dlsteroids.config import files
from dlsteroids.util import errors
from tests.fixtures import fuzz_cases
from tests.fixtures import studies_on_disk as disk

MEMORY = 48 << 20  # bytes that a file of a few kB may cost
SECONDS = 20.0  # of the processor, for one file
QUICK, DEEP = 60, 4000  # files thrown at each reader
PROFILES = [QUICK, pytest.param(DEEP, marks=pytest.mark.slow)]


def profile(count, quick):
  return hypothesis.settings(
    max_examples=count,
    deadline=None,
    database=None,
    derandomize=quick,
    suppress_health_check=list(hypothesis.HealthCheck),
  )


@contextlib.contextmanager
def bounded():
  """Fails if what is inside takes too much memory or time."""
  tracemalloc.start()
  begin = time.process_time()
  try:
    yield
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < MEMORY, f'{peak:,} bytes'
  assert time.process_time() - begin < SECONDS


def is_refused(read):
  """Whether `read` raises a UserError, which is one line; other errors pass through."""
  text = 'fine'
  try:
    read()
  except errors.UserError as error:
    text = f'{error}'
    refused = True
  else:
    refused = False
  assert len(text.splitlines()) == 1
  assert len(text) < 2000
  return refused


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))


@pytest.mark.parametrize('count', PROFILES)
@pytest.mark.parametrize('name', fuzz_cases.TARGETS)
def test_a_reader_refuses_or_is_right(name, count):
  target = fuzz_cases.TARGETS[name]
  refused = 0

  @profile(round(count * target.share), count == QUICK)
  @hypothesis.given(target.data)
  def throw(data):
    nonlocal refused
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
      with bounded():
        refused += is_refused(lambda: target.read(data, folder))
    finally:
      shutil.rmtree(folder)

  throw()
  assert refused or name == 'store'  # which says what is damaged and goes on


PATHS = st.sampled_from(
  ['model.hidden', 'model.dropout', 'model.activation', 'model.name', 'data.name',
   'data.examples', 'train.steps', 'train.batch_size', 'optimizer.learning_rate',
   'study.tune', 'study.only', 'study.budgets', 'study.seeds', 'engine.width', 'study',
   'optimizer.nesterov', 'nonsense', 'model', 'model.', '.', '']
)  # fmt: skip
VALUES = st.text(max_size=12) | st.sampled_from(
  ['1', '-1', '1e400', 'nan', 'inf', '[]', '()', '(1,)', '(' * 200, '9' * 5000, 'True',
   "__import__('os')", 'a.b.c', '..', '10**10**10', "{'a': 1}", 'relu', 'os', '0x10',
   'model.dropout=0,1', 'optimizer.learning_rate=0.1,0.2;;', '2,3', '1_0', '١']
)  # fmt: skip


@pytest.mark.parametrize('count', PROFILES)
def test_overrides_are_refused_or_mean_what_they_say(tmp_path, monkeypatch, count):
  monkeypatch.chdir(disk.ROOT)
  config = disk.write(tmp_path)
  words = st.tuples(PATHS, VALUES).map(lambda pair: f'--config.{pair[0]}={pair[1]}')

  @profile(count, count == QUICK)
  @hypothesis.given(st.lists(words | st.text(max_size=8), max_size=3))
  def throw(argv):
    def read():
      parsed = command.parse(['launch', f'--config={config}', *argv])
      found = files.read(parsed.config, parsed.overrides).config
      assert found['train']['batch_size'] >= 1
      assert isinstance(found['model']['name'], str)

    with bounded():
      is_refused(read)

  throw()
  assert not os.path.exists('nonsense')
