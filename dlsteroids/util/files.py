"""Files written whole or not at all, their checksums, and the cache folder."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

PART = '.part'  # suffix of files that are being written; their names begin with a dot


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A binary stream whose content becomes the file when the context ends well.

  Raises:
    OSError: if it cannot be written; the file is then as before.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(dir=path.parent, prefix='.', suffix=PART)
  try:
    with os.fdopen(handle, 'wb') as stream:
      yield stream
      stream.flush()
      os.fsync(stream.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)
  finally:
    pathlib.Path(name).unlink(missing_ok=True)


def write(path: pathlib.Path, content: bytes | str | Iterable[str]) -> None:
  """Writes a whole file, text as UTF-8, or leaves the file as before."""
  with replacing(path) as stream:
    for part in (content,) if isinstance(content, str | bytes) else content:
      stream.write(part.encode() if isinstance(part, str) else part)


def checksum(content: pathlib.Path | bytes, algorithm: str = 'sha256') -> str:
  """The hex digest of a file or of bytes."""
  if isinstance(content, pathlib.Path):
    with content.open('rb') as file:
      return hashlib.file_digest(file, algorithm).hexdigest()
  return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def cache_folder() -> pathlib.Path:
  """Where downloads and whatever can be made again are kept; it need not exist.

  `$DLSTEROIDS_CACHE`; else dlsteroids in `$XDG_CACHE_HOME` or in ~/.cache; without a
  home folder, in the system's folder for temporary files.
  """
  own = os.environ.get('DLSTEROIDS_CACHE')
  shared = os.environ.get('XDG_CACHE_HOME', '')
  try:
    if own:
      return pathlib.Path(own).expanduser()
    if os.path.isabs(shared):  # others are to be ignored, by its specification
      return pathlib.Path(shared) / 'dlsteroids'
    return pathlib.Path('~/.cache/dlsteroids').expanduser()
  except RuntimeError:  # there is no home
    return pathlib.Path(tempfile.gettempdir()) / f'dlsteroids-{os.getuid()}'
