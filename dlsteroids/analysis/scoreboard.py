"""Published claims held against what this study found.

A direction speaks of the component and is held against our verdict, so on the deciding
metric only:
  'helps', 'hurts'  agrees if the verdict is the same; differs if it is the opposite or
                    'equivalent'; cannot be told if it is 'inconclusive'.
  'no difference'   agrees if the verdict is 'equivalent', significant or not; differs
                    if it is 'helps' or 'hurts'; cannot be told if 'inconclusive'.
A number is held against our interval over seeds:
  agrees if it, or with a tolerance any number within that of it, lies in the interval;
  differs if not; cannot be told if the interval is descriptive (Student-t), missing or
  bounded on no side, or under 90 % of the pairs are there.
A gain is measured at several targets: it agrees (differs) if it does at all of them.
A claim with both agrees if both do and differs if one does. Where the design could not
have shown anything, nothing can be told.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import looks, pairs, reach, statistics, summary
from dlsteroids.report import facts, formats
from dlsteroids.study.claims import Claim

COLUMNS = ('paper', 'claim', 'published', 'ours', 'outcome', 'why')
AGREES, DIFFERS, CANNOT_TELL = 'agrees', 'differs', 'cannot tell'


class _Board(NamedTuple):
  """What claims are held against."""

  study: Mapping[str, Any]
  effects: pd.DataFrame
  runs: pd.DataFrame
  gains: pd.DataFrame | None
  alpha: float


class _Outcome(NamedTuple):
  """One part of a claim, judged: the last of `COLUMNS`."""

  ours: str
  outcome: str
  why: str


class _Estimate(NamedTuple):
  """Our number: its interval, how it reads, and why it can't be used or ''."""

  low: float
  high: float
  text: str
  lack: str


def score(
  study: Mapping[str, Any],
  effects_frame: pd.DataFrame,
  runs: pd.DataFrame,
  gains_frame: pd.DataFrame | None = None,
) -> pd.DataFrame:
  """Holds every published claim of the study against its results.

  Args:
    study: the content of study.json.
    effects_frame: its `effects.measure`.
    runs: those of the declared condition.
    gains_frame: its compute-equivalent gains, if there are any: the columns factor,
      arm, reference, axis, metric, target, n, gain, ci_low, ci_high, text. Only those
      on the axis 'budget' count.

  Returns:
    A row a claim with exactly `COLUMNS`; `outcome` is one of `AGREES`, `DIFFERS`,
    `CANNOT_TELL`, `why` a line. What they hold is plain text, escaped by the page.
  """
  look = looks.state(study, runs)
  design = reach.reach(study, look.alpha)
  board = _Board(study, effects_frame, runs, gains_frame, look.alpha)
  rows = []
  for entry in study.get('claims') or ():
    claim = _read(entry)
    found = _unknown(design.sentence)
    if design.reachable:
      found = _judge(board, claim)
      if look.exploratory:
        found = found._replace(why=f'exploratory: {found.why}')
    rows.append((claim.paper, claim.claim, _publish(board, claim), *found))
  return pd.DataFrame(rows, columns=list(COLUMNS))


def tell(frame: pd.DataFrame) -> list[str]:
  """The scoreboard in sentences: its sums, then every claim that differs."""
  if not len(frame):
    return []
  words = {AGREES: 'agrees', DIFFERS: 'differs', CANNOT_TELL: 'cannot be told'}
  count = {o: int((frame['outcome'] == o).sum()) for o in words}
  counted = {o: words[o] if n == 1 else words[o].rstrip('s') for o, n in count.items()}
  parts = [f'{count[AGREES]} of {len(frame)} published claims {counted[AGREES]}']
  parts += [f'{count[o]} {counted[o]}' for o in (DIFFERS, CANNOT_TELL) if count[o]]
  texts = [f'{", ".join(parts)}.']
  if len(frame) == 1:
    texts = [f'The one published claim {words[frame["outcome"].iloc[0]]}.']
  for row in frame[frame['outcome'] == DIFFERS].to_dict('records'):
    texts.append(
      f'{row["paper"]}, {row["claim"]}: published {row["published"]}, here '
      f'{row["ours"]}: {row["why"]}.'
    )
  return texts


def _read(entry: Mapping[str, Any]) -> Claim:
  """A claim as study.json has it; what is missing or nan is the default."""
  given = {
    name: entry[name]
    for name in Claim._fields
    if name in entry and not formats.missing(entry[name])
  }
  return Claim(**{'paper': '', 'claim': '', 'factor': '', **given})


def _judge(board: _Board, claim: Claim) -> _Outcome:
  """Both parts of a claim together."""
  parts = []
  if claim.direction:
    parts.append(_judge_direction(board, claim))
  if claim.number is not None:
    parts.append(_judge_number(board, claim))
  if not parts:
    return _unknown('the claim has neither a direction nor a number')
  outcomes = [part.outcome for part in parts]
  outcome = DIFFERS if DIFFERS in outcomes else CANNOT_TELL
  if set(outcomes) == {AGREES}:
    outcome = AGREES
  texts = [part.ours for part in parts if part.ours != formats.NOTHING]
  ours = '; '.join(dict.fromkeys(texts)) or formats.NOTHING
  return _Outcome(ours, outcome, '; '.join(dict.fromkeys(part.why for part in parts)))


def _unknown(why: str, ours: str = formats.NOTHING) -> _Outcome:
  return _Outcome(ours, CANNOT_TELL, why)


def _judge_direction(board: _Board, claim: Claim) -> _Outcome:
  deciding = pairs.deciding(board.study)
  if _column(board, claim) != deciding:
    return _unknown(f'verdicts are made on {facts.words(board.study, deciding)} only')
  contrast = _contrast(board.study, claim)
  if isinstance(contrast, str):
    return _unknown(contrast)
  row = _effect(board, contrast, deciding)
  if row is None or formats.missing(row['verdict']):
    return _unknown('the study has no verdict on it')
  verdict = str(row['verdict'])
  ours = f'{verdict}: {_delta(board, contrast, deciding, row).text}'
  if verdict == 'inconclusive':
    return _unknown('our verdict is inconclusive', ours)
  wanted = 'equivalent' if claim.direction == 'no difference' else claim.direction
  if verdict == wanted:
    return _Outcome(ours, AGREES, 'our verdict is the same')
  why = 'our verdict is the opposite'
  if wanted == 'equivalent':
    why = 'there is a difference where none was claimed'
  elif verdict == 'equivalent':
    why = 'there is no difference that matters where one was claimed'
  return _Outcome(ours, DIFFERS, why)


def _judge_number(board: _Board, claim: Claim) -> _Outcome:
  column = _column(board, claim)
  if not column:
    return _unknown(f'the runs have no column {claim.metric}')
  if claim.quantity == 'level':
    found: Sequence[_Estimate] | str = _measure_level(board, claim, column)
  elif claim.quantity == 'ratio':
    found = _measure_ratio(board, claim, column)
  else:
    contrast = _contrast(board.study, claim)
    if isinstance(contrast, str):
      return _unknown(contrast)
    if claim.quantity == 'gain':
      found = _measure_gains(board, contrast, column)
    else:
      row = _effect(board, contrast, column)
      lack = f'there is no effect on {facts.words(board.study, column)}'
      found = [_delta(board, contrast, column, row)] if row is not None else lack
  if isinstance(found, str):
    return _unknown(found)
  ours = '; '.join(one.text for one in found)
  able = [one for one in found if not one.lack]
  if not able:
    return _unknown(found[0].lack, ours)
  return _place(claim, able, ours)


def _place(claim: Claim, able: Sequence[_Estimate], ours: str) -> _Outcome:
  """Whether a number lies in our intervals."""
  number, wide = float(claim.number or 0), float(claim.tolerance or 0)
  below = [number + wide < one.low for one in able]
  above = [number - wide > one.high for one in able]
  outside = [low or high for low, high in zip(below, above)]
  subject = 'the published number' + (' with its tolerance' if wide else '')
  if not any(outside):
    return _Outcome(ours, AGREES, f'{subject} lies in our interval')
  if not all(outside):
    return _unknown(f'{subject} lies in some of our intervals: targets differ', ours)
  side = 'outside' if any(below) and any(above) else 'below' if any(below) else 'above'
  return _Outcome(ours, DIFFERS, f'{subject} lies {side} our interval')


def _column(board: _Board, claim: Claim) -> str:
  """The column of the runs that a claim's metric is; '' if there is none."""
  name = claim.metric
  column = f'test/{name}' if name in board.study['metrics'] else name
  column = column or pairs.deciding(board.study)
  numeric = column in board.runs and pd.api.types.is_numeric_dtype(board.runs[column])
  return column if numeric else ''


def _contrast(study: Mapping[str, Any], claim: Claim) -> Mapping[str, Any] | str:
  """The one contrast that a claim is about, or why there is none."""
  mine = [
    contrast
    for contrast in study['contrasts']
    if claim.factor in (contrast['factor'], contrast['arm'])
    and claim.arm in ('', contrast['arm'])
    and claim.reference in ('', contrast['reference'])
  ]
  factors = {factor['name']: factor for factor in study['factors']}
  named = [c for c in mine if str(c['level']) == claim.level]
  two = claim.factor in factors and len(factors[claim.factor]['levels']) == 2
  # of two levels there is one contrast, whichever of them the design puts its name to
  if claim.level and (named or not two):
    mine = named
  if len(mine) == 1:
    return mine[0]
  subject = f'{claim.factor}={claim.level}' if claim.level else claim.factor
  return f'the study makes {len(mine) or "no"} contrasts of {subject}'


def _effect(
  board: _Board, contrast: Mapping[str, Any], column: str
) -> pd.Series | None:
  """The contrast's row of the effects on `column` in the declared tuning state."""
  table = board.effects
  mine = table[
    (table['metric'] == column)
    & (table['tuned'] == pairs.declared(board.study))
    & (table['regime'] == board.study['regime'])
  ]
  # the level is not asked for: read back from a table, '0.50' is 0.5
  for name in ('arm', 'factor', 'reference'):
    mine = mine[mine[name].astype(str) == str(contrast[name])]
  return mine.iloc[0] if len(mine) else None


def _lack(board: _Board, n: int, kind: str, ends: tuple[float, float]) -> str:
  """Why an interval can't be held against a number; '' if it can."""
  planned = len(board.study['seeds'])
  if 10 * n < 9 * planned or not n:
    return f'only {n} of {planned} pairs of runs are there'
  if kind != statistics.INVERSION:
    return f'{n} seeds are too few for an interval that claims anything'
  if any(map(math.isnan, ends)):
    return 'there is no interval'
  return ''


def _count(board: _Board, n: int) -> str:
  planned = len(board.study['seeds'])
  seeds = f'{n}' if n == planned else f'{n} of {planned}'
  return f'{seeds} seed{"s" if planned != 1 else ""}'


def _delta(
  board: _Board, contrast: Mapping[str, Any], column: str, row: pd.Series
) -> _Estimate:
  """An effect as with the component minus without it."""
  sign = 1 if contrast['component'] == 'arm' else -1
  low, high = sorted((sign * float(row['ci_low']), sign * float(row['ci_high'])))
  n = int(row['n'])
  text = formats.delta(column, sign * row['delta'], unit=True)
  text += f' {formats.interval(column, low, high)}, {_count(board, n)}'
  return _Estimate(low, high, text, _lack(board, n, str(row['ci_kind']), (low, high)))


def _measure_level(board: _Board, claim: Claim, column: str) -> list[_Estimate] | str:
  """An arm's mean over seeds."""
  arm = claim.arm or summary.intact_arm(board.study)
  table = _tabulate(board, column)
  if arm not in table:
    return f'the study has no arm {arm}'
  values = table[arm].dropna().to_numpy()
  if not np.isfinite(values).all():
    return f'not every run of {arm} has a value'
  span = statistics.interval(values, board.alpha)
  mean = float(values.mean()) if len(values) else math.nan
  show = lambda number: formats.value(column, number)
  interval = f'[{show(span.low)}, {show(span.high)}]'
  text = f'{show(mean)} {interval}, {_count(board, len(values))}'
  lack = _lack(board, len(values), span.kind, (span.low, span.high))
  return [_Estimate(span.low, span.high, text, lack.replace('pairs of runs', 'runs'))]


def _tabulate(board: _Board, column: str) -> pd.DataFrame:
  """A column by seed and arm: nan where a run failed or is missing.

  Metrics of diverged runs score their fallback; of other columns an infinity says that
  a run diverged or has no number, such as a step at which nothing was reached.
  """
  study, tuned = board.study, pairs.declared(board.study)
  known = {study['metric']['name'], *study['metrics']}
  if '/' in column and column.removeprefix('final/').split('/', 1)[-1] in known:
    return pairs.tabulate(study, board.runs, column, tuned).value
  mine = pairs.select(study, board.runs, tuned)
  mine = mine[mine['status'] != 'failed']
  numbers = mine[column].astype(float)
  numbers = numbers.where((mine['status'] == 'ok') & np.isfinite(numbers), math.inf)
  table = mine.assign(number=numbers).pivot(
    index='seed', columns='arm', values='number'
  )
  return table.reindex(index=study['seeds'], columns=[a['name'] for a in study['arms']])


def _measure_ratio(board: _Board, claim: Claim, column: str) -> list[_Estimate] | str:
  """The geometric mean over seeds of arm / reference; its interval is of the logs."""
  sides = [claim.arm], [claim.reference]
  if not (claim.arm and claim.reference):
    contrast = _contrast(board.study, claim)
    if isinstance(contrast, str):
      return contrast
    sides = pairs.cells(contrast)
  table = _tabulate(board, column)
  unknown = [name for side in sides for name in side if name not in table]
  if unknown:
    return f'the study has no arm {unknown[0]}'
  arm, reference = (table[list(side)].to_numpy().mean(1) for side in sides)
  there = ~np.isnan(arm) & ~np.isnan(reference)
  arm, reference = arm[there], reference[there]
  never = ~np.isfinite(arm) | ~np.isfinite(reference)
  if never.any():
    return f'in {never.sum()} of {len(arm)} seeds a run has no {formats.name(column)}'
  if not ((arm > 0) & (reference > 0)).all():
    return 'a ratio needs numbers above 0'
  logs = np.log(arm) - np.log(reference)
  span = statistics.interval(logs, board.alpha)
  low, high = math.exp(span.low), math.exp(span.high)
  mean = math.exp(float(logs.mean())) if len(logs) else math.nan
  ends = f'[{formats.number(low, 3)}, {formats.number(high, 3)}]'
  text = f'{_times(mean)} {ends}, {_count(board, len(logs))}'
  return [_Estimate(low, high, text, _lack(board, len(logs), span.kind, (low, high)))]


def _times(number: float) -> str:
  return formats.NOTHING if math.isnan(number) else f'{formats.number(number, 3)}×'


def _measure_gains(
  board: _Board, contrast: Mapping[str, Any], column: str
) -> list[_Estimate] | str:
  """The contrast's gains at all targets, by separate runs at several budgets."""
  if board.gains is None or not len(board.gains):
    return 'no compute-equivalent gain was measured'
  table = board.gains
  mine = table[(table['metric'] == column) & (table['axis'] == 'budget')]
  for name in ('arm', 'factor', 'reference'):
    mine = mine[mine[name].astype(str) == str(contrast[name])]
  found = []
  for row in mine.to_dict('records'):
    low, high, n = float(row['ci_low']), float(row['ci_high']), int(row['n'])
    # a bootstrap tells not when seeds are too few: where the other intervals do
    few = statistics.smallest_p(n) > board.alpha
    kind = statistics.STUDENT if few else statistics.INVERSION
    lack = _lack(board, n, kind, (low, high))
    if not lack and (math.isnan(float(row['gain'])) or (low <= 0 and math.isinf(high))):
      lack = 'the gain is bounded on no side'
    at = formats.value(column, float(row['target']))
    text = f'{row["text"]} at {at}, {_count(board, n)}'
    found.append(_Estimate(low, high, text, lack))
  return found or 'no compute-equivalent gain of it was measured'


def _publish(board: _Board, claim: Claim) -> str:
  """What was published, as a reader says it: 'helps, +2.00 points ± 0.10'."""
  parts: list[str] = [claim.direction] if claim.direction else []
  if claim.number is not None:
    column = _column(board, claim) or claim.metric
    if claim.quantity in ('gain', 'ratio'):
      text, wide = _times(claim.number), _times(claim.tolerance or 0)
      text += ' the compute' if claim.quantity == 'gain' else ''
    else:
      text = formats.value(column, claim.number)
      if claim.quantity == 'delta':
        text = formats.delta(column, claim.number, unit=True)
      wide = formats.delta(column, claim.tolerance or 0).lstrip('+')
    parts.append(f'{text} ± {wide}' if claim.tolerance else text)
  return ', '.join(parts)
