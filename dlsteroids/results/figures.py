"""All drawings of a report, in the order of the page."""

from dlsteroids.results import (
  canvas,
  curve_figures,
  effect_figures,
  forecast_figures,
  gain_figures,
  game_figures,
  image_figures,
  ladder_figures,
  neighbour_figures,
  picture_figures,
  regime_figures,
  seed_figures,
  summary,
  trace_figures,
  translation_figures,
  waterfall_figures,
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
      effect_figures.draw_forest(source),
      seed_figures.draw_seeds(source),
      curve_figures.draw_curves(source, 'step'),
      curve_figures.draw_curves(source, 'flops'),
      picture_figures.draw_samples(source),
      picture_figures.draw_film(source),
      picture_figures.draw_interpolation(source),
      neighbour_figures.draw_neighbours(source),
      translation_figures.draw_translations(source),
      game_figures.draw_game(source),
      image_figures.draw_confusion(source),
      image_figures.draw_filters(source),
      image_figures.draw_activations(source),
      trace_figures.draw_lag(source),
      trace_figures.draw_gates(source),
      forecast_figures.draw_forecasts(source),
      forecast_figures.draw_horizon(source),
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
      waterfall_figures.draw_waterfall(study, found.attribution),
      waterfall_figures.draw_shares(study, found.attribution),
    ]
  if found.regimes:
    drawings.append(regime_figures.draw_regimes(study, found.regimes))
  if found.gains and not found.gains.refusal:
    drawings += [
      ladder_figures.draw_ladders(study, source.tables.every, found.gains),
      gain_figures.draw_gains(study, found.gains),
    ]
  return drawings
