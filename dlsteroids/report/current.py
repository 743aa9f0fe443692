"""Whether a study's report is current: this code made it from the same inputs."""

import functools
import importlib.metadata
import json
import pathlib

from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import files

FILE = 'report.json'  # in a workdir: what its report was made from, and checksums
PAGES = ('report.html', 'report.md')
TABLES = ('runs.csv', 'curves.csv')  # all others follow from them
# Whose code makes a report.
ROOMS = ('report', 'analysis', 'study', 'store', 'config', 'util')
LIBRARIES = ('jinja2', 'matplotlib', 'numpy', 'pandas', 'pillow', 'scipy')


def digest(workdir: pathlib.Path, study: study_lib.Study) -> str:
  """The digest of what a report depends on: study, results, code and libraries.

  Args:
    workdir: of the study, with its tables written.
    study: the study.
  """
  tables = [files.checksum(workdir / name) for name in TABLES]
  batches = sorted(path.name for path in (workdir / results.FOLDER).glob('*.npz'))
  parts = [study_lib.to_json(study), tables, batches, _code()]
  text = json.dumps(parts, sort_keys=True, default=list)
  return files.checksum(text.encode())


def is_current(workdir: pathlib.Path, inputs: str) -> bool:
  """Whether the report was made from these inputs, and all its files are unchanged."""
  try:
    tree = json.loads((workdir / FILE).read_bytes())
    same = tree['inputs'] == inputs and tree['files'] == _files(workdir)
    return same and {*PAGES} <= tree['files'].keys()
  except (OSError, ValueError, KeyError, TypeError):
    return False


def sign(workdir: pathlib.Path, inputs: str) -> None:
  """Records that the report in a workdir is made from these inputs."""
  tree = {'inputs': inputs, 'files': _files(workdir)}
  files.write(workdir / FILE, json.dumps(tree, indent=1) + '\n')


def _files(workdir: pathlib.Path) -> dict[str, str]:
  """The checksum of each file of a report."""
  paths = [path for name in PAGES if (path := workdir / name).is_file()]
  paths += sorted((workdir / 'figures').glob('*.*'))
  return {path.name: files.checksum(path) for path in paths}


@functools.cache
def _code() -> list[str]:
  """Versions of the libraries, and checksums of the code of the rooms."""
  versions = [importlib.metadata.version(name) for name in LIBRARIES]
  package = pathlib.Path(__file__).parents[1]
  paths = (p for room in ROOMS for p in (package / room).rglob('*') if p.is_file())
  sources = sorted(p for p in paths if p.suffix != '.pyc')
  return [*versions, *map(files.checksum, sources)]
