"""Real clusters of one machine, disturbed; oracle: the same study by one process."""

import json
import signal
import subprocess
import time

import pytest

from dlsteroids.run import leases
from tests.fixtures import slurm_here
from tests.fixtures import studies_on_disk as disk

pytestmark = pytest.mark.slow
SETTINGS = """
  config.data.examples = 96
  config.model.way = 'dawdles'
  config.study.seeds = 3
  config.train.steps = 200
  config.engine.checkpoint_seconds = 0.0
  config.engine.lease_seconds = 10.0
"""
FACTORS = "factors.factor('units', 'model.units', 8, 6, 4),"


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  """Three programs of some 12 s each that need next to no processor."""
  folder = tmp_path_factory.mktemp('study')
  return disk.write(
    folder, model='tests.fixtures.stuck', settings=SETTINGS, factors=FACTORS
  )


@pytest.fixture(scope='module')
def undisturbed(config, tmp_path_factory):
  work = tmp_path_factory.mktemp('undisturbed') / 'work'
  done = disk.launch(config, work)
  assert done.returncode == 0, done.stderr
  return disk.read(work)


def wait(what, seconds=120.0):
  """What a function returns as soon as that is true."""
  end = time.monotonic() + seconds
  while not (found := what()):
    assert time.monotonic() < end, what.__name__
    time.sleep(0.1)
  return found


def training(work, count):
  """The holders, if so many programs are on their way."""

  def holders():
    found = leases.live(work, 10.0)
    going = {k: h for k, h in found.items() if 20 < h.facts.get('step', 0) < 150}
    return going if len(going) >= count else None

  return wait(holders)


def check(work, undisturbed):
  assert disk.read(work) == undisturbed
  assert disk.counts(work) == {1}
  assert disk.trained(work) == 9
  assert not any(work.glob('leases/*.json'))


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
  pytest.importorskip('submitit', reason='submitit is not installed')
  if slurm_here.lacks():
    pytest.skip(slurm_here.lacks())
  with slurm_here.started(tmp_path_factory.mktemp('slurm')):
    yield


@pytest.mark.usefixtures('slurm')
def test_slurm_preempts_one_job_a_worker_is_killed_and_so_is_the_head(
  config, undisturbed, tmp_path
):
  work = tmp_path / 'work'
  words = ('--executor=slurm', '--cpus=1', '--unit_minutes=10')
  head = disk.start(config, work, *words)
  (one, killed), (two, preempted) = list(training(work, 2).items())[:2]
  job = preempted.job.removeprefix('slurm ')
  assert slurm_here.ask('squeue', '-h', '-j', job, '-o', '%T').strip() == 'RUNNING'
  subprocess.run(['kill', '-9', str(killed.pid)], check=True)
  subprocess.run(['scancel', '--signal=USR2', job], check=True)
  wait(lambda: leases.start_of(preempted.pid) != preempted.started)
  time.sleep(6)  # so that the head has looked
  head.send_signal(signal.SIGKILL)
  head.communicate()
  end = disk.launch(config, work, *words)
  assert end.returncode == 0, end.stderr
  assert 'Restarts=1' in slurm_here.ask('scontrol', 'show', 'job', job)
  jobs = {p: (work / 'slurm' / f'{p}.job').read_text() for p in (one, two)}
  assert jobs[two] == job  # SLURM queued it again, no head did
  assert jobs[one] != killed.job.removeprefix('slurm ')
  check(work, undisturbed)


@pytest.mark.usefixtures('slurm')
def test_slurm_refusals_are_told_in_a_line(config, tmp_path):
  done = disk.launch(config, tmp_path, '--executor=slurm', '--partition=nowhere')
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1].startswith('dlsteroids: SLURM refuses the jobs: ')
  assert 'nvalid partition' in done.stderr


def test_ray_loses_a_node_in_mid_study(config, undisturbed, tmp_path):
  pytest.importorskip('ray', reason='ray is not installed')
  from ray import cluster_utils

  work = tmp_path / 'work'
  cluster = cluster_utils.Cluster(
    initialize_head=True, head_node_args={'num_cpus': 0}, shutdown_at_exit=True
  )
  try:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    words = ('--executor=ray', f'--address={cluster.address}')
    head = disk.start(config, work, *words)
    holders = training(work, 2).values()
    assert all(holder.job.startswith('ray on ') for holder in holders)
    cluster.remove_node(nodes[1], allow_graceful=False)
    gone = lambda: [h for h in holders if leases.start_of(h.pid) != h.started]
    (_,) = wait(gone)  # one of the two workers, with its node
    out, err = head.communicate(timeout=300)
    assert head.returncode == 0, err
    assert out.splitlines()[-1].endswith('report.html')
  finally:
    cluster.shutdown()
  check(work, undisturbed)


@pytest.mark.parametrize('way', ['hangs', 'dies'])
def test_a_model_that_hangs_or_dies_is_marked_and_the_others_go_on(tmp_path, way):
  factors = f"""
    factors.factor('way', 'model.way', 'well', '{way}'),
    factors.factor('units', 'model.units', 8, 4),"""
  settings = '\n  config.data.examples = 96\n'
  config = disk.write(
    tmp_path, model='tests.fixtures.stuck', settings=settings, factors=factors
  )
  work = tmp_path / 'work'
  done = disk.launch(config, work, '--unit_minutes=0.5')
  assert done.returncode == 1
  why = {'hangs': 'no end within 0.5 minutes', 'dies': 'killed by SIGKILL'}[way]
  assert f'way={way}: {why}' in done.stderr  # again
  assert f'failed: way={way}: 2 times: {why}' in done.stderr
  assert disk.trained(work) == 4
  told = json.loads((work / 'study.json').read_text())
  assert len(told['failures']) == 2
