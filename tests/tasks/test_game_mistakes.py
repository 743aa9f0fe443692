"""Mistakes in a player's options and images that do not fit: one clear line each."""

import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import options as options_lib
from dlsteroids.util import errors
from tests.fixtures import game_cases as games

MODELS = tuple(games.CHOICES)
GAMES = ('dcgan', 'dense_gan')
WRONG = [
  *((m, 'generator', {'latent': 0}, 'config.model.latent must be at') for m in GAMES),
  ('dcgan', 'generator', {'width': 0}, 'config.model.width must be at least 1, not 0'),
  ('dcgan', 'discriminator', {'kernel': 0}, 'config.model.kernel must be at least 1'),
  ('dcgan', 'generator', {'depth': -1}, 'config.model.depth must be at least 0'),
  ('dcgan', 'discriminator', {'depth': 3}, 'multiples of 8, at least 16; these have'),
  ('dcgan', 'generator', {'upsample': 'bilinear'}, 'use transposed, resize, subpixel'),
  ('dcgan', 'generator', {'upsample': 'resise'}, "(did you mean 'resize'?)"),
  ('dcgan', 'generator', {'discriminator_norm': 'group'}, 'use none, batch, layer, in'),
  ('dcgan', 'discriminator', {'generator_activation': 'rleu'}, "mean 'relu'?)"),
  (
    'dcgan',
    'generator',
    {'init': 'zeros'},
    'use he, glorot, lecun, orthogonal, normal',
  ),
  ('dcgan', 'generator', {'dtype': 'float16'}, 'use float32, bfloat16'),
  ('dense_gan', 'generator', {'generator_norm': 'instance'}, 'use none, batch, layer,'),
  ('dense_gan', 'generator', {'discriminator_hidden': (3, 0)}, 'must be at least 1'),
  ('cyclegan', 'generator', {'kernel': 4}, 'config.model.kernel must be odd, not 4'),
  ('cyclegan', 'generator', {'stem_kernel': 2}, 'config.model.stem_kernel must be odd'),
  ('cyclegan', 'generator', {'padding': 'SAME'}, 'use reflect, zero'),
  ('cyclegan', 'generator', {'blocks': -1}, 'config.model.blocks must be at least 0'),
  ('cyclegan', 'generator', {'downsamples': 3}, 'multiples of 8, at least 16; these'),
  ('cyclegan', 'generator', {'stem_kernel': 25}, 'at least 13; these have 12x12'),
  ('cyclegan', 'discriminator', {'patch_layers': 3}, 'at least 24 pixels; these have'),
  ('cyclegan', 'discriminator', {'patch_layers': 4}, 'at most 2 fits'),
  ('cyclegan', 'discriminator', {'generator_norm': 'lrn'}, 'use none, batch, layer,'),
]


@pytest.mark.parametrize(('model', 'player', 'options', 'expected'), WRONG, ids=str)
def test_mistakes_in_options_are_one_line(model, player, options, expected):
  with pytest.raises(errors.UserError) as caught:
    games.build(model, player, **options)
  assert expected in str(caught.value)
  assert '\n' not in str(caught.value)
  assert len(str(caught.value)) < 250


@pytest.mark.parametrize('shape', [(9, 9, 1), (2, 2, 1), (32, 28, 3), (100, 100, 3)])
@pytest.mark.parametrize('player', games.PLAYERS)
def test_sizes_that_do_not_work_say_which_do(player, shape):
  with pytest.raises(errors.UserError) as caught:
    games.build('dcgan', player, shape, depth=0)
  assert 'the same power of two (8, 12, 16, 20, 24, 28, 32' in str(caught.value)
  assert f'{shape[0]}x{shape[1]}' in str(caught.value)
  assert len(str(caught.value)) < 250


@pytest.mark.parametrize('model', MODELS)
def test_what_another_task_gives_is_one_line(model):
  plugin = config_lib.find('models', model)
  task = 'cyclegan' if model == 'cyclegan' else 'gan'
  given = {'outputs': 10, 'shape': (8, 8, 1)}
  with pytest.raises(errors.UserError) as caught:
    plugin.build({**options_lib.defaults(plugin), **given})
  assert str(caught.value) == f'model {model} is two players; use task {task}'
  given = {'player': 'generator', 'shape': (8,), 'classes': 0}
  with pytest.raises(errors.UserError, match='needs images'):
    plugin.build({**options_lib.defaults(plugin), **given})
  if model != 'cyclegan':
    given |= {'shape': (8, 8, 1), 'conditional': True}
    with pytest.raises(errors.UserError, match='needs labels'):
      plugin.build({**options_lib.defaults(plugin), **given})
