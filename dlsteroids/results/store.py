"""The truth: one checksummed file per program batch, named by its own digest.

A file `runs/<program>-<sha256[:16]>.npz` holds the records of the batch's runs as JSON
and their per-example arrays. It appears whole or not at all; a file whose bytes do not
match its name is said, its runs count as missing, and `clean` sets it aside.
"""

import hashlib
import io
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

FOLDER = 'runs'
FORMAT = 1


class Record(NamedTuple):
  """One finished run: what was measured, and where its arrays lie."""

  run: Mapping[str, Any]  # fingerprint, identity, seed, status, steps, values, curves …
  batch: Mapping[str, Any]  # program, layout, provenance, sources of the whole batch
  file: pathlib.Path


class Index(NamedTuple):
  records: Mapping[str, Record]  # by fingerprint
  damaged: Mapping[pathlib.Path, str]  # what is wrong with a file that can't be used


def write_atomically(path: pathlib.Path, content: bytes | str) -> None:
  """Writes a whole file or, on any failure, leaves what was there untouched."""
  data = content.encode() if isinstance(content, str) else content
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(dir=path.parent, prefix='.', suffix='.part')
  try:
    with os.fdopen(handle, 'wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)
  except BaseException:
    pathlib.Path(name).unlink(missing_ok=True)
    raise


def write_json(path: pathlib.Path, value: Any) -> None:
  write_atomically(path, json.dumps(value, indent=1, default=list) + '\n')


def read_json(path: pathlib.Path) -> Any:
  return json.loads(path.read_text())


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
  name = f'{batch["program"]}-{hashlib.sha256(data).hexdigest()[:16]}.npz'
  path = workdir / FOLDER / name
  write_atomically(path, data)
  return path


def read_batch(path: pathlib.Path) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
  """The batch's facts and its runs.

  Raises:
    ValueError: if the bytes are not those that were written.
  """
  data = path.read_bytes()
  if hashlib.sha256(data).hexdigest()[:16] != path.stem.rpartition('-')[2]:
    raise ValueError('its checksum does not match')
  with np.load(io.BytesIO(data), allow_pickle=False) as file:
    meta = json.loads(file['meta'].tobytes())
  if meta['format'] != FORMAT:
    raise ValueError(f'format {meta["format"]}, this version reads {FORMAT}')
  return meta['batch'], meta['runs']


def read(workdir: pathlib.Path) -> Index:
  """Every finished run in a workdir; changes nothing there."""
  records: dict[str, Record] = {}
  damaged: dict[pathlib.Path, str] = {}
  for path in sorted((workdir / FOLDER).glob('*.npz')):
    try:
      batch, runs = read_batch(path)
    except ValueError as error:
      damaged[path] = str(error)
      continue
    for run in runs:
      records.setdefault(run['fingerprint'], Record(run, batch, path))
  return Index(records, damaged)


def clean(workdir: pathlib.Path, index: Index) -> list[str]:
  """Sets damaged files aside as `*.damaged`, a line each; drops what a kill left half.

  Only for who holds the workdir.
  """
  lines = []
  for path, reason in index.damaged.items():
    os.replace(path, path.with_suffix('.damaged'))
    lines.append(f'{path.name}: {reason}; set aside, its runs are trained again')
  for folder in (workdir, workdir / FOLDER, workdir / 'figures'):
    for part in folder.glob('.*.part'):
      part.unlink()
  return lines


def read_arrays(record: Record) -> dict[str, np.ndarray]:
  """The arrays of one run by name."""
  prefix = f'{record.run["fingerprint"]}|'
  with np.load(record.file, allow_pickle=False) as file:
    names = [name for name in file.files if name.startswith(prefix)]
    return {name[len(prefix) :]: file[name] for name in names}


def stale(
  index: Index, wanted: Mapping[str, str], code: Mapping[str, str]
) -> list[str]:
  """Lines naming the modules whose edit left stored runs behind.

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
    for name in sorted(set(old) & set(code)):
      if old[name] != code[name]:
        counts[name] = counts.get(name, 0) + 1
  return [f'{name} changed: {count} runs are stale' for name, count in counts.items()]


def mixed(records: Iterable[Record], now: Mapping[str, Any], allowed: str) -> list[str]:
  """Lines naming provenance fields in which stored runs differ from the present."""
  free = {name.strip() for name in allowed.split(',')}
  found: dict[tuple[str, Any], int] = {}
  for record in records:
    then = record.batch['provenance']
    for name in now:
      if name not in free and then.get(name) != now[name]:
        key = (name, str(then.get(name)))
        found[key] = found.get(key, 0) + 1
  return [
    f'{count} stored runs have {name}={old}, here it is {now[name]}'
    for (name, old), count in found.items()
  ]
