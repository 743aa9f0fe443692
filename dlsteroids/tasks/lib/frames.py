"""How a forecaster sees a window, and how its answer becomes a forecast."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.util import errors

OPTIONS = {
  # With an anchor, zeros are the naive forecast; `season` is the data set's.
  'anchor': Option(
    'none',
    'the model forecasts the difference to the last value, or to one season before',
    choices=('none', 'last', 'season'),
  ),
  # Kim et al. 2022, there with a learned scale.
  'normalise': Option(
    'none',
    'window: every series of a window to mean 0 and variance 1, and back',
    choices=('none', 'window'),
  ),
  # Nie et al. 2023.
  'channels': Option(
    'together',
    'apart: one model reads every series by itself',
    choices=('together', 'apart'),
  ),
}
SMALL = 1e-5  # added to a window's variance


class Frame(NamedTuple):
  """What stands between the data and the network.

  Attributes:
    shape: of one input of the network, [L, F] or [L, 1].
    outputs: how many numbers the network gives for it.
    enter: `x [B, L, F] -> what the network reads`.
    leave: `(answer, x) -> forecast [B, H, D]`.
  """

  shape: tuple[int, int]
  outputs: int
  enter: Callable[[Any], Any]
  leave: Callable[[Any, Any], Any]


def make(options: Mapping[str, Any], facts: Mapping[str, Any], inputs: int) -> Frame:
  """The frame of a task's options.

  Args:
    options: with those of `OPTIONS`.
    facts: of the data set: lookback, horizon, targets, and columns and season if known.
    inputs: series in a window, F.

  Raises:
    UserError: options that the data set does not allow.
  """
  anchor = config_lib.choose(
    'task.anchor', options['anchor'], ('none', 'last', 'season')
  )
  normalise = config_lib.choose(
    'task.normalise', options['normalise'], ('none', 'window')
  )
  channels = config_lib.choose(
    'task.channels', options['channels'], ('together', 'apart')
  )
  columns = np.asarray(facts.get('columns', ()), int)  # of targets among the inputs
  for option, usual in (
    ('anchor', 'none'),
    ('normalise', 'none'),
    ('channels', 'together'),
  ):
    if options[option] != usual and not len(columns):
      raise errors.UserError(
        f'config.task.{option}={options[option]}: the targets are not among the inputs '
        f'of this data set; use {usual}'
      )
  lookback, horizon, targets = (
    facts['lookback'],
    facts['horizon'],
    len(facts['targets']),
  )
  back = {'none': 0, 'last': 1, 'season': facts.get('season', 0)}[anchor]
  if anchor == 'season' and not 1 <= back <= lookback:
    raise errors.UserError(
      f'config.task.anchor=season: the data set has a season of {back} rows, and a '
      f'window shows {lookback}'
    )

  def moments(x):
    if normalise == 'none':
      return 0.0, 1.0
    return x.mean(1, keepdims=True), jnp.sqrt(x.var(1, keepdims=True) + SMALL)

  def enter(x):
    mean, deviation = moments(x)
    x = (x - mean) / deviation
    if channels == 'together':
      return x
    return x[..., columns].swapaxes(1, 2).reshape(-1, lookback, 1)  # [B*D, L, 1]

  def leave(answer, x):
    if channels == 'apart':
      answer = answer.reshape(len(x), targets, horizon).swapaxes(1, 2)
    answer = answer.reshape(len(x), horizon, targets)
    mean, deviation = moments(x[..., columns] if len(columns) else x)
    if back:
      answer = answer * deviation
      return answer + x[:, lookback - back + np.arange(horizon) % back][..., columns]
    return answer * deviation + mean

  apart = channels == 'apart'
  shape = (lookback, 1 if apart else inputs)
  return Frame(shape, horizon * (1 if apart else targets), enter, leave)
