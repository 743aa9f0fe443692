"""Files written whole or not at all; the cache folder; the lock of a workdir."""

import ast
import hashlib
import os
import pathlib
import tempfile

import pytest

from dlsteroids.util import environment, errors, files, lock

PACKAGE = pathlib.Path(__file__).parents[2] / 'dlsteroids'


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'below' / 'file'
  files.write(path, ['Ünï', '\u202f\n'])
  assert path.read_bytes() == 'Ünï\u202f\n'.encode()

  def halves():
    yield 'half'
    raise KeyError

  with pytest.raises(KeyError):
    files.write(path, halves())
  assert path.read_bytes() == 'Ünï\u202f\n'.encode()
  assert os.listdir(path.parent) == ['file']


def test_checksums_are_hashlibs(tmp_path):
  path = tmp_path / 'file'
  path.write_bytes(b'abc')
  for algorithm in ('sha256', 'md5'):
    expected = hashlib.new(algorithm, b'abc').hexdigest()
    assert files.checksum(path, algorithm) == expected
    assert files.checksum(b'abc', algorithm) == expected


@pytest.mark.parametrize(
  ('variables', 'expected'),
  [
    ({'HOME': '/home/ada'}, '/home/ada/.cache/dlsteroids'),
    ({'HOME': '/home/ada', 'XDG_CACHE_HOME': '/scratch'}, '/scratch/dlsteroids'),
    ({'HOME': '/home/ada', 'XDG_CACHE_HOME': 'here'}, '/home/ada/.cache/dlsteroids'),
    ({'XDG_CACHE_HOME': '/x', 'DLSTEROIDS_CACHE': '/own'}, '/own'),
    ({'HOME': '/home/ada', 'DLSTEROIDS_CACHE': '~/own'}, '/home/ada/own'),
  ],
)
def test_the_cache_folder(monkeypatch, variables, expected):
  for name in ('HOME', 'XDG_CACHE_HOME', 'DLSTEROIDS_CACHE'):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert str(files.cache_folder()) == expected


def test_the_cache_folder_without_a_home(monkeypatch):
  def homeless(path):
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(pathlib.Path, 'expanduser', homeless)
  for name in ('XDG_CACHE_HOME', 'DLSTEROIDS_CACHE'):
    monkeypatch.delenv(name, raising=False)
  assert files.cache_folder().parent == pathlib.Path(tempfile.gettempdir())


def test_a_held_workdir_is_refused_until_it_is_released(tmp_path):
  def hold():
    with lock.hold(tmp_path / 'work', patience=0.1):
      pass

  held = f'held by process {os.getpid()} on '
  with lock.hold(tmp_path / 'work'), pytest.raises(errors.UserError, match=held):
    hold()
  hold()


def test_cores_without_affinity(monkeypatch):
  """As on macOS."""
  monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
  assert environment.cores() == os.cpu_count()


def unspecified(tree):
  """Lines of a syntax tree that read or write text in the locale's encoding."""
  for node in ast.walk(tree):
    if not isinstance(node, ast.Call):
      continue
    name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
    keywords = {keyword.arg for keyword in node.keywords}
    modes = [
      arg.value
      for arg in (part for top in node.args[:2] for part in ast.walk(top))
      if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
    ]
    if name in ('read_text', 'write_text'):
      at = 0 if name == 'read_text' else 1
      bad = 'encoding' not in keywords and len(node.args) <= at
    elif name in ('open', 'fdopen'):
      value = getattr(node.func, 'value', None)
      owner = getattr(value, 'id', getattr(value, 'attr', ''))
      binary = any('b' in mode for mode in modes)
      others = ('os', 'wave', 'zipfile', 'tarfile', 'gzip', 'Image', 'self', 'shift')
      bad = not binary and 'encoding' not in keywords and owner not in others
      bad |= name == 'fdopen' and not binary and 'encoding' not in keywords
    else:
      bad = False
    if bad:
      yield node.lineno


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=lambda p: p.stem)
def test_text_files_name_their_encoding(path):
  assert not list(unspecified(ast.parse(path.read_bytes())))
