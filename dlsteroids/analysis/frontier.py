"""Worth of ideas in doublings of compute, from frontiers of error against budget.

A toolbox is a set of ideas, a bitmask as in `shapley`: bit i is set where idea i is
available. Its frontier is its test error at every budget, trained as well as
validation can tell: the candidate (width, batch size, learning rate) is chosen on
tuning seeds, and a toolbox does what the best of its subsets does. C_S(t) is the least
compute at which toolbox S reaches the error t: the isotonic frontier, interpolated
linearly in the log of compute and the scale's place of the error, never beyond its
budgets. The worth of all ideas is log2 C_bare(t) - log2 C_full(t), that of one its
Shapley value in the game -log2 C_S(t).

Whatever a frontier does not reach is a bound: every quantity has a lower and an upper
end, equal where it was measured. Nothing here refers to studies or runs; the
definitions are those of docs/statistics.md.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from dlsteroids.analysis import gains, statistics

REPLICATES = 999  # bootstrap replicates
MAX_IDEAS = 12  # 2^k toolboxes are visited
MEASURED, AT_LEAST, AT_MOST = 'measured', 'at least', 'at most'
BETWEEN, UNDETERMINED = 'between', 'undetermined'
CENSORED, OUTSIDE, DISAGREE = 'censored', 'outside 0 to 1', 'orders disagree'
NO_GAIN, BEYOND = 'no gain', 'beyond the budgets'
_GROWTH = 5  # targets of a slope
_INSIDE = (0.25, 0.5, 0.75)  # of the errors that the bare and the full toolbox share
_MOVED = 0.05  # of the errors that both share, by which a target is rounded at most
_NEARLY = 0.9  # of the way to the least error that every toolbox reaches
_CLOSE = 1e-6  # relative, between budgets that are one
_REACHED = 0.9  # of the replicates in which a slope's targets must all be measured


class Rung(NamedTuple):
  """One arm at one budget; errors are less-is-better, see `gains.Scale.error`.

  Attributes:
    budget: nominal FLOPs of a run, the same number for all arms.
    search_validation, search_test: float64 [K, T], errors of K candidates on T tuning
      seeds, which all arms share. A candidate that lacks one is never chosen.
    chosen: which candidate the claim's runs trained: the first with the least mean
      validation error.
    claim_validation, claim_test: float64 [S], its errors on the claim's seeds, which
      all arms share; nan where a run has no score.
  """

  budget: float
  search_validation: np.ndarray
  search_test: np.ndarray
  chosen: int
  claim_validation: np.ndarray
  claim_test: np.ndarray


class Evidence(NamedTuple):
  """What was trained.

  Attributes:
    ideas: their names; idea i is bit i of a toolbox.
    cells: the arm of each toolbox that the study has. An idea whose requirement is
      unmet is inapplicable: its toolbox has the arm without it.
    rungs: of each arm, in any order of budget.
  """

  ideas: tuple[str, ...]
  cells: Mapping[int, str]
  rungs: Mapping[str, Sequence[Rung]]


class Curve(NamedTuple):
  """The frontier of one toolbox in the estimate and in B replicates.

  Attributes:
    log_flops: natural logarithms of its budgets [R], rising.
    means: mean test errors [1 + B, R], the estimate first.
    errors: their isotonic fit [1 + B, R].
    places: of `errors` on the scale [1 + B, R].
    arms: the arm that the toolbox is, at each budget of the estimate [R].
  """

  log_flops: np.ndarray
  means: np.ndarray
  errors: np.ndarray
  places: np.ndarray
  arms: tuple[str, ...]


class Frontiers(NamedTuple):
  """Frontiers of all toolboxes that the study has.

  Attributes:
    ideas: their names.
    cells: as in `Evidence`.
    curves: by toolbox.
    mandatory: what the arm with all ideas does by itself, even where a subset would do
      better.
    scale: of the errors.
    n: the claim's seeds at which every run has a score.
    planned: the claim's seeds.
  """

  ideas: tuple[str, ...]
  cells: Mapping[int, str]
  curves: Mapping[int, Curve]
  mandatory: Curve
  scale: gains.Scale
  n: int
  planned: int

  @property
  def full(self) -> int:
    """The toolbox of all ideas."""
    return 2 ** len(self.ideas) - 1


class Worth(NamedTuple):
  """A quantity between two ends, with an interval over seeds.

  Attributes:
    low, high: ends of the estimate; equal where it was measured, infinite where it has
      no bound.
    ci_low, ci_high: the interval's ends, infinite likewise; nan with a single seed.
    share_measured: of the replicates, those in which it was measured.
  """

  low: float
  high: float
  ci_low: float
  ci_high: float
  share_measured: float

  @property
  def kind(self) -> str:
    """`MEASURED`, `AT_LEAST`, `AT_MOST`, `BETWEEN` or `UNDETERMINED`."""
    if self.low == self.high:
      return MEASURED
    if math.isinf(self.low):
      return UNDETERMINED if math.isinf(self.high) else AT_MOST
    return AT_LEAST if math.isinf(self.high) else BETWEEN

  @property
  def value(self) -> float:
    """The estimate; nan unless it was measured."""
    return self.low if self.low == self.high else math.nan


class IdeaWorth(NamedTuple):
  """What one idea is worth at a target, in doublings of compute.

  Attributes:
    idea: its name.
    shapley: its Shapley value.
    from_full: what taking it out of the full toolbox costs.
    to_bare: what it brings to the bare toolbox.
    in_order: what it brings to the ideas before it, as a ladder adds them; these too
      add up to the worth of all.
  """

  idea: str
  shapley: Worth
  from_full: Worth
  to_bare: Worth
  in_order: Worth


class TargetWorth(NamedTuple):
  """What ideas are worth at one target.

  Attributes:
    error: the target.
    moving: whether it is the least error that the full toolbox reaches, which moves
      with the resampled seeds.
    bare, full: log2 FLOPs at which these toolboxes reach it.
    together: worth of all ideas, in doublings.
    mandatory: the same where none may be left out; it may be negative.
    ideas: of each one; the Shapley values add up to `together`.
  """

  error: float
  moving: bool
  bare: Worth
  full: Worth
  together: Worth
  mandatory: Worth
  ideas: tuple[IdeaWorth, ...]


class Slope(NamedTuple):
  """A least-squares slope with its interval; nan where it can't be measured."""

  value: float
  ci_low: float
  ci_high: float


class Growth(NamedTuple):
  """How the worth of all ideas together grows with what is asked of them.

  Attributes:
    targets: worth along the targets, hardest last.
    per_place: doublings for each unit of the scale's place that the target falls: with
      a logarithmic scale for each factor e of the error.
    per_doubling: doublings for each doubling of the full toolbox's compute.
    used: how many targets the slopes rest on: those that are measured.
    share_left_out: of the replicates, those in which one of these is not measured.
  """

  targets: tuple[TargetWorth, ...]
  per_place: Slope
  per_doubling: Slope
  used: int
  share_left_out: float


class Order(NamedTuple):
  """What compute and ideas bring when one of them comes first.

  Attributes:
    compute, ideas: how far the error falls, in its own unit.
    ideas_doublings: what the ideas are worth there: at the large budget if compute
      comes first, else at the small one.
    ideas_share: of all doublings that lie between the ends.
  """

  compute: Worth
  ideas: Worth
  ideas_doublings: Worth
  ideas_share: Worth


class Ends(NamedTuple):
  """From the bare toolbox at a small budget to the full one at a large one.

  Attributes:
    budgets: the two, in FLOPs.
    bought: doublings of compute between them.
    total: doublings of compute with which the bare toolbox would come as far.
    compute_first, ideas_first: the two orders; None if there is a reason `BEYOND`.
    ideas_share: the mean of the orders' shares, which are Shapley's of two players.
    reason: why the share must not be printed: `BEYOND` (an end is not within both
      toolboxes' budgets), `NO_GAIN` (the interval of the error's fall includes 0),
      `CENSORED` (the bare toolbox does not come as far), `OUTSIDE` (an order's share
      is not in [0, 1]), `DISAGREE` (an order's share is not in the interval of their
      mean); '' if it may.
  """

  budgets: tuple[float, float]
  bought: float
  total: Worth | None
  compute_first: Order | None
  ideas_first: Order | None
  ideas_share: Worth | None
  reason: str


# The frontiers


def trace(
  evidence: Evidence, scale: gains.Scale, replicates: int = REPLICATES
) -> Frontiers:
  """Frontiers of all toolboxes, with replicates that resample seeds and choose again.

  In each replicate the claim's seeds and the tuning seeds are resampled, each jointly
  across arms and budgets. Candidates and subsets are chosen anew. A candidate without
  runs of the claim has the errors of the one that has them, plus the difference of the
  two on the resampled tuning seeds.

  Args:
    evidence: what was trained.
    scale: of the errors.
    replicates: how many.

  Raises:
    ValueError: evidence that contradicts itself, naming the arm and the budget.
  """
  planned, whole = _check(evidence)
  n = int(whole.sum())
  claim = gains.draw_counts(n, replicates) / n
  tuning = _tuning_weights(evidence, replicates)
  scores = {
    arm: {rung.budget: _score(rung, whole, claim, tuning) for rung in rungs}
    for arm, rungs in evidence.rungs.items()
  }
  curves: dict[int, Curve] = {}
  by_arm: dict[str, Curve] = {}
  for toolbox, arm in evidence.cells.items():
    if arm not in by_arm:
      arms = [own for mask, own in evidence.cells.items() if mask | toolbox == toolbox]
      by_arm[arm] = _cover(scores, arm, list(dict.fromkeys([arm, *arms])), claim, scale)
    curves[toolbox] = by_arm[arm]
  every = evidence.cells[2 ** len(evidence.ideas) - 1]
  mandatory = _cover(scores, every, [every], claim, scale)
  cells = dict(evidence.cells)
  return Frontiers(evidence.ideas, cells, curves, mandatory, scale, n, planned)


def _check(evidence: Evidence) -> tuple[int, np.ndarray]:
  """How many seeds the claim has, and at which of them every run has a score."""
  k = len(evidence.ideas)
  if not 1 <= k <= MAX_IDEAS:
    raise ValueError(f'expected 1 to {MAX_IDEAS} ideas, got {k}')
  for toolbox, arm in evidence.cells.items():
    if not 0 <= toolbox < 2**k:
      raise ValueError(f'toolbox {toolbox} of arm {arm!r} is not one of {k} ideas')
    if not evidence.rungs.get(arm):
      raise ValueError(f'arm {arm!r} has no budget; there are {list(evidence.rungs)}')
  if missing := {0, 2**k - 1} - set(evidence.cells):
    raise ValueError(f'the bare and the full toolbox are needed, missing: {missing}')
  seeds: np.ndarray | None = None
  for arm, rungs in evidence.rungs.items():
    budgets = np.array([rung.budget for rung in rungs], float)
    if not (np.isfinite(budgets) & (budgets > 0)).all():
      raise ValueError(f'arm {arm!r}: budgets must be finite and above 0: {budgets}')
    if len(set(budgets)) < len(budgets):
      raise ValueError(f'arm {arm!r} has a budget twice: {sorted(budgets)}')
    for rung in rungs:
      finite = np.isfinite(_check_rung(arm, rung)).all(0)
      if seeds is not None and len(seeds) != len(finite):
        raise ValueError(
          f'arm {arm!r} at {rung.budget:g} FLOPs has {len(finite)} seeds of the claim, '
          f'others {len(seeds)}'
        )
      seeds = finite if seeds is None else seeds & finite
  if seeds is None or not seeds.any():
    raise ValueError('no seed of the claim has a score at every arm and budget')
  return len(seeds), seeds


def _check_rung(arm: str, rung: Rung) -> np.ndarray:
  """The claim's errors [2, S]; raises ValueError if the rung's shapes don't fit."""
  where = f'arm {arm!r} at {rung.budget:g} FLOPs'
  shape = np.shape(rung.search_validation)
  if len(shape) != 2 or shape != np.shape(rung.search_test):
    other = np.shape(rung.search_test)
    raise ValueError(f'{where}: searched errors must be [K, T], got {shape}, {other}')
  if shape[0] > 1 and not shape[1]:
    raise ValueError(f'{where}: {shape[0]} candidates need a tuning seed')
  if not 0 <= rung.chosen < shape[0]:
    raise ValueError(f'{where}: candidate {rung.chosen} is not one of {shape[0]}')
  search = np.stack([rung.search_validation, rung.search_test])[:, rung.chosen]
  if not np.isfinite(search).all() and shape[0] > 1:
    raise ValueError(f'{where}: the chosen candidate lacks a score on a tuning seed')
  claim = np.shape(rung.claim_validation)
  if len(claim) != 1 or claim != np.shape(rung.claim_test):
    other = np.shape(rung.claim_test)
    raise ValueError(f"{where}: the claim's errors must be [S], got {claim}, {other}")
  return np.stack([rung.claim_validation, rung.claim_test]).astype(float)


def _tuning_weights(evidence: Evidence, replicates: int) -> dict[int, np.ndarray]:
  """Weights [1 + B, T] of the tuning seeds, by their number T."""
  rng = np.random.Generator(np.random.PCG64([statistics.KEY, 1]))
  counts = {
    np.shape(r.search_test)[1] for rungs in evidence.rungs.values() for r in rungs
  }
  weights = {}
  for t in sorted(counts - {0}):
    drawn = statistics.resample(rng, t, replicates)
    weights[t] = np.concatenate([np.ones((1, t)), drawn]) / t
  return weights


class _Score(NamedTuple):
  """Errors of an arm at a budget.

  Attributes:
    validation: means [1 + B].
    others: validation means over all seeds but one [1 + B, n].
    test: by seed [1 + B, n].
    least: the least test error of any run.
  """

  validation: np.ndarray
  others: np.ndarray
  test: np.ndarray
  least: float


def _score(
  rung: Rung, whole: np.ndarray, claim: np.ndarray, tuning: Mapping[int, np.ndarray]
) -> _Score:
  """Errors of the candidate that each replicate chooses."""
  validation, test = (
    np.asarray(errors, float)[whole]
    for errors in (rung.claim_validation, rung.claim_test)
  )
  shift = (
    _shift(rung, tuning) if len(rung.search_test) > 1 else np.zeros((2, len(claim)))
  )
  mean = claim @ validation
  rest = 1 - claim
  apart = rest > 1e-9  # a replicate may draw one seed only
  others = np.where(apart, mean[:, None] - claim * validation, mean[:, None])
  others /= np.where(apart, rest, 1)
  least = np.nanmin(np.append(rung.search_test, test))
  return _Score(
    mean + shift[0], others + shift[0][:, None], test + shift[1][:, None], float(least)
  )


def _shift(rung: Rung, tuning: Mapping[int, np.ndarray]) -> np.ndarray:
  """How far the candidate of each replicate is from the claim's: [2, 1 + B]."""
  tables = np.stack([rung.search_validation, rung.search_test]).astype(float)
  lacking = ~np.isfinite(tables).all((0, 2))
  tables[:, lacking] = 0.0
  searched = tables @ tuning[tables.shape[2]].T  # [2, K, 1 + B]
  searched[0, lacking] = np.inf
  choice = np.argmin(searched[0], 0)
  choice[0] = rung.chosen
  shift = np.take_along_axis(searched, choice[None, None], 1)[:, 0]
  return shift - searched[:, rung.chosen]


def _cover(
  scores: Mapping[str, Mapping[float, _Score]],
  own: str,
  arms: Sequence[str],
  claim: np.ndarray,
  scale: gains.Scale,
) -> Curve:
  """The frontier of the toolbox of arm `own`, `arms` being those of its subsets.

  It has the budgets of its own arm. Where a subset was trained beyond them, what the
  toolbox would do there itself is not known.

  For the test error of a seed the subset is chosen on the validation errors of the
  others: a run that is lucky on validation is so on test too, and a choice among equal
  arms on its own seed would make an idea that does nothing worth something.
  """
  budgets = sorted(scores[own])
  means, chosen = [], []
  for budget in budgets:
    there = [(arm, score) for arm in arms if (score := _at(scores[arm], budget))]
    least, test = there[0][1].others.copy(), there[0][1].test.copy()
    for _, score in there[1:]:
      better = score.others < least
      np.copyto(least, score.others, where=better)
      np.copyto(test, score.test, where=better)
    mean = (claim * test).sum(1)
    if scale.logarithmic:  # a difference of candidates must leave an error
      mean = np.maximum(mean, min(score.least for _, score in there) / 2)
    means.append(mean)
    chosen.append(min(there, key=lambda item: item[1].validation[0])[0])
  table = np.stack(means, 1)
  fit = gains.isotonic(table)
  return Curve(np.log(budgets), table, fit, scale.place(fit), tuple(chosen))


def _at(scores: Mapping[float, _Score], budget: float) -> _Score | None:
  """The score at a budget; None if it was not trained there."""
  if budget in scores:
    return scores[budget]
  for other, score in scores.items():
    if math.isclose(other, budget, rel_tol=_CLOSE):
      return score
  return None


# Compute to reach a target


class _Span(NamedTuple):
  """Lower and upper ends [1 + B] of a quantity, the estimate first."""

  low: np.ndarray
  high: np.ndarray

  @property
  def open(self) -> np.ndarray:
    """Where it was not measured."""
    return self.low < self.high


def _cost(curve: Curve, place: np.ndarray) -> _Span:
  """log2 of the least FLOPs at which a frontier comes down to a place [1 + B]."""
  if len(curve.log_flops) > 1:
    cost = gains.cost_at(curve.log_flops, curve.places, place)
    return _Span(cost.low / math.log(2), cost.high / math.log(2))
  only = curve.log_flops[0] / math.log(2)
  slack = statistics.TIE * np.maximum(1, np.abs(place))
  reached = curve.places[:, 0] <= place + slack
  return _Span(np.where(reached, -np.inf, only), np.where(reached, only, np.inf))


def _costs(frontiers: Frontiers, place: np.ndarray) -> list[_Span]:
  """log2 C_S at a place [1 + B] for all 2^k toolboxes.

  Since ideas are available, more of them never need more compute: what was not
  measured lies between the bounds of its supersets and of its subsets.
  """
  by_arm = {frontiers.cells[s]: curve for s, curve in frontiers.curves.items()}
  of_arm = {arm: _cost(curve, place) for arm, curve in by_arm.items()}
  own = {s: of_arm[arm] for s, arm in frontiers.cells.items()}
  free = _Span(np.full(len(place), -np.inf), np.full(len(place), np.inf))
  spans = []
  for toolbox in range(frontiers.full + 1):
    span = own.get(toolbox, free)
    if span.open.any():
      low = [s.low for mask, s in own.items() if mask & toolbox == toolbox]
      high = [s.high for mask, s in own.items() if mask | toolbox == toolbox]
      low = np.max([span.low, *low], 0)
      high = np.min([span.high, *high], 0)
      tighter = span.open & (low <= high)
      span = _Span(np.where(tighter, low, span.low), np.where(tighter, high, span.high))
    spans.append(span)
  return spans


def _difference(more: _Span, less: _Span) -> _Span:
  """How much compute further ideas save; at least 0 where it was not measured."""
  low, high = more.low - less.high, more.high - less.low
  low = np.where(more.open | less.open, np.maximum(low, 0), low)
  return _Span(low, np.maximum(low, high))


def _shapley(frontiers: Frontiers, costs: Sequence[_Span]) -> list[_Span]:
  """Shapley values of -log2 C_S by idea.

  Where one is open, the others and the worth of all together bound it too.
  """
  k, spans = len(frontiers.ideas), []
  for i in range(k):
    low, high = (np.zeros_like(costs[0].low) for _ in range(2))
    for toolbox in range(frontiers.full + 1):
      if toolbox >> i & 1:
        continue
      arms = [frontiers.cells.get(s) for s in (toolbox, toolbox | 1 << i)]
      if arms[0] is not None and arms[0] == arms[1]:
        continue  # inapplicable
      weight = 1 / (k * math.comb(k - 1, toolbox.bit_count()))
      gap = _difference(costs[toolbox], costs[toolbox | 1 << i])
      low, high = low + weight * gap.low, high + weight * gap.high
    spans.append(_settle(low, high))
  together = _difference(costs[0], costs[-1])
  bounded = []
  for i, span in enumerate(spans):
    if span.open.any():
      others = [other for j, other in enumerate(spans) if j != i]
      low = together.low - sum(other.high for other in others)
      high = together.high - sum(other.low for other in others)
      low, high = np.maximum(low, span.low), np.minimum(high, span.high)
      tighter = span.open & (low <= high)
      span = _settle(
        np.where(tighter, low, span.low), np.where(tighter, high, span.high)
      )
    bounded.append(span)
  return bounded


def _settle(low: np.ndarray, high: np.ndarray) -> _Span:
  """A span whose ends are equal where they differ by rounding only."""
  with np.errstate(invalid='ignore'):
    near = high - low <= 1e-9 * np.maximum(1, np.abs(low))
  return _Span(low, np.where(near, low, high))


# Worth


def _interval(span: _Span, n: int, alpha: float) -> Worth:
  """The estimate with percentiles of its replicates.

  The interval runs from a low order statistic of the lower ends to a high one of the
  upper ends, its tails those of a normal limit times sqrt(n / (n - 1)). That mends what
  resampling n seeds lacks in variance; Student's limit in its place (Hesterberg 2015)
  would cover too much, as choosing again among candidates widens the replicates.
  """
  low, high = np.sort(span.low[1:]), np.sort(span.high[1:])
  ends = math.nan, math.nan
  if n > 1 and len(low):
    limit = math.sqrt(n / (n - 1)) * scipy.special.ndtri(1 - alpha / 2)
    rank = max(1, int(scipy.special.ndtr(-limit) * (len(low) + 1)))
    ends = float(low[rank - 1]), float(high[-rank])
  share = float((~span.open[1:]).mean()) if len(low) else math.nan
  return Worth(float(span.low[0]), float(span.high[0]), *ends, share)


def worth_at(
  frontiers: Frontiers, error: float | None, alpha: float = 0.05
) -> TargetWorth:
  """What ideas are worth at one target.

  Args:
    frontiers: of all toolboxes.
    error: the target, less is better; None for the least that the full toolbox
      reaches.
    alpha: 1 - the coverage of the intervals.

  Raises:
    ValueError: a target that is not finite, or without a place on the scale.
  """
  place = _place(frontiers, error)
  costs = _costs(frontiers, place)
  spans, full = _shapley(frontiers, costs), frontiers.full
  interval = functools.partial(_interval, n=frontiers.n, alpha=alpha)
  ideas = tuple(
    IdeaWorth(
      name,
      interval(spans[i]),
      interval(_effect(frontiers, costs, full ^ 1 << i, full)),
      interval(_effect(frontiers, costs, 0, 1 << i)),
      interval(_effect(frontiers, costs, (1 << i) - 1, (2 << i) - 1)),
    )
    for i, name in enumerate(frontiers.ideas)
  )
  least = float(frontiers.curves[full].errors[0, -1])
  own = _cost(frontiers.mandatory, place)
  mandatory = _Span(costs[0].low - own.high, costs[0].high - own.low)
  return TargetWorth(
    least if error is None else float(error),
    error is None,
    interval(costs[0]),
    interval(costs[full]),
    interval(_difference(costs[0], costs[full])),
    interval(mandatory),
    ideas,
  )


def _effect(
  frontiers: Frontiers, costs: Sequence[_Span], without: int, within: int
) -> _Span:
  """What the ideas of one toolbox save that another lacks; 0 if both are one arm."""
  arm = frontiers.cells.get(without)
  if arm is not None and arm == frontiers.cells.get(within):
    return _Span(np.zeros_like(costs[0].low), np.zeros_like(costs[0].low))
  return _difference(costs[without], costs[within])


def _place(frontiers: Frontiers, error: float | None) -> np.ndarray:
  """The place [1 + B] of a target."""
  places = frontiers.curves[frontiers.full].places
  if error is None:
    return places[:, -1]
  with np.errstate(invalid='ignore', divide='ignore'):
    place = float(frontiers.scale.place(error))
  if not math.isfinite(place):
    raise ValueError(f'the target {error!r} has no place among the errors')
  return np.full(len(places), place)


def error_interval(
  frontiers: Frontiers, curve: Curve, at: int, alpha: float = 0.05
) -> tuple[float, float, float]:
  """The fitted error of a frontier at its budget number `at`, with its interval."""
  errors = curve.errors[:, at]
  worth = _interval(_Span(errors, errors), frontiers.n, alpha)
  return worth.low, worth.ci_low, worth.ci_high


def default_targets(frontiers: Frontiers) -> tuple[float | None, ...]:
  """Errors that both the bare and the full toolbox reach, then the full one's least.

  The former lie a quarter, a half and three quarters of the way on the scale between
  the worst and the best error that both frontiers pass, rounded to few digits where
  that stays between these; there are none if the frontiers share no error. Another one
  lies nine tenths of the way to the least error that every toolbox reaches, so that
  single ideas can be measured.
  """
  shared = _shared_places(frontiers)
  if shared is None:
    return (None,)
  worst, best = shared
  every = max(float(curve.places[0, -1]) for curve in frontiers.curves.values())
  places = [worst + share * (best - worst) for share in _INSIDE]
  places += [worst + _NEARLY * (every - worst)] if every < worst else []
  targets = [
    _round_within(frontiers.scale, place, worst, best)
    for place in sorted(places, reverse=True)
  ]
  return (*dict.fromkeys(targets), None)


def _shared_places(frontiers: Frontiers) -> tuple[float, float] | None:
  """The worst and the best place that both the bare and the full toolbox pass."""
  ends = [frontiers.curves[s].places[0] for s in (0, frontiers.full)]
  worst = min(float(places[0]) for places in ends)
  best = max(float(places[-1]) for places in ends)
  return (worst, best) if best < worst else None


def _round_within(scale: gains.Scale, place: float, worst: float, best: float) -> float:
  """The error at a place between two others, to the fewest digits that keep it apart.

  Two at least, and so many that it moves by no more than `_MOVED` of the way between
  the two: of targets near one another each stays one of its own.
  """
  error = math.exp(place) - scale.shift if scale.logarithmic else place
  for digits in range(2, 6):
    rounded = float(f'{error:.{digits}g}')
    if rounded > 0 or not scale.logarithmic:
      there = float(scale.place(rounded))
      near = abs(there - place) <= _MOVED * (worst - best)
      if near and best < there < worst:
        return rounded
  return error


# How it grows


def growth(
  frontiers: Frontiers,
  targets: Sequence[float] = (),
  alpha: float = 0.05,
) -> Growth:
  """Worth of all ideas along a series of targets, with slopes.

  Args:
    frontiers: of all toolboxes.
    targets: errors; by default five at equal distances on the scale, within those that
      both the bare and the full toolbox reach.
    alpha: 1 - the coverage of the intervals.
  """
  chosen = sorted(targets or _growth_targets(frontiers), reverse=True)
  rows = tuple(worth_at(frontiers, error, alpha) for error in chosen)
  places, doublings, worths = [], [], []
  for error, row in zip(chosen, rows):
    if row.together.kind == MEASURED and row.full.kind == MEASURED:
      place = _place(frontiers, error)
      curves = frontiers.curves
      costs = [_cost(curves[s], place) for s in (0, frontiers.full)]
      measured = ~(costs[0].open | costs[1].open)
      places.append(-place)
      bare, full = (np.where(measured, cost.low, np.nan) for cost in costs)
      doublings.append(full)
      worths.append(bare - full)
  nothing = Slope(math.nan, math.nan, math.nan)
  if len(worths) < 2:
    return Growth(rows, nothing, nothing, len(worths), math.nan)
  y = np.stack(worths, 1)
  whole = np.isfinite(y).all(1)
  left_out = 1 - float(whole[1:].mean()) if len(y) > 1 else math.nan
  slopes = [
    _slope(np.stack(x, 1)[whole], y[whole], left_out, frontiers.n, alpha)
    for x in (places, doublings)
  ]
  return Growth(rows, slopes[0], slopes[1], len(worths), left_out)


def _growth_targets(frontiers: Frontiers) -> list[float]:
  shared = _shared_places(frontiers)
  if shared is None:
    return []
  places = np.linspace(*shared, _GROWTH + 2)[1:-1]
  return [_round_within(frontiers.scale, float(p), *shared) for p in places]


def _slope(
  x: np.ndarray, y: np.ndarray, left_out: float, n: int, alpha: float
) -> Slope:
  """Slope of y on x [1 + B, targets]; no interval if many replicates are left out."""
  x, y = (values - values.mean(1, keepdims=True) for values in (x, y))
  square = (x * x).sum(1)
  with np.errstate(invalid='ignore', divide='ignore'):
    slopes = (x * y).sum(1) / square
  slopes = slopes[np.isfinite(slopes)]
  if not len(slopes):
    return Slope(math.nan, math.nan, math.nan)
  if not 1 - left_out >= _REACHED:
    return Slope(float(slopes[0]), math.nan, math.nan)
  whole = _interval(_Span(slopes, slopes), n, alpha)
  return Slope(whole.value, whole.ci_low, whole.ci_high)


# From the bare toolbox at a small budget to the full one at a large one


def compare_ends(
  frontiers: Frontiers, small: float, large: float, alpha: float = 0.05
) -> Ends:
  """Doublings of compute bought against doublings that the ideas are worth.

  With the bare toolbox's C_bare(t), all that lies between the ends is
  log2 C_bare(e_full(large)) - log2 small doublings. If compute comes first, it has
  bought log2(large / small) of them and the ideas' worth is the rest; if the ideas come
  first, they have brought log2 C_bare(e_full(small)) - log2 small.

  Args:
    frontiers: of all toolboxes.
    small, large: budgets in FLOPs.
    alpha: 1 - the coverage of the intervals.

  Raises:
    ValueError: ends that do not rise.
  """
  if not 0 < small < large:
    raise ValueError(f'ends must rise from above 0, got {small!r} and {large!r}')
  bought = math.log2(large / small)
  bare, full = (frontiers.curves[s] for s in (0, frontiers.full))
  errors = [
    _error_at(curve, frontiers.scale, budget)
    for curve in (bare, full)
    for budget in (small, large)
  ]
  if any(error is None for error in errors):
    return Ends((small, large), bought, None, None, None, None, BEYOND)
  bare_small, bare_large, full_small, full_large = (np.asarray(e) for e in errors)
  at_small, at_large = (
    _worth_at_budget(bare, frontiers.scale.place(error), budget)
    for error, budget in ((full_small, small), (full_large, large))
  )
  total = _Span(at_large.low + bought, at_large.high + bought)
  interval = functools.partial(_interval, n=frontiers.n, alpha=alpha)
  shares = [_share(part, total) for part in (at_large, at_small)]
  orders = [
    Order(
      interval(_Span(compute, compute)),
      interval(_Span(ideas, ideas)),
      interval(doublings),
      interval(share),
    )
    for compute, ideas, doublings, share in (
      (bare_small - bare_large, bare_large - full_large, at_large, shares[0]),
      (full_small - full_large, bare_small - full_small, at_small, shares[1]),
    )
  ]
  low, high = ((a + b) / 2 for a, b in zip(*shares))
  mean = interval(_Span(low, high))
  whole = interval(total)
  gain = interval(_Span(bare_small - full_large, bare_small - full_large))
  reason = _refuse_share(gain, [order.ideas_share for order in orders], mean)
  return Ends((small, large), bought, whole, orders[0], orders[1], mean, reason)


def _error_at(curve: Curve, scale: gains.Scale, budget: float) -> np.ndarray | None:
  """Fitted errors [1 + B] at a budget; None beyond the frontier's budgets."""
  x, log = curve.log_flops, math.log(budget)
  if not x[0] - _CLOSE <= log <= x[-1] + _CLOSE:
    return None
  after = int(np.clip(np.searchsorted(x, log), 1, max(1, len(x) - 1)))
  if len(x) < 2:
    return curve.errors[:, 0]
  share = np.clip((log - x[after - 1]) / (x[after] - x[after - 1]), 0, 1)
  if share in (0, 1):
    return curve.errors[:, after - 1 + int(share)]
  place = (1 - share) * curve.places[:, after - 1] + share * curve.places[:, after]
  return np.exp(place) - scale.shift if scale.logarithmic else place


def _worth_at_budget(bare: Curve, place: np.ndarray, budget: float) -> _Span:
  """Doublings from a budget to where the bare toolbox reaches the full one's error.

  The full toolbox may do there what the bare one does, so that these are at least 0
  where they were not measured.
  """
  cost, log = _cost(bare, place), math.log2(budget)
  low = np.where(cost.open, np.maximum(cost.low - log, 0), cost.low - log)
  return _settle(low, np.maximum(low, cost.high - log))


def _share(part: _Span, total: _Span) -> _Span:
  """The quotient of two spans; without bounds where one of them has none."""
  with np.errstate(invalid='ignore', divide='ignore'):
    quotients = np.stack([p / t for p in part for t in total])
  some = (total.low <= 0) | ~np.isfinite(quotients).all(0)
  low = np.where(some, -np.inf, quotients.min(0))
  return _Span(low, np.where(some, np.inf, quotients.max(0)))


def _refuse_share(gain: Worth, shares: Sequence[Worth], mean: Worth) -> str:
  """Why a share of the ideas must not be printed; '' if it may."""
  if not (gain.low > 0 and gain.ci_low > 0):
    return NO_GAIN
  bounded = math.isfinite(mean.ci_low) and math.isfinite(mean.ci_high)
  if any(share.kind != MEASURED for share in shares) or not bounded:
    return CENSORED
  if not all(0 <= share.value <= 1 for share in shares):
    return OUTSIDE
  if not all(mean.ci_low <= share.value <= mean.ci_high for share in shares):
    return DISAGREE
  return ''
