"""SIGINT and SIGTERM end training at its next checkpoint, a second SIGINT at once.

While a batch trains the first signal is only recorded: the loop calls `requested` after
every stretch of steps, saves a checkpoint and raises. Anywhere else it raises at once:
files are written atomically. An exception in a library's callback gets lost, so `check`
raises it again. Schedulers send SIGTERM several times; repetitions are ignored.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = 'dlsteroids: saving a checkpoint, then stopping; Ctrl-C again stops at once'


class _State:
  """Signals since the handlers were set; they belong to the whole process."""

  number = 0  # of the first signal; 0: none has arrived
  handled = False  # by the main thread, which `number` does not tell
  deferred = False


def requested() -> bool:
  """Whether a signal has requested to stop."""
  return _State.number > 0


def name() -> str:
  """The signal's name."""
  return signal.Signals(_State.number or signal.SIGINT).name


def code() -> int:
  """The exit code of a process that the signal ended, by the shells' convention."""
  return 128 + (_State.number or signal.SIGINT)


def check() -> None:
  """Raises KeyboardInterrupt if a signal has requested to stop."""
  if requested():
    raise KeyboardInterrupt


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """A context in which a first signal raises nothing: its body polls `requested`."""
  _State.deferred = True
  try:
    yield
  finally:
    _State.deferred = False


@contextlib.contextmanager
def handled(*signals: signal.Signals) -> Iterator[None]:
  """A context that handles signals, by default all of `SIGNALS`.

  Outside of the main thread, where Python handles none, it does nothing.
  """
  _State.number, _State.handled = 0, False
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  # Python's handlers wait until compiled code returns; a thread does not.
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  threading.Thread(target=_listen, args=(reader,), daemon=True).start()
  wake = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  before = {each: signal.signal(each, _record) for each in signals or SIGNALS}
  try:
    yield
  finally:
    for each, handler in before.items():
      signal.signal(each, handler)
    signal.set_wakeup_fd(wake)
    os.close(writer)


def _record(number: int, frame: object) -> None:
  del frame
  first, _State.handled = not _State.handled, True
  _State.number = _State.number or number
  if first and not _State.deferred:
    raise KeyboardInterrupt


def _listen(reader: int) -> None:
  """Reads signal numbers as they arrive; a second SIGINT ends the process."""
  repeated = False
  while byte := os.read(reader, 1):
    number = byte[0]
    if number not in SIGNALS:
      continue
    _State.number = _State.number or number
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if repeated and number == signal.SIGINT:
      if terminal:
        os.write(2, b'\x1b[?25h\n')  # shows the cursor, which the progress bar hid
      os._exit(128 + number)
    if terminal and _State.deferred and not repeated:
      print(NOTICE, file=sys.stderr)
    repeated = True
  os.close(reader)
