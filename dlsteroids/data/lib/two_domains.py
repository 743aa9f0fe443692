"""Two domains of images without partners: what all unpaired data sets share.

An example is a row of `pairs`: an unrelated image of X and of Y. If one side is
shorter, its images are repeated; the rows that share an image stay in one split, so
that no image of either side is both trained on and tested.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import rng, types
from dlsteroids.config import options
from dlsteroids.data.lib import digest, split, transform
from dlsteroids.util import errors

OPTIONS = {
  **split.TEST,
  **split.OPTIONS,  # counted in rows of pairs
  'flip': transform.OPTIONS['flip'],  # each side by itself
  # The paper's 286 and 256 are size=256, crop=30. Test images are seen whole.
  'crop': options.Option(
    0, 'pixels by which training images are enlarged before a random crop back', 0
  ),
}
TRUTHS = {'x': 'x_as_y', 'y': 'y_as_x'}
SEED = zlib.crc32(b'pairs')  # of the halves and pairs, which are the same in all runs


class Side(NamedTuple):
  """The images of one domain: train first, then validation, then test.

  Attributes:
    name: of the domain, for readers of the report.
    images: uint8 [N, H, W, C].
    sizes: of train, validation and test; 0 where the seed draws the part.
    truth: uint8 [N, H, W, C of the other side], each image as the other domain would
      show it; None if unknown.
    labels: int32 [N]; None if there are none.
  """

  name: str
  images: np.ndarray
  sizes: tuple[int, int, int]
  truth: np.ndarray | None = None
  labels: np.ndarray | None = None


def make(
  name: str,
  x: Side,
  y: Side,
  config: Mapping[str, Any],
  classes: tuple[str, ...] = (),
  treatments: tuple[str, ...] = (),
) -> types.Dataset:
  """The Dataset of two domains under the options of `config`.

  Its digest covers the images, not their name, which may be that of a folder.

  Args:
    name: of the data set, as results name it.
    x: the first domain.
    y: the second, of the same height and width.
    config: complete, with `OPTIONS`.
    classes: names, in label order, if there are labels.
    treatments: what was done to the images, a sentence each.

  Raises:
    UserError: options out of range for these images.
  """
  arrays = {'x': x.images, 'y': y.images, 'pairs': table(x.sizes, y.sizes)}
  for key, side in (('x', x), ('y', y)):
    if side.truth is not None:
      arrays[TRUTHS[key]] = side.truth
    if side.labels is not None:
      arrays[f'label_{key}'] = side.labels
  return types.Dataset(
    name=name,
    arrays=arrays,
    split=_make_split(arrays, x, y, config),
    transform=_make_transform(x.images.shape[1:], config),
    digest=digest.of(arrays, config, x.sizes, y.sizes, classes),
    classes=classes,
    official_test=x.sizes[2] > 0,
    take=take,
    facts={
      'unpaired': True,
      'channels': [x.images.shape[-1], y.images.shape[-1]],
      'domains': [x.name, y.name],
      'range': 'tanh',
      'treatments': list(treatments),
    },
  )


def table(x: tuple[int, ...], y: tuple[int, ...]) -> np.ndarray:
  """Which image of X and which of Y make each row, int32 [N, 2].

  Each part has as many rows as its longer side, which keeps its order; the shorter
  side is shuffled (two folders may be sorted alike) and repeated.

  Args:
    x: images of each part (train, validation, test) of X.
    y: of Y.
  """
  generator = np.random.default_rng(SEED)
  rows, starts = [], np.zeros(2, int)
  for counts in zip(x, y, strict=True):
    if all(counts):
      at = np.arange(max(counts))
      shuffled = generator.permutation(min(counts))[at % min(counts)]
      columns = (at, shuffled) if counts[0] >= counts[1] else (shuffled, at)
      rows.append(np.stack(columns, axis=1) + starts)
    starts += counts
  return np.concatenate(rows).astype(np.int32)


def take(
  arrays: Mapping[str, types.Array], indices: types.Array, *, train: bool
) -> types.Batch:
  """The `Dataset.take`: rows of both sides; their truths and labels never in training.

  Returns:
    'x' and 'y' uint8 [B, H, W, C]; unless `train`, also 'x_as_y', 'y_as_x', 'label_x'
    and 'label_y' where they are known, and the indices of the images, 'at_x' and 'at_y'
    int32 [B]: those of the shorter side repeat.
  """
  pairs = arrays['pairs'][indices]
  batch = {}
  for column, side in enumerate(TRUTHS):
    for name in (side,) if train else (side, TRUTHS[side], f'label_{side}'):
      if name in arrays:
        batch[name] = arrays[name][pairs[:, column]]
    if not train:
      batch[f'at_{side}'] = pairs[:, column]
  return batch


def _make_transform(
  shape: tuple[int, ...], config: Mapping[str, Any]
) -> Callable[..., types.Batch]:
  """The `Dataset.transform`: images float32 in [-1, 1], x and y augmented in training.

  Args:
    shape: (H, W, C) of either side.
    config: `flip`, `crop`.
  """
  flip, crop = config['flip'], config['crop']
  if crop > min(shape[:2]):
    raise errors.UserError(
      f'data.crop must lie in 0..{min(shape[:2])} for {shape[0]}×{shape[1]} images, '
      f'not {crop}'
    )

  def augment(image: types.Array, key: Any) -> types.Array:
    if crop:
      image = transform.zoom(image, key, by=crop)
    return transform.move(image, key, flip=True, pad=0) if flip else image

  def apply(batch: types.Batch, keys: rng.Keys, *, train: bool) -> types.Batch:
    result = dict(batch)
    for name in (*TRUTHS, *TRUTHS.values()):
      if name in batch:
        result[name] = transform.signed(batch[name])
    if train and (flip or crop):
      for side in TRUTHS:
        result[side] = augment(result[side], rng.stream(keys('augment'), side))
    return result

  return apply


def _make_split(
  arrays: Mapping[str, np.ndarray], x: Side, y: Side, config: Mapping[str, Any]
) -> Callable[[int], dict[str, np.ndarray]]:
  """The `Dataset.split`, of rows of `pairs`.

  Args:
    arrays: 'pairs' and, if known, 'label_x' and 'label_y', by which it stratifies.
    x: the first domain.
    y: the second.
    config: `validation`, `test`, `examples`.
  """
  train, validation, test = (max(sizes) for sizes in zip(x.sizes, y.sizes, strict=True))
  short = min(x, y, key=lambda side: side.sizes[0])
  groups = short.sizes[0]  # row i belongs to group i % groups
  _, *drawn = split.drawn(
    groups, (train, validation, test), config, f'images of {short.name}'
  )
  rows = [np.arange(group, train, groups, dtype=np.int32) for group in range(groups)]
  order = _make_order(_strata(arrays, rows))

  def draw(seed: int) -> list[np.ndarray]:
    parts = np.split(order(seed), np.cumsum(drawn[::-1]))
    none = np.empty(0, np.int32)
    return [np.concatenate([none, *(rows[i] for i in part)]) for part in parts]

  most = len(draw(0)[2])
  used = split.check_examples(most, config, 'the pairs that validation and test leave')

  def split_(seed: int) -> dict[str, np.ndarray]:
    test_, validation_, train_ = draw(seed)
    parts = {
      'train': train_[:used],
      'validation': np.arange(train, train + validation) if validation else validation_,
      'test': np.arange(test) + train + validation if test else test_,
    }
    return {name: np.sort(part).astype(np.int32) for name, part in parts.items()}

  return split_


def _strata(arrays: Mapping[str, np.ndarray], rows: list[np.ndarray]) -> np.ndarray:
  """A number per group of rows: groups of one size and one pair of labels share it."""
  kinds = [np.array([len(row) for row in rows])]
  first = arrays['pairs'][[row[0] for row in rows]]
  for column, side in enumerate(TRUTHS):
    if f'label_{side}' in arrays:
      kinds.append(arrays[f'label_{side}'][first[:, column]])
  return np.unique(np.stack(kinds), axis=1, return_inverse=True)[1].ravel()


def _make_order(strata: np.ndarray) -> Callable[[int], np.ndarray]:
  """`seed ->` a permutation of the groups [G] whose prefixes hold the strata evenly.

  The strata follow one another in the same way at every seed, which draws the groups
  within each: so the splits have the same sizes at every seed.
  """
  pattern = strata[split.order(strata, SEED)]
  places = [np.flatnonzero(pattern == stratum) for stratum in range(pattern.max() + 1)]
  members = [np.flatnonzero(strata == stratum) for stratum in range(pattern.max() + 1)]

  def order(seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, SEED])
    permutation = np.empty(len(strata), np.int32)
    for place, member in zip(places, members, strict=True):
      permutation[place] = generator.permutation(member)
    return permutation

  return order


def load_source(
  module: ModuleType, config: Mapping[str, Any], keys: Iterable[str]
) -> types.Dataset:
  """The labelled data set of a plug-in, with those options of `keys` that it has."""
  return module.load({key: config[key] for key in keys if key in module.OPTIONS})


def halves(
  base: types.Dataset, names: tuple[str, str], x: np.ndarray, y: np.ndarray
) -> tuple[Side, Side]:
  """Two sides made of disjoint stratified halves, the same at every seed.

  The published test is halved too; a published validation part joins the training
  images, of which the seed draws another. Of an odd number, one is left out.

  Args:
    base: the labelled data set.
    names: of the domains.
    x: all images of `base` as the first domain shows them.
    y: all images as the second domain shows them.
  """
  labels = base.arrays['label']
  test = base.split(0)['test'] if base.official_test else np.zeros(0, np.int32)
  train = np.setdiff1d(np.arange(len(labels)), test)
  parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
  for part in (train, test):
    if len(part) > 1:
      ordered = part[split.order(labels[part], SEED)]
      half = len(part) // 2
      parts[0].append(np.sort(ordered[:half]))
      parts[1].append(np.sort(ordered[half : 2 * half]))
  sizes = (len(train) // 2, 0, len(test) // 2)
  first, second = map(np.concatenate, parts)
  return (
    Side(names[0], x[first], sizes, y[first], labels[first]),
    Side(names[1], y[second], sizes, x[second], labels[second]),
  )
