"""From arrays of images and labels to a Dataset: what all image data sets share."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data.lib import digest as digest_lib
from dlsteroids.data.lib import split, transform

OPTIONS = {**split.OPTIONS, **transform.OPTIONS}


class Parts(NamedTuple):
  """Examples as published: train first, then validation, then test.

  Attributes:
    name: of the data set, as results name it.
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    sizes: of train, validation and test; 0 where the seed draws the part.
    classes: names, in label order.
  """

  name: str
  images: np.ndarray
  labels: np.ndarray
  sizes: tuple[int, int, int]
  classes: tuple[str, ...]


def make(
  parts: Parts, config: Mapping[str, Any], moments: transform.Moments | None = None
) -> types.Dataset:
  """The Dataset of `parts` under the options of `config`.

  Args:
    parts: the examples.
    config: `OPTIONS`, complete.
    moments: to normalise by; None measures the training part, which without a
      published test part includes the images that the seed will draw for it (no label
      enters).

  Raises:
    UserError: options out of range for these examples.
  """
  moments = moments or transform.measure(parts.images[: parts.sizes[0]])
  return types.Dataset(
    name=parts.name,
    arrays={'image': parts.images, 'label': parts.labels},
    split=split.make(parts.labels, parts.sizes, config),
    transform=transform.make(moments, parts.images.shape[1:], config),
    digest=digest(parts, config),
    classes=tuple(parts.classes),
    official_test=parts.sizes[2] > 0,
    facts=facts(config),
  )


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
  """The `Dataset.facts` of images under the options of `config`."""
  return {'range': 'tanh'} if config['range'] == 'tanh' else {}


def label(counts: tuple[tuple[int, ...], ...]) -> np.ndarray:
  """Labels int32 [N] of images stored by split and class, by their counts."""
  parts = [np.repeat(np.arange(len(part), dtype=np.int32), part) for part in counts]
  return np.concatenate(parts)


def digest(parts: Parts, config: Mapping[str, Any]) -> str:
  """sha256 (hex) of the examples and of the options that shape what is trained on.

  Published: unlike `digest.of`, the default range and the arrays' names do not enter.
  """
  shaping = digest_lib.shaping(config)
  if shaping.get('range') == 'standard':
    del shaping['range']
  about = [parts.name, parts.sizes, parts.classes]
  texts = [config_lib.digest(shaping), config_lib.digest(about)]
  return digest_lib.of_bytes(texts, [('', parts.images), ('', parts.labels)])
