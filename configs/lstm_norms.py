"""Norms inside an LSTM, and a tied output: what helps it write?

Data: tiny Shakespeare, windows of 64 characters read by themselves, so that the moments
of batch norm are of steps since a beginning. Published: batch norm in the recurrence is
beneficial, converges faster and generalises better (Cooijmans et al. 2017, abstract);
it does not help (Laurent et al. 2016, abstract, for hidden to hidden transitions of
another form); layer norm in the recurrence helps (Ba et al. 2016); tying the output
layer to the embedding: perplexity of 82.23 to 76.05 on the Penn Treebank's words (Press
& Wolf 2017, quoted). Takes about ten minutes on 2 CPU cores, seconds as
configs/lstm_norms.py:smoke, which reads embedded text.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """An LSTM of 64 units, as wide as its embedding."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  data = 'python_docs' if mode == 'smoke' else 'tinyshakespeare'
  config = config_lib.base(model='recurrent', data=data, task='language')
  config.study.name = 'lstm_norms'
  config.study.question = 'Do norms and a tied output help an LSTM to write?'
  config.study.metric = 'nats'
  config.study.seeds = 8
  config.study.margin = 0.02
  config.data.window = 64
  config.data.order = 'shuffled'
  config.model.hidden = 64
  config.model.embedding = 64
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.01
  config.optimizer.clip = 1.0
  config.train.steps = 500
  config.train.batch_size = 32
  config.train.evaluations = 3
  config.train.eval_batch = 64
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'lstm_norms_smoke'
  config.study.seeds = 2
  config.study.only = 'tied'
  config.data.examples = 20_000
  config.data.test = 0.01
  config.data.validation = 0.01
  config.model.hidden = 8
  config.model.embedding = 8
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """What is added to the plain LSTM."""
  del config
  return (
    factors.factor('tied', 'model.tied', False, True, about='tied output', kind='add'),
    factors.factor(
      'norm', 'model.norm', 'none', 'layer', 'batch', about='a norm', kind='add'
    ),
  )


def get_claims(config):
  """Two papers contradict each other on batch norm."""
  del config
  return (
    claims.claim(
      'Cooijmans et al. 2017, abstract',
      'batch norm in the recurrence converges faster and generalises better', 'norm',
      'batch', direction='helps',
    ),
    claims.claim(
      'Laurent et al. 2016, abstract',
      'batch norm of the hidden to hidden transitions does not help', 'norm', 'batch',
      direction='no difference',
    ),
    claims.claim(
      'Ba et al. 2016', 'layer norm in the recurrence helps', 'norm',
      'layer', direction='helps', verified=False,
    ),
    claims.claim(
      'Press & Wolf 2017',
      'a tied output: perplexity of 82.23 to 76.05 on words of the Penn Treebank',
      'tied', direction='helps', setting='perplexity of words, Penn Treebank',
      verified=False,
    ),
  )  # fmt: skip
