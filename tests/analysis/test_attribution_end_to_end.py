"""A study of ideas and compute, from its config file to its report."""

import shutil

import pandas as pd
import pytest

from dlsteroids.cli import command
from tests.fixtures import report_reader
from tests.fixtures import studies_on_disk as disk

pytestmark = pytest.mark.usefixtures('quick', 'cheap_figures')

SETTINGS = """
  config.data.examples = 96
  config.model.hidden = (8,)
  config.model.dropout = 0.2
  config.study.design = 'factorial'
  config.study.regimes = 'flops,steps,params'
  config.study.budgets = '0.5'
  config.study.ratio = 2.0
  config.study.targets = '0.2,0.99'
"""
FACTORS = """
  factors.factor('depth', 'model.hidden', (8,), (4,)),
  factors.factor('dropout', 'model.dropout', 0.2, 0.0),
  )


def get_claims(config):
  from dlsteroids.study import claims
  return (
    claims.claim('Nobody 1961', 'width is all', 'depth', direction='helps'),
    claims.claim('Nobody 1962', 'a <b>bold</b> one', 'dropout', number=0.1),
"""


@pytest.fixture(scope='module', autouse=True)
def compiled_once():
  """The launches here train the same programs for more or fewer steps."""
  with pytest.MonkeyPatch.context() as patch:
    disk.share_programs(patch)
    yield


@pytest.fixture(scope='module')
def work(tmp_path_factory, quick, cheap_figures, compiled_once):
  folder = tmp_path_factory.mktemp('compute')
  config = disk.write(folder, settings=SETTINGS, factors=FACTORS)
  argv = ['launch', f'--config={config}', f'--workdir={folder}/work']
  assert command.main(argv) == 0
  return folder / 'work'


def test_every_analysis_is_a_table_and_a_section(work):
  for name in ('attribution', 'attribution_interactions', 'gains', 'regimes', 'claims'):
    assert len(pd.read_csv(work / f'{name}.csv')), name
  page = (work / 'report.html').read_text()
  reader = report_reader.Reader(page)
  for anchor in ('attribution', 'regimes', 'gains', 'claims'):
    assert anchor in reader.ids
  assert '&lt;b&gt;bold' in page
  assert '<b>bold' not in page
  for name in ('waterfall', 'ladders'):
    assert (work / 'figures' / f'{name}.png').is_file()
    assert f'figures/{name}.png' in (work / 'report.md').read_text()


def test_the_attribution_is_efficient(work):
  players = pd.read_csv(work / 'attribution.csv')
  raw = players[players['scale'] == 'raw'].set_index('player')['phi']
  assert raw[['depth', 'dropout', 'compute']].sum() == pytest.approx(raw['total'])
  runs = pd.read_csv(work / 'runs.csv')
  mine = (
    runs[runs['regime'] == 'flops'].set_index(['arm', 'budget', 'seed']).sort_index()
  )
  full = mine.loc[('baseline', 1.0), 'test/accuracy'].mean()
  bare = mine.loc[('depth=(4,),dropout=0.0', 0.5), 'test/accuracy'].mean()
  assert raw['total'] == pytest.approx(full - bare)


def test_every_regime_is_a_row_of_each_contrast(work):
  found = pd.read_csv(work / 'regimes.csv')
  assert found.groupby('regime').size().to_dict() == {
    'flops': 2,
    'params': 2,
    'steps': 2,
  }
  params = found[(found['factor'] == 'depth') & (found['regime'] == 'params')].iloc[0]
  # widths solved for: nothing is left of a factor that is width
  assert params['arm_params'] == params['reference_params']
  assert params['delta'] == 0


@pytest.mark.parametrize(
  ('word', 'expected'),
  [
    ('--config.study.targets=95', 'accuracy is a share below 1, such as 0.95, not 95'),
    ('--config.study.ratio=16', 'the budgets make 2; add 0.0625'),
    ('--config.study.regimes=flop', "unknown 'flop' (did you mean 'flops'?)"),
    ('--config.study.budgets=half', "expected numbers such as '0.25,1,4', not 'half'"),
  ],
)
def test_mistakes_are_one_line(work, capsys, word, expected):
  config = work.parent / 'tiny.py'
  argv = ['launch', f'--config={config}', f'--workdir={work}', '--action=plan', word]
  assert command.main(argv) == 2
  said = capsys.readouterr().err
  assert said.count('\n') == 1
  assert expected in said


def test_a_finished_study_can_be_planned(work, capsys):
  config = work.parent / 'tiny.py'
  argv = ['launch', f'--config={config}', f'--workdir={work}', '--action=plan']
  assert command.main(argv) == 0
  said = capsys.readouterr().out
  assert '0 to train' in said
  assert 'noise floor: A/A standard deviation' in said
  assert 'declared condition equal flops: ' in said


def test_another_budget_trains_only_what_is_new(work, tmp_path, capsys):
  copy = tmp_path / 'work'
  shutil.copytree(work, copy)
  before = disk.trained(copy)
  config = work.parent / 'tiny.py'
  words = ['--config.study.budgets=0.5,0.25', '--config.study.ratio=4']
  argv = ['launch', f'--config={config}', f'--workdir={copy}', *words]
  assert command.main(argv) == 0, capsys.readouterr().err
  assert disk.trained(copy) - before == 4 * 2  # arms x seeds
