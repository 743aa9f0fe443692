"""A task plug-in for tests: classification whose loss or gradient fails on demand.

The run of seed `seed` gets a loss that is not finite at step `step`; with `where` set to
'gradient' the loss stays finite and its gradient does not.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids import rng, types
from dlsteroids.tasks import classify

DEFAULTS: dict[str, Any] = {**classify.DEFAULTS, 'seed': 3, 'step': 7, 'where': 'loss'}
TRACED = classify.TRACED


def build(config: Any, dataset: types.Dataset) -> types.Task:
  """The task of a resolved config."""
  section = config['task']
  task = classify.build(config, dataset)
  plain = task.turns[0].loss
  bad_root = section['seed']

  def loss(variables, batch, keys, hyper):
    value, aux = plain(variables, batch, keys, hyper)
    mine = jax.random.key_data(keys.root) == jax.random.key_data(rng.root(bad_root))
    bad = mine.all() & (keys.step == section['step'])
    if section['where'] == 'loss':
      return jnp.where(bad, jnp.nan, value), aux
    leaf = jax.tree.leaves(variables['model']['params'])[0]
    good = 1.0 - bad.astype(jnp.float32)
    spoiled = jnp.sqrt(jnp.sum(leaf) * 0.0 + good)  # if bad, 0 with a gradient of 0 / 0
    return value + spoiled - good, aux

  return task._replace(turns=(types.Turn('model', loss),))
