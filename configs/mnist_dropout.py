"""What is dropout worth to a perceptron on MNIST? Srivastava et al. 2014.

Data: 5,000 of MNIST's training images, the official 10,000 test images: the paper's
gain on all of them (test error 1.60 % without, 1.25 % with) takes it a million updates,
and on a tenth of the images it is larger (its section 7.4). Two hidden layers of ReLUs,
dropout on them and on the input, sixty passes, the learning rate chosen for each.
Takes about eight minutes on 2 CPU cores, seconds as configs/mnist_dropout.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """784-800-800-10; half of the hidden units and a fifth of the pixels dropped."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='mlp', data='mnist')
  config.study.name = 'mnist_dropout'
  config.study.question = 'What is dropout worth to a perceptron on MNIST?'
  config.study.seeds = 8
  config.study.margin = 0.0005
  config.study.tune = 'optimizer.learning_rate=0.015,0.05'
  config.study.tune_seeds = 1
  config.data.examples = 5000
  config.data.validation = 0.1
  config.model.hidden = (800, 800)
  config.model.dropout = 0.5
  config.model.dropout_input = 0.2
  config.optimizer.learning_rate = 0.015
  config.train.steps = 4000
  config.train.batch_size = 64
  config.train.evaluations = 10
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'mnist_dropout_smoke'
  config.study.seeds = 2
  config.study.tune = ''
  config.data.examples = 500
  config.model.hidden = (16, 16)
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Both of the paper's places at once, or neither."""
  model = config.model
  return (
    factors.levels(
      'dropout',
      {
        'on': {
          'model.dropout': model.dropout,
          'model.dropout_input': model.dropout_input,
        },
        'off': {'model.dropout': 0.0, 'model.dropout_input': 0.0},
      },
      kind='remove',
    ),
  )


def get_claims(config):
  """The number is of all of MNIST, so the direction is what can be held."""
  del config
  return (
    claims.claim(
      'Srivastava et al. 2014',
      'dropout with ReLU: test error 1.60 % to 1.25 % on all of MNIST',
      'dropout',
      direction='helps',
      published_delta=0.0035,
      setting='all of MNIST, a perceptron, a million updates',
      verified=False,
    ),
  )
