"""Search order and downloads, against a server on this machine that misbehaves."""

import hashlib
import http.server
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from dlsteroids.data.lib import source
from dlsteroids.util import errors

BODY = np.random.default_rng(0).bytes(900_001)
MD5 = f'md5:{hashlib.md5(BODY).hexdigest()}'


class Handler(http.server.BaseHTTPRequestHandler):
  """Serves BODY as `server.behaviour` says, and keeps a log of the Range headers."""

  def do_GET(self):
    be = self.server.behaviour
    asked = self.headers.get('Range')
    be.log.append(asked)
    if be.status != 200:
      return self.send_error(be.status)
    start = int(asked[6:-1]) if asked and be.ranges else 0
    if start >= len(BODY):
      self.send_response(416)
      self.send_header('Content-Range', f'bytes */{len(BODY)}')
      self.send_header('Content-Length', '0')
      return self.end_headers()
    body = BODY[start:]
    self.send_response(206 if start else 200)
    if start:
      self.send_header('Content-Range', f'bytes {start}-{len(BODY) - 1}/{len(BODY)}')
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    drop = be.drops.pop(0) if be.drops else len(body)
    self.wfile.write(body[:drop])

  def log_message(self, *args):
    del args


@pytest.fixture
def web(monkeypatch):
  monkeypatch.setenv('NO_PROXY', '*')
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  server.behaviour = SimpleNamespace(status=200, ranges=True, drops=[], log=[])
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  address = f'http://127.0.0.1:{server.server_port}/file.gz'
  yield SimpleNamespace(be=server.behaviour, item=source.Item('file.gz', address, MD5))
  server.shutdown()
  server.server_close()
  thread.join()


def left_in(folder):
  return sorted(path.name for path in folder.iterdir() if path.suffix != '.lock')


def test_downloads_once(web, tmp_path):
  assert source.fetch(web.item, tmp_path / 'new').read_bytes() == BODY
  source.fetch(web.item, tmp_path / 'new')
  assert web.be.log == [None]
  assert left_in(tmp_path / 'new') == ['file.gz']


def test_continues_a_partial_file(web, tmp_path):
  (tmp_path / 'file.gz.part').write_bytes(BODY[:500_000])
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY
  assert web.be.log == ['bytes=500000-']


def test_complete_part_needs_no_bytes(web, tmp_path):
  (tmp_path / 'file.gz.part').write_bytes(BODY)
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY


def test_part_longer_than_the_file_starts_over(web, tmp_path):
  (tmp_path / 'file.gz.part').write_bytes(BODY + b'more')
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY


def test_server_that_ignores_range_starts_over(web, tmp_path):
  web.be.ranges = False
  (tmp_path / 'file.gz.part').write_bytes(b'stale' * 1000)
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY


def test_stale_start_of_another_file_is_dropped(web, tmp_path):
  (tmp_path / 'file.gz.part').write_bytes(b'x' * 1000)
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY
  assert web.be.log == ['bytes=1000-', None]


def test_dropped_connections_are_continued(web, tmp_path):
  web.be.drops = [300_000, 100_000]
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY
  assert web.be.log[0] is None
  starts = [int(asked[6:-1]) for asked in web.be.log[1:]]
  ends = [300_000, starts[0] + 100_000]  # less at most one chunk each
  assert len(starts) == 2
  for start, end in zip(starts, ends, strict=True):
    assert end - source.CHUNK < start <= end


def test_connection_that_brings_nothing_keeps_the_part(web, tmp_path):
  web.be.drops = [300_000, 0]
  with pytest.raises(ConnectionError, match=r'download from http.* failed'):
    source.fetch(web.item, tmp_path)
  assert left_in(tmp_path) == ['file.gz.part']
  kept = (tmp_path / 'file.gz.part').read_bytes()
  assert BODY.startswith(kept)
  assert len(kept) > 300_000 - source.CHUNK
  assert source.fetch(web.item, tmp_path).read_bytes() == BODY  # the next launch


def test_wrong_digest_is_deleted(web, tmp_path):
  item = web.item._replace(digest='md5:' + '0' * 32)
  with pytest.raises(errors.UserError, match='published digest') as error:
    source.fetch(item, tmp_path)
  assert '\n' not in str(error.value)
  assert left_in(tmp_path) == []


@pytest.mark.parametrize('status', [403, 404, 500])
def test_refusal_names_the_status(web, tmp_path, status):
  web.be.status = status
  with pytest.raises(ConnectionError, match=f'HTTP {status}'):
    source.fetch(web.item, tmp_path)
  assert left_in(tmp_path) == []


def test_unwritable_cache(web, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.UserError, match='DLSTEROIDS_CACHE'):
    source.fetch(web.item, tmp_path / 'file' / 'below')


def look(place):
  return place / 'x' if (place / 'x').is_file() else None


@pytest.fixture
def places(tmp_path, monkeypatch):
  """Three places with an 'x' each, in the order of the search."""
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path / 'data'))
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  result = [tmp_path / 'own', tmp_path / 'data/name', tmp_path / 'cache/name']
  for place in result:
    place.mkdir(parents=True)
    (place / 'x').write_text('')
  return result


def test_search_order(places):
  own, data, cache = places
  path = {'path': str(own), 'download': False}
  free = {'path': '', 'download': False}
  assert source.locate('name', path, look, 'x') == own / 'x'
  assert source.locate('name', free, look, 'x') == data / 'x'
  (data / 'x').unlink()
  assert source.locate('name', free, look, 'x') == cache / 'x'
  (own / 'x').unlink()  # a path that was given is not left for another place
  with pytest.raises(errors.UserError, match=r'not found in data\.path'):
    source.locate('name', path, look, 'x')


def test_download_comes_last_and_lands_in_the_cache(web, places, monkeypatch):
  monkeypatch.delenv('DLSTEROIDS_DATA')
  (places[2] / 'x').unlink()
  config = {'path': '', 'download': True}
  item = web.item._replace(name='x')
  assert source.locate('name', config, look, 'x', [item]) == places[2] / 'x'
  assert (places[2] / 'x').read_bytes() == BODY


@pytest.mark.parametrize('download', [True, False])
def test_offline_is_one_line_that_says_where_to_put_it(places, download):
  for place in places:
    (place / 'x').unlink()
  config = {'path': '', 'download': download}
  item = source.Item('x', 'http://127.0.0.1:9/x', MD5)
  with pytest.raises(errors.UserError) as error:
    source.locate('name', config, look, 'the file x', [item])
  message = str(error.value)
  assert '\n' not in message
  for part in ('the file x', str(places[1]), f'Put it in {str(places[2])!r}'):
    assert part in message
  assert ('127.0.0.1:9' if download else 'data.download is false') in message


def test_missing_path_is_named(places):
  config = {'path': str(places[0] / 'gone'), 'download': True}
  with pytest.raises(errors.UserError, match=r"gone' does not exist"):
    source.locate('name', config, look, 'x')
