"""Kills, extensions, edits and damage; oracle: the same study undisturbed."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from dlsteroids.store import results
from tests.fixtures import studies_on_disk as disk

MODELS = "factors.factor('activation', 'model.activation', 'relu', 'tanh'),"


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  """Two programs, three arms, small batches, a checkpoint after every chunk."""
  settings = disk.SETTINGS + (
    '  config.study.seeds = 4\n'
    '  config.train.steps = 300\n'
    '  config.engine.width = 3\n'
    '  config.engine.checkpoint_seconds = 0.0\n'
  )
  folder = tmp_path_factory.mktemp('study')
  return disk.write(folder, settings=settings, factors=disk.FACTORS + MODELS)


@pytest.fixture(scope='module')
def undisturbed(config, tmp_path_factory):
  """The tables of the study trained in one go."""
  work = tmp_path_factory.mktemp('undisturbed') / 'work'
  done = disk.launch(config, work)
  assert done.returncode == 0, done.stderr
  assert str(work / 'report.html') in done.stdout.splitlines()[-1]
  return disk.read(work)


SEALED = 'checkpoints/*/*/sha256.json'
MOMENTS = (  # of dying at many more: tests/fixtures/faults.py
  (SEALED, signal.SIGKILL),
  (SEALED, signal.SIGTERM),
  ('runs/*.npz', signal.SIGKILL),
)


def test_a_study_killed_and_stopped_again_and_again_ends_with_the_same_bits(
  config, undisturbed, tmp_path
):
  draw = random.Random(0)
  work, hits = tmp_path / 'work', 0
  for moment, number in MOMENTS:
    process = disk.start(config, work)
    born = time.time()
    while process.poll() is None and not any(
      path.stat().st_mtime > born for path in work.glob(moment)
    ):
      time.sleep(0.005)
    if number == signal.SIGKILL:
      time.sleep(draw.uniform(0, 0.3))
    asked, alive = time.time(), process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    hits += alive
    if alive and number != signal.SIGKILL:
      assert time.time() - asked < 30  # some 3 s on an idle machine
      assert process.returncode == 128 + number
      check_stop(err, number, config, work)
  assert hits >= 2
  done = disk.launch(config, work)
  assert done.returncode == 0, done.stderr
  assert disk.read(work) == undisturbed
  assert not list(work.rglob('.*.part'))


def check_stop(err, number, config, work):
  """The last line says what was saved, and the exact command that goes on."""
  assert 'Traceback' not in err
  command = f'python -m dlsteroids --config={config} --workdir={work}'
  line = err.splitlines()[-1]
  assert line.endswith(f'; to continue: {command}')
  assert re.match(rf'dlsteroids: {number.name}; step \d+ of 300 is saved; ', line)


STUCK = """
import hashlib
from dlsteroids.run import interrupt
with interrupt.handled(), interrupt.deferred():
  print('ready', flush=True)
  hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)  # C code, for many minutes
"""


@pytest.mark.parametrize('first', [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_leaves_at_once(first):
  process = subprocess.Popen(
    [sys.executable, '-c', STUCK], stdout=subprocess.PIPE, cwd=disk.ROOT
  )
  assert process.stdout.readline() == b'ready\n'
  for number in (first, signal.SIGTERM):  # schedulers repeat it
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
      process.wait(0.5)
  process.send_signal(signal.SIGINT)
  assert process.wait(10) == 130
  process.stdout.close()


def test_a_launch_shares_the_work_of_another_and_takes_over_when_it_dies(
  config, undisturbed, tmp_path
):
  work = tmp_path / 'work'
  first = disk.start(config, work)
  while first.poll() is None and not any(work.glob('leases/*.json')):
    time.sleep(0.005)
  second = disk.start(config, work)
  while first.poll() is None and not any(work.glob('runs/*.npz')):
    time.sleep(0.005)
  first.kill()
  first.communicate()
  _, err = second.communicate(timeout=300)
  assert second.returncode == 0, err
  assert disk.read(work) == undisturbed
  assert disk.counts(work) == {1}
  assert not any(work.glob('leases/*.json'))


@pytest.mark.slow  # the one above shares as well, and one of the two dies
def test_two_launches_at_once_train_every_run_once(config, undisturbed, tmp_path):
  work = tmp_path / 'work'
  both = [disk.start(config, work) for _ in range(2)]
  for process in both:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.splitlines()[-1].endswith('report.html')
  assert disk.read(work) == undisturbed
  assert disk.counts(work) == {1}


@pytest.fixture
def run(monkeypatch, capsys):
  """Launches here, drawing no figures, which is quicker: exit code, what was said."""
  from dlsteroids.cli import command

  monkeypatch.chdir(disk.ROOT)
  disk.spare_figures(monkeypatch)
  disk.share_programs(monkeypatch)

  def launch(config, work, *words):
    code = command.main(['launch', f'--config={config}', f'--workdir={work}', *words])
    out, err = capsys.readouterr()
    return code, out + err

  return launch


def batches(work):
  return sorted(path.name for path in (work / 'runs').glob('*.npz'))


def test_more_seeds_and_arms_train_only_what_is_new(run, tmp_path):
  work, config = tmp_path / 'work', disk.write(tmp_path)
  assert run(config, work)[0] == 0
  assert disk.trained(work) == 4
  first = batches(work)
  _, said = run(config, work, '--action=plan', '--config.study.seeds=3')
  assert '6 (2 arms x 3 seeds); 4 stored, 2 to train' in said
  assert run(config, work, '--config.study.seeds=3')[0] == 0
  assert disk.trained(work) == 6
  disk.write(tmp_path, factors=disk.FACTORS + MODELS)
  assert run(config, work, '--config.study.seeds=3')[0] == 0
  assert disk.trained(work) == 9
  assert set(first) < set(batches(work))
  whole = tmp_path / 'whole'
  assert run(config, whole, '--config.study.seeds=3')[0] == 0
  tables, alone = disk.read(work), disk.read(whole)  # in whatever order they came
  for name in ('runs.csv', 'curves.csv'):
    assert tables[name] == alone[name]
  frames = [pd.read_csv(folder / 'effects.csv') for folder in (work, whole)]
  # This was the third look in one workdir, the first in the other.
  pd.testing.assert_frame_equal(*(f.drop(columns='exploratory') for f in frames))
  before = batches(work)
  code, said = run(config, work, '--config.study.seeds=3')
  assert code == 0
  assert batches(work) == before


@pytest.mark.parametrize('spoil', ['truncate', 'flip'])
def test_damaged_results_are_set_aside_and_trained_again(run, tmp_path, spoil):
  work, config = tmp_path / 'work', disk.write(tmp_path)
  assert run(config, work)[0] == 0
  want = disk.read(work)
  (path,) = (work / 'runs').glob('*.npz')
  data = bytearray(path.read_bytes())
  if spoil == 'truncate':
    del data[len(data) // 2 :]
  else:
    data[len(data) // 2] ^= 1
  path.write_bytes(data)
  _, said = run(config, work, '--action=plan')
  assert f'damaged: {path.name}: its checksum does not match' in said
  assert path.exists()  # plan changes nothing
  code, said = run(config, work)
  assert code == 0
  assert f'damaged: {path.name}: its checksum does not match; set aside' in said
  assert disk.read(work) == want
  assert path.with_suffix('.damaged').exists()


def rewrite(work, change):
  """Stores the one batch again with its facts changed."""
  (path,) = (work / 'runs').glob('*.npz')
  batch, runs = results.read_batch(path)
  index = results.read(work)
  arrays = {name: results.read_arrays(r) for name, r in index.records.items()}
  path.unlink()
  results.write_batch(work, change(batch), runs, arrays)


def test_provenance_is_not_mixed_unless_allowed(run, tmp_path):
  work, config = tmp_path / 'work', disk.write(tmp_path)
  assert run(config, work)[0] == 0
  want = disk.read(work)
  old = {'jax': '0.1.2'}
  rewrite(work, lambda b: {**b, 'provenance': {**b['provenance'], **old}})
  code, said = run(config, work)
  assert code == 2
  assert '4 stored runs have jax=0.1.2, here it is ' in said
  assert '--config.study.allow_mixed=jax' in said
  code, said = run(config, work, '--config.study.allow_mixed=jax')
  assert code == 0
  assert disk.read(work) == want
  assert disk.trained(work) == 4


def test_tuned_runs_of_other_provenance_are_refused_too(run, tmp_path):
  work, config = tmp_path / 'work', disk.write(tmp_path)
  tune = '--config.study.tune=optimizer.learning_rate=0.02,0.2'
  words = (tune, '--config.study.tune_seeds=1', '--config.study.tune_extend=0')
  assert run(config, work, *words)[0] == 0
  for path in (work / 'runs').glob('*.npz'):
    batch, runs = results.read_batch(path)
    if runs[0]['seed'] >= 1_000_000:  # the search
      path.unlink()
      changed = {**batch['provenance'], 'flax': '0.0.1'}
      results.write_batch(work, {**batch, 'provenance': changed}, runs, {})
  code, said = run(config, work, *words)
  assert code == 2
  assert '4 stored runs have flax=0.0.1' in said


def test_tuning_chooses_on_validation_and_shows_both(run, tmp_path):
  work, config = tmp_path / 'work', disk.write(tmp_path)
  tune = '--config.study.tune=optimizer.learning_rate=0.0001,0.1'
  own = ('--config.study.tune_seeds=2', '--config.study.tune_extend=0')
  assert run(config, work, tune, *own)[0] == 0
  told = json.loads((work / 'study.json').read_text())
  chosen = told['tune']['chosen']
  records = results.read(work).records.values()
  for arm in ('baseline', 'dropout=0.0'):
    assert chosen[arm] == {'optimizer.learning_rate': 0.1}
  search = [r.run for r in records if r.run['seed'] >= 1_000_000]
  assert len(search) == 8  # 2 arms, 2 points, 2 seeds: no seed of the claim
  rows = disk.read(work)['runs.csv'].splitlines()
  tuned = [row for row in rows[1:] if row.split(',')[4] == '1']
  assert len(rows) == 1 + 4 + 4
  assert len(tuned) == 4
  effects = disk.read(work)['effects.csv']
  assert {row.split(',')[5] for row in effects.splitlines()[1:]} == {'0', '1'}


def test_a_grid_grows_for_every_arm_and_is_found_again(run, tmp_path):
  """Rates too small by far: the largest is always the best of those tried."""
  work, config = tmp_path / 'work', disk.write(tmp_path)
  words = (
    '--config.study.tune=optimizer.learning_rate=0.0001,0.001',
    '--config.study.tune_seeds=1',
    '--config.study.tune_extend=2',
  )
  code, said = run(config, work, *words)
  assert code == 0
  assert 'tuning: an arm chose an end of optimizer.learning_rate=0.0001,0.001' in said
  study = json.loads((work / 'study.json').read_text())
  tune = study['tune']
  (rates,) = tune['grid'].values()
  assert rates[:2] == [0.0001, 0.001]
  assert set(rates[2:]) in ({0.01, 0.1}, {0.01, 0.1, 1e-5}, {0.01, 0.1, 1e-5, 1e-6})
  assert list(tune['declared'].values()) == [[0.0001, 0.001]]
  assert tune['final']
  assert {len(c['search']) for c in tune['candidates']} == {len(rates)}
  assert any('was extended by' in note for note in study['notes'])
  trained, tables = disk.trained(work), disk.read(work)
  assert run(config, work, *words)[0] == 0
  assert disk.trained(work) == trained
  assert disk.read(work) == tables
