"""Small image sets of noise in the official format of MNIST."""

import gzip
import struct

import numpy as np

from dlsteroids.data import idx

GENERATOR = np.random.default_rng(0)


def write(path, array):
  """One idx file of bytes, packed if its name says so."""
  data = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
  data += array.tobytes()
  packed = path.suffix == '.gz'
  path.write_bytes(gzip.compress(data) if packed else data)
  return path


def make(folder, names=idx.FILES, suffix='.gz', train=60, test=20, size=(5, 4)):
  """Four files in the official format; returns (images, labels), train before test."""
  images = GENERATOR.integers(0, 256, (train + test, *size), dtype=np.uint8)
  labels = np.arange(train + test, dtype=np.uint8) % 10
  for i, array in enumerate(
    [images[:train], labels[:train], images[train:], labels[train:]]
  ):
    write(folder / f'{names[i]}{suffix}', array)
  return images, labels
