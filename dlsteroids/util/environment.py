"""The machine: devices before JAX starts, provenance after, who writes a workdir."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any, TextIO

from dlsteroids.util import errors

PATIENCE = 600.0  # seconds to wait for who writes a study's files or its report
LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


def cores() -> int:
  """Processor cores this process may use."""
  return len(os.sched_getaffinity(0))


def prepare(matmul: str = 'default') -> None:
  """Gives the CPU one host device per core and turns the compilation cache on.

  JAX_NUM_CPU_DEVICES sets another number of devices.
  Must come before the first JAX call; afterwards the device count stays as it is.
  """
  import jax

  if 'JAX_NUM_CPU_DEVICES' not in os.environ:
    with contextlib.suppress(RuntimeError):  # JAX already runs
      jax.config.update('jax_num_cpu_devices', cores())
  cache = os.environ.get('JAX_COMPILATION_CACHE_DIR') or str(cache_folder() / 'jax')
  jax.config.update('jax_compilation_cache_dir', cache)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  jax.config.update('jax_default_matmul_precision', matmul)


def cache_folder() -> pathlib.Path:
  """`$DLSTEROIDS_CACHE`, or dlsteroids in the user's cache folder."""
  default = pathlib.Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')) / 'dlsteroids'
  return pathlib.Path(os.environ.get('DLSTEROIDS_CACHE', default)).expanduser()


def provenance() -> dict[str, Any]:
  """What, besides the run itself, its bits depend on. Paired runs agree in it."""
  import jax

  device = jax.local_devices()[0]
  found: dict[str, Any] = {name: importlib.metadata.version(name) for name in LIBRARIES}
  found['python'] = '.'.join(platform.python_version_tuple()[:2])
  found['platform'] = device.platform
  found['device'] = processor() if device.platform == 'cpu' else device.device_kind
  found['cores'] = cores()
  return found


def processor() -> str:
  """The CPU's name, or its architecture."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.processor() or platform.machine()


def git_commit() -> str:
  """The commit of this package's checkout, '+' if edited; '' if there is none."""
  folder = pathlib.Path(__file__).resolve().parents[2]
  if not (folder / '.git').exists():
    return ''

  def git(*words):
    return subprocess.run(
      ['git', '-C', str(folder), *words], capture_output=True, text=True, check=False
    ).stdout.strip()

  return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain') else '')


def now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


@contextlib.contextmanager
def hold(workdir: pathlib.Path, patience: float | None = None) -> Iterator[None]:
  """Holds a workdir for a moment, to write what belongs to all of its programs.

  The kernel gives it back when the process ends, however it ends. Programs are trained
  without it, by leases. Not to be nested.

  Args:
    workdir: of the study; made if it does not exist.
    patience: seconds to wait for another process; `PATIENCE` if None.

  Raises:
    UserError: saying who holds it, or that it can't be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = open(workdir / '.lock', 'a+')  # noqa: SIM115 - held as long as the context
  except OSError as error:
    raise errors.UserError(
      f'cannot write to workdir {workdir}: {error.strerror}'
    ) from error
  end = time.monotonic() + (PATIENCE if patience is None else patience)
  with file:
    while not lock(file, workdir):
      if time.monotonic() > end:
        raise errors.UserError(f'workdir {workdir} is held by {holder_of(file)}')
      time.sleep(0.05)
    file.truncate(0)
    me = {'pid': os.getpid(), 'host': socket.gethostname(), 'since': now()}
    file.write(json.dumps(me))
    file.flush()
    yield


def lock(file: TextIO, workdir: pathlib.Path) -> bool:
  """Whether the file is locked for this process now."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError as error:
    raise errors.UserError(
      f'cannot lock {workdir / ".lock"}: {error.strerror}; its file system must allow '
      'flock'
    ) from error
  return True


def holder_of(file: TextIO) -> str:
  """Who says in the file that it holds it."""
  file.seek(0)
  try:
    who = json.loads(file.read())
    return f'process {who["pid"]} on {who["host"]} since {who["since"]}'
  except (ValueError, KeyError, TypeError):
    return 'another process'
