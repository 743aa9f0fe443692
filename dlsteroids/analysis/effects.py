"""The effects table: every contrast measured, with verdicts on the deciding metric."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import (
  attribution,
  looks,
  pairs,
  permutation,
  reach,
  statistics,
  summary,
)
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib
from dlsteroids.util import memoise

COLUMNS = (
  'arm',
  'factor',
  'level',
  'reference',
  'regime',
  'tuned',
  'metric',
  'n',
  'n_reference',
  'n_diverged_arm',
  'n_diverged_reference',
  'share_diverged_arm',
  'share_diverged_reference',
  'n_bounded_arm',
  'n_bounded_reference',
  'reference_mean',
  'arm_mean',
  'delta',
  'delta_median',
  'delta_finite',
  'ci_low',
  'ci_high',
  'ci_kind',
  'p',
  'p_holm',
  'prob_improvement',
  'improvement_low',
  'improvement_high',
  'skewness',
  'skewed',
  'pivotal_seeds',
  'effect',
  'exploratory',
  'verdict',
)
SIMPLE, MAIN = 'simple', 'main'  # effects of a factorial
VERDICTS = ('helps', 'hurts', 'equivalent', 'inconclusive')


@memoise.scoped
def measure(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float | None = None
) -> pd.DataFrame:
  """Measures every contrast of the study on every test metric.

  The first rows are the family: all contrasts, in the study's order, on the deciding
  metric at the test split's best step, in the declared tuning state. Only they carry
  `p_holm`, an interval of `prob_improvement`, `skewed`, `pivotal_seeds` (without any
  single one of which the effect would not be significant), `exploratory` and a
  `verdict`. Descriptive rows follow: the other tuning state if it was run, the other
  metrics at test, and every metric at the last step.

  The family of a factorial is the simple effects in the intact model; the main effects
  are descriptive, as is every other row. `effect` tells them apart.

  If most runs of either side diverged, a contrast has neither p nor verdict.
  `delta_finite` is the mean difference at the seeds without a diverged run.

  Args:
    study: the study.
    runs: the runs of the declared condition.
    alpha: the level of intervals and verdicts; by default that of this look.

  Returns:
    A frame with exactly `COLUMNS`; metrics in raw units.

  Raises:
    ValueError: the table lacks an arm or the deciding metric, or has a run twice.
  """
  look = looks.state(study, runs)
  alpha = look.alpha if alpha is None else alpha
  states = [study.tuned]
  if len(pairs.select(study, runs, 1 - study.tuned)):
    states.append(1 - study.tuned)
  rows = _measure_family(study, runs, alpha, study.regime)
  for row in rows:
    row['exploratory'] = look.exploratory and not row.get('stands', False)
  family = summary.family(study)
  for column in _columns(study, runs):
    for tuned in states:
      scores = pairs.tabulate(study, runs, column, tuned)
      is_family = (column, tuned) == (study.metric.column, study.tuned)
      others = () if is_family else family
      if study.design == 'factorial':
        others = (*others, *(c for c in study.contrasts if c not in family))
      rows += [
        _row(study, contrast, column, tuned, scores, alpha) for contrast in others
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


def measure_looks(study: study_lib.Study, runs: pd.DataFrame) -> list[dict[str, Any]]:
  """The family's rows of a study whose looks are scheduled, by the look that decided.

  Returns:
    rows as `measure_family` has them; besides, `look` and `level` of the look that
    reached the verdict (else of the last one), and whether the verdict `stands`.
  """
  return _measure_looks(study, runs, looks.state(study, runs).alpha, study.regime)


def _measure_looks(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float, regime: str
) -> list[dict[str, Any]]:
  """`measure_looks`, with `alpha` as the level of the last look."""
  sizes = [n for n in study.until.sizes if n < len(study.seeds)] if study.until else []
  last = looks.state(study, runs)
  earlier = last.number - 1 - len(sizes)  # looks that no schedule foresaw
  family = summary.family(study)
  latest: dict[int, dict[str, Any]] = {}
  standing: dict[int, dict[str, Any]] = {}
  for look, size in enumerate((*sizes, len(study.seeds)), 1 + earlier):
    final = size == len(study.seeds)
    level = alpha if final else looks.level(study.alpha, look)
    part = study if final else _first_seeds(study, size)
    settled = {
      i: standing[i]['verdict'] if i in standing else ''
      for i, contrast in enumerate(family)
      if i in standing or not _takes_part(study, contrast, size)
    }
    rows = _measure_once(part, runs, level, regime, settled)
    for i, row in enumerate(rows):
      row |= {'look': look, 'level': level}
      row['stands'] = not final and look <= last.declared
      if i not in settled:
        latest[i] = row
        if row['verdict'] in VERDICTS[:3]:
          standing[i] = row
  return [latest[i] for i in range(len(family))]


def _takes_part(
  study: study_lib.Study, contrast: factors_lib.Contrast, size: int
) -> bool:
  """Whether all arms of a contrast were given the seeds of a look."""
  arms = {*contrast.arm_cells, *contrast.reference_cells}
  return all(len(study.seeds_of(arm)) >= size for arm in arms)


def _first_seeds(study: study_lib.Study, size: int) -> study_lib.Study:
  """The study as it was at an earlier look."""
  return dataclasses.replace(study, seeds=study.seeds[:size])


def _measure_family(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float, regime: str
) -> list[dict[str, Any]]:
  if study.until is None:
    return _measure_once(study, runs, alpha, regime, {})
  return _measure_looks(study, runs, alpha, regime)


def _measure_once(
  study: study_lib.Study,
  runs: pd.DataFrame,
  alpha: float,
  regime: str,
  settled: Mapping[int, str],
) -> list[dict[str, Any]]:
  """The family's rows at one look; for `settled` see `_enter_verdicts`."""
  column = study.metric.column
  scores = pairs.tabulate(study, runs, column, study.tuned)
  family = summary.family(study)
  matched = [pairs.match(contrast, scores, study.paired) for contrast in family]
  rows = [
    _row(study, contrast, column, study.tuned, scores, alpha) | {'regime': regime}
    for contrast in family
  ]
  _enter_verdicts(study, family, rows, matched, alpha, settled)
  return rows


def _columns(study: study_lib.Study, runs: pd.DataFrame) -> list[str]:
  """The columns to measure: the deciding one, other test metrics, the last step's."""
  first = study.metric.column
  columns = dict.fromkeys(metric.column for metric in study.metrics.values())
  others = [column for column in columns if column != first]
  last = [f'final/{name}' for name in (first, *others)]
  return [first] + [c for c in others + last if c in runs and runs[c].notna().any()]


def sign_of_improvement(
  study: study_lib.Study, contrast: factors_lib.Contrast, column: str
) -> int:
  """1 where a positive delta speaks for the side that the verdict is on, else -1."""
  sign = pairs.metric(study, column).sign
  return sign if contrast.subject == 'arm' else -sign


def _row(
  study: study_lib.Study,
  contrast: factors_lib.Contrast,
  column: str,
  tuned: int,
  scores: pairs.Scores,
  alpha: float,
) -> dict[str, Any]:
  """One row of the table, without a verdict."""
  pair = pairs.match(contrast, scores, study.paired)
  interval, p = _test(study, contrast, pair, scores, alpha)
  better: Any = pairs.metric(study, column).better
  effect = ''
  if study.design == 'factorial':
    effect = SIMPLE if contrast in summary.family(study) else MAIN
  return {
    'arm': contrast.arm,
    'factor': contrast.factor,
    'level': contrast.level,
    'reference': contrast.reference,
    'regime': study.regime,
    'tuned': tuned,
    'metric': column,
    'n': len(pair.arm),
    'n_reference': len(pair.reference),
    'n_diverged_arm': pair.diverged_arm,
    'n_diverged_reference': pair.diverged_reference,
    'share_diverged_arm': pair.share_diverged_arm,
    'share_diverged_reference': pair.share_diverged_reference,
    'n_bounded_arm': pair.bounded_arm,
    'n_bounded_reference': pair.bounded_reference,
    'reference_mean': _mean(pair.reference),
    'arm_mean': _mean(pair.arm),
    **_differences(pair),
    'ci_low': interval.low,
    'ci_high': interval.high,
    'ci_kind': interval.kind,
    'p': math.nan if pair.mostly_diverged else p,
    'p_holm': math.nan,
    'prob_improvement': math.nan
    if pair.mostly_diverged
    else statistics.improvement(*_sides(contrast, pair), better),
    'improvement_low': math.nan,
    'improvement_high': math.nan,
    'skewness': _skewness(pair)[0],
    'skewed': '',
    'pivotal_seeds': '',
    'effect': effect,
    'exploratory': '',
    'verdict': '',
  }


def _differences(pair: pairs.Pairs) -> dict[str, float]:
  """Of the means, of the medians (of pairs their median), and where none diverged."""
  if pair.unpaired is None:
    delta = pair.delta
    return {
      'delta': _mean(delta),
      'delta_median': _median(delta),
      'delta_finite': _mean(delta[pair.finite]),
    }
  finite = pair.arm[pair.finite], pair.reference[pair.unpaired.finite]
  return {
    'delta': _mean(pair.arm) - _mean(pair.reference),
    'delta_median': _median(pair.arm) - _median(pair.reference),
    'delta_finite': _mean(finite[0]) - _mean(finite[1]),
  }


def _skewness(pair: pairs.Pairs) -> tuple[float, bool]:
  """Of the differences; unpaired tests do not suppose symmetric ones."""
  if pair.unpaired is None:
    return statistics.skewness(pair.delta)
  return math.nan, False


def _test(
  study: study_lib.Study,
  contrast: factors_lib.Contrast,
  pair: pairs.Pairs,
  scores: pairs.Scores,
  alpha: float,
) -> tuple[statistics.Interval, float]:
  """The interval and p of a contrast: over seeds and, if orders are sampled, orders."""
  if pair.unpaired is not None:
    sides = pair.arm, pair.reference
    return permutation.interval(*sides, alpha), permutation.two_sided(*sides)
  values = scores.value.loc[list(pair.seeds)]
  added = attribution.added_by_draw(study, contrast.factor, values)
  if added is None:
    return statistics.interval(pair.delta, alpha), statistics.sign_flip(pair.delta)
  table, draws = added
  return statistics.crossed(table, alpha, draws)


def _sides(
  contrast: factors_lib.Contrast, pair: pairs.Pairs
) -> tuple[np.ndarray, np.ndarray]:
  """Scores of the side that the verdict is on, then of the other."""
  if contrast.subject == 'reference':
    return pair.reference, pair.arm
  return pair.arm, pair.reference


def _enter_verdicts(
  study: study_lib.Study,
  family: Sequence[factors_lib.Contrast],
  rows: list[dict[str, Any]],
  matched: Sequence[pairs.Pairs],
  alpha: float,
  settled: Mapping[int, str],
) -> None:
  """Fills in what only the family's rows have, unless most runs of a side diverged.

  `settled` has the verdicts of earlier looks by place, and '' of contrasts that stopped
  before this one without a verdict. Holm's procedure has rejected what an earlier look
  rejected (p = 0), the difference or the non-equivalence; what was rejected as the
  other, or not at all, counts as p = 1.
  """
  differ = {i: float(verdict not in VERDICTS[:2]) for i, verdict in settled.items()}
  alike = {i: float(verdict != 'equivalent') for i, verdict in settled.items()}
  p_difference = statistics.holm([differ.get(i, r['p']) for i, r in enumerate(rows)])
  p_equivalence = np.ones(len(rows))
  if study.margin > 0:
    p_equivalence = statistics.holm(
      [
        alike[i] if i in alike else _equivalence(pair, study.margin)
        for i, pair in enumerate(matched)
      ]
    )
  reachable = reach.reach(study, alpha).reachable
  better: Any = study.metric.better
  pivotal: Sequence[tuple[int, ...]] = [()] * len(rows)
  if study.paired:
    family_now = [i for i in range(len(rows)) if differ.get(i) != 0]
    deltas: list[Sequence[float] | np.ndarray] = [
      [] if i in differ else matched[i].delta for i in family_now
    ]
    hanging = dict(zip(family_now, statistics.pivotal(deltas, alpha)))
    pivotal = [hanging.get(i, ()) for i in range(len(rows))]
  for i, (row, contrast) in enumerate(zip(rows, family)):
    if matched[i].mostly_diverged:
      continue
    row['skewed'] = _skewness(matched[i])[1]
    seeds = (matched[i].seeds[index] for index in pivotal[i])
    row['pivotal_seeds'] = ' '.join(map(str, seeds))
    row['p_holm'] = float(p_difference[i])
    row['improvement_low'], row['improvement_high'] = statistics.improvement_interval(
      *_sides(contrast, matched[i]), better, alpha
    )
    row['verdict'] = 'inconclusive'
    # One-sided tests reach alpha with one seed fewer than the interval: no claim yet.
    crossed = row['ci_kind'] == statistics.CROSSED
    inversions = statistics.INVERSION, permutation.INVERSION
    tested = crossed or row['ci_kind'] in inversions
    can_claim = reachable and matched[i].enough and tested
    if crossed:  # no sign flips: neither equivalence nor single seeds are tested
      row['pivotal_seeds'] = ''
    if can_claim and not crossed and p_equivalence[i] <= alpha:
      row['verdict'] = 'equivalent'
    elif can_claim and p_difference[i] <= alpha:
      improvement = row['delta'] * sign_of_improvement(study, contrast, row['metric'])
      row['verdict'] = 'helps' if improvement > 0 else 'hurts'


def is_mostly_diverged(row: Mapping[Any, Any] | pd.Series) -> bool:
  """Whether most runs of either side of a contrast diverged, so it has no verdict."""
  return max(row['share_diverged_arm'], row['share_diverged_reference']) > 0.5


def _equivalence(pair: pairs.Pairs, margin: float) -> float:
  if pair.unpaired is not None:
    return permutation.equivalence(pair.arm, pair.reference, margin)
  return statistics.equivalence(pair.delta, margin)


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else math.nan


def _median(values: np.ndarray) -> float:
  return float(np.median(values)) if len(values) else math.nan


class Contradiction(NamedTuple):
  """A factorial's simple and main effect of the same change, with opposite signs."""

  simple: Mapping[Any, Any]
  main: Mapping[Any, Any]


def contradictions(
  study: study_lib.Study, effects: pd.DataFrame
) -> list[Contradiction]:
  """Where the intact model shows the opposite of the average over a factorial's cells.

  Only changes whose simple effect has the verdict 'helps' or 'hurts', or whose main
  effect is significant, are listed.

  Args:
    study: the study.
    effects: its `measure`.
  """
  deciding = effects['metric'] == study.metric.column
  rows = effects[deciding & (effects['tuned'] == study.tuned)].to_dict('records')
  main = {
    (row['factor'], str(row['level'])): row for row in rows if row['effect'] == MAIN
  }
  pairs_of_rows = [
    Contradiction(row, main[row['factor'], str(row['level'])])
    for row in rows
    if row['effect'] == SIMPLE and (row['factor'], str(row['level'])) in main
  ]
  return [
    pair
    for pair in pairs_of_rows
    if pair.simple['delta'] * pair.main['delta'] < 0
    and (pair.simple['verdict'] in ('helps', 'hurts') or pair.main['p'] <= study.alpha)
  ]


class DivergedArm(NamedTuple):
  """An arm with diverged runs.

  Attributes:
    arm: its name.
    seeds: of the diverged runs, in order of the step at which they diverged.
    steps: those steps; () of runs trained elsewhere.
    ended: how many of its runs ended.
    most: whether more than half of them diverged, so that there is no verdict.
  """

  arm: str
  seeds: tuple[int, ...]
  steps: tuple[int, ...]
  ended: int
  most: bool


def diverged_arms(study: study_lib.Study, runs: pd.DataFrame) -> list[DivergedArm]:
  """The arms with diverged runs in the declared tuning state, in the study's order.

  Args:
    study: the study.
    runs: of the declared condition; a diverged run's `best_step` is where it diverged.
  """
  rows = pairs.select(study, runs, study.tuned)
  rows = rows[rows['status'] != 'failed']
  arms = []
  for arm in study.arms:
    of_arm = rows[rows['arm'] == arm.name]
    bad = of_arm[of_arm['status'] == 'diverged'].sort_values(['best_step', 'seed'])
    if len(bad):
      seeds, steps = (
        tuple(int(value) for value in bad[name].dropna())
        for name in ('seed', 'best_step')
      )
      most = 2 * len(bad) > len(of_arm)
      arms.append(DivergedArm(arm.name, seeds, steps, len(of_arm), most))
  return arms
