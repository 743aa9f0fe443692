"""CycleGAN's nets against torch, the paper's appendix and the authors' parameters.

Zhu et al. 2017, §7.2, and junyanz/pytorch-CycleGAN-and-pix2pix, whose nets have
11,378,179 (nine blocks), 7,837,699 (six) and 2,764,737 (70x70 patches) parameters.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import options as options_lib
from dlsteroids.models.lib import blocks as blocks_lib
from tests.fixtures import game_cases as games
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')


def full(player, side, **options):
  """CycleGAN at its defaults but for `options`, on colour images."""
  defaults = {
    **games.TINY['cyclegan'],
    **options_lib.defaults(config_lib.find('models', 'cyclegan')),
  }
  return games.build('cyclegan', player, (side, side, 3), **{**defaults, **options})


def count(player, side, **options):
  x = jnp.zeros((2, side, side, 3))
  return games.count(full(player, side, **options), 'cyclegan', x)


@pytest.mark.parametrize(('side', 'blocks'), [(256, 9), (128, 6), (252, 6)])
def test_generators_have_the_papers_parameters(side, blocks):
  """c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3; no bias under the norms."""
  ends = 49 * 3 * 64 + 49 * 64 * 3 + 3
  between = 2 * 9 * (64 * 128 + 128 * 256)
  found = count('generator', side)
  assert found == ends + between + blocks * 2 * 9 * 256**2
  idle = 64 + 128 + 256 + blocks * 2 * 256 + 128 + 64
  assert found + idle == {9: 11_378_179, 6: 7_837_699}[blocks]
  assert count('generator', side, affine=True) == found + 2 * idle
  assert count('generator', side, generator_norm='none') == found + idle


def test_discriminators_have_the_papers_parameters():
  """C64-C128-C256-C512 and one map, 4x4."""
  weights = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1
  idle = 128 + 256 + 512
  assert count('discriminator', 256) == weights
  assert weights + idle == 2_764_737
  assert count('discriminator', 256, discriminator_norm='spectral') == weights + idle
  # The authors' PixelDiscriminator, C64-C128 of 1x1, less its idle biases.
  pixels = 3 * 64 + 64 + 64 * 128 + 128 + 1
  assert count('discriminator', 256, patch_layers=0) == pixels
  capped = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 2 * 512 * 512 + 512)
  assert count('discriminator', 256, patch_layers=5) == capped + 64 + 1


@pytest.mark.parametrize(
  ('patch_layers', 'side', 'expected'),
  [(3, 256, 30), (3, 128, 14), (3, 24, 1), (2, 32, 6), (1, 8, 2), (0, 8, 8)],
)
def test_a_discriminator_makes_a_map_of_patches(patch_layers, side, expected):
  module = full('discriminator', side, patch_layers=patch_layers)

  def run(x):
    variables = games.trace_init(module, 'cyclegan', x)
    return games.forward(module, 'cyclegan', variables, x, train=False)

  out = jax.eval_shape(run, jnp.zeros((2, side, side, 3)))
  assert out.shape == (2, expected, expected)


@pytest.mark.parametrize(
  ('patch_layers', 'pixels'), [(0, 1), (1, 16), (2, 34), (3, 70)]
)
def test_a_logit_sees_its_patch(patch_layers, pixels):
  """Where the gradient of the middle logit is not zero. §3: 70x70."""
  side = 112
  options = {'discriminator_norm': 'none', 'discriminator_width': 1, 'init': 'he'}
  options |= {'patch_layers': patch_layers, 'discriminator_activation': 'softplus'}
  module = full('discriminator', side, **options)

  @cases.jit
  def slope(x):
    variables = games.trace_init(module, 'cyclegan', x)

    def middle(x):
      out = games.forward(module, 'cyclegan', variables, x, train=False)
      return out[0, out.shape[1] // 2, out.shape[2] // 2]

    return jax.grad(middle)(x)

  x = games.draw('cyclegan', 'discriminator', shape=(side, side, 3), batch=1)
  seen = np.abs(slope(x)[0]).sum(-1) > 0
  for axis in (0, 1):
    found = np.flatnonzero(seen.any(axis))
    assert found[-1] - found[0] + 1 == pixels


TORCH = [
  ('generator', {}),
  ('generator', {'upsample': 'resize', 'downsamples': 2, 'generator_norm': 'batch'}),
  ('generator', {'padding': 'zero', 'affine': True, 'upsample': 'subpixel'}),
  ('generator', {'generator_norm': 'spectral', 'residual': False, 'downsamples': 0}),
  ('discriminator', {'patch_layers': 2}),
  ('discriminator', {'patch_layers': 1, 'discriminator_norm': 'batch', 'affine': True}),
  ('discriminator', {'patch_layers': 0, 'discriminator_norm': 'spectral'}),
]


@pytest.mark.parametrize(('player', 'changes'), TORCH, ids=str)
def test_a_player_is_torchs(player, changes, monkeypatch):
  """Answer and gradients in training, copied weights, batch norm's averages."""
  games.compare('cyclegan', player, changes, True, 1e-9, monkeypatch)


@pytest.mark.parametrize(('player', 'changes'), [TORCH[0]], ids=str)
def test_a_player_is_torchs_in_float32(player, changes, monkeypatch):
  games.compare('cyclegan', player, changes, False, 1e-4, monkeypatch)


def test_a_generator_keeps_any_size_and_makes_the_channels_asked_for():
  """From grey to colour, sides that are no square."""
  plugin = config_lib.find('models', 'cyclegan')
  section = {**options_lib.defaults(plugin), **games.TINY['cyclegan'], 'downsamples': 2}
  given = {'player': 'generator', 'shape': (12, 20, 1), 'outputs': 3}
  module = plugin.build({**section, **given})
  x = jnp.zeros((2, 12, 20, 1))

  def run(x):
    variables = games.trace_init(module, 'cyclegan', x)
    return games.forward(module, 'cyclegan', variables, x, train=False)

  assert jax.eval_shape(run, x).shape == (2, 12, 20, 3)


def test_a_reflection_has_no_border():
  """A constant image stays constant; zeros around it do not leave it so."""
  x = jnp.full((1, 12, 12, 2), 0.5)
  options = {'downsamples': 0, 'generator_norm': 'none'}
  modules = [
    games.build('cyclegan', 'generator', padding=padding, **options)
    for padding in ('reflect', 'zero')
  ]

  @cases.jit
  def run(x):
    variables = games.trace_init(modules[0], 'cyclegan', x)
    return [
      games.forward(module, 'cyclegan', variables, x, train=False) for module in modules
    ]

  flat, bent = (np.ptp(np.asarray(images), (1, 2)).max() for images in run(x))
  assert flat < 1e-5 < 1e-2 < bent


@pytest.mark.parametrize('affine', [False, True])
def test_instance_norm_standardises_each_channel_of_each_image(affine):
  x = np.random.default_rng(0).normal(2, 3, (3, 4, 5, 6)).astype(np.float32)
  norm = blocks_lib.Norm('instance', affine=affine)
  variables = norm.init(jax.random.key(0), x, train=True)
  names = flax.traverse_util.flatten_dict(dict(variables))
  learned = {('params', 'instance', part) for part in ('scale', 'bias')}
  assert names.keys() == (learned if affine else set())
  centred = x - x.mean((1, 2), keepdims=True, dtype=np.float64)
  expected = centred / np.sqrt(x.var((1, 2), keepdims=True, dtype=np.float64) + 1e-5)
  for train in (True, False):
    found = cases.jit(lambda x, train=train: norm.apply(variables, x, train=train))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
