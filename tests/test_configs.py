"""Every shipped config in its smoke mode, through the launcher.

Of every kind of study one is trained to a report, the others are planned: their arms
are traced on their data. `--every-case` trains all.
"""

import importlib.util
import os
import pathlib

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from dlsteroids import config as config_lib
from dlsteroids.analysis import statistics
from dlsteroids.cli import command
from dlsteroids.plan import runs as runs_lib
from dlsteroids.report import report
from dlsteroids.study import claims, designs
from dlsteroids.train import probes
from dlsteroids.util import errors
from tests.fixtures import game_cases, idx_fixture, model_cases
from tests.fixtures import studies_on_disk as disk

pytestmark = pytest.mark.usefixtures('quick')
SHAPES = {**model_cases.SHAPES, **game_cases.SHAPES, 'alexnet': (67, 67, 3)}
GAMES = ('gan', 'cyclegan')
EMBEDDED = ('digits', 'digits_unpaired', 'python_docs', 'sunspots', 'adding')
TRAINED = (  # by model, task, design and what reads their data
  *('alexnet_imagefolder', 'digits_cnn', 'forecast_linear', 'gan_tricks'),
  *('lstm_speech', 'mnist_dropout', 'steroids_cnn'),  # and steroids_lstm's frontier
)
CONFIGS = sorted(path.name for path in (disk.ROOT / 'configs').glob('[a-z]*.py'))


def load(name):
  spec = importlib.util.spec_from_file_location(name[:-3], disk.ROOT / 'configs' / name)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def draw_images(folder: pathlib.Path) -> pathlib.Path:
  """Two classes of 60 noisy images: bright ones and dark ones."""
  generator = np.random.default_rng(0)
  for label, level in (('bright', 150), ('dark', 50)):
    (folder / 'train' / label).mkdir(parents=True)
    for i in range(60):
      pixels = generator.integers(level, level + 90, (70, 80, 3), np.uint8)
      PIL.Image.fromarray(pixels).save(folder / 'train' / label / f'{i}.png')
  return folder


def place(config, folder) -> list[str]:
  """Words that say where the data are; skips if this machine has none."""
  name = config.data.name
  if name in EMBEDDED:
    return []
  if name == 'image_stream':
    return [f'--config.data.path={draw_images(folder / "images")}']
  if name == 'mnist':  # reading and judging 70,000 images says no more
    (folder / 'mnist').mkdir()
    idx_fixture.make(folder / 'mnist', train=2000, test=200, size=(28, 28))
    words = [f'--config.data.path={folder / "mnist"}']
    measured = 'features' in config.task  # the name of noise tells no classifier
    return [*words, '--config.task.features=mnist'] if measured else words
  if 'image_folder' in (name, config.data.get('source')):
    return [f'--config.data.path={draw_images(folder / "images")}']
  root = os.environ.get('DLSTEROIDS_DATA')
  if not root:
    pytest.skip(f'needs {name}: $DLSTEROIDS_DATA is not set')
  try:
    config_lib.find('data', name).load({**config.data.to_dict(), 'download': False})
  except errors.UserError as error:
    pytest.skip(str(error))
  return []


def few_factors(module) -> list[str]:
  """Words that keep one factor, where each has arms of its own.

  One whose arms share the baseline's program, if there is any. That every arm can be
  built is another test's, and that every level changes what it should.
  """
  config = module.get_config('smoke')
  tree = config_lib.resolve(config)
  every = module.get_factors(config)
  names = [factor.name for factor in every]
  kept = config.study.only.replace(' ', '').split(',') if config.study.only else names
  if config.study.design != 'one_out' or hasattr(module, 'get_claims'):
    return []

  def shares_program(name: str) -> bool:
    arms = designs.expand('one_out', tree, every, (), only=name).configs.values()
    return len(set(map(runs_lib.program_id, arms))) == 1

  shared = [name for name in kept if shares_program(name)]
  return [f'--config.study.only={(shared or kept)[-1]}']


@pytest.mark.parametrize('name', CONFIGS)
def test_a_shipped_config_smokes(name, tmp_path, monkeypatch, capsys, every_case):
  monkeypatch.chdir(disk.ROOT)
  module = load(name)
  words = place(module.get_config('smoke'), tmp_path)
  assert module.__doc__.strip()
  work = tmp_path / 'work'
  if name != 'digits_cnn.py':  # one report, its probes, a second seed are enough
    words += ['--config.study.seeds=1', '--config.engine.keep=none']
    words += few_factors(module)
    monkeypatch.setattr(report, 'write', lambda work, *rest: work / 'report.html')
    monkeypatch.setattr(probes, 'make', lambda *member: None)
  argv = ['launch', f'--config=configs/{name}:smoke', f'--workdir={work}', *words]
  if name.removesuffix('.py') not in TRAINED and not every_case:
    assert command.main([*argv, '--action=plan']) == 0, capsys.readouterr().err
    assert not work.exists()
    return
  assert command.main(argv) == 0, capsys.readouterr().err
  assert capsys.readouterr().out.splitlines()[-1] == f'report: {work}/report.html'
  runs = pd.read_csv(work / 'runs.csv')
  assert (runs['status'] == 'ok').all()
  metric = module.get_config('smoke').study.metric
  assert runs[f'test/{metric}'].notna().all()
  files = ['curves.csv', 'effects.csv', 'plan.json', 'study.json']
  files += ['report.html', 'report.md'] if name == 'digits_cnn.py' else []
  for file in files:
    assert (work / file).stat().st_size


@pytest.mark.parametrize(
  'name', ['steroids_cnn.py', 'steroids_gan.py', 'steroids_lstm.py']
)
def test_a_frontier_smokes(name, tmp_path, monkeypatch, capsys, every_case):
  monkeypatch.chdir(disk.ROOT)
  monkeypatch.setattr(report, 'write', lambda work, *rest: work / 'report.html')
  monkeypatch.setattr(probes, 'make', lambda *member: None)
  argv = ['launch', f'--config=configs/{name}:frontier_smoke', f'--workdir={tmp_path}']
  if name != 'steroids_cnn.py' and not every_case:
    assert command.main([*argv, '--action=plan']) == 0, capsys.readouterr().err
    assert 'search: 2 points x ' in capsys.readouterr().out
    return
  assert command.main(argv) == 0, capsys.readouterr().err
  frontier = pd.read_csv(tmp_path / 'frontier.csv')
  # the full model at two budgets, the bare one at one more, of twice the compute
  assert frontier['toolbox'].value_counts().to_dict() == {'bare': 3, 'full': 2}
  assert frontier['value'].notna().all()
  worth = pd.read_csv(tmp_path / 'worth.csv')
  assert {'together'} < set(worth['what'])


def modes():
  """Every config with each of its modes, which it names when asked for another."""
  for name in CONFIGS:
    with pytest.raises(errors.UserError) as caught:
      load(name).get_config('?')
    _, _, words = str(caught.value).partition('; use ')
    for mode in words.split(', '):
      yield name, '' if mode == "''" else mode


@pytest.mark.parametrize(('name', 'mode'), list(modes()))
def test_every_arm_of_every_mode_can_be_built_and_could_show_something(name, mode):
  module = load(name)
  asked = module.get_config(mode)
  config = config_lib.resolve(asked)
  study = config['study']
  factors = module.get_factors(asked)
  explicit = module.get_arms(asked) if hasattr(module, 'get_arms') else ()
  design = designs.expand(
    study['design'], config, factors, explicit, only=study['only']
  )
  if hasattr(module, 'get_claims'):
    arms = [arm.name for arm in design.arms]
    claims.check(module.get_claims(asked), factors, arms, [study['metric']])
  for arm in design.arms:
    section = config_lib.override(config, arm.overrides)['model']
    plugin = config_lib.find('models', section['name'])
    player = {'player': 'generator'} if config['task']['name'] in GAMES else {}
    examples = {'shape': SHAPES[section['name']]}
    if config['task']['name'] == 'language':
      examples = {'symbols': 3, 'every': True}
    plugin.build({**section, 'outputs': 3, **examples, **player})
  if 'smoke' not in mode:
    assert len(design.contrasts) * statistics.smallest_p(study['seeds']) <= 0.05


@pytest.mark.parametrize('name', CONFIGS)
def test_a_smoke_study_has_another_name_so_its_own_workdir(name):
  module = load(name)
  assert module.get_config().study.name != module.get_config('smoke').study.name


@pytest.mark.parametrize('name', CONFIGS)
def test_every_intact_level_is_the_config_s_own(name):
  config = load(name).get_config()
  for factor in load(name).get_factors(config):
    for path, value in factor.levels[0].overrides:
      section, _, key = path.partition('.')
      assert config[section][key] == value, (factor.name, path)
