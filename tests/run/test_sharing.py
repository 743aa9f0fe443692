"""Units shared between processes; oracle: the same study trained by one process."""

import json
import os
import threading
import time

import pytest

from dlsteroids.cli import command
from dlsteroids.config import files
from dlsteroids.plan import units
from dlsteroids.run import launch as launch_lib
from dlsteroids.run import leases, sharing
from dlsteroids.store import failures, results
from dlsteroids.util import environment, lock
from tests.fixtures import studies_on_disk as disk

MODELS = "factors.factor('activation', 'model.activation', 'relu', 'tanh'),"
SINCE = '2001-02-03T04:05:06+00:00'
TUNE = (
  '--config.study.tune=optimizer.learning_rate=0.01,0.1',
  '--config.study.tune_seeds=1',
  '--config.study.tune_extend=0',
)


@pytest.fixture
def run(monkeypatch, capsys):
  """Launches here, drawing no figures: exit code, what was said."""
  monkeypatch.chdir(disk.ROOT)
  disk.spare_figures(monkeypatch)
  disk.share_programs(monkeypatch)

  def launch(config, work, *words):
    code = command.main(['launch', f'--config={config}', f'--workdir={work}', *words])
    out, err = capsys.readouterr()
    return code, out + err

  return launch


@pytest.fixture
def config(tmp_path):
  """Two programs, three arms."""
  return disk.write(tmp_path, factors=disk.FACTORS + MODELS)


def plan(config, work):
  """Plans a study and writes that down; trains nothing."""
  asked = files.read(str(config))
  made = launch_lib.plan_of(asked, work)
  return launch_lib.begin(made, asked, work, print)


def plant(work, program, **fields):
  """A lease of another machine that beats once, now."""
  holder = leases.Holder(program, 'far', 'far', 1, 'another boot', '', SINCE, **fields)
  path = work / 'leases' / f'{program}.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  handle = os.open(path, os.O_CREAT | os.O_RDWR)
  leases.write(handle, holder)
  os.close(handle)
  return path


@pytest.fixture
def while_waiting(monkeypatch):
  """Has something happen as soon as a launch waits for others."""

  def happen(event):
    wait = sharing.Worker.wait

    def wait_once(shift):
      wait(shift)
      monkeypatch.setattr(sharing.Worker, 'wait', wait)
      event()

    monkeypatch.setattr(sharing.Worker, 'wait', wait_once)

  monkeypatch.setattr(sharing, 'POLL', 0.01)
  return happen


def test_what_another_machine_holds_is_done_last_and_taken_over_if_it_is_silent(
  run, config, tmp_path, while_waiting
):
  work = tmp_path / 'work'
  first, second = (unit.program for unit in units.make(plan(config, work)))
  path = plant(work, first)
  while_waiting(lambda: os.utime(path, (time.time() - 601,) * 2))
  code, said = run(config, work, '--config.engine.lease_seconds=600.0')
  assert code == 0
  line = f'trained by process 1 on far since {SINCE}'
  assert f'waiting for baseline, dropout=0.0: {line}' in said
  by_age = sorted((work / 'runs').glob('*.npz'), key=lambda p: p.stat().st_mtime_ns)
  assert [path.name[:12] for path in by_age] == [second, first]
  assert not path.exists()
  assert disk.counts(work) == {1}


def test_what_failed_in_another_process_is_not_tried_again(
  run, config, tmp_path, while_waiting
):
  work = tmp_path / 'work'
  unit = units.make(plan(config, work))[0]
  path = plant(work, unit.program)
  failures.write(work, unit.program, {}, 'an earlier launch')  # is no answer

  def fail():
    failures.write(work, unit.program, {}, 'no luck there')
    path.unlink()

  while_waiting(fail)
  code, _ = run(config, work)
  assert code == 1
  told = json.loads((work / 'study.json').read_text())
  wanted = {run.fingerprint for run in unit.runs(results.Index({}, {}))}
  assert told['failures'] == dict.fromkeys(wanted, 'no luck there')
  code, _ = run(config, work)  # the next launch tries
  assert code == 0
  assert not any((work / 'failures').iterdir())


def test_machines_that_must_not_be_mixed_do_not_train_side_by_side(
  run, config, tmp_path
):
  work = tmp_path / 'work'
  _, second = (unit.program for unit in units.make(plan(config, work)))
  facts = {'provenance': {**environment.provenance(), 'device': 'Abacus'}}
  plant(work, second, facts=facts)
  code, said = run(config, work)
  assert code == 2
  assert f'the runs of process 1 on far since {SINCE} have device=Abacus' in said
  assert '--config.study.allow_mixed=device' in said


def test_a_worker_plans_its_programs_only_and_the_same_runs(config, tmp_path):
  work = tmp_path / 'work'
  made = plan(config, work)
  asked = files.read(str(config))
  for unit in units.make(made):
    arms = {unit.program: made.arms_of(unit.program)}
    part = launch_lib.plan_of(asked, work, programs=arms)
    assert list(part.members) == [unit.program]
    (same,) = units.make(part)
    index = results.Index({}, {})
    assert [r.fingerprint for r in same.runs(index)] == [
      r.fingerprint for r in unit.runs(index)
    ]


def test_a_launch_with_fewer_arms_leaves_those_of_others_to_their_workers(
  run, config, tmp_path
):
  work = tmp_path / 'work'
  made = plan(config, work)
  before = json.loads((work / 'plan.json').read_text())['programs']
  assert run(config, work, '--config.study.only=dropout')[0] == 0
  after = json.loads((work / 'plan.json').read_text())['programs']
  for program in made.layouts:
    assert after[program]['arms'] == before[program]['arms']
    words = ('--action=work', f'--programs={program}')
    assert run(config, work, *words)[0] == 0
  assert disk.trained(work) == 6  # three arms, two seeds


def test_workers_train_a_tuned_study_between_them(run, config, tmp_path):
  whole, work = tmp_path / 'whole', tmp_path / 'work'
  assert run(config, whole, *TUNE)[0] == 0
  # a launch that is gone before it trains anything
  fail = lambda *args, **options: 1 / 0
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('dlsteroids.run.sharing.Worker.take_one', fail)
    with pytest.raises(ZeroDivisionError):
      run(config, work, *TUNE)
  for program in json.loads((work / 'plan.json').read_text())['programs']:
    words = (*TUNE, '--action=work', f'--programs={program}')
    assert run(config, work, *words)[0] == 0
  stored = disk.trained(work)
  code, _ = run(config, work, '--action=report')  # the launch never came back
  assert code == 0
  assert disk.read(work) == disk.read(whole)
  assert run(config, work, *TUNE)[0] == 0
  assert disk.trained(work) == stored == disk.trained(whole)


def test_a_worker_tells_its_mistakes_where_the_launch_finds_them(run, config, tmp_path):
  work = tmp_path / 'work'
  code, said = run(config, work, '--action=work', '--programs=abc')
  assert code == 2
  assert "no program 'abc'" in said
  assert 'run the study first' in said
  program = units.make(plan(config, work))[0].program
  words = ('--action=work', f'--programs={program}', '--config.train.batch_size=8')
  code, said = run(config, work, *words)
  assert code == 2
  assert 'was written from another configuration' in said
  assert 'another configuration' in failures.read(work)[program].whole


def test_a_program_is_laid_out_by_who_trains_it_first(run, config, tmp_path):
  work = tmp_path / 'work'
  asked = files.read(str(config))
  made = launch_lib.begin(
    launch_lib.plan_of(asked, work, elsewhere=True), asked, work, print, True
  )
  told = json.loads((work / 'plan.json').read_text())
  assert not any('width' in entry for entry in told['programs'].values())
  assert not told['peak_flops']
  first, second = (unit.program for unit in units.make(made))
  words = ('--action=work', f'--programs={first}', '--config.engine.width=3')
  assert run(config, work, *words)[0] == 0
  told = json.loads((work / 'plan.json').read_text())
  assert told['programs'][first]['width'] == 3
  assert 'width' not in told['programs'][second]
  assert told['peak_flops'] > 0


def test_leases_and_locks_of_the_workdir_wait_for_each_other(tmp_path):
  done = []

  def second():
    with lock.hold(tmp_path):
      done.append('second')

  with lock.hold(tmp_path):
    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.3)
    done.append('first')
  thread.join()
  assert done == ['first', 'second']
