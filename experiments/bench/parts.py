"""The parts of the benchmark, each a function of the settings that returns rows."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.bench import cases, common, conv, devices, forms, members, study
from experiments.bench import worker as worker_lib
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Worker


def against_torch(settings: Settings) -> list[Row]:
  """Seed-steps per second of studies as they run, against torch at its best."""
  found = []
  for name in settings.cases('lenet', 'cifar', 'mlp'):
    found += torch_case(settings, name)
  return found


def small(settings: Settings) -> list[Row]:
  """The nets that studies really use, at three numbers of seeds."""
  names = [f'{net}{seeds}' for net in ('small', 'perceptron') for seeds in (2, 8, 12)]
  return [row for name in settings.cases(*names) for row in torch_case(settings, name)]


def recurrent(settings: Settings) -> list[Row]:
  """Character models, many seeds and one, against torch at its best."""
  found = []
  for name in settings.cases('text256', 'text512', 'text_single256', 'text_single512'):
    found += torch_case(settings, name)
  return found


def torch_case(settings: Settings, name: str) -> list[Row]:
  case = {**cases.CASES, **cases.TEXTS}[name]
  part = f'Against torch: {case.about}; batch {case.batch}, {case.seeds} seeds'
  failed = []
  with contextlib.ExitStack() as stack:
    ours = []
    for python in settings.jax:
      worker = stack.enter_context(
        common.open_engine(python, 'engine', case=name, count=settings.count)
      )
      for layout in worker.facts['layouts']:
        label = f'dlsteroids, {common.version(worker)} ({layout})'
        ours.append(Contender(label, [worker], layout))
    theirs = []
    for mode in torch_modes(settings, case):
      for threads in (common.cores(), 1):
        label = f'torch {mode}, {common.cores() // threads} × {threads} threads'
        try:
          theirs.append(torch_contender(stack, settings, name, mode, threads, label))
        except worker_lib.Failed as error:
          failed.append(Row(part, label, note=f'failed: {error}'))
    check_params([*ours, *theirs])
    rates = worker_lib.interleave([*ours, *theirs], settings.seconds, settings.repeats)
    facts = ours[0].workers[0].facts
    top = max(contender.workers[0].facts['peak'] for contender in ours)
  best = worker_lib.best({c.label: rates[c.label] for c in theirs}) if theirs else ''
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
        common.divide(values, rates[best]) if best and contender.label != best else (),
        best if contender.label != best else '',
        torch_goal(contender, name) if contender in ours else math.nan,
        note=f'{share:.0f} % of the sgemm peak, {top / 1e9:.0f} GFLOP/s',
      )
    )
  return rows + failed


def torch_goal(contender: Contender, name: str) -> float:
  """The declared goal of a contender of ours."""
  if name in cases.TEXTS:
    return 1.1 if cases.TEXTS[name].seeds > 1 else 0.75
  if cases.CASES[name].goal:
    return cases.CASES[name].goal
  if not cases.CASES[name].widths:
    return 1.2
  minor = int(contender.workers[0].facts['jax'].split('.')[1])
  return 1.0 if minor >= 12 else 0.8


def torch_modes(settings: Settings, case: Any) -> tuple[str, ...]:
  if not settings.torch:
    return ()
  if isinstance(case, cases.TextCase):
    return ('eager',) if settings.quick else ('eager', 'compile')
  modes = common.MODES[:2] if settings.quick else common.MODES
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
  count = common.cores() // threads
  known = {**cases.CASES, **cases.TEXTS}[name]
  kind = 'train_torch_text' if name in cases.TEXTS else 'train_torch'
  seeds = known.seeds
  shares = [seeds // count + (i < seeds % count) for i in range(count)]
  workers = [
    stack.enter_context(
      Worker(
        settings.torch,
        {
          'kind': kind,
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
  part = 'Engine against a bare jitted loop of the same step'
  rows = []
  for python in settings.jax:
    for name in settings.cases('digits', 'lenet', 'mlp'):
      spec = {'case': name, 'count': settings.count}
      with common.open_engine(python, 'overhead', **spec) as worker:
        pair = [Contender('engine', [worker]), Contender('bare', [worker], 'bare')]
        rates = worker_lib.interleave(pair, settings.seconds, settings.repeats)
        rows.append(
          Row(
            part,
            f'{cases.CASES[name].about}, {common.version(worker)}',
            rates['engine'],
            'steps/s',
            common.divide(rates['bare'], rates['engine']),
            'bare loop: its rate over ours',
            1.05,
            below=True,
            note=worker.facts['layout'],
          )
        )
  return rows


def onednn(settings: Settings) -> list[Row]:
  """Studies with oneDNN's products, which XLA_FLAGS asks for, against without."""
  part = 'oneDNN’s convolutions and matrix products against XLA’s own'
  rows = []
  for python in settings.jax:
    for case in settings.cases('text256', 'small8', 'lenet', 'cifar', 'mlp'):
      spec = {'kind': 'engine', 'case': case, 'count': settings.count}
      with (
        Worker(
          python, spec, **common.CPU, XLA_FLAGS=f'--{common.ONEDNN}=true'
        ) as chosen,
        Worker(python, spec, **common.CPU) as usual,
      ):
        pair = [
          Contender(label, [worker.ready()], worker.facts['layouts'][0])
          for label, worker in (('with', chosen), ('without', usual))
        ]
        net = {**cases.CASES, **cases.TEXTS}[case]
        what = f'{net.about}, {net.seeds} seeds, {common.version(usual)}'
        rates = worker_lib.interleave(pair, settings.seconds, settings.repeats)
        ratios = common.divide(rates['with'], rates['without'])
        rows.append(
          Row(part, what, rates['with'], 'seed-steps/s', ratios, 'without', 1.0)
        )
  return rows


PARTS: Mapping[str, Any] = {
  'torch': against_torch,
  'small': small,
  'recurrent': recurrent,
  'convolutions': conv.convolutions,
  'forms': forms.forms,
  'overhead': overhead,
  'onednn': onednn,
  'compile': study.compilation,
  'structure': study.structure,
  'study': study.default_study,
  'members': members.members,
  'devices': devices.devices,
}
