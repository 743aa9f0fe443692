"""Classification: one player, one turn, cross-entropy."""

import importlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.tasks import optimizer

DEFAULTS = {
  'label_smoothing': 0.0,  # Szegedy et al. 2016
  'metrics': '',  # further metrics: dotted modules with make(config), comma-separated
}
TRACED = {'label_smoothing': (0.0, 1.0)}


def cross_entropy(logits: Any, labels: Any, smoothing: Any) -> Any:
  """Nats per example, [B]; logits [B, K], integer labels [B]."""
  targets = jax.nn.one_hot(labels, logits.shape[-1])
  return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing))


def build(config: Mapping[str, Any], dataset: types.Dataset) -> types.Task:
  """The task for a resolved config; its metrics are loss (nats) and accuracy.

  Raises:
    UserError: if the data set has no labels, or the model does not fit it.
  """
  if 'label' not in dataset.arrays:
    raise config_lib.UserError(
      f'task classify needs labels; data set {dataset.name!r} has '
      f'{", ".join(dataset.arrays)}'
    )
  classes = len(dataset.classes)
  shape = dataset.arrays['image'].shape[1:]
  section = {**config['model'], 'outputs': classes, 'shape': shape}
  module = config_lib.find('models', config['model']['name']).build(section)

  def apply(variables, batch, keys, hyper, train, mutable):
    found = module.apply(
      variables,
      batch['image'],
      train=train,
      hyper=hyper,
      rngs={'dropout': keys('dropout')},
      mutable=mutable,
    )
    logits = found if mutable is False else found[0]
    if jnp.shape(logits) != (len(batch['image']), classes):
      raise config_lib.UserError(
        f'model {config["model"]["name"]} must return logits [B, {classes}]; a batch '
        f'of {len(batch["image"])} gave {list(jnp.shape(logits))}'
      )
    return found

  def init(keys, batch):
    hyper = {path: jnp.float32(0) for path in config_lib.traced_paths(config)}
    return dict(module.init(keys('init'), batch['image'], train=False, hyper=hyper))

  def loss(variables, batch, keys, hyper):
    mine = variables['model']
    states = [name for name in mine if name != 'params']
    logits, new = apply(mine, batch, keys, hyper, True, states)
    losses = cross_entropy(logits, batch['label'], hyper['task.label_smoothing'])
    right = (logits.argmax(-1) == batch['label']).mean(dtype=jnp.float32)
    value = losses.mean()
    return value, ({'model': dict(new)}, {'loss': value, 'accuracy': right})

  def outputs(variables, batch, keys, hyper):
    logits = apply(variables['model'], batch, keys, hyper, False, False)
    return {'logits': logits, 'label': batch['label'], 'mask': batch['mask']}

  def show_layers(variables, batch, hyper):
    keys = rng.Keys(rng.root(0))
    mutable = ['intermediates']
    _, state = apply(variables['model'], batch, keys, hyper, False, mutable)
    leaves = jax.tree_util.tree_leaves_with_path(state.get('intermediates', {}))
    return {
      '.'.join(str(k.key) for k in path if hasattr(k, 'key')).removesuffix('_out'): leaf
      for path, leaf in leaves
    }

  return types.Task(
    players={
      'model': types.Player(init, lambda h: optimizer.make(config['optimizer'], h))
    },
    turns=(types.Turn('model', loss),),
    outputs=outputs,
    metrics=extra_metrics(config, make_metrics(classes)),
    layers=show_layers,
  )


def make_metrics(classes: int) -> dict[str, types.Metric]:
  """Accuracy in [0, 1], loss in nats, and the predicted class of every example."""

  def sums(values, mask):
    return {'sum': (values * mask).sum(), 'count': mask.sum()}

  def mean(merged):
    return {'': merged['sum'] / merged['count']}

  def accuracy(out):
    right = (out['logits'].argmax(-1) == out['label']).astype(jnp.float32)
    return sums(right, out['mask'])

  def loss(out):
    return sums(cross_entropy(out['logits'], out['label'], 0.0), out['mask'])

  def prediction(out):
    return out['logits'].argmax(-1).astype(jnp.int32)

  return {
    'accuracy': types.Metric(accuracy, mean, 'higher', 1.0 / classes),
    'loss': types.Metric(loss, mean, 'lower', float(np.log(classes))),
    'prediction': types.Metric(prediction, lambda rows: {'': rows}, '', merge='concat'),
  }


def extra_metrics(
  config: Mapping[str, Any], own: Mapping[str, types.Metric]
) -> dict[str, types.Metric]:
  """`own` and those of the modules of `task.metrics`, each `make(config) -> mapping`.

  Raises:
    UserError: if a module fails, or a metric's name is taken.
  """
  found = dict(own)
  for name in filter(None, map(str.strip, config['task']['metrics'].split(','))):
    try:
      added = dict(importlib.import_module(name).make(config))
    except Exception as error:  # whatever the user's module raises
      raise config_lib.UserError(
        f'config.task.metrics: {name!r} must be a module with make(config): '
        f'{type(error).__name__}: {error}'
      ) from error
    taken = sorted(added.keys() & found.keys())
    if taken:
      raise config_lib.UserError(
        f'config.task.metrics: {name} makes {taken[0]!r}, which exists already'
      )
    found |= added
  return found
