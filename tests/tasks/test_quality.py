"""Distances between sets of images, and what is made of them.

Oracles: closed forms of Gaussians, scipy's matrix square root, and loops over pairs.
"""

import itertools
import json
import math

import jax
import numpy as np
import pytest
import scipy.linalg

from dlsteroids.data import digits
from dlsteroids.tasks.lib import distances, features, quality
from dlsteroids.train import history, program, reduction
from dlsteroids.train import member as member_lib
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')
DATA = digits.load({})


def rows(count, dims, seed=0, scale=1.0, shift=0.0):
  return np.random.default_rng(seed).normal(shift, scale, (count, dims))


def extractor(classes=4, dims=3, **changes):
  return features.Extractor(
    name='any', digest='d', dims=dims, apply=None, classes=tuple('abcdefgh'[:classes]),
    accuracy=0.9, note='any', **changes,
  )  # fmt: skip


# Fréchet


def test_frechet_of_gaussians_in_closed_form():
  # One dimension: (m - n)² + (s - t)². Diagonal ones add up.
  one = distances.from_covariance(np.array([1.0, 2]), np.diag([4.0, 9]))
  other = distances.from_covariance(np.array([0.0, 5]), np.diag([1.0, 16]))
  assert distances.frechet(one, other) == pytest.approx(10 + 1 + 1, rel=1e-12)
  # Scaling: C and s² C commute, (1 - s)² tr C. And a point: tr C.
  basis = rows(6, 6)
  covariance = basis @ basis.T
  mean = np.zeros(6)
  big = distances.from_covariance(mean, 9 * covariance)
  point = distances.from_covariance(mean, np.zeros((6, 6)))
  small = distances.from_covariance(mean, covariance)
  trace = np.trace(covariance)
  assert distances.frechet(small, big) == pytest.approx(4 * trace, rel=1e-10)
  assert distances.frechet(small, point) == pytest.approx(trace, rel=1e-12)
  assert distances.frechet(small, small) == pytest.approx(0, abs=1e-10)


def reference(x, y):
  """As the authors' program has it."""
  c, d = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
  root = scipy.linalg.sqrtm(c @ d).real
  gap = x.mean(0) - y.mean(0)
  return gap @ gap + np.trace(c) + np.trace(d) - 2 * np.trace(root)


@pytest.mark.parametrize('seed', range(3))
def test_frechet_of_samples_equals_scipys(seed):
  mix = rows(5, 5, seed + 10)
  x, y = rows(400, 5, seed) @ mix, rows(300, 5, seed + 1, 1.5, 0.3)
  wanted = reference(x, y)
  assert quality.frechet(x, y) == pytest.approx(wanted, rel=1e-9)
  moments = [
    distances.from_covariance(z.mean(0), np.cov(z, rowvar=False)) for z in (x, y)
  ]
  assert distances.frechet(*moments) == pytest.approx(wanted, rel=1e-9)
  np.testing.assert_allclose(
    distances.moments(x).root.T @ distances.moments(x).root, np.cov(x, rowvar=False)
  )


def test_frechet_of_samples_approaches_the_gaussians_distance():
  x, y = rows(40_000, 4), rows(40_000, 4, 1, 2.0, 0.5)
  # Four times (0.5² + (1 - 2)²).
  assert quality.frechet(x, y) == pytest.approx(5, rel=0.02)


def test_singular_covariances_are_no_special_case():
  x = rows(50, 8)
  x[:, 3:] = 0  # units that never fire
  assert quality.frechet(x, x) == pytest.approx(0, abs=1e-12)
  y = x.copy()
  y[:, 7] += 2
  assert quality.frechet(x, y) == pytest.approx(4, rel=1e-12)
  few = rows(4, 8, 1)  # fewer rows than dimensions
  assert quality.frechet(few, few) == pytest.approx(0, abs=1e-12)
  collapsed = np.repeat(few[:1], 50, 0)
  variance = np.trace(np.cov(x, rowvar=False))
  gap = np.square(x.mean(0) - few[0]).sum()
  assert quality.frechet(x, collapsed) == pytest.approx(variance + gap, rel=1e-10)


# Kernel


@pytest.mark.parametrize('sizes', [(13, 9), (40, 26)])  # pairs; third moments
def test_kernel_distance_equals_a_loop(monkeypatch, sizes):
  x, y = rows(sizes[0], 4), rows(sizes[1], 4, 1, 1.2, 0.4)

  def kernel(a, b):
    return (sum(p * q for p, q in zip(a, b)) / 4 + 1) ** 3

  def mean(pairs):
    values = [kernel(a, b) for a, b in pairs]
    return sum(values) / len(values)

  own = (itertools.permutations(z.tolist(), 2) for z in (x, y))
  wanted = sum(map(mean, own)) - 2 * mean(itertools.product(x.tolist(), y.tolist()))
  assert distances.kernel_distance(x, y) == pytest.approx(wanted, rel=1e-10)
  monkeypatch.setattr(distances, 'BLOCK', 20)  # several blocks, the last one short
  assert distances.kernel_distance(x[::-1], y[::-1]) == pytest.approx(wanted, rel=1e-10)


def test_what_is_remembered_is_of_these_rows():
  x = rows(12, 3)
  first = distances.radii(x)
  assert distances.radii(x.copy()) is first
  x[0] += 1  # in place
  assert not np.array_equal(distances.radii(x), first)
  assert not np.array_equal(distances.radii(x, 2), distances.radii(x))


def test_kernel_distance_is_unbiased():
  found = [
    distances.kernel_distance(rows(20, 3, 2 * i), rows(30, 3, 2 * i + 1))
    for i in range(400)
  ]
  assert min(found) < 0
  assert abs(np.mean(found)) < 3 * np.std(found) / 20
  assert np.mean(found) < 0.2 * distances.kernel_distance(
    rows(400, 3), rows(400, 3, 1, shift=0.5)
  )


# Neighbours


def loop(points, centres, k=3):
  """Share of points inside of any centre's ball; balls reach to the k-th other."""

  def distance(a, b):
    return math.dist(a, b)

  reach = []
  for i, a in enumerate(centres):
    others = sorted(distance(a, b) for j, b in enumerate(centres) if j != i)
    reach.append(others[min(k, len(others)) - 1])
  inside = [
    any(distance(p, c) <= r for c, r in zip(centres, reach, strict=True))
    for p in points
  ]
  return sum(inside) / len(inside)


@pytest.mark.parametrize(('n', 'm'), [(12, 17), (40, 25), (3, 5), (2, 2)])
def test_precision_and_recall_equal_a_loop(n, m, monkeypatch):
  real, fake = rows(n, 2), rows(m, 2, 1, 0.7, 0.8)
  wanted = loop(fake.tolist(), real.tolist()), loop(real.tolist(), fake.tolist())
  assert (quality.precision(real, fake), quality.recall(real, fake)) == wanted
  monkeypatch.setattr(distances, 'BLOCK', 30)
  assert (quality.precision(real, fake), quality.recall(real, fake)) == wanted


def test_known_precisions_and_recalls():
  real = rows(60, 5)
  assert quality.precision(real, real) == quality.recall(real, real) == 1
  far = real + 100
  assert quality.precision(real, far) == quality.recall(real, far) == 0
  # Collapsed onto one place among the real ones: it looks real, and makes none.
  collapsed = np.repeat(real.mean(0)[None], 60, 0)
  assert quality.precision(real, collapsed) == 1
  assert quality.recall(real, collapsed) == 0
  assert quality.diversity(real, collapsed) == pytest.approx(0, abs=1e-12)
  # Half of the modes: all look real, the other half is never made.
  two = np.concatenate([real, far])
  assert quality.precision(two, real) == 1
  assert quality.recall(two, real) == 0.5
  # Far from the origin nothing is lost.
  assert quality.precision(real + 1e6, real + 1e6) == 1


def test_diversity_is_the_mean_distance_of_pairs():
  real, fake = rows(20, 3), rows(30, 3, 1, 0.5)

  def spread(z):
    return math.sqrt(
      np.mean([math.dist(a, b) ** 2 for a, b in itertools.combinations(z.tolist(), 2)])
    )

  wanted = spread(fake) / spread(real)
  assert quality.diversity(real, fake) == pytest.approx(wanted, rel=1e-12)
  assert math.isnan(quality.diversity(real * 0, fake))


# As metrics, through the engine's merging


def finish(batches, metrics=None):
  """What history makes of batches of outputs; the last may be padded."""
  metrics = metrics or quality.make(extractor())
  sources = member_lib.sources(metrics)
  measure = cases.jit(
    lambda out: {name: metrics[name].measure(out) for name in set(sources.values())}
  )
  values = stack([quality.host(measure(batch)) for batch in batches])
  count = int(sum(batch['mask'].sum() for batch in batches))
  own = reduction.make(metrics, sources, {'test': len(batches)}, {'test': count})
  reduced = {}
  if own:
    apply = cases.jit(lambda parts: reduction.apply(own, parts, 'float64'))
    with program.wide():
      reduced = jax.device_get(
        apply([{name: values[name] for name in own.rows}])
      )['test']  # fmt: skip
  finished = history.finish(metrics, values, count, reduced)
  return {name: value for part in finished.values() for name, value in part.items()}


def stack(parts):
  if isinstance(parts[0], dict):
    return {name: stack([part[name] for part in parts]) for name in parts[0]}
  return np.stack(parts)


def batch(real, fake, logits, mask=None):
  mask = np.ones(len(real)) if mask is None else mask
  side = {'features': np.float32(fake), 'logits': np.float32(logits)}
  return {
    'real': {**side, 'features': np.float32(real)},
    'fake': side,
    'mask': np.float32(mask),
  }


def test_batches_are_joined_and_padding_does_not_count():
  real, fake, logits = rows(20, 3), rows(20, 3, 1), rows(20, 4, 2)
  whole = finish([batch(real, fake, logits)])
  pad = np.array([12, 13, 14, 15, 16, 17, 18, 19, 0, 0, 0, 0])
  mask = np.arange(12) < 8
  junk = np.where(mask[:, None], 1, 50)
  parts = [
    batch(real[:12], fake[:12], logits[:12]),
    batch(real[pad] * junk, fake[pad] * junk, logits[pad] * junk, mask),
  ]
  joined = finish(parts)
  assert joined.keys() == whole.keys() == quality.make(extractor()).keys()
  for name, value in whole.items():
    assert isinstance(value, float)
    assert joined[name] == pytest.approx(value, rel=1e-6), name
  real, fake = (np.float64(np.float32(x)) for x in (real, fake))
  assert whole['classifier_fid'] == pytest.approx(reference(real, fake), rel=1e-9)


def test_images_that_come_again_count_once():
  real, fake, logits = rows(50, 3), 1.5 * rows(9, 3), rows(50, 4)
  again = np.arange(50) % 9  # the shorter side of unpaired images
  whole = batch(real, fake[again], logits)
  at = {'real': np.arange(50, dtype=np.int32), 'fake': again.astype(np.int32)}
  found = finish([{**whole, 'at': at}])
  assert found['classifier_fid'] == pytest.approx(quality.frechet(real, fake), rel=1e-4)
  assert found['precision'] == quality.precision(real, fake)
  swapped = {**batch(fake[again], real, logits), 'at': {k: at[o] for k, o in SWAP}}
  assert finish([swapped])['recall'] == quality.recall(fake, real)
  assert found['classifier_fid'] != pytest.approx(finish([whole])['classifier_fid'])


SWAP = (('real', 'fake'), ('fake', 'real'))


def test_classes_balance_and_confidence():
  def scores(predicted):
    logits = np.log(np.where(np.eye(4)[predicted] > 0, 0.7, 0.1))
    only = quality.make_predicted(4)
    return finish([batch(np.zeros((len(logits), 3)), logits, logits)], only)

  even = scores([0, 1, 2, 3] * 10)
  assert even['classes'] == 4
  assert even['balance'] == pytest.approx(1, rel=1e-6)
  assert even['confidence'] == pytest.approx(0.7, rel=1e-6)
  # A class counts from 1/10 of 1/4 of 40 images on: of one.
  assert scores([0] * 20 + [1] * 19 + [2])['classes'] == 3
  lone = scores([0] * 40 + [1] * 40 + [2])  # 1 of 81 is too few
  assert lone['classes'] == 2
  shares = np.array([40, 40, 1]) / 81
  wanted = -(shares * np.log(shares)).sum() / math.log(4)
  assert lone['balance'] == pytest.approx(wanted, rel=1e-6)
  one = scores([3] * 8)
  assert (one['classes'], one['balance']) == (1, 0)
  assert math.copysign(1, one['balance']) == 1


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_images_that_are_no_numbers_make_nan_and_no_noise(bad):
  fake, logits = rows(8, 3, 1), rows(8, 4, 2)
  fake[2, 1] = logits[2, 1] = bad
  found = finish([batch(rows(8, 3), fake, logits)])
  finite = {name for name, value in found.items() if math.isfinite(value)}
  # A logit of minus infinity is a probability of zero.
  assert finite <= ({'confidence'} if bad == -np.inf else set())
  assert not any(math.isfinite(v) for v in finish_of_one().values())


def finish_of_one():
  """One image has no covariance and no neighbour."""
  found = quality.make(extractor(classes=0))
  return finish([batch(rows(1, 3), rows(1, 3), rows(1, 4))], found)


def test_huge_features_stay_numbers():
  real = rows(9, 3)
  found = finish([batch(real, real * 1e30, rows(9, 4))])
  assert all(math.isfinite(value) for value in found.values())


def test_fallbacks_and_directions():
  found = quality.make(extractor(worst={'classifier_fid': 77.0}))
  assert found['classifier_fid'].fallback == 77
  assert found['classifier_kid'].fallback == 10
  assert {name for name, metric in found.items() if metric.better == 'lower'} == {
    'classifier_fid', 'classifier_kid',
  }  # fmt: skip
  assert found['confidence'].fallback == 0.25
  assert all(math.isfinite(metric.fallback) for metric in found.values())
  plain = quality.make(extractor(classes=0))
  assert list(plain) == [
    'classifier_fid', 'classifier_kid', 'precision', 'recall', 'diversity',
  ]  # fmt: skip
  # One measurement serves them all.
  assert {metric.measure for metric in plain.values()} == {quality.both}


def test_without_pairs_the_other_metrics_stay_as_they_are():
  draws = np.random.default_rng(3)
  sides = {side: draws.normal(size=(40, 5)) for side in ('real', 'fake')}
  found = quality.make(extractor(), pairs=False)
  assert found.keys() == quality.make(extractor()).keys() - {*quality.OF_PAIRS}
  for name in ('classifier_fid', 'diversity'):
    value = found[name].finish(found[name].reduce(sides))['']
    assert value == pytest.approx(quality.on_host(name, **sides), rel=1e-4)


# On real digits


@pytest.fixture(scope='module')
def shipped():
  found = features.load('auto', DATA)
  return found._replace(apply=cases.jit(found.apply))


@pytest.fixture
def emptied(tmp_path, monkeypatch):
  """No floor is known, and the cache folder is empty."""
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path))
  monkeypatch.setattr(quality, '_floors', {})
  return tmp_path


def test_floor_worst_and_what_lies_between(shipped, emptied):
  asked = []

  def apply_batches(images):
    asked.append(len(images))
    return features.measure(shipped, images)

  floor = quality.floor(shipped, DATA, apply_batches)
  assert asked == [359, 359]
  for _ in range(2):  # found in memory, then in the cache folder
    assert quality.floor(shipped, DATA, apply_batches) == floor
    quality._floors.clear()
  assert asked == [359, 359]
  (path,) = (emptied / 'floors').iterdir()
  for other in (DATA._replace(digest='other'), DATA):
    path.write_text('{')  # damaged
    assert quality.floor(shipped, other, apply_batches) == floor
  assert asked == [359, 359] * 3
  assert floor['classifier_fid'] < 5
  assert floor['precision'] > 0.8
  assert floor['recall'] > 0.8
  assert floor['classes'] == 10
  assert floor['balance'] > 0.99
  assert floor['diversity'] == pytest.approx(1, abs=0.05)
  images = DATA.arrays['image'][DATA.split(0)['test']]
  real = features.measure(shipped, images)
  blurred = (images // 2 + np.roll(images, 1, 2) // 2).astype(np.uint8)
  middle = quality.score(shipped, real, features.measure(shipped, blurred))
  worst = quality.worst(shipped, real, images.shape[1:])
  assert worst.keys() == {'classifier_fid', 'classifier_kid'}
  for name in worst:
    assert floor[name] < middle[name] < worst[name]
  threes = np.flatnonzero(real[1].argmax(-1) == 3)
  collapsed = np.resize(threes, len(images))
  found = quality.score(shipped, real, tuple(part[collapsed] for part in real))
  assert found['classes'] == 1
  assert found['balance'] == 0
  assert found['recall'] < 0.3
  assert found['classifier_fid'] > 20 * floor['classifier_fid']


def test_facts_are_json_and_state_the_counts(shipped):
  told = quality.facts(shipped, {'validation': 180, 'test': 359})
  assert json.loads(json.dumps(told)) == told
  assert told['counts']['test'] == 359
  assert told['digest'] == shipped.digest
