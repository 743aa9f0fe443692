"""What to do after a report: what its answer lacks, and what it would take."""

from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import forecast, looks, power, reach
from dlsteroids.report import formats, notes, sentences
from dlsteroids.study import study as study_lib

ADD_SEEDS, RUN, INSPECT, CONFIRM = 'add_seeds', 'run', 'inspect', 'confirm'


class Step(NamedTuple):
  """One thing to do.

  Attributes:
    action: `ADD_SEEDS`, `RUN` what is missing, `INSPECT` runs that diverged, or
      `CONFIRM` on new seeds what an exploratory look suggests.
    arm: whose; '' if it is about the whole study.
    seeds: how many in all, of `ADD_SEEDS`; None if more than can be planned for.
    sentence: what, and why.
  """

  action: str
  arm: str
  seeds: int | None
  sentence: str


def plan(
  study: study_lib.Study, runs: pd.DataFrame, effects: pd.DataFrame
) -> list[Step]:
  """The steps that a study's answer asks for, the most pressing first; [] if none."""
  look = looks.state(study, runs)
  design = reach.reach(study, look.alpha)
  unit = 'seeds' if study.paired else 'runs an arm'
  steps = [
    Step(INSPECT, arm.arm, None, notes.describe_divergence(arm))
    for arm in effects_lib.diverged_arms(study, runs)
    if arm.most
  ]
  if study.table is None and notes.partial(study, runs):
    text = 'Runs are missing: the same command trains them.'
    steps.append(Step(RUN, '', None, text))
  if failed := _describe_failed(study, runs):
    steps.append(Step(RUN, '', None, failed))
  if not design.reachable:
    text = sentences.describe_reach(design)
    return [*steps, Step(ADD_SEEDS, '', design.seeds_needed, text)]
  for need in forecast.needs(study, runs, effects):
    text = _describe_need(study, need, unit)
    steps.append(Step(ADD_SEEDS, need.contrast.arm, need.needed, text))
  if look.exploratory and look.number > look.declared:
    text = (
      'These verdicts are exploratory: confirm what matters on seeds that no look has '
      'seen.'
    )
    steps.append(Step(CONFIRM, '', None, text))
  return steps


def _describe_failed(study: study_lib.Study, runs: pd.DataFrame) -> str:
  """'The table has no score of 3 runs of tanh.'; '' if it has all."""
  if study.table is None:
    return ''
  counts = runs.loc[runs['status'] == 'failed', 'arm'].value_counts(sort=False)
  parts = [f'{formats.plural(int(n), "run")} of {arm}' for arm, n in counts.items()]
  return f'The table has no score of {formats.listing(parts)}.' if parts else ''


def _describe_need(study: study_lib.Study, need: forecast.Need, unit: str) -> str:
  """'tanh: 14 seeds would detect 0.5 points, the margin, with 80 % power (now 8).'"""
  column = study.metric.column
  effect = formats.delta(column, need.effect, unit=True).lstrip('+')
  what = 'the margin' if need.declared else 'as large as the one observed'
  name = need.contrast.arm if study.table else need.contrast.factor.replace('_', ' ')
  if need.needed is None:
    most = f'more than {power.MAX_SEEDS} {unit}' if need.sd else 'no number of seeds'
    return f'{name}: {most} would detect a difference of {effect}, {what}.'
  share = f'{100 * forecast.POWER:.0f}{formats.THIN}%'
  text = (
    f'{name}: about {need.needed} {unit} detect a difference of {effect}, {what}, with '
    f'{share} power (now {need.seeds}).'
  )
  if need.needed <= need.seeds:
    text += ' As many are there: the difference is likely smaller.'
  return text
