"""Many seeds in one program: layouts on the processor."""

from experiments.bench import cases
from experiments.bench import common as common_lib
from experiments.bench import worker as worker_lib
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender

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
