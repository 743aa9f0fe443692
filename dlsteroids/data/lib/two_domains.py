"""Two domains of images without partners: what all unpaired data sets share.

An example is a row of `pairs`: an image of X and one of Y that have nothing to do with
each other. If one side is shorter, its images come again; the rows that share an image
stay in one split, so that no image of either side is trained on and tested.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import rng, types
from dlsteroids.data.lib import digest, split, transform
from dlsteroids.util import errors

OPTIONS: dict[str, Any] = {
  'test': 0.2,  # share of train drawn by the seed for testing, if none is published
  **split.OPTIONS,  # counted in rows of pairs
  'flip': False,  # training images left to right, half of them, each side by itself
  # Pixels by which training images are enlarged before a random crop back to their
  # size; the paper's 286 and 256 are size=256, crop=30. Test images are seen whole.
  'crop': 0,
}
TRUTHS = {'x': 'x_as_y', 'y': 'y_as_x'}
SEED = zlib.crc32(b'pairs')  # of what the run's seed does not draw: halves, partners


class Side(NamedTuple):
  """The images of one domain: train first, then validation, then test.

  Attributes:
    name: of the domain, for people.
    images: uint8 [N, H, W, C].
    sizes: of train, validation and test; 0 where the seed draws it.
    truth: uint8 [N, H, W, C of the other side], each image as the other domain would
      show it; None if nobody knows.
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

  Its digest covers the images, not their name: that may come from a folder.

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
    split=make_split(arrays, x, y, config),
    transform=make_transform(x.images.shape[1:], config),
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

  Each part has as many rows as its longer side, which stands in its order; the shorter
  side is shuffled (two folders may be sorted alike) and comes again and again.

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
    and 'label_y' as far as they are known, and which images they are, 'at_x' and 'at_y'
    int32 [B]: those of the shorter side come again.
  """
  pairs = arrays['pairs'][indices]
  batch = {}
  for column, side in enumerate(TRUTHS):
    known = (side,) if train else (side, TRUTHS[side], f'label_{side}')
    for name in known:
      if name in arrays:
        batch[name] = arrays[name][pairs[:, column]]
    if not train:
      batch[f'at_{side}'] = pairs[:, column]
  return batch


def make_transform(
  shape: tuple[int, ...], config: Mapping[str, Any]
) -> Callable[..., types.Batch]:
  """The `Dataset.transform`: images float32 in [-1, 1], x and y augmented in training.

  Args:
    shape: (H, W, C) of either side.
    config: `flip`, `crop`.

  Raises:
    UserError: `crop` out of range.
  """
  flip, crop = config['flip'], config['crop']
  if not 0 <= crop <= min(shape[:2]):
    raise errors.UserError(
      f'data.crop must lie in 0..{min(shape[:2])} for {shape[0]}×{shape[1]} images, '
      f'not {crop}'
    )

  def augment(image: types.Array, key: Any) -> types.Array:
    if crop:
      image = transform.zoom(image, key, by=crop)
    return transform.move(image, key, flip=True, pad=0) if flip else image

  def see(batch: types.Batch, keys: rng.Keys, *, train: bool) -> types.Batch:
    seen = dict(batch)
    for name in (*TRUTHS, *TRUTHS.values()):
      if name in batch:
        seen[name] = transform.signed(batch[name])
    if train and (flip or crop):
      for side in TRUTHS:
        seen[side] = augment(seen[side], rng.stream(keys('augment'), side))
    return seen

  return see


def make_split(
  arrays: Mapping[str, np.ndarray], x: Side, y: Side, config: Mapping[str, Any]
) -> Callable[[int], dict[str, np.ndarray]]:
  """The `Dataset.split`, of rows of `pairs`.

  Args:
    arrays: 'pairs' and, if known, 'label_x' and 'label_y', by which it stratifies.
    x: the first domain.
    y: the second.
    config: `validation`, `test`, `examples`.

  Raises:
    UserError: shares or `examples` that leave a split empty.
  """
  train, validation, test = (max(sizes) for sizes in zip(x.sizes, y.sizes, strict=True))
  short = min(x, y, key=lambda side: side.sizes[0])
  groups = short.sizes[0]  # row i belongs to group i % groups
  drawn = [
    0 if given else round(_share(config, name) * groups)
    for name, given in (('test', test), ('validation', validation))
  ]
  left = groups - sum(drawn)
  if not (left > 0 and drawn[0] + test > 0 and drawn[1] + validation > 0):
    raise errors.UserError(
      f'{groups:,} training images of {short.name} are too few: {left:,} remain when '
      f'{drawn[1]:,} go to validation and {drawn[0]:,} to test'
    )
  rows = [np.arange(group, train, groups, dtype=np.int32) for group in range(groups)]
  order = make_order(strata(arrays, rows))

  def draw(seed: int) -> list[np.ndarray]:
    parts = np.split(order(seed), np.cumsum(drawn))
    none = np.empty(0, np.int32)
    return [np.concatenate([none, *(rows[i] for i in part)]) for part in parts]

  most = len(draw(0)[2])
  if not 0 <= config['examples'] <= most:
    raise errors.UserError(
      f'data.examples must lie in 0..{most:,} (the pairs that validation and test '
      f'leave), not {config["examples"]:,}'
    )

  def split_(seed: int) -> dict[str, np.ndarray]:
    tested, validated, trained = draw(seed)
    parts = {
      'train': trained[: config['examples'] or most],
      'validation': np.arange(train, train + validation) if validation else validated,
      'test': np.arange(test) + train + validation if test else tested,
    }
    return {name: np.sort(part).astype(np.int32) for name, part in parts.items()}

  return split_


def strata(arrays: Mapping[str, np.ndarray], rows: list[np.ndarray]) -> np.ndarray:
  """A number per group of rows: groups of one size and one pair of labels share it."""
  kinds = [np.array([len(row) for row in rows])]
  first = arrays['pairs'][[row[0] for row in rows]]
  for column, side in enumerate(TRUTHS):
    if f'label_{side}' in arrays:
      kinds.append(arrays[f'label_{side}'][first[:, column]])
  return np.unique(np.stack(kinds), axis=1, return_inverse=True)[1].ravel()


def make_order(strata: np.ndarray) -> Callable[[int], np.ndarray]:
  """`seed ->` a permutation of the groups [G] whose prefixes hold the strata evenly.

  The strata follow one another in the same way at every seed, which draws the groups
  within each: so the splits have the same sizes at every seed.
  """
  pattern = strata[split.order(strata, SEED)]
  places = [np.flatnonzero(pattern == stratum) for stratum in range(pattern.max() + 1)]
  members = [np.flatnonzero(strata == stratum) for stratum in range(pattern.max() + 1)]

  def order(seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, SEED])
    found = np.empty(len(strata), np.int32)
    for place, member in zip(places, members, strict=True):
      found[place] = generator.permutation(member)
    return found

  return order


def halves(
  base: types.Dataset,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
  """Disjoint stratified halves of a labelled data set, the same at every seed.

  The published test is halved too; a published validation part joins the training
  images, of which the seed draws another. Of an odd number, one is left out.

  Returns:
    The indices of the one half and of the other, train before test; the sizes of each.
  """
  labels = base.arrays['label']
  test = base.split(0)['test'] if base.official_test else np.zeros(0, np.int32)
  train = np.setdiff1d(np.arange(len(labels)), test)
  first, second = [], []
  for part in (train, test):
    if len(part) > 1:
      ordered = part[split.order(labels[part], SEED)]
      half = len(part) // 2
      first.append(np.sort(ordered[:half]))
      second.append(np.sort(ordered[half : 2 * half]))
  sizes = (len(train) // 2, 0, len(test) // 2)
  return np.concatenate(first), np.concatenate(second), sizes


def _share(config: Mapping[str, Any], name: str) -> float:
  if not 0 < config[name] < 1:
    raise errors.UserError(f'data.{name} must lie in (0, 1), not {config[name]}')
  return config[name]
