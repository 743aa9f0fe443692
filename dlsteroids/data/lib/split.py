"""Seeded splits: a stratified order of the examples, of which each split is a stretch.

Every prefix of the order is stratified, so the classes stay in proportion in each
split, and `examples=100` are among `examples=200` at the same seed.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlsteroids.config import options
from dlsteroids.util import errors

SPLITS = ('train', 'validation', 'test')


def share(default: float, doc: str) -> options.Option:
  """An option that is a share of the data, in (0, 1)."""
  return options.Option(default, doc, 0, 1, closed='neither')


OPTIONS = {
  'validation': share(0.1, 'share of the training examples, drawn by the seed'),
  'examples': options.Option(0, 'examples to train on, drawn by the seed; 0: all', 0),
}
TEST = {
  'test': share(
    0.2, 'share of the training examples drawn for a test, if none is published'
  )
}


def order(labels: np.ndarray, seed: int) -> np.ndarray:
  """A permutation of the N examples whose every prefix holds the classes in proportion.

  Args:
    labels: int [N].
    seed: of the draw, >= 0.

  Returns:
    int32 [N]; systematic sampling: example j of the n of a class, in random order,
    stands at (j + ½)/n, ties at random.
  """
  generator = np.random.default_rng([seed, zlib.crc32(b'split')])
  shuffled = generator.permutation(len(labels))
  grouped = shuffled[np.argsort(labels[shuffled], kind='stable')]
  _, counts = np.unique(labels, return_counts=True)
  place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
  ties = generator.random(len(labels))
  return grouped[np.lexsort((ties, place))].astype(np.int32)


def drawn(
  count: int, sizes: tuple[int, int, int], config: Mapping[str, Any], of: str
) -> tuple[int, int, int]:
  """How many training examples train, validation and test get of `count`.

  Args:
    count: of the training examples, or of the groups that stay together.
    sizes: of the published parts; validation and test are drawn only if empty.
    config: `validation`, and `test` if there is no published test part.
    of: what they are, for errors.

  Raises:
    UserError: shares that leave a split empty.
  """
  test = 0 if sizes[2] else round(config['test'] * count)
  validation = 0 if sizes[1] else round(config['validation'] * count)
  left = count - test - validation
  if not (left > 0 and test + sizes[2] > 0 and validation + sizes[1] > 0):
    raise errors.UserError(
      f'{count:,} training {of} are too few: {left:,} remain when {validation:,} go to '
      f'validation and {test:,} to test'
    )
  return left, validation, test


def check_examples(most: int, config: Mapping[str, Any], of: str) -> int:
  """How many examples are trained on: `data.examples`, or `most` if it is 0.

  Raises:
    UserError: more than there are.
  """
  if config['examples'] > most:
    raise errors.UserError(
      f'data.examples must lie in 0..{most:,} ({of}), not {config["examples"]:,}'
    )
  return config['examples'] or most


def make(
  labels: np.ndarray, sizes: tuple[int, int, int], config: Mapping[str, Any]
) -> Callable[[int], dict[str, np.ndarray]]:
  """The `Dataset.split` of examples stored as train, then validation, then test.

  Args:
    labels: int [N].
    sizes: of the three published parts, summing to N; an empty validation or test part
      is drawn from the training part by the seed.
    config: `validation`, `examples`, and `test` (a share) if there is no test part.

  Raises:
    UserError: shares or `examples` that leave a split empty.
  """
  train, validation, _ = sizes
  left, draw_validation, draw_test = drawn(train, sizes, config, 'examples')
  used = check_examples(left, config, 'what validation and test leave')
  ends = np.cumsum([draw_test, draw_validation, used])

  def split(seed: int) -> dict[str, np.ndarray]:
    test_, validation_, train_, _ = np.split(order(labels[:train], seed), ends)
    parts = {
      'train': train_,
      'validation': np.arange(train, train + validation) if validation else validation_,
      'test': np.arange(train + validation, sum(sizes)) if sizes[2] else test_,
    }
    return {name: np.sort(part).astype(np.int32) for name, part in parts.items()}

  return split
