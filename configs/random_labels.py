"""What do nets learn from random labels, and what does mixup do about it?

Data: 2,000 of MNIST's training images, the official test images; a perceptron of 512
units, 200 passes, which fits any labels of so few images. Zhang et al. 2017: nets fit
random labels as they fit right ones, then generalise no better than chance, 10 %; the
error grows with the share of random labels. Zhang et al. 2018, abstract: mixup reduces
the memorisation of corrupt labels. Takes about five minutes on 2 CPU cores, seconds as
configs/random_labels.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """784-512-10 with the right labels."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='mlp', data='mnist')
  config.study.name = 'random_labels'
  config.study.question = 'What do nets learn from random labels?'
  config.study.design = 'arms'
  config.study.seeds = 8
  config.study.reach = 'train/accuracy=0.99'
  config.data.examples = 2000
  config.data.validation = 0.1
  config.model.hidden = (512,)
  config.optimizer.learning_rate = 0.05
  config.optimizer.schedule = 'constant'
  config.train.steps = 6200  # 200 epochs
  config.train.batch_size = 64
  config.train.evaluations = 20
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'random_labels_smoke'
  config.study.seeds = 2
  config.data.examples = 200
  config.model.hidden = (16,)
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Half of the labels, or all of them."""
  del config
  return (
    factors.factor(
      'random_labels', 'data.random_labels', 0.0, 0.5, 1.0, about='random labels',
      kind='add',
    ),
    factors.factor('mixup', 'task.mixup', 0.0, 1.0, about='mixup', kind='add'),
  )  # fmt: skip


def get_arms(config):
  """Mixup is added where half of the labels are random."""
  del config
  return (
    factors.arm('random_labels=0.5', {'random_labels': 0.5}),
    factors.arm('random_labels=1.0', {'random_labels': 1.0}),
    factors.arm(
      'mixup', {'random_labels': 0.5, 'mixup': 1.0}, reference='random_labels=0.5'
    ),
  )


def get_claims(config):
  """Whether they are fitted is in the report: the step of 99 % training accuracy."""
  del config
  paper = 'Zhang et al. 2017'
  return (
    claims.claim(
      paper, 'random labels leave test accuracy at chance', '', arm='random_labels=1.0',
      number=0.1, quantity='level', tolerance=0.01,
      setting='CIFAR-10', verified=False,
    ),
    claims.claim(
      paper, 'the error grows with the share of random labels', 'random_labels', 0.5,
      arm='random_labels=0.5', direction='hurts', setting='CIFAR-10', verified=False,
    ),
    claims.claim(
      'Zhang et al. 2018, abstract', 'mixup reduces the memorisation of corrupt labels',
      'mixup', direction='helps',
    ),
  )  # fmt: skip
