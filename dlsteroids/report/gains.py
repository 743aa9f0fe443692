"""The section on compute-equivalent gains: sentences, tables, how to read them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import gains as gains_lib
from dlsteroids.analysis import summary
from dlsteroids.report import blocks, facts, formats, tables
from dlsteroids.study import study as study_lib

ANYTIME = gains_lib.ANYTIME
FEW_SEEDS = 5  # below, so few resamples differ that intervals are too narrow
WORDS = {'budget': 'budgets', 'size': 'widths', ANYTIME: 'single runs'}
_LEADS = {'size': 'growing the widths, ', ANYTIME: 'along single runs (anytime), '}
_SIGNS = {
  gains_lib.NEVER: '“>”: the ablated arm does not reach the target.',
  gains_lib.INTACT_AT_ONCE: '“≥”: the intact arm reaches it at its least compute.',
  gains_lib.ABLATED_AT_ONCE: '“≤”: the ablated arm reaches it at its least compute.',
  gains_lib.BOTH_AT_ONCE: '“unknown”: both arms reach it at their least compute.',
  gains_lib.INTACT_NEVER: '“undefined”: the intact arm does not reach it.',
}
WITHOUT_NUMBER = {
  gains_lib.INTACT_NEVER: 'undefined',
  gains_lib.BOTH_AT_ONCE: 'unknown',
}
_BOUNDS = {
  gains_lib.NEVER: '> ',
  gains_lib.INTACT_AT_ONCE: '≥ ',
  gains_lib.ABLATED_AT_ONCE: '≤ ',
}
_COUNTED = {'> ': 'more than ', '≥ ': 'at least ', '≤ ': 'at most '}


def section(
  study: study_lib.Study,
  result: gains_lib.Gains,
  anytime: gains_lib.Gains | None,
  whose: str,
) -> blocks.Section:
  """Sentences, tables and notes on the gains of separate runs and of single curves.

  Args:
    study: the study.
    result: of separate runs.
    anytime: of single curves, or None.
    whose: the runs whose curves they are, such as 'tuned runs'.
  """
  parts: list[Any] = [blocks.Prose(text) for text in sentences(study, result)]
  listed = [_table('Compute-equivalent gain', result)]
  texts = notes(study, result)
  if anytime:
    texts += [f'Anytime: {text}' for text in notes(study, anytime)]
    title = f'Anytime gain, read off single validation curves of {whose}'
    listed += [] if anytime.refusal else [_table(title, anytime)]
  parts += [table for table in listed if table.rows]
  parts += [blocks.Bullets(tuple(texts))] if texts else []
  return blocks.Section('How much compute is it worth?', parts, 'gains')


def sentences(study: study_lib.Study, gains: gains_lib.Gains) -> list[str]:
  """One sentence a contrast and axis; the refusal if there are no gains.

  E.g. 'Without norm (none instead of batch) the model needs 3.2× [2.1, > 8.3] the
  compute to reach 95.00 % test accuracy.'
  """
  if gains.refusal:
    return [refusal(study, gains)]
  return [tell(study, row) for row in pick(gains.frame)]


def refusal(study: study_lib.Study, gains: gains_lib.Gains) -> str:
  """Why there is no gain at all, and what to do; '' if there are gains."""
  return ' '.join(_remark(study, gains.metric, remark) for remark in gains.refusal)


def notes(study: study_lib.Study, gains: gains_lib.Gains) -> list[str]:
  """How the numbers were made and what is missing, a sentence each."""
  texts = [] if gains.refusal else explain(gains.frame)
  texts += [_remark(study, gains.metric, remark) for remark in gains.remarks]
  return list(dict.fromkeys(texts))


_REMARKS = {
  'no contrast': 'No gain can be measured: no contrast is of two arms.',
  'one compute': 'No gain: every run has the same compute. Set '
  '--config.study.budgets=0.25,0.5,1,2 or --config.study.sizes=0.5,1,2 and run the '
  'study again; only new runs are trained.',
  'unfinished': 'No gain over {axis} yet: no arm has finished two of its rungs '
  '{listed}. The same command trains what is missing.',
  'no curve': 'No anytime gain: {name} was not evaluated twice or more during the '
  'runs; set --config.train.evaluations=10.',
  'no arm': 'No gain of {factor}: no arm lacks just it ({level}), to be compared with '
  '{arm}.',
  'short rungs': 'Left out until 90 % of their runs have a score: {listed}.',
  'diverged': 'Left out, as most of their runs diverged: {listed}.',
  'constant': 'No gain {over}: {metric} is {shown[0]} everywhere, at every rung of '
  'every arm.',
  'bad share': 'Target {0:g} is left out: {metric} is a share, set '
  f'--config.study.targets={{share:g}} for {{0:g}}{formats.THIN}%.',
  'bad error': 'Target {0:g} is left out: errors here are above 0.',
  'unreached': 'No arm reaches {shown[0]} {metric} {over}; the best is {shown[1]} '
  '({arm} at {2:.3g}×).',
  'few rungs': 'No gain of {factor} {over}: two rungs are needed, {listed}.',
  'no seed': 'No gain of {factor} {over}: no seed has a score at every rung of {0} and '
  '{1}.',
  'flat': '{arm} does not get better with compute {over}: what it reaches it reaches '
  'at once, and gains are bounds.',
}


def _remark(study: study_lib.Study, column: str, remark: gains_lib.Remark) -> str:
  """A remark in a sentence or two."""
  values = remark.values
  details: dict[str, Any] = {}
  match remark.kind:
    case 'unfinished':
      details['listed'] = ', '.join(f'{rung:g}' for rung in values)
    case 'short rungs':
      rungs = [
        f'{name} at {remark.axis} {a:g} ({n} of {m})' for name, a, n, m in values
      ]
      details['listed'] = formats.first_few(rungs, 4)
    case 'diverged':
      at = '' if remark.axis == ANYTIME else f' at {remark.axis} {{:g}}'
      rungs = [f'{name}{at.format(a)} ({n} of {m})' for name, a, n, m in values]
      details['listed'] = formats.first_few(rungs, 4)
    case 'few rungs':
      counts = [f'{name} has {count}' for name, count in values]
      details['listed'] = formats.listing(counts)
    case 'bad share':
      details['share'] = values[0] / 100
    case 'constant' | 'unreached':
      details['shown'] = [formats.value(column, value) for value in values[:2]]
  return _REMARKS[remark.kind].format(
    *values,
    **remark._asdict(),
    over=f'over {WORDS.get(remark.axis, remark.axis)}',
    name=formats.name(study.metric.name),
    metric=facts.words(study, column),
    **details,
  )


def describe(row: Mapping[Any, Any]) -> str:
  """A row's gain: '3.2× [2.1, > 8.3]'; with one seed no interval."""
  if row['censored'] in WITHOUT_NUMBER:
    return WITHOUT_NUMBER[row['censored']]
  interval = ''
  if not formats.missing(row['ci_low']):
    low = _end(row['ci_low'], row['low_shown'], '< ', '0')
    high = _end(row['ci_high'], row['high_shown'], '> ', '∞')
    interval = f' [{low}, {high}]'
  return f'{_BOUNDS.get(row["censored"], "")}{times(row["gain_shown"])}×{interval}'


def times(factor: float) -> str:
  """A factor of compute without its sign '×': '0.45', '1.04', '3.2', '12'."""
  if factor < 0.0995:
    return f'{factor:.2g}'
  if factor < 1.995:
    return f'{factor:.2f}'
  return f'{factor:.1f}' if factor < 9.95 else f'{factor:,.0f}'


def _end(end: float, shown: float, sign: str, empty: str) -> str:
  if math.isnan(shown):
    return empty
  return times(shown) if 0 < end < math.inf else f'{sign}{times(shown)}'


def explain(frame: pd.DataFrame) -> list[str]:
  """How the gains were made and how they read, a sentence each; rows are needed."""
  signs = [text for name, text in _SIGNS.items() if (frame['censored'] == name).any()]
  defined = frame[frame['censored'] != gains_lib.INTACT_NEVER]
  lost, few = float(defined['share_undefined'].max()), int(frame['n'].min())
  return formats.those_that_hold(
    {
      'A compute-equivalent gain is the compute at which the ablated arm reaches a '
      'target over that at which the intact one does. Errors, averaged over seeds, are '
      'made to fall with FLOPs by an isotonic fit; between its points the log of FLOPs '
      'is interpolated in the log of the error. Beyond them nothing is '
      'extrapolated.': True,
      f'Intervals resample seeds {gains_lib.RESAMPLES:,} times, jointly for both arms '
      'and all rungs; percentiles are expanded for few seeds (Hesterberg '
      '2015).': (frame['n'] > 1).any(),
      'Targets that were not declared (config.study.targets) are what the intact arm '
      'reaches at its rungs; they move with it when seeds are '
      'resampled.': frame['rung'].notna().any(),
      'Anytime gains are read off single learning curves, whose every point belongs to '
      'a schedule made for the whole run.': (frame['axis'] == ANYTIME).any(),
      f'Signs of gains: {" ".join(signs)}': signs,
      'An end of an interval with “>” or “<” is not bounded by the runs: it lies '
      'beyond that number.': (
        np.isposinf(frame['ci_high']) | (frame['ci_low'] == 0)
      ).any(),
      f'In up to {_percent(lost)} of the resamples the intact arm does not reach a '
      'declared target; they are counted, and the interval is of the others.': lost > 0,
      'One seed has no interval: set --config.study.seeds=8 or more.': few == 1,
      f'With {few} seeds intervals are too narrow: few resamples differ. Simulated, '
      'they hold the gain in .78 to .91 of studies at 3 seeds, in .88 to .97 at '
      '4.': 1 < few < FEW_SEEDS,
    }
  )


def _percent(share: float) -> str:
  return f'{100 * share:.{0 if share >= 0.095 else 1}f}{formats.THIN}%'


def pick(frame: pd.DataFrame) -> list[dict[str, Any]]:
  """A row a contrast and axis: at the rung nearest to 1, or the first declared target.

  Declared targets without a number count only where there are no others.
  """
  rows = []
  keys = ['axis', 'factor', 'level', 'arm', 'reference']
  for _, group in frame.groupby(keys, sort=False, dropna=False):
    first = int(np.argmin(group['censored'].isin(gains_lib.WITHOUT_NUMBER).to_numpy()))
    if group['rung'].notna().all():
      rungs = group['rung'].to_numpy(float)
      measured = (group['censored'] == '').to_numpy()
      first = int(np.argmin(np.abs(np.log(rungs))))
      if not measured[first] and measured.any():  # else the highest
        first = int(np.argmax(np.where(measured, rungs, 0)))
    rows.append({str(k): v for k, v in group.iloc[first].to_dict().items()})
  return rows


def tell(study: study_lib.Study, row: Mapping[str, Any]) -> str:
  """One row of the gains as a sentence."""
  return formats.sentence_case(f'{_LEADS.get(row["axis"], "")}{_body(study, row)}.')


def _body(study: study_lib.Study, row: Mapping[str, Any]) -> str:
  metric, text, censored = str(row['metric']), describe(row), row['censored']
  is_intact = row['intact'] == summary.intact_arm(study)
  intact = 'the intact model' if is_intact else f'the arm {row["intact"]}'
  goal = f'{formats.value(metric, row["target"])} {facts.words(study, metric)}'
  if not formats.missing(row['rung']):
    goal += f', what {intact} reaches {_name_rung(row)}'
  who = _name_ablated(study, row)
  tried = 'with the compute tried'
  if censored == gains_lib.INTACT_NEVER:
    return f'{intact} does not reach {goal} {tried}; what {who} needs is undefined'
  if censored == gains_lib.BOTH_AT_ONCE:
    return f'{who} and {intact} both reach {goal} at the least compute tried'
  for sign, count in _COUNTED.items():
    if text.startswith(sign):
      text = text.replace(sign, count, 1)
  body = f'{who} needs {text} the compute to reach {goal}'
  if censored == gains_lib.NEVER:
    body += f'; {tried} it does not get there'
  if formats.missing(row['ci_low']):
    return f'{body} (one seed, no interval)' if row['n'] == 1 else body
  # of an arm that never gets there; whole steps make it a little less than 1
  over = math.isclose(row['ci_low'], 1, rel_tol=0.01) and censored == gains_lib.NEVER
  within = row['ci_low'] <= 1 <= row['ci_high'] and not over
  return f'{body} (1×, no difference, is in the interval)' if within else body


def _name_rung(row: Mapping[str, Any]) -> str:
  if row['axis'] != ANYTIME:
    return f'at {row["rung"]:.3g}× {"budget" if row["axis"] == "budget" else "width"}'
  return (
    'at its end' if row['rung'] == 1 else f'after {_percent(row["rung"])} of its run'
  )


def _name_ablated(study: study_lib.Study, row: Mapping[str, Any]) -> str:
  """'without norm (none instead of batch) the model', or the arm's name."""
  factor = {one.name: one for one in study.factors}.get(row['factor'])
  new, old = (
    study.arm(row[side]).assignment.get(row['factor']) for side in ('ablated', 'intact')
  )
  if factor is None or new is None or old is None:
    return f'the arm {row["ablated"]}'
  if new != factor.levels[-1].name:
    return f'with {new} instead of {old} the model'
  name = factor.name.replace('_', ' ')
  return f'without {name} ({new} instead of {old}) the model'


def _table(title: str, result: gains_lib.Gains) -> blocks.Table:
  """A row a contrast, axis and target."""
  rows = [
    {
      'Without': f'{row["factor"]} ({row["level"]})'.removesuffix(' ()'),
      'Ladder': str(row['axis']),
      'Target': formats.value(row['metric'], row['target']),
      'Gain': describe(row),
      'Never reached': f'{row["share_never"]:.0%}',
      'Seeds': formats.count(row['n']),
    }
    for row in result.frame.to_dict('records')
  ]
  return tables.make(title, rows, ('Without', 'Ladder'))
