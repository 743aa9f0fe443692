"""Looks inside a trained network, for the report: first filters, activation maps."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dlsteroids import rng, types
from dlsteroids.train import member as member_lib

EXAMPLES = 4
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
  indices = test[:: max(1, len(test) // EXAMPLES)][:EXAMPLES]  # neighbours look alike
  raw = dataset.take(dataset.arrays, indices, train=False)

  def look(variables, hyper):
    keys = rng.Keys(rng.root(0))
    return show(variables, dataset.transform(raw, keys, train=False), keys, hyper)

  compiled = jax.jit(look)

  def probe(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    seen = jax.device_get(compiled(variables, slot['hyper']))
    if 'length' in raw:  # nothing is read behind the end
      longest = int(raw['length'].max())
      ends = {'trace': int(raw['length'][0]), 'lag': longest}
      seen = {k: v[: ends.get(k.split('/')[0], len(v))] for k, v in seen.items()}
    found = {f'probe/{name}': as_stored(value) for name, value in seen.items()}
    if 'image' in raw and 'length' not in raw:
      found['probe/images'] = raw['image']
      found |= filters(variables, raw['image'].shape[1:])
    return found

  return probe


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
