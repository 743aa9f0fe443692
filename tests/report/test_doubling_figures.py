"""Figures of doublings against the numbers they are drawn from."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from matplotlib.backends import backend_agg

from dlsteroids.analysis import doublings, frontier, gains
from dlsteroids.plan import manifest
from dlsteroids.report import doublings as words
from dlsteroids.report.figures import canvas
from dlsteroids.report.figures import doublings as figures
from tests.fixtures import frontier_cases as cases
from tests.fixtures import searched_studies

IDEAS = (
  doublings.Idea('convolution', 1989),
  doublings.Idea('ReLU', 2011),
  doublings.Idea('dropout', 2012),
  doublings.Idea('augmentation', 2012),
  doublings.Idea('batch_normalisation', 2015),
  doublings.Idea('residual', 2016),
)
SMALL = 4.83e9
OWN, FAR = (SMALL * 4.0 ** np.arange(n) for n in (5, 7))
ACCURACY = gains.Scale('test/accuracy', True, True, 0.5e-4)


def climb(toolbox, flops):
  """Every idea is worth a doubling and a half."""
  return 0.02 + 0.5 * (2 ** (1.5 * toolbox.bit_count()) * flops / SMALL) ** -0.3


def level_off(toolbox, flops):
  """As `climb`, but the bare model stays where it begins to be good."""
  return climb(toolbox, flops) if toolbox else np.maximum(climb(0, flops), 0.4)


def measure(ideas, toolboxes, design, errors, bare_year=1986):
  """The worth of ideas whose errors are known, in a study of a design."""
  study = manifest.describe(searched_studies.make_plan(), '')
  budgets = {toolbox: OWN if toolbox else FAR for toolbox in toolboxes}
  evidence = cases.evidence(
    tuple(idea.name for idea in ideas), errors, budgets, seeds=3
  )
  front = frontier.trace(evidence, ACCURACY, 19)
  targets = [frontier.worth_at(front, e) for e in frontier.default_targets(front)]
  result = doublings.Doublings(
    ideas, bare_year, front, tuple(targets), None, None, design == 'factorial', (), '',
    None, None,
  )  # fmt: skip
  return dataclasses.replace(study, design=design), result


def ladder(errors=climb):
  return measure(IDEAS, [2**k - 1 for k in range(7)], 'ladder', errors)


MAKERS = {
  'ladder': ladder,
  'high': lambda: ladder(level_off),
  'history': lambda: measure(IDEAS[:3], range(8), 'factorial', climb),
  'undated': lambda: measure(
    tuple(idea._replace(year=0) for idea in IDEAS[:4]), range(16), 'factorial', climb, 0
  ),
}


@pytest.fixture(scope='module')
def drawn():
  """By name: the result, and the figures of frontiers and of worth."""
  every = {}
  finish = canvas.finish
  for name, maker in MAKERS.items():
    study, result = maker()
    figs = []
    with pytest.MonkeyPatch.context() as patch, canvas.style():
      keep = lambda fig, *rest, figs=figs: figs.append(fig) or finish(fig, *rest)
      patch.setattr(canvas, 'finish', keep)
      figures.draw_frontiers(study, result)
      figures.draw_worth(study, result)
    every[name] = result, figs
  return every


def texts_of(fig):
  """Every visible text with its box in pixels."""
  renderer = backend_agg.FigureCanvasAgg(fig).get_renderer()
  with canvas.style():
    fig.draw(renderer)
    shown = [t for t in fig.findobj(lambda a: hasattr(a, 'get_text')) if t.get_text()]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in shown]


@pytest.mark.parametrize('name', MAKERS)
def test_no_text_is_cut_or_written_over(drawn, name):
  for fig in drawn[name][1]:
    texts = texts_of(fig)
    for text, box in texts:
      assert box.x0 > -canvas.MARGIN[0] * fig.dpi, text
      assert box.x1 < fig.bbox.x1 + canvas.MARGIN[0] * fig.dpi, text
      assert -canvas.MARGIN[1] * fig.dpi < box.y0 < box.y1 < fig.bbox.y1, text
    for (one, a), (two, b) in itertools.combinations(texts, 2):
      apart = (
        a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
      )
      assert apart, (one, two)


def test_lines_are_the_rungs_of_history_with_their_years(drawn):
  for name, count in (('ladder', 6), ('history', 3)):
    shown = [text for text, _ in texts_of(drawn[name][1][0])]
    assert 'bare model, 1986' in shown
    for idea in IDEAS[:count]:
      assert f'+ {idea.name.replace("_", " ")}, {idea.year}' in shown
  shown = [text for text, _ in texts_of(drawn['undated'][1][0])]
  assert {'bare model', 'without ReLU', 'full model'} <= {*shown}


@pytest.mark.parametrize('name', MAKERS)
def test_no_line_passes_under_the_names(drawn, name):
  fig = drawn[name][1][0]
  boxes = [box for text, box in texts_of(fig) if 'model' in text or text[0] in '+w']
  ax = fig.axes[0]
  for line in ax.lines:
    if line.get_transform() == ax.transData and len(line.get_xdata()) >= 5:
      x, y = ax.transData.transform(line.get_xydata()).T
      dense = np.linspace(x[0], x[-1], 300)
      for box in boxes:
        under = (dense > box.x0) & (dense < box.x1)
        height = np.interp(dense, x, y)[under]
        assert not ((height > box.y0) & (height < box.y1)).any()


def test_doublings_are_marked_from_rung_to_rung(drawn):
  result, (fig, _) = drawn['ladder']
  target = words.target_of_steps(result)
  shown = [text for text, _ in texts_of(fig)]
  assert f'{words.number(target.together.value)} doublings' in shown
  assert shown.count('1.5') == len(IDEAS)
  places = [line for line in fig.axes[0].lines if line.get_marker() == '|']
  stops = max((line.get_xdata() for line in places), key=len)
  # by the power law, a factor of 2^1.5 between the rungs
  assert np.diff(stops) == pytest.approx(-1.5 * math.log10(2), abs=0.03)


def test_bars_are_at_targets_where_every_idea_was_measured(drawn):
  result, (_, fig) = drawn['history']
  picked = figures.pick_measured(result)
  assert len(picked) == 2
  for target in picked:
    assert all(w.kind == frontier.MEASURED for w in words.single_worths(result, target))
  assert len(fig.axes[0].patches) == 2 * (3 + 1)
  for bar in fig.axes[0].patches[:3]:
    assert bar.get_width() == pytest.approx(1.5, abs=0.1)
