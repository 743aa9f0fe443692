"""A SLURM of this machine alone, from Debian's packages, while it is needed."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacks() -> str:
  """Why it can't be started here; '' if it can."""
  if os.geteuid() != 0:
    return 'SLURM is started by root only'
  for name in ('munged', 'slurmctld', 'slurmd', 'sbatch'):
    if not find(name):
      return f'{name} is not installed (apt-get install slurm-wlm munge)'
  return ''


def find(name: str) -> str | None:
  return shutil.which(name, path=f'{os.environ["PATH"]}:/usr/sbin')


def free_ports(count: int) -> list[int]:
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(('127.0.0.1', 0))
    return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def started(folder: pathlib.Path, cpus: int = 2):
  """Runs the three daemons; SLURM_CONF leads this process' commands to them."""
  munge = folder / 'munge'
  for name in ('state', 'spool', 'munge'):
    (folder / name).mkdir()
  munge.chmod(0o700)
  (munge / 'key').write_bytes(os.urandom(128))
  (munge / 'key').chmod(0o600)
  host = socket.gethostname().partition('.')[0]
  conf = folder / 'slurm.conf'
  ports = free_ports(2)
  conf.write_text(CONF.format(host=host, folder=folder, ports=ports, cpus=cpus))
  places = {'socket': 'socket', 'key-file': 'key', 'log-file': 'log'}
  places |= {'pid-file': 'pid', 'seed-file': 'seed'}
  words = [f'--{option}={munge / name}' for option, name in places.items()]
  daemons = (
    [find('munged'), '--foreground', '--force', *words],
    [find('slurmctld'), '-D', '-f', str(conf)],
    [find('slurmd'), '-D', '-f', str(conf)],
  )
  before = os.environ.get('SLURM_CONF')
  os.environ['SLURM_CONF'] = str(conf)
  running = []
  try:
    for daemon in daemons:
      log = open(folder / f'{pathlib.Path(daemon[0]).name}.out', 'w')  # noqa: SIM115
      running.append(subprocess.Popen(daemon, stdout=log, stderr=log))
    wait_for('idle')
    yield
  finally:
    subprocess.run(['scancel', '--me'], check=False, capture_output=True)
    for process in reversed(running):
      process.terminate()
      process.wait(60)
    del os.environ['SLURM_CONF']
    if before is not None:
      os.environ['SLURM_CONF'] = before


def wait_for(state: str, seconds: float = 60.0) -> None:
  """Returns when the node is in a state."""
  end = time.monotonic() + seconds
  while state not in ask('sinfo', '-h', '-o', '%T'):
    if time.monotonic() > end:
      raise TimeoutError(f'SLURM is not {state}: {ask("sinfo")}')
    time.sleep(0.2)


def ask(*words: str) -> str:
  """What a command of SLURM says."""
  return subprocess.run(words, capture_output=True, text=True, check=False).stdout
