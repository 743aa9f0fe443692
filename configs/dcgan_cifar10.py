"""Which parts of a DCGAN matter for drawing CIFAR-10's images?

Data: CIFAR-10 as JPEG files (`cifar10-jpeg`), 45,000 train. No classifier of these
images comes with the package: train one and name its file, as below. Meant for a GPU;
configs/dcgan_cifar10.py:cpu is what a CPU allows, a quarter of the width and a
fiftieth of the steps, in about fifteen minutes on 2 cores; :smoke, which measures on
mere pixels, takes seconds.

    dlsteroids configs/cifar10_cnn.py:jpeg
      --config.study.seeds=1 --workdir=studies/cifar10_classifier
    dlsteroids configs/cifar10_cnn.py:jpeg
      --config.study.seeds=1 --workdir=studies/cifar10_classifier
      --action=export --target=cifar10.npz
    dlsteroids configs/dcgan_cifar10.py:cpu
      --config.task.features=cifar10.npz
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """DCGAN at 32x32: 4x4x256 to 32x32x3, at width 64."""
  config_lib.choose('mode', mode, ('', 'cpu', 'smoke'))
  config = config_lib.base(model='dcgan', data='image_folder', task='gan')
  config.study.name = 'dcgan_cifar10' + ('_cpu' if mode == 'cpu' else '')
  config.study.question = 'Which parts of a DCGAN matter for drawing small photographs?'
  config.study.metric = 'classifier_fid'
  config.study.seeds = 8
  config.data.path = 'cifar10-jpeg'
  config.data.size = 32
  config.data.range = 'tanh'
  config.data.flip = True
  config.data.validation = 0.1
  config.task.features = 'cifar10.npz'
  config.task.ema = 0.999
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.0002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'constant'
  config.train.steps = 30_000
  config.train.batch_size = 64
  config.train.evaluations = 6
  config.train.eval_batch = 1000
  if mode == 'cpu':
    config.model.width = 16
    config.model.discriminator_width = 16
    config.train.steps = 600
    config.train.evaluations = 1
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'dcgan_cifar10_smoke'
  config.study.seeds = 2
  config.study.only = 'loss'
  config.data.examples = 64
  config.task.features = 'dlsteroids.tasks.lib.features.pixels'
  config.model.width = 4
  config.model.depth = 1
  config.model.discriminator_width = 4
  config.train.steps = 4
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Norms, upsampling, the loss."""
  model, task = config.model, config.task
  return (
    factors.factor(
      'upsampling', 'model.upsample', model.upsample, 'resize', 'subpixel',
      about='transposed convolution',
    ),
    factors.factor(
      'generator_norm', 'model.generator_norm', model.generator_norm, 'none',
      about='batch norm in the generator', kind='remove',
    ),
    factors.factor(
      'discriminator_norm', 'model.discriminator_norm', model.discriminator_norm,
      'none', 'spectral', about='batch norm in the discriminator',
      kind={'none': 'remove'},
    ),
    factors.factor('loss', 'task.loss', task.loss, 'hinge'),
  )  # fmt: skip
