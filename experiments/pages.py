"""Published pages, or workdirs, read back: a study, its runs and what they show.

Effects are measured anew: those of effects.csv are as the code of its day had them.
"""

import pathlib
from typing import NamedTuple

import pandas as pd
from absl import flags

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

HOME = pathlib.Path(__file__).parent
PAGES = flags.DEFINE_string('pages', str(HOME / 'results'), 'where the studies lie')
OUT = flags.DEFINE_string(
  'out', None, 'folder to write, by default the one that is committed'
)
MISFITS = (OSError, KeyError, TypeError, ValueError, AttributeError)
RUNS_COLUMNS = ('arm', 'seed', 'status', 'tuned')  # which no study lacks


class Page(NamedTuple):
  """A study as its page or its workdir holds it.

  Attributes:
    folder: where it lies.
    study: what was compared.
    runs: those of the declared condition, as in runs.csv.
    effects: of these runs, by `analysis.effects.measure`.
    gains: as in gains.csv; None if there is no such file.
  """

  folder: pathlib.Path
  study: study_lib.Study
  runs: pd.DataFrame
  effects: pd.DataFrame
  gains: pd.DataFrame | None


def read(folder: pathlib.Path) -> Page:
  """The study of a folder that holds study.json and runs.csv.

  Raises:
    UserError: a file is missing or damaged.
  """
  study = read_study(folder)
  runs = _read_runs(folder / 'runs.csv')
  declared = study.conditions[0]._asdict()
  for name in ('regime', 'budget', 'size'):
    if name in runs:
      runs = runs[runs[name] == declared[name]]
  if study.metric.column not in runs:
    raise errors.UserError(
      f'{folder / "runs.csv"} lacks the metric of study.json, {study.metric.column}'
    )
  runs = runs.reset_index(drop=True)
  try:
    effects = effects_lib.measure(study, runs)
  except ValueError as error:
    raise errors.UserError(f'{folder / "runs.csv"}: {error}') from error
  has_gains = (folder / 'gains.csv').is_file()
  gains = pd.read_csv(folder / 'gains.csv') if has_gains else None
  return Page(folder, study, runs, effects, gains)


def read_study(folder: pathlib.Path) -> study_lib.Study:
  """The study of study.json; UserError if it is missing or damaged."""
  path = folder / 'study.json'
  if not path.is_file():
    what = 'holds no study.json' if folder.is_dir() else 'is not a folder'
    raise errors.UserError(
      f'{folder} {what}: name the workdir of a finished study, or its published page'
    )
  try:
    return study_lib.from_json(results.read_json(path))
  except MISFITS as error:
    raise errors.UserError(
      f'{path} is damaged or not a study of dlsteroids ({errors.describe(error)})'
    ) from error


def list_folders(home: pathlib.Path) -> list[pathlib.Path]:
  """The folders below `home` that hold a study; UserError if there are none."""
  folders = sorted(path.parent for path in home.glob('*/study.json'))
  if not folders:
    raise errors.UserError(f'no published study in {home}: no folder has a study.json')
  return folders


def _read_runs(path: pathlib.Path) -> pd.DataFrame:
  try:
    table = pd.read_csv(path)
  except FileNotFoundError as error:
    raise errors.UserError(
      f'{path} is missing: finish the study, its report writes it'
    ) from error
  except MISFITS as error:
    raise errors.UserError(
      f'{path} is not a table ({errors.describe(error)})'
    ) from error
  missing = [name for name in RUNS_COLUMNS if name not in table]
  if missing:
    raise errors.UserError(f'{path} lacks the columns {", ".join(missing)}')
  return table
