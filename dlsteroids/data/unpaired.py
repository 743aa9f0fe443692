"""Your own images of two domains, X and Y, without partners.

Two folders or archives of images (`path_x`, `path_y`), or one (`path`) in the layout of
CycleGAN's data sets: `trainA/*.jpg`, `trainB/`, optional `testA/` and `testB/`, `valA/`
and `valB/`, at its top or below one top folder. A is X, B is Y. Decoded once, in
parallel, and cached.
"""

import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data import image_folder
from dlsteroids.data.lib import (
  archive,
  decode,
  domain_folders,
  images,
  layout,
  source,
  two_domains,
)
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'path': '',  # folder or archive of trainA/, trainB/; '' searches for folder `label`
  'path_x': '',  # folder or archive of the images of X, instead of `path`
  'path_y': '',  # and of Y
  'label': '',  # the data set's name in results; '': the folders' or archives'
  'size': 0,  # square side in pixels; 0: the images' own size, equal for all
  'channels': 3,  # 3 or, for grey, 1: of both domains
  **two_domains.OPTIONS,
}
Arrange = Callable[[Iterable[str], str], layout.Layout]


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The images as x [N, size, size, channels] and y.

  With `testA/` and `testB/`, `data.test` has no effect; nor has `data.validation` with
  `valA/` and `valB/`.

  Raises:
    UserError: nothing found, a wrong layout, unreadable or unequally sized images, too
      few of them, or an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  check(config)
  form = decode.Form(config['size'], config['channels'])
  if config['path_x']:
    places = [locate(config, side) for side in 'xy']
    if places[0].resolve() == places[1].resolve():
      raise errors.UserError(
        f'data.path_x and data.path_y are both {str(places[0])!r}: two domains are '
        'needed'
      )
    names = [archive.stem(place.resolve()) for place in places]
    pixels, sizes = [], []
    for place in places:
      found, counts = cached(place, form, domain_folders.flat)
      pixels.append(found)
      sizes.append((sum(counts[0]), 0, 0))
    name = '-'.join(names)
  else:
    wanted = f'trainA/*.jpg|png, or one archive of it ({", ".join(archive.SUFFIXES)})'
    place = source.locate(config['label'] or 'unpaired', config, find, wanted)
    found, counts = cached(place, form, domain_folders.official)
    train, validation, test = counts
    sides = np.repeat(np.tile([0, 1], len(counts)), np.ravel(counts))
    pixels = [found[sides == side] for side in (0, 1)]
    sizes = [(train[i], validation[i], test[i]) for i in (0, 1)]
    name, names = archive.stem(place.resolve()), ['A', 'B']
  compare(pixels, names)
  x, y = (two_domains.Side(*side) for side in zip(names, pixels, sizes, strict=True))
  treatments = treat(pixels, names, config)
  return two_domains.make(config['label'] or name, x, y, config, treatments=treatments)


def check(config: Mapping[str, Any]) -> None:
  """Raises UserError for options out of range, or places that do not go together."""
  if config['channels'] not in (1, 3):
    raise errors.UserError(
      f'data.channels must be 1 (grey) or 3 (colour), not {config["channels"]}'
    )
  if not 0 <= config['size'] <= 4096:
    raise errors.UserError(f'data.size must lie in 0..4096, not {config["size"]}')
  given = [key for key in ('path_x', 'path_y') if config[key]]
  if config['path'] and given:
    raise errors.UserError(
      f'data.path and data.{given[0]} are both set: give one layout of both domains, '
      'or data.path_x and data.path_y'
    )
  if len(given) == 1:
    other = {'path_x': 'path_y', 'path_y': 'path_x'}[given[0]]
    raise errors.UserError(
      f'data.{other} is empty, but data.{given[0]} is set: two domains are needed'
    )
  if not (given or config['path'] or config['label']):
    raise errors.UserError(
      'data.path_x and data.path_y are empty: give two folders or archives of images, '
      'or data.path, one that holds trainA/ and trainB/ (or data.label, a folder below '
      '$DLSTEROIDS_DATA)'
    )


def locate(config: Mapping[str, Any], side: str) -> pathlib.Path:
  """The folder or archive of one domain.

  Raises:
    UserError: if there is none.
  """
  place = pathlib.Path(config[f'path_{side}']).expanduser()
  if not place.exists():
    raise errors.UserError(f'data.path_{side}: {str(place)!r} does not exist')
  return openable(place)


def openable(place: pathlib.Path) -> pathlib.Path:
  """`place`, unless it is a file that is no archive: then UserError."""
  if place.is_file() and not archive.is_archive(place):
    raise errors.UserError(
      f'{str(place)!r} is no folder and no archive ({", ".join(archive.SUFFIXES)})'
    )
  return place


def find(place: pathlib.Path) -> pathlib.Path | None:
  """The folder that has trainA/ or trainB/, or the one archive, at or in `place`.

  Raises:
    UserError: a file that is no archive, or several archives.
  """
  if place.is_file():
    return openable(place)
  if any(any(place.glob(pattern)) for pattern in ('train[AB]', '*/train[AB]')):
    return place
  archives = sorted(path for path in place.iterdir() if archive.is_archive(path))
  if len(archives) > 1:
    raise errors.UserError(
      f'{str(place)!r} holds {len(archives)} archives '
      f'({", ".join(path.name for path in archives[:5])}): set data.path to one'
    )
  return archives[0] if archives else None


def cached(
  place: pathlib.Path, form: decode.Form, arrange: Arrange
) -> tuple[np.ndarray, list[list[int]]]:
  """The decoded images of `place`, from the cache if its digest has been seen.

  Returns:
    uint8 [N, H, W, C]; images per side in train, validation and test.

  Raises:
    UserError: as `load`, or a cache that cannot be written.
  """
  if place.is_dir():
    listing = sorted(layout.walk(place))
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in listing]
    state: Any = [str(place.resolve()), stats]
  else:
    state = source.checksum(place)
  key = config_lib.digest([image_folder.FORMAT, form, arrange.__name__, state])
  file = source.cache() / 'unpaired' / f'{key}.npy'
  found = image_folder.restore(file)
  if found is not None:
    return found[0], found[2]
  if place.is_dir():
    plan = arrange((name for name, _ in listing), repr(str(place)))
    files: Any = ((name, place / name) for name in plan.names)
  else:
    plan = arrange(archive.names(place), repr(str(place)))
    files = archive.read(place, set(plan.names).__contains__)
  rows = {name: row for row, name in enumerate(plan.names)}
  pixels = decode.every(files, rows, form)
  about = {'classes': plan.classes, 'counts': plan.counts}
  image_folder.store(file, pixels, about)
  return pixels, [list(part) for part in plan.counts]


def compare(pixels: list[np.ndarray], names: list[str]) -> None:
  """Raises UserError unless the images of both domains are of one size."""
  sizes = [f'{part.shape[2]}×{part.shape[1]}' for part in pixels]
  if sizes[0] != sizes[1]:
    raise errors.UserError(
      f'images of {names[0]} are {sizes[0]}, but those of {names[1]} {sizes[1]}: set '
      'data.size to bring all images to one size'
    )


def treat(
  pixels: list[np.ndarray], names: list[str], config: Mapping[str, Any]
) -> tuple[str, ...]:
  """What was done to the images, a sentence each."""
  found = []
  if config['channels'] == 1:
    found.append('Images are in grey; colour was turned to its ITU-R 601 luma.')
  else:
    for part, name in zip(pixels, names, strict=True):
      grey = sum(bool((image == image[..., :1]).all()) for image in part)
      if grey:
        found.append(
          f'{grey:,} of {len(part):,} images of {name} are grey: three equal channels.'
        )
  if config['size']:
    found.append(
      f'The middle square of every image was brought to {config["size"]} pixels a side.'
    )
  return tuple(found)
