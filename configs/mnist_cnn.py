"""Which parts of a LeNet-sized CNN matter on MNIST?

Data: MNIST, 54,000 train, 6,000 validation (drawn by the seed), the official 10,000
test images; from data.path, $DLSTEROIDS_DATA/mnist, the cache, or a download.
Expected: the intact arm near 98.9 % after two and a half epochs. Takes about 15 minutes
on 2 CPU cores, seconds as configs/mnist_cnn.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Two stages of convolution, batch norm, ReLU, max pooling; dropout in the head."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='mnist')
  config.study.name = 'mnist_cnn'
  config.study.question = 'Which parts of a small CNN matter on MNIST?'
  config.study.seeds = 8
  config.study.margin = 0.001
  config.data.validation = 0.1
  config.model.widths = (16, 32)
  config.model.norm = 'batch'
  config.model.hidden = (128,)
  config.model.dropout = 0.25
  config.optimizer.learning_rate = 0.02
  config.train.steps = 2000
  config.train.batch_size = 64
  config.train.evaluations = 5
  config.train.eval_batch = 1000
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'mnist_cnn_smoke'
  config.study.seeds = 2
  config.study.only = 'activation,dropout'
  config.data.examples = 1000
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The components in question; without convolution the head remains, an MLP."""
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
    factors.factor('dropout', 'model.dropout', model.dropout, 0.0, kind='remove'),
  )


def get_claims(config):
  """Error rates of nets that train to the end, so directions are what can be held."""
  del config
  return (
    claims.claim(
      'Srivastava et al. 2014', 'dropout lowers MNIST error, 1.60 % to 1.25 %',
      'dropout', direction='helps', published_delta=0.0035, setting='a perceptron',
      verified=False,
    ),
    claims.claim(
      'Krizhevsky et al. 2012', 'ReLU trains better than tanh', 'activation',
      direction='helps', setting='CIFAR-10',
    ),
  )  # fmt: skip
