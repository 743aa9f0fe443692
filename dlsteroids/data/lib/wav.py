"""WAV files as people have them: chunks are located here, scipy decodes the samples.

scipy's own reader accepts truncated files as whole ones and reads RF64 only in its
latest versions, so it is handed a plain file with the format and the samples.
"""

import io
import math
import struct
from typing import NamedTuple

import numpy as np
import scipy.io.wavfile
import scipy.signal

from dlsteroids.util import errors

RATES = (1_000, 768_000)  # samples per second, the plausible range
LONGEST = 600  # seconds of a recording
EXTENSIBLE = 0xFFFE  # a format tag whose actual tag lies 24 bytes on
PCM, FLOAT = 1, 3  # format tags
WIDTHS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}  # bits of a sample
WIDE = (b'RF64', b'BW64')  # which have 64-bit sizes in a chunk ds64
UNKNOWN = 0x7FFF0000  # bytes; programs write this or more for a size not known yet
# Sony's Wave64: 16-byte names, which begin with those of RIFF, and 64-bit sizes that
# include the header, padded to 8 bytes.
WAVE64 = b'riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00'


class Sound(NamedTuple):
  """Samples float64 [T, channels] in [-1, 1), and samples per second."""

  samples: np.ndarray
  rate: int


def read(data: bytes, name: str) -> Sound:
  """The sound in the bytes of a WAV file: 8 to 32-bit PCM or 32 or 64-bit floats.

  Sizes of 2 GB and more (or, in a file without a size, 0) are those of a stream, whose
  sound reaches to the end of the file. RIFF, RF64, BW64 and Wave64 are read; chunks
  before the format or the sound are skipped.

  Raises:
    UserError: empty, damaged, truncated, too long, or of another encoding.
  """
  if not data:
    raise errors.UserError(f'{name!r} is empty: 0 bytes')
  form, body, size = _chunks(data, name)
  tag, channels, rate, _, block, bits = struct.unpack('<HHIIHH', form[:16])
  if tag == EXTENSIBLE and len(form) >= 26:
    tag = int.from_bytes(form[24:26], 'little')
  if tag == PCM and channels and block == channels * -(-bits // 8):
    bits = block // channels * 8  # such as 12 bits, which lie on top of 16
  if bits not in WIDTHS.get(tag, ()) or block != channels * bits // 8 or not channels:
    kind = {PCM: 'PCM', FLOAT: 'floats'}.get(tag, f'encoding {tag}')
    raise errors.UserError(
      f'{name!r} cannot be read as WAV: {channels} channels of {kind} with {bits} bits '
      f'a sample in {block} bytes; expected PCM of 8, 16, 24 or 32 bits, or floats of '
      '32 or 64'
    )
  if not RATES[0] <= rate <= RATES[1]:
    raise errors.UserError(
      f'{name!r} is recorded at {rate:,} Hz; expected {RATES[0]:,} to {RATES[1]:,} Hz'
    )
  if size > len(body):
    raise errors.UserError(
      f'{name!r} is truncated: {len(body):,} bytes of sound, but its header says '
      f'{size:,}'
    )
  count = len(body) // block
  if not count:
    raise errors.UserError(f'{name!r} holds no sound: 0 samples')
  if count > LONGEST * rate:
    raise errors.UserError(f'{name!r} lasts {count / rate:,.0f} s, more than {LONGEST}')
  samples = _decode(tag, channels, rate, bits, body[: count * block])
  if not np.isfinite(samples).all():
    raise errors.UserError(f'{name!r} holds samples that are not finite numbers')
  return Sound(samples.reshape(count, channels), rate)


def _chunks(data: bytes, name: str) -> tuple[bytes, bytes, int]:
  """The format chunk, the bytes of the sound, and their number as the header says."""
  wide = data.startswith(WAVE64)
  name_size, head, start = (16, 24, 40) if wide else (4, 8, 12)
  kind = data[24:28].upper() if wide else data[8:12]
  if not (wide or data[:4] in (b'RIFF', *WIDE)) or kind != b'WAVE':
    raise errors.UserError(
      f'{name!r} cannot be read as WAV: it begins with {data[:12]!r}'
    )
  form, large, at = b'', 0, start
  while len(data) >= at + head:
    chunk = data[at : at + 4]
    size = int.from_bytes(data[at + name_size : at + head], 'little')
    if wide:
      size = size if size >= 1 << 63 else max(size - head, 0)
    begin = at + head
    if chunk == b'ds64':  # the sizes of RF64
      large = int.from_bytes(data[begin + 8 : begin + 16], 'little')
    elif chunk == b'fmt ':
      form = data[begin : begin + min(size, 64)]
    elif chunk == b'data' and len(form) >= 16:
      if data[:4] in WIDE and size >= UNKNOWN:
        size = large
      body = data[begin:]
      unknown = size >= UNKNOWN or (size == 0 and _streamed(data, body))
      size = len(body) - _tail(body) if unknown else size
      return form, body[:size], size
    unpadded = data[begin + size : begin + size + 4] in (b'fmt ', b'data')
    at = begin + (-(-size // 8) * 8 if wide else size + (size % 2) * (not unpadded))
  raise errors.UserError(
    f'{name!r} cannot be read as WAV: it ends before the '
    f'{"sound" if form else "format"}'
  )


def _streamed(data: bytes, body: bytes) -> bool:
  """Whether sizes were unknown when the header of a file with 0 bytes was written.

  Then what follows is no chunk, or the size of the whole file is unknown, too.
  """
  size = int.from_bytes(data[4:8], 'little')
  name, length = body[:4], int.from_bytes(body[4:8], 'little')
  is_chunk = name.isascii() and name.isalnum() and length <= len(body) - 8
  return size == 0 or size >= UNKNOWN or not is_chunk


def _tail(body: bytes) -> int:
  """Bytes of a chunk LIST that ends the file, behind a sound of unknown size."""
  at = body.rfind(b'LIST')
  size = int.from_bytes(body[at + 4 : at + 8], 'little')
  ends = at >= 0 and at + 8 + size in (len(body), len(body) - 1)
  return len(body) - at if ends and body[at + 8 : at + 12] in (b'INFO', b'adtl') else 0


def _decode(tag: int, channels: int, rate: int, bits: int, body: bytes) -> np.ndarray:
  """Samples float64 in [-1, 1), decoded by scipy from a plain file of two chunks."""
  block = channels * bits // 8
  form = struct.pack('<HHIIHH', tag, channels, rate, rate * block, block, bits)
  parts = [
    struct.pack('<4sI', chunk, len(content)) + content
    for chunk, content in ((b'fmt ', form), (b'data', body))
  ]
  whole = b'WAVE' + b''.join(parts)
  file = io.BytesIO(struct.pack('<4sI', b'RIFF', len(whole)) + whole)
  _, samples = scipy.io.wavfile.read(file)
  if tag == FLOAT:
    return np.clip(samples.astype(np.float64), -1, 1)  # as when it is played
  if bits == 8:  # the only unsigned one
    return samples / 128.0 - 1
  return samples / 2.0 ** (8 * samples.dtype.itemsize - 1)


def resample(sound: Sound, rate: int) -> np.ndarray:
  """The mean of the channels at `rate` samples per second; float64 [T].

  By scipy's polyphase filter (a Kaiser window of β = 5).
  """
  mono = sound.samples.mean(1)
  if sound.rate == rate:
    return mono
  common = math.gcd(rate, sound.rate)
  return scipy.signal.resample_poly(mono, rate // common, sound.rate // common)
