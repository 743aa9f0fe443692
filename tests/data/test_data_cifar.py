"""CIFAR-10 in both official formats, made here, and pickles that want to do more."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from dlsteroids.data import cifar10
from dlsteroids.util import errors

GENERATOR = np.random.default_rng(0)


def make_cifar(folder, kind, per_batch=4):
  """Six batch files in an official format; returns (images NHWC, labels)."""
  folder.mkdir()
  count = 6 * per_batch
  planes = GENERATOR.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
  labels = np.arange(count) % 10
  for i, batch in enumerate(cifar10.BATCHES):
    rows = slice(i * per_batch, (i + 1) * per_batch)
    flat, own = planes[rows].reshape(per_batch, -1), labels[rows]
    if kind == 'py':
      data = pickle.dumps({b'data': flat, b'labels': own.tolist()}, protocol=2)
      (folder / batch).write_bytes(data)
    else:
      table = np.concatenate([own[:, None].astype(np.uint8), flat], axis=1)
      (folder / f'{batch}.bin').write_bytes(table.tobytes())
  return planes.transpose(0, 2, 3, 1), labels


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('kind', ['py', 'bin'])
def test_cifar_archives_and_folders(tmp_path, monkeypatch, kind, packed):
  folder = tmp_path / f'cifar-10-batches-{kind}'
  images, labels = make_cifar(folder, kind)
  if packed:
    name = f'cifar-10-{"python" if kind == "py" else "binary"}.tar.gz'
    with tarfile.open(tmp_path / name, 'w:gz') as file:
      file.add(folder, folder.name)
    for path in folder.iterdir():
      path.unlink()
    with pytest.raises(errors.UserError, match='not that of the published'):
      cifar10.load({'path': str(tmp_path)})
    digest = cifar10.source.checksum(tmp_path / name, 'md5')
    monkeypatch.setitem(cifar10.ARCHIVES, name, digest)
  for path in [tmp_path] if packed else [tmp_path, folder]:
    dataset = cifar10.load({'path': str(path)})
    np.testing.assert_array_equal(dataset.arrays['image'], images)
    np.testing.assert_array_equal(dataset.arrays['label'], labels)
    assert dataset.name == ('cifar10' if packed else 'cifar10-unverified')
    assert [len(part) for part in dataset.split(0).values()] == [18, 2, 4]


def cut(path):
  path.write_bytes(path.read_bytes()[:-30])


def test_cifar_missing_and_cut_batches(tmp_path):
  make_cifar(tmp_path / 'bin', 'bin')
  cut(tmp_path / 'bin/test_batch.bin')
  with pytest.raises(errors.UserError, match=r'test_batch\.bin.*truncated'):
    cifar10.load({'path': str(tmp_path / 'bin')})
  make_cifar(tmp_path / 'py', 'py')
  cut(tmp_path / 'py/data_batch_2')
  with pytest.raises(errors.UserError, match=r'data_batch_2.*damaged'):
    cifar10.load({'path': str(tmp_path / 'py')})
  (tmp_path / 'py/data_batch_2').unlink()
  with pytest.raises(errors.UserError, match='lacks batches: it has data_batch_1,'):
    cifar10.load({'path': str(tmp_path / 'py')})


class Evil:
  def __init__(self, *call):
    self.call = call

  def __reduce__(self):
    return self.call[0], self.call[1:]


@pytest.mark.parametrize(
  'value',
  [
    Evil(os.system, 'touch HERE'),
    Evil(eval, '1'),
    Evil(getattr, 'x', 'upper'),
    Evil(np.load, 'x'),
    Evil(io.open, 'x', 'w'),
    np.random.default_rng(0),
  ],
)
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_pickle_builds_nothing_but_data(tmp_path, monkeypatch, value, protocol):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError, match='refused: it asks for'):
    cifar10.unpickle(pickle.dumps({b'data': value}, protocol=protocol), 'file')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('protocol', [2, 4])
def test_pickle_still_reads_data(protocol):
  value = {b'data': np.arange(6, dtype=np.uint8).reshape(2, 3), b'labels': [1, 2]}
  read = cifar10.unpickle(pickle.dumps(value, protocol=protocol), 'file')
  np.testing.assert_array_equal(read[b'data'], value[b'data'])
  assert read[b'labels'] == [1, 2]


@pytest.mark.parametrize(
  ('batch', 'message'),
  [
    ([], 'no uint8'),
    ({b'data': [1]}, 'no uint8'),
    ({b'data': np.zeros((2, 3072)), b'labels': [0, 1]}, 'no uint8'),
    ({b'data': np.zeros((2, 3072), np.uint8), b'labels': [0, 'x']}, 'integer labels'),
    ({b'data': np.zeros((2, 3072), np.uint8), b'labels': [0]}, 'but 1 labels'),
    ({b'data': np.zeros((1, 3072), np.uint8), b'labels': [10]}, 'outside 0..9'),
    ({b'data': np.zeros((1, 3072), np.uint8), b'labels': [10**30]}, 'outside 0..9'),
  ],
)
def test_cifar_batches_of_another_shape_are_refused(batch, message):
  with pytest.raises(errors.UserError, match=message):
    cifar10.parse(pickle.dumps(batch, protocol=2), 'data_batch_1')
