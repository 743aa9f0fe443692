"""A task plug-in for tests: classification whose loss or gradient fails on demand.

The run of `loss_seed` gets a loss that is not finite at `loss_step`; that of
`gradient_seed` a finite loss with a gradient that is not, at `gradient_step`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids import rng, types
from dlsteroids.tasks import classify

DEFAULTS: dict[str, Any] = {
  **classify.DEFAULTS,
  'loss_seed': 3,
  'loss_step': 7,
  'gradient_seed': 11,
  'gradient_step': 9,
}
TRACED = classify.TRACED


def build(config: Any, dataset: types.Dataset) -> types.Task:
  """The task of a resolved config."""
  section = config['task']
  task = classify.build(config, dataset)
  plain = task.turns[0].loss

  def strikes(kind, keys):
    root = rng.root(section[f'{kind}_seed'])
    mine = jax.random.key_data(keys.root) == jax.random.key_data(root)
    return mine.all() & (keys.step == section[f'{kind}_step'])

  def loss(variables, batch, keys, hyper):
    value, aux = plain(variables, batch, keys, hyper)
    leaf = jax.tree.leaves(variables['model']['params'])[0]
    good = 1.0 - strikes('gradient', keys).astype(jnp.float32)
    spoiled = jnp.sqrt(jnp.sum(leaf) * 0.0 + good)  # if bad, 0 with a gradient of 0 / 0
    return jnp.where(strikes('loss', keys), jnp.nan, value) + spoiled - good, aux

  return task._replace(turns=(types.Turn('model', loss),))
