"""Trained classifiers as files: an npz of arrays without pickles.

A file holds the variables by path and, as JSON text, all that is needed to use the
classifier and to judge it (`pack`). The model's code is looked up by its name, as a
config's is, but a file imports nothing: a dotted name must be of a module that the
config file, say, has imported.
"""

import hashlib
import io
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from dlsteroids import config as config_lib
from dlsteroids.config import code as code_lib
from dlsteroids.config import options
from dlsteroids.models.adapters import kinds
from dlsteroids.tasks.lib import classifier_metadata
from dlsteroids.util import errors, npz

FORMAT = 1
KIND = 'dlsteroids classifier'
NEEDED = (
  *('model', 'shape', 'mean', 'sd', 'classes', 'accuracy', 'examples', 'worst'),
  *('run', 'data', 'command', 'versions'),
)
MISFITS = (TypeError, KeyError, AttributeError, IndexError, ArithmeticError)
CALLS = 20  # of a network to its modules, by array of it
ROOM, RATIO = 1 << 26, 20  # bytes of arrays: so many, and more times the file's
HOW = 'make one from a finished run of task classify: --action=export'


class Classifier(NamedTuple):
  """A trained classifier, only evaluated.

  Attributes:
    meta: as `pack` took it.
    dims: features per image, D: the inputs of its output layer.
    apply: `images [B, H, W, C] in [-1, 1] -> (features float32 [B, D], logits float32
      [B, K])`, pure.
    digest: of the file and of the code that the model is made of.
  """

  meta: Mapping[str, Any]
  dims: int
  apply: Callable[[Any], tuple[Any, Any]]
  digest: str


def pack(meta: Mapping[str, Any], variables: Mapping[str, Any]) -> bytes:
  """An extractor's file.

  Args:
    meta: JSON: `model` (the config's section), `shape` [H, W, C] that the classifier
      sees, `mean` and `sd` [C] of pixels in 0..255 that it was normalised by,
      `classes`, `accuracy` on `examples` test images, `worst` (`quality.worst`),
      and whence it comes: `run`, `data`, `command`, `versions`.
    variables: of the classifier.
  """
  text = json.dumps({'kind': KIND, 'format': FORMAT, **meta}, default=list)
  arrays = traverse_util.flatten_dict(dict(variables), sep='/')
  flat: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
  buffer = io.BytesIO()
  np.savez_compressed(buffer, meta=np.frombuffer(text.encode(), np.uint8), **flat)
  return buffer.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
  """Meta and variables of an extractor's file.

  Raises:
    ValueError: if it is none, saying why.
  """
  try:
    flat = npz.read(data, limit=ROOM + RATIO * len(data))
    meta = json.loads(flat.pop('meta').tobytes())
    kind, version = meta['kind'], meta['format']
  except (AttributeError, KeyError, TypeError) as error:
    raise ValueError('it holds no classifier of dlsteroids') from error
  if kind != KIND:
    raise ValueError(f'it holds {kind!r}, no classifier of dlsteroids')
  if version != FORMAT:
    raise ValueError(f'it has format {version!r}; this version reads {FORMAT}')
  missing = [name for name in NEEDED if name not in meta]
  if missing:
    raise ValueError(f'it lacks {", ".join(missing)}')
  return meta, traverse_util.unflatten_dict(flat, sep='/')


def read(path: pathlib.Path) -> Classifier:
  """The classifier of a file.

  Raises:
    UserError: if it is missing, damaged, foreign, or does not fit this version's model.
  """
  try:
    data = path.read_bytes()
  except OSError as error:
    raise errors.UserError(
      f'config.task.features={path}: {error.strerror}; {HOW}'
    ) from error
  try:
    return make(data)
  except ValueError as error:
    if isinstance(error, errors.UserError):
      raise
    raise errors.UserError(f'config.task.features={path}: {error}; {HOW}') from None


def make(data: bytes) -> Classifier:
  """The classifier that a file's bytes hold.

  Raises:
    ValueError: if they hold none, saying why.
  """
  meta, variables = unpack(data)
  classifier_metadata.check_meta(meta)
  section = {key: tuples(value) for key, value in meta['model'].items()}
  for value in section.values():
    classifier_metadata.check_imported(value)
  plugin = config_lib.find('models', section['name'])
  section = {**options.defaults(plugin), **section}  # of options younger than the file
  shape = tuple(meta['shape'])
  outputs = len(meta['classes'])
  try:
    config = {**section, 'outputs': outputs, 'shape': shape}
    model, module = kinds.adapt(plugin.build, config, section['name'])
    if model.kind != kinds.LINEN:
      raise errors.UserError(
        f'model {section["name"]} is {model.kind}; only linen modules can be exported, '
        'whose layer named output is known by name'
      )
    traced = options.traced(plugin)
    hyper = {f'model.{name}': np.float32(section[name]) for name in traced}
    check_variables(module, variables, shape, hyper, section['name'])
  except MISFITS as error:
    text = next(iter(str(error).splitlines()), '')
    raise ValueError(
      f'its model does not fit this version: {type(error).__name__}: {text}'
    ) from error
  mean, sd = (np.asarray(meta[key], np.float32) for key in ('mean', 'sd'))

  def apply(images: Any) -> tuple[Any, Any]:
    x = (pixels(images, shape) - mean) / sd
    # As float32 everywhere: by default an accelerator would round products.
    with jax.default_matmul_precision('highest'):
      features, logits = ask(module, variables, x, hyper)
    return features.reshape(len(x), -1).astype(jnp.float32), logits

  probe = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  dims = jax.eval_shape(apply, probe)[0].shape[-1]
  code = code_lib.read([plugin.__name__]).digest
  digest = {'code': code, 'file': hashlib.sha256(data).hexdigest()}
  return Classifier(meta, dims, apply, config_lib.digest(digest))


def tuples(value: Any) -> Any:
  """JSON's lists as the tuples they were."""
  return tuple(map(tuples, value)) if isinstance(value, list) else value


def check_variables(
  module: nn.Module, variables: Any, shape: tuple[int, ...], hyper: Any, name: str
) -> None:
  """Raises ValueError unless variables have the shapes of the module's initial ones."""

  calls = itertools.count()

  def count(call, args, kwargs, context):
    del context
    if next(calls) > CALLS * (1 + len(loaded)):  # a depth of a billion, say
      raise ValueError(f'its arrays do not fit model {name}: it has more layers')
    return call(*args, **kwargs)

  def init():
    x = jnp.zeros((1, *shape))
    with nn.intercept_methods(count):
      return module.init(jax.random.key(0), x, train=False, hyper=hyper)

  def shapes(tree):
    flat = traverse_util.flatten_dict(dict(tree), sep='/')
    return {name: tuple(value.shape) for name, value in flat.items()}

  loaded = shapes(variables)
  wanted = shapes(jax.eval_shape(init))
  for path in sorted(wanted.keys() | loaded.keys()):
    if wanted.get(path) != loaded.get(path):
      raise ValueError(
        f'its arrays do not fit model {name} of this version: {path} is '
        f'{loaded.get(path, "missing")}, the model has {wanted.get(path, "none")}'
      )


def ask(module: nn.Module, variables: Any, x: Any, hyper: Any) -> tuple[Any, Any]:
  """The inputs of the layer called 'output', and the logits.

  Raises:
    UserError: if the network has no such layer.
  """
  inputs = []

  def look(call, args, kwargs, context):
    if context.module.path == ('output',) and context.method_name == '__call__':
      inputs.append(args[0])
    return call(*args, **kwargs)

  with nn.intercept_methods(look):
    logits = module.apply(variables, x, train=False, hyper=hyper)
  if len(inputs) != 1:
    raise errors.UserError(
      f"{type(module).__name__} has no layer named 'output', whose inputs would be the "
      'features'
    )
  return inputs[0], logits


def pixels(images: Any, shape: tuple[int, ...]) -> Any:
  """Images [B, h, w, c] in [-1, 1] as pixels in 0..255 of `shape` (H, W, C), float32.

  Raises:
    UserError: if they have other channels, unless they are grey.
  """
  images = jnp.clip(images.astype(jnp.float32), -1, 1)
  if images.shape[-1] not in (1, shape[-1]):
    raise errors.UserError(
      f'config.task.features: its classifier sees images of {shape[-1]} channels; '
      f'these have {images.shape[-1]}'
    )
  if images.shape[1:3] != shape[:2]:
    size = (len(images), *shape[:2], images.shape[-1])
    images = jax.image.resize(images, size, 'bilinear', precision='highest')
  return jnp.broadcast_to((images + 1) * 127.5, (len(images), *shape))
