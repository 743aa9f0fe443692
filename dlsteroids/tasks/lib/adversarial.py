"""The two networks of adversarial training, and how they are called."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlsteroids import types
from dlsteroids.tasks.lib import network, optimizer
from dlsteroids.util import errors


class Game(NamedTuple):
  """The two networks and how they are called.

  Attributes:
    players: by name.
    generate: `(variables, z [B, Z], label, keys, hyper, *, train) -> (images, new)`.
    judge: `(variables, images, label, keys, hyper, *, train) -> (logits, variables)`,
      with the collections that the pass changed.
    latent: Z.
    classes: of the labels that G and D are given; 0 without labels.
  """

  players: Mapping[str, types.Player]
  generate: Callable[..., tuple[Any, Mapping[str, Any]]]
  judge: Callable[..., tuple[Any, Mapping[str, Any]]]
  latent: int
  classes: int

  def noise(self, count: int, keys: Any) -> Any:
    """z [count, Z], standard normal; the stream 'noise' draws it."""
    return jax.random.normal(keys('noise'), (count, self.latent))

  def labels(self, batch: types.Batch) -> Any:
    return batch['label'] if self.classes else None

  def cycle(self, count: int) -> Any:
    """Labels 0, 1, … in turn, [count]; None without labels."""
    return jnp.arange(count) % self.classes if self.classes else None


def make(config: Mapping[str, Any], dataset: types.Dataset) -> Game:
  """Both networks of a config.

  Raises:
    UserError: a model without noise, or batch norm in a D with a gradient penalty.
  """
  options = config['task']
  latent = config['model'].get('latent', 0)
  if not latent:
    raise errors.UserError(
      'task gan needs a model that makes images from noise (its option latent at '
      f'least 1), such as dcgan or dense_gan, not {config["model"]["name"]} with '
      f'latent={latent}'
    )
  classes = len(dataset.classes) if 'label' in dataset.arrays else 0
  labels = classes if config['model'].get('conditional') else 0

  def label(batch):
    return {'label': batch['label']} if labels else {}

  def one(player, read):
    return network.make(
      config,
      read,
      stream=f'init_{player}',
      player=player,
      shape=dataset.arrays['image'].shape[1:],
      classes=classes,
    )

  generator = one(
    'generator', lambda batch: (jnp.zeros((len(batch['image']), latent)), label(batch))
  )
  discriminator = one('discriminator', lambda batch: (batch['image'], label(batch)))

  def called(net, variables, x, label, keys, hyper, train):
    extra = {} if label is None else {'label': label}
    own = {k: v for k, v in variables.items() if k != 'ema'}
    mutable = network.states(own) if train else []
    output, new = net.apply(own, x, keys, hyper, train=train, mutable=mutable, **extra)
    return output, dict(new)

  def generate(variables, z, label, keys, hyper, *, train):
    return called(generator, variables, z, label, keys, hyper, train)

  def judge(variables, images, label, keys, hyper, *, train):
    output, new = called(discriminator, variables, images, label, keys, hyper, train)
    return output, {**variables, **new}

  def init_generator(keys, batch):
    variables = generator.player.init(keys, batch)
    averaged = {k: v for k, v in variables.items() if k in ('params', 'batch_stats')}
    return {**variables, 'ema': averaged}

  def init_discriminator(keys, batch):
    variables = discriminator.player.init(keys, batch)
    if options['penalty'] != 'none' and 'batch_stats' in variables:
      raise errors.UserError(
        f'config.task.penalty={options["penalty"]} with batch norm in the '
        'discriminator: every image changes the logits of the others, so a '
        'gradient per image is not defined; use discriminator_norm=layer, instance, '
        'spectral or none'
      )
    return variables

  def faster(hyper):
    # Its schedule counts its own updates.
    steps = hyper['train.steps'] * options['critic_steps']
    rate = hyper['optimizer.learning_rate'] * hyper['task.discriminator_rate']
    own = {**hyper, 'optimizer.learning_rate': rate, 'train.steps': steps}
    return optimizer.make(config['optimizer'], own)

  players = {
    'generator': types.Player(init_generator, generator.player.optimizer),
    'discriminator': types.Player(init_discriminator, faster),
  }
  return Game(players, generate, judge, latent, labels)
