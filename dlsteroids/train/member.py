"""What one member of a program does, as pure functions: init, stretch, evaluation.

A member is described by a dict of arrays, its *slot*: `seed` int32, `live` bool,
`hyper` {path: float32}, `train` int32 [N_train], `evaluate` int32 [batches, B]: indices
of the validation examples, then of the test examples, each padded to whole batches. If
the data set streams, the host keeps these two and the slot carries chunks (chunks.py).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.train import chunks as chunks_lib
from dlsteroids.train import examples as examples_lib
from dlsteroids.train import reduction as reduction_lib
from dlsteroids.train import spread
from dlsteroids.train import step as step_lib
from dlsteroids.util import errors

SPLITS = ('validation', 'test')


class Member(NamedTuple):
  """Pure functions of one member; `data` are the data set's arrays.

  Attributes:
    start: `(slot, data) -> state` without the training sums, whose names take a trace
      of the step.
    init: `(slot, data) -> state`.
    stretch: `(state, slot, data, start, stop, fresh) -> state`: steps start..stop - 1;
      `fresh` empties the training sums first. All three are traced.
    evaluate: `(state, slot, data) -> values`, one row a batch, by those metrics that
      are `sources` of others or of their own.
    draw: `(order, slot, data, keys) -> (order, batch)` of the step of `keys`.
    step: as `step.make` returns it.
    task: the task.
    sizes: batches of validation and of test.
    scalars: names of a step's scalars, once they are known: a trace of the step fills
      them in.
    chunks: what slots carry if the data set streams; else None.
    reduction: what the devices make of an evaluation's rows; None if nothing.
  """

  start: Callable
  init: Callable
  stretch: Callable
  evaluate: Callable
  draw: Callable
  step: Callable
  task: types.Task
  sizes: Mapping[str, int]
  scalars: list[str]
  chunks: chunks_lib.Chunks | None = None
  reduction: reduction_lib.Reduction | None = None


def slot(
  config: Mapping[str, Any], dataset: types.Dataset, seed: int, live: bool = True
) -> dict[str, Any]:
  """The slot of a run: what tells a program which member to train."""
  split = dataset.split(seed)
  size = config['train']['eval_batch']
  padded = []
  for name in SPLITS:
    indices = split[name]
    short = examples_lib.batch_count(len(indices), size) * size - len(indices)
    padded.append(np.concatenate([indices, np.repeat(indices[:1], short)]))
  return {
    'seed': np.int32(seed),
    'live': np.bool_(live),
    'hyper': {k: np.float32(v) for k, v in config_lib.hyper(config).items()},
    'train': np.asarray(split['train'], np.int32),
    'evaluate': np.concatenate(padded).astype(np.int32).reshape(-1, size),
  }


def make(config: Mapping[str, Any], dataset: types.Dataset) -> Member:
  """The member functions of a resolved config.

  Raises:
    UserError: if the training split is smaller than a batch, or the plug-ins disagree.
  """
  size = config['train']['batch_size']
  split = dataset.split(0)
  examples = len(split['train'])
  if examples < size:
    raise errors.UserError(
      f'config.train.batch_size={size} exceeds the {examples} training examples of '
      f'{dataset.name}'
    )
  task = config_lib.find('tasks', config['task']['name']).build(config, dataset)
  update = step_lib.make(task)
  scalars: list[str] = []

  def step(state, batch, keys, hyper, alive=True):
    result = update(state, batch, keys, hyper, alive)
    scalars[:] = result[1]
    return result

  repeats = step_lib.batches_per_step(task)
  per_epoch = examples // size
  eval_size = config['train']['eval_batch']
  counts = {name: len(split[name]) for name in SPLITS}
  mask = examples_lib.masks(counts, SPLITS, eval_size)
  if dataset.stream:
    raw = examples_lib.streamed(dataset)
    sizes_of = {'train': size, 'evaluate': eval_size}
    budget = config['engine']['stream_mb'] << 20
    chunks = chunks_lib.Chunks(
      dataset.stream, repeats, sizes_of, per_epoch, mask, budget
    )
  else:
    raw = examples_lib.resident(dataset, size, per_epoch, mask)
    chunks = None

  def start(slot, data):
    key = rng.root(slot['seed'])
    batch = dataset.transform(raw.sample(slot, data), rng.Keys(key), train=False)
    state = step_lib.init(task, key, batch, slot['hyper'])
    return state | {'order': raw.order(slot), 'diverged': jnp.int32(-1)}

  def init(slot, data):
    state = start(slot, data)
    return state | {'sums': zero_sums(state, slot, data)}

  def draw_one(order, slot, data, keys):
    order, batch = raw.draw(order, slot, data, keys)
    batch = spread.batch(batch, size)
    batch = spread.batch(dataset.transform(batch, keys, train=True), size)
    first = keys.step % per_epoch == 0
    return order, {**batch, 'first': first} if dataset.lanes else batch

  def draw(order, slot, data, keys):
    if repeats == 1:
      return draw_one(order, slot, data, keys)
    parts = []
    for index in range(repeats):
      number = rng.Keys(keys.root, keys.step * repeats + index)
      order, part = draw_one(order, slot, data, number)
      parts.append(part)
    return order, jax.tree.map(lambda *xs: jnp.stack(xs), *parts)

  def advance(index, state, slot, data):
    keys = rng.Keys(rng.root(slot['seed']), index)
    order, batch = draw(state['order'], slot, data, keys)
    learned = {name: state[name] for name in ('variables', 'optimizer')}
    alive = state['diverged'] < 0
    new, scalars, finite = step(learned, batch, keys, slot['hyper'], alive)
    sums = {k: state['sums'][k] + v for k, v in scalars.items()}
    sums['steps'] = state['sums']['steps'] + 1
    diverged = jnp.where(alive & ~finite, index, state['diverged'])
    return {**new, 'order': order, 'diverged': diverged, 'sums': sums}

  def zero_sums(state, slot, data):
    slot = slot | chunks.one('train') if chunks else slot

    def trace_step(state, slot, data):
      keys = rng.Keys(rng.root(slot['seed']))
      _, batch = draw(raw.order(slot), slot, data, keys)
      return step(state, batch, keys, slot['hyper'])[1]

    if not scalars:
      jax.eval_shape(trace_step, state, slot, data)
    return {name: jnp.float32(0) for name in (*scalars, 'steps')}

  def stretch(state, slot, data, start, stop, fresh):
    sums = jax.tree.map(lambda x: jnp.where(fresh, 0.0, x), state['sums'])
    return jax.lax.fori_loop(
      start, stop, lambda i, s: advance(i, s, slot, data), {**state, 'sums': sums}
    )

  def evaluate(state, slot, data):
    def measure(_, batch):
      chosen, mask, number = batch
      keys = rng.Keys(rng.root(slot['seed']), number)
      chosen = spread.batch(chosen, eval_size)
      examples = dataset.transform(raw.take(data, chosen), keys, train=False)
      examples = {**examples, 'mask': mask.astype(jnp.float32)}
      examples = spread.batch(examples, eval_size)
      out = task.outputs(state['variables'], examples, keys, slot['hyper'])
      out = spread.batch(out, eval_size)
      check_mask(out, mask)
      names = set(sources(task.metrics).values())  # sorted: traced in one order
      return None, {name: task.metrics[name].measure(out) for name in sorted(names)}

    return jax.lax.scan(measure, None, raw.batches(slot))[1]

  sizes = {n: examples_lib.batch_count(counts[n], eval_size) for n in SPLITS}
  reduction = reduction_lib.make(task.metrics, sources(task.metrics), sizes, counts)
  functions = (start, init, stretch, evaluate, draw, step)
  return Member(*functions, task, sizes, scalars, chunks, reduction)


def sources(metrics: Mapping[str, types.Metric]) -> dict[str, str]:
  """By metric the first one that measures the same: it is measured once for all."""
  first: dict[Any, str] = {}
  return {
    name: first.setdefault((metric.measure, metric.merge), name)
    for name, metric in metrics.items()
  }


def host_sources(metrics: Mapping[str, types.Metric]) -> list[str]:
  """The sources that metrics read which are finished from the rows, on the host."""
  wanted = {name for name, metric in metrics.items() if metric.reduce is None}
  return sorted({source for name, source in sources(metrics).items() if name in wanted})


def check_mask(outputs: types.Outputs, mask: Any) -> None:
  """Raises UserError unless a task's outputs carry the batch's mask [B]."""
  shape = getattr(outputs.get('mask'), 'shape', None)
  if shape != mask.shape:
    raise errors.UserError(
      f"a task's outputs must carry 'mask' of shape {mask.shape}, not {shape}"
    )


def abstract(member: Member, slot: Any, data: Any) -> tuple[Any, Any]:
  """Shapes of a member's state (no sums) and of what one training step draws."""
  state = jax.eval_shape(member.start, slot, data)

  def batch(order, slot, data):
    keys = rng.Keys(rng.root(slot['seed']))
    return member.draw(order, slot, data, keys)[1]

  slot = slot | member.chunks.one('train') if member.chunks else slot
  return state, jax.eval_shape(batch, state['order'], slot, data)
