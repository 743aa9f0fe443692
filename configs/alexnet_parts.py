"""Do local response normalisation and overlapping pooling help? AlexNet's section 3.

Data: JPEG-coded CIFAR-10 (`cifar10-jpeg`); a four-layer CNN, sized for a CPU: one pass
over the images, where the paper trained to the end (13 % to 11 % test error with the
normalisation; overlapping pooling gained 0.4 points on ImageNet). Takes about seven
minutes on 2 CPU cores, seconds as configs/alexnet_parts.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Two stages of two convolutions, ReLU, the paper's normalisation and pooling."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='image_folder')
  config.study.name = 'alexnet_parts'
  config.study.question = 'Do AlexNet’s normalisation and pooling help?'
  config.study.seeds = 7
  config.data.path = 'cifar10-jpeg'
  config.data.size = 32
  config.data.validation = 0.1
  config.data.flip = True
  config.model.widths = (16, 32)
  config.model.depth = 2
  config.model.norm = 'lrn'
  config.model.pool_window = 3
  config.model.hidden = ()
  config.optimizer.learning_rate = 0.02
  config.train.steps = 700
  config.train.batch_size = 64
  config.train.evaluations = 3
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'alexnet_parts_smoke'
  config.study.seeds = 2
  config.study.only = 'pooling'
  config.data.examples = 60
  config.data.size = 16
  config.train.batch_size = 20
  config.model.widths = (4, 8)
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """What the paper's section 3 added to a net of ReLUs."""
  model = config.model
  return (
    factors.factor(
      'normalisation', 'model.norm', model.norm, 'none',
      about='local response normalisation', kind='remove',
    ),
    factors.factor(
      'pooling', 'model.pool_window', model.pool_window, 2,
      about='overlapping pooling', kind='remove',
    ),
  )  # fmt: skip


def get_claims(config):
  """Numbers are of nets trained to the end, so directions are what can be held."""
  del config
  paper = 'Krizhevsky et al. 2012, sections 3.3 and 3.4'
  return (
    claims.claim(
      paper, 'local response normalisation: 13 % to 11 % test error on CIFAR-10',
      'normalisation', direction='helps', published_delta=0.02,
      setting='all of CIFAR-10, four layers, trained to the end',
    ),
    claims.claim(
      paper, 'overlapping pooling: 0.4 points of top-1 error on ImageNet',
      'pooling', direction='helps', published_delta=0.004,
      setting='ImageNet, top-1, eight layers',
    ),
  )  # fmt: skip
