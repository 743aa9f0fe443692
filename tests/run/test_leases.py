"""Leases under races, deaths and sleep; oracle: a lock of the kernel, hand counts."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from dlsteroids.run import leases

ROOT = pathlib.Path(__file__).parents[2]
# Takes, proves by a kernel lock that it is alone, and dies over every sixth lease.
RIVAL = """
import fcntl, os, pathlib, random, sys, time
from dlsteroids.run import leases

work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
draw = random.Random(name)
oracle = open(work / 'oracle', 'a+')
while not (work / 'stop').exists():
  lease = leases.take(work, 'p', 600.0)
  if lease is None:
    time.sleep(draw.uniform(0, 0.002))
    continue
  with lease:
    fcntl.flock(oracle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if another holds, too
    os.write(oracle.fileno(), b'+')
    time.sleep(draw.uniform(0, 0.001))
    if draw.random() < 1 / 6:
      os._exit(7)
    fcntl.flock(oracle, fcntl.LOCK_UN)
"""


def test_of_processes_that_race_and_die_one_at_a_time_holds_a_lease(tmp_path):
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  rivals, deaths = [], 0

  def start():
    words = [sys.executable, '-c', RIVAL, str(tmp_path), f'{len(rivals)} {deaths}']
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)

  rivals += [start() for _ in range(4)]
  while deaths < 6:  # each is taken over at once, not after 600 s
    for i, rival in enumerate(rivals):
      if rival.poll() is not None:
        assert rival.returncode == 7, rival.stderr.read()
        deaths += 1
        rivals[i] = start()
    time.sleep(0.01)
  (tmp_path / 'stop').touch()
  for rival in rivals:
    assert rival.wait(60) in (0, 7), rival.stderr.read()
  assert (tmp_path / 'oracle').stat().st_size > deaths
  assert not list((tmp_path / 'leases').glob('.*.new'))


def plant(work, program='p', age=0.0, **fields):
  """A lease of another machine, last beaten `age` seconds ago."""
  path = work / 'leases' / f'{program}.json'
  path.parent.mkdir(exist_ok=True)
  other = {'host': 'far', 'pid': 1, 'space': 'another boot', 'since': 'then'}
  holder = leases.Holder(program, **{'token': 'old', **other, **fields})
  handle = os.open(path, os.O_CREAT | os.O_RDWR)
  leases.write(handle, holder)
  os.close(handle)
  os.utime(path, (time.time() - age,) * 2)
  return path


def test_a_lease_of_another_machine_lapses_without_beats(tmp_path):
  plant(tmp_path, age=50)
  assert leases.take(tmp_path, 'p', 60.0) is None
  assert str(leases.live(tmp_path, 60.0)['p']) == 'process 1 on far since then'
  plant(tmp_path, age=70)
  assert leases.live(tmp_path, 60.0) == {}
  with leases.take(tmp_path, 'p', 60.0):
    assert leases.read(tmp_path)['p'].pid == os.getpid()
    assert leases.take(tmp_path, 'p', 60.0) is None
  assert list((tmp_path / 'leases').iterdir()) == []


def test_a_pid_that_was_given_to_a_later_process_is_a_death(tmp_path):
  mine = {'space': leases.space(), 'pid': os.getpid()}
  plant(tmp_path, **mine, started=leases.start_of(os.getpid()))
  assert leases.take(tmp_path, 'p', 60.0) is None
  plant(tmp_path, **mine, started='12')
  assert leases.take(tmp_path, 'p', 60.0) is not None


def test_a_killed_process_is_dead_before_anyone_waits_for_it():
  child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
  holder = leases.Holder(
    'p', pid=child.pid, space=leases.space(), started=leases.start_of(child.pid)
  )
  assert not holder.died()
  child.kill()
  while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is None:
    pass
  assert holder.died()
  child.wait()


def test_who_slept_too_long_notices_and_leaves_the_successor_alone(tmp_path):
  first = leases.take(tmp_path, 'p', 0.3)
  assert first is not None
  first.every = 3600.0  # it sleeps
  with first:
    time.sleep(0.35)
    with leases.take(tmp_path, 'p', 0.3) as second:
      first.check()  # it does not know yet
      first.released.set()
      first.thread.join()
      first.released.clear()
      first.every = 0.01
      first._beat()  # it wakes
      with pytest.raises(leases.Lost, match='another process has taken over'):
        first.check()
      second.check()
      first.__exit__()
      assert leases.read(tmp_path)['p'].token == second.holder.token
      assert leases.take(tmp_path, 'p', 60.0) is None
      first.handle = os.open(tmp_path, os.O_RDONLY)  # closed again by its context


def test_what_the_killed_left_in_the_middle_goes_with_the_lease(tmp_path):
  folder = tmp_path / leases.FOLDER
  folder.mkdir()
  litter = [folder / name for name in (leases.CLOCK, '.p-1.mark', '.p-2.new')]
  for path in litter:
    path.touch()
    os.utime(path, (1, 1))
  (folder / '.q-1.mark').touch()  # of another program
  with leases.take(tmp_path, 'p', 600.0):
    (folder / '.p-3.mark').touch()  # of someone who lives
    os.utime(folder / '.p-3.mark', (2**32, 2**32))
  assert {path.name for path in folder.iterdir()} == {'.q-1.mark', '.p-3.mark'}
  assert leases._disk_time(folder) > 1
  assert not (folder / leases.CLOCK).exists()


def test_what_the_dead_held_is_given_back_at_the_end(tmp_path):
  path = plant(tmp_path, age=70)
  with leases.take(tmp_path, 'q', 60.0):
    leases.clear(tmp_path, 80.0)
    assert path.exists()
    leases.clear(tmp_path, 60.0)
    assert [p.name for p in path.parent.iterdir()] == ['q.json']


def test_others_read_how_far_a_holder_is(tmp_path):
  with leases.take(tmp_path, 'p', 0.12, {'provenance': 'x'}) as lease:
    lease.update(step=3, steps=12)
    end = time.monotonic() + 10
    told = {'provenance': 'x', 'step': 3, 'steps': 12}
    while leases.read(tmp_path)['p'].facts != told:
      assert time.monotonic() < end
    age = leases.read(tmp_path)['p'].age
    assert age < 5
    time.sleep(0.3)  # more than it takes to lapse: it beats
    assert 'p' in leases.live(tmp_path, 0.12)


@pytest.mark.parametrize('text', ['', '{"program": "p"', '[]', '{}', 'null'])
def test_a_lease_that_cannot_be_read_counts_by_its_age(tmp_path, text):
  path = plant(tmp_path)
  path.write_text(text)
  assert leases.take(tmp_path, 'p', 60.0) is None
  os.utime(path, (time.time() - 61,) * 2)
  assert leases.take(tmp_path, 'p', 60.0) is not None


def test_a_takeover_that_died_half_way_is_taken_up_again(tmp_path):
  plant(tmp_path, age=70)
  mark = tmp_path / 'leases' / '.p-old.mark'
  mark.touch()
  assert leases.take(tmp_path, 'p', 60.0) is None  # its maker may be at it
  os.utime(mark, (time.time() - 61,) * 2)
  assert leases.take(tmp_path, 'p', 60.0) is None  # drops the mark
  assert leases.take(tmp_path, 'p', 60.0) is not None
