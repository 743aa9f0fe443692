"""Two domains without partners: splits, truths, colour; against loops and Pillow."""

import itertools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from dlsteroids import rng
from dlsteroids.config import options as options_lib
from dlsteroids.data import colour, digits_unpaired
from dlsteroids.data.lib import split, transform, two_domains
from dlsteroids.util import errors
from tests.data import test_data_cifar, test_data_folder
from tests.fixtures import idx_fixture
from tests.fixtures import model_cases as cases

GENERATOR = np.random.default_rng(0)
REAL = os.environ.get('DLSTEROIDS_DATA', '')
SIDES = ('x', 'y')
KEYS = rng.Keys(rng.root(0), 3)
OPTIONS = {**two_domains.OPTIONS, 'validation': split.share(0.2, '')}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  monkeypatch.delenv('DLSTEROIDS_DATA', raising=False)
  return tmp_path / 'cache'


def draw(count, size=6, channels=3):
  shape = (count, size, size, channels)
  return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def make(x, y, x_labels=None, y_labels=None, **options):
  """A data set of `x` and `y` images in its training part, or in all three."""
  parts = [(n, 0, 0) if isinstance(n, int) else n for n in (x, y)]
  sides = [
    two_domains.Side(name, draw(sum(sizes)), sizes, labels=labels)
    for name, sizes, labels in zip(SIDES, parts, (x_labels, y_labels), strict=True)
  ]
  return two_domains.make('toy', *sides, options_lib.complete(options, OPTIONS, 'data'))


def used(dataset, split):
  """The images of X and of Y that a split shows."""
  rows = dataset.arrays['pairs'][split]
  return set(rows[:, 0].tolist()), set(rows[:, 1].tolist())


# Pairs and splits


@pytest.mark.parametrize('sizes', [(20, 20), (23, 10), (10, 31), (40, 20), (7, 6)])
def test_the_shorter_side_comes_again_and_every_image_comes(sizes):
  table = two_domains.table((sizes[0], 0, 0), (sizes[1], 0, 0))
  assert table.dtype == np.int32
  assert table.shape == (max(sizes), 2)
  longer = int(sizes[1] > sizes[0])
  np.testing.assert_array_equal(table[:, longer], np.arange(max(sizes)))
  period = min(sizes)
  for i in range(max(sizes)):  # cycles, by hand
    assert table[i, 1 - longer] == table[i % period, 1 - longer]
  assert sorted(table[:period, 1 - longer]) == list(range(period))


def test_equally_sorted_sides_are_not_matched():
  table = two_domains.table((200, 0, 0), (200, 0, 0))
  assert (table[:, 0] == table[:, 1]).mean() < 0.05


def test_parts_keep_to_themselves():
  table = two_domains.table((4, 2, 3), (3, 2, 5))
  rows = [set(table[:4, 1]), set(table[4:6, 1]), set(table[6:, 1])]
  assert rows == [{0, 1, 2}, {3, 4}, {5, 6, 7, 8, 9}]
  assert [set(table[:4, 0]), set(table[4:6, 0]), set(table[6:, 0])] == [
    {0, 1, 2, 3},
    {4, 5},
    {6, 7, 8},
  ]


@pytest.mark.parametrize('sizes', [(30, 30), (47, 20), (20, 47), (40, 39)])
def test_no_image_of_either_side_is_in_two_splits(sizes):
  dataset = make(*sizes)
  lengths = set()
  for seed in range(6):
    split = dataset.split(seed)
    assert all(part.dtype == np.int32 for part in split.values())
    lengths.add(tuple(len(part) for part in split.values()))
    shown = [used(dataset, split[name]) for name in ('train', 'validation', 'test')]
    for one, other in itertools.combinations(shown, 2):
      assert not one[0] & other[0]
      assert not one[1] & other[1]
    for side, size in enumerate(sizes):
      assert set().union(*(part[side] for part in shown)) == set(range(size))
    np.testing.assert_array_equal(split['test'], dataset.split(seed)['test'])
  assert len(lengths) == 1  # the sizes do not depend on the seed
  assert set(dataset.split(0)['test']) != set(dataset.split(1)['test'])
  short = min(sizes)
  rows = [len(dataset.split(0)[name]) for name in ('train', 'validation', 'test')]
  assert sum(rows) == max(sizes)
  shown = [used(dataset, dataset.split(0)[name]) for name in ('validation', 'test')]
  assert [min(map(len, part)) for part in shown] == [round(0.2 * short)] * 2


def test_published_parts_are_used_at_every_seed():
  dataset = make((30, 0, 5), (20, 0, 7))
  assert dataset.official_test
  for seed in (0, 1):
    split = dataset.split(seed)
    np.testing.assert_array_equal(split['test'], np.arange(30, 37))
    assert used(dataset, split['test']) == (set(range(30, 35)), set(range(20, 27)))
  dataset = make((30, 4, 5), (20, 4, 7))
  np.testing.assert_array_equal(dataset.split(3)['validation'], np.arange(30, 34))
  np.testing.assert_array_equal(dataset.split(3)['train'], np.arange(30))


def test_examples_are_nested_and_move_neither_validation_nor_test():
  full, some, few = (make(47, 20, examples=n).split(1) for n in (0, 15, 6))
  assert len(few['train']) == 6
  assert set(few['train']) < set(some['train']) < set(full['train'])
  for name in ('validation', 'test'):
    np.testing.assert_array_equal(few[name], full[name])


def test_splits_are_stratified_by_both_labels():
  labels = np.arange(400, dtype=np.int32) % 5
  dataset = make(400, 400, labels, labels[::-1].copy())
  for seed in (0, 1):
    test = dataset.split(seed)['test']
    for column, side in enumerate(SIDES):
      rows = dataset.arrays['pairs'][test][:, column]
      counts = np.bincount(dataset.arrays[f'label_{side}'][rows])
      assert np.abs(counts - 80 / 5).max() <= 3


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'validation': 0.0}, r'data\.validation must lie in \(0, 1\), not 0\.0'),
    ({'test': 1.0}, r'data\.test must lie in \(0, 1\), not 1\.0'),
    ({'test': float('nan')}, r'data\.test must lie in'),
    ({'examples': 13}, r'data\.examples must lie in 0\.\.12 .* not 13'),
    ({'examples': -1}, r'data\.examples must be at least 0'),
    ({'crop': 7}, r'data\.crop must lie in 0\.\.6 for 6×6 images, not 7'),
    ({'crop': -1}, r'data\.crop must be at least 0'),
    ({'test': 0.01}, '20 training images of x are too few: 16 remain when 4 .* 0 to'),
    ({'test': 0.8}, '20 training images of x are too few: 0 remain when 4 .* 16 to'),
  ],
)
def test_options_out_of_range_are_refused(options, message):
  with pytest.raises(errors.UserError, match=message) as error:
    make(20, 20, **options)
  assert '\n' not in str(error.value)


# Taking and transforming


def loop(dataset, indices, train):
  """What `take` gives, row by row."""
  known = ('x', 'y') if train else ('x', 'y', 'x_as_y', 'y_as_x', 'label_x', 'label_y')
  found = {}
  for name in known:
    column = 0 if name in ('x', 'x_as_y', 'label_x') else 1
    rows = [dataset.arrays['pairs'][i][column] for i in indices]
    found[name] = np.stack([dataset.arrays[name][row] for row in rows])
  if not train:
    found |= {
      f'at_{n}': dataset.arrays['pairs'][indices, i] for i, n in enumerate('xy')
    }
  return found


@pytest.mark.parametrize('train', [False, True])
def test_truths_and_labels_are_left_out_of_training(train):
  dataset = digits_unpaired.load({})
  indices = dataset.split(0)['test'][:5]
  arrays = {name: jnp.asarray(array) for name, array in dataset.arrays.items()}
  expected = loop(dataset, indices, train)
  for source in (dataset.arrays, arrays):
    batch = dataset.take(source, indices, train=train)
    assert batch.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(batch[name], array)


def test_test_truths_are_transformed_like_their_images():
  dataset = digits_unpaired.load({'flip': True, 'crop': 2})
  raw = dataset.take(dataset.arrays, dataset.split(0)['test'][:5], train=False)
  seen = cases.jit(lambda raw: dataset.transform(raw, KEYS, train=False))(raw)
  for name in ('x', 'y', 'x_as_y', 'y_as_x'):
    assert seen[name].dtype == jnp.float32
    expected = raw[name].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(seen[name], expected, atol=1e-6)
    assert np.abs(seen[name]).max() <= 1
  np.testing.assert_array_equal(seen['label_x'], raw['label_x'])


def test_sides_are_augmented_by_keys_of_their_own():
  dataset = make(60, 60, flip=True, crop=2)
  same = draw(40)

  @cases.jit
  def see(x, y, step=3):
    return dataset.transform({'x': x, 'y': y}, rng.Keys(rng.root(0), step), train=True)

  @cases.jit
  def by_hand(x):  # zoom, then flip, each side by its stream
    found = {}
    for side in SIDES:
      key = rng.stream(KEYS('augment'), side)
      zoomed = transform.zoom(transform.signed(x), key, by=2)
      found[side] = transform.move(zoomed, key, flip=True, pad=0)
    return found

  seen = see(same, same)
  assert (seen['x'] != seen['y']).any()
  for side, expected in by_hand(same).items():
    np.testing.assert_allclose(seen[side], expected, atol=1e-6)
  np.testing.assert_array_equal(see(same, draw(40))['x'], seen['x'])
  assert (see(same, same, step=4)['x'] != seen['x']).any()


def test_flips_are_mirror_images_or_the_images_themselves():
  dataset = make(60, 60, flip=True)
  images = {side: draw(50) for side in SIDES}
  seen = cases.jit(lambda images: dataset.transform(images, KEYS, train=True))(images)
  coins = []
  for side in SIDES:
    plain = images[side].astype(np.float32) / 127.5 - 1
    kept = np.array(
      [np.allclose(*pair, atol=1e-6) for pair in zip(seen[side], plain, strict=True)]
    )
    mirrored = plain[:, :, ::-1]
    flipped = np.array(
      [np.allclose(*pair, atol=1e-6) for pair in zip(seen[side], mirrored, strict=True)]
    )
    np.testing.assert_array_equal(kept, ~flipped)
    assert 8 < flipped.sum() < 42
    coins.append(flipped)
  assert (coins[0] != coins[1]).any()


def test_jit_and_vmap_agree_with_a_loop():
  dataset = make(30, 20, flip=True, crop=2)

  def see(seed, data):
    batch = dataset.take(data, jnp.arange(4), train=True)
    return dataset.transform(batch, rng.Keys(rng.root(seed), 1), train=True)

  arrays = dict(dataset.arrays)
  batched = cases.jit(jax.vmap(see, (0, None)))(jnp.arange(2), arrays)
  for seed in range(2):
    alone = cases.jit(see)(seed, arrays)
    for side in SIDES:
      np.testing.assert_allclose(batched[side][seed], alone[side], atol=1e-5)


# Digits


def turned(scan, lightest, invert=True, angle=90):
  """Domain Y's view of one scan [H, W], pixel by pixel."""
  side = len(scan)
  found = np.zeros_like(scan)
  for i, j in itertools.product(range(side), repeat=2):
    where = {
      0: (i, j),
      90: (j, side - 1 - i),  # to the left: the right column becomes the top row
      180: (side - 1 - i, side - 1 - j),
      270: (side - 1 - j, i),
    }[angle]
    value = int(scan[where])
    found[i, j] = lightest - value if invert else value
  return found


@pytest.mark.parametrize('angle', [0, 90, 180, 270])
@pytest.mark.parametrize('invert', [False, True])
def test_truth_of_the_digits_is_the_formula(invert, angle):
  dataset = digits_unpaired.load({'invert': invert, 'rotate': angle})
  arrays = dataset.arrays
  for one, other in (('x', 'x_as_y'), ('y_as_x', 'y')):
    assert arrays[one].shape == arrays[other].shape == (898, 8, 8, 1)
    for row in (0, 1, 500, 897):
      expected = turned(arrays[one][row, ..., 0], 240, invert, angle)
      np.testing.assert_array_equal(arrays[other][row, ..., 0], expected)


def test_no_scan_is_in_both_domains_and_labels_are_theirs():
  raw = sklearn.datasets.load_digits()
  scans = (raw.images * 15).astype(np.uint8)
  where = {scan.tobytes(): i for i, scan in enumerate(scans)}
  assert len(where) == 1797  # so a scan is known by its pixels
  dataset = digits_unpaired.load({})
  found = {}
  for side, upright in (('x', 'x'), ('y', 'y_as_x')):
    rows = [where[image.tobytes()] for image in dataset.arrays[upright]]
    np.testing.assert_array_equal(dataset.arrays[f'label_{side}'], raw.target[rows])
    found[side] = set(rows)
    counts = np.bincount(raw.target[rows]) - np.bincount(raw.target) / 2
    assert np.abs(counts).max() <= 2
  assert not found['x'] & found['y']
  assert len(found['x'] | found['y']) == 1796
  assert dataset.classes == tuple('0123456789')
  assert dataset.name == 'digits-unpaired'
  assert not dataset.official_test
  assert dataset.facts['unpaired'] is True
  assert dataset.facts['channels'] == [1, 1]
  assert dataset.facts['domains'] == ['upright', 'inverted, turned by 90°']
  assert dataset.facts['range'] == 'tanh'


def test_mnist_as_the_source_keeps_its_test(tmp_path):
  images, _ = idx_fixture.make(tmp_path)  # 60 to train on, 20 to test
  config = {'source': 'mnist', 'path': str(tmp_path), 'rotate': 180}
  dataset = digits_unpaired.load(config)
  assert dataset.name == 'mnist-unverified-unpaired'
  assert dataset.official_test
  assert [len(part) for part in dataset.split(0).values()] == [27, 3, 10]
  held = {image.tobytes() for image in images[60:]}
  rows = dataset.arrays['pairs'][dataset.split(0)['test']]
  shown = [dataset.arrays['x'][rows[:, 0]], dataset.arrays['y_as_x'][rows[:, 1]]]
  assert {image.tobytes() for part in shown for image in part} == held
  np.testing.assert_array_equal(
    dataset.arrays['x_as_y'], 255 - dataset.arrays['x'][:, ::-1, ::-1]
  )
  with pytest.raises(errors.UserError, match=r'needs square images; mnist.* 5×4'):
    digits_unpaired.load({**config, 'rotate': 90})


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ({'source': 'digit'}, r"data\.source: unknown 'digit' \(did you mean 'digits'"),
    ({'rotate': 45}, r'data\.rotate: unknown 45.*; use 0, 90, 180, 270'),
    ({'path': 'here'}, r'data\.path has no effect with data\.source = digits'),
    ({'colour': 0.1}, 'unknown option config.data.colour'),
    ({'source': 'mnist', 'path': '/nowhere'}, "data.path: '/nowhere' does not exist"),
  ],
)
def test_mistakes_with_digits_are_one_line(config, message):
  with pytest.raises(errors.UserError, match=message):
    digits_unpaired.load(config)


def test_digest_tells_what_is_seen():
  digests = {digits_unpaired.load({}).digest}
  assert digits_unpaired.load({'name': 'digits_unpaired'}).digest in digests
  changes = [
    *({'invert': False}, {'rotate': 180}, {'flip': True}, {'crop': 1}),
    *({'examples': 9}, {'test': 0.3}),
  ]
  digests |= {digits_unpaired.load(change).digest for change in changes}
  assert len(digests) == len(changes) + 1


# Colour against grey


def test_grey_is_pillows_luma():
  pixels = draw(20, 16)
  pixels[0, 0, :3] = [[0, 0, 0], [255, 255, 255], [255, 0, 0]]
  expected = [np.asarray(Image.fromarray(image).convert('L')) for image in pixels]
  np.testing.assert_array_equal(colour.to_grey(pixels)[..., 0], expected)
  exact = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
  np.testing.assert_allclose(colour.to_grey(pixels)[..., 0], exact, atol=0.51)


def test_colour_and_grey_are_halves_of_cifar(tmp_path):
  images, labels = test_data_cifar.make_cifar(tmp_path / 'c')  # 20 and 4
  dataset = colour.load({'path': str(tmp_path / 'c')})
  arrays = dataset.arrays
  assert dataset.name == 'cifar10-unverified-colour'
  assert dataset.facts['channels'] == [3, 1]
  assert dataset.facts['domains'] == ['colour', 'grey']
  assert arrays['x'].shape == arrays['y_as_x'].shape == (12, 32, 32, 3)
  assert arrays['y'].shape == arrays['x_as_y'].shape == (12, 32, 32, 1)
  where = {image.tobytes(): i for i, image in enumerate(images)}
  rows = [[where[image.tobytes()] for image in arrays[n]] for n in ('x', 'y_as_x')]
  assert sorted(rows[0] + rows[1]) == list(range(24))
  for side, mine in zip(SIDES, rows, strict=True):
    np.testing.assert_array_equal(arrays[f'label_{side}'], labels[mine])
    assert (np.array(mine[10:]) >= 20).all()  # the published test
  for one, other in (('x', 'x_as_y'), ('y_as_x', 'y')):
    grey = [np.asarray(Image.fromarray(image).convert('L')) for image in arrays[one]]
    np.testing.assert_array_equal(arrays[other][..., 0], grey)
  assert [len(part) for part in dataset.split(0).values()] == [9, 1, 2]
  assert dataset.classes[0] == 'airplane'


def test_colour_of_an_image_folder_keeps_its_name(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path))
  test_data_folder.make(tmp_path / 'cifar10-jpeg', count=10)
  config = {'source': 'image_folder', 'label': 'cifar10-jpeg', 'size': 5}
  dataset = colour.load(config)
  assert dataset.name == 'cifar10-jpeg-colour'
  assert dataset.arrays['x'].shape == (20, 5, 5, 3)
  assert dataset.classes == ('cat', 'dog')
  np.testing.assert_array_equal(dataset.arrays['label_y'][-10:], np.repeat([0, 1], 5))


def test_colour_of_own_images_is_named_after_them(tmp_path, monkeypatch):
  """As with cyclegan_color.py, whose path is the name cifar10-jpeg."""
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path / 'data'))
  test_data_folder.make(tmp_path / 'data/cifar10-jpeg', count=10)
  test_data_folder.make(tmp_path / 'flowers', count=10)
  for path in ('cifar10-jpeg', str(tmp_path / 'flowers')):
    dataset = colour.load({'source': 'image_folder', 'path': path})
    assert dataset.name == f'{pathlib.Path(path).name}-colour'


def test_mistakes_with_colour_are_one_line(tmp_path):
  for config, message in (
    ({'source': 'cifar'}, r"data\.source: unknown 'cifar' \(did you mean 'cifar10'"),
    ({'label': 'x'}, r'data\.label has no effect with data\.source = cifar10; data'),
    ({'size': 32}, r'data\.size has no effect with data\.source = cifar10; data'),
    ({'source': 'image_folder'}, r'data\.path is empty'),
    ({'download': False}, r'cifar10: cifar-10-binary.* not found in the cache'),
  ):
    with pytest.raises(errors.UserError, match=message):
      colour.load(config)
  for i, name in itertools.product(range(9), ('cat', 'dog')):
    test_data_folder.save(tmp_path / f'grey/train/{name}/{i}.png', mode='L')
  with pytest.raises(errors.UserError, match='grey has no image in colour: there'):
    colour.load({'source': 'image_folder', 'path': str(tmp_path / 'grey')})


@pytest.mark.skipif(
  not REAL or not (pathlib.Path(REAL) / 'mnist').is_dir(),
  reason='needs mnist/ below $DLSTEROIDS_DATA',
)
def test_real_mnist(monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', REAL)
  dataset = digits_unpaired.load({'source': 'mnist', 'download': False})
  assert dataset.name == 'mnist-unpaired'
  assert [len(part) for part in dataset.split(0).values()] == [27_000, 3_000, 5_000]
  for row in (0, 34_999):
    scan = dataset.arrays['x'][row, ..., 0]
    np.testing.assert_array_equal(
      dataset.arrays['x_as_y'][row, ..., 0], turned(scan, 255)
    )
