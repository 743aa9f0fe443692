"""Image files in folders or archives: found, decoded once in parallel, and cached."""

import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dlsteroids.config import options
from dlsteroids.data.lib import archive, cache, decode, folder_layout, source
from dlsteroids.util import errors, files

OPTIONS = {
  'path': options.Option('', 'folder or archive, or its name in $DLSTEROIDS_DATA'),
  'label': options.Option('', "name in results; '': that of the folder or archive"),
  'size': options.Option(
    0, 'square side in pixels; 0: their own', 0, 4096, closed='both'
  ),
  'channels': options.Option(3, '3: colour, 1: grey', choices=(1, 3)),
}
FORMAT = 2  # of the cached arrays
Arrange = Callable[[Iterable[str], str], folder_layout.Layout]


def locate(
  kind: str,
  config: Mapping[str, Any],
  role: Callable[[str], str],
  wanted: str,
  archives: bool = True,
  hint: str = '',
) -> pathlib.Path:
  """The folder or archive of images at `data.path`, or called `data.label`.

  Args:
    kind: the data set's, for errors.
    config: has `path` and `label`.
    role: of a folder by its name; a data set has one whose role begins with 'train'.
    wanted: what is expected there, for errors.
    archives: whether they are read.
    hint: what may be set instead, for errors.

  Raises:
    UserError: neither option set, nothing there, or several archives.
  """
  if not (config['path'] or config['label']):
    raise errors.UserError(
      f'data.path is empty: give the folder{" or archive" * archives} of images (or '
      f'data.label, a folder in $DLSTEROIDS_DATA){hint}'
    )

  def find(place: pathlib.Path) -> pathlib.Path | None:
    if place.is_file():
      if archives:
        return archive.openable(place)
      raise errors.UserError(
        f'{str(place)!r} is a file: streamed images are read from a folder; unpack it'
      )
    folders = (path for pattern in ('*', '*/*') for path in place.glob(pattern))
    if any(role(path.name).startswith('train') and path.is_dir() for path in folders):
      return place
    packed = sorted(path for path in place.iterdir() if archive.is_archive(path))
    if archives and len(packed) > 1:
      raise errors.UserError(
        f'{str(place)!r} holds {len(packed)} archives '
        f'({", ".join(path.name for path in packed[:5])}): set data.path to one'
      )
    if archives and packed:
      return packed[0]
    if not config['path']:
      return None
    below = (name for name, _ in folder_layout.walk(place))
    train = wanted.partition('/')[0]
    state = folder_layout.describe(below, role, train)
    if role(place.name).startswith('train'):
      state = f'it is {train}/ itself: give the folder above'
    raise errors.UserError(
      f'data.path: {str(place)!r} has no {train}/ at the top nor in one folder below '
      f'it ({state}); expected {wanted}'
    )

  if archives:
    wanted = f'{wanted}, or one archive of it ({", ".join(archive.SUFFIXES)})'
  return source.locate(config['label'] or kind, config, find, wanted)


def name_of(place: pathlib.Path, config: Mapping[str, Any]) -> str:
  """The name of a data set in results: `data.label`, or that of what was read."""
  return config['label'] or archive.stem(place.resolve())


def decoded(
  kind: str, place: pathlib.Path, form: decode.Form, arrange: Arrange
) -> tuple[np.ndarray, tuple[str, ...], tuple[tuple[int, ...], ...]]:
  """The decoded images of a folder or archive, from the cache if it is unchanged.

  Args:
    kind: folder within the cache.
    place: folder or archive.
    form: size and channels.
    arrange: from names and the place in words to the layout.

  Returns:
    uint8 [N, H, W, C]; names of the classes; images of each class in train, validation
    and test.

  Raises:
    UserError: as `arrange`; unreadable or unequally sized images, a damaged archive, or
      a cache that cannot be written.
  """
  if place.is_dir():
    listing = sorted(folder_layout.walk(place))
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in listing]
    state: Any = [str(place.resolve()), stats]
  else:  # its names are read only if need be: that may unpack the whole archive
    state = files.checksum(place)

  def make() -> cache.Entry:
    if place.is_dir():
      plan = arrange((name for name, _ in listing), repr(str(place)))
      contents: Any = ((name, place / name) for name in plan.names)
    else:
      plan = arrange(archive.names(place), repr(str(place)))
      contents = archive.read(place, set(plan.names).__contains__)
    rows = {name: row for row, name in enumerate(plan.names)}
    pixels = decode.every(contents, rows, form)
    return {'image': pixels}, [plan.classes, plan.counts]

  key = [FORMAT, form, arrange.__name__, state]
  arrays, (classes, counts) = cache.remember(kind, key, make)
  return arrays['image'], tuple(classes), tuple(map(tuple, counts))
