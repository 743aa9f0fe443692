"""The effects table: every contrast measured, with verdicts on the deciding metric."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import looks, pairs, reach, statistics
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

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


def measure(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float | None = None
) -> pd.DataFrame:
  """Measures every contrast of the study on every test metric.

  The first rows are the family: all contrasts, in the study's order, on the deciding
  metric at the test split's best step, in the declared tuning state. Only they carry
  `p_holm`, an interval of `prob_improvement` and a `verdict`. Descriptive rows follow:
  the other tuning state if it was run, the other metrics at test, and every metric at
  the last step.

  Args:
    study: the study.
    runs: the runs of the declared condition.
    alpha: the level of intervals and verdicts; by default that of this look.

  Returns:
    A frame with exactly `COLUMNS`; metrics in raw units.

  Raises:
    ValueError: the table lacks an arm or the deciding metric, or has a run twice.
  """
  if alpha is None:
    alpha = looks.state(study, runs).alpha
  states = [study.tuned]
  if len(pairs.select(study, runs, 1 - study.tuned)):
    states.append(1 - study.tuned)
  rows = _measure_family(study, runs, alpha, study.regime)
  for column in _columns(study, runs):
    for tuned in states:
      if (column, tuned) != (study.metric.column, study.tuned):
        scores = pairs.tabulate(study, runs, column, tuned)
        rows += [
          _row(study, contrast, column, tuned, pairs.match(contrast, scores), alpha)
          for contrast in study.contrasts
        ]
  return pd.DataFrame(rows, columns=list(COLUMNS))


def measure_family(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float, regime: str = ''
) -> pd.DataFrame:
  """The family's rows of `measure`: the deciding metric in the declared tuning state.

  Args:
    study: the study.
    runs: the runs of one condition.
    alpha: the level of intervals and verdicts.
    regime: the condition's; by default the declared one.
  """
  rows = _measure_family(study, runs, alpha, regime or study.regime)
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _measure_family(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float, regime: str
) -> list[dict[str, Any]]:
  column = pairs.deciding(study)
  scores = pairs.tabulate(study, runs, column, study.tuned)
  matched = [pairs.match(contrast, scores) for contrast in study.contrasts]
  rows = [
    _row(study, contrast, column, study.tuned, pair, alpha) | {'regime': regime}
    for contrast, pair in zip(study.contrasts, matched)
  ]
  _enter_verdicts(study, rows, matched, alpha)
  return rows


def _columns(study: study_lib.Study, runs: pd.DataFrame) -> list[str]:
  """The columns to measure: the deciding one, other test metrics, the last step's."""
  first = pairs.deciding(study)
  others = [f'test/{name}' for name in study.metrics if f'test/{name}' != first]
  last = [f'final/{name}' for name in (first, *others)]
  return [first] + [c for c in others + last if c in runs and runs[c].notna().any()]


def sign_of_gain(
  study: study_lib.Study, contrast: factors_lib.Contrast, column: str
) -> int:
  """The sign that turns a delta into what the contrast's subject gains: 1 or -1."""
  sign = pairs.metric(study, column).sign
  return sign if contrast.subject == 'arm' else -sign


def _row(
  study: study_lib.Study,
  contrast: factors_lib.Contrast,
  column: str,
  tuned: int,
  pair: pairs.Pairs,
  alpha: float,
) -> dict[str, Any]:
  """One row of the table, without a claim."""
  delta = pair.delta
  interval = statistics.interval(delta, alpha)
  better: Any = pairs.metric(study, column).better
  return {
    'arm': contrast.arm,
    'factor': contrast.factor,
    'level': contrast.level,
    'reference': contrast.reference,
    'regime': study.regime,
    'tuned': tuned,
    'metric': column,
    'n': len(delta),
    'n_diverged_arm': pair.diverged_arm,
    'n_diverged_reference': pair.diverged_reference,
    'reference_mean': _mean(pair.reference),
    'arm_mean': _mean(pair.arm),
    'delta': _mean(delta),
    'ci_low': interval.low,
    'ci_high': interval.high,
    'ci_kind': interval.kind,
    'p': statistics.sign_flip(delta),
    'p_holm': math.nan,
    'prob_improvement': statistics.improvement(*_sides(contrast, pair), better),
    'improvement_low': math.nan,
    'improvement_high': math.nan,
    'verdict': '',
  }


def _sides(
  contrast: factors_lib.Contrast, pair: pairs.Pairs
) -> tuple[np.ndarray, np.ndarray]:
  """Scores of the side of which the verdict speaks, and of the other."""
  if contrast.subject == 'reference':
    return pair.reference, pair.arm
  return pair.arm, pair.reference


def _enter_verdicts(
  study: study_lib.Study,
  rows: list[dict[str, Any]],
  matched: Sequence[pairs.Pairs],
  alpha: float,
) -> None:
  """Enters `p_holm`, intervals of improvement and verdicts into the family's rows."""
  p_difference = statistics.holm([row['p'] for row in rows])
  p_equivalence = np.ones(len(rows))
  if study.margin > 0:
    p_equivalence = statistics.holm(
      [statistics.equivalence(pair.delta, study.margin) for pair in matched]
    )
  reachable = reach.reach(study, alpha).reachable
  better: Any = study.metric.better
  for i, (row, contrast) in enumerate(zip(rows, study.contrasts)):
    row['p_holm'] = float(p_difference[i])
    row['improvement_low'], row['improvement_high'] = statistics.improvement_interval(
      *_sides(contrast, matched[i]), better, alpha
    )
    row['verdict'] = 'inconclusive'
    # One-sided tests reach alpha one seed earlier than the interval; no claim then.
    can_claim = (
      reachable and matched[i].enough and row['ci_kind'] == statistics.INVERSION
    )
    if can_claim and p_equivalence[i] <= alpha:
      row['verdict'] = 'equivalent'
    elif can_claim and p_difference[i] <= alpha:
      gain = row['delta'] * sign_of_gain(study, contrast, row['metric'])
      row['verdict'] = 'helps' if gain > 0 else 'hurts'


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else math.nan
