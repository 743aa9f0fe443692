"""Images against their neighbours and against a known truth, by pixels.

Oracles: loops over pairs and windows, and scikit-image 0.26.0.
"""

import math

import numpy as np
import pytest

from dlsteroids.data import digits
from dlsteroids.tasks.lib import distances, similarity
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')
DATA = digits.load({})


# Neighbours in pixels


def test_nearest_equals_a_loop(monkeypatch):
  generator = np.random.default_rng(0)
  train = generator.integers(0, 256, (23, 3, 4, 2), np.uint8)
  samples = np.tanh(generator.normal(size=(7, 3, 4, 2))).astype(np.float32)
  samples[4] = train[9] / np.float32(127.5) - 1

  def distance(a, b):
    return math.dist(np.float64(a).ravel(), b.ravel() / 127.5 - 1)

  wanted = [[distance(a, b) for b in train] for a in samples]
  for block in (1 << 22, 50):
    monkeypatch.setattr(distances, 'BLOCK', block)
    indices, found = similarity.nearest(samples, train)
    assert indices.tolist() == np.argmin(wanted, 1).tolist()
    np.testing.assert_allclose(found, np.min(wanted, 1), rtol=1e-12, atol=1e-6)
  assert indices[4] == 9
  assert similarity.nearest(train, train)[1].tolist() == [0] * 23


def test_copies_of_training_images_are_seen():
  split = DATA.split(0)
  image = DATA.arrays['image']
  train, test = image[split['train']], image[split['test']]
  fresh = similarity.memorised(image[split['validation']], train, test)
  assert fresh['ratio'] == pytest.approx(1, abs=0.1)
  near = np.clip(train[:100].astype(int) + 5, 0, 255).astype(np.uint8)
  assert similarity.memorised(near, train, test)['ratio'] < 0.4
  assert similarity.memorised(train[:50], train, test)['ratio'] == 0
  assert math.isnan(similarity.memorised(test, train, train[:9])['ratio'])


# Against a known truth


def pair(height, width, channels, seed, count=1):
  """Two images [count, H, W, C] in [-1, 1], the second a noisy copy."""
  generator = np.random.default_rng(seed)
  shape = (height, width, channels)
  pairs = []
  for _ in range(count):
    x = generator.uniform(-1, 1, shape)
    y = np.clip(x + generator.normal(0, 0.3, shape), -1, 1)
    pairs.append((x, y))
  x, y = (np.stack(side).astype(np.float32) for side in zip(*pairs, strict=True))
  return x, y


# scikit-image 0.26.0: structural_similarity(x, y, gaussian_weights=True, sigma=1.5,
# use_sample_covariance=False, data_range=2.0, channel_axis=2) on float64 copies, and
# peak_signal_noise_ratio(x, y, data_range=2.0).
PUBLISHED = [
  ((32, 28, 3), 32, 0.6474888016126906, 17.29344137847233),
  ((11, 11, 1), 11, 0.9396172380623065, 18.17268988073033),
  ((28, 28, 1), 28, 0.5466561873822435, 17.53412500727966),
]


@pytest.mark.parametrize(('shape', 'seed', 'ssim', 'psnr'), PUBLISHED)
def test_ssim_and_psnr_equal_scikit_images(shape, seed, ssim, psnr):
  x, y = pair(*shape, seed)
  run = cases.jit(lambda x, y: (similarity.ssim(x, y), similarity.psnr(x, y)))
  found = run(x, y)
  assert found[0][0] == pytest.approx(ssim, abs=2e-5)
  assert found[1][0] == pytest.approx(psnr, rel=1e-5)


@pytest.mark.parametrize('shape', [(8, 8, 1), (9, 12, 2), (13, 11, 1)])
def test_ssim_equals_a_loop_over_windows(shape):
  x, y = pair(*shape, seed=1, count=2)
  size = {8: 7, 9: 9, 13: 11}[shape[0]]
  half = size // 2
  offsets = [(i, j) for i in range(-half, half + 1) for j in range(-half, half + 1)]
  weights = np.array([math.exp(-(i * i + j * j) / 4.5) for i, j in offsets])
  weights /= weights.sum()
  wanted = []
  for a, b in zip(x.astype(float), y.astype(float), strict=True):
    values = []
    for i, j, c in np.ndindex(shape[0] - 2 * half, shape[1] - 2 * half, shape[2]):
      p = a[i : i + size, j : j + size, c].ravel()
      q = b[i : i + size, j : j + size, c].ravel()
      m, n = weights @ p, weights @ q
      v, w = weights @ (p - m) ** 2, weights @ (q - n) ** 2
      both = weights @ ((p - m) * (q - n))
      light = (2 * m * n + 0.0004) / (m * m + n * n + 0.0004)
      values.append(light * (2 * both + 0.0036) / (v + w + 0.0036))
    wanted.append(np.mean(values))
  np.testing.assert_allclose(cases.jit(similarity.ssim)(x, y), wanted, atol=2e-5)


def test_per_image_numbers_of_known_images():
  x, y = pair(8, 8, 3, seed=2, count=3)
  l1, psnr, ssim = map(cases.jit, (similarity.l1, similarity.psnr, similarity.ssim))
  for measure in (l1, psnr, ssim):
    found = measure(x, y)
    assert found.shape == (3,)
    np.testing.assert_allclose(measure(x[1:2], y[1:2]), found[1:2], rtol=1e-5)
  np.testing.assert_allclose(ssim(x, x), 1, rtol=1e-5)
  np.testing.assert_allclose(psnr(x, x), 100, rtol=1e-5)
  white = np.ones((1, 8, 8, 3), np.float32)
  assert psnr(white, -white)[0] == 0  # an error as large as the span
  assert l1(white, -white)[0] == 2
  # Flat images: only the first factor of SSIM speaks.
  half = ssim(white, white / 2)[0]
  assert half == pytest.approx((1 + 0.0004) / (1.25 + 0.0004), rel=1e-4)
  assert ssim(white[:, :1, :1], white[:, :1, :1])[0] == pytest.approx(1)
