"""Training one batch of members from the host: stretches, evaluations, checkpoints."""

import math
import pathlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids.data.lib import reader
from dlsteroids.train import checkpoint, history, processes, program
from dlsteroids.train import feed as feed_lib

CHUNK_SECONDS = 2.0  # between two looks at the clock; no number depends on it


ANY = reader.Readers()


class Progress(NamedTuple):
  """What the launcher shows while a batch trains."""

  step: int
  steps: int
  steps_per_second: float  # of the whole batch
  value: float  # mean of the deciding metric on validation; nan before the first
  stalled: float = math.nan  # share of the time that input was waited for; nan: none is


class Result(NamedTuple):
  records: Mapping[int, dict[str, Any]]  # by live slot: status, values, curves …
  arrays: Mapping[int, dict[str, np.ndarray]]  # by live slot, at its best step
  variables: Any  # at the last step, members leading


class Interrupted(KeyboardInterrupt):
  """Training was asked to stop, and did; the message says what was kept."""


def boundaries(steps: int, evaluations: int) -> list[int]:
  """The steps after which a run is evaluated: evenly spaced, the last at the end."""
  count = min(steps, evaluations)
  return sorted({round(steps * (i + 1) / count) for i in range(count)})


def visits(
  step: int, ends: Sequence[int], judged: Collection[int]
) -> list[feed_lib.Visit]:
  """What remains from `step` on, evaluated at the `ends` but those already `judged`."""
  starts = [step, *(max(step, end) for end in ends)]
  found = (feed_lib.Visit(a, b, b not in judged) for a, b in zip(starts, ends))
  return [visit for visit in found if visit.start <= visit.stop]


def train(
  made: program.Program,
  slots: Sequence[Mapping[str, Any]],
  data: Mapping[str, Any],
  counts: Mapping[str, int],
  *,
  steps: int,
  evaluations: int,
  deciding: str,
  folder: pathlib.Path | None = None,
  checkpoint_seconds: float = 120.0,
  watch: Callable[[Progress], None] = lambda progress: None,
  readers: reader.Readers = ANY,
  stop: Callable[[], bool] = lambda: False,
  say: Callable[[str], None] = lambda line: None,
) -> Result:
  """Trains a full batch of members for `steps` steps, continuing where it was left.

  Args:
    made: a program whose layout has as many members as there are slots.
    slots: from `member.slot`; those not live are padding.
    data: the data set's arrays on the program's mesh.
    counts: examples in 'validation' and 'test'.
    steps: of every member.
    evaluations: how many, evenly spaced.
    deciding: name of the metric whose best validation value picks the best step.
    folder: for checkpoints; none are written without it.
    checkpoint_seconds: the least time between two checkpoints.
    watch: told about the progress after every chunk and evaluation.
    readers: of a data set that streams.
    stop: asked after every chunk; once it says so, a checkpoint ends the training.
    say: told of checkpoints that are damaged or cannot be written.

  Raises:
    Interrupted: if it was stopped.
  """
  live = [i for i, slot in enumerate(slots) if slot['live']]
  placed = program.place(slots, made)
  state = made.init(placed, data)
  past = history.new(made.member, deciding, len(live))
  step, spent, waited = 0, 0.0, 0.0
  found = checkpoint.restore(folder, state, say) if folder else None
  if found:
    step, state, saved = found
    past = history.load(past, saved)
    spent, waited = map(float, saved['seconds'])
  clock = Clock(step, spent)
  fresh = step in (0, *past.steps)
  ends = boundaries(steps, evaluations)
  with feed_lib.make(made, slots, placed, readers) as feed:

    def keep() -> bool:
      seconds = np.asarray([clock.elapsed(), waited + (feed.stalled or 0.0)])
      told = {**history.dump(past), 'seconds': seconds}
      return save(folder, step, state, told, say)

    feed.start(visits(step, ends, past.steps))
    for boundary in ends:
      while step < boundary:
        end = min(boundary, step + processes.agree(clock.chunk))
        fed, end = feed.training(step, end)
        state = made.stretch(
          state, fed, data, np.int32(step), np.int32(end), np.bool_(fresh)
        )
        jax.block_until_ready(state['diverged'])
        step, fresh = end, False
        watch(Progress(step, steps, clock.tick(step), past.mean(), feed.share()))
        if any(processes.every(stop())):
          kept = 'saved' if keep() else 'not saved'
          raise Interrupted(f'step {step} of {steps} is {kept}')
        due = clock.since_save() > checkpoint_seconds
        if folder and step < steps and processes.agree(due):
          keep()
          clock.saved()
      if boundary not in past.steps:
        values = feed_lib.evaluate(made, state, feed, data)
        values = jax.tree.map(lambda x: x[np.asarray(live)], values)
        past = history.append(past, made.member, counts, boundary, values)
        watch(Progress(step, steps, clock.rate, past.mean(), feed.share()))
        fresh = True
  seconds = clock.elapsed() / len(live)
  records = {at: history.record(past, i, steps, seconds) for i, at in enumerate(live)}
  if feed.stalled is not None:
    stalled = (waited + feed.stalled) / len(live)
    records = {at: {**record, 'stall_s': stalled} for at, record in records.items()}
  arrays = {at: history.arrays_of(past, i) for i, at in enumerate(live)}
  return Result(records, arrays, state['variables'])


def save(
  folder: pathlib.Path | None,
  step: int,
  state: Any,
  told: Mapping[str, Any],
  say: Callable[[str], None],
) -> bool:
  """Saves a checkpoint if it can; training does not end because a disk is full."""
  if folder is None:
    return False
  try:
    checkpoint.save(folder, step, state, told)
  except checkpoint.Unwritable as error:
    say(f'cannot write to {folder.parent}: {error.strerror}; training goes on')
    return False
  return True


class Clock:
  """Chooses how many steps to run between two looks, and when to save."""

  def __init__(self, step: int, spent: float = 0.0):
    self.last = self.save = time.monotonic()
    self.start = self.last - spent  # before this process went on
    self.step, self.chunk, self.rate = step, 1, 0.0

  def tick(self, step: int) -> float:
    now = time.monotonic()
    self.rate = (step - self.step) / max(now - self.last, 1e-9)
    self.chunk = max(1, min(self.chunk * 16, int(self.rate * CHUNK_SECONDS)))
    self.last, self.step = now, step
    return self.rate

  def since_save(self) -> float:
    return time.monotonic() - self.save

  def saved(self) -> None:
    self.save = self.last = time.monotonic()

  def elapsed(self) -> float:
    return time.monotonic() - self.start
