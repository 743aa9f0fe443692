"""One compiled program for all runs with the same static config, spread over devices.

Training is jitted, batched over members, sharded over them and donated here only.
"""

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import rng, types
from dlsteroids.train import chunks, processes, spread
from dlsteroids.train import member as member_lib
from dlsteroids.train import reduction as reduction_lib
from dlsteroids.train import step as step_lib
from dlsteroids.util import xla_options

P = jax.sharding.PartitionSpec
AXIS = 'member'
COMPILER_OPTIONS: Mapping[str, Any] = {}  # of training and evaluation
# Initialisation runs once: less optimisation, so that it compiles fast.
INIT_COMPILER_OPTIONS: Mapping[str, Any] = {'xla_backend_optimization_level': 0}


class Layout(NamedTuple):
  """How the members of a batch lie on devices.

  Attributes:
    strategy: of the members on one group of devices: 'map', one after another, or
      'vmap', side by side.
    width: members on one group.
    devices: in use.
    data: devices of one group, over which each member's batch is spread.
    rest: of 'vmap': the width at which a group runs that holds no more members than
      this; 0: every group that holds any runs at `width`.
    evaluation: the strategy of evaluations.
    eval_batch: examples that a member evaluates at a time; 0: as configured.
  """

  strategy: str
  width: int
  devices: int
  data: int = 1
  rest: int = 0
  evaluation: str = 'map'
  eval_batch: int = 0

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
  """The functions of one program over a batch of S = width x groups members.

  A slot says which run a member trains (`member.slot`), a state is its training state;
  all their arrays have a leading axis S.

  Attributes:
    layout: of the members.
    member: the pure functions of one member.
    mesh: of devices, axes ('member', 'data').
    init: `(slots, data) -> states`. This and the next two are jitted, or compiled.
    stretch: `(states, slots, data, start, stop, fresh) -> states`: takes the training
      steps start..stop - 1; donates the states.
    evaluate: `(states, slots, data) -> values`.
    reduce: `(parts, live) -> results`, called by `reduce_rows`; None if no metric is
      reduced on the devices.
  """

  layout: Layout
  member: member_lib.Member
  mesh: jax.sharding.Mesh
  init: Any
  stretch: Any
  evaluate: Any
  reduce: Any = None


def make_mesh(layout: Layout) -> jax.sharding.Mesh:
  """The mesh of a layout, over the devices of all processes.

  Members lie along its first axis, parts of a member's batch along its second; devices
  that fill no group stay idle.
  """
  return jax.make_mesh(
    (layout.groups, layout.data),
    (AXIS, spread.AXIS),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=jax.devices()[: layout.devices],
  )


def over_members(
  function: Callable,
  layout: Layout,
  mesh: Any,
  scalars: int,
  *,
  strategy: str = '',
  updates: bool = False,
) -> Callable:
  """A function of one member as a function of a batch of them.

  'map' runs a device's members one after another and skips padding. 'vmap' runs them
  side by side, at the layout's `width` or `rest`, whichever just holds the live ones; a
  device without live members does nothing. With `updates`, the function takes training
  steps and returns a new state: 'map' then updates the states in place, which `lax.map`
  would copy, and stops after the last live member.

  Args:
    function: `(tree, data, *scalars) -> result` of one member; `tree['slot']['live']`
      is false for padding.
    layout: of the members.
    mesh: from `make_mesh`.
    scalars: how many scalars follow `data`.
    strategy: of this function; '' is the layout's.
    updates: whether the result is the new `tree['state']`; the scalars are then the
      first step, the end of the steps, and whether training sums start anew.
  """

  def synchronised(value):
    # Collectives within one group of devices may wait for those of every group, so all
    # groups run the same number of members, padding included.
    if layout.data == 1:
      return value
    return jax.lax.pmax(jnp.int32(value), AXIS).astype(value.dtype)

  def run_if_live(tree, data, *rest):
    def run():
      return function(tree, data, *rest)

    shape = jax.eval_shape(run)

    def skip():
      return jax.tree.map(zeros_like, shape)

    return jax.lax.cond(synchronised(tree['slot']['live']), run, skip)

  def update_in_place(tree, data, *rest):
    live = tree['slot']['live']  # padding comes last
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

    return jax.lax.fori_loop(0, synchronised(count), body, tree['state'])

  def run_side_by_side(width, tree, data, *rest):
    if width == 1:  # not vmapped: products of one member round as those of several
      result = function(jax.tree.map(lambda x: x[0], tree), data, *rest)
      return jax.tree.map(lambda x: x[None], result)
    part = jax.tree.map(lambda x: x[:width], tree)
    in_axes = (0, None, *(None,) * scalars)
    return jax.vmap(function, in_axes=in_axes)(part, data, *rest)

  widths = [width for width in (layout.rest, layout.width) if width]

  def choose_width(tree):
    """0: no live member; else from 1 the place in `widths`."""
    count = jnp.sum(tree['slot']['live'], dtype=jnp.int32)
    return sum((count > least).astype(jnp.int32) for least in (0, *widths[:-1]))

  def update_side_by_side(tree, data, start, stop, fresh):
    choice, state = choose_width(tree), tree['state']
    for number, width in enumerate(widths, 1):
      end = jnp.where(choice == number, stop, start)  # else no steps: nothing is copied
      old = {**tree, 'state': state}
      new = run_side_by_side(width, old, data, start, end, fresh)
      state = jax.tree.map(
        lambda x, v: jax.lax.dynamic_update_slice_in_dim(x, v, 0, 0), state, new
      )
    return state

  def measure_side_by_side(tree, data, *rest):
    run = functools.partial(run_side_by_side, layout.width)
    shape = jax.eval_shape(run, tree, data, *rest)

    def enlarge(width):
      def run():
        part = run_side_by_side(width, tree, data, *rest)
        return jax.tree.map(
          lambda s, v: jnp.concatenate([v, zeros_like(s)[width:]]), shape, part
        )

      return run

    skip = lambda: jax.tree.map(zeros_like, shape)
    return jax.lax.switch(choose_width(tree), [skip, *map(enlarge, widths)])

  def run_group(tree, data, *rest):
    with step_lib.formulation(), spread.over(layout.data):
      if (strategy or layout.strategy) == 'vmap':
        if layout.groups == 1 == len(widths) or layout.data > 1:  # as `synchronised`
          return run_side_by_side(layout.width, tree, data, *rest)
        run = update_side_by_side if updates else measure_side_by_side
        return run(tree, data, *rest)
      if updates:
        return update_in_place(tree, data, *rest)
      return jax.lax.map(lambda one: run_if_live(one, data, *rest), tree)

  return jax.shard_map(
    run_group,
    mesh=mesh,
    in_specs=(P(AXIS), P(), *(P(),) * scalars),
    out_specs=P(AXIS),
    # XLA partitions the data axis, unless a batch lies on one device.
    axis_names={AXIS} if layout.data > 1 else {AXIS, spread.AXIS},
    check_vma=False,
  )


def finite(variables: Mapping[str, Any]) -> Any:
  """Whether all parameters are finite: the last step's have entered no loss yet."""
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
      hyper = tree['slot']['hyper']
      frames = member.task.film(tree['state']['variables'], keys, hyper)
      film = {'film': frames}
    return film | {
      'values': member.evaluate(tree['state'], tree['slot'], data),
      'sums': tree['state']['sums'],
      'diverged': tree['state']['diverged'],
      'finite': finite(tree['state']['variables']),
    }

  inits = over_members(init, layout, mesh, 0)
  stretches = over_members(stretch, layout, mesh, 3, updates=True)
  evaluates = over_members(evaluate, layout, mesh, 0, strategy=layout.evaluation)
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
    reduce=member.reduction and make_reduce(member.reduction, layout),
  )


@functools.lru_cache(32)
def make_reduce(reduction: reduction_lib.Reduction, layout: Layout) -> Any:
  """The jitted reduction `(parts, live) -> results` of a batch's rows.

  Args:
    reduction: of a task's metrics: equal ones are traced and compiled once.
    layout: of the members.
  """
  mesh = make_mesh(layout)
  platform = mesh.devices.flat[0].platform
  kind = reduction_lib.precision(platform)

  def reduce(tree, data):
    del data
    apply = lambda parts: reduction_lib.apply(reduction, parts, kind)
    return jax.vmap(apply)(tree['parts'])

  def reduce_groups(width, parts, live):
    """Reduces the first `width` members of every group: [groups, width, ...]."""
    side = 1  # members side by side
    if layout.strategy == 'vmap':
      one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), parts)
      side = reduction_lib.at_once(reduction, one, width, platform)
    # [groups, layout.width, ...] -> [groups * width / side, side, ...]
    cut = lambda x: x[:, :width].reshape(-1, side, *x.shape[2:])
    grouped = layout._replace(strategy='map', width=width // side, rest=0)
    results = over_members(reduce, grouped, mesh, 0)(
      {'parts': jax.tree.map(cut, parts), 'slot': {'live': cut(live).any(1)}}, {}
    )
    split = lambda x: x.reshape(layout.groups, width, *x.shape[2:])
    return jax.tree.map(split, results)

  def run(parts, live):
    split = lambda x: x.reshape(layout.groups, layout.width, *x.shape[1:])
    parts, live = jax.tree.map(split, (parts, live))
    few = live.sum(1) <= layout.rest  # [groups]: those that run at this width
    results = reduce_groups(layout.width, parts, live & ~few[:, None])
    if layout.rest:
      rest = reduce_groups(layout.rest, parts, live & few[:, None])
      # Of a group, one of the two has zeros only.
      results = jax.tree.map(
        lambda x, v: jnp.where(
          few.reshape(-1, *[1] * (x.ndim - 1)), x.at[:, : layout.rest].set(v), x
        ),
        results,
        rest,
      )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)

  return jax.jit(run, out_shardings=jax.sharding.NamedSharding(mesh, P(AXIS)))


def reduce_rows(program: Program, parts: Sequence[Any], live: Any) -> Any:
  """The results of the metrics that are reduced on the devices, {} if there are none.

  Args:
    program: compiled or not.
    parts: of an evaluation, the `values` of `program.evaluate`.
    live: bool [S], which members count.

  Returns:
    by split, and by the name of the first metric, its results [S, ...].
  """
  reduction = program.member.reduction
  if reduction is None:
    return {}
  rows = tuple({name: part[name] for name in reduction.rows} for part in parts)
  with wide():
    return program.reduce(rows, live)


@contextlib.contextmanager
def wide() -> Iterator[None]:
  """Within, 64-bit numbers are 64-bit numbers, and products exact."""
  with jax.enable_x64(True), jax.default_matmul_precision('highest'):
    yield


def compile_all(program: Program, slots: Any, data: Any) -> Program:
  """The same program with its functions compiled for these shapes."""
  train_slots, eval_slots = (with_chunk(slots, program, kind) for kind in chunks.KINDS)
  init = program.init.trace(slots, data)
  sharding = jax.sharding.NamedSharding(program.mesh, P(AXIS))
  state = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), init.out_info
  )
  scalars = (jnp.int32(0), jnp.int32(1), jnp.bool_(True))
  evaluate = program.evaluate.trace(state, eval_slots, data)
  lowered = (
    program.stretch.lower(state, train_slots, data, *scalars),
    evaluate.lower(),
    init.lower(),
  )
  options, init_options = (
    compiler_options(program.mesh, chosen)
    for chosen in (COMPILER_OPTIONS, INIT_COMPILER_OPTIONS)
  )
  with concurrent.futures.ThreadPoolExecutor(len(lowered)) as pool:
    # In parallel: compilation releases the GIL.
    compiled = pool.map(
      lambda part, how: part.compile(how), lowered, (options, options, init_options)
    )
    reduce = _compile_reduce(program, evaluate.out_info['values'], slots['live'])
    stretch, evaluate, init = compiled
  return program._replace(init=init, stretch=stretch, evaluate=evaluate, reduce=reduce)


def compiler_options(
  mesh: Any, chosen: Mapping[str, Any] = COMPILER_OPTIONS
) -> dict[str, Any]:
  """The chosen options, and those of every program on the mesh's platform."""
  platform = mesh.devices.flat[0].platform
  return {**chosen, **xla_options.of(platform)}


def _compile_reduce(program: Program, values: Any, live: Any) -> Any:
  """`program.reduce`, compiled for the values of an evaluation; or None."""
  reduction = program.member.reduction
  if reduction is None:
    return None
  parts, streamed = 1, program.member.chunks
  if streamed:
    parts = -(
      -len(streamed.mask) // streamed.length('evaluate', program.layout.members)
    )
  rows = {name: values[name] for name in reduction.rows}
  leaves, tree = jax.tree.flatten(((rows,) * parts, live))
  shapes = tuple((x.shape, x.dtype) for x in leaves)
  return _compiled_reduce(reduction, program.layout, tree, shapes)


@functools.lru_cache(32)
def _compiled_reduce(
  reduction: reduction_lib.Reduction, layout: Layout, tree: Any, shapes: Any
) -> Any:
  sharding = jax.sharding.NamedSharding(make_mesh(layout), P(AXIS))
  leaves = [jax.ShapeDtypeStruct(*shape, sharding=sharding) for shape in shapes]
  with wide():
    lowered = make_reduce(reduction, layout).lower(*jax.tree.unflatten(tree, leaves))
    return lowered.compile(compiler_options(sharding.mesh))


def peak_bytes(compiled: Program) -> dict[str, int]:
  """Bytes that compiled 'training' and 'evaluation' take beside the data set.

  With the members' states, on all devices of this process together; 0 where the backend
  does not tell.
  """
  devices = len(compiled.mesh.local_devices)

  def read(function: Any, *names: str) -> int:
    if function is None:
      return 0
    analysis = function.memory_analysis()
    sizes = (getattr(analysis, f'{name}_size_in_bytes', 0) for name in names)
    return sum(sizes) * devices

  state = read(compiled.stretch, 'output')  # in the place of its donated argument
  evaluations = (
    read(function, 'temp', 'output')
    for function in (compiled.evaluate, compiled.reduce)
  )
  return {
    'training': state + read(compiled.stretch, 'temp'),
    'evaluation': state + max(evaluations),
  }


def with_chunk(slots: Any, program: Program, kind: str) -> Any:
  """Slots with the shapes of a chunk of `kind` added, if the data set streams."""
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

  A batch whose size the data axis does not divide is replicated along it.
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
  """The slots of a batch's members, stacked and placed on their devices.

  If the data set streams, example indices stay on the host, which reads the examples.
  """
  if program.member.chunks:
    names = slots[0].keys() - chunks.HOST
    slots = [{name: slot[name] for name in names} for slot in slots]
  stacked = jax.tree.map(lambda *xs: np.stack(xs), *slots)
  return processes.put(stacked, jax.sharding.NamedSharding(program.mesh, P(AXIS)))


def place_data(dataset: types.Dataset, mesh: Any) -> Mapping[str, Any]:
  """The data set's arrays, as stored, on every device of the mesh."""
  return processes.put(dict(dataset.resident), jax.sharding.NamedSharding(mesh, P()))
