"""Too little memory is noticed before a compiled program runs, not by the kernel."""

import numpy as np
import pytest

from dlsteroids.cli import command
from dlsteroids.run import memory
from dlsteroids.store import results
from dlsteroids.train import program
from dlsteroids.util import environment
from tests.fixtures import studies_on_disk as disk
from tests.fixtures import tiny

GIB = 2**30


@pytest.fixture(autouse=True)
def cheap_launches(monkeypatch):
  """Launches without figures, which compile each program once."""
  disk.spare_figures(monkeypatch)
  disk.share_programs(monkeypatch)


def test_the_host_has_some_free_memory():
  assert 0 < environment.free_memory() < 2**60


@pytest.mark.parametrize('batch', [16, 64])
def test_a_compiled_program_tells_what_it_takes(batch):
  bench = tiny.make_bench(tiny.make_config({'train.batch_size': batch}))
  peaks = program.peak_bytes(bench.program)
  hidden = 4 * batch * 8  # a batch's hidden units in float32, at the least
  assert peaks['training'] >= hidden
  assert peaks['evaluation'] >= 0
  assert np.isfinite(list(peaks.values())).all()


@pytest.mark.parametrize(
  ('free', 'code', 'words'),
  [
    (1.5, 0, 'out of memory with 2 runs per device at a time; continuing with 1'),
    (0.5, 2, 'evaluation would take 1.0 GiB with 1 runs per device at a time, and 0.5'),
  ],
)
def test_a_program_that_does_not_fit_is_halved_or_refused_before_it_runs(
  free, code, words, tmp_path, monkeypatch, capsys
):
  peaks = lambda compiled: {'training': 0, 'evaluation': compiled.layout.width * GIB}
  monkeypatch.setattr(program, 'peak_bytes', peaks)
  monkeypatch.setattr(environment, 'free_memory', lambda: free * GIB)
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  assert command.main([*argv, '--config.engine.width=2']) == code
  errors = capsys.readouterr().err
  assert words in errors
  if code:
    assert 'lower --config.train.eval_batch=' in errors


def test_an_evaluation_that_does_not_fit_takes_fewer_examples_from_then_on(
  tmp_path, monkeypatch, capsys
):
  """The size is in plan.json, also when there is more memory the next time."""
  bytes_of = lambda layout: (layout.eval_batch or 400) / 400 * GIB
  peaks = lambda compiled: {'training': 0, 'evaluation': bytes_of(compiled.layout)}
  monkeypatch.setattr(program, 'peak_bytes', peaks)
  monkeypatch.setattr(environment, 'free_memory', lambda: 0.6 * GIB)
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  assert command.main(argv) == 0
  words = 'evaluating 200 in place of 400 examples at a time'
  assert words in capsys.readouterr().err
  (entry,) = results.read_json(work / 'plan.json')['programs'].values()
  assert entry['eval_batch'] == 200
  monkeypatch.setattr(environment, 'free_memory', lambda: 9 * GIB)
  assert command.main([*argv, '--config.study.seeds=3']) == 0
  batches = {r.file: r.batch for r in results.read(work).records.values()}.values()
  assert [batch['layout']['eval_batch'] for batch in batches] == [200, 200]


def test_what_is_smaller_follows_from_what_is_out_of_memory():
  layout = program.Layout('vmap', 4, 1)
  error = lambda part: memory.OutOfMemory('', part, 10.0, 6.0)
  first, _ = memory.smaller(layout, 100, error('evaluation'), np.inf)
  assert (first.width, first.eval_batch) == (4, 50)
  second, text = memory.smaller(first, 100, error('evaluation'), 10.0)  # no fewer bytes
  assert (second.width, text) == (2, 'continuing with 2')
  training, _ = memory.smaller(layout, 100, error('training'), np.inf)
  assert (training.width, training.eval_batch) == (2, 0)
  single = layout._replace(width=1)
  unknown, _ = memory.smaller(single, 100, RuntimeError('bad_alloc'), np.inf)
  assert (unknown.width, unknown.eval_batch) == (1, 50)
  assert memory.smaller(single, 100, error('training'), np.inf) is None
