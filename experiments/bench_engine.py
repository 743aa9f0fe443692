"""The project's own engine under the clock: runs in worker processes, with JAX."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlsteroids import rng
from dlsteroids.launch import local, machine, prepare
from dlsteroids.study import factors, plan
from dlsteroids.train import loop, member
from dlsteroids.train import program as program_lib
from experiments import bench_cases
from experiments.bench_worker import Offer, Sample

PEAK_SIZE = 2048  # of the square matrices of the sgemm


def start(devices: int = 0) -> None:
  """JAX as the launcher sets it up; `devices` host devices, 0 for one per core."""
  machine.prepare()
  if devices:
    jax.config.update('jax_num_cpu_devices', devices)


def make_plan(case: str, count: int, changes: dict[str, Any]) -> prepare.Plan:
  config = bench_cases.make_config(case, count, changes)
  tested = factors.factor('dropout', 'model.dropout', config.model.dropout, 0.0)
  return prepare.make(config, (tested,))


def facts_of(made: prepare.Plan) -> dict[str, Any]:
  """For the page: versions, the sgemm peak, and what is known of the baseline."""
  program = plan.program_id(made.config)
  known, layout = made.facts[program], made.layouts[program]
  return {
    **machine.provenance(),
    'backend': jax.default_backend(),
    'params': known.params,
    'flops': known.flops,
    'layout': show(layout),
    'peak': peak(),
  }


def show(layout: program_lib.Layout) -> str:
  return f'{layout.strategy}, width {layout.width} × {layout.devices} devices'


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


def engine(
  case: str, count: int, changes: Mapping[str, Any] = {}, devices: int = 0
) -> Offer:
  """A study's baseline over its seeds, as `local.execute` trains it, storing apart."""
  start(devices)
  made = make_plan(case, count, dict(changes))
  return Offer(facts_of(made), {'train': trainer(made)})


def trainer(
  made: prepare.Plan, layout: program_lib.Layout | None = None, seeds: int = 0
) -> Callable[[int], Sample]:
  """`steps -> Sample` of training the first `seeds` seeds (0: all) of the baseline.

  Timed from the end of each batch's first stretch (one step) to the end of its last:
  compilation, initial values and the one evaluation at the end are not in it.
  """
  runs = [run for run in prepare.claim_runs(made) if run.arm == 'baseline']
  runs = runs[: seeds or len(runs)]
  program = runs[0].program
  layout = layout or made.layouts[program]
  todo = plan.batches(runs, lambda _: False, lambda _: layout.members)
  with local.Compiler(made) as compiler:
    compiled, data = compiler.get(todo[0], layout)
  dataset = made.dataset(runs[0].config)
  split = dataset.split(runs[0].seed)
  counts = {name: len(split[name]) for name in member.SPLITS}
  slots = [local.make_slots(made, batch, layout) for batch in todo]

  def train(steps: int) -> Sample:
    seconds = 0.0
    for mine in slots:
      times: list[float] = []

      def watch(progress: loop.Progress, times: list[float] = times) -> None:
        if not times or progress.step <= steps and np.isnan(progress.value):
          times.append(time.perf_counter())

      loop.train(
        compiled,
        mine,
        data,
        counts,
        steps=steps + 1,
        evaluations=1,
        deciding='accuracy',
        watch=watch,
      )
      seconds += times[-1] - times[0]
    return Sample(seconds, len(runs) * steps)

  return train


def layouts(
  case: str,
  count: int,
  seeds: int,
  wanted: Sequence[Sequence[Any]],
  devices: int = 0,
) -> Offer:
  """The same runs in several layouts [strategy, width, devices], named by `show`."""
  start(devices)
  made = make_plan(case, count, {'study.seeds': seeds})
  found = [program_lib.Layout(*layout) for layout in wanted]
  return Offer(
    facts_of(made),
    {show(layout): trainer(made, layout, seeds) for layout in found},
  )


def overhead(case: str, count: int) -> Offer:
  """One seed by the engine, and the same step in a bare jitted loop."""
  start()
  made = make_plan(case, count, {'study.seeds': 1})
  return Offer(facts_of(made), {'train': trainer(made), 'bare': bare(made)})


def bare(made: prepare.Plan) -> Callable[[int], Sample]:
  """What one would write by hand for one member: gradient, update, repeat.

  No guard against divergence, no sums, no padding, no shuffling (batches follow the
  stored order), no host between first and last step.
  """
  config = made.config
  known = made.members[plan.program_id(config)]
  dataset = made.dataset(config)
  slot = jax.device_put(member.slot(config, dataset, 0))
  data = jax.device_put(dict(dataset.arrays))
  task, size = known.task, config['train']['batch_size']
  per_epoch = len(slot['train']) // size
  (turn,) = task.turns
  state = jax.jit(known.init)(slot, data)
  state = {name: state[name][turn.player] for name in ('variables', 'optimizer')}

  def step(index, state, slot, data):
    keys = rng.Keys(rng.root(slot['seed']), index)
    places = ((index % per_epoch) * size,)
    indices = jax.lax.dynamic_slice(slot['train'], places, (size,))
    batch = dataset.transform(member.take(data, indices), keys, train=True)

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
