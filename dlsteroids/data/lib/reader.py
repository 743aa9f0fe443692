"""Examples in the order of their requests, read ahead of their use by grain."""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from absl import flags

from dlsteroids import types
from dlsteroids.util import environment, errors

BLOCK = 8  # examples that a thread reads at a time: handing over costs 0.1 ms
AHEAD = 2  # blocks that each thread may be ahead of their use


class Requests(Protocol):
  """A sequence of requests, as grain reads its sources."""

  def __len__(self) -> int: ...

  def __getitem__(self, place: int) -> types.Request: ...


class Blocks:
  """Requests by the block."""

  def __init__(self, requests: Requests):
    self.requests = requests

  def __len__(self) -> int:
    return -(-len(self.requests) // BLOCK)

  def __getitem__(self, block: int) -> list[types.Request]:
    stop = min((block + 1) * BLOCK, len(self.requests))
    return [self.requests[place] for place in range(block * BLOCK, stop)]


class Readers(NamedTuple):
  """The threads and processes that read; no example depends on them.

  Attributes:
    threads: of each process; 0: one a core (Pillow decodes without Python's lock).
    workers: processes besides this one; 0: none. Each needs about two seconds to start
      and some hundred megabytes, so they pay off beyond a dozen cores; a script that
      trains with them needs `if __name__ == '__main__':`.
  """

  threads: int = 0
  workers: int = 0


@contextlib.contextmanager
def read(
  example: types.Example,
  requests: Requests,
  readers: Readers,
) -> Iterator[Iterator[Mapping[str, np.ndarray]]]:
  """Opens an iterator of `example(request)` in the order of `requests`.

  Args:
    example: of a `types.Stream`.
    requests: of any length; only those near the place of reading are computed.
    readers: with workers, `example` and `requests` are pickled.

  Raises:
    UserError: without grain; as `example`, when its place is reached.
  """
  try:
    import grain
  except ImportError as error:
    raise errors.UserError(
      f'streamed data need grain ({error}): pip install grain; or use a data set '
      'that fits in the memory, such as image_folder'
    ) from error
  threads = readers.threads or max(1, environment.cores() // max(1, readers.workers))
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD * threads)
  read_block = functools.partial(_read, example)
  source = grain.MapDataset.source(Blocks(requests))
  blocks = source.map(read_block).to_iter_dataset(options)
  if readers.workers:
    _parse_flags()
    several = grain.MultiprocessingOptions(
      num_workers=readers.workers, per_worker_buffer_size=AHEAD * threads
    )
    blocks = blocks.mp_prefetch(several, worker_init_fn=_without_accelerator)
  iterator = iter(blocks)
  try:
    yield itertools.chain.from_iterable(iterator)
  finally:
    iterator.close()


def _read(example: types.Example, block: list[types.Request]) -> list[Any]:
  return [example(request) for request in block]


def _parse_flags() -> None:
  """Lets grain read its absl flags where no absl main has parsed any."""
  if not flags.FLAGS.is_parsed():
    for name in flags.FLAGS:
      if name.startswith('grain'):
        flags.FLAGS[name].present = True


def _without_accelerator(index: int, count: int) -> None:
  """Keeps the JAX of a worker process off this machine's accelerators."""
  del index, count
  import jax  # already imported by grain, so JAX_PLATFORMS has been read

  jax.config.update('jax_platforms', 'cpu')
