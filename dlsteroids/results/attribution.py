"""How the gain from the bare to the full model divides among ideas and compute.

The game of the project's statistics page: v(S, c) is the deciding metric of the ideas S
trained at the budget c; the players are the study's factors and, where the declared
regime has several budgets, compute. All of it is descriptive: it has no verdicts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.results import (
  coalitions,
  facts,
  formats,
  looks,
  pairs,
  shares,
  statistics,
)

ENDS = ('ratio', 'scale', 'n', 'bare', 'full')
RAW, LOG = coalitions.RAW, coalitions.LOG
_SAME = 1e-4  # relative: budgets are written with few digits
_SAID = 3  # interactions in words


class Attribution(NamedTuple):
  """A gain divided among its players.

  Attributes:
    players: a frame with exactly `shares.PLAYERS`: a row a player, ratio and scale;
      then 'ideas' (all together, where compute plays), 'remainder' (of a fraction: the
      gain that main effects do not explain) and 'total'. `phi` is an improvement where
      positive: in the metric's unit ('raw') or as the reduction of the error's natural
      logarithm ('log-error').
    interactions: a frame with exactly `shares.INTERACTIONS`, at the headline ratio.
    ends: a frame with exactly `ENDS`: means over seeds of the bare model at C_low and
      of the full one at C_high, of the metric ('raw') or of the error's logarithm.
    notes: what a reader must know, a sentence each.
    refusal: why there is none and how to get it; '' if there is one.
    ratio: the headline C_high / C_low; 1 without compute.
    scale: 'log-error' if the headline has it, else 'raw'.
  """

  players: pd.DataFrame
  interactions: pd.DataFrame
  ends: pd.DataFrame
  notes: tuple[str, ...]
  refusal: str
  ratio: float
  scale: str


class _Part(NamedTuple):
  """Rows of the three frames, and what to say of them, at one ratio."""

  players: list[dict[str, Any]]
  interactions: list[dict[str, Any]]
  ends: list[dict[str, Any]]
  notes: list[str]


def attribute(study: Mapping[str, Any], all_runs: pd.DataFrame) -> Attribution:
  """Divides the gain from the bare model at C_low to the full one at C_high.

  Per seed phi, exact for the design factorial, else estimated (see `games`); over seeds
  the sign-flip test and its interval at the alpha in force; shares with percentile
  intervals, phi and total resampled jointly. C_high is the largest budget of the
  declared regime, C_low each other one. Seeds at which a needed run has no score are
  dropped; diverged runs score the fallback.

  Args:
    study: the content of study.json.
    all_runs: the runs table with the runs of every condition.

  Returns:
    The frames, or a `refusal`.

  Raises:
    ValueError: a table with a run twice or without the metric, malformed orders.
  """
  try:
    return _attribute(study, all_runs)
  except coalitions.Refusal as refusal:
    return Attribution(*_frames([]), (), str(refusal), math.nan, '')


def _attribute(study: Mapping[str, Any], all_runs: pd.DataFrame) -> Attribution:
  game, budgets = coalitions.make(study), _budgets(study)
  lows = budgets[:-1] or budgets  # alone, a budget is both
  headline = _headline(study, [budgets[-1] / low for low in lows])
  alpha = looks.state(study, _at(study, all_runs, 1.0)).alpha
  column, tuned = pairs.deciding(study), pairs.declared(study)
  scores = {
    budget: pairs.tabulate(study, _at(study, all_runs, budget), column, tuned)
    for budget in budgets
  }
  notes = [*_notes(study, budgets), *game.notes]
  parts = []
  for low in reversed(lows):
    ratio = budgets[-1] / low
    used = {budget: scores[budget] for budget in dict.fromkeys((low, budgets[-1]))}
    try:
      part = _measure(study, game, used, alpha, ratio)
    except coalitions.Refusal as refusal:
      if ratio == headline:
        raise
      notes.append(f'The ratio {ratio:g} is left out. {refusal}')
      continue
    parts.append(part if ratio == headline else part._replace(interactions=[]))
    notes += part.notes if ratio == headline else []
  frames = _frames(parts)
  found = frames[2]
  scale = LOG if LOG in set(found['scale'][found['ratio'] == headline]) else RAW
  return Attribution(*frames, tuple(notes), '', headline, scale)


def _frames(parts: Sequence[_Part]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
  """Players, interactions and ends of all parts."""
  players, others, ends = (
    pd.DataFrame([row for part in parts for row in part[i]], columns=list(columns))
    for i, columns in enumerate((shares.PLAYERS, shares.INTERACTIONS, ENDS))
  )
  return players, others, ends


def _at(
  study: Mapping[str, Any], all_runs: pd.DataFrame, budget: float
) -> pd.DataFrame:
  """The runs of the declared regime at one budget and size 1."""
  close = [
    np.isclose(all_runs[name].astype(float), wanted, rtol=_SAME, atol=0)
    for name, wanted in (('budget', budget), ('size', 1.0))
  ]
  return all_runs[(all_runs['regime'] == study['regime']) & close[0] & close[1]]


def _budgets(study: Mapping[str, Any]) -> list[float]:
  """Budgets of the declared regime at size 1, ascending."""
  return sorted(
    {
      float(condition['budget'])
      for condition in study['conditions']
      if condition['regime'] == study['regime'] and condition['size'] == 1
    }
  )


def _headline(study: Mapping[str, Any], ratios: Sequence[float]) -> float:
  """The one of `ratios` that was declared; the largest if none was."""
  wanted = float(study['ratio'])
  if not wanted:
    return max(ratios)
  for ratio in ratios:
    if math.isclose(ratio, wanted, rel_tol=_SAME) and ratio > 1:
      return ratio
  there = ', '.join(f'{ratio:g}' for ratio in sorted(ratios) if ratio > 1)
  raise coalitions.Refusal(
    f'No attribution: the headline ratio {wanted:g} is none of the ratios of budgets '
    f'({there or "there is only one budget"}); change study.ratio or study.budgets.'
  )


def _notes(study: Mapping[str, Any], budgets: Sequence[float]) -> list[str]:
  """What follows from the study's declarations alone."""
  notes = ['The p-values are those of single rows, not corrected for their number.']
  if len(budgets) < 2:
    return [
      'Compute is no player, since there is one budget: study.budgets=0.0625,0.25 adds '
      'smaller ones.',
      *notes,
    ]
  if not study['ratio']:
    notes.append(
      'No headline ratio was declared beforehand (study.ratio): the widest is shown.'
    )
  if study['regime'] != 'flops':
    notes.append(
      f'A budget is equal {study["regime"]}, not equal FLOPs (study.regimes=flops): '
      'what an idea costs in compute is counted as the idea’s.'
    )
  if not study.get('tune'):
    notes.append(
      'Numbers such as the learning rate are the same at every budget, not tuned '
      '(study.tune): a budget at which they are ill-chosen changes the shares.'
    )
  return notes


def _measure(
  study: Mapping[str, Any],
  game: coalitions.Game,
  scores: Mapping[float, pairs.Scores],
  alpha: float,
  ratio: float,
) -> _Part:
  """The rows of one ratio, from the scores at C_low and C_high (or at one budget)."""
  values, notes = coalitions.gather(study, game, scores, alpha)
  part = _Part([], [], [], notes)
  for scale in (RAW, LOG):
    turned, why = coalitions.turn(study, values, scale)
    if why:
      notes.append(f'No shares of the logarithm of the error: {why}.')
      continue
    common = {'ratio': ratio, 'scale': scale}
    found = shares.divide(game, list(turned), alpha)
    sign = -1 if scale == LOG else coalitions.better(study)
    part.players.extend({**row, **common} for row in found.players)
    part.interactions.extend({**row, **common} for row in found.interactions)
    ends = {'bare': sign * found.bare, 'full': sign * found.full}
    part.ends.append({**common, 'n': values.shape[1], **ends})
    notes.extend(f'{text} ({scale}).' for text in found.notes)
  return part


def sentences(study: Mapping[str, Any], attribution: Attribution) -> list[str]:
  """The attribution in words, at the headline ratio; or the refusal.

  Returns:
    What the gain is; on each scale whose it is, e.g. 'Compute (16×) accounts for 38 %
    [31, 44] of the gain in log-error from bare to full model; convolution 30 %
    [22, 37]; ideas together 62 % [56, 69].'; and who gains more, or less, together.
  """
  if attribution.refusal:
    return [attribution.refusal]
  ends = at_headline(attribution, attribution.ends, RAW)[0]
  column = pairs.deciding(study)
  what, moves = facts.words(study, column), ('rises', 'falls')
  start = 'the bare model'
  if attribution.ratio > 1:
    start += f' at 1/{attribution.ratio:g} of the compute'
  said = [
    f'From {start} to the full one, {what} {moves[ends["full"] < ends["bare"]]} from '
    f'{formats.value(column, ends["bare"])} to {formats.value(column, ends["full"])} '
    f'({ends["n"]} seeds).'
  ]
  for scale in (LOG, RAW):
    rows = at_headline(attribution, attribution.players, scale)
    said += [_tell(study, attribution, rows, scale)] if rows else []
  return said + _tell_pairs(study, attribution)


def at_headline(
  attribution: Attribution, frame: pd.DataFrame, scale: str = ''
) -> list[dict[str, Any]]:
  """The rows of a frame at the headline ratio and on a scale, the headline's if ''."""
  mine = frame[frame['scale'] == (scale or attribution.scale)]
  return rows_of(mine[mine['ratio'] == attribution.ratio])


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
  """A frame as rows."""
  return [{str(k): v for k, v in row.items()} for row in frame.to_dict('records')]


def name_scale(study: Mapping[str, Any], scale: str) -> str:
  """What a gain is counted in: 'test accuracy', 'log-error', 'the logarithm of …'."""
  column = pairs.deciding(study)
  if scale == LOG:
    known = formats.is_share(column)
    return LOG if known else f'the logarithm of {facts.words(study, column)}'
  return facts.words(study, column)


def name_player(attribution: Attribution, player: str) -> str:
  """A row's player in words: 'compute (16×)', 'batch norm', 'ideas together'."""
  if player == shares.COMPUTE:
    return f'compute ({attribution.ratio:g}×)'
  known = {shares.IDEAS: 'ideas together', shares.REMAINDER: 'not told apart'}
  return known.get(player, player.replace('_', ' '))


def choose_digits(rows: Sequence[Mapping[str, Any]]) -> int:
  """Decimals of shares in percent: one if an interval is narrow, else none."""
  widths = [100 * (row['share_high'] - row['share_low']) for row in rows]
  return 0 if min(widths, default=0.0) >= 2 else 1


def tell_share(row: Mapping[str, Any], digits: int = 1) -> tuple[str, str]:
  """A row's share of the gain in percent, and its interval; '' where there is none."""
  if formats.missing(row['share']):
    return '', ''
  share, low, high = (
    f'{round(100 * row[name], digits) + 0.0:.{digits}f}'.replace('-', formats.MINUS)
    for name in ('share', 'share_low', 'share_high')
  )
  return f'{share}{formats.THIN}%', f'[{low}, {high}]'


def tell_amount(study: Mapping[str, Any], scale: str, amount: float) -> str:
  """An improvement on a scale, signed: '+3.41 points', '+0.72'."""
  if scale == LOG:
    return f'{round(amount, 2) + 0.0:+.2f}'.replace('-', formats.MINUS)
  return formats.delta(pairs.deciding(study), amount, unit=True)


def _tell(
  study: Mapping[str, Any],
  attribution: Attribution,
  rows: Sequence[Mapping[str, Any]],
  scale: str,
) -> str:
  """Whose the gain on one scale is."""
  found = {row['player']: row for row in rows}
  total, what = found.pop(shares.TOTAL), name_scale(study, scale)
  if formats.missing(total['share']):
    ends = (tell_amount(study, scale, total[name]) for name in ('ci_low', 'ci_high'))
    return (
      f'The improvement of {what} from bare to full model, '
      f'{tell_amount(study, scale, total["phi"])} [{", ".join(ends)}], cannot be told '
      'from none: it is not divided.'
    )
  ideas = [row for name, row in found.items() if name not in coalitions.RESERVED]
  ideas.sort(key=lambda row: row['share'], reverse=True)
  names = (shares.REMAINDER, shares.IDEAS) if len(ideas) > 1 else (shares.REMAINDER,)
  last = (found.get(name) for name in names)
  ordered = [found.get(shares.COMPUTE), *ideas, *last]
  kept = [row for row in ordered if row is not None]
  digits = choose_digits(kept)
  (first, share), *others = [
    (name_player(attribution, row['player']), ' '.join(tell_share(row, digits)))
    for row in kept
  ]
  gain = 'gain' if total['phi'] > 0 else 'loss'
  parts = [
    f'{first[:1].upper()}{first[1:]} accounts for {share} of the {gain} in {what} from '
    'bare to full model',
    *(f'{name} {share}' for name, share in others),
  ]
  return f'{"; ".join(parts)}.'


def _tell_pairs(study: Mapping[str, Any], attribution: Attribution) -> list[str]:
  """The largest interactions that stand after Holm's step-down, `_SAID` each way."""
  rows = at_headline(attribution, attribution.interactions)
  adjusted = statistics.holm([row['p'] for row in rows])
  rows = [
    row
    for row, p in zip(rows, adjusted)
    if p <= study['alpha'] and row['ci_low'] * row['ci_high'] > 0
  ]
  rows.sort(key=lambda row: abs(row['index']), reverse=True)
  said = []
  for more in (True, False):
    mine = [row for row in rows if (row['index'] > 0) == more][:_SAID]
    parts = [
      ' and '.join(name_player(attribution, row[key]) for key in ('player', 'with'))
      + f' ({tell_amount(study, attribution.scale, row["index"])})'
      for row in mine
    ]
    if parts:
      what = name_scale(study, attribution.scale)
      word = 'More' if more else 'Less'
      said.append(f'{word} together than apart, in {what}: {"; ".join(parts)}.')
  return said
