"""Is a convolutional net just a perceptron on steroids? Compute against each idea.

From a one-hidden-layer sigmoid perceptron to a CNN: every combination of the ideas at
several budgets, all combinations at equal FLOPs, the learning rate tuned for each at
each budget. Shapley values share the gain among ideas and compute.

Data: scikit-learn's 1,797 scans of 8x8, embedded, compute 64x; `:mnist` MNIST, compute
16x, sized for a CPU; `:cifar` the JPEG-coded CIFAR-10 (`cifar10-jpeg`) with depth,
pooling and augmentation as further ideas in sampled orders, meant for a GPU. Expected:
the intact arm above 97 % on the digits, above 97 % on MNIST. Takes about four minutes
on 2 CPU cores, `:mnist` about fifteen, seconds as configs/steroids_cnn.py:smoke.

`:frontier` measures what each idea is worth in doublings of compute on MNIST: at every
budget width, batch size and learning rate are searched for every set of ideas at equal
FLOPs, five budgets four times apart, the bare model four times beyond the others. The
first four, 2.9e13 FLOPs with their searches, took two hours on 2 CPU cores; all are a
day's work, resumable: begin with `--config.study.budgets=0.015625,0.0625,0.25
--config.study.budgets_bare=4`, and a longer frontier trains what is new. Depth, dropout
and batch norm are left out for want of hours; `--config.model.norm=batch
--config.study.only=convolution,activation,normalisation` adds batch norm.
`:frontier_cifar` is a ladder of history on `cifar10-jpeg`: convolution (1989), ReLU
(2011), dropout and augmentation (2012), batch norm and residual connections with twice
the depth (2015), as all sets of six ideas would be 64 arms; so there are no Shapley
values. 5.5e15 FLOPs in all, meant for a GPU: weeks of 2 CPU cores.
`:frontier_digits` is the same on the embedded scans with two ideas and three budgets,
in about half an hour, most of it compilation of the hundred programs that its search
tries; 1,258 training images are too few to show what ideas are worth beyond a few
percent of error. `:frontier_smoke` takes seconds.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = {
  '': 'digits',
  'mnist': 'mnist',
  'cifar': 'image_folder',
  'frontier': 'mnist',
  'frontier_cifar': 'image_folder',
  'frontier_digits': 'digits',
  'frontier_smoke': 'digits',
  'smoke': 'digits',
}


def get_config(mode: str = ''):
  """The intact model: two stages of convolution, batch norm, ReLU, dropout."""
  config_lib.choose('mode', mode, DATA)
  config = config_lib.base(model='cnn', data=DATA[mode])
  config.study.name = 'steroids_cnn' + (f'_{mode}' if mode else '')
  config.study.question = 'Is a CNN just a perceptron on steroids?'
  config.study.design = 'factorial'
  config.study.regimes = 'flops'
  config.study.budgets = '0.015625,0.125'
  config.study.ratio = 64.0
  config.study.seeds = 8
  config.study.first_seed = 100  # seeds 0 to 7 were the pilot that chose the ratio
  config.study.tune = 'optimizer.learning_rate=0.001,0.004,0.016,0.064'
  config.study.tune_seeds = 2
  config.model.widths = (16, 32)
  config.model.norm = 'batch'
  config.model.hidden = (64,)
  config.model.dropout = 0.25
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.004
  config.train.steps = 1024
  config.train.batch_size = 64
  config.train.evaluations = 4
  config.train.eval_batch = 360
  config.engine.keep = 'none'
  if mode in ('mnist', 'cifar'):
    config.study.first_seed = 0
    config.study.budgets = '0.0625'
    config.study.ratio = 16.0
    config.study.tune = 'optimizer.learning_rate=0.001,0.004,0.016'
    config.study.tune_seeds = 1
    config.data.validation = 0.1
    config.model.widths = (8, 16)
    config.train.steps = 640
    config.train.evaluations = 1
    config.train.eval_batch = 1000
  if mode == 'cifar':
    config.data.path = 'cifar10-jpeg'
    config.data.size = 32
    larger(config)
  if mode.startswith('frontier'):
    frontier(config, mode)
  return smoke(config) if mode == 'smoke' else config


def frontier(config, mode):
  """Compute-optimal training of every set of ideas at every budget."""
  study = config.study
  study.ratio = 0.0
  study.only = 'convolution,activation'
  study.budgets, study.budgets_bare = '0.015625,0.0625,0.25,4', '16'
  study.seeds, study.first_seed = 12, 0
  study.tune_by = 'neighbours'
  study.tune = (
    'optimizer.learning_rate=0.001,0.002,0.004,0.008,0.016;'
    'train.batch_size=16,32,64,128;size=0.5,1,2'
  )
  study.tune_trials, study.tune_seeds = 9, 2
  config.data.validation = 0.1
  config.model.widths, config.model.dropout = (8, 16), 0.0
  config.model.norm = 'none'
  config.train.evaluations = 1
  config.train.batch_size = 64
  config.train.eval_batch = 1000
  config.train.steps = 640  # of the declared budget, 7.7e10 FLOPs a run
  if mode == 'frontier':
    return
  if mode == 'frontier_cifar':
    frontier_cifar(config)
    return
  study.budgets, study.budgets_bare = '0.25,4', '16,64'
  study.tune_trials, study.tune_seeds = 7, 3
  config.model.widths, config.model.hidden = (4, 8), (32,)
  config.train.eval_batch = 360
  config.train.steps = 200
  if mode == 'frontier_smoke':
    study.budgets, study.budgets_bare = '0.5', '2'
    study.only, study.seeds, study.tune_seeds = 'activation', 2, 1
    study.tune = 'optimizer.learning_rate=0.004,0.016;train.batch_size=32,64'
    study.tune_trials, study.tune_extend = 2, 0
    config.train.steps = 32


def frontier_cifar(config):
  """A ladder of history: all sets of its six ideas would be 64 arms."""
  study = config.study
  study.design = 'ladder'
  study.only = 'convolution,activation,dropout,augmentation,normalisation,residual'
  study.budgets, study.budgets_bare = '0.0625,0.25,4,16', '64,256'
  study.tune_seeds = 3
  config.data.path, config.data.size = 'cifar10-jpeg', 32
  config.data.crop, config.data.flip = 2, True
  config.model.widths, config.model.depth = (8, 16, 32), 2
  config.model.residual, config.model.dropout = True, 0.1
  config.model.norm = 'batch'
  config.train.steps = 300  # of the declared budget, 3.0e11 FLOPs a run


def larger(config):
  config.study.design = 'permutations'
  config.study.permutations = 6
  config.study.seeds = 9  # with fewer, seven contrasts could show nothing
  config.data.crop = 2
  config.model.widths = (32, 64)
  config.model.hidden = (256, 256)
  config.train.steps = 16_384
  config.train.batch_size = 128


def smoke(config):
  config.study.only = 'activation,dropout'
  config.study.seeds = 2
  config.study.tune_seeds = 1
  config.study.tune = 'optimizer.learning_rate=0.004,0.016'
  config.study.budgets = '0.125,0.5'
  config.study.ratio = 8.0
  config.data.examples = 200
  config.train.steps = 16
  config.train.evaluations = 1
  return config


def get_factors(config):
  """Each idea that the intact model has, against what stood there in 1986."""
  model, data = config.model, config.data
  ideas = (
    factors.factor(
      'convolution', 'model.name', model.name, 'mlp', kind='remove', years=(1989, 1986)
    ),
    factors.factor(
      'activation',
      'model.activation',
      model.activation,
      'sigmoid',
      about='ReLU',
      years=(2011, 1986),
    ),
  )
  if model.norm != 'none':
    ideas += (
      factors.factor(
        'normalisation',
        'model.norm',
        model.norm,
        'none',
        about='batch normalisation',
        kind='remove',
        years=(2015, 0),
      ),
    )
  if model.dropout:
    ideas += (
      factors.factor(
        'dropout', 'model.dropout', model.dropout, 0.0, kind='remove', years=(2012, 0)
      ),
    )
  if model.residual:
    ideas += (residual(model), augmentation(data))
  if len(model.hidden) < 2:
    return ideas
  return (
    *ideas,
    factors.factor(
      'depth', 'model.hidden', model.hidden, model.hidden[:1], kind='remove'
    ),
    factors.factor(
      'pooling', 'model.pool', model.pool, 'stride', requires=('convolution',)
    ),
    factors.factor('augmentation', 'data.crop', data.crop, 0, kind='remove'),
  )


def residual(model):
  """Two convolutions a stage in place of one, with a sum around each."""
  return factors.levels(
    'residual',
    {
      'residual': {'model.residual': True, 'model.depth': model.depth},
      'plain': {'model.residual': False, 'model.depth': 1},
    },
    requires=('convolution',),
    about='residual connections',
    kind='remove',
    years=(2015, 0),
  )


def augmentation(data):
  """Flips and shifts of AlexNet (Krizhevsky et al. 2012)."""
  return factors.levels(
    'augmentation',
    {
      'flips, crops': {'data.flip': data.flip, 'data.crop': data.crop},
      'none': {'data.flip': False, 'data.crop': 0},
    },
    kind='remove',
    years=(2012, 0),
  )
