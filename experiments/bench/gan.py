"""DCGAN and CycleGAN against torch: the part, and what its JAX workers need.

As a data plug-in: random images of two domains. As a user's module of features: means
of colours, since no classifier knows random images.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from experiments.bench import cases, common, parts
from experiments.bench import worker as worker_lib
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Offer, Sample, Worker

DEFAULTS: dict[str, Any] = {
  'shape': (64, 64, 3),  # H, W, C of both domains
  'count': 1000,  # training images of each
  'held': 2,  # validation and test images of each, apiece
}
METRICS = {'dcgan': 'diversity', 'cyclegan': 'cycle'}  # decide nothing here
ALONE, TOGETHER = 0.9, 1.0  # goals: torch's time over ours, of one run and of several


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Two domains of images that hold nothing to learn."""
  from dlsteroids.data.lib import two_domains
  from experiments.bench import data as data_lib

  config = options.defaults({**two_domains.OPTIONS, **DEFAULTS}) | dict(config)
  sizes = (config['count'], config['held'], config['held'])
  pixels, _ = data_lib.draw(tuple(config['shape']), 2 * sum(sizes))
  x, y = (
    two_domains.Side(name, part, sizes) for name, part in zip('XY', np.split(pixels, 2))
  )
  return two_domains.make('random', x, y, config)


def measure_colours(dataset: types.Dataset) -> Any:
  """The features of an image: the means of its channels."""
  from dlsteroids.tasks.lib import features

  return features.Extractor(
    name='colours',
    digest='means',
    dims=dataset.arrays['image'].shape[-1],
    apply=lambda images: (images.mean((1, 2)), None),
    classes=(),
    accuracy=math.nan,
    note='means of the channels of images of any size',
  )


def make_config(name: str, count: int) -> Any:
  """The project's ConfigDict of a game on at most `count` random images."""
  from dlsteroids import config as config_lib

  case = cases.GAMES[name]
  noise = case.model == 'dcgan'
  data = 'experiments.bench.data' if noise else 'experiments.bench.gan'
  task = 'gan' if noise else 'cyclegan'
  config = config_lib.base(model=case.model, data=data, task=task)
  config.data.shape = case.shape
  config.data.count = min(count, case.images)
  config.data.held = case.held
  config.model.width = case.width
  config.model.discriminator_width = case.width
  config.model.slope = cases.SLOPE
  if noise:
    config.data.range = 'tanh'
    config.model.latent = cases.LATENT
    config.model.kernel = cases.KERNEL
    config.task.loss = 'non_saturating'
    config.task.features = 'experiments.bench.gan.measure_colours'
  else:
    config.model.blocks = case.blocks
    config.task.loss = 'least_squares'
    config.task.pool = cases.POOL
    config.task.cycle_weight = cases.CYCLE_WEIGHT
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = cases.ADAM_RATE
  config.optimizer.beta1, config.optimizer.beta2 = cases.ADAM_BETAS
  config.optimizer.schedule = 'constant'
  config.train.batch_size = case.batch
  config.train.eval_batch = case.held
  config.study.name = f'bench_{name}'
  config.study.metric = METRICS[case.model]
  config.study.seeds = case.seeds
  return config


# In a worker process


def engine_game(case: str, count: int) -> Offer:
  """A study's baseline over its seeds, and one seed in several layouts.

  These are the study's own, that of `engine.width=1`, which carries no states of runs
  that are not there, and that of `engine.data_devices`, a share on each device. 'peak'
  measures the sgemm peak when asked: while workers start, others do, too.
  """
  from dlsteroids import config as config_lib
  from dlsteroids.plan import study_plan
  from dlsteroids.run import compiler as compiler_lib
  from dlsteroids.study import factors
  from experiments.bench import engine

  def deal(runs, layout):
    todo = engine.deal(made, runs, layout)
    return [compiler_lib.make_slots(made, batch) for batch in todo]

  engine.start()
  tested = factors.factor('slope', 'model.slope', cases.SLOPE, 0.1)
  made = study_plan.make(config_lib.resolve(make_config(case, count)), (tested,))
  runs = engine.baseline(made)
  usual = made.layouts[runs[0].program]
  alone = usual._replace(width=1)
  wanted = {usual: {len(runs), 1}, alone: {1}}
  if made.config['train']['batch_size'] >= usual.devices:
    wanted.setdefault(alone._replace(data=usual.devices), {1})
  measures = {'peak': lambda steps: Sample(1.0, engine.peak())}
  seeds = {}
  for layout, numbers in wanted.items():
    ready = engine.make_ready(made, runs[:1], layout)
    for number in sorted(numbers, reverse=True):
      name = f'{number} {"seeds" if number > 1 else "seed"}'
      name += f' ({engine.show(layout)})'
      measures[name] = trainer(
        ready, deal(runs[:number], layout), number, made.config['study']['metric']
      )
      seeds[name] = number
  return Offer({**engine.facts_of(made), 'seeds': seeds}, measures)


def trainer(
  ready: Any, todo: Sequence[Any], runs: int, deciding: str
) -> Callable[[int], Sample]:
  """`steps -> Sample` of training batches of slots by the study's own loop.

  Timed as by `bench_engine.train_batch`: neither initial values nor the one evaluation.
  """
  from dlsteroids.train import loop

  def train_batch(slots: Any, steps: int) -> float:
    times: dict[int, float] = {}

    def watch(progress: loop.Progress) -> None:
      # The last step is told again when it has been evaluated.
      times.setdefault(progress.step, time.perf_counter())

    loop.train(
      ready.compiled[0],
      slots,
      ready.data,
      ready.counts,
      steps=steps + 1,
      evaluations=1,
      deciding=deciding,
      watch=watch,
    )
    return max(times.values()) - min(times.values())

  def train(steps: int) -> Sample:
    return Sample(sum(train_batch(slots, steps) for slots in todo), runs * steps)

  return train


# The part


def adversarial(settings: Settings) -> list[Row]:
  """Games of two players, one run and many, against torch at its best."""
  names = ('tiny_dcgan', 'tiny_cyclegan') if settings.quick else ('dcgan', 'cyclegan')
  return [row for name in names for row in game_rows(settings, name)]


def game_rows(settings: Settings, name: str) -> list[Row]:
  case = cases.GAMES[name]
  part = f'Against torch: {case.about}; batch {case.batch}, one D and one G update'
  with contextlib.ExitStack() as stack:
    spec = {'kind': 'engine_game', 'case': name, 'count': settings.count}
    engines = [
      stack.enter_context(Worker(python, spec, **common.CPU)) for python in settings.jax
    ]
    started = start_torch(stack, settings, name)  # all compile at the same time
    ours = {}
    for worker in engines:
      for measure, seeds in worker.ready().facts['seeds'].items():
        label = f'dlsteroids, {common.version(worker)}, {measure}'
        ours[Contender(label, (worker,), measure)] = seeds
    theirs, failed = [], []
    for label, workers in started.items():
      try:
        theirs.append(Contender(label, tuple(worker.ready() for worker in workers)))
      except worker_lib.Failed as error:
        failed.append(Row(part, label, note=f'failed: {error}'))
    parts.check_params([*ours, *theirs])
    top = max(Contender('', (w,), 'peak').run(1).seed_steps for w in engines)
    rates = worker_lib.interleave([*ours, *theirs], settings.seconds, settings.repeats)
  flops, rows = engines[0].facts['flops'], []
  # A run alone has no use for a second process.
  alone = [contender for contender in theirs if len(contender.workers) == 1]
  for contender in [*ours, *theirs]:
    seeds, goal = ours.get(contender), math.nan
    if seeds is not None:
      goal = TOGETHER if seeds > 1 else ALONE
    rivals = alone if seeds == 1 else theirs
    best = worker_lib.best({c.label: rates[c.label] for c in rivals}) if rivals else ''
    rows.append(make_row(part, contender.label, rates, best, goal, flops, top))
  return rows + failed


def make_row(
  part: str,
  label: str,
  rates: Mapping[str, Sequence[float]],
  best: str,
  goal: float,
  flops: float,
  top: float,
) -> Row:
  """A contender's rates, against `best`; `flops` of a step, `top` the peak's FLOP/s."""
  values = rates[label]
  compared = best not in ('', label)
  share = 100 * flops * statistics.median(values) / top
  return Row(
    part,
    label,
    values,
    'seed-steps/s',
    common.divide(values, rates[best]) if compared else (),
    best if compared else '',
    goal,
    note=f'{share:.0f} % of the sgemm peak, {top / 1e9:.0f} GFLOP/s; '
    f'{flops / 1e9:.3g} GFLOP a seed-step',
  )


def start_torch(
  stack: contextlib.ExitStack, settings: Settings, name: str
) -> dict[str, list[Worker]]:
  """By label one process with all threads and, for many seeds, one per core."""
  case, cores = cases.GAMES[name], common.cores()
  started = {}
  for mode in common.MODES if settings.torch else ():
    for count in dict.fromkeys((1, cores if case.seeds > 1 else 1)):
      threads = cores // count
      spec = {
        'kind': 'train_torch_game',
        'case': name,
        'count': settings.count,
        'mode': mode,
        'threads': threads,
      }
      environment = {
        'OMP_NUM_THREADS': str(threads),
        'TORCHINDUCTOR_COMPILE_THREADS': '1',  # else each has processes of its own
      }
      shares = [1] if count == 1 else split(case.seeds, count)
      started[f'torch {mode}, {count} × {threads} threads'] = [
        stack.enter_context(
          Worker(settings.torch, {**spec, 'seeds': share}, **environment)
        )
        for share in shares
      ]
  return started


def split(seeds: int, count: int) -> list[int]:
  """How many of the seeds each of `count` processes trains."""
  shares = [seeds // count + (index < seeds % count) for index in range(count)]
  return [share for share in shares if share]
