"""Forecasts without gradient descent: the scores a model has to beat.

All are measured on the windows of the test split. Errors are in units of the training
rows' standard deviation and, as `_original`, on the scale of the data; both are means
over windows, horizon and targets. Ridge regression is solved from moments summed in
chunks: scikit-learn's Ridge would hold every window (over 1 GB at the limits below) and
form the Gram matrix anew for each penalty.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import scipy.linalg

# λ in: mean squared error + λ · |weights|², the intercept not penalised.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
INPUTS = 2400  # numbers in a window; with more, the linear reference is left out
FIT_WINDOWS = 20_000  # at most, evenly spaced, to fit the linear reference's weights
PENALTY_WINDOWS = 1000  # at most, evenly spaced, to choose its penalty
CHUNK = 1 << 22  # numbers at a time

Forecast = Callable[['Problem', np.ndarray], np.ndarray]


class Problem(NamedTuple):
  """What is to be forecast.

  Attributes:
    series: float64 [L, F], standardised.
    starts: first row of each window of 'train', 'validation' and 'test'.
    lookback: rows of a window.
    horizon: rows after it.
    columns: int [D], the targets.
    scale: float64 [D], standard deviation of the targets in their own unit.
    season: rows of a period; 0: unknown.
  """

  series: np.ndarray
  starts: Mapping[str, np.ndarray]
  lookback: int
  horizon: int
  columns: np.ndarray
  scale: np.ndarray
  season: int


def measure(problem: Problem) -> tuple[dict[str, dict[str, float]], list[str]]:
  """`Dataset.references` of a problem, and a sentence on each that was left out.

  'persistence' repeats the last value; 'seasonal naive' repeats the last period, which
  may begin before the window; 'linear (ridge)' maps the whole window to the whole
  horizon, with the penalty of `PENALTIES` that has the least error on validation.
  """
  forecasts: dict[str, Forecast] = {'persistence': _persistence}
  notes = []
  if problem.season:
    forecasts['seasonal naive'] = _seasonal
  inputs = problem.lookback * problem.series.shape[1]
  if inputs <= INPUTS:
    forecasts['linear (ridge)'] = _fit_ridge(problem)[0]
  else:
    notes.append(
      f'The reference linear (ridge) is left out: a window has {inputs:,} numbers, '
      f'more than {INPUTS:,}.'
    )
  scores = {
    name: {
      f'test/{metric}': value
      for metric, value in _score(problem, forecast, problem.starts['test']).items()
    }
    for name, forecast in forecasts.items()
  }
  return scores, notes


def _persistence(problem: Problem, starts: np.ndarray) -> np.ndarray:
  """The last value of the window for every row of the horizon; [n, H, D]."""
  last = problem.series[starts + problem.lookback - 1][:, problem.columns]
  return np.repeat(last[:, None], problem.horizon, axis=1)


def _seasonal(problem: Problem, starts: np.ndarray) -> np.ndarray:
  """The latest value a whole number of periods before; [n, H, D]."""
  ahead = np.arange(problem.horizon)
  back = ahead - problem.season * (ahead // problem.season + 1)
  rows = (starts + problem.lookback)[:, None] + back
  return problem.series[rows[..., None], problem.columns]


def _fit_ridge(problem: Problem) -> tuple[Forecast, float]:
  """The linear forecast that is best on validation, and its penalty."""
  mean, gram, cross = _moments(problem, _thin(problem.starts['train'], FIT_WINDOWS))
  inputs = len(gram)
  validation = _thin(problem.starts['validation'], PENALTY_WINDOWS)
  fits = []
  for penalty in PENALTIES:
    weight = scipy.linalg.solve(
      gram + penalty * np.eye(inputs), cross, assume_a='pos', check_finite=False
    )
    intercept = mean[inputs:] - mean[:inputs] @ weight
    forecast = functools.partial(_linear, weight, intercept)
    fits.append((_score(problem, forecast, validation)['mse'], penalty, forecast))
  _, penalty, forecast = min(fits, key=lambda fit: fit[0])
  return forecast, penalty


def _linear(
  weight: np.ndarray, intercept: np.ndarray, problem: Problem, starts: np.ndarray
) -> np.ndarray:
  """The flattened windows [n, P] times weight [P, H·D], plus intercept; [n, H, D]."""
  flat = _inputs_of(problem, starts) @ weight + intercept
  return flat.reshape(len(starts), problem.horizon, -1)


def _moments(
  problem: Problem, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Means [P + H·D] of windows and targets, and covariances [P, P] and [P, H·D]."""
  inputs = problem.lookback * problem.series.shape[1]
  outputs = problem.horizon * len(problem.columns)
  total = np.zeros(inputs + outputs)
  gram, cross = np.zeros((inputs, inputs)), np.zeros((inputs, outputs))
  for part in _chunks(starts, inputs + outputs):
    x = _inputs_of(problem, part)
    y = _targets_of(problem, part).reshape(len(part), -1)  # [n, H, D] → [n, H·D]
    total[:inputs] += x.sum(0)
    total[inputs:] += y.sum(0)
    gram += x.T @ x
    cross += x.T @ y
  mean = total / len(starts)
  gram = gram / len(starts) - np.outer(mean[:inputs], mean[:inputs])
  cross = cross / len(starts) - np.outer(mean[:inputs], mean[inputs:])
  return mean, gram, cross


def _inputs_of(problem: Problem, starts: np.ndarray) -> np.ndarray:
  """The windows, flattened: [n, lookback · F]."""
  rows = starts[:, None] + np.arange(problem.lookback)
  return problem.series[rows].reshape(len(starts), -1)


def _targets_of(problem: Problem, starts: np.ndarray) -> np.ndarray:
  """What follows the windows: [n, H, D]."""
  rows = (starts + problem.lookback)[:, None] + np.arange(problem.horizon)
  return problem.series[rows[..., None], problem.columns]


def _score(
  problem: Problem, forecast: Forecast, starts: np.ndarray
) -> dict[str, float]:
  """Mean squared and absolute errors of a forecast, standardised and original."""
  squared, absolute = np.zeros(len(problem.columns)), np.zeros(len(problem.columns))
  outputs = problem.horizon * len(problem.columns)
  width = outputs + problem.lookback * problem.series.shape[1]
  for part in _chunks(starts, width):
    error = forecast(problem, part) - _targets_of(problem, part)
    squared += np.square(error).sum((0, 1))
    absolute += np.abs(error).sum((0, 1))
  squared /= len(starts) * problem.horizon
  absolute /= len(starts) * problem.horizon
  return {
    'mse': float(squared.mean()),
    'mae': float(absolute.mean()),
    'mse_original': float((squared * problem.scale**2).mean()),
    'mae_original': float((absolute * problem.scale).mean()),
  }


def _thin(starts: np.ndarray, most: int) -> np.ndarray:
  """At most `most` of the starts, evenly spaced."""
  return starts[:: -(-len(starts) // most)]


def _chunks(starts: np.ndarray, width: int) -> Iterator[np.ndarray]:
  """The starts in parts whose windows of `width` numbers hold about `CHUNK` numbers."""
  size = max(1, CHUNK // width)
  for begin in range(0, len(starts), size):
    yield starts[begin : begin + size]
