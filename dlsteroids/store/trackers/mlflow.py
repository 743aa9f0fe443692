"""MLflow: at MLFLOW_TRACKING_URI, else in mlflow/ of the workdir."""

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dlsteroids.store.trackers import tracker

TAG = 'dlsteroids.fingerprint'
LONGEST = 500  # characters of a parameter's value


class Handle:
  """An MLflow run, by its client: any number may be open."""

  def __init__(self, client: Any, run_id: str):
    self.client, self.run_id = client, run_id

  def push(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      self.client.log_metric(self.run_id, name, value, step=step)

  def close(self) -> None:
    self.client.set_terminated(self.run_id)


def begin(mlflow: ModuleType, run: tracker.Run) -> Handle:
  """Begins a run of the study's experiment, or continues the one with its tag."""
  place = os.environ.get('MLFLOW_TRACKING_URI')
  if not place:
    # MLflow refuses folders unless asked for them; its databases need SQLAlchemy.
    os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
  client = mlflow.MlflowClient(place or (run.workdir / 'mlflow').absolute().as_uri())
  experiment = client.get_experiment_by_name(run.study)
  number = (
    experiment.experiment_id if experiment else client.create_experiment(run.study)
  )
  old = client.search_runs([number], f"tags.`{TAG}` = '{run.id}'", max_results=1)
  if old:
    run_id = old[0].info.run_id
    client.update_run(run_id, status='RUNNING')
    return Handle(client, run_id)
  tags = {TAG: run.id, 'mlflow.runName': run.name}
  run_id = client.create_run(number, tags=tags).info.run_id
  for name, value in run.config.items():
    client.log_param(run_id, name, str(value)[:LONGEST])
  return Handle(client, run_id)
