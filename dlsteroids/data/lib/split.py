"""Seeded splits: a stratified order of the examples, of which each split is a stretch.

Every prefix of the order is stratified, so the classes stay in proportion in each
split, and `examples=100` are among `examples=200` at the same seed.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlsteroids.util import errors

OPTIONS: dict[str, Any] = {
  'validation': 0.1,  # share of the training examples, drawn by the seed
  'examples': 0,  # train on this many, drawn by the seed; 0: on all
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
  train, validation, test = sizes
  draw_test = 0 if test else round(_share(config, 'test') * train)
  draw_validation = 0 if validation else round(_share(config, 'validation') * train)
  left = train - draw_test - draw_validation
  if not (left > 0 and draw_test + test > 0 and draw_validation + validation > 0):
    raise errors.UserError(
      f'{train:,} training examples are too few: {left:,} remain when '
      f'{draw_validation:,} go to validation and {draw_test:,} to test'
    )
  if not 0 <= config['examples'] <= left:
    raise errors.UserError(
      f'data.examples must lie in 0..{left:,} (what validation and test leave), '
      f'not {config["examples"]:,}'
    )
  used = config['examples'] or left
  ends = np.cumsum([draw_test, draw_validation, used])

  def split(seed: int) -> dict[str, np.ndarray]:
    drawn = np.split(order(labels[:train], seed), ends)
    parts = {
      'train': drawn[2],
      'validation': np.arange(train, train + validation) if validation else drawn[1],
      'test': np.arange(train + validation, sum(sizes)) if test else drawn[0],
    }
    return {name: np.sort(part).astype(np.int32) for name, part in parts.items()}

  return split


def _share(config: Mapping[str, Any], name: str) -> float:
  if not 0 < config[name] < 1:
    raise errors.UserError(f'data.{name} must lie in (0, 1), not {config[name]}')
  return config[name]
