"""How many seeds would decide the contrasts that are inconclusive."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import looks, pairs, power, reach, summary
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

POWER = 0.8  # probability with which a difference is to be detected


class Need(NamedTuple):
  """The seeds that an inconclusive contrast takes.

  Attributes:
    contrast: which.
    effect: the difference to detect, in the metric's unit, above 0.
    declared: whether that is the study's margin; else it is the difference observed.
    sd: of the differences.
    seeds: how many there are; of runs that are not paired, of the smaller side.
    needed: how many detect `effect` with probability `POWER` at the first step of
      Holm's procedure; None if more than `power.MAX_SEEDS`.
  """

  contrast: factors_lib.Contrast
  effect: float
  declared: bool
  sd: float
  seeds: int
  needed: int | None


class Resolution(NamedTuple):
  """What a study can resolve.

  Attributes:
    noise_floor: SD of differences between runs of the reference; nan if unknown.
    detectable: the smallest difference it detects with probability `POWER`.
  """

  noise_floor: float
  detectable: float


def needs(
  study: study_lib.Study, runs: pd.DataFrame, effects: pd.DataFrame
) -> list[Need]:
  """What every contrast with the verdict 'inconclusive' takes, in the study's order.

  Contrasts of fewer than two pairs are left out: nothing is known of their scatter.
  """
  column = study.metric.column
  deciding = (effects['metric'] == column) & (effects['tuned'] == study.tuned)
  rows = effects[deciding & (effects['verdict'] == 'inconclusive')]
  if not len(rows):
    return []
  alpha = looks.state(study, runs).alpha
  scores = pairs.tabulate(study, runs, column, study.tuned)
  undecided = {(row.factor, str(row.level), row.arm) for row in rows.itertuples()}
  family = summary.family(study)
  results = []
  for contrast in family:
    if (contrast.factor, str(contrast.level), contrast.arm) not in undecided:
      continue
    pair = pairs.match(contrast, scores, study.paired)
    effect, sd, count = _measure(pair)
    if math.isnan(sd):
      continue
    target = study.margin or abs(effect)
    needed = None
    if sd > 0 and target > 0:
      needed = power.seeds_needed(
        sd, target, alpha, len(family), POWER, paired=study.paired
      )
    results.append(Need(contrast, target, study.margin > 0, sd, count, needed))
  return results


def resolution(study: study_lib.Study, runs: pd.DataFrame) -> Resolution:
  """The noise floor of the reference, and the difference that rises above it."""
  floor = reach.noise_floor(study, runs, study.tuned)
  design = reach.reach(study, looks.state(study, runs).alpha)
  least = math.nan
  if not math.isnan(floor) and design.contrasts:
    least = power.detectable(
      floor, design.seeds, design.alpha, design.contrasts, POWER, study.paired
    )
  return Resolution(floor, least)


def _measure(pair: pairs.Pairs) -> tuple[float, float, int]:
  """Mean and SD of the differences of a contrast, and their number."""
  if min(len(pair.arm), len(pair.reference)) < 2:
    return math.nan, math.nan, len(pair.arm)
  if pair.unpaired is None:
    return float(pair.delta.mean()), float(pair.delta.std(ddof=1)), len(pair.delta)
  sides = pair.arm, pair.reference
  sd = math.sqrt(sum(float(np.var(side, ddof=1)) for side in sides))
  return float(pair.arm.mean() - pair.reference.mean()), sd, min(map(len, sides))
