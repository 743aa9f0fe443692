"""docs/quickstart.ipynb runs, but for its installation, and ends in the report."""

import ast
import json
import pathlib

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / 'docs' / 'quickstart.ipynb'


def run_cell(source, names):
  """Executes a cell; the value of its last expression, which a notebook displays."""
  tree = ast.parse(source)
  last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
  exec(compile(tree, str(NOTEBOOK), 'exec'), names)
  if last is None:
    return None
  return eval(compile(ast.Expression(last.value), str(NOTEBOOK), 'eval'), names)


def test_the_notebook_runs_as_written(tmp_path, monkeypatch):
  pytest.importorskip('IPython')
  monkeypatch.chdir(tmp_path)
  notebook = json.loads(NOTEBOOK.read_text(encoding='utf-8'))
  cells = [c for c in notebook['cells'] if c['cell_type'] == 'code']
  assert all(not cell['outputs'] for cell in cells)
  first, *sources = (''.join(cell['source']) for cell in cells)
  assert first == '%pip install -q dlsteroids'
  names, shown = {}, None
  for source in sources:
    shown = run_cell(source, names)
  assert set(names['answer'].runs['status']) == {'ok'}
  page = (tmp_path / 'studies/quickstart/report.html').read_text(encoding='utf-8')
  assert 'Do the activation and the learning rate matter?' in page
  assert shown.data.startswith('<iframe srcdoc="&lt;!doctype html')
  assert len(shown.data) > len(page)
