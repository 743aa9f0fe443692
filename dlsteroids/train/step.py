"""One step for every task: each turn's gradient moves its player, inside a trace."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlsteroids import rng, types
from dlsteroids.models import ops

State = dict[str, Any]


def formulation() -> contextlib.AbstractContextManager[Any]:
  """How convolutions are traced: mended on a CPU, elsewhere as the backend knows them.

  The mended forms were chosen on CPUs; GPU libraries look for the native ones.
  """
  mended = jax.default_backend() == 'cpu'
  return contextlib.nullcontext() if mended else ops.native()


def init(task: types.Task, key: Any, batch: types.Batch, hyper: types.Hyper) -> State:
  """Initial variables and optimizer states by player, for one member."""
  keys = rng.Keys(key)
  variables = {name: player.init(keys, batch) for name, player in task.players.items()}
  moments = {
    name: player.optimizer(hyper).init(variables[name]['params'])
    for name, player in task.players.items()
  }
  return {'variables': variables, 'optimizer': moments}


def largest_repeat(task: types.Task) -> int:
  """How many batches a step draws."""
  return max(turn.repeat for turn in task.turns)


def make(task: types.Task) -> Callable[..., tuple[State, Mapping[str, Any], Any]]:
  """`(state, batch, keys, hyper, alive=True) -> (state, scalars, finite)`.

  `finite` tells whether every turn's loss was; from the first that was not, or if the
  run is not `alive`, nothing moves any more, to the bit. If a turn is repeated, `batch`
  has a leading axis as long as the largest `repeat`: the i-th move of every turn sees
  the i-th part of it, with streams of its own.
  """
  repeats = largest_repeat(task)

  def move(turn, state, batch, keys, hyper, alive):
    variables = state['variables']
    mine = variables[turn.player]

    def loss(params):
      moved = {**variables, turn.player: {**mine, 'params': params}}
      return turn.loss(moved, batch, keys, hyper)

    (value, (new, scalars)), grads = jax.value_and_grad(loss, has_aux=True)(
      mine['params']
    )
    optimizer = task.players[turn.player].optimizer(hyper)

    def update(state, grads, new):
      params = state['variables'][turn.player]['params']
      moments = state['optimizer'][turn.player]
      updates, moments = optimizer.update(grads, moments, params)
      found = {
        name: {**old, **new.get(name, {})} for name, old in state['variables'].items()
      }
      found[turn.player] |= {'params': optax.apply_updates(params, updates)}
      return {
        'variables': found,
        'optimizer': {**state['optimizer'], turn.player: moments},
      }

    finite = jnp.isfinite(value)
    # Selecting between old and new numbers would copy both: a tenth of an MLP's step.
    state = jax.lax.cond(
      finite & alive, update, lambda state, *_: state, state, grads, new
    )
    return state, scalars, finite

  def step(state, batch, keys, hyper, alive=True):
    finite = jnp.bool_(True)
    logged: dict[str, Any] = {}
    for turn in task.turns:
      for index in range(turn.repeat):
        part, streams = batch, keys
        if repeats > 1:
          part = jax.tree.map(lambda x, index=index: x[index], batch)
          streams = rng.Keys(keys.root, keys.step * repeats + index)
        state, scalars, good = move(turn, state, part, streams, hyper, finite & alive)
        logged |= scalars
        finite &= good
    if task.after_step is not types.unchanged:
      variables = jax.lax.cond(
        finite & alive,
        lambda variables: task.after_step(variables, keys, hyper),
        lambda variables: variables,
        state['variables'],
      )
      state = {**state, 'variables': variables}
    return state, logged, finite

  return step
