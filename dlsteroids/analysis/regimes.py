"""Every contrast under every regime: the idea, or only the compute it came with?

What the declared regime shows are the study's verdicts. The other regimes are read by
the same rule, each with a Holm family of its own, but no claim rests on them: their
readings are descriptive.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import effects, looks, pairs, reach, statistics, summary
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

COLUMNS = (
  'factor',
  'level',
  'arm',
  'reference',
  'component',
  'regime',
  'declared',
  'n',
  'n_diverged_arm',
  'n_diverged_reference',
  'delta',
  'ci_low',
  'ci_high',
  'gain',
  'gain_low',
  'gain_high',
  'ci_kind',
  'p',
  'p_holm',
  'reading',
  'arm_flops',
  'reference_flops',
  'arm_params',
  'reference_params',
  'arm_steps',
  'reference_steps',
  'arm_residual',
  'reference_residual',
)
CLOSE = 0.01  # how far a quantity may be off and still count as equal
EQUALISED = ('flops', 'params')  # regimes named after the quantity they make equal
_Costs = Mapping[tuple[str, conditions_lib.Condition], study_lib.Cost]


class Change(NamedTuple):
  """By how much an effect differs between two regimes, paired by seed.

  Attributes:
    regime, other: from which to which.
    delta, low, high: in the metric's unit, arm - reference, with its interval.
    certain: whether the interval tests and excludes 0.
  """

  regime: str
  other: str
  delta: float
  low: float
  high: float
  certain: bool


class Flip(NamedTuple):
  """A contrast that reads differently between regimes.

  Attributes:
    contrast: which.
    groups: rows of the frame that read alike; those like the declared regime first,
      then those that help, hurt, are equivalent, are inconclusive.
    reverses: whether it helps in one regime and hurts in another.
    change: between the first row and the first of another reading; None if it reverses.
  """

  contrast: factors_lib.Contrast
  groups: tuple[tuple[Mapping[str, Any], ...], ...]
  reverses: bool
  change: Change | None


class Regimes(NamedTuple):
  """The study's contrasts side by side under its regimes.

  Attributes:
    frame: a row a contrast and regime, exactly `COLUMNS`. `delta` is arm - reference
      with interval `ci_low`, `ci_high`; `gain` the same signed so that above zero
      the contrast's subject (`component`) helps, both in the metric's unit.
      `declared` tells verdicts from descriptive readings. FLOPs (nominal) and steps are
      of a whole run; those of several cells are their mean, residuals the largest.
    flips: the contrasts that read differently between regimes: those that reverse
      first, then those whose help and those whose harm is lost.
    look: that of the declared regime's runs.
    reachable: whether the design could show anything; if not, `frame` has neither
      tests nor readings.
  """

  frame: pd.DataFrame
  flips: tuple[Flip, ...]
  look: looks.Look
  reachable: bool


class _Reading(NamedTuple):
  """One contrast in one regime: its row of the frame, and the pairs behind it."""

  row: dict[str, Any]
  pair: pairs.Pairs

  @property
  def word(self) -> str:
    return self.row['reading']


def compare(study: study_lib.Study, all_runs: pd.DataFrame) -> Regimes:
  """Measures every contrast on the deciding metric under every regime of the study.

  Regimes are those of its conditions with budget 1 and size 1, in that order, in the
  declared tuning state. A regime without runs has rows with n = 0.

  Args:
    study: the study.
    all_runs: the runs of all conditions.

  Raises:
    ValueError: as `effects.measure`.
  """
  look = looks.state(study, select(all_runs, study.regime))
  by_regime = [_measure(study, all_runs, name, look.alpha) for name in names(study)]
  by_contrast = [list(readings) for readings in zip(*by_regime)]
  rows = [reading.row for readings in by_contrast for reading in readings]
  frame = pd.DataFrame(rows, columns=list(COLUMNS))
  if not reach.reach(study, look.alpha).reachable:
    silent = frame.assign(reading='', p=math.nan, p_holm=math.nan)
    return Regimes(silent, (), look, False)
  flips = [
    _flip(contrast, readings, look.alpha)
    for contrast, readings in zip(summary.family(study), by_contrast)
  ]
  # Outside the declared regime a reading is no verdict: its p belongs to no family.
  frame['p_holm'] = frame['p_holm'].where(frame['declared'].astype(bool))
  ordered = sorted((flip for flip in flips if flip), key=_rank)
  return Regimes(frame, tuple(ordered), look, True)


def names(study: study_lib.Study) -> list[str]:
  """The regimes at budget 1 and size 1, the declared one first."""
  plain = [c.regime for c in study.conditions if c.budget == c.size == 1]
  return list(dict.fromkeys([study.regime, *plain]))


def select(runs: pd.DataFrame, regime: str) -> pd.DataFrame:
  """The runs under `regime` at budget 1 and size 1."""
  whole = (runs['budget'] == 1) & (runs['size'] == 1)
  return runs[whole & (runs['regime'] == regime)]


def _measure(
  study: study_lib.Study, all_runs: pd.DataFrame, regime: str, alpha: float
) -> list[_Reading]:
  """Every contrast in one regime, by the rule of the declared one's verdicts."""
  column = study.metric.column
  runs = select(all_runs, regime)
  table = effects.measure_family(study, runs, alpha, regime)
  scores = pairs.tabulate(study, runs, column, study.tuned)
  costs = _costs(study)
  readings = []
  for contrast, row in zip(summary.family(study), table.to_dict('records')):
    sign = effects.sign_of_improvement(study, contrast, column)
    low, high = sorted((sign * row['ci_low'], sign * row['ci_high']))
    new = {
      **{str(name): value for name, value in row.items() if name in COLUMNS},
      'component': contrast.subject,
      'declared': regime == study.regime,
      'gain': sign * row['delta'],
      'gain_low': low,
      'gain_high': high,
      'reading': row['verdict'],
      **_compute_columns(contrast, conditions_lib.Condition(regime), costs),
    }
    readings.append(_Reading(new, pairs.match(contrast, scores)))
  return readings


def _costs(study: study_lib.Study) -> _Costs:
  """What a run costs, by arm and condition."""
  return {(arm.name, cost.condition): cost for arm in study.arms for cost in arm.at}


def _compute_columns(
  contrast: factors_lib.Contrast, condition: conditions_lib.Condition, costs: _Costs
) -> dict[str, float]:
  """The compute columns of a contrast; nan where a cell's costs are not known."""
  columns = {}
  for side, cells in zip(('arm', 'reference'), pairs.cells(contrast)):
    of_cells = [costs[cell, condition] for cell in cells if (cell, condition) in costs]
    complete = 0 < len(of_cells) == len(cells)
    for name in ('flops', 'params', 'steps'):
      amounts = [float(getattr(cost, name)) for cost in of_cells]
      columns[f'{side}_{name}'] = float(np.mean(amounts)) if complete else math.nan
    residuals = [float(cost.residual) for cost in of_cells]
    columns[f'{side}_residual'] = max(residuals, key=abs) if complete else math.nan
  return columns


def _flip(
  contrast: factors_lib.Contrast, readings: Sequence[_Reading], alpha: float
) -> Flip | None:
  """Where a contrast reads differently between regimes; None if nowhere.

  Regimes with under 90 % of their pairs or without a reading take no part, nor does one
  with the very same differences: another reading of those comes from the other
  contrasts in its family.
  """
  able = [reading for reading in readings if reading.pair.enough and reading.word]
  if not able:
    return None
  first = able[0]
  others = [r for r in able if r.word != first.word and not _same(r.pair, first.pair)]
  # A change is measured to the first group: one that helps or hurts, if there is one.
  groups = [[r for r in others if r.word == word] for word in effects.VERDICTS]
  groups = [group for group in groups if group]
  words = {first.word, *(group[0].word for group in groups)}
  if not groups or not words & {'helps', 'hurts'}:
    return None
  agreeing = [reading for reading in able if reading.word == first.word]
  reverses = words >= {'helps', 'hurts'}
  return Flip(
    contrast,
    tuple(tuple(reading.row for reading in group) for group in (agreeing, *groups)),
    reverses,
    None if reverses else _change(first, groups[0][0], alpha),
  )


def _rank(flip: Flip) -> int:
  """Its place among the flips: reversals, then lost help, then lost harm."""
  helps = any(rows[0]['reading'] == 'helps' for rows in flip.groups)
  return 0 if flip.reverses else 1 if helps else 2


def _same(one: pairs.Pairs, two: pairs.Pairs) -> bool:
  return one.seeds == two.seeds and np.array_equal(one.delta, two.delta)


def _change(first: _Reading, other: _Reading, alpha: float) -> Change:
  """By how much an effect differs between two regimes, paired by seed.

  That one is significant and the other is not is no evidence that they differ.
  """
  one, two = (
    dict(zip(reading.pair.seeds, reading.pair.delta)) for reading in (first, other)
  )
  delta = np.array([two[seed] - one[seed] for seed in one if seed in two])
  interval = statistics.interval(delta, alpha)
  mean = float(delta.mean()) if len(delta) else math.nan
  certain = interval.kind == statistics.INVERSION and interval.low * interval.high > 0
  ends = interval.low, interval.high
  return Change(first.row['regime'], other.row['regime'], mean, *ends, certain)


class Deviation(NamedTuple):
  """An arm that differs from another in what its regime makes equal.

  Attributes:
    condition: where.
    arm, reference: the arms.
    cost, reference_cost: what a run of each costs; None where it is not known.
  """

  condition: conditions_lib.Condition
  arm: str
  reference: str
  cost: study_lib.Cost | None
  reference_cost: study_lib.Cost | None

  @property
  def amounts(self) -> tuple[float, float]:
    """The quantity that the regime makes equal, of the arm and of the reference."""
    name = self.condition.regime
    one, two = (
      math.nan if cost is None else float(getattr(cost, name))
      for cost in (self.cost, self.reference_cost)
    )
    return one, two


def check_equality(study: study_lib.Study) -> list[Deviation]:
  """What is not equal though its regime is called so, by condition and arm.

  In every condition with equal FLOPs or parameters, each arm is held against those it
  is compared with (the intact arm if there are none); listed are deviations above
  `CLOSE` and arms whose costs are not known. What is not trained under a condition,
  such as all but the bare model at its own budgets, is not compared there.
  """
  costs = _costs(study)
  trained: dict[conditions_lib.Condition, set[str]] = collections.defaultdict(set)
  for run in study.runs:
    at = conditions_lib.Condition(run.regime, run.budget, run.size)
    trained[at].add(run.arm)
  deviations = [
    Deviation(
      condition,
      arm,
      reference,
      costs.get((arm, condition)),
      costs.get((reference, condition)),
    )
    for condition in study.conditions
    if condition.regime in EQUALISED
    for arm, reference in _compared(study)
    if condition not in trained or {arm, reference} <= trained[condition]
  ]
  return [deviation for deviation in deviations if not _close(*deviation.amounts)]


def _close(amount: float, reference: float) -> bool:
  # What lies on the border does not depend on rounding.
  return reference > 0 and abs(amount / reference - 1) <= CLOSE * (1 + 1e-9)


def _compared(study: study_lib.Study) -> Iterable[tuple[str, str]]:
  """Arms with what they are compared with, each pair once, in the arms' order."""
  compared: dict[tuple[str, str], None] = {}
  for contrast in study.contrasts:
    compared |= dict.fromkeys(zip(*pairs.cells(contrast)))
  used = {name for pair in compared for name in pair}
  intact = summary.intact_arm(study)
  order = [arm.name for arm in study.arms]
  compared |= {(name, intact): None for name in order if name not in used}
  compared.pop((intact, intact), None)
  return sorted(compared, key=lambda pair: order.index(pair[0]))
