"""Which parts of an LSTM does it need? Greff et al. 2017's eight departures, on text.

Data: tiny Shakespeare (download, or $DLSTEROIDS_DATA/tinyshakespeare). The learning
rate is tuned for every arm over an equal grid, on validation, with seeds of its own.
The paper (three other data sets): none beats the vanilla LSTM significantly; forget
gate and output activation are the critical parts. Expected: the vanilla arm near 1.92
nats a character after one pass. Takes about ten minutes on 2 CPU cores, seconds as
configs/lstm_odyssey.py:smoke, which reads embedded text.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """The paper's vanilla LSTM: all gates, both activations, peepholes."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  data = 'python_docs' if mode == 'smoke' else 'tinyshakespeare'
  config = config_lib.base(model='recurrent', data=data, task='language')
  config.study.name = 'lstm_odyssey'
  config.study.question = 'Which parts of an LSTM does it need?'
  config.study.metric = 'nats'
  config.study.seeds = 9
  config.study.margin = 0.01
  config.study.tune = 'optimizer.learning_rate=0.003,0.01,0.03,0.1'
  config.study.tune_seeds = 2
  config.data.window = 64
  config.model.hidden = 64
  config.model.embedding = 32
  config.model.peepholes = True
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.01
  config.optimizer.clip = 1.0
  config.train.steps = 500
  config.train.batch_size = 32
  config.train.evaluations = 4
  config.train.eval_batch = 64
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'lstm_odyssey_smoke'
  config.study.seeds = 2
  config.study.only = 'peepholes'
  config.study.tune = ''
  config.data.examples = 20_000
  config.data.test = 0.01
  config.data.validation = 0.01
  config.model.hidden = 8
  config.train.steps = 10
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The paper's names in comments; the first level is the vanilla LSTM's."""
  del config
  return (
    factors.factor('input_gate', 'model.input_gate', True, False, kind='remove'),  # NIG
    factors.factor(
      'forget_gate', 'model.forget_gate', True, False, kind='remove'
    ),  # NFG
    factors.factor(
      'output_gate', 'model.output_gate', True, False, kind='remove'
    ),  # NOG
    factors.factor(
      'input_activation', 'model.input_activation', 'tanh', 'identity', kind='remove'
    ),  # NIAF
    factors.factor(
      'output_activation', 'model.output_activation', 'tanh', 'identity', kind='remove'
    ),  # NOAF
    factors.factor(
      'peepholes',
      'model.peepholes',
      True,
      False,
      about='having peepholes',
      kind='remove',
    ),  # NP
    factors.factor(
      'coupled',
      'model.coupled',
      False,
      True,
      about='coupled input and forget gates',
      kind='add',
    ),  # CIFG
    factors.factor(
      'full_gate_recurrence',
      'model.full_gate_recurrence',
      False,
      True,
      about='gates that read one another',
      kind='add',
    ),  # FGR
  )


def get_claims(config):
  """The abstract's, each variant against the vanilla LSTM."""
  del config
  paper = 'Greff et al. 2017, abstract'
  critical = {
    'forget_gate': 'the forget gate',
    'output_activation': 'the output activation',
  }
  return (
    *(
      claims.claim(paper, f'{words} is critical', factor, direction='helps')
      for factor, words in critical.items()
    ),
    claims.claim(
      paper, 'coupled gates do not significantly decrease performance', 'coupled',
      direction='no difference',
    ),
    claims.claim(
      paper, 'no peepholes do not significantly decrease performance', 'peepholes',
      direction='no difference',
    ),
    claims.claim(
      'Jozefowicz et al. 2015', 'the input gate matters', 'input_gate',
      direction='helps', verified=False,
    ),
    claims.claim(
      'Jozefowicz et al. 2015', 'the output gate matters', 'output_gate',
      direction='helps', verified=False,
    ),
  )  # fmt: skip
