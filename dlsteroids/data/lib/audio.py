"""WAV files to log-mel features: reading, mixing down, resampling, filter bank."""

import functools
import io
import math
import struct
import wave
from typing import NamedTuple

import numpy as np
import scipy.signal

from dlsteroids.util import errors

FLOOR = -100.0  # dB; what is stored as 0
STEP = 0.4  # dB from one stored value to the next, so that 255 is +2 dB
RATES = (1_000, 768_000)  # samples per second that are believed
LONGEST = 600  # seconds of a recording
EXTENSIBLE = 0xFFFE  # a format tag that points to another, 24 bytes on


class Form(NamedTuple):
  """How sound is seen.

  Attributes:
    rate: samples per second; other rates are resampled.
    bands: of the mel scale.
    frame: seconds that one spectrum sees.
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


class Sound(NamedTuple):
  """Samples float64 [T, channels] in [-1, 1), and how many there are per second."""

  samples: np.ndarray
  rate: int


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
  if form.bands < 1:
    raise errors.UserError(f'data.bands must be at least 1, not {form.bands}')
  empty = np.flatnonzero(~filters(form).any(1))
  if empty.size:
    raise errors.UserError(
      f'data.bands = {form.bands} are too many for frames of {form.frame:g} s: band '
      f'{empty[0]} holds no frequency of the spectrum; take fewer or longer frames'
    )


def read(data: bytes, name: str) -> Sound:
  """The sound in the bytes of a WAV file of 8, 16, 24 or 32 bit PCM.

  Raises:
    UserError: empty, damaged, truncated, too long, or anything but PCM.
  """
  if not data:
    raise errors.UserError(f'{name!r} is empty: 0 bytes')
  try:
    with wave.open(io.BytesIO(_plain(data))) as file:
      channels, width, rate, count = file.getparams()[:4]
      raw = file.readframes(count)
  except (wave.Error, EOFError, RuntimeError, struct.error) as error:
    why = str(error) or 'it ends within a header'
    raise errors.UserError(f'{name!r} cannot be read as PCM WAV: {why}') from error
  if width not in (1, 2, 3, 4) or not RATES[0] <= rate <= RATES[1]:
    raise errors.UserError(
      f'{name!r} has {8 * width} bits a sample at {rate:,} Hz; expected 8, 16, 24 or '
      f'32 bits at {RATES[0]:,} to {RATES[1]:,} Hz'
    )
  if len(raw) != count * channels * width:
    raise errors.UserError(
      f'{name!r} is truncated: {len(raw):,} bytes of sound, but its header says '
      f'{count * channels * width:,}'
    )
  if not count:
    raise errors.UserError(f'{name!r} holds no sound: 0 samples')
  if count > LONGEST * rate:
    raise errors.UserError(f'{name!r} lasts {count / rate:,.0f} s, more than {LONGEST}')
  return Sound(_samples(raw, width).reshape(count, channels), rate)


def _plain(data: bytes) -> bytes:
  """The file with the format tag that an extensible header stands for.

  `wave` reads such headers from Python 3.12 on only.
  """
  at = data.find(b'fmt ', 12, 64) + 8
  if at < 8 or data[at : at + 2] != struct.pack('<H', EXTENSIBLE):
    return data
  return data[:at] + data[at + 24 : at + 26] + data[at + 2 :]


def _samples(raw: bytes, width: int) -> np.ndarray:
  if width == 1:  # the only unsigned one
    return np.frombuffer(raw, np.uint8) / 128.0 - 1
  padded = np.zeros((len(raw) // width, 4), np.uint8)
  padded[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
  return padded.view('<i4')[:, 0] / 2.0**31


def bring(sound: Sound, rate: int) -> np.ndarray:
  """The mean of the channels at `rate`; float64 [T].

  Resampled by scipy's polyphase filter (a Kaiser window of β = 5).
  """
  mono = sound.samples.mean(1)
  if sound.rate == rate:
    return mono
  common = math.gcd(rate, sound.rate)
  return scipy.signal.resample_poly(mono, rate // common, sound.rate // common)


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
  spectrum = np.fft.rfft(frames * window, transform_size(form)) / window.sum()
  power = (spectrum.real**2 + spectrum.imag**2) @ filters(form).T
  return 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))


def transform_size(form: Form) -> int:
  """Samples of the Fourier transform: the next power of two."""
  return 1 << (form.size - 1).bit_length()


@functools.lru_cache(4)
def filters(form: Form) -> np.ndarray:
  """Triangles of height 1, equally spaced from 0 to rate/2 in mel; [bands, bins].

  Mel as in HTK: 2595 · log10(1 + f / 700) (Young et al., The HTK Book, section 5.4).
  """
  top = 2595 * np.log10(1 + form.rate / 2 / 700)
  corners = 700 * (10 ** (np.linspace(0, top, form.bands + 2) / 2595) - 1)
  bins = np.fft.rfftfreq(transform_size(form), 1 / form.rate)
  rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
  falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
  return np.maximum(0, np.minimum(rising, falling))


def quantise(decibels: np.ndarray) -> np.ndarray:
  """uint8: steps of `STEP` above `FLOOR`, rounded, and cut off at 0 and 255."""
  return np.clip(np.rint((decibels - FLOOR) / STEP), 0, 255).astype(np.uint8)
