"""Which runs of a GAN collapsed or diverged, and when, read off learning curves."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.study import study as study_lib

MIN_DIVERSITY = 0.2  # of the real images'
MIN_CLASSES = 0.5  # of the classes that real images show; that few is a collapse
FLOOR = 'real against real'  # the reference that measures real images themselves
MEASURED = ('diversity', 'classes')


class Fault(NamedTuple):
  """A run that collapsed or diverged.

  Attributes:
    arm, seed: which run.
    step: of the evaluation that first shows it, or at which the run diverged.
    diversity: measured there, if too low; else nan.
    classes: shown there, if too few; else nan.
    lasting: whether it was still so at the last evaluation.
    never: whether no evaluation passed at all.
    diverged: whether its loss was no longer finite; else it collapsed.
  """

  arm: str
  seed: int
  step: int
  diversity: float = math.nan
  classes: float = math.nan
  lasting: bool = True
  never: bool = False
  diverged: bool = False


def find(
  curves: pd.DataFrame, runs: pd.DataFrame, split: str, classes: int = 0
) -> list[Fault]:
  """The runs that collapsed or diverged, a run at most once for each, in their order.

  A run has collapsed at an evaluation where diversity is below `MIN_DIVERSITY` or it
  shows at most `MIN_CLASSES` of the classes. Evaluations before the first that passes
  count only if none ever does: an untrained generator makes much the same image of all
  noise, which is no collapse.

  Args:
    curves: rows of `arm, seed, step, split, metric, value`.
    runs: rows of `arm, seed, status, best_step`; of a diverged run that is the step at
      which it diverged.
    split: whose curves are read.
    classes: how many real images show; 0 leaves classes out of account.
  """
  measured = curves[(curves['split'] == split) & curves['metric'].isin(MEASURED)]
  faults = []
  for key, rows in measured.groupby(['arm', 'seed'], sort=False):
    arm, seed = str(key[0]), int(rows['seed'].iloc[0])
    table = rows.pivot_table(index='step', columns='metric', values='value')
    low = [_too_low(row, classes) for row in table.to_dict('records')]
    is_low = [any(map(math.isfinite, values)) for values in low]
    start = is_low.index(False) if False in is_low else 0
    if True in is_low[start:]:
      first = is_low.index(True, start)
      step = int(table.index[first])
      ends = is_low[-1], False not in is_low
      faults.append(Fault(arm, seed, step, *low[first], *ends))
  diverged = runs[runs['status'] == 'diverged']
  for row in diverged.to_dict('records'):
    step = int(row['best_step'])
    faults.append(Fault(str(row['arm']), int(row['seed']), step, diverged=True))
  return faults


def _too_low(row: Mapping, classes: int) -> tuple[float, float]:
  """Diversity and classes of one evaluation where they are too low, else nan."""
  diversity, shown = (float(row.get(name, math.nan)) for name in MEASURED)
  few = classes > 0 and shown <= MIN_CLASSES * classes
  return (
    diversity if diversity < MIN_DIVERSITY else math.nan,
    shown if few else math.nan,
  )


def measured_split(curves: pd.DataFrame) -> str:
  """The split on which diversity or classes were measured; '' if they were not."""
  splits = set(curves[curves['metric'].isin(MEASURED)]['split'])
  return next((name for name in ('validation', 'test') if name in splits), '')


def count_classes(study: study_lib.Study, curves: pd.DataFrame) -> int:
  """How many classes real images show, as measured, else as declared.

  0 if classes were not measured on generated images.
  """
  if 'classes' not in set(curves['metric']):
    return 0
  shown = study.data.references.get(FLOOR, {}).get('test/classes')
  if isinstance(shown, (int, float)) and np.isfinite(shown):
    return round(shown)
  return len(study.data.classes)
