"""Many devices: members over them, one run's batch over them, and weak scaling."""

import contextlib
import math
from typing import Any, NamedTuple

from experiments.bench import cases, common
from experiments.bench import worker as worker_lib
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Worker

SEEDS = 4  # of members over devices; a power of two, as the numbers of devices are


class Wanted(NamedTuple):
  """A measurement; `layout` is (width, devices, data), as `Layout` takes them."""

  label: str
  layout: tuple[int, int, int]
  seeds: int
  batch: int  # examples per step
  against: str = ''  # label of what it is compared with


def devices(settings: Settings) -> list[Row]:
  """On what there is: the accelerators of the first interpreter, else host devices."""
  with Worker(settings.jax[0], {'kind': 'backend'}) as worker:
    facts = worker.ready().facts
  if facts['backend'] != 'cpu':
    most = 1 << (facts['devices'].bit_length() - 1)
    counts = [1 << i for i in range(most.bit_length())]
    return accelerators(settings, counts)
  rows = []
  for python in settings.jax:
    for name in settings.cases('lenet', 'text256'):
      rows += host_case(settings, python, name)
  return rows


def wanted_on(count: int, batch: int) -> list[Wanted]:
  """What is measured on so many devices, each against the same on one."""
  if count == 1:
    return [
      Wanted(f'{SEEDS} seeds, 1 device', (SEEDS, 1, 1), SEEDS, batch),
      Wanted('1 seed, 1 device', (1, 1, 1), 1, batch),
    ]
  one = '1 seed, 1 device'
  return [
    Wanted(
      f'{SEEDS} seeds over {count} devices',
      (max(1, SEEDS // count), count, 1),
      SEEDS,
      batch,
      f'{SEEDS} seeds, 1 device',
    ),
    Wanted(f'1 seed, its batch over {count} devices', (1, count, count), 1, batch, one),
    Wanted(f'weak: 1 seed each on {count} devices', (1, count, 1), count, batch, one),
    Wanted(
      f'weak: 1 seed, {count} times the batch over {count} devices',
      (1, count, count),
      1,
      count * batch,
      one,
    ),
  ]


def host_case(settings: Settings, python: str, name: str) -> list[Row]:
  """One host device against one per core, each number in a process of its own."""
  with contextlib.ExitStack() as stack:
    found = []
    for count in (1, common.cores()):
      wanted = wanted_on(count, case_of(name).batch)
      spec = spec_of(name, settings, wanted, 'map')
      worker = stack.enter_context(
        common.open_engine(python, 'layouts', **spec, devices=count)
      )
      found += [(want, worker) for want in wanted]
    old = tuple(map(int, worker.facts['jax'].split('.')[:2])) < (0, 12)
    goal = 1.4 if old and common.cores() > 1 else math.nan
    part = f'Host devices: {case_of(name).about}, {common.version(worker)}'
    return measure(settings, part, found, goal)


def accelerators(settings: Settings, counts: list[int]) -> list[Row]:
  """One process that sees all accelerators; members side by side where that's usual."""
  rows = []
  for name in settings.cases('cifar', 'text256'):
    batch = case_of(name).batch
    wanted = [want for count in counts for want in wanted_on(count, batch)]
    spec = spec_of(name, settings, wanted, 'vmap')
    with Worker(settings.jax[0], {'kind': 'layouts', **spec}) as worker:
      worker.ready()
      part = f'Devices ({worker.facts["device"]}): {case_of(name).about}'
      rows += measure(settings, part, [(w, worker) for w in wanted], math.nan)
  return rows


def spec_of(
  name: str, settings: Settings, wanted: list[Wanted], strategy: str
) -> dict[str, Any]:
  """What a worker is asked to make."""
  return {
    'case': name,
    'count': settings.count,
    'wanted': [(strategy, *want.layout, want.seeds) for want in wanted],
    'batches': [want.batch for want in wanted],
  }


def measure(
  settings: Settings, part: str, found: list[tuple[Wanted, Worker]], goal: float
) -> list[Row]:
  """A row for everything wanted; `goal` is that of members over devices."""
  asked = {worker: 0 for _, worker in found}
  contenders = []
  for want, worker in found:
    contenders.append(Contender(want.label, [worker], str(asked[worker])))
    asked[worker] += 1
  rates = worker_lib.interleave(contenders, settings.seconds, settings.repeats)
  return [
    Row(
      part,
      want.label,
      rates[want.label],
      'seed-steps/s',
      common.divide(rates[want.label], rates[want.against]) if want.against else (),
      want.against,
      goal if want.label.startswith(f'{SEEDS} seeds over') else math.nan,
      note=f'batch {want.batch}',
    )
    for want, _ in found
  ]


def case_of(name: str) -> Any:
  return {**cases.CASES, **cases.TEXTS}[name]
