"""Feature extractors: classifiers that this project trained, or a network of yours.

Distances between sets of images are measured on the features of a classifier. Those
of `digits` and `mnist` come with the package; `--action=export` makes another from any
finished run of task classify (the format: `classifier.pack`).

**Another network**, such as Inception for the true FID: name a module of your own that
has `make(dataset) -> Extractor`, or such a function ('mylab.inception.make'). Its
`apply` is pure JAX: images [B, H, W, C] in [-1, 1], of any H and W, to (features
float32 [B, D], logits float32 [B, K] or None); it must resize by itself and say in
`note` by which rule. `digest` must identify its weights (the sha256 of their file); the
digest of the module's code is added here. Weights it closes over become constants of
the compiled program.
"""

import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.config import code as code_lib
from dlsteroids.tasks.lib import classifier
from dlsteroids.util import errors

SHIPPED = pathlib.Path(__file__).parent / 'classifiers'
CHUNK = 500  # images at a time


class Extractor(NamedTuple):
  """A network that is only evaluated, never trained.

  Attributes:
    name: as results name it.
    digest: of its weights and of the code that reads them; belongs in the fingerprint
      of every run that is measured with it.
    dims: features per image, D.
    apply: `images [B, H, W, C] in [-1, 1] -> (features float32 [B, D], logits float32
      [B, K] or None)`, pure.
    classes: that it distinguishes, in the order of its logits; () without logits.
    accuracy: share of its test images that it classifies right; nan if unknown.
    note: one line: what it is, and how it preprocesses images.
    worst: largest distances to be expected, by metric: what a diverged run scores
      (`quality.worst`); {} if not known.
  """

  name: str
  digest: str
  dims: int
  apply: Callable[[Any], tuple[Any, Any]]
  classes: tuple[str, ...]
  accuracy: float
  note: str
  worst: Mapping[str, float] = {}


def shipped() -> list[str]:
  """Data sets whose classifier comes with the package."""
  return sorted(path.stem for path in SHIPPED.glob('*.npz'))


def load(name: str, dataset: types.Dataset) -> Extractor:
  """The extractor called `name`, for the images of `dataset`.

  Args:
    name: 'auto' (shipped with the package for a data set of that name), a shipped one,
      a path ending in .npz, or a dotted module or function of the user's.
    dataset: whose 'image' arrays, if it has them, must suit the extractor.

  Raises:
    UserError: if there is none, or it is damaged, of another kind, or does not fit.
  """
  chosen = name if name != 'auto' else dataset.name
  if chosen in shipped():
    extractor = of_file(SHIPPED / f'{chosen}.npz')
  elif name.endswith('.npz'):
    extractor = of_file(pathlib.Path(name).expanduser())
  elif '.' in name:
    extractor = own(name, dataset)
  else:
    what = 'auto: no' if name == 'auto' else f'{name!r}: no such'
    raise errors.UserError(
      f'config.task.features={what} classifier comes with the package for data set '
      f'{dataset.name!r} (there are {", ".join(shipped()) or "none"}); '
      f'{classifier.HOW}, and name its .npz file, or a dotted module of your own'
    )
  image = dataset.arrays.get('image')
  if image is not None:
    check(extractor, name, image.shape[1:])
  return extractor


def of_file(path: pathlib.Path) -> Extractor:
  """The extractor of a classifier's file.

  Raises:
    UserError: if it is missing, damaged, foreign, or does not fit this version's model.
  """
  return of_classifier(classifier.read(path), path.stem)


def of_classifier(loaded: classifier.Classifier, name: str) -> Extractor:
  """The extractor that a classifier is."""
  meta = loaded.meta
  return Extractor(
    name=name,
    digest=loaded.digest,
    dims=loaded.dims,
    apply=loaded.apply,
    classes=tuple(meta['classes']),
    accuracy=meta['accuracy'],
    note=describe(meta, loaded.dims),
    worst=meta['worst'],
  )


def describe(meta: Mapping[str, Any], dims: int) -> str:
  height, width, channels = meta['shape']
  colour = {1: 'grey', 3: 'colour'}.get(channels, f'{channels}-channel')
  return (
    f'{meta["model"]["name"]} trained on {meta["data"]["name"]}, '
    f'{100 * meta["accuracy"]:.2f} % right of {meta["examples"]:,} test images '
    f'({meta["data"]["tested_on"]}); the features are the {dims} inputs of its output '
    f'layer. It sees {colour} images of {height}×{width}: others are resized '
    '(bilinear, antialiased), grey is repeated for colour; values are clipped to '
    '[-1, 1], not rounded to 8 bits'
  )


def check(extractor: Extractor, name: str, shape: tuple[int, ...]) -> None:
  """Raises UserError unless an extractor takes images of `shape` as it promises."""
  images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  try:
    features, logits = jax.eval_shape(extractor.apply, images)
    returned = [(x.shape, x.dtype.name) for x in (features, logits) if x is not None]
  except errors.UserError:
    raise
  except Exception as error:  # whatever the user's function raises
    raise errors.UserError(
      f'config.task.features={name}: apply fails on images {list(shape)}: '
      f'{errors.describe(error)}'
    ) from error
  classes = len(extractor.classes)
  wanted = [((2, width), 'float32') for width in (extractor.dims, classes) if width]
  if returned != wanted:
    raise errors.UserError(
      f'config.task.features={name}: apply must give float32 features '
      f'[B, {extractor.dims}] and logits [B, {classes}] (None without classes); two '
      f'images gave {", ".join(f"{kind} {list(size)}" for size, kind in returned)}'
    )


def pixels(dataset: types.Dataset) -> Extractor:
  """Pixels, averaged down to 8x8: no classifier, for a quick look and as an example.

  `task.features=dlsteroids.tasks.lib.features.pixels`; any image set will do.
  """
  channels = dataset.arrays['image'].shape[-1]

  def apply(images):
    shape = (len(images), 8, 8, channels)
    small = jax.image.resize(images, shape, 'bilinear', antialias=True)
    return small.reshape(len(images), -1).astype(jnp.float32), None

  note = 'pixels, no classifier; resized to 8×8 (bilinear, antialiased)'
  dims = 64 * channels
  return Extractor('pixels', '', dims, apply, (), float('nan'), note)


def own(name: str, dataset: types.Dataset) -> Extractor:
  """The extractor that a user's module or function makes.

  Raises:
    UserError: if it cannot be imported, fails, or returns something else.
  """
  module = name if code_lib.exists(name) else name.rpartition('.')[0]
  function = name[len(module) + 1 :] or 'make'
  try:
    extractor = getattr(importlib.import_module(module), function)(dataset)
  except errors.UserError:
    raise
  except Exception as error:  # whatever the user's module raises
    raise errors.UserError(
      f'config.task.features: {name!r} must be a module with make(dataset), or such a '
      f'function: {errors.describe(error)}'
    ) from error
  if not isinstance(extractor, Extractor) or not extractor.note:
    raise errors.UserError(
      f'config.task.features: {name!r} must return a features.Extractor whose note '
      f'states the resize rule, not {type(extractor).__name__}'
    )
  code = code_lib.read([module]).digest
  return extractor._replace(
    digest=config_lib.digest({'code': code, 'weights': extractor.digest})
  )


def scaled(images: np.ndarray) -> np.ndarray:
  """Stored images (uint8) in [-1, 1], float32; floats as they are."""
  if images.dtype != np.uint8:
    return np.asarray(images, np.float32)
  return images.astype(np.float32) / np.float32(127.5) - 1


def measure(extractor: Extractor, images: np.ndarray) -> tuple[np.ndarray, Any]:
  """Features [N, D] and logits [N, K] or None of uint8 images, or floats in [-1, 1].

  Not compiled as a whole: for thousands of images outside of training.
  """
  rows = [
    extractor.apply(jnp.asarray(scaled(images[start : start + CHUNK])))
    for start in range(0, len(images), CHUNK)
  ]
  features = np.concatenate([np.asarray(part) for part, _ in rows])
  if not extractor.classes:
    return features, None
  return features, np.concatenate([np.asarray(logits) for _, logits in rows])
