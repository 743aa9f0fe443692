"""Which terms of CycleGAN translate? Digits to their negatives, and to turned ones.

Data: scikit-learn's digits, embedded: one half as they are, the other half light for
dark, no scan in both. The truth is known for the test scans, so the distance to it (l1,
pixels in [-1, 1], both directions) decides. The paper's table 4: the adversarial and
the cycle term are both critical; its section 6: changes of geometry fail. Expected: 98
of 100 digits keep their class; turned by 90 degrees, too, they do not. Takes about five
minutes on 2 CPU cores, seconds as configs/cyclegan_digits.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """The paper's parts at 8x8: one halving, two residual blocks, patches of 16."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cyclegan', data='digits_unpaired', task='cyclegan')
  config.study.name = 'cyclegan_digits'
  config.study.question = 'Which terms of CycleGAN translate digits?'
  config.study.metric = 'l1'
  config.study.seeds = 9
  config.data.rotate = 0
  config.model.width = 8
  config.model.discriminator_width = 8
  config.model.downsamples = 1
  config.model.blocks = 2
  config.model.stem_kernel = 3
  config.model.patch_layers = 1
  config.task.features = 'digits'
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'hold'
  config.train.steps = 400
  config.train.batch_size = 16
  config.train.evaluations = 2
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'cyclegan_digits_smoke'
  config.study.seeds = 2
  config.study.only = 'adversarial'
  config.model.width = 4
  config.model.blocks = 1
  config.model.downsamples = 0
  config.model.patch_layers = 1
  config.model.discriminator_width = 4
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The paper's ablation, the pool, and two parts of the nets."""
  model, task = config.model, config.task
  return (
    factors.factor(
      'geometry', 'data.rotate', config.data.rotate, 90, about='strokes in their place'
    ),
    factors.factor(
      'adversarial', 'task.adversarial', task.adversarial, False, kind='remove'
    ),
    factors.factor(
      'cycle',
      'task.cycle',
      task.cycle,
      'forward',
      'backward',
      'none',
      kind={'none': 'remove'},
    ),
    factors.factor(
      'identity',
      'task.identity',
      task.identity,
      True,
      about='the identity term',
      kind='add',
    ),
    factors.factor(
      'pool', 'task.pool', task.pool, 0, about='the image pool', kind='remove'
    ),
    factors.factor(
      'norm',
      'model.generator_norm',
      model.generator_norm,
      'none',
      about='instance norm',
      kind='remove',
    ),
  )
