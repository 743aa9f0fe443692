"""The user's own two domains: folders, archives, CycleGAN's layout, what is refused."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from dlsteroids import config as config_lib
from dlsteroids.data import unpaired
from dlsteroids.data.lib import decode
from dlsteroids.util import errors
from tests.data import test_data_folder

SIDES = ('x', 'y')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  monkeypatch.delenv('DLSTEROIDS_DATA', raising=False)
  return tmp_path / 'cache'


def folder(root, count, mode='RGB', size=(6, 5)):
  """Images in one folder; their pixels (PNG, so exact) in the order of their names."""
  files = [root / f'{i:02}.png' for i in range(count)]
  return np.stack([test_data_folder.save(file, size, mode) for file in files])


def cyclegan(root, **counts):
  """A folder laid out as CycleGAN's; pixels by sub-folder."""
  counts = {'trainA': 20, 'trainB': 12, 'testA': 4, 'testB': 5, **counts}
  return {name: folder(root / name, count) for name, count in counts.items() if count}


def two(root, **options):
  paths = {'path_x': str(root / 'apples'), 'path_y': str(root / 'oranges')}
  return unpaired.load({**paths, **options})


def test_two_folders_or_archives(tmp_path):
  pixels = [folder(tmp_path / 'apples', 20), folder(tmp_path / 'oranges', 12)]
  dataset = two(tmp_path)
  for side, expected in zip(SIDES, pixels, strict=True):
    np.testing.assert_array_equal(dataset.arrays[side], expected)
  assert dataset.arrays['pairs'].shape == (20, 2)
  assert dataset.arrays.keys() == {'x', 'y', 'pairs'}  # nobody knows a truth
  assert dataset.name == 'apples-oranges'
  assert dataset.facts['domains'] == ['apples', 'oranges']
  assert dataset.facts['channels'] == [3, 3]
  assert dataset.facts['treatments'] == []
  assert not dataset.official_test
  for kind in ('zip', 'tar.gz'):
    for name in ('apples', 'oranges'):
      target = tmp_path / kind / f'{name}.{kind}'
      target.parent.mkdir(exist_ok=True)
      test_data_folder.pack(tmp_path / name, target)
    paths = [str(tmp_path / kind / f'{name}.{kind}') for name in ('apples', 'oranges')]
    packed = unpaired.load({'path_x': paths[0], 'path_y': paths[1]})
    assert packed.digest == dataset.digest
    np.testing.assert_array_equal(packed.arrays['y'], pixels[1])


def test_the_official_layout_and_its_test(tmp_path, monkeypatch):
  parts = cyclegan(tmp_path / 'maps', valA=2, valB=3)
  (tmp_path / 'maps/trainA/.DS_Store').write_text('text')
  (tmp_path / 'maps/README').write_text('text')
  dataset = unpaired.load({'path': str(tmp_path / 'maps')})
  for side, letter in zip(SIDES, 'AB', strict=True):
    expected = [parts[f'{split}{letter}'] for split in ('train', 'val', 'test')]
    np.testing.assert_array_equal(dataset.arrays[side], np.concatenate(expected))
  assert dataset.official_test
  assert [len(part) for part in dataset.split(0).values()] == [20, 3, 5]
  assert dataset.name == 'maps'
  assert dataset.facts['domains'] == ['A', 'B']
  packed = test_data_folder.pack(tmp_path / 'maps', tmp_path / 'maps.zip')
  assert unpaired.load({'path': str(packed)}).digest == dataset.digest
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path))
  found = unpaired.load({'label': 'maps'})
  assert (found.name, found.digest) == ('maps', dataset.digest)
  cyclegan(tmp_path / 'drawn', testA=0, testB=0)
  drawn = unpaired.load({'path': str(tmp_path / 'drawn')})
  assert not drawn.official_test
  assert len(drawn.split(0)['train']) < 20


def test_digest_is_of_the_content_and_not_of_the_place(tmp_path):
  for name, count in (('apples', 20), ('oranges', 12)):
    folder(tmp_path / 'a' / name, count)
  shutil.copytree(tmp_path / 'a', tmp_path / 'b')
  (tmp_path / 'b/apples').rename(tmp_path / 'b/pears')
  first = two(tmp_path / 'a')
  moved = two(tmp_path / 'b', path_x=str(tmp_path / 'b/pears'))
  assert moved.name == 'pears-oranges'
  assert moved.digest == first.digest == two(tmp_path / 'a', label='fruit').digest
  assert two(tmp_path / 'a', crop=1).digest != first.digest
  test_data_folder.save(tmp_path / 'b/pears/03.png')
  changed = two(tmp_path / 'b', path_x=str(tmp_path / 'b/pears'))
  assert changed.digest != first.digest
  # Nor do places make another run.
  config = {section: {} for section in config_lib.TRAINING}
  config['data'] = {'name': 'unpaired', 'path_x': 'a', 'path_y': 'b', 'size': 5}
  kept = config_lib.training(config)['data']
  assert kept == {'name': 'unpaired', 'size': 5}


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
  cyclegan(tmp_path / 'maps')
  first = unpaired.load({'path': str(tmp_path / 'maps')})
  monkeypatch.setattr(decode, 'one', None)  # calling it would raise
  again = unpaired.load({'path': str(tmp_path / 'maps')})
  assert again.digest == first.digest


def test_grey_and_colour_are_brought_to_one_kind_and_it_is_said(tmp_path):
  grey = folder(tmp_path / 'apples', 20, 'L')
  coloured = folder(tmp_path / 'oranges', 12)
  both = two(tmp_path)
  np.testing.assert_array_equal(both.arrays['x'], np.repeat(grey, 3, axis=3))
  [said] = both.facts['treatments']
  assert said == '20 of 20 images of apples are grey: three equal channels.'
  one = two(tmp_path, channels=1)
  np.testing.assert_array_equal(one.arrays['x'], grey)
  luma = [np.asarray(Image.fromarray(image).convert('L')) for image in coloured]
  np.testing.assert_array_equal(one.arrays['y'][..., 0], luma)
  assert one.facts['channels'] == [1, 1]
  assert 'ITU-R 601 luma' in one.facts['treatments'][0]


def test_sizes_are_brought_together_as_in_image_folders(tmp_path):
  folder(tmp_path / 'apples', 20, size=(9, 7))
  folder(tmp_path / 'oranges', 12, size=(6, 6))
  with pytest.raises(errors.UserError, match=r'apples are 9×7, but .* oranges 6×6'):
    two(tmp_path)
  dataset = two(tmp_path, size=4)
  assert dataset.arrays['x'].shape == (20, 4, 4, 3)
  with Image.open(tmp_path / 'apples/03.png') as image:
    box = (1, 0, 8, 7)  # the middle square
    small = image.resize((4, 4), Image.Resampling.BILINEAR, box=box)
  np.testing.assert_array_equal(dataset.arrays['x'][3], np.asarray(small))
  assert dataset.facts['treatments'] == [
    'The middle square of every image was brought to 4 pixels a side.'
  ]


def empty(root):
  shutil.rmtree(root / 'oranges')
  (root / 'oranges').mkdir()
  (root / 'oranges/notes.txt').write_text('text')


def missing(root):
  shutil.rmtree(root / 'oranges')


def unreadable(root):
  (root / 'oranges/03.png').write_text('no image')


def unequal(root):
  test_data_folder.save(root / 'oranges/03.png', size=(7, 5))


def several(root):
  test_data_folder.save(root / 'oranges/more/1.png')


def animated(root):
  (root / 'oranges/1.gif').write_bytes(b'GIF89a')


def few(root):
  for i in range(1, 12):
    (root / f'oranges/{i:02}.png').unlink()


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (empty, r"oranges' holds no \.jpg, \.jpeg or \.png images"),
    (missing, r"^data\.path_y: '.*oranges' does not exist"),
    (unreadable, r'03\.png.* cannot be read as an image'),
    (unequal, r"'00\.png' is 6×5, but '03\.png' is 7×5: set data\.size"),
    (several, r'holds images in 2 folders \(its top, more\): give one of them'),
    (animated, r"'1\.gif' is of a kind that is not read; convert it to \.png"),
    (few, r'1 training images of oranges are too few: 1 remain when 0 go to val'),
  ],
)
def test_spoiled_folders_are_one_line(tmp_path, spoil, message):
  folder(tmp_path / 'apples', 20)
  folder(tmp_path / 'oranges', 12)
  spoil(tmp_path)
  with pytest.raises(errors.UserError, match=message) as error:
    two(tmp_path)
  assert '\n' not in str(error.value)


def one_side(root):
  shutil.rmtree(root / 'trainB')


def emptied(root):
  one_side(root)
  (root / 'trainB').mkdir()


def half_a_test(root):
  shutil.rmtree(root / 'testB')


def deeper(root):
  test_data_folder.save(root / 'trainB/more/1.png')


def misspelt(root):
  (root / 'testA').rename(root / 'eval_A')


def no_train(root):
  for side in 'AB':
    shutil.rmtree(root / f'train{side}')


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (one_side, 'has no images in trainB/; expected trainA/'),
    (emptied, 'has no images in trainB/; expected trainA/'),
    (half_a_test, 'has no images in testB/; expected trainA/'),
    (deeper, r'trainB/more/1\.png.* is out of place; expected trainA/'),
    (misspelt, r'is eval_A/ a split\? Rename it to trainA, trainB, validationA'),
    (no_train, r'no trainA/ at the top|trainA/\*.* not found in data\.path'),
  ],
)
def test_spoiled_layouts_are_one_line(tmp_path, spoil, message, packed):
  place = tmp_path / 'maps'
  cyclegan(place)
  spoil(place)
  if packed:
    place = test_data_folder.pack(place, tmp_path / 'maps.tar.gz')
  with pytest.raises(errors.UserError, match=message) as error:
    unpaired.load({'path': str(place)})
  assert '\n' not in str(error.value)


def test_mistakes_with_places_are_one_line(tmp_path):
  folder(tmp_path / 'apples', 3)
  (tmp_path / 'file.txt').write_text('text')
  (tmp_path / 'data').mkdir()
  for i in (1, 2):
    (tmp_path / f'data/{i}.zip').write_bytes(b'')
  apples, text = str(tmp_path / 'apples'), str(tmp_path / 'file.txt')
  for config, message in (
    ({}, r'data\.path is empty: give .* or set data\.path_x and data\.path_y'),
    ({'path_x': apples}, r'data\.path_y is empty, but data\.path_x is set'),
    ({'path_y': apples}, r'data\.path_x is empty, but data\.path_y is set'),
    ({'path': apples, 'path_x': apples}, r'data\.path and data\.path_x are both set'),
    ({'path_x': apples, 'path_y': apples}, 'are both .*: two domains are needed'),
    ({'path_x': text, 'path_y': apples}, r'file\.txt. is not a folder or an archive'),
    ({'path': text}, r'file\.txt. is not a folder or an archive'),
    ({'path': str(tmp_path / 'gone')}, 'does not exist'),
    ({'path': apples}, r'data\.path: .*apples. has no trainA/.*holds 00\.png'),
    (
      {'path': str(tmp_path / 'data')},
      r'2 archives \(1\.zip, 2\.zip\): set data\.path',
    ),
    ({'path': apples, 'channels': 2}, r'data\.channels: unknown 2.*; use 1, 3'),
    ({'path': apples, 'size': -1}, r'data\.size must lie in \[0, 4096\]'),
    ({'path_z': apples}, r"unknown option config\.data\.path_z \(did you mean 'path_"),
  ):
    with pytest.raises(errors.UserError, match=message) as error:
      unpaired.load(config)
    assert '\n' not in str(error.value)


def test_archives_are_read_by_the_same_safety_rules(tmp_path):
  folder(tmp_path / 'apples', 8)
  with zipfile.ZipFile(tmp_path / 'bad.zip', 'w') as file:
    file.write(tmp_path / 'apples/00.png', '../00.png')
  with pytest.raises(errors.UserError, match=r'is refused: member .* outside'):
    two(tmp_path, path_y=str(tmp_path / 'bad.zip'))
