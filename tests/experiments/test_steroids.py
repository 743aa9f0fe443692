"""The page of the title's question: its sentences follow from the tables it reads."""

import math
import types

import pandas as pd
import pytest

from dlsteroids.analysis import frontier
from dlsteroids.plan import manifest, tuning, units
from dlsteroids.store import results, tables
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors
from experiments import steroids
from tests.fixtures import searched_studies


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
  """A published study in which sigmoid needs four times ReLU's compute."""
  plan = searched_studies.make_plan(budgets='0.25,0.5', budgets_bare='4,16', seeds=8)
  plan, index, _ = searched_studies.finish(plan)
  runs = [run for unit in units.make(plan) for run in unit.runs(index)]
  searched_studies.store(index, runs, plan)
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  folder = tmp_path_factory.mktemp('pages')
  page = folder / 'steroids_cnn_frontier_digits'
  page.mkdir()
  results.write_json(page / 'study.json', study_lib.to_json(study))
  tables.runs(study, study.runs, index, {}).to_csv(page / 'runs.csv', index=False)
  tables.searches(study, index).to_csv(page / 'searches.csv', index=False)
  return folder


def test_the_answer_says_what_the_ideas_save(pages, tmp_path):
  families = steroids.read(pages)
  path = steroids.write(families, pages, tmp_path)
  text = path.read_text(encoding='utf-8')
  first = text.split('\n\n')[1]
  # the fixture's power laws are 2 doublings apart
  assert first.startswith('**Not only. CNN on scanned digits: activation cuts')
  assert '4.0-fold (2.0 doublings' in first
  assert (tmp_path / 'figures' / 'steroids_cnn_frontier_digits_frontier.png').is_file()
  for image in [line for line in text.splitlines() if line.startswith('![')]:
    assert (tmp_path / image.rpartition('(')[2].rstrip(')')).is_file()


SAVES, COSTS = (4.1, 4.1, 3.6, 4.7, 1.0), (-1.0, -1.0, -2.0, -0.5, 1.0)
OPEN = (0.2, 0.2, -0.3, math.inf, 0.9)


@pytest.mark.parametrize(
  ('worths', 'text'),
  [
    ([SAVES, SAVES], 'Not only. a saves. b saves.'),
    ([SAVES, OPEN], 'Not only. a saves. Not decided: b.'),
    ([SAVES, COSTS], 'It depends. a saves. b saves.'),
    ([OPEN, COSTS], 'Not decided. b saves. Not decided: a.'),
    ([OPEN], 'Not decided. Not decided: a.'),
    ([COSTS, COSTS], 'At this scale, yes. a saves. b saves.'),
  ],
)
def test_the_verdict_says_no_more_than_intervals_do(monkeypatch, worths, text):
  families = [
    types.SimpleNamespace(name=name, together=frontier.Worth(*one))
    for name, one in zip('ab', worths)
  ]
  monkeypatch.setattr(steroids, 'hardest', lambda family: family)
  monkeypatch.setattr(steroids, 'saved', lambda family: f'{family.name} saves.')
  monkeypatch.setattr(steroids, '_who', lambda family: family.name)
  assert steroids.verdict(families) == text


def test_undecided_studies_have_no_figures_and_no_growth(pages, tmp_path, monkeypatch):
  monkeypatch.setattr(steroids, 'is_decided', lambda family: False)
  families = steroids.read(pages)
  text = steroids.write(families, pages, tmp_path).read_text(encoding='utf-8')
  assert '## Not decided' in text
  assert '![' not in text
  assert 'where more is asked' not in text
  assert not list((tmp_path / 'figures').glob('*.png'))


def test_without_published_studies_there_is_one_line(tmp_path):
  with pytest.raises(errors.UserError, match='no published study of frontiers'):
    steroids.read(tmp_path)


def test_every_arm_by_itself_is_a_mean_over_its_tuned_runs(pages):
  (family,) = steroids.read(pages)
  means = steroids.means_alone(family)
  assert list(means.columns) == ['bare', 'activation']
  runs = family.runs[(family.runs['tuned'] == 1) & (family.runs['budget'] == 0.25)]
  for name, level in (('bare', 'sigmoid'), ('activation', 'relu')):
    own = runs.loc[runs['activation'] == level, 'test/accuracy']
    assert means[name].iloc[0] == pytest.approx(own.mean())
  assert math.isnan(means['activation'].iloc[-1])  # the bare arm alone goes so far
  table = steroids.alone(family)
  assert table.head == ('Compute a run', 'bare', 'activation')
  assert table.rows[-1][2] == ''


def test_a_ladder_says_where_a_rung_begins_to_pay(monkeypatch):
  means = pd.DataFrame(
    {'bare': [3.0, 2.5], 'gates': [3.1, 2.0], 'attention': [3.2, 2.1]},
    index=[1e9, 4e9],
  )
  monkeypatch.setattr(steroids, 'means_alone', lambda family: means)
  family = types.SimpleNamespace(
    result=types.SimpleNamespace(is_game=False),
    study=types.SimpleNamespace(metric=types.SimpleNamespace(sign=-1)),
  )
  (text,) = steroids.crossings(family)
  assert text.replace('\u202f', ' ').endswith(
    'gates better at 4.00 GFLOP, worse at 1.00 GFLOP; attention worse at every budget.'
  )
