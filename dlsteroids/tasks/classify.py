"""Classification: one player, one turn, cross-entropy."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlsteroids import types
from dlsteroids.config.options import Option
from dlsteroids.tasks.lib import network
from dlsteroids.util import errors

METRIC = 'accuracy'  # decides unless study.metric names another
OPTIONS = {
  'label_smoothing': Option(
    0.0, 'of the targets (Szegedy et al. 2016)', 0, 1, traced=True
  ),
  'mixup': Option(
    0.0, 'alpha of the share of another example in each (Zhang et al. 2018); 0: none', 0
  ),
  'metrics': Option(
    '', 'further metrics: dotted modules with make(config), comma-separated'
  ),
}


def cross_entropy(logits: Any, labels: Any, smoothing: Any) -> Any:
  """Nats per example, [B]; logits [B, K], integer labels [B]."""
  targets = jax.nn.one_hot(labels, logits.shape[-1])
  return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing))


def mix(image: Any, label: Any, key: Any, alpha: float) -> tuple[Any, Any, Any]:
  """Mixup (Zhang et al. 2018): a weighted mean of every example and another one.

  One weight, Beta(alpha, alpha), a batch, as in the authors' code; the other example is
  the one before, batches being shuffled, where theirs may be the same.

  Returns:
    images, the other labels [B], and the weight of the example itself.
  """
  weight = jax.random.beta(key, alpha, alpha)
  mixed = weight * image + (1 - weight) * jnp.roll(image, 1, 0)
  return mixed.astype(image.dtype), jnp.roll(label, 1, 0), weight


def check_mixup(config: Mapping[str, Any], dataset: types.Dataset) -> None:
  """Raises UserError if examples of this data set cannot be mixed."""
  alpha = config['task']['mixup']
  if alpha == float('inf'):
    raise errors.UserError('config.task.mixup must be finite')
  if alpha and 'length' in dataset.arrays:
    raise errors.UserError(
      f'config.task.mixup mixes examples of one size; those of {dataset.name!r} have '
      'different lengths'
    )


def build(config: Mapping[str, Any], dataset: types.Dataset) -> types.Task:
  """The task for a resolved config; its metrics are loss (nats) and accuracy.

  Raises:
    UserError: if the data set has no labels, or the model does not fit it.
  """
  if 'label' not in dataset.arrays:
    raise errors.UserError(
      f'task classify needs labels; data set {dataset.name!r} has '
      f'{", ".join(dataset.arrays)}'
    )
  check_mixup(config, dataset)
  classes, alpha = len(dataset.classes), config['task']['mixup']

  def read(batch):
    extra = {'lengths': batch['length']} if 'length' in batch else {}
    return batch['image'], extra

  net = network.make(
    config, read, outputs=classes, shape=dataset.arrays['image'].shape[1:]
  )

  def apply(variables, batch, keys, hyper, train, mutable):
    x, extra = read(batch)
    output = net.apply(variables, x, keys, hyper, train=train, mutable=mutable, **extra)
    logits = output if mutable is False else output[0]
    if jnp.shape(logits) != (len(batch['image']), classes):
      raise errors.UserError(
        f'model {config["model"]["name"]} must return logits [B, {classes}]; a batch '
        f'of {len(batch["image"])} gave {list(jnp.shape(logits))}'
      )
    return output

  def score(logits, label, hyper):
    losses = cross_entropy(logits, label, hyper['task.label_smoothing'])
    right = (logits.argmax(-1) == label).mean(dtype=jnp.float32)
    return losses.mean(), right

  def loss(variables, batch, keys, hyper):
    own, label = variables['model'], batch['label']
    if alpha:
      image, other, weight = mix(batch['image'], label, keys('mixup'), alpha)
      batch = {**batch, 'image': image}
    logits, new = apply(own, batch, keys, hyper, True, network.states(own))
    value, right = score(logits, label, hyper)
    if alpha:  # the loss is linear in the targets
      parts = zip((value, right), score(logits, other, hyper))
      value, right = (weight * a + (1 - weight) * b for a, b in parts)
    return value, ({'model': dict(new)}, {'loss': value, 'accuracy': right})

  def outputs(variables, batch, keys, hyper):
    logits = apply(variables['model'], batch, keys, hyper, False, False)
    return {'logits': logits, 'label': batch['label'], 'mask': batch['mask']}

  def show(variables, batch, keys, hyper):
    own = variables['model']
    _, state = apply(own, batch, keys, hyper, False, ['intermediates'])
    maps = {
      f'activation/{name}': value
      for name, value in network.sown(state).items()
      if value.ndim == 4
    }

    def final(logits):
      return cross_entropy(logits, batch['label'], 0.0).sum()

    x, extra = read(batch)
    return {**maps, **network.look(net, own, x, keys, hyper, final, **extra)}

  return types.Task(
    players={'model': net.player},
    turns=(types.Turn('model', loss),),
    outputs=outputs,
    metrics=network.extra_metrics(config, make_metrics(classes)),
    show=show,
  )


def make_metrics(classes: int) -> dict[str, types.Metric]:
  """Accuracy in [0, 1], loss in nats, and the predicted class of every example."""

  def accuracy(out):
    right = (out['logits'].argmax(-1) == out['label']).astype(jnp.float32)
    return right, out['mask']

  def loss(out):
    return cross_entropy(out['logits'], out['label'], 0.0), out['mask']

  def prediction(out):
    return out['logits'].argmax(-1).astype(jnp.int32)

  return {
    'accuracy': network.mean_metric(accuracy, 'higher', 1.0 / classes),
    'loss': network.mean_metric(loss, 'lower', float(np.log(classes))),
    'prediction': types.Metric(prediction, lambda rows: {'': rows}, '', merge='concat'),
  }
