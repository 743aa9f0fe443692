"""Every figure of a report, once: its name, its section, what draws it."""

from collections.abc import Callable
from typing import NamedTuple

from dlsteroids.analysis import summary
from dlsteroids.report import blocks
from dlsteroids.report.figures import (
  adversarial,
  attribution,
  canvas,
  confusion,
  curves,
  doublings,
  forecasts,
  forest,
  gains,
  generated,
  layers,
  recurrence,
  seeds,
  translations,
)

Draw = Callable[[summary.Source], blocks.Drawing | None]


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


def _of(analysis: str, draw: Callable[..., blocks.Drawing | None]) -> Draw:
  """`draw(study, result)` of one of the analyses over all conditions, if made."""

  def draw_from(source: summary.Source) -> blocks.Drawing | None:
    result = getattr(source.tables.compute, analysis, None)
    return None if result is None else draw(source.study, result)

  return draw_from


def _draw_ladders(source: summary.Source) -> blocks.Drawing | None:
  runs = source.tables.every
  draw = lambda study, result: gains.draw_ladders(study, runs, result)
  return _of('gains', draw)(source)


FIGURES = (
  Figure('frontier', 'doublings', _of('doublings', doublings.draw_frontiers)),
  Figure('worth', 'doublings', _of('doublings', doublings.draw_worth)),
  Figure('waterfall', 'attribution', _of('attribution', attribution.draw_waterfall)),
  Figure('shares', 'attribution', _of('attribution', attribution.draw_shares)),
  Figure('regimes', 'regimes', _of('regimes', forest.draw_regimes)),
  Figure('ladders', 'gains', _draw_ladders),
  Figure('gains', 'gains', _of('gains', gains.draw_gains)),
  Figure('effects', 'effects', forest.draw_effects),
  Figure('seeds', 'seeds', seeds.draw_seeds),
  Figure('curves_steps', 'learning', lambda s: curves.draw_curves(s, 'step')),
  Figure('curves_flops', 'learning', lambda s: curves.draw_curves(s, 'flops')),
  Figure('samples', 'pictures', generated.draw_samples),
  Figure('film', 'pictures', generated.draw_film),
  Figure('interpolation', 'pictures', generated.draw_interpolation),
  Figure('neighbours', 'pictures', generated.draw_neighbours),
  Figure('translations', 'translations', translations.draw_translations),
  Figure('game', 'game', adversarial.draw_game),
  Figure('confusion', 'confusion', confusion.draw_confusion),
  Figure('filters', 'box', layers.draw_filters),
  Figure('activations', 'box', layers.draw_activations),
  Figure('lag', 'box', recurrence.draw_lag),
  Figure('gates', 'box', recurrence.draw_gates),
  Figure('forecasts', 'forecasts', forecasts.draw_forecasts),
  Figure('horizon', 'forecasts', forecasts.draw_horizon),
)
NAMES = tuple(figure.name for figure in FIGURES)


def draw(source: summary.Source) -> dict[str, blocks.Drawing]:
  """Every figure the study has the data for, by name, in the order of `FIGURES`."""
  with canvas.style():
    drawings = {figure.name: figure.draw(source) for figure in FIGURES}
  return {name: one for name, one in drawings.items() if one is not None}
