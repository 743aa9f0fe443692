"""From arrays of images and labels to a Dataset: what all image data sets share."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config import options
from dlsteroids.data.lib import digest as digest_lib
from dlsteroids.data.lib import split, transform

OPTIONS = {
  **split.OPTIONS,
  **transform.OPTIONS,
  'random_labels': options.Option(
    0.0,
    'share of the training labels that are drawn by the seed (Zhang et al. 2017)',
    0,
    1,
    closed='both',
  ),
}


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
  share = config['random_labels']
  arrays = {'image': parts.images, 'label': parts.labels}
  see = transform.make(moments, parts.images.shape[1:], config)
  return types.Dataset(
    name=parts.name,
    arrays={**arrays, **indices(len(parts.labels), share)},
    split=split.make(parts.labels, parts.sizes, config),
    transform=randomise_labels(see, share, len(parts.classes)),
    digest=digest(parts, config),
    classes=tuple(parts.classes),
    official_test=parts.sizes[2] > 0,
    facts=facts(config),
  )


def indices(count: int, share: float) -> dict[str, np.ndarray]:
  """The array that random labels need besides images and labels, if any."""
  return {'index': np.arange(count, dtype=np.int32)} if share else {}


def randomise_labels(see: Any, share: float, classes: int) -> Any:
  """The `Dataset.transform` `see` with a share of random training labels.

  An example's label is random with probability `share`, then of any class alike, the
  right one included. The run's seed decides it once, for all epochs, so that what is
  random at a share is random at every larger one; evaluation sees the right labels.

  Args:
    see: the transform of images.
    share: in [0, 1].
    classes: how many there are.
  """
  if not share:
    return see

  def transform(batch: types.Batch, keys: rng.Keys, *, train: bool) -> types.Batch:
    batch = dict(batch)
    index, label = batch.pop('index'), batch['label']
    if train:
      of = lambda name: rng.bits_at(rng.stream(keys.root, name), index)
      uniform = (of('random_labels') >> 8).astype(jnp.float32) * 2.0**-24
      drawn = (of('random_class') % classes).astype(label.dtype)
      batch['label'] = jnp.where(uniform < share, drawn, label)
    return see(batch, keys, train=train)

  return transform


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
