"""What a config compiles to, without training it: does a level change anything?"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.train import flops
from dlsteroids.train import member as member_lib
from dlsteroids.train import step as step_lib


class Facts(NamedTuple):
  """About a program.

  Attributes:
    digest: of the jaxprs of its init, stretch and evaluation.
    live: traced numbers that reach a result; others are dead inputs.
    params: trainable numbers of all players.
    flops: nominal per training step (STATISTICS.md), one member.
    executed_flops: the same of the formulation that runs.
    convolves: whether a step runs convolutions.
    recurs: whether a step runs matrix products inside a loop.
    primitives: names of the primitives of step and evaluation.
  """

  digest: str
  live: frozenset[str]
  params: int
  flops: float
  executed_flops: float
  convolves: bool
  recurs: bool
  primitives: frozenset[str]


def describe(
  config: Mapping[str, Any], dataset: types.Dataset, member: member_lib.Member
) -> Facts:
  """The facts of a config's program; traces, compiles nothing."""
  data = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype)
    for name, array in dataset.arrays.items()
  }
  slot = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype),
    member_lib.slot(config, dataset, 0),
  )
  state, batch = member_lib.abstract(member, slot, data)
  learned = {name: state[name] for name in ('variables', 'optimizer')}

  def step(hyper, seed, learned, batch):
    keys = rng.Keys(rng.root(seed), seed)
    return member.step(learned, batch, keys, hyper)

  def everything(hyper, slot, state, batch, data):
    slot = {**slot, 'hyper': hyper}
    number = jnp.int32(0)
    return (
      member.init(slot, data),
      member.stretch(state, slot, data, number, number, jnp.bool_(True)),
      member.evaluate(state, slot, data),
    )

  def evaluate(hyper, slot, state, data):
    return member.evaluate(state, {**slot, 'hyper': hyper}, data)

  args = (slot['hyper'], slot['seed'], learned, batch)
  with step_lib.formulation():
    executed = flops.executed(step, *args)
  traced = jax.make_jaxpr(step)(*args)
  judged = jax.make_jaxpr(evaluate)(slot['hyper'], slot, state, data)
  whole = jax.make_jaxpr(everything)(slot['hyper'], slot, state, batch, data)
  names = frozenset(primitives(whole.jaxpr))
  params = [state['variables'][name]['params'] for name in state['variables']]
  return Facts(
    digest=fingerprint(whole),
    live=alive((traced.jaxpr, judged.jaxpr), sorted(slot['hyper'])),
    params=sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)),
    flops=flops.nominal(step, *args).flops,
    executed_flops=executed.flops,
    convolves='conv_general_dilated' in primitives(traced.jaxpr),
    recurs=recurs(traced.jaxpr),
    primitives=names,
  )


def fingerprint(jaxpr: Any) -> str:
  """Digest of a closed jaxpr and its constants, free of memory addresses."""
  text = re.sub(r'0x[0-9a-f]+', '', str(jaxpr))
  found = hashlib.sha256(text.encode())
  for const in jaxpr.consts:
    found.update(np.asarray(const).tobytes())
  return found.hexdigest()[:32]


def alive(jaxprs: Iterable[Any], names: list[str]) -> frozenset[str]:
  """Which of the first inputs, the traced numbers, any output depends on.

  The number of steps always counts: it decides how long the host trains.
  """
  live = {'train.steps'}
  for jaxpr in jaxprs:
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    live |= {name for name, use in zip(names, used) if use}
  return frozenset(live)


def primitives(jaxpr: Any) -> set[str]:
  """Names of all primitives in a jaxpr and in the jaxprs it holds."""
  found = set()
  for equation in jaxpr.eqns:
    found.add(equation.primitive.name)
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        found |= primitives(inner)
  return found


def recurs(jaxpr: Any, inside: bool = False) -> bool:
  """Whether a scan or a while in a jaxpr holds a matrix product."""
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if inside and name == 'dot_general':
      return True
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns') and recurs(inner, inside or name in ('scan', 'while')):
        return True
  return False


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
