"""WAV files made by the standard library's `wave`, for tests."""

import io
import struct
import wave

import numpy as np

GENERATOR = np.random.default_rng(0)


def wav(samples, rate=8000, width=2):
  """The bytes of a PCM file of samples [T] or [T, channels] in [-1, 1)."""
  samples = np.asarray(samples)
  whole = np.floor(samples * 2.0 ** (8 * width - 1)).astype('<i8')
  if width == 1:
    whole += 128
  raw = whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
  stream = io.BytesIO()
  with wave.open(stream, 'wb') as file:
    file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
    file.setsampwidth(width)
    file.setframerate(rate)
    file.writeframes(raw)
  return stream.getvalue()


def extensible(samples, width):
  """The same with the header of files of more than 16 bits."""
  raw = wav(samples, width=width)[44:]
  sub = struct.pack('<H', 1) + bytes.fromhex('000000001000800000aa00389b71')
  form = struct.pack('<HHIIHH', 0xFFFE, 1, 8000, 8000 * width, width, 8 * width)
  form += struct.pack('<HHI', 22, 8 * width, 4) + sub
  body = b'WAVEfmt ' + struct.pack('<I', len(form)) + form
  body += b'data' + struct.pack('<I', len(raw)) + raw
  return b'RIFF' + struct.pack('<I', len(body)) + body


def sine(frequency, rate, seconds=0.5, height=0.5):
  return height * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def noise(samples):
  return GENERATOR.uniform(-0.5, 0.5, samples)
