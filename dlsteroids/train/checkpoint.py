"""Orbax checkpoints of program batches: to continue, and to keep what was learned."""

import contextlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.train import processes


def save(
  folder: pathlib.Path, step: int, state: Any, progress: Mapping[str, Any]
) -> None:
  """Saves device state and host progress (arrays by name) at `step`; keeps two."""
  state = held(state)
  with manager(folder) as checkpoints:
    import orbax.checkpoint as ocp

    checkpoints.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        progress=ocp.args.StandardSave(dict(progress)),
      ),
    )
    checkpoints.wait_until_finished()


def restore(
  folder: pathlib.Path, like: Any
) -> tuple[int, Any, dict[str, np.ndarray]] | None:
  """The last whole checkpoint as (step, state, progress), or None if there is none.

  Args:
    folder: of this batch.
    like: a state of the same shapes and shardings.
  """
  if not processes.agree(folder.exists()):
    return None
  import orbax.checkpoint as ocp

  few = processes.left_out(like)
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, held(like))
  with manager(folder) as checkpoints:
    for step in processes.agree(sorted(checkpoints.all_steps(), reverse=True)):
      found = None
      # A damaged step: orbax raises many kinds; try the one before.
      with contextlib.suppress(Exception):
        found = checkpoints.restore(
          step,
          args=ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract),
            progress=ocp.args.StandardRestore(),
          ),
        )
      if not all(processes.every(found is not None)):
        continue
      progress = jax.tree.map(np.asarray, found['progress'])
      state = found['state']
      if few:
        state = jax.tree.map(lambda x, old: processes.put(x, old.sharding), state, like)
      return step, state, progress
  return None


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
  """Replaces a batch's checkpoints by the final variables of its members, there."""
  import orbax.checkpoint as ocp

  processes.agree(None)
  final = folder.with_name(folder.name + '-final')
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(final.absolute(), held(variables), force=True)
  drop(folder)
  return final


def load(folder: pathlib.Path, at: int) -> Any:
  """The final variables of one member of a batch, as numpy arrays.

  Raises:
    UserError: if they are not there any more, or damaged.
  """
  import orbax.checkpoint as ocp

  if not folder.is_dir():
    raise config_lib.UserError(f'no checkpoint at {folder}: it was deleted')
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      like = checkpointer.metadata(folder.absolute()).item_metadata
      like = jax.tree.map(lambda m: np.empty(m.shape, m.dtype), like.tree)
      found = checkpointer.restore(folder.absolute(), like)
  except Exception as error:  # a damaged file: orbax raises many kinds
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise config_lib.UserError(f'checkpoint {folder} cannot be read: {text}') from error
  return jax.tree.map(lambda x: np.asarray(x)[at], found)


def drop(folder: pathlib.Path) -> None:
  if processes.first():
    shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: pathlib.Path) -> None:
  """Removes what interrupted batches left; the final variables stay."""
  for path in folder.glob('*'):
    if not path.name.endswith('-final'):
      drop(path)
