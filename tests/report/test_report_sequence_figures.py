"""Figures of recurrent networks: gradients by lag, gates, forecasts, horizons.

Oracles: the made-up numbers of `sequence_fixture`, Pillow, and sums done here by hand.
"""

import io
import re
import warnings

import numpy as np
import PIL.Image
import pytest

from dlsteroids.report import formats
from dlsteroids.report.figures import canvas, recurrence, tiles
from dlsteroids.report.figures import forecasts as forecast_lib
from tests.fixtures import report_reader, sequence_fixture


@pytest.fixture(scope='module')
def language():
  return sequence_fixture.language()


@pytest.fixture(scope='module')
def forecast():
  return sequence_fixture.forecast()


def draw(make, case):
  """One drawing; a letter that the font lacks, or a warning, is an error."""
  with canvas.style(), warnings.catch_warnings():
    warnings.simplefilter('error')
    return make(report_reader.source_of(case))


def test_lag_tells_where_the_gradient_has_faded(language):
  drawing = draw(recurrence.draw_lag, language)
  for arm in language.study['arms']:
    norms = language.arrays(arm['name'], 0)['probe/lag/norms']
    above = [lag for lag, norm in enumerate(norms) if norm >= 0.01 * max(norms)]
    last = above[-1] + 1
    said = 'above 1 % to the end' if last == 200 else f'below 1 % from lag {last}'
    assert f'{arm["name"]} {said}' in drawing.alt
  assert drawing.svg.count('from lag') + drawing.svg.count('to the end') == 9


def test_gates_are_cut_to_what_can_be_read(language, forecast):
  drawing = draw(recurrence.draw_gates, language)
  assert 'Shown are the first 80 of 200 steps' in drawing.caption
  assert drawing.svg.count('<image') == 6
  letters = re.findall(r'>\s*(\S)\s*</text>', drawing.svg)
  assert ''.join(letters) == sequence_fixture.TEXT[:80].replace(' ', '·').replace(
    '\n', '↵'
  )
  drawing = draw(recurrence.draw_gates, forecast)
  assert 'first 256 of 336 steps' in drawing.caption
  assert 'symbol' not in drawing.caption


def test_strips_keep_signs_and_reach():
  """A gate of one half is half blue; a state's sign is its hue."""
  half = tiles.colour_signed(np.array([[0.5, 1.0, -1.0]]), 1.0)[0]
  assert half[0][3] < half[1][3] == half[2][3] == 1
  assert half[1][2] > half[1][0]
  assert half[2][0] > half[2][2]


def test_forecasts_show_the_intact_and_the_most_different_arms(forecast):
  drawing = draw(forecast_lib.draw_forecasts, forecast)
  means = {
    arm['name']: forecast.arrays(arm['name'], 0)['probe/forecast/mean'].astype(float)
    for arm in forecast.study['arms']
  }
  spread = forecast.arrays('baseline', 0)['probe/forecast/target'].std(axis=(0, 1))
  far = {
    arm: np.square((mean - means['baseline']) / spread).mean()
    for arm, mean in means.items()
  }
  first, second, *_ = sorted(far, key=far.get, reverse=True)
  assert drawing.alt == f'Forecasts of baseline, {first} and {second} beside the truth.'
  assert '3 of 7 targets' in drawing.caption
  for name in ('HUFL, °C', 'MULL, °C', 'OT, °C'):
    assert name in drawing.svg


def test_horizon_is_the_mean_over_seeds(forecast):
  drawing = draw(forecast_lib.draw_horizon, forecast)
  rows = [forecast.arrays('baseline', s)['test/mse_by_step'] for s in range(8)]
  first, last = (formats.number(float(np.mean(rows, axis=0)[i])) for i in (0, -1))
  assert f'baseline from {first} to {last}' in drawing.alt
  assert 'seasonal copy from 0.4023 to 0.6208' in drawing.alt
  assert 'seasonal copy' in drawing.svg


@pytest.mark.parametrize('steps', [2, 512])
def test_short_and_long_sequences(steps):
  case = sequence_fixture.language(6, steps)
  for name, make in (('lag', recurrence.draw_lag), ('gates', recurrence.draw_gates)):
    drawing = draw(make, case)
    assert drawing.name == name
    image = PIL.Image.open(io.BytesIO(drawing.png))
    assert image.height < 1.2 * image.width


@pytest.mark.parametrize(('dims', 'horizon'), [(1, 1), (1, 24), (2, 96)])
def test_small_forecasts(dims, horizon):
  case = sequence_fixture.forecast(6, dims, horizon)
  assert draw(forecast_lib.draw_forecasts, case).name == 'forecasts'
  drawing = draw(forecast_lib.draw_horizon, case)
  assert (drawing is not None) == (horizon > 1)  # one step is in the tables


def test_broken_probes_leave_their_arm_out(forecast, language):
  def spoil(arm, seed, arrays):
    if arm == 'gating=off' and seed == 0:
      for name in ('probe/forecast/mean', 'probe/lag/norms'):
        if name in arrays:
          arrays[name] = np.full_like(arrays[name], np.nan)
    return arrays

  case = sequence_fixture.with_arrays(forecast, spoil)
  assert 'gating=off' not in draw(forecast_lib.draw_forecasts, case).alt
  assert 'gating=off' not in draw(recurrence.draw_lag, case).alt
  none = sequence_fixture.with_arrays(language, lambda arm, seed, arrays: {})
  source = report_reader.source_of(none)
  with canvas.style():
    for make in (
      recurrence.draw_lag,
      recurrence.draw_gates,
      forecast_lib.draw_forecasts,
      forecast_lib.draw_horizon,
    ):
      assert make(source) is None


def test_gradients_that_vanish_altogether_are_cut(language):
  def vanish(arm, seed, arrays):
    if 'probe/lag/norms' in arrays and arm != 'baseline':
      arrays['probe/lag/norms'][50:] = 0
    return arrays

  drawing = draw(recurrence.draw_lag, sequence_fixture.with_arrays(language, vanish))
  assert 'Cut 8 decades below the largest' in drawing.caption


def test_words_under_gates_are_turned(language):
  words = ['summer', 'day', 'temperate', 'eye', 'of', 'heaven', 'x' * 40]
  steps = np.resize(np.arange(7), 200).astype(np.uint8)
  study = language.study | {'data': {**language.study['data'], 'classes': words}}
  change = lambda arm, seed, arrays: arrays | {'probe/trace/text': steps}
  drawing = draw(
    recurrence.draw_gates,
    sequence_fixture.with_arrays(language._replace(study=study), change),
  )
  assert 'first 40 of 200 steps' in drawing.caption
  assert 'rotate(-90' in drawing.svg
