"""Digests of code: what changes them, and which modules they follow.

Oracle: small packages written out by the test.
"""

import importlib
import pathlib
import re
import subprocess
import sys
import types

import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import code, interactive
from dlsteroids.plan import programs
from dlsteroids.util import errors

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
    return code.read(['mylab_code.nets'])

  monkeypatch.syspath_prepend(tmp_path)
  yield write
  for name in [name for name in sys.modules if name.startswith('mylab_code')]:
    del sys.modules[name]


def test_imports_are_followed_within_the_package(package):
  assert package().modules.keys() == {
    'mylab_code.deep',
    'mylab_code.nets',
    'mylab_code.helper',
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
  assert before.digest != after.digest
  before, after = before.modules, after.modules
  changed = {name for name in after if before.get(name) != after[name]}
  module = file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')
  assert changed == {f'mylab_code.{module}'}


def test_a_new_import_joins_and_what_is_not_imported_does_not_count(package):
  before = package()
  assert package(**{'unused.py': 'UNUSED = 2\n'}) == before
  text = 'def scale(x):\n  from mylab_code import unused\n  return 2 * x\n'
  after = package(**{'helper.py': text})
  assert after.digest != before.digest
  assert after.modules.keys() - before.modules.keys() == {'mylab_code.unused'}


@pytest.mark.parametrize('model', config_lib.available('models'))
@pytest.mark.parametrize('data', config_lib.available('data'))
def test_shipped_plug_ins_depend_on_no_result_launcher_or_study(model, data):
  """An edit of a report or of the launcher must leave no run stale."""
  names = [f'dlsteroids.{where}' for where in (f'models.{model}', f'data.{data}')]
  found = code.read([*programs.SHARED, *names, 'dlsteroids.tasks.classify']).modules
  assert {*names, 'dlsteroids.models.lib.blocks', 'dlsteroids.rng'} <= found.keys()
  assert {'dlsteroids.train.step', 'dlsteroids.tasks.lib.optimizer'} <= found.keys()
  outside = ('analysis', 'report', 'run', 'cli', 'cluster', 'store', 'study')
  assert not [name for name in found if name.split('.')[1] in outside]
  assert 'dlsteroids.config.launch_options' not in found  # reached, but inert
  others = set(config_lib.available('models')) - {model}
  assert not {f'dlsteroids.models.{other}' for other in others} & found.keys()


def moved(text, names):
  """A text with modules renamed."""
  for old, new in names.items():
    text = re.sub(rf'\b{old}\b', new, text)
  return text


def test_renamed_and_moved_modules_say_the_same(package, tmp_path):
  """Modules have other names and another package; imports are sorted anew."""
  before = package()
  names = {'helper': 'zebra', 'top': 'alpha', 'other': 'basement', 'last': 'first'}
  folder = tmp_path / 'elsewhere' / 'lab_code'
  for name, text in FILES.items():
    for old, new in names.items():
      name = name.replace(f'{old}.py', f'{new}.py')
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = moved(text, names).replace('mylab_code', 'lab_code')
    path.write_text(
      text.replace(
        'from lab_code import zebra\nfrom lab_code.deep import inner\n',
        'from lab_code.deep import inner\nfrom lab_code import zebra\n',
      )
    )
  sys.path.append(str(folder.parent))
  try:
    after = code.read(['lab_code.nets'])
  finally:
    sys.path.remove(str(folder.parent))
  assert after.digest == before.digest
  assert sorted(after.modules.values()) == sorted(before.modules.values())


def test_another_module_imported_under_the_same_name_counts(package):
  before = package()
  other = {'unused.py': 'def scale(x):\n  return 3 * x\n'}
  text = NETS.replace('import helper', 'import unused as helper')
  after = package(**other, **{'nets.py': text})
  assert after.digest != before.digest
  same = {'unused.py': FILES['helper.py']}
  assert package(**same, **{'nets.py': text}).digest == before.digest


def test_swapped_modules_count(package):
  use = NETS + '\nBOTH = (helper.scale, inner.VALUE)\n'
  swapped = use.replace('helper.scale, inner.VALUE', 'inner.scale, helper.VALUE')
  assert package(**{'nets.py': use}).digest != package(**{'nets.py': swapped}).digest


@pytest.mark.parametrize(
  'text',
  [
    'import neighbour\nneighbour.f()\n',
    'from neighbour import f\nf()\n',
    'def g():\n  import neighbour as n\n  return n.f()\n',
    'import importlib\nm = importlib.import_module("neighbour")\n',
    'from importlib import import_module\nm = import_module("neighbour")\n',
    'from importlib import import_module as get\nm = get("neighbour")\n',
    'import importlib as i\nm = i.import_module(name="neighbour")\n',
    'import importlib\nm = importlib.import_module(".part", package="second")\n',
    'import sys\nm = sys.modules["neighbour"]\n',
    'm = __import__("neighbour")\n',
    'import second.part\nsecond.part.f()\n',
    'import importlib\nNAME = "part"\nm = importlib.import_module(f"second.{NAME}")\n',
  ],
)
def test_a_neighbour_and_a_second_package_count(package, tmp_path, text):
  def write(value):
    for path in (tmp_path / 'neighbour.py', tmp_path / 'second' / 'part.py'):
      path.parent.mkdir(exist_ok=True)
      path.write_text(f'def f():\n  return {value}\n')
    return package(**{'nets.py': text})

  try:
    first, second = write(1), write(2)
    changed = {n for n in first.modules if first.modules[n] != second.modules[n]}
    assert first.digest != second.digest
    assert changed == {'second.part' if 'second' in text else 'neighbour'}
  finally:
    for name in ('neighbour', 'second', 'second.part'):
      sys.modules.pop(name, None)


@pytest.mark.parametrize(
  'text',
  [
    'import importlib\ndef g(name):\n  return importlib.import_module(name)\n',
    'exec(open("x.py").read())\n',
    'import runpy\nrunpy.run_path("x.py")\n',
    'from importlib import util\ns = util.spec_from_file_location("x", "x.py")\n',
    'import importlib\nload = importlib.import_module\n',
    'import importlib\nload = getattr(importlib, "import_module")\n',
    'import importlib\nmodules = list(map(importlib.import_module, ["helper"]))\n',
    'from runpy import run_path as run\nrun("x.py")\n',
    'from importlib.machinery import SourceFileLoader as L\nm = L("x", "x.py")\n',
    'exec("from mylab_code import helper")\n',
    'run = exec\nrun("x = 1")\n',
    'm = eval("__import__(\'helper\')")\n',
    'import pathlib\nf = eval(pathlib.Path("x.txt").read_text())\n',
    'import pkgutil\nf = pkgutil.resolve_name("mylab_code.helper:scale")\n',
  ],
)
def test_code_that_cannot_be_followed_is_refused(package, text):
  with pytest.raises(errors.UserError, match=r'mylab_code\.nets, line \d: '):
    package(**{'nets.py': text})


@pytest.mark.parametrize(
  'text',
  [
    'exec("X = 1")\n',
    'X = eval("1 + 1")\n',
    'def build(config):\n  return eval(f"abs({config})")\n',
    'def build(model):\n  return model.eval().exec()\n',
    'def build(model):\n  return getattr(model, "hidden")\n',
  ],
)
def test_code_that_an_evaluation_shows_is_read(package, text):
  assert package(**{'nets.py': text}).modules.keys() == {'mylab_code.nets'}


def test_a_file_that_stands_for_a_module_of_the_standard_library_counts(
  package, tmp_path, monkeypatch
):
  def write(value):
    (tmp_path / 'antigravity.py').write_text(f'def f():\n  return {value}\n')
    return package(**{'nets.py': 'import antigravity\nantigravity.f()\n'})

  monkeypatch.delitem(sys.modules, 'antigravity', raising=False)
  code._is_shadowed.cache_clear()
  try:
    assert write(1).digest != write(2).digest
    assert not code.is_first_party('json')
  finally:
    code._is_shadowed.cache_clear()


def test_the_text_of_an_options_documentation_does_not_count(package):
  text = "from dlsteroids.config import options\nO = options.Option(1, 'a', low=1)\n"
  first = package(**{'nets.py': text})
  assert package(**{'nets.py': text.replace("'a'", "'b'")}).digest == first.digest
  assert package(**{'nets.py': text.replace('low=1', 'low=0')}).digest != first.digest


def test_names_of_the_users_modules_are_not_part_of_a_config(package):
  package()
  config = {
    'model': {'name': 'mylab_code.nets', 'act': 'mylab_code.helper.scale, relu'},
    'data': {'name': 'digits', 'text': 'a.b', 'rate': 0.5},
  }
  assert code.without_names(config) == {
    'model': {'name': '§', 'act': '§.scale, relu'.replace(', ', ', ')},
    'data': {'name': 'digits', 'text': 'a.b', 'rate': 0.5},
  }


MAIN = """
import sys
sys.path[:0] = [{root!r}, {folder!r}]
import neighbour
from dlsteroids.config import code

SLOPE = {slope}
UNRELATED = object()

def act(x):
  '''{doc}'''
  return neighbour.f() * SLOPE * inner(x)

def inner(x):
  return [y for y in x]  # a comment

def other(x):
  return {other}

def build(config):
  return act

UNREADABLE = unrelated = lambda: open

print(code.read([{name!r}]).digest)
"""


@pytest.mark.parametrize('name', ['__main__', '__main__.act'])
@pytest.mark.parametrize('way', ['stdin', 'file', '-c'])
def test_functions_of_main_count(tmp_path, way, name):
  (tmp_path / 'neighbour.py').write_text('def f():\n  return 1\n')
  root = str(pathlib.Path(__file__).parents[2])

  def run(slope=1, doc='One.', other=1):
    text = MAIN.format(
      root=root, folder=str(tmp_path), slope=slope, doc=doc, other=other, name=name
    )
    script = tmp_path / 'script.py'
    script.write_text(text)
    words = {'stdin': ['-'], 'file': [str(script)], '-c': ['-c', text]}[way]
    feed = text if way == 'stdin' else None
    done = subprocess.run(
      [sys.executable, *words], input=feed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

  first = run()
  assert run(doc='Two.') == first
  assert run(other=2) == first  # it is not reached
  assert run(slope=2) != first
  (tmp_path / 'neighbour.py').write_text('def f():\n  return 2\n')
  assert run() != first


def test_what_is_imported_to_be_imported_from_here_counts(package):
  package()
  text = (
    'from mylab_code.helper import {} as act\nfrom mylab_code.helper import {} as b\n'
  )
  files = {'helper.py': 'def f(x):\n  return x\n\ndef g(x):\n  return -x\n'}
  first = package(**files, **{'other.py': text.format('f', 'g')})
  assert package(**files, **{'other.py': text.format('g', 'f')}).digest != first.digest


def in_memory(text):
  """Digest of `build` of a module without source, and the modules that it uses."""
  module = types.ModuleType('notebook')
  exec(compile(text, '<stdin>', 'exec'), vars(module))
  return interactive.read(module, {'build'}, lambda name: name.startswith('mylab'))


@pytest.mark.parametrize(
  'body',
  [
    'from mylab_code import top\n  return top.TOP',
    'import mylab_code.top as t\n  return t.TOP',
    'from mylab_code.top import TOP\n  return TOP',
    'import importlib\n  return importlib.import_module("mylab_code.top").TOP',
    'return [__import__("mylab_code.top") for _ in "a"]',
  ],
)
def test_functions_of_main_that_import_when_they_run_count(package, body):
  package()
  _, used = in_memory(f'def build():\n  {body}\n')
  assert 'mylab_code.top' in used


@pytest.mark.parametrize(
  'body',
  [
    'import importlib\n  return importlib.import_module("mylab_code." + name)',
    'exec(open("x.py").read())',
    'import runpy\n  return runpy.run_path(name)',
  ],
)
def test_functions_of_main_that_cannot_be_followed_are_refused(package, body):
  package()
  with pytest.raises(errors.UserError, match='build in notebook runs code that no'):
    in_memory(f'def build(name):\n  {body}\n')
