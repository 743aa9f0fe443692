"""Processes that train one study together, on the devices of all of them.

All run the same code. What depends on a clock or on a disk the first one decides and
tells the others (`agree`); it alone writes, but for checkpoints, of which everyone
writes its part: all must see one workdir. What one fails with all fail with: whoever
has failed says so where the others are about to agree on something.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlsteroids.util import errors

WELL, FAILED, LEFT = range(3)  # what a process says of itself when all meet
PATIENCE = 300.0  # seconds that a process which failed waits to tell the others
LOST = 'another process of this study is gone; start all again, what is done stays'


class Elsewhere(RuntimeError):
  """Another process failed in what all were doing; this is its line."""


class Ended(errors.UserError):
  """Another process has left the study; this is its line."""


class Lost(errors.UserError):
  """Another process is gone without a word: nothing can be agreed on any more."""


def several() -> bool:
  return jax.process_count() > 1


def first() -> bool:
  """Whether this process decides and writes."""
  return jax.process_index() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
  """Within it this process and the others are one; before the first JAX call.

  Where they are is what JAX finds (SLURM, TPU, Open MPI), or what
  JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say.

  Raises:
    UserError: if they don't find each other.
    SystemExit: in place of an error that another process has the word for.
  """
  words = [os.environ.get(f'JAX_{name}') for name in ('NUM_PROCESSES', 'PROCESS_ID')]
  count, index = (int(word) if word else None for word in words)
  jax.config.update('jax_enable_preemption_service', False)  # it would take SIGTERM
  try:
    jax.distributed.initialize(num_processes=count, process_id=index)
  except (ValueError, RuntimeError) as error:
    raise errors.UserError(
      f'--distributed: {str(error).splitlines()[0]} Set JAX_COORDINATOR_ADDRESS='
      'HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID where no cluster sets them'
    ) from error
  try:
    yield
  except BaseException as error:
    leave(error)
    raise
  jax.distributed.shutdown()


def leave(error: BaseException) -> None:
  """Tells the others; SystemExit if another process says the same or said it before.

  Without the others JAX's own way out would wait for them for minutes.
  """
  mine = True
  try:
    if isinstance(error, Lost):
      raise error
    if not isinstance(error, Ended):
      said = urge(LEFT, line_of(error))
      mine = next(i for i, (word, _) in enumerate(said) if word) == jax.process_index()
    jax.distributed.shutdown()
  except Lost as lost:
    print(f'dlsteroids: {lost}', file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
  if not mine or isinstance(error, Ended):
    raise SystemExit(2) from error


def line_of(error: BaseException) -> str:
  return next(iter(str(error).splitlines()), '') or type(error).__name__


def meet(word: int, text: str = '') -> list[tuple[int, str]]:
  """What every process says now, by its index; waits for all.

  Raises:
    Lost: if one is gone.
  """
  data = text.encode()
  try:
    heads = multihost_utils.process_allgather(np.array([word, len(data)], np.int32))
    longest = int(heads[:, 1].max())
    padded = np.zeros(1 << longest.bit_length(), np.uint8)  # few shapes to compile
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    texts = (
      multihost_utils.process_allgather(padded) if longest else [padded] * len(heads)
    )
  except (ValueError, RuntimeError) as error:  # gloo: a connection was closed
    raise Lost(LOST) from error
  return [
    (int(said), bytes(row[:length]).decode())
    for (said, length), row in zip(heads, texts)
  ]


def urge(word: int, text: str) -> list[tuple[int, str]]:
  """`meet`, but Lost if the others don't come: they may wait for what has failed."""
  found: list[Any] = []

  def run() -> None:
    try:
      found.append(meet(word, text))
    except Lost as error:
      found.append(error)

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(PATIENCE)
  if not found or isinstance(found[0], Lost):
    raise Lost(f'{text}; {LOST}') from (found or [None])[0]
  return found[0]


def every(value: Any) -> list[Any]:
  """What each process passes, by its index; JSON.

  Raises:
    Elsewhere: if one of them has failed meanwhile.
    Ended: if one of them leaves.
    Lost: if one of them is gone.
  """
  if not several():
    return [value]
  said = meet(WELL, json.dumps(value))
  hear(said)
  return [json.loads(text) for _, text in said]


def agree(value: Any) -> Any:
  """What the first process passes; JSON, or anything if there is only one.

  Raises as `every`.
  """
  if not several():
    return value
  said = meet(WELL, json.dumps(value) if first() else '')
  hear(said)
  return json.loads(said[0][1])


def hear(said: list[tuple[int, str]]) -> None:
  """Raises what `every` says it does."""
  for index, (word, text) in enumerate(said):
    if word == LEFT:
      raise Ended(f'process {index}: {text}')
  for word, text in said:
    if word == FAILED:
      raise Elsewhere(text)


def fail(error: Exception) -> str:
  """The line of an error in what all processes do, having told the others.

  Raises:
    Ended: if another one leaves.
    Lost: if another one is gone.
  """
  if not several() or isinstance(error, Elsewhere):
    return line_of(error)
  said = urge(FAILED, line_of(error))
  for index, (word, text) in enumerate(said):
    if word == LEFT:
      raise Ended(f'process {index}: {text}')
  return next(text for word, text in said if word == FAILED)


def put(tree: Any, sharding: Any) -> Any:
  """Arrays that every process has, laid on the devices of all, without a meeting."""

  def place(x: Any) -> Any:
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at], x.dtype)

  return jax.tree.map(place, tree)


def fetch(tree: Any) -> Any:
  """Arrays on the devices of all processes, as numpy arrays on each."""
  if not several():
    return jax.device_get(tree)
  agree(None)  # here, and not in the middle, they hear of one that failed
  if not left_out(tree):
    return multihost_utils.process_allgather(tree, tiled=True)
  if jax.process_index() in left_out(tree):
    found = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
  else:
    found = multihost_utils.process_allgather(tree, tiled=True)
  return multihost_utils.broadcast_one_to_all(found)


def left_out(tree: Any) -> set[int]:
  """The processes whose devices have no part of these arrays, as all are idle."""
  devices = {d for x in jax.tree.leaves(tree) for d in x.sharding.device_set}
  return {*range(jax.process_count())} - {device.process_index for device in devices}
