"""Is an LSTM just a perceptron on steroids? Compute against each idea.

From a feed-forward window over the last characters to an LSTM: recurrence, then every
gate, all combinations, at a sixteenth of the compute and at all of it, at equal FLOPs,
the learning rate tuned for each at each budget. Shapley values share the gain among
ideas and compute.

Data: the English reference text that CPython ships, embedded; `:shakespeare` reads tiny
Shakespeare with forget bias and a second layer as further ideas. The intact arm must
reach 2 nats a character on the embedded text. Takes about five minutes on 2 CPU cores,
`:shakespeare` about ten, seconds as configs/steroids_lstm.py:smoke.

`:frontier` measures on tiny Shakespeare what each rung of history is worth in doublings
of compute: a feed-forward window (1987), recurrence (1990), LSTM's gates as one idea
(1997), a second layer (2013), attention (2017). It is a ladder, since attention stands
in recurrence's place, so that there are no Shapley values. At every budget width, batch
size and learning rate are searched at equal FLOPs, budgets four times apart, the window
up to 16 times beyond the others: 3.0e15 FLOPs in all, resumable. Four rungs and budgets
up to 4, 2.7e14 FLOPs with their searches, took an hour of 2 CPU cores, with oneDNN:
`--config.study.only=history=recurrence,history=gates,history
--config.study.tune_seeds=2 --config.study.budgets=0.0625,0.25,4
--config.study.budgets_bare=`. At that rate all take some 12 hours, without oneDNN a
tenth more. A longer frontier trains only what is new. Gates one by one are left out for
want of hours. `:frontier_docs` has the window, the LSTM, attention and three budgets on
the embedded text, 1.1e13 FLOPs, in minutes: 200,000 characters and nets of 32 units are
too little to show what attention is worth. `:frontier_smoke` takes seconds.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {
  '': 'python_docs',
  'shakespeare': 'tinyshakespeare',
  'frontier': 'tinyshakespeare',
  'frontier_docs': 'python_docs',
  'frontier_smoke': 'python_docs',
  'smoke': 'python_docs',
}


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
  if mode.startswith('frontier'):
    config = frontier(mode)
  return smoke(config) if mode == 'smoke' else config


def frontier(mode):
  """Compute-optimal training of every rung of history at every budget."""
  config = config_lib.base(model='attention', data=DATA[mode], task='language')
  study = config.study
  study.name = f'steroids_lstm_{mode}'
  study.question = 'Is a language model just a perceptron on steroids?'
  study.metric = 'nats'
  study.design, study.regimes = 'ladder', 'flops'
  study.only = 'history=recurrence,history=gates,history=depth,history'
  study.budgets = '0.0625,0.25,4,16'
  study.budgets_bare = '64,256'
  study.seeds = 12
  study.tune_by = 'neighbours'
  study.tune = (
    'optimizer.learning_rate=0.001,0.002,0.004,0.008,0.016;'
    'train.batch_size=8,16,32,64;size=0.5,1,2'
  )
  study.tune_trials, study.tune_seeds = 9, 3
  config.data.window = 64
  config.model.layers, config.model.width = 2, 64
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.004
  config.optimizer.clip = 1.0
  config.optimizer.warmup = 0.05
  config.train.batch_size = 16
  config.train.evaluations = 1
  config.train.eval_batch = 64
  config.train.steps = 250  # of the declared budget, 1.8e11 FLOPs a run
  config.engine.keep = 'none'
  if mode == 'frontier':
    return config
  study.only, study.budgets, study.budgets_bare = (
    'history=gates,history',
    '0.25,4',
    '16',
  )
  study.tune_trials = 7
  config.data.examples = 200_000
  config.data.window = 32
  config.model.layers, config.model.width, config.model.heads = 1, 16, 2
  config.train.steps = 200
  if mode == 'frontier_smoke':
    study.only, study.budgets, study.budgets_bare = 'history', '0.5', '2'
    study.seeds, study.tune_seeds = 2, 1
    study.tune = 'optimizer.learning_rate=0.004,0.016'
    study.tune_trials, study.tune_extend = 2, 0
    config.data.examples, config.data.test, config.data.validation = 20_000, 0.01, 0.01
    config.train.steps = 16
  return config


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


def history(model):
  """What read text, newest first: each as wide that a step costs about as much."""
  plain = {'model.hidden': 2 * model.width, 'model.residual': False}
  plain |= {'model.activation': 'tanh'}
  recurrent = {'model.name': 'recurrent', 'model.norm': 'none', **plain}
  recurrent |= {'model.embedding': model.width // 2}
  window = {'model.name': 'window', 'model.context': 16, **plain}
  window |= {'model.embedding': model.width // 4}
  return factors.levels(
    'history',
    {
      'attention': {'model.name': model.name},
      'depth': {**recurrent, 'model.cell': 'lstm', 'model.layers': 2},
      'gates': {**recurrent, 'model.cell': 'lstm', 'model.layers': 1},
      'recurrence': {**recurrent, 'model.cell': 'rnn', 'model.layers': 1},
      'window': {**window, 'model.layers': 1},
    },
    about='what reads the characters before',
    years=(2017, 2013, 1997, 1990, 1987),
  )


def get_factors(config):
  """Each idea against what stood there before; a window has no gates."""
  model = config.model
  if model.name == 'attention':
    return (history(model),)
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
