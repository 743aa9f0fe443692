"""The store: whole files or none, damage noticed, edits and provenance told apart."""

import json
import math
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dlsteroids.store import results, tables
from dlsteroids.study import study as study_lib
from dlsteroids.util import files
from tests.fixtures import studies


def write(workdir, names=('a', 'b'), program='p', **batch):
  """A batch of runs whose fingerprints are `names`, identities 'id-<name>'."""
  facts = {'provenance': {'jax': '1'}, 'sources': {'mod': '0'}, **batch}
  plain = {'status': 'ok', 'steps': 4, 'params': 9, 'flops': 8.0, 'wall_s': 0.5}
  runs = [
    {
      **plain,
      'best_step': 2,
      'fingerprint': n,
      'identity': f'id-{n[0]}',
      'seed': i,
      'values': {'x': i / 3},
    }
    for i, n in enumerate(names)
  ]
  arrays = {n: {'test/label': np.arange(i + 2)} for i, n in enumerate(names)}
  return results.write_batch(workdir, {'program': program, **facts}, runs, arrays)


def test_what_is_written_reads_back(tmp_path):
  path = write(tmp_path)
  index = results.read(tmp_path)
  assert set(index.records) == {'a', 'b'}
  assert index.damaged == {}
  assert index.records['b'].run['values']['x'] == 1 / 3
  assert index.records['b'].batch['provenance'] == {'jax': '1'}
  arrays = results.read_arrays(index.records['b'])
  assert list(arrays) == ['test/label']
  assert arrays['test/label'].tolist() == [0, 1, 2]
  assert path.name.startswith('p-')


def truncate(data):
  return data[: len(data) // 2]


def flip(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize('spoil', [truncate, flip, lambda data: b''])
def test_a_damaged_file_is_told_then_set_aside(tmp_path, spoil):
  path = write(tmp_path)
  write(tmp_path, ('c',))
  path.write_bytes(spoil(path.read_bytes()))
  index = results.read(tmp_path)
  assert set(index.records) == {'c'}
  assert list(index.damaged) == [path]
  assert path.exists()  # reading changes nothing
  (line,) = results.clean(tmp_path, index)
  assert line.startswith(path.name)
  assert 'trained again' in line
  assert not path.exists()
  assert path.with_suffix('.damaged').exists()
  assert results.read(tmp_path).damaged == {}


def test_a_later_format_is_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(results, 'FORMAT', 2)
  write(tmp_path)
  monkeypatch.undo()
  (reason,) = results.read(tmp_path).damaged.values()
  assert 'format 2' in reason


def test_half_written_files_are_no_runs_and_are_dropped(tmp_path):
  write(tmp_path)
  half = tmp_path / 'runs' / '.xyz.part'
  half.write_bytes(b'half')
  index = results.read(tmp_path)
  assert results.clean(tmp_path, index) == []
  assert not half.exists()


@pytest.mark.parametrize('broken', ['fsync', 'replace'])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, broken):
  path = tmp_path / 'runs.csv'
  files.write(path, 'before')

  def fail(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, broken, fail)
  with pytest.raises(OSError, match='No space'):
    files.write(path, 'after')
  monkeypatch.undo()
  assert path.read_text() == 'before'
  assert [p.name for p in tmp_path.iterdir()] == ['runs.csv']


def test_stale_runs_are_counted_by_the_module_that_changed(tmp_path):
  write(tmp_path, ('a1', 'b1', 'c1'), sources={'lab.nets': 'old', 'lab.data': 'same'})
  index = results.read(tmp_path)
  code = {'lab.nets': 'new', 'lab.data': 'same'}
  wanted = {'id-a': 'a2', 'id-b': 'b2'}  # c is no part of the study any more
  assert results.stale(index, wanted, code) == ['lab.nets changed: 2 runs are stale']
  assert results.stale(index, {'id-a': 'a1', 'id-b': 'b1'}, code) == []
  write(tmp_path, ('a2', 'b2'), sources=code)  # trained again
  assert results.stale(results.read(tmp_path), wanted, code) == []


def test_mixed_provenance_is_named_unless_allowed(tmp_path):
  write(tmp_path, provenance={'jax': '1', 'cores': 2})
  records = list(results.read(tmp_path).records.values())
  now = {'jax': '2', 'cores': 2}
  assert results.mixed(records, now, '') == {('jax', '1'): 2}
  assert results.mixed(records, now, 'cores, jax') == {}
  assert results.mixed(records, {'jax': '1', 'cores': 2}, '') == {}


STUDY = studies.make_study([], 3) | {
  'arms': [{'name': 'base', 'assignment': {'f': 'on'}}],
  'factors': [studies.make_factor('f', ['on'])],
}


def test_tables_are_exports_of_the_store(tmp_path):
  values = {'validation/x': 0.1, 'test/x': 1 / 3}
  run = {'status': 'ok', 'steps': 4, 'params': 9, 'flops': 8.0, 'wall_s': 0.5}
  run |= {'best_step': 2, 'fingerprint': 'k', 'identity': 'i', 'seed': 0}
  run |= {'values': values, 'curves': [[2, 'test', 'x', 0.5], [4, 'test', 'x', 1 / 3]]}
  batch = {'program': 'p', 'provenance': {}, 'sources': {}}
  results.write_batch(tmp_path, batch, [run], {'k': {'a': np.ones(2)}})
  index = results.read(tmp_path)
  planned = [
    study_lib.PlannedRun('base', 0, 0, 'k'),
    study_lib.PlannedRun('base', 1, 0, 'failed'),
    study_lib.PlannedRun('base', 2, 0, 'missing'),
  ]
  runs = tables.runs(STUDY, planned, index, {'failed': 'why'})
  assert list(runs) == [
    'arm', 'seed', 'f', 'status', 'tuned', 'regime', 'budget', 'size',
    'steps', 'params', 'flops', 'wall_s', 'best_step', 'validation/x', 'test/x',
  ]  # fmt: skip
  assert runs['status'].tolist() == ['ok', 'failed']
  curves = tables.curves(planned, index)
  assert curves['flops'].tolist() == [4.0, 8.0]  # the run's, up to that step
  tables.write(tmp_path / 'runs.csv', runs)
  again = pd.read_csv(tmp_path / 'runs.csv', dtype=str)
  assert float(again['test/x'][0]) == 1 / 3  # to the bit
  arrays = tables.arrays_of(planned, index)
  assert arrays('base', 0)['a'].tolist() == [1, 1]
  assert arrays('base', 2) is None


def test_curves_are_of_tuned_runs_once_all_arms_have_some(tmp_path):
  names = ('plain', 'tuned')
  fixed = {'status': 'ok', 'steps': 4, 'params': 9, 'flops': 8.0, 'wall_s': 0.5}
  fixed |= {'best_step': 4, 'identity': 'i', 'seed': 0, 'values': {'x': 1.0}}
  runs = [
    {**fixed, 'fingerprint': name, 'curves': [[4, 'test', 'x', value]]}
    for name, value in zip(names, (0.5, 0.25))
  ]
  batch = {'program': 'p', 'provenance': {}, 'sources': {}}
  results.write_batch(tmp_path, batch, runs, {})
  index = results.read(tmp_path)
  planned = [study_lib.PlannedRun('base', 0, state, names[state]) for state in (0, 1)]
  planned.append(study_lib.PlannedRun('base', 1, 1, 'missing'))
  shown = lambda planned, tuned: tables.shown_state(
    SimpleNamespace(arms=[SimpleNamespace(name='base')], tuned=tuned), planned, index
  )
  assert shown(planned, 1) == 1
  assert shown(planned[:1], 1) == shown(planned[:1] + planned[2:], 1) == 0
  assert shown(planned, 0) == 0
  assert tables.curves(planned, index)['value'].tolist() == [0.5]
  assert tables.curves(planned, index, 1)['value'].tolist() == [0.25]


def test_tables_are_the_csv_that_pandas_writes(tmp_path):
  """Numbers read back to the bit; words are quoted where CSV asks for it."""
  values = [0.1, 1 / 3, 1e300, 5e-324, -2.0, 1e15, 1e16, 123456789.0, 0.0, -0.0]
  values += [math.nan, math.inf, -math.inf, 0.1]
  words = ['a,b', 'say "so"', 'two\nlines', '', 'é', *'plainwrds']
  frame = pd.DataFrame(
    {
      'value': values,
      'word': words,
      'column, with a comma': [True, False] * 7,
      'mixed': [None, 1, 1.0, True, 'x,y', math.nan, 2.5, *range(7)],
      'whole': pd.array([1, None] * 7, 'Int64'),
    }
  )
  tables.write(tmp_path / 'a.csv', frame)
  text = (tmp_path / 'a.csv').read_text()
  assert text == frame.to_csv(index=False)
  again = pd.read_csv(tmp_path / 'a.csv', dtype=str, keep_default_na=False)
  written = [float(x) for x in again['value'] if x]
  assert [x.hex() for x in written] == [x.hex() for x in values if x == x]


def test_json_is_readable_by_anyone(tmp_path):
  path = tmp_path / 'a.json'
  results.write_json(path, {'a': (1, 2), 'b': {3: frozenset({3})}})
  told = json.loads(path.read_text())
  assert len(told.pop('sha256')) == 64
  assert told == {'a': [1, 2], 'b': {'3': [3]}} == results.read_json(path)


def test_every_flipped_bit_of_a_json_file_is_noticed(tmp_path):
  path = tmp_path / 'a.json'
  told = {'format': 2, 'x': [0.1, math.nan, 'ä'], 'name': 'study'}
  results.write_json(path, told)
  data = path.read_bytes()
  for at in range(len(data)):
    for bit in range(8):
      path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
      try:
        found = results.read_json(path)
      except ValueError:
        continue
      # A blank of another kind, or a letter's other spelling: it says the same.
      assert repr(found) == repr(told)


def test_json_without_a_checksum_is_refused(tmp_path):
  path = tmp_path / 'a.json'
  for text in (
    '{"format": 1, "x": 2}',
    '{"format": 2, "x": 2}',
    '{}',
    '[]',
    '1',
    'null',
    '{"format": 1',
  ):
    path.write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - json's own, or one of ours
      results.read_json(path)
