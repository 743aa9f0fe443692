"""How a program's runs lie on the devices: strategy, width, and the batches they form.

A member's bits depend on the strategy and, side by side, on the number of members, not
on its company, order or device. The width follows the runs that a study holds when a
program is first laid out, and the memory that is free; it is recorded in plan.json, and
so are the widths of runs that are left over. Nothing is trained to be thrown away,
unless `engine.width` says how many members there always are.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dlsteroids import config as config_lib
from dlsteroids.plan import memory
from dlsteroids.plan import runs as runs_lib
from dlsteroids.train import inspect
from dlsteroids.train import program as program_lib
from dlsteroids.util import errors

WIDTHS = {('cpu', 'map'): 8, ('cpu', 'vmap'): 5}  # members per device, at most
WIDTH = 32  # on accelerators
# Bytes of members' states per device that a width may take. With `map` a larger width
# only saves batches, and every call moves the states in and out: 0.35 s of 2 s for the
# 260 MB of a CycleGAN.
STATES = {'map': 2**28, 'vmap': 2**30}
EVALUATION = ('evaluation', 'eval_batch')  # what plan.json says of evaluations


def choose(
  config: Mapping[str, Any],
  facts: inspect.Facts,
  counts: Iterable[int] = (),
  written: Mapping[str, Any] | None = None,
  free: float = math.inf,
) -> program_lib.Layout:
  """Strategy, width and evaluation of a program: as plan.json has them, else by rule.

  Args:
    config: one that the program trains.
    facts: of the program.
    counts: how many runs of the program train one after another for equal steps, of
      each such series; none: as many as there may be.
    written: the program's entry in plan.json, if any.
    free: bytes of memory for it.

  Raises:
    UserError: if engine settings contradict the layout of runs trained before, or may
      hang: jax before 0.12 can, on CPUs, in large batched products inside a loop.
  """
  engine = config['engine']
  old = written if written and 'width' in written else None  # no width: not trained yet
  strategy = engine['strategy']
  if strategy == 'auto':
    strategy = old['strategy'] if old else best_strategy(facts)
  old_jax = jax.__version_info__ < (0, 12)
  if strategy == 'vmap' and jax.default_backend() == 'cpu' and facts.recurs and old_jax:
    raise errors.UserError(
      f'config.engine.strategy=vmap: jax {jax.__version__} can hang on a CPU when '
      'it trains recurrent models side by side; use map (or auto)'
    )
  data = engine['data_devices']
  groups = jax.device_count() // data
  width = engine['width'] or best_width(strategy, facts, counts, max(groups, 1))
  if old and (not engine['width'] or old.get('halved_from') == width):
    width = old['width']
  new = {'strategy': strategy, 'width': width, 'data_devices': data}
  planned = {'data_devices': 1, **(old or new)}
  if any(planned[name] != value for name, value in new.items()):
    words = [', '.join(f'{n}={x[n]}' for n in new) for x in (planned, new)]
    raise errors.UserError(
      f'this workdir was planned with {words[0]}, not {words[1]}; results '
      'depend on them to the bit: use another --workdir'
    )
  if not groups:
    raise errors.UserError(
      f'config.engine.data_devices={data}, but there are {jax.device_count()} devices'
    )
  # On a CPU evaluations side by side gain nothing: their batches are large.
  vmapped = strategy == 'vmap' and jax.default_backend() != 'cpu'
  evaluation = 'vmap' if vmapped else 'map'
  layout = program_lib.Layout(
    strategy, width, groups * data, data, evaluation=evaluation
  )
  if old:
    entry = {'evaluation': evaluation, 'eval_batch': 0, **old}
    return layout._replace(**{name: entry[name] for name in EVALUATION})
  eval_batch = config['train']['eval_batch']
  return memory.fit(layout, facts, eval_batch, free, bool(engine['width']))


def evaluated(
  config: Mapping[str, Any], layout: program_lib.Layout
) -> Mapping[str, Any]:
  """A run's config with the evaluation batch of its layout."""
  if not layout.eval_batch:
    return config
  return config_lib.override(config, [('train.eval_batch', layout.eval_batch)])


def best_strategy(facts: inspect.Facts) -> str:
  """'map' (members in turn) or 'vmap' (side by side), by model and backend.

  On a CPU convolutions and recurrences run fastest in turn, other matrix products side
  by side. On accelerators members run side by side, except in cuDNN's recurrences.
  """
  serial = jax.default_backend() == 'cpu' and (facts.convolves or facts.recurs)
  return 'map' if serial or 'rnn_fwd' in facts.primitives else 'vmap'


def best_width(
  strategy: str, facts: inspect.Facts, counts: Iterable[int], groups: int
) -> int:
  """Members per group of devices: of the largest series, spread over its rounds.

  At most the backend's number, less where their states are large.
  """
  room = max(1, STATES[strategy] // max(facts.state_bytes, 1))
  most = min(WIDTHS.get((jax.default_backend(), strategy), WIDTH), room)
  fair = lambda count: ceil(count, groups * ceil(count, groups * most))
  return max((fair(count) for count in counts if count), default=most)


def ceil(count: int, size: int) -> int:
  return -(-count // size)


class Part(NamedTuple):
  """Runs of one group of devices, and the number of members it runs."""

  width: int
  runs: tuple[runs_lib.Run, ...]


def batches(
  runs: Sequence[runs_lib.Run],
  done: Callable[[str], bool],
  layouts: Callable[[str], program_lib.Layout],
  narrow: Mapping[str, int] | None = None,
  fixed: bool = False,
) -> list[runs_lib.Batch]:
  """What is still to train, in the plan's order.

  A study that is continued, on however many devices, trains every run at the width of
  an undisturbed one: batches are stored whole, and `narrow` has what was left over.

  Args:
    runs: unique, planned.
    done: whether a fingerprint is in the store.
    layouts: of a whole batch, by program id.
    narrow: widths other than the layout's at which runs were planned, by fingerprint.
    fixed: whether all runs of 'vmap' train at the layout's width, with copies whose
      results are discarded where there are too few.
  """
  series: dict[tuple[str, int], list[runs_lib.Run]] = {}
  for run in runs:
    series.setdefault((run.program, run.config['train']['steps']), []).append(run)
  todo = []
  for (program, steps), planned in series.items():
    layout = layouts(program)
    own = [run for run in planned if not done(run.fingerprint)]
    if layout.strategy == 'map':
      parts = cut_in_turn(own, layout)
    elif fixed:
      parts = slices(own, layout.width)
    else:
      narrow = narrow or {}
      begun = len(own) < len(planned) or any(r.fingerprint in narrow for r in own)
      parts = cut(own, layout, narrow, begun)
    todo += join(program, steps, parts, layout)
  return todo


def cut(
  runs: Sequence[runs_lib.Run],
  layout: program_lib.Layout,
  narrow: Mapping[str, int],
  begun: bool,
) -> list[Part]:
  """Runs side by side: whole rounds, then evenly over the groups what is left.

  A group never holds a copy, but where each run's batch lies on several devices, which
  wait for each other. Of a series that has `begun`, what is left may belong to whole
  rounds, of other devices perhaps.
  """
  width_of = lambda run: narrow.get(run.fingerprint, layout.width)
  recorded: list[Part] = []
  loose = [run for run in runs if width_of(run) == layout.width]
  for width in sorted({*map(width_of, runs)} - {layout.width}, reverse=True):
    parts = slices([run for run in runs if width_of(run) == width], width)
    if layout.data == 1 and len(parts[-1].runs) < width:  # the study has fewer runs
      loose += parts.pop().runs
    recorded += parts
  size = layout.width if begun and len(loose) % layout.width == 0 else layout.members
  whole = len(loose) - len(loose) % size
  left = even(loose[whole:], layout.groups)
  if layout.data > 1:
    left = [part._replace(width=left[0].width) for part in left]
  return [*slices(loose[:whole], layout.width), *left, *recorded]


def cut_in_turn(runs: Sequence[runs_lib.Run], layout: program_lib.Layout) -> list[Part]:
  """Runs one after another: every round evenly over the groups."""
  return [
    part._replace(width=layout.width)
    for begin in range(0, len(runs), layout.members)
    for part in even(runs[begin : begin + layout.members], layout.groups)
  ]


def slices(runs: Sequence[runs_lib.Run], width: int) -> list[Part]:
  """Parts of `width` runs, the last one with what is left."""
  return [Part(width, tuple(runs[i : i + width])) for i in range(0, len(runs), width)]


def even(runs: Sequence[runs_lib.Run], groups: int) -> list[Part]:
  """At most `groups` parts whose sizes differ by one at most, the larger first."""
  parts, begin = [], 0
  for left in range(min(groups, len(runs)), 0, -1):
    size = ceil(len(runs) - begin, left)
    parts.append(Part(size, tuple(runs[begin : begin + size])))
    begin += size
  return parts


def join(
  program: str, steps: int, parts: Sequence[Part], layout: program_lib.Layout
) -> list[runs_lib.Batch]:
  """Batches of neighbouring parts: one a group of devices, of two widths at most."""
  most = 2 if layout.data == 1 else 1
  lists: list[list[Part]] = []
  for part in parts:
    last = lists[-1] if lists else []
    widths = {part.width, *(other.width for other in last)}
    if last and len(last) < layout.groups and len(widths) <= most:
      last.append(part)
    else:
      lists.append([part])
  todo = []
  for own in lists:
    rest, width = min(part.width for part in own), max(part.width for part in own)
    joint = layout._replace(width=width, rest=rest if rest < width else 0)
    runs = tuple(part.runs for part in own)
    todo.append(runs_lib.Batch(program, steps, runs, joint))
  return todo


def narrow_widths(
  todo: Iterable[runs_lib.Batch], layouts: Callable[[str], program_lib.Layout]
) -> dict[str, int]:
  """By fingerprint the widths of runs that do not train at their program's width."""
  return {
    run.fingerprint: width
    for batch in todo
    for run, width in zip(batch.runs, batch.widths)
    if width != layouts(batch.program).width
  }


def padded(batch: runs_lib.Batch) -> int:
  """The members that a batch trains to be discarded."""
  layout, counts = batch.layout, [len(part) for part in batch.parts]
  if layout.strategy == 'map':  # skips them, unless groups wait for each other
    return layout.groups * max(counts) - sum(counts) if layout.data > 1 else 0
  if layout.data > 1:
    return layout.members - sum(counts)
  widths = [layout.rest if n <= layout.rest else layout.width for n in counts]
  return sum(widths) - sum(counts)


def share_padded(
  todo: Sequence[runs_lib.Batch], cost: Callable[[str], float] = lambda program: 1.0
) -> float:
  """The share of discarded work in all that batches compute, 0 to 1.

  Args:
    todo: the batches.
    cost: of a training step, by program.
  """
  weights = [cost(batch.program) * batch.steps for batch in todo]
  waste = math.fsum(w * padded(batch) for w, batch in zip(weights, todo))
  work = math.fsum(w * len(batch.runs) for w, batch in zip(weights, todo))
  return waste / (waste + work) if waste else 0.0
