"""What of a transformer matters for writing text, character by character?

Data: the English reference text that CPython ships (`pydoc_data.topics`), embedded and
named by the Python version; `:shakespeare` reads tiny Shakespeare. The first 80 %
train, the last 10 % test, every scored character after at least 32 others.

`:lstm` compares attention with an LSTM, a minGRU and a feed-forward window at equal
FLOPs, the learning rate tuned for each. `:baby` is nanoGPT's network for CPUs (4 layers
of 4 heads, 128 wide, windows of 64, 2,000 steps of 12) on tiny Shakespeare, of which
all but the last tenth trains, but for 1 %. Expected: 1.66 nats on the last tenth, below
nanoGPT's 1.88, which a run passes on validation after some 800 steps; alone it trains
in under three minutes on 2 CPU cores, four at once in eight. `:long` is the same
network with dropout and windows of 128, for six passes over the text, every scored
character after at least 64 others: 1.54 nats in some twenty minutes. One run of the
intact network alone: `dlsteroids configs/attention_text.py:long --action=replay
--arm=baseline --seed=0`, four: `dlsteroids plan configs/attention_text.py:baby
--pilot=4`. Seconds as configs/attention_text.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {
  '': 'python_docs',
  'shakespeare': 'tinyshakespeare',
  'lstm': 'python_docs',
  'baby': 'tinyshakespeare',
  'long': 'tinyshakespeare',
  'smoke': 'python_docs',
}


def get_config(mode: str = ''):
  """A decoder of two layers that reads every window by itself."""
  config_lib.choose('mode', mode, DATA)
  config = config_lib.base(model='attention', data=DATA[mode], task='language')
  config.study.name = 'attention_text' + (f'_{mode}' if mode else '')
  config.study.question = 'What of a transformer matters for predicting text?'
  config.study.metric = 'nats'
  config.study.seeds = 9
  config.study.margin = 0.01
  config.data.window = 64
  config.data.context = 32
  config.data.eval_window = 32
  config.data.order = 'shuffled'
  config.model.width = 64
  config.optimizer.name = 'adamw'
  config.optimizer.learning_rate = 0.003
  config.optimizer.beta2 = 0.99
  config.optimizer.weight_decay = 0.1
  config.optimizer.clip = 1.0
  config.optimizer.warmup = 0.05
  config.optimizer.final = 0.1
  config.train.steps = 600
  config.train.batch_size = 16
  config.train.evaluations = 5
  config.train.eval_batch = 64
  changes = {'lstm': against_lstm, 'baby': baby, 'long': long, 'smoke': smoke}
  return changes[mode](config) if mode in changes else config


def against_lstm(config):
  config.study.question = 'Attention or recurrence, at equal FLOPs?'
  config.study.regimes = 'flops'
  config.study.tune = 'optimizer.learning_rate=0.001,0.003,0.01'
  config.study.tune_seeds = 2
  return config


def baby(config):
  config.study.only = 'positions'
  config.data.validation = 0.01
  config.data.context = 0  # as nanoGPT evaluates: windows of 64, each by itself
  config.data.eval_window = 64
  config.model.layers = 4
  config.model.width = 128
  config.train.steps = 2000
  config.train.batch_size = 12
  config.train.evaluations = 1
  return config


def long(config):
  """The same network with dropout and windows of 128, for six passes over the text."""
  config = baby(config)
  config.data.window = 128
  config.data.context = 64
  config.model.dropout = 0.1
  config.optimizer.learning_rate = 0.002
  config.train.steps = 1600
  config.train.batch_size = 32
  config.train.evaluations = 6
  return config


def smoke(config):
  config.study.seeds = 2
  config.study.regimes = 'flops'
  config.data.examples = 20_000
  config.data.test = 0.01
  config.data.validation = 0.01
  config.model.width = 8
  config.model.layers = 1
  config.train.steps = 20
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Each piece of the network; at equal FLOPs, other networks in its place."""
  if config.study.regimes == 'flops':
    return (networks(config.model),)
  model = config.model
  return (
    factors.factor(
      'attention',
      'model.mixer',
      model.mixer,
      'average',
      'none',
      about='attention; averages weigh all that is seen alike',
      kind={'average': 'swap', 'none': 'remove'},
    ),
    factors.factor(
      'positions',
      'model.positions',
      model.positions,
      'learned',
      'none',
      kind={'learned': 'swap', 'none': 'remove'},
    ),
    factors.factor('heads', 'model.heads', model.heads, 1),
    factors.factor(
      'norm',
      'model.norm',
      model.norm,
      'rms',
      'none',
      kind={'rms': 'swap', 'none': 'remove'},
    ),
    factors.factor('mlp', 'model.mlp', model.mlp, 'none', kind='remove'),
    factors.factor('residual', 'model.residual', True, False, kind='remove'),
  )


def networks(model):
  """Layers of attention against one layer of recurrence, or of a fixed window."""
  other = {'model.layers': 1, 'model.activation': 'tanh', 'model.residual': False}
  recurrent = {'model.name': 'recurrent', 'model.norm': 'none', **other}
  recurrent |= {'model.hidden': 2 * model.width, 'model.embedding': model.width}
  window = {'model.name': 'window', 'model.context': 16, **other}
  window |= {'model.hidden': 2 * model.width, 'model.embedding': model.width // 4}
  return factors.levels(
    'network',
    {
      'attention': {'model.name': model.name},
      'lstm': {**recurrent, 'model.cell': 'lstm'},
      'mingru': {**recurrent, 'model.cell': 'mingru'},
      'window': window,
    },
    kind='swap',
  )
