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
  return contextlib.nullcontext() if mended else ops.plain()


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
  """`(state, batch, keys, hyper) -> (state, scalars, finite)`.

  `finite` tells whether every turn's loss was; if not, the returned state is the one
  before the step, to the bit. If a turn is repeated, `batch` has a leading axis as long
  as the largest `repeat`: the i-th move of every turn sees the i-th part of it, with
  streams of its own.
  """
  repeats = largest_repeat(task)

  def move(turn, state, batch, keys, hyper):
    variables = state['variables']
    mine = variables[turn.player]

    def loss(params):
      moved = {**variables, turn.player: {**mine, 'params': params}}
      return turn.loss(moved, batch, keys, hyper)

    (value, (new, scalars)), grads = jax.value_and_grad(loss, has_aux=True)(
      mine['params']
    )
    optimizer = task.players[turn.player].optimizer(hyper)
    updates, moments = optimizer.update(
      grads, state['optimizer'][turn.player], mine['params']
    )
    variables = {name: {**old, **new.get(name, {})} for name, old in variables.items()}
    variables[turn.player] |= {'params': optax.apply_updates(mine['params'], updates)}
    moments = {**state['optimizer'], turn.player: moments}
    return {'variables': variables, 'optimizer': moments}, scalars, jnp.isfinite(value)

  def step(state, batch, keys, hyper):
    before, finite = state, jnp.bool_(True)
    logged: dict[str, Any] = {}
    for turn in task.turns:
      for index in range(turn.repeat):
        part, streams = batch, keys
        if repeats > 1:
          part = jax.tree.map(lambda x, index=index: x[index], batch)
          streams = rng.Keys(keys.root, keys.step * repeats + index)
        state, scalars, good = move(turn, state, part, streams, hyper)
        logged |= scalars
        finite &= good
    state = {**state, 'variables': task.after_step(state['variables'], keys, hyper)}
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, before)
    return state, logged, finite

  return step
