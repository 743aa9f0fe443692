"""Compute-equivalent gains: how many times the compute an ablated arm needs.

At a target, the FLOPs at which the ablated arm reaches it over those at which the
intact one does. 1 is no difference; above 1 the component saves compute. Gains are
descriptive: they have intervals over seeds, and no tests.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import ladder_fit, ladders, looks, statistics
from dlsteroids.report import facts, formats, gain_words

COLUMNS = (
  'factor',
  'level',
  'arm',
  'reference',
  'intact',
  'ablated',
  'axis',
  'metric',
  'target',
  'rung',
  'n',
  'gain',
  'ci_low',
  'ci_high',
  'censored',
  'share_never',
  'share_undefined',
  'cost_intact',
  'cost_ablated',
  'gain_shown',
  'low_shown',
  'high_shown',
  'text',
)
AXES = ('budget', 'size')
ANYTIME = gain_words.ANYTIME
_SHARES = (0.125, 0.25, 0.5, 1.0)  # of a run, whose levels are anytime targets
_ASK = (
  'No gain: every run has the same compute. Set --config.study.budgets=0.25,0.5,1,2 or '
  '--config.study.sizes=0.5,1,2 and run the study again; only new runs are trained.'
)


class Gains(NamedTuple):
  """Gains of a study.

  Attributes:
    frame: exactly `COLUMNS`; a row per contrast, axis and target. `intact` and
      `ablated` are the arms compared. `axis` is 'budget', 'size' or 'anytime'. `target`
      is in the metric's unit; `rung` says where the intact arm reaches it, nan if it
      was declared. The rest are the fields of `ladder_fit.Gain`: costs in FLOPs, gains
      as factors, of which `gain_shown`, `low_shown` and `high_shown` are the finite
      numbers that `text` prints. Intervals use the alpha in force.
    notes: how the numbers were made and what is missing, a sentence each.
    refusal: why there is no gain at all, and what to do; '' if there are rows.
  """

  frame: pd.DataFrame
  notes: tuple[str, ...]
  refusal: str


def gains(study: Mapping[str, Any], all_runs: pd.DataFrame) -> Gains:
  """Gains over separate runs, each with its full schedule, at several computes.

  Targets are the study's, in the unit of its deciding metric. Without any they are what
  the intact arm reaches (its fitted mean) at each of its rungs but the smallest: how
  much compute does the ablated arm need to match it there? Such a target moves with
  the resampled seeds, so that the intact arm reaches it in every replicate.

  Args:
    study: the content of study.json.
    all_runs: the runs of every condition.

  Raises:
    ValueError: the table lacks the deciding metric, or has a run twice.
  """
  sides, notes = ladders.list_sides(study)
  if not sides:
    return _refuse('No gain can be measured: no contrast is of two arms.', notes)
  if not {'regime', *AXES} <= set(all_runs):
    return _refuse(_ASK, notes)
  rows: list[dict[str, Any]] = []
  reasons = []
  for axis in AXES:
    found, short = ladders.climb(study, all_runs, axis)
    notes += short
    if not any(len(ladder.flops) > 1 for ladder in found.values()):
      reasons += _tell_missing(study, axis)
      continue
    new, said = _compare(study, sides, found, axis, ladders.deciding(study, all_runs))
    rows += new
    (notes if new else reasons).extend(said)
  if not rows:
    return _refuse(' '.join(reasons) or _ASK, notes)
  return _finish(rows, [*notes, *reasons])


def anytime(study: Mapping[str, Any], curves: pd.DataFrame) -> Gains:
  """Gains read off single learning curves: the same along each run, axis 'anytime'.

  Every point of a curve is of a schedule made for the whole run, so these are not the
  gains of separate runs. Targets are the study's, or what the intact arm has reached
  after an eighth, a quarter, a half and the whole of its run.

  Args:
    study: the content of study.json.
    curves: columns arm, seed, step, flops (so far), split, metric, value.

  Raises:
    ValueError: an evaluation stands there twice.
  """
  sides, notes = ladders.list_sides(study)
  if not sides:
    return _refuse('No gain can be measured: no contrast is of two arms.', notes)
  found, yard = ladders.climb_curves(study, curves)
  if yard is None or not any(len(ladder.flops) > 1 for ladder in found.values()):
    name = formats.name(study['metric']['name'])
    text = f'No anytime gain: {name} was not evaluated twice or more during the runs'
    return _refuse(f'{text}; set --config.train.evaluations=10.', notes)
  rows, said = _compare(study, sides, found, ANYTIME, yard)
  if not rows:
    return _refuse(' '.join(said), notes)
  return _finish(rows, [*notes, *said])


def _refuse(refusal: str, notes: Sequence[str]) -> Gains:
  return Gains(pd.DataFrame([], columns=list(COLUMNS)), tuple(notes), refusal)


def _finish(rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Gains:
  """The table with its notes: how it was made first, then what is peculiar to it."""
  frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
  return Gains(frame, tuple(dict.fromkeys([*gain_words.explain(frame), *notes])), '')


def _tell_missing(study: Mapping[str, Any], axis: str) -> list[str]:
  """Says that the rungs a study asked for have not ended; nothing if it asked none."""
  regime = study['regime'] if axis == 'budget' else 'steps'
  other = 'size' if axis == 'budget' else 'budget'
  known = study.get('conditions') or ()
  asked = {c[axis] for c in known if c['regime'] == regime and c[other] == 1}
  if len(asked) < 2:
    return []
  rungs = ', '.join(f'{rung:g}' for rung in sorted(asked))
  return [
    f'No gain over {axis} yet: no arm has finished two of its rungs {rungs}. The same '
    'command trains what is missing.'
  ]


def _compare(
  study: Mapping[str, Any],
  sides: Sequence[ladders.Sides],
  found: Mapping[str, ladders.Ladder],
  axis: str,
  yard: ladders.Yardstick,
) -> tuple[list[dict[str, Any]], list[str]]:
  """The rows of one axis, and what is missing or peculiar there."""
  means = np.concatenate([ladder.means for ladder in found.values()])
  over = gain_words.WORDS[axis]
  if np.ptp(means) <= statistics.TIE * np.abs(means).max():
    value = formats.value(yard.column, float(yard.value(means[0])))
    return [], [
      f'No gain over {over}: {facts.words(study, yard.column)} is {value} '
      'everywhere, at every rung of every arm.'
    ]
  declared, notes = _declared(study, yard)
  notes += _tell_unreached(study, found, axis, yard, declared)
  rows: list[dict[str, Any]] = []
  for side in sides:
    intact, ablated = found.get(side.intact), found.get(side.ablated)
    short = [
      f'{name} has {0 if ladder is None else len(ladder.flops)}'
      for name, ladder in ((side.intact, intact), (side.ablated, ablated))
      if ladder is None or len(ladder.flops) < 2
    ]
    if intact is None or ablated is None or short:
      notes.append(
        f'No gain of {side.contrast["factor"] or side.ablated} over {over}: '
        f'two rungs are needed, {formats.listing(short)}.'
      )
    else:
      new = _rows(study, side, (intact, ablated), axis, yard, declared)
      rows += new
      if not new:
        notes.append(
          f'No gain of {side.contrast["factor"]} over {over}: no seed has a score at '
          f'every rung of {side.intact} and {side.ablated}.'
        )
      flat = ladder_fit.isotonic(intact.means)
      if np.ptp(flat) <= statistics.TIE * np.abs(flat).max():
        notes.append(
          f'{side.intact} does not get better with compute over {over}: what it '
          'reaches it reaches at once, and gains are bounds.'
        )
  return rows, notes


def _declared(
  study: Mapping[str, Any], yard: ladders.Yardstick
) -> tuple[list[float], list[str]]:
  """The study's targets that the metric can take, and a note on the others."""
  share = formats.is_share(yard.column)
  good, notes = [], []
  for target in study.get('targets') or ():
    if share and not 0 <= target <= 1:
      notes.append(
        f'Target {target:g} is left out: {facts.words(study, yard.column)} is a share, '
        f'set --config.study.targets={target / 100:g} for {target:g}{formats.THIN}%.'
      )
    elif yard.logarithmic and float(yard.error(target)) + yard.shift <= 0:
      notes.append(f'Target {target:g} is left out: errors here are above 0.')
    else:
      good.append(float(target))
  return good, notes


def _tell_unreached(
  study: Mapping[str, Any],
  found: Mapping[str, ladders.Ladder],
  axis: str,
  yard: ladders.Yardstick,
  targets: Sequence[float],
) -> list[str]:
  """Names the best reached where no arm reaches a declared target."""
  fits = {arm: ladder_fit.isotonic(ladder.means) for arm, ladder in found.items()}
  arm = min(fits, key=lambda arm: fits[arm][-1])
  best, rung = fits[arm][-1], found[arm].rungs[int(np.argmin(fits[arm]))]
  slack = statistics.TIE * max(1.0, abs(best))
  over = gain_words.WORDS[axis]
  return [
    f'No arm reaches {formats.value(yard.column, target)} '
    f'{facts.words(study, yard.column)} over {over}; the best is '
    f'{formats.value(yard.column, float(yard.value(best)))} ({arm} at {rung:.3g}×).'
    for target in targets
    if float(yard.error(target)) < best - slack
  ]


def _rows(
  study: Mapping[str, Any],
  side: ladders.Sides,
  pair: tuple[ladders.Ladder, ladders.Ladder],
  axis: str,
  yard: ladders.Yardstick,
  declared: Sequence[float],
) -> list[dict[str, Any]]:
  """The gains of one contrast on one axis, a row a target."""
  kept = np.isfinite(np.concatenate([ladder.errors for ladder in pair], 1)).all(1)
  n = int(kept.sum())
  if not n:
    return []
  counts = ladder_fit.draw_counts(n)
  intact, ablated = (ladder_fit.fit(known.errors[kept], yard, counts) for known in pair)
  means = ladder_fit.isotonic(pair[0].errors[kept].mean(0))
  targets: list[tuple[float, float, Any]] = [
    (target, math.nan, yard.place(yard.error(target))) for target in declared
  ]
  if not declared:
    targets = [
      (float(yard.value(means[i])), float(pair[0].rungs[i]), intact[:, i])
      for i in _choose(pair[0], axis)
    ]
  known = {key: side.contrast[key] for key in ('factor', 'level', 'arm', 'reference')}
  known |= {'intact': side.intact, 'ablated': side.ablated}
  known |= {'axis': axis, 'metric': yard.column, 'n': n}
  flops, alpha = (pair[0].flops, pair[1].flops), looks.state(study).alpha
  rows = []
  for target, rung, place in targets:
    gain = ladder_fit.measure(intact, ablated, flops, place, n, alpha)
    told: dict[str, Any] = {
      'gain': gain.value,
      'ci_low': gain.low,
      'ci_high': gain.high,
    }
    told |= dict(zip(('gain_shown', 'low_shown', 'high_shown'), gain.shown))
    told |= {'target': target, 'rung': rung, 'text': ladder_fit.describe(gain)}
    rows.append({**gain._asdict(), **known, **told})
  return rows


def _choose(ladder: ladders.Ladder, axis: str) -> list[int]:
  """The intact arm's rungs whose levels are targets: all but the smallest."""
  if axis != ANYTIME:
    return list(range(1, len(ladder.rungs)))
  near = [int(np.argmin(np.abs(np.log(ladder.rungs / share)))) for share in _SHARES]
  return sorted(set(near) - {0})


def sentences(study: Mapping[str, Any], gains: Gains) -> list[str]:
  """One sentence a contrast and axis; the refusal if there are no gains.

  E.g. 'Without norm (none instead of batch) the model needs 3.2× [2.1, > 8.3] the
  compute to reach 95.00 % test accuracy.'
  """
  if gains.refusal:
    return [gains.refusal]
  return [gain_words.tell(study, row) for row in gain_words.pick(gains.frame)]
