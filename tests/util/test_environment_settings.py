"""Settings of JAX that it cannot read, and caches that cannot be written."""

import os
import types

import pytest

from dlsteroids.cli import command
from dlsteroids.util import environment


def raised_by(path, text):
  """The ValueError that code in a file raises."""
  code = compile(f'def f():\n  raise ValueError({text!r})\n', path, 'exec')
  module = types.ModuleType('settings')
  exec(code, vars(module))
  return module.f


def test_a_setting_that_jax_cannot_read_is_one_line(monkeypatch, capsys):
  monkeypatch.setenv('JAX_NUM_CPU_DEVICES', 'abc')
  text = 'Invalid value "abc" for JAX flag jax_num_cpu_devices'
  fail = raised_by(os.path.join('x', 'jax', '_src', 'config.py'), text)
  monkeypatch.setattr(command, '_act', lambda command: fail())
  assert command.main(['dlsteroids', 'plan', 'my.py']) == 2
  assert capsys.readouterr().err == (
    f'dlsteroids: JAX_NUM_CPU_DEVICES=abc: JAX cannot read its settings ({text}); '
    'correct or unset the variable\n'
  )
  monkeypatch.setattr(command, '_act', lambda command: raised_by('my.py', text)())
  with pytest.raises(ValueError, match='Invalid value'):
    command.main(['dlsteroids', 'plan', 'my.py'])


def test_a_cache_that_cannot_be_written_is_left_out(tmp_path):
  (tmp_path / 'file').write_text('')
  assert environment._writable(tmp_path / 'file' / 'jax') is None
  assert environment._writable(tmp_path / 'new' / 'jax') == str(tmp_path / 'new/jax')


def test_a_level_of_logging_that_does_not_exist_is_one_line(monkeypatch, capsys):
  monkeypatch.setenv('DLSTEROIDS_LOG', 'maybe')
  assert command.main(['dlsteroids', '--version']) == 2
  assert capsys.readouterr().err == (
    'dlsteroids: DLSTEROIDS_LOG=maybe: use debug, info, warning, error or fatal\n'
  )
