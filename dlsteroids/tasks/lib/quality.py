"""How good generated images are, measured on the features of a classifier.

Values are not comparable with published FIDs and the like, which are of Inception's
features: here they are `classifier_fid` and `classifier_kid`. They depend on how many
images are compared (`facts` states it); `floor` tells what real images score.
"""

import contextlib
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.config import code as code_lib
from dlsteroids.tasks.lib import compiled_distances, distances, network
from dlsteroids.tasks.lib import features as features_lib
from dlsteroids.util import files

SHARE = 0.1  # of an even share of the images, from which on a class counts
# What a diverged run scores if its extractor does not say how far images can be: beyond
# what Inception's features give for noise (about 450 and 1).
FAR = {'classifier_fid': 1e3, 'classifier_kid': 1e1}
# Metrics of two sets of features, by their names in `compiled_distances.compare`.
DISTANCES = {
  'classifier_fid': 'frechet',
  'classifier_kid': 'kernel',
  'precision': 'precision',
  'recall': 'recall',
  'diversity': 'spread',
}
OF_PAIRS = ('classifier_kid', 'precision', 'recall')  # look at all pairs of images


def both(out: types.Outputs) -> dict[str, Any]:
  """Features of real and generated images; all that are measured on them share this.

  With 'at', 'real' and 'fake' int32 [B], rows of one number are one image, come again:
  it counts once, since distances assume independent rows.
  """
  features = {'real': out['real']['features'], 'fake': out['fake']['features']}
  return features | ({'at': out['at']} if 'at' in out else {})


def compare(values: Mapping[str, Any], pairs: bool = True) -> dict[str, Any]:
  """Distances between the features of `both`, on the device; names as in `make`."""
  numbers = values.get('at', {})
  real, fake = (
    compiled_distances.rows(values[side], numbers.get(side))
    for side in ('real', 'fake')
  )
  scalars = compiled_distances.compare(real, fake, pairs)
  return {n: scalars[part] for n, part in DISTANCES.items() if part in scalars}


def frechet(real: np.ndarray, fake: np.ndarray) -> float:
  return distances.frechet(distances.moments(real), distances.moments(fake))


def precision(real: np.ndarray, fake: np.ndarray) -> float:
  return distances.covered(fake, real)


def recall(real: np.ndarray, fake: np.ndarray) -> float:
  return distances.covered(real, fake)


def diversity(real: np.ndarray, fake: np.ndarray) -> float:
  whole = distances.spread(real)
  return distances.spread(fake) / whole if whole else math.nan


# The same in numpy, of sets that are measured outside of training.
ON_HOST: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
  'classifier_fid': frechet,
  'classifier_kid': distances.kernel_distance,
  'precision': precision,
  'recall': recall,
  'diversity': diversity,
}


def on_host(name: str, real: np.ndarray, fake: np.ndarray) -> float:
  """The distance `name` of two sets of features; nan as `compare`."""
  real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
  good = min(len(real), len(fake)) > 1
  good &= bool(np.isfinite(real).all() and np.isfinite(fake).all())
  return ON_HOST[name](real, fake) if good else math.nan


def make(
  extractor: features_lib.Extractor, pairs: bool = True
) -> dict[str, types.Metric]:
  """The metrics that an extractor allows, without `pairs` none of `OF_PAIRS`.

  They read outputs {'real': {'features', 'logits'}, 'fake': {'features', 'logits'},
  'mask'}, and are nan as soon as one image's features are not finite:

  * classifier_fid, classifier_kid: Fréchet and kernel distance; lower is better. A
    diverged run scores what the worst images do (`worst`).
  * precision, recall: share of the generated images that look real, and of the real
    ones that could have been generated, by nearest neighbours. Noise can have
    precision: a classifier maps what it never saw between its classes.
  * diversity: mean distance of two generated images over that of two real ones (root
    mean square, of features): 1 is as varied as the real ones, 0 a collapse.

  And if it classifies, of the generated images only:

  * classes: how many are seen in at least `SHARE` of an even share (1 % of the images
    for ten classes).
  * balance: entropy of the predicted classes over that of even ones, 1 if balanced.
  * confidence: mean probability of the predicted class.
  """
  far = {**FAR, **extractor.worst}
  measure = functools.partial(compare, pairs=pairs)  # one for all, so it runs once

  def metric(name, better, fallback):
    pick = lambda scalars: {'': float(scalars[name])}
    return types.Metric(both, pick, better, fallback, 'concat', measure)

  metrics = {
    name: metric(name, 'lower' if name in FAR else 'higher', far.get(name, 0.0))
    for name in DISTANCES
    if pairs or name not in OF_PAIRS
  }
  if len(extractor.classes) > 1:
    metrics |= make_predicted(len(extractor.classes))
  return metrics


def make_predicted(classes: int) -> dict[str, types.Metric]:
  """The metrics of the classes that generated images are classified as."""

  def count(out):
    logits, mask = out['fake']['logits'], out['mask']
    finite = jnp.isfinite(logits).all(-1)
    hot = logits.argmax(-1)[:, None] == jnp.arange(classes)
    weights = jnp.where(finite, mask, jnp.nan)  # one that is not makes all nan
    return jnp.where(mask[:, None] > 0, hot * weights[:, None], 0).sum(0)

  def number(counts):
    if not np.isfinite(counts).all():
      return {'': math.nan}
    return {'': float((counts >= SHARE * counts.sum() / classes).sum())}

  def balance(counts):
    if not np.isfinite(counts).all():
      return {'': math.nan}
    shares = counts[counts > 0] / counts.sum()
    return {'': float(-(shares * np.log(shares)).sum() / math.log(classes)) + 0.0}

  def confidence(out):
    likely = jax.nn.softmax(out['fake']['logits']).max(-1)
    return jnp.where(out['mask'] > 0, likely, 0), out['mask']

  return {
    'classes': types.Metric(count, number, 'higher', 0.0),
    'balance': types.Metric(count, balance, 'higher', 0.0),
    'confidence': network.mean_metric(confidence, 'higher', 1 / classes),
  }


# What real images score, and the worst


def score(
  extractor: features_lib.Extractor,
  real: tuple[np.ndarray, np.ndarray | None],
  fake: tuple[np.ndarray, np.ndarray | None],
) -> dict[str, float]:
  """Every metric of `make` on features [N, D] and logits [N, K] of whole sets."""
  values = {name: on_host(name, real[0], fake[0]) for name in ON_HOST}
  if len(extractor.classes) > 1:
    out = {'fake': {'logits': fake[1]}, 'mask': np.ones(len(fake[0]), np.float32)}
    for name, metric in make_predicted(len(extractor.classes)).items():
      values[name] = float(metric.finish(host(metric.measure(out)))[''])
  return values


def host(values: Any) -> Any:
  if isinstance(values, Mapping):
    return {name: host(value) for name, value in values.items()}
  return np.asarray(values)


_floors: dict[str, dict[str, float]] = {}


def floor(
  extractor: features_lib.Extractor,
  dataset: types.Dataset,
  apply_batches: Callable[[np.ndarray], Any] | None = None,
  seed: int = 0,
) -> dict[str, float]:
  """What real images score: test images against as many others, of the training split.

  The best that a generator can be expected to reach at this number of images. Where
  the classifier was trained on these training images its features of them are a little
  more distinct, so the floor is a little high; where the splits hold the classes in
  proportion they are more alike than independent draws, and a kernel distance below 0
  is to be expected.

  Args:
    extractor: to measure with.
    dataset: with images 'image' uint8 [N, H, W, C].
    apply_batches: `uint8 images -> (features [N, D], logits [N, K] or None)`;
      `features.measure` if None.
    seed: of the split; the training images are drawn by it, too.

  Returns:
    every metric of `make` by name. It is measured once (10,000 images take seconds) and
    then found in the cache folder, under the digest of all it depends on.
  """
  code = code_lib.read([__name__]).digest
  key = config_lib.digest([extractor.digest, dataset.digest, seed, code])
  path = files.cache_folder() / 'floors' / f'{key}.json'
  if key not in _floors:
    _floors[key] = remembered(path)
  if not _floors[key]:
    _floors[key] = real_scores(extractor, dataset, apply_batches, seed)
    remember(path, _floors[key])
  return dict(_floors[key])


def real_scores(
  extractor: features_lib.Extractor, dataset: types.Dataset, ask: Any, seed: int
) -> dict[str, float]:
  split = dataset.split(seed)
  count = min(len(split['test']), len(split['train']))
  drawn = np.random.default_rng(seed).permutation(split['train'])[:count]
  ask = ask or (lambda images: features_lib.measure(extractor, images))
  real, other = (
    ask(dataset.arrays['image'][indices]) for indices in (split['test'], drawn)
  )
  return score(extractor, real, other)


def remembered(path: pathlib.Path) -> dict[str, float]:
  """The numbers that were written to `path`; {} if none can be read."""
  try:
    return dict(json.loads(path.read_bytes()))
  except (OSError, ValueError, TypeError):
    return {}


def remember(path: pathlib.Path, values: Mapping[str, float]) -> None:
  """Writes numbers whole or not at all; a cache that can't be written is none."""
  with contextlib.suppress(OSError):
    files.write(path, json.dumps(values))


def worst(
  extractor: features_lib.Extractor, real: tuple[np.ndarray, Any], shape: Any
) -> dict[str, float]:
  """The largest distances that generated images can be expected to have from real ones.

  The worst of grey noise, of black and white noise, and of a collapse onto one real
  image of any class that is seen: a run that ended in no numbers must not beat one that
  ended in these, and which is farthest depends on the classifier.

  Args:
    extractor: that classifies.
    real: its features [N, D] and logits [N, K] of real images.
    shape: (H, W, C) of the images.
  """
  count = len(real[0])
  grey = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
  binary = np.where(grey < 128, 0, 255).astype(np.uint8)
  sets = [features_lib.measure(extractor, images)[0] for images in (grey, binary)]
  _, firsts = np.unique(real[1].argmax(-1), return_index=True)
  sets += [np.repeat(real[0][at][None], count, 0) for at in firsts]
  fallbacks = {}
  for name in FAR:
    fallbacks[name] = max(on_host(name, real[0], rows) for rows in sets)
  return fallbacks


def facts(
  extractor: features_lib.Extractor, counts: Mapping[str, int]
) -> dict[str, Any]:
  """What a report must say of these metrics, as JSON.

  Args:
    extractor: they are measured with.
    counts: of the images compared, by split.
  """
  return {
    'extractor': extractor.name,
    'digest': extractor.digest,
    'accuracy': extractor.accuracy,
    'dims': extractor.dims,
    'note': extractor.note,
    'counts': dict(counts),
    'neighbours': distances.NEIGHBOURS,
    'share': SHARE,
    'bias': (
      'The Fréchet distance of fewer images is larger (Bińkowski et al. 2018): compare '
      'only values of equally many; precision and recall depend on the number, too.'
    ),
  }
