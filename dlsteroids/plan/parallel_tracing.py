"""Other processes that trace programs meanwhile, for the cache of facts.

Tracing is Python's work, so threads would not help. A helper begins with the last
programs, this process with the first; what is in the cache when this process gets there
is not traced again. A helper that cannot do its part is missed by nobody.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dlsteroids.plan import programs as programs_lib
from dlsteroids.util import environment

SHARE = 32  # programs per helper: to start one takes as long as tracing ten
MOST_BYTES = 1 << 28  # of data sets, which each helper loads again
COMMAND = 'from dlsteroids.plan import parallel_tracing; parallel_tracing.main()'


class Request(NamedTuple):
  """What a helper reads from its standard input, as JSON.

  Attributes:
    path: where this process looks for modules.
    metric: the study's.
    configs: resolved, one of each program, in the order in which to trace them.
    key: of the first one's facts; a helper that finds another would trace in vain.
  """

  path: Sequence[str]
  metric: str
  configs: Sequence[Mapping[str, Any]]
  key: str


@contextlib.contextmanager
def run(
  configs: Sequence[Mapping[str, Any]], programs: programs_lib.Programs
) -> Iterator[None]:
  """Within, helpers trace programs of `configs`, if there are enough for the cores."""
  started: list[subprocess.Popen[bytes]] = []
  try:
    for request in divide(configs, programs):
      with contextlib.suppress(OSError):  # such as a limit on processes
        started.append(start(request))
    yield
  finally:
    for process in started:
      process.kill()
      process.wait()


def divide(
  configs: Sequence[Mapping[str, Any]], programs: programs_lib.Programs
) -> list[Request]:
  """The share of every helper that is worth its start; [] on accelerators."""
  alone = jax.default_backend() != 'cpu' or jax.process_count() > 1
  if alone or len(configs) < SHARE or environment.cores() < 2 or not sys.executable:
    return []
  missing = programs.missing(configs)
  if programs.resident_bytes() > MOST_BYTES:
    return []
  count = min(environment.cores() - 1, len(missing) // SHARE)
  last_first = list(missing.items())[::-1]
  shares = [last_first[index::count] for index in range(count)]
  return [
    Request(sys.path, programs.metric, [config for _, config in share], share[0][0])
    for share in shares
  ]


def start(request: Request) -> subprocess.Popen[bytes]:
  """A process that does what is requested."""
  environ = {**os.environ, 'PYTHONPATH': os.pathsep.join(request.path)}
  platforms = getattr(jax.config, 'jax_platforms', None)
  if platforms:
    environ['JAX_PLATFORMS'] = platforms
  with tempfile.TemporaryFile() as stream:  # a pipe would fill up
    stream.write(to_json(request))
    stream.seek(0)
    return subprocess.Popen(
      [sys.executable, '-P', '-c', COMMAND],
      stdin=stream,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      env=environ,
    )


def main() -> None:
  """The helper's process."""
  request = from_json(sys.stdin.buffer.read())
  sys.path[:] = request.path
  environment.prepare()
  trace(request)


def to_json(request: Request) -> bytes:
  """A request as a helper reads it."""
  return json.dumps(request._asdict()).encode()


def from_json(text: bytes) -> Request:
  """What `to_json` wrote."""
  return Request(**_with_tuples(json.loads(text)))


def _with_tuples(value: Any) -> Any:
  """What JSON reads, with the tuples of a resolved config in place of its lists."""
  if isinstance(value, dict):
    return {key: _with_tuples(one) for key, one in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def trace(request: Request) -> None:
  """Traces the programs of a request into the cache of facts."""
  programs = programs_lib.Programs(request.metric)
  if request.key not in programs.missing(request.configs[:1]):
    return
  for config in request.configs:
    programs.add(config)
