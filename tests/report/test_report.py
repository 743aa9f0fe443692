"""The report says what the tables say, whole, alone, and always the same.

Oracles: the made-up tables of `report_fixture`, `html.parser`, Pillow, WCAG 2.1, and
sums done here by hand.
"""

import hashlib
import re

import numpy as np
import PIL.Image
import pytest

from dlsteroids.analysis import summary
from dlsteroids.report import markdown, sentences
from dlsteroids.report.figures import canvas, registry
from tests.fixtures import report_fixture, report_reader

# What the study of these tests has data for; sequences and pictures have their own.
OTHERS = {'lag', 'gates', 'forecasts', 'horizon', 'samples', 'film', 'interpolation'}
OTHERS |= {'neighbours', 'translations', 'game'}
OTHERS |= {'waterfall', 'shares', 'regimes', 'ladders', 'gains'}  # test_compute
OTHERS |= {'frontier', 'worth'}  # analysis/test_doublings
NAMES = tuple(name for name in registry.NAMES if name not in OTHERS)


@pytest.fixture(scope='module')
def digits():
  return report_fixture.digits()


@pytest.fixture(scope='module')
def written(digits, tmp_path_factory):
  folder = tmp_path_factory.mktemp('digits')
  return folder, *report_reader.write(digits, folder)


def test_page_is_well_formed_and_asks_nothing_of_the_network(written):
  _, text, _ = written
  reader = report_reader.Reader(text)
  assert not reader.open
  assert 'script' not in reader.tags
  assert len(reader.ids) == len(set(reader.ids))
  assert not reader.foreign
  own = {f'#{name}' for name in reader.ids}
  assert not re.findall(r'https?:|@import|url\((?!#)', text)
  assert set(re.findall(r'url\((#[^)]*)\)', text)) <= own
  assert len(text) < 3e6
  assert text.count('aria-label') >= len(NAMES)


def test_every_contrast_has_its_sentence_in_both_texts(digits, written):
  _, page_text, text = written
  words = report_reader.Reader(page_text).text
  family = digits.tables.effects.head(len(digits.study['contrasts']))
  assert set(family['verdict']) == {'helps', 'inconclusive'}
  for row in family.to_dict('records'):
    said = sentences.sentence(digits.study, row)
    assert said in words
    assert markdown.escape(said) in text
  badges = re.findall(r'class="badge (\w+)"', page_text)
  assert badges.count('helps') == 2 * (family['verdict'] == 'helps').sum()


def test_headline_is_the_intact_arm(digits, written):
  runs = digits.tables.runs
  mine = runs[(runs['arm'] == 'baseline') & (runs['tuned'] == 1)]['test/accuracy']
  words = report_reader.Reader(written[1]).text
  for number in (mine.mean(), mine.min(), mine.max()):
    assert f'{100 * number:.2f} %' in words
  assert 'Which of activation, convolution, dropout, normalization and pooling' in words


def test_compute_is_what_the_runs_cost(digits, written):
  rows = {
    row['arm']: row for row in summary.compute_of(report_reader.source_of(digits), 1)
  }
  assert rows['baseline']['run'] == 600 * 41_472_000
  assert rows['baseline']['all'] == 20 * 600 * 41_472_000  # 10 seeds, untuned and tuned
  assert rows['convolution=dense']['ratio'] == pytest.approx(5.2)
  assert '24.9\u202fGFLOP' in written[1]
  assert '498\u202fGFLOP' in written[2]


def test_compute_is_of_the_width_and_batch_that_tuning_chose(digits):
  runs = digits.tables.runs.copy()
  own = (runs['arm'] == 'baseline') & (runs['tuned'] == 1)
  runs.loc[own, ['params', 'steps', 'flops']] = [77, 1200, 2.4e10]
  case = digits._replace(tables=digits.tables._replace(runs=runs))
  source = report_reader.source_of(case)
  tuned, as_configured = (
    next(r for r in summary.compute_of(source, state) if r['arm'] == 'baseline')
    for state in (1, 0)
  )
  assert as_configured['steps'] == 600
  assert as_configured['nominal'] == 41_472_000
  wanted = {'params': 77, 'steps': 1200, 'run': 2.4e10, 'nominal': 2e7, 'ratio': 1}
  assert {name: tuned[name] for name in wanted} == wanted
  assert np.isnan([tuned[name] for name in ('executed', 'activations', 'state')]).all()


def test_figures_are_pictures_with_something_in_them(written):
  folder = written[0]
  found = {path.stem for path in (folder / 'figures').iterdir()}
  assert found == set(NAMES)
  for name in NAMES:
    image = PIL.Image.open(folder / 'figures' / f'{name}.png').convert('RGB')
    assert image.width > 1000
    assert len(image.getcolors(2**24) or []) > 40, name
    assert f'](figures/{name}.png)' in written[2]


def test_svg_colours_follow_the_scheme(written):
  svgs = re.findall(r'<svg.*?</svg>', written[1], re.S)
  assert len(svgs) == len(NAMES) + 1  # the forest has a narrow variant
  for svg in svgs:
    left = re.findall(r'(?:fill|stroke): (#[0-9a-f]{6})', svg)
    assert not left, left
    assert 'var(--ink)' in svg
    assert 'DejaVu' not in svg
  for role in canvas.ROLES.values():
    assert written[1].count(f'--{role}:') == 3  # light, dark and print


def contrast(one: str, two: str) -> float:
  """WCAG 2.1 contrast ratio of two hex colours."""

  def light(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
      c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

  high, low = sorted((light(one), light(two)), reverse=True)
  return (high + 0.05) / (low + 0.05)


def test_text_colours_reach_aa_in_every_scheme(written):
  schemes = re.findall(r':root \{(.*?)\}', written[1], re.S)
  assert len(schemes) == 3
  for scheme in schemes:
    colours = dict(re.findall(r'--(\w+): (#[0-9a-f]{6})', scheme))
    for name in ('ink', 'soft', 'blue', 'orange', 'violet'):
      for ground in ('paper', 'sunken'):
        assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    assert contrast(colours['grey'], colours['paper']) >= 3  # lines and marks


def test_markdown_tables_are_well_formed(written):
  blocks = report_reader.tables_of(written[2])
  # tuned, as configured, two others, compute, chosen, configuration, provenance
  assert len(blocks) == 8
  for block in blocks:
    assert len({report_reader.count_cells(line) for line in block}) == 1
    assert re.fullmatch(r'\| (-{3}:? \| )*-{3}:? \|', block[1])
  assert len(blocks[0]) == 2 + 7


def test_equal_inputs_give_equal_bytes(digits, written, tmp_path):
  report_reader.write(report_fixture.digits(), tmp_path)
  for name in (
    'report.html',
    'report.md',
    *(f'figures/{n}.png' for n in NAMES),
  ):
    one, two = ((f / name).read_bytes() for f in (written[0], tmp_path))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest(), name
  assert not [p for p in tmp_path.rglob('*') if p.name.startswith('.')]
