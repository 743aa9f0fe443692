"""What a rerun trains anew, and why. Oracle: the paths and digests that differ."""

import json
import pathlib

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import changes
from dlsteroids.study import study as study_lib

PAGE = pathlib.Path(__file__).parents[2] / 'experiments/results/digits_cnn/study.json'


@pytest.fixture(scope='module')
def study():
  tree = json.loads(PAGE.read_text())
  config = config_lib.resolve(config_lib.base('mlp', 'digits'))
  return study_lib.from_json({**tree, 'config': json.loads(json.dumps(config))})


def test_an_unchanged_study_has_no_changes(study):
  config = config_lib.resolve(config_lib.base('mlp', 'digits'))
  config['study']['seeds'] += 1  # further runs, but the stored ones stay
  assert changes.describe(study, config, study.data.digest) == ''


def test_changes_name_paths_and_digests(study):
  config = config_lib.resolve(config_lib.base('mlp', 'digits'))
  config['train']['steps'] = 7
  old, new = study.data.digest, 'f' * 64
  assert changes.describe(study, config, new) == (
    f'train.steps 1000 → 7; data {study.data.name}, digest {old[:8]} → ffffffff'
  )


def test_looks_are_counted_anew_for_other_training(study):
  config = config_lib.resolve(config_lib.base('mlp', 'digits'))
  tree = study_lib.to_json(study)
  same = study_lib.from_json({**tree, 'config': config})
  assert same.training == study.training
  config['train']['steps'] = 7
  assert study_lib.from_json({**tree, 'config': config}).training != study.training
