"""Free Spoken Digit Dataset: 3,000 recordings of '0' to '9' by six speakers (8 kHz).

Jackson et al. (2018), github.com/Jakobovski/free-spoken-digit-dataset. The model sees
log-mel spectra, computed once and cached. The official test set is recordings 0 to 4 of
every digit and speaker; or leave one speaker out. Validation is drawn from the rest, so
it holds voices that are also trained on.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import archive, digest, source, spectra, split
from dlsteroids.util import errors

OPTIONS = {
  'path': source.OPTIONS['path'],
  'speaker': options.Option(
    '', "whose recordings are the test set; '': the official test set"
  ),
  'bands': options.Option(40, 'of the mel scale', 1),
  'frame': options.Option(0.032, 'seconds of one spectrum'),
  'hop': options.Option(0.016, 'seconds from one frame to the next'),
  **split.OPTIONS,
}
RATE = 8000
# `spectra.Spectra.content` of the recordings at commit 26eb9aa.
PUBLISHED = '89d0a49c5ea747e866b98fa25fe45867befdea538c4581496d2a0fa9b03c876b'
CLASSES = tuple('0123456789')
OFFICIAL = 5  # recordings of every digit and speaker: the first ones
PATTERN = re.compile(r'(\d)_(.+)_(\d+)\.wav', re.IGNORECASE)
WANTED = f'recordings{"|".join(archive.SUFFIXES)} or a folder recordings/ of .wav files'
LIMITS = archive.Limits(member=1 << 26, total=1 << 30)


class Recording(NamedTuple):
  """The parts of a file's name DIGIT_SPEAKER_NUMBER.wav."""

  digit: int
  speaker: str
  number: int


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The recordings as log-mel features uint8 [N, T, bands, 1], steps of 0.4 dB.

  T is the longest's number of frames; `length` int32 [N] says how many are real.
  Batches hold `image` float32 [B, T, bands, 1], each band normalised by its mean and
  standard deviation over the real frames of all recordings outside the test set (no
  label enters), and 0 past the length. There is no download: no digest of it is
  published. Called `fsdd-unverified` unless the recordings are those of 26eb9aa.

  Raises:
    UserError: no recordings, unreadable ones, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  form = spectra.Form(RATE, config['bands'], config['frame'], config['hop'])
  spectra.check(form)
  place = source.locate('fsdd', config, _find, WANTED)
  files = _read(place)
  by_name = {name: _parse(name, place) for name in files}
  names = sorted(by_name, key=by_name.__getitem__)
  features = spectra.cached({name: files[name] for name in names}, form, str(place))
  test = _choose([by_name[name] for name in names], config['speaker'])
  order = np.argsort(test, kind='stable')  # the test set last
  image, length = features.image[order][..., None], features.length[order]
  label = np.array([by_name[names[i]].digit for i in order], np.int32)
  train = len(names) - sum(test)
  sizes = (train, 0, sum(test))
  name = 'fsdd' if features.content == PUBLISHED else 'fsdd-unverified'
  arrays = {'image': image, 'label': label, 'length': length}
  return types.Dataset(
    name=name,
    arrays=arrays,
    split=split.make(label, sizes, config),
    transform=_make_transform(image[:train, ..., 0], length[:train]),
    digest=digest.of(arrays, config, name, sizes, CLASSES),
    classes=CLASSES,
    facts={
      'speakers': sorted({recording.speaker for recording in by_name.values()}),
      'test': f'speaker {config["speaker"]}' if config['speaker'] else 'official',
      'rate': RATE,
      'frames': int(length.max()),
      **{key: config[key] for key in ('bands', 'frame', 'hop')},
      'treatments': list(features.treatments),
    },
  )


def _find(place: pathlib.Path) -> pathlib.Path | None:
  """The archive, or the folder that holds .wav files, at or in `place`."""
  if place.is_file():
    return archive.openable(place)
  for path in [place / f'recordings{suffix}' for suffix in archive.SUFFIXES]:
    if path.is_file():
      return path
  for path in (place / 'recordings', place):
    if path.is_dir() and any(_is_wav(file.name) for file in path.iterdir()):
      return path
  return None


def _is_wav(name: str) -> bool:
  """Whether a path is that of a WAV file that is not hidden."""
  hidden = any(part.startswith(('.', '__MACOSX')) for part in name.split('/'))
  return name.lower().endswith('.wav') and not hidden


def _read(place: pathlib.Path) -> dict[str, bytes]:
  """The bytes of all WAV files by file name."""
  files: dict[str, bytes] = {}
  if place.is_dir():
    for path in sorted(place.iterdir()):
      if _is_wav(path.name):
        files[path.name] = source.read_bytes(path, LIMITS.member)
    return files
  for path_, data in archive.read(place, _is_wav, LIMITS):
    name = path_.split('/')[-1]
    if name in files:
      raise errors.UserError(f'{str(place)!r} holds {name!r} in two folders')
    files[name] = data
  if not files:
    raise errors.UserError(f'{str(place)!r} holds no .wav files')
  return files


def _parse(name: str, place: pathlib.Path) -> Recording:
  """Digit, speaker and number in a file's name."""
  match = PATTERN.fullmatch(name)
  if not match:
    raise errors.UserError(
      f'{str(place)!r}: {name!r} is not called DIGIT_SPEAKER_NUMBER.wav '
      "(like '7_jackson_32.wav')"
    )
  return Recording(int(match[1]), match[2], int(match[3]))


def _choose(recordings: list[Recording], speaker: str) -> list[bool]:
  """Which recordings are the test set."""
  speakers = sorted({recording.speaker for recording in recordings})
  if speaker and speaker not in speakers:
    raise errors.UserError(
      f'data.speaker: unknown {speaker!r}{errors.did_you_mean(speaker, speakers)}; '
      f'there are {", ".join(speakers)}'
    )
  if speaker:
    return [recording.speaker == speaker for recording in recordings]
  test = [recording.number < OFFICIAL for recording in recordings]
  if not any(test):
    raise errors.UserError(
      f'no recording has a number of 0 to {OFFICIAL - 1}, the official test set; set '
      f'data.speaker to one of {", ".join(speakers)}'
    )
  return test


def _make_transform(image: np.ndarray, length: np.ndarray) -> Any:
  """The `Dataset.transform`, by the moments of the real frames of uint8 [N, T, bands].

  A band that hardly changes is divided by one step of the quantisation, not by less.
  """
  real = np.arange(image.shape[1]) < length[:, None]
  frames = image[real].astype(np.float64)  # [all real frames, bands]
  mean = frames.mean(0).astype(np.float32)[:, None]
  scale = (1 / np.maximum(frames.std(0), 1)).astype(np.float32)[:, None]

  def transform(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
    del keys, train
    pixels = (batch['image'].astype(jnp.float32) - mean) * scale
    real = jnp.arange(pixels.shape[1]) < batch['length'][:, None]
    return {**batch, 'image': jnp.where(real[..., None, None], pixels, 0)}

  return transform
