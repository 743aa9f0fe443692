"""The pages in docs/: their files and commands run, their links and names exist."""

import pathlib
import re
import runpy
import shlex

import pytest

import dlsteroids
from dlsteroids.cli import command

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / 'docs').glob('*.md'))
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.M | re.S)
NAME = re.compile(r'# ([\w/]+\.py)\n')


def blocks(page):
  return BLOCK.findall((ROOT / 'docs' / page).read_text(encoding='utf-8'))


def write_files(page, folder):
  """Saves the Python blocks of a page that name their file in the first line."""
  names = []
  for language, text in blocks(page):
    match = NAME.match(text)
    if language == 'python' and match:
      path = folder / match.group(1)
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text.removeprefix(match.group(0)), encoding='utf-8')
      names.append(match.group(1))
  return names


def test_the_tutorial_runs_as_written(tmp_path, monkeypatch, capsys, no_figures):
  monkeypatch.chdir(tmp_path)
  files = write_files('tutorial.md', tmp_path)
  assert files == ['my_study.py', 'use_it.py']
  commands = [text for language, text in blocks('tutorial.md') if language == 'sh']
  outputs = []
  for line in commands:
    program, *words = shlex.split(line)
    assert program == 'dlsteroids'
    assert command.main([program, *words]) == 0, capsys.readouterr().err
    outputs.append(capsys.readouterr().out)
  assert 'report: ' in outputs[1].splitlines()[-1]
  assert 'hidden layer' in outputs[0]
  assert (tmp_path / 'my_results' / 'report.html').is_file()
  runpy.run_path('use_it.py')
  assert '(32,)' in capsys.readouterr().out.splitlines()[-1].replace('[', '(')


@pytest.fixture(scope='module')
def mylab(tmp_path_factory):
  folder = tmp_path_factory.mktemp('mylab')
  write_files('extending.md', folder)
  (folder / 'mylab' / '__init__.py').touch()
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(folder))
    yield folder


@pytest.mark.parametrize(
  'name',
  [
    'mylab.nets',
    'mylab.nnx_net',
    'mylab.equinox_net',
    'mylab.pair_net',
    'mylab.rings',
    'mylab.hinge',
    'mylab.calibration',
  ],
)
def test_plugins_of_the_page_pass_their_check(mylab, name):
  if name == 'mylab.equinox_net':
    pytest.importorskip('equinox', reason='Equinox is not installed')
  problems = dlsteroids.check(name)
  harmless = ('warning: ', 'note: ')
  assert not [line for line in problems if not line.startswith(harmless)], problems


def test_plugins_of_the_page_train_together(mylab, tmp_path, no_figures):
  config = dlsteroids.base(model='mylab.nets', data='mylab.rings', task='mylab.hinge')
  config.study.name, config.study.seeds = 'rings', 2
  config.study.metric = 'margin'
  config.task.metrics = 'mylab.margins,mylab.calibration'
  config.train.steps, config.train.batch_size, config.train.evaluations = 20, 32, 2
  factors = [dlsteroids.factor('square', 'model.square', True, False)]
  answer = dlsteroids.run(config, tmp_path / 'rings', factors=factors)
  assert answer.runs['test/margin'].notna().all()
  by_device = answer.runs['test/calibration']
  assert (by_device - answer.runs['test/calibration_on_host']).abs().max() < 1e-6
  assert by_device.between(0, 1).all()
  assert answer.report.is_file()


@pytest.mark.parametrize(
  ('page', 'last'), [('judge.md', 'helps'), ('agents.md', 'kept: wider')]
)
def test_files_that_judge_run_as_written(
  page, last, tmp_path, monkeypatch, capsys, no_figures
):
  (name,) = write_files(page, tmp_path)
  monkeypatch.chdir(tmp_path)
  runpy.run_path(name)
  assert capsys.readouterr().out.rstrip().endswith(last)


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'README.md'], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
  for target in re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', page.read_text('utf-8')):
    if not target.startswith('http'):
      assert (page.parent / target).exists(), target


def test_the_api_page_names_everything_public():
  text = (ROOT / 'docs' / 'api.md').read_text('utf-8')
  missing = [name for name in dlsteroids.__all__ if f'`{name}' not in text]
  assert not missing


@pytest.mark.parametrize('page', ['extending.md', 'concepts.md', 'api.md'])
def test_the_pages_name_files_that_exist(page):
  text = (ROOT / 'docs' / page).read_text('utf-8')
  for path in re.findall(r'`((?:dlsteroids|configs|experiments|tests)/[\w/.]*)`', text):
    assert (ROOT / path).exists(), path
