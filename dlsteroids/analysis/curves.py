"""Means and spreads over seeds along training and along a forecast's horizon."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import summary

PERCENTILES = (0.1, 0.9)  # of the seeds, at the ends of a band
_LARGEST = 1e6  # a loss beyond is a number without meaning


class Curve(NamedTuple):
  """A curve over seeds: x, mean, and the ends of its band, each [E]."""

  x: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


def spread(
  values: np.ndarray, axis: int = 0, shares: tuple[float, float] = PERCENTILES
) -> tuple[np.ndarray, np.ndarray]:
  """Two quantiles along `axis`, the 10th and the 90th percentile; NaN left out."""
  low, high = np.nanquantile(values, shares, axis=axis)
  return low, high


def shown_split(source: summary.Source) -> str:
  """The split whose curves are shown: validation where it was measured; '' if none."""
  curves = source.tables.curves
  splits = set(curves[curves['metric'] == source.study.metric.name]['split'].unique())
  return next((s for s in ('validation', 'train', 'test') if s in splits), '')


def learning(
  source: summary.Source, sides: Collection[tuple[str, ...]], x: str
) -> dict[tuple[str, ...], Curve]:
  """Learning curves of the deciding metric: means and percentiles over seeds.

  Cells are averaged within a seed, evaluation by evaluation: arms of equal FLOPs differ
  in steps, so their evaluations are matched by number.

  Args:
    source: the study; its curves are of one tuning state.
    sides: names of the arms that are averaged, side by side.
    x: 'step' or 'flops' (nominal training FLOPs so far).

  Returns:
    curves by side; sides without finite values are absent; other values are left out.
  """
  frame = source.tables.curves
  shown = frame['metric'] == source.study.metric.name
  frame = frame[shown & (frame['split'] == shown_split(source))]
  frame = frame.sort_values(['arm', 'seed', 'step'])
  frame = frame.assign(evaluation=frame.groupby(['arm', 'seed']).cumcount())
  curves = {side: _average(frame[frame['arm'].isin(side)], x) for side in sides}
  return {side: curve for side, curve in curves.items() if curve is not None}


def _average(rows: pd.DataFrame, x: str) -> Curve | None:
  """The curve over seeds of `rows`; None if nothing in them is finite."""
  by_seed = rows.groupby(['evaluation', 'seed'])['value'].mean().unstack('seed')
  values = by_seed.to_numpy(float)
  values = np.where(np.isfinite(values), values, np.nan)
  measured = ~np.isnan(values).all(axis=1)
  if not measured.any():
    return None
  places = rows.groupby('evaluation')[x].mean().to_numpy(float)[measured]
  values = values[measured]
  return Curve(places, np.nanmean(values, axis=1), *spread(values, axis=1))


def ranges(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Curve]:
  """By metric: the mean over seeds at every step, the lowest and the highest seed.

  Values that are not finite are left out, others bounded by ±1e6.
  """
  curves = {}
  for name in metrics:
    own = rows[rows['metric'] == name]
    values = own['value'].where(np.isfinite(own['value'])).clip(-_LARGEST, _LARGEST)
    table = values.groupby(own['step']).agg(['mean', 'min', 'max']).dropna()
    if len(table):
      curves[name] = Curve(table.index.to_numpy(float), *table.to_numpy(float).T)
  return curves


def horizon(source: summary.Source, column: str) -> dict[str, Curve]:
  """By arm, the intact one first: a metric at every step of the forecast's horizon.

  Args:
    source: the study; arrays are read in the tuning state that is shown.
    column: name of an array [H], such as 'test/mse_by_step'.

  Returns:
    curves over the seeds whose values are all finite; none if the intact arm has none.
  """
  curves = {}
  for arm in summary.arms_intact_first(source.study):
    stored = [
      (source.arrays(arm, seed, source.tables.shown) or {}).get(column)
      for seed in source.study.seeds
    ]
    rows = [np.ravel(row).astype(float) for row in stored if row is not None]
    rows = [row for row in rows if np.isfinite(row).all()]
    if rows and rows[0].size > 1:
      values = np.stack(rows)  # [S, H]
      steps = np.arange(1, values.shape[1] + 1)
      curves[arm] = Curve(steps, values.mean(axis=0), *spread(values))
  return curves if summary.intact_arm(source.study) in curves else {}
