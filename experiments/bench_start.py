"""What compiling costs at the start of a study: runs in worker processes, with JAX."""

import time

from dlsteroids import config as config_lib
from dlsteroids.launch import files, local, machine, prepare
from dlsteroids.study import plan
from experiments import bench_engine
from experiments.bench_worker import Offer

RATES = tuple(0.01 * 1.3**i for i in range(10))
COMPILED = '/jax/core/compile/backend_compile_duration'  # cache hits included


def compile_study(config: str) -> Offer:
  """Compiles all programs of a study in this new process; facts: seconds, programs."""
  machine.prepare()
  asked = files.read(config)
  made = prepare.make(asked.config, asked.factors, asked.arms)
  runs = prepare.claim_runs(made)
  todo = plan.batches(runs, lambda _: False, lambda name: made.layouts[name].members)
  firsts = {batch.program: batch for batch in reversed(todo)}
  begin = time.perf_counter()
  with local.Compiler(made) as compiler:
    for name, batch in firsts.items():
      compiler.get(batch, made.layouts[name])
  facts = {'seconds': time.perf_counter() - begin, 'programs': len(firsts)}
  return Offer(facts | machine.provenance(), {})


def rates(config: str) -> Offer:
  """Trains ten learning rates; facts: programs, and compilations after the first batch.

  Any program handed to XLA counts, even one that the persistent cache then supplies.
  """
  import jax

  machine.prepare()
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(seconds) if event == COMPILED else None
  )
  asked = files.read(config)
  tree = config_lib.override(config_lib.resolve(asked.config), [('engine.width', 1)])
  made = prepare.make(tree, asked.factors, asked.arms)
  runs = [
    made.run('baseline', plan.TUNE_SEED, plan.SEARCH, {'optimizer.learning_rate': rate})
    for rate in RATES
  ]
  ready = bench_engine.make_ready(made, runs)
  bench_engine.train_batch(ready, ready.slots[0], 2)
  before = len(compiled)
  for slots in ready.slots[1:]:
    bench_engine.train_batch(ready, slots, 2)
  facts = {
    'programs': len({run.program for run in runs}),
    'before': before,
    'added': len(compiled) - before,
  }
  return Offer(facts | machine.provenance(), {})
