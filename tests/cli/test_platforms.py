"""JAX_PLATFORMS that this machine lacks: one line, in a fresh process each."""

import os
import subprocess
import sys

import pytest

from tests.fixtures import studies_on_disk as disk


@pytest.mark.parametrize('platform', ['cuda', 'gpu', 'tpu', 'nonsense'])
def test_a_platform_that_is_not_there_is_one_line(platform, tmp_path):
  if os.path.exists('/dev/nvidia0') or os.path.exists('/dev/accel0'):
    pytest.skip('the machine has an accelerator')
  words = ['plan', str(disk.write(tmp_path)), f'--workdir={tmp_path / "work"}']
  done = subprocess.run(
    [sys.executable, '-m', 'dlsteroids', *words],
    cwd=disk.ROOT,
    env={**os.environ, 'JAX_PLATFORMS': platform},
    capture_output=True,
    text=True,
    check=False,
  )
  (line,) = done.stderr.splitlines()
  assert done.returncode == 2
  start = f'dlsteroids: JAX_PLATFORMS={platform}: JAX finds no such device'
  assert line.startswith(start)
  assert not (tmp_path / 'work').exists()
