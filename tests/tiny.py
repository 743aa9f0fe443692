"""A small engine for tests: tiny models on a part of the digits, a batch at a time."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data import digits
from dlsteroids.train import loop
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib

CHANGES = {
  'data.examples': 96,
  'train.steps': 10,
  'train.batch_size': 16,
  'train.evaluations': 2,
  'train.eval_batch': 100,
  'optimizer.learning_rate': 0.05,
}
CNN = {
  'model.name': 'cnn',
  'model.widths': (4,),
  'model.hidden': (),
  'model.norm': 'batch',
  'model.dropout': 0.2,
}


def make_config(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
  """An MLP of one small hidden layer, unless `changes` name another model."""
  tree = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  hidden = {'model.hidden': (8,), 'model.dropout': 0.2}
  return config_lib.override(tree, {**CHANGES, **hidden, **(changes or {})}.items())


@functools.cache
def _load(key: str, options: tuple[tuple[str, Any], ...]) -> types.Dataset:
  return digits.load(dict(options))


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The data set of a config, loaded once."""
  section = config['data']
  return _load(config_lib.digest(section), tuple(section.items()))


class Bench(NamedTuple):
  """One program, ready to train batches."""

  config: Mapping[str, Any]
  dataset: types.Dataset
  program: program_lib.Program
  data: Mapping[str, Any]

  def slot(self, seed: int, live: bool = True, **hyper: float) -> dict[str, Any]:
    """A member's slot; keywords set traced numbers ('optimizer__learning_rate')."""
    pairs = {name.replace('__', '.'): value for name, value in hyper.items()}
    config = config_lib.override(self.config, pairs.items())
    return member_lib.slot(config, self.dataset, seed, live)

  def train(self, slots: Sequence[Any], **options: Any) -> loop.Result:
    """Trains slots; short batches are filled up with padding."""
    short = self.program.layout.members - len(slots)
    padding = [{**slots[0], 'live': np.bool_(False)}] * short
    split = self.dataset.split(0)
    options = {
      'steps': self.config['train']['steps'],
      'evaluations': self.config['train']['evaluations'],
      'deciding': 'accuracy',
      **options,
    }
    counts = {name: len(split[name]) for name in member_lib.SPLITS}
    return loop.train(self.program, [*slots, *padding], self.data, counts, **options)


def make_bench(
  config: Mapping[str, Any],
  strategy: str = 'vmap',
  width: int = 4,
  devices: int = 1,
  dataset: types.Dataset | None = None,
  compiled: bool = True,
  member: member_lib.Member | None = None,
  data: int = 1,
) -> Bench:
  """A program of `width` members on each of `devices`, compiled as in a study.

  With `data` each of their batches lies on so many of the devices.
  """
  dataset = dataset or load(config)
  member = member or member_lib.make(config, dataset)
  layout = program_lib.Layout(strategy, width, devices, data)
  program = program_lib.make(member, layout)
  placed = program_lib.place_data(dataset, program.mesh)
  if compiled:
    slots = [member_lib.slot(config, dataset, 0)] * layout.members
    program = program_lib.compile_all(
      program, program_lib.place(slots, program), placed
    )
  return Bench(config, dataset, program, placed)


def pick(tree: Any, at: int) -> Any:
  """One member of a tree with leading members, on the host."""
  return jax.tree.map(lambda x: np.asarray(x[at]), tree)


def same(one: Any, other: Any) -> bool:
  """Whether two trees of arrays are equal to the bit."""
  equal = jax.tree.map(
    lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), one, other
  )
  return all(jax.tree.leaves(equal))


def bits(result: loop.Result, at: int) -> Any:
  """All a member leaves but its times."""
  times = ('wall_s', 'stall_s')
  record = {k: v for k, v in result.records[at].items() if k not in times}
  return record, result.arrays[at], pick(result.variables, at)


def assert_equal_bits(one: Any, other: Any) -> None:
  """Compares two results of `bits`."""
  assert one[0] == other[0]
  assert same(one[1], other[1])
  assert same(one[2], other[2])
