"""Is an LSTM just a perceptron on steroids? Compute against each idea.

From a feed-forward window over the last characters to an LSTM: recurrence, then every
gate, all combinations, at a sixteenth of the compute and at all of it, at equal FLOPs,
the learning rate tuned for each at each budget. Shapley values share the gain among
ideas and compute.

Data: the English reference text that CPython ships, embedded; `:shakespeare` reads tiny
Shakespeare with forget bias and a second layer as further ideas. The intact arm must
reach 2 nats a character on the embedded text. Takes about five minutes on 2 CPU cores,
`:shakespeare` about ten, seconds as configs/steroids_lstm.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {'': 'python_docs', 'shakespeare': 'tinyshakespeare', 'smoke': 'python_docs'}


def get_config(mode: str = ''):
  """The intact model: an LSTM with all its gates."""
  config_lib.choose('mode', mode, DATA)
  config = config_lib.base(model='recurrent', data=DATA[mode], task='language')
  config.study.name = 'steroids_lstm' + (f'_{mode}' if mode else '')
  config.study.question = 'Is an LSTM just a perceptron on steroids?'
  config.study.design = 'factorial'
  config.study.regimes = 'flops'
  config.study.budgets = '0.0625,0.25'
  config.study.ratio = 16.0
  config.study.metric = 'nats'
  config.study.seeds = 8
  config.study.tune = 'optimizer.learning_rate=0.007,0.02,0.06,0.2'
  config.study.tune_seeds = 2
  config.data.window = 64
  config.model.hidden = 32
  config.model.embedding = 16
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.02
  config.optimizer.clip = 1.0
  config.train.steps = 800
  config.train.batch_size = 16
  config.train.evaluations = 2
  config.train.eval_batch = 64
  config.engine.keep = 'none'
  if mode == 'shakespeare':
    config.study.budgets = '0.0625'
    config.study.tune = 'optimizer.learning_rate=0.007,0.02'
    config.study.tune_seeds = 1
    config.model.layers = 2
    config.train.steps = 512
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.only = 'recurrence'
  config.study.seeds = 2
  config.study.tune_seeds = 1
  config.study.tune = 'optimizer.learning_rate=0.01,0.03'
  config.study.budgets = '0.25'
  config.study.ratio = 4.0
  config.data.examples = 20_000
  config.data.test = 0.01
  config.data.validation = 0.01
  config.model.hidden = 8
  config.train.steps = 24
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Each idea against what stood there before; a window has no gates."""
  model = config.model
  needs = {'requires': ('recurrence',)}
  ideas = (
    factors.factor('recurrence', 'model.name', model.name, 'window', kind='remove'),
    factors.factor(
      'input_gate', 'model.input_gate', True, False, **needs, kind='remove'
    ),
    factors.factor(
      'forget_gate', 'model.forget_gate', True, False, **needs, kind='remove'
    ),
    factors.factor(
      'output_gate', 'model.output_gate', True, False, **needs, kind='remove'
    ),
  )
  if model.layers < 2:
    return ideas
  return (
    *ideas,
    factors.factor(
      'forget_bias',
      'model.forget_bias',
      1.0,
      0.0,
      requires=('forget_gate',),
      kind='remove',
    ),
    factors.factor('layers', 'model.layers', model.layers, 1, kind='remove'),
  )
