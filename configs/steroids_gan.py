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

`:frontier` measures on MNIST what each idea is worth in doublings of compute, in the
order of history: the dense minimax game of 2014, the non-saturating loss, convolution,
batch norm; `--config.study.design=factorial` trains all sets of them. At every budget
width, batch size and learning rate are searched at equal FLOPs, budgets four times
apart, the bare game up to 16 times beyond the others: resumable,
half an hour of 2 CPU cores. LeakyReLU is in every arm, and transposed convolution is
left out, for want of hours.
`:frontier_digits` has batch norm, the loss and three budgets on the embedded scans,
1e13 FLOPs; on 8x8 pixels convolution has nothing to show. `:frontier_smoke` takes
seconds.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {
  '': 'digits',
  'mnist': 'mnist',
  'frontier': 'mnist',
  'frontier_digits': 'digits',
  'frontier_smoke': 'digits',
  'smoke': 'digits',
}


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
  if mode.startswith('frontier'):
    frontier(config, mode)
  return smoke(config) if mode == 'smoke' else config


def frontier(config, mode):
  """Compute-optimal training of every set of ideas at every budget."""
  study = config.study
  study.ratio = 0.0
  study.design, study.only = 'ladder', 'loss,convolution,normalisation'
  study.budgets, study.budgets_bare = '0.0625,0.25', '4,16'
  study.seeds = 12
  study.tune_by = 'neighbours'
  study.tune = (
    'optimizer.learning_rate=0.0005,0.001,0.002,0.004,0.008;'
    'train.batch_size=16,32,64,128;size=0.5,1,2'
  )
  study.tune_trials, study.tune_seeds = 9, 2
  config.model.depth = 0
  config.task.pairs = False
  config.data.validation = 0.1
  config.train.evaluations = 1
  config.train.eval_batch = 1000
  config.train.steps = 256
  if mode == 'frontier':
    return
  study.design, study.only = 'factorial', 'normalisation,loss'
  study.budgets, study.budgets_bare = '0.25,4', '16,64'
  study.tune_trials = 7
  config.model.depth = 2
  config.train.eval_batch = 360
  config.train.steps = 128
  if mode == 'frontier_smoke':
    study.only = 'leaky_relu'
    study.budgets, study.budgets_bare = '0.5', '2'
    study.seeds, study.tune_seeds = 2, 1
    study.tune = 'optimizer.learning_rate=0.002,0.008'
    study.tune_trials, study.tune_extend = 2, 0
    config.model.width = config.model.discriminator_width = 4
    config.model.depth = 1
    config.train.steps = 16


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
  """Each idea against what stood there in Goodfellow's first nets, and since when."""
  model, task = config.model, config.task
  conv, dense = {'model.name': model.name}, {'model.name': 'dense_gan'}
  units = (8 * model.width, 8 * model.width)  # as much work a step as the convolutions
  dense |= {'model.generator_hidden': units, 'model.discriminator_hidden': units}
  norms = {'model.generator_norm': 'batch', 'model.discriminator_norm': 'batch'}
  ideas = (
    factors.levels(
      'convolution', {'conv': conv, 'dense': dense}, kind='remove', years=(2015, 2014)
    ),
    factors.factor(
      'transposed', 'model.upsample', model.upsample, 'resize',
      requires=('convolution',), about='transposed convolution',
    ),
    factors.levels(
      'normalisation', {'batch': norms, 'none': dict.fromkeys(norms, 'none')},
      kind='remove', years=(2015, 0), about='batch norm',
    ),
    factors.factor(
      'leaky_relu', 'model.discriminator_activation',
      model.discriminator_activation, 'relu', about='LeakyReLU', years=(2015, 0),
    ),
  )  # fmt: skip
  if config.data.name != 'mnist' and config.study.tune_by != 'neighbours':
    return ideas
  loss = factors.factor(
    'loss', 'task.loss', task.loss, 'minimax', years=(2014, 2014),
    about='non-saturating loss',
  )  # fmt: skip
  return (*ideas, loss)
