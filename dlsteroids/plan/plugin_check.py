"""Checks of a plug-in: its problems in a line each, before a study meets them."""

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
from dlsteroids.data.lib import text as text_lib
from dlsteroids.models.adapters import functional, kinds
from dlsteroids.train import chunks, program, reduction
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors

CLASSES = 10
STEPS = 6  # of the windows that sequence models are tried on
WARNING, NOTE = 'warning: ', 'note: '  # lines that are no problem of every study
QUICK = {'xla_backend_optimization_level': 0}  # little is computed, once
CONTRACT = (
  f'the contract of a model: build(config) gives {kinds.KINDS}; config holds the '
  "module's options, 'outputs' (classes), 'shape' of an image, or 'symbols', 'every'; "
  'module(x, *, train, hyper): x float32 [B, H, W, C] or int32 [B, T], train bool, '
  "hyper {'model.OPTION': float32} of its traced numbers; it returns logits float32 "
  '[B, outputs], or [B, T, outputs] for symbols'
)


def check(module: str) -> list[str]:
  """What to know of a model, data set, task or metric module, a line each.

  A line is a problem unless it begins with 'warning: ' or 'note: '; [] of a linen
  module in order.

  A model is `build(config)`: config holds its own options and `outputs`, `shape`
  [H, W, C] for images, `symbols` and `every` for text. A linen module is called
  `module(x, *, train, hyper)`: x float32 [B, H, W, C] (NHWC) or int32 [B, T], `hyper`
  float32 by config path ('model.dropout'), and returns logits, float32 [B, outputs] or
  [B, T, outputs]. A warning concerns some studies only; a note says that the model is
  not a linen module, but of which kind.

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
  if name.endswith('.py'):
    yield f'{name}: name the module without .py: {name.removesuffix(".py")!r}'
    return
  if not code_lib.module_of(name, undotted=True):
    yield f'{name}: there is no such module on the import path'
    return
  kinds = {'load': 'data', 'build': 'models', 'make': 'metrics'}
  loaded = load(name)
  defined = [kind for attribute, kind in kinds.items() if hasattr(loaded, attribute)]
  if not defined:
    yield (
      f'{name} defines none of load(config) (data), build(config) (model), '
      'build(config, dataset) (task), make(config) (metrics)'
    )
    return
  if defined[0] == 'metrics':
    yield from check_metrics(name)
    return
  loaded = config_lib.find(defined[0], name)
  yield from check_defaults(name, loaded)
  if defined[0] == 'data':
    yield from check_data(name, loaded)
  elif is_task(loaded):
    yield from attempt(f'{name}: training a step with the digits', name, 'task')
  else:
    yield from check_model(name, loaded)


def is_task(module: ModuleType) -> bool:
  """Whether it has `build(config, dataset)`; keywords such as `key` do not count."""
  parameters = inspect.signature(module.build).parameters.values()
  return sum(p.kind is not p.KEYWORD_ONLY for p in parameters) == 2


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
  """Tries the model on images, or on symbols where it does not take images."""
  lines = list(_check_images(name, module))
  failed = lines and lines[0].startswith(f'{name} fails on images')
  if failed and not list(_call_symbols(name, module))[1:]:
    lines = list(_check_symbols(name, module))
  yield from lines
  if any(map(is_problem, lines)):
    yield CONTRACT


def is_problem(line: str) -> bool:
  return not line.startswith((WARNING, NOTE))


def _check_images(name: str, module: ModuleType) -> Iterator[str]:
  """Builds the model for images of several sizes, and trains it on the digits."""
  refusals = []
  for shape in ((8, 8, 1), (32, 32, 3), (224, 224, 3)):
    try:
      model = _build(name, module, shape=shape)
      yield from check_call(
        name, model, jnp.ones((3, *shape)), (3, CLASSES), _hyper(module)
      )
      break
    except errors.UserError as error:
      refusals.append(str(error))
    except Exception as error:
      yield f'{name} fails on images {shape}: {errors.describe(error)}'
      return
  else:
    yield f'{name} fails on images of every size tried: {refusals[-1]}'
    return
  if shape == (8, 8, 1):
    yield from attempt(f'{name}: training a step on the digits', name, 'model')


def _call_symbols(name: str, module: ModuleType) -> Iterator[str]:
  """One item if the model reads symbols; its failure as a second one if not."""
  yield ''
  try:
    model = _build(name, module, symbols=CLASSES, every=True)
    x = jnp.zeros((3, STEPS), jnp.int32)
    jax.eval_shape(lambda: call_once(model, x, _hyper(module)))
  except Exception as error:
    yield f'{name} fails on symbols [B, T]: {errors.describe(error)}'


def _check_symbols(name: str, module: ModuleType) -> Iterator[str]:
  """Builds the model for windows of symbols, and trains it on text."""
  model, hyper = _build(name, module, symbols=CLASSES, every=True), _hyper(module)
  x = jnp.arange(3 * STEPS).reshape(3, STEPS) % CLASSES
  problems = list(check_call(name, model, x, (3, STEPS, CLASSES), hyper))
  yield from problems
  if any(map(is_problem, problems)):
    return
  keys = rng.Keys(rng.root(0))
  variables = model.init(keys('init'), x, train=False, hyper=hyper)
  answers = [
    np.asarray(model.apply(variables, x, train=False, hyper=hyper)[:, :-1])
    for x in (x, x.at[:, -1].add(1) % CLASSES)
  ]
  if (answers[0] != answers[1]).any():
    yield (
      f'{name}: the answer at a step depends on later symbols, which task language '
      'asks it to predict; mask them'
    )
  yield from attempt(f'{name}: training a step on text', name, 'model', text=True)


def _build(name: str, module: ModuleType, **more: Any) -> functional.Functional:
  config = {**options.defaults(module), 'outputs': CLASSES, **more}
  return kinds.adapt(module.build, config, name)[0]


def call_once(model: functional.Functional, x: Any, hyper: Any) -> tuple[Any, Any]:
  """The output for x with initial values, and these."""
  keys = rng.Keys(rng.root(0))
  variables = model.init(keys('init'), x, train=False, hyper=hyper)
  rngs = {functional.STREAM: keys(functional.STREAM)}
  output = model.apply(variables, x, train=False, hyper=hyper, rngs=rngs)
  return output, variables


def _hyper(module: ModuleType) -> dict[str, Any]:
  """A value for every traced number of the model."""
  return {
    f'model.{key}': jnp.float32(0.1)
    for key, option in options.of(module).items()
    if option.traced
  }


def check_call(
  name: str,
  model: functional.Functional,
  x: Any,
  shape: tuple[int, ...],
  hyper: Mapping[str, Any],
) -> Iterator[str]:
  """Signature, output, names and initial values of one model.

  Args:
    name: of the plug-in.
    model: what it builds.
    x: its input.
    shape: expected of its output.
    hyper: traced numbers by config path.
  """
  linen = model.kind == kinds.LINEN
  if not linen:
    yield f'{NOTE}{name}: build returns {model.kind}'
  train = model.takes.get('train')
  if linen and (train is None or train.kind is not train.KEYWORD_ONLY):
    yield f'{name}: __call__ must take train as a keyword-only argument'
  elif train is not None and train.default is not train.empty:
    yield f'{name}: train has a default; forgetting it would evaluate in training mode'
  if 'hyper' not in model.takes and (linen or hyper):
    yield f'{name}: __call__ must take hyper, the traced numbers by config path'
    return
  out, variables = jax.jit(lambda x: call_once(model, x, hyper))(x)
  if getattr(out, 'shape', None) != shape:
    yield (
      f'{name}: expected logits {list(shape)} for input {list(x.shape)}, got '
      f'{getattr(out, "shape", type(out).__name__)}'
    )
  elif out.dtype != jnp.float32:
    yield f'{name}: logits are {out.dtype}; return float32 so that the loss is exact'
  yield from _check_params(name, variables.get('params', {}))
  yield from _check_draws(name, model, x, hyper)


def _check_draws(
  name: str, model: functional.Functional, x: Any, hyper: Mapping[str, Any]
) -> Iterator[str]:
  """Initial values must follow from the key, and from nothing else."""

  def draw():  # traced anew by each call
    init = lambda key: model.init(key, x, train=False, hyper=hyper)['params']
    return jax.jit(jax.vmap(init))(jax.vmap(rng.root)(jnp.arange(2)))

  leaves, again = (jax.tree.leaves(draw()) for _ in range(2))
  if not all(map(np.array_equal, leaves, again)):
    yield (
      f'{name}: initial values differ from one construction to the next, as those of '
      "NumPy's generators do: draw them by jax.random from the key or rngs at hand, or "
      'a run could not be repeated'
    )
    return
  # what was drawn has as many values as it has elements; what was set has one
  drawn = [leaf for leaf in leaves if len(np.unique(leaf[0])) > leaf[0].size // 2 > 0]
  if drawn and all(np.array_equal(*leaf) for leaf in drawn):
    yield (
      f'{name}: initial values are the same for every seed: draw them by jax.random '
      'from the key or rngs at hand'
    )


def _check_params(name: str, params: Any) -> Iterator[str]:
  """One line per layer at most for each kind of problem."""
  lines: dict[str, None] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    *layers, _ = (str(key.key) for key in path)
    layer = '.'.join(layers) or 'the module itself'
    if leaf.dtype != jnp.float32:
      lines[f'{name}: parameters of {layer} are {leaf.dtype}, not float32'] = None
    if not bool(jnp.isfinite(leaf).all()):
      lines[f'{name}: initial values of {layer} are not finite'] = None
    for depth, part in enumerate(layers):
      if re.fullmatch(r'[A-Z]\w*_\d+', part):
        lines[
          f'{WARNING}{name}: {part} is an automatic name, which a factor that adds or '
          'removes a layer before it would change, and with it the initial values; '
          'give it a name='
        ] = None
      elif part.isdecimal():
        place = '.'.join(layers[:depth]) or 'params'
        lines[
          f'{WARNING}{name}: {place} is a list; a factor that adds or removes a layer '
          'in it would move those after it and change their initial values; give what '
          'is removed a name of its own'
        ] = None
  yield from lines


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
    shapes = {key: (np.shape(x), np.asarray(x).dtype.name) for key, x in one.items()}
    if shapes != dict(stream.shapes):
      yield f'{name}: stream.example gives {shapes}, but its shapes are {stream.shapes}'
    elif any(not np.array_equal(one[key], other[key]) for key in one):
      yield f'{name}: stream.example gives two answers to one request'


def check_metrics(name: str) -> Iterator[str]:
  """Evaluates the metrics of a module on the digits."""
  module = load(name)
  for key, metric in module.make(try_out(name, '')).items():
    if not isinstance(metric, types.Metric):
      yield f'{name}: {key} is not a dlsteroids.types.Metric'
    elif metric.better not in ('higher', 'lower', ''):
      yield f"{name}: {key}.better is {metric.better!r}, not 'higher', 'lower' or ''"
    elif metric.better and not np.isfinite(metric.fallback):
      yield f'{name}: {key} has no fallback: what does a diverged run score?'
  yield from attempt(f'{name}: evaluating on the digits', name, 'metrics')


def try_out(name: str, kind: str, text: bool = False) -> dict[str, Any]:
  """A small config that uses the plug-in: an mlp on the digits otherwise."""
  names = {'model': 'mlp', 'data': 'digits', 'task': 'classify'}
  if text:
    names |= {'data': 'python_docs', 'task': 'language'}
  config = config_lib.base(**{**names, **({kind: name} if kind in names else {})})
  with config.unlocked():
    config.train.batch_size = 4
    if kind == 'metrics':
      config.task.metrics = name
    if text:
      config.data.window = config.data.eval_window = STEPS
      config.data.context = 0
  return config_lib.resolve(config)


def attempt(what: str, name: str, kind: str, text: bool = False) -> Iterator[str]:
  """Trains and evaluates two steps of a program that uses the plug-in.

  Args:
    what: a problem's line begins with it.
    name: of the plug-in's module.
    kind: 'model', 'data', 'task' or 'metrics'.
    text: whether it is tried on text instead of the digits.
  """
  try:
    config = try_out(name, kind, text)
    if text:
      dataset = text_lib.make('text', b'to be or not to be ' * 40, config['data'])
    else:
      dataset = config_lib.find('data', config['data']['name']).load(config['data'])
    member = member_lib.make(config, dataset)
    slot = member_lib.slot(config, dataset, 0)
    arrays = {key: jnp.asarray(array) for key, array in dataset.resident.items()}
    train_chunk, evaluation_chunk = (
      member.chunks.one(kind) if member.chunks else {} for kind in chunks.KINDS
    )

    def both(slot):
      state = member.init(slot, arrays)
      state = member.stretch(state, slot | train_chunk, arrays, 0, 2, True)
      return state, member.evaluate(state, slot | evaluation_chunk, arrays)

    slots = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), slot)
    state, values = jax.jit(jax.vmap(both), compiler_options=QUICK)(slots)
    if member.reduction and not member.chunks:
      rows = {name: values[name] for name in member.reduction.rows}
      kind = reduction.precision(jax.default_backend())
      reduce = lambda rows: reduction.apply(member.reduction, (rows,), kind)
      with program.wide():
        values |= jax.jit(jax.vmap(reduce), compiler_options=QUICK)(rows)
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
