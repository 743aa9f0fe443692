"""What a network sees of stored images: normalised and, in training, augmented.

Pure JAX, for use inside a scan and under vmap. Each augmentation draws from its own
random stream below `keys('augment')`, so switching one off changes no other.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import rng, types
from dlsteroids.config import options
from dlsteroids.util import errors

RANGES = ('standard', 'tanh')
OPTIONS = {
  'flip': options.Option(False, 'mirror half of the training images left to right'),
  'crop': options.Option(
    0, 'pixels of padding on each side before a random crop to the old size', 0
  ),
  'colour': options.Option(
    0.0, "sd of AlexNet's PCA colour jitter (the paper's is 0.1); needs RGB", 0
  ),
  'cutout': options.Option(
    0, 'side in pixels of a hole in every training image (DeVries & Taylor 2017)', 0
  ),
  'range': options.Option(
    'standard', 'standard: mean 0, sd 1 a channel; tanh: -1..1', choices=RANGES
  ),
}
HALF = 127.5  # of 0..255; the range of tanh is (pixel - HALF) / HALF
CHUNK = 1 << 18  # pixels at a time


class Moments(NamedTuple):
  """Of the pixels of uint8 images, in 0..255: mean [C], covariance [C, C], float64."""

  mean: np.ndarray
  covariance: np.ndarray


def measure(images: np.ndarray) -> Moments:
  """The moments of all pixels of uint8 [N, H, W, C] images.

  Sums of integers are exact in float64, so the result does not depend on the order.

  Raises:
    UserError: a channel that is the same everywhere.
  """
  channels = images.shape[-1]
  pixels = images.reshape(-1, channels)
  if channels == 1:
    counts = np.zeros(256)
    for start in range(0, len(pixels), CHUNK):
      counts += np.bincount(pixels[start : start + CHUNK, 0], minlength=256)
    levels = np.arange(256.0)
    total, square = (counts @ levels)[None], (counts @ levels**2)[None, None]
  else:
    total, square = np.zeros(channels), np.zeros((channels, channels))
    for start in range(0, len(pixels), CHUNK):
      chunk = pixels[start : start + CHUNK].astype(np.float64)
      total += chunk.sum(0)
      square += chunk.T @ chunk
  mean = total / len(pixels)
  covariance = square / len(pixels) - np.outer(mean, mean)
  flat = np.flatnonzero(np.diag(covariance) < 1e-6)
  if flat.size:
    raise errors.UserError(
      f'channel {flat[0]} of the training images has one value everywhere '
      f'({mean[flat[0]]:.0f}): nothing to learn from'
    )
  return Moments(mean, covariance)


def principal(covariance: np.ndarray) -> np.ndarray:
  """Columns λᵢ·pᵢ [3, 3]: the colour shift of AlexNet (2012, section 4.1) per unit α.

  λᵢ and pᵢ are eigenvalues and eigenvectors of the covariance of pixels scaled to
  [0, 1] (the paper does not give the scale; on 0..255 the shifts would leave the
  range), and the shift is in that scale. Each pᵢ has its largest entry positive.
  """
  values, vectors = np.linalg.eigh(covariance / 255.0**2)
  largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(len(values))]
  return vectors * np.sign(largest) * values


def make(
  moments: Moments, shape: tuple[int, ...], config: Mapping[str, Any]
) -> Callable[..., types.Batch]:
  """The `Dataset.transform` for uint8 [B, H, W, C] images.

  Training images are cropped out of a frame of the training mean (zeros after
  standardising), flipped, colour-shifted, and then holes are cut, whose colour is the
  training mean, too. The two ranges differ by a scale and
  a shift per channel; in that of tanh, shifted colours are clipped to [-1, 1], since
  values that a generator ending in tanh cannot produce would give real images away.

  Args:
    moments: of the training images.
    shape: (H, W, C).
    config: `flip`, `crop`, `colour`, `cutout`, `range`.

  Raises:
    UserError: an option out of range for these images.
  """
  tanh = config['range'] == 'tanh'
  flip, pad, sd = config['flip'], config['crop'], config['colour']
  hole = config['cutout']
  height, width, channels = shape
  if hole > min(height, width):
    raise errors.UserError(
      f'data.cutout must lie in 0..{min(height, width)} for {height}×{width} images, '
      f'not {hole}'
    )
  if pad >= min(height, width):
    raise errors.UserError(
      f'data.crop must lie in 0..{min(height, width) - 1} for {height}×{width} images, '
      f'not {pad}'
    )
  if sd == np.inf:
    raise errors.UserError('data.colour must be finite')
  if sd and channels != 3:
    raise errors.UserError(
      f'data.colour needs images of 3 channels; these have {channels}'
    )
  mean = moments.mean.astype(np.float32)
  inverse = 1 / np.sqrt(np.diag(moments.covariance))
  middle = mean
  if tanh:
    inverse = np.full(channels, 1 / HALF)
    middle = np.full_like(mean, HALF)
  scale = inverse.astype(np.float32)
  axes = None
  if sd:
    shifts = 255 * sd * principal(moments.covariance) * inverse[:, None]
    axes = shifts.astype(np.float32)

  def transform(batch: types.Batch, keys: rng.Keys, *, train: bool) -> types.Batch:
    image = batch['image'].astype(jnp.float32) - middle
    augments = train and (flip or pad or hole or axes is not None)
    key = keys('augment') if augments else None
    if train and (flip or pad):
      image = move(image, key, flip=flip, pad=pad, frame=mean - middle if tanh else 0)
    image = image * scale
    if train and axes is not None:
      image = _shift_colour(image, rng.stream(key, 'colour'), axes)
      image = jnp.clip(image, -1, 1) if tanh else image
    if train and hole:
      fill = (mean - middle) * scale
      image = cut_out(image, rng.stream(key, 'cutout'), side=hole, fill=fill)
    return {**batch, 'image': image}

  return transform


def signed(image: types.Array) -> types.Array:
  """uint8 pixels of 0..255 as float32 in [-1, 1]."""
  return (jnp.asarray(image, jnp.float32) - HALF) * np.float32(1 / HALF)


def _shift_colour(image: types.Array, key: Any, axes: np.ndarray) -> types.Array:
  """Adds `axes @ α`, α ~ N(0, 1) [3] drawn once per image; axes [3, 3] hold the sd."""
  alpha = jax.random.normal(key, (image.shape[0], 1, 1, 1, axes.shape[1]))
  # Not a matrix product: a GPU would round it to TF32, and it would count as FLOPs.
  return image + (alpha * axes).sum(-1)


def move(
  image: types.Array, key: Any, *, flip: bool, pad: int, frame: Any = 0
) -> types.Array:
  """Random windows of the images framed by `pad` zeros; with `flip`, half mirrored.

  The window has the images' size; mirroring is left to right. `frame` [C] is the
  frame's colour, if not zero.
  """
  # One gather that fuses with its neighbours: 0.2 ms for 128 images of 32×32×3 in a
  # scan on the CPU, where vmapped slices of a framed copy take 0.9 ms. A matrix product
  # (0.4 ms) would be counted among the model's FLOPs.
  batch, height, width = image.shape[:3]
  corners = jnp.zeros((batch, 2), int)
  if pad:
    corners = jax.random.randint(rng.stream(key, 'crop'), (batch, 2), -pad, pad + 1)
  rows = corners[:, :1] + jnp.arange(height)
  columns = corners[:, 1:] + jnp.arange(width)
  if flip:
    coin = jax.random.bernoulli(rng.stream(key, 'flip'), 0.5, (batch, 1))
    columns = jnp.where(coin, width - 1 - columns, columns)
  places = jnp.stack(
    jnp.broadcast_arrays(
      jnp.clip(rows, 0, height - 1)[:, :, None],
      jnp.clip(columns, 0, width - 1)[:, None, :],
    ),
    -1,
  )  # [B, H, W, 2]
  # The images are a batch dimension of the gather, so that XLA can shard them.
  window = jax.lax.gather(
    image,
    places,
    jax.lax.GatherDimensionNumbers(
      offset_dims=(3,),
      collapsed_slice_dims=(1, 2),
      start_index_map=(1, 2),
      operand_batching_dims=(0,),
      start_indices_batching_dims=(0,),
    ),
    slice_sizes=(1, 1, 1, image.shape[3]),
    mode='promise_in_bounds',
  )
  inside = ((rows >= 0) & (rows < height))[:, :, None]
  inside &= ((columns >= 0) & (columns < width))[:, None, :]
  return jnp.where(inside[..., None], window, frame)


def cut_out(image: types.Array, key: Any, *, side: int, fill: Any = 0) -> types.Array:
  """A square hole in each image, its middle anywhere, so that it may be cut off.

  `fill` [C] is the hole's colour, if not zero.
  """
  middles = jax.random.randint(key, (len(image), 2), 0, jnp.array(image.shape[1:3]))

  def covered(axis):
    first = middles[:, axis, None] - side // 2
    places = jnp.arange(image.shape[axis + 1])
    return (places >= first) & (places < first + side)  # [B, side of the image]

  hole = covered(0)[:, :, None] & covered(1)[:, None, :]
  return jnp.where(hole[..., None], fill, image)


def zoom(image: types.Array, key: Any, *, by: int) -> types.Array:
  """Random windows, of the images' size, of the images enlarged by `by` pixels a side.

  Bilinear; beyond its edge an image continues with the edge's values. Deviation:
  CycleGAN's authors (Zhu et al. 2017) enlarge 256 to 286 by bicubic weights.
  """
  # By gathers: matrix products would be counted among the model's FLOPs.
  batch = image.shape[0]
  corners = jax.random.randint(rng.stream(key, 'crop'), (batch, 2), 0, by + 1)
  for axis in (1, 2):
    side = image.shape[axis]
    at = corners[:, axis - 1, None] + jnp.arange(side) + 0.5  # [B, side], enlarged
    at = jnp.clip(at * (side / (side + by)) - 0.5, 0, side - 1)
    low = jnp.floor(at).astype(int)
    shape = (batch, side, 1, 1) if axis == 1 else (batch, 1, side, 1)
    first, second = (
      jnp.take_along_axis(image, index.reshape(shape), axis, mode='promise_in_bounds')
      for index in (low, jnp.minimum(low + 1, side - 1))
    )
    image = first + (second - first) * (at - low).reshape(shape)
  return image
