"""One run again, alone: step by step, every value checked, everything logged."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import rng
from dlsteroids.plan import runs, study_plan
from dlsteroids.run import local
from dlsteroids.train import feed as feed_lib
from dlsteroids.train import history, loop
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib

LINES = 50  # training lines; evaluations are all printed


def replay(made: study_plan.Plan, run: runs.Run, say: Callable[[str], None]) -> bool:
  """Trains `run` by itself and prints what happens; returns whether all was finite.

  On the first non-finite loss it names the step and every array that is not finite.
  The numbers are those of the study to rounding: a batch of one is another program.
  """
  dataset = made.dataset(run.config)
  member = made.members[run.program]
  layout = program_lib.Layout('map', 1, 1)
  program = program_lib.make(member, layout)
  data = program_lib.place_data(dataset, program.mesh)
  slot = member_lib.slot(run.config, dataset, run.seed)
  slots = program_lib.place([slot], program)
  say(f'replay of arm {run.arm}, seed {run.seed}: fingerprint {run.fingerprint}')
  for path, value in sorted(run.config['model'].items()):
    say(f'  model.{path} = {value!r}')
  say(
    f'  hyper: {slots["hyper"] and {k: float(v[0]) for k, v in slots["hyper"].items()}}'
  )
  state = program.init(slots, data)
  if not finite(state, 'the initial state', say):
    return False
  steps, step = run.config['train']['steps'], 0
  split = dataset.split(run.seed)
  counts = {name: len(split[name]) for name in member_lib.SPLITS}
  past = history.new(member, made.config['study']['metric'], 1)
  every = max(1, steps // LINES)
  ends = loop.boundaries(steps, run.config['train']['evaluations'])
  fresh = True
  readers = local.readers(made.config['engine'])
  with feed_lib.make(program, [slot], slots, readers) as feed:
    feed.start(loop.visits(0, ends, ()))
    while step < steps:
      before = jax.device_get(state)
      stop = min([step + every, *(end for end in ends if end > step)])
      fed, stop = feed.training(step, stop)
      state = program.stretch(
        state, fed, data, jnp.int32(step), jnp.int32(stop), jnp.bool_(fresh)
      )
      where = int(state['diverged'][0])
      if where >= 0:
        say(f'step {where}: the loss is not finite')
        name_culprits(member, before, fed, data, step, where, say)
        return False
      step, fresh = stop, False
      sums = jax.device_get(state['sums'])
      count = float(sums['steps'][0])
      means = [
        f'{k} {float(v[0]) / count:.6g}' for k, v in sums.items() if k != 'steps'
      ]
      say(f'step {step}: train {"  ".join(means)}  |params| {size(state):.6g}')
      if step in ends:
        values = feed_lib.evaluate(program, state, feed, data)
        past = history.append(past, member, counts, step, values)
        for name in sorted(past.columns):
          say(f'  {name} = {past.columns[name][-1][0]:.6g}')
        fresh = True
  return finite(state, 'the final state', say)


def size(state) -> float:
  leaves = [v['params'] for v in state['variables'].values()]
  total = sum(float(jnp.sum(jnp.square(x))) for x in jax.tree.leaves(leaves))
  return float(np.sqrt(total))


def finite(tree, what: str, say: Callable[[str], None]) -> bool:
  """Whether every float in `tree` is finite; names those that are not."""
  good = True
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if (
      np.issubdtype(np.asarray(leaf).dtype, np.floating) and not np.isfinite(leaf).all()
    ):
      say(f'{what}: {jax.tree_util.keystr(path)} is not finite')
      good = False
  return good


def name_culprits(member, before, slots, data, step, where, say) -> None:
  """Steps from the last good state with JAX's own NaN checks, to name the operation."""
  one, slot = jax.tree.map(lambda x: jnp.asarray(x)[0], (before, slots))
  stretch = jax.jit(member.stretch)
  if where > step:
    one = stretch(one, slot, data, step, where, False)
  learned = {name: one[name] for name in ('variables', 'optimizer')}
  finite(learned, f'before step {where}', say)
  keys = rng.Keys(rng.root(slot['seed']), where)
  _, batch = jax.jit(member.draw)(one['order'], slot, data, keys)
  try:
    with jax.debug_nans(True), jax.debug_infs(True):
      member.step(learned, batch, keys, slot['hyper'])
  except FloatingPointError as error:
    say(f'step {where}: {str(error).splitlines()[0]}')
