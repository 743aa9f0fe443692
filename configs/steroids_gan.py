"""Is a DCGAN just a perceptron on steroids? Compute against each idea.

From two dense nets playing against each other to a DCGAN: every combination of the
ideas, at a sixteenth of the compute and at all of it, all at equal FLOPs, the learning
rate tuned for each at each budget. Shapley values share the gain among ideas and
compute.

Data: scikit-learn's digits, embedded; `:mnist` MNIST with the loss as a further idea.
Quality is measured on the features of a classifier that comes with the package
(classifier-FID, lower is better). The intact arm must come below 30. Takes about
four minutes on 2 CPU cores, `:mnist` about forty, most of them to compare 10,000 images
a run, seconds as configs/steroids_gan.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {'': 'digits', 'mnist': 'mnist', 'smoke': 'digits'}


def get_config(mode: str = ''):
  """The intact model: a small DCGAN with batch norm and LeakyReLU."""
  config_lib.choose('mode', mode, DATA)
  config = config_lib.base(model='dcgan', data=DATA[mode], task='gan')
  config.study.name = 'steroids_gan' + (f'_{mode}' if mode else '')
  config.study.question = 'Is a DCGAN just a perceptron on steroids?'
  config.study.design = 'factorial'
  config.study.regimes = 'flops'
  config.study.budgets = '0.0625,0.25'
  config.study.ratio = 16.0
  config.study.metric = 'classifier_fid'
  config.study.seeds = 8
  config.study.tune = 'optimizer.learning_rate=0.0005,0.002,0.008,0.032'
  config.study.tune_seeds = 2
  config.data.range = 'tanh'
  config.model.latent = 32
  config.model.depth = 2
  config.model.width = 8
  config.model.discriminator_width = 8
  config.task.ema = 0.99
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.002
  config.optimizer.beta1 = 0.5
  config.optimizer.schedule = 'constant'
  config.train.steps = 512
  config.train.batch_size = 64
  config.train.evaluations = 2
  config.engine.keep = 'none'
  if mode == 'mnist':
    config.study.budgets = '0.0625'
    config.study.tune = 'optimizer.learning_rate=0.002,0.008,0.032'
    config.study.tune_seeds = 1
    config.model.depth = 0
    config.train.steps = 256
    config.train.evaluations = 1
    config.train.eval_batch = 1000
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.only = 'leaky_relu'
  config.study.seeds = 2
  config.study.tune_seeds = 1
  config.study.tune = 'optimizer.learning_rate=0.002,0.008'
  config.study.budgets = '0.25'
  config.study.ratio = 4.0
  config.model.width = 4
  config.model.depth = 1
  config.model.discriminator_width = 4
  config.train.steps = 8
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Each idea against what stood there in Goodfellow's first nets."""
  model, task = config.model, config.task
  conv, dense = {'model.name': model.name}, {'model.name': 'dense_gan'}
  units = (8 * model.width, 8 * model.width)  # as much work a step as the convolutions
  dense |= {'model.generator_hidden': units, 'model.discriminator_hidden': units}
  norms = {'model.generator_norm': 'batch', 'model.discriminator_norm': 'batch'}
  ideas = (
    factors.levels('convolution', {'conv': conv, 'dense': dense}, kind='remove'),
    factors.factor(
      'transposed', 'model.upsample', model.upsample, 'resize',
      requires=('convolution',), about='transposed convolution',
    ),
    factors.levels(
      'normalisation', {'batch': norms, 'none': dict.fromkeys(norms, 'none')},
      kind='remove',
    ),
    factors.factor(
      'leaky_relu', 'model.discriminator_activation',
      model.discriminator_activation, 'relu', about='LeakyReLU',
    ),
  )  # fmt: skip
  if config.data.name != 'mnist':
    return ideas
  return (*ideas, factors.factor('loss', 'task.loss', task.loss, 'minimax'))
