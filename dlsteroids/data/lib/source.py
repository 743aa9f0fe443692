"""Where data files come from: the user's path, a data folder, the cache, the network.

Search order: `config['path']` (if set, only that, which may also be the name of a
folder in the next two), `$DLSTEROIDS_DATA/<name>`, the cache folder's `<name>` and, if
`config['download']`, the official address, whose published digest must match before a
file gets its name. Downloads are pooch's, but for the transfer: pooch begins anew after
every dropped connection, `make_downloader` continues.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import filelock
import pooch

from dlsteroids.config import options
from dlsteroids.util import errors, files

OPTIONS = {
  'path': options.Option('', 'file or folder of the data; by default it is searched'),
  'download': options.Option(True, 'from the official address, if not found elsewhere'),
}
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 14  # bytes; the most that a dropped connection loses


class Item(NamedTuple):
  """A published file: its name, its address, its digest as 'md5:…' or 'sha256:…'."""

  name: str
  url: str
  digest: str


def folders(name: str, config: Mapping[str, Any]) -> list[tuple[str, pathlib.Path]]:
  """The places to look in for data set `name`, in order, each with its description.

  Raises:
    UserError: if `config['path']` is set and does not exist.
  """
  roots = [('the cache', files.cache_folder())]
  if os.environ.get('DLSTEROIDS_DATA'):
    folder = pathlib.Path(os.environ['DLSTEROIDS_DATA']).expanduser()
    roots.insert(0, ('$DLSTEROIDS_DATA', folder))
  if not config['path']:
    return [(label, root / name) for label, root in roots]
  path = pathlib.Path(config['path']).expanduser()
  for place in (path, *(root / path for _, root in roots)):
    if place.exists():
      return [('data.path', place)]
  searched = ', '.join(f'{label} {str(root)!r}' for label, root in roots)
  also = '' if path.is_absolute() else f'; it was not found here, in {searched}'
  raise errors.UserError(f'data.path: {str(path)!r} does not exist{also}')


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
    look: what of the data set is at a place, or None; may raise UserError.
    wanted: description of the files, for the error message.
    items: what to download; none if the data set has no official address.

  Raises:
    UserError: if it is nowhere: what was searched, where, and where to put it.
  """
  places = folders(name, config)
  for _, place in places:
    result = look(place) if place.exists() else None
    if result is not None:
      return result
  reason = '' if items else '; it has no download'
  if items and not config['download']:
    reason = '; data.download is false'
  elif items and not config['path']:
    target = files.cache_folder() / name
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


def locate_file(name: str, config: Mapping[str, Any], published: Item) -> pathlib.Path:
  """The one file of a data set, or the file that `config['path']` names.

  Raises:
    UserError: as `locate`.
  """

  def look(place: pathlib.Path) -> pathlib.Path | None:
    path = place / published.name if place.is_dir() else place
    return path if path.is_file() else None

  return locate(name, config, look, published.name, [published])


def verified_name(name: str, path: pathlib.Path, published: Item) -> str:
  """`name`, with '-unverified' unless the file is the published one."""
  algorithm, _, digest = published.digest.partition(':')
  return name if files.checksum(path, algorithm) == digest else f'{name}-unverified'


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
  download = _make_downloader(part)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / f'{item.name}.lock'):  # for the `.part`
      resumed = part.exists()
      try:
        pooch.retrieve(item.url, item.digest, item.name, folder, downloader=download)
      except ValueError:
        if not resumed:
          raise
        # The partial file may have been of another version: start over.
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


def _make_downloader(part: pathlib.Path) -> Callable[..., None]:
  """A pooch downloader that continues `part` by HTTP Range after a dropped connection.

  It gives up when a connection brought no new byte. A server that ignores Range (and
  answers 200) starts the file over.
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
    if start and response.status_code == 416:  # no byte after `start`
      total = response.headers.get('Content-Range', '').rpartition('/')[2]
      if total == str(start):
        return True
      part.unlink()  # longer than the file, so not its beginning
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


def read_bytes(path: pathlib.Path, limit: int, place: str = '') -> bytes:
  """A file's bytes, at most `limit`.

  Args:
    path: of the file.
    limit: in bytes.
    place: what errors begin with; '': the path.

  Raises:
    UserError: larger, or unreadable.
  """
  place = place or repr(str(path))
  try:
    size = path.stat().st_size
    if size > limit:
      raise errors.UserError(f'{place} has {size:,} bytes, more than {limit:,}')
    return path.read_bytes()
  except OSError as error:
    raise errors.UserError(f'{place} cannot be read: {error.strerror}') from error
