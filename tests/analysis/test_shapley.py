"""Shapley values against games worked by hand, their axioms, and all orders."""

import itertools
import math
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from dlsteroids.analysis import shapley

WHOLE = strategies.integers(-1000, 1000)


def members(mask: int) -> set[int]:
  return {i for i in range(mask.bit_length()) if mask >> i & 1}


def make_game(players, value):
  """The values [1, 2^k] of `value(set of players)`."""
  return np.array([[float(value(members(mask))) for mask in range(2**players)]])


def make_term(players, term):
  """The product of the ±1 codes of the players in `term`."""
  code = lambda s: math.prod(1 if i in s else -1 for i in term)
  return make_game(players, code)


def walk(value, players):
  """Shapley values by the definition, one order after another."""
  phi = np.zeros(players)
  for order in itertools.permutations(range(players)):
    seen = 0
    for player in order:
      phi[player] += value[seen | 1 << player] - value[seen]
      seen |= 1 << player
  return phi / math.factorial(players)


def begin(orders):
  """The coalitions [m, k + 1] with which orders begin."""
  return np.array(
    [[sum(1 << i for i in o[:j]) for j in range(len(o) + 1)] for o in orders]
  )


@strategies.composite
def draw_games(draw, most=4):
  players = draw(strategies.integers(1, most))
  return np.array(
    [draw(strategies.lists(WHOLE, min_size=2**players, max_size=2**players))]
  )


# name: (players, value, phi); by hand
BY_HAND = {
  # one left glove (0), two right ones (1, 2): Shapley 1953's own example
  'gloves': (3, lambda s: 0 in s and bool(s & {1, 2}), [4 / 6, 1 / 6, 1 / 6]),
  'additive': (3, lambda s: sum({0: 1, 1: -2, 2: 5}[i] for i in s), [1, -2, 5]),
  'majority': (3, lambda s: len(s) >= 2, [1 / 3] * 3),
  'unanimity': (4, lambda s: {1, 3} <= s, [0, 1 / 2, 0, 1 / 2]),
  # the United Nations in small: one veto, two of three others
  'veto': (4, lambda s: 0 in s and len(s) >= 3, [6 / 12, 2 / 12, 2 / 12, 2 / 12]),
  'alone': (1, lambda s: 7 * len(s) + 3, [7]),
}


@pytest.mark.parametrize('name', BY_HAND)
def test_games_by_hand(name):
  players, value, expected = BY_HAND[name]
  phi = shapley.shapley(make_game(players, value))
  np.testing.assert_allclose(phi, [expected], rtol=1e-14, atol=1e-14)


def test_interactions_by_hand():
  # unanimity of {1, 3}: all of it is between the two
  index = shapley.interactions(make_game(4, lambda s: {1, 3} <= s))[0]
  expected = np.zeros((4, 4))
  expected[1, 3] = expected[3, 1] = 1
  np.testing.assert_allclose(index, expected, atol=1e-14)
  # unanimity of three: each pair gains only if the third is in, half of the orders
  index = shapley.interactions(make_game(3, lambda s: len(s) == 3))[0]
  np.testing.assert_allclose(index, (1 - np.eye(3)) / 2, atol=1e-14)
  # gloves: two right ones stand in each other's way, if the left one is in
  index = shapley.interactions(make_game(3, BY_HAND['gloves'][1]))[0]
  np.testing.assert_allclose(index[1, 2], -1 / 2, atol=1e-14)
  np.testing.assert_allclose(index[0, [1, 2]], 1 / 2, atol=1e-14)
  assert shapley.interactions(make_game(1, len)).shape == (1, 1, 1)


@hypothesis.given(draw_games())
def test_all_orders_give_the_same(values):
  players = values.shape[1].bit_length() - 1
  np.testing.assert_allclose(shapley.shapley(values)[0], walk(values[0], players))
  orders = list(itertools.permutations(range(players)))
  sampled = shapley.divide_orders(orders, [values[:, begin(orders)]]).phi
  np.testing.assert_allclose(sampled, shapley.shapley(values), atol=1e-9)


@hypothesis.given(draw_games(), strategies.randoms(use_true_random=False))
def test_axioms(values, random):
  players = values.shape[1].bit_length() - 1
  masks = np.arange(2**players)
  phi = shapley.shapley(values)
  assert phi.sum() == pytest.approx(values[0, -1] - values[0, 0], abs=1e-9)
  # linear: in the value, and a game of a row does not touch another row's
  other = np.array([[random.uniform(-5, 5) for _ in masks]])
  both = shapley.shapley(np.concatenate([values, other, 3 * values - 2 * other]))
  np.testing.assert_allclose(both[2], 3 * both[0] - 2 * both[1], atol=1e-9)
  np.testing.assert_array_equal(both[0], phi[0])
  # renamed players keep what they have
  order = random.sample(range(players), players)
  renamed = sum((masks >> i & 1) << to for i, to in enumerate(order))
  moved = np.empty_like(values)
  moved[:, renamed] = values
  np.testing.assert_allclose(shapley.shapley(moved)[0, order], phi[0], atol=1e-9)
  # a player that adds nothing gets nothing, exactly, and interacts with nobody
  wider = np.concatenate([values, values], 1)
  assert shapley.shapley(wider)[0, -1] == 0
  np.testing.assert_allclose(shapley.shapley(wider)[0, :-1], phi[0], atol=1e-9)
  assert not shapley.interactions(wider)[0, -1].any()


def test_symmetric_players_share_alike():
  rng = np.random.default_rng(0)
  by_size = rng.normal(size=6)
  phi = shapley.shapley(make_game(5, lambda s: by_size[len(s)]))[0]
  np.testing.assert_allclose(phi, (by_size[5] - by_size[0]) / 5, rtol=1e-12)


def test_interaction_is_what_presence_changes():
  v = np.random.default_rng(1).normal(size=(3, 16))
  index = shapley.interactions(v)
  masks = np.arange(16)
  for i, j in itertools.permutations(range(4), 2):
    present, absent = v[:, masks >> j & 1 == 1], v[:, masks >> j & 1 == 0]
    at = i - (i > j)
    apart = shapley.shapley(present)[:, at] - shapley.shapley(absent)[:, at]
    np.testing.assert_allclose(index[:, i, j], apart, atol=1e-12)


def test_a_null_player_is_zero_to_the_bit():
  # sums of such values differ in the last bit, which a test of signs would count
  values = make_game(3, lambda s: 0.1 * len(s & {0, 1}) + 0.7)
  rounding = values * (1 + 1e-16 * np.arange(8))
  assert shapley.shapley(rounding)[0, 2] == 0
  assert shapley.shapley(make_game(2, lambda s: 1e-9 * (1 in s)))[0, 1] != 0


def test_eight_players_of_ten_seeds_are_fast():
  v = np.random.default_rng(2).normal(size=(10, 2**8))
  shapley.shapley(v)
  took = []
  for _ in range(5):
    start = time.perf_counter()
    shapley.shapley(v)
    shapley.interactions(v)
    took.append(time.perf_counter() - start)
  assert min(took) < 0.05


def test_few_orders_still_sum_to_the_gain():
  v = np.random.default_rng(3).normal(size=(2, 16))
  orders = [[2, 0, 3, 1], [1, 0, 2, 3]]
  added = shapley.marginals(orders, v[:, begin(orders)])
  np.testing.assert_allclose(added.sum(2), (v[:, [-1]] - v[:, [0]]).repeat(2, 1))
  # player 3 comes third in the first order, after 2 and 0, and last in the second
  np.testing.assert_allclose(added[:, 0, 3], v[:, 0b1101] - v[:, 0b0101])
  np.testing.assert_allclose(added[:, 1, 3], v[:, 0b1111] - v[:, 0b0111])
  mean = shapley.divide_orders(orders, [v[:, begin(orders)]]).phi
  np.testing.assert_allclose(mean, added.mean(1))


def test_a_crossed_player_takes_every_place():
  v = np.random.default_rng(4).normal(size=(2, 16))
  low, high = v[:, :8], v[:, 8:]  # without and with player 3
  orders = [[2, 0, 1], [0, 1, 2]]
  at = begin(orders)
  wider = [(*o[:place], 3, *o[place:]) for o in orders for place in range(4)]
  expected = shapley.marginals(wider, v[:, begin(wider)])
  division = shapley.divide_orders(orders, [low[:, at], high[:, at]])
  np.testing.assert_allclose(division.phi, expected.mean(1), atol=1e-12)
  np.testing.assert_allclose(
    division.added, expected.reshape(2, 2, 4, 4).mean(2), atol=1e-12
  )
  every = list(itertools.permutations(range(3)))
  at = begin(every)
  exact = shapley.divide([low, high])
  found = shapley.divide_orders(every, [low[:, at], high[:, at]])
  np.testing.assert_allclose(found.phi, shapley.shapley(v), atol=1e-12)
  assert set(found.pairs) == {(0, 3), (1, 3), (2, 3)}
  for pair, index in found.pairs.items():
    np.testing.assert_allclose(index, exact.pairs[pair], atol=1e-12)
    np.testing.assert_allclose(index, found.pairs_added[pair].mean(1), atol=1e-12)
  assert found.added is not None
  assert found.added.shape == (2, 6, 4)
  np.testing.assert_allclose(found.added.mean(1), found.phi, atol=1e-12)
  first = shapley.divide_orders(every[:1], [low[:, at[:1]], high[:, at[:1]]])
  np.testing.assert_allclose(found.added[:, 0], first.phi, atol=1e-12)


def test_exact_division_has_all_pairs():
  v = np.random.default_rng(5).normal(size=(2, 8))
  one = shapley.divide([v])
  np.testing.assert_array_equal(one.phi, shapley.shapley(v))
  assert set(one.pairs) == {(0, 1), (0, 2), (1, 2)}
  np.testing.assert_array_equal(one.pairs[0, 2], shapley.interactions(v)[:, 0, 2])
  two = shapley.divide([v[:, :4], v[:, 4:]])
  np.testing.assert_array_equal(two.phi, one.phi)


def half(players, sign=1):
  """The coalitions of the half in which the product of all ±1 codes is `sign`."""
  whole = range(2**players)
  return [m for m in whole if (-1) ** (players - m.bit_count()) == sign]


@pytest.mark.parametrize('term', [(0,), (1, 2), (0, 1, 2), (0, 1, 2, 3), (1, 2, 3)])
def test_a_term_is_shared_by_its_players_if_odd(term):
  # the formula of the docstring: 2 beta / |T| for odd |T|, nothing for even
  phi = shapley.shapley(make_term(4, term))[0]
  share = 2 / len(term) if len(term) % 2 else 0
  expected = [share * (i in term) for i in range(4)]
  np.testing.assert_allclose(phi, expected, atol=1e-14)


@hypothesis.given(strategies.lists(WHOLE, min_size=11, max_size=11))
def test_a_fraction_is_exact_up_to_order_two(sizes):
  terms = [(), *((i,) for i in range(4)), *itertools.combinations(range(4), 2)]
  v = sum(size * make_term(4, term) for size, term in zip(sizes, terms))
  kept = half(4)
  found = shapley.from_fraction(shapley.signs(kept, 4), v[:, kept])
  np.testing.assert_allclose(found, shapley.shapley(v), atol=1e-9)


def test_a_term_of_order_three_is_aliased_whole():
  v = make_term(4, (0, 1, 2))
  np.testing.assert_allclose(shapley.shapley(v), [[2 / 3, 2 / 3, 2 / 3, 0]])
  kept = half(4)  # x3 = x0 x1 x2 throughout
  table = shapley.signs(kept, 4)
  found = shapley.from_fraction(table, v[:, kept])
  np.testing.assert_allclose(found, [[0, 0, 0, 2]], atol=1e-14)
  assert shapley.resolution(table) == 4


def test_a_crossed_fraction():
  rng = np.random.default_rng(6)
  terms = [t for size in (0, 1, 2) for t in itertools.combinations(range(5), size)]
  v = sum(rng.normal(size=(3, 1)) * make_term(5, term) for term in terms)
  kept = np.array(half(4))
  table = shapley.signs(kept, 4)
  found = shapley.divide_fraction(table, [v[:, kept], v[:, kept + 16]])
  np.testing.assert_allclose(found.phi, shapley.shapley(v), atol=1e-12)
  assert set(found.pairs) == {(i, 4) for i in range(4)}
  for (i, j), index in found.pairs.items():
    np.testing.assert_allclose(index, shapley.interactions(v)[:, i, j], atol=1e-12)
  alone = shapley.divide_fraction(table, [v[:, kept]])
  np.testing.assert_allclose(alone.phi, shapley.shapley(v[:, :16]), atol=1e-12)


def test_resolution_and_finding_a_fraction():
  whole = list(range(16))
  assert shapley.resolution(shapley.signs(whole, 4)) == 5
  assert shapley.find_fraction(whole, 4) == tuple(whole)
  assert shapley.find_fraction(half(4), 4) == tuple(half(4))
  # of the other half neither end is part: they may have been run besides
  other = half(4, -1)
  for ends in ((), (0,), (15,), (0, 15)):
    assert shapley.find_fraction([*other, *ends], 4) == tuple(other)
  # x4 = x0 x1 x2 x3: the whole coalition is part of it, and the empty one is not
  assert shapley.resolution(shapley.signs(half(5), 5)) == 5
  assert shapley.find_fraction([0, *half(5)], 5) == tuple(half(5))
  assert shapley.find_fraction([31, *half(5, -1)], 5) == tuple(half(5, -1))
  # x2 = x0 x1: resolution III; one cell less is not even balanced
  third = [m for m in range(8) if (-1) ** (3 - m.bit_count()) == 1]
  assert shapley.resolution(shapley.signs(third, 3)) == 3
  assert shapley.find_fraction(third, 3) is None
  assert shapley.resolution(shapley.signs(whole[:-1], 4)) == 1
  assert shapley.resolution(shapley.signs([0, 3], 2)) == 2
  assert shapley.find_fraction([0, 1, 2, 3], 2) == (0, 1, 2, 3)
  assert shapley.find_fraction([0, 1], 1) == (0, 1)
  assert shapley.find_fraction([], 3) is None
  np.testing.assert_array_equal(shapley.signs([0b101], 3), [[1, -1, 1]])


NAN = np.full((1, 4), np.nan)


@pytest.mark.parametrize(
  ('call', 'words'),
  [
    (lambda: shapley.shapley(np.zeros((2, 6))), 'all coalitions'),
    (lambda: shapley.shapley(np.zeros(8)), 'all coalitions'),
    (lambda: shapley.shapley(np.zeros((2, 1))), 'all coalitions'),
    (lambda: shapley.shapley(np.zeros((1, 2**17))), 'at most 16 players, got 17'),
    (lambda: shapley.shapley(NAN), 'finite'),
    (lambda: shapley.interactions(NAN), 'finite'),
    (lambda: shapley.marginals([[0, 0]], np.zeros((1, 1, 3))), 'players 0 to 1 once'),
    (lambda: shapley.marginals([[1, 2]], np.zeros((1, 1, 3))), 'players 0 to 1 once'),
    (lambda: shapley.marginals([[0, 1]], np.zeros((1, 1, 2))), r'\[n, 1, 3\]'),
    (lambda: shapley.marginals([[0, 1]], np.zeros((1, 2, 3))), r'\[n, 1, 3\]'),
    (lambda: shapley.marginals([0, 1], np.zeros((1, 1, 3))), r'orders of players'),
    (
      lambda: shapley.marginals([[0.0, 1.0]], np.zeros((1, 1, 3))),
      r'orders of players',
    ),
    (lambda: shapley.marginals([[0]], np.full((1, 1, 2), np.inf)), 'finite'),
    (
      lambda: shapley.divide_orders([[0]], [np.zeros((1, 1, 2)), np.zeros((1, 2))]),
      r'\[n, 1, 2\]',
    ),
    (lambda: shapley.from_fraction(np.zeros((2, 1)), np.zeros((1, 2))), r'\+1 and -1'),
    (lambda: shapley.from_fraction([[1], [-1]], np.zeros((1, 3))), r'\[n, 2\]'),
    (lambda: shapley.from_fraction([[1], [-1]], NAN[:, :2]), 'finite'),
    (lambda: shapley.from_fraction([[1], [1]], np.zeros((1, 2))), 'balanced'),
    (lambda: shapley.from_fraction([[1, 1], [-1, -1]], np.zeros((1, 2))), 'orthogonal'),
  ],
)
def test_malformed_games_raise(call, words):
  with pytest.raises(ValueError, match=words):
    call()
