"""Trackio: local by default; a project for each study, arms as groups."""

import atexit
import contextlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlsteroids.store.trackers import tracker


class Handle:
  """A trackio run."""

  def __init__(self, run: Any):
    self.run = run

  def push(self, step: int, values: Mapping[str, float]) -> None:
    self.run.log(dict(values), step=step)

  def close(self) -> None:
    with contextlib.redirect_stdout(sys.stderr):
      self.run.finish()


def begin(trackio: ModuleType, run: tracker.Run) -> Handle:
  """Begins a run, or continues it: its name ends in the fingerprint."""
  with contextlib.redirect_stdout(sys.stderr):  # stdout is for answers
    handle = Handle(
      trackio.init(
        project=run.study,
        name=f'{run.name}-{run.id[:8]}',
        group=str(run.config['arm']),
        config=dict(run.config),
        resume='allow',
        embed=False,
      )
    )
  # It takes leave when the process ends. What is registered last runs first.
  atexit.unregister(_give_up_stdout)
  atexit.register(_give_up_stdout)
  return handle


def _give_up_stdout() -> None:
  sys.stdout.flush()
  sys.stdout = sys.stderr
