"""The front door: help, names of studies, words in any order; oracle: written out."""

import os
import subprocess
import sys

import pytest

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.cli import command, flags
from dlsteroids.config import files
from dlsteroids.util import errors
from tests.fixtures import studies_on_disk as disk


@pytest.fixture
def printed(capsys):
  """`printed(*words)`: what a command that succeeds prints."""

  def run(*words):
    assert command.main(['dlsteroids', *words]) == 0
    out, err = capsys.readouterr()
    assert not err
    return out

  return run


@pytest.mark.parametrize('word', ['--help', '-h', '-help'])
def test_help_names_every_action_and_flag(printed, word):
  out = printed(word)
  for name in (*flags.ACTIONS, *flags.NAMES, '--help=config', '--list', '--version'):
    assert name in out
  assert 'dlsteroids digits_cnn' in out
  assert max(len(line) for line in out.splitlines()) <= 100


def test_help_config_lists_every_option_of_the_study(printed):
  words = ('--config.study.seeds=7', '--config.model.name=mlp')
  out = printed('--help=config', 'digits_cnn', *words)
  tree = config_lib.base(model='mlp', data='digits').to_dict()
  for section, options in tree.items():
    assert f'config.{section}' in out
    for name in options:
      assert f'\n  {name} = ' in out
  assert 'seeds = 7' in out
  assert 'factorial' in out.split('design = ')[1]


def test_the_list_names_every_shipped_study(printed):
  out = printed('--list')
  for name in files.shipped():
    assert f'\n  {name} ' in f'\n{out}'
  assert 'handwritten digits? (a minute)' in ' '.join(out.split())
  assert 'figure 1. (half an hour)' in ' '.join(out.split())


def test_the_version(printed):
  assert printed('--version') == f'dlsteroids {dlsteroids.__version__}\n'


def test_a_shipped_study_by_name_from_a_folder_that_holds_the_same_names(tmp_path):
  """A user's own configs/ and experiments/ disturb nothing."""
  for name in ('configs', 'experiments'):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text('raise RuntimeError("not this one")')
  done = subprocess.run(
    [sys.executable, '-m', 'dlsteroids', 'plan', 'digits_cnn:smoke'],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(disk.ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('study digits_cnn')


def parsed(*words):
  found = command.parse(['dlsteroids', *words])
  return found.flags.action, found.config, dict(found.overrides)


def test_words_come_in_any_order():
  options = ('--config.train.steps=5', '--workdir=there')
  wanted = ('plan', 'my.py:fast', {'train.steps': '5'})
  assert parsed('plan', 'my.py:fast', *options) == wanted
  assert parsed(*options, 'plan', 'my.py:fast') == wanted
  assert parsed('--action=plan', 'my.py:fast', *options) == wanted
  assert parsed('plan', '--config=my.py:fast', *options) == wanted
  assert parsed('--config', 'my.py:fast', '--action', 'plan', *options) == wanted
  assert parsed('my.py') == ('run', 'my.py', {})
  for action in command.BY_FOLDER:
    assert parsed(action, '--workdir=there')[1] == ''


def test_a_folder_says_which_study_but_takes_no_options():
  with pytest.raises(errors.UserError, match=r'report CONFIG or --workdir'):
    parsed('report')
  with pytest.raises(errors.UserError, match=r'train\.steps goes with a study'):
    parsed('report', '--workdir=there', '--config.train.steps=5')
  with pytest.raises(errors.UserError, match='which study'):
    parsed('plan', '--workdir=there')


def test_a_report_is_remade_from_its_folder_alone(tmp_path, capsys):
  words = ['dlsteroids', 'configs/digits_cnn.py:smoke', f'--workdir={tmp_path}']
  assert command.main(words) == 0
  whole = (tmp_path / 'report.md').read_text(encoding='utf-8')
  (tmp_path / 'report.md').unlink()
  assert command.main(['dlsteroids', 'report', f'--workdir={tmp_path}']) == 0
  assert f'report: {tmp_path}' in capsys.readouterr().out
  assert (tmp_path / 'report.md').read_text(encoding='utf-8') == whole


def test_home_is_expanded(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  found = command.parse(['dlsteroids', '--config=~/x.py', '--workdir=~/y'])
  assert (found.config, found.flags.workdir) == ('/home/me/x.py', '/home/me/y')


OVERRIDES = [
  ('train.steps', '1e3', 1000),
  ('train.steps', '7', 7),
  ('optimizer.learning_rate', '1', 1.0),
  ('optimizer.clip', 'inf', float('inf')),
  ('optimizer.nesterov', 'true', True),
  ('optimizer.nesterov', '1', True),
  ('model.hidden', '64', (64,)),
  ('model.hidden', '(64, 32)', (64, 32)),
  ('model.hidden', '64,32', (64, 32)),
  ('study.name', '12', '12'),
  ('study.budgets', '0.25', '0.25'),
]


@pytest.mark.parametrize(('path', 'text', 'wanted'), OVERRIDES)
def test_texts_become_values_of_the_options_type(path, text, wanted):
  config = config_lib.base(model='mlp', data='digits')
  value = config_lib.get(config_lib.override_text(config, {path: text}), path)
  assert value == wanted
  assert type(value) is type(wanted)


def test_an_override_means_the_option_of_the_plugin_that_is_switched_to():
  config = config_lib.base(model='mlp', data='digits')
  texts = {'model.hidden': '64', 'model.name': 'recurrent'}
  assert config_lib.override_text(config, texts)['model']['hidden'] == 64


def test_a_switched_plugin_has_its_own_defaults_and_what_the_user_set():
  config = config_lib.base(model='mlp', data='digits')
  config.model.dropout = 0.25
  model = config_lib.override_text(config, {'model.name': 'recurrent'})['model']
  own = config_lib.base(model='recurrent', data='digits').model.activation
  assert (model['activation'], config.model.activation) == (own, 'relu')
  assert own != 'relu'
  assert model['dropout'] == 0.25


@pytest.mark.parametrize(
  ('words', 'config', 'action'),
  [
    (['my.py', 'plan'], 'my.py', 'plan'),
    (['--latex', 'report', 'my.py'], 'my.py', 'report'),
    (['my.py', '--latex', 'report'], 'my.py', 'report'),
  ],
)
def test_study_and_action_in_any_order(words, config, action):
  parsed = command.parse(['dlsteroids', *words])
  assert (parsed.config, parsed.flags.action) == (config, action)


@pytest.mark.parametrize(
  ('words', 'wanted'),
  [
    (['help'], r'did you mean --help\?'),
    (['my.py', '--json=maybe'], 'flag --json=maybe: Non-boolean argument to boolean'),
  ],
)
def test_guesses_at_the_command_line(words, wanted):
  with pytest.raises(errors.UserError, match=wanted):
    command.parse(['dlsteroids', *words])


@pytest.mark.parametrize('name', ['', '../up', 'a/../../b', '/abs', 'a' * 200])
def test_a_name_that_is_no_folder_is_refused(name):
  with pytest.raises(errors.UserError, match=r'study\.name .* cannot name a folder'):
    command.default_workdir('my.py', name)


def test_flags_without_a_value_and_with_a_word_of_its_own():
  words = ['--config.model.residual', '--latex', '--config.study.seeds', '3']
  words += ['--noconfig.optimizer.nesterov', 'my.py']
  left, texts = command.split_overrides(words)
  assert left == ['--latex', 'my.py']
  assert texts == {
    'model.residual': 'true',
    'study.seeds': '3',
    'optimizer.nesterov': 'false',
  }


@pytest.mark.parametrize(
  ('config', 'wanted'),
  [
    ('configs/digits_cnn.py', 'studies/digits_cnn'),
    ('digits_cnn:smoke', 'studies/digits_cnn-smoke'),
    ('my.py:cnn', 'studies/digits_cnn-cnn'),  # a mode is another study
  ],
)
def test_every_mode_has_a_workdir_of_its_own(config, wanted):
  assert command.default_workdir(config, 'digits_cnn') == wanted


def test_the_command_in_the_report_trains_the_study_whatever_the_action():
  words = ['report', 'my.py', '--config.study.name=a b', '--latex', '--workdir=w']
  found = command.parse(['dlsteroids', *words])
  assert found.rerun() == (
    "python -m dlsteroids --config=my.py '--config.study.name=a b' --workdir=w"
  )


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'cp1252', 'utf-8'])
def test_every_encoding_of_the_terminal_takes_the_help(encoding, tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'dlsteroids', '--help'],
    cwd=disk.ROOT,
    env={**os.environ, 'PYTHONIOENCODING': encoding},
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  text = done.stdout.decode(encoding)
  assert ('…' if encoding in ('utf-8', 'cp1252') else '...') in text
  assert '?' not in text.replace('which?', '')
