"""Runs a plan's batches on this machine, compiling the next program as one trains."""

import concurrent.futures
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.data.lib import reader
from dlsteroids.plan import runs as runs_lib
from dlsteroids.plan import study_plan
from dlsteroids.run import interrupt, leases
from dlsteroids.store import results
from dlsteroids.train import checkpoint, loop, probes, processes
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment, errors, lock


class Status(NamedTuple):
  """Where an execution stands; what the launcher shows."""

  batch: int  # from 1
  batches: int
  program: str
  arms: tuple[str, ...]
  members: int
  progress: loop.Progress
  images_per_second: float
  done_steps: float  # member-steps finished in earlier batches
  total_steps: float


Watch = Callable[[Status], None]


def execute(
  made: study_plan.Plan,
  runs: Sequence[runs_lib.Run],
  workdir: pathlib.Path,
  index: results.Index,
  compiler: 'Compiler',
  watch: Watch = lambda status: None,
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
  """Trains what the store lacks of `runs`; returns reasons by failed fingerprint.

  A batch that fails is said at once and the others go on. One that runs out of memory
  is tried again with half the members per device, and plan.json remembers. Whoever
  calls holds the leases of the runs' programs.
  """
  stored = [run.fingerprint for run in runs if run.fingerprint in index.records]
  done = set(processes.agree(stored))
  layouts = dict(made.layouts)
  todo = runs_lib.batches(
    runs_lib.unique(runs),
    done.__contains__,
    lambda name: layouts[name].members,
  )
  total = sum(batch.steps * len(batch.runs) for batch in todo)
  failures: dict[str, str] = {}
  finished, at = 0.0, 0
  while at < len(todo):
    interrupt.check()
    batch = todo[at]
    place = Place(at + 1, len(todo), finished, total)
    layout = layouts[batch.program]
    try:
      compiler.get(batch, layout)  # a signal may end this wait, not what follows
      with interrupt.patience():
        told = tell(watch, batch, place)
        train_batch(made, batch, compiler, layout, workdir, told, say)
        processes.agree(None)  # whether it is stored
    except (errors.UserError, leases.Lost):
      raise
    except Exception as error:
      text = processes.fail(error)
      refuse_full_disk(error, workdir)
      if 'RESOURCE_EXHAUSTED' in text and layout.width > 1:
        layouts[batch.program] = half = layout._replace(width=layout.width // 2)
        remember(workdir, batch.program, half)
        compiler.forget(batch.program)
        todo[at:] = recut(todo[at:], batch.program, half)
        say(f'program {batch.program} ran out of memory; width is {half.width} now')
        continue
      say(f'failed: {", ".join(sorted({run.arm for run in batch.runs}))}: {text}')
      failures |= {run.fingerprint: text for run in batch.runs}
    finished += batch.steps * len(batch.runs)
    at += 1
  return failures


def once(say: Callable[[str], None]) -> Callable[[str], None]:
  """`say` that says no line twice."""
  said: set[str] = set()

  def tell(line: str) -> None:
    if line not in said:
      said.add(line)
      say(line)

  return tell


class Place(NamedTuple):
  """Where a batch stands among those of an execution, as `Status` says."""

  batch: int
  batches: int
  done_steps: float
  total_steps: float


def tell(
  watch: Watch, batch: runs_lib.Batch, place: Place
) -> Callable[[loop.Progress], None]:
  """What the training loop tells of one batch, as what the launcher shows of all."""
  size = batch.runs[0].config['train']['batch_size']
  arms = tuple(dict.fromkeys(run.arm for run in batch.runs))

  def told(progress):
    rate = progress.steps_per_second * len(batch.runs) * size
    watch(
      Status(
        program=batch.program,
        arms=arms,
        members=len(batch.runs),
        progress=progress,
        images_per_second=rate,
        **place._asdict(),
      )
    )

  return told


def refuse_full_disk(error: Exception, workdir: pathlib.Path) -> None:
  """Raises UserError if results cannot be written: no other batch could be, either."""
  why = checkpoint.refusal(error)
  if why:
    raise errors.UserError(
      f'cannot write results to {workdir}: {why}; mend that, then the same command '
      'continues'
    ) from error


def recut(
  todo: Sequence[runs_lib.Batch], program: str, layout: program_lib.Layout
) -> list[runs_lib.Batch]:
  """Batches, those of a program cut to fit its smaller layout."""
  found = []
  for batch in todo:
    size = layout.members if batch.program == program else len(batch.runs)
    starts = range(0, len(batch.runs), size)
    found += [batch._replace(runs=batch.runs[i : i + size]) for i in starts]
  return found


def remember(workdir: pathlib.Path, program: str, layout: program_lib.Layout) -> None:
  """Writes a program's new layout to plan.json."""
  if not processes.first():
    return
  path = workdir / 'plan.json'
  with lock.hold(workdir):
    written = results.read_json(path)
    entry = written['programs'][program]
    asked = entry.get('halved_from', entry['width'])
    entry |= {'width': layout.width, 'halved_from': asked}
    results.write_json(path, written)


class Compiler:
  """Compiles programs in the background, in the order they will be wanted.

  Args:
    made: the plan.
    wanted: whether a program will be needed here, asked when its turn comes.
  """

  def __init__(
    self, made: study_plan.Plan, wanted: Callable[[str], bool] = lambda program: True
  ):
    self.made, self.wanted = made, wanted
    # XLA takes 1.4 cores a program: a second thread gained 15 % on two idle cores, and
    # what trains meanwhile loses that.
    self.pool = concurrent.futures.ThreadPoolExecutor(
      min(8, max(1, environment.cores() // 2))
    )
    self.futures: dict[tuple[str, program_lib.Layout], concurrent.futures.Future] = {}
    self.data: dict[str, Any] = {}

  def __enter__(self) -> 'Compiler':
    return self

  def __exit__(self, *error: Any) -> None:
    self.pool.shutdown(wait=False, cancel_futures=True)

  def start(
    self, todo: Sequence[runs_lib.Batch], layouts: Mapping[str, program_lib.Layout]
  ) -> None:
    for batch in todo:
      layout = layouts[batch.program]
      if (batch.program, layout) not in self.futures:
        future = self.pool.submit(self.compile_wanted, batch, layout)
        self.futures[batch.program, layout] = future

  def forget(self, program: str) -> None:
    for key in [key for key in self.futures if key[0] == program]:
      del self.futures[key]

  def get(
    self, batch: runs_lib.Batch, layout: program_lib.Layout
  ) -> tuple[program_lib.Program, Mapping[str, Any]]:
    """The compiled program of a batch and its data on the devices."""
    self.start([batch], {batch.program: layout})
    made = self.futures[batch.program, layout].result()
    if made is None:  # when its turn came another process trained it
      future = self.pool.submit(self.compile, batch, layout)
      self.futures[batch.program, layout] = future
      made = future.result()
    return made

  def compile_wanted(
    self, batch: runs_lib.Batch, layout: program_lib.Layout
  ) -> tuple[program_lib.Program, Mapping[str, Any]] | None:
    return self.compile(batch, layout) if self.wanted(batch.program) else None

  def compile(
    self, batch: runs_lib.Batch, layout: program_lib.Layout
  ) -> tuple[program_lib.Program, Mapping[str, Any]]:
    config = batch.runs[0].config
    dataset = self.made.dataset(config)
    made = program_lib.make(self.made.members[batch.program], layout)
    if dataset.digest not in self.data:
      self.data[dataset.digest] = program_lib.place_data(dataset, made.mesh)
    data = self.data[dataset.digest]
    with jax.default_matmul_precision(config['train']['matmul']):
      slots = program_lib.place(make_slots(self.made, batch, layout), made)
      return program_lib.compile_all(made, slots, data), data


def make_slots(
  made: study_plan.Plan, batch: runs_lib.Batch, layout: program_lib.Layout
) -> list[dict[str, Any]]:
  """A batch's slots, runs dealt to the groups of devices in turn, the rest padding.

  Raises:
    ValueError: more runs than the layout has members.
  """
  if len(batch.runs) > layout.members:
    raise ValueError(f'{len(batch.runs)} runs in a batch of {layout.members}')
  slots: list[Any] = [None] * layout.members
  for i, run in enumerate(batch.runs):
    slots[position(i, layout)] = member_lib.slot(
      run.config, made.dataset(run.config), run.seed
    )
  first = slots[0]
  return [slot or {**first, 'live': first['live'] & False} for slot in slots]


def position(i: int, layout: program_lib.Layout) -> int:
  """Where the i-th run of a batch lies: group of devices by group in turn."""
  return (i % layout.groups) * layout.width + i // layout.groups


def train_batch(
  made: study_plan.Plan,
  batch: runs_lib.Batch,
  compiler: Compiler,
  layout: program_lib.Layout,
  workdir: pathlib.Path,
  watch: Callable[[loop.Progress], None],
  say: Callable[[str], None],
) -> None:
  """Trains a batch and stores its runs; nothing is stored if anything fails."""
  program, data = compiler.get(batch, layout)
  config = batch.runs[0].config
  dataset = made.dataset(config)
  split = dataset.split(batch.runs[0].seed)
  equal = processes.agree([layout, environment.provenance()])  # what bits depend on
  origin = config_lib.digest(equal)[:8]
  folder = workdir / 'checkpoints' / f'{batch.name}-{origin}'
  slots = make_slots(made, batch, layout)
  checkpoint.sign(folder, [run.fingerprint for run in batch.runs])
  result = loop.train(
    program,
    slots,
    data,
    {name: len(split[name]) for name in member_lib.SPLITS},
    steps=batch.steps,
    evaluations=config['train']['evaluations'],
    deciding=made.config['study']['metric'],
    folder=folder,
    checkpoint_seconds=made.config['engine']['checkpoint_seconds'],
    watch=watch,
    readers=readers(made.config['engine']),
    stop=interrupt.asked,
    say=say,
  )
  facts = made.facts[batch.program]
  records, arrays = [], {}
  for i, run in enumerate(batch.runs):
    at = position(i, layout)
    records.append(
      {
        'fingerprint': run.fingerprint,
        'identity': run.identity,
        'seed': run.seed,
        'params': facts.params,
        'flops': facts.flops * batch.steps,
        'executed_flops': facts.executed_flops * batch.steps,
        **result.records[at],
      }
    )
    arrays[run.fingerprint] = evidence(made, run, result, slots[at], at)
  kept = ''
  if made.config['engine']['keep'] == 'last':
    kept = checkpoint.keep(folder, result.variables).name
  if processes.first():
    results.write_batch(
      workdir,
      {
        'program': batch.program,
        'members': [run.fingerprint for run in batch.runs],
        'positions': [position(i, layout) for i in range(len(batch.runs))],
        'layout': layout._asdict(),
        'checkpoint': kept,
        'provenance': environment.provenance(),
        'sources': made.code[batch.runs[0].arm].modules,
        'time': environment.now(),
      },
      records,
      arrays,
    )
  checkpoint.drop(folder)


def readers(engine: Mapping[str, Any]) -> reader.Readers:
  """Who reads a data set that streams, as config.engine says."""
  return reader.Readers(engine['stream_threads'], engine['stream_workers'])


def evidence(
  made: study_plan.Plan, run: runs_lib.Run, result: loop.Result, slot: Any, at: int
) -> dict[str, Any]:
  """A claim run's arrays: test predictions and truth; probes of the first seed."""
  if run.tuned == runs_lib.SEARCH:
    return {}
  dataset = made.dataset(run.config)
  found = dict(result.arrays[at])
  if any(name.startswith('test/') for name in found):
    indices = found['test/index'] = dataset.split(run.seed)['test']
    if 'label' in dataset.arrays:
      found['test/label'] = dataset.arrays['label'][indices]
  if run.seed == made.config['study']['first_seed'] and run.tuned == runs_lib.UNTUNED:
    probe = probes.make(made.members[run.program], dataset, slot)
    if probe:
      found |= probe(processes.fetch(jax.tree.map(lambda x: x[at], result.variables)))
  return {name: narrow(value) for name, value in found.items()}


def narrow(value: Any) -> Any:
  """Integers of a small range in one byte or two; everything else as it is."""
  if value.dtype.kind == 'i' and value.size and value.min() >= 0:
    for kind in ('uint8', 'uint16'):
      if value.max() <= np.iinfo(kind).max:
        return value.astype(kind)
  return value
