"""A report is drawn again if, and only if, what it says or any of its files changed."""

import ast
import dataclasses
import pathlib

import pytest

from dlsteroids.report import current
from tests.fixtures import report_fixture, studies


@pytest.fixture
def workdir(tmp_path):
  for name in ('runs.csv', 'curves.csv', 'report.html', 'report.md'):
    (tmp_path / name).write_text(name)
  for name in ('figures', 'runs'):
    (tmp_path / name).mkdir()
  (tmp_path / 'figures' / 'effects.png').write_bytes(b'a picture')
  return tmp_path


def test_report_is_current_until_one_of_its_files_changes(workdir):
  inputs = current.digest(workdir, studies.typed(report_fixture.digits().study))
  assert not current.is_current(workdir, inputs)
  current.sign(workdir, inputs)
  assert current.is_current(workdir, inputs)
  (workdir / 'figures' / 'effects.png').unlink()
  assert not current.is_current(workdir, inputs)
  current.sign(workdir, inputs)
  (workdir / 'report.md').write_text('edited')
  assert not current.is_current(workdir, inputs)
  (workdir / current.FILE).write_text('{"inputs":')
  assert not current.is_current(workdir, inputs)


def test_inputs_are_study_results_and_code(workdir, monkeypatch):
  study = studies.typed(report_fixture.digits().study)
  digests = {current.digest(workdir, study)}
  digests.add(current.digest(workdir, dataclasses.replace(study, question='Another?')))
  (workdir / 'runs' / 'program-0123456789abcdef.npz').touch()  # its name is its digest
  digests.add(current.digest(workdir, study))
  (workdir / 'curves.csv').write_text('other curves')
  digests.add(current.digest(workdir, study))
  monkeypatch.setattr(current, '_code', lambda: ['another version'])
  digests.add(current.digest(workdir, study))
  assert len(digests) == 5


def test_all_code_that_makes_a_report_counts():
  """Oracle: the imports of the rooms."""
  package = pathlib.Path(current.__file__).parents[1]
  for path in (p for room in current.ROOMS for p in (package / room).rglob('*.py')):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if not isinstance(node, ast.ImportFrom) or node.module is None:
        continue
      top, _, rest = node.module.partition('.')
      names = [rest] if rest else [alias.name for alias in node.names]
      if top == 'dlsteroids':
        assert {name.partition('.')[0] for name in names} <= {*current.ROOMS}, path
