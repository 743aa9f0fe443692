"""The head of a study: time limits, deaths, retries; oracle: the study by itself."""

import subprocess
import sys
import time

import pytest

from dlsteroids.cli import command
from dlsteroids.cluster import child, dispatch, executors, worker
from dlsteroids.config import files
from dlsteroids.plan import units
from dlsteroids.run import launch, leases
from dlsteroids.store import failures, results
from dlsteroids.util import errors
from tests.fixtures import studies_on_disk as disk

MODELS = "factors.factor('activation', 'model.activation', 'relu', 'tanh'),"


def order(work, script, minutes=0.0):
  """Workers that run a script, whatever their program."""
  return child.Order((sys.executable, '-c', script), '.', {}, work, minutes)


def wait(job):
  end = time.monotonic() + 60
  while not job.ended():
    assert time.monotonic() < end
    time.sleep(0.01)
  return job.why()


def test_a_worker_says_why_it_ended(tmp_path):
  run = lambda script, minutes=0.0: wait(
    executors.ProcessJob(order(tmp_path, script, minutes), 'p')
  )
  assert run('') == ''
  assert run('raise SystemExit(2)') == ''  # a mistake: it has told it itself
  assert child.last_words(tmp_path, 'p') == 'its worker exited; its last line: none'
  assert run('raise SystemExit(7)') == 'exit code 7'
  said = run('import os; print("so far", flush=True); os.kill(os.getpid(), 9)')
  assert said == 'killed by SIGKILL; its last line: so far'
  start = time.monotonic()
  said = run('import time; time.sleep(60)', 0.01)
  assert said == 'no end within 0.01 minutes'
  assert time.monotonic() - start < 30
  assert run('1 / 0') == ''  # as after a mistake, so that what it said tells
  said = 'its worker exited; its last line: ZeroDivisionError: division by zero'
  assert child.last_words(tmp_path, 'p') == said


def test_a_worker_that_hears_no_sigterm_is_killed(tmp_path, monkeypatch):
  monkeypatch.setattr(child, 'GRACE', 0.5)
  script = (
    'import signal, time; signal.signal(15, signal.SIG_IGN); '
    'print("deaf", flush=True); time.sleep(60)'
  )
  job = executors.ProcessJob(order(tmp_path, script), 'p')
  while child.last_line(job.child.log) != 'deaf':
    time.sleep(0.01)
  job.child.stop(child.GRACE)
  assert job.child.process.returncode == -9


def test_a_worker_ends_with_who_started_it(tmp_path):
  script = (
    'import os, subprocess, sys, time; from dlsteroids.cluster import child; '
    'os.environ[child.PARENT] = str(os.getpid()); '
    'code = "from dlsteroids.cluster import child; import time; '
    'child.follow_parent(); print(1, flush=True); time.sleep(60)"; '
    'p = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE); '
    'p.stdout.read(1); print(p.pid, flush=True); time.sleep(60)'
  )
  words = [sys.executable, '-c', script]
  with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=disk.ROOT) as parent:
    pid = int(parent.stdout.readline())
    born = leases.start_of(pid)
    parent.kill()
  end = time.monotonic() + 30
  while leases.start_of(pid) == born:
    assert time.monotonic() < end
    time.sleep(0.05)


def ignore(done, total, details):
  del done, total, details


def say(line):
  print(line, file=sys.stderr)


class Here:
  """Trains some programs in this process, and has others run a script."""

  poll = 0.01

  def __init__(self, asked, work, scripts, at_once=0):
    self.asked, self.work, self.scripts = asked, work, scripts
    self.at_once, self.handed = at_once, []

  def submit(self, programs):
    self.handed.append(list(programs))
    return {program: self.start(program) for program in programs}

  def start(self, program):
    script = self.scripts.get(program)
    if script is not None:
      return executors.ProcessJob(order(self.work, script, 0.01), program)
    worker.work(self.asked, self.work, [program], lambda status: None, print)
    return executors.ProcessJob(order(self.work, ''), program)

  def adopt(self, programs):
    return {}

  def leave(self):
    return 'left'


@pytest.fixture
def ready(tmp_path, monkeypatch):
  """What is asked, its workdir, the programs; no figures are drawn."""
  disk.spare_figures(monkeypatch)
  disk.share_programs(monkeypatch)
  config = disk.write(tmp_path, factors=disk.FACTORS + MODELS)
  asked, work = files.read(str(config)), tmp_path / 'work'
  made = launch.plan_of(asked, work)
  return asked, work, [unit.program for unit in units.make(made)]


def test_a_unit_that_hangs_is_stopped_tried_again_and_marked(ready, capsys):
  asked, work, (first, second) = ready
  here = Here(asked, work, {second: 'import time; time.sleep(60)'})
  answer = dispatch.train(asked, work, here, ignore, say)
  said = capsys.readouterr().err
  assert 'activation=tanh: no end within 0.01 minutes; trying again' in said
  assert 'failed: activation=tanh: 2 times: no end within 0.01 minutes' in said
  assert here.handed == [[first, second], [second]]
  assert answer.failed
  assert answer.runs['status'].tolist() == ['ok'] * 4 + ['failed'] * 2
  assert disk.counts(work) == {1}
  again = Here(asked, work, {})
  answer = dispatch.train(asked, work, again, ignore, say)
  assert again.handed == [[second]]
  assert not answer.failed
  assert failures.read(work) == {}
  alone = work.with_name('alone')
  launch.train(asked, alone)
  assert disk.read(work) == disk.read(alone)


def test_units_are_handed_over_a_few_at_a_time_and_never_those_of_others(ready):
  asked, work, (first, second) = ready
  here = Here(asked, work, {}, at_once=1)
  made = launch.begin(launch.plan_of(asked, work), asked, work, print)
  head = dispatch.Head(made, work, here, ignore, say)
  head.submit()
  head.submit()
  assert here.handed == [[first]]  # one at a time
  head.run()
  assert here.handed == [[first], [second]]
  (work / 'runs').rename(work / 'away')
  with leases.take(work, first, 60.0):  # another launch's
    head = dispatch.Head(made, work, here, ignore, say)
    head.submit()
    assert here.handed[2:] == [[second]]
  head.run()
  assert here.handed[2:] == [[second], [first]]
  assert disk.trained(work) == 6


def test_a_launch_that_ends_early_says_what_becomes_of_its_jobs(ready, capsys):
  asked, work, (first, second) = ready
  here = Here(asked, work, {first: '', second: ''})

  def interrupt(programs):
    raise KeyboardInterrupt

  here.submit = interrupt
  with pytest.raises(KeyboardInterrupt):
    dispatch.train(asked, work, here, ignore, say)
  assert capsys.readouterr().err.splitlines()[-1] == 'left'


def test_stored_runs_of_several_machines_are_not_reported_as_one(ready):
  asked, work, _ = ready
  launch.train(asked, work)
  path = sorted((work / 'runs').glob('*.npz'))[0]
  batch, runs = results.read_batch(path)
  index = results.read(work)
  arrays = {
    r['fingerprint']: results.read_arrays(index.records[r['fingerprint']]) for r in runs
  }
  path.unlink()
  other = {**batch['provenance'], 'device': 'Abacus'}
  results.write_batch(work, {**batch, 'provenance': other}, runs, arrays)
  with pytest.raises(errors.UserError, match='Abacus'):
    dispatch.train(asked, work, Here(asked, work, {}), ignore, say)


@pytest.mark.parametrize(('package', 'extra'), [('submitit', 'slurm'), ('ray', 'ray')])
def test_a_missing_package_is_named(tmp_path, monkeypatch, capsys, package, extra):
  monkeypatch.setitem(sys.modules, package, None)
  monkeypatch.chdir(disk.ROOT)
  config = disk.write(tmp_path)
  words = [f'--config={config}', f'--workdir={tmp_path / "work"}']
  assert command.main(['launch', *words, f'--executor={extra}']) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    f"dlsteroids: --executor={extra} needs {package}: pip install 'dlsteroids[{extra}]'"
  )
