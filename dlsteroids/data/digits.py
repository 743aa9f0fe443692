"""scikit-learn's digits: 1,797 real scans of 8×8, embedded, so nothing is downloaded.

The test half of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998,
UCI). It has no official split of its own: the seed draws test and validation,
stratified. Pixels of 0..16 are stored as 15 times that (0..240), exactly invertible,
so that they show as ordinary grey images.
"""

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import images, split, transform
from dlsteroids.util import errors

OPTIONS = {
  'test': split.share(0.2, 'share of all examples, drawn by the seed'),
  **images.OPTIONS,
}
SCALE = 15
# Fixed (the rounded moments of all 1,797 scans), since the seed draws the training set.
MOMENTS = transform.Moments(np.array([73.0]), np.array([[90.0**2]]))


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The digits as [1797, 8, 8, 1].

  Raises:
    UserError: an option out of range, or no scikit-learn.
  """
  config = options.complete(config, OPTIONS, 'data')
  table = _read()
  pixels = (table[:, :-1] * SCALE).astype(np.uint8).reshape(-1, 8, 8, 1)
  labels = table[:, -1].astype(np.int32)
  classes = tuple(str(name) for name in range(10))
  parts = images.Parts('digits', pixels, labels, (len(labels), 0, 0), classes)
  return images.make(parts, config, MOMENTS)


def _read() -> np.ndarray:
  """scikit-learn's table [1797, 65]: 64 pixels of 0..16, then the digit.

  Its file is read directly: to import `sklearn.datasets` takes more than a second.
  """
  spec = importlib.util.find_spec('sklearn')
  if spec is None or spec.origin is None:
    raise errors.UserError('data set digits: scikit-learn is not installed')
  folder = pathlib.Path(spec.origin).parent / 'datasets' / 'data'
  return np.loadtxt(folder / 'digits.csv.gz', delimiter=',')
