"""What helps an LSTM forecast a day of oil temperature?

Data: ETTh1 (download, or $DLSTEROIDS_DATA/ett), the usual 12/4/4 months; from the last
96 hours of all seven series to the next 24 hours of `OT`. Every report shows
persistence, the seasonal naive forecast and ridge regression beside it. Takes about
five minutes on 2 CPU cores, seconds as configs/lstm_forecast.py:smoke (sunspots,
embedded).
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """An LSTM that forecasts the change from the last known value."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  data = 'sunspots' if mode == 'smoke' else 'etth1'
  config = config_lib.base(model='recurrent', data=data, task='forecast')
  config.study.name = 'lstm_forecast'
  config.study.question = 'What helps an LSTM forecast oil temperature a day ahead?'
  config.study.metric = 'mse'
  config.study.seeds = 8
  config.task.anchor = 'last'
  config.model.hidden = 32
  config.model.dropout = 0.2
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.001
  config.optimizer.clip = 1.0
  config.train.steps = 800
  config.train.batch_size = 32
  config.train.evaluations = 8
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'lstm_forecast_smoke'
  config.study.seeds = 2
  config.study.only = 'anchor,cell'
  config.model.hidden = 8
  config.train.steps = 10
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Memory, gates and the anchor; without recurrence an MLP reads the whole window."""
  model = config.model
  mlp = {
    'model.name': 'mlp',
    'model.hidden': (model.hidden,),
    'model.activation': 'relu',
  }
  return (
    factors.factor('anchor', 'task.anchor', config.task.anchor, 'none'),
    factors.factor('cell', 'model.cell', model.cell, 'gru', 'rnn'),
    factors.levels('recurrence', {'lstm': {'model.name': model.name}, 'mlp': mlp}),
    factors.factor('dropout', 'model.dropout', model.dropout, 0.0),
  )
