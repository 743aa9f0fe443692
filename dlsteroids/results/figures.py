"""All drawings of a report, in the order of the page."""

from dlsteroids.results import (
  canvas,
  curve_figures,
  effect_figures,
  forecast_figures,
  image_figures,
  seed_figures,
  summary,
  trace_figures,
)

NAMES = (
  'effects',
  'seeds',
  'curves_steps',
  'curves_flops',
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
      image_figures.draw_confusion(source),
      image_figures.draw_filters(source),
      image_figures.draw_activations(source),
      trace_figures.draw_lag(source),
      trace_figures.draw_gates(source),
      forecast_figures.draw_forecasts(source),
      forecast_figures.draw_horizon(source),
    )
  return {drawing.name: drawing for drawing in drawings if drawing is not None}
