"""Continuing from a checkpoint gives the bits of training without a stop."""

import shutil
import time

import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.train import checkpoint, loop
from dlsteroids.util import errors
from tests.fixtures import tiny

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


@pytest.mark.parametrize('stop', [5, 11])
def test_a_stop_in_mid_interval_changes_no_bit(bench, undisturbed, tmp_path, stop):
  folder = tmp_path / 'batch'
  with pytest.raises(Stop):
    train(bench, folder, stop=stop)
  assert steps_of(folder)[-1] == stop - 1  # it stopped before that step's own
  seen = []

  def watch(progress):
    seen.append(progress.step)

  slots = [bench.slot(1), bench.slot(2)]
  again = bench.train(slots, folder=folder, checkpoint_seconds=99, watch=watch)
  assert min(seen) in (stop - 1, stop)  # it went on where it was
  assert_same(undisturbed, again)


@pytest.mark.parametrize('last', [1, 4, 6, STEPS])
def test_who_asks_for_a_stop_gets_a_checkpoint(bench, undisturbed, tmp_path, last):
  folder, slots = tmp_path / 'batch', [bench.slot(1), bench.slot(2)]
  seen = []

  def ask(limit):
    return {'watch': lambda progress: seen.append(progress.step),
            'stop': lambda: seen[-1] >= limit}  # fmt: skip

  with pytest.raises(loop.Interrupted, match=f'step {last} of {STEPS} is saved'):
    bench.train(slots, folder=folder, checkpoint_seconds=99, **ask(last))
  assert steps_of(folder) == [last]
  seen.clear()
  again = bench.train(slots, folder=folder, checkpoint_seconds=99, **ask(STEPS + 1))
  assert min(seen) >= last
  assert_same(undisturbed, again)
  with pytest.raises(loop.Interrupted, match='is not saved'):
    bench.train(slots, stop=lambda: True)


def test_the_time_before_a_stop_counts(bench, tmp_path):
  folder, slots = tmp_path / 'batch', [bench.slot(1), bench.slot(2)]
  wait = {'watch': lambda progress: time.sleep(0.5), 'stop': lambda: True}
  with pytest.raises(loop.Interrupted, match='is saved'):
    bench.train(slots, folder=folder, checkpoint_seconds=99, **wait)
  found = bench.train(slots, folder=folder, checkpoint_seconds=99)
  assert all(record['wall_s'] >= 0.5 / len(slots) for record in found.records.values())


def steps_of(folder):
  return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def truncate(data):
  return data[: len(data) // 2]


def flip(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def lose(data):
  return None


@pytest.fixture(scope='module')
def stopped(bench, tmp_path_factory):
  """A batch's folder with checkpoints of steps 6 and 7."""
  folder = tmp_path_factory.mktemp('stopped') / 'batch'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, 'CHUNK_SECONDS', 0.0)
    with pytest.raises(Stop):
      train(bench, folder, stop=8)
  assert steps_of(folder) == [6, 7]
  return folder


KINDS = ('d/*', 'manifest.ocdbt', '_METADATA', '_CHECKPOINT_METADATA', 'sha256.json')


@pytest.mark.parametrize('spoil', [truncate, flip, lose])
@pytest.mark.parametrize('kind', KINDS)
def test_the_one_before_a_damaged_checkpoint_is_used_and_said(
  bench, undisturbed, stopped, tmp_path, spoil, kind
):
  folder = shutil.copytree(stopped, tmp_path / 'batch')
  path = next(p for p in sorted((folder / '7').rglob(kind)) if p.stat().st_size)
  data = spoil(path.read_bytes())
  path.unlink() if data is None else path.write_bytes(data)
  said = []
  like = bench.program.init(placed(bench), bench.data)
  step, _, _ = checkpoint.restore(folder, like, said.append)
  assert step == 6
  (line,) = said
  assert line.startswith('damaged: checkpoint batch, step 7: ')
  assert line.endswith('; step 6 is tried')
  if kind != 'sha256.json':  # a flipped checksum blames the file it is of
    assert path.name in line
  if kind == KINDS[0]:
    slots = [bench.slot(1), bench.slot(2)]
    assert_same(undisturbed, bench.train(slots, folder=folder, checkpoint_seconds=0.0))
    assert steps_of(folder)[-1] == STEPS - 1  # checkpoints continue where damage was


def test_a_mistake_in_restoring_is_no_damage(bench, stopped, tmp_path, monkeypatch):
  folder = shutil.copytree(stopped, tmp_path / 'batch')
  like = bench.program.init(placed(bench), bench.data)

  def broken(folder):
    raise TypeError('a mistake')

  monkeypatch.setattr(checkpoint, 'manager', broken)
  with pytest.raises(RuntimeError, match=r'7 is whole but cannot .*a mistake'):
    checkpoint.restore(folder, like)
  assert steps_of(folder) == [6, 7]
  with pytest.raises(TypeError, match='a mistake'):
    checkpoint.save(folder, 8, like, {})


def test_a_full_disk_ends_no_training(bench, undisturbed, tmp_path, monkeypatch):
  folder, said = tmp_path / 'batch', []
  manager = checkpoint.manager

  class Full:
    """Orbax with no room: a part is written, then it raises as tensorstore does."""

    def __init__(self, folder):
      self.inner = manager(folder)

    def __enter__(self):
      return self

    def __exit__(self, *error):
      self.inner.close()

    def save(self, step, args):
      (folder / f'{step}.orbax-checkpoint-tmp').mkdir()
      raise ValueError('RESOURCE_EXHAUSTED: writing: No space left on device')

  slots = [bench.slot(1), bench.slot(2)]
  usage = shutil.disk_usage(tmp_path)
  with monkeypatch.context() as patch:
    few = usage._replace(free=checkpoint.ROOM)
    patch.setattr(checkpoint.shutil, 'disk_usage', lambda path: few)
    with pytest.raises(checkpoint.Unwritable, match='No space left'):
      checkpoint.save(folder, 1, {'x': jnp.ones(1)}, {})
    with pytest.raises(OSError, match='No space left'):
      checkpoint.keep(folder, {'x': jnp.ones(1)})
  monkeypatch.setattr(checkpoint, 'manager', Full)
  options = {'folder': folder, 'checkpoint_seconds': 0.0}
  assert_same(undisturbed, bench.train(slots, say=said.append, **options))
  assert set(said) == {
    f'cannot write to {tmp_path}: No space left on device; training continues'
  }
  assert not list(folder.iterdir())
  with pytest.raises(loop.Interrupted, match='not saved'):
    bench.train(slots, stop=lambda: True, **options)


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


def test_the_final_variables_of_a_batch_are_kept(bench, undisturbed, tmp_path):
  final = checkpoint.keep(tmp_path / 'batch', undisturbed.variables)
  found = checkpoint.load(final, 1)
  kernel = found['model']['params']['dense0']['kernel']
  want = undisturbed.variables['model']['params']['dense0']['kernel']
  assert np.array_equal(kernel, np.asarray(want)[1])
  checkpoint.sign(tmp_path / 'batch', ['a', 'b'])
  checkpoint.sign(tmp_path / 'interrupted', ['b', 'c'])
  (tmp_path / 'lost-final').mkdir()  # of a batch that was never stored
  checkpoint.sweep(list(tmp_path.iterdir()), {final.name}, {'a', 'b'})
  assert {path.name for path in tmp_path.iterdir()} == {final.name, 'interrupted'}
  path = next(p for p in sorted(final.rglob('d/*')) if p.stat().st_size)
  path.write_bytes(flip(path.read_bytes()))
  with pytest.raises(errors.UserError, match=f'damaged: .*{path.name}'):
    checkpoint.load(final, 1)
