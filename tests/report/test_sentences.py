"""Verdicts in words: what is said must follow from the numbers."""

import re

import numpy as np
import pytest

from dlsteroids.analysis import effects, looks, summary
from dlsteroids.report import facts, latex, sentences
from dlsteroids.study import factors
from tests.fixtures import studies, study_cases

HALF = np.linspace(-0.004, 0.004, 10)


def say(shift, seeds=10, design='one_out', metric='accuracy', spread=HALF, **changes):
  study = studies.make_study(['dropout'], seeds, design, **changes)
  study['metric'] = {'name': metric, 'split': 'test', **study['metrics'][metric]}
  root, arm = (a['name'] for a in study['arms'])
  scores = {root: 0.9 + HALF, arm: 0.9 + HALF + shift + spread}
  runs = studies.make_runs(study, scores, f'test/{metric}')
  table = effects.measure(study, runs)
  (text,) = sentences.summary(study, table, looks.state(study, runs))
  return text, table.iloc[0]


def test_helps_and_hurts_with_their_signs():
  text, row = say(-0.012)
  low, high = -100 * row['ci_high'], -100 * row['ci_low']
  assert text == (
    'Dropout helps: removing it (no instead of yes) lowers test accuracy by '
    f'1.2 points [{low:.1f}, {high:.1f}] (p=.002, 10 seeds).'
  )
  assert 0 < low < 1.2 < high
  assert say(0.012)[0].startswith(
    'Dropout hurts: removing it (no instead of yes) raises test accuracy by 1.2 points'
  )
  assert say(0.012, design='one_in')[0].startswith(
    'Dropout helps: adding it (yes instead of no) raises test accuracy by 1.2 points'
  )
  assert say(-0.012, design='one_in')[0].startswith(
    'Dropout hurts: adding it (yes instead of no) lowers test accuracy by 1.2 points'
  )
  assert say(0.012, design='ladder')[0].startswith(
    'Dropout helps: adding it (yes instead of no) to bare raises'
  )


def test_lower_is_better_in_raw_units():
  text, _ = say(0.25, metric='loss')
  assert text.startswith(
    'Dropout helps: removing it (no instead of yes) raises test loss by 0.2500 ['
  )
  assert 'points' not in text


def test_inconclusive_is_oriented_as_the_other_verdicts():
  text, row = say(0.0012)
  assert row['verdict'] == 'inconclusive'
  low, high = -100 * row['ci_low'], 100 * row['ci_high']
  assert low > 0 < high
  assert text == (
    'Dropout is inconclusive: removing it (no instead of yes) raises test accuracy by '
    f'0.1 points [−{low:.1f}, {high:.1f}] (p={row["p"]:.3f}, 10 seeds).'
  ).replace('p=0', 'p=')


def test_equivalence_and_negligible_significance():
  text, row = say(0.0, margin=0.01)
  assert row['p'] == 1
  assert text.startswith('Dropout makes no difference that matters: removing it')
  assert 'within the margin of ±1 points (10 seeds).' in text
  text, row = say(-0.004, spread=HALF / 4, margin=0.01)
  assert row['verdict'] == 'equivalent'
  assert text.startswith(
    'Dropout makes a real but negligible difference: removing it (no instead of yes) '
    'lowers test accuracy by 0.4'
  )
  assert text.endswith('within the margin of ±1 points (p=.002, 10 seeds).')


def test_a_design_that_could_show_nothing_says_that_and_nothing_else():
  study = studies.make_study(['a', 'b', 'c'], 5)
  scores = {a['name']: HALF[:5] + i for i, a in enumerate(study['arms'])}
  table = effects.measure(study, studies.make_runs(study, scores))
  expected = (
    'This design could not have shown anything: with 3 contrasts over 5 seeds the '
    'smallest reachable p is 0.19, above alpha = 0.05; at least 7 seeds are needed.'
  )
  assert sentences.summary(study, table) == [expected]
  assert sentences.sentence(study, table.iloc[0]) == expected


def test_missing_pairs_and_divergences_are_told():
  study = studies.make_study(['dropout'], 10)
  scores = {'baseline': 0.9 + HALF, 'dropout=no': 0.7 + HALF}
  runs = studies.make_runs(study, scores)
  lost = studies.set_run(runs, 'dropout=no', 0, status='failed')
  lost = studies.set_run(lost, 'dropout=no', 1, status='diverged')
  (text,) = sentences.summary(study, effects.measure(study, lost))
  assert text.startswith(
    '1 of 9 runs of dropout=no diverged. Dropout helps, with a skewed difference: '
  )
  assert ', by 20.0 points where no run diverged (p=' in text
  assert '9 of 10 seeds; median 20.0 points' in text
  lost = studies.set_run(lost, 'baseline', 5, status='failed')
  (text,) = sentences.summary(study, effects.measure(study, lost))
  assert 'Dropout is inconclusive: only 8 of 10 pairs of runs are complete' in text


def test_exploratory_looks_say_so():
  study = studies.make_study(['dropout'], 8)
  scores = {'baseline': 0.9 + HALF, 'dropout=no': 0.8 + 2 * HALF}
  runs = studies.make_runs(study, scores)
  study['looks'] = looks.log(study, runs, '')
  (text,) = sentences.summary(study, effects.measure(study, runs))
  assert text.startswith('Dropout helps')
  more = study | {'seeds': list(range(10))}
  runs = studies.make_runs(more, scores)
  (text,) = sentences.summary(
    more, effects.measure(more, runs), looks.state(more, runs)
  )
  assert text.startswith('Exploratory: Dropout helps')


def test_factorial_and_explicit_arms():
  levels = {'batch_norm': ('on', 'off'), 'act': ('relu', 'tanh')}
  study = studies.make_factorial(levels, 10)
  scores = {
    a['name']: 0.5 + HALF + 0.1 * (a['assignment']['batch_norm'] == 'on')
    for a in study['arms']
  }
  table = effects.measure(study, studies.make_runs(study, scores))
  assert sentences.summary(study, table)[0].startswith(
    'Batch norm helps: adding it (on instead of off) in the intact model '
    'raises test accuracy by 10.0 points'
  )
  study = studies.make_study((), 10, 'arms')
  study['arms'].append({'name': 'wide', 'assignment': {}})
  study['contrasts'] = [studies.make_contrast('wide', '', 'wide', 'bare', False)]
  runs = studies.make_runs(study, {'bare': 0.5 + HALF, 'wide': 0.6 + HALF})
  (text,) = sentences.summary(study, effects.measure(study, runs))
  assert text.startswith(
    'Wide helps: wide in place of bare raises test accuracy by 10.0'
  )


def test_a_row_without_a_verdict_has_no_sentence():
  study = studies.make_study(['dropout'], 8)
  scores = {'baseline': 0.9 + HALF, 'dropout=no': 0.8 + 2 * HALF}
  runs = studies.make_runs(study, scores)
  runs['final/test/accuracy'] = runs['test/accuracy']
  table = effects.measure(study, runs)
  assert len(sentences.summary(study, table)) == 1
  with pytest.raises(ValueError, match='without a verdict'):
    sentences.sentence(study, table.iloc[1])


SWAPPED = re.compile(r'(?:\((\S+) instead of (\S+)\)|(\S+) in place of ([^\s,]+))')


@pytest.mark.parametrize('metric', ['accuracy', 'loss'])
@pytest.mark.parametrize('kind', ['remove', 'add', 'swap'])
@pytest.mark.parametrize('design', ['one_out', 'one_in', 'ladder', 'factorial', 'arms'])
def test_every_sentence_is_oriented_as_its_numbers(design, kind, metric):
  """Levels' means decide what raises, what lowers, and what the verdict must be."""
  factor = factors.factor('dropout', 'model.dropout', 0.5, 0.25, 0.0, kind=kind)
  arms = (factors.arm('bare', {'dropout': 0.0}),) if design == 'arms' else ()
  made = study_cases.expand(design, factor, arms=arms)
  for shift in (-0.2, 0.2):
    means = {'0.5': 0.5, '0.25': 0.5 + shift, '0.0': 0.5 + 2 * shift}
    study = drafted(design, (factor,), made, metric)
    scores = {
      arm['name']: means[arm['assignment']['dropout']] + HALF for arm in study['arms']
    }
    table = effects.measure(study, studies.make_runs(study, scores, f'test/{metric}'))
    texts = sentences.summary(study, table)
    assert not sentences.contradictions(study, table)
    assert len(texts) == len(made.contrasts) > 0
    for text, (_, row) in zip(texts, table.iterrows()):
      new, old = [level for level in SWAPPED.search(text).groups() if level]
      assert_oriented(study, row, text, kind, means[new] > means[old])
      line = next(x for x in latex.table(study, table).splitlines() if new in x)
      assert line.rstrip(' \\').endswith(row['verdict'])


@pytest.mark.parametrize('metric', ['accuracy', 'loss'])
@pytest.mark.parametrize('kind', ['remove', 'add', 'swap'])
@pytest.mark.parametrize('design', ['fraction', 'permutations'])
def test_sentences_of_games_are_oriented_as_their_numbers(design, kind, metric):
  """What each component adds to the score decides what raises and what helps."""
  adds = {'a': 0.2, 'b': -0.1, 'c': 0.1, 'd': -0.15, 'e': 0.05}
  needs = {'b': ('a',)} if design == 'permutations' else {}
  chosen = [
    factors.factor(name, f'model.x{i}', 0, 1, kind=kind, requires=needs.get(name, ()))
    for i, name in enumerate(adds)
  ]
  expanded = study_cases.expand(design, *chosen, permutations=4)
  study = drafted(design, chosen, expanded, metric)
  study['cells'] = [
    {'levels': dict(levels), 'arm': arm} for levels, arm in expanded.cells
  ]
  study['permutations'] = [list(order) for order in expanded.permutations]
  scores = {
    arm.name: 0.5 + HALF + sum(adds[n] * (arm.assignment[n] == '0') for n in adds)
    for arm in study.arms
  }
  table = effects.measure(study, studies.make_runs(study, scores, f'test/{metric}'))
  texts = sentences.summary(study, table)
  lines = [x for x in latex.table(study, table).splitlines() if '&' in x][1:]
  assert len(texts) == len(lines) == len(adds)
  # in every second order b waits for a, which then brings both
  expected = adds | ({'a': 0.2 - 0.1 / 2, 'b': -0.1 / 2} if needs else {})
  for name, text, line, (_, row) in zip(adds, texts, lines, table.iterrows()):
    assert row['factor'] == name
    assert row['delta'] == pytest.approx(expected[name])
    assert_oriented(study, row, text, kind, adds[name] > 0)
    over = 'orders of adding them' if needs else 'the other factors'
    assert f', averaged over {over}, {"raises" if adds[name] > 0 else "lowers"}' in text
    assert line.rstrip(' \\').endswith(row['verdict'])


def drafted(design, chosen, expanded, metric):
  """The draft of a design's study, decided by `metric` with a fallback out of reach."""
  study = studies.make_study((), 10, design)
  study['factors'] = [
    factor._asdict() | {'levels': [x._asdict() for x in factor.levels]}
    for factor in chosen
  ]
  study['arms'] = [
    {'name': arm.name, 'assignment': dict(arm.assignment)} for arm in expanded.arms
  ]
  study['contrasts'] = [contrast._asdict() for contrast in expanded.contrasts]
  worst = {**study['metrics'][metric], 'fallback': 9.0 * (metric == 'loss')}
  study['metrics'] = {metric: worst}
  study['metric'] = {'name': metric, 'split': 'test', **worst}
  return study


def assert_oriented(study, row, text, kind, is_higher):
  """Holds a sentence and its row against whether the arm's level scores higher."""
  new, old = [level for level in SWAPPED.search(text).groups() if level]
  assert ('raises' in text) == is_higher
  assert facts.name_change(study, row) == f'{old} → {new}'
  assert (row['delta'] > 0) == is_higher
  better = is_higher == (study.metric.better == 'higher')
  side = old if 'removing it' in text else new  # of which the verdict speaks
  assert (row['verdict'] == 'helps') == (better == (side == new))
  assert row['verdict'] in text
  assert row['prob_improvement'] == (row['verdict'] == 'helps')
  if kind == 'swap':
    assert f'{new} in place of {old}' in text
    assert f'({row["verdict"]}' in text


def answers_of(study, runs, arrays=lambda *run: None):
  """What a report of these runs claims."""
  table = effects.measure(study, runs)
  return sentences.gather(
    summary.Source(study, summary.Tables(runs, runs[:0], table), arrays)
  )


def test_an_arm_that_mostly_diverged_has_no_verdict():
  study = studies.make_study(['focus', 'dropout'], 8)
  runs = studies.make_runs(
    study,
    {'baseline': 0.9 + HALF, 'focus=no': 0.1 + 0 * HALF, 'dropout=no': 0.8 + HALF},
  )
  for seed in range(5):
    runs = studies.set_run(runs, 'focus=no', seed, status='diverged')
  answers = answers_of(study, runs)
  assert [answer.factor for answer in answers.findings] == ['dropout']
  assert answers.unanswered == ('focus',)
  assert sentences.bottom_line(answers) == (
    '1 of 2 parts matters: dropout; no verdict on focus, as most runs diverged.'
  )
  alone = sentences.Findings('', (), ('focus',))
  assert sentences.bottom_line(alone) == ('No verdict on focus, as most runs diverged.')
  text, _ = sentences.summary(study, effects.measure(study, runs))
  assert text == ('5 of 8 runs of focus=no diverged. So there is no verdict on focus.')


@pytest.mark.parametrize(
  ('shifts', 'line'),
  [
    ((-0.1, 0.0, 0.0), '1 of 3 parts matters: a.'),
    ((-0.1, 0.1, 0.0), '2 of 3 parts matter: a and b.'),
    ((0.0, 0.0, 0.0), 'None of the 3 parts was shown to matter.'),
    ((0.1,), 'A matters.'),
    ((0.0,), 'A was not shown to matter.'),
  ],
)
def test_bottom_line_counts_the_parts_that_matter(shifts, line):
  names = 'abc'[: len(shifts)]
  study = studies.make_study(names, 10)
  scores = {'baseline': 0.8 + HALF}
  for name, shift in zip(names, shifts):
    scores[f'{name}=no'] = 0.8 + HALF[::-1] + shift
  assert (
    sentences.bottom_line(answers_of(study, studies.make_runs(study, scores))) == line
  )


def test_bottom_line_knows_no_difference_from_no_evidence():
  same = [sentences.Finding(name, f'{name}=no', 'equivalent', '') for name in 'ab']
  line = lambda *findings: sentences.bottom_line(sentences.Findings('', findings))
  assert line(same[0]) == 'A makes no difference that matters.'
  assert line(*same) == 'None of the 2 parts makes a difference that matters.'
  open_ = same[1]._replace(verdict='inconclusive')
  assert line(same[0], open_) == 'None of the 2 parts was shown to matter.'


def test_a_verdict_that_hangs_on_one_seed_says_so():
  study = studies.make_study(['dropout'], 7)
  delta = np.array([-0.02, -0.03, -0.02, -0.03, -0.02, -0.04, -0.2])
  runs = studies.make_runs(
    study, {'baseline': 0.9, 'dropout=no': 0.9 + delta} | {'baseline': np.full(7, 0.9)}
  )
  table = effects.measure(study, runs)
  (text,) = sentences.summary(study, table)
  assert table['skewed'].iloc[0]
  assert text.startswith('Dropout helps, with a skewed difference: removing it')
  assert '; median 3.0 points' in text


def test_the_main_effect_stands_beside_and_a_contradiction_leads():
  levels = {'gate': ('on', 'off'), 'act': ('relu', 'tanh')}
  study = studies.make_factorial(levels, 10)
  means = {'on+relu': 0.80, 'off+relu': 0.75, 'on+tanh': 0.5, 'off+tanh': 0.7}
  scores = {name: mean + HALF for name, mean in means.items()}
  runs = studies.make_runs(study, scores)
  gate = answers_of(study, runs).findings[0]
  assert gate.verdict == 'helps'
  assert gate.sentence.startswith(
    'Gate helps: adding it (on instead of off) in the intact model raises test '
    'accuracy by 5.0'
  )
  assert gate.sentence.endswith(
    'Averaged over the other factors, adding it (on instead of off) lowers test '
    'accuracy by 7.50 points [7.50, 7.50].'
  )
  (text,) = sentences.contradictions(study, effects.measure(study, runs))
  start = 'Gate has opposite effects: adding it (on instead of off) in the'
  assert text.startswith(start)
  assert 'raises test accuracy by 5.0' in text
  assert 'but averaged over the other factors it lowers test accuracy by 7.5' in text


def test_an_interval_over_examples_that_contains_0_is_said():
  study = studies.make_study(['dropout'], 8)
  right = {'baseline': 0.6, 'dropout=no': 0.5}
  draws = np.random.default_rng(0).random((8, 40))

  def arrays(arm, seed, tuned=0):
    hits = (draws[0] < right[arm]) ^ (draws[seed] < 0.02)
    return {
      'test/index': np.arange(40),
      'test/label': np.ones(40, int),
      'test/prediction': hits.astype(int),
    }

  scores = {
    arm: [arrays(arm, seed)['test/prediction'].mean() for seed in range(8)]
    for arm in right
  }
  (answer,) = answers_of(study, studies.make_runs(study, scores), arrays).findings
  assert answer.verdict == 'helps'
  assert 'Over seeds and test examples together the interval, [−' in answer.sentence
  assert 'contains 0: on other examples there may be no difference.' in answer.sentence


@pytest.mark.parametrize(('scale', 'amount'), [(1e-9, '2.00e−11'), (1e12, '2.00e+10')])
def test_very_small_and_very_large_effects_keep_their_digits(scale, amount):
  """Oracle: the shift of .02 by which the scores were made."""
  text, _ = say(-0.02 * scale, metric='loss', spread=HALF * 1e-2 * scale)
  assert f' by {amount} [' in text
