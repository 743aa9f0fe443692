"""Drawings of ladders and gains: what stands in them, and that nothing overlaps.

Oracles: the made-up gains of `gain_cases`; boxes of the drawn texts; Pillow.
"""

import io
import itertools
import math
import re

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from matplotlib.backends import backend_agg

from dlsteroids.analysis import gains
from dlsteroids.report import gains as gain_words
from dlsteroids.report.figures import canvas, scales
from dlsteroids.report.figures import gains as gains_lib
from tests.fixtures import gain_cases, studies


def gain_study(seeds=8):
  study, runs = gain_cases.make_case(seeds)
  return study, runs, gains.gains(study, runs)


def two_axes(seeds=6):
  """Two contrasts over budgets and widths, and their anytime gains too."""
  study = gain_cases.in_nats(gain_cases.make_study(['norm', 'dropout'], seeds))
  factors = {'baseline': 1.0, 'norm=no': 2.5, 'dropout=no': 0.7}
  curves = gain_cases.make_curves(study, factors)
  make = lambda rungs: {
    arm: gain_cases.noisy(gain_cases.power_law(f, rungs), seeds, 0.1, 0.1, key)
    for key, (arm, f) in enumerate(factors.items())
  }
  budgets = gain_cases.make_runs(study, make(gain_cases.RUNGS))
  sizes = gain_cases.make_runs(study, make((0.5, 2.0, 4.0)), axis='size')
  runs = pd.concat([budgets, sizes])
  found = gains.gains(study, runs)
  anytime = gains.anytime(study, curves)
  both = found._replace(frame=pd.concat([found.frame, anytime.frame]))
  return study, runs, both, anytime


def single(seeds=3):
  """One contrast with long names, a single seed's spread, no seeds' noise."""
  study = gain_cases.make_study(['a_factor_with_a_rather_long_name'], seeds)
  arms = [arm['name'] for arm in study['arms']]
  scores = [gain_cases.accuracy(gain_cases.power_law(f)) for f in (1.0, 1.1)]
  runs = gain_cases.make_runs(study, dict(zip(arms, scores)))
  return study, runs, gains.gains(study, runs)


def untold():
  """Targets that nobody reaches, that all reach at once, and one between."""
  study = gain_cases.make_study(['norm'], 6, targets=[0.5, 0.93, 0.999])
  errors = {'baseline': gain_cases.power_law(1), 'norm=no': gain_cases.power_law(1.3)}
  scores = {arm: gain_cases.accuracy(mine) for arm, mine in errors.items()}
  runs = gain_cases.make_runs(study, scores)
  return study, runs, gains.gains(study, runs)


def higher():
  """A metric without logs, more of it better; eight contrasts."""
  names = [f'part{i}' for i in range(8)]
  better = {'better': 'higher', 'fallback': 0.0}
  metric = {'name': 'classes', 'split': 'test', **better}
  study = gain_cases.make_study(names, 5, metric=metric, metrics={'classes': better})
  scores = {
    arm['name']: {rung: 5 + 2 * math.log(rung / (1 + 0.1 * i)) for rung in (0.5, 1, 2)}
    for i, arm in enumerate(study['arms'])
  }
  runs = gain_cases.make_runs(study, scores)
  return study, runs, gains.gains(study, runs)


def wide():
  """Nine decades of FLOPs, in the panels of three contrasts."""
  rungs = [10.0**i for i in range(-5, 4)]
  study = gain_cases.in_nats(gain_cases.make_study(['a', 'b', 'c'], 4))
  scores = {
    arm['name']: gain_cases.power_law(3.0**i, rungs, slope=0.2)
    for i, arm in enumerate(study['arms'])
  }
  runs = gain_cases.make_runs(study, scores)
  return study, runs, gains.gains(study, runs)


CASES = {
  'five': lambda: gain_study()[:3],
  'two_axes': lambda: two_axes()[:3],
  'single': single,
  'one_seed': lambda: gain_study(1),
  'untold': untold,
  'higher': higher,
  'wide': wide,
}


def boxes(fig):
  """The boxes, in inches, of all texts of a figure that are drawn."""
  agg = backend_agg.FigureCanvasAgg(fig)
  agg.draw()
  renderer = agg.get_renderer()
  texts = list(fig.texts)
  for ax in fig.axes:
    texts += [*ax.get_xticklabels(), *ax.get_yticklabels(), *ax.texts]
  found = {}
  for text in texts:
    if text.get_visible() and text.get_text():
      box = text.get_window_extent(renderer)
      found[(text.get_text(), len(found))] = box.extents / fig.dpi
  return found


def draw_all(case, monkeypatch):
  """The drawings of a case by name, and the figures they were made from."""
  figures = {}
  finish = canvas.finish

  def keep(fig, name, *words):
    figures[name] = fig
    return finish(fig, name, *words)

  monkeypatch.setattr(canvas, 'finish', keep)
  study, runs, found = case
  with canvas.style():
    drawings = [
      gains_lib.draw_ladders(study, runs, found),
      gains_lib.draw_gains(study, found),
    ]
    places = {name: boxes(fig) for name, fig in figures.items()}
  return {drawing.name: drawing for drawing in drawings}, figures, places


@pytest.mark.parametrize('name', CASES)
def test_no_text_overlaps_or_is_cut_off(name, monkeypatch):
  drawings, figures, places = draw_all(CASES[name](), monkeypatch)
  assert set(drawings) == {'ladders', 'gains'}
  for which, found in places.items():
    wide, high = figures[which].get_size_inches()
    for (text, _), (left, bottom, right, top) in found.items():
      assert left >= -canvas.MARGIN[0], f'{which}: {text!r} begins outside'
      assert right <= wide + canvas.MARGIN[0], f'{which}: {text!r} ends outside'
      assert bottom >= -canvas.MARGIN[1], f'{which}: {text!r} lies below'
      assert top <= high + canvas.MARGIN[1], f'{which}: {text!r} lies above'
    for (one, a), (two, b) in itertools.combinations(found.items(), 2):
      apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
      assert apart, f'{which}: {one[0]!r} and {two[0]!r} overlap'


@pytest.mark.parametrize('name', CASES)
def test_pictures_are_whole_and_the_same_again(name, monkeypatch):
  drawings, _, _ = draw_all(CASES[name](), monkeypatch)
  again, _, _ = draw_all(CASES[name](), monkeypatch)
  for which, drawing in drawings.items():
    assert drawing == again[which]
    image = np.asarray(PIL.Image.open(io.BytesIO(drawing.png)).convert('L'))
    edges = np.concatenate([image[:3].ravel(), image[:, :3].ravel()])
    edges = np.concatenate([edges, image[:, -3:].ravel(), image[-3:].ravel()])
    assert (edges == 255).all(), 'something is cut off at the edge'
    assert not re.search('#[0-9a-f]{6}', drawing.svg), 'a colour without a role'
    assert 'nan' not in drawing.svg.lower().replace('nano', '')


def test_the_words_are_those_of_the_gains(monkeypatch):
  study, runs, found = gain_study()
  drawings, _, places = draw_all((study, runs, found), monkeypatch)
  head = found.frame[found.frame['rung'] == 1]
  assert len(head) == 5
  words = {text for text, _ in places['ladders']}
  for row in head.to_dict('records'):
    error = f'{100 * (1 - row["target"]):.2f}\u202f% error'
    assert f'{gain_words.describe(row)} at {error}' in words
    for drawing in drawings.values():
      assert f'{row["factor"]}=no {gain_words.describe(row)}' in drawing.alt
  assert {'batch_norm=no', 'conv=no', 'shift=no'} <= words
  assert 'test error against training FLOPs (nominal), both logarithmic' in words
  assert 'beyond the compute that was tried' in drawings['ladders'].caption
  assert 'arrow' in drawings['gains'].caption


def test_both_axes_and_anytime_gains_are_told_apart(monkeypatch):
  study, runs, both, anytime = two_axes()
  _, figures, places = draw_all((study, runs, both), monkeypatch)
  words = {text for text, _ in places['ladders']}
  assert {'Longer runs, equal steps', 'Wider models, equal steps'} <= words
  assert len(figures['ladders'].axes) == 4
  assert len(figures['gains'].axes) == 2
  words = {text for text, _ in places['gains']}
  assert {'longer runs', 'wider models', 'anytime, within runs'} <= words
  assert 'compute of the ablated arm over that of the intact arm, by target (nats)' in (
    words
  )
  with canvas.style():
    alone = gains_lib.draw_gains(study, anytime)
    assert gains_lib.draw_ladders(study, runs, anytime) is None
  assert alone.name == 'gains_anytime'
  assert 'anytime' in alone.title


def test_points_stand_at_their_gains(monkeypatch):
  study, runs, found = gain_study()
  _, figures, _ = draw_all((study, runs, found), monkeypatch)
  for ax, (_, group) in zip(
    figures['gains'].axes, found.frame.groupby('factor', sort=False)
  ):
    drawn = [
      float(line.get_ydata()[0])
      for line in ax.lines
      if line.get_marker() == 'o' and len(line.get_ydata()) == 1
    ]
    shown = group['gain_shown'].to_numpy()
    np.testing.assert_allclose(10 ** np.array(drawn), shown)
    low, high = ax.get_ylim()
    assert low < min(drawn)
    assert max(drawn) < high
    arrows = sum(bool(text.arrow_patch) for text in ax.texts)
    wanted = np.isposinf(group['ci_high']).sum() + (group['ci_low'] == 0).sum()
    assert arrows == wanted
    spans = [
      (10 ** np.asarray(line.get_ydata(), float)).tolist()
      for line in ax.lines
      if line.get_linewidth() == 1.5 and line.get_marker() == 'None'
    ]
    low = group[['low_shown', 'gain_shown']].min(axis=1)
    high = group[['high_shown', 'gain_shown']].max(axis=1)
    np.testing.assert_allclose(spans, np.stack([low, high], 1))
    joined = sum(line.get_linewidth() == 0.9 for line in ax.lines)
    measured = (group['censored'] == '').to_numpy()
    assert joined == (measured[:-1] & measured[1:]).sum()
    hollow = sum(
      line.get_marker() == 'o' and line.get_markerfacecolor() == canvas.PAPER
      for line in ax.lines
    )
    assert hollow == (group['censored'] != '').sum()


def test_the_marked_gain_spans_the_two_costs(monkeypatch):
  study, runs, found = gain_study()
  _, figures, _ = draw_all((study, runs, found), monkeypatch)
  head = found.frame[found.frame['rung'] == 1].to_dict('records')
  for ax, row in zip(figures['ladders'].axes, head):
    mine = [line for line in ax.lines if line.get_color() == canvas.ORANGE]
    (bar,) = [
      line for line in mine if len(line.get_xdata()) == 2 and line.get_linewidth() > 1.5
    ]
    ends = 10 ** np.asarray(bar.get_xdata(), float)
    last = gain_cases.FLOPS * max(gain_cases.RUNGS)
    cost = min(row['cost_ablated'], last)
    np.testing.assert_allclose(ends, [row['cost_intact'], cost])
    marks = ''.join(
      str(line.get_marker()) for line in mine if len(line.get_xdata()) == 1
    )
    wanted = {'never': '|>', 'ablated at once': '|<', '': '||'}[row['censored']]
    assert marks == wanted


def test_what_cannot_be_told_is_a_cross(monkeypatch):
  case = untold()
  drawings, figures, _ = draw_all(case, monkeypatch)
  (ax,) = figures['gains'].axes
  assert sum(line.get_marker() == 'x' for line in ax.lines) == 2
  assert 'Crosses' in drawings['gains'].caption


def test_nothing_is_drawn_without_gains():
  study = studies.make_study(['norm'], 4)
  runs = studies.make_runs(study, {'baseline': [0.9] * 4, 'norm=no': [0.8] * 4})
  found = gains.gains(study, runs)
  assert found.refusal
  assert gains_lib.draw_ladders(study, runs, found) is None
  assert gains_lib.draw_gains(study, found) is None


def test_ticks_are_round_and_have_room():
  assert scales.thin_out([0, 0.1, 0.3, 0.35, 0.7], 0.3) == [0, 0.3, 0.7]
  assert scales.log_ticks(0.9, 200) == [1, 10, 100]
  assert scales.log_ticks(0.9, 20) == [1, 3, 10]
  assert scales.log_ticks(0.9, 5.5) == [1, 2, 5]
  assert scales.log_ticks(1.9, 5.5) == [2, 3, 5]
  assert scales.log_ticks(0.91, 1.12) == pytest.approx([0.95, 1, 1.05, 1.1])


def test_a_panel_is_named_by_what_is_ablated():
  study, _, found = gain_study(2)
  row = found.frame.iloc[0].to_dict()
  assert gains_lib.name_panel(study, row) == 'batch_norm=no'
  assert gains_lib.name_panel(study, {**row, 'factor': 'else'}) == 'batch_norm=no'
  study['arms'][1]['name'] = row['ablated'] = 'arm7'
  assert gains_lib.name_panel(study, {**row, 'factor': 'else'}) == 'arm7'


@pytest.mark.parametrize(
  ('kind', 'sides'),
  [
    ('remove', {'intact arm', 'ablated arm'}),
    ('add', {'arm with the component', 'arm without it'}),
    ('swap', {'intact arm', 'changed arm'}),
  ],
)
def test_arms_are_called_by_the_kind_of_change(kind, sides, monkeypatch):
  study, runs, _ = gain_study(4)
  for contrast in study['contrasts']:
    contrast['kind'] = kind
    contrast['component'] = 'arm' if kind == 'add' else 'reference'
  drawings, _, places = draw_all((study, runs, gains.gains(study, runs)), monkeypatch)
  assert sides <= {text for text, _ in places['ladders']}
  for name in sides:
    assert name in drawings['ladders'].caption
    assert any(name in text for text, _ in places['gains'])
