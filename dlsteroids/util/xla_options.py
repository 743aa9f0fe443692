"""Options of XLA's compiler, by platform: of every program, and in its provenance."""

import os
from typing import Any

# Equal bits from run to run: no atomics, no autotuned kernels.
DETERMINISM: dict[str, dict[str, Any]] = {'gpu': {'xla_gpu_deterministic_ops': True}}
# Convolutions and matrix products by oneDNN, also inside loops: recurrent nets train
# 1.1 times as fast on one processor and 1.18 on another, convolutional ones 1.0 to 1.08
# (experiments/results/bench/onednn.md). Wheels before jaxlib 0.12 accept the option,
# too, and do nothing.
ONEDNN = {'xla_cpu_experimental_onednn_custom_call': True}
ONEDNN_VERSIONS = ((0, 12), (0, 13))  # of jax: where it was measured, not its end


def of(platform: str, version: tuple[int, ...]) -> dict[str, Any]:
  """The options for programs on 'cpu', 'gpu' or 'tpu'; XLA_FLAGS goes before them.

  Args:
    platform: of the device.
    version: of JAX, such as (0, 12, 0).
  """
  options = dict(DETERMINISM.get(platform, {}))
  first, end = ONEDNN_VERSIONS
  if platform == 'cpu' and first <= version < end:
    options |= ONEDNN
  flags = os.environ.get('XLA_FLAGS', '')
  return {name: value for name, value in options.items() if name not in flags}
