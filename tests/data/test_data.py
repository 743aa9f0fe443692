"""Splits, digits and the idx family: files made here, and the real MNIST."""

import contextlib
import gzip
import os
import pathlib
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from dlsteroids.config import options as options_lib
from dlsteroids.data import digits, fashion_mnist, mnist
from dlsteroids.data.lib import idx, split
from dlsteroids.util import errors, files
from tests.fixtures import idx_fixture

GENERATOR = np.random.default_rng(0)
SHARES = {'validation': 0.1, 'examples': 0, 'test': 0.2}


# Splits


@pytest.mark.parametrize('sizes', [(500, 0, 0), (400, 0, 100), (300, 100, 100)])
def test_splits_are_disjoint_cover_and_change_with_the_seed(sizes):
  labels = GENERATOR.integers(0, 7, 500)
  make = split.make(labels, sizes, SHARES)
  lengths = set()
  for seed in range(5):
    parts = make(seed)
    assert all(part.dtype == np.int32 for part in parts.values())
    np.testing.assert_array_equal(
      np.sort(np.concatenate([*parts.values()])), range(500)
    )
    lengths.add(tuple(len(part) for part in parts.values()))
  assert len(lengths) == 1
  np.testing.assert_array_equal(make(3)['train'], make(3)['train'])
  if sizes[1]:
    np.testing.assert_array_equal(make(0)['validation'], np.arange(300, 400))
  else:
    assert set(make(0)['validation']) != set(make(1)['validation'])
  if sizes[2]:
    np.testing.assert_array_equal(make(1)['test'], np.arange(400, 500))
  else:
    assert set(make(0)['test']) != set(make(1)['test'])


@hypothesis.given(
  counts=strategies.lists(strategies.integers(1, 40), min_size=1, max_size=6),
  seed=strategies.integers(0, 2**31 - 1),
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_every_prefix_of_the_order_is_stratified(counts, seed):
  labels = np.repeat(np.arange(len(counts)), counts)
  order = split.order(labels, seed)
  np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))
  # Systematic sampling: up to any height, a class is within ½ of its share of it; the
  # prefix of n ends within one tie (K examples) of a height.
  hits = np.cumsum(labels[order][:, None] == np.arange(len(counts)), axis=0)
  heights = np.arange(1, len(labels) + 1)[:, None] / len(labels)
  assert np.abs(hits - heights * np.array(counts)).max() <= 1 + len(counts)


def test_balanced_classes_stay_within_one():
  labels = np.arange(400) % 10
  hits = np.cumsum(labels[split.order(labels, 5)][:, None] == np.arange(10), axis=0)
  assert np.abs(hits - np.arange(1, 401)[:, None] / 10).max() < 1


def test_examples_are_nested_and_move_neither_validation_nor_test():
  labels = GENERATOR.integers(0, 3, 300)
  full, some, few = (
    split.make(labels, (300, 0, 0), {**SHARES, 'examples': n})(1) for n in (0, 100, 40)
  )
  assert len(few['train']) == 40
  assert set(few['train']) < set(some['train']) < set(full['train'])
  for name in ('validation', 'test'):
    np.testing.assert_array_equal(few[name], full[name])


@pytest.mark.parametrize(
  ('option', 'value'),
  [
    ('validation', 0.0),
    ('validation', 1.0),
    ('test', -0.1),
    ('test', float('nan')),
    ('examples', -1),
    ('examples', 1259),
  ],
)
def test_impossible_shares_are_refused(option, value):
  with pytest.raises(errors.UserError, match=f'data.{option} must'):
    digits.load({option: value})


def test_too_few_examples_are_refused():
  with pytest.raises(errors.UserError, match='too few'):
    split.make(np.zeros(3, int), (3, 0, 0), SHARES)


# Digits


def test_digits_are_scikit_learns():
  import sklearn.datasets

  dataset = digits.load(options_lib.defaults(digits))
  raw = sklearn.datasets.load_digits()
  np.testing.assert_array_equal(dataset.arrays['image'][..., 0] / 15, raw.images)
  np.testing.assert_array_equal(dataset.arrays['label'], raw.target)
  assert not dataset.official_test
  pixels = dataset.arrays['image'].astype(float)
  assert abs(pixels.mean() - digits.MOMENTS.mean[0]) < 0.5  # the rounded constants
  assert abs(pixels.std() - np.sqrt(digits.MOMENTS.covariance[0, 0])) < 0.5


def test_unknown_option_is_named():
  with pytest.raises(errors.UserError, match=r"data\.flp \(did you mean 'flip'"):
    digits.load({'flp': True})


def test_digest_tells_what_shapes_training():
  same = digits.load({'name': 'digits'}).digest
  assert same == digits.load({}).digest
  changes = [{'flip': True}, {'crop': 1}, {'examples': 9}, {'validation': 0.2}]
  digests = {digits.load(change).digest for change in changes} | {same}
  assert len(digests) == len(changes) + 1


# The idx family


@pytest.mark.parametrize('suffix', ['', '.gz'])
@pytest.mark.parametrize('dot', [False, True])
def test_reads_every_naming(tmp_path, suffix, dot):
  names = [name.replace('-idx', '.idx') if dot else name for name in idx.FILES]
  images, labels = idx_fixture.make(tmp_path, names, suffix)
  for module, name in ((mnist, 'mnist'), (fashion_mnist, 'fashion_mnist')):
    dataset = module.load({'path': str(tmp_path)})
    np.testing.assert_array_equal(dataset.arrays['image'][..., 0], images)
    np.testing.assert_array_equal(dataset.arrays['label'], labels)
    np.testing.assert_array_equal(dataset.split(0)['test'], np.arange(60, 80))
    assert dataset.name == f'{name}-unverified'  # not the published bytes
    assert dataset.official_test
    assert len(dataset.classes) == 10


def test_published_bytes_are_recognised(tmp_path):
  idx_fixture.make(tmp_path)
  paths = idx.find(tmp_path)
  contents = [idx.unpack(path, dims) for path, dims in zip(paths, (3, 1, 3, 1))]
  packed = tuple(files.checksum(path, 'md5') for path in paths)
  raw = tuple(idx.hashlib.md5(content).hexdigest() for content in contents)
  wrong = ('0' * 32,) * 4
  for digests, good in (
    ((packed, ()), True),
    ((wrong, raw), True),
    ((wrong, ()), False),
  ):
    published = idx.Published('', *digests, mnist.PUBLISHED.classes)
    assert idx.verified(paths, contents, published) is good


def damage_cut(path):
  path.write_bytes(path.read_bytes()[:-30])


def damage_flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0xFF
  path.write_bytes(data)


def damage_empty(path):
  path.write_bytes(b'')


@pytest.mark.parametrize('damage', [damage_cut, damage_flip, damage_empty])
def test_damaged_gz_is_one_line_naming_the_file(tmp_path, damage):
  idx_fixture.make(tmp_path)
  damage(tmp_path / f'{idx.FILES[0]}.gz')
  with pytest.raises(errors.UserError, match=idx.FILES[0]) as error:
    mnist.load({'path': str(tmp_path)})
  assert '\n' not in str(error.value)


def test_gz_bomb_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(idx, 'LIMIT', 1000)
  path = tmp_path / 'x.gz'
  path.write_bytes(gzip.compress(b'\0\0\x08\1' + (1001).to_bytes(4) + bytes(1001)))
  with pytest.raises(errors.UserError, match='announces 1,001 bytes'):
    idx.unpack(path, 1)
  path.write_bytes(gzip.compress(b'\0\0\x08\1' + (9).to_bytes(4) + bytes(10**6)))
  assert len(idx.unpack(path, 1)) == 8 + 10  # one more than announced tells enough


def test_files_that_do_not_fit_one_another_are_refused(tmp_path):
  bad = {
    1: (np.zeros(59, np.uint8), '60 images, but .* 59 labels'),
    3: (np.full(20, 10, np.uint8), 'label 10; expected 0 to 9'),
    2: (np.zeros((20, 5, 5), np.uint8), r'\(5, 4\) images, but .*\(5, 5\)'),
  }
  for i, (array, message) in bad.items():
    idx_fixture.make(tmp_path)
    idx_fixture.write(tmp_path / f'{idx.FILES[i]}.gz', array)
    with pytest.raises(errors.UserError, match=message):
      mnist.load({'path': str(tmp_path)})


@hypothesis.given(
  shape=strategies.lists(strategies.integers(0, 4), min_size=1, max_size=4),
  dims=strategies.integers(1, 4),
  cut=strategies.integers(-3, 3),
  flips=strategies.lists(
    strategies.tuples(strategies.integers(0, 19), strategies.integers(0, 255)),
    max_size=3,
  ),
)
@hypothesis.settings(deadline=None, max_examples=300)
def test_idx_reader_reads_rightly_or_refuses(shape, dims, cut, flips):
  array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
  good = struct.pack(f'>HBB{len(shape)}I', 0, 8, len(shape), *shape) + array.tobytes()
  data = bytearray(good[:cut] if cut < 0 else good + bytes(cut))
  for at, value in flips:
    if at < len(data):
      data[at] = value
  if bytes(data) == good and dims == len(shape) and array.size:
    np.testing.assert_array_equal(idx.read(good, 'file', dims), array)
    return
  with contextlib.suppress(errors.UserError):  # any other exception fails the test
    result = idx.read(bytes(data), 'file', dims)
    # What was read, written again, gives the bytes that came in.
    header = struct.pack(f'>HBB{dims}I', 0, 8, dims, *result.shape)
    assert header + result.tobytes() == bytes(data)


@pytest.mark.skipif(
  not os.environ.get('DLSTEROIDS_DATA')
  or not (pathlib.Path(os.environ['DLSTEROIDS_DATA']) / 'mnist').is_dir(),
  reason='needs mnist/ below $DLSTEROIDS_DATA',
)
def test_real_mnist():
  dataset = mnist.load({'download': False})
  assert dataset.name == 'mnist'  # so every unpacked md5 is the published one
  image, label = dataset.arrays['image'], dataset.arrays['label']
  assert image.shape == (70_000, 28, 28, 1)
  # Class counts as published: train digit 0 has 5,923, digit 1 has 6,742.
  np.testing.assert_array_equal(np.bincount(label[:60_000])[:2], [5923, 6742])
  normal = dataset.transform({'image': image[:60_000]}, None, train=False)['image']
  # The customary constants 0.1307 and 0.3081 say the same of pixels in [0, 1].
  expected = (image[:3] / 255 - 0.1307) / 0.3081
  np.testing.assert_allclose(normal[:3], expected, atol=1e-3)
