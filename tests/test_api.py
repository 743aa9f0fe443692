"""The package's own functions, called first thing in a fresh interpreter."""

import doctest
import inspect
import os
import pathlib
import subprocess
import sys

import pytest

import dlsteroids
from dlsteroids import api

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
  'call',
  [
    "dlsteroids.run({}, 'nowhere')",  # no factors
    "dlsteroids.run('nowhere.py', 'nowhere')",
    "print(dlsteroids.check('nowhere.nets'))",
  ],
)
def test_a_first_call_gets_as_far_as_its_arguments(call, tmp_path):
  """Once `run` failed on a circular import that a launched study never met."""
  done = subprocess.run(
    [sys.executable, '-c', f'import dlsteroids; {call}'],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  said = done.stdout + done.stderr
  assert 'circular' not in said
  words = ('needs factors=', 'no config file', 'no such module')
  assert any(word in said for word in words)


ORDER = ('run', 'plan', 'status', 'report', 'load')  # share a workdir


def test_every_public_name_is_found_and_has_an_example():
  assert sorted(dlsteroids.__all__) == dlsteroids.__all__
  assert {*dlsteroids.__all__} <= {*dir(dlsteroids)}
  for name in dlsteroids.__all__:
    assert callable(getattr(dlsteroids, name))
  with pytest.raises(AttributeError, match='no attribute'):
    dlsteroids.nothing  # noqa: B018
  without = [name for name in dlsteroids.__all__ if not examples(name).examples]
  assert without == []


def examples(name):
  """The examples of a public name's docstring."""
  value = getattr(dlsteroids, name)
  if inspect.ismodule(value):  # a room that can be called
    value = getattr(api, name)
  parser = doctest.DocTestParser()
  return parser.get_doctest(inspect.getdoc(value), {}, name, name, 0)


def check_examples(name, **values):
  test = examples(name)
  home = inspect.getmodule(getattr(dlsteroids, name))
  test.globs = {**vars(home), **values}
  result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
  assert not result.failed, name


def test_the_examples_of_a_study_run(tmp_path, no_figures):
  for name in ORDER:
    check_examples(name, workdir=tmp_path / 'work')


@pytest.mark.parametrize('name', sorted({*dlsteroids.__all__} - {*ORDER}))
def test_an_example_runs(name, tmp_path):
  check_examples(name, workdir=tmp_path / 'work')


def test_the_import_starts_no_jax():
  code = (
    'import sys, dlsteroids; sys.exit("jax" in sys.modules or "numpy" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
