"""Published claims held against what this study measured.

A direction speaks of the component and is held against our verdict, so on the deciding
metric only:
  'helps', 'hurts'  agrees if the verdict is the same; differs if it is the opposite or
                    'equivalent'; else it is inconclusive.
  'no difference'   agrees if the verdict is 'equivalent', significant or not; differs
                    if it is 'helps' or 'hurts'; else it is inconclusive.
A number is held against our interval over seeds:
  agrees if it, or with a tolerance any number within that of it, lies in the interval;
  differs if not; inconclusive if the interval is descriptive (Student-t), missing or
  bounded on no side, or under 90 % of the pairs are there.
A gain is measured at several targets: it agrees (differs) if it does at all of them.
Sizes are compared besides, and decide nothing: a published difference of another
setting, or the number itself, is 'as published' if it lies in our interval (with its
tolerance), else ours is 'smaller', 'larger' or 'opposite'.
A claim with both agrees if both do and differs if one does. Where the design could not
have shown anything, every claim is inconclusive.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import looks, pairs, reach, statistics, summary
from dlsteroids.study import claims as claims_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

AGREES, DIFFERS, INCONCLUSIVE = 'agrees', 'differs', 'inconclusive'
AS_PUBLISHED, SMALLER, LARGER = 'as published', 'smaller', 'larger'
OPPOSITE = 'opposite'
SIZES = (AS_PUBLISHED, SMALLER, LARGER, OPPOSITE, INCONCLUSIVE)


class Reason(NamedTuple):
  """Why a claim has its outcome.

  Attributes:
    kind: of the reason; `report.claims` words each.
    values: what the words need: names, counts, the column.
  """

  kind: str
  values: tuple[Any, ...] = ()


class Estimate(NamedTuple):
  """Our number with its interval over seeds.

  Attributes:
    value, low, high: in the unit of the claim's quantity; gains and ratios as factors.
    n: seeds (of `planned`) behind it.
    planned: seeds of the study.
    lack: why the interval can't be held against a number; None if it can.
    gain: the row of the gains table that it is; None for other quantities.
  """

  value: float
  low: float
  high: float
  n: int
  planned: int
  lack: Reason | None
  gain: dict[str, Any] | None = None


class Part(NamedTuple):
  """One part of a claim, its direction or its number, held against the results.

  Attributes:
    outcome: `AGREES`, `DIFFERS` or `INCONCLUSIVE`.
    reason: why.
    quantity: what the estimates are, as in `study.claims.Claim`; '' without any.
    column: of the runs that they measure; '' without any.
    estimates: our numbers; a gain has one a target.
    verdict: ours, of a direction; else ''.
  """

  outcome: str
  reason: Reason
  quantity: str = ''
  column: str = ''
  estimates: tuple[Estimate, ...] = ()
  verdict: str = ''


class Size(NamedTuple):
  """The published size of an effect beside ours.

  Attributes:
    published: in the unit of the claim's quantity.
    ours: our estimate; None if there is none.
    outcome: one of `SIZES`.
    ratio, low, high: ours / the published, of differences that are not 0; else nan.
  """

  published: float
  ours: Estimate | None
  outcome: str
  ratio: float = math.nan
  low: float = math.nan
  high: float = math.nan


class Result(NamedTuple):
  """A published claim and what became of it.

  Attributes:
    claim: as published.
    outcome: of its parts together.
    column: of the runs that its metric is; '' if there is none.
    parts: of the claim, in the order direction, number.
    exploratory: whether this look claims nothing.
    size: the published size beside ours; None if none was published.
  """

  claim: claims_lib.Claim
  outcome: str
  column: str
  parts: tuple[Part, ...]
  exploratory: bool
  size: Size | None = None


class _Results(NamedTuple):
  """What claims are held against."""

  study: study_lib.Study
  effects: pd.DataFrame
  runs: pd.DataFrame
  gains: pd.DataFrame | None
  alpha: float


def compare(
  study: study_lib.Study,
  effects_frame: pd.DataFrame,
  runs: pd.DataFrame,
  gains_frame: pd.DataFrame | None = None,
) -> tuple[Result, ...]:
  """Holds every published claim of the study against its results.

  Args:
    study: the study.
    effects_frame: its `effects.measure`.
    runs: those of the declared condition.
    gains_frame: its `gains.Gains.frame`, if there are any. Only gains on the axis
      'budget' count.
  """
  look = looks.state(study, runs)
  results = _Results(study, effects_frame, runs, gains_frame, look.alpha)
  is_reachable = reach.reach(study, look.alpha).reachable
  rows = []
  for claim in study.claims:
    parts = _compare(results, claim) if is_reachable else (_unknown('unreachable'),)
    outcomes = {part.outcome for part in parts}
    outcome = DIFFERS if DIFFERS in outcomes else INCONCLUSIVE
    if outcomes == {AGREES}:
      outcome = AGREES
    column = _column(results, claim)
    exploratory = look.exploratory and is_reachable
    size = _compare_size(claim, parts)
    rows.append(Result(claim, outcome, column, parts, exploratory, size))
  return tuple(rows)


def _compare(results: _Results, claim: claims_lib.Claim) -> tuple[Part, ...]:
  parts = []
  if claim.direction:
    parts.append(_compare_direction(results, claim))
  if claim.number is not None:
    parts.append(_compare_number(results, claim))
  return tuple(parts) or (_unknown('empty claim'),)


def _unknown(kind: str, *values: Any) -> Part:
  return Part(INCONCLUSIVE, Reason(kind, values))


def _compare_direction(results: _Results, claim: claims_lib.Claim) -> Part:
  deciding = results.study.metric.column
  if _column(results, claim) != deciding:
    return _unknown('not the deciding metric', deciding)
  contrast = find_contrast(results.study, claim)
  if isinstance(contrast, Reason):
    return Part(INCONCLUSIVE, contrast)
  row = _effect(results, contrast, deciding)
  if row is None or not isinstance(row['verdict'], str) or not row['verdict']:
    return _unknown('no verdict')
  verdict = row['verdict']
  if contrast.subject != contrast.component:  # of a swap: the claim is on the component
    verdict = {'helps': 'hurts', 'hurts': 'helps'}.get(verdict, verdict)
  wanted = 'equivalent' if claim.direction == 'no difference' else claim.direction
  if verdict == 'inconclusive':
    outcome, kind = INCONCLUSIVE, 'inconclusive'
  elif verdict == wanted:
    outcome, kind = AGREES, 'same verdict'
  elif wanted == 'equivalent':
    outcome, kind = DIFFERS, 'difference not claimed'
  else:
    outcome = DIFFERS
    kind = 'no difference' if verdict == 'equivalent' else 'opposite verdict'
  estimates = (_delta(results, contrast, row),)
  return Part(outcome, Reason(kind), 'delta', deciding, estimates, verdict)


def _compare_number(results: _Results, claim: claims_lib.Claim) -> Part:
  column = _column(results, claim)
  if not column:
    return _unknown('no column', claim.metric)
  estimates: Sequence[Estimate] | Reason
  if claim.quantity == 'level':
    estimates = _measure_level(results, claim, column)
  elif claim.quantity == 'ratio':
    estimates = _measure_ratio(results, claim, column)
  else:
    contrast = find_contrast(results.study, claim)
    if isinstance(contrast, Reason):
      return Part(INCONCLUSIVE, contrast)
    if claim.quantity == 'gain':
      estimates = _measure_gains(results, contrast, column)
    else:
      row = _effect(results, contrast, column)
      estimates = Reason('no effect', (column,))
      if row is not None and effects_lib.is_mostly_diverged(row):
        side = 'arm' if row['share_diverged_arm'] > 0.5 else 'reference'
        estimates = Reason('diverged', (row[side],))
      elif row is not None:
        estimates = [_delta(results, contrast, row)]
  if isinstance(estimates, Reason):
    return Part(INCONCLUSIVE, estimates)
  outcome, reason = _place(claim, estimates)
  return Part(outcome, reason, claim.quantity, column, tuple(estimates))


def _compare_size(claim: claims_lib.Claim, parts: Sequence[Part]) -> Size | None:
  """The published number or difference against our estimate of it.

  A difference that was published as none has no size: to be many times what is as good
  as nothing is no contradiction.
  """
  published = claims_lib.published_value(claim)
  if published is None or (claim.number is None and claim.direction == 'no difference'):
    return None
  estimates = next(
    (part.estimates for part in parts if part.quantity == claim.quantity), ()
  )
  if len(estimates) != 1:  # of a gain there are several, one a target
    return Size(published, None, INCONCLUSIVE)
  ours, tolerance = estimates[0], float(claim.tolerance or 0)
  if ours.lack is not None:
    return Size(published, ours, INCONCLUSIVE)
  outcome = compare_sizes(claim.quantity, published, (ours.low, ours.high), tolerance)
  if claim.quantity != 'delta' or not published:
    return Size(published, ours, outcome)
  low, high = sorted((ours.low / published, ours.high / published))
  return Size(published, ours, outcome, ours.value / published, low, high)


def compare_sizes(
  quantity: str, published: float, ends: tuple[float, float], tolerance: float = 0.0
) -> str:
  """How the size of an effect with the interval `ends` compares with a published one.

  Args:
    quantity: as in `study.claims.Claim`; sizes are distances from 0, of ratios and
      gains from 1 on the logarithmic scale, of levels the values themselves.
    published: the published number, in its unit.
    ends: of our interval, in the same unit.
    tolerance: half the width within which the published number is known.

  Returns:
    One of `SIZES` but `INCONCLUSIVE`.
  """
  low, high = ends
  if low <= published + tolerance and published - tolerance <= high:
    return AS_PUBLISHED
  if quantity in ('ratio', 'gain'):
    low, high, published = (
      math.log(x) if x > 0 else -math.inf for x in (low, high, published)
    )
  if quantity != 'level':
    if published < 0:
      low, high, published = -high, -low, -published
    if not published:
      return LARGER
    if high < 0:
      return OPPOSITE
  return SMALLER if high < published else LARGER


def _place(
  claim: claims_lib.Claim, estimates: Sequence[Estimate]
) -> tuple[str, Reason]:
  """Whether a claim's number lies in our intervals, those that can be used."""
  usable = [estimate for estimate in estimates if estimate.lack is None]
  if not usable:
    return INCONCLUSIVE, estimates[0].lack or Reason('no interval')
  number, tolerance = float(claim.number or 0), float(claim.tolerance or 0)
  below = [number + tolerance < estimate.low for estimate in usable]
  above = [number - tolerance > estimate.high for estimate in usable]
  outside = [low or high for low, high in zip(below, above)]
  values = (tolerance > 0,)
  if not any(outside):
    return AGREES, Reason('inside', values)
  if not all(outside):
    return INCONCLUSIVE, Reason('inside some', values)
  side = 'outside' if any(below) and any(above) else 'below' if any(below) else 'above'
  return DIFFERS, Reason(side, values)


def _column(results: _Results, claim: claims_lib.Claim) -> str:
  """The column of the runs that a claim's metric is; '' if there is none."""
  name = claim.metric
  column = f'test/{name}' if name in results.study.metrics else name
  column = column or results.study.metric.column
  runs = results.runs
  numeric = column in runs and pd.api.types.is_numeric_dtype(runs[column])
  return column if numeric else ''


def find_contrast(
  study: study_lib.Study, claim: claims_lib.Claim
) -> factors_lib.Contrast | Reason:
  """The one contrast that a claim is about, or why there is none."""
  contrasts = [
    contrast
    for contrast in summary.family(study)
    if claim.factor in (contrast.factor, contrast.arm)
    and claim.arm in ('', contrast.arm)
    and claim.reference in ('', contrast.reference)
  ]
  levels = {factor.name: len(factor.levels) for factor in study.factors}
  of_level = [c for c in contrasts if str(c.level) == claim.level]
  # Two levels make one contrast, whichever of them the design names it by.
  if claim.level and (of_level or levels.get(claim.factor) != 2):
    contrasts = of_level
  if len(contrasts) == 1:
    return contrasts[0]
  return Reason('contrasts', (len(contrasts), claim.factor, claim.level))


def _effect(
  results: _Results, contrast: factors_lib.Contrast, column: str
) -> pd.Series | None:
  """The contrast's row of the effects on `column` in the declared tuning state."""
  table, study = results.effects, results.study
  rows = table[
    (table['metric'] == column)
    & (table['tuned'] == study.tuned)
    & (table['regime'] == study.regime)
  ]
  rows = _of_contrast(rows, contrast)
  return rows.iloc[0] if len(rows) else None


def _of_contrast(table: pd.DataFrame, contrast: factors_lib.Contrast) -> pd.DataFrame:
  """The rows of one contrast."""
  # The level is not compared: read back from a table, '0.50' is 0.5.
  for name in ('arm', 'factor', 'reference'):
    table = table[table[name].astype(str) == str(getattr(contrast, name))]
  return table


def _estimate(
  results: _Results, value: float, ends: tuple[float, float], n: int, kind: str
) -> Estimate:
  """An estimate, with what its interval lacks to be held against a number."""
  planned = len(results.study.seeds)
  lack = None
  if not pairs.are_enough(n, planned) or not n:
    lack = Reason('pairs', (n, planned))
  elif kind != statistics.INVERSION:
    lack = Reason('few seeds', (n,))
  elif any(map(math.isnan, ends)):
    lack = Reason('no interval')
  return Estimate(value, *ends, n, planned, lack)


def _delta(
  results: _Results, contrast: factors_lib.Contrast, row: pd.Series
) -> Estimate:
  """An effect as with the component minus without it."""
  sign = 1 if contrast.component == 'arm' else -1
  low, high = sorted((sign * float(row['ci_low']), sign * float(row['ci_high'])))
  value = sign * float(row['delta'])
  return _estimate(results, value, (low, high), int(row['n']), str(row['ci_kind']))


def _measure_level(
  results: _Results, claim: claims_lib.Claim, column: str
) -> list[Estimate] | Reason:
  """An arm's mean over seeds."""
  arm = claim.arm or summary.intact_arm(results.study)
  table = _tabulate(results, column)
  if arm not in table:
    return Reason('no arm', (arm,))
  values = table[arm].dropna().to_numpy()
  if arm in _mostly_diverged(results):
    return Reason('diverged', (arm,))
  if not np.isfinite(values).all():
    return Reason('no value', (arm,))
  interval = statistics.interval(values, results.alpha)
  mean = float(values.mean()) if len(values) else math.nan
  ends = interval.low, interval.high
  estimate = _estimate(results, mean, ends, len(values), interval.kind)
  if estimate.lack and estimate.lack.kind == 'pairs':
    estimate = estimate._replace(lack=estimate.lack._replace(kind='runs'))
  return [estimate]


def _tabulate(results: _Results, column: str) -> pd.DataFrame:
  """A column by seed and arm: nan where a run failed or is missing.

  Metrics of diverged runs score their fallback; in other columns infinity means that a
  run diverged or has no number, such as a step at which nothing was reached.
  """
  study = results.study
  names = {study.metric.name, *study.metrics}
  if '/' in column and column.removeprefix('final/').split('/', 1)[-1] in names:
    return pairs.tabulate(study, results.runs, column, study.tuned).value
  runs = pairs.select(study, results.runs, study.tuned)
  runs = runs[runs['status'] != 'failed']
  numbers = runs[column].astype(float)
  numbers = numbers.where((runs['status'] == 'ok') & np.isfinite(numbers), math.inf)
  table = runs.assign(number=numbers).pivot(
    index='seed', columns='arm', values='number'
  )
  return table.reindex(
    index=list(study.seeds), columns=[arm.name for arm in study.arms]
  )


def _mostly_diverged(results: _Results) -> tuple[str, ...]:
  """The arms more than half of whose runs diverged: they are no evidence."""
  column, tuned = results.study.metric.column, results.study.tuned
  return pairs.tabulate(results.study, results.runs, column, tuned).mostly_diverged


def _measure_ratio(
  results: _Results, claim: claims_lib.Claim, column: str
) -> list[Estimate] | Reason:
  """The geometric mean over seeds of arm / reference; its interval is of the logs."""
  sides = [claim.arm], [claim.reference]
  if not (claim.arm and claim.reference):
    contrast = find_contrast(results.study, claim)
    if isinstance(contrast, Reason):
      return contrast
    sides = pairs.cells(contrast)
  table = _tabulate(results, column)
  unknown = [name for side in sides for name in side if name not in table]
  if unknown:
    return Reason('no arm', (unknown[0],))
  arm, reference = (table[side].to_numpy().mean(1) for side in sides)
  complete = ~np.isnan(arm) & ~np.isnan(reference)
  arm, reference = arm[complete], reference[complete]
  never = ~np.isfinite(arm) | ~np.isfinite(reference)
  if never.any():
    return Reason('no number', (int(never.sum()), len(arm), column))
  if not ((arm > 0) & (reference > 0)).all():
    return Reason('not above 0')
  logs = np.log(arm) - np.log(reference)
  interval = statistics.interval(logs, results.alpha)
  mean = math.exp(float(logs.mean())) if len(logs) else math.nan
  ends = math.exp(interval.low), math.exp(interval.high)
  return [_estimate(results, mean, ends, len(logs), interval.kind)]


def _measure_gains(
  results: _Results, contrast: factors_lib.Contrast, column: str
) -> list[Estimate] | Reason:
  """The contrast's gains at all targets, by separate runs at several budgets."""
  if results.gains is None or not len(results.gains):
    return Reason('no gain')
  table = results.gains
  table = table[(table['metric'] == column) & (table['axis'] == 'budget')]
  estimates = []
  for row in _of_contrast(table, contrast).to_dict('records'):
    low, high, n = float(row['ci_low']), float(row['ci_high']), int(row['n'])
    # A bootstrap does not show when seeds are too few; the other intervals do.
    few = statistics.smallest_p(n) > results.alpha
    kind = statistics.STUDENT if few else statistics.INVERSION
    estimate = _estimate(results, float(row['gain']), (low, high), n, kind)
    unbounded = math.isnan(estimate.value) or (low <= 0 and math.isinf(high))
    if estimate.lack is None and unbounded:
      estimate = estimate._replace(lack=Reason('unbounded'))
    own_row = {str(name): value for name, value in row.items()}
    estimates.append(estimate._replace(gain=own_row))
  return estimates or Reason('no gain of it')
