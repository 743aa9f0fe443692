"""Is a linear layer better than a transformer at forecasting? Zeng et al. 2023.

Data: ETTh1 (download, or $DLSTEROIDS_DATA/ett), the usual 12/4/4 months; from the last
336 hours to the next 96 of all seven series, standardised. The paper's repository has a
mean squared error of .374 for its DLinear and .865 for Informer. Here the linear layer
reads every series by itself, as theirs does, and what it forecasts is the difference to
the last value. The learning rate is tuned for each arm: in 500 steps the linear layer
comes to .52 with a rate of .001, to .39 with .01. Expected: the linear arm near .38.
Takes about two hours on 2 CPU cores, nearly all of it the transformer's; seconds as
configs/forecast_linear.py:smoke (sunspots, embedded).
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors

HOURS, AHEAD = 336, 96


def get_config(mode: str = ''):
  """One linear layer for every series by itself."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  data = 'sunspots' if mode == 'smoke' else 'etth1'
  config = config_lib.base(model='mlp', data=data, task='forecast')
  config.study.name = 'forecast_linear'
  config.study.question = 'Is a linear layer better than a transformer at forecasting?'
  config.study.metric = 'mse'
  config.study.seeds = 8
  config.study.tune = 'optimizer.learning_rate=0.001,0.003,0.01,0.03'
  config.study.tune_seeds = 1
  config.task.anchor = 'last'
  config.task.channels = 'apart'
  config.model.hidden = ()
  config.model.init = 'lecun'
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.001
  config.optimizer.clip = 1.0
  config.train.steps = 500
  config.train.batch_size = 32
  config.train.evaluations = 5
  if mode == 'smoke':
    return smoke(config)
  config.data.targets = 'HUFL,HULL,MUFL,MULL,LUFL,LULL,OT'
  config.data.lookback = HOURS
  config.data.horizon = AHEAD
  return config


def smoke(config):
  config.study.name = 'forecast_linear_smoke'
  config.study.seeds = 2
  config.study.only = 'anchor'
  config.study.tune = 'optimizer.learning_rate=0.001,0.01'
  config.data.lookback = 12
  config.data.horizon = 3
  config.train.steps = 10
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Models that see all series together; the anchor without the last value."""
  task = config.task
  common = {'task.channels': 'together'}
  return (
    factors.levels(
      'model',
      {
        'linear': {
          'model.name': 'mlp', 'model.hidden': (), 'task.channels': task.channels
        },
        'transformer': {
          'model.name': 'attention',
          'model.patch': 0, 'model.width': 32, 'model.layers': 1,
          'model.dropout': 0.1, **common,
        },
      },
      about='a linear layer',
    ),
    factors.factor(
      'anchor', 'task.anchor', task.anchor, 'none', about='the anchor', kind='remove'
    ),
  )  # fmt: skip


def get_claims(config):
  """DLinear also splits off a trend; its value is given without an interval."""
  del config
  paper = 'Zeng et al. 2023, repository'
  return (
    claims.claim(
      paper, 'linear .374, the transformer Informer .865', 'model', 'transformer',
      direction='helps', published_delta=-0.491, setting='ETTh1, 96 hours, DLinear',
    ),
    claims.claim(
      paper, 'DLinear: a mean squared error of .374 at 96 hours', '', arm='baseline',
      number=0.374, quantity='level', tolerance=0.01,
      setting='ETTh1, input of 336 hours',
    ),
  )  # fmt: skip
