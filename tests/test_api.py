"""The package's own functions, called first thing in a fresh interpreter."""

import os
import pathlib
import subprocess
import sys

import pytest

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
  words = ('needs the factors', 'no config file', 'no such module')
  assert any(word in said for word in words)
