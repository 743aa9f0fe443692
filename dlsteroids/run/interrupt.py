"""SIGINT and SIGTERM end training at its next look, a further SIGINT at once.

While a batch trains the first signal is only noted: the loop asks `asked` after every
stretch of steps, saves a checkpoint and raises. Anywhere else it raises at once, as
every file appears whole or not at all. An exception in a library's callback gets lost,
so it is raised again by `check`. Schedulers send SIGTERM several times: once is enough.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = 'dlsteroids: stopping after this stretch of steps; Ctrl-C leaves at once'


class _Noted:
  """What has come since the handlers were set; signals belong to the whole process."""

  number = 0  # the first signal's; 0: none has come
  heard = False  # by the main thread, which `number` does not tell
  patient = False


def asked() -> bool:
  """Whether a signal has asked to stop."""
  return _Noted.number > 0


def name() -> str:
  """The signal's name."""
  return signal.Signals(_Noted.number or signal.SIGINT).name


def code() -> int:
  """The exit code of a process that the signal ended, as shells count it."""
  return 128 + (_Noted.number or signal.SIGINT)


def check() -> None:
  """Raises KeyboardInterrupt if a signal has asked to stop."""
  if asked():
    raise KeyboardInterrupt


@contextlib.contextmanager
def patience() -> Iterator[None]:
  """Within, a first signal raises nothing: who trains asks `asked` often enough."""
  _Noted.patient = True
  try:
    yield
  finally:
    _Noted.patient = False


@contextlib.contextmanager
def handled(*signals: signal.Signals) -> Iterator[None]:
  """Handles signals (all of `SIGNALS` by default) as long as the context lasts.

  Elsewhere than in the main thread, where Python handles none, it does nothing.
  """
  _Noted.number, _Noted.heard = 0, False
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  # Python's handlers wait until compiled code returns; a thread need not.
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  threading.Thread(target=_listen, args=(reader,), daemon=True).start()
  wake = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  before = {each: signal.signal(each, _note) for each in signals or SIGNALS}
  try:
    yield
  finally:
    for each, handler in before.items():
      signal.signal(each, handler)
    signal.set_wakeup_fd(wake)
    os.close(writer)


def _note(number: int, frame: object) -> None:
  del frame
  first, _Noted.heard = not _Noted.heard, True
  _Noted.number = _Noted.number or number
  if first and not _Noted.patient:
    raise KeyboardInterrupt


def _listen(reader: int) -> None:
  """Reads the numbers of signals as they come; a further SIGINT ends the process."""
  asked_before = False
  while byte := os.read(reader, 1):
    number = byte[0]
    if number not in SIGNALS:
      continue
    _Noted.number = _Noted.number or number
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if asked_before and number == signal.SIGINT:
      if terminal:
        os.write(2, b'\x1b[?25h\n')  # the cursor, which the progress bar hid
      os._exit(128 + number)
    if terminal and _Noted.patient and not asked_before:
      print(NOTICE, file=sys.stderr)
    asked_before = True
  os.close(reader)
