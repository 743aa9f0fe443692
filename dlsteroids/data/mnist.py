"""MNIST: 60,000 + 10,000 handwritten digits of 28×28 (LeCun et al. 1998)."""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import idx, images, source

OPTIONS = {**source.OPTIONS, **images.OPTIONS}
PUBLISHED = idx.Published(
  # A mirror: the authors' own address refuses downloads.
  address='https://ossci-datasets.s3.amazonaws.com/mnist/',
  packed=(
    'f68b3c2dcbeaaa9fbdd348bbdeb94873',
    'd53e105ee54ea40749a09fcbcd1e9432',
    '9fb629c4189551a2d022fa330f9573f3',
    'ec29112dd5afa0611ce80d1b7f02629c',
  ),
  unpacked=(
    '6bbc9ace898e44ae57da46a324031adb',
    'a25bea736e30d166cdddb491f175f624',
    '2646ac647ad5339dbf082846283269ea',
    '27ae3e4e09519cfbb04c329615203637',
  ),
  classes=tuple('0123456789'),
)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """MNIST as [70000, 28, 28, 1], or own files in its format.

  Raises:
    UserError: files missing or damaged, or an option out of range.
  """
  return idx.load('mnist', PUBLISHED, options.complete(config, OPTIONS, 'data'))
