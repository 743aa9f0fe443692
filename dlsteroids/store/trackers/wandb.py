"""Weights & Biases; `WANDB_MODE=offline` keeps everything on this machine."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlsteroids.store.trackers import tracker


class Handle:
  """A wandb run among others that are open."""

  def __init__(self, run: Any):
    self.run = run

  def push(self, step: int, values: Mapping[str, float]) -> None:
    self.run.log(dict(values), step=step)

  def close(self) -> None:
    self.run.finish()


def begin(wandb: ModuleType, run: tracker.Run) -> Handle:
  """Begins a run, or continues it: its id is the fingerprint."""
  return Handle(
    wandb.init(
      project='dlsteroids',
      group=run.study,
      id=run.id,
      name=run.name,
      config=dict(run.config),
      dir=str(run.workdir),
      resume='allow',
      reinit='create_new',
      settings=wandb.Settings(silent=True, console='off'),
    )
  )
