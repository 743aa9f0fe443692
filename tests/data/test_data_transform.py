"""Normalisation and augmentation against numpy, under jit, vmap and scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlsteroids import rng
from dlsteroids.config import options as options_lib
from dlsteroids.data import digits, image_folder, mnist
from dlsteroids.data.lib import images, transform
from dlsteroids.util import errors

GENERATOR = np.random.default_rng(0)
PLAIN = {'flip': False, 'crop': 0, 'colour': 0.0, 'cutout': 0, 'range': 'standard'}
# Correlated channels, so that the principal axes are not the coordinate axes.
MIX = np.array([[1.0, 0.4, 0.1], [0.2, 0.9, 0.3], [0.1, 0.1, 0.5]])
IMAGES = np.clip(GENERATOR.normal(128, 40, (64, 8, 6, 3)) @ MIX, 0, 255).astype(
  np.uint8
)
KEYS = rng.Keys(rng.root(0), 3)


def apply(config, images=IMAGES, keys=KEYS, train=True):
  moments = transform.measure(images)
  fn = transform.make(moments, images.shape[1:], {**PLAIN, **config})
  batch = {'image': jnp.asarray(images), 'label': jnp.arange(len(images))}
  return fn(batch, keys, train=train)


@pytest.mark.parametrize('channels', [1, 2, 3])
def test_moments_are_numpys(channels):
  images = np.ascontiguousarray(IMAGES[..., :channels])
  pixels = images.reshape(-1, channels).astype(np.float64)
  moments = transform.measure(images)
  np.testing.assert_allclose(moments.mean, pixels.mean(0), rtol=1e-12)
  expected = np.cov(pixels.T, bias=True).reshape(channels, channels)
  np.testing.assert_allclose(moments.covariance, expected, rtol=1e-9)


def test_moments_are_exact_across_chunks(monkeypatch):
  whole = transform.measure(IMAGES)
  monkeypatch.setattr(transform, 'CHUNK', 7)
  for one, other in zip(whole, transform.measure(IMAGES), strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('channels', [1, 3])
def test_constant_channel_is_refused(channels):
  with pytest.raises(errors.UserError, match=r'channel 0 .* one value .*\(7\)'):
    transform.measure(np.full((2, 4, 4, channels), 7, np.uint8))


def test_normalised_images_have_mean_0_and_sd_1():
  result = apply({}, train=False)
  assert result['image'].dtype == jnp.float32
  np.testing.assert_allclose(result['image'].mean((0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(result['image'].std((0, 1, 2)), 1, atol=1e-5)
  np.testing.assert_array_equal(result['label'], np.arange(64))


def test_evaluation_sees_no_augmentation():
  full = {'flip': True, 'crop': 2, 'colour': 0.1, 'cutout': 3}
  np.testing.assert_array_equal(
    apply(full, train=False)['image'], apply({}, train=True)['image']
  )


def test_flip_is_an_involution_and_chooses_by_coin():
  key = jax.random.key(1)
  image = jnp.asarray(IMAGES)
  once = transform.move(image, key, flip=True, pad=0)
  twice = transform.move(once, key, flip=True, pad=0)
  np.testing.assert_array_equal(twice, image)
  flipped = np.array([(once[i] == image[i, :, ::-1]).all() for i in range(64)])
  kept = np.array([(once[i] == image[i]).all() for i in range(64)])
  np.testing.assert_array_equal(flipped, ~kept)
  assert 16 < flipped.sum() < 48  # 4 standard deviations around 32


def test_crops_are_windows_of_the_framed_image_and_reach_every_place():
  pad = 2
  image = 1 + jnp.arange(500 * 6 * 5 * 2, dtype=jnp.float32).reshape(500, 6, 5, 2)
  result = np.asarray(transform.move(image, jax.random.key(0), flip=False, pad=pad))
  assert result.shape == image.shape
  framed = np.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  seen = set()
  for one, frame in zip(result, framed, strict=True):
    places = [
      (y, x)
      for y in range(2 * pad + 1)
      for x in range(2 * pad + 1)
      if (one == frame[y : y + 6, x : x + 5]).all()
    ]
    assert len(places) == 1
    seen.update(places)
  assert len(seen) == 25  # of 500 draws; one place is missed with p < 1e-7


def test_principal_axes_are_the_eigenvectors_times_eigenvalues():
  covariance = transform.measure(IMAGES).covariance
  axes = transform.principal(covariance)
  for axis in axes.T:
    value = np.linalg.norm(axis)
    np.testing.assert_allclose(covariance / 255**2 @ axis, value * axis, rtol=1e-9)
    assert axis[np.argmax(np.abs(axis))] > 0
  np.testing.assert_allclose(
    np.linalg.norm(axes, axis=0).sum(), np.trace(covariance) / 255**2
  )


def test_colour_shifts_whole_images_along_the_axes_with_mean_0():
  many = np.repeat(IMAGES[:1], 4000, axis=0)
  fn = transform.make(transform.measure(IMAGES), (8, 6, 3), {**PLAIN, 'colour': 0.1})
  plain = fn({'image': many}, KEYS, train=False)['image']
  shift = np.asarray(fn({'image': many}, KEYS, train=True)['image'] - plain)
  np.testing.assert_allclose(shift, shift[:, :1, :1] + 0 * shift, atol=1e-5)
  covariance = transform.measure(IMAGES).covariance
  # In pixels of 0..255: the covariance of P·(λ ∘ α)·255, α of sd 0.1
  pixels = shift[:, 0, 0] * np.sqrt(np.diag(covariance))
  axes = 255 * 0.1 * transform.principal(covariance)
  expected = axes @ axes.T
  largest = np.diag(expected).max()
  assert np.abs(pixels.mean(0)).max() < 5 * np.sqrt(largest / 4000)
  np.testing.assert_allclose(np.cov(pixels.T), expected, atol=0.15 * largest)


def test_one_augmentation_moves_no_other():
  both = apply({'flip': True, 'crop': 2})['image']
  crop = apply({'crop': 2})['image']
  flip = apply({'flip': True})['image']
  moved = np.array([not np.array_equal(*pair) for pair in zip(both, crop, strict=True)])
  flipped = np.array(
    [not np.array_equal(*pair) for pair in zip(flip, apply({})['image'], strict=True)]
  )
  np.testing.assert_array_equal(moved, flipped)


@pytest.mark.parametrize(
  'config', [{'flip': True}, {'crop': 2}, {'colour': 0.1}, {'cutout': 4}]
)
def test_augmentation_depends_on_the_seed_and_the_step(config):
  base, again, seed, step = (
    apply(config, keys=rng.Keys(rng.root(s), i))['image']
    for s, i in ((0, 3), (0, 3), (1, 3), (0, 4))
  )
  np.testing.assert_array_equal(base, again)
  assert (base != seed).any()
  assert (base != step).any()


def test_jit_vmap_and_scan_agree_with_a_loop():
  full = {**PLAIN, 'flip': True, 'crop': 2, 'colour': 0.1, 'cutout': 3}
  fn = transform.make(transform.measure(IMAGES), (8, 6, 3), full)

  def see(seed, step):
    keys = rng.Keys(rng.root(seed), step)
    return fn({'image': jnp.asarray(IMAGES)}, keys, train=True)['image']

  def stretch(seed):
    return jax.lax.scan(lambda carry, i: (carry, see(seed, i)), 0, jnp.arange(3))[1]

  batched = jax.jit(jax.vmap(stretch))(jnp.arange(2))
  for seed in range(2):
    for step in range(3):
      expected = see(seed, step)
      np.testing.assert_allclose(batched[seed, step], expected, atol=1e-5)


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ({'crop': -1}, r'crop must be at least 0'),
    ({'crop': 8}, r'crop must lie in 0\.\.7'),
    ({'cutout': -1}, r'cutout must be at least 0'),
    ({'cutout': 9}, r'cutout must lie in 0\.\.8 for 8×8 images, not 9'),
    ({'random_labels': 1.5}, r'random_labels must lie in \[0, 1\], not 1\.5'),
    ({'colour': -0.1}, 'colour must be'),
    ({'colour': float('inf')}, 'colour must be'),
    ({'colour': 0.1}, 'needs images of 3 channels; these have 1'),
  ],
)
def test_options_out_of_range_are_refused(config, message):
  with pytest.raises(errors.UserError, match=message):
    digits.load(config)


# Holes and random labels


@pytest.mark.parametrize('side', [1, 2, 3])
def test_a_hole_is_a_square_around_every_pixel_cut_off_by_the_edge(side):
  image = jnp.ones((600, 4, 5, 2))
  key = jax.random.key(3)
  result = np.asarray(transform.cut_out(image, key, side=side, fill=-2.0))
  seen = set()
  for one in result:
    holes = []
    for y in range(4):
      for x in range(5):
        expected = np.ones((4, 5, 2))
        top, left = y - side // 2, x - side // 2
        expected[max(0, top) : top + side, max(0, left) : left + side] = -2
        holes += [(y, x)] if (one == expected).all() else []
    assert holes
    seen.update(holes)
  assert len(seen) == 20  # of 600 draws; one place is missed with p < 1e-11


@pytest.mark.parametrize('kind', ['standard', 'tanh'])
def test_holes_have_the_training_mean_and_are_cut_last(kind):
  rest = {'flip': True, 'crop': 2, 'colour': 0.1, 'range': kind}
  plain, cut = apply(rest)['image'], apply({**rest, 'cutout': 4})['image']
  mean = IMAGES.reshape(-1, 3).astype(np.float64).mean(0)
  fill = mean / 127.5 - 1 if kind == 'tanh' else np.zeros(3)
  hole = np.abs(np.asarray(cut) - fill).max(-1) < 1e-5
  np.testing.assert_array_equal(np.asarray(cut)[~hole], np.asarray(plain)[~hole])
  assert ((hole.sum((1, 2)) >= 4) & (hole.sum((1, 2)) <= 16)).all()


def test_random_labels_are_of_training_only_and_fixed_by_the_seed():
  true = digits.load({}).arrays['label']

  def labels(share, seed=0, step=0, train=True):
    dataset = digits.load({'random_labels': share})
    keys = rng.Keys(rng.root(seed), step)
    batch = dataset.take(dataset.arrays, np.arange(1797)[::-1], train=train)
    seen = dataset.transform(batch, keys, train=train)
    assert seen.keys() == {'image', 'label'}
    return np.asarray(seen['label'])[::-1]

  half, more, every = labels(0.5), labels(0.8), labels(1.0)
  np.testing.assert_array_equal(half, labels(0.5, step=7))
  np.testing.assert_array_equal(true, labels(1.0, train=False))
  assert (half != labels(0.5, seed=1)).mean() > 0.4
  # 9 of 10 random labels are wrong; standard errors are below 0.012.
  for share, seen in ((0.5, half), (0.8, more), (1.0, every)):
    assert abs((seen != true).mean() - 0.9 * share) < 0.05
  changed = half != true  # and they are the same at every larger share
  np.testing.assert_array_equal(half[changed], more[changed])
  counts = np.bincount(every, minlength=10)
  assert (np.abs(counts - 179.7) < 60).all()


def test_an_option_that_is_off_leaves_the_digest():
  plain = digits.load({}).digest
  assert plain == digits.load({'cutout': 0, 'random_labels': 0.0}).digest
  changed = {digits.load(c).digest for c in ({'cutout': 3}, {'random_labels': 0.1})}
  assert len({plain, *changed}) == 3


# The range of nets that make images


def test_tanh_is_pixels_over_127_5_less_1():
  every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  seen = np.asarray(apply({'range': 'tanh'}, every, train=False)['image'])
  assert seen.dtype == np.float32
  expected = np.arange(256) / 127.5 - 1
  np.testing.assert_allclose(seen.ravel(), expected, rtol=0, atol=1e-7)
  assert seen.min() == -1
  assert seen.max() == 1
  np.testing.assert_array_equal(transform.signed(every), seen)


@pytest.mark.parametrize('config', [{}, {'flip': True}, {'flip': True, 'crop': 2}])
def test_both_ranges_show_the_same_images(config):
  """Standardised by numpy, tanh's are the default's: frames and draws included."""
  pixels = IMAGES.reshape(-1, 3).astype(np.float64)
  plain = np.asarray(apply(config)['image'])
  tanh = np.asarray(apply({**config, 'range': 'tanh'})['image'], np.float64)
  expected = ((tanh + 1) * 127.5 - pixels.mean(0)) / pixels.std(0)
  np.testing.assert_allclose(plain, expected, atol=1e-5)


def test_colour_shift_stays_in_the_range_of_tanh():
  config = {'colour': 3.0, 'range': 'tanh'}  # far too strong
  seen = np.asarray(apply(config)['image'])
  assert seen.min() == -1
  assert seen.max() == 1
  pixels = IMAGES.reshape(-1, 3).astype(np.float64)
  plain = np.asarray(apply({'colour': 3.0})['image'])
  shown = (plain * pixels.std(0) + pixels.mean(0)) / 127.5 - 1
  np.testing.assert_allclose(seen, np.clip(shown, -1, 1), atol=1e-4)
  still = apply(config, train=False)['image']
  np.testing.assert_array_equal(still, transform.signed(IMAGES))


def test_unknown_range_is_one_line():
  for module in (digits, mnist, image_folder):
    assert module.OPTIONS['range'].default == 'standard'
  message = (
    r"^config\.data\.range: unknown 'tan' \(did you mean 'tanh'\?\); use standard"
  )
  with pytest.raises(errors.UserError, match=message):
    digits.load({'range': 'tan'})


def test_range_changes_the_digest_and_the_default_does_not():
  plain, tanh = digits.load({}), digits.load({'range': 'tanh'})
  assert plain.digest == digits.load({'range': 'standard'}).digest != tanh.digest
  assert plain.facts == {}
  assert tanh.facts == {'range': 'tanh'}
  # As published before there was a range.
  raw = plain.arrays
  parts = images.Parts(
    'digits', raw['image'], raw['label'], (1797, 0, 0), plain.classes
  )
  before = options_lib.defaults(digits)
  for younger in ('range', 'cutout', 'random_labels'):
    del before[younger]
  assert images.digest(parts, before) == plain.digest


# Enlarged, then cropped


def enlarge(image, by):
  """Pillow's bilinear enlargement of float [H, W, C]."""
  height, width, channels = image.shape
  size = (width + by, height + by)
  planes = [Image.fromarray(image[..., c]) for c in range(channels)]
  return np.stack(
    [np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes], 2
  )


def test_zoom_cuts_windows_of_pillows_enlarged_image_at_every_place():
  by = 2
  image = GENERATOR.normal(size=(150, 6, 5, 2)).astype(np.float32)
  result = np.asarray(transform.zoom(jnp.asarray(image), jax.random.key(0), by=by))
  assert result.shape == image.shape
  seen = set()
  for one, whole in zip(result, image, strict=True):
    frame = enlarge(whole, by)
    places = [
      (y, x)
      for y in range(by + 1)
      for x in range(by + 1)
      if np.allclose(one, frame[y : y + 6, x : x + 5], atol=1e-5)
    ]
    assert len(places) == 1
    seen.update(places)
  assert len(seen) == 9  # of 150 draws; one place is missed with p < 1e-6


def test_zoom_by_nothing_is_the_image():
  image = jnp.asarray(IMAGES, jnp.float32)
  np.testing.assert_array_equal(transform.zoom(image, jax.random.key(0), by=0), image)
