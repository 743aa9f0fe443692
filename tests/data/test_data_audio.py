"""Sound to features: reading, resampling, log-mel.

Oracles: loops over frames, frequencies and triangles for log-mel; sines of known
frequency for resampling.
"""

import contextlib
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from dlsteroids.data.lib import spectra, wav
from dlsteroids.util import errors
from tests.fixtures import waves

FORM = spectra.Form(8000, 40, 0.032, 0.016)
GENERATOR = np.random.default_rng(0)


# Reading


@pytest.mark.parametrize('width', [1, 2, 3, 4])
def test_every_width_is_read_to_its_last_bit(width):
  steps = 2.0 ** (8 * width - 1)
  samples = np.array([-1.0, -1 / steps, 0.0, 1 / steps, 0.5, 1 - 1 / steps])
  for data in (waves.wav(samples, width=width), waves.extensible(samples, width)):
    sound = wav.read(data, 'x')
    np.testing.assert_array_equal(sound.samples[:, 0], samples)
    assert sound.rate == 8000


def chunk(name, body, size=None):
  return name + struct.pack('<I', len(body) if size is None else size) + body


def test_containers_as_people_bring_them():
  samples = np.linspace(-1, 0.9, 50)
  plain = waves.wav(samples)
  form, sound = plain[20:36], plain[44:]
  unknown = 2**32 - 1

  def riff(*chunks, name=b'RIFF', size=None):
    return chunk(name, b'WAVE' + b''.join(chunks), size)

  fmt, data = chunk(b'fmt ', form), chunk(b'data', sound)
  ds64 = chunk(b'ds64', struct.pack('<QQQI', 0, len(sound), 50, 0))
  guids = (bytes.fromhex(f'{end}acd3118cd100c04f8edb8a') for end in ('f3', 'f3', 'f3'))
  wave64 = wav.WAVE64 + struct.pack('<Q', 0) + b'wave' + next(guids)
  wave64 += b'fmt ' + next(guids) + struct.pack('<Q', 40) + form
  wave64 += b'data' + next(guids) + struct.pack('<Q', 24 + len(sound)) + sound
  for file in (
    riff(fmt, chunk(b'data', sound, unknown), size=unknown),  # streamed
    riff(fmt, chunk(b'data', sound, 2**31 - 37), size=2**31 - 1),  # arecord's
    riff(fmt, chunk(b'data', sound, 0), size=0),
    riff(fmt, chunk(b'data', sound, 0), size=36),  # a recorder that was stopped
    riff(fmt, chunk(b'data', sound, unknown), chunk(b'LIST', b'INFOISFT\2\0\0\0ab')),
    riff(chunk(b'JUNK', b'abc'), fmt, data),  # without the byte of padding
    riff(ds64, fmt, chunk(b'data', sound, unknown), name=b'BW64', size=unknown),
    riff(chunk(b'fmt ', form[:14] + struct.pack('<H', 12)), data),  # 12 bits in 16
    riff(chunk(b'bext', bytes(603)) + b'\0', fmt, data),
    riff(chunk(b'JUNK', b''), fmt, chunk(b'LIST', b'abc') + b'\0', data),
    riff(ds64, fmt, chunk(b'data', sound, unknown), name=b'RF64', size=unknown),
    wave64,
  ):
    np.testing.assert_array_equal(
      wav.read(file, 'x').samples, wav.read(plain, 'x').samples
    )
  for code in 'fd':
    floats = np.array([-2, -1, 0.25, 1, 3]).astype(f'<{code}').tobytes()
    bits = 32 if code == 'f' else 64
    own = struct.pack('<HHIIHH', 3, 1, 8000, 1000 * bits, bits // 8, bits)
    file = riff(chunk(b'fmt ', own), chunk(b'data', floats))
    assert wav.read(file, 'x').samples[:, 0].tolist() == [-1, -1, 0.25, 1, 1]
  empty = riff(fmt, chunk(b'data', b''), chunk(b'LIST', b'INFO'))
  with pytest.raises(errors.UserError, match='holds no sound'):
    wav.read(empty, 'x')
  cut = riff(fmt, chunk(b'data', sound[:-4], len(sound)))
  with pytest.raises(errors.UserError, match='truncated: 96 bytes of sound'):
    wav.read(cut, 'x')


def test_channels_are_averaged():
  stereo = waves.noise((400, 2))
  sound = wav.read(waves.wav(stereo), 'x')
  assert sound.samples.shape == (400, 2)
  mixed = wav.resample(sound, 8000)
  np.testing.assert_allclose(mixed, stereo.mean(1), atol=2**-14)


@pytest.mark.parametrize('rate', [44_100, 16_000, 11_025, 4000])
def test_resampling_keeps_a_sine_and_drops_what_8_khz_cannot_hold(rate):
  kept = wav.resample(wav.Sound(waves.sine(440, rate)[:, None], rate), 8000)
  assert len(kept) == pytest.approx(4000, abs=1)
  middle = slice(500, 3500)  # the filter's ends see zeros
  np.testing.assert_allclose(kept[middle], waves.sine(440, 8000)[middle], atol=0.005)
  if rate > 12_000:
    lost = wav.resample(wav.Sound(waves.sine(6000, rate)[:, None], rate), 8000)
    assert np.abs(lost[middle]).max() < 0.005


@hypothesis.given(
  cut=strategies.integers(0, 120),
  flips=strategies.lists(
    strategies.tuples(strategies.integers(0, 63), strategies.integers(0, 255)),
    max_size=3,
  ),
  kind=strategies.sampled_from([waves.wav, waves.extensible]),
)
@hypothesis.settings(deadline=None, max_examples=300)
def test_the_reader_reads_or_refuses(cut, flips, kind):
  data = bytearray(kind(np.linspace(-1, 0.9, 20), width=2))
  for at, value in flips:
    data[at] = value
  with contextlib.suppress(errors.UserError):  # any other exception fails the test
    sound = wav.read(bytes(data[: len(data) - cut]), 'x')
    assert sound.samples.size
    assert np.abs(sound.samples).max() <= 1


# Features


def log_mel_by_loops(samples, rate, bands, size, hop):
  """Frames, a DFT by its definition and triangles, one number at a time."""
  count = 1
  while (count - 1) * hop + size < len(samples):
    count += 1
  full = 1
  while full < size:
    full *= 2
  window = [0.5 - 0.5 * np.cos(2 * np.pi * n / size) for n in range(size)]
  top = 2595 * np.log10(1 + rate / 2 / 700)
  edges = [700 * (10 ** (top * i / (bands + 1) / 2595) - 1) for i in range(bands + 2)]
  result = np.zeros((count, bands))
  for t in range(count):
    frame = np.zeros(size)
    part = samples[t * hop : t * hop + size]
    frame[: len(part)] = part
    for band in range(bands):
      low, middle, high = edges[band : band + 3]
      power = 0.0
      for k in range(full // 2 + 1):
        frequency = k * rate / full
        if not low < frequency < high:
          continue
        turns = np.exp(-2j * np.pi * k * np.arange(size) / full)
        size_squared = abs(np.sum(frame * window * turns) / np.sum(window)) ** 2
        if frequency <= middle:
          power += size_squared * (frequency - low) / (middle - low)
        else:
          power += size_squared * (high - frequency) / (high - middle)
      result[t, band] = 10 * np.log10(max(power, 1e-10))
  return result


@pytest.mark.parametrize('samples', [10, 256, 257, 700])
def test_log_mel_is_that_of_a_naive_transform(samples):
  sound = waves.noise(samples)
  expected = log_mel_by_loops(sound, 8000, 12, 200, 90)
  form = spectra.Form(8000, 12, 0.025, 0.01125)
  assert (form.size, form.shift) == (200, 90)
  np.testing.assert_allclose(spectra.log_mel(sound, form), expected, rtol=1e-9)


def test_a_sine_lies_in_its_band_at_its_height_and_silence_at_the_floor():
  centres = 700 * (
    10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1
  )
  levels = spectra.log_mel(waves.sine(centres[21], 8000, height=1.0), FORM)[5]
  assert np.argmax(levels) == 20
  assert -6 < levels.max() < -3
  np.testing.assert_array_equal(spectra.log_mel(np.zeros(500), FORM), -100)
  # Nothing in [-1, 1) leaves the range: a constant is the worst.
  assert spectra.log_mel(np.ones(900), FORM).max() < spectra.FLOOR + 255 * spectra.STEP


def test_quantised_values_are_within_half_a_step():
  levels = GENERATOR.uniform(-100, 2, (9, 40))
  back = spectra.quantise(levels) * spectra.STEP + spectra.FLOOR
  assert np.abs(back - levels).max() <= spectra.STEP / 2 + 1e-9
  np.testing.assert_array_equal(spectra.quantise(np.array([-1e3, 1e3])), [0, 255])
