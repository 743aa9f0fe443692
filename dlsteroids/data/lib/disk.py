"""Arrays whose rows lie in files: listed, digested, and read when asked for."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data.lib import layout, reader, source, transform
from dlsteroids.util import errors

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
    """The rows at integer `indices` [n], decoded by threads.

    Raises:
      UserError: unreadable files; more than `LIMIT` bytes.
    """
    wanted = np.arange(len(self))[indices]
    total = wanted.size * int(np.prod(self.shape[1:])) * self.dtype.itemsize
    if total > LIMIT:
      raise errors.UserError(
        f'{wanted.size:,} examples of a stream need {total:,} bytes at once, more than '
        f'{LIMIT:,}: what asks for them needs data that fit in the memory'
      )
    found = np.empty((wanted.size, *self.shape[1:]), self.dtype)

    def fill(place: int) -> None:
      found[place] = self.example(types.Request(int(wanted.flat[place])))[self.name]

    with concurrent.futures.ThreadPoolExecutor(reader.cores()) as pool:
      for _ in pool.map(fill, range(wanted.size)):
        pass
    return found.reshape(*wanted.shape, *self.shape[1:])


def scan(root: pathlib.Path) -> dict[str, tuple[int, int]]:
  """Every file and, with a final '/', folder below `root`, four levels deep, sorted."""
  found = ((name, (s.st_size, s.st_mtime_ns)) for name, s in layout.walk(root))
  return dict(sorted(found))


def digest(
  root: pathlib.Path, names: Sequence[str], files: Files, *, contents: bool
) -> str:
  """sha256 (hex) of names and sizes; with `contents` of the files' bytes, too.

  Raises:
    UserError: a file that cannot be read.
  """
  total = hashlib.sha256()
  for name in names:
    total.update(f'{name}\0{files[name][0]}\n'.encode())
  if not contents:
    return total.hexdigest()
  state = [total.hexdigest(), str(root.resolve()), times(names, files)]
  return remembered_text('contents', state, lambda: checksums(root, names))


def checksums(root: pathlib.Path, names: Sequence[str]) -> str:
  """sha256 (hex) of names and of every file's sha256, read by threads."""

  def one(name: str) -> str:
    try:
      return source.checksum(root / name)
    except OSError as error:
      where = str(root / name)
      raise errors.UserError(f'{where!r} cannot be read: {error.strerror}') from error

  total = hashlib.sha256()
  with concurrent.futures.ThreadPoolExecutor(reader.cores()) as pool:
    for name, found in zip(names, pool.map(one, names)):
      total.update(f'{name}\0{found}\n'.encode())
  return total.hexdigest()


def times(names: Iterable[str], files: Files) -> str:
  """Changes if any of the files was written again."""
  total = hashlib.sha256()
  for name in names:
    total.update(files[name][1].to_bytes(16, 'big', signed=True))
  return total.hexdigest()


def remembered(
  kind: str, state: Any, measure: Callable[[], transform.Moments]
) -> transform.Moments:
  """Moments from the cache, if `state` is what they were measured of; else measured."""
  text = remembered_text(
    kind, state, lambda: json.dumps([part.tolist() for part in measure()])
  )
  return transform.Moments(*(np.asarray(part) for part in json.loads(text)))


def remembered_text(kind: str, state: Any, make: Callable[[], str]) -> str:
  """What `make` once returned for `state`, which is JSON-like."""
  file = source.cache() / kind / f'{config_lib.digest(state)}.json'
  try:
    return str(json.loads(file.read_text())['text'])
  except (OSError, ValueError, KeyError, TypeError):
    pass  # not there yet, or damaged: it is made anew
  text = make()
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix='.tmp')
    with os.fdopen(handle, 'w') as stream:
      json.dump({'text': text}, stream)
    os.replace(temporary, file)
  except OSError:
    pass  # a cache that cannot be written costs time, nothing else
  return text
