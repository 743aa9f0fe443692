"""The parts of the report, each against sums or formats worked out by hand."""

import io
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from dlsteroids.analysis import summary
from dlsteroids.report import formats, latex, markdown, notes, outline
from dlsteroids.report.figures import layers, registry, scales
from tests.fixtures import report_fixture, report_reader


@pytest.fixture(scope='module')
def digits():
  return report_fixture.digits()


def check_latex(text: str) -> None:
  bare = re.sub(r'\\[{}%&_#$]', '', text)
  assert bare.count('{') == bare.count('}')
  depth = 0
  for letter in bare:
    depth += (letter == '{') - (letter == '}')
    assert depth >= 0
  assert bare.count('$') % 2 == 0
  assert '%' not in bare
  assert '#' not in bare
  without_math = re.sub(r'\$[^$]*\$', '', bare)
  assert '_' not in without_math
  assert '^' not in without_math
  for name in ('table', 'tabular'):
    assert text.count(rf'\begin{{{name}}}') == text.count(rf'\end{{{name}}}') == 1
  body = text[text.index(r'\midrule') : text.index(r'\bottomrule')].splitlines()[1:]
  for line in filter(str.strip, body):
    assert line.endswith(r'\\')
    assert len(re.findall(r'(?<!\\)&', line)) == 6


def test_latex_is_balanced_and_escaped(digits):
  study = digits.study | {'name': 'a_b % {c} #1 & ~^\\'}
  effects = digits.tables.effects.replace({'factor': {'dropout': '[drop_out] 50%'}})
  text = latex.table(study, effects)
  check_latex(text)
  assert r'a\_b \% \{c\} \#1 \& ' in text
  assert r'{[}drop\_out{]} 50\%' in text
  assert text.count('helps') == 6
  assert r'$\to$ tanh' in text


def test_markdown_escapes_what_it_would_read_as_markup():
  assert markdown.escape('a|b*c_d`e<f>') == r'a\|b\*c\_d\`e&lt;f&gt;'


def test_confusion_is_the_sum_over_seeds(digits):
  found = summary.confusion_of(report_reader.source_of(digits))
  assert found is not None
  counts, seeds = found
  by_hand = np.zeros((10, 10), int)
  for seed in range(10):
    stored = digits.arrays('baseline', seed)
    for true, predicted in zip(stored['test/label'], stored['test/prediction']):
      by_hand[true, predicted] += 1
  assert seeds == 10
  np.testing.assert_array_equal(counts, by_hand)


def test_probed_arms_are_the_intact_and_the_ablated_ones(digits):
  found = layers.probed_arms(report_reader.source_of(digits))
  assert list(found) == ['baseline', 'activation=tanh', 'convolution=dense']


def test_log_error_places_equal_factors_equally():
  scale = scales.make_log_error('accuracy', 999_999)
  places = scale.place(np.array([0.0, 0.9, 0.99, 0.999]))
  np.testing.assert_allclose(np.diff(places), 1, atol=1e-2)
  places = scales.make_log_error('accuracy', 9).place(np.array([1.0, 8 / 9]))
  np.testing.assert_allclose(places, -np.log10([0.05, 0.15]))  # (errors + ½)/(N + 1)


@pytest.mark.parametrize(
  ('metric', 'better', 'values', 'note'),
  [
    ('accuracy', 'higher', [0.97, 0.98, 0.985], ''),
    ('accuracy', 'higher', [0.1, 0.98, 1.0], 'spaced by the logarithm of the error'),
    ('loss', 'lower', [0.01, 2.0], 'logarithmic scale'),
    ('loss', 'lower', [0.5, 2.0, float('nan')], ''),
    ('loss', 'lower', [-1.0, 20.0], ''),
  ],
)
def test_scale_is_logarithmic_where_values_span_tenfold(metric, better, values, note):
  assert scales.choose(metric, better, values, 360).note == note


@pytest.mark.parametrize(
  ('made', 'text'),
  [
    (formats.flops(24.88e9), '24.9\u202fGFLOP'),
    (formats.flops(999.7e3), '1.00\u202fMFLOP'),
    (formats.flops(12), '12\u202fFLOP'),
    (formats.flops(0), '0\u202fFLOP'),
    (formats.seconds(3725), '1\u202fh 02\u202fmin'),
    (formats.seconds(0.3141), '0.31\u202fs'),
    (formats.delta('test/accuracy', -0.0341), '−3.41'),
    (formats.delta('test/classifier_fid', np.float64(1.5)), '+1.50'),
    (formats.delta('test/accuracy', -1e-9), '0.00'),
    (formats.delta('test/loss', 0.01234), '+0.01234'),
    (formats.value('accuracy', 0.5), '50.00\u202f%'),
    (formats.p_value(3e-9), '< 0.0001'),
    (formats.number(float('inf')), '∞'),
    (formats.number(1234567.0), '1,234,567'),
    (formats.tick(1500), '1.5\u202fk'),
  ],
)
def test_numbers_read_well(made, text):
  assert made == text


def test_settings_are_paths_the_command_line_takes(digits):
  settings = dict(outline.list_settings(digits.study['config']))
  assert settings['model.channels'] == '[16, 32]'
  assert settings['optimizer.clip'] == 'null'
  assert outline.replay_command(digits.study, 'pooling=stride', 0).endswith(
    '--action=replay --arm=pooling=stride --seed=0'
  )


def test_flops_that_are_too_low_are_told(digits):
  arms = digits.study['arms']
  arms = [{**arm, 'unknown_loops': i == 1} for i, arm in enumerate(arms)]
  source = digits._replace(study=digits.study | {'arms': arms})
  source = report_reader.source_of(source)
  told = [text for text in notes.list_notes(source) if 'too low' in text]
  assert len(told) == 1
  assert arms[1]['name'] in told[0]
  whole = notes.list_notes(report_reader.source_of(digits))
  assert not any('too low' in text for text in whole)


def test_notes_name_the_variance_and_the_excluded(digits):
  said = ' '.join(notes.list_notes(report_reader.source_of(digits)))
  assert 'over seeds, on this test set' in said
  assert 'the seed draws the split too' in said
  assert 'Excluded: pooling=stride with normalization=none' in said
  digits_official = {**digits.study['data'], 'official_test': True}
  study = digits.study | {'data': digits_official}
  case = digits._replace(study=study)
  assert 'the same for every seed' in notes.list_notes(report_reader.source_of(case))[0]


def test_report_needs_no_jax_and_leaves_matplotlib_alone():
  code = (
    'import sys, matplotlib\n'
    'before = dict(matplotlib.rcParams)\n'
    'from dlsteroids.report import report\n'
    'from dlsteroids.report.figures import canvas\n'
    'with canvas.style(): pass\n'
    'assert dict(matplotlib.rcParams) == before\n'
    'assert "jax" not in sys.modules\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_png_of_a_drawing_is_readable(digits):
  drawing = registry.draw(report_reader.source_of(digits))['effects']
  image = np.asarray(PIL.Image.open(io.BytesIO(drawing.png)).convert('L'))
  edges = np.concatenate(
    [image[:3].ravel(), image[:, :3].ravel(), image[:, -3:].ravel()]
  )
  assert (edges == 255).all(), 'something is cut off at the edge'
