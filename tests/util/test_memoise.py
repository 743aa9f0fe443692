"""Answers within a scope. Oracle: the calls that are counted."""

import pytest

from dlsteroids.util import memoise


@pytest.fixture
def counted():
  calls = []

  @memoise.memoised
  def function(frame, name, number=0):
    calls.append(name)
    return [name, number]

  return function, calls


def test_outside_a_scope_nothing_is_kept(counted):
  function, calls = counted
  frame = []
  assert function(frame, 'a') is not function(frame, 'a')
  assert calls == ['a', 'a']


def test_in_a_scope_equal_words_and_the_same_objects_are_one_call(counted):
  function, calls = counted
  one, other = [], []
  with memoise.scope():
    first = function(one, 'a')
    assert function(one, 'a') is first
    assert function(other, 'a') is not first  # an equal frame is another one
    assert function(one, 'b') == ['b', 0]
    assert function(one, 'a', number=1) == ['a', 1]
    assert function(one, 'a', True) == ['a', True]  # is no 1
    with memoise.scope():  # one within another shares its answers
      assert function(one, 'a') is first
    assert function(one, 'a') is first
  assert calls == ['a', 'a', 'b', 'a', 'a']
  function(one, 'a')
  assert len(calls) == 6


def test_an_error_leaves_the_scope(counted):
  function, calls = counted

  @memoise.scoped
  def fails(frame):
    function(frame, 'a')
    raise ValueError('a mistake')

  frame = []
  with pytest.raises(ValueError, match='a mistake'):
    fails(frame)
  function(frame, 'a')
  assert len(calls) == 2


def test_objects_that_are_gone_are_not_mistaken(counted):
  function, calls = counted
  with memoise.scope():
    for i in range(50):
      function([i], 'a')
  assert len(calls) == 50
