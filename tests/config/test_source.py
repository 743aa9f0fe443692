"""Digests of code: what changes them, and which modules they follow.

Oracle: small packages written out by the test.
"""

import importlib
import sys

import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import code
from dlsteroids.plan import programs

NETS = '''
"""A docstring."""
import numpy as np
import flax.linen as nn

from mylab_code import helper
from mylab_code.deep import inner

def build(config):
  """Another."""
  return helper.scale(3)  # a comment

class Net:
  """And one more."""
  size = 3

async def wait():
  """Even here."""
  return 1
'''
FILES = {
  '__init__.py': '',
  'nets.py': NETS,
  'helper.py': 'def scale(x):\n  return 2 * x\n',
  'deep/__init__.py': 'from . import only\n',
  'deep/only.py': 'from ..top import *\n',
  'top.py': 'TOP = 1\n',
  'deep/chosen.py': 'VALUE = 1\n',
  'deep/inner.py': 'from .. import other\nfrom .chosen import VALUE\n',
  'other.py': 'import mylab_code.last\n',
  'last.py': 'LAST = 1\n',
  'unused.py': 'UNUSED = 1\n',
}


@pytest.fixture
def package(monkeypatch, tmp_path):
  """Writes files of mylab_code and gives their digests; forgets it afterwards."""
  folder = tmp_path / 'mylab_code'

  def write(**changes):
    for name, text in {**FILES, **changes}.items():
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text)
    importlib.invalidate_caches()
    return code.digests(['mylab_code.nets'])

  monkeypatch.syspath_prepend(tmp_path)
  yield write
  for name in [name for name in sys.modules if name.startswith('mylab_code')]:
    del sys.modules[name]


def test_imports_are_followed_within_the_package(package):
  assert package().keys() == {
    'mylab_code',
    'mylab_code.nets',
    'mylab_code.helper',
    'mylab_code.deep',
    'mylab_code.deep.chosen',
    'mylab_code.deep.inner',
    'mylab_code.deep.only',
    'mylab_code.top',
    'mylab_code.other',
    'mylab_code.last',
  }


@pytest.mark.parametrize(
  ('old', 'new'),
  [
    ('  # a comment', ''),
    ('"""A docstring."""', '"""Quite another."""'),
    ('"""A docstring."""\n', ''),
    ('  """Another."""\n', ''),
    ('  """And one more."""\n', '  """Less."""\n'),
    ('  """Even here."""\n', ''),
    ('helper.scale(3)', 'helper.scale( (3) )'),
    ('\n\n', '\n\n\n\n'),
  ],
)
def test_comments_docstrings_and_layout_do_not_count(package, old, new):
  assert old in NETS
  assert package(**{'nets.py': NETS.replace(old, new)}) == package()


@pytest.mark.parametrize(
  ('file', 'old', 'new'),
  [
    ('nets.py', 'scale(3)', 'scale(4)'),
    ('nets.py', 'size = 3', 'size = 3.0'),
    ('nets.py', 'return 1', 'return "1"'),
    ('helper.py', '2 * x', 'x * 2'),
    ('deep/__init__.py', '\n', '\nX = 1\n'),
    ('deep/chosen.py', '1', '2'),
    ('last.py', '1', '2'),
  ],
)
def test_code_counts_and_is_named(package, file, old, new):
  before, after = package(), package(**{file: FILES[file].replace(old, new)})
  changed = {name for name in before if before[name] != after[name]}
  module = file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')
  assert changed == {f'mylab_code.{module}'}


def test_a_new_import_joins_and_what_is_not_imported_does_not_count(package):
  before = package()
  assert package(**{'unused.py': 'UNUSED = 2\n'}) == before
  text = 'def scale(x):\n  from mylab_code import unused\n  return 2 * x\n'
  after = package(**{'helper.py': text})
  assert after.keys() - before.keys() == {'mylab_code.unused'}


@pytest.mark.parametrize('model', config_lib.available('models'))
@pytest.mark.parametrize('data', config_lib.available('data'))
def test_shipped_plug_ins_depend_on_no_result_launcher_or_study(model, data):
  """An edit of a report or of the launcher must leave no run stale."""
  names = [f'dlsteroids.{where}' for where in (f'models.{model}', f'data.{data}')]
  found = code.digests([*programs.SHARED, *names, 'dlsteroids.tasks.classify'])
  assert {*names, 'dlsteroids.models.lib.blocks', 'dlsteroids.rng'} <= found.keys()
  assert {'dlsteroids.train.step', 'dlsteroids.tasks.lib.optimizer'} <= found.keys()
  outside = ('results', 'launch', 'study')
  assert not [name for name in found if name.split('.')[1] in outside]
  others = set(config_lib.available('models')) - {model}
  assert not {f'dlsteroids.models.{other}' for other in others} & found.keys()
