"""The machine: devices before JAX starts, provenance after."""

import contextlib
import datetime
import importlib.metadata
import math
import os
import pathlib
import platform
import shlex
import subprocess
import traceback
from collections.abc import Iterator
from typing import Any

from dlsteroids.util import errors, files, xla_options

LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
FLAGS = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS')
# Flags that change no result, by their beginning.
HARMLESS = ('--xla_force_host_platform_device_count', '--xla_dump', '--xla_hlo_profile')
SETTINGS = {  # of JAX that change results, with their defaults
  'jax_enable_x64': False,
  'jax_numpy_dtype_promotion': 'standard',
  'jax_threefry_partitionable': True,
  'jax_disable_jit': False,
  'jax_default_prng_impl': 'threefry2x32',
}


def cores() -> int:
  """Processor cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def free_memory() -> float:
  """Bytes of host memory that this process may still take; inf where it is unknown.

  The least of what the system has free, what its control group leaves, and what the
  limit on its address space leaves.
  """
  limits = [math.inf]
  with contextlib.suppress(OSError, ValueError, IndexError):
    lines = pathlib.Path('/proc/meminfo').read_text(encoding='utf-8').splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    limits.append(float(fields['MemAvailable'].split()[0]) * 1024)
  group = pathlib.Path('/sys/fs/cgroup')
  with contextlib.suppress(OSError, ValueError):
    most = float((group / 'memory.max').read_text(encoding='utf-8'))
    used = float((group / 'memory.current').read_text(encoding='utf-8'))
    limits.append(most - used)
  with contextlib.suppress(ImportError, OSError, ValueError):
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
      pages = int(pathlib.Path('/proc/self/statm').read_text('utf-8').split()[0])
      limits.append(float(most - pages * resource.getpagesize()))
  return max(min(limits), 0.0)


def prepare() -> None:
  """Gives the CPU one host device per core and turns the compilation cache on.

  JAX_NUM_CPU_DEVICES sets another number of devices.
  Must come before the first JAX call; afterwards the device count stays as it is.

  Raises:
    UserError: with 64-bit numbers, which the programs are not made for; or if JAX
      finds no device of the platform that JAX_PLATFORMS names.
  """
  import jax

  if jax.config.read('jax_enable_x64'):
    raise errors.UserError(
      'JAX is set to 64-bit numbers (JAX_ENABLE_X64 or jax_enable_x64), but studies '
      'are trained in float32: unset it'
    )
  if 'JAX_NUM_CPU_DEVICES' not in os.environ:
    with contextlib.suppress(RuntimeError):  # JAX already runs
      jax.config.update('jax_num_cpu_devices', cores())
  cache = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  folder = pathlib.Path(cache or files.cache_folder() / 'jax').expanduser()
  jax.config.update('jax_compilation_cache_dir', _writable(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  with device_errors():
    jax.devices()


def _writable(folder: pathlib.Path) -> str | None:
  """A folder, which is made if need be; None if nothing can be written there."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return None
  return str(folder) if os.access(folder, os.W_OK) else None


def describe_setting(error: Exception) -> str:
  """One line about an environment variable of JAX that JAX cannot read; or ''."""
  frames = traceback.extract_tb(error.__traceback__)
  if not frames or pathlib.Path(frames[-1].filename).parts[-3:] != (
    *('jax', '_src', 'config.py'),
  ):
    return ''
  text = errors.first_line(error)
  names = [name for name in os.environ if name.startswith('JAX_')]
  named = [name for name in names if name in text or name.lower() in text]
  cure = f'{named[0]}={os.environ[named[0]]}: ' if named else ''
  return f'{cure}JAX cannot read its settings ({text}); correct or unset the variable'


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
  """Within, a device that JAX is told to use and cannot is a UserError."""
  try:
    yield
  except (RuntimeError, AssertionError) as error:
    text = errors.first_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    bridge = frames[-1].filename.endswith('xla_bridge.py')
    if not bridge and 'initialize backend' not in text:
      raise
    platforms = os.environ.get('JAX_PLATFORMS', '')
    wanted = f'JAX_PLATFORMS={platforms}: ' if platforms else ''
    raise errors.UserError(
      f'{wanted}JAX finds no such device{f" ({text})" if text else ""}; unset '
      'JAX_PLATFORMS, or set it to cpu'
    ) from error


def provenance() -> dict[str, Any]:
  """Whatever the bits of a run depend on besides the run; paired runs agree in it."""
  import jax

  device = jax.local_devices()[0]
  facts: dict[str, Any] = {name: importlib.metadata.version(name) for name in LIBRARIES}
  facts['python'] = '.'.join(platform.python_version_tuple()[:2])
  facts['platform'] = device.platform
  facts['device'] = processor() if device.platform == 'cpu' else device.device_kind
  facts['cores'] = cores()
  facts['settings'] = settings(device.platform)
  return facts


def settings(platform: str) -> str:
  """The settings of JAX and XLA that change results and are not the defaults."""
  import jax

  words = []
  for name in FLAGS:
    flags = sorted(
      word
      for word in shlex.split(os.environ.get(name, ''))
      if not word.startswith(HARMLESS)
    )
    words += [f'{name}={" ".join(flags)}'] if flags else []
  for name, default in SETTINGS.items():
    value = getattr(jax.config, name, default)
    words += [f'{name}={value}'] if value != default else []
  options = xla_options.of(platform)
  words += [f'{name}={value}' for name, value in options.items()]
  return ', '.join(words)


def processor() -> str:
  """The CPU's name, or its architecture."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
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
  """The time in UTC, to the second, as ISO 8601."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
