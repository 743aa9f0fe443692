"""Archives read member by member into memory; nothing is unpacked to disk.

Archives are untrusted: members that point outside, links and devices are refused, and
sizes are capped, so that a small archive cannot fill the memory.
"""

import contextlib
import functools
import gzip
import lzma
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dlsteroids.util import errors as errors_lib

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.xz')
DAMAGE = (
  EOFError,
  MemoryError,  # xz: a dictionary as large as its header says
  OSError,  # gzip.BadGzipFile and short reads
  RuntimeError,
  ValueError,  # names and headers that cannot be decoded
  NotImplementedError,  # zip: features that zipfile lacks
  lzma.LZMAError,
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
)


class Limits(NamedTuple):
  """The most that an archive may hold: bytes of a member, bytes in all, members."""

  member: int = 1 << 28
  total: int = 1 << 36
  members: int = 20_000_000


LIMITS = Limits()
HEADER = 1 << 20  # bytes of a long name or an extended header
READABLE = (
  *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
  *(zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
)
METHODS = {
  1: 'shrink',
  6: 'implode',
  9: 'Deflate64',
  93: 'Zstandard',
  95: 'xz',
  98: 'PPMd',
}
ENCRYPTED, UTF8 = 1, 0x800  # bits of a zip member's flags
_PLAIN = (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE)


def is_archive(path: pathlib.Path) -> bool:
  """Whether `path` is a file with the suffix of a supported archive."""
  return path.is_file() and path.name.lower().endswith(SUFFIXES)


def openable(path: pathlib.Path) -> pathlib.Path:
  """`path`; UserError if it is a file that is not an archive."""
  if path.is_file() and not is_archive(path):
    raise errors_lib.UserError(
      f'{str(path)!r} is not a folder or an archive ({", ".join(SUFFIXES)})'
    )
  return path


def stem(path: pathlib.Path) -> str:
  """The name without folder and archive suffix ('a/b.tar.xz' → 'b')."""
  for suffix in sorted(SUFFIXES, key=len, reverse=True):
    if path.name.lower().endswith(suffix):
      return path.name[: -len(suffix)]
  return path.name


def names(path: pathlib.Path, limits: Limits = LIMITS) -> list[str]:
  """The names of all files and, with a final '/', folders, in the archive's order.

  Raises:
    UserError: unsafe or too many or too large members, or a damaged archive.
  """
  return [name for name, _ in _guarded(path, limits)]


def read(
  path: pathlib.Path, keep: Callable[[str], bool], limits: Limits = LIMITS
) -> Iterator[tuple[str, bytes]]:
  """Yields `(name, bytes)` of the members whose name `keep` accepts.

  Raises:
    UserError: as `names`; also if a member's bytes are damaged.
  """
  for name, load in _guarded(path, limits):
    if not name.endswith('/') and keep(name):
      try:
        yield name, load()
      except errors_lib.UserError:
        raise
      except DAMAGE as error:
        raise _damaged(path, error, name) from error


def _damaged(
  path: pathlib.Path, error: Exception, name: str = ''
) -> errors_lib.UserError:
  where = f' at {name!r}' if name else ''
  return errors_lib.UserError(
    f'{str(path)!r} is damaged or incomplete{where} ({error or type(error).__name__})'
  )


def _guarded(
  path: pathlib.Path, limits: Limits
) -> Iterator[tuple[str, Callable[[], bytes]]]:
  """Files and folders, in order, after every check that needs no unpacking."""
  list_members = _zip if path.name.lower().endswith('.zip') else _tar
  total, previous = 0, set()
  members = list_members(path, limits)
  while True:
    try:
      name, size, load = next(members)
    except StopIteration:
      return
    except errors_lib.UserError:
      raise
    except DAMAGE as error:
      raise _damaged(path, error) from error
    if size > limits.member:
      raise _refused(path, name, f'has {size:,} bytes, more than {limits.member:,}')
    total += size
    if total > limits.total:
      raise _refused(path, name, f'brings the total over {limits.total:,} bytes')
    if name in previous and not name.endswith('/'):
      raise _refused(path, name, 'appears twice')
    previous.add(name)
    if len(previous) > limits.members:
      raise _refused(path, name, f'is one of more than {limits.members:,}')
    yield name, load


def _refused(path: pathlib.Path, name: str, why: str) -> errors_lib.UserError:
  return errors_lib.UserError(f'{str(path)!r} is refused: member {name!r} {why}')


def _safe(path: pathlib.Path, name: str) -> str:
  """`name` without './', if it stays inside; else UserError."""
  parts = name.replace('\\', '/').split('/')
  outside = name.startswith(('/', '\\')) or ':' in parts[0] or '..' in parts
  if outside or '\0' in name:
    raise _refused(path, name, 'points outside the archive')
  return '/'.join(part for part in parts if part not in ('', '.'))


def _zip(
  path: pathlib.Path, limits: Limits
) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
  with zipfile.ZipFile(path) as file:
    for info in file.infolist():
      name = _safe(path, _decoded_name(info))
      kind = info.external_attr >> 28  # the Unix file type, 0 if there is none
      if kind not in (0, 0o10, 0o4):
        raise _refused(path, name, 'is a link or a device')
      if info.compress_type not in READABLE:
        method = 'Deflate64' if info.compress_type == 9 else 'another method'
        raise _refused(
          path,
          name,
          f'is compressed by {method}, which Python cannot read: pack it anew by the '
          'usual deflate (zip -r)',
        )
      if info.flag_bits & ENCRYPTED:
        raise _refused(path, name, 'is encrypted: pack it anew without a password')
      if info.is_dir():
        yield f'{name}/', 0, bytes
      else:
        # zipfile stops at the declared size and then compares the CRC.
        yield name, info.file_size, functools.partial(file.read, info)


def _decoded_name(info: zipfile.ZipInfo) -> str:
  """A member's name; also in UTF-8 that is not marked as such, as macOS writes it."""
  if info.flag_bits & UTF8:
    return info.filename
  try:
    return info.filename.encode('cp437').decode('utf-8')
  except UnicodeError:
    return info.filename


class _Info(tarfile.TarInfo):
  """A header that tells a cut from the end mark; tarfile treats both as the end."""

  @classmethod
  def fromtarfile(cls, tarfile_: tarfile.TarFile) -> '_Info':
    try:
      return super().fromtarfile(tarfile_)
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
      raise
    except tarfile.HeaderError as error:
      raise tarfile.ReadError(str(error)) from error

  @classmethod
  def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> '_Info':
    info = super().frombuf(buf, encoding, errors)
    # tarfile reads long names and extended headers whole before it returns a member.
    if info.type not in _PLAIN and info.size > HEADER:
      raise tarfile.ReadError(f'a header of {info.size:,} bytes')
    return info


def _tar(
  path: pathlib.Path, limits: Limits
) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
  opener: Any = {'.gz': gzip.open, '.tgz': gzip.open, '.xz': lzma.open}
  with contextlib.ExitStack() as stack:
    raw: Any = stack.enter_context(opener.get(path.suffix.lower(), open)(path, 'rb'))
    file = stack.enter_context(tarfile.open(fileobj=raw, mode='r:', tarinfo=_Info))
    for info in file:
      name = _safe(path, info.name)
      if info.isdir():
        yield f'{name}/', 0, bytes
        continue
      if not info.isreg() or info.issparse():
        raise _refused(path, name, 'is a link, a device or sparse')
      yield name, info.size, functools.partial(_whole, file, info)
    # The checksum of the compressed stream lies behind tar's end mark.
    padding = 0
    while chunk := raw.read(1 << 20):
      padding += len(chunk)
      if padding > limits.member:
        raise _refused(path, 'after the end', f'has over {limits.member:,} bytes')


def _whole(file: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
  stream = file.extractfile(info)
  return stream.read() if stream else b''
