"""Options of XLA's compiler, by platform: of every program, and in its provenance."""

import os
from typing import Any

# Equal bits from run to run: no atomics, no autotuned kernels.
DETERMINISM: dict[str, dict[str, Any]] = {'gpu': {'xla_gpu_deterministic_ops': True}}


def of(platform: str) -> dict[str, Any]:
  """The options for programs on 'cpu', 'gpu' or 'tpu'; XLA_FLAGS goes before them."""
  options = DETERMINISM.get(platform, {})
  flags = os.environ.get('XLA_FLAGS', '')
  return {name: value for name, value in options.items() if name not in flags}
