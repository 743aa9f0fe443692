"""Log-mel features of many WAV files as one array, computed once and cached."""

import collections
import hashlib
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.data.lib import audio, source
from dlsteroids.util import errors

FORMAT = 1  # of the cached file
TOTAL = 1 << 32  # bytes of all features


class Spectra(NamedTuple):
  """What a model sees of N recordings.

  Attributes:
    image: uint8 [N, T, bands], as `audio.quantise`; 0 past the length.
    length: int32 [N], real frames.
    content: sha256 (hex) of the files' names and bytes.
    treatments: what was done to the sound, a sentence each.
  """

  image: np.ndarray
  length: np.ndarray
  content: str
  treatments: tuple[str, ...]


def cached(files: Mapping[str, bytes], form: audio.Form, place: str) -> Spectra:
  """The features of `files` in their order, from the cache if they were seen before.

  Args:
    files: WAV files by name.
    form: rate and features.
    place: where they lie, for error messages.

  Raises:
    UserError: a file that cannot be read, too many frames for the memory, or a cache
      that cannot be written.
  """
  known = content(files)
  key = config_lib.digest([FORMAT, form, audio.FLOOR, audio.STEP, known])
  file = source.cache() / 'speech' / f'{key}.npz'
  found = restore(file)
  if found is None:
    found = compute(files, form, place)._replace(content=known)
    store(file, found)
  return found


def content(files: Mapping[str, bytes]) -> str:
  """sha256 (hex) of the names and bytes of files, in their order."""
  total = hashlib.sha256()
  for name, data in files.items():
    total.update(f'{name} {hashlib.sha256(data).hexdigest()}\n'.encode())
  return total.hexdigest()


def compute(files: Mapping[str, bytes], form: audio.Form, place: str) -> Spectra:
  """The features of `files`, without `content`."""
  parts, rates, mixed = [], collections.Counter[int](), 0
  for name, data in files.items():
    sound = audio.read(data, f'{place}/{name}')
    rates[sound.rate] += 1
    mixed += sound.samples.shape[1] > 1
    parts.append(audio.quantise(audio.log_mel(audio.bring(sound, form.rate), form)))
  length = np.array([len(part) for part in parts], np.int32)
  longest = int(length.max())
  if len(parts) * longest * form.bands > TOTAL:
    name = list(files)[int(length.argmax())]
    raise errors.UserError(
      f'{len(parts):,} recordings of up to {longest:,} frames ({place}/{name}) need '
      f'{len(parts) * longest * form.bands:,} bytes of memory; take out the longest'
    )
  image = np.zeros((len(parts), longest, form.bands), np.uint8)
  for row, part in zip(image, parts, strict=True):
    row[: len(part)] = part
  treatments = []
  if mixed:
    treatments.append(
      f'{mixed:,} of {len(parts):,} recordings had several channels, now averaged.'
    )
  for rate in sorted(set(rates) - {form.rate}):
    treatments.append(
      f'{rates[rate]:,} of {len(parts):,} recordings were resampled from {rate:,} to '
      f'{form.rate:,} Hz.'
    )
  return Spectra(image, length, '', tuple(treatments))


def checksum(found: Spectra) -> str:
  """sha256 (hex) of all that `found` holds."""
  about = [found.image.shape, found.content, found.treatments]
  total = hashlib.sha256(config_lib.digest(about).encode())
  total.update(np.ascontiguousarray(found.image).data)
  total.update(np.ascontiguousarray(found.length).data)
  return total.hexdigest()


def store(file: pathlib.Path, found: Spectra) -> None:
  """Writes the .npz with its checksum, atomically.

  Raises:
    UserError: if the cache cannot be written.
  """
  about = [found.content, found.treatments, checksum(found)]
  temporary = ''
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix='.tmp')
    with os.fdopen(handle, 'wb') as stream:
      np.savez(
        stream,
        image=found.image,
        length=found.length,
        about=np.array(json.dumps(about)),
      )
    os.replace(temporary, file)
  except OSError as error:
    raise errors.UserError(
      f'cannot cache the spectra in {str(file.parent)!r}: {error.strerror}; set '
      'DLSTEROIDS_CACHE to a folder with room'
    ) from error
  finally:
    if temporary:
      pathlib.Path(temporary).unlink(missing_ok=True)


def restore(file: pathlib.Path) -> Spectra | None:
  """What `store` wrote; None if it is not there or is damaged (it is made anew)."""
  try:
    with np.load(file, allow_pickle=False) as arrays:
      content, treatments, wanted = json.loads(str(arrays['about']))
      found = Spectra(arrays['image'], arrays['length'], content, tuple(treatments))
    return found if checksum(found) == wanted else None
  except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
    return None
