"""Distances between sets of rows, such as features of images: numpy and float64.

All pairs of 10,000 rows with 10,000 are looked at a block at a time. Evaluation
measures the same on the device (`compiled_distances.py`); these are its oracle, and
measure sets outside of training.
"""

import collections
import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

REMEMBERED = 8  # sets of rows: real images are compared with every member's
NEIGHBOURS = 3  # k of precision and recall, as Kynkäänniemi et al. 2019
BLOCK = 1 << 20  # pairs at a time, 8 MiB: a few passes stay in the cache


class Moments(NamedTuple):
  """Of N rows: mean [D], and a root [R, D] of the covariance, rootᵀ root."""

  mean: np.ndarray
  root: np.ndarray


def remember(measure: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
  """`measure(rows, ...)` that knows the results of the latest rows by their bytes."""
  cache: collections.OrderedDict[Any, np.ndarray] = collections.OrderedDict()

  @functools.wraps(measure)
  def recall(rows: np.ndarray, *options: Any) -> np.ndarray:
    digest = hashlib.blake2b(np.ascontiguousarray(rows).data).digest()
    key = (digest, rows.shape, *options)
    if key not in cache:
      cache[key] = measure(rows, *options)
    cache.move_to_end(key)
    if len(cache) > REMEMBERED:
      cache.popitem(last=False)
    return cache[key]

  return recall


def moments(rows: np.ndarray) -> Moments:
  """The moments of rows [N, D], N > 1, the covariance's divisor being N - 1."""
  mean = rows.mean(0)
  # QR of the centred rows: their products would lose half of the digits.
  root: Any = np.linalg.qr(rows - mean, mode='r')
  return Moments(mean, root / math.sqrt(len(rows) - 1))


def from_covariance(mean: np.ndarray, covariance: np.ndarray) -> Moments:
  """The moments of a Gaussian with a symmetric, possibly singular covariance."""
  values, vectors = np.linalg.eigh(covariance)
  return Moments(mean, np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def frechet(one: Moments, other: Moments) -> float:
  """The Fréchet distance of two Gaussians, |m - n|² + tr(C + D - 2 (C D)^½).

  Heusel et al. 2017, equation 6 (squared, as they report it). The eigenvalues of CD are
  the squared singular values of (root of C)(root of D)ᵀ, whatever roots are taken, so
  no matrix root is needed and singular covariances are no special case.
  """
  means = np.square(one.mean - other.mean).sum()
  traces = np.square(one.root).sum() + np.square(other.root).sum()
  shared = np.linalg.svd(one.root @ other.root.T, compute_uv=False).sum()
  return max(0.0, float(means + traces - 2 * shared))


def kernel_distance(real: np.ndarray, fake: np.ndarray) -> float:
  """The squared maximum mean discrepancy with kernel (x·y / D + 1)³, unbiased.

  Bińkowski et al. 2018, equation 4, over all pairs of rows [N, D] and [M, D]; they
  average it over blocks of 1,000. It can be negative: its mean over equal
  distributions is 0.
  """

  def lifted(x):  # so that products are x·y / D + 1
    return np.hstack([x / math.sqrt(x.shape[1]), np.ones((len(x), 1))])

  def mean(x, y):
    total = sum_of_cubes(x, y)
    if x is not y:
      return total / (len(x) * len(y))
    own = (np.square(x).sum(1) ** 3).sum()
    return (total - own) / (len(x) * (len(x) - 1))

  one, other = lifted(real), lifted(fake)
  return float(mean(one, one) + mean(other, other) - 2 * mean(one, other))


def sum_of_cubes(x: np.ndarray, y: np.ndarray) -> float:
  """The sum of (x·y)³ over all pairs of rows [N, E] and [M, E]."""
  width = x.shape[1]
  if width**2 <= min(len(x), len(y)):  # of few columns: third moments, no pairs
    return float(np.vdot(third_moment(x), third_moment(y)))
  step = max(1, BLOCK // len(y))
  total = 0.0
  for start in range(0, len(x), step):
    block = x[start : start + step] @ y.T
    total += np.vdot(np.square(block), block)
  return float(total)


@remember
def third_moment(x: np.ndarray) -> np.ndarray:
  """The sum of x⊗x⊗x over the rows [N, E], as [E², E]."""
  width = x.shape[1]
  total = np.zeros((width**2, width))
  step = max(1, BLOCK // width**2)
  for start in range(0, len(x), step):
    part = x[start : start + step]
    total += (part[:, :, None] * part[:, None]).reshape(len(part), -1).T @ part
  return total


def blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields (slice of x, squared distances to y [b, M]) over the rows of x [N, D].

  Correct to about 1e-13 of the largest squared norm.
  """
  step = max(1, BLOCK // len(y))
  squares = np.square(y).sum(1)
  for start in range(0, len(x), step):
    part = slice(start, start + step)
    block = x[part] @ y.T
    block *= -2
    block += np.square(x[part]).sum(1)[:, None]
    block += squares
    yield part, np.maximum(block, 0, out=block)


@remember
def radii(rows: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
  """Squared distance [N] of each row to its k-th nearest other row."""
  k = min(k, len(rows) - 1)
  distances = np.zeros(len(rows))
  for part, block in blocks(rows, rows):
    distances[part] = np.partition(block, k, axis=1)[:, k]  # itself is the nearest
  return distances


def covered(rows: np.ndarray, centres: np.ndarray, k: int = NEIGHBOURS) -> float:
  """Share of rows that lie within the k-th neighbour's distance of any of the centres.

  The manifold estimate of Kynkäänniemi et al. 2019 (equation 1), ties counting.
  """
  middle = centres.mean(0)  # distances lose fewer digits around it
  rows, centres = rows - middle, centres - middle
  scale = max(np.square(rows).sum(1).max(), np.square(centres).sum(1).max())
  reach = radii(centres, k) + 1e-12 * scale  # rounding
  inside = [(block <= reach).any(1) for _, block in blocks(rows, centres)]
  return float(np.concatenate(inside).mean())


def spread(rows: np.ndarray) -> float:
  """Root mean square distance of two different rows."""
  return math.sqrt(2 * np.var(rows, axis=0, ddof=1).sum())
