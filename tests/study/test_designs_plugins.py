"""Levels that switch the plug-in. Oracle: expansions enumerated by hand."""

import sys
import types

import pytest

from dlsteroids import config as config_lib
from dlsteroids.study import designs, factors
from tests.fixtures import study_cases as cases

CONVOLUTION = factors.levels(
  'convolution',
  {
    'conv': {'model.name': 'mylab.conv'},
    'dense': {'model.name': 'mylab.dense', 'model.depth': 3},
  },
)


@pytest.fixture
def plugins(monkeypatch):
  for name, defaults in {
    'conv': {'width': 16, 'pooling': 'max', 'overlap': True},
    'dense': {'width': 16, 'depth': 2},
    'data': {},
  }.items():
    module = types.ModuleType(f'mylab.{name}')
    module.DEFAULTS = defaults
    monkeypatch.setitem(sys.modules, f'mylab.{name}', module)
  monkeypatch.setitem(sys.modules, 'mylab', types.ModuleType('mylab'))
  return config_lib.resolve(
    {section: {'name': 'mylab.data'} for section in ('data', 'task')}
    | {'model': {'name': 'mylab.conv'}}
  )


def test_a_switched_plugin(plugins):
  pooling = cases.POOLING._replace(requires=('convolution',))
  made = designs.expand('factorial', plugins, (CONVOLUTION, pooling, cases.OVERLAP))
  arms = {arm.name: arm for arm in made.arms}
  assert list(arms) == [
    'baseline',
    'overlap=False',
    'pooling=none',
    'convolution=dense',
  ]
  # The dense model has neither pooling nor overlap to set.
  assert arms['convolution=dense'].overrides == CONVOLUTION.levels[1].overrides
  assert arms['convolution=dense'].inapplicable == ('pooling', 'overlap')


def test_a_switched_plugin_without_requires(plugins):
  text = cases.message('factorial', CONVOLUTION, cases.POOLING, config=plugins)
  assert text.startswith(
    "arm convolution=dense,pooling=none: unknown config path 'model.pooling'"
  )
