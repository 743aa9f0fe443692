"""Every player of every game, and what every value of every option must satisfy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import options as options_lib
from dlsteroids.models.lib import adversarial, blocks
from tests.fixtures import game_cases as games
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')
MODELS = tuple(games.CHOICES)
TURNS = [(model, player) for model in MODELS for player in games.PLAYERS]


def test_the_cases_cover_every_option():
  for model, options in games.CHOICES.items():
    assert (
      options.keys() == options_lib.defaults(config_lib.find('models', model)).keys()
    )
    assert all(len(values) > 1 for values in options.values())
    for option, names in {
      'upsample': adversarial.UPSAMPLES,
      'generator_norm': adversarial.NORMS,
    }.items():
      allowed = set(names) - ({'instance'} if model == 'dense_gan' else set())
      assert option not in options or set(options[option]) == allowed


def play(players, model, own, other, x, slope):
  """D(G(x)) in training: what both make, their states, and every gradient."""
  run = functools.partial(games.forward, model=model, train=True, slope=slope)

  def loss(own, other):
    made, state = run(players[0], variables=own, x=x, mutable=games.states(own))
    found, states = run(
      players[1], variables=other, x=made, mutable=games.states(other)
    )
    return jnp.sin(found).sum(), (made, found, state, states)

  return jax.grad(loss, (0, 1), has_aux=True)(own, other)


MIXTURES = [(model, row) for model in MODELS for row in cases.mix(games.CHOICES[model])]


@pytest.mark.parametrize(
  ('model', 'options'),
  MIXTURES,
  ids=lambda value: value if isinstance(value, str) else '',
)
def test_every_option_value_learns(model, options):
  """Shapes, dtypes, finite values, and a gradient in every parameter."""
  players = [games.build(model, player, **options) for player in games.PLAYERS]
  x = games.draw(model, 'generator', options.get('latent'))
  images = np.zeros((games.BATCH, *games.SHAPES[model]), np.float32)
  args = []
  for module, given in zip(players, (x, images)):
    start = jax.eval_shape(functools.partial(games.trace_init, module, model, given))
    assert all(leaf.dtype == jnp.float32 for leaf in start.values())
    args.append(games.randomise(module, model, given, dtype=np.float32))
  run = cases.jit(functools.partial(play, players, model))
  slopes, (made, found, *states) = run(*args, x, options['slope'])
  assert (made.shape, made.dtype) == (images.shape, jnp.float32)
  assert np.abs(made).max() <= 1
  assert found.shape == (games.BATCH, *found.shape[1:])
  assert found.ndim == (3 if model == 'cyclegan' else 1)
  for leaf in jax.tree.leaves((slopes, made, found, states)):
    assert leaf.dtype == jnp.float32
    assert np.isfinite(leaf).all()
  for slope in slopes:
    for path, leaf in slope.items():
      assert path[0] != 'params' or np.abs(leaf).max() > 1e-9, path


def describe(model, options, player):
  """The program of a player's first values and answer, and its numbers."""
  module = games.build(model, player, **options)
  latent = {**games.TINY[model], **options}.get('latent')
  x = jnp.zeros(games.draw(model, player, latent).shape)

  def run(x):
    variables = games.trace_init(module, model, x)
    return games.forward(
      module, model, variables, x, train=True, mutable=games.states(variables)
    )

  return str(jax.make_jaxpr(run)(x))


@pytest.mark.parametrize('model', MODELS)
def test_every_option_value_changes_the_player_that_it_names(model):
  """And leaves the other alone. A traced number changes the answer."""
  base = {player: describe(model, {}, player) for player in games.PLAYERS}
  defaults = options_lib.defaults(config_lib.find('models', model))
  one = {  # options of one player that do not say so by name
    **dict.fromkeys(('latent', 'width', 'downsamples', 'blocks'), 'generator'),
    **dict.fromkeys(('residual', 'stem_kernel', 'padding', 'upsample'), 'generator'),
    'patch_layers': 'discriminator',
  }
  if model == 'cyclegan':
    one['kernel'] = 'generator'
  for option, values in games.CHOICES[model].items():
    own = one.get(option, option.partition('_')[0])
    used = {**defaults, **games.TINY[model]}[option]
    for value in set(values) - {used}:
      if option == 'slope' or (option, value) == ('depth', 0):
        continue  # traced; 0 is 1 for images of 8x8
      changed = {
        player: describe(model, {option: value}, player) != base[player]
        for player in games.PLAYERS
      }
      both = own not in games.PLAYERS
      expected = {player: both or own == player for player in games.PLAYERS}
      assert changed == expected, (option, value)


@pytest.mark.parametrize('model', MODELS)
def test_the_slope_is_the_papers_and_traced(model):
  plugin = config_lib.find('models', model)
  assert options_lib.defaults(plugin)['slope'] == 0.2
  assert options_lib.traced(plugin) == ['slope']
  leaky = blocks.sloped_activation('model.x', 'leaky_relu')
  x = np.array([-2.0, 0.0, 3.0], np.float32)
  np.testing.assert_allclose(leaky(x, np.float32(0.2)), [-0.4, 0, 3], rtol=1e-6)
  module = games.build(model, 'discriminator')
  images = games.draw(model, 'discriminator')
  variables = games.randomise(module, model, images, dtype=np.float32)
  run = cases.jit(
    lambda slope: games.forward(
      module, model, variables, images, train=False, slope=slope
    )
  )
  assert np.abs(run(0.2) - run(0.01)).max() > 1e-4


@pytest.mark.parametrize(('model', 'player'), TURNS)
def test_bfloat16_computes_every_product_in_it(model, player):
  module = games.build(model, player, dtype='bfloat16')
  plain = games.build(model, player)
  x = games.draw(model, player)
  variables = games.randomise(plain, model, x, dtype=np.float32)
  run = functools.partial(games.forward, model=model, train=False)
  half, full = cases.jit(
    lambda v, x: [run(each, variables=v, x=x) for each in (module, plain)]
  )(variables, x)
  assert half.dtype == jnp.float32
  assert 0 < np.abs(half - full).max() < 0.06 * np.abs(full).max()
  text = str(
    jax.make_jaxpr(lambda v, x: games.forward(module, model, v, x, train=False))(
      variables, x
    )
  )
  products = [
    line for line in text.splitlines() if '= dot_general' in line or '= conv_g' in line
  ]
  assert products
  assert all(':bf16[' in line.split('=')[0] for line in products)


PLAIN = {  # layers that no norm follows
  ('dcgan', 'generator'): {'output'},
  ('dcgan', 'discriminator'): {'conv1', 'output'},
  ('dense_gan', 'generator'): {'output'},
  ('dense_gan', 'discriminator'): {'stack/dense0', 'output'},
  ('cyclegan', 'generator'): {'output'},
  ('cyclegan', 'discriminator'): {'conv0', 'output'},
}


@pytest.mark.parametrize(('model', 'player'), TURNS)
def test_no_bias_directly_before_a_norm_that_takes_it_off(model, player):
  """STYLE 11; it returns when the norm is ablated. Spectral norm is none of maps."""
  x = games.draw(model, player)
  for norm in games.CHOICES[model][f'{player}_norm']:
    module = games.build(model, player, **{f'{player}_norm': norm})
    found = games.shapes(module, model, x)
    layers = {'/'.join(path[:-1]) for path in found if path[-1] == 'kernel'}
    biased = {
      '/'.join(path[:-1])
      for path in found
      if path[-1] == 'bias' and not any('norm' in part for part in path)
    }
    normed = {part for path in found for part in path if part.startswith('norm')}
    taken = norm in ('batch', 'instance')
    assert biased == (PLAIN[model, player] if taken else layers), norm
    if model != 'cyclegan':  # whose norms learn nothing
      assert bool(normed) == (norm in ('batch', 'layer', 'instance'))
    collections = {
      path[0]
      for path in jax.eval_shape(
        lambda module=module: games.trace_init(module, model, x)
      )
    }
    assert ('spectral' in collections) == (norm == 'spectral')


ARMS = {  # options, and kernels that all of them share
  ('dcgan', 'generator'): (
    [{}, *({'generator_norm': n} for n in games.NORMS), {'upsample': 'resize'}],
    {'project', 'up1', 'output'},
  ),
  ('dcgan', 'discriminator'): (
    [{}, *({'discriminator_norm': n} for n in games.NORMS), {'conditional': True}],
    {'conv1', 'conv2', 'output'},
  ),
  ('dense_gan', 'generator'): (
    [{}, {'generator_norm': 'none'}, {'generator_norm': 'spectral'}],
    {'stack/dense0', 'stack/dense1', 'output'},
  ),
  ('dense_gan', 'discriminator'): (
    [{}, {'discriminator_norm': 'none'}, {'conditional': True}],
    {'stack/dense0', 'stack/dense1', 'output'},
  ),
  ('cyclegan', 'generator'): (
    [
      {},
      *({'generator_norm': n, 'affine': True} for n in games.NORMS),
      *({'residual': False}, {'padding': 'zero'}, {'upsample': 'resize'}),
    ],
    {'stem', 'down0', 'block0/conv0', 'block0/conv1', 'up0', 'output'},
  ),
  ('cyclegan', 'discriminator'): (
    [{}, *({'discriminator_norm': n} for n in games.NORMS), {'patch_layers': 2}],
    {'conv0', 'conv1'},
  ),
}


@pytest.mark.parametrize(('model', 'player'), TURNS)
def test_shared_layers_start_equal(model, player):
  """Whichever norm and way up: compared are the keys that values are drawn with."""
  arms, shared = ARMS[model, player]
  modules = [
    games.build(model, player, **{**options, 'init': 'tests.fixtures.model_cases.mark'})
    for options in arms
  ]
  x = games.draw(model, player)

  @cases.jit
  def start():
    return [
      {
        '/'.join(path[1:-1]): leaf.ravel()[0]
        for path, leaf in games.trace_init(module, model, x).items()
        if path[-1] == 'kernel'
      }
      for module in modules
    ]

  seen: dict = {}
  for found in start():
    for name, value in found.items():
      seen.setdefault(name, []).append(float(value))
  for name in shared:
    assert len(seen[name]) == len(arms)
    assert len(set(seen[name])) == 1, name
  first = [values[0] for values in seen.values()]
  assert len(set(first)) == len(first)
