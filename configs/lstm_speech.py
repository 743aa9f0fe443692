"""What helps a recurrent network recognise spoken digits?

Data: Free Spoken Digit Dataset in $DLSTEROIDS_DATA/fsdd; the official test recordings,
or `--config.data.speaker=george` for a voice never heard. Log-mel spectra, sequences of
their own length. Expected: the intact arm near 99 %. Takes about seven minutes on 2
CPU cores, seconds as configs/lstm_speech.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """One bidirectional LSTM layer."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='recurrent', data='speech')
  config.study.name = 'lstm_speech'
  config.study.question = 'What helps a recurrent network recognise spoken digits?'
  config.study.seeds = 9
  config.study.margin = 0.005
  config.data.frame = 0.05
  config.data.hop = 0.025
  config.model.hidden = 64
  config.model.bidirectional = True
  config.model.dropout = 0.3
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.005
  config.optimizer.clip = 1.0
  config.train.steps = 600
  config.train.batch_size = 32
  config.train.evaluations = 6
  config.train.eval_batch = 300
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'lstm_speech_smoke'
  config.study.seeds = 2
  config.study.only = 'direction'
  config.data.examples = 100
  config.model.hidden = 8
  config.train.steps = 3
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Cells, gates, the second direction and dropout."""
  model = config.model
  return (
    factors.factor('cell', 'model.cell', model.cell, 'gru', 'rnn'),
    factors.factor('forget_gate', 'model.forget_gate', True, False, kind='remove'),
    factors.factor(
      'direction',
      'model.bidirectional',
      True,
      False,
      about='reading both ways',
      kind='remove',
    ),
    factors.factor('dropout', 'model.dropout', model.dropout, 0.0, kind='remove'),
  )
