"""Options of a study and of how it is executed: no run's result depends on them.

They enter no fingerprint of a run, and neither does the source of this module: a new
option here leaves stored runs valid.
"""

from dlsteroids.config.options import Option

DESIGNS = (
  *('one_out', 'one_in', 'ladder'),
  *('factorial', 'fraction', 'permutations'),
  'arms',
)
SECTIONS: dict[str, dict[str, Option]] = {
  'study': {
    'name': Option('study', 'names the work folder and the report'),
    'question': Option('', "one line for the report's head"),
    'design': Option('one_out', 'combines factors into arms', choices=DESIGNS),
    'seeds': Option(10, 'runs per arm', 1),
    'first_seed': Option(0, 'seeds are first_seed, first_seed + 1, …', 0),
    'only': Option('', 'factors to keep, comma-separated; all if empty'),
    'permutations': Option(8, 'orders of the factors, for the design permutations', 1),
    'regimes': Option(
      'steps',
      'what is equal between arms: steps, flops, params; the first one decides',
    ),
    'budgets': Option(
      '', "multiples of the compute to train with besides 1: '0.0625,0.25'"
    ),
    'sizes': Option('', 'multiples of the widths to train with besides 1'),
    'ratio': Option(
      0.0, 'between the two budgets whose gain is attributed; 0: the widest', 0
    ),
    'reach': Option(
      '', "report the step at which a curve gets there: 'train/accuracy=0.75'"
    ),
    'targets': Option(
      '', "of compute-equivalent gains, in the metric's unit; by rule if empty"
    ),
    'metric': Option('accuracy', 'decides, on the test split'),
    'alpha': Option(0.05, 'level of the tests', 0, 1, closed='neither'),
    'margin': Option(0.0, "of equivalence, in the metric's unit; 0: none declared", 0),
    'looks': Option(1, 'interim analyses, declared before the first', 1),
    'budgets_bare': Option(
      '',
      'further multiples of the compute for the arm without any component: with more '
      'of it, it may reach what the others reach',
    ),
    'tune': Option(
      '',
      "numbers to try, the same for every arm: 'optimizer.learning_rate=0.01,0.03;…'; "
      'besides traced numbers train.batch_size, numbers of the model, and size, a '
      'multiple of its widths',
    ),
    'tune_by': Option(
      'grid',
      'which points a search tries: every combination (grid), log-uniform draws from '
      'the smallest to the largest number (random), or the neighbours of the best so '
      'far, beginning at the choice of the next smaller budget (neighbours)',
      choices=('grid', 'random', 'neighbours'),
    ),
    'tune_trials': Option(
      9, 'points that a search tries, unless it is a grid', 2, 10_000, closed='both'
    ),
    'tune_for': Option(
      'score',
      'what it chooses by: the score of the deciding metric on validation, or the '
      'speed with which training gets to study.reach',
      choices=('score', 'speed'),
    ),
    'tune_extend': Option(
      4,
      'values by which a grid, and rounds by which a search among neighbours, may grow '
      'while the best lies at an end',
      0,
    ),
    'tune_seeds': Option(3, 'seeds of the tuning, disjoint from those of the claim', 1),
    'allow_mixed': Option(
      '', 'provenance fields that may differ within this study, comma-separated'
    ),
  },
  # How the runs are executed: changes no result beyond rounding.
  'engine': {
    'strategy': Option(
      'auto',
      'members of a program are trained in turn (map) or together (vmap)',
      choices=('auto', 'map', 'vmap'),
    ),
    'width': Option(0, 'members per device in one program; 0: by rule', 0),
    'data_devices': Option(1, "devices over which one run's batch is spread", 1),
    'checkpoint_seconds': Option(120.0, 'between checkpoints'),
    'lease_seconds': Option(
      60.0,
      'without a heartbeat until another worker takes a program over',
      0,
      closed='neither',
    ),
    'keep': Option(
      'last', 'the final variables of every run, or none', choices=('last', 'none')
    ),
    'track': Option(
      '',
      'shows every run at each evaluation while it trains; empty: nowhere',
      choices=('', 'wandb', 'trackio', 'mlflow', 'tensorboard'),
    ),
    'stream_threads': Option(
      0, 'that read and decode a streamed data set; 0: one per core', 0
    ),
    'stream_workers': Option(
      0, 'processes that do so instead, each with those threads', 0
    ),
    'stream_mb': Option(
      256, 'of batches prepared at a time; three times that is held', 1
    ),
  },
}
# Options that are gone, by path, and the words that do the same today.
MOVED = {'engine.tensorboard': 'engine.track=tensorboard'}


def describe_moved(path: str) -> str:
  """One line on an option that is gone, by its path or its name; '' of any other."""
  for old, today in MOVED.items():
    if path in (old, old.partition('.')[2]):
      return f'config.{old} is gone: use config.{today}'
  return ''
