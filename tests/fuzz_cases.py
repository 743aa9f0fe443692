"""What is thrown at every reader: whole files, spoiled, and headers that lie."""

import gzip
import io
import json
import pathlib
import pickle
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from hypothesis import strategies as st

from dlsteroids.data import archive, audio, cifar10, decode, idx, image_folder, table
from dlsteroids.launch import manifest
from dlsteroids.results import store
from dlsteroids.tasks import classifier, features

GENERATOR = np.random.default_rng(0)
SIZES = st.sampled_from([0, 1, 2, 7, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1])


class Target(NamedTuple):
  """A reader under attack.

  Attributes:
    data: strategy of inputs.
    read: `(input, empty folder) -> None`; raises UserError for what it refuses,
      AssertionError for a wrong result.
    share: of the inputs that others get, where each takes long.
  """

  data: st.SearchStrategy
  read: Callable[[Any, pathlib.Path], None]
  share: float = 1.0


@st.composite
def spoiled(draw: Any, *wholes: bytes) -> bytes:
  """One of some whole files, with cuts, flips, copies and large numbers put in."""
  data = bytearray(draw(st.sampled_from(wholes)))
  for _ in range(draw(st.integers(0, 4))):
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    kind = draw(st.sampled_from(['flip', 'cut', 'insert', 'copy', 'number', 'remove']))
    if kind == 'flip' and data:
      data[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == 'cut':
      del data[at:]
    elif kind == 'insert':
      data[at:at] = draw(st.binary(max_size=12))
    elif kind == 'copy':
      data[at:at] = data[: draw(st.integers(0, 600))]
    elif kind == 'number':
      order = draw(st.sampled_from('<>'))
      data[at : at + 4] = struct.pack(f'{order}I', draw(SIZES))
    else:
      del data[at : at + draw(st.integers(1, 40))]
  return bytes(data)


JSON: st.SearchStrategy = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=8)
  | st.sampled_from(
    [10**9, 10**30, -1, 'os.path', 'antigravity', 'a.b', '../x', '<b>']
  ),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=4), inner, max_size=3)
  ),
  max_leaves=5,
)


@st.composite
def changed(draw: Any, tree: Any, depth: int = 4) -> Any:
  """A JSON value with one place in it lost or replaced by anything."""
  if isinstance(tree, dict | list) and tree and depth and draw(st.integers(0, 4)):
    found = dict(tree) if isinstance(tree, dict) else list(tree)
    keys = list(found) if isinstance(found, dict) else range(len(found))
    key = draw(st.sampled_from(list(keys)))
    if draw(st.booleans()) or not isinstance(found[key], dict | list):
      if draw(st.booleans()):
        del found[key]
      else:
        found[key] = draw(JSON)
    else:
      found[key] = draw(changed(found[key], depth - 1))
    return found
  return draw(JSON)


# Readers of data


def make_idx(shape: tuple[int, ...]) -> bytes:
  head = bytes([0, 0, 8, len(shape)]) + struct.pack(f'>{len(shape)}I', *shape)
  return head + GENERATOR.bytes(int(np.prod(shape)))


@st.composite
def idx_files(draw: Any) -> bytes:
  """idx files whose header may announce anything, packed or not."""
  dims = draw(st.integers(0, 4))
  shape = draw(st.lists(SIZES, min_size=dims, max_size=dims))
  head = bytes([0, 0, draw(st.sampled_from([8, 9, 13])), dims])
  data = head + struct.pack(f'>{dims}I', *shape) + draw(st.binary(max_size=300))
  data = draw(st.just(data) | spoiled(make_idx((3, 4, 5)), make_idx((7,))))
  return gzip.compress(data) if draw(st.booleans()) else data


def read_idx(data: bytes, folder: pathlib.Path) -> None:
  for dims in (1, 3):
    path = folder / f'{dims}.gz'
    path.write_bytes(data)
    content = idx.unpack(path, dims)
    found = idx.read(content, 'it', dims)
    assert found.ndim == dims
    assert content.endswith(found.tobytes())


def make_batch(count: int = 3, **changes: Any) -> bytes:
  pixels = GENERATOR.integers(0, 256, (count, cifar10.PIXELS), np.uint8)
  batch = {b'data': pixels, b'labels': list(range(count)), **changes}
  return pickle.dumps(batch, protocol=2)


BINARY = GENERATOR.integers(0, 10, (2, cifar10.PIXELS + 1), np.uint8).tobytes()
PICKLES = (
  make_batch(),
  pickle.dumps({b'data': bytearray(9), b'labels': [1]}, protocol=5),
  b'\x80\x02]r' + struct.pack('<I', 2**31) + b'.',  # a memo of 2^31 places
  b'\x80\x05\x96' + struct.pack('<Q', 2**33) + b'.',  # a bytearray of 8 GB
  b'\x80\x04\x8e' + struct.pack('<Q', 2**33) + b'.',  # bytes of 8 GB
  b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'.',  # an integer of 2 GB
  b'p999999999999\n.',
  b'(' * 3000 + b't.' * 3000,
)


def read_batch(data: bytes, folder: pathlib.Path) -> None:
  del folder
  for name in ('test_batch', 'test_batch.bin'):
    pixels, labels = cifar10.parse(data, name)
    assert pixels.shape == (len(labels), cifar10.PIXELS)
    assert pixels.dtype == np.uint8
    assert set(labels.tolist()) <= set(range(10))


def make_wav(width: int = 2, rate: int = 8000, channels: int = 1) -> bytes:
  buffer = io.BytesIO()
  with wave.open(buffer, 'wb') as file:
    file.setparams((channels, width, rate, 0, 'NONE', ''))
    file.writeframes(GENERATOR.bytes(600 * width * channels))
  return buffer.getvalue()


@st.composite
def wav_files(draw: Any) -> bytes:
  """WAV files whose header may say anything."""
  body = draw(st.binary(max_size=400))
  small = st.sampled_from([0, 1, 2, 3, 4, 8, 9, 65535])
  bits = draw(st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64, 65535]))
  numbers = (
    draw(st.sampled_from([1, 3, 65534])),
    draw(small),
    draw(SIZES),
    draw(SIZES),
  )
  head = struct.pack('<4sIHHIIHH', b'fmt ', 16, *numbers, draw(small), bits)
  size = draw(SIZES | st.just(len(body)))
  whole = head + struct.pack('<4sI', b'data', size) + body
  riff = struct.pack('<4sI4s', b'RIFF', draw(SIZES | st.just(len(whole) + 4)), b'WAVE')
  return draw(st.just(riff + whole) | spoiled(make_wav(), make_wav(3, 11_025, 2)))


FORM = audio.Form(8000, 4, 0.032, 0.016)


def read_wav(data: bytes, folder: pathlib.Path) -> None:
  del folder
  sound = audio.read(data, 'it')
  assert 0 < sound.samples.size <= len(data)
  assert np.abs(sound.samples).max() <= 1
  mel = audio.log_mel(audio.bring(sound, FORM.rate), FORM)
  assert np.isfinite(mel).all()


CELLS = st.sampled_from(
  ['1', '2.5', '-3e4', 'nan', 'inf', '', ' ', '"', '"a,b"', '2020-01-01', '2020-02-30',
   '2020-01-02T00:00', '20200101', 'x', '=1+1', '1e999', '１', '\x00', '9' * 30]
)  # fmt: skip


@st.composite
def csv_files(draw: Any) -> bytes:
  """Tables of odd cells, or a good one spoiled."""
  good = 'time,a,b\n' + ''.join(f'{i},{i / 7},{-i}\n' for i in range(12))
  dated = 'time,a\n' + ''.join(f'2020-01-{i:02},{i}\n' for i in range(1, 12))
  rows = draw(st.lists(st.lists(CELLS, max_size=4), max_size=6))
  mark = draw(st.sampled_from([',', ';', '\t']))
  end = draw(st.sampled_from(['\n', '\r\n', '\r']))
  odd = end.join([mark.join(['t', 'a', 'b'][:3]), *(mark.join(row) for row in rows)])
  whole = draw(st.just(odd.encode()) | spoiled(good.encode(), dated.encode()))
  return draw(st.sampled_from([b'', b'\xef\xbb\xbf', b'\xff\xfe'])) + whole


def read_csv(data: bytes, folder: pathlib.Path) -> None:
  path = folder / 'it.csv'
  path.write_bytes(data)
  found = table.read(path)
  assert found.values.shape == (len(found.times), len(found.names))
  assert np.isfinite(found.values).all()
  text = data.decode('utf-8-sig')
  assert all(name in text for name in found.names)


# Archives and images


MEMBERS = {
  'train/a/1.png': GENERATOR.bytes(700),
  'train/b/2.png': GENERATOR.bytes(9),
}


def pack(kind: str, members: dict[str, bytes]) -> bytes:
  buffer = io.BytesIO()
  if kind == 'zip':
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as file:
      for name, data in members.items():
        file.writestr(name, data)
    return buffer.getvalue()
  mode: Any = {'tar': 'w', 'tgz': 'w:gz', 'tar.xz': 'w:xz'}[kind]
  with tarfile.open(fileobj=buffer, mode=mode) as packed:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      packed.addfile(info, io.BytesIO(data))
  return buffer.getvalue()


KINDS = ('zip', 'tar', 'tgz', 'tar.xz')
WHOLES = {kind: pack(kind, MEMBERS) for kind in KINDS}
ARCHIVES = st.sampled_from(KINDS).flatmap(
  lambda kind: st.tuples(st.just(kind), spoiled(WHOLES[kind]))
)


def read_archive(packed: tuple[str, bytes], folder: pathlib.Path) -> None:
  kind, data = packed
  path = folder / f'it.{kind}'
  path.write_bytes(data)
  names = archive.names(path)
  found = dict(archive.read(path, lambda name: True))
  assert set(found) <= set(names)
  if kind != 'tar':  # tar has no checksum of contents
    wanted = set(MEMBERS.values())
    assert all(value in wanted or not value for value in found.values())
  assert list(folder.iterdir()) == [path]  # nothing is unpacked


def make_image(form: str, size: tuple[int, int] = (6, 5), mode: str = 'RGB') -> bytes:
  buffer = io.BytesIO()
  pixels = GENERATOR.integers(0, 256, (size[1], size[0], 3), np.uint8)
  PIL.Image.fromarray(pixels).convert(mode).save(buffer, form)
  return buffer.getvalue()


IMAGES = (
  make_image('PNG'),
  make_image('PNG', mode='P'),
  make_image('PNG', mode='1'),
  make_image('JPEG'),
  make_image('JPEG', mode='CMYK'),
)


def read_image(data: bytes, folder: pathlib.Path) -> None:
  del folder
  for form in (decode.Form(0, 3), decode.Form(4, 1)):
    found = decode.one(data, 'it', form)
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[-1] == form.channels


NAMES = st.text('ab/.\\:é\n<', max_size=12) | st.sampled_from(
  ['train/a/1.png', 'train/b/1.png', 'test/a/9.png', 'train', 'x/train/a/1.png', '..']
)
FOLDERS = st.dictionaries(NAMES, st.sampled_from([*IMAGES, b'', b'x']), max_size=8)


def read_folder(members: dict[str, bytes], folder: pathlib.Path) -> None:
  path = folder / 'it.tar'
  path.write_bytes(pack('tar', members))
  config = {**image_folder.DEFAULTS, 'path': str(path), 'size': 4}
  found = image_folder.load(config)
  assert found.arrays['image'].shape[1:] == (4, 4, 3)
  assert len(found.arrays['image']) <= len(members)


# Files of this project


SHIPPED = features.SHIPPED / 'digits.npz'
META, VARIABLES = classifier.unpack(SHIPPED.read_bytes())


def repack(meta: Any) -> bytes:
  with zipfile.ZipFile(SHIPPED) as file:
    others = {name: file.read(name) for name in file.namelist() if name != 'meta.npy'}
  text = io.BytesIO()
  np.save(text, np.frombuffer(json.dumps(meta).encode(), np.uint8))
  return pack('zip', {'meta.npy': text.getvalue(), **others})


def lying(shape: str, dtype: str = '<f4', **others: bytes) -> bytes:
  """An npz file with an array whose header is as given and whose body is empty."""
  head = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
  array = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head
  return pack('zip', {'meta.npy': array, **others})


LIES = tuple(
  lying(shape, dtype)
  for shape in (
    '(10000000000,)',
    '(-1,)',
    '(2, 99999999999)',
    '()',
    '3',
    "('a',)",
  )
  for dtype in ('<f4', '|O', '|V0', '<U99999999', 'nonsense')
)
CLASSIFIERS = (
  spoiled(SHIPPED.read_bytes(), *LIES, pack('zip', {'meta.npy': bytes(10**6)}))
  | changed(META).map(repack)
)  # fmt: skip


def read_classifier(data: bytes, folder: pathlib.Path) -> None:
  path = folder / 'it.npz'
  path.write_bytes(data)
  found = features.of_file(path)
  assert found.dims > 0


RUN = {
  'fingerprint': 'f', 'identity': 'i', 'seed': 0, 'status': 'ok', 'steps': 4,
  'params': 9, 'flops': 8.0, 'wall_s': 0.5, 'best_step': 2, 'diverged_step': -1,
  'values': {'test/x': 0.5}, 'curves': [[2, 'test', 'x', 0.5]],
}  # fmt: skip
BATCH = {
  'program': 'p', 'members': ['f'], 'positions': [0], 'layout': {'strategy': 'map'},
  'provenance': {'jax': '1'}, 'sources': {'m': 'd'}, 'time': '', 'checkpoint': '',
}  # fmt: skip
STORED = {'format': 1, 'batch': BATCH, 'runs': [RUN]}


def repack_store(meta: Any) -> bytes:
  text, label = io.BytesIO(), io.BytesIO()
  np.save(text, np.frombuffer(json.dumps(meta).encode(), np.uint8))
  np.save(label, np.arange(5))
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as file:
    file.writestr('meta.npy', text.getvalue())
    file.writestr('f|test/label.npy', label.getvalue())
  return buffer.getvalue()


BATCHES = changed(STORED).map(repack_store) | spoiled(repack_store(STORED), *LIES)


def read_store(data: bytes, folder: pathlib.Path) -> None:
  """As a stranger would forge it: its name has the checksum of its bytes."""
  from dlsteroids.results import tables

  digest = store.hashlib.sha256(data).hexdigest()[:16]
  path = folder / store.FOLDER / f'p-{digest}.npz'
  path.parent.mkdir()
  path.write_bytes(data)
  index = store.read(folder)
  assert bool(index.damaged) or set(index.records) <= {'f'} or index.records
  planned = [tables.Planned('a', 0, 0, name) for name in index.records]
  study = {'arms': [{'name': 'a', 'assignment': {}}], 'factors': []}
  tables.runs(study, planned, index, {})
  tables.curves(planned, index)
  for record in index.records.values():
    store.read_arrays(record)


STUDY = {
  'format': 2, 'name': 'it', 'runs': [['a', 0, 0, 'f', 'steps', 1.0, 1.0]],
  'looks': [], 'failures': {}, 'regime': 'steps', 'config': {'study': {}},
}  # fmt: skip
PLAN = {'format': 2, 'programs': {'p': {'strategy': 'map', 'width': 8}}, 'looks': []}
MANIFESTS = st.tuples(
  st.sampled_from(['study.json', 'plan.json']),
  (changed(STUDY) | changed(PLAN)).map(lambda tree: ('sealed', tree))
  | spoiled(json.dumps(STUDY).encode(), b'[' * 9999).map(lambda data: ('raw', data)),
)


def read_manifest(given: Any, folder: pathlib.Path) -> None:
  name, (kind, value) = given
  path = folder / name
  if kind == 'raw':
    path.write_bytes(value)
  elif isinstance(value, dict):
    store.write_json(path, value)
  else:
    path.write_text(json.dumps(value))
  told = manifest.read_study(folder)
  assert not told or isinstance(told['runs'], list)
  for layout in manifest.read_plan(folder)['programs'].values():
    assert layout.get('width', 1) >= 1  # none before someone trains it


TARGETS = {
  'idx': Target(idx_files(), read_idx),
  'cifar': Target(spoiled(BINARY, *PICKLES), read_batch),
  'wav': Target(wav_files(), read_wav),
  'csv': Target(csv_files(), read_csv),
  'archive': Target(ARCHIVES, read_archive),
  'image': Target(spoiled(*IMAGES), read_image),
  'folder': Target(FOLDERS, read_folder),
  'classifier': Target(CLASSIFIERS, read_classifier, 0.1),
  'store': Target(BATCHES, read_store),
  'manifest': Target(MANIFESTS, read_manifest),
}
