"""Forecasting, and any regression from a window: one player, one turn."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config.options import Option
from dlsteroids.tasks.lib import frames, network
from dlsteroids.util import errors as errors_lib

METRIC = 'mse'  # decides unless study.metric names another
OPTIONS = {
  'loss': Option('mse', 'per target and step', choices=('mse', 'mae')),
  **frames.OPTIONS,
  'metrics': Option(
    '', 'further metrics: dotted modules with make(config), comma-separated'
  ),
}

MEAN_OF = 10_000  # training windows, evenly spaced
CHUNK = 1_000  # windows looked at together


def build(config: Mapping[str, Any], dataset: types.Dataset) -> types.Task:
  """The task for a resolved config: window [B, L, F] -> target [B, H, D].

  Its metrics are mean squared and absolute error, standardised and on the original
  scale; errors by step of the horizon are stored beside them.

  Raises:
    UserError: if the data set holds no windows, or does not allow an option.
  """
  facts = dataset.facts
  if 'horizon' not in facts:
    raise errors_lib.UserError(
      f'task forecast needs windows and targets; data set {dataset.name!r} has '
      f'{", ".join(dataset.arrays)}'
    )
  config_lib.choose('task.loss', config['task']['loss'], ('mse', 'mae'))
  columns = np.asarray(facts.get('columns', ()), int)  # of targets among the inputs
  example = see(dataset, dataset.split(0)['test'][:1])
  frame = frames.make(config['task'], facts, np.shape(example['window'])[-1])
  net = network.make(
    config,
    lambda batch: (frame.enter(batch['window']), {}),
    outputs=frame.outputs,
    shape=frame.shape,
  )

  def predict(variables, batch, keys, hyper, train, mutable=False):
    x = batch['window']
    output = net.apply(
      variables, frame.enter(x), keys, hyper, train=train, mutable=mutable
    )
    answer, new = output if mutable is not False else (output, {})
    return frame.leave(answer, x), new

  def loss(variables, batch, keys, hyper):
    own = variables['model']
    answer, new = predict(own, batch, keys, hyper, True, network.states(own))
    error = answer - batch['target']
    mse, mae = (error**2).mean(), jnp.abs(error).mean()
    value = mse if config['task']['loss'] == 'mse' else mae
    return value, ({'model': dict(new)}, {'mse': mse, 'mae': mae})

  def outputs(variables, batch, keys, hyper):
    answer, _ = predict(variables['model'], batch, keys, hyper, False)
    return {'error': answer - batch['target'], 'mask': batch['mask']}

  scale, shift = np.asarray(facts['std']), np.asarray(facts['mean'])

  def show(variables, batch, keys, hyper):
    own, x, target = variables['model'], batch['window'], batch['target']

    def final(answer):
      return ((frame.leave(answer, x) - target) ** 2).mean((1, 2)).sum()

    arrays = network.look(net, own, frame.enter(x), keys, hyper, final)
    if len(columns):
      answer, _ = predict(own, batch, keys, hyper, False)
      arrays['forecast/window'] = x[..., columns]
      arrays['forecast/target'], arrays['forecast/mean'] = target, answer
      for name in ('window', 'target', 'mean'):
        arrays[f'forecast/{name}'] = arrays[f'forecast/{name}'] * scale + shift
    return arrays

  return types.Task(
    players={'model': net.player},
    turns=(types.Turn('model', loss),),
    outputs=outputs,
    metrics=network.extra_metrics(config, make_metrics(scale, guess(dataset))),
    show=show,
  )


def see(dataset: types.Dataset, indices: np.ndarray) -> types.Batch:
  """Examples as an evaluation sees them."""
  raw = dataset.take(dataset.arrays, indices, train=False)
  return dataset.transform(raw, rng.Keys(rng.root(0)), train=False)


def guess(dataset: types.Dataset) -> np.ndarray:
  """Errors of predicting the training mean on the test split, [N, H, D]."""
  split = dataset.split(0)

  def targets(indices):
    parts = np.split(indices, range(CHUNK, len(indices), CHUNK))
    rows = [np.asarray(see(dataset, part)['target'], np.float64) for part in parts]
    return np.concatenate(rows)

  train = split['train'][:: max(1, len(split['train']) // MEAN_OF)]
  return targets(split['test']) - targets(train).mean((0, 1))


def make_metrics(scale: np.ndarray, errors: np.ndarray) -> dict[str, types.Metric]:
  """Errors, their fallback those of predicting the training mean.

  Args:
    scale: standard deviation of each target on the original scale, [D].
    errors: of that guess on the test split, standardised [N, H, D].
  """
  kinds = {'mse': lambda e: e**2, 'mae': abs}
  metrics = {}
  for name, size in kinds.items():
    for suffix, factor in (('', np.ones_like(scale)), ('_original', scale)):

      def measure(out, size=size, factor=factor):
        values = size(out['error'] * factor)
        return values, jnp.broadcast_to(out['mask'][:, None, None], values.shape)

      worst = float(size(errors * factor).mean())
      metrics[f'{name}{suffix}'] = network.mean_metric(measure, 'lower', worst)

    def by_step(out, size=size):
      values = size(out['error']).mean(-1)  # [B, H]
      return {'sum': (values * out['mask'][:, None]).sum(0), 'n': out['mask'].sum()}

    def by_window(out, size=size):
      return size(out['error']).mean((1, 2))  # [B]

    metrics[f'{name}_rows'] = types.Metric(
      by_window, lambda rows: {'': rows}, '', merge='concat'
    )
    metrics[f'{name}_by_step'] = types.Metric(
      by_step, lambda m: {'': m['sum'] / m['n']}, ''
    )
  return metrics
