"""The project's own engine under the clock: runs in worker processes, with JAX."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.plan import layouts as layouts_lib
from dlsteroids.plan import runs as runs_lib
from dlsteroids.plan import study_plan
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.study import factors
from dlsteroids.train import loop, member
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment
from experiments.bench import cases
from experiments.bench.worker import Offer, Sample

PEAK_SIZE = 2048  # of the square matrices of the sgemm


def start(devices: int = 0) -> None:
  """JAX as the launcher sets it up; `devices` host devices, 0 for one per core."""
  if devices:
    jax.config.update('jax_num_cpu_devices', devices)
    os.environ['JAX_NUM_CPU_DEVICES'] = str(devices)  # `prepare` leaves it so
  environment.prepare()


def make_plan(case: str, count: int, changes: dict[str, Any]) -> study_plan.Plan:
  config = cases.make_config(case, count, changes)
  rate = config.model.dropout
  other = 0.0 if rate else 0.5
  tested = factors.factor('dropout', 'model.dropout', rate, other)
  return study_plan.make(config_lib.resolve(config), (tested,))


def facts_of(made: study_plan.Plan) -> dict[str, Any]:
  """For the page: versions, the sgemm peak, and what is known of the baseline."""
  program = runs_lib.program_id(made.config)
  known, layout = made.facts[program], made.layouts[program]
  return {
    **environment.provenance(),
    'backend': jax.default_backend(),
    'params': known.params,
    'flops': known.flops,
    'layout': show(layout),
    'peak': peak(),
  }


def show(layout: program_lib.Layout) -> str:
  found = f'{layout.strategy}, width {layout.width} × {layout.devices} devices'
  return found + (f', {layout.data} a batch' if layout.data > 1 else '')


def peak() -> float:
  """FLOP/s of float32 matrix products: the best of numpy's and JAX's."""
  a = np.ones((PEAK_SIZE, PEAK_SIZE), np.float32)
  b = jnp.asarray(a)
  product = jax.jit(jnp.matmul)
  best = min(
    min(timed(lambda: a @ a) for _ in range(5)),
    min(timed(lambda: jax.block_until_ready(product(b, b))) for _ in range(5)),
  )
  return 2 * PEAK_SIZE**3 / best


def timed(function: Callable[[], Any]) -> float:
  begin = time.perf_counter()
  function()
  return time.perf_counter() - begin


class Ready(NamedTuple):
  """Runs in batches, with their programs compiled and their slots filled."""

  compiled: Sequence[program_lib.Program]  # of each batch
  data: Any
  slots: Sequence[Any]  # of each batch
  counts: Mapping[str, int]
  runs: int


def baseline(made: study_plan.Plan, seeds: int = 0) -> list[runs_lib.Run]:
  """Runs of the baseline at the first `seeds` seeds (0: all)."""
  runs = [run for run in study_plan.claim_runs(made) if run.arm == 'baseline']
  return runs[: seeds or len(runs)]


def make_ready(
  made: study_plan.Plan,
  runs: Sequence[runs_lib.Run],
  layout: program_lib.Layout | None = None,
) -> Ready:
  """Batches runs of one program as `local.execute` does, or all in one layout."""
  todo = deal(made, runs, layout)
  with compiler_lib.Compiler(made) as compiler:
    compiled, (data, *_) = zip(*(compiler.get(batch) for batch in todo))
  split = made.dataset(runs[0].config).split(runs[0].seed)
  return Ready(
    compiled,
    data,
    [compiler_lib.make_slots(made, batch) for batch in todo],
    {name: len(split[name]) for name in member.SPLITS},
    len(runs),
  )


def deal(
  made: study_plan.Plan,
  runs: Sequence[runs_lib.Run],
  layout: program_lib.Layout | None = None,
) -> list[runs_lib.Batch]:
  """The study's own batches, or batches that a layout fills, with copies if need be."""
  if layout is None:
    return study_plan.batches(made, runs, lambda _: False)
  return layouts_lib.batches(runs, lambda _: False, lambda _: layout, fixed=True)


def train_batch(ready: Ready, number: int, steps: int) -> float:
  """Seconds of `steps` steps of a batch, trained by the study's own loop.

  From the end of the first stretch (one step more) to the end of the last: initial
  values and the one evaluation at the end are not in it.
  """
  times: list[float] = []

  def watch(progress: loop.Progress) -> None:
    if np.isnan(progress.value):  # not evaluated yet
      times.append(time.perf_counter())

  loop.train(
    ready.compiled[number],
    ready.slots[number],
    ready.data,
    ready.counts,
    steps=steps + 1,
    evaluations=1,
    deciding='accuracy',
    watch=watch,
  )
  return times[-1] - times[0]


def trainer(ready: Ready) -> Callable[[int], Sample]:
  """`steps -> Sample` of training all batches, one after another."""

  def train(steps: int) -> Sample:
    seconds = sum(train_batch(ready, i, steps) for i in range(len(ready.slots)))
    return Sample(seconds, ready.runs * steps)

  return train


def engine(case: str, count: int) -> Offer:
  """A study's baseline over its seeds; a lone run also with a share on each device."""
  start()
  made = make_plan(case, count, {})
  runs = baseline(made)
  usual = made.layouts[runs[0].program]
  wanted = {show(usual): None}
  if len(runs) == 1 and usual.devices > 1:
    spread = usual._replace(width=1, data=usual.devices)
    wanted[show(spread)] = spread
  measures = {
    name: trainer(make_ready(made, runs, layout)) for name, layout in wanted.items()
  }
  return Offer({**facts_of(made), 'layouts': [*measures]}, measures)


def layouts(
  case: str,
  count: int,
  wanted: Sequence[tuple[Any, ...]],
  devices: int = 0,
  batches: Sequence[int] = (),
) -> Offer:
  """Rates in several layouts, each (strategy, width, devices, …, number of seeds).

  By the layout's name; with `batches`, the examples a step of each, by its number.
  """
  start(devices)
  most = max(seeds for *_, seeds in wanted)
  plans = {
    size: make_plan(
      case, count, {'study.seeds': most} | ({'train.batch_size': size} if size else {})
    )
    for size in dict.fromkeys(batches or [0])
  }
  measures = {}
  for number, (*words, seeds) in enumerate(wanted):
    layout = program_lib.Layout(*words)
    made = plans[batches[number] if batches else 0]
    ready = make_ready(made, baseline(made, seeds), layout)
    measures[str(number) if batches else show(layout)] = trainer(ready)
  return Offer(facts_of(made), measures)


def backend() -> Offer:
  """Only says which versions there are and what JAX runs on."""
  versions = {name: importlib.metadata.version(name) for name in environment.LIBRARIES}
  versions |= {'python': platform.python_version(), 'backend': jax.default_backend()}
  versions['devices'] = jax.device_count()
  return Offer(versions, {})


def overhead(case: str, count: int) -> Offer:
  """A batch of seeds one after another by the engine, and one seed in a bare loop.

  Both on one device of the same process; 'vmap' would be another program than the
  bare loop's.
  """
  start(1)
  width = layouts_lib.WIDTHS['cpu', 'map']
  made = make_plan(case, count, {'study.seeds': width, 'engine.strategy': 'map'})
  return Offer(
    facts_of(made),
    {'train': trainer(make_ready(made, baseline(made))), 'bare': bare(made)},
  )


def bare(made: study_plan.Plan) -> Callable[[int], Sample]:
  """What one would write by hand for one member: gradient, update, repeat.

  No guard against divergence, no sums, no padding, no shuffling but once (batches
  follow one drawn order), no host between first and last step.
  """
  config = made.config
  known = made.members[runs_lib.program_id(config)]
  dataset = made.dataset(config)
  slot = member.slot(config, dataset, 0)
  slot['train'] = np.random.default_rng(0).permutation(slot['train'])
  slot, data = jax.device_put((slot, dict(dataset.arrays)))
  task, size = known.task, config['train']['batch_size']
  per_epoch = len(slot['train']) // size
  (turn,) = task.turns
  state = jax.jit(known.init)(slot, data)
  state = {name: state[name][turn.player] for name in ('variables', 'optimizer')}

  def step(index, state, slot, data):
    keys = rng.Keys(rng.root(slot['seed']), index)
    places = ((index % per_epoch) * size,)
    indices = jax.lax.dynamic_slice(slot['train'], places, (size,))
    batch = dataset.take(data, indices, train=True)
    batch = dataset.transform(batch, keys, train=True)

    def loss(params):
      variables = {turn.player: {**state['variables'], 'params': params}}
      value, (new, _) = turn.loss(variables, batch, keys, slot['hyper'])
      return value, new[turn.player]

    params = state['variables']['params']
    grads, new = jax.grad(loss, has_aux=True)(params)
    optimizer = task.players[turn.player].optimizer(slot['hyper'])
    updates, moments = optimizer.update(grads, state['optimizer'], params)
    moved = optax.apply_updates(params, updates)
    return {'variables': {**new, 'params': moved}, 'optimizer': moments}

  many = jax.jit(
    lambda state, slot, data, stop: jax.lax.fori_loop(
      0, stop, lambda i, s: step(i, s, slot, data), state
    )
  )
  jax.block_until_ready(many(state, slot, data, jnp.int32(1)))

  def train(steps: int) -> Sample:
    spent = timed(
      lambda: jax.block_until_ready(many(state, slot, data, jnp.int32(steps)))
    )
    return Sample(spent, steps)

  return train
