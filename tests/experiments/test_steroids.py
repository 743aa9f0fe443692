"""The page of the title's question: its sentences follow from the tables it reads."""

import json

import pytest
from absl import app

from dlsteroids.plan import manifest, tuning, units
from dlsteroids.store import tables
from dlsteroids.study import study as study_lib
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
  (page / 'study.json').write_text(json.dumps(study_lib.to_json(study)))
  tables.runs(study, study.runs, index, {}).to_csv(page / 'runs.csv', index=False)
  tables.searches(study, index).to_csv(page / 'searches.csv', index=False)
  return folder


def test_the_answer_says_what_the_ideas_save(pages, tmp_path):
  families = steroids.read(pages)
  path = steroids.write(families, pages, tmp_path)
  text = path.read_text(encoding='utf-8')
  first = text.split('\n\n')[1]
  assert first.startswith('**Not only: in 1 of 1 studies the ideas save compute')
  # the fixture's power laws are 2 doublings apart
  assert 'CNN on scanned digits 2.0 doublings' in first
  assert (tmp_path / 'figures' / 'steroids_cnn_frontier_digits_frontier.png').is_file()
  for image in [line for line in text.splitlines() if line.startswith('![')]:
    assert (tmp_path / image.rpartition('(')[2].rstrip(')')).is_file()


def test_without_published_studies_there_is_one_line(tmp_path):
  with pytest.raises(app.UsageError, match='no published study of frontiers'):
    steroids.read(tmp_path)
