"""Shapley values of cooperative games: exact, from sampled orders, from a fraction.

A game gives every coalition of k players a value. Coalitions are bitmasks: bit i is set
where player i takes part. All functions take one game per row [n, ...], e.g. one per
seed; nothing here refers to studies, arms or metrics.

Shapley (1953): phi_i is what player i adds to those before it, averaged over all orders
of the players. Sampled orders: Castro et al. (2009). Interaction index: Grabisch &
Roubens (1999). Fractions: Box & Hunter (1961), read as games.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

MAX_PLAYERS = 16  # of an exact game
_TIE = 1e-12  # relative to the largest value: below it a sum is rounding


class Division(NamedTuple):
  """How games divide among their players.

  Attributes:
    phi: Shapley values [n, k].
    pairs: the interaction index [n] by pair of players i < j, of all pairs or of those
      that the estimate can tell apart.
    added: the estimate order by order [n, orders, k]; None unless orders were sampled.
    pairs_added: `pairs` order by order [n, orders], likewise.
  """

  phi: np.ndarray
  pairs: Mapping[tuple[int, int], np.ndarray]
  added: np.ndarray | None = None
  pairs_added: Mapping[tuple[int, int], np.ndarray] = {}


def shapley(values: np.ndarray) -> np.ndarray:
  """Exact Shapley values.

  Args:
    values: of every coalition [n, 2^k], by bitmask; any unit.

  Returns:
    [n, k]; a row's sum is the value of all players minus that of none.

  Raises:
    ValueError: another shape, a value that is not finite, above `MAX_PLAYERS` players.
  """
  v, k = _game(values)
  phi = [(_added(v, i) * _weights(k)).sum(1) for i in range(k)]
  return snap(np.stack(phi, 1), v)


def interactions(values: np.ndarray) -> np.ndarray:
  """Shapley interaction index of all pairs of players.

  What i adds when j is in minus what it adds when j is out, averaged as phi averages:
  above zero the two bring more together than apart. It is the difference between phi_i
  in the game in which j always takes part and in the one in which it never does.

  Args:
    values: as `shapley` takes them.

  Returns:
    [n, k, k], symmetric; the diagonal is 0.
  """
  v, k = _game(values)
  index = np.zeros((len(v), k, k))
  for j in range(1, k):
    without = _added(v, j)  # its players above j move down by one, those below stay
    for i in range(j):
      index[:, i, j] = (_added(without, i) * _weights(k - 1)).sum(1)
  return snap(index + index.transpose(0, 2, 1), v)


def marginals(orders: np.ndarray | Sequence, values: np.ndarray) -> np.ndarray:
  """What each player adds to those before it, order by order.

  Args:
    orders: of the players 0 … k-1 [m, k], each a permutation.
    values: of the first 0, 1, … k players of each order [n, m, k + 1].

  Returns:
    [n, m, k] by player; a row's sum is the value of all players minus that of none.

  Raises:
    ValueError: no permutations, another shape, a value that is not finite.
  """
  orders, v = np.asarray(orders), np.asarray(values, np.float64)
  if orders.ndim != 2 or not orders.size or orders.dtype.kind not in 'iu':
    raise ValueError(f'expected orders of players [m, k], got shape {orders.shape}')
  m, k = orders.shape
  if (np.sort(orders, 1) != np.arange(k)).any():
    raise ValueError(f'every order must hold each of the players 0 to {k - 1} once')
  if v.ndim != 3 or v.shape[1:] != (m, k + 1):
    raise ValueError(f'expected values [n, {m}, {k + 1}], got shape {v.shape}')
  _check_finite(v)
  steps = np.diff(v, axis=2)
  # the inverse of an order says at which place a player stands
  return snap(np.take_along_axis(steps, np.argsort(orders, 1)[None], 2), v)


def signs(coalitions: Sequence[int], players: int) -> np.ndarray:
  """Coalitions [m] as a table of +1 (in) and -1 (out), int64 [m, players]."""
  masks = np.asarray(coalitions, np.int64)
  return 2 * (masks[:, None] >> np.arange(players) & 1) - 1


def from_fraction(table: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Shapley values estimated by the main effects of a two-level fraction.

  With x_i = ±1 every game is a sum of terms beta_T prod_{i in T} x_i. A term's phi_i is
  2 beta_T times the mean of the product of its other x. A player's predecessors are the
  others with a chance q each, q uniform on [0, 1], and the product of |T| - 1 signs
  then has the mean ∫ (2q - 1)^(|T| - 1) dq = 1/|T| if |T| is odd, else 0. Hence

      phi_i = sum over T with i in T and |T| odd of 2 beta_T / |T|:

  terms of even order add nothing, those of order one the main effect 2 beta_i. That is
  what is returned, so it is exact for games without terms of order three and above.
  Otherwise terms of odd order >= 3 with i in them are left out, and those aliased with
  i enter whole, as 2 beta_T. At resolution IV no term of order two is among these, and
  where all words have even length none of even order is.

  Args:
    table: +1 and -1 [m, k] as `signs` makes them; main effects must be orthogonal.
    values: of the m coalitions [n, m].

  Returns:
    [n, k].

  Raises:
    ValueError: another shape, other signs, a value that is not finite, or columns
      that are not balanced or not orthogonal to each other (resolution below III).
  """
  table, v = _signs(table), np.asarray(values, np.float64)
  if v.ndim != 2 or v.shape[1] != len(table):
    raise ValueError(f'expected values [n, {len(table)}], got shape {v.shape}')
  _check_finite(v)
  k = table.shape[1]
  if table.sum(0).any() or (table.T @ table != len(table) * np.eye(k)).any():
    raise ValueError('main effects need balanced columns, orthogonal to each other')
  return snap((v[:, None] * table.T).sum(2) / (len(table) / 2), v)


def resolution(table: np.ndarray) -> int:
  """Length of the shortest word that a fraction confounds with the mean.

  Args:
    table: +1 and -1 [m, k].

  Returns:
    1 where a column is not balanced, 2 where two columns are not orthogonal, IV where
    main effects are clear of terms of order two; k + 1 if nothing is confounded.
  """
  table = _signs(table)
  k = table.shape[1]
  products, sizes = np.ones((len(table), 1)), np.zeros(1, np.int64)
  for column in table.T:
    products = np.concatenate([products, products * column[:, None]], 1)
    sizes = np.concatenate([sizes, sizes + 1])
  words = sizes[(products.sum(0) != 0) & (sizes > 0)]
  return int(words.min(initial=k + 1))


def divide(sides: Sequence[np.ndarray]) -> Division:
  """Exact, with one more player where there are two sides.

  Args:
    sides: values [n, 2^k] of the coalitions of k players; or two of these, without and
      with one more player, which is number k.

  Raises:
    ValueError: as `shapley`.
  """
  values = np.concatenate(sides, 1)
  index = interactions(values)
  some = np.triu_indices(index.shape[1], 1)
  pairs = {(int(i), int(j)): index[:, i, j] for i, j in zip(*some)}
  return Division(shapley(values), pairs)


def divide_orders(
  orders: np.ndarray | Sequence, sides: Sequence[np.ndarray]
) -> Division:
  """As `divide`, from sampled orders, without bias; all k! orders are exact.

  One more player stands at every place of every order, in place of drawing its place.
  Its interactions are the only ones.

  Args:
    orders: of the players 0 … k-1 [m, k].
    sides: values [n, m, k + 1] of the orders' beginnings, one or two of them.

  Raises:
    ValueError: as `marginals`.
  """
  apart = [marginals(orders, side) for side in sides]
  if len(sides) == 1:
    return Division(snap(apart[0].mean(1), sides[0]), {}, apart[0])
  k, values = apart[0].shape[2], np.concatenate(sides, 1)
  # of the k + 1 places of the new player, those before player i
  before = (np.argsort(orders, 1) + 1) / (k + 1)
  added = (1 - before) * apart[0] + before * apart[1]
  new = (sides[1] - sides[0]).mean(2, keepdims=True)
  added, gaps = np.concatenate([added, new], 2), apart[1] - apart[0]
  return Division(
    snap(added.mean(1), values),
    {(i, k): gap for i, gap in enumerate(snap(gaps.mean(1), values).T)},
    added,
    {(i, k): gaps[:, :, i] for i in range(k)},
  )


def divide_fraction(table: np.ndarray, sides: Sequence[np.ndarray]) -> Division:
  """As `divide`, from main effects; interactions with one more player only.

  Args:
    table: +1 and -1 [m, k], see `from_fraction`.
    sides: values [n, m], one or two of them.

  Raises:
    ValueError: as `from_fraction`.
  """
  if len(sides) == 1:
    return Division(from_fraction(table, sides[0]), {})
  m, k = np.shape(table)
  last = np.repeat([-1, 1], m)[:, None]
  wider = np.concatenate([np.concatenate([table, table]), last], 1)
  values = np.concatenate(sides, 1)
  without, present = (from_fraction(table, side) for side in sides)
  gap = snap(present - without, values)
  return Division(from_fraction(wider, values), {(i, k): gap[:, i] for i in range(k)})


def find_fraction(coalitions: Iterable[int], players: int) -> tuple[int, ...] | None:
  """The fraction of resolution IV, or better, among coalitions run; None without.

  The empty and the whole coalition may have been run besides it, for the gain.
  """
  there, ends = set(coalitions), (0, 2**players - 1)
  for besides in ((), ends[:1], ends[1:], ends):
    masks = tuple(sorted(there - set(besides)))
    if masks and resolution(signs(masks, players)) >= min(4, players + 1):
      return masks
  return None


@functools.cache
def _weights(k: int) -> np.ndarray:
  """What an order starts with: chance of each coalition of the k - 1 others."""
  sizes = np.zeros(1, np.int64)
  for _ in range(k - 1):
    sizes = np.concatenate([sizes, sizes + 1])
  chance = np.array([1 / (k * math.comb(k - 1, size)) for size in range(k)])
  return chance[sizes]


def _added(values: np.ndarray, player: int) -> np.ndarray:
  """What `player` adds to every coalition of the others: [n, 2^(k - 1)]."""
  split = values.reshape(len(values), -1, 2, 2**player)
  return (split[:, :, 1] - split[:, :, 0]).reshape(len(values), -1)


def _game(values: np.ndarray) -> tuple[np.ndarray, int]:
  """The values as float64 [n, 2^k], and k; raises ValueError on anything else."""
  v = np.asarray(values, np.float64)
  k = v.shape[1].bit_length() - 1 if v.ndim == 2 else 0
  if k < 1 or v.shape[1] != 2**k:
    raise ValueError(f'expected values of all coalitions [n, 2^k], got {v.shape}')
  if k > MAX_PLAYERS:
    raise ValueError(f'at most {MAX_PLAYERS} players, got {k}')
  _check_finite(v)
  return v, k


def _check_finite(values: np.ndarray) -> None:
  if not np.isfinite(values).all():
    raise ValueError('a game needs a finite value for every coalition')


def _signs(table: np.ndarray) -> np.ndarray:
  """The table as int64 [m, k] of ±1; raises ValueError on anything else."""
  table = np.asarray(table)
  if table.ndim != 2 or not table.size or not np.isin(table, (-1, 1)).all():
    raise ValueError(f'expected +1 and -1 [m, k], got shape {table.shape}')
  return table.astype(np.int64)


def snap(sums: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Sets to zero what differs from zero by rounding only, game by game.

  Otherwise a test of signs would take the rounding of a null player for an effect.

  Args:
    sums: of values [n, ...].
    values: of the games [n, ...].
  """
  size = np.abs(values).reshape(len(values), -1).max(1, initial=0)
  limit = _TIE * size.reshape(-1, *[1] * (sums.ndim - 1))
  return np.where(np.abs(sums) <= limit, 0.0, sums)
