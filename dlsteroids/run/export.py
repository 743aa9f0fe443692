"""The action `export`: a finished classifier as a file that measures images."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import dlsteroids
from dlsteroids import rng, types
from dlsteroids.plan import manifest, runs, study_plan
from dlsteroids.run import trained
from dlsteroids.store import results
from dlsteroids.tasks.lib import classifier, features, quality
from dlsteroids.util import errors, files

LEVELS = (0, 64, 128, 255)  # grey levels by which a normalisation is read off
FEW = 2000  # test images at most that the worst distances are measured from


def export(
  plan: study_plan.Plan,
  run: runs.Run,
  workdir: pathlib.Path,
  target: pathlib.Path | None,
  say: Callable[[str], None],
) -> pathlib.Path:
  """Writes a classifier's final variables as an extractor's file.

  Before it is written the exported classifier is evaluated on the whole test split: its
  accuracy, which the file states, must be that of the run.

  Args:
    plan: the plan.
    run: of task classify, finished.
    workdir: of the study.
    target: the file; None is <data set>.npz in `workdir`.
    say: prints what was written.

  Raises:
    UserError: a run that is not finished or kept no checkpoint, no plain classifier of
      images, or a target that is no .npz file.
  """
  dataset = plan.dataset(run.config)
  target = target or workdir / f'{dataset.name}.npz'
  check(run.config, dataset, target)
  index = results.read(workdir)
  record = trained.find(index, run.fingerprint, run.arm, run.seed, workdir)
  variables = trained.read_variables(record, workdir)['model']
  study = manifest.read_study(workdir)
  command = study.command if study else ''
  meta = describe(run, dataset, record, command)
  # Written without the numbers that are measured on it, then with them.
  draft = classifier.pack({**meta, **measured(0.0, 0, {})}, variables)
  scores = measure(draft, dataset, run.seed)
  compare(scores, record.run['values']['final/test/accuracy'])
  data = classifier.pack({**meta, **scores}, variables)
  files.write(target, data)
  note = features.of_file(target).note
  say(f'{target}: {len(data):,} bytes; {note}. Use it by task.features={target}')
  return target


def check(
  config: Mapping[str, Any], dataset: types.Dataset, target: pathlib.Path
) -> None:
  """Raises UserError unless a run classifies images and the target is an .npz."""
  image = dataset.arrays.get('image')
  if config['task']['name'] != 'classify' or image is None or image.ndim != 4:
    raise errors.UserError(
      '--action=export: only classifiers of images can be exported; this is task '
      f'{config["task"]["name"]} on {dataset.name}'
    )
  if target.suffix != '.npz':
    raise errors.UserError(f'--target must end in .npz, not {str(target)!r}')


def describe(
  run: runs.Run, dataset: types.Dataset, record: results.Record, command: str
) -> dict[str, Any]:
  """The metadata for `classifier.pack`, but for what is measured."""
  split = dataset.split(run.seed)
  mean, sd, shape = normalisation(dataset)
  sizes = {name: len(indices) for name, indices in split.items()}
  tested_on = 'the published test images'
  if not dataset.official_test:
    tested_on = (
      f'drawn by its seed {run.seed}; test images of another seed may be among those '
      'it was trained on'
    )
  return {
    'model': dict(run.config['model']),
    'shape': shape,
    'mean': mean.tolist(),
    'sd': sd.tolist(),
    'classes': list(dataset.classes),
    'run': {
      'fingerprint': run.fingerprint,
      'arm': run.arm,
      'seed': run.seed,
      'steps': record.run['steps'],
    },
    'data': {
      'name': dataset.name,
      'digest': dataset.digest,
      'sizes': sizes,
      'official_test': dataset.official_test,
      'tested_on': tested_on,
    },
    'command': command,
    'versions': {'dlsteroids': dlsteroids.__version__, **record.batch['provenance']},
  }


def normalisation(
  dataset: types.Dataset,
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
  """Mean and sd [C] of pixels that a data set's transform normalises by; its shape.

  Raises:
    UserError: if what the transform does to flat grey images is something else.
  """
  shape = dataset.arrays['image'].shape[1:]
  flat = np.stack([np.full(shape, level, np.uint8) for level in LEVELS])
  batch = {'image': jnp.asarray(flat), 'label': jnp.zeros(len(LEVELS), jnp.int32)}
  normalised = dataset.transform(batch, rng.Keys(rng.root(0)), train=False)['image']
  values = np.asarray(normalised, np.float64)  # [levels, H, W, C]
  low, high = values[0, 0, 0], values[-1, 0, 0]
  slope = (high - low) / (LEVELS[-1] - LEVELS[0])
  linear = low + slope * np.array(LEVELS)[:, None]  # [levels, C]
  if not (slope > 0).all() or np.abs(values - linear[:, None, None]).max() > 1e-4:
    raise errors.UserError(
      f'--action=export: data set {dataset.name} does more to images than shifting and '
      'scaling each channel, which an exported classifier could not repeat'
    )
  return -low / slope, 1 / slope, values.shape[1:]


def measured(accuracy: float, examples: int, worst: Mapping[str, float]) -> dict:
  return {'accuracy': accuracy, 'examples': examples, 'worst': dict(worst)}


def measure(draft: bytes, dataset: types.Dataset, seed: int) -> dict[str, Any]:
  """Accuracy on the test split, and the largest distances from it."""
  extractor = features.of_classifier(classifier.make(draft), dataset.name)
  indices = dataset.split(seed)['test']
  images = dataset.arrays['image'][indices]
  activations, logits = features.measure(extractor, images)
  right = logits.argmax(-1) == dataset.arrays['label'][indices]
  few = np.random.default_rng(0).permutation(len(indices))[:FEW]
  worst = quality.worst(extractor, (activations[few], logits[few]), images.shape[1:])
  return measured(float(right.mean()), len(indices), worst)


def compare(scores: Mapping[str, Any], stored: float) -> None:
  """Raises UserError if the exported classifier disagrees with the run."""
  gap = abs(scores['accuracy'] - stored) * scores['examples']
  if gap > 1 + 0.002 * scores['examples']:  # rounding on another device
    raise errors.UserError(
      f'--action=export: the exported classifier is right on {scores["accuracy"]:.4f} '
      f'of the test images, the run was on {stored:.4f}: its model depends on more '
      'than its variables'
    )
