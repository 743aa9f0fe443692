"""Where data files come from: the user's path, a data folder, the cache, the network.

Search order: `config['path']` (if set, only there), `$DLSTEROIDS_DATA/<name>`, the
cache (`$DLSTEROIDS_CACHE` or `~/.cache/dlsteroids`) and, if `config['download']`, the
official address, whose published digest must match before a file gets its name.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pooch

from dlsteroids.util import errors

OPTIONS: dict[str, Any] = {
  'path': '',  # file or folder of the data; '' searches
  'download': True,  # from the official address, if found nowhere else
}
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 14  # bytes; what a dropped connection can lose


class Item(NamedTuple):
  """A published file: its name, its address, its digest as 'md5:…' or 'sha256:…'."""

  name: str
  url: str
  digest: str


def cache() -> pathlib.Path:
  """The cache folder, which need not exist."""
  folder = os.environ.get('DLSTEROIDS_CACHE') or '~/.cache/dlsteroids'
  return pathlib.Path(folder).expanduser()


def folders(name: str, config: Mapping[str, Any]) -> list[tuple[str, pathlib.Path]]:
  """The places to look in for data set `name`, in order, each with what to call it.

  Raises:
    UserError: if `config['path']` is set and does not exist.
  """
  if config['path']:
    path = pathlib.Path(config['path']).expanduser()
    if not path.exists():
      raise errors.UserError(f'data.path: {str(path)!r} does not exist')
    return [('data.path', path)]
  places = []
  if os.environ.get('DLSTEROIDS_DATA'):
    root = pathlib.Path(os.environ['DLSTEROIDS_DATA']).expanduser()
    places.append(('$DLSTEROIDS_DATA', root / name))
  return [*places, ('the cache', cache() / name)]


def locate(
  name: str,
  config: Mapping[str, Any],
  look: Callable[[pathlib.Path], Any],
  wanted: str,
  items: Sequence[Item] = (),
) -> Any:
  """The first non-None `look(place)`; else downloads `items` and looks again.

  Args:
    name: of the data set; the sub-folder of `$DLSTEROIDS_DATA` and of the cache.
    config: has `path` and `download`.
    look: what a place has to offer, or None; may raise UserError.
    wanted: what is looked for, for the error message.
    items: what to download; none if the data set has no official address.

  Raises:
    UserError: if there is nothing anywhere: what was looked for, and where to put it.
  """
  places = folders(name, config)
  for _, place in places:
    found = look(place) if place.exists() else None
    if found is not None:
      return found
  reason = '' if items else '; it has no download'
  if items and not config['download']:
    reason = '; data.download is false'
  elif items and not config['path']:
    target = cache() / name
    try:
      for item in items:
        fetch(item, target)
      return look(target)
    except ConnectionError as error:
      reason = f'; {error}'
  unset = '' if 'DLSTEROIDS_DATA' in os.environ else ' ($DLSTEROIDS_DATA is not set)'
  tried = ', '.join(f'{label} {str(place)!r}' for label, place in places)
  put = 'there' if config['path'] else f'in {str(places[-1][1])!r}, or set data.path'
  raise errors.UserError(
    f'{name}: {wanted} not found in {tried}{"" if config["path"] else unset}{reason}. '
    f'Put it {put}'
  )


def fetch(item: Item, folder: pathlib.Path) -> pathlib.Path:
  """Downloads `item` into `folder` unless it lies there already, digest verified.

  An interrupted download leaves `<name>.part`, which the next call continues; the
  file gets its name only when its digest matches, and a corrupt one is deleted.

  Raises:
    UserError: wrong digest, or a folder that cannot be written.
    ConnectionError: one line saying which address failed, and how.
  """
  import requests  # pooch's own; slow to import, and needed only here

  target = folder / item.name
  part = folder / f'{item.name}.part'
  download = make_downloader(part)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f'{item.name}.lock'):
      resumed = part.exists()
      try:
        pooch.retrieve(item.url, item.digest, item.name, folder, downloader=download)
      except ValueError:
        if not resumed:
          raise
        # The stale start may be to blame: once more from the first byte.
        pooch.retrieve(item.url, item.digest, item.name, folder, downloader=download)
  except requests.RequestException as error:
    response = getattr(error, 'response', None)
    why = type(error).__name__ if response is None else f'HTTP {response.status_code}'
    raise ConnectionError(f'download from {item.url} failed ({why})') from error
  except ValueError as error:
    raise errors.UserError(
      f'{item.url}: the download does not have the published digest {item.digest}; '
      'it was deleted'
    ) from error
  except OSError as error:
    raise errors.UserError(
      f'cannot write {str(target)!r}: {error.strerror}; set DLSTEROIDS_CACHE to a '
      'folder with room'
    ) from error
  return target


def make_downloader(part: pathlib.Path) -> Callable[..., None]:
  """A pooch downloader that continues `part` by HTTP Range, and drops by retrying.

  As long as a connection brings new bytes, its end is not the end of the download. A
  server that ignores Range (answers 200) starts the file over.
  """

  def download(url: str, output_file: str, pooch_: Any) -> None:
    del pooch_
    import requests

    drops = (
      requests.ConnectionError,
      requests.Timeout,
      requests.exceptions.ChunkedEncodingError,  # ended in the middle of the body
    )
    while True:
      before = _size(part)
      dropped: Exception = requests.ConnectionError('the connection ended early')
      try:
        if _continue(url, part):
          break
      except drops as error:
        dropped = error
      if _size(part) <= before:
        raise dropped
    os.replace(part, output_file)

  return download


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _continue(url: str, part: pathlib.Path) -> bool:
  """One request for what `part` lacks; True when the file is complete."""
  import requests

  start = _size(part)
  # 'identity': a transparently unpacked .gz could not be continued by byte offsets.
  headers = {'Accept-Encoding': 'identity'}
  if start:
    headers['Range'] = f'bytes={start}-'
  with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
    if start and response.status_code == 416:  # nothing from there on
      total = response.headers.get('Content-Range', '').rpartition('/')[2]
      if total == str(start):
        return True
      part.unlink()  # longer than the file: not its beginning
      return _continue(url, part)
    response.raise_for_status()
    begins = response.headers.get('Content-Range', '').startswith(f'bytes {start}-')
    appends = response.status_code == 206 and begins
    expected = int(response.headers.get('Content-Length', -1))
    received = 0
    with part.open('ab' if appends else 'wb') as file:
      for chunk in response.iter_content(CHUNK):
        file.write(chunk)
        received += len(chunk)
  return expected in (-1, received)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
  """Keeps two processes from continuing one `.part`, where the system has flock."""
  try:
    import fcntl
  except ImportError:
    yield
    return
  with path.open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def read_bytes(path: pathlib.Path, limit: int, place: str = '') -> bytes:
  """A file's bytes, of which it may have `limit`.

  Args:
    place: what errors begin with; '': the path.

  Raises:
    UserError: larger, or not to be read.
  """
  place = place or repr(str(path))
  try:
    size = path.stat().st_size
    if size > limit:
      raise errors.UserError(f'{place} has {size:,} bytes, more than {limit:,}')
    return path.read_bytes()
  except OSError as error:
    raise errors.UserError(f'{place} cannot be read: {error.strerror}') from error


def checksum(path: pathlib.Path, algorithm: str = 'sha256') -> str:
  """The hex digest of a file's bytes."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, algorithm).hexdigest()
