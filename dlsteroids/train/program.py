"""One compiled program for all runs of equal static config, over devices.

The only place with jit, vmap, shardings and donation.
"""

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import rng, types
from dlsteroids.train import chunks, processes, spread
from dlsteroids.train import member as member_lib
from dlsteroids.train import step as step_lib

P = jax.sharding.PartitionSpec
AXIS = 'member'
OFTEN: dict[str, Any] = {}  # runs for long
ONCE = {'xla_backend_optimization_level': 0}  # runs once: compile it fast
# Equal numbers from run to run: no atomics, and no kernels chosen by the clock.
SAME: Mapping[str, dict[str, Any]] = {'gpu': {'xla_gpu_deterministic_ops': True}}


class Layout(NamedTuple):
  """How members lie on devices: `width` on each group of them, by 'map' or 'vmap'.

  Attributes:
    strategy: of the members of one group, one after another or side by side.
    width: how many those are.
    devices: in use.
    data: of one group, over which each of its members' batches is spread.
  """

  strategy: str
  width: int
  devices: int
  data: int = 1

  @property
  def groups(self) -> int:
    return self.devices // self.data

  @property
  def members(self) -> int:
    return self.width * self.groups

  def __str__(self) -> str:
    if self.data == 1:
      return f'{self.strategy} {self.width} x {self.devices} devices'
    each = f'{self.strategy} {self.width} x {self.groups} groups'
    return f'{each} of {self.data} devices'


class Program(NamedTuple):
  """Compiled functions over a batch of members (leading axis S = width x groups)."""

  layout: Layout
  member: member_lib.Member
  mesh: jax.sharding.Mesh
  init: Any  # (slots, data) -> states; this and the next two are jitted or compiled
  stretch: Any  # (states, slots, data, start, stop, fresh) -> states; donates
  evaluate: Any  # (states, slots, data) -> values


def make_mesh(layout: Layout) -> jax.sharding.Mesh:
  """Members along the first axis, shares of a member's batch along the second.

  The devices of all processes; what is left over stays idle.
  """
  return jax.make_mesh(
    (layout.groups, layout.data),
    (AXIS, spread.AXIS),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=jax.devices()[: layout.devices],
  )


def over_members(
  function: Callable, layout: Layout, mesh: Any, scalars: int, *, moves: bool = False
) -> Callable:
  """`function(tree, data, *scalars)` of one member, made one of many.

  'map' runs a device's members one after another and skips those that are not live;
  'vmap' runs them side by side. A function that `moves` returns the new state; 'map'
  then updates the states in place, where `lax.map` would copy them all, and stops
  behind the last live member: padding comes last, and its states are not touched.
  """

  def together(value):
    # What XLA moves between the devices of one group may wait for those of all groups:
    # they take the same turns, if need be with padding.
    if layout.data == 1:
      return value
    return jax.lax.pmax(jnp.int32(value), AXIS).astype(value.dtype)

  def skipping(tree, data, *rest):
    def run():
      return function(tree, data, *rest)

    shape = jax.eval_shape(run)

    def skip():
      return jax.tree.map(lambda s: zeros_like(s), shape)

    return jax.lax.cond(together(tree['slot']['live']), run, skip)

  def many(tree, data, *rest):
    with step_lib.formulation(), spread.over(layout.data):
      return every(tree, data, *rest)

  def move(tree, data, *rest):
    live = tree['slot']['live']
    count = jnp.max(jnp.where(live, jnp.arange(1, layout.width + 1), 0))

    def body(i, states):
      one = jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, i, 0, keepdims=False),
        {**tree, 'state': states},
      )
      new = function(one, data, *rest)
      return jax.tree.map(
        lambda x, v: jax.lax.dynamic_update_index_in_dim(x, v, i, 0), states, new
      )

    return jax.lax.fori_loop(0, together(count), body, tree['state'])

  def every(tree, data, *rest):
    if layout.strategy == 'map' and moves:
      return move(tree, data, *rest)
    if layout.strategy == 'map':
      return jax.lax.map(lambda one: skipping(one, data, *rest), tree)
    return jax.vmap(function, in_axes=(0, None, *(None,) * scalars))(tree, data, *rest)

  return jax.shard_map(
    many,
    mesh=mesh,
    in_specs=(P(AXIS), P(), *(P(),) * scalars),
    out_specs=P(AXIS),
    # The axis of data is XLA's, unless there is nothing to split.
    axis_names={AXIS} if layout.data > 1 else {AXIS, spread.AXIS},
    check_vma=False,
  )


def finite(variables: Mapping[str, Any]) -> Any:
  """Whether all trained numbers are: the last step's have met no loss yet."""
  leaves = jax.tree.leaves([player['params'] for player in variables.values()])
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))


def zeros_like(shape: jax.ShapeDtypeStruct) -> Any:
  if jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(jnp.zeros((*shape.shape, 2), jnp.uint32))
  return jnp.zeros(shape.shape, shape.dtype)


def make(member: member_lib.Member, layout: Layout) -> Program:
  """The jitted functions of a program; nothing is compiled before its first call."""
  mesh = make_mesh(layout)
  sharding = jax.sharding.NamedSharding(mesh, P(AXIS))

  def init(tree, data):
    return member.init(tree['slot'], data)

  def stretch(tree, data, start, stop, fresh):
    return member.stretch(tree['state'], tree['slot'], data, start, stop, fresh)

  def evaluate(tree, data):
    film = {}
    if member.task.film is not None:
      keys = rng.Keys(rng.root(0))  # the same noise for every arm, seed and step
      seen = member.task.film(tree['state']['variables'], keys, tree['slot']['hyper'])
      film = {'film': seen}
    return film | {
      'values': member.evaluate(tree['state'], tree['slot'], data),
      'sums': tree['state']['sums'],
      'diverged': tree['state']['diverged'],
      'finite': finite(tree['state']['variables']),
    }

  inits = over_members(init, layout, mesh, 0)
  stretches = over_members(stretch, layout, mesh, 3, moves=True)
  evaluates = over_members(evaluate, layout, mesh, 0)
  return Program(
    layout=layout,
    member=member,
    mesh=mesh,
    init=jax.jit(
      lambda slots, data: inits({'slot': slots}, data), out_shardings=sharding
    ),
    stretch=jax.jit(
      lambda state, slots, data, start, stop, fresh: stretches(
        {'state': state, 'slot': slots}, data, start, stop, fresh
      ),
      donate_argnums=0,
      out_shardings=sharding,
    ),
    evaluate=jax.jit(
      lambda state, slots, data: evaluates({'state': state, 'slot': slots}, data),
      out_shardings=sharding,
    ),
  )


def compile_all(program: Program, slots: Any, data: Any) -> Program:
  """The same program with its three functions compiled for these shapes."""
  trained, judged = (with_chunk(slots, program, kind) for kind in chunks.KINDS)
  traced = program.init.trace(slots, data)
  sharding = jax.sharding.NamedSharding(program.mesh, P(AXIS))
  state = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), traced.out_info
  )
  numbers = (jnp.int32(0), jnp.int32(1), jnp.bool_(True))
  lowered = (
    program.stretch.lower(state, trained, data, *numbers),
    program.evaluate.lower(state, judged, data),
    traced.lower(),
  )
  same = SAME.get(program.mesh.devices.flat[0].platform, {})
  options = (OFTEN | same, OFTEN | same, ONCE | same)
  with concurrent.futures.ThreadPoolExecutor(len(lowered)) as pool:  # XLA lets go
    compiled = pool.map(lambda part, how: part.compile(how), lowered, options)
    stretch, evaluate, init = compiled
  return program._replace(init=init, stretch=stretch, evaluate=evaluate)


def with_chunk(slots: Any, program: Program, kind: str) -> Any:
  """Placed slots with the shapes of a chunk of `kind`, if the data set streams."""
  if not program.member.chunks:
    return slots
  blank = program.member.chunks.blank(kind, program.layout.members)

  def shape(x: np.ndarray) -> jax.ShapeDtypeStruct:
    where = chunk_sharding(x.shape, program)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

  return slots | jax.tree.map(shape, blank)


def chunk_sharding(
  shape: Sequence[int], program: Program
) -> jax.sharding.NamedSharding:
  """How an array of a chunk lies on the mesh: [S, K, B, ...] by S and B, [S, E] by S.

  Batches that the axis of data does not divide lie whole on all of it.
  """
  data = program.layout.data
  cut = data > 1 and len(shape) > 2 and shape[2] % data == 0
  spec = P(AXIS, None, spread.AXIS) if cut else P(AXIS)
  return jax.sharding.NamedSharding(program.mesh, spec)


def place_chunk(chunk: Any, program: Program) -> Any:
  """A chunk of all members, on their devices."""
  put = lambda x: processes.put(x, chunk_sharding(x.shape, program))
  return jax.tree.map(put, chunk)


def place(slots: Sequence[Any], program: Program) -> Any:
  """Slots of the members of a batch, stacked and laid on their devices.

  What a member reads of a stream the host knows: those indices stay there.
  """
  if program.member.chunks:
    kept = slots[0].keys() - chunks.HOST
    slots = [{name: slot[name] for name in kept} for slot in slots]
  stacked = jax.tree.map(lambda *xs: np.stack(xs), *slots)
  return processes.put(stacked, jax.sharding.NamedSharding(program.mesh, P(AXIS)))


def place_data(dataset: types.Dataset, mesh: Any) -> Mapping[str, Any]:
  """The data set's arrays, as stored, on every device of the mesh."""
  return processes.put(dict(dataset.resident), jax.sharding.NamedSharding(mesh, P()))
