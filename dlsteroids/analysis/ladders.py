"""Ladders of compute: arms at several FLOPs, and which two of them to compare."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import pairs, summary
from dlsteroids.report import formats


class Yardstick(NamedTuple):
  """How a metric's values become errors, and errors places on a straight scale.

  Attributes:
    column: the metric, e.g. 'test/accuracy'.
    higher: whether more of it is better.
    logarithmic: whether places are logs of errors; else they are the errors.
    shift: added to an error before its log: ½/N of a share of N examples, since one
      without any error is not infinitely good; else 0.
  """

  column: str
  higher: bool
  logarithmic: bool
  shift: float

  def error(self, values: Any) -> np.ndarray:
    """Less is better: 1 - share where more is better, -value of others such."""
    values = np.asarray(values, np.float64)
    if not self.higher:
      return values
    return 1 - values if formats.is_share(self.column) else -values

  def value(self, errors: Any) -> np.ndarray:
    """Errors in the metric's unit again."""
    return self.error(errors)  # each of the three ways undoes itself

  def place(self, errors: Any) -> np.ndarray:
    """Where errors lie on the scale on which fits are joined by straight lines."""
    errors = np.asarray(errors, np.float64)
    return np.log(errors + self.shift) if self.logarithmic else errors


def make_yardstick(study: Mapping[str, Any], column: str, values: Any) -> Yardstick:
  """The yardstick of a metric.

  Errors that can be at or below zero, other than a share's, have no logs: their places
  are the errors themselves.

  Args:
    study: the content of study.json.
    column: '<split>/<metric>'.
    values: all that will be measured, any shape; what is not finite does not count.
  """
  metric = pairs.metric(study, column)
  higher, share = metric.better == 'higher', formats.is_share(column)
  size = study['data'].get('sizes', {}).get(column.split('/')[0], 0)
  yard = Yardstick(column, higher, False, 0.5 / size if share and size else 0.0)
  errors = yard.error(np.append(values, metric.fallback))
  least = float(errors[np.isfinite(errors)].min(initial=np.inf)) + yard.shift
  return yard._replace(logarithmic=(share or not higher) and least > 0)


class Ladder(NamedTuple):
  """One arm's errors at several computes, its rungs.

  Attributes:
    arm: its name.
    rungs: float64 [R], multiples of budget or size, or shares of a run.
    flops: float64 [R], nominal of a whole run (or of that share of it), rising.
    errors: float64 [S, R], less is better, by the study's seeds; nan without a score.
  """

  arm: str
  rungs: np.ndarray
  flops: np.ndarray
  errors: np.ndarray

  @property
  def means(self) -> np.ndarray:
    """Over the seeds that have a score: [R]."""
    return np.nanmean(self.errors, 0)


def make_ladder(
  arm: str, rungs: Sequence[float], flops: Sequence[float], errors: np.ndarray
) -> Ladder:
  """A ladder with its rungs in the order of FLOPs, those of equal FLOPs averaged.

  Raises:
    ValueError: FLOPs that are not finite and above 0.
  """
  known = np.asarray(flops, np.float64)
  if not (np.isfinite(known) & (known > 0)).all():
    raise ValueError(f'arm {arm!r}: FLOPs must be finite and above 0, got {flops}')
  rising, first, group = np.unique(known, return_index=True, return_inverse=True)
  merged = [errors[:, group == i].mean(1) for i in range(len(rising))]
  return Ladder(arm, np.asarray(rungs, float)[first], rising, np.stack(merged, 1))


def climb(
  study: Mapping[str, Any], all_runs: pd.DataFrame, axis: str
) -> tuple[dict[str, Ladder], list[str]]:
  """Every arm's ladder of separate runs, and a note on the rungs left out.

  The axis 'budget' is the declared regime at its own widths, 'size' equal steps at the
  whole budget; both in the declared tuning state. A rung stands once 90 % of its runs
  have a score. Errors are those of the deciding metric; a diverged run scores the
  fallback.

  Raises:
    ValueError: the table lacks the deciding metric, or has a run twice.
  """
  state, column = pairs.declared(study), pairs.deciding(study)
  regime = study['regime'] if axis == 'budget' else 'steps'
  other = 'size' if axis == 'budget' else 'budget'
  mine = all_runs[(all_runs['regime'] == regime) & (all_runs[other] == 1)]
  mine = mine[mine['tuned'] == state]
  yard = deciding(study, all_runs)
  arms = [arm['name'] for arm in study['arms']]
  rows: dict[str, list[tuple[float, float, np.ndarray]]] = {arm: [] for arm in arms}
  short = []
  for rung in sorted(float(rung) for rung in mine[axis].unique()):
    runs = mine[mine[axis] == rung]
    table = yard.error(pairs.tabulate(study, runs, column, state).value)
    cost = runs[runs['flops'] > 0].groupby('arm')['flops'].median()
    for arm, errors in zip(arms, table.T):
      count = int(np.isfinite(errors).sum())
      if 10 * count >= 9 * len(errors) > 0 and arm in cost:
        rows[arm].append((rung, float(cost[arm]), errors))
      elif (runs['arm'] == arm).any():
        short.append(f'{arm} at {axis} {rung:g} ({count} of {len(errors)})')
  found = {arm: _stack(arm, mine) for arm, mine in rows.items() if mine}
  if not short:
    return found, []
  more = f' and {len(short) - 4} more' if len(short) > 4 else ''
  note = (
    f'Left out until 90 % of their runs have a score: {"; ".join(short[:4])}{more}.'
  )
  return found, [note]


def deciding(study: Mapping[str, Any], all_runs: pd.DataFrame) -> Yardstick:
  """The yardstick of the deciding metric, the same for every arm and condition."""
  column = pairs.deciding(study)
  if column not in all_runs:
    raise ValueError(f'no column {column!r} in runs; it has {list(all_runs.columns)}')
  return make_yardstick(study, column, all_runs[column].to_numpy(float))


def _stack(arm: str, rows: Sequence[tuple[float, float, np.ndarray]]) -> Ladder:
  rungs, flops, errors = zip(*rows)
  return make_ladder(arm, rungs, flops, np.stack(errors, 1))


def climb_curves(
  study: Mapping[str, Any], curves: pd.DataFrame
) -> tuple[dict[str, Ladder], Yardstick | None]:
  """Every arm's evaluations during its runs as a ladder.

  The split is validation where the curves have it, else test. Evaluations of an arm's
  seeds are matched by number; what a run that diverged lacks scores the fallback.

  Returns:
    ladders whose rungs are shares of the run's FLOPs, and the yardstick of that split;
    {} and None if no curve of the deciding metric was stored.

  Raises:
    ValueError: an evaluation stands there twice.
  """
  name = study['metric']['name']
  mine = curves[(curves['metric'] == name) & (curves['flops'] > 0)]
  split = next((s for s in ('validation', 'test') if (mine['split'] == s).any()), '')
  if not split:
    return {}, None
  mine = mine[mine['split'] == split].sort_values('step', kind='stable')
  if mine.duplicated(['arm', 'seed', 'step']).any():
    raise ValueError('an evaluation stands twice in the curves: of two conditions?')
  column = f'{split}/{name}'
  yard = make_yardstick(study, column, mine['value'].to_numpy(float))
  fallback = float(pairs.metric(study, column).fallback)
  mine = mine.assign(turn=mine.groupby(['arm', 'seed']).cumcount())
  found = {}
  for arm in (arm['name'] for arm in study['arms']):
    ours = mine[(mine['arm'] == arm) & mine['seed'].isin(study['seeds'])]
    if len(ours):
      flops = ours.groupby('turn')['flops'].median().to_numpy(float)
      table = ours.pivot(index='seed', columns='turn', values='value')
      values = table.where(np.isfinite(table), fallback).reindex(study['seeds'])
      shares = (flops / flops.max()).tolist()
      found[arm] = make_ladder(arm, shares, flops.tolist(), yard.error(values))
  return found, yard


class Sides(NamedTuple):
  """The two arms of a contrast: with the component and without it."""

  contrast: Mapping[str, Any]
  intact: str
  ablated: str


def list_sides(study: Mapping[str, Any]) -> tuple[list[Sides], list[str]]:
  """The arms to compare for every contrast, and a note where there are none.

  Contrasts of one cell a side are taken as they are. Those that average over cells
  compare the intact arm with the one that lacks just this factor.
  """
  found, notes = [], []
  intact = summary.intact_arm(study)
  for contrast in study['contrasts']:
    arm, reference = pairs.cells(contrast)
    if len(arm) == len(reference) == 1:
      there = contrast['component'] == 'arm'
      both = (arm[0], reference[0]) if there else (reference[0], arm[0])
      found.append(Sides(contrast, *both))
      continue
    lacking = _find_lacking(study, contrast, intact)
    if lacking:
      found.append(Sides(contrast, intact, lacking))
    else:
      notes.append(
        f'No gain of {contrast["factor"]}: no arm lacks just it ({contrast["level"]}), '
        f'to be compared with {intact}.'
      )
  return found, notes


def _find_lacking(
  study: Mapping[str, Any], contrast: Mapping[str, Any], intact: str
) -> str:
  """The arm that is intact but for the contrast's factor; '' if there is none."""
  levels = {
    f['name']: [level['name'] for level in f['levels']] for f in study['factors']
  }
  factor, level = contrast['factor'], contrast['level']
  if factor not in levels:
    return ''
  if level not in levels[factor][1:]:
    level = levels[factor][-1]
  wanted = {**{name: known[0] for name, known in levels.items()}, factor: level}
  for cell in study.get('cells') or ():
    if dict(cell['levels']) == wanted:
      return cell['arm'] if cell['arm'] != intact else ''
  for arm in study['arms']:
    mine, free = dict(arm['assignment']), set(arm.get('inapplicable') or ())
    same = (mine.get(f, known) == known or f in free for f, known in wanted.items())
    if arm['name'] != intact and mine.get(factor) == level and all(same):
      return arm['name']
  return ''
