"""Your own images: `train/CLASS/*.jpg|jpeg|png`, optional `validation/` and `test/`.

A folder, or a .zip, .tar, .tar.gz, .tgz or .tar.xz of it, the splits at its top or
below one top folder. Decoded once, in parallel, and cached.
"""

import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data.lib import archive, decode, images, layout, source
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'path': '',  # the folder or archive; '' searches for the folder `label`
  'label': '',  # the data set's name in results; '': the folder's or archive's
  'size': 0,  # square side in pixels; 0: the images' own size, equal for all
  'channels': 3,  # 3 or, for grey, 1
  'test': 0.2,  # share of train drawn by the seed for testing, if there is no test/
  **images.OPTIONS,
}
FORMAT = 1  # of the cached file


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The images as [N, size, size, channels], classes in the order of their names.

  With a `validation/` folder, `data.validation` has no effect; nor has `data.test`
  with a `test/` folder.

  Raises:
    UserError: nothing found, a wrong layout, unreadable or unequally sized images, or
      an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  if config['channels'] not in (1, 3):
    raise errors.UserError(
      f'data.channels must be 1 (grey) or 3 (colour), not {config["channels"]}'
    )
  if not 0 <= config['size'] <= 4096:
    raise errors.UserError(f'data.size must lie in 0..4096, not {config["size"]}')
  if not (config['path'] or config['label']):
    raise errors.UserError(
      'data.path is empty: give the folder or archive of images (or data.label, a '
      'folder below $DLSTEROIDS_DATA)'
    )
  wanted = (
    f'train/CLASS/*.jpg|png, or one archive of it ({", ".join(archive.SUFFIXES)})'
  )
  place = source.locate(config['label'] or 'image_folder', config, find, wanted)
  form = decode.Form(config['size'], config['channels'])
  pixels, classes, counts = cached(place, form)
  label = np.concatenate([np.repeat(np.arange(len(part)), part) for part in counts])
  train, validation, test = (sum(part) for part in counts)
  parts = images.Parts(
    name=config['label'] or archive.stem(place.resolve()),
    images=pixels,
    labels=label.astype(np.int32),
    sizes=(train, validation, test),
    classes=tuple(classes),
  )
  return images.make(parts, config)


def find(place: pathlib.Path) -> pathlib.Path | None:
  """The folder that has train/, or the one archive, at or in `place`."""
  if place.is_file():
    if not archive.is_archive(place):
      raise errors.UserError(
        f'{str(place)!r} is no folder and no archive ({", ".join(archive.SUFFIXES)})'
      )
    return place
  if (place / 'train').is_dir() or any(place.glob('*/train')):
    return place
  archives = sorted(path for path in place.iterdir() if archive.is_archive(path))
  if len(archives) > 1:
    raise errors.UserError(
      f'{str(place)!r} holds {len(archives)} archives '
      f'({", ".join(path.name for path in archives[:5])}): set data.path to one'
    )
  return archives[0] if archives else None


def cached(
  place: pathlib.Path, form: decode.Form
) -> tuple[np.ndarray, list[str], list[list[int]]]:
  """The decoded images of `place`, from the cache if its digest has been seen.

  Returns:
    uint8 [N, H, W, C]; class names; images per class in train, validation and test.

  Raises:
    UserError: as `load`, or a cache that cannot be written.
  """
  if place.is_dir():
    listing = sorted(layout.walk(place))
    names = [name for name, _ in listing]
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in listing]
    state: Any = [str(place.resolve()), stats]
  else:
    names = []  # reading them may mean unpacking the whole archive: only if need be
    state = source.checksum(place)
  key = config_lib.digest([FORMAT, form, state])
  file = source.cache() / 'image_folder' / f'{key}.npy'
  found = restore(file)
  if found is not None:
    return found
  if place.is_file():
    names = archive.names(place)
  plan = layout.arrange(names, repr(str(place)))
  rows = {name: row for row, name in enumerate(plan.names)}
  files: Any = ((name, place / name) for name in plan.names)
  if place.is_file():
    files = archive.read(place, rows.__contains__)
  pixels = decode.every(files, rows, form)
  store(file, pixels, {'classes': plan.classes, 'counts': plan.counts})
  return pixels, list(plan.classes), [list(part) for part in plan.counts]


def store(file: pathlib.Path, pixels: np.ndarray, about: Mapping[str, Any]) -> None:
  """Writes the .npy, then `about` and the pixels' sha256 as JSON, atomically.

  Raises:
    UserError: if the cache cannot be written.
  """
  tail = {**about, 'sha256': hashlib.sha256(pixels.data).hexdigest()}
  temporary = ''
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix='.tmp')
    with os.fdopen(handle, 'wb') as stream:
      np.save(stream, pixels)
      stream.write(json.dumps(tail).encode())
    os.replace(temporary, file)
  except OSError as error:
    raise errors.UserError(
      f'cannot cache the decoded images in {str(file.parent)!r}: {error.strerror}; set '
      'DLSTEROIDS_CACHE to a folder with room'
    ) from error
  finally:
    if temporary:
      pathlib.Path(temporary).unlink(missing_ok=True)


def restore(
  file: pathlib.Path,
) -> tuple[np.ndarray, list[str], list[list[int]]] | None:
  """What `store` wrote; None if it is not there or is damaged (it is made anew)."""
  try:
    with file.open('rb') as stream:
      pixels = np.load(stream, allow_pickle=False)
      tail = json.loads(stream.read())
    if hashlib.sha256(pixels.data).hexdigest() != tail['sha256']:
      return None
    return pixels, tail['classes'], tail['counts']
  except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
    return None
