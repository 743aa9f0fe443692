"""TensorBoard files of a study's curves: one run per arm and seed."""

import importlib
import pathlib
import re
import shutil
from types import ModuleType

import pandas as pd

from dlsteroids.util import errors


def load() -> ModuleType:
  """The package tensorboardX; UserError if it is not installed."""
  try:
    return importlib.import_module('tensorboardX')
  except ImportError as error:
    raise errors.UserError(
      'config.engine.tensorboard needs tensorboardX: pip install '
      "'dlsteroids[tensorboard]'"
    ) from error


def write(folder: pathlib.Path, curves: pd.DataFrame) -> pathlib.Path:
  """Writes `folder/<arm>/seed<k>/events…`, replacing what was there.

  Scalars are named '<split>/<metric>', against steps.

  Args:
    folder: point TensorBoard's --logdir here.
    curves: the rows of curves.csv.

  Raises:
    UserError: if tensorboardX is not installed.
  """
  tensorboardX = load()
  shutil.rmtree(folder, ignore_errors=True)
  for (arm, seed), rows in curves.groupby(['arm', 'seed'], sort=False):
    name = re.sub(r'[/\\\0]|^\.*$', '_', str(arm))  # one folder, whatever it is called
    with tensorboardX.SummaryWriter(str(folder / name / f'seed{seed}')) as writer:
      columns = zip(rows['split'], rows['metric'], rows['value'], rows['step'])
      for split, metric, value, step in columns:
        writer.add_scalar(f'{split}/{metric}', float(value), int(step))
  return folder
