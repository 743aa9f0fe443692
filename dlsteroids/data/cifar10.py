"""CIFAR-10: 50,000 + 10,000 colour images of 32×32 (Krizhevsky 2009).

Reads the official binary archive, or the folder it unpacks to. The python archive holds
pickles, which can run code when they are read, so it is not read.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import archive, images, source
from dlsteroids.util import errors, files

OPTIONS = {**source.OPTIONS, **images.OPTIONS}
PUBLISHED = source.Item(
  'cifar-10-binary.tar.gz',
  'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  'md5:c32a1d4ab5d03f1284b67883e8d87530',
)
FOLDER = 'cifar-10-batches-bin'
WANTED = (
  f'{PUBLISHED.name} (or unpacked, {FOLDER}/; the python version is made of pickles, '
  'which are not read)'
)
BATCHES = (*(f'data_batch_{i}.bin' for i in range(1, 6)), 'test_batch.bin')
CLASSES = (
  *('airplane', 'automobile', 'bird', 'cat', 'deer'),
  *('dog', 'frog', 'horse', 'ship', 'truck'),
)
PIXELS = 3 * 32 * 32
LIMIT = 1 << 26  # bytes of a batch's file, about twice its published size


def load(config: Mapping[str, Any]) -> types.Dataset:
  """CIFAR-10 as [60000, 32, 32, 3].

  An archive must have its published digest. Unpacked batches, whose digests are not
  published, are read by their structure and called `cifar10-unverified`.

  Raises:
    UserError: files missing, damaged or of the wrong digest, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  place = source.locate('cifar10', config, _find, WANTED, [PUBLISHED])
  tables = [parse(data, f'{place}/{name}') for name, data in _read(place).items()]
  table = np.concatenate(tables)
  # Stored channel by channel: [N, 3, 32, 32] → [N, 32, 32, 3]
  pixels = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  tests = len(tables[-1])
  parts = images.Parts(
    name='cifar10' if place.is_file() else 'cifar10-unverified',
    images=np.ascontiguousarray(pixels),
    labels=table[:, 0].astype(np.int32),
    sizes=(len(table) - tests, 0, tests),
    classes=CLASSES,
  )
  return images.make(parts, config)


def _find(place: pathlib.Path) -> pathlib.Path | None:
  """The archive or the folder of batches at or in `place`; None if there is none."""
  if place.is_file():
    return place
  for path in (place / PUBLISHED.name, place / FOLDER, place):
    if path.is_file() or any((path / name).is_file() for name in BATCHES):
      return path
  return None


def _read(place: pathlib.Path) -> dict[str, bytes]:
  """The bytes of the six batches, by file name in order."""
  if place.is_file():
    actual = f'md5:{files.checksum(place, "md5")}'
    if actual != PUBLISHED.digest:
      raise errors.UserError(
        f'{str(place)!r} has {actual}, but the published {PUBLISHED.name} has '
        f'{PUBLISHED.digest}: it is damaged, repacked or another file; fetch it again, '
        'or unpack it and give the folder'
      )
    members = archive.read(place, lambda name: name.split('/')[-1] in BATCHES)
    contents = {name.split('/')[-1]: data for name, data in members}
  else:
    present = [name for name in BATCHES if (place / name).is_file()]
    contents = {name: source.read_bytes(place / name, LIMIT) for name in present}
  if len(contents) < len(BATCHES):
    raise errors.UserError(
      f'{str(place)!r} lacks batches: it has {", ".join(sorted(contents)) or "none"}; '
      f'expected {", ".join(BATCHES)}'
    )
  return {name: contents[name] for name in BATCHES}


def parse(data: bytes, name: str) -> np.ndarray:
  """The uint8 [N, 1 + 3072] table of a batch file: a label and the pixels a row.

  Raises:
    UserError: anything but a CIFAR-10 batch.
  """
  if not data or len(data) % (PIXELS + 1):
    raise errors.UserError(
      f'{name!r} is truncated: {len(data):,} bytes are not a multiple of {PIXELS + 1:,}'
    )
  table = np.frombuffer(data, np.uint8).reshape(-1, PIXELS + 1)
  if table[:, 0].max() >= len(CLASSES):
    raise errors.UserError(f'{name!r} has labels outside 0..{len(CLASSES) - 1}')
  return table
