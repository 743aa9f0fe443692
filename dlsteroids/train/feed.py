"""The input of members while they train: slots alone, or with chunks of a stream.

A thread reads, decodes and places a stream's chunks on the devices, one ahead of the
one in use, in the order in which the loop will need them: at most three are alive. Time
that the loop waits for the next chunk is its stall. What comes next follows from the
step alone, so a checkpoint holds nothing of it.
"""

import concurrent.futures
import contextlib
import math
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids.data.lib import reader
from dlsteroids.train import chunks as chunks_lib
from dlsteroids.train import member as member_lib
from dlsteroids.train import processes, program, requests


class Visit(NamedTuple):
  """Steps from `start` to `stop`, and whether an evaluation follows them."""

  start: int
  stop: int
  evaluated: bool


class Feed:
  """The feed of data on the devices: every stretch and evaluation has the same slots.

  Attributes:
    stalled: seconds that input was waited for; None if it never can be.
  """

  stalled: float | None = None

  def __init__(self, placed: Any):
    self.placed = placed

  def __enter__(self) -> 'Feed':
    return self

  def __exit__(self, *error: Any) -> None:
    pass

  def start(self, visits: Sequence[Visit]) -> None:
    """Declares what will be needed, in order."""

  def training(self, step: int, stop: int) -> tuple[Any, int]:
    """Slots for the steps from `step`, and the step, at most `stop`, they last to."""
    del step
    return self.placed, stop

  def evaluation(self) -> Iterator[Any]:
    """The slots of an evaluation, part by part."""
    yield self.placed

  def share(self) -> float:
    """The share of the time since the start that input was waited for, or nan."""
    return math.nan


def make(
  compiled: program.Program,
  slots: Sequence[Mapping[str, Any]],
  placed: Any,
  readers: reader.Readers,
) -> Feed:
  """The feed of a program's data set: see `Streamed`."""
  if compiled.member.chunks is None:
    return Feed(placed)
  return Streamed(compiled, slots, placed, readers)


def evaluate(compiled: program.Program, state: Any, feed: Feed, data: Any) -> Any:
  """The results of `compiled.evaluate`, on the host, as if of all batches at once.

  Rows that only metrics read which are reduced on the devices stay there; what they are
  reduced to is added as 'reduced' (`program.reduce_rows`).
  """
  member = compiled.member
  on_host = member_lib.host_sources(member.task.metrics)
  parts, values = [], []
  for slots in feed.evaluation():
    part = compiled.evaluate(state, slots, data)
    values.append(part['values'])
    parts.append(
      processes.fetch({**part, 'values': {name: values[-1][name] for name in on_host}})
    )
  reduced = program.reduce_rows(compiled, values, feed.placed['live'])
  whole = {**parts[-1], 'reduced': processes.fetch(reduced) if reduced else {}}
  if member.chunks is None:
    return whole
  batches = len(member.chunks.mask)
  joined = jax.tree.map(
    lambda *xs: np.concatenate(xs, 1)[:, :batches], *(part['values'] for part in parts)
  )
  return {**whole, 'values': joined}


class Held(NamedTuple):
  """A chunk laid ready for steps start..stop - 1, or for a part of an evaluation."""

  slots: Any
  start: int = 0
  stop: int = 0


class Streamed(Feed):
  """The feed of a stream: chunks for the visits to come."""

  stalled: float

  def __init__(
    self,
    compiled: program.Program,
    slots: Sequence[Mapping[str, Any]],
    placed: Any,
    readers: reader.Readers,
  ):
    """Nothing is read before `start`.

    Of several processes each reads the examples of its own devices.

    Args:
      compiled: the program, whose member has chunks.
      slots: of all its members, with the indices that `program.place` leaves out.
      placed: the slots without them, on the devices.
      readers: the threads or processes that read.
    """
    super().__init__(placed)
    assert compiled.member.chunks is not None
    self.compiled, self.slots, self.readers = compiled, slots, readers
    self.chunks: chunks_lib.Chunks = compiled.member.chunks
    owned = {kind: self.own(kind) for kind in chunks_lib.KINDS}
    self.rows = {kind: rows for kind, (_, rows) in owned.items()}
    self.seeds: dict[int, list[int]] = {}  # live members by seed: they share batches
    for at in owned['train'][0]:
      if slots[at]['live']:
        self.seeds.setdefault(int(slots[at]['seed']), []).append(at)
    self.eval_groups = self.group()
    self.held: Held | None = None
    self.stalled, self.began = 0.0, time.monotonic()
    self.closed = threading.Event()
    self.pool = concurrent.futures.ThreadPoolExecutor(1, 'feed')
    self.items: Generator[Held, None, None] = self.produce(())

  def __exit__(self, *error: Any) -> None:
    self.closed.set()
    self.pool.shutdown(cancel_futures=True)
    self.items.close()

  def start(self, visits: Sequence[Visit]) -> None:
    """Begins to read for the visits."""
    self.items = self.produce(visits)
    self.ahead = self.pool.submit(self.another)
    self.began = time.monotonic()

  def training(self, step: int, stop: int) -> tuple[Any, int]:
    if self.held is None or not self.held.start <= step < self.held.stop:
      self.held = self.next()
    return self.held.slots, min(stop, self.held.stop)

  def evaluation(self) -> Iterator[Any]:
    for _ in range(
      0, len(self.eval_groups), self.chunks.length('evaluate', self.members)
    ):
      yield self.next().slots

  def share(self) -> float:
    return self.stalled / max(time.monotonic() - self.began, 1e-9)

  @property
  def members(self) -> int:
    return self.compiled.layout.members

  def next(self) -> Held:
    """The next chunk; the thread then starts on the one after it."""
    self.held = None  # frees its memory before another takes some
    before = time.monotonic()
    held = self.ahead.result()
    self.stalled += time.monotonic() - before
    if held is None:
      raise ValueError('more steps or evaluations were requested than declared')
    self.ahead = self.pool.submit(self.another)
    return held

  def another(self) -> Held | None:
    return next(self.items, None)

  def own(self, kind: str) -> tuple[range, slice]:
    """The members on this process's devices, and the rows of their batches there."""
    array = self.chunks.blank(kind, self.members)['batches']
    shape = jax.tree.leaves(array)[0].shape
    sharding = program.chunk_sharding(shape, self.compiled)
    places = sharding.addressable_devices_indices_map(shape).values()
    parts = [part for part in places if part is not None]
    if not parts:
      return range(0), slice(0, 0)

    def span(axis: int) -> tuple[int, int]:
      begins, ends, _ = zip(*(part[axis].indices(shape[axis]) for part in parts))
      return min(begins), max(ends)

    return range(*span(0)), slice(*span(2))

  def group(self) -> list[list[tuple[list[int], np.ndarray]]]:
    """By batch of evaluation: members that see the same examples [n], and these.

    Published splits are the same for all seeds: they are decoded once.
    """
    rows = self.rows['evaluate']
    batches = []
    for number, mask in enumerate(self.chunks.mask):
      same: dict[bytes, list[int]] = {}
      for at in (at for members in self.seeds.values() for at in members):
        same.setdefault(self.slots[at]['evaluate'][number].tobytes(), []).append(at)
      batches.append(
        [
          (members, self.slots[members[0]]['evaluate'][number][rows][mask[rows]])
          for members in same.values()
        ]
      )
    return batches

  def produce(self, visits: Sequence[Visit]) -> Generator[Held, None, None]:
    """All chunks of the visits, in order."""
    length = self.chunks.length('train', self.members)
    ahead = length // self.chunks.draws  # steps
    start, stop = visits[0].start, visits[-1].stop
    with contextlib.ExitStack() as stack:
      if stop > start:
        train = {seed: self.slots[at[0]]['train'] for seed, at in self.seeds.items()}
        wanted = requests.Training(
          self.chunks, train, self.rows['train'], (start, stop)
        )
        examples = stack.enter_context(self.open(wanted))
      for visit in visits:
        for begin in range(visit.start // ahead * ahead, visit.stop, ahead):
          first, last = max(begin, visit.start), min(begin + ahead, visit.stop)
          if first < last:
            chunk = self.train(examples, first, last)
            yield Held(self.lay(chunk), first, last)
        if visit.evaluated:
          yield from self.evaluate()

  def open(self, wanted: reader.Requests) -> Any:
    return reader.read(self.chunks.stream.example, wanted, self.readers)

  def lay(self, chunk: Any) -> Any:
    return {**self.placed, **program.place_chunk(chunk, self.compiled)}

  def train(self, examples: Iterator[Any], first: int, last: int) -> dict[str, Any]:
    """The chunk of the steps first..last - 1."""
    rows, draws = self.rows['train'], self.chunks.draws
    chunk = self.chunks.blank('train', self.members)
    length = self.chunks.length('train', self.members)
    for draw in range(first * draws, last * draws):
      for members in self.seeds.values():
        self.fill(chunk, members, draw % length, examples, rows)
    return chunk

  def evaluate(self) -> Iterator[Held]:
    """The chunks of one evaluation."""
    rows = self.rows['evaluate']
    length = self.chunks.length('evaluate', self.members)
    every = [np.empty(0, np.int64)]  # a process whose devices are idle reads nothing
    every += [indices for groups in self.eval_groups for _, indices in groups]
    with self.open(requests.Chosen(np.concatenate(every))) as examples:
      for begin in range(0, len(self.eval_groups), length):
        chunk = self.chunks.blank('evaluate', self.members)
        for at, groups in enumerate(self.eval_groups[begin : begin + length]):
          chunk['mask'][:, at] = self.chunks.mask[begin + at]
          chunk['number'][:, at] = begin + at
          for members, indices in groups:
            last = rows.start + len(indices)
            self.fill(chunk, members, at, examples, slice(rows.start, last))
        yield Held(self.lay(chunk))

  def fill(
    self, chunk: Any, members: list[int], at: int, examples: Iterator[Any], rows: slice
  ) -> None:
    """Puts the next examples into the rows of batch `at` of all these members."""
    for row in range(rows.start, rows.stop):
      if self.closed.is_set():
        raise RuntimeError('the feed was closed')
      for name, value in next(examples).items():
        chunk['batches'][name][members[0], at, row] = value
    for value in chunk['batches'].values():
      value[members[1:], at] = value[members[0], at]
