"""A lack of memory is known before a compiled program runs: no kill by the kernel."""

import numpy as np
import pytest

from dlsteroids.cli import command
from dlsteroids.run import local
from dlsteroids.train import program
from dlsteroids.util import environment
from tests.fixtures import studies_on_disk as disk
from tests.fixtures import tiny

GIB = 2**30


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
  peaks = lambda made: {'training': 0, 'evaluation': made.layout.width * GIB}
  monkeypatch.setattr(local.program_lib, 'peak_bytes', peaks)
  monkeypatch.setattr(local.environment, 'free_memory', lambda: free * GIB)
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  assert command.main([*argv, '--config.engine.width=2']) == code
  errors = capsys.readouterr().err
  assert words in errors
  if code:
    assert 'lower --config.train.eval_batch=' in errors
