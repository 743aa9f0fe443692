"""What one member of a program does, as pure functions: init, stretch, evaluation.

A member is described by a dict of arrays, its *slot*: `seed` int32, `live` bool,
`hyper` {path: float32}, `train` int32 [N_train], `evaluate` int32 [batches, B]: indices
of the validation examples, then of the test examples, each padded to whole batches.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.train import spread
from dlsteroids.train import step as step_lib

SPLITS = ('validation', 'test')


class Member(NamedTuple):
  """Pure functions of one member; `data` are the data set's arrays.

  Attributes:
    init: `(slot, data) -> state`.
    stretch: `(state, slot, data, start, stop, fresh) -> state`: steps start..stop - 1;
      `fresh` empties the training sums first. All three are traced.
    evaluate: `(state, slot, data) -> values`, one row a batch, by those metrics that
      are `sources` of others or of their own.
    draw: `(order, slot, data, keys) -> (order, batch)` of the step of `keys`.
    step: as `step.make` returns it.
    task: the task.
    sizes: batches of validation and of test.
  """

  init: Callable
  stretch: Callable
  evaluate: Callable
  draw: Callable
  step: Callable
  task: types.Task
  sizes: Mapping[str, int]


def batches(count: int, size: int) -> int:
  return -(-count // size)


def slot(
  config: Mapping[str, Any], dataset: types.Dataset, seed: int, live: bool = True
) -> dict[str, Any]:
  """The arrays that tell a program which member to train."""
  split = dataset.split(seed)
  size = config['train']['eval_batch']
  padded = []
  for name in SPLITS:
    indices = split[name]
    short = batches(len(indices), size) * size - len(indices)
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
    raise config_lib.UserError(
      f'config.train.batch_size={size} exceeds the {examples} training examples of '
      f'{dataset.name}'
    )
  task = config_lib.find('tasks', config['task']['name']).build(config, dataset)
  step = step_lib.make(task)
  repeats = step_lib.largest_repeat(task)
  per_epoch = examples // size
  eval_size = config['train']['eval_batch']
  mask = np.concatenate(
    [
      np.arange(batches(len(split[name]), eval_size) * eval_size) < len(split[name])
      for name in SPLITS
    ]
  ).reshape(-1, eval_size)

  def init(slot, data):
    key = rng.root(slot['seed'])
    few = dataset.take(data, slot['train'][:2], train=True)
    batch = dataset.transform(few, rng.Keys(key), train=False)
    state = step_lib.init(task, key, batch, slot['hyper'])
    return state | {
      'order': slot['train'],
      'diverged': jnp.int32(-1),
      'sums': zero_sums(state, slot, data),
    }

  def draw_one(order, slot, data, keys):
    at = keys.step % per_epoch
    key = rng.stream(keys.root, 'order', keys.step // per_epoch)
    if dataset.lanes:
      indices = slot['train'][jnp.arange(size) * per_epoch + at]
    else:
      order = jax.lax.cond(
        at == 0,
        lambda: jax.random.permutation(key, slot['train'], independent=False),
        lambda: order,
      )
      order = spread.whole(order)  # else the places in it would be split, too
      indices = spread.whole(jax.lax.dynamic_slice(order, (at * size,), (size,)))
    if dataset.jitter:
      offset = rng.stream(keys.root, 'jitter', keys.step // per_epoch)
      indices += jax.random.randint(offset, (), 0, dataset.jitter)
    batch = dataset.take(data, spread.batch(indices, size), train=True)
    batch = spread.batch(dataset.transform(batch, keys, train=True), size)
    return order, {**batch, 'first': at == 0} if dataset.lanes else batch

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

  names: list[str] = []  # of a step's scalars; found once, as that traces the step

  def zero_sums(state, slot, data):
    def scalars(state, slot, data):
      keys = rng.Keys(rng.root(slot['seed']))
      _, batch = draw(slot['train'], slot, data, keys)
      return step(state, batch, keys, slot['hyper'])[1]

    if not names:
      names.extend([*jax.eval_shape(scalars, state, slot, data), 'steps'])
    return {name: jnp.float32(0) for name in names}

  def stretch(state, slot, data, start, stop, fresh):
    sums = jax.tree.map(lambda x: jnp.where(fresh, 0.0, x), state['sums'])
    return jax.lax.fori_loop(
      start, stop, lambda i, s: advance(i, s, slot, data), {**state, 'sums': sums}
    )

  def evaluate(state, slot, data):
    def measure(_, batch):
      indices, mask, number = batch
      keys = rng.Keys(rng.root(slot['seed']), number)
      indices = spread.batch(indices, eval_size)
      examples = dataset.take(data, indices, train=False)
      examples = dataset.transform(examples, keys, train=False)
      examples = {**examples, 'mask': mask.astype(jnp.float32)}
      examples = spread.batch(examples, eval_size)
      out = task.outputs(state['variables'], examples, keys, slot['hyper'])
      out = spread.batch(out, eval_size)
      check_mask(out, mask)
      names = set(sources(task.metrics).values())  # sorted: traced in one order
      return None, {name: task.metrics[name].measure(out) for name in sorted(names)}

    every = (slot['evaluate'], jnp.asarray(mask), jnp.arange(len(mask)))
    return jax.lax.scan(measure, None, every)[1]

  sizes = {name: batches(len(split[name]), eval_size) for name in SPLITS}
  return Member(init, stretch, evaluate, draw, step, task, sizes)


def sources(metrics: Mapping[str, types.Metric]) -> dict[str, str]:
  """By metric the first one that measures the same: it is measured once for all."""
  first: dict[Any, str] = {}
  return {
    name: first.setdefault((metric.measure, metric.merge), name)
    for name, metric in metrics.items()
  }


def check_mask(outputs: types.Outputs, mask: Any) -> None:
  """Raises UserError unless a task's outputs carry the batch's mask [B]."""
  shape = getattr(outputs.get('mask'), 'shape', None)
  if shape != mask.shape:
    raise config_lib.UserError(
      f"a task's outputs must carry 'mask' of shape {mask.shape}, not {shape}"
    )


def abstract(member: Member, slot: Any, data: Any) -> tuple[Any, Any]:
  """Shapes of a member's state and of what one training step draws."""
  state = jax.eval_shape(member.init, slot, data)

  def batch(slot, data):
    keys = rng.Keys(rng.root(slot['seed']))
    return member.draw(slot['train'], slot, data, keys)[1]

  return state, jax.eval_shape(batch, slot, data)
