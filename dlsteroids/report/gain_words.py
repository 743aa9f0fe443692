"""Compute-equivalent gains in words: a sentence each, and how to read their table."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import ladder_fit, summary
from dlsteroids.report import facts, formats

ANYTIME = 'anytime'
FEW_SEEDS = 5  # below, so few resamples differ that intervals are too narrow
WORDS = {'budget': 'budgets', 'size': 'widths', ANYTIME: 'single runs'}
_LEADS = {
  'budget': '',
  'size': 'growing the widths, ',
  ANYTIME: 'along single runs (anytime), ',
}
_SIGNS = {
  ladder_fit.NEVER: '“>”: the ablated arm does not reach the target.',
  ladder_fit.INTACT_AT_ONCE: '“≥”: the intact arm reaches it at its least compute.',
  ladder_fit.ABLATED_AT_ONCE: '“≤”: the ablated arm reaches it at its least compute.',
  ladder_fit.BOTH_AT_ONCE: '“untold”: both arms reach it at their least compute.',
  ladder_fit.INTACT_NEVER: '“undefined”: the intact arm does not reach it.',
}
_COUNTED = {'> ': 'more than ', '≥ ': 'at least ', '≤ ': 'at most '}


def explain(frame: pd.DataFrame) -> list[str]:
  """How the gains were made and how they read, a sentence each; rows are needed."""
  told = [
    'A compute-equivalent gain is the compute at which the ablated arm reaches a '
    'target over that at which the intact one does. Errors, averaged over seeds, are '
    'made to fall with FLOPs by an isotonic fit; between its points the log of FLOPs '
    'is interpolated in the log of the error. Beyond them nothing is extrapolated.',
  ]
  if (frame['n'] > 1).any():
    told.append(
      f'Intervals resample seeds {ladder_fit.RESAMPLES:,} times, jointly for both arms '
      'and all rungs; percentiles are expanded for few seeds (Hesterberg 2015).'
    )
  if frame['rung'].notna().any():
    told.append(
      'Targets that were not declared (config.study.targets) are what the intact arm '
      'reaches at its rungs; they move with it when seeds are resampled.'
    )
  if (frame['axis'] == ANYTIME).any():
    told.append(
      'Anytime gains are read off single learning curves, whose every point belongs to '
      'a schedule made for the whole run.'
    )
  used = [text for name, text in _SIGNS.items() if (frame['censored'] == name).any()]
  told += [f'Signs of gains: {" ".join(used)}'] * bool(used)
  if (np.isposinf(frame['ci_high']) | (frame['ci_low'] == 0)).any():
    told.append(
      'An end of an interval with “>” or “<” is not bounded by the runs: it lies '
      'beyond that number.'
    )
  known = frame[frame['censored'] != ladder_fit.INTACT_NEVER]
  lost = float(known['share_undefined'].max())
  if lost > 0:
    told.append(
      f'In up to {_percent(lost)} of the resamples the intact arm does not reach a '
      'declared target; they are counted, and the interval is of the others.'
    )
  few = int(frame['n'].min())
  if few == 1:
    told.append('One seed has no interval: set --config.study.seeds=8 or more.')
  elif few < FEW_SEEDS:
    told.append(
      f'With {few} seeds intervals are too narrow: few resamples differ. Simulated, '
      'they hold the gain in .78 to .91 of studies at 3 seeds, in .88 to .97 at 4.'
    )
  return told


def _percent(share: float) -> str:
  return f'{100 * share:.{0 if share >= 0.095 else 1}f}{formats.THIN}%'


def pick(frame: pd.DataFrame) -> list[dict[str, Any]]:
  """A row a contrast and axis: at the rung nearest to 1, or the first declared target.

  Declared targets at which no gain can be told count only where there are no others.
  """
  rows = []
  keys = ['axis', 'factor', 'level', 'arm', 'reference']
  for _, group in frame.groupby(keys, sort=False, dropna=False):
    first = int(np.argmin(group['censored'].isin(ladder_fit.UNTOLD).to_numpy()))
    if group['rung'].notna().all():
      rungs = group['rung'].to_numpy(float)
      told = (group['censored'] == '').to_numpy()
      first = int(np.argmin(np.abs(np.log(rungs))))
      if not told[first] and told.any():  # else the highest rung that was measured
        first = int(np.argmax(np.where(told, rungs, 0)))
    rows.append({str(k): v for k, v in group.iloc[first].to_dict().items()})
  return rows


def tell(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  """One row of the gains as a sentence."""
  text = f'{_LEADS[row["axis"]]}{_body(study, row)}.'
  return f'{text[:1].upper()}{text[1:]}'


def _body(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  metric, text, censored = str(row['metric']), str(row['text']), row['censored']
  is_intact = row['intact'] == summary.intact_arm(study)
  intact = 'the intact model' if is_intact else f'the arm {row["intact"]}'
  goal = f'{formats.value(metric, row["target"])} {facts.words(study, metric)}'
  if not formats.missing(row['rung']):
    goal += f', what {intact} reaches {_name_rung(row)}'
  who = _name_ablated(study, row)
  tried = 'with the compute tried'
  if censored == ladder_fit.INTACT_NEVER:
    return f'{intact} does not reach {goal} {tried}; what {who} needs is undefined'
  if censored == ladder_fit.BOTH_AT_ONCE:
    return f'{who} and {intact} both reach {goal} at the least compute tried'
  for sign, count in _COUNTED.items():
    if text.startswith(sign):
      text = text.replace(sign, count, 1)
  body = f'{who} needs {text} the compute to reach {goal}'
  if censored == ladder_fit.NEVER:
    body += f'; {tried} it does not get there'
  if formats.missing(row['ci_low']):
    return f'{body} (one seed, no interval)' if row['n'] == 1 else body
  # a gain is more than the bound of an arm that never gets there
  # (which steps, being whole, make a little less than 1)
  over = math.isclose(row['ci_low'], 1, rel_tol=0.01) and censored == ladder_fit.NEVER
  within = row['ci_low'] <= 1 <= row['ci_high'] and not over
  return f'{body} (1×, no difference, is in the interval)' if within else body


def _name_rung(row: Mapping[str, Any]) -> str:
  if row['axis'] != ANYTIME:
    noun = 'budget' if row['axis'] == 'budget' else 'width'
    return f'at {row["rung"]:.3g}× {noun}'
  if row['rung'] == 1:
    return 'at its end'
  return f'after {_percent(row["rung"])} of its run'


def _name_ablated(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  """'without norm (none instead of batch) the model', or the arm's name."""
  levels = {f['name']: [v['name'] for v in f['levels']] for f in study['factors']}
  assigned = {arm['name']: dict(arm['assignment']) for arm in study['arms']}
  factor = row['factor']
  new, old = (assigned[row[side]].get(factor) for side in ('ablated', 'intact'))
  if factor not in levels or new is None or old is None:
    return f'the arm {row["ablated"]}'
  swap = f'{new} instead of {old}'
  if new != levels[factor][-1]:
    return f'with {swap} the model'
  return f'without {factor.replace("_", " ")} ({swap}) the model'
