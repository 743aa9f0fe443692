"""Kinds of change. Oracle: the side with the component, told by hand a design."""

import pytest

from dlsteroids.study import factors
from dlsteroids.util import errors
from tests.fixtures import study_cases as cases


def make(kind):
  return factors.factor('dropout', 'model.dropout', 0.5, 0.25, 0.0, kind=kind)


def steps(design, factor):
  """(arm, kind, side of the component, side of the verdict) of every contrast."""
  contrasts = cases.expand(design, factor).contrasts
  return [(c.arm, c.kind, c.component, c.subject) for c in contrasts]


@pytest.mark.parametrize(
  ('kind', 'one_out', 'back'),
  [
    ('remove', ('remove', 'reference', 'reference'), ('add', 'arm', 'arm')),
    ('add', ('add', 'arm', 'arm'), ('remove', 'reference', 'reference')),
    ('swap', ('swap', 'reference', 'arm'), ('swap', 'arm', 'arm')),
  ],
)
def test_a_contrast_says_what_its_step_is(kind, one_out, back):
  """From the intact level away: one_out; back to it: every other design."""
  factor = make(kind)
  assert steps('one_out', factor) == [
    ('dropout=0.25', *one_out),
    ('dropout=0.0', *one_out),
  ]
  assert steps('ladder', factor) == [('baseline', *back)]
  assert {row[1:] for row in steps('factorial', factor)} == {back}
  assert steps('one_in', factor)[0] == ('baseline', *back)


def test_levels_have_kinds_of_their_own():
  factor = make({0.0: 'remove'})
  assert [level.kind for level in factor.levels] == ['swap', 'swap', 'remove']
  assert factors.change(factor, '0.5', '0.25') == 'swap'
  assert factors.change(factor, '0.0', '0.25') == 'add'
  assert factors.change(factor, '0.25', '0.0') == 'remove'
  with pytest.raises(errors.UserError, match='besides the intact level there'):
    make({0.5: 'remove'})
  with pytest.raises(errors.UserError, match="kind is 'remove', 'add', 'swap', not"):
    make('removal')


def test_an_arm_follows_its_factors_unless_it_says():
  arms = (
    factors.arm('plain', {'dropout': 0.0}),
    factors.arm('half', {'dropout': 0.25}, reference='plain'),
    factors.arm('old', {'dropout': 0.0, 'activation': 'tanh'}),
    factors.arm('wide', overrides={'model.width': 64}),
    factors.arm('wider', overrides={'model.width': 128}, kind='add'),
  )
  made = cases.expand('arms', make('remove'), cases.ACTIVATION, arms=arms)
  assert [(c.arm, c.kind) for c in made.contrasts] == [
    ('plain', 'remove'),
    ('half', 'add'),
    ('old', 'swap'),
    ('wide', 'swap'),
    ('wider', 'add'),
  ]
