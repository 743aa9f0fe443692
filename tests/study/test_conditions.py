"""Regimes, budgets and sizes; oracle: counted FLOPs and parameters of the programs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import equalise, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import launch
from dlsteroids.study import conditions, factors
from dlsteroids.study import study as study_lib
from dlsteroids.study.conditions import Condition
from dlsteroids.util import errors

pytestmark = pytest.mark.usefixtures('quick')

FACTORS = (
  factors.factor('depth', 'model.hidden', (24, 24), (24,)),
  factors.factor('dropout', 'model.dropout', 0.2, 0.0),
)


def asked(**changes):
  config = config_lib.base(model='mlp', data='digits')
  config.data.examples = 96
  config.model.hidden = (24, 24)
  config.model.dropout = 0.2
  config.train.steps = 40
  config.train.batch_size = 16
  config.train.evaluations = 2
  config.study.seeds = 2
  config.engine.keep = 'none'
  for path, value in changes.items():
    section, _, key = path.partition('__')
    config[section][key] = value
  return config


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({}, [Condition('steps')]),
    ({'regimes': 'flops'}, [Condition('flops')]),
    (
      {'regimes': 'flops, steps,params', 'budgets': '0.25,1,4'},
      [
        *(Condition('flops'), Condition('steps'), Condition('params')),
        *(Condition('flops', 0.25), Condition('flops', 4.0)),
      ],
    ),
    (
      {'regimes': 'params', 'sizes': '0.5,2'},
      [
        *(Condition('params'), Condition('steps')),
        *(Condition('steps', 1.0, 0.5), Condition('steps', 1.0, 2.0)),
      ],
    ),
    ({'budgets': '0.25', 'ratio': 4.0}, [Condition('steps'), Condition('steps', 0.25)]),
  ],
)
def test_the_declared_condition_comes_first(changes, expected):
  defaults = config_lib.DEFAULTS['study']
  assert list(conditions.make({'study': {**defaults, **changes}})) == expected


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'regimes': 'flop'}, "study.regimes: unknown 'flop' (did you mean 'flops'?)"),
    ({'regimes': 'steps,steps'}, 'config.study.regimes names steps twice'),
    (
      {'budgets': '1;2'},
      "study.budgets: expected numbers such as '0.25,1,4', not '1;2'",
    ),
    ({'budgets': '0,1'}, 'every number must be above 0'),
    ({'sizes': '2,2'}, 'config.study.sizes names a number twice'),
    ({'ratio': 16.0}, 'only one budget; add 0.0625 to config.study.budgets'),
    ({'ratio': 16.0, 'budgets': '0.25'}, 'the budgets make 4; add 0.0625'),
  ],
)
def test_mistakes_are_one_line(changes, words):
  with pytest.raises(errors.UserError, match=r'^[^\n]+$') as error:
    conditions.make({'study': {**config_lib.DEFAULTS['study'], **changes}})
  assert words in str(error.value)


@pytest.fixture(scope='module')
def made():
  config = asked(
    study__regimes='steps,flops,params', study__budgets='0.5', study__sizes='2'
  )
  return study_plan.make(config_lib.resolve(config), FACTORS)


def cost(made, arm, condition):
  config = made.at[arm, condition].config
  facts = made.facts[runs_lib.program_id(config)]
  return config, facts.params, facts.flops * config['train']['steps']


def test_equal_flops_are_equal_but_for_the_rounding_of_steps(made):
  for budget in (1.0,):
    intact = cost(made, 'baseline', Condition('flops', budget))
    assert intact[0]['train']['steps'] == 40
    lean, _, work = cost(made, 'depth=(24,)', Condition('flops', budget))
    each = work / lean['train']['steps']
    assert abs(work - intact[2]) <= each / 2
    assert lean['train']['steps'] > 40
    residual = made.at['depth=(24,)', Condition('flops', budget)].residual
    assert residual == pytest.approx(work / intact[2] - 1)


def test_equal_parameters_are_equal_to_one_per_cent(made):
  condition = Condition('params')
  assert cost(made, 'baseline', condition)[0] == made.at['baseline', condition].config
  _, intact, _ = cost(made, 'baseline', condition)
  lean, params, _ = cost(made, 'depth=(24,)', condition)
  assert abs(params / intact - 1) < 0.01
  assert lean['model']['hidden'] > (24,)
  assert lean['train']['steps'] == 40


def test_budgets_multiply_steps_and_sizes_widths(made):
  half = made.at['baseline', Condition('steps', 0.5)].config
  wide = made.at['depth=(24,)', Condition('steps', 1.0, 2.0)].config
  assert half['train']['steps'] == 20
  assert half['model'] == made.arms['baseline']['model']
  assert wide['model']['hidden'] == (48,)
  assert wide['train']['steps'] == 40


def test_budgets_and_equal_flops_share_the_program(made):
  one = runs_lib.program_id(made.arms['baseline'])
  for condition in (Condition('flops'), Condition('steps', 0.5)):
    assert runs_lib.program_id(made.at['baseline', condition].config) == one


@pytest.mark.parametrize(
  ('hidden', 'wanted'), [((8,), 5000), ((64, 32), 900), ((3, 3, 3), 12345)]
)
def test_widths_are_solved_to_the_nearest(hidden, wanted):
  """Dense layers of 64 inputs and 10 classes, in closed form."""

  def params(config):
    sizes = (64, *config['model']['hidden'], 10)
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))

  config = config_lib.resolve(asked(model__hidden=hidden))
  found = equalise.solve(config, wanted, params)
  assert abs(params(found) / wanted - 1) < 0.01
  assert len(found['model']['hidden']) == len(hidden)


def test_where_no_width_is_near_the_nearest_is_taken():
  def params(config):
    return 75 * config['model']['hidden'][0] + 10

  found = equalise.solve(config_lib.resolve(asked(model__hidden=(7,))), 660, params)
  assert found['model']['hidden'] == (9,)  # 685; 8 would be 610


def test_the_counter_counts_what_the_program_trains(made):
  dataset = made.dataset(made.config)
  for name, arm in made.arms.items():
    facts = made.facts[runs_lib.program_id(arm)]
    assert equalise.count(arm, dataset) == facts.params, name


def test_a_model_without_widths_says_so():
  config = config_lib.resolve(asked(model__hidden=()))
  with pytest.raises(errors.UserError, match='mlp has no widths to change'):
    equalise.scale(config, 2.0)


def test_a_study_under_several_conditions_ends_with_all_of_them(tmp_path, no_figures):
  config = asked(
    study__regimes='flops,steps',
    study__budgets='0.5',
    study__tune='optimizer.learning_rate=0.03,0.1',
    study__tune_seeds=1,
    study__tune_extend=0,
    train__steps=12,
  )
  answer = launch.run(config, tmp_path / 'work', FACTORS, say=lambda line: None)
  runs = pd.read_csv(tmp_path / 'work' / 'runs.csv')
  counts = runs.groupby(['regime', 'budget', 'tuned']).size().to_dict()
  assert counts == {
    ('flops', 1.0, 0): 6,
    ('flops', 1.0, 1): 6,
    ('flops', 0.5, 1): 6,
    ('steps', 1.0, 1): 6,
  }
  # what is reported, and judged, is the declared condition
  assert set(answer.runs['regime']) == {'flops'}
  assert set(answer.runs['budget']) == {1.0}
  assert set(answer.effects['regime']) == {'flops'}
  spent = runs[(runs['regime'] == 'flops') & (runs['budget'] == 1)]['flops']
  assert np.ptp(spent) / spent.mean() < 0.1
  # equal runs under several conditions are trained once
  assert tiny_store(tmp_path) < len(runs)


def tiny_store(tmp_path):
  from tests.fixtures import studies_on_disk

  return studies_on_disk.trained(tmp_path / 'work') - 3 * 2 * 3  # the search's


RISING = [(10, 'train', 'accuracy', 0.2), (20, 'train', 'accuracy', 0.6)]
FALLING = [(10, 'train', 'loss', 2.0), (20, 'train', 'loss', 1.0)]


@pytest.mark.parametrize(
  ('curve', 'asked', 'expected'),
  [
    (RISING, 'train/accuracy=0.4', 15.0),
    (RISING, 'train/accuracy=0.1', 10.0),
    (RISING, 'train/accuracy=0.6', 20.0),
    (RISING, 'train/accuracy=0.7', float('nan')),
    (RISING, 'test/accuracy=0.4', float('nan')),
    (FALLING, 'train/loss=1.25', 17.5),
  ],
)
def test_a_curve_tells_when_it_gets_somewhere(curve, asked, expected):
  from dlsteroids.store import curves

  found = curves.reach_step(
    curve, asked, {'accuracy': study_lib.Metric('accuracy', 'higher', 0.1)}
  )
  assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize('text', ['accuracy=0.5', 'train/accuracy', 'train/loss=low'])
def test_what_to_reach_is_a_split_a_metric_and_a_value(text):
  with pytest.raises(errors.UserError, match=r'config\.study\.reach: expected'):
    study_plan.make(config_lib.resolve(asked(study__reach=text)), FACTORS)


def test_steps_that_rounding_would_falsify_are_refused():
  with pytest.raises(errors.UserError, match=r'arm baseline, equal flops x 0\.01'):
    study_plan.make(
      config_lib.resolve(asked(study__regimes='flops', study__budgets='0.01')), FACTORS
    )


def test_a_regime_that_undoes_a_factor_cannot_decide():
  width = factors.factor('width', 'model.hidden', (24,), (12,))
  config = asked(model__hidden=(24,), study__regimes='params,steps')
  with pytest.raises(errors.UserError, match='regime params makes arm') as error:
    study_plan.make(config_lib.resolve(config), (width,))
  assert 'config.study.regimes=steps,params' in str(error.value)
  study_plan.make(
    config_lib.resolve(asked(model__hidden=(24,), study__regimes='steps,params')),
    (width,),
  )


def test_arms_that_read_other_files_are_other_programs(tmp_path):
  for name, letters in (('x', 'abcd'), ('y', 'efgh')):
    (tmp_path / f'{name}.txt').write_text(letters * 500)
  config = config_lib.base(model='window', data='text_file', task='language')
  config.data.path = str(tmp_path / 'x.txt')
  config.data.window = 8
  config.study.metric = 'nats'
  config.train.steps = 4
  config.train.batch_size = 4
  config.train.evaluations = 1
  config.train.eval_batch = 8
  text = factors.factor('text', 'data.path', config.data.path, str(tmp_path / 'y.txt'))
  made = study_plan.make(config_lib.resolve(config), (text,))
  programs = {runs_lib.program_id(arm) for arm in made.arms.values()}
  assert len(programs) == 2
  first, second = (made.dataset(arm).arrays for arm in made.arms.values())
  assert any(not np.array_equal(first[name], second[name]) for name in first) or (
    made.dataset(made.arms['baseline']).classes
    != made.dataset(list(made.arms.values())[1]).classes
  )


def test_widths_stay_multiples_of_what_must_divide_them():
  """By hand: four heads whose units come in pairs leave multiples of eight."""
  config = config_lib.resolve(config_lib.base(model='attention', data='digits'))
  assert (config['model']['width'], config['model']['heads']) == (64, 4)
  for factor, width in ((1.3, 80), (0.01, 8), (1 / 3, 24)):
    assert equalise.scale(config, factor)['model']['width'] == width
  widths = {near['model']['width'] for near in equalise.neighbours(config)}
  assert widths == {48, 56, 72, 80}
  plain = config_lib.override(config, [('model.positions', 'none')])
  assert equalise.scale(plain, 1.3)['model']['width'] == 84


def test_the_solver_keeps_the_players_of_a_game_in_proportion():
  """The kernel of a small DCGAN taken back, its weights in closed form (test_dcgan)."""

  def params(config):
    g, d = config['model']['width'], config['model']['discriminator_width']
    k = config['model']['kernel'] ** 2
    return 32 * 4 * 2 * g + k * (2 * g * g + g) + k * (d + 2 * d * d) + 4 * 2 * d

  config = config_lib.resolve(config_lib.base(model='dcgan', data='digits', task='gan'))
  intact = config_lib.override(
    config, [('model.width', 4), ('model.discriminator_width', 8)]
  )
  lean = config_lib.override(intact, [('model.kernel', 3)])
  found = equalise.solve(lean, params(intact), params)
  assert abs(params(found) / params(intact) - 1) < 0.01
  ratio = found['model']['discriminator_width'] / found['model']['width']
  assert 1.2 < ratio < 3
