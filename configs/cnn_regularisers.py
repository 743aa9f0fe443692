"""Cutout, mixup, dropout: what helps a CNN that has too few images?

Data: 2,500 of JPEG-coded CIFAR-10 (`cifar10-jpeg`), halved to 16×16, thirty passes, so
that there is something to regularise. The papers' nets are of another size: cutout, a
ResNet-18's test error on CIFAR-10 of 4.72 to 3.99 %, mean of 5 (DeVries & Taylor 2017,
authors' repository); mixup improves generalisation (Zhang et al. 2018, abstract);
dropout in fully connected layers (Srivastava et al. 2014). Takes about six minutes on 2
CPU cores, seconds as configs/cnn_regularisers.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Two stages of two convolutions with batch norm; no regulariser."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='image_folder')
  config.study.name = 'cnn_regularisers'
  config.study.question = 'What helps a CNN that has too few images?'
  config.study.seeds = 8
  config.data.path = 'cifar10-jpeg'
  config.data.size = 16
  config.data.validation = 0.1
  config.data.examples = 2500
  config.model.widths = (16, 32)
  config.model.depth = 2
  config.model.norm = 'batch'
  config.model.hidden = (128,)
  config.optimizer.learning_rate = 0.02
  config.train.steps = 1170  # 30 epochs
  config.train.batch_size = 64
  config.train.evaluations = 4
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'cnn_regularisers_smoke'
  config.study.seeds = 2
  config.study.only = 'mixup'
  config.data.examples = 60
  config.data.size = 8
  config.train.batch_size = 20
  config.model.widths = (2, 4)
  config.model.hidden = (8,)
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Half of the side is cutout's on CIFAR-10, and alpha = 1 mixup's."""
  half = config.data.size // 2
  return (
    factors.factor('cutout', 'data.cutout', 0, half, about='cutout', kind='add'),
    factors.factor('mixup', 'task.mixup', 0.0, 1.0, about='mixup', kind='add'),
    factors.factor('dropout', 'model.dropout', 0.0, 0.5, about='dropout', kind='add'),
    factors.factor(
      'flip', 'data.flip', False, True, about='mirrored images', kind='add'
    ),
  )


def get_claims(config):
  """The numbers are of larger nets on all images: directions can be held."""
  del config
  return (
    claims.claim(
      'DeVries & Taylor 2017', 'cutout: test error of 4.72 % to 3.99 % on CIFAR-10',
      'cutout', direction='helps', published_delta=0.0073,
      setting='ResNet-18, CIFAR-10, mean of 5',
    ),
    claims.claim(
      'Zhang et al. 2018, abstract', 'mixup improves generalisation', 'mixup',
      direction='helps',
    ),
    claims.claim(
      'Srivastava et al. 2014', 'dropout on dense layers lowers the error on CIFAR-10',
      'dropout', direction='helps', published_delta=0.0128, verified=False,
      setting='CIFAR-10, convolutional net, 15.6 % to 14.32 %',
    ),
  )  # fmt: skip
