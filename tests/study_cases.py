"""A baseline config and a few factors of it, for the tests of the study room."""

import copy

import pytest

from dlsteroids import config as config_lib
from dlsteroids.study import designs, factors

CONFIG = {
  **copy.deepcopy(config_lib.DEFAULTS),
  'model': {
    'name': 'cnn',
    'activation': 'relu',
    'dropout': 0.5,
    'pooling': 'max',
    'overlap': True,
    'width': 16,
    'kernel': (3, 3),
    **{f'x{i}': 0 for i in range(9)},
  },
  'data': {'name': 'digits'},
  'task': {'name': 'classify'},
}
ACTIVATION = factors.factor('activation', 'model.activation', 'relu', 'tanh', 'sigmoid')
DROPOUT = factors.factor('dropout', 'model.dropout', 0.5, 0.0)
POOLING = factors.factor('pooling', 'model.pooling', 'max', 'none')
OVERLAP = factors.factor('overlap', 'model.overlap', True, False, requires=('pooling',))


def expand(design, *chosen, **options):
  return designs.expand(design, CONFIG, chosen, **options)


def names(design):
  return [arm.name for arm in design.arms]


def sides(design):
  return [(c.factor, c.level, c.arm, c.reference) for c in design.contrasts]


def message(design, *chosen, config=CONFIG, **options):
  with pytest.raises(config_lib.UserError) as caught:
    designs.expand(design, config, chosen, **options)
  assert '\n' not in str(caught.value)
  return str(caught.value)
