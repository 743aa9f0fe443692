"""Judging runs trained elsewhere: a table in, verdicts and a report out."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dlsteroids.external import layout, sheets, study_of_table
from dlsteroids.report import answer
from dlsteroids.store import results, tables
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors, lock

_NO_RECORDS = results.Index({}, {})


def judge(
  frame: pd.DataFrame | str | pathlib.Path,
  workdir: str | pathlib.Path | None = None,
  *,
  arm: str = '',
  seed: str = '',
  metric: str | Sequence[str] = (),
  reference: str = '',
  flops: str = '',
  budget: str = '',
  status: str = '',
  better: str = '',
  margin: float = 0.0,
  fallback: float | None = None,
  alpha: float = 0.05,
  looks: int = 1,
  pairing: str = 'auto',
  name: str = '',
  question: str = '',
  command: str = '',
) -> answer.Answer:
  """Says which arms of a table of runs are better: for runs trained with any tool.

  Effects, intervals, tests, verdicts and report are those of a study that dlsteroids
  trains. JAX is not imported.

  Args:
    frame: a pandas frame; or the path of a CSV, TSV or JSON file, of a Hydra multirun
      folder, or of a folder of files that TensorBoard exports. A row a run; or a column
      an arm; or a row an arm and a column a seed.
    workdir: folder for tables, figures and report; None is studies/NAME.
    arm, seed, status: columns; '' is recognised by its name. Several columns of arms
      stand with commas between them.
    metric: columns of scores, the deciding one first; also with commas between them.
    reference: the arm that the others are compared with; '' is 'baseline' or the like.
    flops: column of FLOPs of a run. Several runs of an arm and seed at different FLOPs
      give compute-equivalent gains.
    budget: column of the compute of a run, as a multiple of the usual one.
    better: 'higher' or 'lower' of the deciding metric; '' follows from its name.
    margin: a difference below it does not matter, in the metric's unit; 0: none.
    fallback: what a run whose score is not finite counts as.
    alpha: family-wise level of the tests.
    looks: how many looks at growing results were declared beforehand.
    pairing: 'paired' by seed, 'unpaired', or 'auto' by whether arms share their seeds.
    name, question: of the study; '' follows from the file.
    command: that repeats this, for the report.

  Raises:
    UserError: for a mistake in any of it, in one line; nothing is written then.

  Example:
    >>> import dlsteroids, pandas
    >>> scores = {'baseline': [0.91, 0.92, 0.9, 0.93, 0.92, 0.91, 0.9, 0.92]}
    >>> scores['wide'] = [score + 0.02 for score in scores['baseline']]
    >>> table = pandas.DataFrame(scores).rename_axis('seed')
    >>> answer = dlsteroids.judge(table, workdir, metric='test_accuracy', margin=0.005)
    >>> answer.effects.iloc[0]['verdict']
    'helps'
  """
  _check(better, margin, fallback, alpha, looks, pairing)
  arm, seed, reference, flops, budget, status = (
    '' if word is None else str(word)  # an arm may be called 0
    for word in (arm, seed, reference, flops, budget, status)
  )
  sheet = sheets.read(frame)
  name = name or _name_of(sheet.path)
  metrics = metric.split(',') if isinstance(metric, str) else metric
  metrics = tuple(filter(None, map(str.strip, metrics)))
  twice = [one for one in metrics if metrics.count(one) > 1]
  if twice:
    raise errors.UserError(f'--metric names {twice[0]!r} twice')
  study, every = study_of_table.make(
    sheet,
    layout.Choice(arm, seed, metrics, reference, flops, budget, status),
    study_of_table.Settings(
      name, question, command, better, margin, fallback, alpha, looks, pairing
    ),
  )
  folder = pathlib.Path(workdir or pathlib.Path('studies') / name).expanduser()
  with lock.hold(folder) if folder.exists() else contextlib.nullcontext():
    old = _read_old(folder, name)
    if old:
      study = dataclasses.replace(study, looks=old.looks)
    runs = every[every['budget'] == 1.0].reset_index(drop=True)
    records = answer.Records(every, runs, tables.curves((), _NO_RECORDS), _no_arrays)
    result = answer.write(folder, study, records, lambda study: _save(folder, study))
  return result._replace(failed=bool((every['status'] == 'failed').any()))


def _check(
  better: str,
  margin: float,
  fallback: float | None,
  alpha: float,
  looks: int,
  pairing: str,
) -> None:
  """Raises UserError for a setting out of its range."""
  numbers = {'margin': margin, 'fallback': fallback, 'alpha': alpha, 'looks': looks}
  for name, value in numbers.items():
    is_number = isinstance(value, int | float | np.number)
    if not is_number and not (value is None and name == 'fallback'):
      raise errors.UserError(f'--{name} is a number, not {value!r}')
  if better not in ('', 'higher', 'lower'):
    raise errors.UserError(f"--better is 'higher' or 'lower', not {better!r}")
  if not 0 <= margin < np.inf:
    raise errors.UserError(f'--margin must be at least 0, not {margin:g}')
  if fallback is not None and not np.isfinite(fallback):
    raise errors.UserError(f'--fallback is a finite number, not {fallback:g}')
  if not 0 < alpha < 1:
    raise errors.UserError(f'--alpha lies between 0 and 1, not {alpha:g}')
  if looks < 1:
    raise errors.UserError(f'--looks must be at least 1, not {looks}')
  if pairing not in study_of_table.PAIRINGS:
    raise errors.UserError(
      f'--pairing is one of {", ".join(study_of_table.PAIRINGS)}, not {pairing!r}'
    )


def _name_of(path: str) -> str:
  """The study's name: that of the file, or 'judged' of a frame."""
  stem = pathlib.Path(path).resolve().stem if path else ''
  return re.sub(r'[^\w.-]+', '_', stem).strip('_.') or 'judged'


def _read_old(folder: pathlib.Path, name: str) -> study_lib.Study | None:
  """The study that an earlier judge left in the folder, for its looks.

  Raises:
    UserError: if it holds another study, or one that was trained there.
  """
  path = folder / 'study.json'
  try:
    old = study_lib.from_json(results.read_json(path)) if path.exists() else None
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise errors.UserError(
      f'{path} is damaged or not a study of dlsteroids ({error}); move it away'
    ) from error
  if old and (old.name != name or old.table is None):
    kind = 'that dlsteroids trained' if old.table is None else f'this is {name!r}'
    raise errors.UserError(
      f'workdir {folder} holds study {old.name!r}, {kind}: use another --workdir'
    )
  return old


def _save(folder: pathlib.Path, study: study_lib.Study) -> None:
  results.write_json(folder / 'study.json', study_lib.to_json(study))


def _no_arrays(arm: str, seed: int, tuned: int = 0) -> None:
  """A table has scores of whole runs only."""
