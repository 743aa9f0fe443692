"""Designs for Shapley values. Oracles: hand expansions, all orders, brute force."""

import fractions
import itertools
import math
import zlib

import hypothesis
import pytest
from hypothesis import strategies as st

from dlsteroids.study import designs, factors, shapley_designs
from dlsteroids.util import errors
from tests.fixtures import study_cases as cases
from tests.study import test_designs_properties as properties


def many(count):
  """Factors f0, f1, … of two levels, and a config that has their options."""
  chosen = tuple(factors.factor(f'f{i}', f'model.x{i}', 0, 1) for i in range(count))
  model = {**cases.CONFIG['model'], **{f'x{i}': 0 for i in range(count)}}
  return chosen, {**cases.CONFIG, 'model': model}


def made_of(design, count, **options):
  chosen, config = many(count)
  return designs.expand(design, config, chosen, **options)


def value_by_arm(made, game):
  """A game's value of every arm, from the assignment that is trained."""
  first = {f.name: f.levels[0].name for f in made.factors}
  return {
    arm.name: game(frozenset(n for n, level in arm.assignment if level == first[n]))
    for arm in made.arms
  }


def delta(contrast, value):
  sides = zip(contrast.arm_cells, contrast.reference_cells, strict=True)
  gains = [value[arm] - value[reference] for arm, reference in sides]
  return sum(gains, fractions.Fraction()) / len(gains)


# -- cells of a factorial


def test_cells_of_a_factorial_with_more_levels():
  made = cases.expand('factorial', cases.ACTIVATION, cases.DROPOUT)
  assert made.cells == (
    ((('activation', 'relu'), ('dropout', '0.5')), 'baseline'),
    ((('activation', 'relu'), ('dropout', '0.0')), 'dropout=0.0'),
    ((('activation', 'sigmoid'), ('dropout', '0.5')), 'activation=sigmoid'),
    ((('activation', 'sigmoid'), ('dropout', '0.0')), 'activation=sigmoid,dropout=0.0'),
  )
  assert (made.permutations, made.aliases) == ((), ())


def test_cells_share_the_arm_that_requires_makes_equal():
  made = cases.expand('factorial', cases.POOLING, cases.OVERLAP)
  assert [arm for _, arm in made.cells] == [
    'baseline',
    'overlap=False',
    'pooling=none',
    'pooling=none',
  ]
  assert made.cells[2][0] == (('pooling', 'none'), ('overlap', 'True'))


@pytest.mark.parametrize('design', ['one_out', 'one_in', 'ladder'])
def test_other_designs_are_no_games(design):
  made = cases.expand(design, cases.ACTIVATION, cases.DROPOUT)
  assert (made.cells, made.permutations, made.aliases) == ((), (), ())


def test_an_excluded_corner_leaves_a_factorial_without_a_game():
  dropout = lambda its: cases.DROPOUT._replace(excludes=(('0.0', 'activation', its),))
  made = cases.expand('factorial', cases.ACTIVATION, dropout('sigmoid'))
  assert made.cells == ()
  assert made.notes == (
    'no Shapley values: dropout=0.0 excludes activation=sigmoid, so the game is '
    'undefined',
  )
  # A level between the first and the last is no part of the game.
  made = cases.expand('factorial', cases.ACTIVATION, dropout('tanh'))
  assert (len(made.cells), made.notes) == (4, ())
  # Nor is a combination that requirements never let happen.
  overlap = cases.OVERLAP._replace(excludes=(('True', 'pooling', 'none'),))
  assert len(cases.expand('factorial', cases.POOLING, overlap).cells) == 4


@pytest.mark.parametrize('design', shapley_designs.GAMES)
def test_the_budgets_name_is_taken(design):
  compute = factors.factor('compute', 'model.x2', 0, 1)
  assert cases.message(design, compute, cases.DROPOUT).startswith(
    f"design {design}: no factor can be called 'compute'"
  )
  assert cases.expand('one_out', compute, cases.DROPOUT).arms
  assert cases.expand('factorial', compute, cases.DROPOUT, only='dropout').cells


# -- permutations


def shapley(names, game):
  """By all orders, in exact fractions."""
  total = dict.fromkeys(names, fractions.Fraction())
  orders = list(itertools.permutations(names))
  for order in orders:
    for size, name in enumerate(order):
      total[name] += game(frozenset(order[: size + 1])) - game(frozenset(order[:size]))
  return {name: value / len(orders) for name, value in total.items()}


def test_all_orders_of_few_factors():
  made = cases.expand('permutations', cases.ACTIVATION, cases.DROPOUT)
  assert made.permutations == (('activation', 'dropout'), ('dropout', 'activation'))
  assert cases.names(made) == ['bare', 'bare+activation', 'baseline', 'bare+dropout']
  assert made.cells == (
    ((('activation', 'sigmoid'), ('dropout', '0.0')), 'bare'),
    ((('activation', 'relu'), ('dropout', '0.0')), 'bare+activation'),
    ((('activation', 'relu'), ('dropout', '0.5')), 'baseline'),
    ((('activation', 'sigmoid'), ('dropout', '0.5')), 'bare+dropout'),
  )
  assert made.contrasts[0] == factors.Contrast(
    'activation',
    'sigmoid',
    'activation=relu (mean of 2 cells)',
    'activation=sigmoid (mean of 2 cells)',
    ('bare+activation', 'baseline'),
    ('bare', 'bare+dropout'),
    'arm',
  )
  assert made.notes == (
    'all 2 orders are taken: nothing is sampled',
    'design permutations skips activation=tanh',
  )
  assert 'orders: 2, each with its reverse' in designs.explain(made)
  three = made_of('permutations', 3).permutations
  assert len(three) == 6 == len(set(three))
  assert all(one == two[::-1] for one, two in zip(three[::2], three[1::2]))
  assert made_of('permutations', 1).permutations == (('f0',),)


def test_orders_are_fixed_antithetic_and_nested():
  chosen = many(6)[0]
  names = [factor.name for factor in chosen]
  few, more = shapley_designs.orders(names, 8), shapley_designs.orders(names, 40)
  assert len(set(more)) == 40
  assert more[:8] == few
  assert all(one == two[::-1] for one, two in zip(more[::2], more[1::2]))
  assert all(sorted(order) == names for order in more)
  # Drawn once with PCG64(1969) and the ranks of its words; they must never change.
  assert few[:4:2] == PINNED
  first = [order[0] for order in shapley_designs.orders(names, 480)]
  assert min(map(first.count, names)) > 50  # 80 expected, SD about 7


PINNED = (
  ('f2', 'f4', 'f3', 'f0', 'f1', 'f5'),
  ('f1', 'f0', 'f2', 'f5', 'f3', 'f4'),
)


@pytest.mark.parametrize('permutations', [0, 1, 7, -2, 5000])
def test_orders_come_in_pairs(permutations):
  text = cases.message(
    'permutations', cases.DROPOUT, cases.POOLING, permutations=permutations
  )
  assert text.startswith('config.study.permutations must be an even number')


def test_a_step_that_comes_twice_counts_twice():
  made = made_of('permutations', 5, permutations=16)
  contrast = made.contrasts[0]
  assert len(contrast.arm_cells) == 16 == len(contrast.reference_cells)
  assert len(set(zip(contrast.arm_cells, contrast.reference_cells))) < 16


def test_requirements_make_a_component_worthless_before_what_it_requires():
  made = cases.expand('permutations', cases.OVERLAP, cases.POOLING)
  assert cases.names(made) == ['bare', 'baseline', 'bare+pooling']
  assert made.contrasts[0][4:6] == (('baseline', 'bare'), ('bare+pooling', 'bare'))
  assert made.contrasts[1][4:6] == (('baseline', 'bare+pooling'), ('bare', 'bare'))
  assert [arm for _, arm in made.cells] == ['bare', 'bare', 'baseline', 'bare+pooling']


def test_a_component_that_no_order_makes_applicable_has_no_contrast():
  chosen, _ = many(3)
  first, middle, last = shapley_designs.orders([factor.name for factor in chosen], 2)[0]
  tied = tuple(
    f._replace(requires=(first, last)) if f.name == middle else f for f in chosen
  )
  made = cases.expand('permutations', *tied, permutations=2)
  assert {contrast.factor for contrast in made.contrasts} == {first, last}
  assert (
    f'{middle} has no contrast: it is inapplicable wherever the orders add it'
  ) in made.notes


@properties.quick
@hypothesis.given(
  properties.spaces(), st.sampled_from([2, 4, 8, 24]), st.integers(0, 2**20)
)
def test_permutations_are_efficient_and_exact_with_all_orders(chosen, count, seed):
  chosen = tuple(factor._replace(excludes=()) for factor in chosen)
  made = cases.expand('permutations', *chosen, permutations=count)
  names = [factor.name for factor in chosen]
  assignments = {arm.name: dict(arm.assignment) for arm in made.arms}
  game = lambda present: zlib.crc32(repr((seed, sorted(present))).encode()) % 1000
  value = value_by_arm(made, game)
  full, empty = value['baseline'], value['bare']
  # What the components are worth adds up to what separates intact from bare.
  assert sum(delta(c, value) for c in made.contrasts) == full - empty
  for cell, arm in made.cells:
    levels = assignments[arm]
    for factor in chosen:
      met = all(levels[other] == '0' for other in factor.requires)
      wanted = dict(cell)[factor.name] if met else factor.levels[-1].name
      assert levels[factor.name] == wanted
  if len(made.permutations) == math.factorial(len(names)):
    by_set = {
      frozenset(n for n, level in cell if level == '0'): value[arm]
      for cell, arm in made.cells
    }
    oracle = shapley(names, by_set.__getitem__)
    assert {c.factor: delta(c, value) for c in made.contrasts} == oracle


@hypothesis.settings(properties.quick, max_examples=30)
@hypothesis.given(properties.spaces())
def test_a_factorial_plays_every_set(chosen):
  oracle = properties.brute_force(chosen)
  corners = list(itertools.product(*(('0', f.levels[-1].name) for f in chosen)))
  try:
    made = cases.expand('factorial', *chosen)
  except errors.UserError as error:
    if 'nothing to compare' not in str(error) and 'itself' not in str(error):
      raise
    return
  arms = {arm.name: tuple(int(v) for _, v in arm.assignment) for arm in made.arms}
  # A game that is undefined has a set whose settled cell is not among those admitted.
  free = tuple(factor._replace(excludes=()) for factor in chosen)
  settled = {}
  for levels in corners:
    settled[levels] = settle(free, levels)
  if any(cell not in oracle for cell in settled.values()):
    assert made.cells == ()
    assert any('game is undefined' in note for note in made.notes)
  else:
    assert {
      tuple(level for _, level in cell): arms[arm] for cell, arm in made.cells
    } == settled


def settle(chosen, levels):
  """The combination with inapplicable factors at their last level, the slow way."""
  now = dict(zip((f.name for f in chosen), map(int, levels)))
  for _ in chosen:
    for factor in chosen:
      if any(now[other] != 0 for other in factor.requires):
        now[factor.name] = len(factor.levels) - 1
  return tuple(now.values())


def test_too_many_arms_are_counted():
  chosen, config = many(9)
  text = cases.message('factorial', *chosen)
  arms = len(designs.expand('permutations', config, chosen).arms)
  assert text.endswith(f' or fraction (32 arms) or permutations ({arms} arms)')
  assert 2 + 4 * 8 < arms <= 2 + 8 * 8
  fewer = cases.message('factorial', *chosen, permutations=2)
  assert fewer.endswith(' or permutations (18 arms)')
  # Designs that cannot be are not offered.
  wide = [factors.factor(f'f{i}', f'model.x{i}', *range(99)) for i in range(4)]
  assert 'fraction' not in cases.message('factorial', *wide)
  excludes = (('1', 'f0', '1'),)
  text = cases.message('factorial', *chosen[:8], chosen[8]._replace(excludes=excludes))
  assert text.endswith('or use design one_out (10 arms) or ladder (10 arms)')


def test_too_many_orders_are_counted():
  chosen, config = many(16)
  orders = shapley_designs.orders([factor.name for factor in chosen], 40)
  arms = {frozenset(order[:size]) for order in orders for size in range(17)}
  assert cases.message('permutations', *chosen, config=config, permutations=40) == (
    f'design permutations: {len(arms)} arms, more than 256 (16 factors); select '
    'factors (study.only=f0,f1), or take fewer orders than study.permutations=40'
  )
