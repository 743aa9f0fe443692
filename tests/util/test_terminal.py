"""Terminals and locales that are not UTF-8; devices that are not there."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PRINT = """
from dlsteroids.util import terminal
terminal.make_printable()
print('12\\u202f345 × é → ≥ 3 … \\N{SNOWMAN}')
"""
DEVICES = """
from dlsteroids.util import environment, errors
import jax
try:
  with environment.device_errors():
    jax.local_devices()
except errors.UserError as error:
  print(error)
"""


def run(text, **variables):
  done = subprocess.run(
    [sys.executable, '-c', text],
    env={**os.environ, 'PYTHONPATH': str(ROOT), **variables},
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr.decode()
  return done.stdout


@pytest.mark.parametrize(
  ('encoding', 'expected'),
  [
    ('ascii', '12 345 x e -> >= 3 ... ?'),
    ('latin-1', '12 345 × é -> >= 3 ... ?'),
    ('cp1252', '12 345 × é -> >= 3 … ?'),
    ('utf-8', '12\u202f345 × é → ≥ 3 … \N{SNOWMAN}'),
  ],
)
def test_what_a_terminal_cannot_show_is_replaced(encoding, expected):
  text = run(PRINT, PYTHONIOENCODING=encoding).decode(encoding)
  assert text.rstrip('\n') == expected


@pytest.mark.parametrize('platform', ['cuda', 'nonsense'])
def test_a_missing_device_is_one_line(platform):
  lines = run(DEVICES, JAX_PLATFORMS=platform).decode().splitlines()
  assert len(lines) == 1
  assert lines[0].startswith(f'JAX_PLATFORMS={platform}: JAX finds no such device')


def test_64_bit_numbers_are_refused_in_one_line():
  text = (
    'from dlsteroids.util import environment, errors\n'
    'try:\n  environment.prepare()\nexcept errors.UserError as error:\n  print(error)\n'
  )
  assert run(text, JAX_ENABLE_X64='1').decode().startswith('JAX is set to 64-bit')


def test_without_a_home_the_cache_folder_is_that_of_xdg(tmp_path):
  text = 'from dlsteroids.util import files\nprint(files.cache_folder())'
  environ = {'HOME': '/nonexistent', 'XDG_CACHE_HOME': str(tmp_path)}
  environ['DLSTEROIDS_CACHE'] = ''
  assert run(text, **environ).decode().strip() == str(tmp_path / 'dlsteroids')
