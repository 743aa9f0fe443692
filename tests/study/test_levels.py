"""Every level of every shipped factor changes something; a dead level is refused.

Data that would have to be downloaded are replaced by noise of their shape. Oracle, by
hand from the path a level sets: a traced number is an input that reaches a result, an
option of the data changes what is seen, everything else changes the program.
"""

import functools
import importlib.util
import pathlib

import ml_collections
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.data.lib import images
from dlsteroids.plan import runs, study_plan
from dlsteroids.study import factors
from dlsteroids.train import inspect
from dlsteroids.util import errors

FOLDER = pathlib.Path(__file__).parents[2] / 'configs'
EXAMPLES, CLASSES = 400, 10
STUDIES = [path.stem for path in sorted(FOLDER.glob('[a-z]*.py'))]
SHAPES = {'mnist': (28, 28, 1), 'fashion_mnist': (28, 28, 1), 'cifar10': (32, 32, 3)}
TOY = 'tests.fixtures.toy_features.make'  # for files that are not there, and fast
SMALLER = {  # what no factor changes traces faster if there is less of it
  'gan': {'model.depth': 2, 'task.features': TOY},
  'cyclegan': {
    'model.blocks': 1,
    'model.downsamples': 0,
    'model.patch_layers': 1,
    'task.features': '',
  },
}


def load_noise(name, config):
  """Noise of a data set's shape, under its config's options."""
  shape = SHAPES.get(name) or (config['size'], config['size'], config['channels'])
  pixels = np.random.default_rng(0).integers(0, 256, (EXAMPLES, *shape), np.uint8)
  labels = np.arange(EXAMPLES, dtype=np.int32) % CLASSES
  names = tuple(str(label) for label in range(CLASSES))
  parts = images.Parts(name, pixels, labels, (300, 0, 100), names)
  return images.make(parts, {**config, 'examples': 0})


@pytest.fixture
def noise(monkeypatch):
  for name in config_lib.available('data'):
    if name in SHAPES or name == 'image_folder':
      module = config_lib.find('data', name)
      monkeypatch.setattr(module, 'load', functools.partial(load_noise, name))


def read(name):
  spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = config_lib.resolve(module.get_config())
  if 'download' in config['data']:
    config = config_lib.override(config, [('data.download', False)])
  if config['data'].get('size', 0) > 67:  # they trace the same and are drawn faster
    config = config_lib.override(config, [('data.size', 67)])
  chosen = module.get_factors(ml_collections.FrozenConfigDict(config))
  smaller = SMALLER.get(config['task']['name'], {})
  assert not smaller.keys() & {
    p for f in chosen for lv in f.levels for p, _ in lv.overrides
  }
  return config_lib.override(config, smaller.items()), chosen


def parts(made, arm):
  """Program, live numbers and data of an arm."""
  config = made.arms[arm]
  program = runs.program_id(config)
  digest, numbers, data, evaluations, matmul = inspect.signature(
    config, made.facts[program], made.dataset(config)
  )
  return {'program': (digest, evaluations, matmul), 'numbers': numbers, 'data': data}


LONG = (
  'alexnet_imagefolder',
  'attention_text',
  'cifar10_cnn',
  'cyclegan_color',
  'cyclegan_digits',
  'dcgan_cifar10',
  'dcgan_digits',
  'dcgan_mnist',
  'gan_losses',
  'lstm_forecast',
  'lstm_odyssey',
  'lstm_text',
  'steroids_gan',
)
EACH = [
  pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in STUDIES
]


@pytest.mark.parametrize('name', EACH)
def test_every_level_changes_what_it_should(name, noise):
  config, chosen = read(name)
  config = config_lib.override(config, [('study.design', 'one_out')])
  try:
    made = study_plan.make(config, chosen)  # refuses arms that are the same
  except errors.UserError as error:
    if 'not found' not in str(error):
      raise
    pytest.skip(str(error))
  assert len(made.arms) == 1 + sum(len(factor.levels) - 1 for factor in chosen)
  base = parts(made, 'baseline')
  traced = config_lib.traced_paths(config)
  for factor in chosen:
    for level in factor.levels[1:]:
      arm = f'{factor.name}={level.name}'
      found = {key for key, value in parts(made, arm).items() if value != base[key]}
      expected = set()
      for path, value in level.overrides:
        section, _, key = path.partition('.')
        if value != config[section].get(key):  # others say what stays
          expected.add(
            'numbers' if path in traced else 'data' if section == 'data' else 'program'
          )
      assert found >= expected, arm
      # And nothing else: numbers of other parts live and die with the program.
      assert ('data' in found) == ('data' in expected), arm
      assert 'program' not in found or expected != {'numbers'}, arm


def make(model, factor, **pairs):
  config = config_lib.resolve(config_lib.base(model, 'digits'))
  named = {path.replace('__', '.'): value for path, value in pairs.items()}
  return study_plan.make(config_lib.override(config, named.items()), (factor,))


DEAD = [
  # Nothing is dropped after hidden layers that are not there.
  ('mlp', 'model.dropout', 0.0, 0.5, {'model__hidden': ()}),
  # No window without pooling, no kernel without locality.
  ('cnn', 'model.pool_window', 2, 3, {'model__pool': 'none'}),
  ('cnn', 'model.kernel', 3, 5, {'model__mixer': 'pointwise'}),
  # Adam's numbers under SGD; the end of a schedule that does not end.
  ('mlp', 'optimizer.beta1', 0.9, 0.5, {}),
  ('mlp', 'optimizer.final', 0.0, 0.5, {'optimizer__schedule': 'constant'}),
  ('mlp', 'optimizer.nesterov', False, True, {'optimizer__name': 'adam'}),
]


@pytest.mark.parametrize(('model', 'path', 'intact', 'other', 'pairs'), DEAD)
def test_a_level_that_changes_nothing_is_refused(model, path, intact, other, pairs):
  factor = factors.factor('dead', path, intact, other)
  with pytest.raises(errors.UserError) as caught:
    make(model, factor, **pairs)
  text = str(caught.value)
  assert text.startswith(f'arm dead={other} changes nothing against arm baseline')
  assert '\n' not in text


def test_the_same_levels_live_where_they_do_something():
  """So it is the context that kills them."""
  make('mlp', factors.factor('live', 'model.dropout', 0.0, 0.5))
  make('cnn', factors.factor('live', 'model.pool_window', 2, 3))
  make(
    'mlp', factors.factor('live', 'optimizer.beta1', 0.9, 0.5), optimizer__name='adam'
  )
  make('mlp', factors.factor('live', 'optimizer.nesterov', False, True))
