"""A user's own package outside the repository, by dotted names, from its folder."""

import sys

import pytest

from dlsteroids.cli import command
from tests.fixtures import studies_on_disk as disk

NETS = '''
"""One hidden layer, and a choice of what to do with it."""
from flax import linen as nn

DEFAULTS = {'units': 6, 'square': True}


class Net(nn.Module):
  outputs: int
  units: int
  square: bool

  @nn.compact
  def __call__(self, x, *, train, hyper):
    x = nn.Dense(self.units, name='first')(x.reshape(x.shape[0], -1))
    x = x * x if self.square else x
    return nn.Dense(self.outputs, name='output')(x)


def build(config):
  return Net(config['outputs'], config['units'], config['square'])
'''
DATA = """
from dlsteroids.data import digits

OPTIONS = {**digits.OPTIONS, 'invert': False}


def load(config):
  made = digits.load({k: v for k, v in config.items() if k != 'invert'})
  image = made.arrays['image']
  if config['invert']:
    image = 255 - image
  return made._replace(
    name='mine',
    arrays={**made.arrays, 'image': image},
    digest=made.digest[:-1] + str(int(config['invert'])),
  )
"""
METRICS = """
import jax.numpy as jnp
from dlsteroids import types


def make(config):
  def measure(out):
    wrong = (out['logits'].argmax(-1) != out['label']).astype(jnp.float32)
    return {'sum': (wrong * out['mask']).sum(), 'count': out['mask'].sum()}

  def finish(merged):
    return {'': merged['sum'] / merged['count']}

  return {'errors': types.Metric(measure, finish, 'lower', 0.9)}
"""
TASK = """
from dlsteroids.tasks import classify

OPTIONS = {**classify.OPTIONS, 'scale': 1.0}


def build(config, dataset):
  return classify.build(config, dataset)
"""
SETTINGS = """
  config.data.examples = 96
  config.study.metric = 'errors'
  config.task.metrics = 'mylab.metrics'
"""
FACTORS = (
  "factors.factor('square', 'model.square', True, False),"
  "factors.factor('invert', 'data.invert', False, True),"
)


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
  """A folder with the package mylab and a config file, and no dlsteroids in it."""
  folder = tmp_path_factory.mktemp('lab')
  (folder / 'mylab').mkdir()
  files = {'nets': NETS, 'data': DATA, 'metrics': METRICS, 'task': TASK}
  for name, text in files.items():
    (folder / 'mylab' / f'{name}.py').write_text(text)
  disk.write(folder, 'mylab.nets', 'mylab.data', 'mylab.task', SETTINGS, FACTORS)
  return folder


def test_a_plugin_package_runs_and_its_edits_are_told(lab, tmp_path):
  work, config = tmp_path / 'work', lab / 'tiny.py'
  done = disk.launch(config, work, cwd=tmp_path)  # found beside its config file
  assert done.returncode == 0, done.stderr
  assert disk.trained(work) == 6
  first = disk.read(work)
  assert 'test/errors' in first['runs.csv'].splitlines()[0]

  nets = lab / 'mylab' / 'nets.py'
  nets.write_text(NETS.replace('x * x if', 'abs(x) if'))
  done = disk.launch('tiny.py', work, cwd=lab)
  assert done.returncode == 0, done.stderr
  assert 'mylab.nets changed: 6 runs are stale' in done.stderr
  assert disk.trained(work) == 12  # old and new, apart
  assert disk.read(work) != first

  # back, but for a comment and a docstring: the old runs count again
  nets.write_text(NETS.replace('"""One', '# a comment\n"""Only one'))
  said = disk.launch('tiny.py', work, '--action=plan', cwd=lab).stdout
  assert '6 stored, 0 to train' in said
  assert 'stale' not in said


BROKEN = {
  'no options': ('def build(config): pass\n', 'no options'),
  'fails': ('DEFAULTS = {}\nraise OSError("no way")\n', 'fails at import: OSError'),
  'syntax': ('DEFAULTS = {\n', 'SyntaxError'),
  'no build': ('DEFAULTS = {}\n', 'build'),
  'shape': (
    NETS.replace("nn.Dense(self.outputs, name='output')(x)", 'x[:, 0]'),
    'must return logits [B, 10]',
  ),
  'signature': (NETS.replace(', *, train, hyper', ''), 'arm baseline'),
  'flax': (NETS.replace("name='output'", "name='first'"), 'NameInUse'),
  'assertion': (NETS.replace('x = x *', "assert x.ndim == 9, 'flat'; x = x *"), 'flat'),
  'keys': (NETS.replace("config['units']", "config['unit']"), "'unit'"),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_a_broken_plugin_is_one_line(tmp_path, monkeypatch, capsys, kind):
  text, wanted = BROKEN[kind]
  name = 'broken_' + kind.replace(' ', '_')
  package = tmp_path / 'brokenlab'
  package.mkdir()
  (package / f'{name}.py').write_text(text)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.chdir(tmp_path)
  config = disk.write(
    tmp_path, f'brokenlab.{name}', settings='  pass',
    factors="factors.factor('m', 'optimizer.momentum', 0.9, 0.0),",
  )  # fmt: skip
  work = tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  with monkeypatch.context() as patch:
    patch.delitem(sys.modules, 'brokenlab', raising=False)
    assert command.main(argv) == 2
    patch.delitem(sys.modules, 'brokenlab', raising=False)
  (line,) = capsys.readouterr().err.splitlines()
  assert wanted in line
  assert not work.exists()
