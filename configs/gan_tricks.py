"""Penalties, rates, averages, augmentation: which tricks help a small GAN?

Data: scikit-learn's digits, embedded. Held against: with differentiable augmentation a
fifth of CIFAR-10 is about as good as all of it (Zhao et al. 2020, README); the penalty
R1 makes training converge (Mescheder et al. 2018); two rates: a FID of 37.7 to 36.9
(Heusel et al. 2017); averaging the generator's weights helps (Yazıcı et al. 2019); the
last three quoted from memory. Here the score is a classifier's distance, not the FID.
Takes about ten minutes on 2 CPU cores, seconds as configs/gan_tricks.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """A small DCGAN without tricks; layer norm in D, so that penalties are defined."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='dcgan', data='digits', task='gan')
  config.study.name = 'gan_tricks'
  config.study.question = 'Which tricks help a small GAN?'
  config.study.design = 'arms'
  config.study.metric = 'classifier_fid'
  config.study.seeds = 10
  config.study.margin = 5.0
  config.data.range = 'tanh'
  config.model.latent = 32
  config.model.depth = 2
  config.model.width = 16
  config.model.discriminator_width = 16
  config.model.discriminator_norm = 'layer'
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'constant'
  config.train.steps = 1000
  config.train.batch_size = 64
  config.train.evaluations = 3
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'gan_tricks_smoke'
  config.study.seeds = 2
  config.model.width = 4
  config.model.depth = 1
  config.model.discriminator_width = 4
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The penalty with its paper's weight; a fifth of the 1,258 training images."""
  del config
  return (
    factors.factor(
      'average', 'task.ema', 0.0, 0.99, about='the average of weights', kind='add'
    ),
    factors.factor(
      'rates', 'task.discriminator_rate', 1.0, 2.0, about='two rates', kind='add'
    ),
    factors.levels(
      'penalty',
      {
        'none': {'task.penalty': 'none', 'task.penalty_weight': 10.0},
        'r1': {'task.penalty': 'r1', 'task.penalty_weight': 1.0},
      },
      about='R1',
      kind='add',
    ),
    factors.factor(
      'images', 'data.examples', 0, 260, about='all of the images', kind='remove'
    ),
    factors.levels(
      'augment',
      {
        'none': {'task.augment': ''},
        'diff': {'task.augment': 'translation,cutout'},
      },
      about='differentiable augmentation',
      kind='add',
    ),
  )  # fmt: skip


def get_arms(config):
  """Augmentation is added where images are few, and then compared with all of them."""
  arms = (
    factors.arm('average=0.99', {'average': 0.99}),
    factors.arm('rates=2.0', {'rates': 2.0}),
    factors.arm('penalty=r1', {'penalty': 'r1'}),
    factors.arm('images=260', {'images': 260}),
    factors.arm(
      'few, augmented', {'images': 260, 'augment': 'diff'},
      reference='images=260',
    ),
  )  # fmt: skip
  return arms[:1] if config.study.name.endswith('_smoke') else arms


def get_claims(config):
  """Directions; published distances are of other features and data."""
  if config.study.name.endswith('_smoke'):
    return ()
  return (
    claims.claim(
      'Zhao et al. 2020, README', 'augmentation helps where images are few', 'augment',
      direction='helps', setting='FID, CIFAR-10',
    ),
    claims.claim(
      'Zhao et al. 2020, README', 'a fifth of the images without it is worse than all',
      'images', direction='helps', setting='FID, CIFAR-10',
    ),
    claims.claim(
      'Mescheder et al. 2018', 'R1 makes training converge', 'penalty',
      direction='helps', verified=False,
    ),
    claims.claim(
      'Heusel et al. 2017', 'two rates: FID of 37.7 to 36.9', 'rates',
      direction='helps', setting='FID, CIFAR-10', verified=False,
    ),
    claims.claim(
      'Yazıcı et al. 2019', "averages of the generator's weights help",
      'average', direction='helps', verified=False,
    ),
  )  # fmt: skip
