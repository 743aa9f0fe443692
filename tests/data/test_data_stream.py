"""Images read as they are trained on; oracles: plain Pillow, hand-written windows."""

import math
import os
import shutil
import zlib

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image, ImageOps, JpegImagePlugin

import dlsteroids
from dlsteroids import types
from dlsteroids.data import image_stream
from dlsteroids.data.lib import crop, decode, reader
from dlsteroids.plan import plugin_check
from dlsteroids.util import errors
from tests.fixtures import photo_fixture

SIZE, RESIZE = 24, 32


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  return photo_fixture.make(tmp_path_factory.mktemp('photos') / 'photos', 6)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  monkeypatch.delenv('DLSTEROIDS_DATA', raising=False)


def load(path, **options):
  return image_stream.load(
    {'path': str(path), 'size': SIZE, 'resize': RESIZE, **options}
  )


def listing(root):
  """Files in the order of the examples: by split, class and name."""
  splits = ('train', 'validation', 'test')
  return [p for split in splits for p in sorted((root / split).glob('*/*'))]


def by_hand(path, box):
  with Image.open(path) as opened:
    image = ImageOps.exif_transpose(opened).convert('RGB')
  size = (SIZE, SIZE)
  return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box(*image.size)))


def test_evaluation_sees_the_middle_as_plain_pillow_cuts_it(photos):
  dataset = load(photos)
  files = listing(photos)
  assert [path.suffix for path in files].count('.png') == 3
  seen = dataset.arrays['image'][np.arange(len(files))]

  def box(width, height):
    side = min(width, height) * SIZE / RESIZE
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side

  np.testing.assert_array_equal(seen, [by_hand(path, box) for path in files])
  labels = [photo_fixture.CLASSES.index(path.parent.name) for path in files]
  np.testing.assert_array_equal(dataset.arrays['label'], labels)
  again = [dataset.stream.example(types.Request(i)) for i in range(len(files))]
  np.testing.assert_array_equal(seen, [one['image'] for one in again])


def resized_by_hand(seed, epoch, example, area, aspect):
  """torchvision's RandomResizedCrop.get_params, with numpy's draws."""
  draw = np.random.default_rng([seed, zlib.crc32(b'window'), epoch, example])

  def box(width, height):
    for _ in range(10):
      target = draw.uniform(area, 1.0) * height * width
      ratio = np.exp(draw.uniform(np.log(1 / aspect), np.log(aspect)))
      w, h = round(np.sqrt(target * ratio)), round(np.sqrt(target / ratio))
      if 0 < w <= width and 0 < h <= height:
        left = draw.integers(0, width - w, endpoint=True)
        upper = draw.integers(0, height - h, endpoint=True)
        return left, upper, left + w, upper + h
    w, h = width, height
    if width / height < 1 / aspect:
      h = round(w * aspect)
    elif width / height > aspect:
      w = round(h * aspect)
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h

  return box


def test_training_sees_windows_of_its_seed_epoch_and_example(photos):
  dataset = load(photos, area=0.3, aspect=1.5)
  seen = {}
  for seed, epoch in ((0, 0), (0, 1), (3, 0)):
    for example, path in enumerate(listing(photos)):
      one = dataset.stream.example(types.Request(example, seed, epoch))['image']
      box = resized_by_hand(seed, epoch, example, 0.3, 1.5)
      np.testing.assert_array_equal(one, by_hand(path, box))
      seen[one.tobytes()] = None
  assert len(seen) == 3 * len(listing(photos))  # all differ


def test_the_window_anywhere_is_a_square_of_evaluation_s_side(photos):
  dataset = load(photos, window='anywhere')
  for example, path in enumerate(listing(photos)[:6]):
    draw = np.random.default_rng([2, zlib.crc32(b'window'), 5, example])

    def box(width, height, draw=draw):
      side = min(width, height) * SIZE / RESIZE
      left, upper = draw.random() * (width - side), draw.random() * (height - side)
      return left, upper, left + side, upper + side

    one = dataset.stream.example(types.Request(example, 2, 5))['image']
    np.testing.assert_array_equal(one, by_hand(path, box))


@hypothesis.given(
  strategies.tuples(strategies.integers(1, 900), strategies.integers(1, 900)),
  strategies.floats(0.01, 1),
  strategies.floats(1, 8),
  strategies.integers(0, 99),
)
@hypothesis.settings(max_examples=200, deadline=None)
def test_a_resized_window_lies_inside_and_keeps_its_bounds(sides, area, aspect, seed):
  draw = np.random.default_rng(seed)
  window = crop.resized(*sides, area, aspect, draw)
  assert 0 <= window.left < window.right <= sides[0]
  assert 0 <= window.upper < window.lower <= sides[1]
  # Half a pixel of rounding on either side.
  assert (window.width - 1) / (window.height + 1) <= aspect * 1.001
  assert (window.height - 1) / (window.width + 1) <= aspect * 1.001


def test_areas_and_shapes_of_windows_are_spread_as_stated():
  draw = np.random.default_rng(0)
  found = [crop.resized(4000, 4000, 0.2, 2.0, draw) for _ in range(4000)]
  areas = np.array([w.width * w.height for w in found]) / 4000**2
  shapes = np.array([math.log(w.width / w.height) for w in found])
  assert areas.min() >= 0.1999
  assert np.abs(shapes).max() <= math.log(2) + 1e-3
  small = np.abs(shapes[areas < 0.5])  # these fit whatever their shape
  assert abs(small.mean() - math.log(2) / 2) < 0.02
  # A larger area a fits with probability ln(1/a) / ln 2, or else is drawn again.
  fitting = 0.3 + (0.5 - 0.5 * math.log(2)) / math.log(2)
  assert abs(np.mean(areas < 0.35) - 0.15 / fitting) < 0.02


@pytest.mark.parametrize('times', [1, 2, 3, 4, 9])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(times, tmp_path, monkeypatch):
  image = photo_fixture.paint(5, 150 * times + 1, 120 * times + 3)
  image.save(tmp_path / 'a.jpg', quality=95)
  data = (tmp_path / 'a.jpg').read_bytes()
  asked, draft = [], JpegImagePlugin.JpegImageFile.draft

  def spy(self, mode, size):
    asked.append(self.size[0] / size[0])
    return draft(self, mode, size)

  monkeypatch.setattr(JpegImagePlugin.JpegImageFile, 'draft', spy)
  form = decode.Form(SIZE, 3)
  small = decode.cut(data, 'a', form, crop.middle)
  whole = decode.cut(data, 'a', form, crop.middle, gap=math.inf)
  side = 120 * times + 3
  expected = max(r for r in (1, 2, 4, 8) if r == 1 or side / r >= 2 * SIZE)
  assert [round(r) for r in asked] == ([expected] if expected > 1 else [])
  gaps = np.abs(small.astype(int) - whole)
  assert gaps.mean() < 0.6
  assert gaps.max() <= 4


def test_windows_are_those_of_the_upright_image(tmp_path):
  image = photo_fixture.paint(2, 400, 260)
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned clockwise by a quarter
  image.save(tmp_path / 'turned.jpg', quality=95, exif=exif)
  upright = image.transpose(Image.Transpose.ROTATE_270)
  upright.save(tmp_path / 'upright.png')

  def corner(width, height):
    assert (width, height) == (260, 400)
    return crop.Window(0, 0, 130, 130)

  form = decode.Form(SIZE, 3)
  both = [
    decode.cut((tmp_path / name).read_bytes(), name, form, corner).astype(int)
    for name in ('turned.jpg', 'upright.png')
  ]
  assert np.abs(both[0] - both[1]).mean() < 2
  assert (
    np.abs(both[0] - both[1].transpose(1, 0, 2)).mean() > 10
  )  # else it shows nothing


def test_val_is_validation_or_the_test_of_imagenet(tmp_path):
  root = photo_fixture.make(tmp_path / 'photos', 5, ('train', 'val'))
  first = load(root, validation=0.2, test=0.2)
  sizes = {name: len(part) for name, part in first.split(0).items()}
  assert sizes == {'train': 12, 'validation': 15, 'test': 3}
  assert not first.official_test
  second = load(root, val='test', validation=0.2)
  sizes = {name: len(part) for name, part in second.split(0).items()}
  assert sizes == {'train': 12, 'validation': 3, 'test': 15}
  assert second.official_test
  assert second.digest != first.digest
  (root / 'val').rename(root / 'validation')
  assert load(root).split(0)['validation'].tolist() == list(range(15, 30))


def test_the_digest_is_of_names_and_sizes_and_if_asked_of_every_byte(photos, tmp_path):
  root = tmp_path / 'photos'
  shutil.copytree(photos, root)
  plain, exact = load(root).digest, load(root, contents=True).digest
  assert load(photos, label='photos').digest == plain  # wherever it lies
  assert load(root, contents=True).digest == exact
  assert len({plain, exact, load(root, area=0.5).digest}) == 3
  victim = sorted((root / 'train').glob('*/*.JPEG'))[3]
  data = bytearray(victim.read_bytes())
  data[-20] ^= 1  # within the coded pixels
  victim.write_bytes(data)
  assert load(root, contents=True).digest != exact
  victim.write_bytes(data + b'\0')
  assert load(root).digest != plain
  victim.rename(victim.with_name('other.JPEG'))
  assert load(root).digest != plain


def test_moments_are_those_of_the_training_images_it_measures(photos):
  few = load(photos, moments=4, flip=False)
  pixels = few.arrays['image'][np.array([0, 5, 11, 17])].reshape(-1, 3) / 1.0
  raw = {'image': few.arrays['image'][np.array([2])]}
  seen = few.transform(raw, None, train=False)['image']
  expected = (raw['image'] - pixels.mean(0)) / pixels.std(0)
  np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_readers_whoever_they_are_read_the_same(photos):
  dataset = load(photos)
  requests = [types.Request(i % 18, i % 2, i // 18) for i in range(40)]
  plain = [dataset.stream.example(request)['image'] for request in requests]
  for readers in (reader.Readers(1), reader.Readers(3), reader.Readers(1, 2)):
    with reader.read(dataset.stream.example, requests, readers) as examples:
      found = [one['image'] for one in examples]
    np.testing.assert_array_equal(found, plain, err_msg=str(readers))


def tell_process(request):
  """An example that says who read it, and which platforms JAX may start there."""
  return {'pid': os.getpid(), 'platforms': jax.config.jax_platforms}


def test_worker_processes_stay_off_the_accelerator(monkeypatch):
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  readers = reader.Readers(1, 1)
  with reader.read(tell_process, [types.Request(0)], readers) as examples:
    (found,) = examples
  assert found['pid'] != os.getpid()
  assert found['platforms'] == 'cpu'


def refused(path, words, **options):
  with pytest.raises(errors.UserError, match=words) as caught:
    load(path, **options)
  assert '\n' not in str(caught.value)


def test_mistakes_are_one_line(photos, tmp_path):
  refused(tmp_path / 'gone', 'does not exist')
  refused(tmp_path, 'train/CLASS')
  (tmp_path / 'a.zip').write_bytes(b'')
  refused(tmp_path / 'a.zip', 'is a file: .* unpack it')
  refused(photos, r'size ≤ data\.resize', size=64)
  refused(photos, 'data.area', area=0.0)
  refused(photos, 'data.aspect', aspect=0.9)
  refused(photos, "unknown 'centre'", window='centre')
  refused(photos, 'data.moments', moments=0)
  refused(photos, 'data.channels', channels=2)
  root = photo_fixture.make(tmp_path / 'both', 3, ('train', 'val', 'validation'))
  refused(root, 'both val/ and validation/ hold validation images')


def test_a_damaged_file_and_a_bomb_are_refused_by_name(photos, tmp_path):
  root = tmp_path / 'photos'
  shutil.copytree(photos, root)
  dataset = load(root, moments=1)
  files = listing(root)
  data = files[4].read_bytes()
  files[4].write_bytes(data[: len(data) // 2])
  Image.new('L', (9000, 9000)).save(files[5].with_suffix('.png'))
  os.replace(files[5].with_suffix('.png'), files[5])
  files[7].unlink()
  for example, words in ((4, 'cannot be read as an image'), (5, '9000×9000 pixels')):
    with pytest.raises(errors.UserError, match=words) as caught:
      dataset.stream.example(types.Request(example))
    assert files[example].name in str(caught.value)
  with pytest.raises(errors.UserError, match=r'No such file'):
    dataset.stream.example(types.Request(7))


def test_too_many_rows_at_once_are_refused(photos, monkeypatch):
  dataset = load(photos)
  monkeypatch.setattr('dlsteroids.data.lib.disk.LIMIT', 10_000)
  with pytest.raises(errors.UserError, match='need 31,104 bytes at once'):
    dataset.arrays['image'][np.arange(18)]


def test_an_image_file_of_gigabytes_is_not_read(tmp_path):
  with (tmp_path / 'a.jpg').open('wb') as file:
    file.truncate(1 << 29)  # sparse
  with pytest.raises(
    errors.UserError, match=r'a.jpg.* has 536,870,912 bytes, more than 268,435,456'
  ):
    decode.read(tmp_path / 'a.jpg')


def test_the_check_of_plug_ins_reads_a_stream(photos, monkeypatch):
  for name, value in (('path', str(photos)), ('size', 4)):
    option = image_stream.OPTIONS[name]._replace(default=value)
    monkeypatch.setitem(image_stream.OPTIONS, name, option)
  assert not dlsteroids.check('dlsteroids.data.image_stream')


def test_a_stream_that_is_not_what_it_says_is_told(photos):
  stream = load(photos).stream
  assert not list(plugin_check.check_stream('mine', stream))
  lying = stream._replace(shapes={**stream.shapes, 'label': ((), 'int16')})
  problem, again = plugin_check.check_stream('mine', lying)
  assert problem == again
  assert problem.startswith('mine: stream.example gives')
  whims = np.random.default_rng(0)

  def shaken(request):
    return {**stream.example(request), 'label': np.int32(whims.integers(1000))}

  problem, _ = plugin_check.check_stream('mine', stream._replace(example=shaken))
  assert problem.endswith('two answers to one request')
