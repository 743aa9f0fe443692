"""What of an LSTM matters for writing text, character by character?

Data: the English reference text that CPython ships (`pydoc_data.topics`), embedded and
named by the Python version. The first 80 % train, the last 10 % test. Expected: the
intact arm near 1.43 nats a character on Python 3.11's text. Takes about five minutes on
2 CPU cores, seconds as configs/lstm_text.py:smoke.

`:shakespeare` asks about the cell alone, on tiny Shakespeare, of which all but the last
tenth trains, but for 1 %. Expected: below 1.60 nats. About twenty minutes.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {'': 'python_docs', 'shakespeare': 'tinyshakespeare', 'smoke': 'python_docs'}


def get_config(mode: str = ''):
  """One LSTM layer, its state carried from window to window."""
  config_lib.choose('mode', mode, DATA)
  config = config_lib.base(model='recurrent', data=DATA[mode], task='language')
  config.study.name = 'lstm_text'
  config.study.question = 'What of an LSTM matters for predicting text?'
  config.study.metric = 'nats'
  config.study.seeds = 8
  config.study.margin = 0.01
  config.data.window = 64
  config.model.hidden = 128
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.005
  config.optimizer.clip = 1.0
  config.train.steps = 600
  config.train.batch_size = 32
  config.train.evaluations = 5
  config.train.eval_batch = 64
  if mode == 'shakespeare':
    config.study.name = 'lstm_text_shakespeare'
    config.study.only = 'cell'
    config.data.validation = 0.01
    config.model.hidden = 192
    config.model.dropout = 0.2
    config.train.steps = 2000
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'lstm_text_smoke'
  config.study.seeds = 2
  config.study.only = 'state'
  config.data.examples = 20_000
  config.data.test = 0.01
  config.data.validation = 0.01
  config.model.hidden = 16
  config.train.steps = 20
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Memory taken away in steps; every arm sees as many characters a step."""
  model, data, train = config.model, config.data, config.train
  short = {'data.window': data.window // 8, 'train.batch_size': train.batch_size * 8}
  own = {'data.window': data.window, 'train.batch_size': train.batch_size}
  return (
    factors.factor(
      'cell', 'model.cell', model.cell, 'gru', 'rnn', about='the LSTM cell'
    ),
    factors.levels(  # carried from window to window; forgotten; and out of order, too
      'state',
      {
        'carried': {'task.carry': True, 'data.order': data.order},
        'forgotten': {'task.carry': False, 'data.order': data.order},
        'shuffled': {'task.carry': False, 'data.order': 'shuffled'},
      },
      kind='remove',
    ),
    factors.levels('window', {f'{data.window}': own, f'{data.window // 8}': short}),
  )
