"""Whole studies under the clock: compilation through the cache, the default study."""

import csv
import math
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
from typing import Any, NamedTuple

from experiments.bench import worker as worker_lib
from experiments.bench.page import Row
from experiments.bench.worker import Worker

CONFIG = 'configs/digits_cnn.py'
RECURRENT = ('configs/lstm_odyssey.py', 'configs/lstm_text.py')


def environment(cache: str) -> dict[str, str]:
  """The CPU, and one cache for everything."""
  return {
    'JAX_PLATFORMS': 'cpu',
    'DLSTEROIDS_CACHE': cache,
    'JAX_COMPILATION_CACHE_DIR': str(pathlib.Path(cache) / 'jax'),
  }


def config(settings: Any) -> str:
  return CONFIG + (':smoke' if settings.quick else '')


def starts(
  settings: Any, python: str, path: str, part: str, repeats: int, goal: float = math.nan
) -> list[Row]:
  """Compiles all programs of a study with an empty cache, then with what that left."""
  times: dict[str, list[float]] = {'cold': [], 'warm': [], 'planning': []}
  for _ in range(min(settings.repeats, repeats)):
    with tempfile.TemporaryDirectory() as cache:
      for name in ('cold', 'warm'):
        facts = start(python, {'kind': 'compile_study', 'config': path}, cache)
        times[name].append(facts['seconds'])
        times['planning'].append(facts['planning'])
  count = facts['programs']
  label = f'jax {facts["jax"]}, {count} programs of {facts["arms"]} arms'
  ratios = [a / b for a, b in zip(times['cold'], times['warm'])]
  each = [seconds / count for seconds in times['cold']]
  return [
    Row(part, f'planning, {label}', times['planning'], 's'),
    Row(part, f'first start, {label}', times['cold'], 's'),
    Row(part, f'the same, a program, {label}', each, 's', goal=goal, below=True),
    Row(
      part, f'second start, {label}', times['warm'], 's', ratios,
      'first start: its seconds over these', 3.0,
    ),
  ]  # fmt: skip


def structure(settings: Any) -> list[Row]:
  """64 arms that share nothing; whether compiling beside training pays."""
  part = 'Compilation: 64 structural arms of configs/digits_cnn.py'
  path = 'configs/digits_cnn.py:smoke' if settings.quick else 'structural'
  rows = []
  for python in settings.jax:
    rows += starts(settings, python, path, part, 1)
    if settings.quick:
      continue
    seconds = {}
    for together in (False, True):
      with tempfile.TemporaryDirectory() as cache:
        facts = start(python, {'kind': 'overlap', 'together': together}, cache)
        seconds[together] = facts['seconds']
    label = f'16 programs and 100 steps of two seeds, jax {facts["jax"]}'
    rows += [
      Row(part, f'compiled first, {label}', [seconds[False]], 's'),
      Row(
        part, f'meanwhile, {label}', [seconds[True]], 's',
        [seconds[False] / seconds[True]], 'compiled first: its seconds over these', 1.0,
      ),
    ]  # fmt: skip
  return rows


def compilation(settings: Any) -> list[Row]:
  """A second start through the cache; ten learning rates in one program."""
  rows = []
  for python in settings.jax:
    paths = [config(settings)] if settings.quick else [CONFIG, *RECURRENT]
    for path in paths:
      part = f'Compilation: all programs of {path}'
      goal = 3.0 if path in RECURRENT else math.nan
      rows += starts(settings, python, path, part, 3, goal)
    part = f'Compilation: all programs of {config(settings)}'
    with tempfile.TemporaryDirectory() as cache:
      facts = start(python, {'kind': 'rates', 'config': config(settings)}, cache)
    rows.append(
      Row(
        part,
        f'compilations added by further learning rates, jax {facts["jax"]}',
        [facts['added']],
        goal=0.0,
        below=True,
        note=f'10 rates, {facts["programs"]} program; '
        f'{facts["before"]} compilations up to the first batch',
      )
    )
  return rows


def start(python: str, asked: dict[str, Any], cache: str) -> dict[str, Any]:
  """The facts of a worker that only starts."""
  with Worker(python, asked, **environment(cache)) as worker:
    return worker.ready().facts


class Launch(NamedTuple):
  """A finished study."""

  seconds: float
  peak: float  # resident memory, MB
  accuracy: float  # the baseline's, on test
  drift: float  # its change over the last fifth of the steps
  seeds: int


def launch(python: str, path: str, cache: str, workdir: pathlib.Path) -> Launch:
  """Runs a study as a user does.

  Raises:
    bench_worker.Failed: with its last line.
  """
  command = [python, '-m', 'experiments.launch', f'--config={path}']
  log = workdir.with_suffix('.log')
  begin = time.perf_counter()
  with log.open('w') as output:
    process = subprocess.Popen(
      [*command, f'--workdir={workdir}'],
      cwd=worker_lib.ROOT,
      env={**os.environ, **environment(cache)},
      stdout=output,
      stderr=subprocess.STDOUT,
    )
    _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  seconds = time.perf_counter() - begin
  if process.returncode:
    raise worker_lib.Failed(f'the study failed: {log.read_text().splitlines()[-1:]}')
  rows = [row for row in read(workdir / 'runs.csv') if row['arm'] == 'baseline']
  scores = [float(row['test/accuracy']) for row in rows]
  mean, drift = statistics.mean(scores), last_fifth(workdir)
  return Launch(seconds, usage.ru_maxrss / 1024, mean, drift, len(scores))


def read(path: pathlib.Path) -> list[dict[str, str]]:
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def last_fifth(workdir: pathlib.Path) -> float:
  """The baseline's mean test accuracy at the end, minus that at four fifths."""
  steps: dict[int, list[float]] = {}
  for row in read(workdir / 'curves.csv'):
    if (row['arm'], row['split'], row['metric']) == ('baseline', 'test', 'accuracy'):
      steps.setdefault(int(row['step']), []).append(float(row['value']))
  end = max(steps)
  before = max((s for s in steps if s <= 0.8 * end), default=min(steps))
  return statistics.mean(steps[end]) - statistics.mean(steps[before])


def default_study(settings: Any) -> list[Row]:
  """The default study as a user starts it, first with an empty cache, then again."""
  part = f'The default study, everything included: {config(settings)}'
  rows = []
  for python in settings.jax:
    found: dict[str, list[Launch]] = {'cold': [], 'warm': []}
    for _ in range(min(settings.repeats, 3)):
      with tempfile.TemporaryDirectory() as folder:
        for name in found:
          workdir = pathlib.Path(folder) / name
          cache = str(pathlib.Path(folder) / 'cache')
          found[name].append(launch(python, config(settings), cache, workdir))
    with (
      tempfile.TemporaryDirectory() as cache,
      Worker(python, {'kind': 'backend'}, **environment(cache)) as worker,
    ):
      label = f'jax {worker.ready().facts["jax"]}'
    rows += study_rows(part, label, found, settings.quick)
  return rows


def study_rows(
  part: str, label: str, found: dict[str, list[Launch]], quick: bool
) -> list[Row]:
  cold = found['cold']
  both = [*cold, *found['warm']]
  seconds = {name: [run.seconds for run in runs] for name, runs in found.items()}
  gain = [a / b for a, b in zip(seconds['cold'], seconds['warm'])]
  peak = [run.peak for run in both]
  scores = [run.accuracy for run in both]
  drift = ', '.join(sorted({f'{100 * run.drift:+.2f}' for run in both}))
  goal = math.nan if quick else 0.97
  return [
    Row(part, f'cold, {label}', seconds['cold'], 's', goal=90.0, below=True),
    Row(
      part, f'warm, {label}', seconds['warm'], 's', gain, 'cold: its seconds over these'
    ),
    Row(part, f'peak memory, {label}', peak, 'MB', goal=2048.0, below=True),
    Row(
      part, f'intact arm, test accuracy, {label}', scores, goal=goal,
      note=f'{cold[0].seeds} seeds; over the last fifth of the steps {drift} points',
    ),
  ]  # fmt: skip
