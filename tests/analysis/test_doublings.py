"""Worth in doublings from stored runs. Oracle: power laws that the store follows."""

import dataclasses
import itertools
import json
import math
import pathlib

import jsonschema
import pytest

from dlsteroids.analysis import doublings, effects, frontier
from dlsteroids.plan import manifest, tuning, units
from dlsteroids.report import answer_json, formats
from dlsteroids.report import doublings as words
from dlsteroids.report.figures import canvas
from dlsteroids.report.figures import doublings as figures
from dlsteroids.store import tables
from dlsteroids.study import factors
from tests.fixtures import searched_studies


def make(**settings):
  """A finished study, its runs and its searches."""
  plan = searched_studies.make_plan(budgets_bare='4,16', seeds=8, **settings)
  plan, index, _ = searched_studies.finish(plan)
  runs = [run for unit in units.make(plan) for run in unit.runs(index)]
  searched_studies.store(index, runs, plan)
  study = tuning.with_choices(manifest.describe(plan, ''), index)
  every = tables.runs(study, study.runs, index, {})
  return study, every, tables.searches(study, index)


@pytest.fixture(scope='module')
def measured():
  """A net of ReLU that is as good as one of sigmoid with four times the compute."""
  return make(budgets='0.25,0.5')


@pytest.fixture(scope='module')
def result(measured):
  study, every, searches = measured
  assert doublings.applies(study)
  return doublings.measure(study, every, searches)


def test_the_worth_is_that_of_the_power_law(result):
  assert not result.refusal
  for target in result.targets:
    assert target.together.kind == frontier.MEASURED
    # As exact as steps that are rounded allow, and sums of ½ on errors.
    assert target.together.value == pytest.approx(2.0, abs=0.15)
    assert target.ideas[0].shapley.value == pytest.approx(target.together.value)
  assert result.growth.per_doubling.value == pytest.approx(0, abs=0.1)
  assert result.ends.bought == pytest.approx(2)


def test_searches_are_a_table_of_every_run(measured, result):
  study, _, searches = measured
  assert len(searches) == sum(
    len(names) for one in study.tuning.candidates for names in one.search
  )
  assert {
    'arm',
    'budget',
    'seed',
    'point',
    'point/size',
    'point/train.batch_size',
  } <= set(searches)


def test_frames_have_their_columns_and_every_budget(result):
  assert list(result.frame) == list(doublings.FRONTIER)
  assert list(result.worths) == list(doublings.WORTH)
  bare = result.frame[result.frame['toolbox'] == 'bare']
  assert bare['budget'].tolist() == pytest.approx([0.25, 0.5, 1, 4, 16])
  full = result.frame[result.frame['toolbox'] == 'full']
  assert full['budget'].tolist() == pytest.approx([0.25, 0.5, 1])
  assert (full['low'] <= full['value']).all()
  assert set(full['best_arm']) == {'baseline'}


def test_unfinished_searches_are_refused_in_words(measured):
  study, every, searches = measured
  result = doublings.measure(study, every[:0], searches[:0])
  assert result.refusal == 'search'
  assert 'The same command continues' in words.sentences(study, result)[0]
  only = every[every['budget'] == 1]
  result = doublings.measure(study, only, searches)
  assert result.refusal == 'budgets'


def test_other_studies_have_no_frontiers(measured):
  study, _, _ = measured
  assert not doublings.applies(dataclasses.replace(study, tuning=None))
  grid = study.tuning._replace(by='grid')
  assert not doublings.applies(dataclasses.replace(study, tuning=grid))
  assert not doublings.applies(dataclasses.replace(study, design='one_out'))


def test_sentences_say_the_numbers(measured, result):
  study, _, _ = measured
  texts = words.sentences(study, result)
  first = result.targets[0]
  assert words.number(first.together.value) in texts[0]
  assert 'activation is worth' in texts[0]
  assert any('doublings of compute are bought' in text for text in texts)
  section = words.section(study, result)
  assert section.anchor == 'doublings'
  assert any('never extrapolated' in note for note in words.notes(study, result))


def test_the_headline_is_no_more_certain_than_its_interval(measured, result):
  study, _, _ = measured
  target = words.pick_targets(result)[-1]
  sure = target.together._replace(low=2.0, high=2.0, ci_low=1.5, ci_high=2.5)
  begins = {
    sure: 'The ideas save compute: to reach ',
    sure._replace(low=-2.0, high=-2.0, ci_low=-2.5, ci_high=-1.5): 'The ideas cost ',
    sure._replace(ci_low=-0.1): 'Whether the ideas save compute is not decided: ',
    sure._replace(high=math.inf, ci_high=math.inf): 'The ideas save compute: ',
  }
  for worth, begin in begins.items():
    one = result._replace(targets=(target._replace(together=worth),))
    text = words.headline(study, one)
    assert text.startswith(begin)
    assert words.describe(worth) in text
  refused = result._replace(refusal='budgets')
  assert 'need two or more budgets' in words.headline(study, refused)


def test_the_head_names_what_the_ends_reach(measured, result):
  study, _, _ = measured
  text = words.reached(study, result)
  for toolbox in (0, result.frontiers.full):
    curve = result.frontiers.curves[toolbox]
    least = curve.errors[0].min()
    assert words.name_error(study, result, least) in text
    assert formats.flops(math.exp(curve.log_flops[curve.errors[0].argmin()])) in text


def test_programs_read_the_worth(measured, result):
  study, every, _ = measured
  runs = doublings.at_declared(study, every)
  table = effects.measure(study, runs)
  answer = answer_json.describe(study, runs, table, 'somewhere', result)
  worth, target = answer['worth'], words.pick_targets(result)[-1]
  assert worth['doublings']['low'] == pytest.approx(target.together.low)
  assert worth['flops']['full']['low'] == pytest.approx(2**target.full.low)
  assert answer['findings'][0] == worth['sentence'] == words.headline(study, result)
  assert all('ideas mandatory' in text for text in answer['findings'][1:])
  schema = pathlib.Path(__file__).parents[2] / 'docs' / 'answer.schema.json'
  jsonschema.validate(answer, json.loads(schema.read_text(encoding='utf-8')))
  refused = result._replace(refusal='search', frontiers=None)
  unfinished = answer_json.describe(study, runs, table, 'somewhere', refused)
  assert unfinished['worth'] is None
  assert 'The same command continues' in unfinished['findings'][0]


def test_figures_are_drawn(measured, result):
  study, _, _ = measured
  with canvas.style():
    for draw in (figures.draw_frontiers, figures.draw_worth):
      drawing = draw(study, result)
      assert drawing.svg.startswith('<svg')
      assert 'doubl' in drawing.caption


@pytest.mark.parametrize(
  ('worth', 'sentence', 'cell'),
  [
    ((4.1, 4.1, 3.6, 4.7, 1.0), '4.1 doublings [3.6, 4.7]', '4.1 [3.6, 4.7]'),
    ((4.1, 4.1, 3.6, math.inf, 0.9), '4.1 doublings [3.6, ∞)', '4.1 [3.6, ∞)'),
    ((9.3, math.inf, 8.9, math.inf, 0),
     'more than 9.3 doublings [> 8.9]', '> 9.3 [> 8.9]'),
    ((-math.inf, 2.0, -math.inf, 2.5, 0), 'less than 2.0 doublings', '< 2.0'),
    ((1.0, 2.0, 0.5, 2.5, 0), '1.0 to 2.0 doublings', '1.0 to 2.0'),
    ((-math.inf, math.inf, -math.inf, math.inf, 0),
     'an undetermined number of doublings', 'undetermined'),
    ((-0.01, -0.01, math.nan, math.nan, 1.0), '0.0 doublings', '0.0'),
  ],
)  # fmt: skip
def test_bounds_are_never_numbers(worth, sentence, cell):
  worth = frontier.Worth(*worth)
  assert words.describe(worth) == sentence
  assert words.cell(worth) == cell


@pytest.mark.parametrize(
  ('worth', 'certain'),
  [
    ((4.1, 4.1, 3.6, 4.7, 1.0), True),
    ((4.1, 4.1, -0.2, 8.0, 1.0), False),
    ((-1.0, -1.0, -2.0, -0.1, 1.0), True),  # they cost compute, for certain
    ((4.0, math.inf, -0.7, math.inf, 0.4), False),  # a bound, but not in all replicates
    ((4.0, math.inf, 3.1, math.inf, 0.4), True),
    ((-math.inf, math.inf, -math.inf, math.inf, 0), False),
  ],
)
def test_a_worth_is_certain_where_its_interval_excludes_0(worth, certain):
  assert words.is_certain(frontier.Worth(*worth)) == certain


@pytest.mark.parametrize(
  ('toolbox', 'name'), [(0, 'bare'), (3, 'full'), (1, 'a'), (2, 'b')]
)
def test_toolboxes_have_names(toolbox, name):
  assert doublings.name_toolbox(('a', 'b'), toolbox) == name


@pytest.fixture(scope='module')
def ladder():
  """Dropout, which does nothing, then ReLU, worth four times the compute."""
  study, every, searches = make(
    design='ladder', only='dropout,activation', budgets='0.0625,0.25', steps=400,
    tune_trials=2, tune_extend=0,
  )  # fmt: skip
  years = {'activation': (2011, 1986), 'dropout': (2012, 0)}
  dated = tuple(
    factor._replace(
      levels=tuple(
        level._replace(year=year)
        for level, year in zip(factor.levels, years[factor.name])
      )
    )
    for factor in study.factors
  )
  study = dataclasses.replace(study, factors=dated)
  return study, doublings.measure(study, every, searches)


def test_a_ladder_has_the_worth_of_every_rung(ladder):
  _, result = ladder
  assert result.ideas == (('dropout', 2012, ''), ('activation', 2011, ''))
  assert result.bare_year == 1986
  assert not result.is_game
  assert result.in_order
  assert result.rungs == sorted(result.frontiers.cells) == [0, 1, 3]
  assert list(result.frontiers.cells.values()) == ['bare', 'rung1+dropout', 'baseline']
  # the rung of dropout reaches the easier targets only, before its budgets end
  kinds = [target.ideas[0].in_order.kind for target in result.targets]
  assert kinds[0] == frontier.MEASURED
  assert kinds[-1] == frontier.BETWEEN
  for kind, target in zip(kinds, result.targets):
    nothing, relu = (idea.in_order for idea in target.ideas)
    if kind == frontier.MEASURED:
      assert nothing.value == pytest.approx(0, abs=0.1)
      assert relu.value == pytest.approx(2, abs=0.15)
      assert nothing.value + relu.value == pytest.approx(target.together.value)
    else:  # what it does with more compute is not known, but it may do what bare does
      assert nothing.low == 0
      assert 0 < nothing.high <= target.together.value
      assert relu.low <= relu.high == pytest.approx(target.together.value)
  worths = result.worths
  assert set(worths['what']) == {'together', 'mandatory', 'in order'}
  assert len(worths) == 4 * len(result.targets)


def test_a_ladder_in_words(ladder):
  study, result = ladder
  texts = ' '.join(words.sentences(study, result))
  assert 'In the order of history, each over what came before, at ' in texts
  assert 'dropout (2012) not used' in texts
  assert 'Not used: dropout.' in texts
  assert 'activation is worth' in texts
  assert 'activation (2011) 2.' in texts or 'activation (2011) 1.9' in texts
  # 2 doublings of 6 months each, or of 20
  assert '1.0 years at the pace of 6 months a doubling' in texts
  assert '3.3 years at the pace of 20 months a doubling' in texts
  table = words.section(study, result).parts[len(words.sentences(study, result))]
  assert table.head == ('Target', 'Idea', 'over the rung before')
  assert not any(
    'in which ideas may come' in note for note in words.notes(study, result)
  )
  assert any('The design is a ladder' in note for note in words.notes(study, result))


def test_ideas_of_a_factorial_are_in_the_order_of_history():
  plan = searched_studies.make_plan()
  study = manifest.describe(plan, '')
  levels = lambda a, b: (
    factors.Level('on', (), year=a),
    factors.Level('off', (), year=b),
  )
  later = factors.Factor('later', levels(2015, 0), about='a later one')
  earlier = factors.Factor('earlier', levels(1989, 1986))
  cells = [
    ({'later': a, 'earlier': b}, f'{a}-{b}')
    for a, b in itertools.product(('on', 'off'), repeat=2)
  ]
  study = dataclasses.replace(study, factors=(later, earlier), cells=tuple(cells))
  ideas = doublings.ideas_of(study)
  assert ideas == (('earlier', 1989, ''), ('later', 2015, 'a later one'))
  assert [words.name_idea(idea) for idea in ideas] == [
    'earlier (1989)', 'a later one (2015)',
  ]  # fmt: skip
  assert doublings.arms_of_toolboxes(study) == {
    0: 'off-off', 1: 'off-on', 2: 'on-off', 3: 'on-on',
  }  # fmt: skip
  undated = factors.Factor('undated', levels(0, 0))
  study = dataclasses.replace(study, factors=(later, undated))
  assert [idea.name for idea in doublings.ideas_of(study)] == ['later', 'undated']
