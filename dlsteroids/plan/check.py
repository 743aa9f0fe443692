"""What is wrong with a plug-in, told to its author before a study does."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config import code as code_lib
from dlsteroids.config import options
from dlsteroids.train import chunks
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors

CLASSES = 10


def check(module: str) -> list[str]:
  """Problems of a model, data set, task or metric module, a line each; [] if none.

  Args:
    module: dotted name, as a config would name it.

  Example:
    >>> 'no such module' in check('nowhere.nets')[0]
    True
  """
  try:
    return list(problems(module))
  except errors.UserError as error:
    return [str(error)]


def problems(name: str) -> Iterator[str]:
  """Imports the module, tells its kind by what it defines, and tries it out."""
  if not code_lib.module_of(name, undotted=True):
    yield f'{name}: there is no such module on the import path'
    return
  kinds = {'load': 'data', 'build': 'models', 'make': 'metrics'}
  loaded = load(name)
  found = [kind for attribute, kind in kinds.items() if hasattr(loaded, attribute)]
  if not found:
    yield (
      f'{name} defines none of load(config) (data), build(config) (model), '
      'build(config, dataset) (task), make(config) (metrics)'
    )
    return
  if found[0] == 'metrics':
    yield from check_metrics(name)
    return
  loaded = config_lib.find(found[0], name)
  yield from check_defaults(name, loaded)
  if found[0] == 'data':
    yield from check_data(name, loaded)
  elif len(inspect.signature(loaded.build).parameters) == 2:
    yield from attempt(f'{name}: training a step with the digits', name, 'task')
  else:
    yield from check_model(name, loaded)


def load(name: str) -> ModuleType:
  """The module; UserError if its import fails."""
  try:
    return importlib.import_module(name)
  except Exception as error:
    raise errors.UserError(
      f'{name} fails at import: {errors.describe(error)}'
    ) from error


def check_defaults(name: str, module: ModuleType) -> Iterator[str]:
  """Options must be values that a command line can override."""
  for key, value in options.defaults(module).items():
    if isinstance(value, tuple):
      good = all(isinstance(item, bool | int | float | str | tuple) for item in value)
    else:
      good = isinstance(value, bool | int | float | str)
    if not good:
      yield (
        f'{name}.DEFAULTS[{key!r}] is {value!r}: use a bool, int, float, str or tuple '
        '(lists and None cannot be overridden from the command line)'
      )


def check_model(name: str, module: ModuleType) -> Iterator[str]:
  """Builds the model for 8x8 and 32x32 images and looks at what it makes of them."""
  traced = {
    f'model.{key}': 0.1 for key, option in options.of(module).items() if option.traced
  }
  refusals = []
  for shape in ((8, 8, 1), (32, 32, 3), (224, 224, 3)):
    try:
      model = module.build(
        {**options.defaults(module), 'outputs': CLASSES, 'shape': shape}
      )
      yield from check_call(name, model, shape, traced)
      break
    except errors.UserError as error:
      refusals.append(str(error))
    except Exception as error:
      yield f'{name} fails on images {shape}: {errors.describe(error)}'
      return
  else:
    yield f'{name} refuses every image size tried: {refusals[-1]}'
    return
  if shape == (8, 8, 1):
    yield from attempt(f'{name}: training a step on the digits', name, 'model')


def check_call(
  name: str, model: Any, shape: tuple[int, ...], hyper: Mapping[str, float]
) -> Iterator[str]:
  """Signature, output, names and initial values of one linen module."""
  parameters = inspect.signature(type(model).__call__).parameters
  train = parameters.get('train')
  if train is None or train.kind is not train.KEYWORD_ONLY:
    yield f'{name}: __call__ must take train as a keyword-only argument'
  elif train.default is not train.empty:
    yield f'{name}: train has a default; forgetting it would evaluate in training mode'
  if 'hyper' not in parameters:
    yield f'{name}: __call__ must take hyper, the traced numbers by config path'
    return
  x = jnp.ones((3, *shape))
  keys = rng.Keys(rng.root(0))
  numbers = {path: jnp.float32(value) for path, value in hyper.items()}
  variables = model.init(keys('init'), x, train=False, hyper=numbers)
  out = jax.eval_shape(
    lambda v: model.apply(v, x, train=False, hyper=numbers), variables
  )
  if getattr(out, 'shape', None) != (3, CLASSES):
    yield f'{name}: expected outputs [3, {CLASSES}] for 3 images, got {out}'
  elif out.dtype != jnp.float32:
    yield f'{name}: outputs are {out.dtype}; return float32 so that the loss is exact'
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables['params']):
    text = jax.tree_util.keystr(path)
    if leaf.dtype != jnp.float32:
      yield f'{name}: parameter {text} is {leaf.dtype}, not float32'
    if not bool(jnp.isfinite(leaf).all()):
      yield f'{name}: initial values of {text} are not finite'
    auto = re.search(r"\['([A-Z]\w*_\d+)'\]", text)
    if auto:
      yield (
        f'{name}: {auto.group(1)} is an automatic name; give every submodule a name=, '
        'or ablating one layer changes the initial values of the next'
      )


def check_data(name: str, module: ModuleType) -> Iterator[str]:
  """Loads the data set with its defaults and looks at its splits and digest."""
  dataset = module.load(options.defaults(module))
  if not isinstance(dataset, types.Dataset):
    got = type(dataset).__name__
    yield f'{name}.load must return dlsteroids.types.Dataset, not {got}'
    return
  lengths = {key: len(array) for key, array in dataset.arrays.items()}
  if dataset.take is types.rows and len(set(lengths.values())) != 1:
    yield f'{name}: arrays differ in length: {lengths}'
  first, second = dataset.split(0), dataset.split(1)
  for split in ('train', 'validation', 'test'):
    if split not in first or not len(first[split]):
      yield f'{name}: split(seed) gives no {split} examples'
    elif len(first[split]) != len(second.get(split, ())):
      yield f'{name}: the size of split {split} depends on the seed'
  merged = np.concatenate([np.asarray(indices) for indices in first.values()])
  if len(np.unique(merged)) != len(merged):
    yield f'{name}: the splits overlap'
  if any((dataset.split(0)[key] != first[key]).any() for key in first):
    yield f'{name}: split(0) gives other examples when it is called again'
  if not re.fullmatch(r'[0-9a-f]{32,}', dataset.digest):
    yield f'{name}: digest must be a sha256 in hex, not {dataset.digest!r}'
  elif module.load(options.defaults(module)).digest != dataset.digest:
    yield f'{name}: loading twice gives two digests'
  if dataset.stream:
    yield from check_stream(name, dataset.stream)
  if 'image' in dataset.arrays and 'label' in dataset.arrays:
    yield from attempt(f'{name}: training a step of an mlp', name, 'data')


def check_stream(name: str, stream: types.Stream) -> Iterator[str]:
  """Reads an example twice, in training and for evaluation."""
  for epoch in (-1, 0):
    one, other = (stream.example(types.Request(0, epoch=epoch)) for _ in range(2))
    found = {key: (np.shape(x), np.asarray(x).dtype.name) for key, x in one.items()}
    if found != dict(stream.shapes):
      yield f'{name}: stream.example gives {found}, but its shapes are {stream.shapes}'
    elif any(not np.array_equal(one[key], other[key]) for key in one):
      yield f'{name}: stream.example gives two answers to one request'


def check_metrics(name: str) -> Iterator[str]:
  """Evaluates the metrics of a module on the digits."""
  module = load(name)
  for key, metric in module.make(try_out(name, '')).items():
    if not isinstance(metric, types.Metric):
      yield f'{name}: {key} is no dlsteroids.types.Metric'
    elif metric.better not in ('higher', 'lower', ''):
      yield f"{name}: {key}.better is {metric.better!r}, not 'higher', 'lower' or ''"
    elif metric.better and not np.isfinite(metric.fallback):
      yield f'{name}: {key} has no fallback: what does a diverged run score?'
  yield from attempt(f'{name}: evaluating on the digits', name, 'metrics')


def try_out(name: str, kind: str) -> dict[str, Any]:
  """A small config that uses the plug-in: an mlp on the digits otherwise."""
  given = {'model': 'mlp', 'data': 'digits', 'task': 'classify'}
  config = config_lib.base(**{**given, **({kind: name} if kind in given else {})})
  with config.unlocked():
    config.train.batch_size = 4
    if kind == 'metrics':
      config.task.metrics = name
  return config_lib.resolve(config)


def attempt(what: str, name: str, kind: str) -> Iterator[str]:
  """Traces a program that uses the plug-in, then trains and evaluates two steps."""
  try:
    config = try_out(name, kind)
    dataset = config_lib.find('data', config['data']['name']).load(config['data'])
    member = member_lib.make(config, dataset)
    slot = member_lib.slot(config, dataset, 0)
    arrays = {key: jnp.asarray(array) for key, array in dataset.resident.items()}
    fed, seen = (
      member.chunks.one(kind) if member.chunks else {} for kind in chunks.KINDS
    )

    def both(slot):
      state = member.init(slot, arrays)
      state = member.stretch(state, slot | fed, arrays, 0, 2, True)
      return state, member.evaluate(state, slot | seen, arrays)

    slots = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), slot)
    state, values = jax.jit(jax.vmap(both))(slots)
  except errors.UserError as error:
    yield f'{what}: {error}'
    return
  except Exception as error:
    yield f'{what}: {errors.describe(error)}'
    return
  if int(state['diverged'][0]) >= 0:
    yield f'{what}: the loss is not finite at step {int(state["diverged"][0])}'
  for path, leaf in jax.tree_util.tree_leaves_with_path((state, values)):
    leaf = np.asarray(leaf)
    if leaf.dtype.kind == 'f' and not np.array_equal(leaf[0], leaf[1], equal_nan=True):
      yield f'{what}: two members with one seed differ in {jax.tree_util.keystr(path)}'
      return
