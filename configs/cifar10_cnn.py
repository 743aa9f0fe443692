"""Which parts of a four-layer CNN matter on CIFAR-10?

Data: CIFAR-10 from data.path, $DLSTEROIDS_DATA/cifar10, the cache or the official
download; as configs/cifar10_cnn.py:jpeg the JPEG-coded images of an image folder or its
archive, $DLSTEROIDS_DATA/cifar10-jpeg, which every result names cifar10-jpeg.
Sized for a CPU: less than one epoch of a narrow net, so accuracies are far from what
CIFAR-10 allows; widen and lengthen it on a GPU. Takes about 15 minutes on 2 CPU
cores, seconds as :smoke (of CIFAR-10) or :jpeg-smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

MODES = ('', 'jpeg', 'smoke', 'jpeg-smoke')


def get_config(mode: str = ''):
  """Two stages of two convolutions, batch norm, ReLU, pooling; flips and crops."""
  config_lib.choose('mode', mode, MODES)
  jpeg = mode.startswith('jpeg')
  config = config_lib.base(model='cnn', data='image_folder' if jpeg else 'cifar10')
  config.study.name = 'cifar10_jpeg_cnn' if jpeg else 'cifar10_cnn'
  config.study.question = 'Which parts of a four-layer CNN matter on CIFAR-10?'
  config.study.seeds = 8
  if jpeg:
    config.data.path = 'cifar10-jpeg'
  config.data.validation = 0.1
  config.data.flip = True
  config.data.crop = 2
  config.model.widths = (16, 32)
  config.model.depth = 2
  config.model.norm = 'batch'
  config.model.hidden = (128,)
  config.optimizer.learning_rate = 0.02
  config.optimizer.weight_decay = 5e-4
  config.train.steps = 600
  config.train.batch_size = 64
  config.train.evaluations = 5
  config.train.eval_batch = 1000
  return smoke(config) if mode.endswith('smoke') else config


def smoke(config):
  config.study.name += '_smoke'
  config.study.seeds = 2
  config.study.only = 'activation,flips'
  config.data.examples = 500
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The components in question; each first level is the intact one."""
  model = config.model
  return (
    factors.factor(
      'activation', 'model.activation', model.activation, 'tanh', about='ReLU'
    ),
    factors.factor('convolution', 'model.name', model.name, 'mlp', kind='remove'),
    factors.factor('pooling', 'model.pool', model.pool, 'stride', about='max pooling'),
    factors.factor(
      'normalisation',
      'model.norm',
      model.norm,
      'none',
      about='batch normalisation',
      kind='remove',
    ),
    factors.factor('flips', 'data.flip', config.data.flip, False, kind='remove'),
  )
