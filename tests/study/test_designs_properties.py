"""Properties of every design. Oracle: brute force over all combinations of levels."""

import itertools

import hypothesis
from hypothesis import strategies as st

from dlsteroids.study import factors
from dlsteroids.util import errors
from tests.fixtures import study_cases as cases


@st.composite
def spaces(draw):
  """Up to four factors; each may require earlier ones, or exclude some of them."""
  made = []
  for i in range(draw(st.integers(1, 4))):
    count = draw(st.integers(2, 3))
    earlier = [factor.name for factor in made]
    requires, excludes = (), ()
    if earlier:
      requires = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True))
      others = st.tuples(
        st.sampled_from([str(level) for level in range(1, count)]),
        st.sampled_from(earlier),
        st.sampled_from(['0', '1']),
      )
      excludes = tuple(draw(st.lists(others, max_size=1)))
    made.append(
      factors.factor(
        f'f{i}',
        f'model.x{i}',
        *range(count),
        requires=tuple(requires),
        excludes=excludes,
      )
    )
  return tuple(made)


def brute_force(chosen):
  """(settled levels, inapplicable) of every admissible combination, the slow way."""
  found = {}
  for levels in itertools.product(*(range(len(f.levels)) for f in chosen)):
    settled = dict(zip((f.name for f in chosen), levels))
    inapplicable = set()
    for _ in chosen:  # often enough for any chain of requirements
      for factor in chosen:
        if any(settled[other] != 0 for other in factor.requires):
          settled[factor.name] = len(factor.levels) - 1
          inapplicable.add(factor.name)
    bad = any(
      settled[factor.name] == int(own) and settled[other] == int(its)
      for factor in chosen
      for own, other, its in factor.excludes
    )
    if not bad:
      found[tuple(settled.values())] = inapplicable
  return found


def changed(one, two):
  return {a for a, b in zip(one.assignment, two.assignment) if a != b}


quick = hypothesis.settings(max_examples=60, deadline=None)


@quick
@hypothesis.given(spaces())
def test_factorial_is_the_brute_force_enumeration(chosen):
  oracle = brute_force(chosen)
  hypothesis.assume(len(oracle) > 1)
  try:
    made = cases.expand('factorial', *chosen)
  except errors.UserError as error:
    if 'nothing to compare' not in str(error):
      raise
    return
  arms = {arm.name: arm for arm in made.arms}
  cells = {
    tuple(int(v) for _, v in a.assignment): set(a.inapplicable) for a in made.arms
  }
  assert cells == oracle
  assert len(arms) == len(made.arms) == len(oracle)
  for contrast in made.contrasts:
    factor = next(f for f in chosen if f.name == contrast.factor)
    for arm, reference in zip(
      contrast.arm_cells, contrast.reference_cells, strict=True
    ):
      here, there = arms[arm], arms[reference]
      assert dict(here.assignment)[factor.name] == factor.levels[0].name
      assert dict(there.assignment)[factor.name] == contrast.level
      assert factor.name not in here.inapplicable + there.inapplicable
      moved = {name for name, _ in changed(here, there)}
      assert moved <= {factor.name} | set(there.inapplicable)


@quick
@hypothesis.given(spaces())
def test_one_out_arms_differ_in_one_factor(chosen):
  oracle = brute_force(chosen)
  try:
    made = cases.expand('one_out', *chosen)
  except errors.UserError as error:
    if 'nothing to compare' not in str(error):
      raise
    return
  baseline, *others = made.arms
  assert baseline.overrides == ()
  for arm, contrast in zip(others, made.contrasts, strict=True):
    factor, level = arm.name.split('=')
    assert (contrast.factor, contrast.level) == (factor, level)
    assert dict(arm.assignment)[factor] == level
    assert {f for f, _ in changed(arm, baseline)} <= {factor, *arm.inapplicable}
    assert oracle[tuple(int(v) for _, v in arm.assignment)] == set(arm.inapplicable)
    # Overrides say exactly what the assignment says.
    assert dict(arm.overrides) == {
      f'model.x{name[1:]}': int(v) for name, v in arm.assignment if v != '0'
    }
  kept = sum(
    sum(v != 0 for v in cell) - len([n for n in gone if cell[int(n[1:])]]) == 1
    for cell, gone in oracle.items()
  )
  assert len(others) == kept


@quick
@hypothesis.given(spaces())
def test_one_in_and_ladder_add_one_factor_at_a_time(chosen):
  chosen = tuple(factor._replace(excludes=()) for factor in chosen)
  for design in ('one_in', 'ladder'):
    made = cases.expand(design, *chosen)
    arms = {arm.name: arm for arm in made.arms}
    assert len(arms) == len(made.arms)
    assert arms['baseline'].overrides == ()
    assert {c.factor for c in made.contrasts} == {f.name for f in chosen}
    for contrast in made.contrasts:
      here, there = arms[contrast.arm], arms[contrast.reference]
      assert changed(here, there) == {(contrast.factor, contrast.level)}
      assert contrast.factor not in here.inapplicable
