"""Factors as values. Oracle: the values and the messages written out by hand."""

import math
import subprocess
import sys

import pytest

from dlsteroids.study import factors
from dlsteroids.util import errors


def test_factor_is_the_value_written_by_hand():
  made = factors.factor(
    'kernel',
    'model.kernel',
    (5, 5),
    [3, 3],
    requires=('conv',),
    excludes=(((3, 3), 'pooling', 'max'),),
    about='how far a unit sees',
  )
  assert made == factors.Factor(
    name='kernel',
    levels=(
      factors.Level('(5, 5)', (('model.kernel', (5, 5)),)),
      factors.Level('(3, 3)', (('model.kernel', (3, 3)),)),
    ),
    requires=('conv',),
    excludes=(('(3, 3)', 'pooling', 'max'),),
    about='how far a unit sees',
  )
  hash(made)  # frozen to the bottom


@pytest.mark.parametrize(
  ('value', 'name'),
  [(True, 'True'), (0.0, '0.0'), (1e-5, '1e-05'), ('none', 'none'), (math.inf, 'inf')],
)
def test_levels_are_named_by_their_value(value, name):
  made = factors.factor('x', 'model.x', 'intact', value)
  assert [level.name for level in made.levels] == ['intact', name]


def test_levels_of_several_paths():
  made = factors.levels(
    'convolution',
    {
      '3x3': {'model.name': 'cnn'},
      'dense': {'model.name': 'mlp', 'model.widths': [64, 32]},
    },
  )
  assert made.levels == (
    factors.Level('3x3', (('model.name', 'cnn'),)),
    factors.Level('dense', (('model.name', 'mlp'), ('model.widths', (64, 32)))),
  )


def test_levels_have_years():
  relu = factors.factor('act', 'model.act', 'relu', 'tanh', years=(2011, 0))
  assert [level.year for level in relu.levels] == [2011, 0]
  nets = {'cnn': {'model.name': 'cnn'}, 'mlp': {'model.name': 'mlp'}}
  made = factors.levels('net', nets, years=[1989, 1986])
  assert [level.year for level in made.levels] == [1989, 1986]


def test_arm_is_the_value_written_by_hand():
  made = factors.arm(
    'lean', {'dropout': 0.0}, {'model.width': 8}, reference='wide', kind='add'
  )
  assert made == factors.ExplicitArm(
    'lean', (('dropout', '0.0'),), (('model.width', 8),), 'wide', 'add'
  )


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: factors.factor('x', 'model.x', 1), 'factor x has 1 level'),
    (lambda: factors.factor('x', 'model.x', 1, 1), "two levels are called '1'"),
    (lambda: factors.factor('a,b', 'model.x', 1, 2), "a name must not contain ','"),
    (lambda: factors.factor('a=b', 'model.x', 1, 2), "a name must not contain '='"),
    (lambda: factors.factor('', 'model.x', 1, 2), 'a name is one line'),
    (lambda: factors.factor('x', 'x', 1, 2), "'x' is not a config path"),
    (lambda: factors.factor('x', 'model.x', 'a', ''), 'a name is one line'),
    (lambda: factors.factor('x', 'model.x', 1, None), 'NoneType) is not a level value'),
    (
      lambda: factors.factor('x', 'model.x', 1.0, math.nan),
      'nan (float) is not a level',
    ),
    (
      lambda: factors.factor('x', 'model.x', 1, {'a': 1}),
      '(dict) is not a level value',
    ),
    (
      lambda: factors.factor('x', 'model.x', 1, 2, requires='conv'),
      "requires is a tuple of names such as ('pooling',), not 'conv'",
    ),
    (
      lambda: factors.factor('x', 'model.x', 1, 2, excludes=(('conv', '2'),)),
      'excludes holds (own level, other factor, its level)',
    ),
    (
      lambda: factors.factor('x', 'm.x', 'relu', 'tanh', excludes=(('tan', 'y', 'z'),)),
      "excludes names its level 'tan' (did you mean 'tanh'?); it has relu, tanh",
    ),
    (lambda: factors.levels('x', ['a', 'b']), 'levels are a dict'),
    (lambda: factors.levels('x', {'a': {}, 'b': 3}), 'level b: expected {path: value}'),
    (
      lambda: factors.factor('x', 'm.x', 'relu', 'tanh', years=(2011,)),
      'years has one for each of relu, tanh, 0 where there is none, not (2011,)',
    ),
    (
      lambda: factors.factor('x', 'm.x', 'relu', 'tanh', years=(2011, '1986')),
      "level tanh: a year is a whole number such as 1989, or 0 for none, not '1986'",
    ),
    (lambda: factors.arm('x', kind='both'), "kind is 'remove', 'add', 'swap'"),
    (lambda: factors.arm('two\nlines'), 'a name is one line'),
  ],
)
def test_mistakes_are_one_line(make, message):
  with pytest.raises(errors.UserError) as caught:
    make()
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)


def test_check_holds_factors_made_by_hand():
  twice = factors.Level('b', (('model.x', 1), ('model.x', 2)))
  factor = factors.Factor('x', (factors.Level('a', ()), twice))
  with pytest.raises(errors.UserError, match=r'level b: it sets model.x twice'):
    factors.check(factor)


def test_the_study_room_needs_no_jax():
  code = (
    'import sys; import dlsteroids.study.designs; '
    "sys.exit(any(name in sys.modules for name in ('jax', 'flax', 'numpy')))"
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
