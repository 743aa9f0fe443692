"""Adversarial training: the turns of a generator and a discriminator.

The discriminator D is trained towards D(x) = 1 and D(G(z)) = 0, the generator towards
D(G(z)) = 1; at the equilibrium D cannot tell them apart and outputs 1/2 (Goodfellow et
al. 2014, proposition 1).

A step is one update of D (`critic_steps` of a WGAN), then one of G against the updated
D. Both use the same images: they are generated once per step (`types.Pass`), and G's
gradient flows back through them (Radford et al. 2016 draw the noise once, too).

Batch norm: D sees real and generated images in separate batches, real ones first, and
its running averages are updated in that order; G's turn leaves them as they are (in
torch's example they are updated there, too). G's are updated in G's turn.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.config.options import Option
from dlsteroids.tasks.lib import adversarial as game_lib
from dlsteroids.tasks.lib import (
  diffaugment,
  features,
  gan_losses,
  network,
  pictures,
  quality,
)
from dlsteroids.util import errors

METRIC = 'classifier_fid'  # decides unless study.metric names another
OPTIONS = {
  'loss': Option(
    'non_saturating', 'of either player', choices=tuple(gan_losses.LOSSES)
  ),
  'critic_steps': Option(1, "the discriminator's updates for one of the generator", 1),
  'penalty': Option(
    'none',
    'gradient: of WGAN-GP; r1: at real images',
    choices=('none', 'gradient', 'r1'),
  ),
  'penalty_weight': Option(10.0, 'of the penalty', 0, traced=True),
  'label_smoothing': Option(
    0.0, 'one-sided: real targets are 1 - s (Salimans et al. 2016)', 0, 0.5, traced=True
  ),
  'discriminator_rate': Option(
    1.0, 'times the learning rate (TTUR, Heusel et al. 2017)', 0, traced=True
  ),
  'augment': Option('', 'of what D sees: colour, translation, cutout, comma-separated'),
  'ema': Option(
    0.0,
    "decay of the average of G's parameters that is evaluated; 0: none",
    0,
    1,
    traced=True,
  ),
  'features': Option(
    'auto', 'what image quality is measured with: a name, a file, a function'
  ),
  'pairs': Option(
    True,
    'also kernel distance, precision and recall, which look at all pairs of images: '
    'most of the time of evaluation',
  ),
  'metrics': Option(
    '', 'further metrics: dotted modules with make(config), comma-separated'
  ),
}

PENALTIES = ('none', 'gradient', 'r1')


def build(config: Mapping[str, Any], dataset: types.Dataset) -> types.Task:
  """The task for a resolved config; its metrics are those of `quality.make`.

  Raises:
    UserError: a data set without images in [-1, 1], options that contradict each
      other, or a model that is not two players.
  """
  options = config['task']
  loss = check(config, dataset)
  extractor = features.load(options['features'], dataset)
  game = game_lib.make(config, dataset)
  counts = {name: len(rows) for name, rows in dataset.split(0).items()}
  metrics = quality.make(extractor, options['pairs'])
  if game.classes and len(extractor.classes) == game.classes:
    metrics['agreement'] = network.mean_metric(agreement, 'higher', 1 / game.classes)
  floor = quality.floor(extractor, dataset)
  known = {name: value for name, value in floor.items() if name in metrics}
  return types.Task(
    players=game.players,
    turns=(
      types.Turn(
        'discriminator',
        discriminator_loss(game, loss, options),
        options['critic_steps'],
      ),
      types.Turn('generator', generator_loss(game, loss, options)),
    ),
    outputs=make_outputs(game, extractor),
    metrics=network.extra_metrics(config, metrics),
    shared=types.Pass('generator', make_images(game)),
    after_step=pictures.average,
    show=pictures.make_show(game),
    film=pictures.make_film(game),
    sample=pictures.make_sample(game),
    digest=extractor.digest,
    facts={'quality': quality.facts(extractor, counts), **gan_losses.facts()},
    references={
      'real against real': {f'test/{name}': value for name, value in known.items()}
    },
  )


def check(config: Mapping[str, Any], dataset: types.Dataset) -> gan_losses.Loss:
  """The loss that a config names; UserError for options that contradict each other."""
  options = config['task']
  if 'image' not in dataset.arrays:
    raise errors.UserError(
      f'task gan needs images; data set {dataset.name!r} has '
      f'{", ".join(dataset.arrays)}'
    )
  if dataset.stream:
    raise errors.UserError(
      'task gan needs images that fit in memory, since it compares its images with '
      f'all of them; {dataset.name!r} streams: use data.name=image_folder'
    )
  if dataset.facts.get('range') != 'tanh':
    settable = 'range' in config['data']
    raise errors.UserError(
      'task gan needs images in [-1, 1], the range of its generators: '
      + ('set data.range=tanh' if settable else f'{dataset.name!r} has none')
    )
  name = config_lib.choose('task.loss', options['loss'], gan_losses.LOSSES)
  loss = gan_losses.LOSSES[name]
  config_lib.choose('task.penalty', options['penalty'], PENALTIES)
  if options['critic_steps'] < 1:
    raise errors.UserError(
      f'config.task.critic_steps must be at least 1, not {options["critic_steps"]}'
    )
  if options['label_smoothing'] and not loss.smooths:
    raise errors.UserError(
      f'config.task.label_smoothing={options["label_smoothing"]}: loss {name} has no '
      'targets to smooth; use minimax, non_saturating or least_squares'
    )
  return loss


def make_images(game: game_lib.Game) -> Callable[..., Any]:
  """Generates as many images as the batch has; new: G's running averages."""

  def run(variables, batch, keys, hyper):
    z, label = game.noise(len(batch['image']), keys), game.labels(batch)
    fake, new = game.generate(variables['generator'], z, label, keys, hyper, train=True)
    return fake, {'generator': new}

  return run


def discriminator_loss(
  game: game_lib.Game, loss: gan_losses.Loss, options: Mapping[str, Any]
) -> Callable[..., Any]:
  """D's turn: real images, then generated ones, then the penalty."""
  augment = diffaugment.make(options['augment'])

  def turn(variables, batch, keys, hyper):
    own, label = variables['discriminator'], game.labels(batch)
    real, fake = batch['image'], batch['shared']

    def judge(own, images, stream):
      augmented = augment(images, keys(stream))
      return game.judge(own, augmented, label, keys, hyper, train=True)

    def critic(images):
      return game.judge(own, images, label, keys, hyper, train=True)[0]

    logits, after = judge(own, real, 'augment_real')
    fooled, after = judge(after, fake, 'augment_fake')
    value = loss.discriminator(logits, fooled, hyper['task.label_smoothing'])
    scalars = {
      'd_loss': value,
      'd_real': gan_losses.says(loss, logits),
      'd_fake': gan_losses.says(loss, fooled),
    }
    if options['penalty'] == 'gradient':
      extra = gan_losses.gradient_penalty(critic, real, fake, keys('between'))
    elif options['penalty'] == 'r1':
      extra = gan_losses.r1_penalty(critic, real)
    if options['penalty'] != 'none':
      value += hyper['task.penalty_weight'] * extra
      scalars['penalty'] = extra
    new = {name: after[name] for name in network.states(own)}
    return value, ({'discriminator': new}, scalars)

  return turn


def generator_loss(
  game: game_lib.Game, loss: gan_losses.Loss, options: Mapping[str, Any]
) -> Callable[..., Any]:
  """G's turn: the images of this step, judged by the updated D."""
  augment = diffaugment.make(options['augment'])

  def turn(variables, batch, keys, hyper):
    label = game.labels(batch)
    augmented = augment(batch['shared'], keys('augment_fake'))
    logits, _ = game.judge(
      variables['discriminator'], augmented, label, keys, hyper, train=True
    )
    value = loss.generator(logits)
    return value, ({}, {'g_loss': value, 'd_made': gan_losses.says(loss, logits)})

  return turn


def make_outputs(
  game: game_lib.Game, extractor: features.Extractor
) -> Callable[..., Any]:
  """Generates as many images as there are real ones; features of both."""

  def describe(images):
    feature_rows, logits = extractor.apply(images)
    return {'features': feature_rows} if logits is None else {
      'features': feature_rows, 'logits': logits
    }  # fmt: skip

  def outputs(variables, batch, keys, hyper):
    real, label = batch['image'], game.labels(batch)
    z = game.noise(len(real), keys)
    fake, _ = game.generate(
      pictures.averaged(variables), z, label, keys, hyper, train=False
    )
    result = {'real': describe(real), 'fake': describe(fake), 'mask': batch['mask']}
    return result if label is None else {**result, 'label': label}

  return outputs


def agreement(out: types.Outputs) -> tuple[Any, Any]:
  """Whether a generated image is classified as the requested class, [B]."""
  right = out['fake']['logits'].argmax(-1) == out['label']
  return right.astype(jnp.float32), out['mask']
