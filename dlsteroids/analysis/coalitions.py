"""Which coalitions of ideas a study has run, what they score, how that is divided."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlsteroids.analysis import pairs, shapley, statistics
from dlsteroids.report import formats

DESIGNS = ('factorial', 'fraction', 'permutations')
RAW, LOG = 'raw', 'log-error'  # scales of a gain
RESERVED = ('compute', 'ideas', 'remainder', 'total')  # rows beside the factors'

Divide = Callable[[Sequence[np.ndarray]], shapley.Division]


class Refusal(Exception):
  """Why a study's gain can't be divided, and how to get it, in one line."""


class Game(NamedTuple):
  """The game of ideas as a design shows it; idea i is bit i of a coalition.

  Attributes:
    ideas: the factors' names [k].
    coalitions: those that are needed [m], ascending.
    arms: of the coalitions [m]; two may be one arm.
    divide: the coalitions' values [n, m] at C_high, or at C_low and at C_high, to
      Shapley values; compute is then player number k.
    whole: whether phi sums to the value of all ideas minus that of none.
    together: how many orders beside each other were drawn as one: 2 where each comes
      with its reverse.
    notes: on what the design can't tell, a sentence each.
  """

  ideas: tuple[str, ...]
  coalitions: tuple[int, ...]
  arms: tuple[str, ...]
  divide: Divide
  whole: bool
  together: int
  notes: tuple[str, ...]


def make(study: Mapping[str, Any]) -> Game:
  """The game of the study's factors: the first level is present, the last absent.

  Raises:
    Refusal: a design that leaves combinations out, one that was not run, names of
      factors that are taken, a fraction that confounds ideas with pairs of them.
    ValueError: orders that do not hold every factor once.
  """
  ideas = tuple(str(factor['name']) for factor in study['factors'])
  design = study['design']
  if design not in DESIGNS or not ideas:
    raise Refusal(
      f'No attribution: it needs combinations of factors, and the design {design} '
      f'leaves them out; use study.design=factorial (2^{len(ideas)} combinations '
      f'of {len(ideas)} factors), fraction or permutations.'
    )
  if taken := set(RESERVED) & set(ideas):
    raise Refusal(
      f'No attribution: rename the factor {min(taken)!r}, a row is so named.'
    )
  cells = _find_cells(study)
  view = {'factorial': _all, 'fraction': _fraction, 'permutations': _orders}[design]
  needed, divide, notes = view(study, ideas, cells)
  missing = [mask for mask in needed if mask not in cells]
  if missing:
    raise Refusal(_lack(study, missing, len(needed)))
  if any(len(factor['levels']) > 2 for factor in study['factors']):
    notes += ['Of each factor the first level is present and the last absent.']
  arms = tuple(cells[mask] for mask in needed)
  together = _together(study['permutations']) if design == 'permutations' else 1
  whole = design != 'fraction'
  return Game(ideas, needed, arms, divide, whole, together, tuple(notes))


def _find_cells(study: Mapping[str, Any]) -> dict[int, str]:
  """The arm of every coalition, merged ones included; levels in between are no part."""
  found = {}
  for cell in study.get('cells') or ():
    mask = 0
    for i, factor in enumerate(study['factors']):
      level, known = str(cell['levels'][factor['name']]), factor['levels']
      if level == str(known[0]['name']):
        mask |= 1 << i
      elif level != str(known[-1]['name']):
        break
    else:
      found[mask] = str(cell['arm'])
  return found


_View = tuple[tuple[int, ...], Divide, list[str]]


def _all(study: Mapping[str, Any], ideas: Sequence[str], cells: Mapping) -> _View:
  return tuple(range(2 ** len(ideas))), shapley.divide, []


def _orders(study: Mapping[str, Any], ideas: Sequence[str], cells: Mapping) -> _View:
  k = len(ideas)
  for order in study['permutations']:
    if sorted(order) != sorted(ideas):
      raise ValueError(f'an order must hold every factor once, got {order}')
  orders = [[list(ideas).index(name) for name in o] for o in study['permutations']]
  begun = [[sum(1 << i for i in o[:j]) for j in range(k + 1)] for o in orders]
  needed = tuple(sorted({mask for row in begun for mask in row}))
  at = np.searchsorted(needed, begun)
  divide = lambda sides: shapley.divide_orders(orders, [side[:, at] for side in sides])
  if len({tuple(order) for order in orders}) == math.factorial(k) == len(orders):
    return needed, divide, []
  note = (
    f'Estimated from {len(orders)} of {math.factorial(k):,} orders of the ideas; the '
    'intervals are over seeds and do not count which orders were drawn.'
  )
  return needed, divide, [note]


def _together(orders: Sequence[Sequence[str]]) -> int:
  there = [tuple(order) for order in orders]
  return 2 if there[1::2] == [order[::-1] for order in there[::2]] else 1


def _fraction(study: Mapping[str, Any], ideas: Sequence[str], cells: Mapping) -> _View:
  k = len(ideas)
  kept = shapley.find_fraction(cells, k)
  if kept is None:
    raise Refusal(
      'No attribution: the combinations that were run confound ideas with pairs of '
      'ideas (no fraction of resolution IV); use study.design=factorial.'
    )
  needed = tuple(sorted({*kept, *({0, 2**k - 1} & set(cells))}))
  at, table = np.searchsorted(needed, kept), shapley.signs(kept, k)
  divide = lambda sides: shapley.divide_fraction(table, [side[:, at] for side in sides])
  if len(kept) == 2**k:
    return needed, divide, []
  note = (
    f'Estimated by main effects from {len(kept)} of {2**k} combinations of the ideas: '
    'what three or more do only together is not told apart.'
  )
  return needed, divide, [note]


def _lack(study: Mapping[str, Any], missing: Sequence[int], count: int) -> str:
  """Says which combinations do not exist, and what excludes them if anything does."""
  excluded = [
    f'{factor["name"]}={own} with {other}={level}'
    for factor in study['factors']
    for own, other, level in factor.get('excludes') or ()
  ]
  if excluded:
    return (
      f'No attribution: {formats.listing(excluded)} cannot be, so the game is not '
      'defined; leave one of the two out (study.only).'
    )
  cells = [
    ' '.join(
      f'{f["name"]}={f["levels"][0 if mask >> i & 1 else -1]["name"]}'
      for i, f in enumerate(study['factors'])
    )
    for mask in missing[:3]
  ]
  more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
  return (
    f'No attribution: {len(missing)} of {count} combinations have no arm '
    f'({"; ".join(cells)}{more}); run the study again to plan them.'
  )


def gather(
  study: Mapping[str, Any],
  game: Game,
  scores: Mapping[float, pairs.Scores],
  alpha: float,
) -> tuple[np.ndarray, list[str]]:
  """The coalitions' deciding metric over the seeds at which all have a score.

  Args:
    study: the content of study.json.
    game: of its ideas.
    scores: of the deciding metric by budget.
    alpha: of the intervals to be made.

  Returns:
    Values [budgets, n, m] in the metric's unit, and notes, a sentence each.

  Raises:
    Refusal: arms without any score, or fewer than two such seeds.
  """
  arms = list(game.arms)
  found = np.stack([table.value[arms].to_numpy() for table in scores.values()])
  lacking = [
    f'{arm} at budget {budget:g}'
    for budget, table in scores.items()
    for arm in dict.fromkeys(arms)
    if table.value[arm].isna().all()
  ]
  if lacking:
    more = f' and {len(lacking) - 3} more' if len(lacking) > 3 else ''
    raise Refusal(
      f'No attribution: no run has ended of {"; ".join(lacking[:3])}{more}; run the '
      'study again, it trains what is missing.'
    )
  kept = np.isfinite(found).all((0, 2))
  notes = _count(int(kept.sum()), len(kept), alpha)
  lost = sum(t.diverged[sorted(set(arms))].to_numpy().sum() for t in scores.values())
  if lost:
    runs = 'run' if lost == 1 else 'runs'
    notes.append(f'{lost} {runs} diverged and count with the score of a guess.')
  return found[:, kept], notes


def _count(n: int, planned: int, alpha: float) -> list[str]:
  """What `n` complete seeds of those planned allow to say; refuses fewer than 2."""
  fewest = next(
    count for count in range(2, 64) if statistics.smallest_p(count) <= alpha
  )
  if n < 2:
    has = (
      f'{n} of {planned} seeds has every run' if planned > 1 else 'there is one seed'
    )
    raise Refusal(
      f'No attribution: {has}; it takes 2 for an interval and {fewest} for one that is '
      'more than descriptive (study.seeds).'
    )
  notes = []
  if n < planned:
    notes.append(f'{n} of {planned} seeds have every run that is needed.')
  if n < fewest:
    notes.append(
      f'With {n} seeds the intervals are Student’s t, descriptive only; from {fewest} '
      'seeds on they are those of the sign-flip test.'
    )
  return notes


def better(study: Mapping[str, Any]) -> int:
  """1 where the deciding metric is better when higher, else -1."""
  return 1 if study['metric']['better'] == 'higher' else -1


def turn(
  study: Mapping[str, Any], values: np.ndarray, scale: str
) -> tuple[np.ndarray, str]:
  """Values on a scale, higher being better; or why they have no place on it.

  Args:
    values: of the deciding metric, of any shape.
    scale: `RAW`, signed; or `LOG`, -log((errors + ½)/(N + 1)) for shares of N test
      examples and -log(metric) for other metrics that are better when lower.

  Returns:
    The values, and why there are none or ''.
  """
  name, sign = study['metric']['name'], better(study)
  if scale == RAW:
    return sign * values, ''
  if not np.ptp(values):
    return values, 'all runs score the same'
  if formats.is_share(name):
    size = int(study['data']['sizes'].get('test') or 0)
    if size < 1:
      return values, 'the number of test examples is unknown'
    errors = size * (1 - values if sign > 0 else values)
    return -np.log((errors + 0.5) / (size + 1)), ''
  if sign > 0:
    return values, f'{formats.name(name)} is no error'
  if (values <= 0).any():
    return values, f'{formats.name(name)} is not always above zero'
  return -np.log(values), ''
