"""From arrays of images and labels to a Dataset: what all image data sets share."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data.lib import split, transform
from dlsteroids.util import errors

# What a data set adds to these in its DEFAULTS; `path` and `download` are not here,
# since the embedded data have neither.
OPTIONS: dict[str, Any] = {**split.OPTIONS, **transform.OPTIONS}
# They change no example: where the bytes lie, and what results call them.
UNSHAPING = ('name', 'path', 'path_x', 'path_y', 'download', 'label')


class Parts(NamedTuple):
  """Examples as published: train first, then validation, then test.

  Attributes:
    name: of the data set, as results name it.
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    sizes: of train, validation and test; 0 where the seed draws it.
    classes: names, in label order.
  """

  name: str
  images: np.ndarray
  labels: np.ndarray
  sizes: tuple[int, int, int]
  classes: tuple[str, ...]


def complete(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
  """`config` with the defaults of what it lacks.

  Raises:
    UserError: an option that the data set does not have.
  """
  unknown = sorted(set(config) - {'name', *defaults})
  if unknown:
    raise errors.UserError(
      f'unknown data option {unknown[0]!r}'
      f'{errors.did_you_mean(unknown[0], defaults)}; there are '
      f'{", ".join(defaults)}'
    )
  return {**defaults, **config}


def make(
  parts: Parts, config: Mapping[str, Any], moments: transform.Moments | None = None
) -> types.Dataset:
  """The Dataset of `parts` under the options of `config`.

  Args:
    parts: the examples.
    config: `split.OPTIONS` and `transform.OPTIONS`, complete.
    moments: to normalise by; None measures the training part, which without a
      published test part includes the images that the seed will draw for it (no label
      enters).

  Raises:
    UserError: options out of range for these examples.
  """
  splits = split.make(parts.labels, parts.sizes, config)
  transform_ = transform.make(
    moments or transform.measure(parts.images[: parts.sizes[0]]),
    parts.images.shape[1:],
    config,
  )
  return types.Dataset(
    name=parts.name,
    arrays={'image': parts.images, 'label': parts.labels},
    split=splits,
    transform=transform_,
    digest=digest(parts, config),
    classes=tuple(parts.classes),
    official_test=parts.sizes[2] > 0,
    facts={'range': 'tanh'} if config['range'] == 'tanh' else {},
  )


def digest(parts: Parts, config: Mapping[str, Any]) -> str:
  """sha256 (hex) of the examples and of the options that shape what is trained on."""
  shaping = {key: config[key] for key in config if key not in UNSHAPING}
  if shaping.get('range') == 'standard':
    del shaping['range']  # as it was before there was a choice: digests are published
  total = hashlib.sha256(config_lib.digest(shaping).encode())
  total.update(config_lib.digest([parts.name, parts.sizes, parts.classes]).encode())
  for array in (parts.images, parts.labels):
    total.update(f'{array.dtype.str}{array.shape}'.encode())
    total.update(np.ascontiguousarray(array).data)
  return total.hexdigest()
