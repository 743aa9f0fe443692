"""What helps an LSTM forecast a day of a transformer's load and oil temperature?

Data: ETTh1 (download, or $DLSTEROIDS_DATA/ett), the usual 12/4/4 months; from the last
96 hours to the next 24 of all seven series. Every report shows persistence, the
seasonal naive forecast and ridge regression beside it. Informer (Zhou et al. 2021,
quoted from memory) reports MSE 0.650 for its LSTMa and 0.577 for itself on this task.
Expected: the intact arm near 0.365. Takes about ten minutes on 2 CPU cores, seconds as
configs/lstm_forecast.py:smoke (sunspots, embedded).
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """One LSTM for every series by itself: the change against the day before."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  data = 'sunspots' if mode == 'smoke' else 'etth1'
  config = config_lib.base(model='recurrent', data=data, task='forecast')
  config.study.name = 'lstm_forecast'
  config.study.question = 'What helps an LSTM forecast a day ahead?'
  config.study.metric = 'mse'
  config.study.seeds = 8
  config.task.anchor = 'season'
  config.task.normalise = 'window'
  config.task.channels = 'apart'
  config.model.hidden = 32
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.003
  config.optimizer.clip = 1.0
  config.train.steps = 500
  config.train.batch_size = 16
  config.train.evaluations = 5
  if mode != 'smoke':
    config.data.targets = 'HUFL,HULL,MUFL,MULL,LUFL,LULL,OT'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'lstm_forecast_smoke'
  config.study.seeds = 2
  config.study.only = 'anchor'
  config.model.hidden = 8
  config.train.steps = 10
  config.train.evaluations = 1
  return config


def get_factors(config):
  """What surrounds the LSTM, and what remembers."""
  model, task = config.model, config.task
  return (
    factors.factor(
      'anchor', 'task.anchor', task.anchor, 'none', about='the anchor', kind='remove'
    ),
    factors.factor(
      'normalise',
      'task.normalise',
      task.normalise,
      'none',
      about='window normalisation',
      kind='remove',
    ),
    factors.factor(
      'channels', 'task.channels', task.channels, 'together', about='series apart'
    ),
    factors.factor('cell', 'model.cell', model.cell, 'gru', 'rnn'),
  )
