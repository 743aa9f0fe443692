"""Pooling, weight sharing, locality, the head: what does a small CNN need?

Data: JPEG-coded CIFAR-10 (`cifar10-jpeg`), halved to 16×16. Held against: pooling can
be replaced by a strided convolution without loss (Springenberg et al. 2015, abstract);
convolutions are better than unshared kernels, and these than dense layers (Neyshabur
2020); global average pooling is better than a dense head, and than one with dropout
(Lin et al. 2014: test errors of 10.41, 11.59 and 10.88 % on CIFAR-10, quoted from
memory). Takes about forty minutes on 2 CPU cores, of which the dense layers take half;
seconds as configs/cnn_layers.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Two stages of two convolutions with batch norm, max pooling, a dense head."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='image_folder')
  config.study.name = 'cnn_layers'
  config.study.question = 'Pooling, sharing, locality, the head: what is needed?'
  config.study.design = 'arms'
  config.study.seeds = 9
  config.study.margin = 0.01
  config.data.path = 'cifar10-jpeg'
  config.data.size = 16
  config.data.validation = 0.1
  config.data.flip = True
  config.model.widths = (16, 32)
  config.model.depth = 2
  config.model.norm = 'batch'
  config.model.hidden = (128,)
  config.optimizer.learning_rate = 0.02
  config.train.steps = 400
  config.train.batch_size = 64
  config.train.evaluations = 4
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'cnn_layers_smoke'
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
  """Unshared and dense layers have the same maps, and many more weights."""
  model = config.model
  return (
    factors.factor('pool', 'model.pool', model.pool, 'stride', about='max pooling'),
    factors.factor(
      'mixer', 'model.mixer', model.mixer, 'local', 'dense', about='convolution'
    ),
    factors.levels(
      'head',
      {
        'dense': {'model.head': 'dense', 'model.hidden': model.hidden},
        'average': {'model.head': 'average', 'model.hidden': ()},
      },
      about='the dense head',
    ),
    factors.factor(
      'dropout', 'model.dropout', 0.0, 0.5, about='dropout in the head', kind='add'
    ),
  )


def get_arms(config):
  """Average pooling is compared with the dense head without and with dropout."""
  arms = (
    factors.arm('pool=stride', {'pool': 'stride'}),
    factors.arm('mixer=local', {'mixer': 'local'}),
    factors.arm('mixer=dense', {'mixer': 'dense'}, reference='mixer=local'),
    factors.arm('dropout=0.5', {'dropout': 0.5}),
    factors.arm('head=average', {'head': 'average'}),
  )
  return arms[:2] if config.study.name.endswith('_smoke') else arms


def get_claims(config):
  """The numbers are of larger nets trained to the end."""
  if config.study.name.endswith('_smoke'):
    return ()
  lin = 'Lin et al. 2014'
  network = {'setting': 'Network in Network, CIFAR-10', 'verified': False}
  return (
    claims.claim(
      'Springenberg et al. 2015, abstract',
      'a strided convolution replaces max pooling without loss', 'pool',
      direction='no difference',
    ),
    claims.claim(
      'Neyshabur 2020', 'shared kernels are better than unshared ones', 'mixer',
      'local', direction='helps',
    ),
    claims.claim(
      'Neyshabur 2020', 'local connections are better than dense ones', 'mixer',
      'dense', direction='helps',
    ),
    claims.claim(
      lin, 'global average pooling is better than a dense head: 10.41 to 11.59 %',
      'head', direction='hurts', published_delta=-0.0118, **network,
    ),
    claims.claim(
      lin, 'dropout helps a dense head: 11.59 to 10.88 % error', 'dropout',
      direction='helps', published_delta=0.0071, **network,
    ),
  )  # fmt: skip
