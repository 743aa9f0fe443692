"""CIFAR-10: 50,000 + 10,000 colour images of 32×32 (Krizhevsky 2009).

Reads the official python and binary archives, or the folders they unpack to.
"""

import codecs
import hashlib
import io
import pathlib
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.data.lib import archive, images, source
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {**source.OPTIONS, **images.OPTIONS}
ADDRESS = 'https://www.cs.toronto.edu/~kriz/'
ARCHIVES = {  # published md5
  'cifar-10-python.tar.gz': 'c58f30108f718f92721af3b95e74349a',
  'cifar-10-binary.tar.gz': 'c32a1d4ab5d03f1284b67883e8d87530',
}
FOLDERS = ('cifar-10-batches-py', 'cifar-10-batches-bin')
BATCHES = (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch')
PYTHON_MD5 = (  # of the unpacked python batches, in the order of BATCHES
  'c99cafc152244af753f735de768cd75f',
  'd4bba439e000b95fd0a9bffe97cbabec',
  '54ebc095f3ab1f0389bbae665268c751',
  '634d18415352ddfa80567beed471001a',
  '482c414d41f54cd18b22e5b47cb7c3cb',
  '40351d587109b95175f43aff81a1287e',
)
CLASSES = (
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
)
PIXELS = 3 * 32 * 32
LIMIT = 1 << 26  # bytes of a batch's file, about twice as many as it has


def load(config: Mapping[str, Any]) -> types.Dataset:
  """CIFAR-10 as [60000, 32, 32, 3].

  An archive must have its published digest. Unpacked folders are read on their
  structure; called `cifar10-unverified` unless their batches are the published ones
  (no digests are published for the binary ones).

  Raises:
    UserError: files missing, damaged or of the wrong digest, or an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  name = 'cifar-10-python.tar.gz'
  item = source.Item(name, f'{ADDRESS}{name}', f'md5:{ARCHIVES[name]}')
  wanted = f'{" or ".join(ARCHIVES)} (or unpacked, {" or ".join(FOLDERS)})'
  place = source.locate('cifar10', config, find, wanted, [item])
  contents, verified = read(place)
  pairs = [parse(contents[batch], f'{place}/{batch}') for batch in contents]
  pixels = np.concatenate([pixels for pixels, _ in pairs])
  # Stored channel by channel: [N, 3, 32, 32] → [N, 32, 32, 3]
  pixels = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
  labels = np.concatenate([labels for _, labels in pairs])
  tests = len(pairs[-1][1])
  sizes = (len(labels) - tests, 0, tests)
  name = 'cifar10' if verified else 'cifar10-unverified'
  return images.make(images.Parts(name, pixels, labels, sizes, CLASSES), config)


def find(place: pathlib.Path) -> pathlib.Path | None:
  """The archive or the folder of batches at or in `place`; None if there is none."""
  if place.is_file():
    return place
  for name in (*ARCHIVES, *FOLDERS, ''):
    path = place / name
    if path.is_file() or any((path / file).is_file() for file in _files(BATCHES[0])):
      return path
  return None


def _files(batch: str) -> tuple[str, str]:
  return batch, f'{batch}.bin'


def read(place: pathlib.Path) -> tuple[dict[str, bytes], bool]:
  """The bytes of the six batches, by file name in order, and whether all are published.

  Raises:
    UserError: a batch missing, a damaged archive, or one of the wrong digest.
  """
  found: dict[str, bytes] = {}
  wanted = [file for batch in BATCHES for file in _files(batch)]
  if place.is_file():
    actual = source.checksum(place, 'md5')
    if actual not in ARCHIVES.values():
      raise errors.UserError(
        f'{str(place)!r} has md5 {actual}, not that of the published archive '
        f'({" or ".join(ARCHIVES.values())}): corrupt, or packed anew; fetch it again, '
        'or unpack it and give the folder'
      )
    for name, data in archive.read(place, lambda name: name.split('/')[-1] in wanted):
      found[name.split('/')[-1]] = data
  else:
    for name in wanted:
      if (place / name).is_file():
        found[name] = source.read_bytes(place / name, LIMIT)
  for kind in (0, 1):
    names = [_files(batch)[kind] for batch in BATCHES]
    if all(name in found for name in names):
      contents = {name: found[name] for name in names}
      digests = tuple(hashlib.md5(data).hexdigest() for data in contents.values())
      return contents, place.is_file() or digests == PYTHON_MD5
  raise errors.UserError(
    f'{str(place)!r} lacks batches: it has {", ".join(sorted(found)) or "none"}; '
    f'expected {", ".join(BATCHES)} (or each with .bin)'
  )


def parse(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
  """The uint8 [N, 3072] pixels and int32 [N] labels of one batch file.

  Raises:
    UserError: anything but a CIFAR-10 batch.
  """
  pixels, labels = (_binary if name.endswith('.bin') else _python)(data, name)
  if labels.min() < 0 or labels.max() >= len(CLASSES):
    raise errors.UserError(f'{name!r} has labels outside 0..{len(CLASSES) - 1}')
  return pixels, labels.astype(np.int32)


def _binary(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
  if not data or len(data) % (PIXELS + 1):
    raise errors.UserError(
      f'{name!r} is truncated: {len(data):,} bytes are no multiple of {PIXELS + 1:,}'
    )
  table = np.frombuffer(data, np.uint8).reshape(-1, PIXELS + 1)
  return table[:, 1:], table[:, 0]


def _python(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
  batch = unpickle(data, name)
  fields = batch if isinstance(batch, dict) else {}
  pixels, labels = fields.get(b'data'), fields.get(b'labels')
  good = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
  if pixels is None or not (good and pixels.shape[1:] == (PIXELS,) and len(pixels)):
    raise errors.UserError(f'{name!r} holds no uint8 [N, {PIXELS}] data')
  if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
    raise errors.UserError(f'{name!r} holds no list of integer labels')
  if len(labels) != len(pixels):
    raise errors.UserError(
      f'{name!r} has {len(pixels):,} images, but {len(labels):,} labels'
    )
  return pixels, np.array(labels)


def unpickle(data: bytes, name: str) -> Any:
  """The builtins and uint8 arrays in a pickle that may hold nothing else.

  Raises:
    UserError: damaged, or a pickle that asks for any other function or class.
  """
  try:
    _check_sizes(data)
    return _whole(_Unpickler(io.BytesIO(data), encoding='bytes').load())
  except _Refused as error:
    raise errors.UserError(f'{name!r} is refused: {error}') from error
  except Exception as error:  # a damaged pickle can raise anything
    raise errors.UserError(
      f'{name!r} is damaged ({type(error).__name__}: {error})'
    ) from error


class _Refused(pickle.UnpicklingError):
  """The pickle is whole, but asks for more than data."""


def _check_sizes(data: bytes) -> None:
  """Raises for numbers that would make the unpickler take memory without end.

  It makes room for what is announced before it reads it, and for a memo up to the
  largest index.
  """
  for count, (code, argument, _) in enumerate(pickletools.genops(data)):
    index = argument if code.name in ('PUT', 'BINPUT', 'LONG_BINPUT') else 0
    if (index or 0) > count:
      raise _Refused(f'its memo has an index of {index:,}')
    if code.name == 'BYTEARRAY8':
      raise _Refused('it holds a bytearray')


def _encode(text: str, encoding: str) -> bytes:
  """How protocol 2 spells bytes; other codecs could do more than that."""
  if encoding not in ('latin1', b'latin1'):
    raise _Refused(f'bytes in {encoding!r}')
  return codecs.encode(text, 'latin1')


class _Type:
  """Stands for numpy's dtype, whose own reading of a state trusts it."""

  def __init__(self, *about: Any):
    self.code = about[0] if about else None

  def __setstate__(self, state: Any) -> None:
    """Byte order and the like, of which a byte has none."""


class _Array:
  """Stands for numpy's array until its state has been looked at."""

  pixels: Any = None

  def __setstate__(self, state: Any) -> None:
    _, shape, kind, fortran, data = state
    if isinstance(kind, _Type) and kind.code in ('u1', b'u1') and not fortran:
      self.pixels = np.frombuffer(data, np.uint8).reshape(shape)


def _reconstruct(kind: Any, shape: Any, dtype: Any) -> _Array:
  """An empty array, as numpy makes before it sets the state."""
  del kind, shape, dtype
  return _Array()


def _whole(batch: Any) -> Any:
  """A batch with its arrays in place of what stood for them."""
  if not isinstance(batch, dict):
    return batch
  return {k: v.pixels if isinstance(v, _Array) else v for k, v in batch.items()}


ALLOWED: dict[tuple[str, str], Any] = {
  ('numpy', 'ndarray'): 'ndarray',  # only ever an argument of _reconstruct
  ('numpy', 'dtype'): _Type,
  ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
  ('numpy._core.multiarray', '_reconstruct'): _reconstruct,
  ('_codecs', 'encode'): _encode,
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in ALLOWED:
      raise _Refused(f'it asks for {module}.{name}, which is not data')
    return ALLOWED[module, name]
