"""The width and the evaluation's batch that fit in memory, before anything is compiled.

What a program takes is estimated from its trace, before XLA fuses operations, so from
above. What it takes once compiled is compared with what is free before it runs
(`dlsteroids.run.memory`).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax

from dlsteroids import types
from dlsteroids.train import inspect
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment

MARGIN = 0.8  # of what is free; the rest is for the host's own work


class Estimate(NamedTuple):
  """Bytes that a program takes at most, beside its data, of the memory it lies in.

  Attributes:
    state: of all members.
    training: alive at once in a training step.
    evaluation: alive at once in an evaluation.
  """

  state: float
  training: float
  evaluation: float

  @property
  def peak(self) -> float:
    return self.state + max(self.training, self.evaluation)


def shared() -> bool:
  """Whether all devices share one memory, the host's."""
  return jax.default_backend() == 'cpu'


def estimate(
  layout: program_lib.Layout, facts: inspect.Facts, eval_batch: int
) -> Estimate:
  """What a program in a layout takes, where `eval_batch` examples are configured."""
  groups = layout.groups if shared() else 1
  parts = 1 if shared() else layout.data  # each device of a group has its own memory
  together = {'map': 1, 'vmap': layout.width}
  batch = (layout.eval_batch or eval_batch) / eval_batch
  training = together[layout.strategy] * facts.activation_bytes
  evaluation = together[layout.evaluation] * facts.evaluation_bytes * batch
  return Estimate(
    float(groups * layout.width * facts.state_bytes),
    groups * training / parts,
    groups * evaluation / parts,
  )


def room(datasets: Iterable[types.Dataset]) -> float:
  """Bytes for programs beside the data sets; inf where it is unknown."""
  data = sum(x.nbytes for each in datasets for x in each.resident.values())
  if shared():
    return max(
      0.0, MARGIN * environment.free_memory() - data * jax.local_device_count()
    )
  limits = [device.memory_stats() or {} for device in jax.local_devices()]
  free = [
    stats['bytes_limit'] - stats.get('bytes_in_use', 0)
    for stats in limits
    if 'bytes_limit' in stats
  ]
  return max(0.0, MARGIN * min(free, default=math.inf) - data)


def fit(
  layout: program_lib.Layout,
  facts: inspect.Facts,
  eval_batch: int,
  free: float,
  fixed: bool,
) -> program_lib.Layout:
  """The layout with the largest width and evaluation batch that the estimate allows.

  At least one member and one example: whether these fit is known once it is compiled.

  Args:
    layout: as wanted.
    facts: of the program.
    eval_batch: examples of an evaluation batch, as configured.
    free: bytes, from `room`.
    fixed: whether the width is the user's.
  """
  enough = lambda part, tried: tried.state + getattr(tried, part) <= free
  while layout.width > 1 and not fixed:
    if enough('training', estimate(layout, facts, eval_batch)):
      break
    layout = layout._replace(width=layout.width - 1)
  tried = estimate(layout, facts, eval_batch)
  if layout.evaluation == 'vmap' and not enough('evaluation', tried):
    layout = layout._replace(evaluation='map')
    tried = estimate(layout, facts, eval_batch)
  if not enough('evaluation', tried):
    most = max(1, int(eval_batch * max(free - tried.state, 0) / tried.evaluation))
    layout = layout._replace(eval_batch=even(eval_batch, most))
  return layout


def even(count: int, most: int) -> int:
  """The size of equal parts of `count`, as few as hold at most `most` each."""
  parts = -(-count // most)
  return -(-count // parts)


def describe(
  wanted: program_lib.Layout,
  layout: program_lib.Layout,
  facts: inspect.Facts,
  eval_batch: int,
  free: float,
) -> str:
  """How memory narrowed the `wanted` layout; '' if it did not."""
  words = []
  if layout.width < wanted.width:
    words.append(f'{layout.width} in place of {wanted.width} runs per device at a time')
  if layout.evaluation != wanted.evaluation:
    words.append('runs are evaluated one after another')
  if layout.eval_batch and layout.eval_batch != wanted.eval_batch:
    words.append(
      f'evaluation in batches of {layout.eval_batch} in place of {eval_batch} examples'
    )
  if not words:
    return ''
  need = estimate(wanted, facts, eval_batch).peak
  return (
    f'{", ".join(words)}: it would take up to {gib(need)}, and '
    f'{gib(free)} are free for it'
  )


def gib(amount: float) -> str:
  """Bytes as '1.2 GiB'."""
  return f'{amount / 2**30:.3g} GiB'
