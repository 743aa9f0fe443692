"""All that has to be measured on a GPU, in one run under its own time limit.

The page is written after every row, so that a run that is cut leaves one. Rates of JAX
and of torch are each a process's own, one after the other on an idle device.
"""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.bench import budget, cases, common, page
from experiments.bench import worker as worker_lib
from experiments.bench.budget import Measurement
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Worker

SEEDS = (1, 8, 32, 128)
IN_TURN = 8  # seeds one after another in one program
SECONDS, REPEATS = 0.5, 3  # of a rate, at most
CASES = ('small8', 'text256', 'dcgan', 'decoder')
TOYS = {
  'small8': 'tiny',
  'text256': 'tiny_text',
  'dcgan': 'tiny_dcgan',
  'decoder': 'tiny_decoder',
  'airbench': 'tiny',
}
PRECISIONS = {'tf32': 'TF32', 'bfloat16': 'bfloat16'}
HIDDEN = (128, 256, 512, 1024)  # units of an LSTM, XLA's and cuDNN's
CONVOLUTION = {'members': 32, 'batch': 64, 'size': 16, 'channels': 32, 'units': 32}
EPOCHS, IMAGES = 9.9, 50_000  # airbench94's, to 94 % on CIFAR-10 (Jordan 2024)
TOY_SECONDS = 60.0  # of any measurement in toy sizes, on a busy machine
GOAL = 10.0  # many seeds side by side over torch or one after another
MEMORY = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}  # leaves some to other processes
NO_CACHE = {'JAX_ENABLE_COMPILATION_CACHE': 'false'}  # compile times are cold ones


@dataclasses.dataclass
class Bench:
  """What measurements share: settings, and the rates that later rows compare with.

  Attributes:
    settings: of the benchmark.
    rates: medians in seed-steps/s, by case and precision, then by label.
  """

  settings: Settings
  rates: dict[tuple[str, str], dict[str, float]] = dataclasses.field(
    default_factory=dict
  )

  def case(self, name: str) -> str:
    return TOYS[name] if self.settings.quick else name

  def seeds(self) -> Sequence[int]:
    return SEEDS[:2] if self.settings.quick else SEEDS

  def rate(self, worker: Worker, name: str) -> list[float]:
    contender = Contender(name, [worker], name)
    seconds = min(self.settings.seconds, SECONDS)
    repeats = min(self.settings.repeats, REPEATS)
    return worker_lib.interleave([contender], seconds, repeats)[name]

  @contextlib.contextmanager
  def open(
    self, python: str, kind: str, limit: float, flags: str = '', **spec: Any
  ) -> Iterator[Worker]:
    """A worker that is ready, and is killed when `limit` seconds have passed."""
    environment = {**MEMORY, **NO_CACHE, **({'XLA_FLAGS': flags} if flags else {})}
    with Worker(python, {'kind': kind, **spec}, **environment) as worker:
      cut = threading.Event()

      def end() -> None:
        cut.set()
        worker.process.kill()

      timer = threading.Timer(limit, end)
      timer.start()
      try:
        yield worker.ready()
      except worker_lib.Failed as error:
        raise worker_lib.Failed(
          f'cut after {limit:.0f} s' if cut.is_set() else str(error)
        ) from error
      finally:
        timer.cancel()


def about_of(name: str) -> str:
  every: Mapping[str, Any] = {
    **cases.CASES, **cases.TEXTS, **cases.GAMES, **cases.DECODERS
  }  # fmt: skip
  return f'{every[name].about}; batch {every[name].batch}'


def part_of(bench: Bench, name: str, precision: str) -> str:
  return f'{about_of(bench.case(name))}; {PRECISIONS[precision]}'


def ask(worker: Worker, name: str) -> worker_lib.Sample:
  return Contender(name, [worker], name).run(1)


# The networks, many seeds in JAX and one after another in torch


def measure_jax(
  bench: Bench, name: str, precision: str, seeds: Sequence[int], limit: float
) -> Iterator[Row]:
  """Rates, seconds of compiling and memory, by the number of seeds.

  A layout that fails, as for want of memory, ends the rows: the process is gone.
  """
  part, case = part_of(bench, name, precision), bench.case(name)
  changes = {'model.dtype': 'bfloat16'} if precision == 'bfloat16' else {}
  wanted = [('map', IN_TURN), *(('vmap', count) for count in seeds)]
  rates = bench.rates.setdefault((name, precision), {})
  count = min(bench.settings.count, 10_000)
  with bench.open(
    *(bench.settings.jax[0], 'gpu_rates', limit),
    case=case, count=count, wanted=wanted, changes=changes,
  ) as worker:  # fmt: skip
    for strategy, seeds_of in wanted:
      layout = f'{strategy} {seeds_of}'
      compiling = ask(worker, f'{layout} compile').seconds
      values = bench.rate(worker, f'{layout} train')
      rates[layout] = statistics.median(values)
      memory = ask(worker, 'memory').seed_steps
      turn = 'one after another' if strategy == 'map' else 'side by side'
      slow = f'map {IN_TURN}'
      compared = strategy == 'vmap'
      yield Row(
        part,
        f'{seeds_of} seed{"s" * (seeds_of > 1)} {turn} ({layout}), '
        f'{common.version(worker)}',
        values,
        'seed-steps/s',
        [value / rates[slow] for value in values] if compared else (),
        'one after another in JAX' if compared else '',
        note=note_of(compiling, memory),
      )


def note_of(compiling: float, memory: float) -> str:
  note = f'compiled in {compiling:.1f} s'
  return f'{note}; {memory / 1e9:.2f} GB at most so far' if memory else note


def measure_torch(
  bench: Bench, name: str, precision: str, mode: str, limit: float
) -> Iterator[Row]:
  """One seed in torch; the ratio is that of our best number of seeds over it."""
  rates = bench.rates.get((name, precision), {})
  best = max(rates, key=rates.__getitem__, default='')
  with bench.open(
    *(bench.settings.torch, 'gpu_torch', limit),
    case=bench.case(name), count=min(bench.settings.count, 10_000), mode=mode,
    precision=precision, device='cpu' if bench.settings.quick else 'cuda',
  ) as worker:  # fmt: skip
    values = bench.rate(worker, 'train')
    memory = ask(worker, 'memory').seed_steps
    yield Row(
      part_of(bench, name, precision),
      f'torch {worker.facts["torch"]}, {mode}, one seed after another',
      values,
      'seed-steps/s',
      [rates[best] / value for value in values] if best else (),
      f'{best} over this' if best else '',
      *((GOAL,) if best else ()),
      note=note_of(worker.facts['start'], memory),
    )


# Single questions


def measure_products(bench: Bench, limit: float) -> Iterator[Row]:
  """What the device's products reach, to read the rates by."""
  with bench.open(bench.settings.jax[0], 'gpu_facts', limit) as worker:
    for name in ('default', 'highest', 'bfloat16'):
      values = bench.rate(worker, name)
      dtype = 'bfloat16' if name == 'bfloat16' else f'float32, precision {name}'
      note = str(worker.facts['device'])
      yield Row('Matrix products in JAX', dtype, values, 'TFLOP/s', note=note)


def measure_convolutions(bench: Bench, limit: float) -> Iterator[Row]:
  """vmap against map against groups, forward and kernel gradient."""
  shape = dict(CONVOLUTION)
  if bench.settings.quick:
    shape |= {'members': 2, 'batch': 2, 'size': 4, 'channels': 2, 'units': 2}
  part = '3×3 convolutions of {members} members, {channels}→{units} on {size}×{size}, '
  part = (part + 'batch {batch}; TF32').format(**shape)
  with bench.open(bench.settings.jax[0], 'gpu_convolutions', limit, **shape) as worker:
    for name, own in (('forward', 'feature'), ('kernel gradient', 'batch')):
      slow: list[float] = []
      for form in ('map', 'vmap', 'vmap, rewritten', f'{own} groups'):
        values = bench.rate(worker, f'{name}: {form}')
        ratios = [value / statistics.median(slow) for value in values] if slow else ()
        against = 'map' if slow else ''
        slow = slow or values
        yield Row(part, f'{name}: {form}', values, 'GFLOP/s', ratios, against)


def measure_lstm(
  bench: Bench, hidden: int, kernel: str, seeds: Sequence[int], limit: float
) -> Iterator[Row]:
  """Rates of XLA's LSTM side by side, or of cuDNN's, which knows no side by side."""
  part = f'LSTM, {hidden} units, T=128, batch 32: XLA against cuDNN; TF32'
  strategy = 'map' if kernel == 'cudnn' else 'vmap'
  rates = bench.rates.setdefault(('lstm', str(hidden)), {})
  with bench.open(
    *(bench.settings.jax[0], 'gpu_rates', limit),
    case=bench.case('text256'), count=512,
    wanted=[(strategy, count) for count in seeds],
    changes={'model.hidden': hidden, 'model.kernel': kernel},
  ) as worker:  # fmt: skip
    for count in seeds:
      layout = f'{strategy} {count}'
      compiling = ask(worker, f'{layout} compile').seconds
      values = bench.rate(worker, f'{layout} train')
      rates[f'{kernel} {layout}'] = statistics.median(values)
      rival = rates.get('cudnn map 1')
      compared = kernel == 'scan' and rival
      yield Row(
        part,
        f'{"cuDNN" if kernel == "cudnn" else "XLA"}, {layout}',
        values,
        'seed-steps/s',
        [value / rival for value in values] if compared and rival else (),
        "cuDNN's, one after another" if compared else '',
        note=note_of(compiling, ask(worker, 'memory').seed_steps),
      )


def measure_bits(
  bench: Bench, label: str, options: Mapping[str, Any], stored: bool, limit: float
) -> Iterator[Row]:
  """The same training in two processes: its rate, and whether bits are equal.

  With `stored`, the first process dumps what its autotuner chose and the second loads
  it.
  """
  name = 'small8'
  part = f'Equal bits over two processes: {about_of(bench.case(name))}, 8 seeds'
  rates, digests, chosen = [], [], 0
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'autotune.textproto')
    for word in ('dump_autotune_results_to', 'load_autotune_results_from'):
      usable = stored and not bench.settings.quick
      with bench.open(
        *(bench.settings.jax[0], 'gpu_bits', limit / 2),
        flags=f'--xla_gpu_{word}={path}' if usable else '',
        case=bench.case(name), count=512, seeds=8, steps=100, options=options,
      ) as worker:  # fmt: skip
        digests.append(worker.facts['digest'])
        rates += bench.rate(worker, 'train')
      if path.is_file():
        chosen = path.read_text(errors='replace').count('results')
  equal = 'equal bits' if len(set(digests)) == 1 else 'bits DIFFER'
  note = f'{equal}: {" ".join(digest[:8] for digest in digests)}'
  note += f'; {chosen} autotuned choices stored and loaded' if chosen else ''
  slow = bench.rates.setdefault(('bits', ''), {})
  slow[label] = statistics.median(rates)
  base = slow.get('xla_gpu_deterministic_ops')
  compared = base and len(slow) > 1
  yield Row(
    part,
    label,
    rates,
    'seed-steps/s',
    [rate / base for rate in rates] if compared and base else (),
    'xla_gpu_deterministic_ops' if compared else '',
    note=note,
  )


def measure_cifar(bench: Bench, seeds: Sequence[int], limit: float) -> Iterator[Row]:
  """Seeds an hour at the size and the steps with which others reach 94 %."""
  case = bench.case('airbench')
  batch = cases.CASES[case].batch
  steps = round(EPOCHS * IMAGES / batch)
  part = f'CIFAR-10 at the size of 94 %: {about_of(case)}; bfloat16'
  with bench.open(
    *(bench.settings.jax[0], 'gpu_rates', limit),
    case=case, count=min(bench.settings.count, IMAGES),
    wanted=[('vmap', count) for count in seeds],
    changes={'model.dtype': 'bfloat16'},
  ) as worker:  # fmt: skip
    for count in seeds:
      compiling = ask(worker, f'vmap {count} compile').seconds
      values = bench.rate(worker, f'vmap {count} train')
      note = f'{steps} steps of {batch} random images, {EPOCHS} epochs as airbench94; '
      note += 'the rate only, no accuracy; '
      yield Row(
        part,
        f'{count} seed{"s" * (count > 1)} side by side',
        [3600 * value / steps for value in values],
        'seeds/h',
        note=note + note_of(compiling, ask(worker, 'memory').seed_steps),
      )


# The list


def torch_modes(name: str) -> tuple[str, ...]:
  """Of most use first."""
  images = ' channels_last' if name in ('small8', 'dcgan') else ''
  return (f'graph{images}', f'eager{images}', f'compile graph{images}',
          f'compile{images}')  # fmt: skip


def measurements(settings: Settings) -> list[Measurement]:
  """Everything, the most important first."""
  bench = Bench(settings)
  todo: list[Measurement] = []
  partial = functools.partial
  # In toy sizes a second of each kind would show nothing new.
  again = CASES[:1] if settings.quick else CASES

  def add(part: str, name: str, seconds: float, run: Any) -> None:
    todo.append(
      Measurement(part, name, TOY_SECONDS if settings.quick else seconds, run)
    )

  def add_jax(name: str, precision: str, seeds: Sequence[int], seconds: float) -> None:
    run = partial(measure_jax, bench, name, precision, seeds)
    add(part_of(bench, name, precision), 'dlsteroids', seconds, run)

  def add_torch(name: str, precision: str, mode: str) -> None:
    part, seconds = part_of(bench, name, precision), 40 if 'compile' in mode else 18
    if settings.torch:
      run = partial(measure_torch, bench, name, precision, mode)
      add(part, f'torch, {mode}', seconds, run)

  add('Matrix products in JAX', 'float32 and bfloat16', 15,
      partial(measure_products, bench))  # fmt: skip
  for name in CASES:
    add_jax(name, 'tf32', bench.seeds(), 45)
    add_torch(name, 'tf32', torch_modes(name)[0])
  bits = 'Equal bits over two processes'
  choices = (
    ('xla_gpu_deterministic_ops', {'xla_gpu_deterministic_ops': True}, False),
    (
      'xla_gpu_exclude_nondeterministic_ops, stored autotuning',
      {'xla_gpu_exclude_nondeterministic_ops': True},
      True,
    ),
  )
  for label, options, stored in choices:
    add(bits, label, 35, partial(measure_bits, bench, label, options, stored))
  add('CIFAR-10 at the size of 94 %', 'seeds an hour', 35,
      partial(measure_cifar, bench, (1, 8, 32)))  # fmt: skip
  add('Convolutions of many members', 'map, vmap, groups', 25,
      partial(measure_convolutions, bench))  # fmt: skip
  for hidden in HIDDEN[1:2] if settings.quick else HIDDEN[1:3]:
    add_lstm(bench, add, hidden)
  for mode in (1, 2):
    for name in again:
      add_torch(name, 'tf32', torch_modes(name)[mode])
  for name in again:
    add_jax(name, 'bfloat16', bench.seeds()[::2], 30)
    add_torch(name, 'bfloat16', torch_modes(name)[0])
  for hidden in () if settings.quick else HIDDEN[::3]:
    add_lstm(bench, add, hidden)
  for label, options, stored in (
    ('xla_gpu_exclude_nondeterministic_ops, autotuned anew', choices[1][1], False),
    ('no such option', {}, False),
  ):
    add(bits, label, 35, partial(measure_bits, bench, label, options, stored))
  for name in again:
    add_torch(name, 'tf32', torch_modes(name)[3])
    for mode in (1, 2):
      add_torch(name, 'bfloat16', torch_modes(name)[mode])
  return todo


def add_lstm(bench: Bench, add: Any, hidden: int) -> None:
  """Both kernels; cuDNN first, which XLA's rates are compared with."""
  part = f'LSTM, {hidden} units, T=128, batch 32: XLA against cuDNN; TF32'
  units = 4 if bench.settings.quick else hidden
  for kernel, seeds, seconds in (('cudnn', (1,), 14), ('scan', (1, 8, 32), 25)):
    run = functools.partial(measure_lstm, bench, units, kernel, seeds)
    add(part, 'cuDNN' if kernel == 'cudnn' else 'XLA', seconds, run)


def refuse(settings: Settings) -> str:
  """Why there can be no page here, in a line; '' if there can."""
  if settings.quick:
    return ''
  try:
    with Worker(settings.jax[0], {'kind': 'backend'}) as worker:
      platform = worker.ready().facts['backend']
  except worker_lib.Failed as error:
    return f'page gpu: JAX does not start here: {error}'
  if platform == 'gpu':
    return ''
  return (
    f'page gpu: needs an NVIDIA GPU and JAX for it (pip install "jax[cuda12]"); JAX '
    f'runs on {platform} here; --quick tries everything in toy sizes'
  )


def has_torch(python: str) -> bool:
  """Whether this interpreter has torch; without it no row of torch's is tried."""
  if not python:
    return False
  try:
    with Worker(python, {'kind': 'torch_versions'}, **common.CPU) as worker:
      return bool(worker.ready().facts['torch'])
  except worker_lib.Failed:
    return False


def measure(settings: Settings, minutes: float, begin: float) -> Iterator[Row]:
  """The page's rows, each as soon as it is measured; `begin` by `time.monotonic`."""
  if not has_torch(settings.torch):
    settings = settings._replace(torch='')
    yield Row('torch', 'all', note='not measured: torch is not installed')
  left = 60 * minutes - (time.monotonic() - begin)
  for row in budget.spend(measurements(settings), left):
    yield row
    value = page.spread(row.samples, row.unit) or row.note
    print(f'{time.strftime("%H:%M:%S")} {row.part}: {row.what}: {value}', flush=True)
