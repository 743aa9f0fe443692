"""Which runs of a game collapsed or diverged, and when: read off learning curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import pairs, summary
from dlsteroids.report import facts, formats

LEAST_DIVERSITY = 0.2  # of the real images'
LEAST_CLASSES = 0.5  # of the classes that real images show; as few is a collapse
_MEASURED = ('diversity', 'classes')


class Finding(NamedTuple):
  """A run that went wrong.

  Attributes:
    arm, seed: whose run.
    step: of the evaluation at which it was first seen, or at which it diverged.
    words: what was seen there: 'diversity 0.04', '3 of 10 classes'; '' if it diverged.
    lasting: whether it was still so at the last evaluation.
    never: whether no evaluation passed at all.
    diverged: whether its loss was no longer finite; else it collapsed.
  """

  arm: str
  seed: int
  step: int
  words: str = ''
  lasting: bool = True
  never: bool = False
  diverged: bool = False


class Account(NamedTuple):
  """What a report says: the sum, a line for every arm concerned, and the rule."""

  head: str
  lines: tuple[str, ...]
  rule: str


def find(
  curves: pd.DataFrame, runs: pd.DataFrame, split: str, classes: int = 0
) -> list[Finding]:
  """The runs that collapsed or diverged, a run at most once for each, in their order.

  A run has collapsed at an evaluation where diversity is below `LEAST_DIVERSITY` or
  it shows at most `LEAST_CLASSES` of the classes. Those before its first evaluation
  that passes count only if none ever does: an untrained generator makes much the same
  of all noise, which is no collapse.

  Args:
    curves: rows of `arm, seed, step, split, metric, value`.
    runs: rows of `arm, seed, tuned, status, best_step`; of a diverged run that is the
      step at which it diverged.
    split: whose curves are read.
    classes: how many real images show; 0 leaves classes out of account.
  """
  mine = curves[(curves['split'] == split) & curves['metric'].isin(_MEASURED)]
  found = []
  for (arm, _), rows in mine.groupby(['arm', 'seed'], sort=False):
    table = rows.pivot_table(index='step', columns='metric', values='value')
    steps = np.asarray(table.index, int).tolist()
    low = [_words(row, classes) for row in table.to_dict('records')]
    passed = [i for i, words in enumerate(low) if not words]
    start = passed[0] if passed else 0
    first = next((i for i in range(start, len(low)) if low[i]), None)
    if first is not None:
      run = str(arm), int(rows['seed'].iloc[0])
      finding = Finding(*run, steps[first], low[first])
      lasting, never = bool(low[-1]), not passed
      found.append(finding._replace(lasting=lasting, never=never))
  bad = runs[(runs['status'] == 'diverged') & (runs['tuned'] == 0)]
  for row in bad.to_dict('records'):
    step = int(row['best_step'])
    found.append(Finding(str(row['arm']), int(row['seed']), step, diverged=True))
  return found


def _words(row: Mapping[Any, float], classes: int) -> str:
  """What is wrong with one evaluation; '' if nothing is."""
  diversity, seen = (row.get(name, math.nan) for name in _MEASURED)
  words = [f'diversity {diversity:.2f}'] if diversity < LEAST_DIVERSITY else []
  if classes and seen <= LEAST_CLASSES * classes:
    words.append(f'{seen:.0f} of {classes} classes')
  return ', '.join(words)


def tell(source: summary.Source) -> Account | None:
  """The findings in words; None where no diversity and no classes were measured."""
  curves, runs = source.tables.curves, source.tables.runs
  there = set(curves[curves['metric'].isin(_MEASURED)]['split'])
  split = next((name for name in ('validation', 'test') if name in there), None)
  if split is None:
    return None
  classes = _count_classes(source.study) if 'classes' in set(curves['metric']) else 0
  found = find(curves, runs, split, classes)
  lines = []
  for kind, diverged in (('Collapsed', False), ('Diverged', True)):
    mine = [finding for finding in found if finding.diverged == diverged]
    for arm in (arm['name'] for arm in source.study['arms']):
      of_arm = [finding for finding in mine if finding.arm == arm]
      if of_arm:
        lines.append(f'{kind}: {arm}, {"; ".join(map(_say, of_arm))}.')
  count = int(((runs['tuned'] == 0) & (runs['status'] != 'failed')).sum())
  told = _sum_up(found, count)
  if pairs.declared(source.study):
    told += ' These are the runs before tuning.'
  return Account(told, tuple(lines), _rule(split, classes))


def _count_classes(study: Mapping[str, Any]) -> int:
  """How many classes real images show: as measured on them, else as declared."""
  floor = facts.references(study).get(facts.FLOOR) or {}
  seen = floor.get('test/classes')
  if isinstance(seen, (int, float)) and np.isfinite(seen):
    return round(seen)
  return len(study['data']['classes'])


def _say(finding: Finding) -> str:
  if finding.diverged:
    return f'seed {finding.seed} at step {finding.step:,}'
  text = f'seed {finding.seed} from step {finding.step:,} ({finding.words})'
  if finding.never:
    return f'{text}, its first evaluation'
  return text if finding.lasting else f'{text}, no longer at the end'


def _sum_up(found: Sequence[Finding], count: int) -> str:
  runs = f'{count} run{"s" if count != 1 else ""}'
  if not found:
    return f'No run collapsed or diverged, of {runs}.'
  diverged = sum(finding.diverged for finding in found)
  collapsed, never = len(found) - diverged, sum(finding.never for finding in found)
  parts = []
  if collapsed:
    bare = f' ({never} of them passed at no evaluation)' if never else ''
    parts.append(f'{collapsed} collapsed{bare}')
  if diverged:
    parts.append(f'{diverged} diverged')
  return f'Of {runs}, {formats.listing(parts)}.'


def _rule(split: str, classes: int) -> str:
  """The rule as a reader can check it."""
  text = (
    f'A run has collapsed where, measured on {split}, its images’ diversity is below '
    f'{LEAST_DIVERSITY:g} of the real ones’'
  )
  if classes:
    most = math.floor(LEAST_CLASSES * classes)
    text += f' or they show at most {most} of {classes} classes'
  return (
    f'{text}. The first such evaluation is named. Those before a run first passes '
    'count only if it never does: an untrained generator makes much the same of all '
    'noise.'
  )
