"""Published pages: sealed files pass their checksums, paths are the reader's."""

import pathlib

import pytest

from dlsteroids.store import results
from experiments import publish

RESULTS = pathlib.Path(__file__).parents[2] / 'experiments' / 'results'
SEALED = sorted(p for name in publish.SEALED for p in RESULTS.glob(f'*/{name}'))


@pytest.mark.parametrize('path', SEALED, ids=lambda p: f'{p.parent.name}/{p.name}')
def test_a_published_file_passes_its_checksum(path):
  assert results.read_json(path)


def test_a_page_from_another_workdir_passes_its_checksums(tmp_path):
  workdir, page = tmp_path / 'elsewhere' / 'work', tmp_path / 'my_study'
  (workdir / 'figures').mkdir(parents=True)
  (workdir / 'figures' / 'effects.png').write_bytes(b'png')
  (workdir / 'report.md').write_text(f'The command: --workdir={workdir}\n')
  (workdir / 'runs.csv').write_text('arm,seed\nbaseline,0\n')
  for name in publish.SEALED:
    results.write_json(workdir / name, {'command': f'--workdir={workdir}', 'a': [1.5]})
  publish.publish(workdir, page)
  for name in publish.SEALED:
    tree = results.read_json(page / name)
    assert tree == {'command': '--workdir=studies/my_study', 'a': [1.5]}
  assert (page / 'README.md').read_text() == 'The command: --workdir=studies/my_study\n'
  assert (page / 'figures' / 'effects.png').is_file()
  assert not (page / 'gains.csv').exists()
