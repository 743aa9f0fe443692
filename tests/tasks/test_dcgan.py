"""The nets of noise games, with convolution and without, against torch and the papers.

Radford et al. 2016 (DCGAN), Miyato et al. 2018 (spectral norm), Miyato & Koyama 2018
(projection).
"""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import options as options_lib
from dlsteroids.models.lib import adversarial, blocks
from dlsteroids.train import cost
from tests.fixtures import game_cases as games
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')
GAMES = ('dcgan', 'dense_gan')


def full(player, side=64, **options):
  """DCGAN at its defaults but for `options`."""
  defaults = {
    **games.TINY['dcgan'],
    **options_lib.defaults(config_lib.find('models', 'dcgan')),
  }
  return games.build('dcgan', player, (side, side, 3), **{**defaults, **options})


def count(player, side=64, **options):
  x = games.draw('dcgan', player, 100, (side, side, 3), 2)
  return games.count(full(player, side, **options), 'dcgan', x)


def test_parameters_are_the_papers():
  """Figure 1 of the paper, 5x5; and pytorch/examples dcgan: 3,576,704 and 2,765,568.

  Those have no biases: ours has one on the image, the first convolution and the logit.
  """
  paper = 100 * 16 * 1024 + 2 * 1024
  paper += 25 * (1024 * 512 + 512 * 256 + 256 * 128) + 2 * (512 + 256 + 128)
  assert count('generator', width=128, kernel=5) == paper + 25 * 128 * 3 + 3
  assert count('generator') == 3_576_704 + 3
  assert count('discriminator') == 2_765_568 + 64 + 1


@pytest.mark.parametrize('upsample', adversarial.UPSAMPLES)
def test_parameters_are_the_closed_form(upsample):
  """At 32x32: 4x4x4w, 8x8x2w, 16x16xw; a bias where no norm takes it off."""
  many = 4 if upsample == 'subpixel' else 1
  maps = 7 * 16 * 100 * 4 + many * 9 * (28 * 14 + 14 * 7 + 7 * 3) + 3
  for norm, more in {'batch': 2, 'instance': 2, 'layer': 3, 'none': 1}.items():
    options = {'width': 7, 'kernel': 3, 'upsample': upsample, 'generator_norm': norm}
    assert count('generator', 32, **options) == maps + more * (28 + 14 + 7)
  for norm, more in {'batch': 2, 'instance': 2, 'layer': 3, 'spectral': 1}.items():
    options = {'discriminator_width': 5, 'kernel': 3, 'discriminator_norm': norm}
    weights = 9 * (3 * 5 + 5 * 10 + 10 * 20) + 16 * 20 + 5 + 1
    assert count('discriminator', 32, **options) == weights + more * 30
  options |= {'conditional': True, 'width': 7, 'upsample': upsample}
  weights += games.CLASSES * 20
  assert count('discriminator', 32, **options) == weights + 30
  more = 16 * 28 * games.CLASSES + 2 * (28 + 14 + 7)
  assert count('generator', 32, **options) == maps + more


def test_the_papers_maps():
  """Figure 1: 4x4x1024, 8x8x512, 16x16x256, 32x32x128, 64x64x3; and back."""
  for player, expected in {
    'generator': {
      'project': (4, 1024),
      'up1': (8, 512),
      'up2': (16, 256),
      'up3': (32, 128),
    },
    'discriminator': {
      'conv1': (32, 128),
      'conv2': (16, 256),
      'conv3': (8, 512),
      'conv4': (4, 1024),
    },
  }.items():
    module = full(player, width=128, discriminator_width=128, kernel=5)
    x = games.draw('dcgan', player, 100, (64, 64, 3), 2)

    def look(x, module=module):
      variables = games.trace_init(module, 'dcgan', x)
      return games.forward(
        module, 'dcgan', variables, x, train=False, mutable=['intermediates']
      )

    out, state = jax.eval_shape(look, x)
    maps = {name.removesuffix('_out'): v for name, v in state['intermediates'].items()}
    shapes = {name: (v[0].shape[1], v[0].shape[3]) for name, v in maps.items()}
    assert shapes == expected
    assert out.shape == ((2, 64, 64, 3) if player == 'generator' else (2,))


@pytest.mark.parametrize(
  ('shape', 'depth', 'base'),
  [
    ((8, 8, 1), 0, (4, 4)),
    ((28, 28, 1), 0, (7, 7)),
    ((32, 32, 3), 0, (4, 4)),
    ((64, 64, 3), 0, (4, 4)),
    ((12, 24, 1), 0, (3, 6)),
    ((4, 4, 1), 0, (2, 2)),
    ((32, 32, 3), 4, (2, 2)),
    ((32, 32, 3), 2, (8, 8)),
    ((18, 6, 1), 1, (9, 3)),
  ],
  ids=str,
)
def test_sizes_that_work(shape, depth, base):
  options = {'depth': depth}
  module = games.build('dcgan', 'generator', shape, **options)
  assert module.base == base
  out = jax.eval_shape(
    lambda z: games.forward(
      module, 'dcgan', games.trace_init(module, 'dcgan', z), z, train=False
    ),
    games.draw('dcgan', 'generator'),
  )
  assert out.shape == (games.BATCH, *shape)
  widths = games.build('dcgan', 'discriminator', shape, **options).widths
  assert len(widths) == len(module.widths)


TORCH = [
  ('dcgan', 'generator', {}),
  ('dcgan', 'generator', {'upsample': 'resize', 'generator_norm': 'layer'}),
  (
    'dcgan',
    'generator',
    {'upsample': 'subpixel', 'generator_norm': 'instance', 'kernel': 3},
  ),
  (
    'dcgan',
    'generator',
    {'conditional': True, 'generator_norm': 'spectral', 'kernel': 5},
  ),
  ('dcgan', 'discriminator', {}),
  ('dcgan', 'discriminator', {'discriminator_norm': 'layer', 'kernel': 5}),
  (
    'dcgan',
    'discriminator',
    {'discriminator_norm': 'instance', 'discriminator_activation': 'tanh'},
  ),
  ('dcgan', 'discriminator', {'discriminator_norm': 'spectral', 'conditional': True}),
  ('dense_gan', 'generator', {'conditional': True}),
  ('dense_gan', 'discriminator', {'conditional': True}),
  ('dense_gan', 'discriminator', {'discriminator_norm': 'spectral'}),
]
FLOAT32 = [TORCH[0], TORCH[7]]


@pytest.mark.parametrize(('model', 'player', 'changes'), TORCH, ids=str)
def test_a_player_is_torchs(model, player, changes, monkeypatch):
  games.compare(model, player, changes, True, 1e-9, monkeypatch)


@pytest.mark.parametrize(('model', 'player', 'changes'), FLOAT32, ids=str)
def test_a_player_is_torchs_in_float32(model, player, changes, monkeypatch):
  games.compare(model, player, changes, False, 1e-4, monkeypatch)


def make_dense(values, vector, **options):
  """A spectrally normalised dense layer and its variables."""
  layer = adversarial.Dense(values.shape[1], spectral=True, use_bias=False, **options)
  return layer, {'params': {'kernel': values}, 'spectral': {'u': vector}}


def test_spectral_norm_divides_by_the_largest_singular_value():
  """Oracle: numpy's SVD, after the power iterations of a hundred passes."""
  generator = np.random.default_rng(0)
  matrix = generator.normal(size=(12, 7)).astype(np.float32)
  layer, variables = make_dense(matrix, np.full(7, 7**-0.5, np.float32))
  x = generator.normal(size=(5, 12)).astype(np.float32)

  def step(state, _):
    y, state = layer.apply({**variables, **state}, x, train=True, mutable=['spectral'])
    return state, y

  start = {'spectral': variables['spectral']}
  state, answers = jax.lax.scan(step, start, None, 100)
  expected = x @ matrix / np.linalg.svd(matrix)[1][0]
  np.testing.assert_allclose(answers[-1], expected, rtol=1e-5, atol=1e-5)
  assert np.abs(answers[0] - expected).max() > 0.01
  found = layer.apply({**variables, **state}, x, train=False)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_spectral_norm_is_torchs_in_training_and_its_gradient():
  """torch.nn.utils.spectral_norm: one iteration, both vectors constant."""
  torch = pytest.importorskip('torch')
  generator = np.random.default_rng(0)
  matrix, vector = generator.normal(size=(6, 4)), generator.normal(size=4)
  vector /= np.linalg.norm(vector)
  x = generator.normal(size=(3, 6))
  linear = torch.nn.utils.spectral_norm(
    torch.nn.Linear(6, 4, bias=False, dtype=torch.float64)
  )
  linear.weight_orig.data = torch.tensor(matrix.T)
  linear.weight_u.data = torch.tensor(vector)
  linear.train()
  expected = linear(torch.tensor(x))
  expected.sin().sum().backward()
  with jax.enable_x64(True):
    layer, variables = make_dense(matrix, vector, dtype=jnp.float64)

    def loss(params):
      y, state = layer.apply(
        {**variables, 'params': params}, x, train=True, mutable=['spectral']
      )
      return jnp.sin(y).sum(), (y, state)

    slope, (y, state) = cases.jit(jax.grad(loss, has_aux=True))(variables['params'])
    kept = cases.jit(lambda: layer.apply(variables, x, train=True))()
  games.close(y, expected.detach().numpy(), 1e-9)
  games.close(slope['kernel'], linear.weight_orig.grad.numpy().T, 1e-9)
  games.close(state['spectral']['u'], linear.weight_u.numpy(), 1e-9)
  games.close(kept, y, 1e-9)  # where the state may not change the answer is the same


def test_a_convolutions_kernel_is_the_matrix_of_its_taps():
  kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype(np.float32)
  matrix = kernel.reshape(18, 5)
  left, sizes, _ = np.linalg.svd(matrix.T)
  layer = adversarial.Conv(5, 3, spectral=True)
  variables = {
    'params': {'kernel': kernel, 'bias': np.zeros(5, np.float32)},
    'spectral': {'u': left[:, 0]},
  }
  x = np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype(np.float32)
  plain = blocks.Conv(5, (3, 3)).apply({'params': variables['params']}, x)
  found = layer.apply(variables, x, train=False)
  np.testing.assert_allclose(found, plain / sizes[0], rtol=1e-4, atol=1e-5)


def test_projection_adds_the_labels_embedding_times_the_summed_map():
  """Miyato and Koyama 2018, equation 3: here with a head over the places."""
  module = games.build('dcgan', 'discriminator', conditional=True)
  x = games.draw('dcgan', 'discriminator')
  variables = games.init(module, 'dcgan', x)
  run = cases.jit(
    lambda variables, x: games.forward(
      module, 'dcgan', variables, x, train=False, mutable=['intermediates']
    )
  )
  out, state = run(variables, x)
  last = np.asarray(state['intermediates']['conv2_out'][0])
  head = last.reshape(4, -1) @ np.asarray(variables['params', 'output', 'kernel'])
  table = np.asarray(variables['params', 'embedding', 'kernel'])
  added = (table[np.arange(4) % 3] * last.sum((1, 2))).sum(1)
  np.testing.assert_allclose(out, head[:, 0] + added, rtol=1e-4, atol=1e-5)


def test_a_conditional_generator_reads_its_label():
  for model in GAMES:
    module = games.build(model, 'generator', conditional=True)
    z = games.draw(model, 'generator')
    params = games.init(module, model, z)
    nested = flax.traverse_util.unflatten_dict(params)
    hyper = cases.hyper(model)

    @cases.jit
    def run(label, module=module, nested=nested, z=z, hyper=hyper):
      return module.apply(nested, z, train=False, hyper=hyper, label=label)

    assert np.abs(run(np.full(4, 0)) - run(np.full(4, 1))).max() > 1e-3
    with pytest.raises(ValueError, match='label='):
      module.apply(nested, z, train=False, hyper=hyper)


def test_nearest_neighbours_and_pixels_of_channels():
  x = np.arange(12.0, dtype=np.float32).reshape(1, 2, 3, 2)
  expected = x.repeat(2, 1).repeat(2, 2)
  np.testing.assert_array_equal(adversarial.enlarge(x), expected)


def test_the_papers_generator_counts_as_the_closed_form():
  """64x64, 5x5: a transposed convolution is its input's positions times taps."""
  net = full('generator', 64, width=128, kernel=5)
  z = jax.ShapeDtypeStruct((1, 100), jnp.float32)
  hyper = {'model.slope': 0.2}
  variables = jax.eval_shape(
    lambda z: net.init(jax.random.key(0), z, train=False, hyper=hyper), z
  )
  run = functools.partial(net.apply, train=False, hyper=hyper)
  maps = [(4, 1024, 512), (8, 512, 256), (16, 256, 128), (32, 128, 3)]
  expected = 2 * (100 * 16 * 1024 + sum(25 * s**2 * a * b for s, a, b in maps))
  assert cost.nominal(run, variables, z).flops == expected
