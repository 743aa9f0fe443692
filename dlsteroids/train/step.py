"""The training step of every task: each turn's gradient updates its player."""

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
  """A context that sets how convolutions are traced: rewritten on CPUs, else native.

  The rewritten forms were chosen on CPUs; GPU libraries recognise the native ones.
  """
  on_cpu = jax.default_backend() == 'cpu'
  return contextlib.nullcontext() if on_cpu else convolution.native()


def init(task: types.Task, key: Any, batch: types.Batch, hyper: types.Hyper) -> State:
  """Initial variables and optimizer states by player, for one member."""
  keys = rng.Keys(key)
  variables = {name: player.init(keys, batch) for name, player in task.players.items()}
  opt_states = {
    name: player.optimizer(hyper).init(variables[name]['params'])
    for name, player in task.players.items()
  }
  return {'variables': variables, 'optimizer': opt_states}


def batches_per_step(task: types.Task) -> int:
  """How many batches one step draws: the largest `repeat` of its turns."""
  return max(turn.repeat for turn in task.turns)


class SharedPass(NamedTuple):
  """The result of a task's shared forward pass, as one update uses it.

  Attributes:
    value: what the losses find as `batch['shared']`.
    new: collections that the pass changed, by player.
    pullback: maps the gradient with respect to `value` to the gradient with respect to
      the parameters of the pass's player; None in turns of other players.
  """

  value: Any
  new: Mapping[str, Any]
  pullback: Callable[[Any], Any] | None


def forward_shared(
  shared: types.Pass, variables: Any, batch: Any, keys: Any, hyper: Any
) -> SharedPass:
  """Runs the forward pass that several turns share, differentiably in its player."""

  def run(params):
    player = {**variables[shared.player], 'params': params}
    value, new = shared.run({**variables, shared.player: player}, batch, keys, hyper)
    return spread.alike(value, batch), new

  params = variables[shared.player]['params']
  value, pullback, new = jax.vjp(run, params, has_aux=True)
  return SharedPass(value, new, lambda gradient: pullback(gradient)[0])


def turn_gradient(
  turn: types.Turn,
  variables: Any,
  batch: Any,
  keys: Any,
  hyper: Any,
  shared: SharedPass | None,
) -> tuple[Any, Any, Any, Any]:
  """A turn's loss, changed collections, scalars, and gradient in its player's params.

  If the shared pass uses the same player, its gradient flows through that pass, too.
  """
  player = variables[turn.player]

  def loss_fn(params, value):
    current = {**variables, turn.player: {**player, 'params': params}}
    inputs = batch if shared is None else {**batch, 'shared': value}
    return turn.loss(current, inputs, keys, hyper)

  value = None if shared is None else shared.value
  if shared is None or shared.pullback is None:
    (loss, (new, scalars)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
      player['params'], value
    )
    return loss, new, scalars, gradient
  (loss, (new, scalars)), (gradient, value_gradient) = jax.value_and_grad(
    loss_fn, (0, 1), has_aux=True
  )(player['params'], value)
  gradient = jax.tree.map(jnp.add, gradient, shared.pullback(value_gradient))
  names = {**shared.new, **new}
  new = {name: {**shared.new.get(name, {}), **new.get(name, {})} for name in names}
  return loss, new, scalars, gradient


def update_if(
  condition: Any, update: Callable[..., Any], old: Any, *operands: Any
) -> Any:
  """`update(old, *operands)` where `condition` holds, else `old`, to the bit.

  On one device this is a `cond`: a `where` copies old and new values, which takes a
  tenth of an MLP's step. Where a batch is spread over devices it is a `where`:
  collectives in a branch that not every group of devices takes would deadlock.
  """
  if spread.size() == 1:
    return jax.lax.cond(condition, update, lambda old, *_: old, old, *operands)
  new = update(old, *operands)
  return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def make(task: types.Task) -> Callable[..., tuple[State, Mapping[str, Any], Any]]:
  """`(state, batch, keys, hyper, alive=True) -> (state, scalars, finite)`.

  `finite` is whether every turn's loss was finite. From the first loss that is not, or
  if the run is not `alive`, the state is kept, bit for bit. If turns repeat,
  `batch` has a leading axis as long as the largest `repeat`: the i-th update of every
  turn takes the i-th part of it, with PRNG streams of its own.

  Raises:
    ValueError: a shared pass whose player is not updated exactly once, last.
  """
  repeats, shared = batches_per_step(task), task.shared
  if shared is not None:
    players = [turn.player for turn in task.turns for _ in range(turn.repeat)]
    if players.index(shared.player) != len(players) - 1:
      raise ValueError(
        f'the player of a shared pass, {shared.player!r}, must be updated once and '
        f'last; the turns update {", ".join(players)}'
      )

  def apply_turn(turn, state, batch, keys, hyper, alive, shared_pass):
    variables = state['variables']
    player = variables[turn.player]
    loss, new, scalars, gradient = turn_gradient(
      turn, variables, batch, keys, hyper, shared_pass
    )
    finite = jnp.isfinite(loss)
    optimizer = task.players[turn.player].optimizer(hyper)

    def update(old, gradient, new):
      updates, opt_state = optimizer.update(gradient, old['opt_state'], old['params'])
      params = optax.apply_updates(old['params'], updates)
      return {'params': params, 'opt_state': opt_state, 'new': dict(new)}

    # Only what the turn may change passes through the branch.
    old = {
      'params': player['params'],
      'opt_state': state['optimizer'][turn.player],
      'new': {name: {c: variables[name][c] for c in new[name]} for name in new},
    }
    updated = update_if(finite & alive, update, old, gradient, new)
    variables = {
      name: {**variables[name], **updated['new'].get(name, {})} for name in variables
    }
    variables[turn.player] |= {'params': updated['params']}
    opt_states = {**state['optimizer'], turn.player: updated['opt_state']}
    return {'variables': variables, 'optimizer': opt_states}, scalars, finite

  def part_of(batch, keys, index):
    if repeats == 1:
      return batch, keys
    part = jax.tree.map(lambda x: x[index], batch)
    return part, rng.Keys(keys.root, keys.step * repeats + index)

  def shared_for(turn, index, state, batch, keys, hyper, first):
    """The shared pass for update number `index` of a turn."""
    if shared is None or turn.player == shared.player:
      return first
    value = first.value
    if index:  # another part of the batch: the pass is run again
      value, _ = shared.run(state['variables'], batch, keys, hyper)
      value = spread.alike(value, batch)
    return SharedPass(value, {}, None)

  def step(state, batch, keys, hyper, alive=True):
    finite = jnp.bool_(True)
    scalars: dict[str, Any] = {}
    first = None
    if shared is not None:
      part, part_keys = part_of(batch, keys, 0)
      first = forward_shared(shared, state['variables'], part, part_keys, hyper)
    for turn in task.turns:
      for index in range(turn.repeat):
        part, part_keys = part_of(batch, keys, index)
        shared_pass = shared_for(turn, index, state, part, part_keys, hyper, first)
        state, turn_scalars, turn_finite = apply_turn(
          turn, state, part, part_keys, hyper, finite & alive, shared_pass
        )
        scalars |= turn_scalars
        finite &= turn_finite
    if task.after_step is not types.unchanged:
      variables = update_if(
        finite & alive,
        lambda variables: task.after_step(variables, keys, hyper),
        state['variables'],
      )
      state = {**state, 'variables': variables}
    return state, scalars, finite

  return step
