"""Strangers' files and names run no code, fill no memory, reach no network."""

import ast
import io
import os
import pathlib
import socket
import struct
import subprocess
import sys
import wave
import zlib

import numpy as np
import pytest

from dlsteroids.cli import command
from dlsteroids.data.lib import decode, table, wav
from dlsteroids.store import tables
from dlsteroids.store.trackers import tracker
from dlsteroids.tasks.lib import classifier, features
from dlsteroids.util import errors, npz
from tests import test_fuzz
from tests.fixtures import fuzz_cases
from tests.fixtures import studies_on_disk as disk
from tests.test_imports import trees

RUNS_CODE = {'pickle', 'dill', 'cloudpickle', 'marshal', 'shelve', 'joblib'}


@pytest.mark.parametrize('name', trees())
def test_nothing_that_could_run_a_files_code_is_used(name):
  for node in ast.walk(trees()[name]):
    if isinstance(node, ast.Import | ast.ImportFrom):
      module = getattr(node, 'module', None)
      found = {(module or alias.name).partition('.')[0] for alias in node.names}
      assert not found & RUNS_CODE, name
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
      assert node.func.id not in ('eval', 'exec', '__import__', 'compile')
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      if ast.unparse(node.func) == 'np.load':
        (given,) = (k.value for k in node.keywords if k.arg == 'allow_pickle')
        assert ast.literal_eval(given) is False
      assert node.func.attr not in ('extract', 'extractall')  # nothing is unpacked
      if ast.unparse(node.func.value) == 'yaml':
        assert node.func.attr == 'safe_load'


@pytest.fixture
def no_network(monkeypatch):
  """Any use of a socket fails; returns what was tried."""
  tried = []

  def refuse(*args, **options):
    tried.append(args)
    raise AssertionError(f'network: {args[1:]}')

  for name in ('connect', 'connect_ex', 'sendto', 'bind'):
    monkeypatch.setattr(socket.socket, name, refuse)
  for name in ('create_connection', 'getaddrinfo', 'gethostbyname'):
    monkeypatch.setattr(socket, name, refuse)
  return tried


@pytest.mark.usefixtures('cheap_figures')
def test_a_study_reaches_no_network(tmp_path, no_network, capsys):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  assert command.main([*argv, '--action=plan']) == 0, capsys.readouterr()
  assert command.main(argv) == 0, capsys.readouterr()
  assert command.main([*argv, '--action=report', '--latex']) == 0
  assert no_network == []
  with pytest.raises(AssertionError, match='network'):
    socket.create_connection(('example.org', 80))


def png(width, height):
  """The beginning of a PNG file that announces so many pixels."""

  def chunk(kind, data):
    crc = struct.pack('>I', zlib.crc32(kind + data))
    return struct.pack('>I', len(data)) + kind + data + crc

  head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  body = zlib.compress(bytes(10**6), 9)
  return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', body)


def jpeg(width, height):
  """A small JPEG file whose header announces so many pixels."""
  data = bytearray(fuzz_cases.make_image('JPEG'))
  at = data.index(b'\xff\xc0') + 5
  data[at : at + 4] = struct.pack('>HH', height, width)
  return bytes(data)


@pytest.mark.parametrize(
  'data',
  [png(20_000, 20_000), png(10_000, 9_000), png(2**31 - 1, 2**31 - 1), png(0, 5),
   jpeg(65_535, 65_535), jpeg(9_000, 9_999)],
)  # fmt: skip
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_absurd_images_are_refused_before_they_are_decoded(data):
  with test_fuzz.bounded(), pytest.raises(errors.UserError) as error:
    decode.one(data, 'it', decode.Form(8, 3))
  assert len(str(error.value).splitlines()) == 1


def test_an_absurd_image_is_one_line_and_no_warning_beside_it(tmp_path):
  (tmp_path / 'it.png').write_bytes(png(10_000, 9_000))  # between Pillow's two limits
  code = """if True:
    import pathlib
    from dlsteroids.data.lib import decode
    try:
      decode.one(pathlib.Path('it.png').read_bytes(), 'it', decode.Form(8, 3))
    except ValueError as error:
      print(error)
  """
  environment = {**os.environ, 'PYTHONPATH': str(disk.ROOT)}
  command = [sys.executable, '-c', code]
  done = subprocess.run(
    command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
  )
  assert len(done.stdout.splitlines()) == 1
  assert not done.stderr


def test_a_huge_file_called_an_image_is_not_read(tmp_path):
  path = tmp_path / 'it.png'
  with path.open('wb') as file:
    file.truncate(decode.FILE + 1)  # sparse
  with test_fuzz.bounded(), pytest.raises(errors.UserError, match='more than 268'):
    decode.every([('it', path)], {'it': 0}, decode.Form(8, 3))
  with path.open('wb') as file:
    file.truncate(table.LIMIT + 1)
  with test_fuzz.bounded(), pytest.raises(errors.UserError, match='more than 134'):
    table.read(path)


@pytest.mark.parametrize('rate', [1, 999, 768_001, 2**31 - 1])
def test_sounds_of_absurd_rates_are_refused(rate):
  """A rate of 1 Hz would be resampled to 8,000 times as much."""
  with pytest.raises(errors.UserError, match='expected 1,000 to 768,000 Hz'):
    wav.read(fuzz_cases.make_wav(rate=rate), 'it')


def test_sounds_that_last_for_ever_are_refused():
  buffer = io.BytesIO()
  with wave.open(buffer, 'wb') as file:
    file.setparams((1, 1, 1000, 0, 'NONE', ''))
    file.writeframes(bytes(1000 * wav.LONGEST + 1))
  with pytest.raises(errors.UserError, match='lasts 600 s, more than 600'):
    wav.read(buffer.getvalue(), 'it')


@pytest.mark.parametrize('data', fuzz_cases.LIES)
def test_npz_headers_that_lie_cost_nothing(data):
  with test_fuzz.bounded(), pytest.raises(ValueError):  # noqa: PT011 - of any text
    npz.read(data, limit=1 << 20)


def test_npz_files_are_read_as_numpy_writes_them():
  arrays = {
    'a': np.arange(6.0).reshape(2, 3), 'f': np.asfortranarray(np.eye(3)[:2]),
    'none': np.zeros((0, 4)), 'one': np.float32(3), 'text': np.array(['ab', 'c']),
  }  # fmt: skip
  for save in (np.savez, np.savez_compressed):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    found = npz.read(buffer.getvalue(), limit=1 << 20)
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
      np.testing.assert_array_equal(found[name], value)
      assert found[name].dtype == value.dtype
    assert list(npz.read(buffer.getvalue(), 'one'.__eq__, 1 << 20)) == ['one']
  with pytest.raises(ValueError, match='its arrays claim'):
    npz.read(fuzz_cases.pack('zip', {'a.npy': bytes(10**6)}))  # packed, unasked


@pytest.mark.parametrize('place', ['name', 'activation', 'init'])
def test_a_classifiers_file_imports_nothing(tmp_path, monkeypatch, place):
  code = tmp_path / 'strange_nets.py'
  code.write_text("import pathlib\npathlib.Path('RAN').touch()\nDEFAULTS = {}\n")
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.chdir(tmp_path)
  model = {**fuzz_cases.META['model'], place: 'strange_nets.thing'}
  path = tmp_path / 'it.npz'
  path.write_bytes(fuzz_cases.repack({**fuzz_cases.META, 'model': model}))
  with pytest.raises(errors.UserError, match='import it in your config file'):
    features.of_file(path)
  assert not pathlib.Path('RAN').exists()
  assert 'strange_nets' not in sys.modules


def test_a_classifier_deeper_than_its_arrays_ends_soon():
  model = {**fuzz_cases.META['model'], 'depth': 10**9}
  data = fuzz_cases.repack({**fuzz_cases.META, 'model': model})
  with test_fuzz.bounded(), pytest.raises(ValueError, match='do not fit'):
    classifier.make(data)


@pytest.mark.parametrize('arm', ['..', '../../x', '/x', 'a/b', '.', 'a\0b', ''])
def test_arms_with_the_names_of_paths_stay_in_their_folder(tmp_path, arm):
  pytest.importorskip('tensorboardX', reason='tensorboardX is not installed')
  folder = tmp_path / 'a' / 'tensorboard'
  run = tracker.Run('f' * 32, f'{arm}-seed0', 'study', {'arm': arm}, folder.parent)
  with tracker.Tracking('tensorboard', [run], print) as tracking:
    tracking.push([1], {'test/x': [[0.5]]})
  files = [path for path in tmp_path.rglob('events*') if path.is_file()]
  assert files
  assert all(path.is_relative_to(folder) for path in files)
  assert all(len(path.relative_to(folder).parts) == 2 for path in files)


def test_a_report_keeps_so_many_arrays_and_no_more():
  asked = []

  def arrays(arm, seed, tuned=0):
    asked.append(seed)
    return {'x': np.zeros(10, np.uint8)} if seed else None

  read = tables.cached(arrays, 35)
  for seed in (0, 1, 2, 3, 1, 4, 1, 2):
    found = read('a', seed)
    assert (found is None) == (seed == 0)
  assert asked == [0, 1, 2, 3, 4, 2]  # 2 had to make room for 4
