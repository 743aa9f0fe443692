"""Digests of shipped code, kept on this machine: parsing it takes a second.

An entry holds for the same files of this package, byte for byte, that import no other
first-party package. Plug-ins of the user are read anew.
"""

import contextlib
import hashlib
import pathlib
import platform
import re
from collections.abc import Iterable, Sequence

from dlsteroids import config as config_lib
from dlsteroids.config import code as code_lib
from dlsteroids.store import results
from dlsteroids.util import files

FOLDER = 'code'  # in the cache folder
PACKAGE = pathlib.Path(code_lib.__file__).parents[1]
# The module in `import a.b as c`, `from a import b` and `import_module('a')`.
IMPORT = re.compile(
  r"""(?:^[ \t]*(?:from|import)\s+|import_module\(['"])([\w.]+)""", re.M
)
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def read(names: Sequence[str]) -> code_lib.Code:
  """What `config.code.read` returns, from the cache if it is there.

  Args:
    names: of modules, or of functions in them.
  """
  if any(name.partition('.')[0] != PACKAGE.name for name in names):
    return code_lib.read(names)
  package = digest_package(PACKAGE)
  key = config_lib.digest([list(names), package, platform.python_version()])
  path = files.cache_folder() / FOLDER / f'{key}.json'
  with contextlib.suppress(OSError, *_MALFORMED):
    tree = results.read_json(path)
    if not any(map(code_lib.is_first_party, tree['imported'])):
      return code_lib.Code(tree['digest'], dict(tree['modules']))
  code = code_lib.read(names)
  imported = imports_of(code.modules)
  # A file that was edited meanwhile may have been read before or after.
  unchanged = digest_package(PACKAGE) == package
  if unchanged and not any(map(code_lib.is_first_party, imported)):
    with contextlib.suppress(OSError):  # such as a home that is read-only
      results.write_json(path, code._asdict() | {'imported': imported})
  return code


def digest_package(folder: pathlib.Path) -> str:
  """The digest of every Python file under a folder and of its place there."""
  digest = hashlib.sha256()
  for path in sorted(folder.rglob('*.py')):
    content = path.read_bytes()
    place = path.relative_to(folder).as_posix()
    digest.update(f'{place}\0{len(content)}\0'.encode() + content)
  return digest.hexdigest()[:32]


def imports_of(modules: Iterable[str]) -> list[str]:
  """Top-level names of what modules of this package may import from outside it, sorted.

  By their text, which takes a hundredth of parsing it: also words of docstrings.
  """
  names = set()
  for module in modules:
    path = PACKAGE.parent.joinpath(*module.split('.'))
    path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
    text = path.read_text(encoding='utf-8')
    names |= {name.partition('.')[0] for name in IMPORT.findall(text)}
  return sorted(names - {PACKAGE.name, ''})
