"""The attribution's figures against the numbers they are drawn from."""

import io
import itertools

import numpy as np
import PIL.Image
import pytest
from matplotlib.backends import backend_agg

from dlsteroids.analysis import attribution
from dlsteroids.report.figures import attribution as drawings_lib
from dlsteroids.report.figures import canvas
from tests.fixtures import attribution_cases as cases
from tests.fixtures import studies

MANY = {
  'convolution': 0.4,
  'batch_normalization': 0.3,
  'dropout': 0.12,
  'max_pooling': 0.08,
  'relu': 0.25,
  'data augmentation': 0.2,
  'momentum': 0.15,
  'squeeze_and_excitation': 0.3,
}
BUDGETS = (1.0, 1 / 4, 1 / 16, 1 / 64)


def make_few():
  study = cases.make_study(['conv', 'gate', 'pool'])
  costs = {'conv': 0.9, 'gate': 0.4, 'pool': 0.2}
  return study, cases.make_runs(study, cases.additive(costs, 1.0, sd=0.05))


def make_worse():
  study = cases.make_study(['conv', 'pool'])
  costs = {'conv': 0.9, 'pool': -0.2}
  return study, cases.make_runs(study, cases.additive(costs, 1.0, sd=0.05))


def make_many():
  study = cases.make_study(list(MANY), budgets=BUDGETS)
  return study, cases.make_runs(study, cases.additive(MANY, 0.8, sd=0.1))


def make_one():
  study = cases.make_study(['gate'], 4)
  runs = cases.make_runs(study, cases.additive({'gate': 0.5}, 1.0, sd=0.1))
  runs['test/loss'] = 1.1 - 0.9 * runs.pop('test/accuracy')
  study['metric'] = {'name': 'loss', 'split': 'test', **studies.LOSS}
  return study, runs


def make_single():
  study = cases.make_study(['gate'], 8)
  return study, cases.make_runs(study, cases.additive({'gate': 0.1}, 0.2, sd=0.001))


def make_nothing():
  study = cases.make_study(['embedding', 'a_component_of_a_very_long_name'], 8)
  study['conditions'], study['ratio'] = study['conditions'][:1], 0.0
  truth = lambda ideas, budget, seed: 21.5 + 0.1 * cases.noise(seed, sorted(ideas))
  study['metric'] = {'name': 'psnr', 'split': 'test', 'better': 'higher', 'fallback': 0}
  return study, cases.make_runs(study, truth, 'test/psnr')


def make_fraction():
  masks = [m for m in range(16) if not m.bit_count() % 2]
  study = cases.make_study(list('abcd'), 10, 'fraction', masks)
  truth = lambda ideas, budget, seed: (
    0.5 + 0.2 * (len(ideas) == 4) + 0.1 * (budget == 1) + 0.02 * cases.noise(seed)
  )
  return study, cases.make_runs(study, truth)


MAKERS = {
  'few': make_few,
  'worse': make_worse,
  'many': make_many,
  'one': make_one,
  'single': make_single,
  'nothing': make_nothing,
  'fraction': make_fraction,
}


@pytest.fixture(scope='module')
def drawn():
  """By name: the study, its attribution, both drawings and both matplotlib figures."""
  found = {}
  finish = canvas.finish
  for name, maker in MAKERS.items():
    study, runs = maker()
    divided = attribution.attribute(study, runs)
    kept = []
    with pytest.MonkeyPatch.context() as patch, canvas.style():
      keep = lambda fig, *words, kept=kept: kept.append(fig) or finish(fig, *words)
      patch.setattr(canvas, 'finish', keep)
      drawings = [
        draw(study, divided)
        for draw in (drawings_lib.draw_waterfall, drawings_lib.draw_shares)
      ]
    found[name] = study, divided, drawings, kept
  return found


def texts_of(fig):
  """Every visible text with its box in pixels."""
  renderer = backend_agg.FigureCanvasAgg(fig).get_renderer()
  with canvas.style():
    fig.draw(renderer)
    shown = [t for t in fig.findobj(lambda a: hasattr(a, 'get_text')) if t.get_text()]
    return [(t, t.get_window_extent(renderer)) for t in shown if t.get_visible()]


@pytest.mark.parametrize('name', MAKERS)
def test_no_text_is_cut_or_written_over(drawn, name):
  for fig in drawn[name][3]:
    found = texts_of(fig)
    margin = canvas.MARGIN[0] * fig.dpi
    for text, box in found:
      assert box.x0 > -margin, text
      assert box.x1 < fig.bbox.x1 + margin, text
      assert box.y0 > -canvas.MARGIN[1] * fig.dpi, text
      assert box.y1 < fig.bbox.y1, text
    for (one, a), (two, b) in itertools.combinations(found, 2):
      apart = (
        a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
      )
      assert apart, (one, two)


@pytest.mark.parametrize('name', MAKERS)
def test_bars_climb_from_bare_to_full(drawn, name):
  _, found, _, figs = drawn[name]
  ax = figs[0].axes[0]
  ends = attribution.at_headline(found, found.ends)[0]
  sign = -1 if found.scale == 'log-error' else 1
  rows = attribution.at_headline(found, found.players)
  phi = {r['player']: r['phi'] for r in rows if r['player'] not in ('ideas', 'total')}
  rest = phi.pop('remainder', None)
  heights = sorted(phi.values(), reverse=True) + ([] if rest is None else [rest])
  bars = [bar for bar in ax.patches if bar.get_facecolor()[:3] != (1, 1, 1)]
  assert len(bars) == len(heights)
  at = ends['bare']
  for bar, height in zip(bars, heights):
    low, high = sorted((at, at + sign * height))
    assert (bar.get_y(), bar.get_y() + bar.get_height()) == pytest.approx((low, high))
    at += sign * height
  assert at == pytest.approx(ends['full'])


def test_whiskers_are_the_intervals(drawn):
  _, found, _, figs = drawn['few']
  rows = {r['player']: r for r in attribution.at_headline(found, found.players)}
  ends = attribution.at_headline(found, found.ends)[0]
  order = ['compute', 'conv', 'gate', 'pool']
  start = ends['bare']
  for x, player in enumerate(order, 1):
    row = rows[player]
    spans = [
      sorted(line.get_ydata())
      for line in figs[0].axes[0].lines
      if list(line.get_xdata()) == [x, x]
    ]
    assert spans == [pytest.approx([start - row['ci_high'], start - row['ci_low']])]
    start -= row['phi']


def test_the_axis_reads_as_an_error(drawn):
  study, found, (drawing, _), figs = drawn['few']
  ax = figs[0].axes[0]
  labels = [label.get_text() for label in ax.get_yticklabels()]
  for place, label in zip(ax.get_yticks(), labels):
    assert 100 * np.exp(place) == pytest.approx(float(label.rstrip('%\u202f')))
  assert len(labels) >= 3
  bare, full = (
    f'{100 * np.exp(found.ends[key].iloc[-1]):.2f}\u202f%' for key in ('bare', 'full')
  )
  shown = [text.get_text() for text, _ in texts_of(figs[0])]
  assert {bare, full} <= set(shown)
  assert 'test error, logarithmic axis, lower is better' in shown
  assert drawing.alt.startswith(
    f'test error from {bare} (bare model, 1/16 compute) to {full} (full model): compute'
  )
  assert 'Ends are geometric means' in drawing.caption
  rows = attribution.at_headline(found, found.players)
  assert float(bare[:5]) / float(full[:4]) == pytest.approx(
    np.exp(next(r['phi'] for r in rows if r['player'] == 'total')), rel=0.01
  )
  assert study['metric']['name'] == 'accuracy'


def test_a_raw_axis_reads_as_the_metric(drawn):
  _, found, (drawing, shares), figs = drawn['nothing']
  assert found.scale == 'raw'
  assert shares is None
  shown = [text.get_text() for text, _ in texts_of(figs[0])]
  assert 'test PSNR, higher is better' in shown
  assert 'There are no shares: the interval of the whole' in drawing.caption
  assert 'Pale: the interval includes 0.' in drawing.caption
  assert '%' not in ''.join(shown)
  assert 'geometric' not in drawing.caption
  for phi in found.players['phi'][:2]:
    assert f'{phi:+.4g}'.replace('-', '−') in shown


def test_captions_and_colours_say_what_bars_are(drawn):
  shown = {
    name: {text.get_text() for text, _ in texts_of(drawn[name][3][0])}
    for name in MAKERS
  }
  assert {'compute', 'an idea', 'makes it worse'} <= shown['worse']
  assert 'makes it worse' not in shown['few']
  outside = 'There are no shares: a share lies outside 0 to 100\u202f%.'
  assert outside in drawn['worse'][2][0].caption
  assert drawn['worse'][2][1] is None
  assert 'makes it worse' not in shown['one']
  assert 'not separated' in shown['fraction']
  assert 'compute' not in shown['nothing']
  assert 'Student' in drawn['one'][2][0].caption
  assert 'Student' not in drawn['few'][2][0].caption
  assert 'test loss, logarithmic axis, lower is better' in shown['one']
  colour = {bar.get_facecolor() for bar in drawn['worse'][3][0].axes[0].patches}
  assert len(colour) == 4  # paper, compute, ideas, worse


def test_bars_whose_interval_includes_nought_are_pale(drawn):
  alpha = {
    name: {bar.get_alpha() for bar in drawn[name][3][0].axes[0].patches}
    for name in ('few', 'nothing')
  }
  assert len(alpha['few']) == len(alpha['nothing']) == 2  # paper has none
  assert max(alpha['nothing'] - {None}) < max(alpha['few'] - {None})


def test_names_fit_below_their_bars(drawn):
  shown = [text.get_text() for text, _ in texts_of(drawn['many'][3][0])]
  for part in ('convolution', 'squeeze and', 'augmentation', '256×', 'bare model'):
    assert (part in shown) == (part != '256×')
  assert '64×' in shown
  long = [text.get_text() for text, _ in texts_of(drawn['nothing'][3][0])]
  assert 'component of' in ' '.join(long)


def test_lines_are_the_shares(drawn):
  _, found, (_, drawing), figs = drawn['few']
  frame = found.players[found.players['scale'] == 'log-error']
  first, *others = figs[1].axes
  panels = [(first, ['compute', 'ideas']), *zip(others, [['conv'], ['gate'], ['pool']])]
  assert len(others) == 3
  for ax, names in panels:
    drawn_lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    curves = [tuple(line.get_ydata()) for line in drawn_lines]
    # besides them nought and the headline
    assert len(curves) == len(names) + 2
    for name in names:
      mine = frame[frame['player'] == name].sort_values('ratio')
      assert any(curve == pytest.approx(tuple(mine['share'])) for curve in curves), name
  assert first.get_xscale() == 'log'
  labels = [label.get_text() for label in first.get_xticklabels()]
  assert sorted(labels) == ['16×', '4×']
  row = frame[(frame['player'] == 'gate') & (frame['ratio'] == 4)].iloc[0]
  assert f'gate {100 * row["share"]:.1f}' in drawing.alt
  assert 'headline ratio, 16×' in drawing.caption


def test_panels_of_many_ideas(drawn):
  figs = drawn['many'][3]
  first, *panels = figs[1].axes
  assert len(panels) == len(MANY)
  boxes = {text.get_text(): box for text, box in texts_of(figs[1])}
  for idea in MANY:
    box = boxes[idea.replace('_', ' ')]  # whole, and no wider than its panel
    ax = next(ax for ax in panels if abs(ax.bbox.x0 - box.x0) < 2)
    assert box.x1 < ax.bbox.x1 + 5
  assert first.bbox.height > 2 * panels[0].bbox.height
  assert len(drawn['single'][3][1].axes) == 1  # one idea is all ideas
  assert drawn['one'][2][1] is None  # four seeds: no shares


def test_drawings_are_whole(drawn):
  for name in MAKERS:
    waterfall, shares = drawn[name][2]
    assert waterfall.name == 'waterfall'
    for drawing in filter(None, (waterfall, shares)):
      picture = PIL.Image.open(io.BytesIO(drawing.png))
      assert picture.width == round((canvas.WIDTH + 2 * canvas.MARGIN[0]) * canvas.DPI)
      assert drawing.svg.startswith('<svg aria-hidden="true"')
      assert drawing.alt.endswith('.')
      assert drawing.caption.endswith('.')
      for role in canvas.ROLES:
        assert role not in drawing.svg
  assert drawn['few'][2][1].name == 'shares'


def test_a_refusal_draws_nothing():
  study, runs = make_few()
  refused = attribution.attribute(study | {'design': 'one_out'}, runs)
  with canvas.style():
    assert drawings_lib.draw_waterfall(study, refused) is None
    assert drawings_lib.draw_shares(study, refused) is None


def test_one_ratio_has_no_lines():
  study, runs = make_few()
  study['conditions'] = study['conditions'][:2]
  found = attribution.attribute(study, runs)
  with canvas.style():
    assert drawings_lib.draw_shares(study, found) is None
    assert drawings_lib.draw_waterfall(study, found) is not None
