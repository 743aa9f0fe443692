"""The truth: one checksummed file per program batch, named by its own digest.

A file `runs/<program>-<sha256[:16]>.npz` holds the records of the batch's runs as JSON
and their per-example arrays. It appears whole or not at all; a file whose bytes do not
match its name is reported, its runs count as missing, and `clean` sets it aside.
"""

import functools
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlsteroids.store import curves
from dlsteroids.util import files, npz

FOLDER = 'runs'
FORMAT = 1
NUMBERS = ('seed', 'steps', 'params', 'flops', 'wall_s', 'best_step')  # of a run
_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, OverflowError)


class Record(NamedTuple):
  """One finished run: what was measured, and where its arrays lie."""

  run: Mapping[str, Any]  # fingerprint, identity, seed, status, steps, values, curves …
  batch: Mapping[str, Any]  # program, layout, provenance, sources of the whole batch
  file: pathlib.Path


class Index(NamedTuple):
  records: Mapping[str, Record]  # by fingerprint
  damaged: Mapping[pathlib.Path, str]  # what is wrong with a file that can't be used


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  """Writes a dict, with a checksum that `read_json` compares."""
  plain = json.loads(json.dumps(value, default=list))
  sealed = {**plain, 'sha256': digest_of(plain)}
  files.write(path, json.dumps(sealed, indent=1) + '\n')


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """What `write_json` wrote.

  Raises:
    ValueError: if it is something else, or damaged.
  """
  value = json.loads(path.read_bytes())
  if not isinstance(value, dict):
    raise ValueError(f'it holds a {type(value).__name__}')
  if value.pop('sha256', None) != digest_of(value):
    raise ValueError('its checksum does not match')
  return value


def digest_of(value: Any) -> str:
  """Sha256 hex of a JSON value."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_batch(
  workdir: pathlib.Path,
  batch: Mapping[str, Any],
  runs: Sequence[Mapping[str, Any]],
  arrays: Mapping[str, Mapping[str, np.ndarray]],
) -> pathlib.Path:
  """Stores a batch; `arrays` by fingerprint, then by name. Returns the file."""
  meta = {'format': FORMAT, 'batch': dict(batch), 'runs': list(runs)}
  text = json.dumps(meta, default=list).encode()
  flat: dict[str, Any] = {
    f'{fingerprint}|{name}': value
    for fingerprint, named in arrays.items()
    for name, value in named.items()
  }
  buffer = io.BytesIO()
  np.savez(buffer, meta=np.frombuffer(text, np.uint8), **flat)
  data = buffer.getvalue()
  name = f'{batch["program"]}-{files.checksum(data)[:16]}.npz'
  path = workdir / FOLDER / name
  files.write(path, data)
  return path


def read_batch(path: pathlib.Path) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
  """The batch's metadata and the records of its runs.

  Raises:
    ValueError: if the bytes are not those that were written.
  """
  data = path.read_bytes()
  if files.checksum(data)[:16] != path.stem.rpartition('-')[2]:
    raise ValueError('its checksum does not match')
  try:
    meta = json.loads(npz.read(data, 'meta'.__eq__)['meta'].tobytes())
    if meta['format'] != FORMAT:
      raise ValueError(f'format {meta["format"]}, this version reads {FORMAT}')
    _check(meta['batch'], meta['runs'])
    for run in meta['runs']:
      curves.shrink(run)
  except (*_MALFORMED, RecursionError) as error:
    raise ValueError(f'it holds no batch of runs ({error})') from error
  return meta['batch'], meta['runs']


def _check(batch: Any, runs: Any) -> None:
  """Raises one of `_MALFORMED` unless all that is looked up later is there."""
  valid = isinstance(batch['program'], str) and isinstance(runs, list)
  for name in ('sources', 'provenance'):
    hash(tuple(batch[name].items()))
  for run in runs:
    valid &= all(isinstance(run[name], str) for name in ('fingerprint', 'identity'))
    valid &= run['status'] in ('ok', 'diverged') and isinstance(
      run.get('curves', []), list
    )
    numbers = (run[name] for name in NUMBERS)
    valid &= all(type(x) in (int, float) for x in (*numbers, *run['values'].values()))
  if not valid:
    raise TypeError('a field of another type')


def read(workdir: pathlib.Path) -> Index:
  """Every finished run in a workdir; changes nothing there.

  A file that this process has read is read again only if it has changed.
  """
  records: dict[str, Record] = {}
  damaged: dict[pathlib.Path, str] = {}
  folder = workdir / FOLDER
  before, now = _CACHE.pop(folder, {}), {}
  shared: dict[Any, Any] = {}
  for path in sorted(folder.glob('*.npz')):
    try:
      stat = path.stat()
      state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
      old_state, batch = before.get(path, (None, []))
      if old_state != state:
        batch = _records(path, shared)
    except FileNotFoundError:  # set aside by another process
      continue
    except ValueError as error:
      damaged[path] = str(error)
      continue
    now[path] = (state, batch)
    for record in batch:
      records.setdefault(record.run['fingerprint'], record)
  _CACHE.clear()  # it holds the records of one folder only
  _CACHE[folder] = now
  return Index(records, damaged)


def _records(path: pathlib.Path, shared: dict[Any, Any]) -> list[Record]:
  """The records of a file; metadata that thousands of files share is kept once."""
  batch, runs = read_batch(path)
  for name in ('sources', 'provenance'):
    value = batch[name]
    batch = {**batch, name: shared.setdefault(tuple(value.items()), value)}
  return [Record(run, batch, path) for run in runs]


_CACHE: dict[pathlib.Path, dict[pathlib.Path, tuple[Any, list[Record]]]] = {}


def clean(workdir: pathlib.Path, index: Index, alone: bool = True) -> list[str]:
  """Sets damaged files aside as `*.damaged`, a line each; removes unfinished ones.

  Only the process that holds the workdir may call this.

  Args:
    workdir: of the study.
    index: what `read` found there.
    alone: whether no other process writes runs now; else an unfinished file may be
      in use.
  """
  lines = []
  for path, reason in index.damaged.items():
    os.replace(path, path.with_suffix('.damaged'))
    lines.append(f'{path.name}: {reason}; set aside, its runs are trained again')
  folders = (workdir, workdir / FOLDER, workdir / 'figures') if alone else ()
  for folder in folders:
    for part in folder.glob('.*.part'):
      part.unlink()
  return lines


def read_arrays(record: Record) -> Mapping[str, np.ndarray]:
  """The arrays of one run by name; they are read-only."""
  return _arrays(record.file).get(record.run['fingerprint'], {})


@functools.lru_cache(4)  # callers usually read neighbouring runs next
def _arrays(path: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
  by_run: dict[str, dict[str, np.ndarray]] = {}
  for name, value in npz.read(path, lambda name: '|' in name).items():
    fingerprint, _, array = name.partition('|')
    by_run.setdefault(fingerprint, {})[array] = value
  return by_run


def stale(
  index: Index, wanted: Mapping[str, str], code: Mapping[str, str]
) -> list[str]:
  """Lines naming the modules whose edit made stored runs stale.

  Args:
    index: the store.
    wanted: fingerprint by identity (config, seed, data; not code) of the planned runs.
    code: digest by module of the code as it is now.
  """
  counts: dict[str, int] = {}
  for record in index.records.values():
    now = wanted.get(record.run['identity'])
    if now is None or now in index.records:
      continue
    old = record.batch['sources']
    changed = [name for name in set(old) & set(code) if old[name] != code[name]]
    for name in sorted(changed or set(old) ^ set(code)):  # or imported instead
      counts[name] = counts.get(name, 0) + 1
  return [f'{name} changed: {count} runs are stale' for name, count in counts.items()]


def mixed(
  records: Iterable[Record], now: Mapping[str, Any], allowed: str
) -> dict[tuple[str, str], int]:
  """Number of runs by provenance field and value in which they differ from `now`.

  Args:
    records: of the runs.
    now: the provenance of this machine.
    allowed: comma-separated fields that may differ.
  """
  ignored = {name.strip() for name in allowed.split(',')}
  counts: dict[tuple[str, str], int] = {}
  for record in records:
    then = record.batch['provenance']
    for name in now:
      if name not in ignored and then.get(name) != now[name]:
        key = (name, str(then.get(name)))
        counts[key] = counts.get(key, 0) + 1
  return counts
