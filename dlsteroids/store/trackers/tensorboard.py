"""TensorBoard files in tensorboard/ of the workdir, flushed at each evaluation."""

import json
import logging
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlsteroids.store.trackers import tracker


class Handle:
  """The event files of a run."""

  def __init__(self, writer: Any):
    self.writer = writer

  def push(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      self.writer.add_scalar(name, value, step)
    self.writer.flush()

  def close(self) -> None:
    self.writer.close()


def begin(tensorboardX: ModuleType, run: tracker.Run) -> Handle:
  """Opens `tensorboard/NAME-ID/`; a run that continues gets a further file."""
  name = re.sub(r'[/\\\0]', '_', f'{run.name}-{run.id[:8]}')
  folder = run.workdir / 'tensorboard' / name
  # Files are named by the second: a run that continues must not overwrite its first.
  number = len(list(folder.glob('events*')))
  # It warns of every number that is not finite: a metric that could not be measured.
  logging.getLogger('tensorboardX.x2num').setLevel(logging.ERROR)
  writer = tensorboardX.SummaryWriter(str(folder), filename_suffix=f'.{number}')
  writer.add_text('config', json.dumps(dict(run.config), default=str, indent=1))
  return Handle(writer)
