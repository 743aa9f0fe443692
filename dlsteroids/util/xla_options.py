"""Options of XLA's compiler, by platform: of every program, and in its provenance."""

import os
from typing import Any

# Equal bits from run to run: no atomics, no autotuned kernels.
DETERMINISM: dict[str, dict[str, Any]] = {'gpu': {'xla_gpu_deterministic_ops': True}}
# Convolutions and matrix products by oneDNN, also inside loops: on two processors
# recurrent nets, attention and small convolutional nets train 1.1 to 1.24 times as
# fast, others as before (python -m experiments.bench --only=onednn). Wheels before
# jaxlib 0.12 accept the option, too, and do nothing.
ONEDNN = {'xla_cpu_experimental_onednn_custom_call': True}
ONEDNN_VERSIONS = ((0, 12), (0, 13))  # of jax: where it was measured, not its end


def of(platform: str) -> dict[str, Any]:
  """The options for programs on 'cpu', 'gpu' or 'tpu'; XLA_FLAGS goes before them."""
  import jax

  options = dict(DETERMINISM.get(platform, {}))
  first, end = ONEDNN_VERSIONS
  if platform == 'cpu' and first <= jax.__version_info__ < end:
    options |= ONEDNN
  flags = os.environ.get('XLA_FLAGS', '')
  return {name: value for name, value in options.items() if name not in flags}
