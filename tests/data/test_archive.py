"""Hostile and damaged archives: every one is refused with one line."""

import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from dlsteroids.data.lib import archive
from dlsteroids.util import errors

GENERATOR = np.random.default_rng(0)
FILES = {f'top/{i}.bin': GENERATOR.bytes(3000) for i in range(9)}
KINDS = ('zip', 'tar', 'tar.gz', 'tgz', 'tar.xz')


def pack(path, files, *, change=None):
  """Writes the kind of archive `path` is named for; `change(info)` spoils members."""
  if path.suffix == '.zip':
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
      for name, data in files.items():
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        if change:
          change(info)
        file.writestr(info, data)
    return path
  mode = {'.gz': 'w:gz', '.tgz': 'w:gz', '.xz': 'w:xz', '.tar': 'w'}[path.suffix]
  with tarfile.open(path, mode) as file:
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      if change:
        change(info)
      file.addfile(info, io.BytesIO(data))
  return path


def everything(path, limits=archive.LIMITS):
  return dict(archive.read(path, lambda name: True, limits))


def refused(path, message, limits=archive.LIMITS):
  for use in (archive.names, everything):
    with pytest.raises(errors.UserError, match=message) as error:
      use(path, limits)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('kind', KINDS)
def test_reads_what_was_packed(tmp_path, kind):
  path = pack(tmp_path / f'a.{kind}', FILES)
  assert archive.is_archive(path)
  assert archive.stem(path) == 'a'
  assert archive.names(path) == list(FILES)
  assert everything(path) == FILES
  assert list(dict(archive.read(path, lambda name: name == 'top/3.bin'))) == [
    'top/3.bin'
  ]


@pytest.mark.parametrize('kind', ['zip', 'tar'])
@pytest.mark.parametrize(
  'name', ['../evil', 'a/../../evil', '/etc/evil', 'C:/evil', '..\\evil', 'a\\..\\evil']
)
def test_names_that_point_outside(tmp_path, kind, name):
  refused(pack(tmp_path / f'a.{kind}', {**FILES, name: b'x'}), 'points outside')


def test_dot_prefix_is_the_same_name(tmp_path):
  path = pack(tmp_path / 'a.tar', {'./top/x': b'1'})
  assert everything(path) == {'top/x': b'1'}


@pytest.mark.parametrize(
  'kind',
  [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
  ],
)
def test_tar_links_and_devices(tmp_path, kind):
  def change(info):
    info.type, info.linkname, info.size = kind, '/etc/passwd', 0

  refused(pack(tmp_path / 'a.tar', {'x': b''}, change=change), 'link, a device')


def test_zip_links(tmp_path):
  def change(info):
    info.external_attr = (stat.S_IFLNK | 0o777) << 16

  refused(pack(tmp_path / 'a.zip', {'x': b'/etc/passwd'}, change=change), 'is a link')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
  ('limits', 'message'),
  [
    (archive.Limits(member=2999), 'has 3,000 bytes, more than 2,999'),
    (archive.Limits(total=8_999), 'brings the total over 8,999'),
    (archive.Limits(members=8), 'more than 8'),
  ],
)
def test_bombs(tmp_path, kind, limits, message):
  refused(pack(tmp_path / f'a.{kind}', FILES), message, limits)


def test_bomb_behind_the_end_of_a_tar(tmp_path):
  import gzip

  plain = pack(tmp_path / 'a.tar', {'x': b'1'}).read_bytes()
  (tmp_path / 'b.tgz').write_bytes(gzip.compress(plain + bytes(50_000)))
  refused(tmp_path / 'b.tgz', 'after the end', archive.Limits(member=40_000))


def test_names_and_headers_that_cannot_be_decoded(tmp_path):
  path = pack(tmp_path / 'a.zip', {'ä' * 8: b'1'})
  data = path.read_bytes()
  path.write_bytes(data.replace('ä'.encode() * 8, b'\xff\xfe' * 8))
  refused(path, 'is damaged or incomplete')
  with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
    member = tarfile.TarInfo('x')
    member.pax_headers = {'GNU.sparse.map': 'a,b', 'GNU.sparse.size': '1'}
    tar.addfile(member)
  refused(tmp_path / 'a.tar', 'is damaged or incomplete')


def test_giant_tar_header(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'HEADER', 10_000)
  good = pack(tmp_path / 'a.tar', {'n' * 9_000: b'1'})
  assert everything(good) == {'n' * 9_000: b'1'}
  refused(pack(tmp_path / 'b.tar', {'n' * 20_000: b'1'}), 'a header of')


def test_zip_that_lies_about_a_size(tmp_path):
  path = pack(tmp_path / 'a.zip', {'x': bytes(100_000)})
  data = path.read_bytes()
  old, new = (size.to_bytes(4, 'little') for size in (100_000, 10))
  assert data.count(old) == 2  # local header and central directory
  path.write_bytes(data.replace(old, new))
  with pytest.raises(errors.UserError, match="damaged or incomplete at 'x'"):
    everything(path)


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_one_name_twice(tmp_path, kind):
  def change(info):
    if isinstance(info, zipfile.ZipInfo):
      info.filename = 'same'
    else:
      info.name = 'same'

  refused(pack(tmp_path / f'a.{kind}', FILES, change=change), 'appears twice')


@pytest.mark.parametrize('kind', KINDS)
def test_every_cut_is_noticed(tmp_path, kind):
  data = pack(tmp_path / f'a.{kind}', FILES).read_bytes()
  cut = tmp_path / f'b.{kind}'
  # Ends inside members, and for plain tar exactly between two of them.
  sizes = [0, 3, 100, 512, 512 + 3072, 2 * (512 + 3072), len(data) // 2, len(data) - 1]
  if kind == 'tar':
    sizes[-1] = len(FILES) * (512 + 3072)  # all members, but no end mark
  for size in sizes:
    cut.write_bytes(data[:size])
    with pytest.raises(errors.UserError, match='damaged or incomplete'):
      everything(cut)


@pytest.mark.parametrize('kind', ['zip', 'tar.gz', 'tgz', 'tar.xz'])
def test_flipped_bits_are_noticed(tmp_path, kind):
  data = pack(tmp_path / f'a.{kind}', FILES).read_bytes()
  bad = tmp_path / f'b.{kind}'
  for at in GENERATOR.integers(200, int(0.9 * len(data)), 12):
    spoiled = bytearray(data)
    spoiled[at] ^= 0x10
    bad.write_bytes(spoiled)
    try:
      result = everything(bad)
    except errors.UserError:
      continue
    # Only what no reader depends on (a zip's second copy of a header) may pass.
    assert kind == 'zip'
    assert result == FILES


def test_encrypted_zip_member(tmp_path):
  path = pack(tmp_path / 'a.zip', {'x': b'secret'})
  data = bytearray(path.read_bytes())
  data[6] |= 1
  data[data.index(b'PK\x01\x02') + 8] |= 1
  path.write_bytes(data)
  with pytest.raises(errors.UserError, match=r"refused: member 'x' is encrypted"):
    everything(path)


def test_deflate64_is_named(tmp_path):
  path = pack(tmp_path / 'a.zip', {'x': b'1' * 99})
  data = bytearray(path.read_bytes())
  data[8] = data[data.index(b'PK\x01\x02') + 10] = 9
  path.write_bytes(data)
  refused(path, 'is compressed by Deflate64, which Python cannot read: pack it anew')


def test_utf8_names_without_their_flag(tmp_path):
  path = pack(tmp_path / 'a.zip', {'caf\u00e9': b'1'})
  data = bytearray(path.read_bytes())
  for at in (6, data.index(b'PK\x01\x02') + 8):
    data[at : at + 2] = bytes(2)
  path.write_bytes(data)
  assert everything(path) == {'caf\u00e9': b'1'}
