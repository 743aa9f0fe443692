"""How far back does each cell remember? The adding problem at growing lengths.

Hochreiter & Schmidhuber 1997: two marked numbers among many must be added; the first
lies in the first half. Data are drawn, so nothing is downloaded. Expected: every cell
learns 10 steps; the tanh RNN loses the first number long before LSTM and GRU do. Takes
two minutes on 2 CPU cores, seconds as configs/rnn_memory.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """An LSTM on short sequences."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='recurrent', data='adding', task='forecast')
  config.study.name = 'rnn_memory'
  config.study.question = 'How far back do an RNN, a GRU and an LSTM remember?'
  config.study.design = 'factorial'
  config.study.metric = 'mse'
  config.study.seeds = 8
  config.data.length = 10
  config.model.hidden = 32
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.005
  config.optimizer.clip = 1.0
  config.train.steps = 1500
  config.train.batch_size = 32
  config.train.evaluations = 5
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'rnn_memory_smoke'
  config.study.seeds = 2
  config.study.design = 'one_out'
  config.study.only = 'cell'
  config.data.train_size = 200
  config.train.steps = 10
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The cell, and how long the sequences are."""
  return (
    factors.factor('cell', 'model.cell', config.model.cell, 'gru', 'rnn'),
    factors.factor('length', 'data.length', config.data.length, 40, 100),
  )
