"""Image folders larger than the memory, read as they are trained on: ImageNet's layout.

`train/CLASS/*.JPEG|jpg|png` with `validation/` (or `val/`) and `test/` of the same
classes if there are any, as `train/n01440764/n01440764_18.JPEG`. Every epoch sees
another window of every image; evaluation sees the middle. What is flipped, cropped out
of a frame or shifted in colour is so on the device, as in every set of images.
"""

import functools
import hashlib
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data.lib import (
  crop,
  decode,
  disk,
  images,
  layout,
  source,
  split,
  transform,
)
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'path': '',  # the folder; '' searches for the folder `label`
  'label': '',  # the data set's name in results; '': the folder's
  'size': 224,  # square side in pixels of what the network sees
  'resize': 256,  # the shorter side, of which evaluation sees the `size` in the middle
  'channels': 3,  # 3 or, for grey, 1
  'window': 'resized',  # that training sees: resized, anywhere, middle (windows.py)
  'area': 0.08,  # resized: least share of the image's area
  'aspect': 4 / 3,  # resized: most that width over height is; the least is its inverse
  'val': 'validation',  # what val/ is; test: ImageNet's own test has no labels
  'test': 0.2,  # share of train drawn by the seed for testing, if there is no test/
  'moments': 1024,  # training images, evenly spaced, that pixels' moments are taken of
  'contents': False,  # the digest covers every byte of every file; else names and sizes
  **images.OPTIONS,
  'flip': True,
}
WINDOWS = ('resized', 'anywhere', 'middle')


class Folder(NamedTuple):
  """What the examples are made of.

  Attributes:
    root: folder of the files.
    names: of the files below it, in the order of the examples.
    labels: int32 [N].
    form: size and channels.
    share: of the shorter side that evaluation sees, size over resize.
    window: of `WINDOWS`.
    area: of a resized window, at least.
    aspect: of a resized window, at most.
  """

  root: pathlib.Path
  names: tuple[str, ...]
  labels: np.ndarray
  form: decode.Form
  share: float
  window: str
  area: float
  aspect: float


def example(folder: Folder, request: types.Request) -> dict[str, np.ndarray]:
  """'image' uint8 [size, size, C] and 'label' int32 []: reads, decodes, cuts one image.

  Raises:
    UserError: a file that is gone or no image, by name.
  """
  path = folder.root / folder.names[request.example]

  def choose(width: int, height: int) -> crop.Window:
    if request.epoch < 0 or folder.window == 'middle':
      return crop.middle(width, height, folder.share)
    words = (request.seed, zlib.crc32(b'window'), request.epoch, request.example)
    generator = np.random.default_rng(words)
    if folder.window == 'anywhere':
      return crop.anywhere(width, height, folder.share, generator)
    return crop.resized(width, height, folder.area, folder.aspect, generator)

  image = decode.cut(decode.read(path), str(path), folder.form, choose)
  return {'image': image, 'label': folder.labels[request.example]}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The images as [N, size, size, channels], classes in the order of their names.

  Pixels are normalised by the moments of `data.moments` training images as evaluation
  sees them, measured once. The digest covers the options, the class names, these
  moments, and of every image its name below the folder and its size in bytes; with
  `data.contents` its bytes as well (read again only when a size or time changed).

  Raises:
    UserError: nothing found, a wrong layout, an unreadable image among those measured,
      or an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  check(config)
  wanted = 'train/CLASS/*.JPEG|jpg|png'
  root = source.locate(config['label'] or 'image_stream', config, find, wanted)
  files = disk.scan(root)
  plan = layout.arrange(files, repr(str(root)), {'val': config['val']})
  return make(root, files, plan, config)


def make(
  root: pathlib.Path, files: disk.Files, plan: layout.Layout, config: Mapping[str, Any]
) -> types.Dataset:
  """The data set of the images that `plan` found among the `files` below `root`."""
  labels = np.concatenate(
    [np.repeat(np.arange(len(part), dtype=np.int32), part) for part in plan.counts]
  )
  train, validation, test = (sum(part) for part in plan.counts)
  sizes = (train, validation, test)
  form = decode.Form(config['size'], config['channels'])
  share = config['size'] / config['resize']
  ways = (config['window'], config['area'], config['aspect'])
  read = functools.partial(
    example, Folder(root, plan.names, labels, form, share, *ways)
  )
  shape = (form.size, form.size, form.channels)
  pictures = disk.Rows(read, 'image', (len(labels), *shape), 'uint8')
  listing = disk.digest(root, plan.names, files, contents=config['contents'])
  few = np.linspace(0, train - 1, min(config['moments'], train)).astype(int)
  state = [listing, form, share, few.tolist(), disk.times(plan.names, files)]
  moments = disk.remembered(
    'image_stream', state, lambda: transform.measure(pictures[few])
  )
  shaping = {key: config[key] for key in config if key not in images.UNSHAPING}
  name = config['label'] or root.resolve().name
  measured = [part.tolist() for part in moments]
  told = [shaping, name, sizes, plan.classes, listing, measured]
  return types.Dataset(
    name=name,
    arrays={'image': pictures, 'label': labels},
    split=split.make(labels, sizes, config),
    transform=transform.make(moments, shape, config),
    digest=hashlib.sha256(config_lib.digest(told).encode()).hexdigest(),
    classes=plan.classes,
    official_test=test > 0,
    facts={'range': 'tanh'} if config['range'] == 'tanh' else {},
    stream=types.Stream({'image': (shape, 'uint8'), 'label': ((), 'int32')}, read),
  )


def find(place: pathlib.Path) -> pathlib.Path | None:
  """`place` if its top, or one folder in it, has train/."""
  if place.is_file():
    raise errors.UserError(
      f'{str(place)!r} is a file: images that stream are read from a folder; unpack it'
    )
  if place.is_dir() and ((place / 'train').is_dir() or any(place.glob('*/train'))):
    return place
  return None


def check(config: Mapping[str, Any]) -> None:
  """Raises UserError for options out of range."""
  config_lib.choose('data.window', config['window'], WINDOWS)
  config_lib.choose('data.val', config['val'], ('validation', 'test'))
  if config['channels'] not in (1, 3):
    raise errors.UserError(
      f'data.channels must be 1 (grey) or 3 (colour), not {config["channels"]}'
    )
  if not 1 <= config['size'] <= config['resize'] <= 4096:
    raise errors.UserError(
      f'data.size and data.resize must be 1 ≤ size ≤ resize ≤ 4096, not '
      f'{config["size"]} and {config["resize"]}'
    )
  if not (0 < config['area'] <= 1 <= config['aspect'] <= 16):
    raise errors.UserError(
      f'data.area must lie in (0, 1] and data.aspect in [1, 16], not {config["area"]} '
      f'and {config["aspect"]}'
    )
  if config['moments'] < 1:
    raise errors.UserError(f'data.moments must be at least 1: {config["moments"]}')
  if not (config['path'] or config['label']):
    raise errors.UserError(
      'data.path is empty: give the folder of images (or data.label, a folder below '
      '$DLSTEROIDS_DATA)'
    )
