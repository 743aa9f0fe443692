"""Where a study stands, from its files; oracle: what was put there."""

import itertools
import os
import subprocess
import sys

import pytest

from dlsteroids.config import files
from dlsteroids.plan import units
from dlsteroids.run import launch, leases, status
from dlsteroids.store import failures
from dlsteroids.util import errors
from tests.fixtures import studies_on_disk as disk

MODELS = "factors.factor('activation', 'model.activation', 'relu', 'tanh', 'sigmoid'),"


@pytest.fixture(scope='module')
def work(tmp_path_factory):
  """A study of three programs: one trained, one running, one failed."""
  folder = tmp_path_factory.mktemp('status')
  config, work = disk.write(folder, factors=disk.FACTORS + MODELS), folder / 'work'
  asked = files.read(str(config))
  made = launch.begin(launch.plan_of(asked, work), asked, work, print)
  _, second, third = (unit.program for unit in units.make(made))
  held = [leases.take(work, name, 60.0).__enter__() for name in (second, third)]
  with pytest.MonkeyPatch.context() as patch:
    disk.spare_figures(patch)
    disk.share_programs(patch)
    patch.setattr('dlsteroids.run.sharing.Worker.wait', lambda worker: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      launch.train(asked, work)
  held[1].__exit__()
  failures.write(work, third, {}, 'no memory')
  held[0].update(members=2, step=6, steps=12, rate=3.25)
  leases.write(held[0].handle, held[0].holder._replace(facts=held[0].facts))
  yield work
  held[0].__exit__()


def test_every_program_has_a_line(work):
  whole, first, second, third, trouble = status.read(work).lines()
  assert whole.startswith(
    f'study tiny in {work}: 4 of 8 runs done, 2 running, 2 failed'
  )
  assert whole.endswith(' left')
  assert first.endswith('baseline, dropout=0.0  4 of 4  done')
  assert f'activation=tanh        0 of 2  training: process {os.getpid()} on ' in second
  assert second.endswith(', 2 runs, step 6 of 12, 3.25 steps/s')
  assert third.endswith('activation=sigmoid     0 of 2  2 failed')
  assert trouble.startswith('failed: activation=sigmoid, 2 runs: no memory (program ')


def test_programs_of_the_same_arms_share_a_line():
  fingerprints = map(str, itertools.count())

  def program(arms, done, count, failed=0):
    names = [next(fingerprints) for _ in range(count)]
    why = dict.fromkeys(names[done : done + failed], 'no memory')
    return status.Program(arms, names, done, why, None)

  states = {
    'p0': program(['baseline'], 51, 51),
    'p1': program(['baseline'], 9, 9),
    'p2': program(['baseline'], 0, 6),
    'p3': program(['tanh'], 12, 12),
    'p4': program(['baseline'], 1, 6, failed=5),
    'p5': program(['baseline'], 0, 5, failed=4),
  }
  assert status.rows(states) == [
    '  baseline  60 of 60  done (2 programs)',
    '  baseline   0 of  6  waiting',
    '  tanh      12 of 12  done',
    '  baseline   1 of 11  9 failed (2 programs)',
  ]


def test_it_is_asked_from_another_terminal_without_jax_or_a_change(work):
  before = {p: p.stat().st_mtime_ns for p in work.rglob('*') if 'leases' not in str(p)}
  script = (
    'import sys; from dlsteroids.cli import command; '
    f'code = command.main(["launch", "--action=status", "--workdir={work}"]); '
    'assert "jax" not in sys.modules and "scipy" not in sys.modules; sys.exit(code)'
  )
  done = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True, cwd=disk.ROOT,
    check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert '4 of 8 runs done, 2 running' in done.stdout
  after = {p: p.stat().st_mtime_ns for p in work.rglob('*') if 'leases' not in str(p)}
  assert after == before


def test_a_report_in_the_midst_says_that_it_is_partial(work, capsys):
  from dlsteroids.cli import command

  config = work.parent / 'tiny.py'
  words = [f'--config={config}', f'--workdir={work}', '--action=report']
  code = command.main(['launch', *words])
  assert code == 1  # two have failed
  line = (
    'This report is partial: 6 of 8 runs have ended; no runs yet of activation=tanh.'
  )
  assert line in capsys.readouterr().out
  assert line in (work / 'report.html').read_text()


def test_a_workdir_without_a_study_is_told_in_a_line(tmp_path):
  with pytest.raises(errors.UserError, match='not planned yet'):
    status.read(tmp_path).lines()
  (tmp_path / 'plan.json').write_text('{"programs": {}}')
  (tmp_path / 'study.json').write_text('{"half')
  with pytest.raises(errors.UserError, match=r'study\.json or plan\.json'):
    status.read(tmp_path).lines()
