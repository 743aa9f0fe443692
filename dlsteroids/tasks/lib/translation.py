"""Quality of translations between two domains, against the truth where it exists."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from dlsteroids import types
from dlsteroids.tasks.lib import (
  couple,
  features,
  network,
  pictures,
  quality,
  similarity,
)

NAMES = {'x': 'x_as_y', 'y': 'y_as_x'}
OTHER = {'x': 'y', 'y': 'x'}
MEASURES: Mapping[str, tuple[Callable[[Any, Any], Any], Any, float]] = {
  # A diverged run scores what an image of the wrong extreme does.
  'l1': (similarity.l1, 'lower', 2.0),
  'psnr': (similarity.psnr, 'higher', 0.0),
  'ssim': (similarity.ssim, 'higher', 0.0),
}


def make_outputs(
  makers: couple.Couple, extractor: features.Extractor | None, directions: Sequence[str]
) -> Callable[..., types.Outputs]:
  """Both translations, their way back and, with an extractor, their features."""

  def outputs(variables, batch, keys, hyper):
    own, result = variables['generators'], {'mask': batch['mask']}

    def apply(name, images):
      return makers.apply(own, name, images, keys, hyper, train=False)[0]

    for source, name in NAMES.items():
      translated = apply(name, batch[source])
      again = apply(NAMES[OTHER[source]], translated)
      result[f'cycle_{source}'] = similarity.l1(again, batch[source])
      if source in directions:
        for key, (measure, _, _) in MEASURES.items():
          result[f'{key}_{source}'] = measure(translated, batch[name])
      if source == 'y' and extractor is not None:
        if 'at_x' in batch:
          result['at'] = {'real': batch['at_x'], 'fake': batch['at_y']}
        for side, images in (('real', batch['x']), ('fake', translated)):
          representation, logits = extractor.apply(images)
          result[side] = {'features': representation}
          if logits is not None:
            result[side]['logits'] = logits
        if 'label_y' in batch:
          result['label'] = batch['label_y']
    return result

  return outputs


def make(
  directions: Sequence[str],
  extractor: features.Extractor | None,
  dataset: types.Dataset,
) -> dict[str, types.Metric]:
  """The metrics that the data and the extractor allow.

  * l1, psnr (dB), ssim: of translations against the truth, in [-1, 1], mean of the
    directions in which it is known; with a suffix _x (of x into Y) or _y, of one.
  * cycle: mean absolute distance of what comes back from what went.
  * with an extractor of domain X, of the y translated into X: those of `quality.make`,
    and agreement: how often the class of y is still seen.
  """
  metrics: dict[str, types.Metric] = {}

  def mean(key, sources, better, fallback):
    def measure(out):
      rows = sum(out[f'{key}_{source}'] for source in sources) / len(sources)
      return rows, out['mask']

    return network.mean_metric(measure, better, fallback), lambda out: measure(out)[0]

  measures = dict(MEASURES) if directions else {}
  for key, (_, better, fallback) in measures.items():
    metrics[key], rows = mean(key, directions, better, fallback)
    metrics[f'{key}_rows'] = types.Metric(rows, lambda r: {'': r}, '', merge='concat')
    if len(directions) > 1:
      for source in directions:
        metrics[f'{key}_{source}'], _ = mean(key, (source,), better, fallback)
  metrics['cycle'], rows = mean('cycle', tuple(NAMES), 'lower', 2.0)
  metrics['cycle_rows'] = types.Metric(rows, lambda r: {'': r}, '', merge='concat')
  if extractor is not None:
    metrics |= quality.make(extractor)
    classes = len(extractor.classes)
    if 'label_y' in dataset.arrays and classes == len(dataset.classes):
      metrics['agreement'] = network.mean_metric(agreement, 'higher', 1 / classes)
  return metrics


def agreement(out: types.Outputs) -> tuple[Any, Any]:
  """Whether a y translated into X is taken for its class, [B]."""
  right = out['fake']['logits'].argmax(-1) == out['label']
  return right.astype(jnp.float32), out['mask']


def facts(
  extractor: features.Extractor | None, dataset: types.Dataset
) -> dict[str, Any]:
  """What the report must say of these metrics."""
  if extractor is None:
    return {}
  counts = {name: len(rows) for name, rows in dataset.split(0).items()}
  return {'quality': quality.facts(extractor, counts)}


def make_sample(makers: couple.Couple) -> Callable[..., Any]:
  """Pictures of both directions, each beside what was translated."""

  def sample(variables, prompt, keys, hyper, options):
    del options
    own = variables['generators']
    images_by_name: dict[str, Any] = {}
    for source, name in NAMES.items():
      translated, _ = makers.apply(own, name, prompt[source], keys, hyper, train=False)
      images_by_name |= {source: prompt[source], name: translated}
    return {name: pictures.as_bytes(images) for name, images in images_by_name.items()}

  return sample


def make_show(makers: couple.Couple, directions: Iterable[str]) -> Callable[..., Any]:
  """A few images, their translations, the way back and the truth, for the report."""
  directions = tuple(directions)

  def show(variables, batch, keys, hyper):
    own, arrays = variables['generators'], {}

    def apply(name, images):
      return makers.apply(own, name, images, keys, hyper, train=False)[0]

    for source, name in NAMES.items():
      translated = apply(name, batch[source])
      triple = {
        'input': batch[source],
        'translated': translated,
        'again': apply(NAMES[OTHER[source]], translated),
      }
      if source in directions:
        triple['truth'] = batch[name]
      for kind, images in triple.items():
        arrays[f'translation/{source}/{kind}'] = pictures.as_bytes(images)
    return arrays

  return show
