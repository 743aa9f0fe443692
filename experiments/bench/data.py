"""Random images as a data set, for measuring time: a data plug-in like any other."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import images, transform

OPTIONS = {
  'shape': options.Option((28, 28, 1), 'height, width, channels'),
  'count': options.Option(50_000, 'training examples; as many as CIFAR-10 has'),
  'held': options.Option(256, 'examples of validation and of test'),
  **images.OPTIONS,
}
CLASSES = 10
MEAN, SD = 127.5, 73.9  # of uniform bytes


def draw(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
  """Uniform uint8 images [count, H, W, C] and int32 labels [count]."""
  generator = np.random.default_rng(0)
  pixels = generator.integers(0, 256, (count, *shape), np.uint8)
  return pixels, generator.integers(0, CLASSES, count).astype(np.int32)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Images that hold nothing to learn: time per step does not depend on it."""
  config = options.complete(config, OPTIONS, 'data')
  sizes = (config['count'], config['held'], config['held'])
  pixels, labels = draw(tuple(config['shape']), sum(sizes))
  classes = tuple(str(label) for label in range(CLASSES))
  parts = images.Parts('random', pixels, labels, sizes, classes)
  channels = config['shape'][-1]
  moments = transform.Moments(np.full(channels, MEAN), SD**2 * np.eye(channels))
  return images.make(parts, config, moments)
