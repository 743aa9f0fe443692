"""Forests, seeds and curves of added, swapped and diverged arms, and their files.

Oracles: the signs of the made-up scores; the counts of runs set to diverge.
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest

from dlsteroids.analysis import effects
from dlsteroids.report.figures import canvas, curves, forest, seeds
from tests.fixtures import report_fixture, report_reader, studies

KINDS = ('remove', 'add', 'swap')


def make_study(kind, sign):
  """One contrast of a kind, whose arm is better where `sign` is above zero."""
  study = studies.make_study(['part'], 8)
  contrast = study['contrasts'][0]
  contrast['kind'] = kind
  contrast['component'] = 'arm' if kind == 'add' else 'reference'
  reference = 0.8 + np.linspace(-0.01, 0.01, 8)
  scores = {'baseline': reference, 'part=no': reference + 0.05 * sign}
  study['data'] = {**study['data'], 'sizes': {'test': 1000}}
  return study, studies.make_runs(study, scores)


def source_of(study, runs):
  case = report_fixture.digits(2, tuned=False)
  tables = case.tables._replace(runs=runs, effects=effects.measure(study, runs))
  return report_reader.source_of(case._replace(study=study, tables=tables))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('sign', [1, -1])
def test_the_verdict_fits_the_kind_of_change_and_the_side_of_its_mark(kind, sign):
  study, runs = make_study(kind, sign)
  with canvas.style():
    drawing = forest.draw_effects(source_of(study, runs))
  helps = (sign > 0) == (kind != 'remove')  # a removed part helps where it is missed
  assert ('(helps)' if helps else '(hurts)') in drawing.alt
  assert f'part=no {"+" if sign > 0 else "−"}5.00' in drawing.alt
  prefix = {'remove': 'removed: ', 'add': 'added: ', 'swap': ''}[kind]
  assert f'>{prefix}yes → no<' in drawing.svg
  assert ('A removed component' in drawing.caption) == (kind == 'remove')


@pytest.fixture(scope='module')
def diverged():
  """Seven of eight runs of one arm diverged, two of eight of another."""
  case = report_fixture.digits(8, tuned=False)
  runs = case.tables.runs.copy()
  lost = (runs['arm'] == 'convolution=dense') & (runs['seed'] < 7)
  lost |= (runs['arm'] == 'dropout=0.0') & (runs['seed'] < 2)
  runs.loc[lost, 'status'] = 'diverged'
  runs.loc[lost, [c for c in runs if c.startswith('test/')]] = np.nan
  case.study['looks'] = []
  measured = effects.measure(case.study, runs)
  tables = case.tables._replace(runs=runs, effects=measured)
  return report_reader.source_of(case._replace(tables=tables))


def test_a_figure_is_written_as_png_svg_and_pdf_and_the_same_again(diverged):
  with canvas.style():
    one, two = (forest.draw_effects(diverged) for _ in range(2))
  assert one == two
  assert set(one.files) == set(canvas.SUFFIXES) == {'png', 'svg', 'pdf'}
  assert one.files['pdf'].startswith(b'%PDF')
  assert b'CreationDate' not in one.files['pdf']
  root = xml.etree.ElementTree.fromstring(one.files['svg'])
  assert root.tag == '{http://www.w3.org/2000/svg}svg'
  assert canvas.INK.encode() in one.files['svg']  # stands alone: no page's variables
  assert b'var(--' not in one.files['svg']


def test_the_narrow_forest_says_the_same_in_letters_as_large(diverged):
  with canvas.style():
    drawing = forest.draw_effects(diverged)
  wide, narrow = (
    re.findall(r'>([^<>]+)</text>', s) for s in (drawing.svg, drawing.narrow)
  )
  assert {'convolution', 'removed: conv → dense', '× 7 of 8 runs diverged'} <= set(
    narrow
  )
  numbers = [text for text in wide if re.search(r'\[.*\]', text)]
  assert numbers
  assert set(numbers) <= set(narrow)
  width = float(re.search(r'viewBox="0 0 ([0-9.]+)', drawing.narrow)[1])
  sizes = re.findall(r'font[^;"]*?([0-9.]+)px', drawing.narrow)
  assert min(map(float, sizes)) * 358 / width > 7.5  # pixels, at 390 less the margins


def test_arms_that_mostly_diverged_have_no_effect_no_mean_and_no_curve(diverged):
  with canvas.style():
    effects_, seeds_ = forest.draw_effects(diverged), seeds.draw_seeds(diverged)
    curves_ = curves.draw_curves(diverged, 'step')
  assert '× 7 of 8 runs diverged' in effects_.svg
  assert 'convolution=dense 7 of 8 runs diverged' in effects_.alt
  assert '2 of 8 runs diverged' not in effects_.svg  # its effect stands
  assert '7 of 8 diverged' in seeds_.svg
  assert 'convolution=dense' not in curves_.alt
  assert 'dropout=0.0 ends at' in curves_.alt
  for words in ('7 of 8 runs diverged', '2 of 8 runs diverged'):
    assert words in curves_.svg
  assert 'no curve' in curves_.caption


@pytest.mark.parametrize('backend', ['nonsense', 'module://nothing.here', 'agg', ''])
def test_a_backend_of_pyplot_that_is_not_there_is_ignored(backend):
  code = (
    'import os\n'
    'from dlsteroids.report.figures import canvas, registry\n'
    'with canvas.style():\n'
    '  drawing = canvas.finish(canvas.make_figure(1), "a", "b", "c", "d")\n'
    'assert drawing.png.startswith(b"\\x89PNG")\n'
    f'assert os.environ["MPLBACKEND"] == {backend!r}\n'
  )
  environment = {**os.environ, 'MPLBACKEND': backend}
  subprocess.run([sys.executable, '-c', code], check=True, env=environment)


def test_values_that_are_not_finite_are_no_part_of_a_curve(diverged):
  values = diverged.tables.curves.copy()
  values.loc[values['seed'] == 3, 'value'] = np.inf
  tables = diverged.tables._replace(curves=values)
  others = values[values['seed'] != 3]
  with canvas.style():
    drawing = curves.draw_curves(diverged._replace(tables=tables), 'step')
    wanted = curves.draw_curves(
      diverged._replace(tables=tables._replace(curves=others)), 'step'
    )
  assert drawing.alt == wanted.alt
  assert 'inf' not in drawing.svg


def test_of_many_curves_those_are_drawn_that_end_farthest_apart(diverged, monkeypatch):
  wide = diverged.tables.curves.copy()
  wide.loc[wide['arm'] == 'dropout=0.0', 'value'] = 0.0
  source = diverged._replace(tables=diverged.tables._replace(curves=wide))
  with canvas.style():
    every = curves.draw_curves(source, 'step')
    monkeypatch.setattr(curves, 'MOST', 1)
    one = curves.draw_curves(source, 'step')
  assert every.alt.count(' ends at ') == len(diverged.study.contrasts) - 1
  assert 'Shown are' not in every.caption
  assert f'Shown are 1 of {len(diverged.study.contrasts)}, those' in one.caption
  assert 'dropout=0.0 ends at' in one.alt
  assert one.alt.count(' ends at ') == 1


def test_main_effects_are_told_from_those_in_the_intact_model():
  source = report_reader.source_of(report_fixture.factorial())
  with canvas.style():
    drawing = forest.draw_effects(source)
  names = re.findall(r'>([a-z_]+)( \(main effect\))?</text>', drawing.svg)
  mains = {name for name, main in names if main}
  assert mains == {contrast.factor for contrast in source.study.contrasts if contrast}
  for name in mains:
    assert (name, '') in names
    assert f'{name} (main effect)' in drawing.alt
  assert 'Main effects are means' in drawing.caption


def test_one_evaluation_a_run_is_no_curve(diverged):
  last = diverged.tables.curves.groupby(['arm', 'seed', 'metric', 'split']).tail(1)
  tables = diverged.tables._replace(curves=last)
  with canvas.style():
    assert curves.draw_curves(diverged._replace(tables=tables), 'step') is None
