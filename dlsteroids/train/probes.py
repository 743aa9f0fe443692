"""Arrays from inside a trained network, for the report: filters, activation maps."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dlsteroids import rng, types
from dlsteroids.tasks.lib import similarity
from dlsteroids.train import member as member_lib

EXAMPLES = 4
NEIGHBOURS = 8  # samples whose nearest training image is shown
LARGEST = 512  # units whose weights are shown; more are cut


def make(
  member: member_lib.Member, dataset: types.Dataset, slot: Mapping[str, Any]
) -> Any:
  """A jitted `variables -> {'probe/...': array}`; None if there is nothing to show."""
  task = member.task
  if task.show is None:
    return None
  show = task.show
  test = dataset.split(int(slot['seed']))['test']
  indices = test[:: max(1, len(test) // EXAMPLES)][
    :EXAMPLES
  ]  # adjacent ones look alike
  raw = dataset.take(dataset.arrays, indices, train=False)

  def show_test(variables, hyper):
    keys = rng.Keys(rng.root(0))
    return show(variables, dataset.transform(raw, keys, train=False), keys, hyper)

  compiled = jax.jit(show_test)

  def probe(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    shown = jax.device_get(compiled(variables, slot['hyper']))
    if 'length' in raw:  # nothing after the end counts
      longest = int(raw['length'].max())
      ends = {'trace': int(raw['length'][0]), 'lag': longest}
      shown = {k: v[: ends.get(k.split('/')[0], len(v))] for k, v in shown.items()}
    arrays = {f'probe/{name}': as_stored(value) for name, value in shown.items()}
    if 'sample/images' in shown and 'image' in dataset.arrays:
      samples = np.asarray(shown['sample/images'])
      arrays |= memorisation(samples, dataset, int(slot['seed']))
    if 'image' in raw and 'length' not in raw and raw['image'].ndim == 4:
      arrays['probe/images'] = raw['image']
      arrays |= filters(variables, raw['image'].shape[1:])
    return arrays

  return probe


def memorisation(
  samples: np.ndarray, dataset: types.Dataset, seed: int
) -> dict[str, np.ndarray]:
  """The training images that samples [M, H, W, C] resemble by pixels: memorised?

  Returns:
    'probe/sample/nearest': the training images nearest to the first samples, and how
    far they are; 'probe/sample/memory' [3]: median distance to the nearest training
    image of the samples, of as many unseen test images, and the ratio of the two.
  """
  split, images = dataset.split(seed), dataset.arrays['image']
  train, unseen = images[split['train']], images[split['test'][: len(samples)]]
  indices, distances = similarity.nearest(samples[:NEIGHBOURS], train)
  memory = similarity.memorised(samples, train, unseen)
  return {
    'probe/sample/nearest': train[indices],
    'probe/sample/distances': distances.astype(np.float32),
    'probe/sample/memory': np.array(
      [memory[name] for name in ('samples', 'test', 'ratio')], np.float32
    ),
  }


def as_stored(value: Any) -> np.ndarray:
  value = np.asarray(value)
  return value if value.dtype.kind in 'iu' else value.astype(np.float32)


def filters(
  variables: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
  """The first layer's kernels [kh, kw, C, F], or weights [H, W, C, units] of an MLP."""
  height, width, channels = shape
  leaves = jax.tree_util.tree_leaves_with_path(
    {name: player['params'] for name, player in variables.items()}
  )
  kernels = [(path, leaf) for path, leaf in leaves if path[-1].key == 'kernel']
  kernels.sort(key=lambda pair: pair[0][-2].key == 'output')  # the last choice
  for _, leaf in kernels:
    if leaf.ndim == 4 and leaf.shape[2] == channels and max(leaf.shape[:2]) > 1:
      return {'probe/filters': np.asarray(leaf[..., :LARGEST], np.float32)}
    if leaf.ndim == 2 and leaf.shape[0] == height * width * channels:
      weights = np.asarray(leaf[:, :LARGEST], np.float32)
      return {'probe/weights': weights.reshape(height, width, channels, -1)}
  return {}
