"""Benchmarks: python -m experiments.bench [--only=torch,overhead] [--quick].

Measures ratios within one run, prints one table and, when complete, writes
experiments/results/bench.md and bench.json; --page=NAME writes the parts it was given
as NAME.md and NAME.json to experiments/results/bench. Wants an otherwise idle machine.
Takes about an hour for two versions of JAX on 2 cores; --quick some minutes, and its
numbers mean nothing.

--page=gpu measures on a GPU all that has to be measured there, the most important
first, within --minutes=8, and writes the page after every row.
"""

import os
import pathlib
import platform
import sys
import time

from absl import app, flags

from dlsteroids import config as config_lib
from dlsteroids.util import environment, errors
from experiments.bench import (
  cases,
  common,
  gan,
  gpu,
  page,
  parts,
  store,
  streaming,
  worker,
)

PARTS = {
  **parts.PARTS,
  'adversarial': gan.adversarial,
  'streaming': streaming.streaming,
  **store.PARTS,
}
FLAGS = flags.FLAGS
flags.DEFINE_list('only', [], 'parts to run: ' + ', '.join(PARTS))
flags.DEFINE_bool('quick', False, 'toy sizes, to see that everything runs')
flags.DEFINE_list('jax_python', [sys.executable], 'interpreters with JAX')
flags.DEFINE_string('torch_python', sys.executable, "the one with torch; '' for none")
flags.DEFINE_float('seconds', 4.0, 'of one repetition', 0.0)
flags.DEFINE_integer('repeats', 7, 'of each measurement', 1)
flags.DEFINE_integer('count', 50_000, 'training images', 512)
flags.DEFINE_string('out', '', 'folder to write; default: the results, if complete')
flags.DEFINE_string(
  'page', '', 'name of the files to write, in results/bench; gpu: the page of a GPU'
)
flags.DEFINE_float('minutes', 8.0, 'that --page=gpu may take', 0.0)
flags.DEFINE_string('worker', '', 'JSON; what this command starts itself with')


def make_settings() -> common.Settings:
  quick = FLAGS.quick
  return common.Settings(
    jax=FLAGS.jax_python,
    torch=FLAGS.torch_python,
    seconds=0.05 if quick else FLAGS.seconds,
    repeats=2 if quick else FLAGS.repeats,
    count=512 if quick else FLAGS.count,
    quick=quick,
  )


def busy(seconds: float = 1.0) -> float:
  """The share of processor time that others use now, 0 to 1."""

  def read():
    words = pathlib.Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:]
    numbers = [int(word) for word in words]
    return numbers[3] + numbers[4], sum(numbers)  # idle, all

  idle, total = read()
  time.sleep(seconds)
  idle_after, total_after = read()
  return 1 - (idle_after - idle) / max(total_after - total, 1)


def describe(settings: common.Settings, load: float) -> dict[str, str]:
  """What a reader must know to repeat the run."""
  about = {
    'command': 'python -m experiments.bench '
    + ' '.join(a for a in sys.argv[1:] if not a.startswith('--out')),
    'commit': environment.git_commit() or 'none',
    'time': environment.now(),
    'processor': f'{environment.processor()}, {environment.cores()} cores',
    'system': f'{platform.system()} {platform.release()}',
    'in use by others at the start': f'{100 * load:.0f} % of the processor',
    'settings': f'{settings.repeats} repetitions of {settings.seconds:g} s each, '
    f'competitors taking turns; {settings.count:,} random images; float32; '
    f'SGD with momentum {cases.MOMENTUM} (games: at most 10,000 images; Adam '
    f'{cases.ADAM_RATE:g}, beta1 {cases.ADAM_BETAS[0]})',
  }
  for kind, pythons in (
    ('backend', settings.jax),
    ('torch_versions', [settings.torch]),
  ):
    for python in filter(None, pythons):
      about |= common.versions(python, kind)
  if settings.quick:
    about['warning'] = 'toy sizes (--quick): these numbers mean nothing'
  return about


def run(settings: common.Settings, names: list[str]) -> list[page.Row]:
  """The rows of the named parts; a part that fails leaves a row that says why."""
  rows = []
  for name in names:
    print(f'{time.strftime("%H:%M:%S")} {name}', file=sys.stderr, flush=True)
    try:
      rows += PARTS[name](settings)
    except worker.Failed as error:
      rows.append(page.Row(name, 'everything', note=f'failed: {error}'))
  return rows


def write_gpu_page(settings: common.Settings) -> None:
  """The page of a GPU, written after every row."""
  begin = time.monotonic()
  reason = gpu.refuse(settings)
  if reason:
    sys.exit(reason)
  folder = pathlib.Path(FLAGS.out or worker.ROOT / 'experiments' / 'results' / 'bench')
  about = describe(settings, busy())
  about['settings'] = (
    f'at most {gpu.REPEATS} repetitions of {gpu.SECONDS:g} s each, every competitor in '
    f'a process of its own; {FLAGS.minutes:g} minutes in all; compiled without a cache'
  )
  rows: list[page.Row] = []
  for row in gpu.measure(settings, FLAGS.minutes, begin):
    rows.append(row)
    page.write(folder, page.by_part(rows), about, 'gpu')
  print(f'written: {folder / "gpu"}.md')


def main(argv: list[str]) -> None:
  del argv
  if FLAGS.worker:
    worker.serve(FLAGS.worker)
    return
  names = FLAGS.only or list(PARTS)
  if FLAGS.page and FLAGS.quick and not FLAGS.out:
    sys.exit(
      'page: numbers of --quick mean nothing; --out=FOLDER writes them elsewhere'
    )
  try:
    for name in names:
      config_lib.choose('only', name, PARTS)
  except errors.UserError as error:
    sys.exit(str(error).removeprefix('config.'))
  settings = make_settings()
  if FLAGS.page == 'gpu':
    if FLAGS.only:
      sys.exit('only: --page=gpu measures what it can in --minutes, not --only of it')
    write_gpu_page(settings)
    return
  about = describe(settings, busy())
  rows = run(settings, names)
  print('\n'.join(f'{name}: {value}' for name, value in about.items()))
  print(page.text(rows))
  complete = not (settings.quick or FLAGS.only)
  if FLAGS.out or FLAGS.page or complete:
    results = worker.ROOT / 'experiments' / 'results'
    folder = pathlib.Path(FLAGS.out or (results / 'bench' if FLAGS.page else results))
    name = FLAGS.page or 'bench'
    page.write(folder, rows, about, name)
    print(f'written: {folder / name}.md')


if __name__ == '__main__':
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  app.run(main)
