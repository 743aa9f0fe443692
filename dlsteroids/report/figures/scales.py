"""Axes: linear, logarithmic, or logarithmic in the error, with round ticks."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import axes, ticker

from dlsteroids.report import formats

_SHARES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0)
_PARTS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))


class Axis(NamedTuple):
  """Where an axis begins and ends, and its labelled ticks, all as positions."""

  limits: tuple[float, float]
  ticks: Sequence[float]
  labels: Sequence[str]


class Scale(NamedTuple):
  """How values become positions on an axis.

  Attributes:
    place: values to positions, elementwise.
    ticks: `(lowest, highest value) -> values` worth a label.
    metric: what the values are of.
    note: what a reader must know about the spacing; '' if linear.
  """

  place: Callable[[np.ndarray], np.ndarray]
  ticks: Callable[[float, float], list[float]]
  metric: str
  note: str

  def axis(self, values: np.ndarray, pad: float = 0.05) -> Axis:
    """An axis that frames the finite `values`, with a margin of `pad` at each end."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not values.size:
      return Axis((0.0, 1.0), (), ())
    ticks = self.ticks(float(values.min()), float(values.max()))
    places = self.place(np.array(ticks)).tolist()
    return Axis(
      limits(self, values, pad), places, [label(self.metric, tick) for tick in ticks]
    )


def label(metric: str, tick: float) -> str:
  """A tick of a metric: '5 %', '0.2'."""
  if formats.is_share(metric):
    return f'{100 * tick:.10g}{formats.THIN}%'.replace('-', formats.MINUS)
  return f'{tick:.6g}'.replace('-', formats.MINUS)


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
  """At most about `most` evenly spaced round numbers from `low` to `high`."""
  places = ticker.MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
  return [float(place) for place in places if low <= place <= high]


def log_ticks(low: float, high: float) -> list[float]:
  """Three or more round numbers on a log axis; evenly spaced where it spans little."""
  decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for parts in _PARTS:
    ticks = [part * 10.0**decade for decade in decades for part in parts]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) >= 3:
      return ticks
  return linear_ticks(low, high)


def thin_out(places: Sequence[float] | np.ndarray, room: float) -> list[float]:
  """The places, rising, that stand at least `room` from the last one retained."""
  result: list[float] = []
  for place in np.asarray(places, float).tolist():
    if not result or place - result[-1] >= room:
      result.append(place)
  return result


def make_linear(metric: str = '') -> Scale:
  """Equal steps."""
  return Scale(lambda values: np.asarray(values, float), linear_ticks, metric, '')


def make_log(metric: str = '') -> Scale:
  """Equal factors; values at or below zero have no place (NaN)."""

  def place(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return np.log10(values, out=np.full_like(values, np.nan), where=values > 0)

  return Scale(place, log_ticks, metric, 'logarithmic scale')


def make_log_error(metric: str, size: int) -> Scale:
  """Equal factors of the error log((errors + ½)/(N + 1)), better upwards.

  Args:
    metric: a share where higher is better.
    size: N, the number of examples it was measured on.
  """

  def place(values: np.ndarray) -> np.ndarray:
    errors = np.clip(1 - np.asarray(values, float), 0, None) * size
    return -np.log10((errors + 0.5) / (size + 1))

  def ticks(low: float, high: float) -> list[float]:
    values = [value for value in _SHARES if low <= value <= high]
    # Between one error and none there is nothing to mark.
    values = [value for value in values if value == 1 or value <= 1 - 1 / size]
    # The half error squeezes the last ticks together.
    by_place = {float(place(np.array(value))): value for value in values}
    room = float(place(np.array(high)) - place(np.array(low))) / 11
    return [by_place[where] for where in thin_out(list(by_place), room)]

  return Scale(place, ticks, metric, 'spaced by the logarithm of the error')


def choose(metric: str, better: str, values: Sequence[float], size: int) -> Scale:
  """The scale for `values` of `metric`: logarithmic where they span more than 10×.

  Args:
    metric: its name.
    better: 'higher' or 'lower'.
    values: all that will be drawn; those that are not finite are ignored.
    size: number of examples behind a share; 0 if unknown.
  """
  flat = np.asarray(values, float)
  flat = flat[np.isfinite(flat)]
  if flat.size == 0:
    return make_linear(metric)
  low, high = float(flat.min()), float(flat.max())
  if formats.is_share(metric) and better == 'higher' and size > 0:
    scale = make_log_error(metric, size)
    wide = np.ptp(scale.place(np.array([low, high]))) > 1
    if low >= 0 and high <= 1 and wide and len(scale.ticks(low, high)) >= 3:
      return scale
  elif low > 0 and high / low > 10:
    return make_log(metric)
  return make_linear(metric)


def limits(scale: Scale, values: np.ndarray, pad: float = 0.05) -> tuple[float, float]:
  """Positions that frame the finite `values`, with a margin of `pad` at each end."""
  places = scale.place(np.asarray(values, float))
  places = places[np.isfinite(places)]
  if places.size == 0:
    return 0.0, 1.0
  low, high = float(places.min()), float(places.max())
  margin = pad * (high - low) or max(abs(high) * 0.01, 1e-9)
  return low - margin, high + margin


def count_axis(high: float, low: float = 0.0) -> Axis:
  """An axis of whole numbers, such as steps."""
  ticks = [tick for tick in linear_ticks(low, high) if tick.is_integer()]
  labels = [f'{int(tick):,}'.replace('-', formats.MINUS) for tick in ticks]
  air = 0.02 * (high - low) or 0.5
  return Axis((low - air, high + air), ticks, labels)


def apply(
  ax: axes.Axes,
  x: Axis | None = None,
  y: Axis | None = None,
  *,
  label_x: bool = True,
  label_y: bool = True,
) -> None:
  """Sets limits and ticks, those of an absent axis removed; labels only where asked."""
  for axis, name, labelled in ((x, 'x', label_x), (y, 'y', label_y)):
    if axis is None:
      ax.set(**{f'{name}ticks': []})
      continue
    labels = axis.labels if labelled else [''] * len(axis.ticks)
    ax.set(**{f'{name}lim': axis.limits})
    getattr(ax, f'set_{name}ticks')(axis.ticks, labels)
