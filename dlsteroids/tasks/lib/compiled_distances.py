"""Distances between two sets of rows in JAX: what evaluation measures on the device.

The same numbers as `distances.py`, by which the tests check them: to 1e-9 in float64,
which evaluation takes on CPUs and GPUs; in float32, elsewhere, Fréchet and kernel
distances are off by up to 1e-5 of the traces and of the kernel's mean, precision and
recall by rows that lie on the edge of a ball.

All pairs are looked at a block of rows at a time, so that memory stays bounded, and
once for each pair of sets: the products of two rows give both their distance and their
kernel. Neighbours are kept per lane, elementwise, since sorting or reducing rows of
10,000 distances takes most of the time on a CPU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlsteroids.tasks.lib import distances

Array = Any
BLOCKS = {'cpu': 1 << 20}  # pairs at a time, by platform: on a CPU they stay in a cache
BLOCK = 1 << 24  # elsewhere, 128 MiB: few launches
LANES = 32  # columns whose nearest are kept apart
# Of the largest squared norm, what rounding may move a distance by.
ROUNDING = {'float64': 1e-12, 'float32': 4e-6}


class Rows(NamedTuple):
  """N rows of which some may not count.

  Attributes:
    values: [N, D], zero where they do not count.
    valid: bool [N], which count.
    finite: whether all rows that count are.
  """

  values: Array
  valid: Array
  finite: Array

  @property
  def count(self) -> Array:
    return self.valid.sum().astype(self.values.dtype)


def rows(values: Array, numbers: Array | None = None) -> Rows:
  """The rows [N, D]; of rows with equal `numbers`, int [N], the first one alone."""
  valid = jnp.ones(len(values), bool) if numbers is None else _first(numbers)
  finite = jnp.isfinite(values).all() if numbers is None else jnp.bool_(True)
  if numbers is not None:
    finite = (jnp.isfinite(values).all(1) | ~valid).all()
  clean = jnp.where(valid[:, None] & finite, values, jnp.zeros_like(values))
  return Rows(clean, valid, finite)


def _first(numbers: Array) -> Array:
  """Whether an entry is the first of its value, bool [N]."""
  order = jnp.argsort(numbers, stable=True)
  ordered = numbers[order]
  changes = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
  return jnp.zeros(len(numbers), bool).at[order].set(changes)


def compare(real: Rows, fake: Rows, pairs: bool = True) -> dict[str, Array]:
  """All distances of two sets; nan if one has a row that is not finite, or one row.

  Args:
    real: N rows.
    fake: as many, though fewer of them may count.
    pairs: whether all pairs of rows are looked at, which takes most of the time.

  Returns:
    scalars: 'frechet' and 'spread', that of `fake` by that of `real`; of pairs
      'kernel' (`distances.kernel_distance`), 'precision' and 'recall'
      (`distances.covered`).
  """
  whole = _spread(real)
  scalars = {
    'frechet': frechet(real, fake),
    **(_of_pairs(real, fake) if pairs else {}),
    'spread': _spread(fake) / jnp.where(whole > 0, whole, jnp.nan),
  }
  good = real.finite & fake.finite & (jnp.minimum(real.count, fake.count) > 1)
  return {name: jnp.where(good, value, jnp.nan) for name, value in scalars.items()}


# Moments


def _mean(these: Rows) -> Array:
  return these.values.sum(0) / jnp.maximum(these.count, 1)


def _centred(these: Rows, middle: Array) -> Array:
  moved = these.values - middle
  return jnp.where(these.valid[:, None], moved, jnp.zeros_like(moved))


def _freedom(these: Rows) -> Array:
  """The divisor of a covariance."""
  return jnp.maximum(these.count - 1, 1)


def frechet(real: Rows, fake: Rows) -> Array:
  """The Fréchet distance of the Gaussians of two sets, as `distances.frechet`."""

  def root(these):
    # QR of the centred rows: their products would lose half of the digits.
    upper = jnp.linalg.qr(_centred(these, _mean(these)), mode='r')
    return upper / jnp.sqrt(_freedom(these))

  one, other = root(real), root(fake)
  product = jnp.matmul(one, other.T, precision='highest')
  shared = jnp.linalg.svd(product, compute_uv=False).sum()
  means = jnp.square(_mean(real) - _mean(fake)).sum()
  traces = jnp.square(one).sum() + jnp.square(other).sum()
  return jnp.maximum(means + traces - 2 * shared, 0)


def _spread(these: Rows) -> Array:
  """Root mean square distance of two different rows."""
  squares = jnp.square(_centred(these, _mean(these))).sum()
  return jnp.sqrt(2 * squares / _freedom(these))


# Pairs


class _Points(NamedTuple):
  """Rows as pairs are made of them, padded to whole lanes.

  Attributes:
    values: [M, D], centred; zero where they do not count.
    valid: bool [M].
    squares: |x|² [M] of the centred rows.
    lifts: x·m - |m|²/2 [M] for the centre m: with y's, what x·y exceeds the product of
      the centred rows by.
    number: int [M], which row it is.
  """

  values: Array
  valid: Array
  squares: Array
  lifts: Array
  number: Array


def _points(these: Rows, middle: Array) -> _Points:
  padding = -len(these.values) % LANES
  values = jnp.pad(_centred(these, middle), ((0, padding), (0, 0)))
  return _Points(
    values,
    jnp.pad(these.valid, (0, padding)),
    jnp.square(values).sum(1),
    jnp.matmul(values, middle, precision='highest') + jnp.square(middle).sum() / 2,
    jnp.arange(len(values)),
  )


def _of_pairs(real: Rows, fake: Rows) -> dict[str, Array]:
  """Kernel distance, precision and recall: three passes over pairs."""
  middle = _mean(real)  # distances lose fewer digits around it
  sides = [_points(side, middle) for side in (real, fake)]
  both = jax.tree.map(lambda *xs: jnp.stack(xs), *sides)
  counts = jnp.stack([real.count, fake.count])
  radii, cubes = jax.lax.map(_own_pairs, both)  # compiled once for the two
  scale = both.squares.max()
  slack = ROUNDING[scale.dtype.name] * scale
  reach = jnp.where(both.valid, radii + slack, -1)  # no distance is below 0
  *inside, cross_cubes = _cross_pairs(sides[0], sides[1], reach[0], reach[1])
  own = (cubes / jnp.maximum(counts * (counts - 1), 1)).sum()
  covered = (jnp.stack(inside) & both.valid).sum(1) / jnp.maximum(counts, 1)
  return {
    'kernel': own - 2 * cross_cubes / jnp.maximum(counts.prod(), 1),
    'precision': covered[1],
    'recall': covered[0],
  }


def _own_pairs(points: _Points) -> tuple[Array, Array]:
  """The squared distance [M] to the k-th nearest other row, and the kernel's sum.

  With fewer others, to the farthest.
  """

  def visit(part):
    squares, cubes = _pairs(part, points)
    others = part.valid[:, None] & points.valid
    others &= part.number[:, None] != points.number
    squares = jnp.where(others, squares, jnp.inf)
    lanes = _smallest(squares.reshape(len(squares), -1, LANES))
    return jnp.moveaxis(lanes, 0, 1), jnp.where(others, cubes, 0).sum(0)

  count = len(points.values)
  lanes, cubes = _by_blocks(visit, points, count)  # [blocks, b, k, L], [blocks, M]
  few = _smallest(lanes.reshape(-1, lanes[0, 0].size).T[None])[:, 0]  # [k, rows]
  farthest = jnp.where(jnp.isfinite(few), few, 0).max(0)
  return farthest[:count], cubes.sum()


def _cross_pairs(
  one: _Points, other: _Points, reach_one: Array, reach_other: Array
) -> tuple[Array, Array, Array]:
  """Whether each row lies within reach of the other set's, and the kernel's sum.

  Returns:
    bool [M] of `one`, bool [N] of `other`, and the sum over all pairs.
  """

  def visit(part):
    points, reach = part
    squares, cubes = _pairs(points, other)
    within = (squares <= reach_other).reshape(len(squares), -1, LANES)
    pairs = points.valid[:, None] & other.valid
    return (
      within.any(1).any(1),
      (squares <= reach[:, None]).any(0),
      jnp.where(pairs, cubes, 0).sum(0),
    )

  inside_one, inside_other, cubes = _by_blocks(
    visit, (one, reach_one), len(other.values)
  )
  return inside_one.reshape(-1)[: len(one.values)], inside_other.any(0), cubes.sum()


def _pairs(part: _Points, points: _Points) -> tuple[Array, Array]:
  """Squared distances and kernels (x·y / D + 1)³ of all pairs, [b, M] each."""
  products = jnp.matmul(part.values, points.values.T, precision='highest')
  squares = part.squares[:, None] + points.squares - 2 * products
  dims = part.values.shape[1]
  lifted = (products + (part.lifts[:, None] + points.lifts)) / dims + 1
  return jnp.maximum(squares, 0), lifted * lifted * lifted


def _by_blocks(visit: Callable[[Any], Any], tree: Any, columns: int) -> Any:
  """`visit` of blocks of rows of a tree, one after another; results are stacked.

  Rows are padded with zeros, so with points that do not count.
  """
  count = len(jax.tree.leaves(tree)[0])
  block = BLOCKS.get(jax.default_backend(), BLOCK)
  size = min(count, max(1, block // columns))
  padding = -count % size

  def cut(x):
    padded = jnp.pad(x, ((0, padding), *((0, 0),) * (x.ndim - 1)))
    return padded.reshape(-1, size, *x.shape[1:])

  return jax.lax.map(visit, jax.tree.map(cut, tree))


def _smallest(values: Array, k: int = distances.NEIGHBOURS) -> Array:
  """The k smallest along the middle axis of [b, G, L], ascending: [k, b, L]."""
  none = jnp.full((k, len(values), values.shape[2]), jnp.inf, values.dtype)

  def insert(i, smallest):
    value = jax.lax.dynamic_index_in_dim(values, i, 1, keepdims=False)
    ordered = []
    for other in smallest:
      ordered.append(jnp.minimum(other, value))
      value = jnp.maximum(other, value)
    return tuple(ordered)

  return jnp.stack(jax.lax.fori_loop(0, values.shape[1], insert, tuple(none)))
