"""What data set and task tell the report: facts, and scores of reference methods."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import summary
from dlsteroids.report import formats
from dlsteroids.study import factors
from dlsteroids.study import study as study_lib

FLOOR = 'real against real'  # a method: real images measured as generated ones are
Row = Mapping[str, Any] | pd.Series  # of the effects


def finite(values: Mapping[str, Any]) -> dict[str, float]:
  """Those of the `values` that are finite numbers."""
  return {
    str(name): float(value)
    for name, value in values.items()
    if isinstance(value, (int, float)) and np.isfinite(value)
  }


def scores(study: study_lib.Study, column: str) -> dict[str, float]:
  """The finite scores of the reference methods on one column of the runs, by name."""
  methods = study.data.references.items()
  return finite({name: row.get(column) for name, row in methods})


def nature(names: Iterable[str]) -> str:
  """What kind of references `names` are."""
  names = list(names)
  parts = ['methods without gradient descent'] if set(names) - {FLOOR} else []
  parts += ['real images against real ones'] if FLOOR in names else []
  return ' and '.join(parts)


def words(study: study_lib.Study, column: str) -> str:
  """A column as a reader says it: 'test accuracy', 'test nats per character'."""
  text = formats.name(column)
  if formats.is_information(column):
    # The fact may read 'nats per character' or 'character'; bits are per the same.
    item = str(study.data.facts.get('unit') or '').rpartition('per ')[2].strip()
    if item and not formats.is_information(item):
      text += f' per {item}'
  return text


def levels_of(
  study: study_lib.Study, contrast: factors.Contrast
) -> tuple[str | None, str | None]:
  """The factor's level on the arm's side of a contrast, and on the reference's."""
  arm, reference = (
    next((one.assignment for one in study.arms if one.name == cells[0]), {})
    for cells in (contrast.arm_cells, contrast.reference_cells)
  )
  return arm.get(contrast.factor), reference.get(contrast.factor)


def find_contrast(study: study_lib.Study, row: Row) -> factors.Contrast | None:
  """The contrast that a row of the effects measures; None if there is none."""
  # levels are not compared: read back from a table, '0.50' is 0.5 and '' is nan
  for contrast in (*summary.family(study), *study.contrasts):
    names = contrast.arm, contrast.factor, contrast.reference
    if names == tuple(str(row[key]) for key in ('arm', 'factor', 'reference')):
      return contrast
  return None


def name_change(study: study_lib.Study, row: Row) -> str:
  """How the arm's level differs from its reference's: 'relu → tanh'."""
  contrast = find_contrast(study, row)
  new, old = levels_of(study, contrast) if contrast else (None, None)
  if new is None or old is None:
    new, old = row['arm'], row['reference']
  return f'{old} → {new}'


def quality(study: study_lib.Study) -> Mapping[str, Any]:
  """What images are measured with: 'extractor', 'note', 'counts' …; {} if none are."""
  return study.data.facts.get('quality') or {}


def targets(study: study_lib.Study, count: int) -> list[str]:
  """Names of the `count` series that are forecast, numbered where they have none."""
  names = [str(name) for name in study.data.facts.get('targets') or ()]
  return names if len(names) == count else [f'target {i + 1}' for i in range(count)]


def treatments(study: study_lib.Study) -> list[str]:
  """What was done to the data, a sentence each."""
  lines = study.data.facts.get('treatments') or ()
  lines = (lines,) if isinstance(lines, str) else lines
  texts = [str(line).strip() for line in lines]
  return [text if text[-1] in '.!?' else f'{text}.' for text in texts if text]
