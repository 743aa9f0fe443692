"""The answer for programs: answer.json, which docs/answer.schema.json describes.

Numbers are in the metric's raw unit (a share is in [0, 1]); what is not finite is null.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dlsteroids.analysis import doublings as doublings_lib
from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import (
  forecast,
  frontier,
  looks,
  pairs,
  reach,
  sequential,
  summary,
)
from dlsteroids.report import (
  doublings,
  facts,
  formats,
  next_steps,
  notes,
  sentences,
)
from dlsteroids.study import study as study_lib

FORMAT = 1


def describe(
  study: study_lib.Study,
  runs: pd.DataFrame,
  effects: pd.DataFrame,
  workdir: str,
  worth: doublings_lib.Doublings | None = None,
) -> dict[str, Any]:
  """Question, verdicts, noise floor, what was compared and what to do next.

  Args:
    study: the study.
    runs: of the declared condition.
    effects: differences between arms.
    workdir: of the study.
    worth: what ideas are worth in doublings of compute, of a study that has frontiers.
  """
  look = looks.state(study, runs)
  design = reach.reach(study, look.alpha)
  resolution = forecast.resolution(study, runs)
  column = study.metric.column
  family = effects[
    (effects['metric'] == column)
    & (effects['tuned'] == study.tuned)
    & (effects['effect'] != effects_lib.MAIN)
  ]
  levels = [look.alpha] * len(family)
  if study.until:  # each verdict is of its look
    levels = [one.level for one in sequential.decisions(study, runs)]
  return {
    'kind': 'answer',
    'format': FORMAT,
    'dlsteroids': study.dlsteroids,
    'question': notes.question(study),
    'study': study.name,
    'workdir': workdir,
    'report': 'report.html',
    'metric': {
      'name': column,
      'better': study.metric.better,
      'unit': unit(column),
      'margin': study.margin or None,
      'fallback': number(study.metric.fallback),
    },
    'compared': _compared(study, runs),
    'noise_floor': {
      'sd': number(resolution.noise_floor),
      'detectable': number(resolution.detectable),
      'power': forecast.POWER,
    },
    'reach': describe_reach(design),
    'look': {
      'number': look.number,
      'declared': look.declared,
      'exploratory': look.exploratory,
      'complete': look.complete,
    },
    'until': _until(study, runs),
    'contrasts': [
      _contrast(study, row, look, design, level)
      for row, level in zip(family.to_dict('records'), levels)
    ],
    'worth': _worth(study, worth),
    'findings': findings(study, runs, effects, look, worth),
    'next': [
      {
        'action': step.action,
        'arm': step.arm or None,
        'seeds': step.seeds,
        'sentence': step.sentence,
      }
      for step in next_steps.plan(study, runs, effects)
    ],
    'command': study.command or None,
  }


def findings(
  study: study_lib.Study,
  runs: pd.DataFrame,
  effects: pd.DataFrame,
  look: looks.Look,
  worth: doublings_lib.Doublings | None,
) -> list[str]:
  """The report's sentences: first what it lacks, and what ideas are worth."""
  verdicts = sentences.summary(study, effects, look)
  if worth is not None:
    verdicts = [f'At the declared budget, ideas mandatory: {text}' for text in verdicts]
    verdicts.insert(0, doublings.headline(study, worth))
  return [*notes.partial(study, runs), *verdicts]


def _worth(
  study: study_lib.Study, worth: doublings_lib.Doublings | None
) -> dict[str, Any] | None:
  """What the ideas are worth at the hardest target of which something is known."""
  if worth is None or worth.frontiers is None:
    return None
  target = doublings.pick_targets(worth)[-1]
  single = doublings.single_worths(worth, target)
  return {
    'target': number(worth.frontiers.scale.value(target.error)),
    'flops': {'full': _ends(target.full, 2.0), 'bare': _ends(target.bare, 2.0)},
    'doublings': _ends(target.together),
    'ideas': [
      {'idea': idea.name, 'year': idea.year or None, 'doublings': _ends(one)}
      for idea, one in zip(worth.ideas, single)
    ],
    'sentence': doublings.headline(study, worth),
  }


def _ends(worth: frontier.Worth, base: float = 0.0) -> dict[str, float | None]:
  """Estimate, or the bounds of what was not measured, and the interval."""
  ends = worth.low, worth.high, worth.ci_low, worth.ci_high
  if base:
    ends = tuple(base**end for end in ends)
  return dict(zip(('low', 'high', 'interval_low', 'interval_high'), map(number, ends)))


def _until(study: study_lib.Study, runs: pd.DataFrame) -> dict[str, Any] | None:
  """How seeds were added until decided, and why each arm got no more."""
  until = study.until
  if until is None:
    return None
  endings = sequential.endings(study, sequential.decisions(study, runs))
  return {
    'sizes': list(until.sizes),
    'most': until.most,
    'most_flops': until.bound.flops or None,
    'most_hours': until.bound.seconds / 3600 or None,
    'spent_flops': until.spent.flops if any(until.bound) else None,
    'spent_hours': until.spent.seconds / 3600 if any(until.bound) else None,
    'arms': [
      {'arm': one.arm, 'seeds': one.seeds, 'stopped': one.why or None}
      for one in endings
    ],
  }


def describe_reach(design: reach.Reach) -> dict[str, Any]:
  """What the design can show at all."""
  return {
    'contrasts': design.contrasts,
    'seeds': design.seeds,
    'alpha': design.alpha,
    'smallest_p': design.smallest_p,
    'reachable': design.reachable,
    'seeds_needed': design.seeds_needed,
  }


def number(value: Any) -> float | None:
  """A number; None of what is empty or not finite."""
  if formats.missing(value) or not math.isfinite(float(value)):
    return None
  return float(value)


def unit(column: str) -> str | None:
  """What a metric is counted in: 'share', 'nats', 'bits'; None where it has no unit."""
  return 'share' if formats.is_share(column) else formats.unit_of(column) or None


def _compared(study: study_lib.Study, runs: pd.DataFrame) -> dict[str, Any]:
  """Arms, seeds and runs."""
  rows = pairs.select(study, runs, study.tuned)
  count = summary.count_runs(study, runs, study.tuned)
  failed = rows[rows['status'] == 'failed']
  references = {one.reference for one in summary.family(study)}
  return {
    'arms': summary.arms_intact_first(study),
    'reference': references.pop() if len(references) == 1 else None,
    'design': study.design,
    'data': study.data.name,
    'seeds': list(study.seeds),
    'paired': study.paired,
    'runs': {
      'planned': count.planned,
      'ended': int((rows['status'] != 'failed').sum()),
      'diverged': int((rows['status'] == 'diverged').sum()),
      'failed': len(failed),
    },
    'failed': [
      {'arm': str(arm), 'seed': int(seed)}
      for arm, seed in zip(failed['arm'], failed['seed'])
    ],
    'table': study.table.path if study.table else None,
  }


def _contrast(
  study: study_lib.Study,
  row: Mapping[Any, Any],
  look: looks.Look,
  design: reach.Reach,
  level: float,
) -> dict[str, Any]:
  """One contrast of the family; without a verdict where nothing could be shown."""
  verdict = row['verdict'] if design.reachable and row['verdict'] else None
  improves = row['delta'] * study.metric.sign > 0
  better = (
    ('arm' if improves else 'reference') if verdict in ('helps', 'hurts') else None
  )
  contrast = facts.find_contrast(study, row)
  silent = verdict is None
  return {
    'factor': str(row['factor']),
    'arm': str(row['arm']),
    'reference': str(row['reference']),
    'kind': contrast.kind if contrast else 'swap',
    'subject': contrast.subject if contrast else 'arm',
    'verdict': verdict,
    'better': better,
    'delta': number(row['delta']),
    'interval': {
      'low': number(row['ci_low']),
      'high': number(row['ci_high']),
      'level': 1 - level,
      'kind': str(row['ci_kind']),
    },
    'p': None if silent else number(row['p']),
    'p_holm': None if silent else number(row['p_holm']),
    'n': int(row['n']),
    'n_reference': int(row['n_reference']),
    'arm_mean': number(row['arm_mean']),
    'reference_mean': number(row['reference_mean']),
    'diverged': {
      'arm': int(row['n_diverged_arm']),
      'reference': int(row['n_diverged_reference']),
    },
    'sentence': sentences.sentence(study, pd.Series(dict(row)), look),
  }
