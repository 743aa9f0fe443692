"""Files written whole or not at all, and their checksums."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[Any]:
  """A binary stream whose content becomes the file when the context ends well.

  Raises:
    OSError: if it cannot be written; the file is then as before.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, suffix='.tmp')
  try:
    with os.fdopen(handle, 'wb') as stream:
      yield stream
    os.replace(temporary, path)
  finally:
    pathlib.Path(temporary).unlink(missing_ok=True)


def checksum(path: pathlib.Path, algorithm: str = 'sha256') -> str:
  """The hex digest of a file's bytes."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, algorithm).hexdigest()
