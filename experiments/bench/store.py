"""Long studies under the clock: a store of 100,000 runs, and what checkpoints cost."""

import pathlib
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from dlsteroids import config as config_lib
from experiments.bench import common
from experiments.bench import worker as worker_lib
from experiments.bench.page import Row

ARMS = 100
RUNS = 100_000
METRICS = 20


def long_studies(settings: Any) -> list[Row]:
  """Appending, resuming and reporting 100,000 runs."""
  count = 4 * ARMS if settings.quick else RUNS
  part = f'A study of {count:,} runs: {ARMS} arms × {count // ARMS:,} seeds'
  python = settings.jax[0]
  with tempfile.TemporaryDirectory() as folder:

    def facts(phase: str) -> Mapping[str, Any]:
      spec = {'kind': 'long_store', 'phase': phase, 'folder': folder, 'runs': count}
      with worker_lib.Worker(python, spec, **common.CPU) as worker:
        return worker.ready().facts

    first, scan, report = map(facts, ('append', 'scan', 'report'))
    files = list(pathlib.Path(folder, 'runs').glob('*.npz'))
    size = sum(path.stat().st_size for path in files) / 1e6
    each = 1e3 * first['append'] / first['batches']
  if scan['records'] != count or scan['left']:
    raise worker_lib.Failed(f'the scan found {scan["records"]} runs of {count}')
  return [
    Row(
      part, 'a batch written', [each], 'ms', goal=50.0, below=True,
      note=f'{first["batches"]:,} batches, {size:,.0f} MB',
    ),
    Row(part, 'the runs planned', [first['plan'], scan['plan']], 's', goal=60.0,
        below=True, note='fingerprints of all'),
    Row(part, 'resume: the first scan', [scan['scan']], 's', goal=60.0, below=True,
        note='all bytes compared with their checksums'),
    Row(part, 'resume: all that comes before the report', [scan['resume']], 's',
        goal=60.0, below=True, note='nothing is left to train'),
    Row(part, 'report', [report['report']], 's', goal=60.0, below=True,
        note='scan, tables, statistics, figures'),
    *(
      Row(part, f'peak memory, {name}', [found['peak']], 'MB', goal=4096.0, below=True)
      for name, found in (('append', first), ('resume', scan), ('report', report))
    ),
  ]  # fmt: skip


def effects(settings: Any) -> list[Row]:
  """All statistics of 10,000 runs on 20 metrics."""
  python, count = settings.jax[0], 4 * ARMS if settings.quick else RUNS // 10
  with tempfile.TemporaryDirectory() as folder:
    spec = {'kind': 'long_store', 'phase': 'append', 'folder': folder, 'runs': count}
    with worker_lib.Worker(python, spec, **common.CPU) as worker:
      worker.ready()
    spec = {'kind': 'statistics', 'folder': folder, 'metrics': METRICS}
    with worker_lib.Worker(python, spec, **common.CPU) as worker:
      facts = worker.ready().facts
      seconds = sample(worker, settings.repeats, 'measure')
  if (facts['runs'], facts['metrics']) != (count, METRICS):
    raise worker_lib.Failed(f'measured {facts}')
  part = f'Statistics of {count:,} runs on {METRICS} metrics'
  note = f'{facts["rows"]:,} effects: interval, sign-flip p, probability of improvement'
  return [
    Row(part, 'the table of effects', seconds, 's', goal=10.0, below=True, note=note)
  ]


def checkpoints(settings: Any) -> list[Row]:
  """A checkpoint's seconds as a share of the default interval between two."""
  part = 'Checkpoints at the default interval'
  interval = config_lib.DEFAULTS['engine']['checkpoint_seconds']
  rows = []
  for python in settings.jax:
    for name in settings.cases('digits', 'lenet', 'cifar', 'mlp'):
      spec = {'case': name, 'count': settings.count}
      with common.open_engine(python, 'saves', **spec) as worker:
        found = sample(worker, settings.repeats)
        shutil.rmtree(worker.facts['folder'], ignore_errors=True)
        share = [100 * seconds / (interval + seconds) for seconds in found]
        rows.append(
          Row(
            part, f'{name}, {common.version(worker)}', share, '% of the time',
            goal=2.0, below=True,
            note=f'{statistics.median(found):.2f} s each, '
            f'{worker.facts["bytes"] / 1e6:,.1f} MB, {worker.facts["layout"]}',
          )
        )  # fmt: skip
  return rows


def sample(worker: worker_lib.Worker, repeats: int, name: str = 'save') -> list[float]:
  """Seconds of `repeats` after one that warms up."""
  contender = worker_lib.Contender(name, [worker], name)
  contender.run(1)
  return [contender.run(1).seconds for _ in range(repeats)]


PARTS: Mapping[str, Callable[[Any], list[Row]]] = {
  'store': long_studies,
  'statistics': effects,
  'checkpoints': checkpoints,
}
