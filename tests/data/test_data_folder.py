"""The user's own images: layouts, archives, decoding, the cache."""

import io
import os
import pathlib
import shutil
import tarfile
import time
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dlsteroids.data import image_folder, image_stream
from dlsteroids.data.lib import decode
from dlsteroids.util import errors

GENERATOR = np.random.default_rng(0)
COLOUR = decode.Form(0, 3)
REAL = os.environ.get('DLSTEROIDS_DATA', '')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  monkeypatch.delenv('DLSTEROIDS_DATA', raising=False)
  return tmp_path / 'cache'


def save(path, size=(6, 5), mode='RGB', **options):
  """A random image of (width, height), written where `path` says; its pixels."""
  shape = (size[1], size[0], {'L': 1, 'RGB': 3, 'RGBA': 4}[mode])
  pixels = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels.squeeze(), mode).save(path, **options)
  return pixels


def make(root, splits=('train', 'test'), classes=('cat', 'dog'), count=8):
  """A folder of images; their pixels (PNG, so exact) in the order of the layout."""
  return np.stack(
    [
      save(root / split / name / f'{i:02}.png')
      for split in splits
      for name in classes
      for i in range(count)
    ]
  )


def load(path, **options):
  return image_folder.load({'path': str(path), **options})


def pack(root, target):
  """Packs a folder, in an order that is not the sorted one."""
  files = sorted(root.rglob('*'), key=lambda path: path.name, reverse=True)
  if target.suffix == '.zip':
    with zipfile.ZipFile(target, 'w') as file:
      for path in files:
        file.write(path, path.relative_to(root.parent))
  else:
    mode = {'.tar': 'w', '.gz': 'w:gz', '.tgz': 'w:gz', '.xz': 'w:xz'}[target.suffix]
    with tarfile.open(target, mode) as file:
      for path in files:
        file.add(path, path.relative_to(root.parent), recursive=False)
  return target


def test_folder_and_archives_give_the_same(tmp_path):
  pixels = make(tmp_path / 'pets')
  folder = load(tmp_path / 'pets')
  np.testing.assert_array_equal(folder.arrays['image'], pixels)
  np.testing.assert_array_equal(folder.arrays['label'], np.repeat([0, 1, 0, 1], 8))
  assert folder.classes == ('cat', 'dog')
  assert folder.name == 'pets'
  assert folder.official_test
  np.testing.assert_array_equal(folder.split(0)['test'], np.arange(16, 32))
  for kind in ('zip', 'tar', 'tar.gz', 'tgz', 'tar.xz'):
    packed = load(pack(tmp_path / 'pets', tmp_path / f'pets.{kind}'))
    np.testing.assert_array_equal(packed.arrays['image'], pixels)
    assert packed.digest == folder.digest  # name and order are the same, too
    assert packed.name == 'pets'


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
  make(tmp_path / 'pets')
  target = pack(tmp_path / 'pets', tmp_path / 'pets.tar.xz')
  first = [load(place).digest for place in (tmp_path / 'pets', target)]
  with monkeypatch.context() as patch:
    patch.setattr(decode, 'one', None)  # calling it would raise
    again = [load(place).digest for place in (tmp_path / 'pets', target)]
    assert again == first
  assert load(target, channels=1).arrays['image'].shape == (32, 5, 6, 1)
  save(tmp_path / 'pets/train/cat/00.png')
  assert load(tmp_path / 'pets').digest != first[0]


@pytest.mark.parametrize('spoil', ['cut', 'flip'])
def test_damaged_cache_is_made_anew(tmp_path, cache, spoil):
  pixels = make(tmp_path / 'pets')
  load(tmp_path / 'pets')
  [file] = (cache / 'image_folder').iterdir()
  data = bytearray(file.read_bytes())
  data[1000] ^= 1
  file.write_bytes(data[:900] if spoil == 'cut' else data)
  np.testing.assert_array_equal(load(tmp_path / 'pets').arrays['image'], pixels)


def test_seed_draws_test_and_validation_unless_given(tmp_path):
  make(tmp_path / 'a', splits=('train',), count=20)
  drawn = load(tmp_path / 'a')
  assert not drawn.official_test
  assert [len(part) for part in drawn.split(0).values()] == [28, 4, 8]
  make(tmp_path / 'b', splits=('train', 'validation', 'test'))
  given = load(tmp_path / 'b')
  np.testing.assert_array_equal(given.split(0)['validation'], np.arange(16, 32))
  np.testing.assert_array_equal(given.split(1)['train'], np.arange(16))


def test_found_by_label(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path / 'data'))
  make(tmp_path / 'other')
  (tmp_path / 'data/pets').mkdir(parents=True)
  pack(tmp_path / 'other', tmp_path / 'data/pets/x.tar.xz')
  assert image_folder.load({'label': 'pets'}).name == 'pets'
  pack(tmp_path / 'other', tmp_path / 'data/pets/y.zip')
  with pytest.raises(errors.UserError, match=r'2 archives \(x.tar.xz, y.zip\)'):
    image_folder.load({'label': 'pets'})
  with pytest.raises(errors.UserError, match=r'gone: train/CLASS.* not found in'):
    image_folder.load({'label': 'gone'})
  with pytest.raises(errors.UserError, match=r'data\.path is empty'):
    image_folder.load({})


def test_system_files_and_other_folders_are_skipped(tmp_path):
  pixels = make(tmp_path / 'pets')
  for name in ('.DS_Store', 'train/.x', 'train/cat/Thumbs.db', 'README', 'train/notes'):
    (tmp_path / 'pets' / name).write_text('text')
  (tmp_path / 'pets/annotations/deep/er/and/deeper').mkdir(parents=True)
  (tmp_path / 'pets/.git').mkdir()
  np.testing.assert_array_equal(load(tmp_path / 'pets').arrays['image'], pixels)


def one_class(root):
  shutil.rmtree(root / 'train/dog')


def empty_class(root):
  (root / 'train/eel').mkdir()


def class_only_in_test(root):
  save(root / 'test/eel/1.png')


def unreadable(root):
  (root / 'train/dog/03.png').write_text('no image')


def cut_image(root):
  save(root / 'train/dog/03.JPG', size=(60, 50))
  data = (root / 'train/dog/03.JPG').read_bytes()
  (root / 'train/dog/03.JPG').write_bytes(data[: len(data) // 2])


def other_size(root):
  save(root / 'train/dog/03.png', size=(7, 5))


def other_type(root):
  (root / 'train/dog/anim.gif').write_bytes(b'GIF89a')


def gif_called_png(root):
  Image.new('P', (6, 5)).save(root / 'train/dog/03.png', format='GIF')


def deeper(root):
  save(root / 'train/dog/more/1.png')


def outside_class(root):
  save(root / 'train/1.png')


def perhaps(root):
  save(root / 'eval/cat/1.png')


def no_train(root):
  shutil.move(root / 'train', root / 'trian')


def deep_colour(root):
  Image.fromarray(np.zeros((5, 6), np.uint16)).save(root / 'train/dog/03.png')


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (one_class, "test has class 'dog', which train lacks; train has cat$"),
    (empty_class, 'class folder train/eel is empty'),
    (class_only_in_test, "test has class 'eel', which train lacks; train has cat, dog"),
    (unreadable, r'train/dog/03\.png.* cannot be read as an image'),
    (cut_image, r'train/dog/03\.JPG.* cannot be read as an image'),
    (other_size, r"'.*' is 6×5, but '.*train/dog/03\.png' is 7×5: set data\.size"),
    (other_type, r'anim\.gif.* is of a kind that is not read; convert it to \.png'),
    (gif_called_png, r'train/dog/03\.png.* cannot be read as an image'),
    (deeper, 'train/dog/more.* is out of place'),
    (outside_class, r'train/1\.png.* is out of place'),
    (perhaps, r'is eval/ a split\? Rename it to validation/ or test/, or move it out'),
    (no_train, 'no train/ at the top|train/CLASS.* not found in'),
    (deep_colour, r'train/dog/03\.png.* expected 8 bits'),
  ],
)
def test_spoiled_folders_are_one_line(tmp_path, cache, spoil, message, packed):
  place = tmp_path / 'pets'
  make(place)
  spoil(place)
  if packed:
    place = pack(place, tmp_path / 'pets.tar.gz')
  with pytest.raises(errors.UserError, match=message) as error:
    load(place)
  assert '\n' not in str(error.value)
  assert not list(cache.rglob('*.*'))  # nothing half-written


HINTS = {
  'pets/cat/1.png pets/dog/1.png': 'move the folders of classes into train/',
  'pets/seg_train/cat/1.png': 'rename seg_train/ to train/',
  'pets/a/b/Train/cat/1.png': 'take a/b/, which holds Train/, as the top',
  'pets/data.tar.bz2': r'it holds data\.tar\.bz2',
  'pets/train.csv': r'it holds train\.csv',
}


@pytest.mark.parametrize('names', HINTS)
def test_a_folder_without_training_images_says_what_it_holds(tmp_path, names):
  for name in names.split():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  with pytest.raises(errors.UserError, match=f'no train/ at the top.*{HINTS[names]}'):
    load(tmp_path / 'pets')


def test_the_training_folder_itself_is_not_the_top(tmp_path):
  make(tmp_path / 'pets')
  with pytest.raises(errors.UserError, match='is train/ itself: give the folder above'):
    load(tmp_path / 'pets/train')


def test_a_packed_archive_says_to_unpack_it(tmp_path):
  make(tmp_path / 'pets')
  inner = pack(tmp_path / 'pets', tmp_path / 'inner.zip')
  with zipfile.ZipFile(tmp_path / 'outer.zip', 'w') as file:
    file.write(inner, 'inner.zip')
  with pytest.raises(errors.UserError, match=r'it holds inner\.zip; unpack inner\.zip'):
    load(tmp_path / 'outer.zip')


def test_folder_with_one_class(tmp_path):
  make(tmp_path / 'pets', classes=('cat',))
  with pytest.raises(errors.UserError, match='train has cat; at least two classes'):
    load(tmp_path / 'pets')


def test_unwritable_cache_is_one_line(tmp_path, monkeypatch):
  make(tmp_path / 'pets')
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'file'))
  with pytest.raises(errors.UserError, match='set DLSTEROIDS_CACHE to a folder'):
    load(tmp_path / 'pets')


NAMES = {
  'train': ('train', 'TRAIN', 'Training', 'training_set', 'train-images'),
  'validation': ('validation', 'Val', 'valid', 'dev', 'VALIDATION'),
  'test': ('test', 'Test', 'Testing', 'test_set', 'TestSet'),
}


@pytest.mark.parametrize('number', range(5))
def test_names_of_splits_in_any_spelling(tmp_path, number):
  root, splits = tmp_path / 'pets', [NAMES[split][number] for split in NAMES]
  make(root, splits=splits)
  stream = image_stream.load({'path': str(root), 'size': 4, 'resize': 4})
  for dataset in (load(root), load(pack(root, tmp_path / 'pets.zip')), stream):
    assert [len(part) for part in dataset.split(0).values()] == [16, 16, 16]
    assert dataset.official_test


@pytest.mark.parametrize('name', ['holdout', 'evaluation', 'test2', 'my_val', 'extra'])
def test_a_folder_that_may_be_a_split_is_not_ignored(tmp_path, name):
  root = tmp_path / 'pets'
  make(root, splits=('train', name))
  for place in (root, pack(root, tmp_path / 'pets.tar')):
    with pytest.raises(errors.UserError, match=rf'is {name}/ a split\? Rename it'):
      load(place)
  with pytest.raises(errors.UserError, match=rf'is {name}/ a split\?'):
    image_stream.load({'path': str(root), 'size': 4, 'resize': 4})


def test_two_folders_of_one_split_are_refused(tmp_path):
  make(tmp_path / 'pets', splits=('train', 'test', 'Testing'))
  with pytest.raises(errors.UserError, match='hold test images; keep one'):
    load(tmp_path / 'pets')


def test_classes_are_one_in_any_unicode_form_and_case(tmp_path):
  for split, names in (
    ('train', ('caf\u00e9', 'Dog')),
    ('test', ('cafe\u0301', 'dog')),
  ):
    make(tmp_path / 'pets', splits=(split,), classes=names)
  for place in (tmp_path / 'pets', pack(tmp_path / 'pets', tmp_path / 'pets.zip')):
    dataset = load(place)
    assert dataset.classes == ('Dog', 'caf\u00e9')
    np.testing.assert_array_equal(np.bincount(dataset.arrays['label'][16:]), [8, 8])
  make(tmp_path / 'letters', splits=('train',), classes=('a', 'A'))
  assert load(tmp_path / 'letters').classes == ('A', 'a')


def test_a_path_may_be_a_name_and_names_the_data_set(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path / 'data'))
  make(tmp_path / 'data/pets')
  make(tmp_path / 'own')
  assert load('pets').name == 'pets'
  assert load(tmp_path / 'own').name == 'own'
  with pytest.raises(errors.UserError, match="'gone' does not exist; it was not found"):
    load('gone')


# One image


def encode(image, kind='PNG', **options):
  stream = io.BytesIO()
  image.save(stream, kind, **options)
  return stream.getvalue()


def test_resize_takes_the_middle_of_the_shorter_side():
  wide = np.zeros((4, 12, 3), np.uint8)
  wide[:, 4:8] = GENERATOR.integers(0, 256, (4, 4, 3))
  data = encode(Image.fromarray(wide))
  np.testing.assert_array_equal(decode.one(data, 'x', decode.Form(4, 3)), wide[:, 4:8])
  # Halving: bilinear with antialiasing is the triangle 1, 3, 3, 1 (of 8).
  row = GENERATOR.integers(0, 256, 16).astype(np.float64)
  flat = Image.fromarray(np.tile(row.astype(np.uint8), (16, 1)))
  small = decode.one(encode(flat), 'x', decode.Form(8, 1))
  expected = (row[1:-3:2] + 3 * row[2:-2:2] + 3 * row[3:-1:2] + row[4::2]) / 8
  np.testing.assert_allclose(small[4, 1:-1, 0], expected, atol=1)


def test_colour_grey_palette_and_transparency():
  grey = Image.fromarray(GENERATOR.integers(0, 256, (3, 4), dtype=np.uint8))
  replicated = decode.one(encode(grey), 'x', COLOUR)
  np.testing.assert_array_equal(
    replicated, np.repeat(np.asarray(grey)[..., None], 3, 2)
  )
  colour = Image.fromarray(GENERATOR.integers(0, 256, (3, 4, 3), dtype=np.uint8))
  luma = decode.one(encode(colour), 'x', decode.Form(0, 1))[..., 0]
  expected = np.asarray(colour) @ [0.299, 0.587, 0.114]  # ITU-R 601
  np.testing.assert_allclose(luma, expected, atol=1)
  clear = colour.copy()
  clear.putalpha(7)
  np.testing.assert_array_equal(decode.one(encode(clear), 'x', COLOUR), colour)
  palette = colour.quantize(4)
  data = encode(palette, transparency=bytes([0, 9, 255, 255]))
  np.testing.assert_array_equal(decode.one(data, 'x', COLOUR), palette.convert('RGB'))


def test_exif_orientation_is_applied():
  image = Image.fromarray(GENERATOR.integers(0, 256, (3, 4, 3), dtype=np.uint8))
  exif = Image.Exif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise to show
  turned = decode.one(encode(image, exif=exif), 'x', COLOUR)
  np.testing.assert_array_equal(turned, np.rot90(np.asarray(image), -1))


def test_damaged_exif_is_no_damage_to_the_picture():
  image = Image.fromarray(GENERATOR.integers(0, 256, (16, 16, 3), dtype=np.uint8))
  head = b'Exif\0\0'
  for exif in (
    b'not a header',
    b'MM\0\x2a\xff\xff\xff\xff' + bytes(8),
    b'II\x2a\0\x08',
  ):
    info = PngImagePlugin.PngInfo()
    info.add(b'eXIf', exif)
    for data in (
      encode(image, pnginfo=info),
      encode(image, 'JPEG', quality=100, subsampling=0, exif=head + exif),
    ):
      seen = decode.one(data, 'x', COLOUR)
      assert np.abs(seen.astype(int) - np.asarray(image)).max() < 8


def test_pixel_bomb_is_refused_before_decoding(monkeypatch):
  data = encode(Image.new('L', (100, 100)))
  monkeypatch.setattr(decode, 'PIXELS', 9_999)
  with pytest.raises(errors.UserError, match='100×100 pixels, more than 9,999'):
    decode.one(data, 'x', COLOUR)


def test_too_much_for_the_memory_is_refused(tmp_path, monkeypatch):
  make(tmp_path / 'pets')
  monkeypatch.setattr(decode, 'TOTAL', 1000)
  with pytest.raises(errors.UserError, match=r'32 images of 6×5×3 need 2,880 bytes'):
    load(tmp_path / 'pets')


@pytest.mark.slow
@pytest.mark.skipif(
  not REAL or not (pathlib.Path(REAL) / 'cifar10-jpeg').is_dir(),
  reason='needs cifar10-jpeg/ below $DLSTEROIDS_DATA',
)
def test_real_cifar10_jpeg(monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', REAL)
  start = time.perf_counter()
  first = image_folder.load({'label': 'cifar10-jpeg'})
  assert time.perf_counter() - start < 60
  assert first.name == 'cifar10-jpeg'
  assert first.arrays['image'].shape == (60_000, 32, 32, 3)
  np.testing.assert_array_equal(
    np.bincount(first.arrays['label'][:50_000]), [5000] * 10
  )
  start = time.perf_counter()
  assert image_folder.load({'label': 'cifar10-jpeg'}).digest == first.digest
  assert time.perf_counter() - start < 10
