"""The report says what the tables say, whole, escaped, alone and always the same.

Oracles: the made-up tables of `report_fixture`, `html.parser`, Pillow, and sums done
here by hand.
"""

import hashlib
import html
import html.parser
import io
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from dlsteroids.results import (
  canvas,
  figures,
  formats,
  image_figures,
  latex,
  markdown,
  notes,
  page,
  report,
  scales,
  sentences,
  summary,
)
from tests import report_fixture

VOID = {'meta', 'br', 'hr', 'img', 'link', 'input'}
EVIL = '<script>alert("x")</script>'


class Reader(html.parser.HTMLParser):
  """Checks that tags nest, and collects tags, attributes, ids and visible text."""

  def __init__(self, text: str):
    super().__init__()
    self.open: list[str] = []
    self.tags: list[str] = []
    self.links: list[str] = []
    self.ids: list[str] = []
    self.words: list[str] = []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    for name, value in attrs:
      if name in ('href', 'src', 'xlink:href', 'action', 'data'):
        self.links.append(value or '')
      if name == 'id':
        self.ids.append(value or '')
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open, f'</{tag}> closes nothing'
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words.append(data)

  @property
  def text(self) -> str:
    return ' '.join(' '.join(self.words).split())


def write(case: report_fixture.Case, folder: pathlib.Path) -> tuple[str, str]:
  path = report.write(folder, case.study, case.tables, case.arrays)
  assert path == folder / 'report.html'
  return path.read_text(), (folder / 'report.md').read_text()


def source_of(case: report_fixture.Case) -> summary.Source:
  return summary.Source(case.study, case.tables, case.arrays)


@pytest.fixture(scope='module')
def digits():
  return report_fixture.digits()


@pytest.fixture(scope='module')
def written(digits, tmp_path_factory):
  folder = tmp_path_factory.mktemp('digits')
  return folder, *write(digits, folder)


def test_page_is_well_formed_and_asks_nothing_of_the_network(written):
  _, text, _ = written
  reader = Reader(text)
  assert not reader.open
  assert 'script' not in reader.tags
  assert len(reader.ids) == len(set(reader.ids))
  own = {f'#{name}' for name in reader.ids}
  for link in reader.links:
    assert link in own or link.startswith('data:image/png;base64,'), link
  assert not re.findall(r'https?:|@import|url\((?!#)', text)
  assert set(re.findall(r'url\((#[^)]*)\)', text)) <= own
  assert len(text) < 3e6
  assert text.count('aria-label') >= len(figures.NAMES)


def test_every_contrast_has_its_sentence_in_both_texts(digits, written):
  _, page_text, text = written
  words = Reader(page_text).text.replace('\u00a0', ' ')
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
  words = Reader(written[1]).text
  for number in (mine.mean(), mine.min(), mine.max()):
    assert f'{100 * number:.2f}\u202f%' in words
  assert 'Which of activation, convolution, dropout, normalization and pooling' in words


def test_compute_is_what_the_runs_cost(digits, written):
  rows = {row['arm']: row for row in summary.compute_of(source_of(digits), 1)}
  assert rows['baseline']['run'] == 600 * 41_472_000
  assert rows['baseline']['all'] == 20 * 600 * 41_472_000  # 10 seeds, untuned and tuned
  assert rows['convolution=dense']['ratio'] == pytest.approx(5.2)
  assert '24.9\u202fGFLOP' in written[1]
  assert '498\u202fGFLOP' in written[2]


def test_figures_are_pictures_with_something_in_them(written):
  folder = written[0]
  found = {path.stem for path in (folder / 'figures').iterdir()}
  assert found == set(figures.NAMES)
  for name in figures.NAMES:
    image = PIL.Image.open(folder / 'figures' / f'{name}.png').convert('RGB')
    assert image.width > 1000
    assert len(image.getcolors(2**24) or []) > 40, name
    assert f'](figures/{name}.png)' in written[2]


def test_svg_colours_follow_the_scheme(written):
  svgs = re.findall(r'<svg.*?</svg>', written[1], re.S)
  assert len(svgs) == len(figures.NAMES)
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


def tables_of(text: str) -> list[list[str]]:
  blocks, block = [], []
  for line in [*text.splitlines(), '']:
    if line.startswith('|'):
      block.append(line)
    elif block:
      blocks.append(block)
      block = []
  return blocks


def count_cells(line: str) -> int:
  assert line.startswith('| ')
  assert line.endswith(' |')
  return len(re.findall(r'(?<!\\)\|', line)) - 1


def test_markdown_tables_are_well_formed(written):
  blocks = tables_of(written[2])
  assert len(blocks) == 3  # tuned, as configured, compute
  for block in blocks:
    assert len({count_cells(line) for line in block}) == 1
    assert re.fullmatch(r'\| (-{3}:? \| )*-{3}:? \|', block[1])
  assert len(blocks[0]) == 2 + 7


def test_equal_inputs_give_equal_bytes(digits, written, tmp_path):
  write(report_fixture.digits(), tmp_path)
  for name in (
    'report.html',
    'report.md',
    *(f'figures/{n}.png' for n in figures.NAMES),
  ):
    one, two = ((f / name).read_bytes() for f in (written[0], tmp_path))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest(), name
  assert not [p for p in tmp_path.rglob('*') if p.name.startswith('.')]


def rename(case: report_fixture.Case, old: str, new: str) -> report_fixture.Case:
  """The same study with an arm called otherwise."""
  study = report_fixture.renamed(case.study, old, new)
  swap = lambda frame: frame.replace({'arm': {old: new}, 'reference': {old: new}})
  runs, curves, effects = (swap(frame) for frame in case.tables[:3])
  arrays = lambda arm, seed: case.arrays(old if arm == new else arm, seed)
  return report_fixture.Case(study, report.Tables(runs, curves, effects), arrays)


def test_names_are_escaped_everywhere(tmp_path):
  case = rename(report_fixture.digits(6, tuned=False), 'activation=tanh', EVIL)
  case.study['data']['classes'] = [EVIL, '|b|', '$x_1$', *'3456789']
  case.study['name'] = EVIL
  text, words = write(case, tmp_path)
  assert '<script' not in text
  assert html.escape(EVIL, quote=False)[:20] in text
  reader = Reader(text)
  assert 'script' not in reader.tags
  assert EVIL in reader.text
  assert '$x_1$' in reader.text  # no mathematics is made of a name
  assert '<script' not in re.sub(r'```.*?```', '', words, flags=re.S)
  for block in tables_of(words):
    assert len({count_cells(line) for line in block}) == 1


def test_markdown_escapes_what_it_would_read_as_markup():
  assert markdown.escape('a|b*c_d`e<f>') == r'a\|b\*c\_d\`e&lt;f&gt;'


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
  study = {**digits.study, 'name': 'a_b % {c} #1 & ~^\\'}
  effects = digits.tables.effects.replace({'factor': {'dropout': '[drop_out] 50%'}})
  text = latex.table(study, effects)
  check_latex(text)
  assert r'a\_b \% \{c\} \#1 \& ' in text
  assert r'{[}drop\_out{]} 50\%' in text
  assert text.count('helps') == 6
  assert r'$\to$ tanh' in text


def test_factorial_shows_interactions_and_anova(tmp_path):
  case = report_fixture.factorial()
  text, words = write(case, tmp_path)
  assert 'Pairwise interactions' in text
  assert 'Analysis of variance' in words
  assert 'residual' in text
  anova = case.tables.anova
  assert anova is not None
  assert len(anova) >= 5
  assert all(str(source) in words for source in anova['source'])
  assert len(tables_of(words)) == 4


def test_design_without_reach_says_that_and_nothing_else(tmp_path):
  for seeds in (1, 3):
    text, words = write(report_fixture.digits(seeds, tuned=False), tmp_path)
    said = Reader(text).text
    assert 'could not have shown anything' in said
    assert 'could not have shown anything' in words
    assert 'class="badge' not in text
    for verdict in ('helps', 'hurts', 'inconclusive', 'equivalent to'):
      assert verdict not in said
    assert 'p (Holm)' not in words


def test_partial_study_reports_and_says_so(tmp_path):
  case = report_fixture.digits(10, tuned=False)
  gone = 'convolution=dense'
  keep = lambda frame: frame[
    (frame['arm'] != gone) & ~((frame['arm'] == 'dropout=0.0') & (frame['seed'] == 3))
  ].reset_index(drop=True)
  case.study['looks'] = []
  case = report_fixture.finish(
    case.study, keep(case.tables.runs), keep(case.tables.curves)
  )
  text, words = write(case, tmp_path)
  said = Reader(text).text
  assert f'69 of 80 runs have ended; no runs yet of {gone}' in said
  assert '69 of 80' in words
  assert 'no runs yet' in text
  assert 'Not all planned runs have ended' in said


def test_study_without_any_run_of_the_intact_arm(tmp_path):
  case = report_fixture.digits(6, tuned=False)
  runs = case.tables.runs[case.tables.runs['arm'] != 'baseline']
  curves = case.tables.curves[:0]
  case.study['looks'] = []
  case = report_fixture.finish(case.study, runs.reset_index(drop=True), curves)
  text, _ = write(case, tmp_path)
  assert 'No run of baseline has ended yet' in text
  assert not (tmp_path / 'figures' / 'curves_steps.png').exists()
  assert not (tmp_path / 'figures' / 'confusion.png').exists()


def test_stale_figures_do_not_stay(tmp_path):
  case = report_fixture.digits(6, tuned=False)
  write(case, tmp_path)
  assert (tmp_path / 'figures' / 'filters.png').exists()
  bare = report_fixture.Case(case.study, case.tables, lambda arm, seed: None)
  text, _ = write(bare, tmp_path)
  assert not (tmp_path / 'figures' / 'filters.png').exists()
  assert 'black box' not in text


def test_diverged_and_failed_runs_are_listed(tmp_path):
  case = report_fixture.digits(10, tuned=False)
  runs = case.tables.runs.copy()
  numbers = [c for c in runs if '/' in c] + ['flops', 'wall_s', 'steps', 'best_step']
  runs[numbers] = runs[numbers].astype(float)
  bad = (runs['arm'] == 'normalization=none') & runs['seed'].isin([2, 5])
  runs.loc[bad, 'status'] = 'diverged'
  runs.loc[bad, 'test/accuracy'] = 0.1
  lost = (runs['arm'] == 'dropout=0.0') & (runs['seed'] == 7)
  runs.loc[lost, 'status'] = 'failed'
  runs.loc[lost, numbers] = np.nan
  case.study['looks'] = []
  case = report_fixture.finish(case.study, runs, case.tables.curves)
  problems = summary.list_problems(source_of(case))
  assert [(p['arm'], p['status'], p['seeds']) for p in problems] == [
    ('dropout=0.0', 'failed', [7]),
    ('normalization=none', 'diverged', [2, 5]),
  ]
  text, words = write(case, tmp_path)
  assert 'Runs that did not end well' in text
  assert '| normalization=none | as configured | diverged | 2 | 2, 5 |' in words
  assert 'Crosses: diverged runs' in text


def test_values_that_are_not_numbers_do_not_break_the_page(tmp_path):
  case = report_fixture.digits(6, tuned=False)
  curves = case.tables.curves.copy()
  curves.loc[curves['seed'] == 1, 'value'] = np.nan
  curves.loc[curves['arm'] == 'pooling=stride', 'value'] = np.nan
  effects = case.tables.effects.copy()
  effects['verdict'] = effects['verdict'].replace('', np.nan)  # as pandas reads a CSV
  effects.loc[2, ['ci_low', 'ci_high']] = [-np.inf, np.inf]
  effects.loc[3, ['delta', 'ci_low', 'ci_high', 'p', 'arm_mean']] = np.nan
  runs = case.tables.runs.copy()
  runs.loc[4, 'wall_s'] = np.nan

  def arrays(arm, seed):
    found = dict(case.arrays(arm, seed))
    if 'probe/filters' in found:
      found['probe/filters'] = np.full_like(found['probe/filters'], np.nan)
    return found

  tables = report.Tables(runs, curves, effects)
  text, _ = write(report_fixture.Case(case.study, tables, arrays), tmp_path)
  said = Reader(text).text
  assert '[−∞, ∞]' in said
  assert 'nan' not in re.sub(r'[a-z]+nan|nan[a-z]+', '', said)


def test_second_look_shows_the_verdicts_that_stand(tmp_path):
  case = report_fixture.digits(9, tuned=False)
  runs = report_fixture.digits(12, tuned=False).tables
  study = {**case.study, 'seeds': list(range(12))}
  case = report_fixture.finish(study, runs.runs, runs.curves)
  text, words = write(case, tmp_path)
  said = Reader(text).text
  assert 'verdicts that stand, of look 1' in said
  assert 'its verdicts are exploratory' in said
  assert words.index('(p=') < words.index('Exploratory:')
  assert '9 seeds).' in words
  assert '12 seeds).' in words


def test_colour_filters_and_other_shapes(tmp_path):
  """RGB filters, many classes, a metric that falls, long names, thirty arms."""
  case = rename(report_fixture.digits(6, tuned=False), 'dropout=0.0', 'x' * 90)
  case.study['data']['classes'] = [f'class number {i}' for i in range(40)]
  rng = np.random.default_rng(0)

  def arrays(arm, seed):
    found = dict(case.arrays(arm, seed))
    if 'probe/filters' in found:
      found['probe/filters'] = rng.normal(size=(11, 11, 3, 96)).astype(np.float32)
      found['probe/images'] = rng.integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    return found

  text, _ = write(report_fixture.Case(case.study, case.tables, arrays), tmp_path)
  Reader(text)
  image = PIL.Image.open(tmp_path / 'figures' / 'filters.png').convert('RGB')
  assert len(image.getcolors(2**24) or []) > 1000


def test_loss_decides_as_well(tmp_path):
  case = report_fixture.digits(8, tuned=False)
  case.study['metric'] = {
    'name': 'loss',
    'split': 'test',
    'better': 'lower',
    'fallback': 2.302585,
  }
  case.study['looks'] = []
  curves = case.tables.curves.copy()
  curves['metric'], curves['value'] = 'loss', 3 * (1 - curves['value']) + 0.01
  case = report_fixture.finish(case.study, case.tables.runs, curves)
  text, words = write(case, tmp_path)
  assert 'raises test loss' in words
  assert 'arm better' in Reader(text).text
  assert 'points' not in words.split('## Compute')[0]


def test_confusion_is_the_sum_over_seeds(digits):
  found = summary.confusion_of(source_of(digits))
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
  found = image_figures.probed_arms(source_of(digits))
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
  sections = dict(page.list_settings(digits.study['config']))
  assert ('model.channels', '[16, 32]') in sections['model']
  assert ('optimizer.clip', 'null') in sections['optimizer']
  assert page.give_replay(digits.study).endswith(
    '--action=replay --arm=pooling=stride --seed=0'
  )


def test_notes_name_the_variance_and_the_excluded(digits):
  said = ' '.join(notes.list_notes(source_of(digits)))
  assert 'over seeds, on this test set' in said
  assert 'the seed draws the split too' in said
  assert 'Excluded: pooling=stride with normalization=none' in said
  digits_official = {**digits.study['data'], 'official_test': True}
  study = {**digits.study, 'data': digits_official}
  case = digits._replace(study=study)
  assert 'the published one' in notes.list_notes(source_of(case))[0]


def test_report_needs_no_jax_and_leaves_matplotlib_alone():
  code = (
    'import sys, matplotlib\n'
    'before = dict(matplotlib.rcParams)\n'
    'from dlsteroids.results import canvas, report\n'
    'with canvas.style(): pass\n'
    'assert dict(matplotlib.rcParams) == before\n'
    'assert "jax" not in sys.modules and "matplotlib.pyplot" not in sys.modules\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_png_of_a_drawing_is_readable(digits):
  drawing = figures.draw(source_of(digits))['effects']
  image = np.asarray(PIL.Image.open(io.BytesIO(drawing.png)).convert('L'))
  edges = np.concatenate(
    [image[:3].ravel(), image[:, :3].ravel(), image[:, -3:].ravel()]
  )
  assert (edges == 255).all(), 'something is cut off at the edge'
