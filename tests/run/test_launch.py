"""What a launch says and refuses before it trains; nothing is trained here."""

import sys

import pytest

import dlsteroids
from dlsteroids.run import sharing
from tests.fixtures import studies_on_disk as disk


class Trains(Exception):
  """The training would begin now."""


@pytest.fixture
def launch(monkeypatch, tmp_path):
  """`launch(settings)`: the lines of a launch until it trains."""

  def train(*args, **options):
    raise Trains

  monkeypatch.setattr(sharing, 'train', train)

  def run(settings=''):
    config, lines = disk.write(tmp_path, settings=disk.SETTINGS + settings), []
    with pytest.raises(Trains):
      dlsteroids.run(
        config, tmp_path / 'work', watch=lambda status: None, say=lines.append
      )
    return lines

  return run


def test_too_few_seeds_are_reported_before_training(launch):
  assert launch() == [
    'too few seeds to show anything: the smallest reachable p is 0.5, above alpha = '
    '0.05; use --config.study.seeds=6'
  ]


def test_enough_seeds_need_no_word(launch):
  assert launch('  config.study.seeds = 6\n') == []


def test_tensorboard_is_looked_for_before_training(launch, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(dlsteroids.UserError, match=r'pip install .dlsteroids\[tensorb'):
    launch('  config.engine.track = "tensorboard"\n')
  assert not (tmp_path / 'work').exists()


METRICS = [
  ('mlp', 'digits', 'classify', 'accuracy'),
  ('recurrent', 'python_docs', 'language', 'nats'),
  ('recurrent', 'adding', 'forecast', 'mse'),
  ('dense_gan', 'digits', 'gan', 'classifier_fid'),
]


@pytest.mark.parametrize(('model', 'data', 'task', 'metric'), METRICS)
def test_the_metric_that_decides_fits_the_task(model, data, task, metric):
  assert dlsteroids.base(model, data, task).study.metric == metric


def test_home_is_expanded(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'work').mkdir()
  with pytest.raises(dlsteroids.UserError, match=str(tmp_path)):
    dlsteroids.status('~/work')
