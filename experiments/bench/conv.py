"""Single convolutions under the clock, on one core: what limits a CNN's step."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.bench import common, worker
from experiments.bench.common import Settings
from experiments.bench.page import Row
from experiments.bench.worker import Contender, Offer, Sample, Worker

SHAPES = {  # height = width, channels in, out, kernel; of the networks of bench_cases
  '3×3, 32→32 on 32×32': (32, 32, 32, 3),
  '3×3, 64→64 on 16×16': (16, 64, 64, 3),
  '5×5, 32→64 on 14×14': (14, 32, 64, 5),
}
PASSES = ('forward', 'input gradient', 'kernel gradient')
BATCH = 128


def flops(shape: tuple[int, int, int, int]) -> float:
  """Of one pass; every pass multiplies the same numbers."""
  size, inputs, units, kernel = shape
  return 2.0 * BATCH * size**2 * kernel**2 * inputs * units


def draw(shape: tuple[int, int, int, int]) -> tuple[Any, Any, Any]:
  """Images [B, H, W, Cin], kernel [k, k, Cin, Cout], slopes [B, H, W, Cout]."""
  size, inputs, units, kernel = shape
  draws = np.random.default_rng(0)
  sizes = (
    (BATCH, size, size, inputs),
    (kernel, kernel, inputs, units),
    (BATCH, size, size, units),
  )
  x, w, dy = (draws.normal(size=size).astype(np.float32) for size in sizes)
  return x, w, dy


def one_core() -> None:
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def timer(function: Callable[[], Any], shape: Any) -> Callable[[int], Sample]:
  """`steps -> Sample`; in place of steps the sample counts GFLOP."""

  def measure(steps: int) -> Sample:
    begin = time.perf_counter()
    for _ in range(steps):
      function()
    return Sample(time.perf_counter() - begin, steps * flops(shape) / 1e9)

  function()
  return measure


def conv_jax() -> Offer:
  """The project's own convolution."""
  one_core()
  import jax

  from dlsteroids.models.ops import convolution
  from experiments.bench import engine

  engine.start(1)

  def conv(x, w):
    return convolution.conv(x, w, padding='SAME')

  passes = {
    'forward': lambda x, w, dy: conv(x, w),
    'input gradient': lambda x, w, dy: jax.vjp(lambda x: conv(x, w), x)[1](dy)[0],
    'kernel gradient': lambda x, w, dy: jax.vjp(lambda w: conv(x, w), w)[1](dy)[0],
  }
  measures = {}
  for about, shape in SHAPES.items():
    arrays = jax.device_put(draw(shape))
    for name, function in passes.items():
      made = jax.jit(function)
      measures[f'{about}: {name}'] = timer(
        lambda made=made, arrays=arrays: jax.block_until_ready(made(*arrays)), shape
      )
  return Offer({'jax': jax.__version__, 'peak': engine.peak()}, measures)


def conv_torch() -> Offer:
  """torch's, in the memory format that suits it on CPUs."""
  one_core()
  import torch

  torch.set_num_threads(1)
  measures = {}
  for about, shape in SHAPES.items():
    x, w, dy = map(torch.from_numpy, draw(shape))
    x, dy = x.permute(0, 3, 1, 2), dy.permute(0, 3, 1, 2)  # channels last underneath
    w = w.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)

    def forward(x=x, w=w, shape=shape):
      return torch.nn.functional.conv2d(x, w, padding=shape[3] // 2)

    def backward(which, x=x, w=w, dy=dy, shape=shape):
      half = [shape[3] // 2] * 2
      return torch.ops.aten.convolution_backward(
        dy, x, w, None, [1, 1], half, [1, 1], False, [0, 0], 1, which
      )

    calls = {
      'forward': forward,
      'input gradient': lambda b=backward: b([True, False, False]),
      'kernel gradient': lambda b=backward: b([False, True, False]),
    }
    for name, call in calls.items():
      measures[f'{about}: {name}'] = timer(call, shape)
  return Offer({'torch': torch.__version__}, measures)


def convolutions(settings: Settings) -> list[Row]:
  """Each pass of each shape, in GFLOP/s on one core, ours against torch's."""
  rows = []
  for python in settings.jax:
    with (
      Worker(python, {'kind': 'conv_jax'}, **common.CPU) as mine,
      Worker(settings.torch or python, {'kind': 'conv_torch'}) as other,
    ):
      peak = mine.ready().facts['peak'] / 1e9
      other.ready()
      part = f'Convolutions on one core, {common.version(mine)}, batch {BATCH}'
      for about in SHAPES if not settings.quick else list(SHAPES)[:1]:
        for name in PASSES:
          what = f'{about}: {name}'
          pair = [Contender('ours', [mine], what), Contender('torch', [other], what)]
          rates = worker.interleave(pair, settings.seconds / 4, settings.repeats)
          rows.append(
            Row(
              part,
              what,
              rates['ours'],
              'GFLOP/s',
              common.divide(rates['ours'], rates['torch']),
              f'torch {other.facts["torch"]}, channels last',
              note=f'{100 * sorted(rates["ours"])[len(rates["ours"]) // 2] / peak:.0f} '
              f'% of one core’s sgemm peak, {peak:.0f} GFLOP/s',
            )
          )
  return rows
