"""Does a net of ReLUs train faster than one of tanh? AlexNet's figure 1.

Data: JPEG-coded CIFAR-10 (`cifar10-jpeg`), 5,000 of its images so that a CPU reaches
the figure's 25 % training error; a four-layer CNN without regularisation, the learning
rate chosen for each kind of net to be the fastest, as in the paper, from a grid that
grows while an end of it is chosen. The paper: 6 times fewer epochs. Takes about half an
hour on 2 CPU cores, seconds as configs/alexnet_relu.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Two stages of two convolutions with ReLU and overlapping pooling, no norm."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='image_folder')
  config.study.name = 'alexnet_relu'
  config.study.question = 'Does a net of ReLUs train faster than one of tanh?'
  config.study.seeds = 8
  config.study.tune = 'optimizer.learning_rate=0.003,0.006,0.012,0.024,0.048'
  config.study.tune_for = 'speed'
  config.study.tune_seeds = 2
  config.study.reach = 'train/accuracy=0.75'
  config.data.path = 'cifar10-jpeg'
  config.data.size = 32
  config.data.examples = 5000
  config.data.validation = 0.1
  config.model.widths = (16, 32)
  config.model.depth = 2
  config.model.pool_window = 3
  config.model.hidden = ()
  config.optimizer.learning_rate = 0.012
  config.optimizer.schedule = 'constant'
  config.train.steps = 1560  # 20 epochs
  config.train.batch_size = 64
  config.train.evaluations = 40  # the epoch of 25 % error to within a half
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'alexnet_relu_smoke'
  config.study.seeds = 2
  config.study.tune, config.study.tune_for = '', 'score'
  config.data.examples = 60
  config.data.size = 16
  config.train.batch_size = 20
  config.model.widths = (4, 8)
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The figure's two nets."""
  return (
    factors.factor(
      'activation', 'model.activation', config.model.activation, 'tanh', about='ReLU'
    ),
  )


def get_claims(config):
  """The figure's caption."""
  del config
  return (
    claims.claim(
      'Krizhevsky et al. 2012, figure 1',
      'ReLU reaches 25 % training error 6 times faster than tanh',
      'activation',
      number=6.0,
      quantity='ratio',
      metric='reach_step',
      arm='activation=tanh',
      reference='baseline',
      setting='all of CIFAR-10, four layers',
    ),
  )
