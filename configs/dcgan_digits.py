"""Which parts of a DCGAN matter for drawing digits?

Data: scikit-learn's 1,797 scans of 8x8, embedded. Quality is measured on the features
of a classifier that comes with the package (classifier-FID, lower is better), as many
made images as test scans. Expected: the intact arm draws all ten digits in every seed.
Takes about two minutes on 2 CPU cores, seconds as configs/dcgan_digits.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """The paper's parts, at 8x8: transposed convolution, batch norm, ReLU, LeakyReLU."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='dcgan', data='digits', task='gan')
  config.study.name = 'dcgan_digits'
  config.study.question = 'Which parts of a DCGAN matter for drawing digits?'
  config.study.metric = 'classifier_fid'
  config.study.seeds = 9
  config.data.range = 'tanh'
  config.model.latent = 32
  config.model.depth = 2
  config.model.width = 16
  config.model.discriminator_width = 16
  config.task.ema = 0.99
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'constant'
  config.train.steps = 400
  config.train.batch_size = 64
  config.train.evaluations = 4
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'dcgan_digits_smoke'
  config.study.seeds = 2
  config.study.only = 'discriminator_activation'
  config.model.width = 8
  config.model.depth = 1
  config.model.discriminator_width = 8
  config.train.steps = 6
  config.train.evaluations = 2
  return config


def get_factors(config):
  """Each part of the paper's guidelines against what stood there before."""
  model, task = config.model, config.task
  return (
    factors.factor('convolution', 'model.name', model.name, 'dense_gan', kind='remove'),
    factors.factor(
      'upsampling', 'model.upsample', model.upsample, 'resize', 'subpixel',
      about='transposed convolution',
    ),
    factors.factor(
      'generator_norm', 'model.generator_norm', model.generator_norm, 'none',
      about='batch norm in the generator', kind='remove',
    ),
    factors.factor(
      'discriminator_norm', 'model.discriminator_norm', model.discriminator_norm,
      'none', 'spectral', about='batch norm in the discriminator',
      kind={'none': 'remove'},
    ),
    factors.factor(
      'discriminator_activation', 'model.discriminator_activation',
      model.discriminator_activation, 'relu', about='LeakyReLU',
    ),
    factors.factor('loss', 'task.loss', task.loss, 'least_squares', 'hinge'),
  )  # fmt: skip


def get_claims(config):
  """The guidelines' directions; none gives a number for so small images."""
  del config
  paper = 'Radford et al. 2016, section 3'
  return (
    claims.claim(
      paper, 'replace dense layers by convolutions', 'convolution', direction='helps'
    ),
    claims.claim(
      paper, 'batch norm in the generator', 'generator_norm', direction='helps'
    ),
    claims.claim(
      paper, 'batch norm in the discriminator', 'discriminator_norm', 'none',
      direction='helps',
    ),
    claims.claim(
      paper, 'LeakyReLU in the discriminator', 'discriminator_activation',
      direction='helps',
    ),
    claims.claim(
      'Odena et al. 2016', 'resize-convolution is better', 'upsampling', 'resize',
      direction='hurts',
    ),
  )  # fmt: skip
