"""Several processes that train one study together, on the devices of all of them.

All run the same code. What depends on a clock or a disk is decided by the first process
and broadcast (`agree`). It alone writes, except that every process writes its part of a
checkpoint: all must see one workdir. An error of one process ends the work of all: it
is reported at the next point where they synchronise.
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

RUNNING, FAILED, LEFT = range(3)  # the state that a process reports at a barrier
PATIENCE = 300.0  # seconds that a failed process waits for the others' barrier
LOST = 'another process of this study is gone; start all again, finished runs stay'


class Elsewhere(RuntimeError):
  """Another process failed in the work at hand; the message is its line."""


class Ended(errors.UserError):
  """Another process has left the study; the message is its line."""


class Lost(errors.UserError):
  """Another process is gone without notice: nothing can be synchronised any more."""


def several() -> bool:
  return jax.process_count() > 1


def first() -> bool:
  """Whether this process decides and writes."""
  return jax.process_index() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
  """Joins the other processes of the study; must come before the first JAX call.

  JAX detects them (SLURM, TPU, Open MPI), or JAX_COORDINATOR_ADDRESS,
  JAX_NUM_PROCESSES and JAX_PROCESS_ID say where they are.

  Raises:
    UserError: if they don't find each other.
    SystemExit: in place of an error that another process reports.
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
  """Reports an error to the other processes and leaves.

  Without this report JAX's own shutdown would wait for the others for minutes.

  Raises:
    SystemExit: if another process reports this error, or reported one before.
  """
  reports_here = True
  try:
    if isinstance(error, Lost):
      raise error
    if not isinstance(error, Ended):
      reports = barrier_within(LEFT, line_of(error))
      first_report = next(i for i, (state, _) in enumerate(reports) if state)
      reports_here = first_report == jax.process_index()
    jax.distributed.shutdown()
  except Lost as lost:
    print(f'dlsteroids: {lost}', file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
  if not reports_here or isinstance(error, Ended):
    raise SystemExit(2) from error


def line_of(error: BaseException) -> str:
  return next(iter(str(error).splitlines()), '') or type(error).__name__


def barrier(state: int, text: str = '') -> list[tuple[int, str]]:
  """The state and text that every process reports, by its index; waits for all.

  Raises:
    Lost: if one is gone.
  """
  data = text.encode()
  try:
    heads = multihost_utils.process_allgather(np.array([state, len(data)], np.int32))
    longest = int(heads[:, 1].max())
    padded = np.zeros(
      1 << longest.bit_length(), np.uint8
    )  # powers of two: few programs to compile
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    texts = (
      multihost_utils.process_allgather(padded) if longest else [padded] * len(heads)
    )
  except (ValueError, RuntimeError) as error:  # gloo: a connection was closed
    raise Lost(LOST) from error
  return [
    (int(state), bytes(row[:length]).decode())
    for (state, length), row in zip(heads, texts)
  ]


def barrier_within(state: int, text: str) -> list[tuple[int, str]]:
  """`barrier`, but Lost after `PATIENCE`: the others may wait for what has failed."""
  outcome: list[Any] = []

  def run() -> None:
    try:
      outcome.append(barrier(state, text))
    except Lost as error:
      outcome.append(error)

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(PATIENCE)
  if not outcome or isinstance(outcome[0], Lost):
    raise Lost(f'{text}; {LOST}') from (outcome or [None])[0]
  return outcome[0]


def every(value: Any) -> list[Any]:
  """The value of each process, by its index; JSON.

  Raises:
    Elsewhere: if one of them has failed meanwhile.
    Ended: if one of them leaves.
    Lost: if one of them is gone.
  """
  if not several():
    return [value]
  reports = barrier(RUNNING, json.dumps(value))
  raise_failures(reports)
  return [json.loads(text) for _, text in reports]


def agree(value: Any) -> Any:
  """The value of the first process; JSON, or anything if there is only one.

  Raises as `every`.
  """
  if not several():
    return value
  reports = barrier(RUNNING, json.dumps(value) if first() else '')
  raise_failures(reports)
  return json.loads(reports[0][1])


def raise_failures(reports: list[tuple[int, str]]) -> None:
  """Raises Ended or Elsewhere if a process reports that it left or failed."""
  for index, (state, text) in enumerate(reports):
    if state == LEFT:
      raise Ended(f'process {index}: {text}')
  for state, text in reports:
    if state == FAILED:
      raise Elsewhere(text)


def fail(error: Exception) -> str:
  """The line of an error in what all processes do, after reporting it to the others.

  Raises:
    Ended: if another one leaves.
    Lost: if another one is gone.
  """
  if not several() or isinstance(error, Elsewhere):
    return line_of(error)
  reports = barrier_within(FAILED, line_of(error))
  for index, (state, text) in enumerate(reports):
    if state == LEFT:
      raise Ended(f'process {index}: {text}')
  return next(text for state, text in reports if state == FAILED)


def put(tree: Any, sharding: Any) -> Any:
  """Arrays that every process holds, placed on all devices without a barrier."""

  def place(x: Any) -> Any:
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at], x.dtype)

  return jax.tree.map(place, tree)


def fetch(tree: Any) -> Any:
  """Arrays on the devices of all processes, as numpy arrays on each."""
  if not several():
    return jax.device_get(tree)
  agree(None)  # failures are reported here, not inside the collective below
  if not left_out(tree):
    return multihost_utils.process_allgather(tree, tiled=True)
  if jax.process_index() in left_out(tree):
    arrays = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
  else:
    arrays = multihost_utils.process_allgather(tree, tiled=True)
  return multihost_utils.broadcast_one_to_all(arrays)


def left_out(tree: Any) -> set[int]:
  """The processes whose devices, being idle, hold no part of these arrays."""
  devices = {d for x in jax.tree.leaves(tree) for d in x.sharding.device_set}
  return {*range(jax.process_count())} - {device.process_index for device in devices}
