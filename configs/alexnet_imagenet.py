"""What is each idea of AlexNet worth on ImageNet, read as it is trained on?

Data: ILSVRC2012 as train/n01440764/*.JPEG and val/n01440764/*.JPEG below
$DLSTEROIDS_DATA/imagenet or --config.data.path=...; val/ is the test split, as the
published test images have no labels, and a hundredth of train/ validates. AlexNet as
published: 90 epochs of 227x227 windows of 256x256, flips, colours. The paper's one net
errs on 40.7 % (ten windows averaged; here it is the one in the middle, so expect some
points more). A run is about 5e17 FLOPs, a matter of GPUs: none was made in full. On a
CPU only :smoke is quick, which uses a small net on 67x67 windows of any folder.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode: str = ''):
  """AlexNet with its optimizer: SGD, momentum .9, batch 128, weight decay 5e-4."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='alexnet', data='image_stream')
  config.study.name = 'alexnet_imagenet'
  config.study.question = 'What is each idea of AlexNet worth on ImageNet?'
  config.study.seeds = 9
  config.data.path = 'imagenet'
  config.data.size = 227
  config.data.resize = 256
  config.data.window = 'anywhere'
  config.data.val = 'test'
  config.data.validation = 0.01
  config.data.colour = 0.1
  config.optimizer.learning_rate = 0.01
  config.optimizer.weight_decay = 5e-4
  config.optimizer.schedule = 'step'
  config.train.steps = 892_000
  config.train.batch_size = 128
  config.train.evaluations = 30
  config.train.eval_batch = 128
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'alexnet_imagenet_smoke'
  config.study.seeds = 2
  config.study.only = 'dropout,windows'
  config.data.path = ''
  config.data.size = 67
  config.data.resize = 72
  config.data.validation = 0.1
  config.data.examples = 48
  config.model.width = 0.05
  config.train.steps = 4
  config.train.batch_size = 8
  config.train.evaluations = 1
  config.train.eval_batch = 32
  return config


def get_factors(config):
  """The paper's ideas; each first level is the intact one."""
  model = config.model
  return (
    factors.factor(
      'activation', 'model.activation', model.activation, 'tanh', about='ReLU'
    ),
    factors.factor(
      'lrn',
      'model.norm',
      model.norm,
      'none',
      about='local response normalisation',
      kind='remove',
    ),
    factors.factor(
      'overlap',
      'model.pool_window',
      model.pool_window,
      2,
      about='overlapping pooling',
      kind='remove',
    ),
    factors.factor('dropout', 'model.dropout', model.dropout, 0.0, kind='remove'),
    factors.factor(
      'groups', 'model.groups', model.groups, 1, about='grouping', kind='remove'
    ),
    factors.factor(
      'windows',
      'data.window',
      config.data.window,
      'middle',
      'resized',
      about='random windows; resized ones came two years later',
    ),
    factors.factor('flips', 'data.flip', config.data.flip, False, kind='remove'),
    factors.factor(
      'colour',
      'data.colour',
      config.data.colour,
      0.0,
      about='PCA colour augmentation',
      kind='remove',
    ),
  )
