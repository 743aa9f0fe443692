"""Every figure of a report, once: its name, its section, what draws it."""

from collections.abc import Callable
from typing import NamedTuple

from dlsteroids.analysis import summary
from dlsteroids.report.figures import (
  adversarial,
  canvas,
  curves,
  effects,
  forecast,
  gains,
  images,
  ladders,
  neighbours,
  pictures,
  regimes,
  seeds,
  traces,
  translation,
  waterfall,
)

Draw = Callable[[summary.Source], canvas.Drawing | None]


class Figure(NamedTuple):
  """A figure of the report.

  Attributes:
    name: of its file, without suffix; equal to the drawing's.
    section: anchor of the section it stands in, see `report.outline`.
    draw: makes it; None where the study has nothing to show.
  """

  name: str
  section: str
  draw: Draw


def _draw_waterfall(source: summary.Source) -> canvas.Drawing | None:
  attribution = source.tables.compute and source.tables.compute.attribution
  if not attribution or attribution.refusal:
    return None
  return waterfall.draw_waterfall(source.study, attribution)


def _draw_shares(source: summary.Source) -> canvas.Drawing | None:
  attribution = source.tables.compute and source.tables.compute.attribution
  if not attribution or attribution.refusal:
    return None
  return waterfall.draw_shares(source.study, attribution)


def _draw_regimes(source: summary.Source) -> canvas.Drawing | None:
  comparison = source.tables.compute and source.tables.compute.regimes
  return regimes.draw_regimes(source.study, comparison) if comparison else None


def _draw_ladders(source: summary.Source) -> canvas.Drawing | None:
  measured = source.tables.compute and source.tables.compute.gains
  if not measured or measured.refusal:
    return None
  return ladders.draw_ladders(source.study, source.tables.every, measured)


def _draw_gains(source: summary.Source) -> canvas.Drawing | None:
  measured = source.tables.compute and source.tables.compute.gains
  if not measured or measured.refusal:
    return None
  return gains.draw_gains(source.study, measured)


FIGURES = (
  Figure('waterfall', 'attribution', _draw_waterfall),
  Figure('shares', 'attribution', _draw_shares),
  Figure('regimes', 'regimes', _draw_regimes),
  Figure('ladders', 'gains', _draw_ladders),
  Figure('gains', 'gains', _draw_gains),
  Figure('effects', 'effects', effects.draw_forest),
  Figure('seeds', 'seeds', seeds.draw_seeds),
  Figure('curves_steps', 'learning', lambda s: curves.draw_curves(s, 'step')),
  Figure('curves_flops', 'learning', lambda s: curves.draw_curves(s, 'flops')),
  Figure('samples', 'pictures', pictures.draw_samples),
  Figure('film', 'pictures', pictures.draw_film),
  Figure('interpolation', 'pictures', pictures.draw_interpolation),
  Figure('neighbours', 'pictures', neighbours.draw_neighbours),
  Figure('translations', 'translations', translation.draw_translations),
  Figure('game', 'game', adversarial.draw_game),
  Figure('confusion', 'confusion', images.draw_confusion),
  Figure('filters', 'box', images.draw_filters),
  Figure('activations', 'box', images.draw_activations),
  Figure('lag', 'box', traces.draw_lag),
  Figure('gates', 'box', traces.draw_gates),
  Figure('forecasts', 'forecasts', forecast.draw_forecasts),
  Figure('horizon', 'forecasts', forecast.draw_horizon),
)
NAMES = tuple(figure.name for figure in FIGURES)


def draw(source: summary.Source) -> dict[str, canvas.Drawing]:
  """Every figure the study has the data for, by name, in the order of `FIGURES`."""
  with canvas.style():
    drawings = {figure.name: figure.draw(source) for figure in FIGURES}
  return {name: one for name, one in drawings.items() if one is not None}
