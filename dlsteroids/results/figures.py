"""All drawings of a report, in the order of the page."""

from dlsteroids.results import (
  canvas,
  curve_figures,
  effect_figures,
  forecast_figures,
  game_figures,
  image_figures,
  neighbour_figures,
  picture_figures,
  seed_figures,
  summary,
  trace_figures,
  translation_figures,
)

NAMES = (
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
