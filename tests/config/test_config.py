"""Configs: strict overrides, the static and the traced part, digests.

Oracles: values spelled out by hand, and sha256 by hashlib of the text in the docstring.
"""

import copy
import math

import ml_collections
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import code
from dlsteroids.plan import runs
from dlsteroids.util import errors

PLUGIN = """
DEFAULTS = {'depth': 3, 'gain': 1.0, 'rate': 0.5, 'dropout': 0.0}
TRACED = ('gain',)
"""
RANGED = PLUGIN.replace("('gain',)", "{'rate': (0.0, 1.0)}")


@pytest.fixture
def tree():
  return config_lib.resolve(config_lib.base('cnn', 'digits'))


def plugin(monkeypatch, tmp_path, text):
  """The name of a user's module `nets` in a package of its own."""
  name = f'mylab_{tmp_path.name}'
  (tmp_path / name).mkdir()
  (tmp_path / name / '__init__.py').write_text('')
  (tmp_path / name / 'nets.py').write_text(text)
  monkeypatch.syspath_prepend(tmp_path)
  return f'{name}.nets'


def refused(function, *args):
  """The one line with which a user's mistake is refused."""
  with pytest.raises(errors.UserError) as caught:
    function(*args)
  assert len(str(caught.value).splitlines()) == 1
  return str(caught.value)


def test_a_message_is_one_line_whatever_is_quoted():
  error = errors.UserError('it says:\n  first\r\n\n second \n')
  assert str(error) == 'it says: first second'
  assert isinstance(error, ValueError)
  giant = str(errors.UserError(f'not {"9" * 9000}; use 1'))
  assert len(giant) < 2000
  assert giant.startswith('not 99')
  assert giant.endswith('99; use 1')


def test_resolve_fills_in_every_default():
  names = {'model': {'name': 'mlp'}, 'data': {'name': 'digits'}}
  found = config_lib.resolve({**names, 'task': {'name': 'classify'}})
  assert found == config_lib.base('mlp', 'digits').to_dict()
  assert found.keys() == {*config_lib.PLUGINS, *config_lib.DEFAULTS}


def test_a_base_cannot_be_mistyped():
  config = config_lib.base('mlp', 'digits')
  with pytest.raises(AttributeError):
    config.model.dropuot = 0.5
  assert 'unknown models module' in refused(config_lib.base, 'mpl', 'digits')


@pytest.mark.parametrize(
  ('change', 'expected'),
  [
    ({'modle': {}}, "unknown config section 'modle' (did you mean 'model'?)"),
    ({'train': {'step': 3}}, "'train.step' (did you mean 'train.steps'?)"),
    ({'model': {'name': 'cnnn'}}, "unknown models module 'cnnn' (did you mean 'cnn'?)"),
    ({'model': {'name': 'no.such'}}, "cannot import models module 'no.such'"),
    ({'model': {'name': 'xml.dom'}}, "module 'xml.dom' declares no options"),
    ({'model': {'name': 3}}, 'unknown models module 3'),
    ({'model': {}}, 'config.model.name is missing'),
    ({'model': 3}, 'config.model must be a section, not 3'),
    ({'train': {'batch_size': 0}}, 'config.train.batch_size must be at least 1, not 0'),
    ({'study': {'alpha': 1.0}}, 'config.study.alpha must lie in (0, 1), not 1.0'),
    ({'study': {'seeds': 0}}, 'config.study.seeds must be at least 1, not 0'),
    ({'study': {'first_seed': -1}}, 'first_seed must be at least 0'),
    ({'study': {'margin': -0.1}}, 'config.study.margin must be at least 0, not -0.1'),
    ({'optimizer': {'name': 'adamm'}}, "unknown 'adamm' (did you mean 'adam'?)"),
    (
      {'study': {'design': 'two_out'}},
      'use one_out, one_in, ladder, factorial, fraction, permutations, arms',
    ),
  ],
  ids=lambda value: value if isinstance(value, str) else '',
)
def test_resolve_is_strict(tree, change, expected):
  assert expected in refused(config_lib.resolve, {**tree, **change})


@pytest.mark.parametrize(
  ('path', 'value', 'expected'),
  [
    ('model.dropuot', 0.5, "'model.dropuot' (did you mean 'model.dropout'?)"),
    ('modle.dropout', 0.5, "(did you mean 'model.dropout'?); the sections are data"),
    ('model', 3, "unknown config path 'model'"),
    ('model.widths.0', 3, "unknown config path 'model.widths.0'"),
    ('model.widths', 32, 'config.model.widths expects tuple (like (32, 64)), not 32'),
    (
      'model.widths',
      (32, 'b'),
      "config.model.widths[1] expects int (like 32), not 'b'",
    ),
    ('model.widths', (32, 6.0), 'config.model.widths[1] expects int'),
    ('model.widths', (32, True), 'config.model.widths[1] expects int'),
    ('model.depth', 2.0, 'config.model.depth expects int (like 1), not 2.0'),
    ('model.depth', '2', 'config.model.depth expects int'),
    ('model.depth', True, 'config.model.depth expects int'),
    ('model.residual', 1, 'config.model.residual expects bool (like False), not 1'),
    ('model.dropout', False, 'config.model.dropout expects float'),
    ('model.dropout', None, 'config.model.dropout expects float'),
    (
      'model.dropout',
      math.nan,
      'config.model.dropout expects float (like 0.0), not nan',
    ),
    ('model.activation', 3, "config.model.activation expects str (like 'relu'), not 3"),
    ('model.name', 3, 'config.model.name expects str'),
    ('model.dropout', 1.0, 'config.model.dropout must lie in [0, 1), not 1.0'),
    ('model.dropout_input', -0.1, 'config.model.dropout_input must lie in [0, 1)'),
    ('task.label_smoothing', 1.5, 'config.task.label_smoothing must lie in [0, 1)'),
    ('optimizer.learning_rate', -0.1, 'learning_rate must be at least 0, not -0.1'),
    ('optimizer.momentum', 1, 'config.optimizer.momentum must lie in [0, 1), not 1.0'),
    ('train.steps', 0, 'config.train.steps must be at least 1, not 0'),
    ('study.seeds', 0, 'config.study.seeds must be at least 1, not 0'),
    ('engine.strategy', 'maps', "(did you mean 'map'?)"),
  ],
)
def test_override_is_strict(tree, path, value, expected):
  before = copy.deepcopy(tree)
  assert expected in refused(config_lib.override, tree, [(path, value)])
  assert tree == before


def test_override_takes_what_fits(tree):
  pairs = [('model.dropout', 0), ('model.widths', [8]), ('optimizer.clip', math.inf)]
  before = copy.deepcopy(tree)
  found = config_lib.override(tree, pairs)
  assert tree == before
  assert repr(found['model']['dropout']) == '0.0'
  assert found['model']['widths'] == (8,)
  found['model'] = {**found['model'], 'dropout': 0.0, 'widths': (32, 64)}
  assert found == before


def test_an_emptied_tuple_still_knows_its_type(tree):
  empty = config_lib.override(tree, [('model.hidden', ())])
  assert config_lib.override(empty, [('model.hidden', (5,))])['model']['hidden'] == (5,)
  expected = "config.model.hidden[0] expects int (like 128), not 'a'"
  assert expected in refused(config_lib.override, empty, [('model.hidden', ('a',))])


def test_switching_a_plug_in_keeps_what_both_have(tree):
  tree = config_lib.override(tree, [('model.dropout', 0.25), ('model.hidden', (9,))])
  # The name comes first, wherever it stands.
  pairs = [('model.dropout_input', 0.1), ('model.name', 'mlp')]
  found = config_lib.override(tree, pairs)
  assert found['model'] == {
    **{'name': 'mlp', 'hidden': (9,), 'activation': 'relu', 'norm': 'none'},
    **{'dropout': 0.25, 'dropout_input': 0.1, 'init': 'he', 'dtype': 'float32'},
    **{'norm_after': False, 'slope': 0.01},
  }
  pairs = [('model.name', 'mlp'), ('model.widths', (3,))]
  assert "unknown config path 'model.widths'" in refused(
    config_lib.override, tree, pairs
  )


def test_leftovers_of_a_switch_are_dropped_unless_the_user_set_them(tree):
  switched = {**tree, 'model': {**tree['model'], 'name': 'mlp'}}
  assert 'widths' not in config_lib.resolve(switched)['model']
  config_lib.resolve(switched, ['model.hidden', 'model.name'])
  text = refused(config_lib.resolve, switched, ['model.widths'])
  assert text.startswith("unknown config path 'model.widths'")


def test_a_config_dict_and_its_dict_resolve_alike():
  config = config_lib.base('mlp', 'digits')
  config.model.hidden = (3,)
  assert isinstance(config, ml_collections.ConfigDict)
  assert config_lib.resolve(config) == config_lib.resolve(config.to_dict())


def test_static_and_traced_are_all_there_is(tree):
  traced = {
    *(f'model.{key}' for key in ('dropout', 'dropout_conv', 'dropout_input')),
    *(f'optimizer.{key}' for key in ('learning_rate', 'momentum', 'beta1', 'beta2')),
    *(f'optimizer.{key}' for key in ('epsilon', 'weight_decay', 'clip', 'warmup')),
    *('model.slope', 'optimizer.final', 'task.label_smoothing', 'train.steps'),
  }
  assert set(config_lib.hyper(tree)) == traced
  static = config_lib.static(tree)
  left = {f'{section}.{key}' for section in static for key in static[section]}
  every = {
    f'{section}.{key}'
    for section in ('model', 'data', 'task', 'optimizer', 'train')
    for key in tree[section]
  }
  assert left == every - traced
  assert all(isinstance(value, float) for value in config_lib.hyper(tree).values())


def test_traced_numbers_and_study_and_engine_leave_the_program_alone(tree):
  first = config_lib.digest(config_lib.static(tree))
  same = [('model.dropout', 0.5), ('train.steps', 7), ('study.seeds', 3)]
  same += [('engine.strategy', 'vmap')]
  assert config_lib.digest(config_lib.static(config_lib.override(tree, same))) == first
  for pair in (('model.activation', 'tanh'), ('train.batch_size', 3), ('data.crop', 1)):
    other = config_lib.static(config_lib.override(tree, [pair]))
    assert config_lib.digest(other) != first


def test_where_bytes_come_from_is_no_part_of_a_run():
  tree = config_lib.resolve(config_lib.base('mlp', 'mnist'))
  moved = config_lib.override(tree, [('data.path', '/elsewhere')])
  assert config_lib.training(moved) == config_lib.training(tree)


def test_digest_is_of_sorted_json():
  # sha256 of {"a":[true,"x"],"b":[1,2.5]}, by sha256sum, its first 32 digits.
  golden = '19b276610d138627a5e608c32a2cdd85'
  assert config_lib.digest({'b': (1, 2.5), 'a': [True, 'x']}) == golden
  assert config_lib.digest({'a': (True, 'x'), 'b': [1, 2.5]}) == golden
  assert config_lib.digest({'a': (1, 'x'), 'b': [1, 2.5]}) != golden
  assert config_lib.digest({'a': (True, 'x'), 'b': [1.0, 2.5]}) != golden


def test_a_users_module_traces_its_own_numbers(monkeypatch, tmp_path):
  name = plugin(monkeypatch, tmp_path, PLUGIN)
  tree = config_lib.resolve(config_lib.base(name, 'digits'))
  assert 'model.gain' in config_lib.hyper(tree)
  assert config_lib.static(tree)['model'] == {
    **{'name': name, 'depth': 3, 'rate': 0.5, 'dropout': 0.0}
  }
  assert config_lib.override(tree, [('model.gain', -9.0)])['model']['gain'] == -9.0


def test_a_users_module_gives_ranges(monkeypatch, tmp_path):
  name = plugin(monkeypatch, tmp_path, RANGED)
  tree = config_lib.resolve(config_lib.base(name, 'digits'))
  assert 'config.model.rate must lie in [0, 1)' in refused(
    config_lib.override, tree, [('model.rate', 2.0)]
  )


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    (
      PLUGIN.replace("'gain',)", "'gian',)"),
      "TRACED names 'gian', which is not a number",
    ),
    ('DEFAULTS = 3', 'declares no options: it needs a dict OPTIONS or DEFAULTS'),
    ('raise RuntimeError("one\\ntwo")', 'fails at import: RuntimeError: one'),
    ('import no_such_thing', "No module named 'no_such_thing'"),
    ('def broken(:', 'fails at import: SyntaxError'),
  ],
)
def test_a_users_broken_module_is_one_line(monkeypatch, tmp_path, text, expected):
  name = plugin(monkeypatch, tmp_path, text)
  tree = {'model': {'name': name}, 'data': {'name': 'digits'}}
  tree['task'] = {'name': 'classify'}
  assert expected in refused(config_lib.resolve, tree)


def test_places_on_the_command_line_replace_those_of_the_config_file():
  from configs import cyclegan_color

  own = {'data.name': 'unpaired', 'data.path_x': 'a', 'data.path_y': 'b'}
  data = config_lib.override_text(cyclegan_color.get_config(), own)['data']
  assert (data['path'], data['path_x'], data['label']) == ('', 'a', '')
  data = config_lib.override_text(cyclegan_color.get_config(), {'data.flip': 'False'})
  assert data['data']['path'] == 'cifar10-jpeg'


def test_a_plug_in_may_be_a_module_without_dots(monkeypatch, tmp_path):
  name = f'nets_{tmp_path.name}'
  (tmp_path / f'{name}.py').write_text(PLUGIN)
  monkeypatch.syspath_prepend(tmp_path)
  tree = config_lib.resolve(config_lib.base(name, 'digits'))
  assert tree['model'] == {'name': name, 'depth': 3, 'gain': 1.0, 'rate': 0.5} | {
    'dropout': 0.0
  }
  for wrong in ('random', 'numpyy', 'no such'):
    assert 'unknown models module' in refused(config_lib.base, wrong, 'digits')


@pytest.mark.parametrize(
  ('path', 'value', 'expected'),
  [
    ('optimizer.learning_rate', np.float64(0.03), 0.03),
    ('optimizer.learning_rate', np.logspace(-2, -1, 2)[0], 0.01),
    ('train.steps', np.int64(7), 7),
    ('model.widths', np.array([8, 16]), (8, 16)),
    ('model.widths', (np.int32(8),), (8,)),
    ('model.residual', np.bool_(True), True),
    ('model.activation', np.str_('tanh'), 'tanh'),
  ],
)
def test_numpys_values_are_pythons(tree, path, value, expected):
  result = config_lib.get(config_lib.override(tree, [(path, value)]), path)
  assert result == expected
  assert type(result) is type(expected)
  if isinstance(expected, tuple):
    assert all(type(item) is int for item in result)


def test_a_user_s_renamed_module_keeps_its_runs(monkeypatch, tmp_path):
  """The fingerprint of a run, by its config and code, survives a rename."""
  fingerprints = []
  for name in ('first', 'second'):
    package = tmp_path / f'lab_{name}_{tmp_path.name}'
    package.mkdir()
    (package / f'{name}.py').write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    module = f'{package.name}.{name}'
    tree = config_lib.resolve(config_lib.base(module, 'digits'))
    digest = code.read([module]).digest
    (run,) = runs.make_runs('baseline', [0], 0, tree, 'data', digest)
    fingerprints.append(run.fingerprint)
  assert fingerprints[0] == fingerprints[1]


def test_an_option_that_is_gone_names_what_does_the_same_today():
  """Records of before, in which it was off, are read as ever."""
  tree = config_lib.base(model='mlp', data='digits').to_dict()
  line = r'config\.engine\.tensorboard is gone: use config\.engine\.track=tensorboard'
  with pytest.raises(errors.UserError, match=line):
    config_lib.override_text(tree, {'engine.tensorboard': 'true'})
  old = {**tree, 'engine': {**tree['engine'], 'tensorboard': True}}
  with pytest.raises(errors.UserError, match=line):
    config_lib.resolve(old)
  old['engine']['tensorboard'] = False
  assert config_lib.resolve(old) == config_lib.resolve(tree)
