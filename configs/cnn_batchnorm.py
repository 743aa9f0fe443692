"""What goes with batch norm? Mishkin et al. 2017's comparisons, on small images.

Data: JPEG-coded CIFAR-10 (`cifar10-jpeg`), halved to 16×16; a four-layer CNN, where the
paper has CaffeNet on ImageNet at 128 pixels (numbers: top-1 accuracy there). The paper:
batch norm after ReLU .499, before it .474; after it with dropout 0, .2, .5: .513, .527,
.499; local response normalisation adds nothing to the plain net; ELU's gain is gone
under batch norm. Takes about ten minutes on 2 CPU cores, seconds as
configs/cnn_batchnorm.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors

PAPER = 'Mishkin et al. 2017'
SETTING = 'CaffeNet, ImageNet at 128 pixels, top-1'


def get_config(mode: str = ''):
  """ReLU, then batch norm; max pooling; one hidden dense layer without dropout."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='image_folder')
  config.study.name = 'cnn_batchnorm'
  config.study.question = 'What goes with batch norm?'
  config.study.design = 'arms'
  config.study.seeds = 10
  config.study.margin = 0.01
  config.data.path = 'cifar10-jpeg'
  config.data.size = 16
  config.data.validation = 0.1
  config.data.flip = True
  config.model.widths = (16, 32)
  config.model.depth = 2
  config.model.norm = 'batch'
  config.model.norm_after = True
  config.model.hidden = (128,)
  config.optimizer.learning_rate = 0.02
  config.train.steps = 700
  config.train.batch_size = 64
  config.train.evaluations = 4
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'cnn_batchnorm_smoke'
  config.study.seeds = 2
  config.data.examples = 60
  config.data.size = 8
  config.train.batch_size = 20
  config.model.widths = (2, 4)
  config.model.hidden = (8,)
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Each may be changed with or without batch norm."""
  model = config.model
  return (
    factors.factor(
      'norm', 'model.norm', model.norm, 'lrn', 'none', about='batch norm',
      kind={'lrn': 'swap', 'none': 'remove'},
    ),
    factors.factor(
      'place', 'model.norm_after', model.norm_after, False,
      about='batch norm after the activation',
    ),
    factors.factor(
      'dropout', 'model.dropout', model.dropout, 0.2, 0.5, about='dropout', kind='add'
    ),
    factors.factor(
      'activation', 'model.activation', model.activation, 'elu', about='ReLU'
    ),
  )  # fmt: skip


def get_arms(config):
  """Changes of the net with batch norm, and of the plain one."""
  arms = (
    factors.arm('place=False', {'place': False}),
    factors.arm('dropout=0.2', {'dropout': 0.2}),
    factors.arm('dropout=0.5', {'dropout': 0.5}),
    factors.arm('activation=elu', {'activation': 'elu'}),
    factors.arm('norm=none', {'norm': 'none'}),
    factors.arm('plain lrn', {'norm': 'lrn'}, reference='norm=none', kind='add'),
    factors.arm(
      'plain elu', {'norm': 'none', 'activation': 'elu'}, reference='norm=none'
    ),
  )
  return arms[:2] if config.study.name.endswith('_smoke') else arms


def get_claims(config):
  """Numbers are of ImageNet: directions, and differences that are none."""
  if config.study.name.endswith('_smoke'):
    return ()
  return (
    claims.claim(
      PAPER, 'batch norm after ReLU is better than before it: .499 against .474',
      'place', direction='helps', published_delta=0.025, setting=SETTING,
    ),
    claims.claim(
      PAPER, 'under batch norm, dropout of .2: .513 to .527', 'dropout', 0.2,
      direction='helps', published_delta=0.014, setting=SETTING,
    ),
    claims.claim(
      PAPER, 'under batch norm, dropout of .5: .513 to .499', 'dropout', 0.5,
      direction='hurts', published_delta=-0.014, setting=SETTING,
    ),
    claims.claim(
      PAPER, "under batch norm ELU's gain over ReLU is gone", 'activation',
      arm='activation=elu', direction='no difference', setting=SETTING,
    ),
    claims.claim(
      PAPER, 'without batch norm ELU is better than ReLU', 'activation',
      arm='plain elu', direction='hurts', setting=SETTING,
    ),
    claims.claim(
      PAPER, 'local response normalisation adds nothing: .470 and .470', 'norm', 'lrn',
      arm='plain lrn', direction='no difference', published_delta=0.0, setting=SETTING,
    ),
  )  # fmt: skip
