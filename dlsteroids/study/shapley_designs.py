"""Games: arms as sets of components, from which Shapley values follow.

    factorial     every set
    fraction      2^(k-p) of the 2^k sets, balanced: a fraction of resolution IV
    permutations  the sets that sampled orders of the components pass through

A component is in the set at its factor's first level and absent at its last; levels
between are no part of the game. Where a requirement is unmet the component is
inapplicable: the set is played by the arm without it.
"""

import collections
import itertools
import math
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from dlsteroids.study import space as space_lib
from dlsteroids.study.builder import Builder
from dlsteroids.study.factors import Factor
from dlsteroids.study.space import Space
from dlsteroids.util import errors

GAMES = ('factorial', 'fraction', 'permutations')
# What tables name beside the factors: compute, which plays with them, and sums.
OTHERS = ('compute', 'ideas', 'remainder', 'total')
FEWEST = 5  # factors of a fraction
MAX_ORDERS = 4096
_KEY = 1969  # of the sampled orders
_SHOWN = 4  # interactions of three that are named

Corner = tuple[tuple[str, str], ...]  # (factor, first or last level), requires unmet
Orders = tuple[tuple[str, ...], ...]


class Game(NamedTuple):
  """Which sets of components a design plays.

  Attributes:
    cells: combinations of first and last levels before requirements are applied, in
      the factors' order, each with the name of the arm that it is.
    permutations: orders in which the components are added to the bare model.
    aliases: what cannot be separated in a fraction, one text per effect.
  """

  cells: tuple[tuple[Corner, str], ...] = ()
  permutations: Orders = ()
  aliases: tuple[str, ...] = ()


def check(design: str, space: Space) -> None:
  """Raises UserError if a factor has a name that the tables need for another row."""
  for factor in space.factors:
    if factor.name in OTHERS:
      raise errors.UserError(
        f'design {design}: no factor can be called {factor.name!r}; the attribution '
        f'has rows {", ".join(OTHERS)} of its own'
      )


def corner(space: Space, present: Collection[str]) -> Corner:
  """The combination in which the components named are there and no others."""
  return tuple(
    (factor.name, factor.levels[0 if factor.name in present else -1].name)
    for factor in space.factors
  )


def sets(factors: Iterable[Factor]) -> Iterator[frozenset[str]]:
  """All sets of components, the full one first and the last factor's fastest."""
  names = [factor.name for factor in factors]
  for mask in itertools.product((True, False), repeat=len(names)):
    yield frozenset(itertools.compress(names, mask))


def violation(space: Space) -> str:
  """The first exclusion that some set of components violates, as text; or ''."""
  for pair in space.excludes:
    alone = space._replace(excludes=(pair,))
    names = {
      name for name, _ in pair
    }  # with all others there, they can be as they like
    involved = [factor for factor in space.factors if factor.name in names]
    others = [factor.name for factor in space.factors if factor.name not in names]
    for present in sets(involved):
      levels = dict(corner(space, {*present, *others}))
      if text := space_lib.violation(alone, space_lib.resolve(space, levels)):
        return text
  return ''


def refusal(design: str, space: Space) -> str:
  """Why a fraction or permutations can't be made of these factors; '' if they can."""
  if text := violation(space):
    return f'{text}, so the game is undefined; use design one_out or factorial'
  if design == 'permutations':
    return ''
  if len(space.factors) < FEWEST:
    return f'it needs at least {FEWEST} factors; use design factorial'
  last = space_lib.bare(space)
  for factor in space.factors:
    for other, admissible in space.requires[factor.name]:
      if last[other] not in admissible:
        return (
          f'{factor.name} requires {other}, and where it is inapplicable the fraction '
          'is out of balance; use design permutations or factorial'
        )
  return ''


def factorial(builder: Builder, names: dict[frozenset[tuple[str, str]], str]) -> Game:
  """The game within a factorial whose arms are `names`, by `(factor, level)` pairs."""
  if text := violation(builder.space):
    builder.notes.append(f'no Shapley values: {text}, so the game is undefined')
    return Game()
  corners = [corner(builder.space, s) for s in sets(builder.space.factors)]
  return Game(tuple((pairs, names[frozenset(pairs)]) for pairs in corners))


def runs(factors: int) -> int:
  """Of how many arms the smallest fraction of resolution IV is."""
  count = 1
  while count < 2 * factors:
    count *= 2
  return count


def generators(factors: int) -> tuple[int, ...]:
  """The columns of the smallest two-level fraction of resolution IV.

  Column i is a bit mask over the base factors, the first of them its highest bit:
  factor i is absent from run r if `column & r` has an odd number of bits. The first
  factors are the base; each other one gets the product of three base factors or of a
  larger odd number, so every word of the defining relation is even and, columns being
  different, has four letters or more. It is the one that completes the fewest words of
  four (the first of equals, short products first).

  With odd products alone the fraction holds the mirror image of each set, the bare
  model that of the intact one, and main effects are free of every interaction of an
  even number of factors. The price: five factors in 16 runs could have
  resolution V.
  """
  base = runs(factors).bit_length() - 1
  columns = [1 << bit for bit in reversed(range(base))]
  words = [w for w in range(1 << base) if w.bit_count() % 2 and w.bit_count() >= 3]
  words.sort(key=lambda word: (word.bit_count(), -word))
  triples = collections.Counter(
    a ^ b ^ c for a, b, c in itertools.combinations(columns, 3)
  )
  while len(columns) < factors:
    word = min(words, key=lambda word: triples[word])
    words.remove(word)
    triples.update(word ^ a ^ b for a, b in itertools.combinations(columns, 2))
    columns.append(word)
  return tuple(columns[:factors])


def fraction(builder: Builder) -> Game:
  """Adds the arms of a fraction; a contrast is the mean of its half minus the other's.

  Raises:
    UserError: too few factors, one that can be inapplicable, or an exclusion.
  """
  space = builder.space
  if text := refusal('fraction', space):
    raise errors.UserError(f'design fraction: {text}')
  columns = generators(len(space.factors))
  count = runs(len(space.factors))
  name = lambda cell: space_lib.label(space, dict(cell.assignment))
  cells = []
  for run in range(count):
    present = [
      factor.name
      for factor, column in zip(space.factors, columns)
      if (column & run).bit_count() % 2 == 0
    ]
    pairs = corner(space, present)
    cells.append((pairs, builder.add(dict(pairs), name)))
  for i, factor in enumerate(space.factors):
    with_it = [arm for pairs, arm in cells if pairs[i][1] == factor.levels[0].name]
    without = [arm for pairs, arm in cells if pairs[i][1] == factor.levels[-1].name]
    builder.contrast_means(factor, factor.levels[-1].name, zip(with_it, without))
  builder.notes.append(
    f'{count} of {2 ** len(columns)} combinations, resolution IV: a main effect is the '
    'Shapley value as far as no three or more factors interact'
  )
  _skipped(builder, 'fraction')
  return Game(tuple(cells), (), _aliases([f.name for f in space.factors], columns))


def _aliases(names: list[str], columns: tuple[int, ...]) -> tuple[str, ...]:
  """The texts of `Game.aliases`: a main effect's triples, then equal pairs."""
  triples = collections.defaultdict(list)
  for three in itertools.combinations(range(len(names)), 3):
    mask = columns[three[0]] ^ columns[three[1]] ^ columns[three[2]]
    triples[mask].append(':'.join(names[i] for i in three))
  pairs = collections.defaultdict(list)
  for i, j in itertools.combinations(range(len(names)), 2):
    pairs[columns[i] ^ columns[j]].append(f'{names[i]}:{names[j]}')
  texts = []
  for name, column in zip(names, columns):
    products = triples[column]
    text = ' = '.join([name, *products[:_SHOWN]])
    if len(products) > _SHOWN:
      text += f' and {len(products) - _SHOWN} more of three factors'
    texts.append(text if products else f'{name} = interactions of five factors or more')
  return (*texts, *(' = '.join(group) for group in pairs.values() if len(group) > 1))


def orders(names: Collection[str], count: int) -> Orders:
  """`count` different orders of the names, each followed by its reverse.

  All orders, where there are no more than `count`. More orders begin with those of
  fewer, and they depend on nothing but the names' number, since the bit generator's
  stream is one that numpy keeps for good.

  Raises:
    UserError: `count` is odd, below 2 or above `MAX_ORDERS`.
  """
  if count % 2 or not 2 <= count <= MAX_ORDERS:
    raise errors.UserError(
      'config.study.permutations must be an even number (each order comes with its '
      f'reverse) from 2 to {MAX_ORDERS}, not {count}'
    )
  names = tuple(names)
  draws: Iterator[tuple[int, ...]] = itertools.permutations(range(len(names)))
  if math.factorial(len(names)) > count:
    import numpy as np  # this room else needs none

    raw = np.random.PCG64(_KEY)
    draw = lambda: np.argsort(raw.random_raw(len(names)), kind='stable')
    draws = (tuple(map(int, draw())) for _ in itertools.count())
  distinct: dict[tuple[int, ...], None] = {}
  for order in draws:
    if order not in distinct:
      distinct[order] = distinct[order[::-1]] = None
    if len(distinct) >= count:
      break
  return tuple(tuple(names[i] for i in order) for order in distinct)


def prefixes(order: tuple[str, ...]) -> list[frozenset[str]]:
  """The sets that an order passes through, from the empty to the full one."""
  return [frozenset(order[:size]) for size in range(len(order) + 1)]


def arms(space: Space, taken: Orders) -> int:
  """How many different arms the orders pass through."""
  passed = {step for order in taken for step in prefixes(order)}
  return len({space_lib.resolve(space, dict(corner(space, step))) for step in passed})


def permutations(builder: Builder, taken: Orders) -> Game:
  """Adds the arms that the orders pass through; a contrast is a Shapley value's sample.

  Per seed it is the mean, over the orders, of what the component adds to those before
  it: a step that comes twice counts twice, one that is inapplicable counts as zero.

  Raises:
    UserError: an exclusion of two levels that meet in some set of components.
  """
  space = builder.space
  if text := refusal('permutations', space):
    raise errors.UserError(f'design permutations: {text}')
  name = lambda cell: space_lib.label_added(space, cell)
  cells: dict[Corner, str] = {}
  steps: dict[str, list[tuple[str, str]]] = {f.name: [] for f in space.factors}
  for order in taken:
    before = ''
    for size, present in enumerate(prefixes(order)):
      pairs = corner(space, present)
      if pairs not in cells:
        cells[pairs] = builder.add(dict(pairs), name)
      if size:
        steps[order[size - 1]].append((cells[pairs], before))
      before = cells[pairs]
  for factor in space.factors:
    # labels follow a side's first arm, so steps that apply come first
    ordered = sorted(steps[factor.name], key=lambda step: step[0] == step[1])
    if ordered[0][0] == ordered[0][1]:
      builder.notes.append(
        f'{factor.name} has no contrast: it is inapplicable wherever the orders add it'
      )
      continue
    builder.contrast_means(factor, factor.levels[-1].name, ordered)
  if len(taken) == math.factorial(len(space.factors)):
    builder.notes.append(f'all {len(taken)} orders are taken: nothing is sampled')
  _skipped(builder, 'permutations')
  return Game(tuple(cells.items()), taken)


def _skipped(builder: Builder, design: str) -> None:
  for factor in builder.space.factors:
    skipped = [level.name for level in factor.levels[1:-1]]
    if skipped:
      builder.notes.append(f'design {design} skips {factor.name}={", ".join(skipped)}')
