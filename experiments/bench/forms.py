"""Every form of a convolution and of its kernel's gradient, beside the chosen one.

`models.ops.convolution` chooses a form by shape and version of JAX. Here each form that
a shape allows is measured, inside a loop on one core, as training runs it: where
another is clearly ahead the choice is to be mended.
"""

import functools
import time
from typing import Any, NamedTuple

import numpy as np

from experiments.bench import common, conv, worker
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Offer, Sample, Worker

STEPS = 4  # of the loop, each with images of its own
NEAR = 0.87  # of the best form's rate: less is more than noise, 15 %


class Shape(NamedTuple):
  """A convolution as training meets it: images, their channels, the kernel.

  Attributes:
    batch: images.
    size: height and width.
    inputs, units: channels.
    kernel: its side; padding keeps the images' size.
  """

  batch: int
  size: int
  inputs: int
  units: int
  kernel: int

  def flops(self) -> float:
    """Of one pass; every pass multiplies the same numbers."""
    taps = self.kernel**2
    return 2.0 * self.batch * self.size**2 * taps * self.inputs * self.units


SHAPES = {  # of the networks of bench.cases and of a DCGAN's discriminator
  'digits, first': Shape(64, 8, 1, 16, 3),
  'digits, second': Shape(64, 8, 16, 32, 3),
  'small CNN, first': Shape(64, 28, 1, 8, 3),
  'small CNN, second': Shape(64, 14, 8, 16, 3),
  'LeNet, first': Shape(128, 28, 1, 32, 5),
  'LeNet, second': Shape(128, 14, 32, 64, 5),
  'CIFAR net, first': Shape(128, 32, 3, 32, 3),
  'CIFAR net, second': Shape(128, 32, 32, 32, 3),
  'CIFAR net, third': Shape(128, 16, 32, 64, 3),
  'CIFAR net, fourth': Shape(128, 16, 64, 64, 3),
}


def tell(name: str) -> str:
  """'LeNet, second: 5×5, 32→64 on 14×14, batch 128'."""
  shape = SHAPES[name]
  return (
    f'{name}: {shape.kernel}×{shape.kernel}, {shape.inputs}→{shape.units} on '
    f'{shape.size}×{shape.size}, batch {shape.batch}'
  )


def conv_forms(names: list[str]) -> Offer:
  """A worker's offer: every form of both passes of the shapes of these names."""
  conv.one_core()
  import jax

  from dlsteroids.models.ops import convolution
  from experiments.bench import engine

  engine.start(1)
  measures, chosen = {}, {}
  for name in names:
    shape = SHAPES[name]
    half = shape.kernel // 2
    geometry = convolution.Geometry(
      (shape.size, shape.size), (shape.kernel, shape.kernel), (1, 1),
      ((half, half), (half, half)), (1, 1), (1, 1),
    )  # fmt: skip
    x, kernel, dy = draw(shape)
    chosen[name, 'forward'] = convolution.choose_form(kernel.shape, geometry)
    chosen[name, 'kernel gradient'] = convolution.choose_kernel_gradient(
      x.shape[1:], dy.shape[1:], geometry
    )
    kernels = np.stack([kernel] * STEPS)
    for what, forms_, second in (
      ('forward', convolution.FORMS, kernels),
      ('kernel gradient', convolution.KERNEL_GRADIENTS, dy),
    ):
      for label, form in forms_.items():
        if label == 'planes' and shape.inputs > 1:
          continue
        run = functools.partial(loop(form, geometry), *jax.device_put((x, second)))
        measures[f'{name}: {what}: {label}'] = timer(run, shape)
  facts: dict[str, Any] = {
    'jax': jax.__version__,
    'measures': list(measures),
    'chosen': [f'{name}: {what}: {form}' for (name, what), form in chosen.items()],
  }
  return Offer(facts, measures)


def draw(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Images [S, B, H, W, Cin] of S steps, a kernel, slopes [S, B, H, W, Cout]."""
  draws = np.random.default_rng(0)
  images = (STEPS, shape.batch, shape.size, shape.size)
  sizes = (
    (*images, shape.inputs),
    (shape.kernel, shape.kernel, shape.inputs, shape.units),
    (*images, shape.units),
  )
  x, kernel, dy = (draws.normal(size=size).astype(np.float32) for size in sizes)
  return x, kernel, dy


def loop(form: Any, geometry: Any) -> Any:
  """A compiled loop over steps that adds up what the form computes."""
  import jax

  @jax.jit
  def run(firsts, seconds):
    def body(total, pair):
      return total + form(*pair, geometry), None

    start = jax.eval_shape(lambda a, b: form(a, b, geometry), firsts[0], seconds[0])
    return jax.lax.scan(body, jax.numpy.zeros_like(start), (firsts, seconds))[0]

  return run


def timer(run: Any, shape: Shape) -> Any:
  """`loops -> Sample`; in place of steps the sample counts GFLOP."""
  import jax

  def measure(loops: int) -> Sample:
    begin = time.perf_counter()
    for _ in range(loops):
      jax.block_until_ready(run())
    seconds = time.perf_counter() - begin
    return Sample(seconds, loops * STEPS * shape.flops() / 1e9)

  jax.block_until_ready(run())
  return measure


def forms(settings: Settings) -> list[Row]:
  """Every form's rate, and of the chosen one its ratio to the best other."""
  names = list(SHAPES)[:1] if settings.quick else list(SHAPES)
  rows = []
  for python in settings.jax:
    with Worker(python, {'kind': 'conv_forms', 'names': names}, **common.CPU) as usual:
      usual.ready()
      flags = f'--{common.ONEDNN}=true'
      spec = {'kind': 'conv_forms', 'names': names}
      with Worker(python, spec, **common.CPU, XLA_FLAGS=flags) as other:
        workers = {'': usual}
        if tuple(map(int, usual.facts['jax'].split('.')[:2])) >= (0, 12):
          workers[', oneDNN'] = other.ready()
        for name in names:
          for what in ('forward', 'kernel gradient'):
            rows += compare(settings, workers, name, what)
  return rows


def compare(
  settings: Settings, workers: dict[str, Worker], name: str, what: str
) -> list[Row]:
  """One pass of one shape: a row a form, the chosen one first."""
  usual = workers['']
  begin = f'{name}: {what}: '
  found = [one for one in usual.facts['measures'] if one.startswith(begin)]
  contenders = [
    Contender(one.removeprefix(begin) + suffix, [process], one)
    for suffix, process in workers.items()
    for one in found
  ]
  rates = worker.interleave(contenders, settings.seconds / 8, settings.repeats)
  chosen = next(
    one.removeprefix(begin) for one in usual.facts['chosen'] if one.startswith(begin)
  )
  without = {label: rate for label, rate in rates.items() if 'oneDNN' not in label}
  others = {label: rate for label, rate in without.items() if label != chosen}
  best = worker.best(others)
  part = f'{tell(name)}; {what}, {common.version(usual)}'
  ratios = common.divide(rates[chosen], rates[best])
  rows = [Row(part, f'{chosen}, chosen', rates[chosen], 'GFLOP/s', ratios, best, NEAR)]
  for label in sorted(rates, key=lambda label: -max(rates[label])):
    if label != chosen:
      ratios = common.divide(rates[label], rates[chosen])
      rows.append(
        Row(part, label, rates[label], 'GFLOP/s', ratios, f'{chosen}, chosen')
      )
  return rows
