"""Do residual connections let depth help? He et al. 2016, on small images.

Data: JPEG-coded CIFAR-10 (`cifar10-jpeg`), halved to 16×16; 18 and 6 batch-normalised
convolutions, for 110 and 20 of the paper. The paper: a plain net of 56 layers is worse
than one of 20; with residual connections 20, 56 and 110 layers err on 8.75, 6.97 and
6.43 % (quoted from a re-implementation). The learning rate is tuned for each arm: at a
rate of 0.1, which a plain net bears, a residual one here learns nothing with one seed
in eight. Takes about half an hour on 2 CPU cores, seconds as
configs/residual_depth.py:smoke.
"""

from dlsteroids import config as config_lib
from dlsteroids.study import claims, factors


def get_config(mode: str = ''):
  """Two stages of nine convolutions with residual connections."""
  config_lib.choose('mode', mode, ('', 'smoke'))
  config = config_lib.base(model='cnn', data='image_folder')
  config.study.name = 'residual_depth'
  config.study.question = 'Do residual connections let depth help?'
  config.study.design = 'arms'
  config.study.seeds = 8
  config.study.tune = 'optimizer.learning_rate=0.01,0.03,0.1'
  config.study.tune_seeds = 2
  config.data.path = 'cifar10-jpeg'
  config.data.size = 16
  config.data.validation = 0.1
  config.data.flip = True
  config.model.widths = (8, 16)
  config.model.depth = 9
  config.model.norm = 'batch'
  config.model.residual = True
  config.model.head = 'average'
  config.model.hidden = ()
  config.optimizer.learning_rate = 0.1
  config.optimizer.warmup = 0.1
  config.train.steps = 600
  config.train.batch_size = 64
  config.train.evaluations = 3
  config.train.eval_batch = 1000
  config.engine.keep = 'none'
  return smoke(config) if mode == 'smoke' else config


def smoke(config):
  config.study.name = 'residual_depth_smoke'
  config.study.seeds = 2
  config.study.tune = ''
  config.data.examples = 60
  config.data.size = 8
  config.train.batch_size = 20
  config.model.widths = (2, 4)
  config.model.depth = 2
  config.train.steps = 2
  config.train.evaluations = 1
  return config


def get_factors(config):
  """A third of the depth is the shallow net's."""
  model = config.model
  shallow = max(1, model.depth // 3)
  return (
    factors.factor(
      'residual', 'model.residual', True, False, about='the residual connections',
      kind='remove',
    ),
    factors.factor(
      'depth', 'model.depth', model.depth, shallow, about='depth', kind='remove'
    ),
  )  # fmt: skip


def get_arms(config):
  """Depth is taken away from the residual net and from the plain one."""
  shallow = get_factors(config)[1].levels[1].name
  return (
    factors.arm('plain', {'residual': False}),
    factors.arm('shallow', {'depth': shallow}),
    factors.arm(
      'plain and shallow', {'residual': False, 'depth': shallow}, reference='plain'
    ),
  )


def get_claims(config):
  """The numbers are of nets trained to the end: directions are what can be held."""
  del config
  paper, source = 'He et al. 2016', {'setting': 'CIFAR-10', 'verified': False}
  return (
    claims.claim(
      paper, 'deeper residual nets err less: 8.75 to 6.43 % from 20 to 110 layers',
      'depth', arm='shallow', reference='baseline', direction='helps',
      published_delta=0.0232, **source,
    ),
    claims.claim(
      paper, 'a deeper plain net errs more: 56 layers against 20', 'depth',
      arm='plain and shallow', reference='plain', direction='hurts', **source,
    ),
    claims.claim(
      paper, 'of deep nets the residual one errs less', 'residual', direction='helps',
      **source,
    ),
  )  # fmt: skip
