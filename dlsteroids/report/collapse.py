"""Collapsed and diverged runs of a GAN in words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from dlsteroids.analysis import collapse, summary
from dlsteroids.report import formats


class Account(NamedTuple):
  """What a report says: the count, a line for every arm concerned, and the rule."""

  head: str
  lines: tuple[str, ...]
  rule: str


def tell(source: summary.Source) -> Account | None:
  """The account of a study; None where no diversity and no classes were measured."""
  study, curves, runs = source.study, source.tables.curves, source.tables.runs
  runs = runs[runs['tuned'] == source.tables.shown]
  split = collapse.measured_split(curves)
  if not split:
    return None
  classes = collapse.count_classes(study, curves)
  faults = collapse.find(curves, runs, split, classes)
  lines = []
  for kind, diverged in (('Collapsed', False), ('Diverged', True)):
    for arm in study.arms:
      texts = [
        describe(fault, classes)
        for fault in faults
        if (fault.arm, fault.diverged) == (arm.name, diverged)
      ]
      if texts:
        lines.append(f'{kind}: {arm.name}, {"; ".join(texts)}.')
  count = int((runs['status'] != 'failed').sum())
  whose = f' These are the {summary.RUNS[source.tables.shown]}.' if study.tuned else ''
  return Account(_count(faults, count) + whose, tuple(lines), _rule(split, classes))


def describe(fault: collapse.Fault, classes: int) -> str:
  """'seed 3 from step 200 (diversity 0.04, 3 of 10 classes), no longer at the end'."""
  if fault.diverged:
    return f'seed {fault.seed} at step {fault.step:,}'
  parts = formats.those_that_hold(
    {
      f'diversity {fault.diversity:.2f}': math.isfinite(fault.diversity),
      f'{fault.classes:.0f} of {classes} classes': math.isfinite(fault.classes),
    }
  )
  text = f'seed {fault.seed} from step {fault.step:,} ({", ".join(parts)})'
  if fault.never:
    return f'{text}, its first evaluation'
  return text if fault.lasting else f'{text}, no longer at the end'


def _count(faults: Sequence[collapse.Fault], count: int) -> str:
  runs = formats.plural(count, 'run')
  if not faults:
    return f'No run collapsed or diverged, of {runs}.'
  diverged, never = (sum(getattr(f, n) for f in faults) for n in ('diverged', 'never'))
  bare = f' ({never} of them passed at no evaluation)' if never else ''
  parts = {
    f'{len(faults) - diverged} collapsed{bare}': len(faults) > diverged,
    f'{diverged} diverged': diverged,
  }
  return f'Of {runs}, {formats.listing(formats.those_that_hold(parts))}.'


def _rule(split: str, classes: int) -> str:
  """The rule as a reader can check it."""
  text = (
    f'A run has collapsed where, measured on {split}, its images’ diversity is below '
    f'{collapse.MIN_DIVERSITY:g} of the real ones’'
  )
  if classes:
    most = math.floor(collapse.MIN_CLASSES * classes)
    text += f' or they show at most {most} of {classes} classes'
  return (
    f'{text}. The first such evaluation is named. Those before a run first passes '
    'count only if it never does: an untrained generator makes much the same image of '
    'all noise.'
  )
