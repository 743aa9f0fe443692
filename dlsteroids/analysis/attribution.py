"""How the gain from the bare to the full model divides among ideas and compute.

The game: v(S, c) is the deciding metric of the ideas S trained at the budget c. Its
players are the study's factors and, where the declared regime has several budgets,
compute. All of it is descriptive: there are no verdicts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import frontier, looks, pairs, shapley, statistics
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.study import shapley_designs
from dlsteroids.study import study as study_lib

RESERVED = shapley_designs.OTHERS  # rows beside the factors'
COMPUTE, IDEAS, REMAINDER, TOTAL = RESERVED
COMPUTE_FIRST, IDEAS_FIRST = 'compute first', 'ideas first'
RAW, LOG = 'raw', 'log-error'  # scales of a gain
# why a gain has no shares, of which the last two are those of `frontier`
FEW_SEEDS, NO_GAIN = 'few seeds', frontier.NO_GAIN
OUTSIDE, DISAGREE = frontier.OUTSIDE, frontier.DISAGREE

_TESTED = ('ci_low', 'ci_high', 'ci_kind', 'p')
_SHARES = ('share', 'share_low', 'share_high')
PLAYERS = ('player', 'ratio', 'scale', 'n', 'phi', *_TESTED, *_SHARES)
ORDERS = ('order', *PLAYERS)
INTERACTIONS = ('player', 'with', 'ratio', 'scale', 'n', 'index', *_TESTED)
ENDS = ('ratio', 'scale', 'n', 'bare', 'full')
_ROUNDING = 1e-9  # relative, of a sum of Shapley values

Divide = Callable[[Sequence[np.ndarray]], shapley.Division]


class Note(NamedTuple):
  """Something a reader must know; `report.attribution` has the words.

  Attributes:
    kind: which note, e.g. 'few_seeds'.
    values: its names and numbers, e.g. `{'n': 5, 'fewest': 6}`.
  """

  kind: str
  values: Mapping[str, Any]


def _note(kind: str, **values: Any) -> Note:
  return Note(kind, values)


class _Refusal(Exception):
  """The gain can't be divided; its argument is a note that says why."""


def _refuse(kind: str, **values: Any) -> _Refusal:
  return _Refusal(Note(kind, values))


class Attribution(NamedTuple):
  """A gain divided among its players.

  Attributes:
    players: a frame with exactly the columns `PLAYERS`: a row a player, ratio and
      scale; then 'ideas' (all together, where compute plays), 'remainder' (of a
      fraction: the gain that main effects do not explain) and 'total'. `phi` is an
      improvement where positive: in the metric's unit ('raw') or as the reduction of
      the error's natural logarithm ('log-error').
    interactions: a frame with exactly `INTERACTIONS`, at the headline ratio.
    ends: a frame with exactly `ENDS`: means over seeds of the bare model at C_low and
      of the full one at C_high, of the metric ('raw') or of the error's logarithm.
    orders: a frame with exactly `ORDERS`: what compute and the ideas add where compute
      comes first and where it comes last, as `players`.
    notes: what a reader must know.
    refusal: why there is no division and how to get one; None if there is one.
    ratio: the headline C_high / C_low; 1 without compute.
    scale: 'log-error' if the headline has it, else 'raw'.
  """

  players: pd.DataFrame
  interactions: pd.DataFrame
  ends: pd.DataFrame
  orders: pd.DataFrame
  notes: tuple[Note, ...]
  refusal: Note | None
  ratio: float
  scale: str


def at_headline(
  attribution: Attribution, frame: pd.DataFrame, scale: str = ''
) -> list[dict[str, Any]]:
  """The rows of a frame at the headline ratio and on a scale, the headline's if ''."""
  rows = frame[frame['scale'] == (scale or attribution.scale)]
  return rows_of(rows[rows['ratio'] == attribution.ratio])


def why_no_shares(attribution: Attribution, scale: str = '') -> str:
  """`FEW_SEEDS`, `NO_GAIN`, `OUTSIDE` or `DISAGREE`; '' if the headline has shares."""
  scale = scale or attribution.scale
  notes = (note.values for note in attribution.notes if note.kind == 'no_shares')
  return next((values['why'] for values in notes if values['scale'] == scale), '')


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
  """A frame as rows."""
  return [{str(k): v for k, v in row.items()} for row in frame.to_dict('records')]


class _Game(NamedTuple):
  """The game of ideas as a design shows it; idea i is bit i of a coalition.

  Attributes:
    ideas: the factors' names [k].
    coalitions: those that are needed [m], ascending.
    arms: of the coalitions [m]; two may be one arm.
    divide: the coalitions' values [n, m] at C_high, or at C_low and at C_high, to
      Shapley values; compute is then player number k.
    exact: whether phi sums to the value of all ideas minus that of none.
    together: how many consecutive orders were drawn as one: 2 where each comes with
      its reverse.
    draws: how many different draws of orders there are; 0 where none were sampled.
    notes: on what the design cannot show.
  """

  ideas: tuple[str, ...]
  coalitions: tuple[int, ...]
  arms: tuple[str, ...]
  divide: Divide
  exact: bool
  together: int
  draws: int
  notes: tuple[Note, ...]

  @property
  def ends(self) -> tuple[int, int]:
    """The coalitions of no idea and of all."""
    return 0, 2 ** len(self.ideas) - 1

  @property
  def has_ends(self) -> bool:
    """Whether both were run."""
    return set(self.ends) <= set(self.coalitions)


class _Part(NamedTuple):
  """Rows of the four frames, and notes on them, at one ratio."""

  players: list[dict[str, Any]]
  interactions: list[dict[str, Any]]
  ends: list[dict[str, Any]]
  orders: list[dict[str, Any]]
  notes: list[Note]


def attribute(
  study: study_lib.Study,
  all_runs: pd.DataFrame,
  alpha: float | None = None,
  tuned: int | None = None,
) -> Attribution:
  """Divides the gain from the bare model at C_low to the full one at C_high.

  Per seed phi, exact for the design factorial, else estimated (see `shapley`); over
  seeds the sign-flip test and its interval, with sampled orders a t interval over seeds
  and orders; shares with intervals, phi and total taken jointly. C_high is the largest
  budget of the declared regime, C_low each other one. Seeds at which a needed run has
  no score are dropped; diverged runs score the fallback. Where most runs of an arm
  diverged at C_low or C_high, the gain between them is not divided.

  Args:
    study: the study.
    all_runs: the runs table with the runs of every condition.
    alpha: of the intervals; that of the look at these runs if None.
    tuned: the tuning state of the runs to use; the declared one if None.

  Returns:
    The frames, or a `refusal`.

  Raises:
    ValueError: a table with a run twice or without the metric, malformed orders.
  """
  try:
    return _attribute(study, all_runs, alpha, study.tuned if tuned is None else tuned)
  except _Refusal as refusal:
    return Attribution(
      **_frames([]), notes=(), refusal=refusal.args[0], ratio=math.nan, scale=''
    )


def _attribute(
  study: study_lib.Study, all_runs: pd.DataFrame, alpha: float | None, tuned: int
) -> Attribution:
  game, budgets = _make_game(study), _budgets(study)
  lows = budgets[:-1] or budgets  # a single budget is both
  headline = _headline(study, [budgets[-1] / low for low in lows])
  if alpha is None:
    alpha = looks.state(study, _at(study, all_runs, 1.0)).alpha
  scores = {
    budget: pairs.tabulate(
      study, _at(study, all_runs, budget), study.metric.column, tuned
    )
    for budget in budgets
  }
  notes = [*_declared_notes(study, budgets), *game.notes]
  parts = []
  for low in reversed(lows):
    ratio = budgets[-1] / low
    used = [(b, scores[b]) for b in dict.fromkeys((low, budgets[-1]))]
    try:
      part = _measure(study, game, used, alpha, ratio)
    except _Refusal as refusal:
      if ratio == headline:
        raise
      notes.append(_note('ratio_left_out', ratio=ratio, refusal=refusal.args[0]))
      continue
    parts.append(part if ratio == headline else part._replace(interactions=[]))
    notes += part.notes if ratio == headline else []
  frames = _frames(parts)
  scales = set(frames['ends'].query('ratio == @headline')['scale'])
  scale = LOG if LOG in scales else RAW
  return Attribution(
    **frames, notes=tuple(notes), refusal=None, ratio=headline, scale=scale
  )


def _frames(parts: Sequence[_Part]) -> dict[str, Any]:
  """Players, interactions, ends and orders of all parts."""
  columns = {
    'players': PLAYERS,
    'interactions': INTERACTIONS,
    'ends': ENDS,
    'orders': ORDERS,
  }
  return {
    name: pd.DataFrame(
      [row for part in parts for row in getattr(part, name)], columns=list(names)
    )
    for name, names in columns.items()
  }


# The budgets


def _at(study: study_lib.Study, all_runs: pd.DataFrame, budget: float) -> pd.DataFrame:
  """The runs of the declared regime at one budget and size 1."""
  close = lambda name, value: np.isclose(
    all_runs[name].astype(float), value, rtol=conditions_lib.CLOSE, atol=0
  )
  regime = all_runs['regime'] == study.regime
  return all_runs[regime & close('budget', budget) & close('size', 1.0)]


def _budgets(study: study_lib.Study) -> list[float]:
  """Budgets of the declared regime at size 1, ascending."""
  return sorted(
    {
      float(condition.budget)
      for condition in study.conditions
      if condition.regime == study.regime
      and condition.size == 1
      and all(
        condition in {c.condition for c in arm.at} for arm in study.arms if arm.at
      )
    }
  )


def _headline(study: study_lib.Study, ratios: Sequence[float]) -> float:
  """The one of `ratios` that was declared; the largest if none was."""
  if not study.ratio:
    return max(ratios)
  for ratio in ratios:
    if ratio > 1 and math.isclose(ratio, study.ratio, rel_tol=conditions_lib.CLOSE):
      return ratio
  others = sorted(ratio for ratio in ratios if ratio > 1)
  raise _refuse('ratio', ratio=study.ratio, ratios=others)


def _declared_notes(study: study_lib.Study, budgets: Sequence[float]) -> list[Note]:
  """What follows from the study's declarations alone."""
  if len(budgets) < 2:
    return [_note('one_budget'), _note('uncorrected')]
  notes = [_note('uncorrected')]
  if not study.ratio:
    notes.append(_note('no_ratio'))
  if study.regime != 'flops':
    notes.append(_note('unequal_flops', regime=study.regime))
  if study.tuning is None:
    notes.append(_note('untuned'))
  return notes


# The game that a design shows

_View = tuple[tuple[int, ...], Divide, list[Note]]


def _make_game(study: study_lib.Study) -> _Game:
  """The game of the study's factors: the first level is present, the last absent."""
  ideas = tuple(factor.name for factor in study.factors)
  if study.design not in shapley_designs.GAMES or not ideas:
    raise _refuse('design', design=study.design, factors=len(ideas))
  if taken := set(RESERVED) & set(ideas):
    raise _refuse('reserved', factor=min(taken))
  cells = arms_of_coalitions(study)
  views = {'factorial': _all, 'fraction': _fraction, 'permutations': _orders}
  needed, divide, notes = views[study.design](study, ideas, cells)
  missing = [mask for mask in needed if mask not in cells]
  if missing:
    raise _lack(study, missing, len(needed))
  if any(len(factor.levels) > 2 for factor in study.factors):
    notes.append(_note('levels_between'))
  arms = tuple(cells[mask] for mask in needed)
  exact = study.design != 'fraction'
  sampling = _count_draws(study)
  return _Game(ideas, needed, arms, divide, exact, *sampling, tuple(notes))


def samples_orders(study: study_lib.Study) -> bool:
  """Whether the study's orders are a sample of all of them."""
  return _count_draws(study)[1] > 0


def _count_draws(study: study_lib.Study) -> tuple[int, int]:
  """How many consecutive orders are one draw, and how many different draws there are.

  The second is 0 where no orders were sampled: another design, or all of them.
  """
  orders = study.permutations if study.design == 'permutations' else ()
  paired = orders and orders[1::2] == tuple(order[::-1] for order in orders[::2])
  together = 2 if paired else 1
  draws = math.factorial(len(study.factors)) // together
  return together, 0 if len(orders) in (0, draws * together) else draws


def _by_draw(together: int, added: np.ndarray) -> np.ndarray:
  """What was added by order [n, orders, ...] as means of the draws [n, m, ...]."""
  n, orders, *rest = added.shape
  return added.reshape(n, orders // together, together, *rest).mean(2)


def added_by_draw(
  study: study_lib.Study, factor: str, values: pd.DataFrame
) -> tuple[np.ndarray, int] | None:
  """What a factor adds to those before it, per seed and draw of orders.

  Args:
    study: the study.
    factor: its name.
    values: scores by seed and arm [n, arms].

  Returns:
    [n, m], in the metric's unit, and how many draws there are; None unless the orders
    are a sample.
  """
  together, draws = _count_draws(study)
  if not draws:
    return None
  arms, bits = (
    arms_of_coalitions(study),
    {f.name: 1 << i for i, f in enumerate(study.factors)},
  )
  steps = []
  for order in study.permutations:
    before = sum(bits[name] for name in order[: order.index(factor)])
    after = arms[before | bits[factor]]
    steps.append(values[after].to_numpy() - values[arms[before]].to_numpy())
  return _by_draw(together, np.stack(steps, 1)), draws


def arms_of_coalitions(study: study_lib.Study) -> dict[int, str]:
  """The arm of every coalition, merged ones included; not of levels in between."""
  arms = {}
  for levels, arm in study.cells:
    mask = 0
    for i, factor in enumerate(study.factors):
      level = levels[factor.name]
      if level == factor.levels[0].name:
        mask |= 1 << i
      elif level != factor.levels[-1].name:
        break
    else:
      arms[mask] = arm
  return arms


def _all(study: study_lib.Study, ideas: Sequence[str], cells: Mapping) -> _View:
  return tuple(range(2 ** len(ideas))), shapley.divide, []


def _orders(study: study_lib.Study, ideas: Sequence[str], cells: Mapping) -> _View:
  for names in study.permutations:
    if sorted(names) != sorted(ideas):
      raise ValueError(f'an order must hold every factor once, got {names}')
  k, orders = len(ideas), [[ideas.index(n) for n in o] for o in study.permutations]
  begun = [[sum(1 << i for i in o[:j]) for j in range(k + 1)] for o in orders]
  needed = tuple(sorted({mask for row in begun for mask in row}))
  at = np.searchsorted(needed, begun)
  divide = lambda sides: shapley.divide_orders(orders, [side[:, at] for side in sides])
  count = math.factorial(k)
  if len({tuple(order) for order in orders}) == count == len(orders):
    return needed, divide, []
  return needed, divide, [_note('orders', count=len(orders), of=count)]


def _fraction(study: study_lib.Study, ideas: Sequence[str], cells: Mapping) -> _View:
  k = len(ideas)
  fraction = shapley.find_fraction(cells, k)
  if fraction is None:
    raise _refuse('confounded')
  needed = tuple(sorted({*fraction, *({0, 2**k - 1} & set(cells))}))
  at, table = np.searchsorted(needed, fraction), shapley.signs(fraction, k)
  divide = lambda sides: shapley.divide_fraction(table, [side[:, at] for side in sides])
  if len(fraction) == 2**k:
    return needed, divide, []
  return needed, divide, [_note('fraction', count=len(fraction), of=2**k)]


def _lack(study: study_lib.Study, missing: Sequence[int], count: int) -> _Refusal:
  """Names the combinations without an arm, or what excludes them."""
  excluded = [
    f'{factor.name}={own} with {other}={level}'
    for factor in study.factors
    for own, other, level in factor.excludes
  ]
  if excluded:
    return _refuse('excluded', pairs=excluded)
  cells = [
    ' '.join(
      f'{f.name}={f.levels[0 if mask >> i & 1 else -1].name}'
      for i, f in enumerate(study.factors)
    )
    for mask in missing
  ]
  return _refuse('missing_arms', cells=cells, of=count)


# Its values


def _gather(
  game: _Game, scores: Sequence[tuple[float, pairs.Scores]], alpha: float
) -> tuple[np.ndarray, list[Note]]:
  """The coalitions' scores over the seeds at which all have one.

  Args:
    game: of the ideas.
    scores: the deciding metric by budget.
    alpha: of the intervals to be made.

  Returns:
    Values [budgets, n, m] in the metric's unit, and notes.
  """
  arms = list(game.arms)
  values = np.stack([table.value[arms].to_numpy() for _, table in scores])
  lacking = [
    (arm, budget)
    for budget, table in scores
    for arm in dict.fromkeys(arms)
    if table.value[arm].isna().all()
  ]
  if lacking:
    raise _refuse('unfinished', arms=lacking)
  no_evidence = [
    (arm, budget)
    for budget, table in scores
    for arm in table.mostly_diverged
    if arm in arms
  ]
  if no_evidence:
    raise _refuse('mostly_diverged', arms=no_evidence)
  whole = np.isfinite(values).all((0, 2))
  n, planned = int(whole.sum()), len(whole)
  fewest = next(k for k in range(2, 64) if statistics.smallest_p(k) <= alpha)
  if n < 2:
    raise _refuse('seeds', n=n, planned=planned, fewest=fewest)
  notes = []
  if n < planned:
    notes.append(_note('seeds_dropped', n=n, planned=planned))
  if n < fewest:
    notes.append(_note('few_seeds', n=n, fewest=fewest))
  lost = sum(int(t.diverged[sorted(set(arms))].to_numpy().sum()) for _, t in scores)
  if lost:
    notes.append(_note('diverged', count=lost))
  return values[:, whole], notes


def _to_scale(
  study: study_lib.Study, values: np.ndarray, scale: str
) -> tuple[np.ndarray, str]:
  """Values on a scale, higher being better; or why they have no place on it.

  Args:
    study: whose deciding metric it is.
    values: of that metric, of any shape.
    scale: `RAW`, signed; or `LOG`, -log((errors + ½)/(N + 1)) for shares of N test
      examples and -log(metric) for other metrics that are better when lower.

  Returns:
    The values, and why there are none ('equal', 'unknown_size', 'no_error',
    'not_positive') or ''.
  """
  metric = study.metric
  if scale == RAW:
    return metric.sign * values, ''
  if not np.ptp(values):
    return values, 'equal'
  if metric.is_share:
    size = int(study.data.sizes.get('test') or 0)
    if size < 1:
      return values, 'unknown_size'
    errors = size * (1 - values if metric.sign > 0 else values)
    return -np.log((errors + 0.5) / (size + 1)), ''
  if metric.sign > 0:
    return values, 'no_error'
  if (values <= 0).any():
    return values, 'not_positive'
  return -np.log(values), ''


# Their division


def _measure(
  study: study_lib.Study,
  game: _Game,
  scores: Sequence[tuple[float, pairs.Scores]],
  alpha: float,
  ratio: float,
) -> _Part:
  """The rows of one ratio, from the scores at C_low and C_high (or at one budget)."""
  values, notes = _gather(game, scores, alpha)
  whole = _Part([], [], [], [], notes)
  for scale in (RAW, LOG):
    sides, why = _to_scale(study, values, scale)
    if why:
      notes.append(_note('no_log', why=why, metric=study.metric.name))
      continue
    common = {'ratio': ratio, 'scale': scale}
    part = _divide(game, list(sides), alpha, scale)
    whole.players.extend({**row, **common} for row in part.players)
    whole.interactions.extend({**row, **common} for row in part.interactions)
    whole.orders.extend({**row, **common} for row in part.orders)
    sign = -1 if scale == LOG else study.metric.sign
    for row in part.ends:
      ends = {name: sign * value for name, value in row.items()}
      whole.ends.append({**common, 'n': values.shape[1], **ends})
    notes.extend(part.notes)
  return whole


def _divide(
  game: _Game, sides: Sequence[np.ndarray], alpha: float, scale: str
) -> _Part:
  """Divides what lies between no idea at the first side and all at the last.

  Args:
    game: of the ideas.
    sides: its coalitions' values [n, m], higher being better: at one budget, or at
      C_low and C_high, between which compute plays too.
    alpha: of the intervals.
    scale: named in the notes.

  Raises:
    ValueError: Shapley values that do not sum to the gain.
  """
  division, names = game.divide(sides), [*game.ideas, COMPUTE]
  values = np.concatenate(sides, 1)
  bare, full, total, rest = _gain(game, sides, division.phi)
  phi = dict(zip(names, division.phi.T))
  if len(sides) > 1:
    phi[IDEAS] = shapley.snap(division.phi[:, :-1].sum(1), values)
  if rest is not None:
    phi[REMAINDER] = shapley.snap(rest, values)
  phi[TOTAL] = total
  span = statistics.interval(total, alpha)
  orders = _compute_and_ideas(game, sides)
  draws = _draws_of(game, division)
  rows = _Rows(total, alpha, _refuse_division(span), game.draws)
  if not rows.refusal:
    rows.refusal = _refuse_shares(rows, phi, orders)
  notes = []
  if rows.refusal:
    notes.append(_note('no_shares', scale=scale, why=rows.refusal))
  if not game.has_ends:
    notes.append(_note('estimated_gain', scale=scale))
  if draws and rows.refusal not in (FEW_SEEDS, NO_GAIN):
    notes += _order_error(draws, total, scale)
  return _Part(
    [rows.player(name, gains, draws.get(name)) for name, gains in phi.items()],
    [
      {
        'player': names[i],
        'with': names[j],
        **rows.test('index', index, draws.get((i, j))),
      }
      for (i, j), index in division.pairs.items()
    ],
    [{'bare': float(bare.mean()), 'full': float(full.mean())}],
    [
      {'order': order, **rows.player(name, shapley.snap(gains, values))}
      for order, added in orders.items()
      for name, gains in added.items()
    ],
    notes,
  )


def _refuse_division(span: statistics.Interval) -> str:
  """Why a whole gain with this interval has no shares; '' if it may have some."""
  if span.kind != statistics.INVERSION:
    return FEW_SEEDS  # with which nothing is claimed
  return '' if span.low > 0 or span.high < 0 else NO_GAIN


def _refuse_shares(
  rows: '_Rows',
  phi: Mapping[str, np.ndarray],
  orders: Mapping[str, Mapping[str, np.ndarray]],
) -> str:
  """Why shares must not be printed, by the rule of `frontier.compare_ends`; or ''.

  They may if every player's lies in [0, 1], and so does what the ideas bring in either
  order, compute first and ideas first, and both are in the interval of their mean.
  """
  whole = rows.total.mean()
  single = [gains.mean() for name, gains in phi.items() if name != REMAINDER]
  ideas = [added[IDEAS] for added in orders.values()]
  shares = np.array([*single, *(gains.mean() for gains in ideas)]) / whole
  if shares.min() < -_ROUNDING or shares.max() > 1 + _ROUNDING:
    return OUTSIDE
  if not ideas:
    return ''
  _, low, high = rows.share(np.mean(ideas, 0))
  inside = (shares >= low - _ROUNDING) & (shares <= high + _ROUNDING)
  return '' if inside[len(single) :].all() else DISAGREE


def _draws_of(game: _Game, division: shapley.Division) -> dict[Any, np.ndarray]:
  """What was added [n, m] by player and by pair of players; empty if none sampled."""
  if not game.draws or division.added is None:
    return {}
  added = _by_draw(game.together, division.added)
  draws: dict[Any, np.ndarray] = {
    pair: _by_draw(game.together, gaps) for pair, gaps in division.pairs_added.items()
  }
  draws |= dict(zip([*game.ideas, COMPUTE], np.moveaxis(added, 2, 0)))
  return draws | {IDEAS: added[:, :, : len(game.ideas)].sum(2)}


def _order_error(
  draws: Mapping[Any, np.ndarray], total: np.ndarray, scale: str
) -> list[Note]:
  """The largest standard error of a player that the draw of orders adds."""
  players = [name for name in draws if isinstance(name, str) and name != IDEAS]
  means = np.stack([draws[name].mean(0) for name in players])
  if means.shape[1] < 2:
    return []
  error = means.std(1, ddof=1).max() / math.sqrt(means.shape[1])
  return [_note('order_error', scale=scale, share=float(error / abs(total.mean())))]


def _compute_and_ideas(
  game: _Game, sides: Sequence[np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
  """What compute and all ideas add [n] when either comes first."""
  if len(sides) < 2 or not game.has_ends:
    return {}
  none, every = (game.coalitions.index(end) for end in game.ends)
  low, high = sides
  return {
    COMPUTE_FIRST: {
      COMPUTE: high[:, none] - low[:, none],
      IDEAS: high[:, every] - high[:, none],
    },
    IDEAS_FIRST: {
      IDEAS: low[:, every] - low[:, none],
      COMPUTE: high[:, every] - low[:, every],
    },
  }


def _gain(
  game: _Game, sides: Sequence[np.ndarray], phi: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
  """Values [n] of the bare and the full model, the gain, and what phi leaves of it.

  The gain is the measured one, else the one that main effects make, which leave None.
  """
  explained = phi.sum(1)
  if not game.has_ends:
    middle = np.mean([side.mean(1) for side in sides], 0)
    return middle - explained / 2, middle + explained / 2, explained, None
  none, every = (game.coalitions.index(end) for end in game.ends)
  bare, full = sides[0][:, none], sides[-1][:, every]
  rest = full - bare - explained
  if not game.exact:
    return bare, full, full - bare, rest
  if np.abs(rest).max() > _ROUNDING * max(np.abs(side).max() for side in sides):
    raise ValueError(f'phi must sum to the gain; {np.abs(rest).max():g} is left')
  return bare, full, full - bare, None


class _Rows:
  """Makes rows of per-seed values: mean, test, interval, share of the gain.

  Attributes:
    total: the gain [n].
    alpha: of the intervals.
    refusal: why there are no shares; '' if there are.
    draws: how many different draws of orders there are.
  """

  def __init__(self, total: np.ndarray, alpha: float, refusal: str, draws: int):
    self.total, self.alpha, self.refusal = total, alpha, refusal
    self.draws = draws
    self._counts = statistics.resample(
      statistics.generator(), len(total), statistics.RESAMPLES
    )

  def test(
    self, name: str, values: np.ndarray, by_draw: np.ndarray | None = None
  ) -> dict[str, Any]:
    """The mean as `name`, with its test and interval.

    Args:
      name: of the column.
      values: per seed [n]; the sign-flip test and its interval are over them.
      by_draw: where orders were sampled, per seed and draw [n, m]; the t test and its
        interval are then over seeds and draws.
    """
    if by_draw is None:
      span, p = statistics.interval(values, self.alpha), statistics.sign_flip(values)
    else:
      span, p = statistics.crossed(by_draw, self.alpha, self.draws)
    return {
      'n': len(values),
      name: float(values.mean()),
      'ci_low': span.low,
      'ci_high': span.high,
      'ci_kind': span.kind,
      'p': p,
    }

  def player(
    self, name: str, gains: np.ndarray, by_draw: np.ndarray | None = None
  ) -> dict[str, Any]:
    """A row of `PLAYERS`, without ratio and scale; arguments as `test` takes them."""
    share = (math.nan,) * 3 if self.refusal else self.share(gains, by_draw)
    test = self.test('phi', gains, by_draw)
    return {'player': name, **test, **dict(zip(_SHARES, share))}

  def share(
    self, gains: np.ndarray, by_draw: np.ndarray | None = None
  ) -> tuple[float, float, float]:
    """Ratio of the means over seeds and its interval, the seeds resampled jointly.

    Plain percentiles cover .88 instead of .95 at 8 seeds; expanded ones come near. With
    sampled orders it is the t interval of the ratio's linear approximation.
    """
    share = float(gains.mean() / self.total.mean())
    if by_draw is not None:
      terms = (by_draw - share * self.total[:, None]) / self.total.mean()
      span, _ = statistics.crossed(terms, self.alpha, self.draws)
      return share, share + span.low, share + span.high
    with np.errstate(divide='ignore', invalid='ignore'):
      drawn = (self._counts * gains).sum(1) / (self._counts * self.total).sum(1)
    drawn = drawn[~np.isnan(drawn)]
    tail = statistics.expanded_tail(len(gains), self.alpha)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return share, float(low), float(high)
