"""Many seeds in one program: layouts on the processor, and a GPU against it all."""

import contextlib

from experiments.bench import cases
from experiments.bench import common as common_lib
from experiments.bench import worker as worker_lib
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Worker

WIDTHS = (1, 2, 4, 5, 8, 16)


def members(settings: Settings) -> list[Row]:
  """Many seeds: one after another, map and vmap, at several widths."""
  rows = []
  for python in settings.jax:
    for name in settings.cases('digits', 'lenet', 'mlp'):
      rows += members_case(settings, python, name)
  return rows


def members_case(settings: Settings, python: str, name: str) -> list[Row]:
  case, devices = cases.CASES[name], common_lib.cores()
  widths = WIDTHS[:2] if settings.quick else WIDTHS
  wanted = [('map', width, devices, width * devices) for width in widths[-2:]]
  wanted += [
    ('vmap', width, devices, width * devices)
    for width in (widths if not case.widths else widths[:3])
  ]
  common = {'case': name, 'count': settings.count}
  with (
    common_lib.open_engine(python, 'layouts', **common, wanted=wanted) as worker,
    common_lib.open_engine(
      python, 'layouts', **common, wanted=[('map', 1, 1, 2)], devices=1
    ) as single,
  ):
    part = f'Many seeds: {case.about}; batch {case.batch}, {common_lib.version(worker)}'
    alone = 'one after another, 1 device'
    contenders = [Contender(alone, [single], label_of('map', 1, 1))]
    for strategy, width, count, _ in wanted:
      label = label_of(strategy, width, count)
      contenders.append(Contender(label, [worker], label))
    rates = worker_lib.interleave(contenders, settings.seconds, settings.repeats)
    used = worker.facts['layout']
  return [
    Row(
      part,
      label,
      values,
      'seed-steps/s',
      common_lib.divide(values, rates[alone]) if label != alone else (),
      alone if label != alone else '',
      note='what studies use' if label == used else '',
    )
    for label, values in rates.items()
  ]


def label_of(strategy: str, width: int, devices: int) -> str:
  """A layout's name; as `bench_engine.show` gives it."""
  return f'{strategy}, width {width} × {devices} devices'


def gpu(settings: Settings) -> list[Row]:
  """On a GPU: many seeds side by side, against one after another and torch."""
  part = 'GPU: small CNN, 32 seeds'
  python = settings.jax[0]
  with Worker(python, {'kind': 'backend'}) as worker:
    if worker.ready().facts['backend'] != 'gpu':
      return [Row(part, 'many seeds side by side', note='not measured: no GPU')]
  (name,) = settings.cases('digits')
  seeds = 2 if settings.quick else 32
  with contextlib.ExitStack() as stack:
    return gpu_rows(settings, stack, part, name, seeds)


def gpu_rows(
  settings: Settings, stack: contextlib.ExitStack, part: str, name: str, seeds: int
) -> list[Row]:
  wanted = [('vmap', seeds, 1, seeds), ('map', seeds, 1, seeds), ('map', 1, 1, 2)]
  spec = {'kind': 'layouts', 'case': name, 'count': settings.count, 'wanted': wanted}
  worker = stack.enter_context(Worker(settings.jax[0], spec)).ready()
  labels = [label_of(*words) for *words, _ in wanted]
  contenders = [Contender(label, [worker], label) for label in labels]
  failed = []
  for mode in common_lib.MODES if settings.torch else ():
    spec = {'case': name, 'count': settings.count, 'mode': mode, 'device': 'cuda'}
    try:
      other = stack.enter_context(
        Worker(
          settings.torch, {'kind': 'train_torch', 'threads': 0, 'seeds': 1, **spec}
        )
      ).ready()
      contenders.append(Contender(f'torch {mode}', [other]))
    except worker_lib.Failed as error:
      failed.append(Row(part, f'torch {mode}', note=f'not measured: {error}'))
  rates = worker_lib.interleave(contenders, settings.seconds, settings.repeats)
  mine = rates[labels[0]]
  rows = [Row(part, labels[0], mine, 'seed-steps/s', note=worker.facts['device'])]
  for contender in contenders[1:]:
    label, goal = contender.label, 10.0 if contender.label not in labels else 8.0
    values = rates[label]
    ratios = common_lib.divide(mine, values)
    against = f'{labels[0]} over this'
    rows.append(Row(part, label, values, 'seed-steps/s', ratios, against, goal))
  return rows + failed
