"""All drawings of a report, in the order of the page."""

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

NAMES = (
  'waterfall',
  'shares',
  'regimes',
  'ladders',
  'gains',
  'effects',
  'seeds',
  'curves_steps',
  'curves_flops',
  'samples',
  'film',
  'interpolation',
  'neighbours',
  'translations',
  'game',
  'confusion',
  'filters',
  'activations',
  'lag',
  'gates',
  'forecasts',
  'horizon',
)


def draw(source: summary.Source) -> dict[str, canvas.Drawing]:
  """Every figure the study has the data for, by name (some of `NAMES`).

  Args:
    source: the study, its tables and its per-run arrays.
  """
  with canvas.style():
    drawings = (
      *_draw_compute(source),
      effects.draw_forest(source),
      seeds.draw_seeds(source),
      curves.draw_curves(source, 'step'),
      curves.draw_curves(source, 'flops'),
      pictures.draw_samples(source),
      pictures.draw_film(source),
      pictures.draw_interpolation(source),
      neighbours.draw_neighbours(source),
      translation.draw_translations(source),
      adversarial.draw_game(source),
      images.draw_confusion(source),
      images.draw_filters(source),
      images.draw_activations(source),
      traces.draw_lag(source),
      traces.draw_gates(source),
      forecast.draw_forecasts(source),
      forecast.draw_horizon(source),
    )
  return {drawing.name: drawing for drawing in drawings if drawing is not None}


def _draw_compute(source: summary.Source) -> list[canvas.Drawing | None]:
  """What the analyses over all conditions show."""
  study, found = source.study, source.tables.compute
  if found is None:
    return []
  drawings: list[canvas.Drawing | None] = []
  if found.attribution and not found.attribution.refusal:
    drawings += [
      waterfall.draw_waterfall(study, found.attribution),
      waterfall.draw_shares(study, found.attribution),
    ]
  if found.regimes:
    drawings.append(regimes.draw_regimes(study, found.regimes))
  if found.gains and not found.gains.refusal:
    drawings += [
      ladders.draw_ladders(study, source.tables.every, found.gains),
      gains.draw_gains(study, found.gains),
    ]
  return drawings
