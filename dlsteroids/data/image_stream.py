"""Image folders larger than the memory, read as they are trained on: ImageNet's layout.

`train/CLASS/*.JPEG|jpg|png`, such as `train/n01440764/n01440764_18.JPEG`, and optional
`validation/` (or `val/`) and `test/` with the same classes. Every epoch sees another
window of every image; evaluation sees the middle. Flips, padded crops and colour shifts
are made on the device, as for all image data sets.
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
from dlsteroids.config import options
from dlsteroids.data.lib import (
  cache,
  crop,
  decode,
  digest,
  disk,
  folder_layout,
  image_files,
  images,
  split,
  transform,
)
from dlsteroids.util import errors

Option = options.Option
OPTIONS = {
  **image_files.OPTIONS,
  'size': Option(
    224, 'square side in pixels of what the model sees', 1, 4096, closed='both'
  ),
  'resize': Option(
    256,
    'shorter side, of which evaluation sees the middle',
    1,
    4096,
    closed='both',
  ),
  'window': Option(
    'resized', 'part that training sees', choices=('resized', 'anywhere', 'middle')
  ),
  'area': Option(
    0.08, "least share of the image's area, of window=resized", 0, 1, closed='right'
  ),
  'aspect': Option(
    4 / 3,
    'most width over height, of window=resized',
    1,
    16,
    closed='both',
  ),
  'val': Option(
    'validation',
    "what val/ is: test, since ImageNet's own test has no labels",
    choices=('validation', 'test'),
  ),
  **split.TEST,
  'moments': Option(1024, 'training images, evenly spaced, to normalise pixels by', 1),
  'contents': Option(False, "whether the digest covers every file's bytes; else sizes"),
  **images.OPTIONS,
  'flip': transform.OPTIONS['flip']._replace(default=True),
}


class Folder(NamedTuple):
  """What the examples are made of.

  Attributes:
    root: folder of the files.
    names: of the files below it, in the order of the examples.
    labels: int32 [N].
    form: size and channels.
    share: of the shorter side that evaluation sees, size over resize.
    window: as the option.
    area: as the option.
    aspect: as the option.
    indexed: whether examples tell their index, which random labels are drawn by.
  """

  root: pathlib.Path
  names: tuple[str, ...]
  labels: np.ndarray
  form: decode.Form
  share: float
  window: str
  area: float
  aspect: float
  indexed: bool


def example(folder: Folder, request: types.Request) -> dict[str, np.ndarray]:
  """'image' uint8 [size, size, C] and 'label' int32 []: reads, decodes, cuts one image.

  Raises:
    UserError: a file that is missing or not an image, by name.
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
  index = {'index': np.int32(request.example)} if folder.indexed else {}
  return {'image': image, 'label': folder.labels[request.example], **index}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The images as [N, size, size, channels], classes in the order of their names.

  Pixels are normalised by the moments of `data.moments` training images as evaluation
  sees them, measured once. The digest covers the options, the class names, these
  moments, and of every image its name below the folder and its size in bytes; with
  `data.contents` its bytes as well (read again only when a size or time changed).

  Raises:
    UserError: no images, another layout, an unreadable image among those measured, or
      an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  size, resize = config['size'], config['resize']
  if size > resize:
    raise errors.UserError(
      f'data.size ≤ data.resize is needed, not {size} and {resize}'
    )
  root = image_files.locate(
    'image_stream', config, folder_layout.split_of, 'train/CLASS/*.JPEG|jpg|png', False
  )
  files = disk.scan(root)
  plan = folder_layout.arrange(files, repr(str(root)), config['val'])
  labels = images.label(plan.counts)
  train, validation, test = map(sum, plan.counts)
  sizes = (train, validation, test)
  form = decode.Form(size, config['channels'])
  window = (size / resize, config['window'], config['area'], config['aspect'])
  share = config['random_labels']
  folder = Folder(root, plan.names, labels, form, *window, indexed=bool(share))
  read = functools.partial(example, folder)
  shape = (form.size, form.size, form.channels)
  rows = disk.Rows(read, 'image', (len(labels), *shape), 'uint8')
  listing = disk.digest(root, plan.names, files, contents=config['contents'])
  few = np.linspace(0, train - 1, min(config['moments'], train)).astype(int)
  state = [listing, form, size / resize, few.tolist(), disk.times(plan.names, files)]
  measure = lambda: (transform.measure(rows[few])._asdict(), None)
  arrays, _ = cache.remember('image_stream', state, measure, required=False)
  moments = transform.Moments(**arrays)
  name = image_files.name_of(root, config)
  measured = [part.tolist() for part in moments]
  see = transform.make(moments, shape, config)
  indices = images.indices(len(labels), share)
  scalars = dict.fromkeys(('label', *indices), ((), 'int32'))
  about = [digest.shaping(config), name, sizes, plan.classes, listing, measured]
  return types.Dataset(
    name=name,
    arrays={'image': rows, 'label': labels, **indices},
    split=split.make(labels, sizes, config),
    transform=images.randomise_labels(see, share, len(plan.classes)),
    digest=hashlib.sha256(config_lib.digest(about).encode()).hexdigest(),
    classes=plan.classes,
    official_test=test > 0,
    facts=images.facts(config),
    stream=types.Stream({'image': (shape, 'uint8'), **scalars}, read),
  )
