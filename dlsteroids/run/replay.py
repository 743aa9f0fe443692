"""The action `replay`: one run again by itself, every array checked at every step."""

from collections.abc import Callable, Mapping
from typing import Any

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

LINES = 50  # of training losses; evaluations are all printed

Say = Callable[[str], None]


def replay(plan: study_plan.Plan, run: runs.Run, say: Say) -> bool:
  """Trains `run` by itself and prints its progress; whether all was finite.

  The losses, parameters, optimizer states and other collections are checked after every
  step. The first non-finite arrays are named, and so is the operation of the step whose
  loss is not finite, which ends the replay. The numbers are those of the study to
  rounding: a batch of one run is another program.
  """
  with jax.default_matmul_precision(run.config['train']['matmul']):
    return _replay(plan, run, say)


def _replay(plan: study_plan.Plan, run: runs.Run, say: Say) -> bool:
  dataset, member = plan.dataset(run.config), plan.members[run.program]
  program = program_lib.make(member, program_lib.Layout('map', 1, 1))
  data = program_lib.place_data(dataset, program.mesh)
  slot = member_lib.slot(run.config, dataset, run.seed)
  slots = program_lib.place([slot], program)
  _describe(run, slot, say)
  state = program.init(slots, data)
  if not _report_nonfinite(state, 'the initial state', say):
    return False
  steps = run.config['train']['steps']
  split = dataset.split(run.seed)
  counts = {name: len(split[name]) for name in member_lib.SPLITS}
  past = history.new(member, plan.config['study']['metric'], 1)
  ends = loop.boundaries(steps, run.config['train']['evaluations'])
  lines = {*range(max(1, steps // LINES), steps, max(1, steps // LINES)), *ends}
  good, fresh, fed = True, True, slots
  with feed_lib.make(
    program, [slot], slots, local.readers(plan.config['engine'])
  ) as feed:
    feed.start(loop.visits(0, ends, ()))
    for step in range(steps):
      before = jax.tree.map(jnp.copy, state)  # a step may reuse its argument's memory
      fed, _ = feed.training(step, step + 1)
      state = program.stretch(
        state, fed, data, jnp.int32(step), jnp.int32(step + 1), jnp.bool_(fresh)
      )
      if int(state['diverged'][0]) >= 0:
        say(f'step {step}: the loss is not finite')
        _name_operation(member, before, fed, data, step, say)
        return False
      learned = {name: state[name] for name in ('variables', 'optimizer')}
      good = good and _report_nonfinite(learned, f'after step {step}', say)
      fresh = False
      if step + 1 in lines:
        _report_losses(step + 1, state, say)
      if step + 1 in ends:
        values = feed_lib.evaluate(program, state, feed, data)
        past = history.append(past, member, counts, step + 1, values)
        for name in sorted(past.columns):
          say(f'  {name} = {past.columns[name][-1][0]:.6g}')
        fresh = True
  return good


def _describe(run: runs.Run, slot: Mapping[str, Any], say: Say) -> None:
  """Prints which run is replayed, its model and its traced numbers."""
  say(f'replay of arm {run.arm}, seed {run.seed}: fingerprint {run.fingerprint}')
  for name, value in sorted(run.config['model'].items()):
    say(f'  model.{name} = {value!r}')
  for path, value in sorted(slot['hyper'].items()):
    say(f'  {path} = {float(value):.6g}')


def _report_losses(step: int, state: Any, say: Say) -> None:
  """Prints the mean training scalars since the last line, and the parameter norm."""
  sums = jax.device_get(state['sums'])
  count = float(sums['steps'][0])
  means = [f'{k} {float(v[0]) / count:.6g}' for k, v in sums.items() if k != 'steps']
  params = [variables['params'] for variables in state['variables'].values()]
  total = sum(float(jnp.sum(jnp.square(x))) for x in jax.tree.leaves(params))
  say(f'step {step}: train {"  ".join(means)}  |params| {np.sqrt(total):.6g}')


@jax.jit
def _finite(tree: Any) -> Any:
  """Whether each leaf is finite."""
  return jax.tree.map(
    lambda x: (
      jnp.isfinite(x).all() if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.bool_(True)
    ),
    tree,
  )


def _report_nonfinite(tree: Any, when: str, say: Say) -> bool:
  """Prints the path of every array with a non-finite value; whether there is none."""
  flags = jax.tree_util.tree_leaves_with_path(jax.device_get(_finite(tree)))
  paths = [jax.tree_util.keystr(path) for path, finite in flags if not finite]
  for path in paths:
    say(f'{when}: {path} is not finite')
  return not paths


def _name_operation(
  member: member_lib.Member, before: Any, fed: Any, data: Any, step: int, say: Say
) -> None:
  """Repeats a step under JAX's own NaN checks, to name the operation that fails."""
  state, slot = jax.tree.map(lambda x: jnp.asarray(x)[0], (before, fed))
  learned = {name: state[name] for name in ('variables', 'optimizer')}
  _report_nonfinite(learned, f'before step {step}', say)
  keys = rng.Keys(rng.root(slot['seed']), step)
  _, batch = jax.jit(member.draw)(state['order'], slot, data, keys)
  try:
    with jax.debug_nans(True), jax.debug_infs(True):
      member.step(learned, batch, keys, slot['hyper'])
  except FloatingPointError as error:
    say(f'step {step}: {str(error).splitlines()[0]}')
