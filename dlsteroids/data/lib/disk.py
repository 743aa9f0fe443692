"""Arrays whose rows lie in files: listed, digested, and read when they are indexed."""

import concurrent.futures
import hashlib
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.data.lib import cache, folder_layout
from dlsteroids.util import environment, errors
from dlsteroids.util import files as files_lib

LIMIT = 1 << 32  # bytes of rows that are read at once
Files = Mapping[str, tuple[int, int]]  # size and time of change [ns] by name


class Rows:
  """An array [N, ...] on disk, as evaluation sees it; indexing reads."""

  def __init__(
    self, example: types.Example, name: str, shape: tuple[int, ...], dtype: str
  ):
    self.example, self.name = example, name
    self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, indices: Any) -> np.ndarray:
    """The rows at integer `indices` [n], decoded by threads."""
    wanted = np.arange(len(self))[indices]
    total = wanted.size * int(np.prod(self.shape[1:])) * self.dtype.itemsize
    if total > LIMIT:
      raise errors.UserError(
        f'{wanted.size:,} examples of a stream need {total:,} bytes at once, more than '
        f'{LIMIT:,}: this use needs data that fit in the memory'
      )
    rows = np.empty((wanted.size, *self.shape[1:]), self.dtype)

    def fill(place: int) -> None:
      rows[place] = self.example(types.Request(int(wanted.flat[place])))[self.name]

    with concurrent.futures.ThreadPoolExecutor(environment.cores()) as pool:
      for _ in pool.map(fill, range(wanted.size)):
        pass
    return rows.reshape(*wanted.shape, *self.shape[1:])


def scan(root: pathlib.Path) -> dict[str, tuple[int, int]]:
  """Every file and, with a final '/', folder below `root`, four levels deep, sorted."""
  listing = ((name, (s.st_size, s.st_mtime_ns)) for name, s in folder_layout.walk(root))
  return dict(sorted(listing))


def digest(
  root: pathlib.Path, names: Sequence[str], files: Files, *, contents: bool
) -> str:
  """sha256 (hex) of names and sizes; with `contents` also of the files' bytes.

  Raises:
    UserError: a file that cannot be read.
  """
  total = hashlib.sha256()
  for name in names:
    composed = unicodedata.normalize('NFC', name)
    total.update(f'{composed}\0{files[name][0]}\n'.encode())
  if not contents:
    return total.hexdigest()
  state = [total.hexdigest(), str(root.resolve()), times(names, files)]

  def make() -> cache.Entry:
    return {}, _checksums(root, names)

  return str(cache.remember('contents', state, make, required=False)[1])


def _checksums(root: pathlib.Path, names: Sequence[str]) -> str:
  """sha256 (hex) of names and of every file's sha256, read by threads."""

  def one(name: str) -> str:
    try:
      return files_lib.checksum(root / name)
    except OSError as error:
      where = str(root / name)
      raise errors.UserError(f'{where!r} cannot be read: {error.strerror}') from error

  total = hashlib.sha256()
  with concurrent.futures.ThreadPoolExecutor(environment.cores()) as pool:
    for name, checksum in zip(names, pool.map(one, names)):
      total.update(f'{name}\0{checksum}\n'.encode())
  return total.hexdigest()


def times(names: Iterable[str], files: Files) -> str:
  """Changes if any of the files was written again."""
  total = hashlib.sha256()
  for name in names:
    total.update(files[name][1].to_bytes(16, 'big', signed=True))
  return total.hexdigest()
