"""Images read as they are trained on, against plain Pillow and resident images."""

import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.data.lib import crop, reader
from dlsteroids.plan import study_plan
from dlsteroids.study import factors
from dlsteroids.util import environment
from experiments.bench import common, engine
from experiments.bench import worker as worker_lib
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Offer, Sample

SIDE = 300  # of the generated JPEGs
CLASSES = 4
AREA, ASPECT = 0.08, 4 / 3


class Case(NamedTuple):
  """What is trained: AlexNet of a width on images of `size`, of JPEGs of `side`."""

  side: int
  size: int
  resize: int
  width: float
  batch: int
  images: int


FULL = Case(SIDE, 227, 256, 1.0, 16, 256)
QUICK = Case(100, 67, 72, 0.05, 8, 48)


def draw(folder: pathlib.Path, case: Case) -> list[pathlib.Path]:
  """JPEGs with the structure of photographs: coarse shapes and some grain."""
  generator = np.random.default_rng(0)
  files = []
  for i in range(case.images):
    coarse = generator.integers(0, 256, (12, 12, 3), np.uint8)
    image = Image.fromarray(coarse).resize((case.side,) * 2, Image.Resampling.BICUBIC)
    grain = generator.normal(0, 6, (case.side, case.side, 3))
    pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
    path = folder / 'train' / f'class{i % CLASSES}' / f'{i}.JPEG'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)
    files.append(path)
  return files


def streams(quick: bool) -> Offer:
  """Reading alone by plain Pillow and by the stream; training on resident and streamed
  images, with the same windows as evaluation and with random ones."""
  engine.start(1)
  case = QUICK if quick else FULL
  folder = pathlib.Path(tempfile.mkdtemp(prefix='dlsteroids-bench-'))
  files = draw(folder, case)
  plans = {
    'resident': make_plan(folder, case, 'image_folder', {}),
    'streamed': make_plan(folder, case, 'image_stream', {'window': 'middle'}),
    'random': make_plan(folder, case, 'image_stream', {'window': 'resized'}),
  }
  example = plans['random'].dataset(plans['random'].config).stream.example
  measures: dict[str, Any] = {
    'pillow': lambda count: plain(files, case, count),
    'one thread': lambda count: read(example, case, count, 1),
    'all threads': lambda count: read(example, case, count, environment.cores()),
  }
  for name, made in plans.items():
    ready = engine.make_ready(made, engine.baseline(made))
    measures[name] = engine.trainer(ready)
  facts = engine.facts_of(plans['random'])
  facts |= {'cores': environment.cores(), 'case': case._asdict()}
  return Offer(facts, measures)


def make_plan(
  folder: pathlib.Path, case: Case, data: str, options: dict[str, Any]
) -> study_plan.Plan:
  config = config_lib.base(model='alexnet', data=data)
  with config.unlocked():
    config.data.path, config.data.size = str(folder), case.size
    config.data.update({'resize': case.resize} if data == 'image_stream' else {})
    config.data.update(options)
    config.data.flip = True
    config.model.width = case.width
    config.train.batch_size = case.batch
    config.train.eval_batch = case.batch
    config.study.seeds = 1
    config.engine.width = 1
  tested = factors.factor('dropout', 'model.dropout', config.model.dropout, 0.0)
  return study_plan.make(config_lib.resolve(config), (tested,))


def plain(files: list[pathlib.Path], case: Case, count: int) -> Sample:
  """What one would write by hand, on one thread: open, cut a window, resize, array."""
  generator = np.random.default_rng(0)
  begin = time.perf_counter()
  for i in range(count):
    with Image.open(files[i % len(files)]) as opened:
      image = opened.convert('RGB')
    box = crop.resized(*image.size, AREA, ASPECT, generator)
    size = (case.size, case.size)
    np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
  return Sample(time.perf_counter() - begin, count)


def read(
  example: Callable[[types.Request], Any], case: Case, count: int, threads: int
) -> Sample:
  """The same windows through the stream's reader."""
  requests = [types.Request(i % case.images, 0, i // case.images) for i in range(count)]
  begin = time.perf_counter()
  with reader.read(example, requests, reader.Readers(threads)) as examples:
    for _ in examples:
      pass
  return Sample(time.perf_counter() - begin, count)


def streaming(settings: Settings) -> list[Row]:
  """Decode rate per core against plain Pillow; step rate against resident images."""
  rows = []
  for python in settings.jax:
    with common.open_engine(python, 'streams', quick=settings.quick) as worker:
      names = ('pillow', 'one thread', 'all threads', 'resident', 'streamed', 'random')
      contenders = [Contender(name, [worker], name) for name in names]
      rates = worker_lib.interleave(contenders, settings.seconds, settings.repeats)
      rows += show(rates, worker)
  return rows


def show(rates: dict[str, list[float]], worker: worker_lib.Worker) -> list[Row]:
  case, cores = Case(**worker.facts['case']), worker.facts['cores']
  part = (
    f'Streams: JPEGs of {case.side}×{case.side}, AlexNet at {case.size}×{case.size}, '
    f'batch {case.batch}, {common.version(worker)}'
  )
  plain, resident = rates['pillow'], rates['resident']
  share = [a / b / cores for a, b in zip(rates['all threads'], plain)]
  compare = common.divide
  one, every = rates['one thread'], rates['all threads']
  # While a processor trains, the time it decodes is missing.
  costs = [case.batch * rate / decoded for rate, decoded in zip(resident, every)]
  room = f'decoding alone takes {100 * sorted(costs)[len(costs) // 2]:.0f} % of a step'
  against = 'resident, middle windows'
  return [
    Row(part, 'plain Pillow, 1 thread', plain, 'images/s'),
    Row(part, 'stream, 1 thread', one, 'images/s', compare(one, plain), 'plain Pillow'),
    Row(
      part,
      f'stream, {cores} threads',
      every,
      'images/s',
      share,
      'plain Pillow on as many cores',
    ),
    Row(part, against, resident, 'steps/s', note=room),
    Row(
      part,
      'streamed, middle windows',
      rates['streamed'],
      'steps/s',
      compare(rates['streamed'], resident),
      against,
      0.9,
    ),
    Row(
      part,
      'streamed, random windows',
      rates['random'],
      'steps/s',
      compare(rates['random'], resident),
      against,
      0.9,
    ),
  ]
