"""Programs are compiled a few ahead in order, and dropped when mappings run out."""

import pathlib
import threading
from typing import NamedTuple

import pytest

from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import memory


class Batch(NamedTuple):
  """What the compiler reads of a batch."""

  program: str
  layout: int = 1


@pytest.fixture
def compiler(monkeypatch):
  """A compiler whose programs are their names, and which were compiled, in order."""
  compiled = []
  lock = threading.Lock()

  def compile_one(self, batch):
    with lock:
      compiled.append(batch.program)
    return batch.program.upper(), {}

  monkeypatch.setattr(compiler_lib.Compiler, '_compile', compile_one)
  monkeypatch.setattr(memory, 'mappings_are_scarce', lambda: False)
  with compiler_lib.Compiler(None) as one:
    one.compiled = compiled
    yield one


def wait(compiler):
  for future in list(compiler.futures.values()):
    future.result()


def test_programs_are_compiled_a_few_ahead_of_their_training(compiler):
  batches = [Batch(f'p{i:02}') for i in range(3 * compiler_lib.AHEAD)]
  compiler.start(batches)
  wait(compiler)
  assert len(compiler.compiled) == compiler_lib.AHEAD
  for number, batch in enumerate(batches, 1):
    assert compiler.get(batch) == (batch.program.upper(), {})
    wait(compiler)
    expected = min(number + compiler_lib.AHEAD, len(batches))
    assert len(compiler.compiled) == expected
  assert sorted(compiler.compiled) == [batch.program for batch in batches]


def test_the_display_counts_all_programs(compiler):
  gate = threading.Event()
  compiler.pool.submit(gate.wait)  # one core compiles nothing meanwhile
  blocked = [compiler.pool.submit(gate.wait) for _ in range(8)]
  batches = [Batch(f'p{i:02}') for i in range(11)]
  compiler.start(batches)
  shown = []

  def watch(status):
    shown.append(status)
    gate.set()

  compiler.get(batches[0], watch)
  assert shown == [compiler_lib.Compiling(1, 11)]
  assert all(one.result() for one in blocked)


def test_without_mappings_the_program_used_longest_ago_goes(compiler, monkeypatch):
  a, b, c = Batch('a'), Batch('b'), Batch('c')
  for batch in (a, b, a):
    compiler.get(batch)
  answers = iter([True, False])
  monkeypatch.setattr(memory, 'mappings_are_scarce', lambda: next(answers, False))
  compiler.get(c)
  assert [key[0] for key in compiler.futures] == ['a', 'c']
  compiler.get(a)
  assert compiler.compiled == ['a', 'b', 'c']
  compiler.start([b])  # asked for again by a later search
  assert compiler.get(b) == ('B', {})
  assert compiler.compiled == ['a', 'b', 'c', 'b']


def test_scarce_mappings_never_drop_the_program_that_is_asked_for(
  compiler, monkeypatch
):
  monkeypatch.setattr(memory, 'mappings_are_scarce', lambda: True)
  for name in 'abab':
    assert compiler.get(Batch(name))[0] == name.upper()
    assert compiler.get(Batch(name))[0] == name.upper()  # as training asks once more
  assert compiler.compiled == list('abab')


def test_mappings_are_counted():
  assert not memory.mappings_are_scarce()
  known = pathlib.Path('/proc/sys/vm/max_map_count').is_file()
  assert memory.mappings_are_scarce(0.0) == known
