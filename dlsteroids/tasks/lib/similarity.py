"""How alike images are: to a known truth, pixel by pixel, and to their neighbours.

Images are float32 [B, H, W, C] in [-1, 1], a span of 2. All but the neighbours are pure
JAX and give a number per image, [B].
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from dlsteroids.tasks.lib import distances

SPAN = 2.0  # of the values
WINDOW, SIGMA = 11, 1.5  # of SSIM's Gaussian, in pixels
K1, K2 = 0.01, 0.03  # SSIM's constants
MOST = 100.0  # dB


def l1(x: Any, y: Any) -> Any:
  """Mean absolute difference of values in [-1, 1], [B]."""
  return jnp.abs(x - y).mean((1, 2, 3))


def psnr(x: Any, y: Any) -> Any:
  """Peak signal-to-noise ratio in dB, [B]: 10 log10(span² / mean squared error).

  At most 100 dB, so that equal images do not make a mean infinite.
  """
  error = jnp.square(x - y).mean((1, 2, 3)) / SPAN**2
  return -10 * jnp.log10(jnp.maximum(error, 10 ** (-MOST / 10)))


def ssim(x: Any, y: Any) -> Any:
  """Structural similarity in [-1, 1], [B] (Wang et al. 2004, equations 13 to 17).

  Windows are 11×11 Gaussians with a standard deviation of 1.5 pixels, wholly inside
  of the image, as in the authors' program. Smaller images get the largest odd window
  that fits (7×7 for 8×8). Colour deviates from the paper, which knows grey images
  only: channels are measured apart and averaged.
  """
  height, width = x.shape[1:3]
  size = min(WINDOW, height - 1 + height % 2, width - 1 + width % 2)
  rows, columns = band(height, size), band(width, size)

  def blur(image):
    image = jnp.einsum('ih,bhwc->biwc', rows, image, precision='highest')
    return jnp.einsum('jw,biwc->bijc', columns, image, precision='highest')

  c1, c2 = (K1 * SPAN) ** 2, (K2 * SPAN) ** 2
  mean_x, mean_y = blur(x), blur(y)
  var_x = blur(x * x) - mean_x**2
  var_y = blur(y * y) - mean_y**2
  both = blur(x * y) - mean_x * mean_y
  top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
  bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
  return (top / bottom).mean((1, 2, 3))


def band(length: int, size: int) -> np.ndarray:
  """Gaussian weights of each window of `size`, [length - size + 1, length].

  Each row sums to one. The outer product of two is the window in the plane.
  """
  offsets = np.arange(size) - (size - 1) / 2
  weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
  places = np.arange(length - size + 1)
  matrix = np.zeros((len(places), length), np.float32)
  matrix[places[:, None], places[:, None] + np.arange(size)] = weights / weights.sum()
  return matrix


# Neighbours, in numpy and float64, a block of rows at a time


def nearest(
  samples: np.ndarray, train_images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The training image that is nearest to each sample, by L2 distance of pixels.

  Args:
    samples: [M, H, W, C], uint8 or floats in [-1, 1].
    train_images: [N, H, W, C], likewise; uint8 is taken as [-1, 1].

  Returns:
    int64 indices into `train_images` [M] and the distances [M], the root of the summed
    squares of values in [-1, 1].
  """
  few = flat(samples)
  indices = np.zeros(len(few), np.int64)
  lowest = np.full(len(few), np.inf)
  step = max(1, distances.BLOCK // few.shape[1])  # of training images as float64
  for start in range(0, len(train_images), step):
    many = flat(train_images[start : start + step])
    for part, block in distances.blocks(few, many):
      at = block.argmin(1)
      candidates = block[np.arange(len(at)), at]
      closer = candidates < lowest[part]
      indices[part] = np.where(closer, at + start, indices[part])
      lowest[part] = np.where(closer, candidates, lowest[part])
  # Once more without cancellation: a copy has distance 0.
  gap = few - flat(train_images[indices])
  return indices, np.sqrt(np.square(gap).sum(1))


def flat(images: np.ndarray) -> np.ndarray:
  """Images as rows of float64 in [-1, 1], [N, H·W·C]."""
  rows = np.asarray(images).reshape(len(images), -1)
  return rows / 127.5 - 1 if rows.dtype == np.uint8 else rows.astype(np.float64)


def memorised(
  samples: np.ndarray, train_images: np.ndarray, test_images: np.ndarray
) -> dict[str, float]:
  """Whether samples lie closer to the training images than unseen images do.

  Args:
    samples: generated, as for `nearest`.
    train_images: what the generator learned from.
    test_images: of the same kind, unseen; as many as there are samples will do.

  Returns:
    'samples' and 'test', the median distance to the nearest training image, and
    'ratio', the former by the latter (nan if that is 0). Below 1 hints at memorising,
    though a blurred image also lies near others in pixels.
  """
  to_samples, to_test = (
    float(np.median(nearest(images, train_images)[1]))
    for images in (samples, test_images)
  )
  ratio = to_samples / to_test if to_test else float('nan')
  return {'samples': to_samples, 'test': to_test, 'ratio': ratio}
