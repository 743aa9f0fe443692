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

CHUNK_SECONDS = 2.0  # of training between two checks of clock and signals
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
  """Training stopped on request; the message says whether its state was saved."""


def boundaries(steps: int, evaluations: int) -> list[int]:
  """The steps after which a run is evaluated: evenly spaced, the last at the end."""
  count = min(steps, evaluations)
  return sorted({round(steps * (i + 1) / count) for i in range(count)})


def visits(
  step: int, ends: Sequence[int], evaluated: Collection[int]
) -> list[feed_lib.Visit]:
  """What remains from `step` on, with evaluations at the `ends` not yet `evaluated`."""
  starts = [step, *(max(step, end) for end in ends)]
  remaining = (feed_lib.Visit(a, b, b not in evaluated) for a, b in zip(starts, ends))
  return [visit for visit in remaining if visit.start <= visit.stop]


def train(
  compiled: program.Program,
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
  evaluated: Callable[[history.History], None] = lambda past: None,
) -> Result:
  """Trains a full batch of members for `steps` steps, continuing where it was left.

  Args:
    compiled: a program whose layout has as many members as there are slots.
    slots: from `member.slot`; those not live are padding.
    data: the data set's arrays on the program's mesh.
    counts: examples in 'validation' and 'test'.
    steps: of every member.
    evaluations: how many, evenly spaced.
    deciding: name of the metric whose best validation value picks the best step.
    folder: for checkpoints; none are written without it.
    checkpoint_seconds: the least time between two checkpoints.
    watch: called with the progress after every chunk and evaluation.
    readers: of a data set that streams.
    stop: called after every chunk; once it is true, training ends with a checkpoint.
    say: called with a line about checkpoints that are damaged or cannot be written.
    evaluated: called with all evaluations so far after each, and after a restart.

  Raises:
    Interrupted: if it was stopped.
  """
  live = [i for i, slot in enumerate(slots) if slot['live']]
  placed = program.place(slots, compiled)
  state = compiled.init(placed, data)
  past = history.new(compiled.member, deciding, len(live))
  step, spent, waited = 0, 0.0, 0.0
  restored = checkpoint.restore(folder, state, say) if folder else None
  if restored:
    step, state, saved = restored
    past = history.load(past, saved)
    spent, waited = map(float, saved['seconds'])
    evaluated(past)
  clock = Clock(step, spent)
  fresh = step in (0, *past.steps)
  ends = boundaries(steps, evaluations)
  with feed_lib.make(compiled, slots, placed, readers) as feed:

    def save_checkpoint() -> bool:
      seconds = np.asarray([clock.elapsed(), waited + (feed.stalled or 0.0)])
      progress = {**history.dump(past), 'seconds': seconds}
      return save(folder, step, state, progress, say)

    feed.start(visits(step, ends, past.steps))
    for boundary in ends:
      while step < boundary:
        end = min(boundary, step + processes.agree(clock.chunk))
        fed, end = feed.training(step, end)
        state = compiled.stretch(
          state, fed, data, np.int32(step), np.int32(end), np.bool_(fresh)
        )
        jax.block_until_ready(state['diverged'])
        step, fresh = end, False
        watch(Progress(step, steps, clock.tick(step), past.mean(), feed.share()))
        if any(processes.every(stop())):
          outcome = 'saved' if save_checkpoint() else 'not saved'
          raise Interrupted(f'step {step} of {steps} is {outcome}')
        due = clock.since_save() > checkpoint_seconds
        if folder and step < steps and processes.agree(due):
          save_checkpoint()
          clock.saved()
      if boundary not in past.steps:
        values = feed_lib.evaluate(compiled, state, feed, data)
        values = jax.tree.map(lambda x: x[np.asarray(live)], values)
        past = history.append(past, compiled.member, counts, boundary, values)
        evaluated(past)
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
  progress: Mapping[str, Any],
  say: Callable[[str], None],
) -> bool:
  """Saves a checkpoint, if possible: a full disk does not end the training."""
  if folder is None:
    return False
  try:
    checkpoint.save(folder, step, state, progress)
  except checkpoint.Unwritable as error:
    say(f'cannot write to {folder.parent}: {error.strerror}; training continues')
    return False
  return True


class Clock:
  """Chooses how many steps to run between two checks, and when to save."""

  def __init__(self, step: int, spent: float = 0.0):
    self.last = self.save = time.monotonic()
    self.start = self.last - spent  # of the whole training, earlier processes included
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
