"""Distances on the device; oracle: numpy, which test_quality holds to loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.tasks.lib import compiled_distances, quality
from tests.fixtures import model_cases

N, D = 70, 4  # more than twice the lanes


def normal(seed=0, scale=1.0, shift=0.0):
  return np.random.default_rng(seed).normal(shift, scale, (N, D))


def case_of(name):
  """Rows of both sides, and numbers of which equal ones are one image."""
  real, fake, numbers = normal(), normal(1, 1.2, 0.3), np.arange(N, dtype=np.int32)
  again = np.random.default_rng(2).integers(0, 9, N).astype(np.int32)
  return {
    'normal': (real, fake, numbers, numbers),
    'again': (real, fake[again], numbers, again),
    'swapped': (fake[again], real, again, numbers),
    'two': (real, fake[again % 2], numbers, again % 2),
    'one': (real, fake[again * 0], numbers, again * 0),
    'equal': (real, real, numbers, numbers),
    'collapsed': (real, np.repeat(real[3:4], N, 0), numbers, numbers),
    'constant': (real * 0 + 1, fake * 0 + 1, numbers, numbers),
    'singular': (real * [1, 0, 1, 0], fake * [1, 0, 0, 1], numbers, numbers),
    'far': (real + 1e6, fake + 1e6, numbers, numbers),
    'apart': (real, real + 100, numbers, numbers),
    'huge': (real, fake * 1e30, numbers, numbers),
    'nan': (real, np.where(numbers[:, None] == 5, np.nan, fake), numbers, numbers),
    'inf': (np.where(numbers[:, None] == 5, np.inf, real), fake, numbers, numbers),
  }[name]  # fmt: skip


@pytest.fixture(scope='module')
def measure():
  """By dtype the compiled comparison, over blocks of five rows, the last one short."""
  compare = lambda *sides: quality.compare(
    {'real': sides[0], 'fake': sides[1], 'at': {'real': sides[2], 'fake': sides[3]}}
  )

  def run(name, dtype='float64'):
    with jax.enable_x64(True):
      sides = [jnp.asarray(x, dtype if x.dtype.kind == 'f' else None)
               for x in case_of(name)]  # fmt: skip
      return {key: float(value) for key, value in compiled(*sides).items()}

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(compiled_distances, 'BLOCKS', {})
    patch.setattr(compiled_distances, 'BLOCK', 500)
    compiled = model_cases.jit(compare)
    yield run


def distinct(rows, numbers):
  _, first = np.unique(numbers, return_index=True)
  return rows[np.sort(first)]


def host(name):
  """The distances by numpy, in the dtype's rounding of the rows."""
  real, fake, *numbers = case_of(name)
  sides = [distinct(*side) for side in zip((real, fake), numbers)]
  return {key: quality.on_host(key, *sides) for key in quality.ON_HOST}


@pytest.mark.parametrize('name', [
  'normal', 'again', 'swapped', 'two', 'one', 'equal', 'collapsed', 'constant',
  'singular', 'far', 'apart', 'huge', 'nan', 'inf',
])  # fmt: skip
def test_every_distance_equals_numpys(name, measure):
  result, wanted = measure(name), host(name)
  assert result.keys() == wanted.keys()
  for key, value in wanted.items():
    rounding = 1e-9
    if (name, key) == ('far', 'classifier_kid'):
      rounding = 1e24  # the kernels it is a difference of are of 1e36
    assert result[key] == pytest.approx(value, rel=1e-9, abs=rounding, nan_ok=True), key
  if name in ('nan', 'inf', 'one'):
    assert np.isnan(list(result.values())).all()


@pytest.mark.parametrize('name', ['normal', 'again', 'equal', 'collapsed', 'singular'])
def test_float32_is_off_by_its_rounding(name, measure):
  result, wanted = measure(name, 'float32'), host(name)
  for key, value in wanted.items():
    off = 1.01 / N if key in ('precision', 'recall') else 1e-4
    assert result[key] == pytest.approx(value, abs=off), key
