"""The cache of code digests against reading the code, and what it does not hold for."""

import pytest

from dlsteroids.config import code as code_lib
from dlsteroids.plan import code_cache

NAMES = ('dlsteroids.data.digits', 'dlsteroids.rng')


@pytest.fixture
def reads(monkeypatch, tmp_path):
  """The names that were read anew; the cache is empty at first."""
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path))
  calls = []

  def read(names, plain=code_lib.read):
    calls.append(tuple(names))
    return plain(names)

  monkeypatch.setattr(code_lib, 'read', read)
  return calls


def test_what_is_cached_is_what_is_read(reads, tmp_path):
  code = code_lib.read(NAMES)
  reads.clear()
  assert code_cache.read(NAMES) == code == code_cache.read(NAMES)
  assert reads == [NAMES]
  assert code_cache.read(NAMES[:1]) == code_lib.read(NAMES[:1])

  for entry in (tmp_path / code_cache.FOLDER).iterdir():
    entry.write_text(entry.read_text().replace(code.digest, code.digest[::-1]))
  reads.clear()
  assert code_cache.read(NAMES) == code
  assert reads == [NAMES]


def test_another_file_anywhere_in_the_package_is_read_anew(reads, monkeypatch):
  code_cache.read(NAMES)
  monkeypatch.setattr(code_cache, 'digest_package', lambda folder: 'another')
  code_cache.read(NAMES)
  code_cache.read(NAMES)
  assert reads == [NAMES] * 2


def test_files_that_change_while_they_are_read_leave_no_entry(reads, monkeypatch):
  digests = iter('abab')
  monkeypatch.setattr(code_cache, 'digest_package', lambda folder: next(digests))
  code_cache.read(NAMES)
  code_cache.read(NAMES)
  assert reads == [NAMES] * 2


def test_a_package_that_is_first_party_from_now_on_is_read_anew(reads, monkeypatch):
  code_cache.read(NAMES)
  plain = code_lib.is_first_party
  is_first_party = lambda name, *roots: name == 'numpy' or plain(name, *roots)
  monkeypatch.setattr(code_lib, 'is_first_party', is_first_party)
  code_cache.read(NAMES)
  code_cache.read(NAMES)
  assert reads == [NAMES] * 3


def test_plug_ins_of_the_user_are_read_anew(reads, monkeypatch, tmp_path):
  (tmp_path / 'cached_lab.py').write_text('RATE = 1\n')
  monkeypatch.syspath_prepend(tmp_path)
  names = (*NAMES, 'cached_lab')
  before = code_cache.read(names)
  (tmp_path / 'cached_lab.py').write_text('RATE = 2\n')
  assert code_cache.read(names).digest != before.digest
  assert reads == [names] * 2


def test_digest_of_a_package_is_of_its_files_and_places(tmp_path):
  def digest(**files):
    for path in tmp_path.rglob('*.py'):
      path.unlink()
    for name, text in files.items():
      path = tmp_path.joinpath(*name.split('_')).with_suffix('.py')
      path.parent.mkdir(exist_ok=True)
      path.write_text(text)
    return code_cache.digest_package(tmp_path)

  digests = [
    digest(a='x = 1'),
    digest(a='x = 2'),
    digest(b='x = 1'),
    digest(lib_a='x = 1'),
    digest(a='x = 1', b=''),
    digest(a='x = 1', b='y', c='z'),
    digest(a='x = 1', b='yz', c=''),
  ]
  assert len(set(digests)) == len(digests)
  assert digest(b='', a='x = 1') == digests[4]


def test_every_way_to_import_is_seen():
  text = 'import one\nfrom two.parts import x\n  import three.parts as p\n'
  text += "load = importlib.import_module('four.parts')\nfrom . import five\n"
  names = [name.partition('.')[0] for name in code_cache.IMPORT.findall(text)]
  assert names == ['one', 'two', 'three', 'four', '']
