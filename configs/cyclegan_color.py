"""Which terms of CycleGAN colour? Grey photographs to colour and back.

Data: CIFAR-10 as JPEG files (`cifar10-jpeg`): one half in colour, the other half grey,
no image in both; the truth is known for the test images. Meant for a GPU;
configs/cyclegan_color.py:cpu is what a CPU allows, a quarter of the width and a
twenty-fifth of the steps, in about ten minutes on 2 cores; :smoke takes seconds.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """The paper's nets for 32x32: two halvings, three blocks, patches of 34."""
  config_lib.choose('mode', mode, ('', 'cpu', 'smoke'))
  config = config_lib.base(model='cyclegan', data='colour', task='cyclegan')
  config.study.name = 'cyclegan_color' + ('_cpu' if mode == 'cpu' else '')
  config.study.question = 'Which terms of CycleGAN colour photographs?'
  config.study.metric = 'l1'
  config.study.seeds = 8
  config.data.source = 'image_folder'
  config.data.path = 'cifar10-jpeg'
  config.data.size = 32
  config.data.flip = True
  config.data.validation = 0.1
  config.model.width = 32
  config.model.discriminator_width = 32
  config.model.blocks = 3
  config.model.patch_layers = 2
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.0002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'hold'
  config.train.steps = 20_000
  config.train.batch_size = 16
  config.train.evaluations = 5
  config.train.eval_batch = 500
  if mode == 'cpu':
    config.model.width = 8
    config.model.discriminator_width = 8
    config.study.seeds = 7
    config.train.steps = 800
    config.train.batch_size = 8
    config.train.evaluations = 2
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'cyclegan_color_smoke'
  config.study.seeds = 2
  config.study.only = 'cycle'
  config.data.examples = 32
  config.data.size = 16
  config.model.width = 4
  config.model.discriminator_width = 4
  config.model.blocks = 1
  config.model.downsamples = 0
  config.model.patch_layers = 1
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """The paper's terms."""
  task = config.task
  return (
    factors.factor(
      'adversarial', 'task.adversarial', task.adversarial, False, kind='remove'
    ),
    factors.factor('cycle', 'task.cycle', task.cycle, 'none', kind='remove'),
    factors.factor(
      'pool', 'task.pool', task.pool, 0, about='the image pool', kind='remove'
    ),
  )
