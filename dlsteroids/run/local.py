"""Trains a plan's batches on this machine, compiling the next program meanwhile."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.data.lib import reader
from dlsteroids.plan import layouts, manifest, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import interrupt, leases, memory
from dlsteroids.store import results
from dlsteroids.store.trackers import tracker
from dlsteroids.train import checkpoint, loop, probes, processes
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment, errors, lock


class Status(NamedTuple):
  """How far an execution has trained, for the display.

  Attributes:
    arms: that the current batch trains.
    members: runs of the current batch.
    progress: of the current batch.
    examples_per_second: of all its members.
    done_steps, total_steps: summed over runs, of earlier batches and of all.
  """

  arms: tuple[str, ...]
  members: int
  progress: loop.Progress
  examples_per_second: float
  done_steps: float
  total_steps: float


Watch = Callable[[Status | compiler_lib.Compiling], None]


def no_watch(status: Status | compiler_lib.Compiling) -> None:
  """The `Watch` that shows nothing."""


def execute(
  plan: study_plan.Plan,
  runs: Sequence[runs_lib.Run],
  workdir: pathlib.Path,
  index: results.Index,
  compiler: compiler_lib.Compiler,
  watch: Watch = no_watch,
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
  """Trains what the store lacks of `runs`; returns why runs failed, by fingerprint.

  A batch that fails is reported at once and the others continue. One that lacks memory
  is tried again with a smaller evaluation batch or half the members per device, which
  plan.json records. The caller holds the leases of the runs' programs.
  """
  stored = [run.fingerprint for run in runs if run.fingerprint in index.records]
  done = set(processes.agree(stored))
  todo = study_plan.batches(plan, runs_lib.unique(runs), done.__contains__)
  _write_widths(plan, todo, workdir)
  compiler.start(todo)
  total = float(sum(batch.steps * len(batch.runs) for batch in todo))
  failures: dict[str, str] = {}
  peaks: dict[str, float] = {}
  finished, at = 0.0, 0
  while at < len(todo):
    interrupt.check()
    batch = todo[at]
    arms = ', '.join(dict.fromkeys(run.arm for run in batch.runs))
    try:
      compiler.get(batch, watch)  # a signal may interrupt this, not training
      with interrupt.deferred():
        watch_batch = _watch_batch(watch, batch, finished, total)
        train_batch(plan, batch, compiler, workdir, watch_batch, say)
        processes.agree(None)  # raises if another process failed to store it
    except (errors.UserError, leases.Lost):
      raise
    except Exception as error:
      text = processes.fail(error)
      _refuse_full_disk(error, workdir)
      smaller = None
      if memory.is_out_of_memory(text):  # the first process decides
        smaller = processes.agree(_smaller(plan, batch, error, peaks))
      if smaller:
        layout, change = program_lib.Layout(*smaller[0]), smaller[1]
        before = plan.layouts[batch.program]
        plan = _replace_layout(plan, batch.program, layout, workdir)
        compiler.forget(batch.program)
        todo[at:] = _lay_again(plan, todo[at:], batch.program, before)
        _write_widths(plan, todo[at:], workdir)
        say(
          f'{arms}: out of memory with {batch.layout.width} runs per device at a time; '
          f'{change}'
        )
        continue
      say(f'failed: {arms}: {text}')
      failures |= {run.fingerprint: text for run in batch.runs}
    finished += batch.steps * len(batch.runs)
    at += 1
  return failures


def _smaller(
  plan: study_plan.Plan,
  batch: runs_lib.Batch,
  error: Exception,
  peaks: dict[str, float],
) -> tuple[program_lib.Layout, str] | None:
  """The layout of a batch's program that takes less memory: see `memory.smaller`.

  `peaks` has the bytes of evaluations by program, and is brought up to date.
  """
  config, whole = batch.runs[0].config, plan.layouts[batch.program]
  layout = whole._replace(width=batch.layout.width)
  before = peaks.get(batch.program, math.inf)
  if isinstance(error, memory.OutOfMemory) and error.part == 'evaluation':
    peaks[batch.program] = error.peak
  smaller = memory.smaller(layout, config['train']['eval_batch'], error, before)
  if smaller and smaller[0].width == layout.width:  # the evaluation alone is smaller
    smaller = smaller[0]._replace(width=whole.width), smaller[1]
  return smaller


def _watch_batch(
  watch: Watch, batch: runs_lib.Batch, done_steps: float, total_steps: float
) -> Callable[[loop.Progress], None]:
  """The training loop's `watch` for one batch of an execution."""
  size = batch.runs[0].config['train']['batch_size']
  arms = tuple(dict.fromkeys(run.arm for run in batch.runs))
  members = len(batch.runs)

  def watch_loop(progress: loop.Progress) -> None:
    rate = progress.steps_per_second * members * size
    watch(Status(arms, members, progress, rate, done_steps, total_steps))

  return watch_loop


def _refuse_full_disk(error: Exception, workdir: pathlib.Path) -> None:
  """Raises UserError if results cannot be written: other batches would fail, too."""
  reason = checkpoint.refusal(error)
  if reason:
    raise errors.UserError(
      f'cannot write results to {workdir}: {reason}; fix this, then the same command '
      'continues'
    ) from error


def _replace_layout(
  plan: study_plan.Plan,
  program: str,
  layout: program_lib.Layout,
  workdir: pathlib.Path,
) -> study_plan.Plan:
  """The plan with a smaller layout of a program, which plan.json records."""
  cut = layout.width != plan.layouts[program].width
  if processes.first():
    with lock.hold(workdir):
      tree = results.read_json(workdir / 'plan.json')
      entry = tree['programs'][program]
      first = entry.get('halved_from', entry['width'])
      entry |= manifest.entry_of(layout)
      entry |= {'halved_from': first, 'narrow': {}} if cut else {}
      results.write_json(workdir / 'plan.json', tree)
  layouts_of = {**plan.layouts, program: layout}
  return plan._replace(layouts=layouts_of, narrow={} if cut else plan.narrow)


def _lay_again(
  plan: study_plan.Plan,
  todo: Sequence[runs_lib.Batch],
  program: str,
  before: program_lib.Layout,
) -> list[runs_lib.Batch]:
  """Batches, those of a program in its present layout: cut anew if it is narrower."""
  layout = plan.layouts[program]
  own = [batch for batch in todo if batch.program == program]
  others = [batch for batch in todo if batch.program != program]
  if layout.width != before.width:
    runs = [run for batch in own for run in batch.runs]
    return [*study_plan.batches(plan, runs, lambda name: False), *others]
  evaluation = {name: getattr(layout, name) for name in layouts.EVALUATION}
  own = [batch._replace(layout=batch.layout._replace(**evaluation)) for batch in own]
  return [*own, *others]


def _write_widths(
  plan: study_plan.Plan, todo: Sequence[runs_lib.Batch], workdir: pathlib.Path
) -> None:
  """Enters in plan.json at which other widths the runs train that are left over."""
  narrow = layouts.narrow_widths(todo, plan.layouts.__getitem__)
  if narrow.items() <= plan.narrow.items() or not processes.first():
    return
  with lock.hold(workdir):
    tree = results.read_json(workdir / 'plan.json')
    for batch in todo:
      entry = tree['programs'][batch.program]
      own = {r.fingerprint: narrow[r.fingerprint] for r in batch.runs
             if r.fingerprint in narrow}  # fmt: skip
      entry['narrow'] = {**entry.get('narrow', {}), **own}
    results.write_json(workdir / 'plan.json', tree)


def train_batch(
  plan: study_plan.Plan,
  batch: runs_lib.Batch,
  compiler: compiler_lib.Compiler,
  workdir: pathlib.Path,
  watch: Callable[[loop.Progress], None],
  say: Callable[[str], None],
) -> None:
  """Trains a batch and stores its runs; nothing is stored if anything fails."""
  program, data = compiler.get(batch)
  config = batch.runs[0].config
  memory.check(program, config)  # of batches trained before it, nothing is left
  dataset = plan.dataset(config)
  split = dataset.split(batch.runs[0].seed)
  # Results depend on both to the bit: checkpoints of another origin are not continued.
  origin = config_lib.digest(processes.agree([batch.layout, environment.provenance()]))[
    :8
  ]
  folder = workdir / 'checkpoints' / f'{batch.name}-{config_lib.digest(origin)[:8]}'
  slots = compiler_lib.make_slots(plan, batch)
  places = list(zip(batch.positions, batch.runs))
  checkpoint.sign(folder, [run.fingerprint for run in batch.runs])
  track = plan.config['engine']['track'] if processes.first() else ''
  tracked = [describe_tracked(plan, run, workdir) for run in batch.runs]
  with (
    jax.default_matmul_precision(config['train']['matmul']),
    tracker.Tracking(track, tracked, say) as tracking,
  ):
    result = loop.train(
      program,
      slots,
      data,
      {name: len(split[name]) for name in member_lib.SPLITS},
      steps=batch.steps,
      evaluations=config['train']['evaluations'],
      deciding=plan.config['study']['metric'],
      folder=folder,
      checkpoint_seconds=plan.config['engine']['checkpoint_seconds'],
      watch=watch,
      readers=readers(plan.config['engine']),
      stop=interrupt.requested,
      say=say,
      evaluated=lambda past: tracking.push(past.steps, past.columns),
    )
    arrays = {
      run.fingerprint: run_arrays(plan, run, result, slots[at], at)
      for at, run in places
    }
  facts = plan.facts[batch.program]
  records = [
    {
      'fingerprint': run.fingerprint,
      'identity': run.identity,
      'seed': run.seed,
      'params': facts.params,
      'flops': facts.flops * batch.steps,
      'executed_flops': facts.executed_flops * batch.steps,
      **result.records[at],
    }
    for at, run in places
  ]
  saved = ''
  if plan.config['engine']['keep'] == 'last':
    saved = checkpoint.keep(folder, result.variables).name
  if processes.first():
    results.write_batch(
      workdir,
      {
        'program': batch.program,
        'members': [run.fingerprint for run in batch.runs],
        'positions': batch.positions,
        'widths': batch.widths,
        'config': config,
        'numbers': [config_lib.hyper(run.config) for run in batch.runs],
        'layout': plan.layouts[batch.program]._asdict(),
        'checkpoint': saved,
        'provenance': environment.provenance(),
        'sources': plan.code[batch.runs[0].arm].modules,
        'time': environment.now(),
      },
      records,
      arrays,
    )
  checkpoint.drop(folder)


def describe_tracked(
  plan: study_plan.Plan, run: runs_lib.Run, workdir: pathlib.Path
) -> tracker.Run:
  """A run as trackers show it: its options are its config, with arm and condition."""
  options = {
    f'{section}.{name}': value
    for section, values in run.config.items()
    if section not in ('study', 'engine') and isinstance(values, Mapping)
    for name, value in values.items()
  }
  tuned = {runs_lib.UNTUNED: '', runs_lib.TUNED: 'tuned', runs_lib.SEARCH: 'search'}
  condition = run.condition._asdict()
  marks = [str(run.condition)] if run.condition != plan.conditions[0] else []
  marks += [tuned[run.tuned]] if run.tuned else []
  return tracker.Run(
    id=run.fingerprint,
    name='-'.join([run.arm, *marks, f'seed{run.seed}']),
    study=plan.config['study']['name'],
    config={
      **options,
      **condition,
      'arm': run.arm,
      'seed': run.seed,
      'tuned': tuned[run.tuned],
    },
    workdir=workdir,
  )


def readers(engine: Mapping[str, Any]) -> reader.Readers:
  """The readers of a data set that streams, by config.engine."""
  return reader.Readers(engine['stream_threads'], engine['stream_workers'])


def run_arrays(
  plan: study_plan.Plan, run: runs_lib.Run, result: loop.Result, slot: Any, at: int
) -> dict[str, Any]:
  """The arrays to store of a run; none of one that only searches a tuning grid.

  They are predictions on the test split and their labels and, for the first seed, what
  the report shows of the trained network.
  """
  if run.tuned == runs_lib.SEARCH:
    return {}
  dataset = plan.dataset(run.config)
  arrays = dict(result.arrays[at])
  if any(name.startswith('test/') for name in arrays):
    indices = arrays['test/index'] = dataset.split(run.seed)['test']
    if 'label' in dataset.arrays:
      arrays['test/label'] = dataset.arrays['label'][indices]
  if run.seed == plan.config['study']['first_seed']:
    probe = probes.make(plan.members[run.program], dataset, slot)
    if probe:
      variables = jax.tree.map(lambda x: x[at], result.variables)
      arrays |= probe(processes.fetch(variables))
  return {name: _narrow(value) for name, value in arrays.items()}


def _narrow(value: Any) -> Any:
  """Small non-negative integers in one byte or two; everything else unchanged."""
  if value.dtype.kind == 'i' and value.size and value.min() >= 0:
    for kind in ('uint8', 'uint16'):
      if value.max() <= np.iinfo(kind).max:
        return value.astype(kind)
  return value
