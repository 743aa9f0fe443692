"""What a config compiles to, without training it: does a level change anything?"""

import functools
import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.interpreters import partial_eval

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.train import chunks, cost, jaxpr_digest, reduction
from dlsteroids.train import member as member_lib
from dlsteroids.train import step as step_lib


class Facts(NamedTuple):
  """About a program.

  Attributes:
    digest: of the jaxprs of its start, draw, step and evaluation.
    live: traced numbers that reach a result; others are dead inputs.
    params: trainable numbers of all players.
    flops: nominal per training step (STATISTICS.md), one member.
    executed_flops: the same of the formulation that runs.
    activation_bytes: the most that a training step keeps alive at once, inputs aside,
      before fusion (`cost.peak`).
    evaluation_bytes: the same of an evaluation.
    state_bytes: of parameters, optimizer state and other collections.
    traffic_bytes: read and written by the products of a training step.
    unknown_loops: whether a step does counted work an unknown number of times: the
      FLOPs are then too low.
    convolves: whether a step runs convolutions.
    recurs: whether a step runs matrix products inside a loop.
    primitives: names of the primitives of step and evaluation.
    scalars: names of a step's scalars, the training curves.
    batch_norm: whether a player normalises by statistics of the batch (flax's
      collection `batch_stats`).
  """

  digest: str
  live: frozenset[str]
  params: int
  flops: float
  executed_flops: float
  activation_bytes: int
  evaluation_bytes: int
  state_bytes: int
  traffic_bytes: float
  unknown_loops: bool
  convolves: bool
  recurs: bool
  primitives: frozenset[str]
  scalars: tuple[str, ...]
  batch_norm: bool = False


def describe(
  config: Mapping[str, Any], dataset: types.Dataset, member: member_lib.Member
) -> Facts:
  """The facts of a config's program; traces, compiles nothing."""
  data = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype)
    for name, array in dataset.resident.items()
  }
  slot = shaped(member_lib.slot(config, dataset, 0))

  def step(hyper, seed, learned, batch):
    keys = rng.Keys(rng.root(seed), seed)
    return member.step(learned, batch, keys, hyper)

  def evaluate(hyper, slot, state, data):
    return member.evaluate(state, {**slot, 'hyper': hyper}, data)

  def draw(seed, order, slot, data):
    keys = rng.Keys(rng.root(seed), seed)
    return member.draw(order, slot, data, keys)

  train_slot, eval_slot = slot, slot
  if member.chunks:
    train_slot, eval_slot = (
      slot | shaped(member.chunks.one(kind)) for kind in chunks.KINDS
    )
  # Each part is traced once, not as a whole: tracing is most of what planning takes.
  trace: Any = functools.partial(jax.make_jaxpr, return_shape=True)
  start, state = trace(member.start)(slot, data)
  drawing, (_, batch) = trace(draw)(slot['seed'], state['order'], train_slot, data)
  learned = {name: state[name] for name in ('variables', 'optimizer')}
  args = (slot['hyper'], slot['seed'], learned, batch)
  traced, (_, scalars, _) = trace(step)(*args)
  evaluation, values = trace(evaluate)(slot['hyper'], eval_slot, state, data)
  parts = [start, drawing, traced, evaluation]
  if member.reduction:
    parts.append(reduction_of(member, values))
  nominal = executed = cost.count(traced)
  if not cost.runs_plainly(traced):
    nominal = cost.nominal(step, *args)
  if jax.default_backend() != 'cpu':
    with step_lib.formulation():
      executed = cost.executed(step, *args)
  params = [player['params'] for player in state['variables'].values()]
  work = [(e.primitive.name, in_loop) for e, in_loop in cost.walk(traced)]
  others = itertools.chain(*map(cost.walk, (*parts[:2], *parts[3:])))
  return Facts(
    digest=hashlib.sha256(
      ''.join(map(jaxpr_digest.compute, parts)).encode()
    ).hexdigest()[:32],
    live=alive((traced.jaxpr, evaluation.jaxpr), sorted(slot['hyper'])),
    params=sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)),
    flops=nominal.flops,
    executed_flops=executed.flops,
    activation_bytes=cost.peak(traced),
    evaluation_bytes=max(map(cost.peak, parts[3:])),
    state_bytes=cost.state(learned),
    traffic_bytes=cost.traffic(traced),
    unknown_loops=nominal.unknown_loops or executed.unknown_loops,
    convolves=any(name == 'conv_general_dilated' for name, _ in work),
    recurs=('dot_general', True) in work,
    primitives=frozenset([n for n, _ in work] + [e.primitive.name for e, _ in others]),
    scalars=tuple(scalars),
    batch_norm=any('batch_stats' in player for player in state['variables'].values()),
  )


def reduction_of(member: member_lib.Member, values: Mapping[str, Any]) -> Any:
  """The jaxpr of what the devices make of an evaluation's values, by their shapes."""
  assert member.reduction is not None
  batches = sum(member.sizes.values())
  rows = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((batches, *x.shape[1:]), x.dtype),
    {name: values[name] for name in member.reduction.rows},
  )
  return reduction.trace(member.reduction, (rows,), jax.default_backend())


def shaped(tree: Any) -> Any:
  """Shapes and types of a tree of arrays."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), tree
  )


def alive(jaxprs: Iterable[Any], names: list[str]) -> frozenset[str]:
  """Which of the first inputs, the traced numbers, any output depends on.

  The number of steps always counts: it decides how long the host trains.
  """
  live = {'train.steps'}
  for jaxpr in jaxprs:
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    live |= {name for name, use in zip(names, used) if use}
  return frozenset(live)


def signature(
  config: Mapping[str, Any], facts: Facts, dataset: types.Dataset
) -> tuple[Any, ...]:
  """Equal for two configs only if no level that differs between them does anything."""
  hyper = config_lib.hyper(config)
  return (
    facts.digest,
    tuple((name, hyper[name]) for name in sorted(facts.live)),
    dataset.digest,
    config['train']['evaluations'],
    config['train']['matmul'],
  )
