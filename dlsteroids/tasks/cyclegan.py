"""Translation between two domains without partners (Zhu et al., ICCV 2017).

Two generators, x to Y and y to X, share a player; so do two discriminators, one of each
domain. A generator is to make images that the discriminator of its domain takes for
real, and both together are to come back to where they began. Each term can be taken
away, as in the paper's table 4.

Deviations from the authors' code: the discriminators move first, so that both moves see
the same translations, made once (there the generators move first); a discriminator
sees, in place of the newest translations, what `image_pool` shows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.config.options import Option
from dlsteroids.tasks.lib import (
  couple,
  features,
  gan_losses,
  image_pool,
  network,
  optimizer,
  translation,
)
from dlsteroids.util import errors

METRIC = 'cycle'  # decides unless study.metric names another
OPTIONS = {
  'loss': Option(
    'least_squares',
    "the paper's; others in gan_losses.py",
    choices=tuple(gan_losses.LOSSES),
  ),
  'adversarial': Option(True, 'False: the cycle alone'),
  'cycle': Option(
    'both',
    'forward: x to Y and back; backward: y to X and back',
    choices=('both', 'forward', 'backward', 'none'),
  ),
  'cycle_weight': Option(10.0, 'of the cycle terms', 0, traced=True),
  'identity': Option(
    False, 'generators are to leave images of their own target domain alone'
  ),
  'identity_weight': Option(0.5, 'times cycle_weight', 0, traced=True),
  'pool': Option(
    50, 'earlier translations shown to the discriminators again; 0: none', 0
  ),
  'discriminator_rate': Option(1.0, 'times the learning rate', 0, traced=True),
  'features': Option('', "classifier of domain X's images, by name or file; '': none"),
  'metrics': Option(
    '', 'further metrics: dotted modules with make(config), comma-separated'
  ),
}

# By direction: what is translated, into whose domain, and how it is called.
WAYS = {'x': ('y', 'x_as_y'), 'y': ('x', 'y_as_x')}
CYCLES = {'both': ('x', 'y'), 'forward': ('x',), 'backward': ('y',), 'none': ()}


def build(config: Mapping[str, Any], dataset: types.Dataset) -> types.Task:
  """The task for a resolved config; its metrics are those of `translation.make`.

  Raises:
    UserError: a data set without two domains, or options that contradict each other.
  """
  options = config['task']
  loss = check(config, dataset)
  extractor = None
  if options['features']:
    extractor = features.load(options['features'], upright(dataset))
  makers, judges = couples(config, dataset)
  turns = [types.Turn('generators', generator_loss(makers, judges, loss, options))]
  if options['adversarial']:
    turns.insert(
      0, types.Turn('discriminators', discriminator_loss(judges, loss, options))
    )

  def init(keys, batch):
    variables = judges.init(keys, batch)
    if options['pool'] and options['adversarial']:
      variables['pool'] = {
        name: image_pool.make(options['pool'], batch[domain].shape[1:])
        for domain, name in WAYS.values()
      }
    return variables

  def faster(hyper):
    rate = hyper['optimizer.learning_rate'] * hyper['task.discriminator_rate']
    own = {**hyper, 'optimizer.learning_rate': rate}
    return optimizer.make(config['optimizer'], own)

  players = {
    'generators': types.Player(
      makers.init, lambda hyper: optimizer.make(config['optimizer'], hyper)
    ),
    'discriminators': types.Player(init, faster),
  }
  directions = [way for way, (_, name) in WAYS.items() if name in dataset.arrays]
  return types.Task(
    players=players,
    turns=tuple(turns),
    outputs=translation.make_outputs(makers, extractor, directions),
    metrics=network.extra_metrics(
      config, translation.make(directions, extractor, dataset)
    ),
    shared=types.Pass('generators', make_translations(makers)),
    show=translation.make_show(makers, directions),
    sample=translation.make_sample(makers),
    digest=extractor.digest if extractor else '',
    facts={**translation.facts(extractor, dataset), **gan_losses.facts()},
  )


def upright(dataset: types.Dataset) -> types.Dataset:
  """Domain X alone, as an extractor of its images wants to see it."""
  return dataset._replace(arrays={'image': dataset.arrays['x']})


def check(config: Mapping[str, Any], dataset: types.Dataset) -> gan_losses.Loss:
  """The loss that a config names; UserError for what does not go together."""
  options = config['task']
  if not dataset.facts.get('unpaired'):
    raise errors.UserError(
      f'task cyclegan needs two domains, as digits_unpaired, colour or unpaired; data '
      f'set {dataset.name!r} has {", ".join(dataset.arrays)}'
    )
  config_lib.choose('task.cycle', options['cycle'], CYCLES)
  if not options['adversarial'] and options['cycle'] == 'none':
    raise errors.UserError(
      'config.task: with adversarial=False and cycle=none nothing is required of the '
      'generators'
    )
  if options['pool'] < 0:
    raise errors.UserError(
      f'config.task.pool must be at least 0, not {options["pool"]}'
    )
  channels = dataset.facts['channels']
  if options['identity'] and channels[0] != channels[1]:
    raise errors.UserError(
      f'config.task.identity: images of {channels[0]} and of {channels[1]} channels '
      'cannot be left as they are by the other domain’s generator; use identity=False'
    )
  name = config_lib.choose('task.loss', options['loss'], gan_losses.LOSSES)
  return gan_losses.LOSSES[name]


def couples(
  config: Mapping[str, Any], dataset: types.Dataset
) -> tuple[couple.Couple, couple.Couple]:
  """The generators by what they make, the discriminators by the domain they judge."""
  if 'image' in dataset.arrays or 'patch_layers' not in config['model']:
    raise errors.UserError(
      f'task cyclegan needs a model that translates images, as cyclegan, not '
      f'{config["model"]["name"]}'
    )
  shapes = {domain: dataset.arrays[domain].shape[1:] for domain in WAYS}

  def make(player, name, domain, **more):
    return network.make(
      config,
      lambda batch: (batch[domain], {}),
      stream=f'init_{player}_{name}',
      player=player,
      shape=shapes[domain],
      classes=0,
      **more,
    )

  makers = {
    name: make('generator', name, source, outputs=shapes[target][-1])
    for source, (target, name) in WAYS.items()
  }
  judges = {domain: make('discriminator', domain, domain) for domain in WAYS}
  return couple.Couple(makers), couple.Couple(judges)


def make_translations(makers: couple.Couple) -> Callable[..., Any]:
  """Both translations of a batch, by name."""

  def run(variables, batch, keys, hyper):
    own = variables['generators']
    fakes = {}
    for source, (_, name) in WAYS.items():
      fakes[name], own = makers.apply(own, name, batch[source], keys, hyper, train=True)
    return fakes, {'generators': {kind: own[kind] for kind in network.states(own)}}

  return run


def discriminator_loss(
  judges: couple.Couple, loss: gan_losses.Loss, options: Mapping[str, Any]
) -> Callable[..., Any]:
  """Each domain's real images against the translations that the pool shows."""

  def turn(variables, batch, keys, hyper):
    own = dict(variables['discriminators'])
    pools, new = own.pop('pool', {}), {}
    value, scalars = 0.0, {'d_real': 0.0, 'd_fake': 0.0}
    for domain, name in WAYS.values():
      fake = batch['shared'][name]
      if name in pools:
        fake, new[name] = image_pool.exchange(pools[name], fake, keys(f'pool_{name}'))
      real, own = judges.apply(own, domain, batch[domain], keys, hyper, train=True)
      fake_logits, own = judges.apply(own, domain, fake, keys, hyper, train=True)
      value += loss.discriminator(real, fake_logits, 0.0)
      for key, logits in (('d_real', real), ('d_fake', fake_logits)):
        scalars[key] += gan_losses.says(loss, logits) / len(WAYS)
    changed = {kind: own[kind] for kind in network.states(own)}
    if pools:
      changed['pool'] = new
    return value, ({'discriminators': changed}, {'d_loss': value, **scalars})

  return turn


def generator_loss(
  makers: couple.Couple,
  judges: couple.Couple,
  loss: gan_losses.Loss,
  options: Mapping[str, Any],
) -> Callable[..., Any]:
  """The loss of both generators: the paper's eq. 3 and its identity term."""
  back = {'x': 'y_as_x', 'y': 'x_as_y'}  # who makes images of this domain

  def turn(variables, batch, keys, hyper):
    own, fakes = variables['generators'], batch['shared']
    value: Any = 0.0
    scalars: dict[str, Any] = {'g_loss': 0.0, 'd_made': 0.0}
    judge = {k: v for k, v in variables['discriminators'].items() if k != 'pool'}
    if options['adversarial']:
      for domain, name in WAYS.values():
        logits, _ = judges.apply(judge, domain, fakes[name], keys, hyper, train=True)
        scalars['g_loss'] += loss.generator(logits)
        scalars['d_made'] += gan_losses.says(loss, logits) / len(WAYS)
      value += scalars['g_loss']
    weight = hyper['task.cycle_weight']
    for source in CYCLES[options['cycle']]:
      _, name = WAYS[source]
      again, _ = makers.apply(own, back[source], fakes[name], keys, hyper, train=True)
      gap = jnp.abs(again - batch[source]).mean()
      value += weight * gap
      scalars['cycle_loss'] = scalars.get('cycle_loss', 0.0) + gap
    if options['identity']:
      scalars['identity_loss'] = 0.0
      for source in WAYS:
        same, _ = makers.apply(
          own, back[source], batch[source], keys, hyper, train=True
        )
        scalars['identity_loss'] += jnp.abs(same - batch[source]).mean()
      value += weight * hyper['task.identity_weight'] * scalars['identity_loss']
    if not options['adversarial']:
      del scalars['g_loss'], scalars['d_made']
    return value, ({}, scalars)

  return turn
