"""Continuing from a checkpoint gives the bits of training without a stop."""

import shutil

import numpy as np
import pytest

from dlsteroids.train import checkpoint
from tests import tiny

STEPS = 12


class Stop(Exception):
  """What kills a training run."""


@pytest.fixture(scope='module')
def bench():
  """An MLP with dropout; 6 batches an epoch, evaluated at 4, 8 and 12."""
  changes = {'train.steps': STEPS, 'train.evaluations': 3}
  return tiny.make_bench(tiny.make_config(changes), 'vmap', 3)


def train(bench, folder=None, stop=0, seconds=0.0):
  """Trains two members in chunks of one step; raises Stop after step `stop`."""

  def watch(progress):
    if stop and progress.step >= stop:
      raise Stop

  return bench.train(
    [bench.slot(1), bench.slot(2)],
    folder=folder,
    checkpoint_seconds=seconds,
    watch=watch,
  )


@pytest.fixture(scope='module')
def undisturbed(bench):
  return train(bench)


@pytest.fixture(autouse=True)
def single_steps(monkeypatch):
  monkeypatch.setattr('dlsteroids.train.loop.CHUNK_SECONDS', 0.0)


def assert_same(one, other):
  for at in (0, 1):
    tiny.assert_equal_bits(tiny.bits(one, at), tiny.bits(other, at))


@pytest.mark.parametrize('stop', [2, 5, 7, 11])
def test_a_stop_in_mid_interval_changes_no_bit(bench, undisturbed, tmp_path, stop):
  folder = tmp_path / 'batch'
  with pytest.raises(Stop):
    train(bench, folder, stop=stop)
  last = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
  assert last == stop - 1  # it stopped before that step's own checkpoint
  seen = []

  def watch(progress):
    seen.append(progress.step)

  slots = [bench.slot(1), bench.slot(2)]
  again = bench.train(slots, folder=folder, checkpoint_seconds=99, watch=watch)
  assert min(seen) in (stop - 1, stop)  # it went on where it was
  assert_same(undisturbed, again)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
  bench, undisturbed, tmp_path
):
  folder = tmp_path / 'batch'
  with pytest.raises(Stop):
    train(bench, folder, stop=8)
  steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
  assert len(steps) == 2
  damaged = 0
  for path in (folder / str(steps[-1])).rglob('*'):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
      damaged += 1
  assert damaged
  like = bench.program.init(placed(bench), bench.data)
  step, _, _ = checkpoint.restore(folder, like)
  assert step == steps[0]
  assert_same(undisturbed, train(bench, folder, seconds=99))


def placed(bench):
  from dlsteroids.train import program

  return program.place([bench.slot(1), bench.slot(2), bench.slot(1)], bench.program)


def test_without_a_whole_checkpoint_it_starts_again(bench, undisturbed, tmp_path):
  folder = tmp_path / 'batch'
  with pytest.raises(Stop):
    train(bench, folder, stop=8)
  for path in folder.rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  assert_same(undisturbed, train(bench, folder, seconds=99))


def test_a_flipped_byte_in_the_arrays_is_noticed(bench, undisturbed, tmp_path):
  folder = tmp_path / 'batch'
  with pytest.raises(Stop):
    train(bench, folder, stop=8)
  newest = folder / '7'
  files = [p for p in newest.rglob('d/*') if p.is_file()]
  assert files
  for path in files:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
  assert_same(undisturbed, train(bench, folder, seconds=99))


def test_the_final_variables_of_a_batch_are_kept(bench, undisturbed, tmp_path):
  import orbax.checkpoint as ocp

  folder = tmp_path / 'batch'
  folder.mkdir()
  checkpoint.keep(folder, undisturbed.variables)
  assert not folder.exists()
  with ocp.StandardCheckpointer() as checkpointer:
    found = checkpointer.restore(tmp_path / 'batch-final')
  kernel = found['model']['params']['dense0']['kernel']
  want = undisturbed.variables['model']['params']['dense0']['kernel']
  assert np.array_equal(np.asarray(kernel), np.asarray(want))
  shutil.rmtree(tmp_path / 'batch-final')
