"""Which parts of a small CNN matter on real handwritten digits?

Data: scikit-learn's 1,797 scans of 8x8, embedded; the seed draws the test fifth.
Takes about a minute on 2 cores, seconds as configs/digits_cnn.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """The intact model: two stages of convolution, batch norm, ReLU and max pooling."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='digits')
  config.study.name = 'digits_cnn'
  config.study.question = 'Which parts of a small CNN matter on handwritten digits?'
  config.study.seeds = 20
  config.study.first_seed = 100  # seeds 0 to 15 were the pilot that sized this study
  config.study.margin = 0.01
  config.model.widths = (16, 32)
  config.model.norm = 'batch'
  config.model.hidden = (64,)
  config.model.dropout = 0.25
  config.optimizer.learning_rate = 0.05
  config.train.steps = 400
  config.train.batch_size = 64
  config.train.evaluations = 10
  config.train.eval_batch = 360
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'digits_cnn_smoke'
  config.study.seeds = 2
  config.study.only = 'activation,dropout'
  config.train.steps = 20
  config.train.evaluations = 2
  return config


def get_factors(config):
  """The components in question; each first level is the intact one."""
  model = config.model
  return (
    factors.factor(
      'activation', 'model.activation', model.activation, 'tanh', about='ReLU'
    ),
    factors.factor('convolution', 'model.mixer', model.mixer, 'dense'),
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
