"""The idx format of MNIST, and the four files that such a data set consists of.

A file is two zero bytes, a type byte (8: uint8), the number of dimensions, each
dimension as a big-endian 32-bit integer, then the values.
"""

import gzip
import hashlib
import math
import pathlib
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import types
from dlsteroids.data.lib import images, source
from dlsteroids.util import errors, files

LIMIT = 1 << 30  # bytes unpacked
FILES = (  # as published, in the order of `Published`; then with '.' before 'idx'
  'train-images-idx3-ubyte',
  'train-labels-idx1-ubyte',
  't10k-images-idx3-ubyte',
  't10k-labels-idx1-ubyte',
)


class Published(NamedTuple):
  """A data set's official address and digests.

  Attributes:
    address: folder of the four `.gz` files.
    packed: md5 of each `.gz`.
    unpacked: md5 of what each unpacks to; empty if not published.
    classes: names, in label order.
  """

  address: str
  packed: tuple[str, ...]
  unpacked: tuple[str, ...]
  classes: tuple[str, ...]


def read(data: bytes, name: str, dims: int) -> np.ndarray:
  """The uint8 array of `dims` dimensions in the bytes of an idx file called `name`.

  Raises:
    UserError: another type, number of dimensions or length than the header says.
  """
  shape = _read_shape(data, name, dims)
  header, size = 4 + 4 * dims, math.prod(shape)
  expected = header + size
  if len(data) != expected:
    state = 'truncated' if len(data) < expected else 'too long'
    raise errors.UserError(
      f'{name!r} is {state}: {len(data):,} bytes, but its header {list(shape)} needs '
      f'{expected:,}'
    )
  if not size:
    raise errors.UserError(f'{name!r} is empty: its header says {list(shape)}')
  return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _read_shape(data: bytes, name: str, dims: int) -> tuple[int, ...]:
  """The shape in the header of an idx file."""
  if len(data) < 4 or data[:2] != b'\0\0':
    raise errors.UserError(f'{name!r} is not an idx file: it starts {data[:4]!r}')
  if data[2] != 8 or data[3] != dims:
    raise errors.UserError(
      f'{name!r} holds idx type {data[2]} with {data[3]} dimensions; expected type 8 '
      f'(uint8) with {dims}'
    )
  header = 4 + 4 * dims
  if len(data) < header:
    raise errors.UserError(f'{name!r} is truncated: {len(data)} bytes of header')
  return struct.unpack(f'>{dims}I', data[4:header])


def load(name: str, published: Published, config: Mapping[str, Any]) -> types.Dataset:
  """The data set in four idx files, its test files as the official test split.

  Own files in this format are read too; unless their bytes are the published ones,
  the data set is called `<name>-unverified`.

  Raises:
    UserError: files missing, damaged, or not matching one another.
  """
  items = [
    source.Item(f'{file}.gz', f'{published.address}{file}.gz', f'md5:{digest}')
    for file, digest in zip(FILES, published.packed, strict=True)
  ]
  wanted = f'{", ".join(FILES)} (each raw or .gz)'
  paths = source.locate(name, config, find, wanted, items)
  contents = [unpack(path, 3 if i % 2 == 0 else 1) for i, path in enumerate(paths)]
  arrays = [
    read(data, str(path), 3 if i % 2 == 0 else 1)
    for i, (data, path) in enumerate(zip(contents, paths, strict=True))
  ]
  _check(arrays, paths, len(published.classes))
  pixels = np.concatenate([arrays[0], arrays[2]])[..., None]
  labels = np.concatenate([arrays[1], arrays[3]]).astype(np.int32)
  sizes = (len(arrays[1]), 0, len(arrays[3]))
  if not verified(paths, contents, published):
    name = f'{name}-unverified'
  parts = images.Parts(name, pixels, labels, sizes, published.classes)
  return images.make(parts, config)


def find(folder: pathlib.Path) -> list[pathlib.Path] | None:
  """The four files in `folder`, by any of their usual names; None if one is missing."""
  paths = []
  for file in FILES:
    stems = (file, file.replace('-idx', '.idx'))
    names = [f'{stem}{packed}' for packed in ('', '.gz') for stem in stems]
    hits = [folder / name for name in names if (folder / name).is_file()]
    if not hits:
      return None
    paths.append(hits[0])
  return paths


def unpack(path: pathlib.Path, dims: int) -> bytes:
  """The bytes of an idx file, unpacked from gzip; at most one more than announced.

  Raises:
    UserError: damaged, not an idx file of `dims` dimensions, or larger than `LIMIT`.
  """
  try:
    with path.open('rb') as file:
      packed = file.read(2) == b'\x1f\x8b'
    with gzip.open(path) if packed else path.open('rb') as file:
      start = file.read(4 + 4 * dims)
      size = math.prod(_read_shape(start, str(path), dims))
      if size > LIMIT:
        raise errors.UserError(
          f'{str(path)!r} announces {size:,} bytes, more than {LIMIT:,}'
        )
      data = start + _take(file, size + 1)
  except (EOFError, OSError, zlib.error) as error:
    raise errors.UserError(
      f'{str(path)!r} is damaged or incomplete ({error}); delete it or fetch it anew'
    ) from error
  return data


def _take(file: Any, count: int) -> bytes:
  """Up to `count` bytes, without allocating room for all of them first."""
  parts = []
  while count > 0 and (part := file.read(min(count, 1 << 20))):
    parts.append(part)
    count -= len(part)
  return b''.join(parts)


def _check(arrays: list[np.ndarray], paths: list[pathlib.Path], classes: int) -> None:
  """Raises UserError unless the four arrays belong together."""
  for i in (0, 2):
    if len(arrays[i]) != len(arrays[i + 1]):
      raise errors.UserError(
        f'{str(paths[i])!r} has {len(arrays[i]):,} images, but '
        f'{str(paths[i + 1])!r} has {len(arrays[i + 1]):,} labels'
      )
    if arrays[i + 1].max() >= classes:
      raise errors.UserError(
        f'{str(paths[i + 1])!r} has label {arrays[i + 1].max()}; expected 0 to '
        f'{classes - 1}'
      )
  if arrays[0].shape[1:] != arrays[2].shape[1:]:
    raise errors.UserError(
      f'{str(paths[0])!r} has {arrays[0].shape[1:]} images, but {str(paths[2])!r} has '
      f'{arrays[2].shape[1:]}'
    )


def verified(
  paths: list[pathlib.Path], contents: list[bytes], published: Published
) -> bool:
  """Whether every file is the published one, packed or unpacked."""
  for i, (path, content) in enumerate(zip(paths, contents, strict=True)):
    unpacked = published.unpacked[i : i + 1]
    if hashlib.md5(content).hexdigest() in unpacked:
      continue
    if files.checksum(path, 'md5') != published.packed[i]:
      return False
  return True
