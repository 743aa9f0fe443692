"""Log-mel spectra of WAV files, by hand so that no release of a library changes them.

Computed once for each set of files and cached.
"""

import collections
import functools
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.signal

from dlsteroids.data.lib import cache, wav
from dlsteroids.util import errors

FLOOR = -100.0  # dB; stored as 0
STEP = 0.4  # dB from one stored value to the next, so that 255 is +2 dB
FORMAT = 2  # of the cached arrays
TOTAL = 1 << 32  # bytes of all features


class Form(NamedTuple):
  """How sound is turned into spectra.

  Attributes:
    rate: samples per second; other rates are resampled.
    bands: of the mel scale.
    frame: seconds of one spectrum.
    hop: seconds from one frame to the next.
  """

  rate: int
  bands: int
  frame: float
  hop: float

  @property
  def size(self) -> int:
    """Samples of a frame."""
    return round(self.frame * self.rate)

  @property
  def shift(self) -> int:
    """Samples of a hop."""
    return round(self.hop * self.rate)


class Spectra(NamedTuple):
  """The features of N recordings.

  Attributes:
    image: uint8 [N, T, bands], as `quantise`; 0 past the length.
    length: int32 [N], real frames.
    content: sha256 (hex) of the files' names and bytes.
    treatments: what was done to the sound, a sentence each.
  """

  image: np.ndarray
  length: np.ndarray
  content: str
  treatments: tuple[str, ...]


def check(form: Form) -> None:
  """Raises UserError unless the options of `form` go together."""
  if not (form.size >= 2 and form.frame <= 1):
    raise errors.UserError(
      f'data.frame must lie in [{2 / form.rate:g}, 1] seconds, not {form.frame:g}'
    )
  if not 1 <= form.shift <= form.size:
    raise errors.UserError(
      f'data.hop must lie in [{1 / form.rate:g}, data.frame = {form.frame:g}] seconds, '
      f'not {form.hop:g}'
    )
  empty = np.flatnonzero(~_filters(form).any(1))
  if empty.size:
    raise errors.UserError(
      f'data.bands = {form.bands} are too many for frames of {form.frame:g} s: band '
      f'{empty[0]} holds no frequency of the spectrum; take fewer or longer frames'
    )


def log_mel(samples: np.ndarray, form: Form) -> np.ndarray:
  """Power in mel bands, in dB, where a sine of full scale has about -5; [T, bands].

  Frames start every hop, as many as cover all samples, the last filled with zeros:
  T = 1 + ⌈(samples - frame) / hop⌉. Each is multiplied by a periodic Hann window and
  transformed at the next power of two; power is divided by the square of the window's
  sum. Never below `FLOOR`.
  """
  count = 1 + max(0, -(-(len(samples) - form.size) // form.shift))
  padded = np.zeros((count - 1) * form.shift + form.size)
  padded[: len(samples)] = samples
  frames = np.lib.stride_tricks.sliding_window_view(padded, form.size)[:: form.shift]
  window = scipy.signal.get_window('hann', form.size)
  spectrum = np.fft.rfft(frames * window, _transform_size(form)) / window.sum()
  power = (spectrum.real**2 + spectrum.imag**2) @ _filters(form).T
  return 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))


def _transform_size(form: Form) -> int:
  """Samples of the Fourier transform: the next power of two."""
  return 1 << (form.size - 1).bit_length()


@functools.lru_cache(4)
def _filters(form: Form) -> np.ndarray:
  """Triangles of height 1, equally spaced from 0 to rate/2 in mel; [bands, bins].

  Mel as in HTK: 2595 · log10(1 + f / 700) (Young et al., The HTK Book, section 5.4).
  """
  top = 2595 * np.log10(1 + form.rate / 2 / 700)
  corners = 700 * (10 ** (np.linspace(0, top, form.bands + 2) / 2595) - 1)
  bins = np.fft.rfftfreq(_transform_size(form), 1 / form.rate)
  rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
  falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
  return np.maximum(0, np.minimum(rising, falling))


def quantise(decibels: np.ndarray) -> np.ndarray:
  """uint8: steps of `STEP` above `FLOOR`, rounded, and cut off at 0 and 255."""
  return np.clip(np.rint((decibels - FLOOR) / STEP), 0, 255).astype(np.uint8)


def cached(files: Mapping[str, bytes], form: Form, place: str) -> Spectra:
  """The features of `files` in their order, from the cache if nothing changed.

  Args:
    files: WAV files by name.
    form: rate and features.
    place: the folder or archive, for errors.

  Raises:
    UserError: a file that cannot be read, too many frames for the memory, or a cache
      that cannot be written.
  """
  total = hashlib.sha256()
  for name, data in files.items():
    total.update(f'{name} {hashlib.sha256(data).hexdigest()}\n'.encode())
  content = total.hexdigest()
  arrays, treatments = cache.remember(
    'speech',
    [FORMAT, form, FLOOR, STEP, content],
    lambda: _compute(files, form, place),
  )
  return Spectra(arrays['image'], arrays['length'], content, tuple(treatments))


def _compute(files: Mapping[str, bytes], form: Form, place: str) -> cache.Entry:
  """The features of `files`, 'image' and 'length', and what was done to the sound."""
  parts, rates, mixed = [], collections.Counter[int](), 0
  for name, data in files.items():
    sound = wav.read(data, f'{place}/{name}')
    rates[sound.rate] += 1
    mixed += sound.samples.shape[1] > 1
    parts.append(quantise(log_mel(wav.resample(sound, form.rate), form)))
  length = np.array([len(part) for part in parts], np.int32)
  longest = int(length.max())
  size = len(parts) * longest * form.bands
  if size > TOTAL:
    name = list(files)[int(length.argmax())]
    raise errors.UserError(
      f'{len(parts):,} recordings of up to {longest:,} frames ({place}/{name}) need '
      f'{size:,} bytes of memory; take out the longest'
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
  return {'image': image, 'length': length}, treatments
