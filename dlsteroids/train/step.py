"""One step for every task: each turn's gradient moves its player, inside a trace."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlsteroids import rng, types
from dlsteroids.models.ops import convolution
from dlsteroids.train import spread

State = dict[str, Any]


def formulation() -> contextlib.AbstractContextManager[Any]:
  """How convolutions are traced: mended on a CPU, elsewhere as the backend knows them.

  The mended forms were chosen on CPUs; GPU libraries look for the native ones.
  """
  mended = jax.default_backend() == 'cpu'
  return contextlib.nullcontext() if mended else convolution.native()


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


class Seen(NamedTuple):
  """A task's shared pass at one move.

  Attributes:
    value: what the losses find in their batch.
    new: collections that the pass changed, by player.
    pull: the value's gradient to that of its player's parameters; None where only
      others move.
  """

  value: Any
  new: Mapping[str, Any]
  pull: Callable[[Any], Any] | None


def look(shared: types.Pass, variables: Any, batch: Any, keys: Any, hyper: Any) -> Seen:
  """Makes the shared pass so that its player's gradient can go back through it."""

  def run(params):
    mine = {**variables[shared.player], 'params': params}
    found, new = shared.run({**variables, shared.player: mine}, batch, keys, hyper)
    return spread.alike(found, batch), new

  value, pull, new = jax.vjp(run, variables[shared.player]['params'], has_aux=True)
  return Seen(value, new, lambda slope: pull(slope)[0])


def slope(
  turn: types.Turn, variables: Any, batch: Any, keys: Any, hyper: Any, seen: Seen | None
) -> tuple[Any, Any, Any, Any]:
  """A turn's loss, changed collections, scalars and gradient by its player."""
  mine = variables[turn.player]

  def loss(params, value):
    moved = {**variables, turn.player: {**mine, 'params': params}}
    given = batch if seen is None else {**batch, 'shared': value}
    return turn.loss(moved, given, keys, hyper)

  value = None if seen is None else seen.value
  if seen is None or seen.pull is None:
    (found, (new, scalars)), grads = jax.value_and_grad(loss, has_aux=True)(
      mine['params'], value
    )
    return found, new, scalars, grads
  (found, (new, scalars)), (grads, back) = jax.value_and_grad(
    loss, (0, 1), has_aux=True
  )(mine['params'], value)
  grads = jax.tree.map(jnp.add, grads, seen.pull(back))
  new = {n: {**seen.new.get(n, {}), **new.get(n, {})} for n in {**seen.new, **new}}
  return found, new, scalars, grads


def when(good: Any, change: Callable[..., Any], old: Any, *rest: Any) -> Any:
  """`change(old, *rest)` if `good`, else `old`, to the bit.

  A branch, as selecting between old and new numbers would copy both, a tenth of an
  MLP's step. Where a batch is spread it is the selection: inside a branch that not
  every group of devices takes they could not wait for one another.
  """
  if spread.size() == 1:
    return jax.lax.cond(good, change, lambda old, *_: old, old, *rest)
  return jax.tree.map(
    lambda new, old: jnp.where(good, new, old), change(old, *rest), old
  )


def make(task: types.Task) -> Callable[..., tuple[State, Mapping[str, Any], Any]]:
  """`(state, batch, keys, hyper, alive=True) -> (state, scalars, finite)`.

  `finite` tells whether every turn's loss was; from the first that was not, or if the
  run is not `alive`, nothing moves any more, to the bit. If a turn is repeated, `batch`
  has a leading axis as long as the largest `repeat`: the i-th move of every turn sees
  the i-th part of it, with streams of its own.

  Raises:
    ValueError: a shared pass whose player does not move once, last.
  """
  repeats, shared = largest_repeat(task), task.shared
  if shared is not None:
    moves = [turn.player for turn in task.turns for _ in range(turn.repeat)]
    if moves.index(shared.player) != len(moves) - 1:
      raise ValueError(
        f'the player of a shared pass must move once, last; {shared.player!r} moves as '
        f'in {moves}'
      )

  def move(turn, state, batch, keys, hyper, alive, seen):
    variables = state['variables']
    mine = variables[turn.player]
    value, new, scalars, grads = slope(turn, variables, batch, keys, hyper, seen)
    finite = jnp.isfinite(value)
    optimizer = task.players[turn.player].optimizer(hyper)

    def update(old, grads, new):
      updates, moments = optimizer.update(grads, old['moments'], old['params'])
      params = optax.apply_updates(old['params'], updates)
      return {'params': params, 'moments': moments, 'new': dict(new)}

    # Only what may change passes through this.
    old = {
      'params': mine['params'],
      'moments': state['optimizer'][turn.player],
      'new': {n: {kind: variables[n][kind] for kind in new[n]} for n in new},
    }
    found = when(finite & alive, update, old, grads, new)
    after = {
      name: {**variables[name], **found['new'].get(name, {})} for name in variables
    }
    after[turn.player] |= {'params': found['params']}
    moments = {**state['optimizer'], turn.player: found['moments']}
    return {'variables': after, 'optimizer': moments}, scalars, finite

  def parts(batch, keys, index):
    if repeats == 1:
      return batch, keys
    part = jax.tree.map(lambda x: x[index], batch)
    return part, rng.Keys(keys.root, keys.step * repeats + index)

  def step(state, batch, keys, hyper, alive=True):
    finite = jnp.bool_(True)
    logged: dict[str, Any] = {}
    first = None
    if shared is not None:
      part, streams = parts(batch, keys, 0)
      first = look(shared, state['variables'], part, streams, hyper)
    for turn in task.turns:
      for index in range(turn.repeat):
        part, streams = parts(batch, keys, index)
        seen = first
        if shared is not None and first is not None and turn.player != shared.player:
          value = first.value
          if index:
            value, _ = shared.run(state['variables'], part, streams, hyper)
            value = spread.alike(value, part)
          seen = Seen(value, {}, None)
        state, scalars, good = move(
          turn, state, part, streams, hyper, finite & alive, seen
        )
        logged |= scalars
        finite &= good
    if task.after_step is not types.unchanged:
      variables = when(
        finite & alive,
        lambda variables: task.after_step(variables, keys, hyper),
        state['variables'],
      )
      state = {**state, 'variables': variables}
    return state, logged, finite

  return step
