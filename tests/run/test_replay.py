"""One run again, alone: it agrees with the stored one, or names what failed."""

import pytest

from dlsteroids.cli import command
from dlsteroids.store import results
from tests.fixtures import studies_on_disk as disk


@pytest.fixture
def launch(monkeypatch, capsys):
  """Launches in this process without figures; returns what was said."""
  monkeypatch.chdir(disk.ROOT)
  disk.spare_figures(monkeypatch)
  disk.share_programs(monkeypatch)

  def run(config, work, *words):
    code = command.main(['launch', f'--config={config}', f'--workdir={work}', *words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out

  return run


def values(text, step):
  """The evaluation printed after `step`, by column."""
  lines = text.split(f'\nstep {step}: ')[1].splitlines()[1:]
  found = {}
  for line in lines:
    if not line.startswith('  '):
      break
    name, _, value = line.strip().partition(' = ')
    found[name] = float(value)
  return found


def test_a_replay_agrees_with_the_stored_run(launch, tmp_path):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  launch(config, work)
  before = {p: p.read_bytes() for p in work.rglob('*') if p.is_file()}
  text = launch(config, work, '--action=replay', '--arm=dropout=0.0', '--seed=1')
  after = {p: p.read_bytes() for p in work.rglob('*') if p.is_file()}
  assert before == after
  fingerprint = text.split('fingerprint ')[1].split()[0]
  record = results.read(work).records[fingerprint].run
  assert record['seed'] == 1
  for step in (4, 8, 12):
    found = values(text, step)
    for at, split, metric, value in record['curves']:
      if at == step:
        assert found[f'{split}/{metric}'] == pytest.approx(value, rel=1e-3, abs=5e-3)
  assert 'not finite' not in text


def test_a_diverging_run_names_the_step_and_the_operation(launch, tmp_path):
  settings = disk.SETTINGS + '  config.task.loss_step = 6\n'
  config = disk.write(tmp_path, task='tests.fixtures.toys', settings=settings)
  work = tmp_path / 'work'
  words = ['--config.study.first_seed=3', '--config.study.seeds=1']
  launch(config, work, *words)
  (record, _) = results.read(work).records.values()
  text = launch(config, work, '--action=replay', '--seed=3', *words)
  assert record.run['diverged_step'] == 6
  assert 'step 6: the loss is not finite' in text
  last = text.splitlines()[-1]
  assert last.startswith('step 6: ')
  assert 'nan' in last
  healthy = launch(config, work, '--action=replay', '--seed=4', *words)
  assert 'not finite' not in healthy


def test_a_huge_learning_rate_is_found_where_it_overflows(launch, tmp_path):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  words = ['--config.optimizer.learning_rate=1e30', '--config.study.seeds=1']
  launch(config, work, *words)
  record = next(iter(results.read(work).records.values())).run
  text = launch(config, work, '--action=replay', *words)
  step = record['diverged_step']
  assert record['status'] == 'diverged'
  assert f'step {step}: the loss is not finite' in text
