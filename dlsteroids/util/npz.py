"""Untrusted npz files: no pickles, and no array larger than the bytes that hold it.

`numpy.load` allocates what an array's header claims before it reads a byte.
"""

import io
import math
import pathlib
import tokenize
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

SUFFIX = '.npy'
DAMAGE = (
  *(zipfile.BadZipFile, zlib.error, EOFError, OSError, SyntaxError),
  *(NotImplementedError, RuntimeError, TypeError, tokenize.TokenError, MemoryError),
)  # of zipfile and numpy, at bytes that were cut or changed
HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


def read(
  source: bytes | pathlib.Path,
  keep: Callable[[str], bool] = lambda name: True,
  limit: int | None = None,
) -> dict[str, np.ndarray]:
  """The arrays of an npz file whose names `keep` accepts; they are read-only.

  Args:
    source: the file, or its bytes.
    keep: whether the array of a name is read.
    limit: bytes that all arrays may have together; None: the size of the file, which
      suffices for any that is not compressed.

  Raises:
    ValueError: if it is not an npz file, is damaged, holds objects, or is larger.
  """
  file = io.BytesIO(source) if isinstance(source, bytes) else source
  try:
    with zipfile.ZipFile(file) as archive:
      infos = archive.infolist()
      size = len(source) if isinstance(source, bytes) else source.stat().st_size
      total = sum(info.file_size for info in infos)
      if total > (size if limit is None else limit):
        raise ValueError(f'its arrays claim {total:,} bytes')
      arrays = {}
      for info in infos:
        name = info.filename.removesuffix(SUFFIX)
        if name != info.filename and keep(name):
          arrays[name] = array(archive.read(info))
      return arrays
  except DAMAGE as error:
    text = ' '.join(str(error).split())[:200] or type(error).__name__
    raise ValueError(f'it is damaged or no npz file ({text})') from error


def array(data: bytes) -> np.ndarray:
  """The array in the bytes of an npy file.

  Raises:
    ValueError: if it holds objects, or other bytes than its header says.
  """
  stream = io.BytesIO(data)
  version = np.lib.format.read_magic(stream)
  if version not in HEADERS:
    raise ValueError(f'npy version {version} is not read')
  shape, fortran, dtype = HEADERS[version](stream)
  count = math.prod(shape)
  if dtype.hasobject or min(shape, default=0) < 0:
    raise ValueError('it holds Python objects or no shape')
  if count * dtype.itemsize != len(data) - stream.tell():
    raise ValueError(f'an array claims {shape} of {dtype}, which its bytes do not hold')
  if not count:
    return np.empty(shape, dtype)
  flat = np.frombuffer(data, dtype, count, stream.tell())
  return flat.reshape(shape, order='F' if fortran else 'C')
