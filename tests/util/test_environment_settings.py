"""Settings of JAX and XLA, and caches that cannot be written."""

import os
import types

import jax
import pytest

from dlsteroids.cli import command
from dlsteroids.util import environment, xla_options


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


def test_settings_that_change_results_are_provenance(monkeypatch):
  environment.provenance()  # XLA reads its flags now, once
  monkeypatch.setattr(jax, '__version_info__', (0, 10, 2))
  monkeypatch.delenv('LIBTPU_INIT_ARGS', raising=False)
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=2')
  assert environment.settings('cpu') == ''
  monkeypatch.setenv('XLA_FLAGS', '--xla_b=1 --xla_a=2 --xla_dump_to=/tmp')
  assert environment.settings('cpu') == 'XLA_FLAGS=--xla_a=2 --xla_b=1'
  monkeypatch.setenv('LIBTPU_INIT_ARGS', '--fast')
  assert environment.settings('cpu').endswith(', LIBTPU_INIT_ARGS=--fast')
  assert environment.provenance()['settings'] == environment.settings('cpu')


def test_options_of_the_compiler_are_provenance(monkeypatch):
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  (name,) = xla_options.DETERMINISM['gpu']
  assert environment.settings('cpu') == ''
  assert environment.settings('gpu') == f'{name}=True'
  monkeypatch.setenv('XLA_FLAGS', f'--{name}=false')
  assert environment.settings('gpu') == f'XLA_FLAGS=--{name}=false'
