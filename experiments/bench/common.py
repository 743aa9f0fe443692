"""What all parts of the benchmark share: settings, workers, ratios."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from experiments.bench import worker as worker_lib
from experiments.bench.worker import Worker

ONEDNN = 'xla_cpu_experimental_onednn_custom_call'  # before jax 0.12 it does nothing
CPU = {'JAX_PLATFORMS': 'cpu'}  # comparisons on the processor, GPU at hand or not
MODES = ('eager', 'channels_last', 'compile', 'compile channels_last')  # of torch


class Settings(NamedTuple):
  """How long and with what.

  Attributes:
    jax: interpreters with JAX; each gets its own rows.
    torch: the interpreter with torch, '' for none.
    seconds: of one repetition.
    repeats: of each measurement.
    count: training images.
    quick: toy sizes, to see that everything runs; the numbers mean nothing.
  """

  jax: Sequence[str]
  torch: str
  seconds: float
  repeats: int
  count: int
  quick: bool

  def cases(self, *names: str) -> list[str]:
    """These cases, or toys in their place."""
    toys = {n: 'tiny_text' for n in names if n.startswith('text')}
    toys |= {n: 'tiny_mlp' for n in names if n.startswith(('mlp', 'perceptron'))}
    found = [toys.get(name, 'tiny') if self.quick else name for name in names]
    return list(dict.fromkeys(found))


def cores() -> int:
  return len(os.sched_getaffinity(0))


def version(worker: Worker) -> str:
  return f'jax {worker.facts["jax"]}'


def versions(python: str, kind: str) -> dict[str, str]:
  """For the page: an interpreter's own version and those of the libraries it times."""
  try:
    with Worker(python, {'kind': kind}, **CPU) as worker:
      facts = worker.ready().facts
  except worker_lib.Failed as error:
    return {f'without {kind}': str(error)}
  words = [f'{k} {v}' for k, v in facts.items() if k not in ('backend', 'devices')]
  return {f'versions ({words[0]})': ', '.join(words)}


def divide(mine: Sequence[float], others: Sequence[float]) -> list[float]:
  """Ratios round by round."""
  return [a / b for a, b in zip(mine, others)]


@contextlib.contextmanager
def open_engine(python: str, kind: str, **spec: Any) -> Iterator[Worker]:
  with Worker(python, {'kind': kind, **spec}, **CPU) as worker:
    yield worker.ready()
