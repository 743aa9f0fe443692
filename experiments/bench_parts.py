"""The parts of the benchmark, each a function of the settings that returns rows."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments import bench_cases, bench_study, bench_worker
from experiments.bench_page import Row
from experiments.bench_worker import Contender, Worker

CPU = {'JAX_PLATFORMS': 'cpu'}  # comparisons on the processor, GPU at hand or not
WIDTHS = (1, 2, 4, 5, 8, 16)
MODES = ('eager', 'channels_last', 'compile', 'compile channels_last')


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
    toys = {'mlp': 'tiny_mlp'}
    return [toys.get(name, 'tiny') for name in names] if self.quick else list(names)


def cores() -> int:
  return len(os.sched_getaffinity(0))


def version(worker: Worker) -> str:
  return f'jax {worker.facts["jax"]}'


def versions(python: str, kind: str) -> dict[str, str]:
  """For the page: an interpreter's own version and those of the libraries it times."""
  try:
    with Worker(python, {'kind': kind}, **CPU) as worker:
      facts = worker.ready().facts
  except bench_worker.Failed as error:
    return {f'without {kind}': str(error)}
  words = [f'{name} {value}' for name, value in facts.items() if name != 'backend']
  return {f'versions ({words[0]})': ', '.join(words)}


def divide(mine: Sequence[float], others: Sequence[float]) -> list[float]:
  """Ratios round by round."""
  return [a / b for a, b in zip(mine, others)]


@contextlib.contextmanager
def open_engine(python: str, kind: str, **spec: Any) -> Iterator[Worker]:
  with Worker(python, {'kind': kind, **spec}, **CPU) as worker:
    yield worker.ready()


def against_torch(settings: Settings) -> list[Row]:
  """Seed-steps per second of studies as they run, against torch at its best."""
  found = []
  for name in settings.cases('lenet', 'cifar', 'mlp'):
    found += torch_case(settings, name)
  return found


def torch_case(settings: Settings, name: str) -> list[Row]:
  case = bench_cases.CASES[name]
  part = f'Against torch: {case.about}; batch {case.batch}, {case.seeds} seeds'
  failed = []
  with contextlib.ExitStack() as stack:
    ours = []
    for python in settings.jax:
      worker = stack.enter_context(
        open_engine(python, 'engine', case=name, count=settings.count)
      )
      label = f'dlsteroids, {version(worker)} ({worker.facts["layout"]})'
      ours.append(Contender(label, [worker]))
    theirs = []
    for mode in torch_modes(settings, case):
      for threads in (cores(), 1):
        label = f'torch {mode}, {cores() // threads} × {threads} threads'
        try:
          theirs.append(torch_contender(stack, settings, name, mode, threads, label))
        except bench_worker.Failed as error:
          failed.append(Row(part, label, note=f'failed: {error}'))
    check_params([*ours, *theirs])
    rates = bench_worker.interleave(
      [*ours, *theirs], settings.seconds, settings.repeats
    )
    facts = ours[0].workers[0].facts
    top = max(contender.workers[0].facts['peak'] for contender in ours)
  best = bench_worker.best({c.label: rates[c.label] for c in theirs}) if theirs else ''
  rows = []
  for contender in [*ours, *theirs]:
    values = rates[contender.label]
    share = 100 * facts['flops'] * sorted(values)[len(values) // 2] / top
    rows.append(
      Row(
        part,
        contender.label,
        values,
        'seed-steps/s',
        divide(values, rates[best]) if best and contender.label != best else (),
        best if contender.label != best else '',
        torch_goal(contender, name) if contender in ours else float('nan'),
        note=f'{share:.0f} % of the sgemm peak, {top / 1e9:.0f} GFLOP/s',
      )
    )
  return rows + failed


def torch_goal(contender: Contender, name: str) -> float:
  """The declared goal of a contender of ours."""
  if not bench_cases.CASES[name].widths:
    return 1.2
  minor = int(contender.workers[0].facts['jax'].split('.')[1])
  return 1.0 if minor >= 12 else 0.8


def torch_modes(settings: Settings, case: bench_cases.Case) -> tuple[str, ...]:
  if not settings.torch:
    return ()
  modes = MODES[:2] if settings.quick else MODES
  return modes if case.widths else modes[::2]  # a perceptron has no channels


def torch_contender(
  stack: contextlib.ExitStack,
  settings: Settings,
  name: str,
  mode: str,
  threads: int,
  label: str,
) -> Contender:
  """One process with all threads, or one per core that share the seeds."""
  count = cores() // threads
  seeds = bench_cases.CASES[name].seeds
  shares = [seeds // count + (i < seeds % count) for i in range(count)]
  workers = [
    stack.enter_context(
      Worker(
        settings.torch,
        {
          'kind': 'train_torch',
          'case': name,
          'count': settings.count,
          'mode': mode,
          'threads': threads,
          'seeds': share,
        },
        OMP_NUM_THREADS=str(threads),
      )
    )
    for share in shares
    if share
  ]
  return Contender(label, [worker.ready() for worker in workers])


def check_params(contenders: Sequence[Contender]) -> None:
  """Raises ValueError unless all train a network of the same size."""
  sizes = {c.label: c.workers[0].facts['params'] for c in contenders}
  if len(set(sizes.values())) > 1:
    raise ValueError(f'networks differ in their parameters: {sizes}')


def overhead(settings: Settings) -> list[Row]:
  """What the engine costs over a loop written by hand."""
  part = 'Engine against a bare jitted loop of the same step (one seed)'
  rows = []
  for python in settings.jax:
    for name in settings.cases('digits', 'lenet', 'mlp'):
      with open_engine(python, 'overhead', case=name, count=settings.count) as worker:
        pair = [Contender('engine', [worker]), Contender('bare', [worker], 'bare')]
        rates = bench_worker.interleave(pair, settings.seconds, settings.repeats)
        rows.append(
          Row(
            part,
            f'{bench_cases.CASES[name].about}, {version(worker)}',
            rates['engine'],
            'steps/s',
            divide(rates['bare'], rates['engine']),
            'bare loop: its rate over ours',
            1.05,
            below=True,
            note=worker.facts['layout'],
          )
        )
  return rows


def members(settings: Settings) -> list[Row]:
  """Many seeds: one after another, map and vmap, at several widths."""
  rows = []
  for python in settings.jax:
    for name in settings.cases('digits', 'lenet', 'mlp'):
      rows += members_case(settings, python, name)
  return rows


def members_case(settings: Settings, python: str, name: str) -> list[Row]:
  case, devices = bench_cases.CASES[name], cores()
  widths = WIDTHS[:2] if settings.quick else WIDTHS
  wanted = [('map', width, devices, width * devices) for width in widths[-2:]]
  wanted += [
    ('vmap', width, devices, width * devices)
    for width in (widths if not case.widths else widths[:3])
  ]
  common = {'case': name, 'count': settings.count}
  with (
    open_engine(python, 'layouts', **common, wanted=wanted) as worker,
    open_engine(
      python, 'layouts', **common, wanted=[('map', 1, 1, 2)], devices=1
    ) as single,
  ):
    part = f'Many seeds: {case.about}; batch {case.batch}, {version(worker)}'
    alone = 'one after another, 1 device'
    contenders = [Contender(alone, [single], label_of('map', 1, 1))]
    for strategy, width, count, _ in wanted:
      label = label_of(strategy, width, count)
      contenders.append(Contender(label, [worker], label))
    rates = bench_worker.interleave(contenders, settings.seconds, settings.repeats)
    used = worker.facts['layout']
  return [
    Row(
      part,
      label,
      values,
      'seed-steps/s',
      divide(values, rates[alone]) if label != alone else (),
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
  for mode in MODES if settings.torch else ():
    spec = {'case': name, 'count': settings.count, 'mode': mode, 'device': 'cuda'}
    try:
      other = stack.enter_context(
        Worker(
          settings.torch, {'kind': 'train_torch', 'threads': 0, 'seeds': 1, **spec}
        )
      ).ready()
      contenders.append(Contender(f'torch {mode}', [other]))
    except bench_worker.Failed as error:
      failed.append(Row(part, f'torch {mode}', note=f'not measured: {error}'))
  rates = bench_worker.interleave(contenders, settings.seconds, settings.repeats)
  mine = rates[labels[0]]
  rows = [Row(part, labels[0], mine, 'seed-steps/s', note=worker.facts['device'])]
  for contender in contenders[1:]:
    label, goal = contender.label, 10.0 if contender.label not in labels else 8.0
    values = rates[label]
    ratios = divide(mine, values)
    against = f'{labels[0]} over this'
    rows.append(Row(part, label, values, 'seed-steps/s', ratios, against, goal))
  return rows + failed


PARTS: Mapping[str, Any] = {
  'torch': against_torch,
  'overhead': overhead,
  'compile': bench_study.compilation,
  'study': bench_study.default_study,
  'members': members,
  'gpu': gpu,
}
