"""Out of memory while a study runs: how it is reported, and what is then smaller."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

from dlsteroids.plan import memory
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment

# Of XLA's allocators, the C++ runtime, and YNNPACK, whose kernels give no reason.
WORDS = (
  *('RESOURCE_EXHAUSTED', 'Out of memory', 'out of memory', 'bad_alloc'),
  *('Cannot allocate memory', 'MemoryError', 'YNNPACK operation failed'),
)
OPTIONS = {'training': 'batch_size', 'evaluation': 'eval_batch'}  # of config.train
MARGIN = 0.9  # of what is free, for a smaller batch


class OutOfMemory(MemoryError):
  """A compiled program takes more memory than the host has free.

  Attributes:
    part: 'training' or 'evaluation', which takes the most.
    peak, free: bytes.
  """

  def __init__(self, text: str, part: str, peak: float, free: float):
    super().__init__(text)
    self.part, self.peak, self.free = part, peak, free


def check(compiled: program_lib.Program, config: Mapping[str, Any]) -> None:
  """Raises `OutOfMemory` if a compiled program takes more than the host has free.

  The kernel would kill the process without a word. Accelerators report it themselves.
  """
  if compiled.mesh.devices.flat[0].platform != 'cpu':
    return
  peaks = program_lib.peak_bytes(compiled)
  part = max(peaks, key=lambda name: peaks[name])
  free = environment.free_memory()
  if peaks[part] > free:
    layout, option = compiled.layout, OPTIONS[part]
    value = config['train'][option]
    if part == 'evaluation':
      value = layout.eval_batch or value
    raise OutOfMemory(
      f'out of memory: {part} would take {peaks[part] / 2**30:.1f} GiB with '
      f'{layout.width} runs per device at a time, and {free / 2**30:.1f} GiB are free; '
      f'lower --config.train.{option}={value}',
      part,
      peaks[part],
      free,
    )


def mappings_are_scarce(share: float = 0.4) -> bool:
  """Whether this process has more than `share` of the memory mappings it may have.

  Linux limits them (vm.max_map_count); elsewhere nothing is known, and False.
  """
  with contextlib.suppress(OSError, ValueError):
    most = int(pathlib.Path('/proc/sys/vm/max_map_count').read_text('utf-8'))
    with open('/proc/self/maps', 'rb') as file:
      return sum(1 for _ in file) > share * most
  return False


def is_out_of_memory(text: str) -> bool:
  """Whether an error's text is one of those by which missing memory is reported."""
  return any(word in text for word in WORDS)


def smaller(
  layout: program_lib.Layout, eval_batch: int, error: Exception, before: float
) -> tuple[program_lib.Layout, str] | None:
  """A layout that takes less memory, and what changed; None if there is none.

  Args:
    layout: of the program, with the width that ran out of memory.
    eval_batch: examples of an evaluation batch, as configured.
    error: that reported too little memory.
    before: bytes that the program took in an evaluation before this layout; inf at
      first. If they are no fewer now, smaller batches do not help.
  """
  batch = layout.eval_batch or eval_batch
  if (
    isinstance(error, OutOfMemory)
    and error.part == 'evaluation'
    and error.peak < before
  ):
    if layout.evaluation == 'vmap':
      return layout._replace(evaluation='map'), 'evaluating them one after another'
    most = int(batch * MARGIN * error.free / error.peak)
    if most >= 1:
      size = memory.even(eval_batch, most)
      return (
        layout._replace(eval_batch=size),
        f'evaluating {size} in place of {batch} examples at a time',
      )
  if layout.width > 1:
    half = layout.width // 2
    return layout._replace(width=half), f'continuing with {half}'
  if not isinstance(error, OutOfMemory) and batch > 1:
    size = memory.even(eval_batch, batch // 2)
    return (
      layout._replace(eval_batch=size),
      f'evaluating {size} in place of {batch} examples at a time',
    )
  return None
