"""Config files: executed once, found by name, every mistake with its file and line."""

import pathlib
import sys

import pytest

from dlsteroids.config import files
from dlsteroids.util import errors

HEAD = 'from dlsteroids import config as config_lib\n'
BODY = """
def get_config({signature}):
  c = config_lib.base(model='mlp', data='digits')
  c.study.name = 'tried'
  {line}
  return {result}


def get_factors(config):
  from dlsteroids.study import factors
  return (factors.factor('a', 'model.activation', 'relu', {level}),)
"""


@pytest.fixture
def write(tmp_path):
  """Writes a config file; its path."""

  def write(line='pass', head='', signature="mode=''", result='c', level="'tanh'"):
    path = tmp_path / 'tried.py'
    body = BODY.format(line=line, signature=signature, result=result, level=level)
    path.write_text(head + HEAD + body, encoding='utf-8')
    return str(path)

  return write


def refused(*args):
  with pytest.raises(errors.UserError) as caught:
    files.read(*args)
  assert len(str(caught.value).splitlines()) == 1
  return str(caught.value)


def test_a_file_is_executed_and_its_functions_called_once(write, tmp_path):
  log = tmp_path / 'log'
  count = f'open({str(log)!r}, "a").write'
  path = write(f'{count}("config ")', head=f'{count}("file ")\n')
  request = files.read(path, {'train.steps': '7'}, 'the command')
  assert log.read_text() == 'file config '
  assert request.config['train']['steps'] == 7
  assert request.config['study']['name'] == 'tried'
  assert [factor.name for factor in request.factors] == ['a']
  assert request.command == 'the command'


def test_factors_see_the_resolved_config(write):
  path = write(level='config.model.init and "tanh"', line='c.model.hidden = (3,)')
  assert files.read(path, {'model.init': 'glorot'}).config['model']['init'] == 'glorot'


@pytest.mark.parametrize(
  'name', ['digits_cnn', 'digits_cnn:smoke', 'configs/digits_cnn.py']
)
def test_a_shipped_study_by_name_from_anywhere(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'configs').mkdir()
  request = files.read(name)
  assert request.config['study']['name'].startswith('digits_cnn')
  assert ('smoke' in request.config['study']['name']) == (':' in name)


def test_a_users_file_comes_before_a_shipped_study(write, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'configs').mkdir()
  pathlib.Path(write()).rename(tmp_path / 'configs' / 'digits_cnn.py')
  assert files.read('configs/digits_cnn.py').config['study']['name'] == 'tried'
  assert files.read('digits_cnn').config['study']['name'] == 'digits_cnn'
  assert "did you mean 'digits_cnn'" in refused('digits_cn')


def test_a_path_without_its_suffix_is_guessed(write, tmp_path, monkeypatch):
  write()
  monkeypatch.chdir(tmp_path)
  assert "(did you mean 'tried.py'?)" in refused('tried')


def test_home_is_expanded(write, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  write()
  assert files.read('~/tried.py').config['study']['name'] == 'tried'


@pytest.mark.parametrize(
  ('change', 'mode', 'hidden'),
  [
    ({'signature': "mode='', size=8", 'line': 'c.model.hidden = (size,)'}, '', (8,)),
    ({'signature': 'size=8', 'line': 'c.model.hidden = (size,)'}, '', (8,)),
    ({'signature': '*, size=8', 'line': 'c.model.hidden = (size,)'}, '', (8,)),
    ({'signature': '', 'line': 'c.model.hidden = (9,)'}, '', (9,)),
    ({'signature': 'mode', 'line': 'c.model.hidden = (int(mode),)'}, '7', (7,)),
    (
      {
        'head': 'import ml_collections\n',
        'result': 'ml_collections.FrozenConfigDict(c)',
        'line': 'c.model.hidden = (5,)',
      },
      '',
      (5,),
    ),
    ({'result': 'c.to_dict()', 'line': 'c.model.hidden = (5,)'}, '', (5,)),
    (
      {
        'head': 'from __future__ import annotations\nimport dataclasses\n'
        '@dataclasses.dataclass\nclass Sizes:\n  units: int = 6\n\n',
        'line': 'c.model.hidden = (Sizes().units,)',
      },
      '',
      (6,),
    ),
    (
      {
        'head': 'import numpy as np\n',
        'line': 'c.model.hidden = tuple(np.arange(2, 4))',
      },
      '',
      (2, 3),
    ),
  ],
)
def test_ways_to_write_a_config(write, change, mode, hidden):
  path = write(**change) + (f':{mode}' if mode else '')
  assert files.read(path).config['model']['hidden'] == hidden
  assert files.read(path, {'train.steps': '1e3'}).config['train']['steps'] == 1000


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'signature': 'mode'}, 'get_config needs mode: give a default, or --config=FILE'),
    ({'signature': 'mode, size'}, 'get_config needs mode, size'),
    (
      {'line': 'c.train.steps = 1e3'},
      "tried.py, line 6: get_config: option 'steps' expects int, not 1000.0 (float); "
      'write 1000',
    ),
    (
      {'line': 'c.train.steps = np.int64(3)', 'head': 'import numpy as np\n'},
      "option 'steps' expects int, not 3 (numpy.int64); int(…) makes it one",
    ),
    (
      {'line': 'c.model.hidden = np.eye(2)', 'head': 'import numpy as np\n'},
      "option 'hidden' expects tuple, not [[1. 0.] [0. 1.]] (numpy.ndarray)",
    ),
    ({'signature': '*, size'}, 'get_config needs size: give size a default'),
    ({'line': 'raise SystemExit("no")'}, 'line 6: get_config: SystemExit: no'),
    ({'head': 'import sys\nsys.exit(3)\n'}, 'tried.py, line 2: SystemExit: 3'),
    (
      {'line': 'c.train.stepz = 3'},
      "line 6: get_config: unknown option 'stepz' (did you mean 'steps'?); there are",
    ),
    (
      {'line': "c.train.update({'stepz': 3})"},
      "line 6: get_config: unknown option 'stepz' (did you mean 'steps'?)",
    ),
    ({'line': 'c.train.stepz'}, "unknown option 'stepz' (did you mean 'steps'?)"),
    (
      {'line': 'c.engine.tensorboard = True'},
      'config.engine.tensorboard is gone: use config.engine.track=tensorboard',
    ),
    ({'line': "{}['a']"}, 'line 6: get_config: KeyError: a'),
    (
      {'level': 'config.model.activatio'},
      "line 12: get_factors: unknown option 'activatio'",
    ),
    (
      {'level': 'config.model.cell'},
      "line 12: get_factors: unknown option 'cell'",
    ),
    ({'result': '3'}, 'get_config must return a ConfigDict'),
    ({'head': 'import nosuch\n'}, 'tried.py, line 1: ModuleNotFoundError: No module'),
    ({'head': 'x = (\n'}, 'tried.py, line 1: SyntaxError'),
    ({'head': 'raise OSError("a\\nb")\n'}, 'tried.py, line 1: OSError: a'),
  ],
)
def test_a_mistake_names_the_file_and_the_line(write, change, words):
  text = refused(write(**change))
  assert words in text
  assert '\\n' not in text


@pytest.mark.parametrize(
  ('head', 'line'),
  [
    ('import time\n', "c.study.name = f'tried_{time.time()}'"),
    ('import time\n', "c.study.name = time.strftime('%Y')"),
    ('from time import strftime\n', "c.study.name = strftime('%Y%m%d')"),
    ('import datetime\n', "c.study.name = f'{datetime.date.today()}'"),
    ('from datetime import datetime\n', "c.study.name = f'{datetime.now():%H:%M}'"),
    ('import random\n', 'c.study.first_seed = random.randrange(2**30)'),
    ('import numpy as np\n', 'c.optimizer.learning_rate = np.random.uniform()'),
    ('import os\n', "c.study.name = f'tried_{os.getpid()}'"),
    ('import uuid\n', 'c.study.name = uuid.uuid4().hex'),
    ('', 'c.study.name = f\'tried_{hash("a")}\''),
    ('', "c.study.name = f'tried_{id(c)}'"),
    (
      'import subprocess\n',
      "c.study.name = subprocess.check_output(['date', '+%N'], text=True).strip()",
    ),
  ],
)
def test_a_config_that_changes_is_refused(write, head, line):
  assert 'is not the same when executed twice (config.' in refused(write(line, head))


@pytest.mark.parametrize(
  'helper',
  [
    'import time\ndef stamp():\n  return f"a{time.time()}"\n',
    'import time\nSTAMP = f"a{time.time()}"\ndef stamp():\n  return STAMP\n',
  ],
)
def test_a_config_that_changes_by_a_module_beside_it_is_refused(
  write, tmp_path, monkeypatch, helper
):
  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / 'stamping.py').write_text(helper)
  try:
    text = refused(write('c.study.name = stamping.stamp()', 'import stamping\n'))
    assert 'is not the same when executed twice (config.study.name)' in text
    first = sys.modules['stamping']
    files.read(write('stamping.stamp()', 'import stamping\n'))
    assert sys.modules['stamping'] is first
  finally:
    sys.modules.pop('stamping', None)


def test_hashes_and_clocks_that_change_nothing_are_fine(write):
  files.read(write('c.study.first_seed = hash((1, 2)) % 100'))
  files.read(write('time.sleep(0)', 'import time\nimport random\nrandom.seed(3)\n'))


def test_a_single_factor_is_a_list_of_one(write):
  path = pathlib.Path(write())
  listed = path.read_text(encoding='utf-8')
  path.write_text(listed.replace('),)', '))'), encoding='utf-8')
  assert path.read_text(encoding='utf-8') != listed
  assert [factor.name for factor in files.read(str(path)).factors] == ['a']
