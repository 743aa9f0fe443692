"""Trackers: what is pushed, when, and only once; with the real packages offline.

wandb, trackio and MLflow are tested where they are installed (extras of the same
names); what a study pushes is tested with a fake wandb of the same calls.
"""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import types

import pytest

import dlsteroids
from dlsteroids.config import launch_options
from dlsteroids.store.trackers import tracker

STEPS = [10, 20]
COLUMNS = {'validation/accuracy': [[0.1, 0.2], [0.3, 0.4]]}


def make_runs(folder):
  config = {'arm': 'a/b', 'seed': 0, 'model.hidden': (8, 8)}
  return [
    tracker.Run(f'{i:032x}', f'a/b-seed{i}', 'study', {**config, 'seed': i}, folder)
    for i in range(2)
  ]


def push_twice(name, folder):
  """One evaluation; then, as if resumed, that one again and another; no warnings."""
  lines = []
  for count in (1, 2):
    with tracker.Tracking(name, make_runs(folder), lines.append) as tracking:
      columns = {key: rows[:count] for key, rows in COLUMNS.items()}
      tracking.push(STEPS[:count], columns)
  assert lines == []


def test_the_option_names_every_tracker():
  assert launch_options.SECTIONS['engine']['track'].choices == ('', *tracker.NAMES)


def test_tensorboard_has_each_evaluation_once(tmp_path):
  """Oracle: the scalars in the event files, as protocol buffers."""
  pytest.importorskip('tensorboardX')
  from tensorboardX.proto import event_pb2

  push_twice('tensorboard', tmp_path)
  points = []
  for path in sorted(tmp_path.glob('tensorboard/a_b-seed1-*/events*')):
    data = path.read_bytes()
    while data:
      (size,) = struct.unpack('<Q', data[:8])
      event = event_pb2.Event.FromString(data[12 : 12 + size])
      data = data[16 + size :]
      points += [
        (event.step, v.tag, v.simple_value)
        for v in event.summary.value
        if v.HasField('simple_value')
      ]
  assert [point[:2] for point in points] == [(s, 'validation/accuracy') for s in STEPS]
  assert [point[2] for point in points] == pytest.approx([0.2, 0.4])


def test_mlflow_has_each_evaluation_once(tmp_path, monkeypatch):
  """Oracle: MLflow's own client."""
  mlflow = pytest.importorskip('mlflow')
  monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
  monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
  push_twice('mlflow', tmp_path)
  client = mlflow.MlflowClient((tmp_path / 'mlflow').as_uri())
  number = client.get_experiment_by_name('study').experiment_id
  runs = client.search_runs([number])
  assert {run.info.run_name for run in runs} == {'a/b-seed0', 'a/b-seed1'}
  (run,) = (run for run in runs if run.data.params['seed'] == '1')
  history = client.get_metric_history(run.info.run_id, 'validation/accuracy')
  assert [(point.step, point.value) for point in history] == [(10, 0.2), (20, 0.4)]
  assert (run.info.status, run.data.params['model.hidden']) == ('FINISHED', '(8, 8)')


def test_wandb_offline_continues_the_same_run(tmp_path, monkeypatch):
  """Oracle: the files that `wandb sync` would send, by run id."""
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  push_twice('wandb', tmp_path)
  files = sorted(tmp_path.glob('wandb/offline-run-*/*.wandb'))
  ids = [run.id for run in make_runs(tmp_path)]
  assert sorted(path.stem for path in files) == sorted(f'run-{i}' for i in ids * 2)
  assert all(path.stat().st_size for path in files)


def test_trackio_has_each_evaluation_once(tmp_path):
  """Oracle: its database."""
  pytest.importorskip('trackio')
  # It chooses its folder when it is imported.
  code = (
    'import pathlib, sys; from tests.store import test_trackers as t;'
    't.push_twice("trackio", pathlib.Path(sys.argv[1]))'
  )
  place = {**os.environ, 'TRACKIO_DIR': str(tmp_path / 'trackio')}
  subprocess.run([sys.executable, '-c', code, str(tmp_path)], env=place, check=True)
  with sqlite3.connect(tmp_path / 'trackio' / 'study.db') as database:
    rows = database.execute('SELECT run_name, step, metrics FROM metrics').fetchall()
  points = [(step, json.loads(text)) for name, step, text in rows if 'seed1' in name]
  assert [(s, v['validation/accuracy']) for s, v in points] == [(10, 0.2), (20, 0.4)]


class FakeWandb(types.ModuleType):
  """`wandb.init`, `Run.log` and `Run.finish`, noting every call in `calls`."""

  def __init__(self, fail_at=-1):
    super().__init__('wandb')
    self.calls, self.fail_at = [], fail_at
    self.Settings = dict

  def init(self, **options):
    self.calls.append(('init', options))
    log = lambda values, step: self.note(options['id'], step, values)
    finish = lambda: self.calls.append(('finish', options['id']))
    return types.SimpleNamespace(log=log, finish=finish)

  def note(self, name, step, values):
    if step == self.fail_at:
      raise ConnectionError('no route\nto host')
    self.calls.append(('log', name, step, values))


def train(folder, watch=lambda status: None):
  config = dlsteroids.base(model='mlp', data='digits')
  config.train.steps, config.train.evaluations = 20, 2
  config.study.seeds, config.model.hidden = 2, (8,)
  config.engine.track = 'wandb'
  factor = dlsteroids.factor('rate', 'optimizer.learning_rate', 0.1, 0.01)
  return dlsteroids.run(config, folder, [factor], watch=watch, say=str)


def test_a_study_pushes_each_evaluation_while_it_trains(
  tmp_path, monkeypatch, no_figures
):
  fake, order = FakeWandb(), []
  monkeypatch.setitem(sys.modules, 'wandb', fake)

  def watch(status):
    logged = [call[2] for call in fake.calls if call[0] == 'log']
    order.append((getattr(status, 'progress', None), max(logged, default=0)))

  answer = train(tmp_path, watch=watch)
  assert any(p and p.step == 10 and pushed == 10 for p, pushed in order)  # live
  begun = [call[1] for call in fake.calls if call[0] == 'init']
  assert {run['name'] for run in begun} == {
    f'{arm}-seed{seed}' for arm in ('baseline', 'rate=0.01') for seed in (0, 1)
  }
  assert {run['group'] for run in begun} == {answer.study.name}
  planned = {run.fingerprint: run for run in answer.study.runs}
  assert {run['id'] for run in begun} == set(planned)
  rates = {run['config']['optimizer.learning_rate'] for run in begun}
  assert rates == {0.1, 0.01}
  curves = answer.curves[answer.curves['split'] == 'validation']
  logged = [call for call in fake.calls if call[0] == 'log']
  assert len(logged) == 8
  for _, name, step, values in logged:
    run = planned[name]
    own = curves[(curves['arm'] == run.arm) & (curves['seed'] == run.seed)]
    rows = own[(own['step'] == step) & (own['metric'] == 'accuracy')]
    assert values['validation/accuracy'] == rows['value'].item()
  assert sum(call[0] == 'finish' for call in fake.calls) == 4
  train(tmp_path)  # trains nothing
  assert len([call for call in fake.calls if call[0] == 'init']) == 4


def test_a_tracker_that_fails_costs_one_warning(tmp_path, monkeypatch):
  fake, lines = FakeWandb(fail_at=10), []
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  with tracker.Tracking('wandb', make_runs(tmp_path), lines.append) as tracking:
    tracking.push(STEPS[:1], {'validation/accuracy': [[0.1, 0.2]]})
    tracking.push(STEPS, COLUMNS)
  assert lines == ['tracking with wandb failed, training continues: no route to host']
  assert [call[0] for call in fake.calls] == ['init', 'finish']


def test_a_missing_package_is_one_line_before_training(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(dlsteroids.UserError, match=r'pip install .dlsteroids\[wandb\]'):
    train(tmp_path / 'work')
  assert not (tmp_path / 'work').exists()


def test_an_unknown_tracker_is_one_line():
  config = dlsteroids.base(model='mlp', data='digits')
  config.engine.track = 'neptune'
  with pytest.raises(dlsteroids.UserError, match=r'engine\.track.*neptune'):
    dlsteroids.plan(config, factors=[])
