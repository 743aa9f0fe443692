"""Reports of studies that are partial, broken, oddly named, or could say nothing."""

import html
import json
import re

import numpy as np
import PIL.Image
import pytest

from dlsteroids.analysis import looks, summary
from dlsteroids.report import report, sentences
from tests.fixtures import report_fixture, report_reader, studies

EVIL = '<script>alert("x")</script>'


def rename(case: report_fixture.Case, old: str, new: str) -> report_fixture.Case:
  """The same study with an arm called otherwise."""
  study = report_fixture.renamed(case.study, old, new)
  swap = lambda frame: frame.replace({'arm': {old: new}, 'reference': {old: new}})
  runs, curves, effects = (swap(frame) for frame in case.tables[:3])
  arrays = lambda arm, *run: case.arrays(old if arm == new else arm, *run)
  return report_fixture.Case(study, report.Tables(runs, curves, effects), arrays)


def test_names_are_escaped_everywhere(tmp_path):
  case = rename(report_fixture.digits(6, tuned=False), 'activation=tanh', EVIL)
  case.study['data']['classes'] = [EVIL, '|b|', '$x_1$', *'3456789']
  case.study['name'] = EVIL
  text, words = report_reader.write(case, tmp_path)
  assert '<script' not in text
  assert html.escape(EVIL, quote=False)[:20] in text
  reader = report_reader.Reader(text)
  assert 'script' not in reader.tags
  assert EVIL in reader.text
  assert '$x_1$' in reader.text  # no mathematics is made of a name
  assert '<script' not in re.sub(r'```.*?```', '', words, flags=re.S)
  for block in report_reader.tables_of(words):
    assert len({report_reader.count_cells(line) for line in block}) == 1


WORDS = {  # what a user calls things, and what a stranger might
  'activation': 'a<img src=x onerror=alert(1)>',
  'tanh': '![t](javascript:alert(1))',
  'pooling': 'p|`</script><script>alert(1)</script>',
  'dropout': "d\n# o'ut\n</style>",
  'convolution': '"><b onload=x>&lt;',
  'dense': '${x}{{7*7}}$_a^b$',
  'digits': '[d](http://example.org)\n- <i>',
  'accuracy': 'accuracy',
}


def poison(value):
  """A JSON value or text with every word as a stranger would have it."""
  if isinstance(value, dict):
    return {poison(k): poison(v) for k, v in value.items()}
  if isinstance(value, list):
    return [poison(v) for v in value]
  if isinstance(value, str):
    for word, evil in WORDS.items():
      value = value.replace(word, evil)
  return value


def test_every_name_may_be_hostile(tmp_path):
  """Arms, factors, levels, classes, the question, the command: text stays text."""
  case = report_fixture.digits(6, tuned=True)
  names = [arm['name'] for arm in case.study['arms']]
  study = studies.Draft(poison(json.loads(json.dumps(case.study))))
  study['question'] = '\n'.join(WORDS.values())
  study['data']['classes'] = [f'{evil}{i}' for i, evil in enumerate(WORDS.values())]
  study['data']['classes'] += ['8', '9']
  back = {poison(name): name for name in names}
  frames = [
    frame.rename(columns=poison).map(poison) for frame in case.tables[:3]
  ]  # fmt: skip
  arrays = lambda arm, *run: case.arrays(back[arm], *run)
  text, words = report_reader.write(
    report_fixture.Case(study, report.Tables(*frames), arrays), tmp_path
  )
  plain = report_reader.Reader(report_of(case, tmp_path / 'plain')[0])
  reader = report_reader.Reader(text)
  assert set(reader.tags) == set(plain.tags)
  assert not {'img', 'script', 'b', 'i'} & set(reader.tags)
  assert 'a<img src=x onerror=alert(1)>' in reader.text
  assert '{{7*7}}' in reader.text
  assert not reader.foreign
  outside = re.sub(r'(`{3,}).*?\1', '', words, flags=re.S)
  assert not re.search(r'(?<!\\)\]\((javascript|http)', outside)
  for bad in ('<img', '<script', '<b ', '</style'):
    assert bad not in outside
  heads = [line for line in outside.splitlines() if line.startswith('#')]
  assert not [line for line in heads if line.startswith("# o'ut")]
  for block in report_reader.tables_of(outside):
    assert len({report_reader.count_cells(line) for line in block}) == 1
  files = {str(p.relative_to(tmp_path)) for p in (tmp_path / 'figures').iterdir()}
  assert all(re.fullmatch(r'figures/[a-z_]+\.(png|svg|pdf)', name) for name in files)


def report_of(case, folder):
  folder.mkdir()
  return report_reader.write(case, folder)


@pytest.mark.usefixtures('unrendered')
def test_factorial_shows_interactions_and_anova(tmp_path):
  case = report_fixture.factorial()
  text, words = report_reader.write(case, tmp_path)
  assert 'Pairwise interactions' in text
  assert 'Analysis of variance' in words
  assert 'residual' in text
  anova = case.tables.anova
  assert anova is not None
  assert len(anova) >= 5
  assert all(str(source) in words for source in anova['source'])
  assert words.count('| Factor |') >= 1


@pytest.mark.usefixtures('unrendered')
def test_design_without_reach_says_that_and_nothing_else(tmp_path):
  for seeds in (1, 3):
    text, words = report_reader.write(
      report_fixture.digits(seeds, tuned=False), tmp_path
    )
    said = report_reader.Reader(text).text
    assert 'could not have shown anything' in said
    assert 'could not have shown anything' in words
    assert 'class="badge' not in text
    for verdict in ('helps', 'hurts', 'inconclusive', 'equivalent to'):
      assert verdict not in said
    assert 'p (Holm)' not in words


@pytest.mark.usefixtures('unrendered')
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
  text, words = report_reader.write(case, tmp_path)
  said = report_reader.Reader(text).text
  assert f'69 of 80 runs have ended; no runs yet of {gone}' in said
  assert '69 of 80' in words
  assert 'no runs yet' in text
  assert 'Not all planned runs have ended' in said


@pytest.mark.usefixtures('unrendered')
def test_study_without_any_run_of_the_intact_arm(tmp_path):
  case = report_fixture.digits(6, tuned=False)
  runs = case.tables.runs[case.tables.runs['arm'] != 'baseline']
  curves = case.tables.curves[:0]
  case.study['looks'] = []
  case = report_fixture.finish(case.study, runs.reset_index(drop=True), curves)
  text, _ = report_reader.write(case, tmp_path)
  assert 'No run of baseline has ended yet' in text
  assert not (tmp_path / 'figures' / 'curves_steps.png').exists()
  assert not (tmp_path / 'figures' / 'confusion.png').exists()


@pytest.mark.usefixtures('unrendered')
def test_stale_figures_do_not_stay(tmp_path):
  case = report_fixture.digits(6, tuned=False)
  report_reader.write(case, tmp_path)
  assert (tmp_path / 'figures' / 'filters.png').exists()
  bare = report_fixture.Case(case.study, case.tables, lambda arm, seed, tuned=0: None)
  text, _ = report_reader.write(bare, tmp_path)
  assert not (tmp_path / 'figures' / 'filters.png').exists()
  assert 'black box' not in text


@pytest.mark.usefixtures('unrendered')
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
  problems = summary.list_problems(report_reader.source_of(case))
  assert [(p['arm'], p['status'], p['seeds']) for p in problems] == [
    ('dropout=0.0', 'failed', [7]),
    ('normalization=none', 'diverged', [2, 5]),
  ]
  text, words = report_reader.write(case, tmp_path)
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

  def arrays(arm, seed, tuned=0):
    found = dict(case.arrays(arm, seed))
    if 'probe/filters' in found:
      found['probe/filters'] = np.full_like(found['probe/filters'], np.nan)
    return found

  tables = report.Tables(runs, curves, effects)
  text, _ = report_reader.write(
    report_fixture.Case(case.study, tables, arrays), tmp_path
  )
  said = report_reader.Reader(text).text
  assert '[−∞, ∞]' in said
  assert 'nan' not in re.sub(r'[a-z]+nan|nan[a-z]+', '', said)


@pytest.mark.usefixtures('unrendered')
def test_second_look_shows_the_verdicts_that_stand(tmp_path):
  case = report_fixture.digits(9, tuned=False)
  runs = report_fixture.digits(12, tuned=False).tables
  said = sentences.gather(summary.Source(case.study, case.tables, case.arrays)).findings
  entries = looks.log(case.study | {'looks': []}, case.tables.runs, '', said)
  study = case.study | {'seeds': list(range(12)), 'looks': entries}
  case = report_fixture.finish(study, runs.runs, runs.curves)
  text, words = report_reader.write(case, tmp_path)
  said = report_reader.Reader(text).text
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

  def arrays(arm, seed, tuned=0):
    found = dict(case.arrays(arm, seed))
    if 'probe/filters' in found:
      found['probe/filters'] = rng.normal(size=(11, 11, 3, 96)).astype(np.float32)
      found['probe/images'] = rng.integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    return found

  text, _ = report_reader.write(
    report_fixture.Case(case.study, case.tables, arrays), tmp_path
  )
  report_reader.Reader(text)
  image = PIL.Image.open(tmp_path / 'figures' / 'filters.png').convert('RGB')
  assert len(image.getcolors(2**24) or []) > 1000


def test_loss_decides_as_well(tmp_path):
  case = report_fixture.digits(9, tuned=False)
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
  text, words = report_reader.write(case, tmp_path)
  assert 'raises test loss' in words
  assert 'arm better' in report_reader.Reader(text).text
  assert 'points' not in words.split('<details>')[0]


@pytest.mark.usefixtures('unrendered')
def test_an_arm_that_diverged_has_a_red_box_and_no_verdict(tmp_path):
  case = report_fixture.digits(10, tuned=False)
  runs = case.tables.runs.copy()
  lost = (runs['arm'] == 'normalization=none') & (runs['seed'] < 6)
  runs.loc[lost, 'status'] = 'diverged'
  runs.loc[lost, 'best_step'] = 100 + runs.loc[lost, 'seed']
  runs.loc[lost, 'test/accuracy'] = 0.1
  few = (runs['arm'] == 'dropout=0.0') & (runs['seed'] == 4)
  runs.loc[few, 'status'] = 'diverged'
  case.study['looks'] = []
  case = report_fixture.finish(case.study, runs, case.tables.curves)
  text, words = report_reader.write(case, tmp_path)
  box = (
    '6 of 10 runs of normalization=none diverged, with a loss or parameters that are '
    'not finite: seed 0 at step 100, seed 1 at step 101, seed 2 at step 102 and 3 '
    'more. There is no verdict on what this arm is compared for.'
  )
  assert f'<p class="notice alarm" role="note">{box}</p>' in text
  assert f'> **Warning.** {box}' in words
  assert '--action=replay --arm=normalization=none --seed=0' in words
  assert 'no verdict on normalization, as most runs diverged.' in words
  assert 'Normalization helps' not in words
  assert (
    '| normalization | batch → none | none: diverged | 98.61\u202f% | – | – |' in words
  )
  assert '1 of 10 runs of dropout=0.0 diverged. Dropout' in words
