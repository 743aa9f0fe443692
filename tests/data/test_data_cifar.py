"""CIFAR-10 in its official binary format, made here."""

import tarfile

import numpy as np
import pytest

from dlsteroids.data import cifar10
from dlsteroids.util import errors, files

GENERATOR = np.random.default_rng(0)


def make_cifar(folder, per_batch=4):
  """Six batch files in the official format; returns (images NHWC, labels)."""
  folder.mkdir()
  count = 6 * per_batch
  planes = GENERATOR.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
  labels = np.arange(count) % 10
  for i, batch in enumerate(cifar10.BATCHES):
    rows = slice(i * per_batch, (i + 1) * per_batch)
    flat = planes[rows].reshape(per_batch, -1)
    table = np.concatenate([labels[rows, None].astype(np.uint8), flat], axis=1)
    (folder / batch).write_bytes(table.tobytes())
  return planes.transpose(0, 2, 3, 1), labels


@pytest.mark.parametrize('packed', [False, True])
def test_cifar_archives_and_folders(tmp_path, monkeypatch, packed):
  folder = tmp_path / 'cifar-10-batches-bin'
  images, labels = make_cifar(folder)
  if packed:
    path = tmp_path / 'cifar-10-binary.tar.gz'
    with tarfile.open(path, 'w:gz') as file:
      file.add(folder, folder.name)
    for batch in folder.iterdir():
      batch.unlink()
    with pytest.raises(errors.UserError, match=r'but the published cifar-10-binary'):
      cifar10.load({'path': str(tmp_path)})
    item = cifar10.PUBLISHED._replace(digest=f'md5:{files.checksum(path, "md5")}')
    monkeypatch.setattr(cifar10, 'PUBLISHED', item)
  for path in [tmp_path] if packed else [tmp_path, folder]:
    dataset = cifar10.load({'path': str(path)})
    np.testing.assert_array_equal(dataset.arrays['image'], images)
    np.testing.assert_array_equal(dataset.arrays['label'], labels)
    assert dataset.name == ('cifar10' if packed else 'cifar10-unverified')
    assert [len(part) for part in dataset.split(0).values()] == [18, 2, 4]


def test_missing_cut_and_mislabelled_batches(tmp_path):
  make_cifar(tmp_path / 'bin')
  path = tmp_path / 'bin/test_batch.bin'
  whole = path.read_bytes()
  path.write_bytes(whole[:-30])
  with pytest.raises(errors.UserError, match=r'test_batch\.bin.*truncated'):
    cifar10.load({'path': str(tmp_path / 'bin')})
  path.write_bytes(b'\x0a' + whole[1:])
  with pytest.raises(errors.UserError, match=r'labels outside 0\.\.9'):
    cifar10.load({'path': str(tmp_path / 'bin')})
  path.unlink()
  with pytest.raises(errors.UserError, match='lacks batches: it has data_batch_1'):
    cifar10.load({'path': str(tmp_path / 'bin')})


def test_the_python_version_is_named_as_not_read(tmp_path):
  """Its batches are pickles, which can run code."""
  (tmp_path / 'cifar-10-batches-py').mkdir()
  (tmp_path / 'cifar-10-batches-py/data_batch_1').write_bytes(b'\x80\x02}.')
  for place in (tmp_path, tmp_path / 'cifar-10-batches-py'):
    with pytest.raises(errors.UserError, match='pickles, which are not read') as error:
      cifar10.load({'path': str(place)})
    assert '\n' not in str(error.value)
  (tmp_path / 'cifar-10-python.tar.gz').write_bytes(b'x')
  with pytest.raises(errors.UserError, match='but the published cifar-10-binary'):
    cifar10.load({'path': str(tmp_path / 'cifar-10-python.tar.gz')})
