"""Two processes on one machine; oracle: one process with as many devices."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from dlsteroids.store import results
from tests.fixtures import photo_fixture
from tests.fixtures import studies_on_disk as disk

SETTINGS = disk.SETTINGS + (
  '  config.study.seeds = 3\n'
  "  config.study.tune = 'optimizer.learning_rate=0.01,0.1'\n"
  '  config.study.tune_seeds = 1\n'
  '  config.study.tune_extend = 0\n'
  '  config.train.steps = 40\n'
  '  config.engine.width = 2\n'
  "  config.task.metrics = 'tests.fixtures.reduced_metric'\n"
  '  config.engine.checkpoint_seconds = 0.0\n'
)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  return disk.write(tmp_path_factory.mktemp('study'), settings=SETTINGS)


def start(config, work, count, devices=1, *words):
  """So many processes that find each other at a free port."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  started = []
  for index in range(count):
    mine = {'JAX_NUM_CPU_DEVICES': str(devices)}
    if count > 1:
      mine |= {'JAX_COORDINATOR_ADDRESS': address, 'JAX_NUM_PROCESSES': str(count)}
      mine |= {'JAX_PROCESS_ID': str(index)}
    command = [
      *(sys.executable, '-m', 'dlsteroids', f'--config={config}'),
      *(f'--workdir={work}', *words, *(['--distributed'] if count > 1 else [])),
    ]
    started.append(
      subprocess.Popen(
        command, cwd=disk.ROOT, env={**os.environ, **mine}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      )
    )  # fmt: skip
  return started


def end(started):
  """What each said on stdout and stderr."""
  return [process.communicate(timeout=300) for process in started]


def contents(work):
  """The store: records without wall times, and arrays, by fingerprint."""
  found = {}
  for name, record in results.read(work).records.items():
    run = {k: v for k, v in record.run.items() if k != 'wall_s'}
    run['curves'] = list(run['curves'])
    arrays = results.read_arrays(record)
    batch = {k: record.batch[k] for k in ('program', 'members', 'positions', 'layout')}
    found[name] = run, {k: v.tobytes() for k, v in arrays.items()}, batch
  return found


@pytest.fixture(scope='module')
def alone(config, tmp_path_factory):
  """The study in one process with two devices: its store and its tables."""
  work = tmp_path_factory.mktemp('alone') / 'work'
  (process,) = start(config, work, 1, devices=2)
  ((_, said),) = end([process])
  assert process.returncode == 0, said
  return contents(work), disk.read(work)


@pytest.mark.slow
def test_two_processes_leave_what_one_does_to_the_bit(config, alone, tmp_path):
  work = tmp_path / 'work'
  both = start(config, work, 2)
  (first, said), (second, heard) = end(both)
  assert [process.returncode for process in both] == [0, 0], said + heard
  found = contents(work)
  assert found.keys() == alone[0].keys()
  assert found == alone[0]
  assert disk.read(work) == alone[1]
  assert f'report: {work / "report.html"}' in first
  assert 'report' not in second  # the first one speaks for all
  assert not heard.strip()


@pytest.mark.slow  # four processes; tests/fixtures/faults.py kills more
def test_one_that_is_killed_ends_the_other_and_the_study_can_go_on(
  config, alone, tmp_path
):
  work = tmp_path / 'work'
  both = start(config, work, 2)
  while all(p.poll() is None for p in both) and not list(work.glob('runs/*.npz')):
    time.sleep(0.01)
  both[1].send_signal(signal.SIGKILL)
  killed = time.monotonic()
  (_, said), _ = end(both)
  assert time.monotonic() - killed < 60
  assert both[0].returncode == 1
  assert 'dlsteroids: ' in said.splitlines()[-1]
  assert 'another process of this study is gone' in said.splitlines()[-1]
  (process,) = start(config, work, 1, devices=2)
  ((_, said),) = end([process])
  assert process.returncode == 0, said
  assert disk.read(work) == alone[1]


def test_a_mistake_is_said_once_and_ends_all(config, tmp_path):
  both = start(config, tmp_path / 'work', 2, 1, '--config.engine.data_devices=3')
  (_, said), (_, heard) = end(both)
  assert [process.returncode for process in both] == [2, 2]
  (line,) = [x for x in said.splitlines() + heard.splitlines() if 'dlsteroids: ' in x]
  assert line == ('dlsteroids: config.engine.data_devices=3, but there are 2 devices')


@pytest.mark.slow  # three trainings of a net on photographs, in five processes
def test_of_a_stream_each_process_reads_its_share(tmp_path, monkeypatch):
  photo_fixture.make(tmp_path / 'photos', 20)
  told = tmp_path / 'told'
  told.mkdir()
  monkeypatch.setenv('DLSTEROIDS_TOLD', str(told))
  study = disk.write(
    tmp_path / 'study',
    model='cnn',
    data='tests.fixtures.told_stream',
    settings=(
      f"  config.data.path = '{tmp_path / 'photos'}'\n"
      '  config.data.size = config.data.resize = 24\n'
      '  config.data.test = config.data.validation = 0.2\n'
      '  config.model.widths = (2,)\n'
      '  config.model.dropout = 0.2\n'
      '  config.study.seeds = 2\n'
      '  config.train.steps = 8\n'
      '  config.train.batch_size = 8\n'
      '  config.train.eval_batch = 4\n'
      '  config.engine.data_devices = 2\n'
    ),
  )

  def train(name, count, devices):
    for path in told.iterdir():
      path.unlink()
    started = start(study, tmp_path / name, count, devices)
    said = end(started)
    assert [process.returncode for process in started] == [0] * count, said
    return sorted(path.stat().st_size for path in told.iterdir())

  (every,) = train('alone', 1, 2)
  shares = train('both', 2, 1)
  assert len(shares) == 2
  assert sum(shares) == every
  assert shares[1] - shares[0] <= 0.1 * every
  one, two = (contents(tmp_path / name) for name in ('alone', 'both'))
  assert one.keys() == two.keys()
  for name, (run, *_) in one.items():  # sums of two halves: equal to rounding
    curves, others = run['curves'], two[name][0]['curves']
    assert [row[:3] for row in curves] == [row[:3] for row in others]
    values = [[row[3] for row in rows] for rows in (curves, others)]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6)
