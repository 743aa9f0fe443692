"""What compiling costs at the start of a study: runs in worker processes, with JAX."""

import concurrent.futures
import pathlib
import tempfile
import time

from dlsteroids import config as config_lib
from dlsteroids.config import files
from dlsteroids.plan import runs as runs_lib
from dlsteroids.plan import study_plan
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import local
from dlsteroids.store import results
from dlsteroids.study import factors
from dlsteroids.util import environment
from experiments.bench import engine
from experiments.bench.worker import Offer

RATES = tuple(0.01 * 1.3**i for i in range(10))
COMPILED = '/jax/core/compile/backend_compile_duration'  # cache hits included


def structural(factors_: int = 6) -> study_plan.Plan:
  """2^factors arms of the digits study, every one a program of its own."""
  asked = files.read('configs/digits_cnn.py')
  changes = {
    **{'study.design': 'factorial', 'study.seeds': 2},
    **{'train.steps': 100, 'train.evaluations': 1},
  }
  config = config_lib.override(asked.config, changes.items())
  tested = [factor for factor in asked.factors if factor.name != 'dropout']
  tested.append(factors.factor('residual', 'model.residual', False, True))
  tested.append(factors.factor('head', 'model.head', 'dense', 'average'))
  return study_plan.make(config, tested[-factors_:])


def compile_study(config: str) -> Offer:
  """Compiles all programs of a study in this new process.

  Args:
    config: a file with its mode; 'structural' for `structural`.

  Returns:
    facts: seconds, seconds of planning, programs, arms.
  """
  environment.prepare()
  begin = time.perf_counter()
  if config == 'structural':
    made = structural()
  else:
    asked = files.read(config)
    made = study_plan.make(asked.config, asked.factors, asked.arms)
  planned = time.perf_counter()
  firsts = first_batches(made)
  with compiler_lib.Compiler(made) as compiler:
    compiler.start(firsts)
    for batch in firsts:
      compiler.get(batch)
  facts = {
    'seconds': time.perf_counter() - planned,
    'planning': planned - begin,
    'programs': len(firsts),
    'arms': len(made.arms),
  }
  return Offer(facts | environment.provenance(), {})


def first_batches(made: study_plan.Plan) -> list[runs_lib.Batch]:
  """One batch of every program of a plan, in the order in which they are trained."""
  runs = study_plan.claim_runs(made)
  todo = study_plan.batches(made, runs, lambda _: False)
  return list({batch.program: batch for batch in reversed(todo)}.values())[::-1]


def overlap(together: bool) -> Offer:
  """Trains 32 short runs of 16 programs; compiles meanwhile, or everything before.

  Returns:
    facts: seconds of compiling and training.
  """
  environment.prepare()
  made = structural(4)
  runs = study_plan.claim_runs(made)
  begin = time.perf_counter()
  with (
    tempfile.TemporaryDirectory() as folder,
    compiler_lib.Compiler(made, ahead=len(runs)) as compiler,
  ):
    if not together:
      compiler.start(first_batches(made))
      concurrent.futures.wait(compiler.futures.values())
    empty = results.Index({}, {})
    failures = local.execute(made, runs, pathlib.Path(folder), empty, compiler)
  if failures:
    raise RuntimeError(next(iter(failures.values())))
  facts = {'seconds': time.perf_counter() - begin, 'programs': len(made.members)}
  return Offer(facts | environment.provenance(), {})


def rates(config: str) -> Offer:
  """Trains ten learning rates; facts: programs, and compilations after the first batch.

  Any program handed to XLA counts, even one that the persistent cache then supplies.
  """
  import jax

  environment.prepare()
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(seconds) if event == COMPILED else None
  )
  asked = files.read(config)
  tree = config_lib.override(asked.config, [('engine.width', 1)])
  made = study_plan.make(tree, asked.factors, asked.arms)
  runs = [
    made.run(
      'baseline', runs_lib.TUNE_SEED, runs_lib.SEARCH, {'optimizer.learning_rate': rate}
    )
    for rate in RATES
  ]
  ready = engine.make_ready(made, runs)
  engine.train_batch(ready, 0, 2)
  before = len(compiled)
  for number in range(1, len(ready.slots)):
    engine.train_batch(ready, number, 2)
  facts = {
    'programs': len({run.program for run in runs}),
    'before': before,
    'added': len(compiled) - before,
  }
  return Offer(facts | environment.provenance(), {})
