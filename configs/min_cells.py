"""Do recurrent layers without recurrent weights write as well as attention?

Data: tiny Shakespeare. Three layers, in each of which minGRU, minLSTM or attention
stands before a perceptron; all steps of either are computed in parallel. Published, for
three layers 384 wide: 1.548 nats by minGRU, 1.555 by minLSTM, 1.547 by a transformer
(and 1.575 by Mamba, which is not here): Feng et al. 2024, quoted; their blocks differ.

Takes about twelve minutes on 2 CPU cores, 64 wide and with windows of 64. `:published`
has the published size and is for a GPU. Seconds as configs/min_cells.py:smoke, which
reads embedded text.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors

PAPER = 'Feng et al. 2024'
SETTING = 'tiny Shakespeare, three layers 384 wide'
NATS = {'mingru': 1.548, 'minlstm': 1.555, 'attention': 1.547}


def get_config(mode: str = ''):
  """A decoder whose layers have minGRU in the place of attention."""
  config_lib.choose('mode', mode, ('', 'published', 'smoke'))
  data = 'python_docs' if mode == 'smoke' else 'tinyshakespeare'
  config = config_lib.base(model='attention', data=data, task='language')
  config.study.name = 'min_cells' + (f'_{mode}' if mode else '')
  config.study.question = 'Does minGRU write as well as minLSTM and attention?'
  config.study.metric = 'nats'
  config.study.seeds = 8
  config.study.margin = 0.02
  config.data.window = 64
  config.data.context = 32
  config.data.eval_window = 32
  config.data.order = 'shuffled'
  config.model.mixer = 'mingru'
  config.model.layers = 3
  config.model.width = 64
  config.optimizer.name = 'adamw'
  config.optimizer.learning_rate = 0.003
  config.optimizer.beta2 = 0.99
  config.optimizer.weight_decay = 0.1
  config.optimizer.clip = 1.0
  config.optimizer.warmup = 0.05
  config.optimizer.final = 0.1
  config.train.steps = 800
  config.train.batch_size = 16
  config.train.evaluations = 4
  config.train.eval_batch = 64
  config.engine.keep = 'none'
  changes = {'published': published, 'smoke': smoke}
  return changes[mode](config) if mode in changes else config


def published(config):
  """The published size; steps and dropout as nanoGPT's for this text."""
  config.data.window = 256
  config.data.context = 128
  config.data.eval_window = 128
  config.model.width = 384
  config.model.heads = 6
  config.model.dropout = 0.2
  config.optimizer.learning_rate = 0.001
  config.train.steps = 3000
  config.train.batch_size = 64
  config.train.evaluations = 12
  return config


def smoke(config):
  config.study.seeds = 2
  config.data.examples = 20_000
  config.data.test = 0.01
  config.data.validation = 0.01
  config.model.layers = 1
  config.model.width = 8
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """What mixes the positions."""
  mixers = ('mingru', 'minlstm', 'attention')
  return (factors.factor('mixer', 'model.mixer', *mixers, about='what mixes'),)


def get_claims(config):
  """The numbers themselves at the published size, their differences at any."""
  own = NATS['mingru']
  differences = tuple(
    claims.claim(
      f'{PAPER}, quoted', f'{NATS[level]} nats, and {own} by minGRU', 'mixer', level,
      direction='no difference', published_delta=round(own - NATS[level], 4),
      setting=SETTING, verified=False,
    )
    for level in ('minlstm', 'attention')
  )  # fmt: skip
  if config.model.width != 384:
    return differences
  arms = {
    'mingru': 'baseline',
    'minlstm': 'mixer=minlstm',
    'attention': 'mixer=attention',
  }
  return differences + tuple(
    claims.claim(
      f'{PAPER}, quoted', f'{name}: {NATS[name]} nats', '', quantity='level',
      number=NATS[name], tolerance=0.02, arm=arm, setting=SETTING, verified=False,
    )
    for name, arm in arms.items()
  )  # fmt: skip
