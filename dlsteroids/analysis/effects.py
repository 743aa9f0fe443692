"""The effects table: every contrast measured, and on the deciding metric judged."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import looks, pairs, reach, statistics

COLUMNS = (
  'arm',
  'factor',
  'level',
  'reference',
  'regime',
  'tuned',
  'metric',
  'n',
  'n_diverged_arm',
  'n_diverged_reference',
  'reference_mean',
  'arm_mean',
  'delta',
  'ci_low',
  'ci_high',
  'ci_kind',
  'p',
  'p_holm',
  'prob_improvement',
  'improvement_low',
  'improvement_high',
  'verdict',
)
VERDICTS = ('helps', 'hurts', 'equivalent', 'inconclusive')


def measure(study: Mapping[str, Any], runs: pd.DataFrame) -> pd.DataFrame:
  """Measures every contrast of the study on every test metric.

  The first rows are the family: all contrasts, in the study's order, on the deciding
  metric at the test split's best step, in the declared tuning state. Only they carry
  `p_holm`, an interval of `prob_improvement` and a `verdict`. Descriptive rows follow:
  the other tuning state if it was run, the other metrics at test, and every metric at
  the last step.

  Args:
    study: the content of study.json.
    runs: the runs table.

  Returns:
    A frame with exactly `COLUMNS`. Intervals and verdicts use the alpha in force at
    this look. Metrics stand in raw units.

  Raises:
    ValueError: the table lacks an arm or the deciding metric, or has a run twice.
  """
  alpha = looks.state(study, runs).alpha
  states = [pairs.declared(study)]
  other = 1 - states[0]
  if len(pairs.select(study, runs, other)):
    states.append(other)
  rows: list[dict[str, Any]] = []
  for column in _columns(study, runs):
    for tuned in states:
      scores = pairs.tabulate(study, runs, column, tuned)
      matched = [pairs.match(contrast, scores) for contrast in study['contrasts']]
      new = [
        _row(study, contrast, column, tuned, pair, alpha)
        for contrast, pair in zip(study['contrasts'], matched)
      ]
      if not rows:
        _judge(study, new, matched, alpha)
      rows += new
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _columns(study: Mapping[str, Any], runs: pd.DataFrame) -> list[str]:
  """The columns to measure: the deciding one, other test metrics, the last step's."""
  first = pairs.deciding(study)
  names = [f'test/{name}' for name in study['metrics']]
  others = [name for name in names if name != first]
  last = [f'final/{name}' for name in (first, *others)]
  return [first] + [c for c in others + last if c in runs and runs[c].notna().any()]


def gain(study: Mapping[str, Any], contrast: Mapping[str, Any], column: str) -> int:
  """The sign that turns a delta into what the component gains: 1 or -1."""
  better = 1 if pairs.metric(study, column)['better'] == 'higher' else -1
  return better if subject(contrast) == 'arm' else -better


def subject(contrast: Mapping[str, Any]) -> str:
  """The side of which the verdict speaks; see `study.factors.Contrast`."""
  side = contrast.get('subject', contrast['component'])
  if side not in ('arm', 'reference'):
    raise ValueError(f"component is 'arm' or 'reference', got {side!r}")
  return side


def _row(
  study: Mapping[str, Any],
  contrast: Mapping[str, Any],
  column: str,
  tuned: int,
  pair: pairs.Pairs,
  alpha: float,
) -> dict[str, Any]:
  """One row of the table, without a claim."""
  delta = pair.delta
  span = statistics.interval(delta, alpha)
  better = pairs.metric(study, column)['better']
  return {
    'arm': contrast['arm'],
    'factor': contrast['factor'],
    'level': contrast['level'],
    'reference': contrast['reference'],
    'regime': study['regime'],
    'tuned': tuned,
    'metric': column,
    'n': len(delta),
    'n_diverged_arm': pair.diverged_arm,
    'n_diverged_reference': pair.diverged_reference,
    'reference_mean': _mean(pair.reference),
    'arm_mean': _mean(pair.arm),
    'delta': _mean(delta),
    'ci_low': span.low,
    'ci_high': span.high,
    'ci_kind': span.kind,
    'p': statistics.sign_flip(delta),
    'p_holm': math.nan,
    'prob_improvement': statistics.improvement(*_sides(contrast, pair), better),
    'improvement_low': math.nan,
    'improvement_high': math.nan,
    'verdict': '',
  }


def _sides(
  contrast: Mapping[str, Any], pair: pairs.Pairs
) -> tuple[np.ndarray, np.ndarray]:
  """Scores with the component and without it."""
  if subject(contrast) == 'reference':
    return pair.reference, pair.arm
  return pair.arm, pair.reference


def _judge(
  study: Mapping[str, Any],
  rows: list[dict[str, Any]],
  matched: Sequence[pairs.Pairs],
  alpha: float,
) -> None:
  """Enters `p_holm`, intervals of improvement and verdicts into the family's rows."""
  differ = statistics.holm([row['p'] for row in rows])
  margin = study['margin']
  same = np.ones(len(rows))
  if margin > 0:
    tests = [statistics.equivalence(pair.delta, margin) for pair in matched]
    same = statistics.holm(tests)
  reachable = reach.reach(study, alpha).reachable
  for i, (row, contrast) in enumerate(zip(rows, study['contrasts'])):
    row['p_holm'] = float(differ[i])
    better = pairs.metric(study, row['metric'])['better']
    row['improvement_low'], row['improvement_high'] = statistics.improvement_interval(
      *_sides(contrast, matched[i]), better, alpha
    )
    row['verdict'] = 'inconclusive'
    # one-sided tests reach alpha a seed earlier than the interval: no claim from that
    able = reachable and matched[i].enough and row['ci_kind'] == statistics.INVERSION
    if able and same[i] <= alpha:
      row['verdict'] = 'equivalent'
    elif able and differ[i] <= alpha:
      gains = row['delta'] * gain(study, contrast, row['metric']) > 0
      row['verdict'] = 'helps' if gains else 'hurts'


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else math.nan
