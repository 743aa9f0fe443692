"""Which parts of a DCGAN matter for drawing MNIST's digits?

Data: MNIST; 54,000 images train. Quality is measured on the features of a classifier
that comes with the package, 10,000 made images against the official 10,000 test images
(classifier-FID, lower is better). Expected: the intact arm draws all ten digits in
every seed. Takes about ten minutes on 2 CPU cores, seconds as
configs/dcgan_mnist.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """A narrow DCGAN at 28x28: 7x7, 14x14, 28x28."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='dcgan', data='mnist', task='gan')
  config.study.name = 'dcgan_mnist'
  config.study.question = 'Which parts of a DCGAN matter for drawing digits?'
  config.study.metric = 'classifier_fid'
  config.study.seeds = 7
  config.data.range = 'tanh'
  config.data.validation = 0.1
  config.model.latent = 64
  config.model.width = 16
  config.model.discriminator_width = 16
  config.task.ema = 0.99
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.001
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'constant'
  config.train.steps = 600
  config.train.batch_size = 64
  config.train.evaluations = 2
  config.train.eval_batch = 1000
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'dcgan_mnist_smoke'
  config.study.seeds = 2
  config.study.only = 'upsampling'
  config.data.examples = 500
  config.data.validation = 0.01
  config.model.width = 4
  config.model.depth = 1
  config.model.discriminator_width = 4
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The paper's guidelines, one by one taken back."""
  model = config.model
  return (
    factors.factor(
      'upsampling', 'model.upsample', model.upsample, 'resize',
      about='transposed convolution',
    ),
    factors.factor(
      'generator_norm', 'model.generator_norm', model.generator_norm, 'none',
      about='batch norm in the generator', kind='remove',
    ),
    factors.factor(
      'discriminator_norm', 'model.discriminator_norm', model.discriminator_norm,
      'none', about='batch norm in the discriminator', kind='remove',
    ),
  )  # fmt: skip
