"""What a GPU page's JAX workers measure: rates in layouts, equal bits, convolutions."""

import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.models.ops import convolution
from dlsteroids.plan import study_plan
from dlsteroids.study import factors
from dlsteroids.train import program as program_lib
from dlsteroids.util import xla_options
from experiments.bench import cases, engine, gan
from experiments.bench.worker import Offer, Sample

DIMS = ('NHWC', 'HWIO', 'NHWC')
Arrays = tuple[jax.Array, jax.Array, jax.Array]


def make_plan(case: str, count: int, changes: Mapping[str, Any]) -> study_plan.Plan:
  """The plan of any case, a game or not, with options of it changed."""
  if case not in cases.GAMES:
    return engine.make_plan(case, count, dict(changes))
  config = cases.change(gan.make_config(case, count), dict(changes))
  tested = factors.factor('slope', 'model.slope', cases.SLOPE, 0.1)
  return study_plan.make(config_lib.resolve(config), (tested,))


def gpu_rates(
  case: str,
  count: int,
  wanted: Sequence[tuple[str, int]],
  changes: Mapping[str, Any],
) -> Offer:
  """Rates of a case with so many seeds each 'map' or 'vmap'.

  By layout 'LAYOUT compile', seconds of compiling its training and evaluation, to be
  asked first; 'LAYOUT train'; and 'memory', the most bytes of the device in use so far.
  """
  engine.start(1)
  most = max(seeds for _, seeds in wanted)
  plan = make_plan(case, count, {**changes, 'study.seeds': most})
  ready: dict[str, Callable[[int], Sample]] = {}

  def compile_layout(name: str, strategy: str, seeds: int, steps: int) -> Sample:
    del steps
    runs = engine.baseline(plan, seeds)
    layout = program_lib.Layout(strategy, seeds, 1)
    begin = time.perf_counter()
    compiled = engine.make_ready(plan, runs, layout)
    spent = time.perf_counter() - begin
    metric = plan.config['study']['metric']
    ready[name] = gan.trainer(compiled, compiled.slots, seeds, metric)
    return Sample(spent, seeds)

  measures: dict[str, Any] = {'memory': lambda steps: Sample(1.0, memory())}
  for strategy, seeds in wanted:
    name = f'{strategy} {seeds}'
    measures[f'{name} compile'] = functools.partial(
      compile_layout, name, strategy, seeds
    )
    measures[f'{name} train'] = lambda steps, name=name: ready[name](steps)
  facts = plan.facts[engine.baseline(plan, 1)[0].program]
  return Offer(
    {'jax': jax.__version__, 'params': facts.params, 'flops': facts.flops}, measures
  )


def memory() -> float:
  """Bytes of the device in use at most since the process began; 0 where unknown."""
  return float((jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use', 0))


def gpu_bits(
  case: str, count: int, seeds: int, steps: int, options: Mapping[str, Any]
) -> Offer:
  """A digest of what `seeds` seeds side by side have learned after `steps` steps.

  Under `options` of the compiler in place of those that keep bits equal on GPUs.
  """
  engine.start(1)
  xla_options.DETERMINISM = {'gpu': dict(options)}
  plan = make_plan(case, count, {'study.seeds': seeds})
  ready = engine.make_ready(
    plan, engine.baseline(plan), program_lib.Layout('vmap', seeds, 1)
  )
  program, slots = (
    ready.compiled[0],
    program_lib.place(ready.slots[0], ready.compiled[0]),
  )
  state = program.init(slots, ready.data)
  state = program.stretch(
    state, slots, ready.data, np.int32(0), np.int32(steps), np.bool_(True)
  )
  total = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(state['variables'])):
    total.update(np.ascontiguousarray(leaf).tobytes())
  trainer = gan.trainer(ready, ready.slots, seeds, plan.config['study']['metric'])
  return Offer({'digest': total.hexdigest()}, {'train': trainer})


# Convolutions of many members, each with a kernel of its own


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """SAME, NHWC, as JAX writes it."""
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=DIMS)


def kernel_gradient(conv: Callable, x: jax.Array, k: jax.Array, dy: jax.Array) -> Any:
  return jax.vjp(lambda k: conv(x, k), k)[1](dy)[0]


def grouped_forward(x: jax.Array, k: jax.Array, dy: jax.Array) -> jax.Array:
  """One convolution in S groups of channels: x [S, B, H, W, C], k [S, h, w, C, U]."""
  del dy
  members, batch, height, width, channels = x.shape
  images = jnp.moveaxis(x, 0, 3).reshape(batch, height, width, members * channels)
  kernel = jnp.moveaxis(k, 0, 3).reshape(*k.shape[1:4], -1)  # [h, w, C, S * U]
  y = jax.lax.conv_general_dilated(
    images,
    kernel,
    (1, 1),
    'SAME',
    dimension_numbers=DIMS,
    feature_group_count=members,
  )
  return jnp.moveaxis(y.reshape(batch, height, width, members, -1), 3, 0)


def batch_grouped_gradient(x: jax.Array, k: jax.Array, dy: jax.Array) -> jax.Array:
  """The kernels' gradients as one convolution in S groups of its batch.

  Channels take the place of images, and images that of channels:
  [S * C, H, W, B] with [H, W, B, S * U] gives [C, h, w, S * U].
  """
  members, batch, height, width, channels = x.shape
  side = k.shape[1] // 2
  images = jnp.moveaxis(x, (4, 1), (1, 4)).reshape(-1, height, width, batch)
  slopes = jnp.moveaxis(dy, (0, 1), (3, 2)).reshape(height, width, batch, -1)
  out = jax.lax.conv_general_dilated(
    images,
    slopes,
    (1, 1),
    ((side, side), (side, side)),
    dimension_numbers=DIMS,
    batch_group_count=members,
  )  # [C, h, w, S * U]
  out = out.reshape(channels, *k.shape[1:3], members, -1)
  return jnp.moveaxis(out, (3, 0), (0, 3))


def conv_forms() -> dict[str, dict[str, Callable[..., jax.Array]]]:
  """By pass and form, `(x, k, dy) -> result` with members leading."""

  def rewritten(x, k):
    return convolution.conv(x, k, padding='SAME')

  def in_turn(function):
    return lambda *arrays: jax.lax.map(lambda one: function(*one), arrays)

  forward = lambda x, k, dy: convolve(x, k)
  return {
    'forward': {
      'map': in_turn(forward),
      'vmap': jax.vmap(forward),
      'vmap, rewritten': jax.vmap(lambda x, k, dy: rewritten(x, k)),
      'feature groups': grouped_forward,
    },
    'kernel gradient': {
      'map': in_turn(functools.partial(kernel_gradient, convolve)),
      'vmap': jax.vmap(functools.partial(kernel_gradient, convolve)),
      'vmap, rewritten': jax.vmap(functools.partial(kernel_gradient, rewritten)),
      'batch groups': batch_grouped_gradient,
    },
  }


def draw_convolution(
  members: int, batch: int, size: int, channels: int, units: int
) -> Arrays:
  """Images, 3×3 kernels and slopes, members leading."""
  draws = np.random.default_rng(0)
  x = draws.normal(size=(members, batch, size, size, channels))
  k = draws.normal(size=(members, 3, 3, channels, units))
  dy = draws.normal(size=(members, batch, size, size, units))
  return tuple(jnp.asarray(value, jnp.float32) for value in (x, k, dy))  # type: ignore


def gpu_convolutions(
  members: int, batch: int, size: int, channels: int, units: int
) -> Offer:
  """'PASS: FORM' of members' convolutions; in place of steps a sample counts GFLOP."""
  engine.start(1)
  arrays = draw_convolution(members, batch, size, channels, units)
  work = 2e-9 * members * batch * size**2 * 9 * channels * units

  def measure(function: Callable, steps: int) -> Sample:
    begin = time.perf_counter()
    for _ in range(steps):
      result = function(*arrays)
    jax.block_until_ready(result)
    return Sample(time.perf_counter() - begin, steps * work)

  return Offer(
    {'jax': jax.__version__},
    {
      f'{name}: {form}': functools.partial(measure, jax.jit(function))
      for name, forms in conv_forms().items()
      for form, function in forms.items()
    },
  )


def gpu_facts() -> Offer:
  """What the GPU is, and its rates of products: 'float32', 'highest', 'bfloat16'."""
  device = jax.devices()[0]
  facts = {'backend': jax.default_backend(), 'device': device.device_kind}
  size = 4096 if facts['backend'] == 'gpu' else 64

  def measure(dtype: Any, precision: str | None, steps: int) -> Sample:
    a = jnp.ones((size, size), dtype)
    product = jax.jit(functools.partial(jnp.matmul, precision=precision))
    jax.block_until_ready(product(a, a))
    begin = time.perf_counter()
    for _ in range(steps):
      result = product(a, a)
    jax.block_until_ready(result)
    return Sample(time.perf_counter() - begin, steps * 2e-12 * size**3)

  return Offer(
    facts,
    {
      'default': functools.partial(measure, jnp.float32, None),
      'highest': functools.partial(measure, jnp.float32, 'highest'),
      'bfloat16': functools.partial(measure, jnp.bfloat16, None),
    },
  )
