"""Orbax checkpoints of program batches: to continue, and to keep what was learned.

A checkpoint's folder lists the sha256 of every file in it, written last. What does not
match is damaged and never restored; what matches but cannot be restored is a mistake.
"""

import contextlib
import errno
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dlsteroids.train import processes
from dlsteroids.util import errors, files

SUMS = 'sha256.json'
RUNS = 'runs.json'  # fingerprints of a batch's members, in its folder
ROOM = 1 << 20  # bytes on the disk that a checkpoint takes besides its arrays
UNWRITABLE = tuple(  # what the system says of a disk, and libraries quote
  os.strerror(number)
  for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
)


class Unwritable(OSError):
  """A checkpoint that the disk did not take; `strerror` says why."""


def save(
  folder: pathlib.Path, step: int, state: Any, progress: Mapping[str, Any]
) -> None:
  """Saves device state and host progress (arrays by name) at `step`; keeps two.

  Raises:
    Unwritable: a full disk or the like; checkpoints saved before stay.
  """
  import orbax.checkpoint as ocp

  state = held(state)
  try:
    check_room(folder, state)
    with manager(folder) as checkpoints:
      checkpoints.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          progress=ocp.args.StandardSave(dict(progress)),
        ),
      )
      checkpoints.wait_until_finished()
    seal(folder / str(step))
  except Exception as error:  # orbax and tensorstore raise many kinds
    why = refusal(error)
    if not why:
      raise
    tidy(folder)  # what is half written takes the room that others need
    raise Unwritable(errno.EIO, why, str(folder)) from error


def check_room(folder: pathlib.Path, tree: Any) -> None:
  """Raises OSError if the disk has less room than a tree of arrays takes, and some.

  Tensorstore finds out as well, but fills the terminal with its threads' errors.
  """
  size = sum(getattr(leaf, 'nbytes', 0) for leaf in jax.tree.leaves(tree))
  there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
  if shutil.disk_usage(there).free < size + ROOM:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def refusal(error: BaseException) -> str:
  """Why a disk did not take something, in the system's words; '' for other errors."""
  quoted = [words for words in UNWRITABLE if words in str(error)]
  own = error.strerror or str(error) if isinstance(error, OSError) else ''
  return quoted[0] if quoted else own


def seal(folder: pathlib.Path) -> None:
  """Writes the checksums of a checkpoint's files, by the first of all processes."""
  if jax.process_index() == 0:
    sums = {name: files.checksum(folder / name) for name in contents(folder)}
    files.write(folder / SUMS, json.dumps(sums))


def contents(folder: pathlib.Path) -> list[str]:
  """Names of all files of a checkpoint but the one of checksums."""
  paths = (path for path in folder.rglob('*') if path.is_file())
  names = sorted(str(path.relative_to(folder)) for path in paths)
  return [name for name in names if name != SUMS and not name.endswith(files.PART)]


def damage(folder: pathlib.Path) -> str:
  """What is wrong with a checkpoint's files; '' if they are what was written."""
  try:
    sums = json.loads((folder / SUMS).read_bytes())
    if not isinstance(sums, dict):
      raise ValueError
  except FileNotFoundError:
    return 'it was not finished'
  except ValueError:
    return f'{SUMS} is damaged'
  there = contents(folder)
  for name in sorted({*there, *sums}):
    if name not in sums:
      return f'{name} does not belong to it'
    if name not in there:
      return f'{name} is missing'
    if files.checksum(folder / name) != sums[name]:
      return f'the checksum of {name} does not match'
  return ''


def restore(
  folder: pathlib.Path, like: Any, say: Callable[[str], None] = lambda line: None
) -> tuple[int, Any, dict[str, np.ndarray]] | None:
  """The last whole checkpoint as (step, state, progress), or None if there is none.

  Damaged ones are removed, or none could be saved at their steps.

  Args:
    folder: of this batch.
    like: a state of the same shapes and shardings.
    say: called with a line about each damaged one.

  Raises:
    RuntimeError: if a whole one cannot be restored.
  """
  if processes.first():
    tidy(folder)
  names = (path.name for path in folder.glob('*'))
  steps = sorted((int(name) for name in names if name.isdigit()), reverse=True)
  steps = processes.agree(steps)
  for step, before in zip(steps, [*steps[1:], 0]):
    place = folder / str(step)
    why = processes.agree(damage(place) if processes.first() else None)
    if not why:
      return (step, *read(folder, step, like))
    then = f'step {before} is tried' if before else 'its batch starts again'
    say(f'damaged: checkpoint {folder.name}, step {step}: {why}; {then}')
    drop(place)
  return None


def read(
  folder: pathlib.Path, step: int, like: Any
) -> tuple[Any, dict[str, np.ndarray]]:
  """State and progress of a whole checkpoint."""
  import orbax.checkpoint as ocp

  partial = processes.left_out(like)
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, held(like))
  try:
    with manager(folder) as checkpoints:
      restored = checkpoints.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract),
          progress=ocp.args.StandardRestore(),
        ),
      )
  except Exception as error:  # not the file's fault: its bytes are as written
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise RuntimeError(
      f'checkpoint {folder / str(step)} is whole but cannot be restored ({text}); '
      'without it the batch would begin again'
    ) from error
  state = restored['state']
  if partial:
    state = jax.tree.map(lambda x, old: processes.put(x, old.sharding), state, like)
  return state, jax.tree.map(np.asarray, restored['progress'])


def tidy(folder: pathlib.Path) -> None:
  """Removes what interrupted saves left in a batch's folder."""
  for path in folder.glob('*.orbax-checkpoint-tmp*'):
    drop(path)


def held(tree: Any) -> Any:
  """Arrays as orbax can save them: of those of a part of the processes it can't."""
  return processes.fetch(tree) if processes.left_out(tree) else tree


def manager(folder: pathlib.Path) -> Any:
  import orbax.checkpoint as ocp

  options = ocp.CheckpointManagerOptions(
    max_to_keep=2, enable_async_checkpointing=False
  )
  return ocp.CheckpointManager(folder.absolute(), options=options)


def keep(folder: pathlib.Path, variables: Any) -> pathlib.Path:
  """Saves the final variables of a batch's members beside its checkpoints."""
  import orbax.checkpoint as ocp

  processes.agree(None)
  final = folder.with_name(folder.name + '-final')
  check_room(final, variables)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(final.absolute(), held(variables), force=True)
  seal(final)
  return final


def load(folder: pathlib.Path, at: int) -> Any:
  """The final variables of one member of a batch, as numpy arrays.

  Raises:
    UserError: if they are not there any more, or damaged.
  """
  import orbax.checkpoint as ocp

  if not folder.is_dir():
    raise errors.UserError(f'no checkpoint at {folder}: it was deleted')
  why = damage(folder)
  if why:
    raise errors.UserError(f'checkpoint {folder} is damaged: {why}')
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      like = checkpointer.metadata(folder.absolute()).item_metadata
      like = jax.tree.map(lambda m: np.empty(m.shape, m.dtype), like.tree)
      variables = checkpointer.restore(folder.absolute(), like)
  except Exception as error:  # of another version, say: orbax raises many kinds
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise errors.UserError(f'checkpoint {folder} cannot be read: {text}') from error
  return jax.tree.map(lambda x: np.asarray(x)[at], variables)


def drop(folder: pathlib.Path) -> None:
  if processes.first():
    shutil.rmtree(folder, ignore_errors=True)


def sign(folder: pathlib.Path, runs: Sequence[str]) -> None:
  """Says in a batch's folder which runs continue from it; a full disk may refuse."""
  with contextlib.suppress(OSError):
    if processes.first():
      folder.mkdir(parents=True, exist_ok=True)
      (folder / RUNS).write_text(json.dumps(list(runs)), encoding='utf-8')


def sweep(
  paths: Sequence[pathlib.Path], keep: Collection[str], stored: Container[str]
) -> None:
  """Removes what nothing needs any more.

  Args:
    paths: folders of batches and of final variables.
    keep: names of the final variables that stay.
    stored: fingerprints; what others would continue from stays.
  """
  for path in paths:
    if path.name in keep:
      continue
    try:
      runs = json.loads((path / RUNS).read_bytes())
    except (OSError, ValueError):
      runs = []  # final variables, or what a full disk left
    if all(run in stored for run in runs):
      drop(path)
