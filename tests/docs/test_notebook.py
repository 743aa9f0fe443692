"""docs/quickstart.ipynb installs what is missing, runs, and ends in the report."""

import ast
import importlib.metadata
import json
import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / 'docs' / 'quickstart.ipynb'


def read_cells():
  """The sources of the code cells; none has outputs."""
  notebook = json.loads(NOTEBOOK.read_text(encoding='utf-8'))
  cells = [c for c in notebook['cells'] if c['cell_type'] == 'code']
  assert all(not cell['outputs'] for cell in cells)
  return [''.join(cell['source']) for cell in cells]


def run_cell(source, names):
  """Executes a cell; the value of its last expression, which a notebook displays."""
  tree = ast.parse(source)
  last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
  exec(compile(tree, str(NOTEBOOK), 'exec'), names)
  if last is None:
    return None
  return eval(compile(ast.Expression(last.value), str(NOTEBOOK), 'eval'), names)


@pytest.fixture
def install(monkeypatch):
  """`install(installed, gpu, source)`: runs the first cell; what it started."""
  commands = []
  monkeypatch.setattr(
    subprocess, 'run', lambda words, check: commands.append((words, check))
  )

  def run(installed=False, gpu=False, source=''):
    def version(name):
      if not installed:
        raise importlib.metadata.PackageNotFoundError(name)
      return '1'

    monkeypatch.setattr(importlib.metadata, 'version', version)
    monkeypatch.setattr(shutil, 'which', lambda name: name if gpu else None)
    cell = read_cells()[0]
    assert cell.count("SOURCE = ''\n") == 1
    run_cell(cell.replace("SOURCE = ''\n", f'SOURCE = {source!r}\n'), {})
    return commands

  return run


@pytest.mark.parametrize(('gpu', 'name'), [(False, 'dlsteroids'), (True, '[cuda]')])
def test_the_first_cell_installs_the_clone_around_it(install, monkeypatch, gpu, name):
  """Oracle: the command that pip documents for a folder with extras (PEP 508)."""
  monkeypatch.chdir(NOTEBOOK.parent)
  ((words, check),) = install(gpu=gpu)
  assert words[:5] == [sys.executable, '-m', 'pip', 'install', '-q']
  assert words[5].endswith(f'{name} @ {ROOT.as_uri()}')
  assert check


def test_the_first_cell_installs_an_address_an_upload_or_a_clone_below(
  install, monkeypatch, tmp_path
):
  """Oracle: PEP 508 wants an address; a path is one as file://."""
  monkeypatch.chdir(tmp_path)
  install(source='git+https://lab.org/dlsteroids')
  install(source='main.zip')
  (tmp_path / 'main' / 'dlsteroids').mkdir(parents=True)
  (tmp_path / 'main' / 'dlsteroids' / 'api.py').touch()
  commands = install()
  assert [words[5] for words, _ in commands] == [
    'dlsteroids @ git+https://lab.org/dlsteroids',
    f'dlsteroids @ {(tmp_path / "main.zip").as_uri()}',
    f'dlsteroids @ {(tmp_path / "main").as_uri()}',
  ]


def test_the_first_cell_installs_nothing_that_is_there(install):
  assert install(installed=True) == []


def test_the_first_cell_says_what_it_needs_elsewhere(install, monkeypatch, tmp_path):
  """Unless pyproject.toml publishes an address, which then is the source."""
  monkeypatch.chdir(tmp_path)
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  if address := project.get('urls', {}).get('Repository'):
    ((words, _),) = install()
    assert words[5] == f'dlsteroids @ git+{address}'
    return
  with pytest.raises(
    SystemExit, match=r'set SOURCE .*, or upload an archive .* its path$'
  ):
    install()


def test_the_notebook_runs_as_written(tmp_path, monkeypatch):
  pytest.importorskip('IPython')
  monkeypatch.chdir(tmp_path)
  sources = read_cells()[1:]
  names, shown = {}, None
  for source in sources:
    shown = run_cell(source, names)
  assert set(names['answer'].runs['status']) == {'ok'}
  page = (tmp_path / 'studies/quickstart/report.html').read_text(encoding='utf-8')
  assert 'Do the activation and the learning rate matter?' in page
  assert shown.data.startswith('<iframe srcdoc="&lt;!doctype html')
  assert len(shown.data) > len(page)
