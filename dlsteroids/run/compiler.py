"""Compiles the programs of batches in the background, in the order of training."""

import concurrent.futures
import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax

from dlsteroids import types
from dlsteroids.plan import layouts, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import memory
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import environment

AHEAD = 8  # programs
_Key: TypeAlias = tuple[str, program_lib.Layout]
_Compiled: TypeAlias = tuple[program_lib.Program, Mapping[str, Any]]


class Compiling(NamedTuple):
  """Training waits for the compilation of program `number` (from 1) of `total`."""

  number: int
  total: int


class Compiler:
  """Compiles programs a few ahead of their training, and keeps them while it can.

  On a CPU each program is some thousand mappings of memory, of which Linux gives a
  process 65,530: without more, LLVM ends the process. So those that were used longest
  ago are dropped while `memory.mappings_are_scarce`, and compiled again if a later
  search asks for them; then one program at most is compiled ahead.

  Args:
    plan: the plan.
    is_needed: whether this process will train a program; called when its turn comes.
    ahead: programs that are compiled, or being so, before a batch takes them.
  """

  def __init__(
    self,
    plan: study_plan.Plan,
    is_needed: Callable[[str], bool] = lambda program: True,
    ahead: int = AHEAD,
  ):
    self.plan, self.is_needed, self.ahead = plan, is_needed, ahead
    # XLA takes 1.4 cores per program. On two idle cores a second thread gained 15 %,
    # which a batch that trains meanwhile loses.
    self.pool = concurrent.futures.ThreadPoolExecutor(
      min(8, max(1, environment.cores() // 2))
    )
    self.queue: dict[_Key, runs_lib.Batch] = {}  # not yet submitted
    self.futures: dict[_Key, concurrent.futures.Future] = {}  # used last is last
    self.taken: set[_Key] = set()  # that a batch has taken
    self.data: dict[str, Any] = {}  # on the devices, by digest
    self.data_lock = threading.Lock()

  def __enter__(self) -> 'Compiler':
    return self

  def __exit__(self, *error: Any) -> None:
    self.queue.clear()
    self.pool.shutdown(wait=False, cancel_futures=True)

  def start(self, todo: Sequence[runs_lib.Batch]) -> None:
    """Queues the programs of batches."""
    for batch in todo:
      key = (batch.program, batch.layout)
      if key not in self.futures:
        self.queue.setdefault(key, batch)
    self._submit()

  def forget(self, program: str) -> None:
    """Drops a program in every layout."""
    for entries in (self.queue, self.futures):
      for key in [key for key in entries if key[0] == program]:
        del entries[key]

  def get(
    self,
    batch: runs_lib.Batch,
    watch: Callable[[Compiling], None] = lambda status: None,
  ) -> _Compiled:
    """The compiled program of a batch, and its data on the devices."""
    key = (batch.program, batch.layout)
    self.queue.pop(key, None)
    future = self.futures.pop(key, None)
    self._drop_idle()
    if future is None:
      future = self.pool.submit(self._compile_if_needed, batch)
    self.futures[key] = future
    self.taken.add(key)
    self._submit()
    if not future.done():
      watch(self._count())
    compiled = future.result()
    if compiled is None:  # another process trained it when its turn came
      future = self.pool.submit(self._compile, batch)
      self.futures[key] = future
      compiled = future.result()
    return compiled

  def _count(self) -> Compiling:
    ready = self.taken | {key for key, one in self.futures.items() if one.done()}
    total = len(self.taken | self.futures.keys() | self.queue.keys())
    return Compiling(max(1, len(ready)), total)

  def _submit(self) -> None:
    """Has the pool compile the next programs of the queue, `ahead` at most."""
    waiting = sum(key not in self.taken for key in self.futures)
    ahead = 1 if memory.mappings_are_scarce() else self.ahead
    for key in list(self.queue)[: max(0, ahead - waiting)]:
      self.taken.discard(key)  # dropped, and asked for again
      batch = self.queue.pop(key)
      self.futures[key] = self.pool.submit(self._compile_if_needed, batch)

  def _drop_idle(self) -> None:
    """Drops programs that no batch trains, the one used longest ago first."""
    idle = [key for key in self.futures if key in self.taken]
    while idle and memory.mappings_are_scarce():
      del self.futures[idle.pop(0)]
      gc.collect()

  def _compile_if_needed(self, batch: runs_lib.Batch) -> _Compiled | None:
    return self._compile(batch) if self.is_needed(batch.program) else None

  def _compile(self, batch: runs_lib.Batch) -> _Compiled:
    config = batch.runs[0].config
    dataset, member = self.plan.dataset(config), self.plan.members[batch.program]
    if batch.layout.eval_batch:
      member = member_lib.make(layouts.evaluated(config, batch.layout), dataset)
    program = program_lib.make(member, batch.layout)
    data = self.place_data(dataset, program)
    with jax.default_matmul_precision(config['train']['matmul']):
      slots = program_lib.place(make_slots(self.plan, batch), program)
      compiled = program_lib.compile_all(program, slots, data)
    return compiled, data

  def place_data(
    self, dataset: types.Dataset, program: program_lib.Program
  ) -> Mapping[str, Any]:
    """A data set on the devices, placed once however many threads want it."""
    with self.data_lock:
      if dataset.digest not in self.data:
        self.data[dataset.digest] = program_lib.place_data(dataset, program.mesh)
      return self.data[dataset.digest]


def make_slots(plan: study_plan.Plan, batch: runs_lib.Batch) -> list[dict[str, Any]]:
  """The slots of a batch: every group's runs, then slots that are not live.

  Raises:
    ValueError: more runs than the layout has members, or than a group has.
  """
  layout = batch.layout
  most = max(map(len, batch.parts))
  if len(batch.parts) > layout.groups or most > layout.width:
    raise ValueError(f'{len(batch.runs)} runs in a batch of {layout.members}')
  slots: list[Any] = [None] * layout.members
  for at, run in zip(batch.positions, batch.runs):
    config = layouts.evaluated(run.config, layout)
    slots[at] = member_lib.slot(config, plan.dataset(run.config), run.seed)
  first = slots[0]
  return [slot or {**first, 'live': first['live'] & False} for slot in slots]
