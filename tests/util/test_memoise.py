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


def test_a_keyword_is_not_a_word_of_the_same_letters():
  calls = []

  @memoise.memoised
  def pair(one, two=0):
    calls.append((one, two))
    return one, two

  with memoise.scope():
    assert pair('two', 1) == ('two', 1)
    assert pair(one='two', two=1) == ('two', 1)
    assert pair('one', 'two') == ('one', 'two')
    assert pair(one='two') == ('two', 0)  # not `pair('one', 'two')`
  assert len(calls) == 4


def test_once_depends_on_the_values_alone():
  calls = []
  compute = lambda: calls.append(1) or len(calls)
  parts = object()
  with memoise.scope():
    assert [memoise.once((parts, 1), compute) for _ in range(2)] == [1, 1]
    assert memoise.once((parts, 2), compute) == 2
  assert memoise.once((parts, 1), compute) == 3  # outside nothing is kept
