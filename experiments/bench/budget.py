"""Measurements under a time limit: the most important first, none that does not fit."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from experiments.bench.page import Row


class Measurement(NamedTuple):
  """One process's worth of numbers.

  Attributes:
    part: the heading its rows stand under.
    name: what the page calls it if it fails or is left out.
    seconds: it usually takes, start of the process included.
    run: `(seconds left) -> rows`, each yielded as soon as it is measured; raises if it
      cannot be measured.
  """

  part: str
  name: str
  seconds: float
  run: Callable[[float], Iterable[Row]]


OVERRUN = 2.5  # estimates after which a measurement is cut


def spend(
  measurements: Iterable[Measurement],
  seconds: float,
  clock: Callable[[], float] = time.monotonic,
) -> Iterator[Row]:
  """Rows of the measurements in order, until the time is spent.

  One that is estimated to take longer than what is left becomes a row that says so, and
  shorter ones after it still run. One that raises becomes a row that says why, after
  the rows that it yielded before.
  """
  end = clock() + seconds
  for measurement in measurements:
    part, name, estimate, run = measurement
    left = end - clock()
    if left < estimate:
      note = f'left out: takes about {estimate:.0f} s, {max(left, 0):.0f} s were left'
      yield Row(part, name, note=note)
      continue
    try:
      yield from run(min(left, OVERRUN * estimate))
    except Exception as error:  # whatever a GPU's libraries raise; the page goes on
      lines = str(error).strip().splitlines() or [type(error).__name__]
      yield Row(part, name, note=f'not measured: {lines[-1]}')
