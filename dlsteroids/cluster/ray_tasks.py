"""Ray core: a unit per task, on whichever node has room for it.

A task runs its worker as a child process, which ends with it. A task whose node dies is
tried again on another; its worker waits until the dead worker's lease has expired and
continues from its checkpoint. The tasks end with the launch that submitted them.
"""

import math
import os
import time
from collections.abc import Sequence
from typing import Any

from dlsteroids.cluster import child, executors
from dlsteroids.util import errors

RETRIES = 3  # of a task whose node or process died


class Ray:
  """Submits units to a Ray cluster."""

  poll = 1.0

  def __init__(self, order: child.Order, resources: executors.Resources):
    self.ray = ray = executors.need('ray', 'ray')
    self.order, self.at_once = order, resources.at_once
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
    try:
      ray.init(
        address=resources.address or None,
        runtime_env={'env_vars': {'PYTHONPATH': order.environment['PYTHONPATH']}},
        log_to_driver=False,
        logging_level='ERROR',
      )
    except (ConnectionError, ValueError, RuntimeError) as error:
      where = resources.address or 'this machine'
      raise errors.UserError(f'no Ray cluster at {where}: {error}') from error
    options: dict[str, Any] = {
      'num_cpus': resources.cpus or whole_node(ray.nodes()),
      'num_gpus': resources.gpus,
    }
    if resources.memory_gb:
      options['memory'] = int(resources.memory_gb * 2**30)
    self.task = ray.remote(max_retries=RETRIES, **options)(work)

  def submit(self, programs: Sequence[str]) -> dict[str, 'RayJob']:
    return {
      program: RayJob(self.ray, self.task.remote(self.order, program), program)
      for program in programs
    }

  def adopt(self, programs: Sequence[str]) -> dict[str, 'RayJob']:
    return {}

  def leave(self) -> str:
    self.ray.shutdown()
    return 'the Ray tasks end with their next checkpoint'


def whole_node(nodes: Sequence[Any]) -> int:
  """The cores of the smallest node."""
  alive = (node['Resources'].get('CPU', 0) for node in nodes if node['Alive'])
  return math.floor(min((cores for cores in alive if cores), default=1))


def work(order: child.Order, program: str) -> str:
  """The task: runs a worker; returns why it ended early, '' if it did not."""
  worker = child.Child(order, program, f'ray on {os.uname().nodename}')
  while not worker.ended():
    time.sleep(0.2)
  return worker.why()


class RayJob:
  """A task of the cluster."""

  def __init__(self, ray: Any, ref: Any, program: str):
    self.ray, self.ref = ray, ref
    self.name = f'ray task of {program}'

  def ended(self) -> bool:
    done, _ = self.ray.wait([self.ref], timeout=0)
    return bool(done)

  def why(self) -> str:
    try:
      return self.ray.get(self.ref)
    except self.ray.exceptions.RayError as error:
      return f'Ray: {type(error).__name__}'
