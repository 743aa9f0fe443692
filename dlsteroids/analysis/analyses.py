"""What is measured over all conditions: regimes, gains, attribution, claims."""

from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import attribution as attribution_lib
from dlsteroids.analysis import claims as claims_lib
from dlsteroids.analysis import doublings as doublings_lib
from dlsteroids.analysis import expected_best
from dlsteroids.analysis import gains as gains_lib
from dlsteroids.analysis import regimes as regimes_lib
from dlsteroids.study import shapley_designs
from dlsteroids.study import study as study_lib


class Analyses(NamedTuple):
  """Analyses over all conditions; None where the study does not ask for one.

  Attributes:
    regimes: the contrasts side by side under several regimes.
    gains: compute-equivalent gains over budgets or sizes.
    anytime: the same read off single learning curves.
    attribution: Shapley values of ideas and compute.
    claims: published claims held against the results.
    doublings: what ideas are worth in doublings of compute.
    expected_best: what random searches would have found with fewer trials.
  """

  regimes: regimes_lib.Regimes | None = None
  gains: gains_lib.Gains | None = None
  anytime: gains_lib.Gains | None = None
  attribution: attribution_lib.Attribution | None = None
  claims: tuple[claims_lib.Result, ...] | None = None
  doublings: doublings_lib.Doublings | None = None
  expected_best: pd.DataFrame | None = None

  def tables(self) -> dict[str, pd.DataFrame]:
    """The frames that have rows, by file name without its ending."""
    frames: dict[str, pd.DataFrame] = {}
    if self.regimes:
      frames['regimes'] = self.regimes.frame
    if self.doublings:
      frames['frontier'] = self.doublings.frame
      frames['worth'] = self.doublings.worths
    if self.expected_best is not None:
      frames['expected_best'] = self.expected_best
    if self.gains:
      frames['gains'] = self.gains.frame
    if self.attribution:
      frames['attribution'] = self.attribution.players
      frames['attribution_orders'] = self.attribution.orders
      frames['attribution_interactions'] = self.attribution.interactions
    return {name: frame for name, frame in frames.items() if len(frame)}


def analyse(
  study: study_lib.Study,
  all_runs: pd.DataFrame,
  runs: pd.DataFrame,
  curves: pd.DataFrame,
  effects: pd.DataFrame,
  searches: pd.DataFrame,
) -> Analyses:
  """Measures what the study's conditions and design allow.

  Args:
    study: the study.
    all_runs: the runs of all conditions.
    runs: those of the declared one.
    curves: their learning curves.
    effects: their effects.
    searches: the runs of the searches for tuned numbers.
  """
  conditions = study.conditions
  plain = {c.regime for c in conditions if (c.budget, c.size) == (1, 1)}
  is_ladder = any(
    len({getattr(c, axis) for c in conditions}) > 1 for axis in ('budget', 'size')
  )
  is_game = study.design in shapley_designs.GAMES or study.ratio
  gains = gains_lib.gains(study, all_runs) if is_ladder else None
  return Analyses(
    regimes_lib.compare(study, all_runs) if len(plain) > 1 else None,
    gains,
    gains_lib.anytime(study, curves) if is_ladder else None,
    attribution_lib.attribute(study, all_runs) if is_game else None,
    tuple(claims_lib.compare(study, effects, runs, gains.frame if gains else None))
    if study.claims
    else None,
    doublings_lib.measure(study, all_runs, searches)
    if doublings_lib.applies(study)
    else None,
    expected_best.measure(study, searches),
  )
