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

from dlsteroids.analysis import coalitions, looks, pairs, shares

ENDS = ('ratio', 'scale', 'n', 'bare', 'full')
RAW, LOG = coalitions.RAW, coalitions.LOG
_SAME = 1e-4  # relative: budgets are written with few digits


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
    orders: a frame with exactly `shares.ORDERS`: what compute and the ideas add where
      compute comes first and where it comes last, as `players`.
    notes: what a reader must know, a sentence each.
    refusal: why there is none and how to get it; '' if there is one.
    ratio: the headline C_high / C_low; 1 without compute.
    scale: 'log-error' if the headline has it, else 'raw'.
  """

  players: pd.DataFrame
  interactions: pd.DataFrame
  ends: pd.DataFrame
  orders: pd.DataFrame
  notes: tuple[str, ...]
  refusal: str
  ratio: float
  scale: str


class _Part(NamedTuple):
  """Rows of the four frames, and what to say of them, at one ratio."""

  players: list[dict[str, Any]]
  interactions: list[dict[str, Any]]
  ends: list[dict[str, Any]]
  orders: list[dict[str, Any]]
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
    none, why = _frames([]), str(refusal)
    return Attribution(**none, notes=(), refusal=why, ratio=math.nan, scale='')


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
  found = frames['ends']
  scale = LOG if LOG in set(found['scale'][found['ratio'] == headline]) else RAW
  said = tuple(notes)
  return Attribution(**frames, notes=said, refusal='', ratio=headline, scale=scale)


def _frames(parts: Sequence[_Part]) -> dict[str, Any]:
  """Players, interactions, ends and orders of all parts."""
  kinds = {
    'players': shares.PLAYERS,
    'interactions': shares.INTERACTIONS,
    'ends': ENDS,
    'orders': shares.ORDERS,
  }
  rows = {
    name: [row for part in parts for row in getattr(part, name)] for name in kinds
  }
  return {
    name: pd.DataFrame(rows[name], columns=list(columns))
    for name, columns in kinds.items()
  }


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
  part = _Part([], [], [], [], notes)
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
    part.orders.extend({**row, **common} for row in found.orders)
    ends = {'bare': sign * found.bare, 'full': sign * found.full}
    part.ends.append({**common, 'n': values.shape[1], **ends})
    notes.extend(f'{text} ({scale}).' for text in found.notes)
  return part


def at_headline(
  attribution: Attribution, frame: pd.DataFrame, scale: str = ''
) -> list[dict[str, Any]]:
  """The rows of a frame at the headline ratio and on a scale, the headline's if ''."""
  mine = frame[frame['scale'] == (scale or attribution.scale)]
  return rows_of(mine[mine['ratio'] == attribution.ratio])


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
  """A frame as rows."""
  return [{str(k): v for k, v in row.items()} for row in frame.to_dict('records')]
