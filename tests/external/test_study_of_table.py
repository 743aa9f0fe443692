"""Tables of runs as typed studies; oracles: the scores that wrote them, hand counts."""

import math

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import effects, pairs, permutation
from dlsteroids.external import layout, sheets, study_of_table
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors
from tests.fixtures import tables_of_runs as tables


def make(source, choice=None, **settings):
  options = {'name': 'runs', **settings}
  chosen = layout.Choice(**(choice or {}))
  return study_of_table.make(
    sheets.read(source), chosen, study_of_table.Settings(**options)
  )


def frame_of(scores, metric='test_accuracy'):
  """A long frame of `{arm: {seed: score}}`."""
  rows = [
    {'arm': arm, 'seed': seed, metric: value}
    for arm, values in scores.items()
    for seed, value in values.items()
  ]
  return pd.DataFrame(rows)


def effect(study, every):
  runs = every[every['budget'] == 1]
  return effects.measure(study, runs).iloc[0]


@pytest.mark.parametrize('name', tables.LAYOUTS)
def test_every_layout_gives_the_same_study(tmp_path, name):
  metric = {'wandb guide': 'test_acc', 'wandb': 'test/accuracy'}.get(name)
  choice = {'metrics': (metric,)} if metric else {}
  study, every = make(tables.write(tmp_path, name), choice)
  assert study.table.layout == tables.LAYOUTS[name]
  assert [arm.name for arm in study.arms] == list(tables.ARMS)
  assert study.seeds == tuple(range(tables.SEEDS))
  assert study.paired
  table = pairs.tabulate(study, every, study.metric.column, 0).value
  wanted = [[tables.score(a, s) for a in tables.ARMS] for s in range(tables.SEEDS)]
  np.testing.assert_allclose(table.to_numpy(), wanted, atol=1e-12)
  assert study.metric.better == 'higher'
  assert study_lib.from_json(study_lib.to_json(study)) == study


@pytest.mark.parametrize(
  ('column', 'wanted'),
  [
    ('test_acc', ('test', 'accuracy', 'higher')),
    ('metrics.val_loss', ('validation', 'loss', 'lower')),
    ('loss/test', ('test', 'loss', 'lower')),
    ('eval/episode_reward', ('evaluation', 'episode_reward', 'higher')),
    ('Perplexity', ('', 'perplexity', 'lower')),
    ('test error rate', ('test', 'error_rate', 'lower')),
    ('lossless_ratio', ('', 'lossless_ratio', 'higher')),
    ('valLoss', ('validation', 'loss', 'lower')),
    ('mIoU', ('', 'miou', 'higher')),
    ('accuracy_loss', ('', 'accuracy_loss', 'lower')),
    ('test_neg_mse', ('test', 'neg_mse', 'higher')),
    ('kl_divergence', ('', 'kl_divergence', 'lower')),
    ('negative log-likelihood', ('', 'negative_log_likelihood', 'lower')),
    ('true_negative_rate', ('', 'true_negative_rate', 'higher')),
  ],
)
def test_split_name_and_direction_follow_from_the_column(column, wanted):
  split, name = study_of_table.name_metric(column)
  assert (split, name, study_of_table.infer_better(name)) == wanted


def test_percent_is_a_share_and_so_is_its_margin():
  scores = {'baseline': {1: 91.0, 2: 92.0}, 'a': {1: 90.5, 2: 91.0}}
  study, every = make(frame_of(scores), margin=0.5)
  assert study.table.percent == ('test/accuracy',)
  assert (study.margin, study.metric.fallback) == (0.005, 0.0)
  assert every['test/accuracy'].tolist() == [0.91, 0.92, 0.905, 0.91]
  study, _ = make(frame_of({'baseline': {1: -3.0}, 'a': {1: 2.0}}))
  assert study.metric.name == 'accuracy_score'  # no share


def test_cells_in_percent_take_the_margin_in_percentage_points():
  scores = {'baseline': {1: '0.8%', 2: '1%'}, 'a': {1: '0.5 %', 2: '0.9%'}}
  study, every = make(frame_of(scores), margin=0.5)
  assert (every['test/accuracy'].dtype, every['seed'].dtype) == (np.float64, np.int64)
  np.testing.assert_allclose(every['test/accuracy'], [0.008, 0.01, 0.005, 0.009])
  assert (study.margin, study.table.percent) == (0.005, ('test/accuracy',))
  wide = pd.DataFrame({'baseline': ['8%', '9%'], 'a': ['7%', '9%']})
  study, every = make(wide, {'metrics': ('error',)}, margin=0.5)
  np.testing.assert_allclose(every['error'], [8, 9, 7, 9])  # no share: as the table
  assert study.margin == 0.5


def test_long_seeds_stay_apart_and_equal_ones_are_equal():
  first = 2**62  # a float rounds to multiples of 1024 there
  for start in (first, 2**64):
    seeds = range(start, start + 3)
    scores = {arm: dict.fromkeys(seeds, 0.5) for arm in ('baseline', 'a')}
    study, _ = make(frame_of(scores))
    assert study.seeds == (tuple(seeds) if start == first else (0, 1, 2))
    assert study.paired
  text = {'baseline': {'1': 0.5, '02': 0.5}, 'a': {'1.0': 0.5, '2': 0.5}}
  study, _ = make(frame_of(text))
  assert (study.seeds, study.paired) == ((1, 2), True)


def test_a_nan_of_a_frame_is_no_name():
  frame = frame_of({arm: {0: 0.5, 1: 0.6} for arm in ('baseline', 'a')})
  study, _ = make(frame.assign(variant=math.nan))
  assert (study.table.arm, study.metric.name) == ('arm', 'accuracy')
  _, every = make(frame.assign(State=['finished', 'finished', 'crashed', math.nan]))
  assert every['status'].tolist() == ['ok', 'ok', 'failed', 'ok']
  with pytest.raises(errors.UserError, match='row 3 has no arm'):
    make(frame.assign(arm=['baseline', 'baseline', math.nan, 'a']))


def test_an_index_that_is_a_column_too_is_left_out():
  frame = frame_of({arm: {0: 0.5, 1: 0.6} for arm in ('baseline', 'a')})
  study, _ = make(frame.set_index('seed', drop=False))
  assert study.seeds == (0, 1)


def test_scores_that_are_not_finite_diverged_and_empty_cells_are_missing(tmp_path):
  path = tmp_path / 'runs.csv'
  rows = ['arm,seed,loss', 'baseline,0,1.5', 'baseline,1,2.5', 'baseline,2,1.0']
  rows += ['a,0,nan', 'a,1,inf', 'a,2,']
  path.write_text('\n'.join(rows))
  study, every = make(path)
  statuses = dict(zip(zip(every['arm'], every['seed']), every['status']))
  assert [statuses['a', seed] for seed in range(3)] == [
    'diverged',
    'diverged',
    'failed',
  ]
  assert (study.metric.fallback, study.table.fallback) == (2.5, 'worst run')
  table = pairs.tabulate(study, every, 'loss', 0).value['a'].tolist()
  assert table[:2] == [2.5, 2.5]
  assert math.isnan(table[2])
  study, _ = make(path, fallback=7.0)
  assert (study.metric.fallback, study.table.fallback) == (7.0, 'declared')


def test_a_status_of_the_tool_leaves_runs_out(tmp_path):
  path = tmp_path / 'runs.csv'
  path.write_text(
    'arm,seed,State,acc\nbaseline,0,finished,0.9\nbaseline,1,finished,0.9\n'
    'a,0,crashed,0.3\na,1,finished,0.8\n'
  )
  study, every = make(path)
  assert study.table.status == 'State'
  assert every['status'].tolist() == ['ok', 'ok', 'failed', 'ok']


def test_missing_seeds_are_failed_runs_and_their_pairs_drop():
  scores = {'baseline': dict.fromkeys(range(8), 0.9), 'a': dict.fromkeys(range(7), 0.8)}
  study, every = make(frame_of(scores))
  assert len(study.runs) == 16
  assert every[every['status'] == 'failed'][['arm', 'seed']].values.tolist() == [
    ['a', 7]
  ]
  row = effect(study, every)
  assert (row['n'], row['verdict']) == (7, 'inconclusive')  # under 90 % of the pairs


def test_arms_without_common_seeds_are_unpaired_samples():
  rng = np.random.default_rng(0)
  scores = {
    'baseline': dict(zip(range(6), rng.normal(0, 1, 6))),
    'a': dict(zip(range(10, 18), rng.normal(3, 1, 8))),
  }
  study, every = make(frame_of(scores, 'reward'))
  assert not study.paired
  row = effect(study, every)
  sides = [list(scores[arm].values()) for arm in ('a', 'baseline')]
  assert row['p'] == permutation.two_sided(*sides)
  assert (row['ci_low'], row['ci_high']) == permutation.interval(*sides, 0.05)[:2]
  assert row['delta'] == pytest.approx(np.mean(sides[0]) - np.mean(sides[1]))
  assert (row['n'], row['n_reference'], row['verdict']) == (8, 6, 'helps')
  without = frame_of(scores, 'reward').drop(columns='seed')
  again = effect(*make(without))
  assert again['p'] == row['p']


def test_unpaired_equivalence_and_reach():
  rng = np.random.default_rng(1)
  scores = {arm: dict(enumerate(rng.normal(0, 0.1, 9))) for arm in ('baseline', 'a')}
  study, every = make(frame_of(scores, 'reward'), pairing='unpaired', margin=1.0)
  assert effect(study, every)['verdict'] == 'equivalent'
  few = {arm: dict(enumerate(rng.normal(0, 0.1, 3))) for arm in ('baseline', 'a')}
  study, every = make(frame_of(few, 'reward'), pairing='unpaired', margin=9.0)
  assert effect(study, every)['verdict'] == 'inconclusive'  # 2 of 20 splits: p >= .1


def test_runs_of_several_flops_are_budgets():
  rows = [
    {'arm': arm, 'seed': seed, 'flops': cost * 10.0**b, 'loss': 1.0 + b + seed}
    for arm, cost in (('baseline', 1.0), ('a', 2.0))
    for seed in range(2)
    for b in range(3)
  ]
  study, every = make(pd.DataFrame(rows), {'flops': 'flops', 'metrics': ('loss',)})
  assert [c.budget for c in study.conditions] == [1.0, 0.01, 0.1]
  assert sorted(every['budget'].unique()) == [0.01, 0.1, 1.0]
  assert [arm.flops_per_step for arm in study.arms] == [100.0, 200.0]
  named, _ = make(
    pd.DataFrame(rows).assign(size_of=lambda f: f['flops'] / 100),
    {'budget': 'size_of', 'metrics': ('loss',), 'arm': 'arm'},
  )
  assert {c.budget for c in named.conditions} == {1.0, 0.01, 0.1, 0.02, 0.2, 2.0}


def test_arms_of_several_columns():
  frame = pd.DataFrame(
    {
      'config.opt': ['sgd', 'sgd', 'adam', 'adam'],
      'config.depth': [2.0, 2.0, 2.0, 2.0],
      'seed': [0, 1, 0, 1],
      'reward': [1.0, 2.0, 3.0, 4.0],
    }
  )
  choice = {'arm': 'opt,depth', 'reference': 'opt=sgd, depth=2'}
  study, _ = make(frame, choice)
  assert [arm.name for arm in study.arms] == ['opt=sgd, depth=2', 'opt=adam, depth=2']


BAD = {
  'no_column': (
    'arm,seed,acc\nb,1,1\nc,1,1',
    {'metrics': ('loss',)},
    "no column 'loss'",
  ),
  'no_arm_column': ('x,seed,acc\nb,1,1\nc,1,1', {}, 'which column holds the arms'),
  'no_reference': ('arm,seed,acc\nb,1,1\nc,1,1', {}, 'b, c'),
  'no_such_reference': (
    'arm,seed,acc\nb,1,1\nc,1,1',
    {'reference': 'd'},
    "no arm 'd'",
  ),
  'one_arm': ('arm,seed,acc\nbase,1,1\nbase,2,1', {}, "one arm only, 'base'"),
  'text': ('arm,seed,acc\nbase,1,1\nb,1,good', {}, "'good' in row 2"),
  'twice': ('arm,seed,acc\nbase,1,1\nb,1,1\nb,1,1', {}, 'b.*seed 1 in rows 2 and 3'),
  'empty': ('\n', {}, 'is empty'),
  'head_only': ('arm,seed,acc\n', {}, 'holds no runs'),
  'ragged': ('arm,seed,acc\nbase,1,1,4', {}, 'has 4 cells'),
  'which_metric': ('arm,seed,acc,loss\nbase,1,1,1\nb,1,1,1', {}, 'there are acc, loss'),
  'no_seed': ('arm,seed,acc\nbase,1,1\nb,,1', {}, 'row 2 .*no seed'),
  'twice_and_unpaired': (
    'arm,seed,acc\nbase,1,1\nbase,1,1\nb,2,1\nb,3,1',
    {},
    'base.*seed 1 in rows 1 and 2',
  ),
  'nested': ('[' * 100_000, {}, 'cannot be read as a table'),
  'separators_only': (',,\n,,\n', {}, 'every cell is empty'),
  'flops_in_a_wide_table': (
    'arm,seed_0,seed_1\nbase,1,1\nb,1,1',
    {'flops': 'f'},
    'flops needs a table with a row a run',
  ),
  'metrics_in_a_wide_table': (
    'arm,seed_0,seed_1\nbase,1,1\nb,1,1',
    {'metrics': ('acc', 'loss')},
    'holds one metric',
  ),
  'bad_flops': (
    'arm,seed,acc,f\nbase,1,1,1\nb,1,1,0',
    {'flops': 'f'},
    'row 2 has 0',
  ),
  'taken_name': ('arm,seed,steps\nbase,1,1\nb,1,2', {'metrics': ('steps',)}, 'rename'),
  'text_in_a_wide_table': ('seed,base,b\n0,1,2\n1,3,died', {}, "'died' in row 2"),
  'an_epoch_is_no_arm': ('seed,base,b,epoch\n0,1,2,9', {}, "'epoch' would be an arm"),
  'text_in_all_columns': (
    'arm,seed,loss\nbase,1,"1,180.5"\nb,1,"1,181.5"',
    {},
    "loss holds text, '1,180.5'",
  ),
  'not_text': ('arm,seed,acc\0\n', {}, r'not a text file.*judge\(frame\)'),
  'mixed_percent': (
    'arm,seed,acc\nbase,1,91.5%\nb,1,92',
    {},
    "'91.5%' is in percent, '92' is not",
  ),
  'mixed_percent_in_a_wide_table': ('seed,base,b\n1,91.5%,0.92', {}, 'is in percent'),
  'blanks_between_cells': ('arm seed acc\nbase 1 1', {}, 'has one column only'),
  'columns_without_names': (',arm,\n1,base,1', {}, 'a column without a name twice'),
  'ambiguous': (
    'arm,seed,a.acc,b.acc\nbase,1,1,1\nb,1,1,1',
    {'metrics': ('acc',)},
    'a.acc, b.acc',
  ),
}


@pytest.mark.parametrize('case', BAD)
def test_a_bad_table_is_one_clear_line(tmp_path, case):
  text, choice, message = BAD[case]
  path = tmp_path / 'runs.csv'
  path.write_text(text)
  with pytest.raises(errors.UserError, match=message) as error:
    make(path, choice)
  assert '\n' not in str(error.value)


SCORES = {'base': {0: 0.5, 1: 0.25}, 'b': {0: 1.5, 1: 0.125}}
FRAME = frame_of(SCORES, 'score')


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('x.json', FRAME.to_json()),
    ('x.json', FRAME.to_json(orient='split')),
    ('x.json', FRAME.to_json(orient='records')),
    ('x.json', FRAME.to_json(orient='index')),
    ('x.json', FRAME.to_json(orient='table')),
    ('x.csv', FRAME.to_csv(index=False, lineterminator='\r')),  # as Excel for the Mac
    ('x.csv', FRAME.to_csv(sep='|', index=False)),
    ('x.csv', FRAME.to_csv(sep=';', decimal=',', index=False)),  # as German Excel
  ],
)
def test_other_ways_to_write_a_table(tmp_path, name, text):
  """Oracle: the scores; the writer is pandas."""
  path = tmp_path / name
  path.write_text(text)
  _, every = make(path)
  rows = zip(every['arm'], every['seed'], every['score'])
  assert {(arm, seed): score for arm, seed, score in rows} == {
    (arm, seed): score
    for arm, values in SCORES.items()
    for seed, score in values.items()
  }


@pytest.mark.parametrize('frame', [[0.5], {'arm': ['b']}, None, FRAME['score']])
def test_what_is_neither_a_frame_nor_a_path_is_one_clear_line(frame):
  with pytest.raises(errors.UserError, match=r'a pandas frame, or the path'):
    sheets.read(frame)


def test_named_levels_of_an_index_are_columns():
  parts = {arm: FRAME[FRAME['arm'] == arm].drop(columns='arm') for arm in SCORES}
  sheet = sheets.read(pd.concat(parts, names=['arm', None]))
  assert sheet.frame.columns.tolist() == ['arm', 'seed', 'score']
  written = FRAME.reset_index(names='Unnamed: 0')
  assert sheets.read(written).frame.columns.tolist() == ['arm', 'seed', 'score']


def test_seeds_of_a_column_go_before_numbers_in_names(tmp_path):
  path = tmp_path / 'runs.csv'
  path.write_text('Name,State,seed,acc\nbase-7,finished,1,0\nb-8,finished,1,0.5')
  study, every = make(path)
  assert every['seed'].tolist() == [1, 1]
  assert study.paired
  assert study.table.seed == 'seed'


def test_none_is_the_name_of_an_arm_but_no_number():
  frame = pd.DataFrame(
    {'norm': ['batch', 'none'] * 2, 'seed': [0, 0, 1, 1], 'acc': [0.5, 0.25, 'none', 1]}
  )
  study, every = make(frame, {'arm': 'norm', 'reference': 'batch'})
  assert [arm.name for arm in study.arms] == ['batch', 'none']
  assert every['status'].tolist() == ['ok', 'ok', 'failed', 'ok']


def test_a_job_that_overrides_nothing_is_the_default(tmp_path):
  for job, words in enumerate(('', '- norm=none\n', '- dropout=0\n')):
    (tmp_path / str(job) / '.hydra').mkdir(parents=True)
    overrides = tmp_path / str(job) / '.hydra' / 'overrides.yaml'
    overrides.write_text(f'{words}- seed=3\n')
    (tmp_path / str(job) / 'metrics.json').write_text(f'{{"acc": 0.{job + 1}}}')
  study, _ = make(tmp_path)
  assert [a.name for a in study.arms] == ['default', 'norm=none', 'dropout=0']


def test_duplicated_seeds_may_be_judged_unpaired():
  frame = pd.DataFrame(
    {
      'arm': ['base', 'base', 'b', 'b'],
      'seed': [1, 1, 1, 1],
      'acc': [0.1, 0.2, 0.3, 0.4],
    }
  )
  study, every = make(frame, pairing='unpaired')
  assert every['seed'].tolist() == [0, 1, 0, 1]
  assert not study.paired


def test_a_folder_of_nothing_known_and_a_file_that_is_not_there(tmp_path):
  with pytest.raises(errors.UserError, match='neither the jobs'):
    sheets.read(tmp_path)
  with pytest.raises(errors.UserError, match='no file or folder'):
    sheets.read(tmp_path / 'x.csv')
  (tmp_path / 'x.csv').write_bytes(b'\x89PNG\xff')
  with pytest.raises(errors.UserError, match='not a text file'):
    sheets.read(tmp_path / 'x.csv')


@pytest.mark.parametrize(
  ('name', 'wanted'),
  [
    ('tanh-seed3', ('tanh', 3)),
    ('tanh_3', ('tanh', 3)),
    ('baseline/seed_0/test', ('baseline', 0)),
    ('lr=0.1,seed=4', ('lr=0.1', 4)),
    ('relu s2', ('relu', 2)),
    ('resnet18', None),
  ],
)
def test_arm_and_seed_of_a_runs_name(name, wanted):
  assert sheets.split_run(name) == wanted
