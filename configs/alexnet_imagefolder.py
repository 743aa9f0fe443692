"""What is each idea of AlexNet worth on your own images?

Data: a folder or archive of images, train/CLASS/*.jpg|png with optional test/ and
validation/, given by --config.data.path=... (and --config.data.label=NAME for results).
AlexNet as published, at 227x227 or the size you choose; on a CPU only :smoke is quick,
which uses a small net on 67x67 images.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """AlexNet with its optimizer: SGD, momentum .9, batch 128, weight decay 5e-4."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='alexnet', data='image_folder')
  config.study.name = 'alexnet'
  config.study.question = 'What is each idea of AlexNet worth?'
  config.study.seeds = 9
  config.data.size = 227
  config.data.flip = True
  config.data.colour = 0.1
  config.optimizer.learning_rate = 0.01
  config.optimizer.weight_decay = 5e-4
  config.optimizer.schedule = 'step'
  config.optimizer.warmup = 0.02
  config.train.steps = 20000
  config.train.batch_size = 128
  config.train.evaluations = 10
  config.train.eval_batch = 128
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'alexnet_smoke'
  config.study.seeds = 2
  config.study.only = 'dropout,overlap'
  config.data.size = 67
  config.data.examples = 64
  config.model.width = 0.05
  config.train.steps = 2
  config.train.batch_size = 8
  config.train.evaluations = 1
  config.train.eval_batch = 64
  return config


def get_factors(config):
  """The paper's ideas; each first level is the intact one."""
  model = config.model
  return (
    factors.factor(
      'activation', 'model.activation', model.activation, 'tanh', about='ReLU'
    ),
    factors.factor(
      'lrn',
      'model.norm',
      model.norm,
      'none',
      about='local response normalisation',
      kind='remove',
    ),
    factors.factor(
      'overlap',
      'model.pool_window',
      model.pool_window,
      2,
      about='overlapping pooling',
      kind='remove',
    ),
    factors.factor('dropout', 'model.dropout', model.dropout, 0.0, kind='remove'),
    factors.factor(
      'groups', 'model.groups', model.groups, 1, about='grouping', kind='remove'
    ),
    factors.factor('flips', 'data.flip', config.data.flip, False, kind='remove'),
    factors.factor(
      'colour',
      'data.colour',
      config.data.colour,
      0.0,
      about='PCA colour augmentation',
      kind='remove',
    ),
  )
