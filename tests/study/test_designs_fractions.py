"""Fractional designs. Oracles: the whole defining relation, all choices, algebra."""

import collections
import fractions
import itertools
import math

import pytest

from dlsteroids.study import designs, factors
from tests.fixtures import study_cases as cases
from tests.study import test_shapley_designs as game_tests

SKIP = factors.factor('skip', 'model.x0', 0, 1)
NORM = factors.factor('norm', 'model.x1', 0, 1)


def fours(columns):
  """Words of four letters among columns that are different: pairs that are equal."""
  pairs = collections.Counter(a ^ b for a, b in itertools.combinations(columns, 2))
  return sum(math.comb(count, 2) for count in pairs.values()) // 3


@pytest.mark.parametrize('count', range(5, 17))
def test_fractions_have_resolution_iv(count):
  made = game_tests.made_of('fraction', count)
  names = [f'f{i}' for i in range(count)]
  assert len(made.arms) == (16 if count <= 8 else 32)
  # A bit a factor; a word is constant over the runs as the intact one is among them.
  runs = [sum((v != '0') << i for i, (_, v) in enumerate(c)) for c, _ in made.cells]
  assert len(set(runs)) == len(made.arms)
  assert {0, 2**count - 1} <= set(runs)
  words = [
    word
    for word in range(1, 2**count)
    if not any((word & run).bit_count() % 2 for run in runs)
  ]
  base = len(made.arms).bit_length() - 1
  lengths = [word.bit_count() for word in words]
  assert len(words) == 2 ** (count - base) - 1  # the whole defining relation
  assert min(lengths) >= 4
  assert not any(length % 2 for length in lengths)
  # No other choice of odd products has fewer words of four.
  start = [1 << bit for bit in range(base)]
  odd = [w for w in range(2**base) if w.bit_count() % 2 and w not in start]
  choices = itertools.combinations(odd, count - base)
  assert lengths.count(4) == min(fours([*start, *extra]) for extra in choices)
  assert {'baseline', ','.join(f'{name}=1' for name in names)} <= set(cases.names(made))


def test_no_smaller_fraction_has_resolution_iv():
  """Of all choices of generators, the slow way: 5 columns in 8 runs, 9 in 16."""
  for count, base in ((5, 3), (9, 4)):
    columns = [1 << bit for bit in range(base)]
    others = [word for word in range(1, 1 << base) if word not in columns]
    for chosen in itertools.combinations(others, count - base):
      every = [*columns, *chosen]
      sums = {a ^ b for a, b in itertools.combinations(every, 2)}
      assert sums & set(every)


def test_fraction_by_hand():
  made = cases.expand(
    'fraction', cases.ACTIVATION, cases.DROPOUT, cases.POOLING, SKIP, NORM
  )
  # The fifth factor is there where an even number of the first three are absent.
  oracle = []
  for levels in itertools.product((0, 1), repeat=4):
    last = sum(levels[:3]) % 2
    parts = ('activation=sigmoid', 'dropout=0.0', 'pooling=none', 'skip=1', 'norm=1')
    off = itertools.compress(parts, (*levels, last))
    oracle.append(','.join(off) or 'baseline')
  assert cases.names(made) == oracle
  assert [arm for _, arm in made.cells] == oracle
  contrast = made.contrasts[4]
  assert contrast[:4] == (
    'norm',
    '1',
    'norm=0 (mean of 8 cells)',
    'norm=1 (mean of 8 cells)',
  )
  assert contrast.component == 'arm'
  assert sorted(contrast.arm_cells) == sorted(n for n in oracle if 'norm' not in n)
  assert sorted(contrast.reference_cells) == sorted(n for n in oracle if 'norm' in n)
  assert made.aliases == (
    'activation = dropout:pooling:norm',
    'dropout = activation:pooling:norm',
    'pooling = activation:dropout:norm',
    'skip = interactions of five factors or more',
    'norm = activation:dropout:pooling',
    'activation:dropout = pooling:norm',
    'activation:pooling = dropout:norm',
    'activation:norm = dropout:pooling',
  )
  assert made.notes == (
    '16 of 32 combinations, resolution IV: a main effect is the Shapley value as far '
    'as no three or more factors interact',
    'design fraction skips activation=tanh',
  )
  lines = designs.explain(made)
  assert 'alias: activation:dropout = pooling:norm' in lines
  assert not [line for line in lines if line.startswith('orders')]


@pytest.mark.parametrize('count', [6, 7, 9, 12])
def test_fraction_recovers_shapley_values_of_pairs_and_aliases_triples(count):
  made = game_tests.made_of('fraction', count)
  names = [f.name for f in made.factors]
  main = {name: 3 * i - 7 for i, name in enumerate(names)}
  pair = {p: 5 - 2 * i for i, p in enumerate(itertools.combinations(names, 2))}

  def game(present):
    return sum(main[n] for n in present) + sum(
      gain for both, gain in pair.items() if present.issuperset(both)
    )

  value = game_tests.value_by_arm(made, game)
  # In a game of pairs the Shapley value is the main part and half of every pair's.
  for contrast in made.contrasts:
    mine = [gain for both, gain in pair.items() if contrast.factor in both]
    assert game_tests.delta(contrast, value) == main[
      contrast.factor
    ] + fractions.Fraction(sum(mine), 2)
  # A pure interaction of three, in signs, moves the effects that name it, no others.
  for three in itertools.combinations(names, 3):
    product = lambda s, t=three: math.prod(1 if name in s else -1 for name in t)
    sign = game_tests.value_by_arm(made, product)
    moved = {c.factor for c in made.contrasts if game_tests.delta(c, sign)}
    text = ':'.join(three)
    named = {t.split(' = ')[0] for t in made.aliases[:count] if text in t.split(' = ')}
    assert named <= moved
    if not any('more of three' in line for line in made.aliases):
      assert named == moved


@pytest.mark.parametrize('count', [5, 8, 11])
def test_aliased_pairs_are_those_with_equal_signs(count):
  made = game_tests.made_of('fraction', count)
  names = [f.name for f in made.factors]
  column = {
    name: tuple(dict(pairs)[name] == '0' for pairs, _ in made.cells) for name in names
  }
  groups = {}
  for one, two in itertools.combinations(names, 2):
    same = tuple(a == b for a, b in zip(column[one], column[two]))
    groups.setdefault(same, []).append(f'{one}:{two}')
  oracle = [' = '.join(group) for group in groups.values() if len(group) > 1]
  assert list(made.aliases[count:]) == oracle


def test_fractions_mistakes():
  five = (cases.ACTIVATION, cases.DROPOUT, cases.POOLING, SKIP, NORM)
  assert cases.message('fraction', *five[:4]) == (
    'design fraction: it needs at least 5 factors; use design factorial'
  )
  assert cases.message('fraction', *five, cases.OVERLAP) == (
    'design fraction: overlap requires pooling, and where it is inapplicable the '
    'fraction is out of balance; use design permutations or factorial'
  )
  never = cases.DROPOUT._replace(excludes=(('0.0', 'pooling', 'none'),))
  for design in ('fraction', 'permutations'):
    assert cases.message(design, *five[2:], never, cases.ACTIVATION) == (
      f'design {design}: dropout=0.0 excludes pooling=none, so the game is undefined; '
      'use design one_out or factorial'
    )
  # A requirement that first and last level both meet leaves nothing inapplicable.
  pooling = factors.factor('pooling', 'model.pooling', 'max', 'average', 'none')
  loose = cases.OVERLAP._replace(requires=('pooling=max|none',))
  assert len(cases.expand('fraction', *five[:2], pooling, *five[3:], loose).arms) == 16
