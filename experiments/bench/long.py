"""The life of a long study, and checkpoints: runs in worker processes, with JAX."""

import dataclasses
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from dlsteroids import config as config_lib
from dlsteroids.analysis import effects
from dlsteroids.config import files
from dlsteroids.plan import manifest, study_plan, units
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import launch, sharing
from dlsteroids.store import results, tables
from dlsteroids.study import factors
from dlsteroids.study import study as study_lib
from dlsteroids.train import checkpoint, program
from dlsteroids.util import environment
from experiments.bench import engine
from experiments.bench.store import ARMS
from experiments.bench.worker import Offer, Sample

EVALUATIONS = 10
NUMBERS = {  # of the baseline, and the end of a ladder of others
  'optimizer.learning_rate': (0.05, 0.5),
  'optimizer.momentum': (0.9, 0.99),
  'optimizer.weight_decay': (0.0, 0.1),
  'model.dropout': (0.2, 0.8),
}
SPLITS = ('train', 'validation', 'test')


def ask(runs: int) -> files.Request:
  """A study of `ARMS` arms and as many seeds as make up `runs`."""
  config = config_lib.base(model='mlp', data='digits')
  config.study.name = 'long'
  config.study.seeds = max(2, runs // ARMS)
  config.train.evaluations = EVALUATIONS
  tested = []
  for path, (first, last) in NUMBERS.items():
    section, _, key = path.partition('.')
    config[section][key] = first
    count = (ARMS - 1) // len(NUMBERS) + (len(tested) < (ARMS - 1) % len(NUMBERS))
    levels = np.linspace(first, last, count + 1)[1:].round(6).tolist()
    tested.append(factors.factor(key, path, first, *levels))
  return files.Request(config_lib.resolve(config), tuple(tested), command='bench')


def record(
  run: runs_lib.Run, facts: Any, effect: float, generator: np.random.Generator
) -> dict[str, Any]:
  """What a batch stores of a run, with drawn scores."""
  steps = run.config['train']['steps']
  at = [round(steps * (i + 1) / EVALUATIONS) for i in range(EVALUATIONS)]
  scores = 0.9 + effect + 0.02 * generator.standard_normal((EVALUATIONS, len(SPLITS)))
  last = dict(zip(SPLITS, scores[-1].tolist()))
  values = {
    f'{where}/{name}': sign * last[where.rpartition('/')[2]]
    for where in ('validation', 'test', 'final/test')
    for name, sign in (('accuracy', 1), ('loss', -1))
  }
  return {
    'fingerprint': run.fingerprint,
    'identity': run.identity,
    'seed': run.seed,
    'params': facts.params,
    'flops': facts.flops * steps,
    'executed_flops': facts.executed_flops * steps,
    'status': 'ok',
    'steps': steps,
    'diverged_step': -1,
    'best_step': steps,
    'wall_s': 1.5,
    'values': values,
    'curves': [
      [step, split, name, sign * score]
      for step, row in zip(at, scores.tolist())
      for split, score in zip(SPLITS, row)
      for name, sign in (('accuracy', 1), ('loss', -1))
    ],
  }


def fill(
  made: study_plan.Plan, runs: Sequence[runs_lib.Run], folder: pathlib.Path
) -> int:
  """Stores all runs as a launch would, with drawn scores; the number of batches."""
  layout = next(iter(made.layouts.values()))
  facts = next(iter(made.facts.values()))
  dataset = made.dataset(made.config)
  test = dataset.split(0)['test']
  label = dataset.arrays['label'][test].astype(np.uint8)
  generator = np.random.default_rng(0)
  effects = dict(zip(made.arms, np.linspace(0, -0.05, len(made.arms)).tolist()))
  todo = study_plan.batches(made, runs, lambda _: False)
  provenance, now = environment.provenance(), environment.now()
  for batch in todo:
    wrong = generator.random((len(batch.runs), len(test))) < 0.05
    arrays = {
      run.fingerprint: {
        'test/index': test.astype(np.uint16),
        'test/label': label,
        'test/prediction': np.where(row, (label + 1) % 10, label).astype(np.uint8),
      }
      for run, row in zip(batch.runs, wrong)
    }
    about = {
      'program': batch.program,
      'members': [run.fingerprint for run in batch.runs],
      'positions': batch.positions,
      'layout': layout._asdict(),
      'checkpoint': '',
      'provenance': provenance,
      'sources': made.code[batch.runs[0].arm].modules,
      'time': now,
    }
    rows = [record(run, facts, effects[run.arm], generator) for run in batch.runs]
    results.write_batch(folder, about, rows, arrays)
  return len(todo)


def long_store(phase: str, folder: str, runs: int) -> Offer:
  """One phase in the life of a long study; facts: seconds of its parts, peak memory."""
  environment.prepare()
  place = pathlib.Path(folder)
  clock = Clock()
  if phase == 'report':
    launch.export(place, lambda line: None)
    clock.lap('report')
  else:
    asked = ask(runs)
    made = launch.plan_of(asked, place)
    clock.lap('trace')
    wanted = study_plan.claim_runs(made)
    clock.lap('plan')
    if phase == 'append':
      launch.begin(made, asked, place, print)
      clock.lap('begin')
      clock.facts['batches'] = fill(made, wanted, place)
      clock.lap('append')
    else:
      index = results.read(place)
      clock.lap('scan')
      made = launch.begin(made, asked, place, print)
      clock.facts |= {
        'records': len(index.records),
        'left': len(sharing.train(made, units.make(made), place)),
      }
      clock.lap('resume')
  return Offer({**clock.facts, 'peak': peak()}, {})


def statistics(folder: str, metrics: int) -> Offer:
  """Effects of a stored study on so many metrics, all but the first drawn."""
  place = pathlib.Path(folder)
  study = study_lib.from_json(manifest.read_study(place))
  runs = tables.runs(study, study.runs, results.read(place), {})
  generator = np.random.default_rng(0)
  drawn = {f'drawn{i}': generator.random(len(runs)) for i in range(metrics - 1)}
  metric = study.metric
  study = dataclasses.replace(
    study, metrics={name: metric._replace(name=name) for name in (metric.name, *drawn)}
  )
  columns = {f'test/{each}': values for each, values in drawn.items()}
  runs = runs.drop(columns=[c for c in runs if c.startswith('final/')])
  runs = pd.concat([runs, pd.DataFrame(columns, index=runs.index)], axis=1)

  def measure(steps: int) -> Sample:
    spent = 0.0
    for _ in range(steps):
      spent += engine.timed(lambda: effects.measure(study, runs))
    return Sample(spent, steps)

  rows = effects.measure(study, runs)
  facts = {'runs': len(runs), 'metrics': rows['metric'].nunique(), 'rows': len(rows)}
  return Offer(facts, {'measure': measure})


class Clock:
  """Seconds by name, from one lap to the next."""

  def __init__(self) -> None:
    self.facts: dict[str, Any] = {}
    self.start = time.perf_counter()

  def lap(self, name: str) -> None:
    now = time.perf_counter()
    self.facts[name], self.start = now - self.start, now


def peak() -> float:
  """The most resident memory of this process so far, in MB."""
  size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return size / (1 << 20 if sys.platform == 'darwin' else 1 << 10)


def saves(case: str, count: int) -> Offer:
  """Seconds of saving a whole batch of a study's baseline, as training does."""
  engine.start()
  made = engine.make_plan(case, count, {})
  ready = engine.make_ready(made, engine.baseline(made))
  slots = program.place(ready.slots[0], ready.compiled[0])
  state = ready.compiled[0].init(slots, ready.data)
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if hasattr(leaf, 'nbytes'))
  folder = pathlib.Path(tempfile.mkdtemp())
  numbers = steps_from(1)

  def save(steps: int) -> Sample:
    spent = 0.0
    for _ in range(steps):
      step = next(numbers)
      progress = {'steps': np.arange(step + 1)}
      spent += engine.timed(
        lambda step=step, progress=progress: checkpoint.save(
          folder, step, state, progress
        )
      )
    return Sample(spent, steps)

  facts = {**engine.facts_of(made), 'bytes': size, 'folder': str(folder)}
  return Offer(facts, {'save': save})


def steps_from(first: int) -> Iterator[int]:
  while True:
    yield first
    first += 1
