"""Axes for metrics: linear, logarithmic, or logarithmic in the error."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker

from dlsteroids.report import formats

_SHARES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0)


class Scale(NamedTuple):
  """How values become positions.

  Attributes:
    place: values to positions, elementwise.
    ticks: `(lowest, highest value) -> (values, labels)`.
    note: what a reader must know about the spacing; '' if linear.
  """

  place: Callable[[np.ndarray], np.ndarray]
  ticks: Callable[[float, float], tuple[list[float], list[str]]]
  note: str


def _label(metric: str, tick: float) -> str:
  if formats.is_share(metric):
    return f'{100 * tick:.10g}{formats.THIN}%'.replace('-', formats.MINUS)
  return f'{tick:.6g}'.replace('-', formats.MINUS)


def make_linear(metric: str) -> Scale:
  """Equal steps."""

  def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    places = ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    values = [float(v) for v in places if low <= v <= high]
    return values, [_label(metric, v) for v in values]

  return Scale(lambda values: np.asarray(values, float), ticks, '')


def make_log(metric: str) -> Scale:
  """Equal factors; values at or below zero have no place (NaN)."""

  def place(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return np.log10(values, out=np.full_like(values, np.nan), where=values > 0)

  def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
      values = [p * 10.0**d for d in decades for p in parts]
      values = [v for v in values if low <= v <= high]
      if len(values) >= 3:
        break
    return values, [_label(metric, v) for v in values]

  return Scale(place, ticks, 'logarithmic scale')


def make_log_error(metric: str, size: int) -> Scale:
  """Equal factors of the error log((errors + ½)/(N + 1)), better upwards.

  Args:
    metric: a share where higher is better.
    size: N, the number of examples it was measured on.
  """

  def place(values: np.ndarray) -> np.ndarray:
    errors = np.clip(1 - np.asarray(values, float), 0, None) * size
    return -np.log10((errors + 0.5) / (size + 1))

  def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    values = [v for v in _SHARES if low <= v <= high]
    # Between one error and none there is nothing to mark.
    values = [v for v in values if v == 1 or v <= 1 - 1 / size]
    # The half error squeezes the last ticks together: keep what has room.
    room = (place(np.array(high)) - place(np.array(low))) / 11
    kept: list[float] = []
    for value in values:
      if not kept or place(np.array(value)) - place(np.array(kept[-1])) >= room:
        kept.append(value)
    return kept, [_label(metric, v) for v in kept]

  return Scale(place, ticks, 'spaced by the logarithm of the error')


def choose(metric: str, better: str, values: Sequence[float], size: int) -> Scale:
  """The scale for `values` of `metric`: logarithmic where they span more than 10×.

  Args:
    metric: its name.
    better: 'higher' or 'lower'.
    values: all that will be drawn; what is not finite is left out of account.
    size: number of examples behind a share.
  """
  flat = np.asarray(values, float)
  flat = flat[np.isfinite(flat)]
  if flat.size == 0:
    return make_linear(metric)
  low, high = float(flat.min()), float(flat.max())
  if formats.is_share(metric) and better == 'higher' and size > 0:
    scale = make_log_error(metric, size)
    wide = np.ptp(scale.place(np.array([low, high]))) > 1
    if low >= 0 and high <= 1 and wide and len(scale.ticks(low, high)[0]) >= 3:
      return scale
  elif low > 0 and high / low > 10:
    return make_log(metric)
  return make_linear(metric)


def limits(scale: Scale, values: np.ndarray, pad: float = 0.05) -> tuple[float, float]:
  """Positions that frame the finite `values`, with a margin of `pad` each side."""
  places = scale.place(np.asarray(values, float))
  places = places[np.isfinite(places)]
  if places.size == 0:
    return 0.0, 1.0
  low, high = float(places.min()), float(places.max())
  margin = pad * (high - low) or max(abs(high) * 0.01, 1e-9)
  return low - margin, high + margin
