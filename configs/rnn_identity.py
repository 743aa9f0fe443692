"""Does a ReLU network that starts as the identity remember? Le et al. 2015.

Data: the adding problem (Hochreiter & Schmidhuber 1997) over 50 steps, drawn. The
learning rate is tuned for every arm over an equal grid, as in the paper, on three seeds
of its own: whether a run learns depends so much on the seed that one would not do. The
paper's abstract: a network of ReLUs whose recurrent weights start as the identity is
comparable to an LSTM. An arm that learns nothing has an MSE of about 1/6. Takes about
ten minutes on 2 CPU cores, seconds as configs/rnn_identity.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Elman's network with ReLU, R = 1, small input weights."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='recurrent', data='adding', task='forecast')
  config.study.name = 'rnn_identity'
  config.study.question = 'Does a ReLU network that starts as the identity remember?'
  config.study.design = 'one_out'
  config.study.metric = 'mse'
  config.study.seeds = 8
  config.study.margin = 0.01
  config.study.tune = 'optimizer.learning_rate=0.001,0.003,0.01'
  config.study.tune_seeds = 3
  config.data.length = 50
  config.model.cell = 'rnn'
  config.model.activation = 'relu'
  config.model.recurrent_init = 'identity'
  config.model.init = 'normal'
  config.model.hidden = 64
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.003
  config.optimizer.clip = 1.0
  config.train.steps = 2000
  config.train.batch_size = 32
  config.train.evaluations = 5
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'rnn_identity_smoke'
  config.study.seeds = 2
  config.study.tune = ''
  config.data.train_size = 200
  config.data.length = 10
  config.model.hidden = 8
  config.train.steps = 10
  config.train.evaluations = 1
  return config


def get_factors(config):
  """One network for another: the start, the activation, or the cell differs."""
  del config
  relu = {'model.cell': 'rnn', 'model.activation': 'relu', 'model.init': 'normal'}
  usual = {'model.recurrent_init': 'orthogonal', 'model.init': 'lecun'}
  return (
    factors.levels(
      'network',
      {
        'identity': {**relu, 'model.recurrent_init': 'identity'},
        'LSTM': {**usual, 'model.cell': 'lstm', 'model.activation': 'tanh'},
        'tanh': {**usual, 'model.cell': 'rnn', 'model.activation': 'tanh'},
        'small': {**relu, 'model.recurrent_init': 'normal'},
      },
      about='a network of ReLUs that starts as the identity',
    ),
  )


def get_claims(config):
  """The abstract says comparable; whether it is better is ours to see."""
  if config.study.name.endswith('_smoke'):
    return ()
  paper = 'Le et al. 2015'
  return (
    claims.claim(
      paper, 'ReLUs that start as the identity learn long dependencies, as those that '
      'start small do not', 'network', 'small', direction='helps', verified=False,
    ),
    claims.claim(
      paper, 'and are comparable to an LSTM', 'network', 'LSTM',
      direction='no difference', verified=False,
    ),
  )  # fmt: skip
