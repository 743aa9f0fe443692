"""Which loss, which regulariser? After Lucic et al. 2018, with an equal tuning budget.

Data: scikit-learn's digits, embedded. Every arm tunes its learning rate over one grid,
on validation, with seeds of its own. The paper: with enough tuning most losses reach
similar scores. Takes about five minutes on 2 CPU cores, seconds as
configs/gan_losses.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors

WEIGHTS = {'none': 10.0, 'gradient': 10.0, 'r1': 1.0}


def get_config(mode: str = ''):
  """A small DCGAN; layer norm in the discriminator, so penalties are defined."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='dcgan', data='digits', task='gan')
  config.study.name = 'gan_losses'
  config.study.question = 'Does the loss of a GAN matter, once all are tuned alike?'
  config.study.metric = 'classifier_fid'
  config.study.seeds = 9
  config.study.tune = 'optimizer.learning_rate=0.0005,0.002,0.008'
  config.study.tune_seeds = 2
  config.data.range = 'tanh'
  config.model.latent = 32
  config.model.depth = 2
  config.model.width = 16
  config.model.discriminator_width = 16
  config.model.discriminator_norm = 'layer'
  config.task.ema = 0.99
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'constant'
  config.train.steps = 600
  config.train.batch_size = 64
  config.train.evaluations = 3
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'gan_losses_smoke'
  config.study.seeds = 2
  config.study.only = 'spectral_norm'
  config.study.tune = ''
  config.model.width = 4
  config.model.depth = 1
  config.model.discriminator_width = 4
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Losses, and regularisers with the weights their papers use."""
  task = config.task
  return (
    factors.factor(
      'loss',
      'task.loss',
      task.loss,
      'minimax',
      'least_squares',
      'hinge',
      'wasserstein',
    ),
    factors.levels(
      'penalty',
      {
        kind: {'task.penalty': kind, 'task.penalty_weight': weight}
        for kind, weight in WEIGHTS.items()
      },
      kind='add',
    ),
    factors.factor(
      'spectral_norm',
      'model.discriminator_norm',
      config.model.discriminator_norm,
      'spectral',
      about='layer norm and not spectral norm in the discriminator',
    ),
  )


def get_claims(config):
  """Differences of published MNIST distances are of another metric: directions only."""
  del config
  paper = 'Lucic et al. 2018, table of best FID, MNIST'
  made = [
    claims.claim(
      paper,
      f'{name} is worse than non-saturating: FID of {fid} to 6.8',
      'loss',
      level,
      direction='helps',
      setting='FID, MNIST',
      verified=False,
    )
    for name, level, fid in (
      ('minimax', 'minimax', 9.8),
      ('least squares', 'least_squares', 7.8),
    )
  ]
  return (
    *made,
    claims.claim(
      'Miyato et al. 2018', 'spectral norm is the better normalisation',
      'spectral_norm', direction='hurts',
    ),
  )  # fmt: skip
