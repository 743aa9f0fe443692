"""Published pages: sealed files pass their checksums, paths are the reader's.

Pages over several studies are what the pages of these give.
"""

import importlib.util
import pathlib
import re

import pandas as pd
import pytest

from dlsteroids.report import blocks, markdown, outline
from dlsteroids.store import results
from dlsteroids.util import errors
from experiments import publish

RESULTS = pathlib.Path(__file__).parents[2] / 'experiments' / 'results'
ROOT = RESULTS.parents[1]
COMMITTED = sorted(RESULTS.parent.rglob('*.md'))
LINK = re.compile(r'\]\(([^)#\s]+)(?:#[^)]*)?\)')
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


def dead_links(page):
  """The relative links of a Markdown file that lead nowhere."""
  targets = LINK.findall(page.read_text('utf-8'))
  local = [target for target in targets if not target.startswith('http')]
  return [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize('page', COMMITTED, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_a_committed_page_lead_somewhere(page):
  assert not dead_links(page)


@pytest.mark.parametrize('page', COMMITTED, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_a_committed_page_exist(page):
  for name in re.findall(r'python -m ([\w.]*\w)', page.read_text('utf-8')):
    assert importlib.util.find_spec(name), name


def test_a_page_lists_the_files_that_are_copied(tmp_path):
  workdir, page = tmp_path / 'work', tmp_path / 'my_study'
  (workdir / 'figures').mkdir(parents=True)
  files = blocks.Links((*outline.FILES, ('curves.csv', 'curves')))
  report = blocks.Report(
    'Why?', 'my_study', (), (blocks.Section('Run it again', (files,)),)
  )
  (workdir / 'report.md').write_text(markdown.render(report))
  for name, _ in files.items:
    (workdir / name).write_text('{}')
  for name in publish.SEALED:
    results.write_json(workdir / name, {})
  publish.publish(workdir, page)
  assert not dead_links(page / 'README.md')
  assert (
    (page / 'README.md')
    .read_text()
    .endswith(
      'Beside this page: [runs.csv](runs.csv) (every run, its scores and costs), '
      '[effects.csv](effects.csv) (every contrast), '
      '[study.json](study.json) (the study as it was planned).\n'
    )
  )


CNN = [RESULTS / name for name in ('digits_cnn', 'mnist_cnn', 'cifar10_jpeg_cnn')]


@pytest.fixture(scope='module')
def summary(tmp_path_factory):
  """The page over the three CNN studies, made anew."""
  page = tmp_path_factory.mktemp('summary') / 'page'
  publish.summarise(CNN, page)
  return page


def test_the_committed_page_over_data_sets_is_what_its_studies_give(summary):
  """After a page has changed: the command at the end of cnn_data_sets/README.md."""
  committed = RESULTS / 'cnn_data_sets'
  for name in publish.SUMMARY_TABLES:
    own, other = (pd.read_csv(page / f'{name}.csv') for page in (summary, committed))
    pd.testing.assert_frame_equal(own, other)
  own, other = ((page / 'README.md').read_text() for page in (summary, committed))
  assert own.partition('## Again')[0] == other.partition('## Again')[0]


def test_a_page_over_data_sets_has_a_row_a_change_and_a_column_a_data_set(summary):
  text = (summary / 'README.md').read_text()
  head, _, *rows = re.search(r'## Effects\n\n((?:\|.*\n)+)', text)[1].splitlines()
  assert head == '| Factor | Change | digits | mnist | cifar10-jpeg | Mean |'
  assert [row.split(' | ')[0] for row in rows] == [
    *('| activation', '| pooling', '| normalisation', '| dropout', '| convolution'),
  ]
  assert rows[1].startswith(
    '| pooling | max → stride | ▼\\* −0.95 \\[−1.27, −0.63\\] |'
  )
  assert rows[3].split(' | ')[4] == '–'  # no dropout on CIFAR-10
  assert (summary / 'figures' / 'data_sets.png').stat().st_size > 10_000
  assert 'digits\\_cnn alone compares convolution=dense' in text


@pytest.mark.parametrize(
  ('names', 'message'),
  [
    (['digits_cnn'], 'two studies or more, not 1'),
    (['digits_cnn', 'nowhere'], 'nowhere is not a folder: name the workdir of a'),
    (['digits_cnn', 'bench'], 'bench holds no study.json: name the workdir of a'),
    (['mnist_cnn', 'mnist_dropout'], "two studies are of the data set 'mnist'"),
    (
      ['digits_cnn', 'lstm_text'],
      'the metric of lstm_text is test/nats, of digits_cnn',
    ),
  ],
)
def test_what_makes_no_page_over_data_sets_is_a_line(names, message, tmp_path):
  page = tmp_path / 'page'
  with pytest.raises(errors.UserError) as caught:
    publish.summarise([RESULTS / name for name in names], page)
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)
  assert not page.exists()
