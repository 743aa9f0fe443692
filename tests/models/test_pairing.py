"""Layers that two arms share start equal to the bit at the same seed.

Oracle: equality of bits; what is shared is spelled out by hand. Most cases compare the
keys that initial values are drawn with, the first of each model the values.
"""

import functools

import numpy as np
import pytest

from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')

DENSE = {'dense0', 'dense1', 'output'}
STAGES = {'stage0', 'stage1'}
HEAD = {'dense0', 'output'}
CONVS = {'conv1', 'conv2', 'conv3', 'conv4', 'conv5'}
READ = {'embedding', 'layer0', 'output'}  # an encoder's
SWITCHED = {  # each against the default
  'heads': 4,
  'span': 2,
  'positions': 'learned',
  'qk_norm': True,
  'norm': 'rms',
  'norm_place': 'post',
  'residual': False,
  'mlp': 'gated',
  'activation': 'relu',
  'readout': 'token',
  'chunk': 2,
  'dtype': 'bfloat16',
}
# model, options of either side, layers whose kernels must be there on both sides
PAIRS = [
  ('mlp', {'init': 'he'}, {'init': 'he', 'norm': 'batch', 'dropout': 0.5}, DENSE),
  ('mlp', {}, {'dropout': 0.5}, DENSE),
  ('mlp', {}, {'norm': 'batch'}, DENSE),
  ('mlp', {'norm': 'batch'}, {'norm': 'layer'}, DENSE),
  ('mlp', {}, {'activation': 'tanh'}, DENSE),
  ('mlp', {}, {'hidden': (6, 5, 5)}, {'dense0', 'dense1', 'output'}),
  ('mlp', {'hidden': (6,)}, {'hidden': ()}, set()),
  ('mlp', {}, {'dtype': 'bfloat16'}, DENSE),
  ('cnn', {'init': 'he'}, {'init': 'he', 'norm': 'batch'}, STAGES | HEAD),
  ('cnn', {'norm': 'batch'}, {'norm': 'none'}, STAGES | HEAD),
  ('cnn', {'norm': 'group'}, {'norm': 'lrn'}, STAGES | HEAD),
  ('cnn', {}, {'activation': 'sigmoid'}, STAGES | HEAD),
  (
    'cnn',
    {},
    {'dropout': 0.5, 'dropout_conv': 0.5, 'dropout_input': 0.1},
    STAGES | HEAD,
  ),
  ('cnn', {}, {'pool': 'average'}, STAGES | HEAD),
  ('cnn', {}, {'pool': 'stride'}, STAGES | {'output'}),
  ('cnn', {}, {'pool': 'none'}, STAGES | {'output'}),
  ('cnn', {}, {'residual': True}, STAGES | HEAD),
  ('cnn', {}, {'head': 'average'}, STAGES | {'output'}),
  ('cnn', {}, {'hidden': (5, 5)}, STAGES | HEAD),
  ('cnn', {}, {'depth': 2}, STAGES | HEAD),
  ('cnn', {}, {'widths': (4, 6, 6)}, STAGES | {'output'}),
  ('cnn', {}, {'mixer': 'dense'}, HEAD),
  ('cnn', {}, {'mixer': 'local'}, HEAD),
  ('alexnet', {'init': 'he'}, {'init': 'he', 'norm': 'batch'}, CONVS | DENSE),
  ('alexnet', {}, {'norm': 'none'}, CONVS | DENSE),
  ('alexnet', {}, {'activation': 'tanh'}, CONVS | DENSE),
  ('alexnet', {'norm': 'lrn'}, {'norm': 'batch'}, CONVS | DENSE),
  ('alexnet', {'groups': 2}, {'groups': 1}, {'conv1', 'conv3', 'dense1', 'output'}),
  ('recurrent', {}, {'forget_gate': False}, {'layer0', 'output'}),
  ('recurrent', {'layers': 2}, {'layers': 2, 'norm': 'layer'}, {'layer1', 'output'}),
  ('attention', {'init': 'lecun'}, {'init': 'lecun', 'mixer': 'average'}, READ),
  *(('attention', {}, {option: value}, READ) for option, value in SWITCHED.items()),
  # The scale by depth is a scale by the number of layers.
  ('attention', {'depth_scale': False}, {'depth_scale': False, 'layers': 2}, READ),
  ('attention', {}, {'mlp': 'none'}, READ),
  ('attention', {}, {'mixer': 'none'}, READ),
]


@functools.cache
def start(model, options):
  options = {'init': 'tests.fixtures.model_cases.mark', **dict(options)}
  return cases.init(cases.build(model, **options), model)


@pytest.mark.parametrize(('model', 'one', 'other', 'shared'), PAIRS)
def test_shared_layers_start_equal(model, one, other, shared):
  # A width that either grouping divides, lest rounding change the layers' sizes.
  size = {'width': 0.0625} if model == 'alexnet' else {}
  found = [start(model, tuple({**size, **options}.items())) for options in (one, other)]
  equal = set()
  for path in found[0].keys() & found[1].keys():
    a, b = (np.asarray(variables[path]) for variables in found)
    if a.shape != b.shape:
      continue
    assert a.tobytes() == b.tobytes(), path
    if path[0] == 'params' and path[-1] == 'kernel' and 'shortcut0' not in path:
      equal.add(path[1])
  assert equal >= shared


@pytest.mark.parametrize('model', cases.TINY)
def test_layers_and_seeds_differ(model):
  """No two kernels share values, neither within a network nor between seeds."""
  module = cases.build(model)
  kernels = [
    np.asarray(leaf).ravel()
    for seed in (0, 1)
    for path, leaf in cases.init(module, model, seed=seed).items()
    if path[-1] == 'kernel'
  ]
  values = np.concatenate(kernels)
  assert len(np.unique(values)) > 0.99 * len(values)
