"""The layout of the design by syntax tree: who imports whom, what stays in train/."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'dlsteroids'
LEAVES = {'types', 'rng', 'util', 'config'}
NUMBERS = {'store', 'study', 'config', 'util'}
TRAINING = LEAVES | {'study', 'data', 'models', 'tasks', 'train', 'store', 'plan'}
# Imports point one way; a room may also import itself.
MAY = {
  'util': set(),
  'types': set(),
  'rng': set(),
  'config': {'util'},
  'study': {'config', 'util'},
  'data': LEAVES,
  'models': LEAVES,
  'tasks': LEAVES | {'data', 'models'},
  'train': LEAVES | {'data', 'models', 'tasks'},
  'store': {'study', 'config', 'util'},
  'plan': TRAINING - {'plan'},
  'analysis': NUMBERS,
  'report': NUMBERS | {'analysis'},
  'external': {'store', 'study', 'util', 'report'},
  'run': TRAINING | {'analysis', 'report'},
  'cluster': TRAINING | {'analysis', 'report', 'run'},
  'cli': TRAINING | {'analysis', 'report', 'external', 'run', 'cluster'},
  'api': {'cli', 'report', 'run', 'util'},
  '__init__': LEAVES | {'api', 'external', 'plan', 'report', 'run', 'study'},
  '__main__': {'cli'},
}
WITHOUT_JAX = (
  *('study', 'store', 'analysis', 'report', 'external', 'config', 'types', 'util'),
)
JAX = {'jax', 'jaxlib', 'flax', 'optax', 'orbax'}
# Where a program runs is train's business.
PLACING = {
  *('jit', 'vmap', 'pmap', 'shard_map', 'device_put', 'make_mesh', 'set_mesh'),
  *('NamedSharding', 'PartitionSpec', 'donate_argnums', 'donate_argnames'),
}
# Exceptions: a user's plug-in is tried, and one run is replayed alone.
PLACED_ELSEWHERE = {
  ('plan.plugin_check', 'jit'),
  ('plan.plugin_check', 'vmap'),
  ('run.replay', 'jit'),
}
# environment sets JAX up before its first call, inside a function.
JAX_INSIDE = {'util.environment'}
SUBMODULES = {'Dense', 'BatchNorm', 'LayerNorm', 'GroupNorm', 'Conv', 'Embed', 'RNN'}


@functools.cache
def trees():
  """Syntax tree by module name below dlsteroids ('study.factors')."""
  found = {}
  for path in sorted(PACKAGE.rglob('*.py')):
    name = '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
    found[name] = ast.parse(path.read_bytes())
  return found


def imported(tree):
  """Absolute names of what a tree imports, inside functions too."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def room(name):
  return name.split('.')[0]


def test_the_tree_is_found():
  assert {room(name) for name in trees()} == MAY.keys()
  assert len(trees()) > 40


@pytest.mark.parametrize('name', trees())
def test_imports_point_one_way(name):
  own = room(name)
  for target in imported(trees()[name]):
    if target.startswith('dlsteroids.'):
      other = room(target.removeprefix('dlsteroids.'))
      assert other in MAY, f'{target} is no room'
      assert other == own or other in MAY[own], f'{name} imports {target}'
    assert target != 'dlsteroids' or own in (
      'external',
      'plan',
      'run',
      'cli',
    )  # for its version
    assert room(target) not in ('experiments', 'configs', 'tests')


@pytest.mark.parametrize(
  'name', [n for n in trees() if room(n) in WITHOUT_JAX and n not in JAX_INSIDE]
)
def test_rooms_without_jax_import_none(name):
  found = {room(target) for target in imported(trees()[name])}
  assert not found & JAX


@pytest.mark.parametrize('name', trees())
def test_placing_stays_in_train(name):
  used = set()
  for node in ast.walk(trees()[name]):
    if isinstance(node, ast.Attribute):
      used.add(node.attr)
    elif isinstance(node, ast.Name):
      used.add(node.id)
    elif isinstance(node, ast.keyword):
      used.add(node.arg)
    elif isinstance(node, ast.alias):
      used.add(node.name.rpartition('.')[2])
  found = used & PLACING
  found -= {what for where, what in PLACED_ELSEWHERE if name == where}
  assert room(name) == 'train' or not found


def test_the_exceptions_are_needed():
  for where, what in PLACED_ELSEWHERE:
    tree = trees()[where]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert what in names, f'{where} no longer uses {what}'


@functools.cache
def module_classes():
  """Names of the linen modules of models/ and tasks/, and of makers of them."""
  found = set(SUBMODULES)
  for name, tree in trees().items():
    if room(name) not in ('models', 'tasks'):
      continue
    for node in ast.walk(tree):
      if isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Attribute) and base.attr == 'Module' for base in node.bases
      ):
        found.add(node.name)
  return found


def unnamed(tree):
  """Lines where a linen submodule is made inside a module without a name."""
  for cls in ast.walk(tree):
    if not isinstance(cls, ast.ClassDef):
      continue
    for call in ast.walk(cls):
      if not isinstance(call, ast.Call):
        continue
      function = call.func
      called = getattr(function, 'attr', getattr(function, 'id', ''))
      named = any(keyword.arg == 'name' for keyword in call.keywords)
      if called in module_classes() | {'stage'} and not named:
        yield call.lineno
      # The maker `dense(features, name)` takes it by position.
      if called == 'dense' and not named and len(call.args) < 2:
        yield call.lineno


@pytest.mark.parametrize('name', [n for n in trees() if room(n) in ('models', 'tasks')])
def test_every_submodule_has_a_name(name):
  assert not list(unnamed(trees()[name]))


def test_a_missing_name_is_seen():
  text = 'class A(nn.Module):\n  def f(self, x):\n    return nn.Dense(3)(x)\n'
  assert list(unnamed(ast.parse(text))) == [3]
  assert not list(unnamed(ast.parse(text.replace('(3)', "(3, name='a')"))))
  assert {'Conv', 'LocalConv', 'DenseMixer', 'Norm', 'Dropout', 'Stage'} <= (
    module_classes()
  )
